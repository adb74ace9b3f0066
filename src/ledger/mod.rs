//! The ledger: the record of what this program did to a root. The journal lists what the current run has changed so
//! far; the receipt, which is the record of installation, lists what the last successful run left there; one undo
//! serves both. The run's record says when and where the last run was, and how it ended.

mod change;
mod document;
mod forget;
mod journal;
mod last_bundle;
mod receipt;
mod run_record;
mod undo;

pub use change::{Change, SAVED_DIR, Saved};
pub use forget::forget;
pub use journal::{JOURNAL, Journal, PackagesBefore, Unfinished, recover, require_readable};
pub use last_bundle::{LAST_BUNDLE, LastBundle};
pub use receipt::{Check, RECEIPT, Receipt, Subject};
pub use run_record::{End, Machine, RUN_FILE, RunRecord, StepTime};
pub use undo::{release_holds, retire, undo_receipt};

#[cfg(test)]
mod tests;
