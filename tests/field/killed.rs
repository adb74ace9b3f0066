//! What users found after a program had been killed in the middle of its work, and what was in the way of the next.

use crate::common::deb::{Deb, Repository};
use crate::common::image;
use crate::common::program;
use crate::common::root::{self, debian_root};
use std::collections::BTreeSet;

const SUITE: &str = "bookworm";

/// Builds stopped at `lock /etc/group.lock already used by PID 4`: the number was one of the sandbox before, and lived in
/// the next one too (coreos/fedora-coreos-tracker 1250). Elsewhere a lock stayed on one of the four files and every later
/// change of users failed (OpenMandrivaAssociation/distribution 1375).
#[test]
fn locks_of_killed_programs_that_change_groups_do_not_stop_the_next_bake() {
    let root = debian_root(SUITE);
    let bake = image::bake_args(&root, &image::staged(SUITE));
    program::kill_at("repository-laid-out", program::program(&bake));
    let names = |root: &root::Root| -> BTreeSet<_> {
        std::fs::read_dir(root.path().join("etc")).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let before = names(&root);
    let left = [("group.lock", "1\0"), ("gshadow.lock", "1\0"), ("shadow.lock", "4\0"), ("group.4", "4\0")];
    for (name, number) in left {
        root.write(&format!("etc/{name}"), number);
    }
    image::bake(&root, &image::staged(SUITE)).expect(0, "installed");
    let after = names(&root);
    assert!(left.iter().all(|(name, _)| !after.contains(std::ffi::OsStr::new(name))), "{after:?}");
    assert!(before.is_subset(&after));
    assert!(root.read("etc/gshadow").lines().any(|line| line.starts_with("rdma:")));
}

/// Layers of a pull that was cut off stayed for good, and only removing everything freed their room
/// (containers/podman 16214, moby/moby 42075). A clean-up that took everything nobody named by then also removed what
/// another tool had just stored (oras-project/oras-go 1093).
#[test]
fn what_a_killed_staging_stored_goes_with_the_next_one_and_what_others_stored_stays() {
    let repository = Repository::of(&[Deb { name: "perftest", version: "99", ..Deb::default() }]);
    let root = debian_root(SUITE);
    root.add_source(&repository.source_line());
    let calm = root.beside("calm");
    image::stage(&root, &calm).expect(0, "staged");
    let whole = image::blobs(&calm).len();

    let cache = root.beside("cache");
    let mut args = image::bake_args(&root, &cache);
    args[0] = "stage".to_owned();
    args.retain(|arg| arg != "--offline");
    // The last one is the manifest, which names the moment it was made.
    program::kill_at(&format!("blob-stored#{whole}"), program::program(&args));
    let others = cache.join("blobs/sha256").join("0".repeat(64));
    std::fs::write(&others, "of another tool").unwrap();
    image::stage(&root, &cache).expect(0, "staged");
    assert!(others.exists());
    assert_eq!(image::blobs(&cache).len(), whole + 1);
    let beside = |folder: &std::path::Path| -> BTreeSet<_> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(beside(&cache), beside(&calm));
}
