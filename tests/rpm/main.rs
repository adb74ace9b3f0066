//! rpm targets with real dnf, rpm, `createrepo_c` and zypper of Debian's packages.
//!
//! What this proves: resolving, staging, indexing, installing offline, proving and removing with the real programs, on
//! real rpm packages built here. What it does not: no userland of Enterprise Linux, SUSE or Azure Linux is at hand, so
//! the roots are Debian's with dnf, rpm and zypper in them, which say by their identity files that they are another
//! distribution. Debian carries neither yum 3 nor tdnf: `yum` and `tdnf` are links to dnf there, as `yum` is in
//! Enterprise Linux 8 and later, which proves the words they are called with as far as dnf shares them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod azure;
mod bake;
mod databases;
mod dracut;
mod enterprise;
mod hold;
mod in_target;
mod locks;
mod packages;
mod removal;
mod resolve;
mod rhui;
mod roots;
mod scene;
mod suse;
mod vendor;
mod vendor_failures;
mod vendor_packages;
mod vendor_signed;
