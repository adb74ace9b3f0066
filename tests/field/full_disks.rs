//! What users met where a disk was full, or a cache not whole.

use crate::common::disk::{leave, moved_to_a_disk};
use crate::common::image;
use crate::common::other_driver::{UNINSTALLER, make_initramfs, with_another_driver};
use crate::common::program;
use crate::common::root::debian_root;

const SUITE: &str = "bookworm";

/// Another service had filled `/var/log`, and a virtual switch did not start any more, because it could not open its log
/// (openvswitch/ovs-issues 257).
#[test]
fn a_log_folder_that_another_service_has_filled_stops_no_bake() {
    let root = debian_root(SUITE);
    moved_to_a_disk(&root, "var/log");
    root.write("var/log/syslog", &"x".repeat(128 << 10));
    leave(&root, "var/log", Some(0));
    let ran = image::bake(&root, &image::staged(SUITE));
    ran.expect(0, "installed");
    assert!(ran.stderr.contains("are not whole"), "{ran:?}");
    leave(&root, "var/log", None);
    image::bake(&root, &image::staged(SUITE)).expect(0, "already-installed");
}

/// A full `/boot` was seldom told as such: zstd puts more words behind the system's, and lz4 says only that it cannot write
/// (tuxedocomputers/linux 7, linuxmint/mintupdate 823, nodejs/build 3296).
#[test]
fn a_full_boot_is_told_whatever_the_packer_of_the_initial_file_system_says() {
    for said in [
        "zstd: error 25 : Write error : No space left on device (cannot write compressed block)",
        "Error 24 : Write error : cannot write compressed block",
    ] {
        let root = with_another_driver(UNINSTALLER);
        make_initramfs(&root);
        root.write("etc/ofedctl/config.yaml", "{driver: inbox, replace_driver: replace}\n");
        // Says so in the place of the real one, on a disk that has no room.
        let program = "usr/sbin/mkinitramfs";
        let real = root.read(program);
        std::fs::write(root.path().join(program), format!("#!/bin/sh\necho '{said}' >&2\nexit 1\n")).unwrap();
        moved_to_a_disk(&root, "boot");
        leave(&root, "boot", Some(0));
        image::bake(&root, &image::staged(SUITE)).expect(14, "no-space");
        leave(&root, "boot", None);
        std::fs::write(root.path().join(program), real).unwrap();
        image::bake(&root, &image::staged(SUITE)).expect(0, "installed");
    }
}

/// A layout that lacks a blob was answered with `not found` alone (regclient/regclient 1105).
#[test]
fn a_cache_that_lacks_a_blob_says_which() {
    let folder = crate::common::scratch();
    let cache = image::copy_of_staged(SUITE, folder.path());
    for (digest, _) in image::blobs(&cache) {
        let blob = cache.join("blobs/sha256").join(&digest);
        let bytes = std::fs::read(&blob).unwrap();
        std::fs::remove_file(&blob).unwrap();
        let ran = program::run(&["cache", "verify", "--json", "--cache", cache.to_str().unwrap()]);
        assert_eq!(ran.code, 14, "{ran:?}");
        assert!(ran.stdout.contains(&digest), "{digest} is not said: {ran:?}");
        std::fs::write(&blob, bytes).unwrap();
    }
}
