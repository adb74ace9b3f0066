//! Edits of a root's files and settings: their form in a plan, which of them are not made yet, how they are made, and
//! how they are reverted.

mod due;
mod edit;
pub mod initramfs;
mod place;
pub mod systemd;
mod text;
pub mod wanted;

pub use due::{Action, Depth, due};
pub use edit::Edit;
pub use place::{Place, place, require_places};
