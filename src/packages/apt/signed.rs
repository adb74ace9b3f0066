//! Finds packages from unsigned repositories, by the files that apt has stored of the repositories it read.

use super::super::{Download, Resolution, openpgp, sources_and_keys};
use super::run::{AptRun, List};
use crate::host::fs::Root;
use crate::host::http::without_secrets;
use crate::host::{Host, hex};
use crate::trust::Origin;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read};

/// The repositories of the downloads that no key signs and that `[trusted=yes]` allows.
pub(super) fn unsigned(host: &Host, apt: &AptRun, downloads: &[Download]) -> Result<Vec<String>> {
    let kept: BTreeSet<String> = fs::read_dir(apt.lists())
        .context("cannot list what apt has read")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let is_signed = |list: &List| {
        ["InRelease", "Release.gpg"].iter().any(|end| kept.contains(&format!("{}{end}", list.start)))
    };
    let is_used = |list: &List| downloads.iter().any(|download| download.url.starts_with(&list.repository));
    let lists = apt.package_lists(host)?.iter().filter(|list| !is_signed(list) && is_used(list));
    let unsigned: BTreeSet<String> = lists.map(|list| without_secrets(&list.repository)).collect();
    Ok(unsigned.into_iter().collect())
}

/// The repositories of what the target's own apt resolved, each with the keys by which this program, too, finds its
/// packages signed: a key of the target signs the release, the release has the digest of the list, and the list that of
/// the package.
pub(super) fn origins(
    host: &Host,
    apt: &AptRun,
    target: &Root,
    resolution: &Resolution,
) -> Result<Vec<Origin>> {
    let kept = Root::open(&apt.lists())?;
    let lists = apt.package_lists(host)?;
    let wanted: BTreeSet<&str> = resolution.downloads.iter().map(|it| it.sha256.as_str()).collect();
    let keys =
        sources_and_keys::all(target).into_iter().filter_map(|bytes| openpgp::without_armour(&bytes).ok());
    let keys = keys.filter(|bytes| !openpgp::fingerprints(bytes).is_empty()).collect::<Vec<_>>().concat();
    let mut signers: BTreeMap<String, String> = BTreeMap::new();
    let mut releases = BTreeMap::new();
    for list in lists {
        if !resolution.downloads.iter().any(|download| download.url.starts_with(&list.repository)) {
            continue;
        }
        if !releases.contains_key(&list.start) {
            releases.insert(list.start.clone(), release(host, &kept, &keys, list)?);
        }
        let Some(Some((signer, text))) = releases.get(&list.start) else { continue };
        let Some(found) = Listed::read(&kept, &list.file, &wanted)? else { continue };
        let size = found.size.to_string();
        let is_named = |line: &str| {
            line.split_whitespace().eq([found.digest.as_str(), size.as_str(), list.key.as_str()])
        };
        if text.lines().any(is_named) {
            signers.extend(found.wanted.into_iter().map(|digest| (digest, signer.clone())));
        }
    }
    let mut origins: BTreeMap<&str, (Origin, bool)> = BTreeMap::new();
    for download in &resolution.downloads {
        let list = lists.iter().find(|list| download.url.starts_with(&list.repository));
        let repository = list.map_or(download.url.as_str(), |list| &list.repository);
        let (origin, is_signed) = origins.entry(repository).or_insert_with(|| (Origin::default(), true));
        origin.repository = without_secrets(repository);
        match signers.get(&download.sha256) {
            Some(key) if !origin.keys.contains(key) => origin.keys.push(key.clone()),
            Some(_) => {}
            None => *is_signed = false,
        }
        if let Some(local) = resolution.local.get(&download.file).filter(|local| local.is_of_target) {
            origin.files.insert(download.file.clone(), local.path.clone());
        }
    }
    let one = |(mut origin, is_signed): (Origin, bool)| {
        if !is_signed {
            origin.keys.clear();
        }
        origin
    };
    Ok(origins.into_values().map(one).collect())
}

/// A list of packages, read once: fifty megabytes of it are never held together.
struct Listed {
    digest: String,
    size: u64,
    /// The digests in it that were asked for.
    wanted: BTreeSet<String>,
}

impl Listed {
    /// Longer lines are read in pieces.
    const LONGEST_LINE: u64 = 1 << 16;

    fn read(kept: &Root, name: &str, wanted: &BTreeSet<&str>) -> Result<Option<Self>> {
        let Some((file, _)) = kept.open_file(&format!("/{name}"))? else { return Ok(None) };
        let mut reader = BufReader::with_capacity(1 << 17, file);
        let (mut hash, mut size, mut found) = (Sha256::new(), 0, BTreeSet::new());
        let (mut piece, mut is_start) = (Vec::new(), true);
        loop {
            piece.clear();
            let read = reader.by_ref().take(Self::LONGEST_LINE).read_until(b'\n', &mut piece);
            if read.with_context(|| format!("cannot read `{name}`"))? == 0 {
                break;
            }
            hash.update(&piece);
            size += piece.len() as u64;
            let digest = piece.strip_prefix(b"SHA256: ").filter(|_| is_start);
            let digest = digest.and_then(|it| std::str::from_utf8(it.trim_ascii_end()).ok());
            found.extend(digest.filter(|it| wanted.contains(it)).map(str::to_owned));
            is_start = piece.ends_with(b"\n");
        }
        Ok(Some(Self { digest: hex(&hash.finalize()), size, wanted: found }))
    }
}

/// The key that signs a release, and what it signs.
fn release(host: &Host, kept: &Root, keys: &[u8], list: &List) -> Result<Option<(String, String)>> {
    let file = |end: &str| kept.read(&format!("/{}{end}", list.start));
    if let Some(message) = file("InRelease")? {
        let found = openpgp::signed_text(host, keys, &message)?.filter(|(signer, _)| !signer.is_weak);
        return Ok(found.map(|(signer, text)| (signer.fingerprint, text)));
    }
    let (Some(release), Some(signature)) = (file("Release")?, file("Release.gpg")?) else { return Ok(None) };
    let signer = openpgp::signer(host, keys, &signature, &release)?.filter(|signer| !signer.is_weak);
    Ok(signer.map(|signer| (signer.fingerprint, String::from_utf8_lossy(&release).into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_pieces_and_only_a_whole_line_names_a_digest() {
        let dir = tempfile::tempdir().unwrap();
        let long = "SHA256: inside\n";
        let text = format!(
            "SHA256: one\nSize: 1\n{}{long}SHA256: two\r\nSHA256: other\nSHA256: last",
            "x".repeat(usize::try_from(Listed::LONGEST_LINE).unwrap())
        );
        fs::write(dir.path().join("list"), &text).unwrap();
        let kept = Root::open(dir.path()).unwrap();
        let wanted = BTreeSet::from(["one", "two", "inside", "last"]);
        let listed = Listed::read(&kept, "list", &wanted).unwrap().unwrap();
        assert_eq!(listed.digest, hex(&Sha256::digest(&text)));
        assert_eq!(listed.size, text.len() as u64);
        assert_eq!(listed.wanted.iter().map(String::as_str).collect::<Vec<_>>(), ["last", "one", "two"]);
        assert!(Listed::read(&kept, "no", &wanted).unwrap().is_none());
    }
}
