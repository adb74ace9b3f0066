//! How an archive that must not be unpacked is refused.

use crate::outcome::Reason;

/// An error that says which member of the archive, or that the archive, `why` was not unpacked.
pub(super) fn refused(what: &str, why: &str) -> anyhow::Error {
    Reason::DigestMismatch.error(format!("refused: `{what}` {why}"))
}
