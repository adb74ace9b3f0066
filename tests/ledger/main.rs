//! What this program did to a root is never forgotten, and never taken back at the cost of others: real roots. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod links;
mod removal;
mod unreadable;
