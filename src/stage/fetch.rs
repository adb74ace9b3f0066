//! Downloads the files that a resolver names into the cache, except those that it has already.

use crate::amounts;
use crate::cache::{BundleFile, Digest, Source, Wanted, Writer};
use crate::host::Host;
use crate::host::http::NetworkOptions;
use crate::host::room;
use crate::outcome::Reason;
use crate::packages::{Download, LocalFile};
use anyhow::Result;
use std::collections::HashMap;
use std::sync::Arc;

/// The files that were asked for, and how much was downloaded.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Every file asked for, in the order asked.
    pub(super) files: Vec<BundleFile>,
    /// How many were not in the cache before.
    pub(super) count: usize,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// Brings every download into the cache, as files of this media type. Files that are `local` are copied and need no
/// network.
pub(super) fn fetch_all(
    host: &Host,
    writer: &Writer,
    downloads: &[Download],
    local: &HashMap<String, LocalFile>,
    media_type: &str,
    way: NetworkOptions,
) -> Result<Fetched> {
    let mut files = Vec::new();
    let mut missing = HashMap::new();
    for download in downloads {
        let digest = Digest::from_hex(&download.sha256)
            .map_err(|error| Reason::ResolveFailed.error(format!("`{}`: {error}", download.file)))?;
        // One that a power cut left shorter is fetched again. Nobody says how large a vendor's file is.
        let there = writer.cache().size(&digest);
        if there.is_none_or(|size| download.size != 0 && size != download.size) {
            let source = match local.get(&download.file) {
                Some(file) => Source::InRoot(Arc::clone(&file.root), file.path.clone()),
                None => Source::Address(download.url.clone(), download.others.clone()),
            };
            let title = download.file.clone();
            missing.insert(digest, Wanted { digest, size: download.size, title, source });
        }
        let (title, media_type) = (download.file.clone(), media_type.to_owned());
        files.push(BundleFile { title, media_type, digest, size: download.size });
    }
    let bytes = crate::cache::total(missing.values().map(|wanted| wanted.size));
    let count = missing.len();
    if count > 0 {
        room::require(writer.cache().dir(), bytes)?;
        host.events.info(format!("downloading {}, {}", amounts::count(count, "file"), amounts::size(bytes)));
        writer.download_all(way, missing.into_values().collect())?;
    }
    Ok(Fetched { files, count, bytes })
}
