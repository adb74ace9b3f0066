//! Everything about what this program did to a root: what a run at work has changed so far, what the last one that ended
//! well left there, and how that is taken back.

mod journal;
mod receipt;
mod undo;

pub use journal::{Change, JOURNAL, Journal, PackagesBefore, SAVED_DIR, Unfinished, recover};
pub use receipt::{Check, RECEIPT, Receipt, Subject};
pub use undo::{let_go, let_others_be, take_back};
