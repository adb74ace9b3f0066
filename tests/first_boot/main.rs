//! First boots of whole machines: Debian images that ofedctl has baked, or laid a cache into, offline in QEMU, through
//! cloud-init's real Azure datasource against a metadata service and a wire server of our own.
//!
//! What no emulator has, the Mellanox function and the VMBus, is a tree of the files that detection reads, laid over
//! `/sys/bus` in the guest. All else is real: kernel, modules, systemd, cloud-init, package manager, verbs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod azure;
mod drift;
mod driver;
mod inbox;
mod two;
mod two_kernels;
mod vm;
