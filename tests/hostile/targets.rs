//! Bundles whose documents say that they are for this target, and whose packages are for another: nothing in the root is
//! touched.

use crate::common::deb::{Deb, Repository};
use crate::common::image;
use crate::common::root::debian_root;
use crate::common::tree::Tree;
use ofedctl::cache::{APT_INDEX_TYPE, Bundle, BundleFile, Cache, DEB_TYPE, Writer};
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

const SUITE: &str = "bookworm";
const NAME: &str = "perftest";

/// Publishes the cache's one bundle again, with another of its packages and an index that says what the test wants.
fn republish(cache: &Path, package: &Path, change: impl Fn(&str) -> String) {
    let cache = Cache::open(cache).unwrap();
    let host = Host::open(cache.dir(), Events::silent(), Cancel::never()).unwrap();
    let mut writer = cache.writer(&host, Duration::ZERO).unwrap();
    let mut bundle = cache.bundles().unwrap().remove(0);
    let is_it = |file: &BundleFile| file.media_type == DEB_TYPE && file.title.starts_with(NAME);
    put(&writer, &mut bundle, is_it, &std::fs::read(package).unwrap());
    let is_index = |file: &BundleFile| file.media_type == APT_INDEX_TYPE;
    let mut index = String::new();
    let digest = bundle.files.iter().find(|file| is_index(file)).unwrap().digest;
    cache.blob(&digest).unwrap().read_to_string(&mut index).unwrap();
    let stanzas = index.split("\n\n").map(|stanza| {
        let is_it = stanza.trim_start().starts_with(&format!("Package: {NAME}\n"));
        if is_it { change(&described(stanza, package)) } else { stanza.to_owned() }
    });
    put(&writer, &mut bundle, is_index, stanzas.collect::<Vec<_>>().join("\n\n").as_bytes());
    writer.publish(&bundle.tag, &bundle.config, SystemTime::UNIX_EPOCH, bundle.files).unwrap();
}

fn put(writer: &Writer, bundle: &mut Bundle, is_it: impl Fn(&BundleFile) -> bool, bytes: &[u8]) {
    let blob = writer.put(bytes).unwrap();
    let file = bundle.files.iter_mut().find(|file| is_it(file)).unwrap();
    (file.digest, file.size) = (blob.digest, blob.size);
}

/// A stanza of an index with the true digest and size of another package.
fn described(stanza: &str, package: &Path) -> String {
    let bytes = std::fs::read(package).unwrap();
    let lines = stanza.lines().filter(|line| !line.starts_with("MD5sum: ") && !line.starts_with("SHA1: "));
    let line = |line: &str| match line.split_once(": ") {
        Some(("SHA256", _)) => format!("SHA256: {}", crate::common::sha256(&bytes)),
        Some(("Size", _)) => format!("Size: {}", bytes.len()),
        _ => line.to_owned(),
    };
    lines.map(line).collect::<Vec<_>>().join("\n")
}

/// What lies, the package, what the index says of it, and the reason.
type Lie = (&'static str, Deb, fn(&str) -> String, &'static str);

#[test]
fn a_bundle_whose_packages_are_for_another_target_is_refused_and_the_root_is_as_it_was() {
    let deb = |arch: &'static str, depends: &'static str| Deb {
        name: NAME,
        version: "99",
        arch,
        depends,
        ..Deb::default()
    };
    let lies: [Lie; 3] = [
        (
            "another architecture, as the index says",
            deb("arm64", ""),
            |said| said.replace("amd64", "arm64"),
            "cache-missing",
        ),
        ("another architecture, which the index denies", deb("arm64", ""), str::to_owned, "cache-unreadable"),
        (
            "a later release, as the index says",
            deb("amd64", "libc6 (>= 99)"),
            |said| format!("{said}\nDepends: libc6 (>= 99)"),
            "cache-missing",
        ),
    ];
    let sound = Repository::of(&[deb("amd64", "")]);
    let root = debian_root(SUITE);
    root.add_source(&sound.source_line());
    let staged = root.beside("staged");
    image::stage(&root, &staged).expect(0, "staged");
    let before = Tree::of(root.path());
    for (what, package, index, reason) in lies {
        let folder = crate::common::scratch();
        let cache = folder.path().join("cache");
        let copied = std::process::Command::new("cp").arg("-a").args([&staged, &cache]).status();
        assert!(copied.unwrap().success());
        republish(&cache, &package.build(folder.path()), index);
        let ran = image::bake(&root, &cache);
        assert_eq!((ran.code, &*ran.reason()), (14, reason), "{what}: {ran:?}");
        image::assert_untouched(&root, &before);
    }
    image::bake(&root, &staged).expect(0, "installed");
}
