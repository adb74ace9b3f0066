//! Modules that were built from a bundle's files. They are kept in the cache with the bundle, so that they need not
//! be compiled again.

use super::Opened;
use crate::cache::{BUILT_TYPE, Built, Bundle, BundleFile, Cache};
use crate::host::Host;
use anyhow::{Context, Result};
use std::time::{Duration, SystemTime};

/// The built files that are kept with the bundle of a tag.
pub(super) fn built_for(cache: &Cache, tag: &str) -> Vec<BundleFile> {
    let bundle = cache.bundle(tag).ok().flatten();
    let files = bundle.map(|bundle| bundle.files).unwrap_or_default();
    let is_whole = |file: &BundleFile| cache.size(&file.digest) == Some(file.size);
    files.into_iter().filter(|file| file.media_type == BUILT_TYPE && is_whole(file)).collect()
}

/// Adds built files to a bundle. Returns the new bundle. If the cache cannot be written to, it stays as it is, and the
/// driver is installed all the same.
pub fn add_built(host: &Host, opened: &Opened, bundle: Bundle, built: Vec<Built>) -> Bundle {
    if built.is_empty() || !opened.may_grow() {
        return bundle;
    }
    match add(host, &opened.cache, &bundle, built) {
        Ok(bundle) => bundle,
        Err(error) => {
            host.events.warn(format!("what was built is not kept for the next time: {error:#}"));
            bundle
        }
    }
}

fn add(host: &Host, cache: &Cache, bundle: &Bundle, built: Vec<Built>) -> Result<Bundle> {
    let mut writer = cache.writer(host, Duration::ZERO)?;
    let mut files = bundle.files.clone();
    let count = built.len();
    for mut one in built {
        let mut blob = writer.blob(None)?;
        std::io::copy(&mut one.file, &mut blob).with_context(|| format!("storing `{}`", one.title))?;
        let blob = blob.finish()?;
        files.retain(|file| file.title != one.title);
        let (title, media_type) = (one.title, BUILT_TYPE.to_owned());
        files.push(BundleFile { title, media_type, digest: blob.digest, size: blob.size });
    }
    let kept = writer.publish(&bundle.tag, &bundle.config, SystemTime::now(), files)?;
    host.events.info(format!("kept {count} built files with the bundle {}", kept.tag));
    Ok(kept)
}
