//! Downloads: several at a time, each verified while it is written, none that the cache already has.

use crate::cache::{BundleFile, Digest, Writer};
use crate::host::Host;
use crate::host::download::Stream;
use crate::host::http::{self, Client, Way};
use crate::outcome::{Because, Reason};
use crate::packages::Download;
use anyhow::{Result, anyhow};
use std::collections::HashMap;
use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Enough to hide one slow answer behind others, and polite to a mirror.
const AT_ONCE: usize = 4;

/// What came.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Every file asked for, in the order asked.
    pub(super) files: Vec<BundleFile>,
    /// How many were not in the cache before.
    pub(super) count: usize,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// Brings every download into the cache, as files of this media type.
pub(super) fn fetch_all(
    host: &Host,
    writer: &Writer,
    downloads: &[Download],
    media_type: &str,
    way: Way,
) -> Result<Fetched> {
    let mut files = Vec::new();
    let mut missing = HashMap::new();
    for download in downloads {
        let digest = Digest::from_hex(&download.sha256)
            .map_err(|error| Reason::ResolveFailed.error(format!("`{}`: {error}", download.file)))?;
        if !writer.has(&digest) {
            missing.insert(digest, download);
        }
        let (title, media_type) = (download.file.clone(), media_type.to_owned());
        files.push(BundleFile { title, media_type, digest, size: download.size });
    }
    let bytes = missing.values().map(|download| download.size).sum();
    let count = missing.len();
    if count > 0 {
        host.events.info(format!("downloading {count} files, {bytes} bytes"));
        fetch_missing(host, writer, missing.into_iter().collect(), bytes, way)?;
    }
    Ok(Fetched { files, count, bytes })
}

fn fetch_missing(
    host: &Host,
    writer: &Writer,
    mut missing: Vec<(Digest, &Download)>,
    total: u64,
    way: Way,
) -> Result<()> {
    // The largest first, so that no big one is left for the end.
    missing.sort_by_key(|(digest, download)| (download.size, digest.hex()));
    let queue = Mutex::new(missing);
    let done = AtomicU64::new(0);
    let failed: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let next = || {
        let stop = failed.lock().map_or(true, |failed| failed.is_some());
        if stop { None } else { queue.lock().ok()?.pop() }
    };
    let work = || -> Result<()> {
        let client = Client::new(way)?;
        while let Some((digest, download)) = next() {
            let mut seen = 0;
            let held = |now: u64| {
                // What has to begin again counts backwards.
                let change = now.wrapping_sub(seen);
                let sum = done.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
                seen = now;
                host.events.progress("downloading", sum, total);
            };
            fetch_one((host, &client, way), writer, digest, download, held)?;
        }
        Ok(())
    };
    let work = || {
        if let Err(error) = work()
            && let Ok(mut failed) = failed.lock()
        {
            failed.get_or_insert(error);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    match failed.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error),
        Err(_) => Err(anyhow!("a download thread panicked")),
    }
}

/// Fetches one file; `held` is told how many of its bytes are there.
fn fetch_one(
    (host, client, way): (&Host, &Client, Way),
    writer: &Writer,
    digest: Digest,
    download: &Download,
    mut held: impl FnMut(u64),
) -> Result<()> {
    let named = || format!("`{}` from `{}`", download.file, http::without_secrets(&download.url));
    let Some(path) = download.url.strip_prefix("file:") else {
        let size = Some(download.size).filter(|size| *size > 0);
        let stream = Stream::new(host, client, way, &download.url, size)?;
        return writer.download(stream, &digest, held).because(Reason::DownloadFailed, named).map(drop);
    };
    // apt prints local repositories so; what is in them is verified like everything else.
    let path = path.strip_prefix("//").unwrap_or(path);
    let mut blob = writer.blob(Some(&digest))?;
    let copied = File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut blob));
    held(copied.because(Reason::DownloadFailed, || format!("copying `{path}`"))?);
    blob.finish().because(Reason::DownloadFailed, named).map(drop)
}
