//! The Packer door: the real Packer builds real guests, and a host of the newer protocol speaks byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;

mod build;
mod builds;
mod chroot;
mod chroot_host;
mod guest;
mod host;
mod install;
mod no_shell;
mod templates;
