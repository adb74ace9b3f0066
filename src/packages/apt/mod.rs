//! apt: resolves for another root without touching it, and installs from a local repository alone.

pub(super) mod dpkg;
pub(super) mod install;
pub(super) mod resolve;
mod sources;
pub(super) mod vendor_repo;

/// The index of a flat apt repository.
pub const INDEX: &str = "Packages";

/// The files apt and dpkg lock while they work.
pub(super) const LOCKS: [&str; 3] =
    ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"];
