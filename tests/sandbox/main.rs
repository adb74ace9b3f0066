//! What the sandbox promises, tried in real roots: what a program sees, what it is not given, and that nothing of it is
//! left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod children;
mod hostile;
mod kernel;
mod lookup;
mod mounted;

use common::program;
use common::root::Root;
use ofedctl::host::fs;
use ofedctl::host::sandbox::{ENTER, Sandbox};
use std::process::{Command, Output};

/// A root as the sandbox takes it.
fn open(root: &Root) -> fs::Root {
    fs::Root::open(root.path()).unwrap()
}

/// The command that a run starts for a program in a sandbox.
fn command(sandbox: &Sandbox, words: &[&str]) -> Command {
    let parent = std::process::id().to_string();
    let spec = serde_json::to_string(sandbox).unwrap();
    program::program(&[&[ENTER, &parent, &spec], words].concat())
}

/// Runs a shell script in a sandbox.
fn script(sandbox: &Sandbox, script: &str) -> Output {
    command(sandbox, &["/bin/sh", "-c", script]).output().unwrap()
}

/// What a script in a sandbox prints, which must end well.
#[track_caller]
fn prints(sandbox: &Sandbox, text: &str) -> String {
    let output = script(sandbox, text);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
