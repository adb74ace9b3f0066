//! The work beside packages, in real roots: edits are made, shown, verified and undone; another driver is refused or
//! replaced; an image is safe to clone. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod edits;
mod generalize;
mod replace;
mod status;
