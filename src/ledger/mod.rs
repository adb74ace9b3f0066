//! Everything about what this program did to a root: what a run at work has changed so far, what the last one that ended
//! well left there, and the one undo of both.

mod change;
mod document;
mod forget;
mod journal;
mod receipt;
mod undo;

pub use change::{Change, SAVED_DIR, Saved};
pub use forget::forget;
pub use journal::{JOURNAL, Journal, PackagesBefore, Unfinished, recover, require_readable};
pub use receipt::{Check, RECEIPT, Receipt, Subject};
pub use undo::{release_holds, retire, undo_receipt};

#[cfg(test)]
mod tests;
