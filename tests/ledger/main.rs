//! The record of what this program did to a root is never lost, and its undo never removes changes of others. Uses real
//! roots and needs root rights.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod links;
mod removal;
mod unreadable;
