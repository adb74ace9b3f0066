//! Carries an error with its reason through code that can only return [`std::io::Error`].

use std::fmt;

/// An error with its reason on its way through an [`std::io::Error`], where a reader has to give one.
#[derive(Debug)]
pub struct Carried(pub(super) anyhow::Error);

impl From<Carried> for std::io::Error {
    fn from(carried: Carried) -> Self {
        Self::other(carried)
    }
}

impl From<anyhow::Error> for Carried {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Carried {}
