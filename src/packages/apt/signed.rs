//! Finds packages from unsigned repositories, by the files that apt has stored of the repositories it read.

use super::super::{Download, Resolution, openpgp, sources_and_keys};
use super::run::{AptRun, List};
use crate::host::fs::Root;
use crate::host::http::without_secrets;
use crate::host::{Host, hex};
use crate::trust::Origin;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

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

/// What a key of the target signs, of the package lists that its apt has read.
pub(super) struct SignedLists<'a> {
    lists: &'a [List],
    /// The key that signs each of them, and the packages in it by their SHA-256; none where no key does.
    signed: Vec<Option<(String, HashSet<[u8; 32]>)>>,
}

impl<'a> SignedLists<'a> {
    /// Reads the lists: a key of the target signs the release, and the release has the digest of the list.
    pub(super) fn read(host: &Host, kept: &Path, lists: &'a [List], target: &Root) -> Result<Self> {
        let kept = Root::open(kept)?;
        let keys = sources_and_keys::all(target).into_iter();
        let keys = keys.filter_map(|bytes| openpgp::without_armour(&bytes).ok());
        let keys = keys.filter(|bytes| !openpgp::fingerprints(bytes).is_empty()).collect::<Vec<_>>().concat();
        let mut releases = BTreeMap::new();
        let mut checked = Vec::new();
        for list in lists {
            let release = match releases.entry(list.start.as_str()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(release(host, &kept, &keys, list)?),
            };
            let Some((signer, text)) = release else {
                checked.push(None);
                continue;
            };
            let found = Listed::read(&kept, &list.file)?.filter(|found| found.is_named(text, &list.key));
            checked.push(found.map(|found| (signer.clone(), found.packages)));
        }
        Ok(Self { lists, signed: checked })
    }

    /// The repositories of what apt resolved, each with the keys by which this program, too, finds its packages signed.
    pub(super) fn origins(&self, resolution: &Resolution) -> Vec<Origin> {
        let mut origins: BTreeMap<&str, (Origin, bool)> = BTreeMap::new();
        for download in &resolution.downloads {
            let list = self.lists.iter().find(|list| download.url.starts_with(&list.repository));
            let repository = list.map_or(download.url.as_str(), |list| &list.repository);
            let (origin, is_signed) = origins.entry(repository).or_insert_with(|| (Origin::default(), true));
            origin.repository = without_secrets(repository);
            match self.signer(download) {
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
        origins.into_values().map(one).collect()
    }

    /// The key that signs a list of the package's repository which has the package.
    fn signer(&self, download: &Download) -> Option<&String> {
        let digest = from_hex(&download.sha256)?;
        let (_, signed) = self.lists.iter().zip(&self.signed).find(|(list, signed)| {
            download.url.starts_with(&list.repository)
                && signed.as_ref().is_some_and(|(_, packages)| packages.contains(&digest))
        })?;
        signed.as_ref().map(|(signer, _)| signer)
    }
}

/// A list of packages, read once: fifty megabytes of it are never held together.
struct Listed {
    digest: String,
    size: u64,
    /// The SHA-256 of each package in it.
    packages: HashSet<[u8; 32]>,
}

impl Listed {
    /// Longer lines are read in pieces.
    const LONGEST_LINE: u64 = 1 << 16;

    fn read(kept: &Root, name: &str) -> Result<Option<Self>> {
        let Some((file, _)) = kept.open_file(&format!("/{name}"))? else { return Ok(None) };
        let mut reader = BufReader::with_capacity(1 << 17, file);
        let (mut hash, mut size, mut packages) = (Sha256::new(), 0, HashSet::new());
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
            packages.extend(digest.and_then(from_hex));
            is_start = piece.ends_with(b"\n");
        }
        Ok(Some(Self { digest: hex(&hash.finalize()), size, packages }))
    }

    /// Whether a release names it, as its file `key`.
    fn is_named(&self, release: &str, key: &str) -> bool {
        let size = self.size.to_string();
        release.lines().any(|line| line.split_whitespace().eq([self.digest.as_str(), size.as_str(), key]))
    }
}

/// A SHA-256 from its hexadecimal digits.
fn from_hex(digits: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let pairs = digits.as_bytes().chunks_exact(2);
    if digits.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
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
        let line = |digit: &str| format!("SHA256: {}", digit.repeat(64));
        let text = format!(
            "{}\nSize: 1\n{}{}\n{}\r\nSHA256: short\n{}",
            line("1"),
            "x".repeat(usize::try_from(Listed::LONGEST_LINE).unwrap()),
            line("9"),
            line("2"),
            line("3")
        );
        fs::write(dir.path().join("list"), &text).unwrap();
        let kept = Root::open(dir.path()).unwrap();
        let listed = Listed::read(&kept, "list").unwrap().unwrap();
        assert_eq!(listed.packages, HashSet::from([[0x11; 32], [0x22; 32], [0x33; 32]]));
        let digest = hex(&Sha256::digest(&text));
        assert!(listed.is_named(&format!(" {digest} {} main/Packages\n", text.len()), "main/Packages"));
        assert!(!listed.is_named(&format!(" {digest} {} other/Packages\n", text.len()), "main/Packages"));
        assert!(!listed.is_named(&format!(" {digest} 1 main/Packages\n"), "main/Packages"));
        assert!(Listed::read(&kept, "no").unwrap().is_none());
    }
}
