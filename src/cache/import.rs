//! Imports bundles from an OCI archive, as `export` and `skopeo copy … oci-archive:…` write it. The archive is not
//! trusted: only members of a layout are accepted, every blob is verified before it gets its name, and the index is
//! merged when all blobs are present. The archive is read once, and memory use does not depend on its size.

use super::Cache;
use super::batch::Batch;
use super::bundle::Bundle;
use super::digest::{Digest, Hasher};
use super::layout::{self, MAX_DOCUMENT_BYTES};
use super::progress_io::Pass;
use super::read::Found;
use super::refs::{Budget, References};
use super::signature::about_what;
use super::write::Writer;
use crate::host::owner::Owners;
use crate::host::unpack::is_padding;
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageIndex};
use serde::Serialize;
use std::collections::{BTreeSet, HashSet};
use std::io::{Read, Write};
use std::path::Path;
use tar::EntryType;

/// The largest extended header. Those of other writers hold one or two time stamps.
const MAX_EXTENDED_BYTES: u64 = 64 << 10;

/// The most members: a bundle has some hundreds of files, and bundles share most of them.
const MAX_MEMBERS: usize = 50_000;

/// The result of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The bundles of the file.
    pub bundles: Vec<Bundle>,
    /// How many of its blobs were new.
    pub new_blobs: usize,
}

