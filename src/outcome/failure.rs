//! A reason or a cause with its message inside an [`anyhow::Error`].

use super::{Carried, Cause, Reason, errno};
use std::fmt;

/// A reason with its message, as it travels inside an [`anyhow::Error`].
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) cause: Option<Cause>,
    pub(super) message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Reason {
    /// An error with this reason and its own message.
    pub fn error(self, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Failure { reason: self, cause: None, message: message.into() })
    }

    /// The reason an error carries, or the one that the system's error under it implies, or [`Reason::Internal`].
    pub fn from_error(error: &anyhow::Error) -> Self {
        let mut implied = None;
        for cause in error.chain() {
            let carried = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            if let Some(carried) = carried.and_then(|inner| inner.downcast_ref::<Carried>()) {
                return Self::from_error(&carried.0);
            }
            let Some((reason, explains)) = errno::number(cause).and_then(errno::reason) else { continue };
            // A full disk explains more than the step that failed because of it.
            if explains {
                return reason;
            }
            implied = Some(reason);
        }
        let said = error.downcast_ref::<Failure>().map(|failure| failure.reason);
        said.filter(|said| *said != Self::Internal).or(implied).unwrap_or(Self::Internal)
    }
}

/// Adds a reason to an error.
pub trait WithReason<T> {
    /// Adds a message and, unless the error already has one, a reason: the one nearest the cause stays.
    fn with_reason(self, reason: Reason, message: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithReason<T> for Result<T, E> {
    fn with_reason(self, reason: Reason, message: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            if error.downcast_ref::<Failure>().is_some() {
                error.context(message())
            } else {
                error.context(Failure { reason, cause: None, message: message() })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Carried;
    use anyhow::Context;

    #[test]
    fn the_reason_nearest_the_cause_survives_any_context() {
        let error = Err::<(), _>(Reason::DigestMismatch.error("blob differs"))
            .with_reason(Reason::PackageManager, || "installing".to_owned())
            .context("baking")
            .unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::DigestMismatch);
        assert_eq!(format!("{error:#}"), "baking: installing: blob differs");
    }

    #[test]
    fn a_full_disk_is_no_space_whoever_met_it() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error =
            Err::<(), _>(full).with_reason(Reason::PackageManager, || "writing".to_owned()).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::NoSpace);
    }

    #[test]
    fn a_reason_survives_a_reader() {
        let io = std::io::Error::from(Carried::from(Reason::NotOnServer.error("gone")));
        let error =
            Err::<(), _>(io).with_reason(Reason::CacheUnreadable, || "reading".to_owned()).unwrap_err();
        assert_eq!(
            (Reason::from_error(&error), format!("{error:#}").as_str()),
            (Reason::NotOnServer, "reading: gone")
        );
    }

    #[test]
    fn what_the_system_says_has_its_reason_whichever_library_passes_it_on() {
        use nix::errno::Errno;
        let io = |errno: Errno| anyhow::Error::new(std::io::Error::from_raw_os_error(errno as i32));
        for (errno, reason) in [
            (Errno::ENOSPC, Reason::NoSpace),
            (Errno::EDQUOT, Reason::NoSpace),
            (Errno::EROFS, Reason::ReadOnly),
            (Errno::EIO, Reason::DiskError),
            (Errno::ENOMEM, Reason::NoMemory),
            (Errno::EMFILE, Reason::NoMemory),
            (Errno::EACCES, Reason::NotPermitted),
            (Errno::ENOENT, Reason::UnexpectedFile),
            (Errno::ELOOP, Reason::UnexpectedFile),
        ] {
            assert_eq!(Reason::from_error(&io(errno)), reason, "{errno}");
            assert_eq!(Reason::from_error(&anyhow::Error::new(errno)), reason, "{errno}");
        }
        let late = |errno| Err::<(), _>(io(errno)).with_reason(Reason::LockTimeout, String::new).unwrap_err();
        assert_eq!(Reason::from_error(&late(Errno::EROFS)), Reason::ReadOnly);
        assert_eq!(Reason::from_error(&late(Errno::ENOENT)), Reason::LockTimeout);
        let dir = tempfile::tempdir().unwrap();
        let missing = pathrs::Root::open(dir.path()).unwrap().resolve("none").unwrap_err();
        assert_eq!(Reason::from_error(&missing.into()), Reason::UnexpectedFile);
    }

    #[test]
    fn an_error_without_a_reason_is_internal() {
        assert_eq!(Reason::from_error(&anyhow::anyhow!("odd")), Reason::Internal);
    }
}
