//! First boot through cloud-init: the module and its setup, with the real cloud-init of two Debian releases. Each
//! machine is a root in namespaces of its own, which cloud-init configures as it would configure a VM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod adapter;
mod examples;
mod machine;
mod no_shell;
mod run;
mod setup;
mod systemd;
