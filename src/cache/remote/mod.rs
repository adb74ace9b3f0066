//! Remote caches: bundles in a registry, and archives at an address. Only missing blobs are transferred. Catalogues of
//! drivers travel in the same way.

mod archive;
mod catalog;
mod pull;
mod push;

pub use catalog::{CATALOG_TYPE, pull_catalog, push_catalog};
pub use pull::Pulled;
pub use push::Pushed;

use crate::host::registry;

/// Whether a cache is not a path of this machine.
pub fn is_remote(cache: &str) -> bool {
    is_in_registry(cache) || is_address(cache)
}

/// The error for a cache name that is neither a path nor a supported kind of address.
pub fn unknown_place(cache: &str) -> Option<String> {
    let (scheme, _) = cache.split_once("://").filter(|_| !is_remote(cache))?;
    Some(format!(
        "`{cache}` is of a kind that is not fetched, `{scheme}`: a cache is a folder, a file made by `ofedctl cache \
         export`, `https://…` of such a file, or `oci://HOST/NAME:TAG`"
    ))
}

/// Whether a cache is a place in a registry.
pub fn is_in_registry(cache: &str) -> bool {
    cache.starts_with(registry::SCHEME)
}

/// Whether a cache is the address of an archive.
pub fn is_address(cache: &str) -> bool {
    cache.starts_with("https://") || cache.starts_with("http://")
}
