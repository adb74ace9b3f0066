//! Staging by the package manager of the image, run in the image: what only the image has is used, what only this
//! machine has is not, and the image stays as it was, whatever its own programs try.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod apt;
mod guards;
mod signed;
