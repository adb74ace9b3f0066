//! What `ofedctl report` writes about a real root that was baked: a page in a real browser, bills of materials by their own
//! validators, a statement whose signature openssl checks. Needs root, and a network for the browser and the validators.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod browser;
mod materials;
mod page;

use common::image;
use common::program::{self, Ran};
use common::root::{Root, debian_root};
use std::path::PathBuf;

/// A root that was baked, and in which the VM agent's settings were edited.
fn baked() -> Root {
    let root = debian_root("bookworm");
    root.write("etc/waagent.conf", "# The agent's own.\n# OS.EnableRDMA=y\nLogs.Verbose=n\n");
    image::bake(&root, &image::staged("bookworm")).expect(0, "installed");
    root
}

/// Runs `ofedctl report` on a root; the file is `name` beside it.
fn report(root: &Root, name: &str, more: &[&str]) -> (PathBuf, Ran) {
    let file = root.beside(name);
    let args = ["report", "--root", root.path().to_str().unwrap(), "--out", file.to_str().unwrap()];
    let ran = program::run(&[&args, more].concat());
    (file, ran)
}

/// The same, which has to succeed; what it wrote.
#[track_caller]
fn reported(root: &Root, name: &str, more: &[&str]) -> String {
    let (file, ran) = report(root, name, more);
    assert!(ran.code == 0 && ran.stderr.is_empty(), "{ran:?}");
    std::fs::read_to_string(file).unwrap()
}
