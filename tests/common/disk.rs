//! Disks of their own for folders of a root, and how much is free on them.

use super::root::Root;
use nix::mount::{MsFlags, mount};
use std::path::Path;
use std::process::Command;

/// Mounts a file system of its own at a place in a root.
pub fn mounted(root: &Root, place: &str, flags: MsFlags, options: &str) {
    let place = root.path().join(place);
    std::fs::create_dir_all(&place).unwrap();
    mount(Some("tmpfs"), &place, Some("tmpfs"), flags, Some(options)).unwrap();
}

/// Changes the options of a file system in a root.
pub fn remounted(root: &Root, place: &str, flags: MsFlags, options: Option<&str>) {
    let none = None::<&str>;
    mount(none, &root.path().join(place), none, flags | MsFlags::MS_REMOUNT, options).unwrap();
}

/// Moves a folder of a root to a disk of its own, which has a GiB of room.
pub fn moved_to_a_disk(root: &Root, place: &str) {
    let kept = root.beside("kept");
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").args(["-a", "-T"]).args([from, to]).status().unwrap().success());
    };
    copy(&root.path().join(place), &kept);
    mounted(root, place, MsFlags::empty(), "size=1g,mode=755");
    copy(&kept, &root.path().join(place));
}

/// Leaves so many KiB of a disk that is mounted in a root; or room for whatever comes.
pub fn leave(root: &Root, place: &str, kib: Option<u64>) {
    let disk = nix::sys::statvfs::statvfs(&root.path().join(place)).unwrap();
    let used = (disk.blocks() - disk.blocks_free()) * disk.fragment_size() / 1024;
    let size = kib.map_or_else(|| "size=1g".to_owned(), |kib| format!("size={}k", (used + kib).max(4)));
    remounted(root, place, MsFlags::empty(), Some(&size));
}
