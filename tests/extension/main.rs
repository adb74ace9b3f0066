//! The VM extension's handler, run by the Azure Linux agent's own code as it runs every extension.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod azure;
mod interrupted;
mod ipoib;
mod life;
mod no_shell;
mod package;
mod refusals;
mod settings;
mod vm;
