//! Files that others than root can change, such as a cache, a catalogue or a bundle, must not decide what root
//! installs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::image;
use common::program::program_without_network;
use common::root::debian_root;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, lchown};
use std::path::Path;
use std::process::Stdio;

const NOBODY: u32 = 65534;

fn give_away(folder: &Path) {
    lchown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            give_away(&entry.path());
        } else {
            lchown(entry.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
}

#[test]
fn what_was_hashed_is_installed_whatever_the_owner_of_the_cache_does_meanwhile() {
    let root = debian_root("bookworm");
    let scratch = common::scratch();
    let cache = image::copy_of_staged("bookworm", scratch.path());
    give_away(&cache);
    image::bake(&root, &cache).expect(1, "unsafe-owner");
    assert!(root.installed("rdma-core").is_none(), "nothing was installed");

    // As soon as the program reports that all files are verified, every package is replaced.
    let blobs: Vec<_> =
        std::fs::read_dir(cache.join("blobs/sha256")).unwrap().map(|it| it.unwrap().path()).collect();
    let mut bake = program_without_network(&image::bake_args(&root, &cache));
    bake.args(["--set", "trusted_owner=nobody"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = bake.spawn().unwrap();
    let said = std::io::BufReader::new(running.stderr.take().unwrap());
    let mut swapped = false;
    let mut lines = Vec::new();
    for line in std::io::BufRead::lines(said) {
        let line = line.unwrap();
        if line.contains(", verified") && !swapped {
            for blob in &blobs {
                let file = File::options().write(true).open(blob).unwrap();
                let size = usize::try_from(file.metadata().unwrap().size()).unwrap();
                file.write_all_at(&vec![b'x'; size], 0).unwrap();
            }
            swapped = true;
        }
        lines.push(line);
    }
    let code = running.wait().unwrap().code();
    assert_eq!((code, swapped), (Some(0), true), "{}", lines.join("\n"));
    assert_eq!(root.dpkg_verify(), "");
    assert!(!root.path().join("var/lib/ofedctl/blobs").exists(), "the copy is gone");
    image::ask("verify", &root).expect(0, "verified");
}