impl Writer<'_> {
    /// Imports the bundles of a file that `export` or `skopeo copy … oci-archive:…` wrote.
    pub fn import(&mut self, path: &Path) -> Result<Imported> {
        self.import_owned(path, None)
    }

    /// The same, refused where others than its owners may write to the file.
    pub fn import_owned(&mut self, path: &Path, owners: Option<Owners>) -> Result<Imported> {
        let doing = || format!("cannot import `{}`", path.display());
        // The archive itself may be a link; only within a cache links are refused.
        let path = &path.canonicalize().with_reason(Reason::CacheUnreadable, doing)?;
        let (file, size) = layout::open_regular(path).with_reason(Reason::CacheUnreadable, doing)?;
        if let Some(owners) = owners {
            let metadata = file.metadata().with_reason(Reason::CacheUnreadable, doing)?;
            owners.check(&path.display().to_string(), &metadata).with_context(doing)?;
        }
        self.import_stream(file, size).with_context(doing)
    }

    /// Imports from any reader. `total` is the expected number of bytes, for progress. Blobs that were stored before a
    /// failure stay: they are verified, and the next import skips them.
    pub fn import_stream(&mut self, archive: impl Read, total: u64) -> Result<Imported> {
        let pass = Pass::begin(self.host, "importing bundles", total);
        let mut incoming = Incoming::default();
        let taken = self.take_members(archive, &pass, &mut incoming);
        let settled = incoming.batch.settle(&self.cache);
        taken.and(settled)?;
        self.merge_incoming(incoming)
    }

    fn take_members(&self, archive: impl Read, pass: &Pass, incoming: &mut Incoming) -> Result<()> {
        let mut tar = tar::Archive::new(archive);
        let broken = || "it is not a whole tar archive".to_owned();
        // Raw entries, because extended headers must be checked before they are used or held in memory.
        for member in tar.entries().with_reason(Reason::CacheUnreadable, broken)?.raw(true) {
            let mut member = member.with_reason(Reason::CacheUnreadable, broken)?;
            self.take_member(&mut member, pass, incoming)?;
        }
        require_end(tar.into_inner())
    }

    pub(super) fn take_member<R: Read>(
        &self,
        member: &mut tar::Entry<'_, R>,
        pass: &Pass,
        incoming: &mut Incoming,
    ) -> Result<()> {
        self.host.cancel.check()?;
        incoming.members += 1;
        if incoming.members > MAX_MEMBERS {
            return Err(Reason::CacheUnreadable.error("it has more members than any cache"));
        }
        let raw = member.path_bytes().into_owned();
        let shown = raw.escape_ascii().to_string();
        let refused = |why: &str| Err(Reason::CacheUnreadable.error(format!("the member `{shown}` {why}")));
        let name = str::from_utf8(&raw).unwrap_or_default();
        let name = name.strip_prefix("./").unwrap_or(name);
        let size = member
            .header()
            .entry_size()
            .with_reason(Reason::CacheUnreadable, || format!("the member `{shown}`"))?;
        match member.header().entry_type() {
            EntryType::Directory
                if matches!(name.trim_end_matches('/'), "" | "." | "blobs" | "blobs/sha256") =>
            {
                return if size == 0 { Ok(()) } else { refused("is a folder and has content") };
            }
            EntryType::XHeader | EntryType::XGlobalHeader => {
                let bytes = small(member, size, MAX_EXTENDED_BYTES)?;
                return if is_harmless(&bytes) { Ok(()) } else { refused("redefines the one after it") };
            }
            EntryType::Regular => {}
            _ => return refused("is neither a regular file nor a folder of an OCI image layout"),
        }
        let slot = match name {
            layout::INDEX => &mut incoming.index,
            layout::LAYOUT => &mut incoming.layout,
            _ => {
                let digest = name.strip_prefix("blobs/sha256/").map(Digest::from_hex);
                let Some(Ok(digest)) = digest else { return refused("is not part of an OCI image layout") };
                if !incoming.seen.insert(digest) {
                    return refused("stands twice");
                }
                let is_later =
                    incoming.leaves_for_later(&self.cache, &digest, size, member.raw_file_position());
                if !is_later {
                    let is_new = self.take_blob(member, pass, &digest, size, &incoming.batch)?;
                    incoming.new_blobs += usize::from(is_new);
                }
                return Ok(());
            }
        };
        if slot.is_some() {
            return refused("stands twice");
        }
        *slot = Some(small(member, size, MAX_DOCUMENT_BYTES)?);
        Ok(())
    }

    /// Stores a blob, or only hashes it when the cache has it. Returns whether it is new.
    fn take_blob(
        &self,
        member: &mut impl Read,
        pass: &Pass,
        digest: &Digest,
        size: u64,
        batch: &Batch,
    ) -> Result<bool> {
        let doing = || format!("cannot take in the blob `{digest}`");
        let cut_short = |found| {
            let message = format!("the blob `{digest}` is cut short: {found} of {size} bytes");
            Err(Reason::DigestMismatch.error(message))
        };
        if self.cache.size_of(digest) == Some(size) {
            let mut hasher = Hasher::default();
            let found = pass
                .over(member, |bytes| {
                    hasher.update(bytes);
                    Ok(())
                })
                .with_context(doing)?;
            let (actual, _) = hasher.finish();
            return match actual == *digest {
                true => Ok(false),
                false if found < size => cut_short(found),
                false => {
                    Err(Reason::DigestMismatch
                        .error(format!("expected the blob `{digest}`, found `{actual}`")))
                }
            };
        }
        let mut blob = self.blob(Some(digest))?;
        let found = pass.over(member, |bytes| blob.write_all(bytes)).with_context(doing)?;
        if found < size {
            return cut_short(found);
        }
        batch.take(blob)?;
        Ok(true)
    }

    pub(super) fn merge_incoming(&mut self, incoming: Incoming) -> Result<Imported> {
        incoming.batch.settle(&self.cache)?;
        let missing = |name: &str| Reason::CacheUnreadable.error(format!("it has no `{name}`"));
        layout::check_layout(&incoming.layout.ok_or_else(|| missing(layout::LAYOUT))?, layout::LAYOUT)?;
        let index: ImageIndex =
            layout::parse(&incoming.index.ok_or_else(|| missing(layout::INDEX))?, layout::INDEX)?;
        let mut bundles = Vec::new();
        let mut entries = Vec::new();
        let mut signatures = Vec::new();
        let mut budget = Budget::default();
        for entry in index.manifests() {
            self.host.cancel.check()?;
            let bundle = match self.cache.find(entry, &mut budget)? {
                Found::Bundle(bundle) => *bundle,
                Found::Strange(error) => return Err(error),
                Found::Foreign => {
                    let about = about_what(&self.cache, entry, &mut budget)?;
                    signatures.extend((!about.is_empty()).then(|| (entry.clone(), about)));
                    continue;
                }
            };
            if let Some(file) =
                bundle.files.iter().find(|file| self.cache.size_of(&file.digest) != Some(file.size))
            {
                let message = format!("the bundle `{}` comes without its file `{}`", bundle.tag, file.title);
                return Err(Reason::CacheMissing.error(message));
            }
            entries.push(entry.clone());
            bundles.push(bundle);
        }
        if bundles.is_empty() {
            return Err(Reason::CacheMissing.error("it holds no bundle"));
        }
        // Signatures of the imported bundles are kept if their own blobs are present.
        let digests: HashSet<Digest> = bundles.iter().map(|bundle| bundle.digest).collect();
        signatures.retain(|(_, about)| about.iter().any(|it| digests.contains(it)));
        entries.extend(self.whole(signatures.into_iter().map(|(entry, _)| entry).collect())?);
        self.merge(entries)?;
        Ok(Imported { bundles, new_blobs: incoming.new_blobs })
    }

    /// The entries to which nothing is missing. All are followed in one walk, which reads each document once.
    fn whole(&self, entries: Vec<Descriptor>) -> Result<Vec<Descriptor>> {
        let found = References::follow(&self.cache, &self.host.cancel, &entries)?;
        let missing = found.blobs.iter().filter(|(digest, it)| self.cache.size_of(digest) != Some(it.size));
        let mut broken: BTreeSet<String> =
            missing.flat_map(|(_, it)| it.tags.iter().map(ToString::to_string)).collect();
        broken.extend(found.unread.iter().map(|unread| layout::tag_of(&unread.entry)));
        Ok(entries.into_iter().filter(|entry| !broken.contains(&layout::tag_of(entry))).collect())
    }
}

