//! What can be read about a machine or an image, each kind of fact in a file of its own.
//!
//! Facts are read from files alone, as any user, and never judge: a missing file is an unknown fact, not an error.

pub mod modules;
pub mod os;
