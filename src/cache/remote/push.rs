//! Pushes a bundle to a registry. Blobs that the registry has are not sent, and blobs of another repository are mounted
//! there.

use crate::cache::Cache;
use crate::cache::blob::{Blob, BlobReader};
use crate::cache::bundle::Bundle;
use crate::cache::digest::Digest;
use crate::cache::layout;
use crate::host::Host;
use crate::host::http::Client;
use crate::host::registry::{Access, Push, Registry};
use crate::outcome::{Carried, Reason, WithReason};
use crate::settings::Settings;
use anyhow::{Result, anyhow};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::Serialize;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The number of uploads at a time, as for downloads.
const AT_ONCE: usize = 4;

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// The bundle.
    pub bundle: Bundle,
    /// Its address with its digest. Given to `--cache`, it can never lead to another bundle.
    pub pinned: String,
    /// How many blobs were sent.
    pub sent: usize,
    /// Their bytes.
    pub sent_bytes: u64,
    /// How many were mounted from the other repository.
    pub mounted: usize,
    /// How many the registry had already.
    pub present: usize,
}

#[derive(Default)]
pub(super) struct Tally {
    sent: usize,
    sent_bytes: u64,
    mounted: usize,
    present: usize,
}

impl Cache {
    /// Writes a bundle to `oci://…`, with its signatures when the cache has them. `mount_from` is another repository of
    /// that registry which may have some of its blobs.
    pub fn push(
        &self,
        host: &Host,
        bundle: &Bundle,
        address: &str,
        mount_from: Option<&str>,
        settings: &Settings,
    ) -> Result<Pushed> {
        let access = Access::Push { mount_from: mount_from.map(str::to_owned) };
        let registry = Registry::at(address, access, settings)?;
        if registry.digest().is_some_and(|digest| digest != bundle.digest.to_string()) {
            let message = format!(
                "the bundle `{}` is `{}`, which is not that of `{address}`",
                bundle.tag, bundle.digest
            );
            return Err(Reason::Usage.error(message));
        }
        let mut blobs = vec![bundle.config_blob];
        blobs.extend(bundle.files.iter().map(|file| Blob { digest: file.digest, size: file.size }));
        blobs.sort_by_key(|blob| (blob.size, blob.digest));
        blobs.dedup();
        let (tally, pinned) = self.push_all(host, &registry, &bundle.digest, blobs)?;
        Ok(Pushed {
            bundle: bundle.clone(),
            pinned,
            sent: tally.sent,
            sent_bytes: tally.sent_bytes,
            mounted: tally.mounted,
            present: tally.present,
        })
    }

    /// Sends blobs, the manifest that names them, and its signatures. Returns the address with the manifest's digest.
    pub(super) fn push_all(
        &self,
        host: &Host,
        registry: &Registry,
        manifest: &Digest,
        blobs: Vec<Blob>,
    ) -> Result<(Tally, String)> {
        let tally = self.push_blobs(host, registry, blobs)?;
        let push = Push::to(registry, host)?;
        let digest = manifest.to_string();
        self.push_manifest(&push, manifest, registry.tag().unwrap_or(&digest))?;
        self.push_signatures(host, registry, &push, manifest)?;
        let place = registry.address();
        let place = place.split('@').next().unwrap_or_default();
        let name = registry.tag().and_then(|tag| place.strip_suffix(&format!(":{tag}"))).unwrap_or(place);
        Ok((tally, format!("{name}@{digest}")))
    }

