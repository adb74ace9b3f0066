//! rpm targets with real dnf, rpm, `createrepo_c` and zypper of Debian's packages.
//!
//! What this proves: resolving, staging, indexing, installing offline, proving and removing with the real programs, on
//! real rpm packages built here. What it does not: no userland of Enterprise Linux, SUSE or Azure Linux is at hand, so
//! the roots are Debian's with dnf, rpm and zypper in them, which say by their identity files that they are another
//! distribution. Debian carries neither yum 3 nor tdnf: `yum` is a link to dnf there, as in Enterprise Linux 8 and later, and so
//! is `tdnf` in Mariner 2, which proves the words they are called with as far as dnf shares them. In Azure Linux 3 a program
//! answers like tdnf, or is it: see `tdnf_program.rs`.
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
mod other_targets;
mod packages;
mod removal;
mod resolve;
mod rhui;
mod roots;
mod scene;
mod suse;
mod tdnf;
mod tdnf_program;
mod vendor;
mod vendor_failures;
mod vendor_index;
mod vendor_kernels;
mod vendor_packages;
mod vendor_signed;
