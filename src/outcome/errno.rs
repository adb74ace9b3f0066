//! The meaning of the system's error numbers: one table for errors of all libraries.

use super::Reason;
use nix::errno::Errno;
use std::error::Error;

/// The number that one cause of an error carries.
pub(super) fn number(cause: &(dyn Error + 'static)) -> Option<Errno> {
    if let Some(error) = cause.downcast_ref::<std::io::Error>() {
        return error.raw_os_error().map(Errno::from_raw).or_else(|| by_kind(error.kind()));
    }
    if let Some(error) = cause.downcast_ref::<pathrs::error::Error>() {
        let pathrs::error::ErrorKind::OsError(number) = error.kind() else { return None };
        return number.map(Errno::from_raw);
    }
    cause.downcast_ref::<Errno>().copied()
}

/// Errors that a library made by itself have a kind and no number.
fn by_kind(kind: std::io::ErrorKind) -> Option<Errno> {
    use std::io::ErrorKind;
    match kind {
        ErrorKind::StorageFull => Some(Errno::ENOSPC),
        ErrorKind::QuotaExceeded => Some(Errno::EDQUOT),
        ErrorKind::ReadOnlyFilesystem => Some(Errno::EROFS),
        ErrorKind::OutOfMemory => Some(Errno::ENOMEM),
        ErrorKind::PermissionDenied => Some(Errno::EACCES),
        ErrorKind::NotFound => Some(Errno::ENOENT),
        ErrorKind::AlreadyExists => Some(Errno::EEXIST),
        ErrorKind::NotADirectory => Some(Errno::ENOTDIR),
        ErrorKind::IsADirectory => Some(Errno::EISDIR),
        _ => None,
    }
}

/// What a number means, and whether it explains more than the error of the step that failed because of it.
///
/// A disk that is full, read-only or broken shows at any step, and always in the same way; a missing file means
/// something different in each step.
pub(super) fn reason(errno: Errno) -> Option<(Reason, bool)> {
    Some(match errno {
        // A file system without inodes left says ENOSPC, too.
        Errno::ENOSPC | Errno::EDQUOT | Errno::EMLINK => (Reason::NoSpace, true),
        Errno::EROFS => (Reason::ReadOnly, true),
        // EUCLEAN is what ext4 and XFS say of damage they have found.
        Errno::EIO | Errno::EREMOTEIO | Errno::EUCLEAN | Errno::ENXIO => (Reason::DiskError, true),
        Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::EAGAIN => (Reason::NoMemory, false),
        Errno::EACCES | Errno::EPERM => (Reason::NotPermitted, false),
        Errno::ENOENT
        | Errno::ENOTDIR
        | Errno::EISDIR
        | Errno::EEXIST
        | Errno::ENOTEMPTY
        | Errno::ELOOP
        | Errno::EXDEV
        | Errno::ENAMETOOLONG
        | Errno::EFBIG
        | Errno::ETXTBSY
        | Errno::EBUSY
        | Errno::ESTALE => (Reason::UnexpectedFile, false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// What an error that a library made by itself says of its reason.
    fn reason_of(kind: io::ErrorKind) -> Option<Reason> {
        let error = io::Error::new(kind, "of a library");
        Some(reason(number(&error)?)?.0)
    }

    #[test]
    fn an_error_without_a_number_means_what_its_kind_does() {
        use io::ErrorKind as Kind;
        for (kind, wanted) in [
            (Kind::StorageFull, Some(Reason::NoSpace)),
            (Kind::QuotaExceeded, Some(Reason::NoSpace)),
            (Kind::ReadOnlyFilesystem, Some(Reason::ReadOnly)),
            (Kind::OutOfMemory, Some(Reason::NoMemory)),
            (Kind::PermissionDenied, Some(Reason::NotPermitted)),
            (Kind::NotFound, Some(Reason::UnexpectedFile)),
            (Kind::AlreadyExists, Some(Reason::UnexpectedFile)),
            (Kind::NotADirectory, Some(Reason::UnexpectedFile)),
            (Kind::IsADirectory, Some(Reason::UnexpectedFile)),
            (Kind::InvalidData, None),
        ] {
            assert_eq!(reason_of(kind), wanted, "{kind:?}");
        }
    }

    #[test]
    fn a_number_that_says_nothing_of_the_machine_has_no_reason() {
        assert!(reason(Errno::ECONNREFUSED).is_none() && reason(Errno::EINVAL).is_none());
        assert_eq!(number(&io::Error::from_raw_os_error(28)), Some(Errno::ENOSPC));
        assert_eq!(number(&Errno::EIO), Some(Errno::EIO));
        assert_eq!(number(&std::fmt::Error), None);
    }
}