    fn push_blobs(&self, host: &Host, registry: &Registry, blobs: Vec<Blob>) -> Result<Tally> {
        let total = crate::cache::total(blobs.iter().map(|blob| blob.size));
        let done = Arc::new(AtomicU64::new(0));
        let queue = Mutex::new(blobs);
        let tally = Mutex::new(Ok(Tally::default()));
        let next = || {
            let failed =
                tally.lock().map_or(true, |tally: std::sync::MutexGuard<Result<Tally>>| tally.is_err());
            if failed { None } else { queue.lock().ok()?.pop() }
        };
        let work = || -> Result<()> {
            let push = Push::to(registry, host)?;
            while let Some(blob) = next() {
                let how = self.push_blob(host, &push, &blob, &done, total)?;
                if let Ok(Ok(tally)) = tally.lock().as_deref_mut() {
                    tally.count(&blob, how);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    if let Err(error) = work()
                        && let Ok(mut tally) = tally.lock()
                        && tally.is_ok()
                    {
                        *tally = Err(error);
                    }
                });
            }
        });
        tally.into_inner().map_err(|_| anyhow!("an upload thread panicked"))?
    }

    fn push_blob(
        &self,
        host: &Host,
        push: &Push,
        blob: &Blob,
        done: &Arc<AtomicU64>,
        total: u64,
    ) -> Result<How> {
        let digest = blob.digest.to_string();
        let skip = |how| {
            host.events.progress("pushing", done.fetch_add(blob.size, Ordering::Relaxed) + blob.size, total);
            Ok(how)
        };
        if push.has(&digest)? {
            return skip(How::Present);
        }
        if push.mount(&digest)? {
            return skip(How::Mounted);
        }
        push.blob(&digest, blob.size, || {
            let reader = self.blob(&blob.digest)?;
            if reader.size() != blob.size {
                let message =
                    format!("the blob `{digest}` has {} bytes instead of {}", reader.size(), blob.size);
                return Err(Reason::DigestMismatch.error(message));
            }
            let events = host.events.clone();
            Ok(Counted { reader: Some(reader), sent: 0, done: Arc::clone(done), total, events })
        })?;
        Ok(How::Sent)
    }

    fn push_manifest(&self, push: &Push, digest: &Digest, name: &str) -> Result<()> {
        let bytes = self.document(digest)?;
        push.manifest(name, MediaType::ImageManifest.as_ref(), &bytes)
    }

    /// Pushes the bundle's `cosign` signatures.
    fn push_signatures(&self, host: &Host, registry: &Registry, push: &Push, bundle: &Digest) -> Result<()> {
        let mut referrers = Vec::new();
        for entry in self.about(bundle)? {
            let (tag, digest) = (layout::tag_of(&entry), layout::digest_of(&entry)?);
            let manifest: ImageManifest = layout::parse(&self.document(&digest)?, &tag)?;
            let described = std::iter::once(manifest.config()).chain(manifest.layers());
            let blobs = described.map(|it| Ok(Blob { digest: layout::digest_of(it)?, size: it.size() }));
            self.push_blobs(host, registry, blobs.collect::<Result<_>>()?)?;
            self.push_manifest(push, &digest, &tag)?;
            if manifest.subject().is_some() {
                let mut entry = entry;
                entry.set_artifact_type(manifest.artifact_type().clone());
                entry.set_annotations(manifest.annotations().clone());
                referrers.push(entry);
            }
        }
        if referrers.is_empty() { Ok(()) } else { list(host, registry, push, bundle, referrers) }
    }
}

/// Adds a manifest to the list under the referrers tag, for registries without the referrers API (distribution
/// specification 1.1, "Pushing Manifests with Subject").
fn list(
    host: &Host,
    registry: &Registry,
    push: &Push,
    bundle: &Digest,
    referrers: Vec<Descriptor>,
) -> Result<()> {
    let digest = bundle.to_string();
    let (there, by_itself) = registry.referrers(host, &Client::new(registry.network())?, &digest)?;
    if by_itself {
        return Ok(());
    }
    let mut index = match there {
        Some(bytes) => layout::parse(&bytes, &digest)?,
        None => ImageIndex::default(),
    };
    index.set_media_type(Some(MediaType::ImageIndex));
    layout::edit(&mut index, |entries| {
        let new = referrers.into_iter().filter(|it| entries.iter().all(|old| old.digest() != it.digest()));
        let new: Vec<Descriptor> = new.collect();
        entries.extend(new);
    });
    push.manifest(&digest.replace(':', "-"), MediaType::ImageIndex.as_ref(), &layout::canonical(&index)?)
}

#[derive(Clone, Copy)]
enum How {
    Sent,
    Mounted,
    Present,
}

impl Tally {
    fn count(&mut self, blob: &Blob, how: How) {
        match how {
            How::Sent => {
                self.sent += 1;
                self.sent_bytes += blob.size;
            }
            How::Mounted => self.mounted += 1,
            How::Present => self.present += 1,
        }
    }
}

/// A blob that counts its bytes as they are sent, and fails at its end when it is damaged.
struct Counted {
    reader: Option<BlobReader>,
    sent: u64,
    done: Arc<AtomicU64>,
    total: u64,
    events: crate::events::Events,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some(reader) = &mut self.reader else { return Ok(0) };
        let read = reader.read(buffer)?;
        self.sent += read as u64;
        let done = self.done.fetch_add(read as u64, Ordering::Relaxed) + read as u64;
        self.events.progress("pushing", done, self.total);
        if read == 0
            && let Some(reader) = self.reader.take()
        {
            let whole =
                reader.finish().with_reason(Reason::CacheUnreadable, || "reading the cache".to_owned());
            whole.map_err(|error| std::io::Error::from(Carried::from(error)))?;
            // The blob was sent and counted, so the drop must not subtract it.
            self.sent = 0;
        }
        Ok(read)
    }
}

impl Drop for Counted {
    /// Subtracts the bytes of a failed attempt, because they are sent again.
    fn drop(&mut self) {
        if self.reader.is_some() {
            self.done.fetch_sub(self.sent, Ordering::Relaxed);
        }
    }
}
