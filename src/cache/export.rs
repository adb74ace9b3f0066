//! Exports bundles into one file: an OCI archive, which is a tar of an image layout. The same bundles always give the
//! same bytes. Blobs are verified while they are written, memory use does not depend on their size, and the file
//! appears under its name only when it is complete.

use super::Cache;
use super::bundle::Bundle;
use super::digest::Digest;
use super::layout;
use super::progress_io::Pass;
use super::refs::{Budget, References};
use super::signature::about_what;
use crate::host::Host;
use crate::outcome::{Cause, Reason};
use anyhow::{Context, Result};
use oci_spec::image::{ImageIndex, MediaType};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use tar::{EntryType, Header};

/// The size of a tar block.
const BLOCK: usize = 512;
const BUFFER_BYTES: usize = 1 << 20;

/// What an export wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The bundles in the file.
    pub bundles: Vec<Bundle>,
    /// How many blobs it holds.
    pub blobs: usize,
    /// The size of the file.
    pub bytes: u64,
}

impl Cache {
    /// Writes the bundles with these tags into one file, or all bundles when no tag is given.
    pub fn export(&self, host: &Host, tags: &[&str], out: &Path) -> Result<Exported> {
        self.export_without(host, tags, &BTreeSet::new(), out)
    }

    /// The same without blobs that the receiver has already.
    pub fn export_without(
        &self,
        host: &Host,
        tags: &[&str],
        there: &BTreeSet<Digest>,
        out: &Path,
    ) -> Result<Exported> {
        let doing = || format!("cannot export to `{}`", out.display());
        let bundles = self.chosen(tags).with_context(doing)?;
        let mut blobs = BTreeMap::new();
        for bundle in &bundles {
            blobs.extend(bundle.blobs());
        }
        blobs.retain(|digest, _| !there.contains(digest));
        let index = self.index_of(&bundles)?;
        // The index may also name signatures.
        let further = References::follow(self, &host.cancel, index.manifests())?.blobs;
        blobs.extend(further.into_iter().map(|(digest, blob)| (digest, blob.size)));
        let index = layout::canonical(&index)?;
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = layout::unfinished(folder).with_context(doing)?;
        let total = super::total(blobs.values().copied());
        let pass = Pass::begin(host, "exporting bundles", total);
        let mut tar = BufWriter::with_capacity(BUFFER_BYTES, file.as_file());
        self.write_tar(&mut tar, &pass, &blobs, &index).with_context(doing)?;
        tar.flush().and_then(|()| file.as_file().sync_all()).with_context(doing)?;
        drop(tar);
        let bytes = file.as_file().metadata().with_context(doing)?.len();
        file.persist(out).map_err(|error| error.error).with_context(doing)?;
        layout::sync_dir(folder).with_context(doing)?;
        Ok(Exported { bundles, blobs: blobs.len(), bytes })
    }

    fn chosen(&self, tags: &[&str]) -> Result<Vec<Bundle>> {
        let mut bundles = if tags.is_empty() { self.bundles()? } else { Vec::new() };
        for tag in tags {
            let missing =
                || format!("there is no bundle `{}` in `{}`", tag.escape_default(), self.dir.display());
            bundles.push(self.bundle(tag)?.ok_or_else(|| Cause::BundleUnknown.error(missing()))?);
        }
        if bundles.is_empty() {
            return Err(Cause::CacheEmpty.error(format!("there is no bundle in `{}`", self.dir.display())));
        }
        bundles.sort_unstable_by(|a, b| a.tag.cmp(&b.tag));
        bundles.dedup_by(|a, b| a.tag == b.tag);
        Ok(bundles)
    }

    fn index_of(&self, bundles: &[Bundle]) -> Result<ImageIndex> {
        let mut index = layout::read_index(&self.dir)?;
        index.set_media_type(Some(MediaType::ImageIndex));
        let tags: HashSet<&str> = bundles.iter().map(|bundle| bundle.tag.as_str()).collect();
        let digests: HashSet<Digest> = bundles.iter().map(|bundle| bundle.digest).collect();
        let mut budget = Budget::default();
        let mut wanted = Vec::new();
        for entry in index.manifests() {
            if tags.contains(layout::tag_of(entry).as_str())
                || about_what(self, entry, &mut budget)?.iter().any(|it| digests.contains(it))
            {
                wanted.push(entry.clone());
            }
        }
        wanted.sort_by_key(layout::tag_of);
        index.set_manifests(wanted);
        Ok(index)
    }

    fn write_tar(
        &self,
        tar: &mut impl Write,
        pass: &Pass,
        blobs: &BTreeMap<Digest, u64>,
        index: &[u8],
    ) -> Result<()> {
        let layout = layout::canonical(&serde_json::json!({ "imageLayoutVersion": "1.0.0" }))?;
        for folder in ["blobs/", "blobs/sha256/"] {
            tar.write_all(header(folder, 0, EntryType::Directory)?.as_bytes())?;
        }
        for (digest, size) in blobs {
            let mut blob = self.blob(digest)?;
            if blob.size() != *size {
                let message = format!("the blob `{digest}` has {} bytes instead of {size}", blob.size());
                return Err(Reason::DigestMismatch.error(message));
            }
            tar.write_all(
                header(&format!("{}/{}", layout::BLOBS, digest.hex()), *size, EntryType::Regular)?.as_bytes(),
            )?;
            pass.over(&mut blob, |bytes| tar.write_all(bytes))?;
            blob.finish()?;
            pad(tar, *size)?;
        }
        for (name, bytes) in [(layout::INDEX, index), (layout::LAYOUT, &layout)] {
            let size = bytes.len() as u64;
            tar.write_all(header(name, size, EntryType::Regular)?.as_bytes())?;
            tar.write_all(bytes)?;
            pad(tar, size)?;
        }
        // The end of a tar: two empty blocks.
        Ok(tar.write_all(&[0; 2 * BLOCK])?)
    }
}

/// A tar header without the time or this machine's users, so that the file is reproducible.
fn header(name: &str, size: u64, kind: EntryType) -> Result<Header> {
    let mut header = Header::new_gnu();
    header.set_path(name).with_context(|| format!("cannot name the member `{name}`"))?;
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}

fn pad(tar: &mut impl Write, size: u64) -> std::io::Result<()> {
    std::io::copy(&mut std::io::repeat(0).take(size.next_multiple_of(BLOCK as u64) - size), tar).map(drop)
}
