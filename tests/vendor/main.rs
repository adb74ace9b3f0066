//! The vendor's drivers, `mlnx_ofed` and `doca`, on Debian and Ubuntu: staged, baked without a network, and proven.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod around;
mod baking;
mod failures;
mod first_use;
mod kernels;
mod packages;
mod scene;
mod settled;
mod signed;
mod signed_modules;
mod signing_keys;
mod users;