/// What is collected while an archive is read.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    batch: Batch,
    layout: Option<Vec<u8>>,
    index: Option<Vec<u8>>,
    members: usize,
    seen: HashSet<Digest>,
    pub(super) new_blobs: usize,
    /// For an archive with random access: the blobs that are skipped now and read later.
    pub(super) later: Option<Vec<Later>>,
}

/// A blob in an archive and the offset at which it begins.
#[derive(Debug)]
pub(super) struct Later {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) from: u64,
}

impl Incoming {
    /// For an archive with random access.
    pub(super) fn of_parts() -> Self {
        Self { later: Some(Vec::new()), ..Self::default() }
    }

    /// Whether a blob need not be read now: the cache has it, or it is large enough for a request of its own.
    fn leaves_for_later(&mut self, cache: &Cache, digest: &Digest, size: u64, from: u64) -> bool {
        /// Smaller blobs are read together with their neighbours.
        const WORTH_A_REQUEST: u64 = 1 << 20;
        let Some(later) = &mut self.later else { return false };
        let is_there = cache.size_of(digest) == Some(size);
        if !is_there && size > WORTH_A_REQUEST {
            later.push(Later { digest: *digest, size, from });
        }
        is_there || size > WORTH_A_REQUEST
    }
}

/// Refuses an archive that goes on behind its end, such as two in one file, of which only the first would be taken in.
fn require_end(rest: impl Read) -> Result<()> {
    let broken = || "cannot read behind its end".to_owned();
    if is_padding(rest).with_reason(Reason::CacheUnreadable, broken)? {
        return Ok(());
    }
    Err(Reason::CacheUnreadable.error("it goes on behind its end"))
}

fn small(member: &mut impl Read, size: u64, limit: u64) -> Result<Vec<u8>> {
    if size > limit {
        return Err(Reason::CacheUnreadable.error(format!("a document of {size} bytes is too large")));
    }
    let mut bytes = Vec::new();
    member.read_to_end(&mut bytes).with_reason(Reason::CacheUnreadable, || "it is cut short".to_owned())?;
    if bytes.len() as u64 == size {
        return Ok(bytes);
    }
    Err(Reason::CacheUnreadable.error("it is cut short"))
}

/// Whether extended headers say nothing about names, sizes or links.
fn is_harmless(extended: &[u8]) -> bool {
    let plain = ["mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment"];
    tar::PaxExtensions::new(extended)
        .all(|record| record.is_ok_and(|record| record.key().is_ok_and(|key| plain.contains(&key))))
}
