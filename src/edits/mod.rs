//! Everything about an edit of a root: what it wants, how it reads in a plan, what of it is still to be made, how it is
//! made, and how it is taken out of a text again.

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
