//! The forms of the files that are edited: how a text is changed, and changed back, with every other line as it was.

pub(super) mod components;
pub(super) mod excludes;
pub(super) mod keys;
pub(super) mod zypp_locks;
