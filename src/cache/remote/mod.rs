//! Caches elsewhere: bundles in a registry, and archives behind an address. Only blobs that are missing move.

mod archive;
mod pull;
mod push;

pub use pull::Pulled;
pub use push::Pushed;

use crate::host::registry;

/// Whether a cache is not a path of this machine.
pub fn is_remote(cache: &str) -> bool {
    is_in_registry(cache) || is_address(cache)
}

/// Whether a cache is a place in a registry.
pub fn is_in_registry(cache: &str) -> bool {
    cache.starts_with(registry::SCHEME)
}

/// Whether a cache is the address of an archive.
pub fn is_address(cache: &str) -> bool {
    cache.starts_with("https://") || cache.starts_with("http://")
}
