//! The error for an archive that must not be unpacked.

use crate::outcome::Reason;

/// An error that names the member, or the whole archive, and the reason why it was not unpacked.
pub(super) fn refused(what: &str, why: &str) -> anyhow::Error {
    Reason::DigestMismatch.error(format!("refused: `{what}` {why}"))
}
