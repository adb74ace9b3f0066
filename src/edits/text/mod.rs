//! The formats of edited files: how each text is changed and restored, with every other line unchanged.

pub(super) mod components;
pub(super) mod excludes;
pub(super) mod keys;
pub(super) mod zypp_locks;
