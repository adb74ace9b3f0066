//! Verifies a cache: finds blobs that are missing or damaged.

use super::Cache;
use super::bundle::Bundle;
use super::digest::Digest;
use super::hash::{Job, Problem};
use super::layout;
use super::read::Found;
use super::refs::{Budget, References, Referred};
use crate::host::Host;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What a check of a cache found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The blobs that were looked at.
    pub blobs: usize,
    /// The bytes that were hashed.
    pub bytes: u64,
    /// What is wrong, by digest.
    pub damaged: Vec<Damage>,
    /// Blobs that no bundle or image refers to; `gc` removes them.
    pub unreferenced: Vec<Digest>,
}

/// A missing or damaged blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The blob's digest.
    pub digest: Digest,
    /// What is wrong with it.
    pub problem: Problem,
    /// The bundles that need it.
    pub bundles: Vec<String>,
    /// Its file name in those bundles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Problem::Missing => "is missing",
            Problem::Truncated => "is cut short",
            Problem::TooLong => "is too long",
            Problem::Digest => "is not what its digest says",
            Problem::Unreadable => "cannot be read",
            Problem::Malformed => "is not the document it must be",
        };
        let title = self.title.as_ref().map(|title| format!(" (`{title}`)")).unwrap_or_default();
        write!(f, "the blob `{}`{title} {problem}", self.digest)
    }
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty()
    }
}

impl Cache {
    /// Hashes the blobs of some bundles, or all blobs in the cache, including those of other tools. Damage is part of
    /// the report; an error means that the check itself failed.
    pub fn verify(&self, host: &Host, only: Option<&[Bundle]>) -> Result<Report> {
        let index = layout::read_index(&self.dir)?;
        let mut unreferenced = Vec::new();
        let mut malformed = Vec::new();
        let wanted = if let Some(bundles) = only {
            blobs_of(bundles)
        } else {
            let references = References::follow(self, &host.cancel, index.manifests())?;
            // If an entry cannot be followed, its blobs would wrongly appear unreferenced.
            if references.unread.is_empty() {
                unreferenced = self.stored()?;
                unreferenced.retain(|digest| !references.blobs.contains_key(digest));
            }
            malformed =
                references.unread.iter().filter_map(|unread| layout::digest_of(&unread.entry).ok()).collect();
            let mut budget = Budget::default();
            for entry in index.manifests() {
                host.cancel.check()?;
                if matches!(self.find(entry, &mut budget), Err(_) | Ok(Found::Strange(_))) {
                    malformed.extend(layout::digest_of(entry));
                }
            }
            references.blobs
        };
        let (mut damaged, jobs) = self.presence(&wanted, &unreferenced);
        let blobs = damaged.len() + jobs.len();
        let bytes = super::total(jobs.iter().map(|job| job.size));
        let problems = self.hash_all(host, jobs, bytes)?;
        damaged.extend(problems);
        // A damaged document, or one that refers to it, cannot be parsed either; it is reported only once.
        let known: BTreeSet<Digest> = damaged.iter().map(|(digest, _)| *digest).collect();
        let known_tags: BTreeSet<&Arc<str>> = known
            .iter()
            .filter_map(|digest| wanted.get(digest))
            .flat_map(|referred| &referred.tags)
            .collect();
        for digest in malformed.into_iter().collect::<BTreeSet<_>>() {
            let explained =
                wanted.get(&digest).is_some_and(|it| it.tags.iter().any(|tag| known_tags.contains(tag)));
            if !explained {
                damaged.push((digest, Problem::Malformed));
            }
        }
        damaged.sort_unstable_by_key(|(digest, _)| *digest);
        let damaged =
            damaged.into_iter().map(|(digest, problem)| describe(digest, problem, &wanted)).collect();
        Ok(Report { blobs, bytes, damaged, unreferenced })
    }

    /// Hashes the files of a bundle, without its documents.
    pub fn verify_files(&self, host: &Host, bundle: &Bundle) -> Result<Report> {
        let mut wanted = blobs_of(std::slice::from_ref(bundle));
        let is_file = |digest: &Digest| bundle.files.iter().any(|file| file.digest == *digest);
        wanted.retain(|digest, _| is_file(digest));
        let (mut damaged, jobs) = self.presence(&wanted, &[]);
        let blobs = damaged.len() + jobs.len();
        let bytes = super::total(jobs.iter().map(|job| job.size));
        damaged.extend(self.hash_all(host, jobs, bytes)?);
        let damaged =
            damaged.into_iter().map(|(digest, problem)| describe(digest, problem, &wanted)).collect();
        Ok(Report { blobs, bytes, damaged, unreferenced: Vec::new() })
    }

    /// The blobs on the disk, by digest. Files with other names are none.
    pub(super) fn stored(&self) -> Result<Vec<Digest>> {
        let blobs = self.blobs_dir();
        let doing = || format!("cannot list `{}`", blobs.display());
        let mut stored = Vec::new();
        for entry in std::fs::read_dir(&blobs).with_context(doing)? {
            let name = entry.with_context(doing)?.file_name();
            stored.extend(name.to_str().and_then(|name| Digest::from_hex(name).ok()));
        }
        stored.sort_unstable();
        Ok(stored)
    }

    /// Finds blobs that are missing or have a wrong size, without reading them; the others are hashed afterwards.
    fn presence(
        &self,
        wanted: &BTreeMap<Digest, Referred>,
        unreferenced: &[Digest],
    ) -> (Vec<(Digest, Problem)>, Vec<Job>) {
        let mut damaged = Vec::new();
        let mut jobs = Vec::new();
        for (digest, referred) in wanted {
            match self.size_of(digest) {
                None => damaged.push((*digest, Problem::Missing)),
                Some(size) if size < referred.size => damaged.push((*digest, Problem::Truncated)),
                Some(size) if size > referred.size => damaged.push((*digest, Problem::TooLong)),
                Some(size) => jobs.push(Job { digest: *digest, size }),
            }
        }
        for digest in unreferenced {
            match self.size_of(digest) {
                None => damaged.push((*digest, Problem::Unreadable)),
                Some(size) => jobs.push(Job { digest: *digest, size }),
            }
        }
        (damaged, jobs)
    }
}

fn blobs_of(bundles: &[Bundle]) -> BTreeMap<Digest, Referred> {
    let mut blobs: BTreeMap<Digest, Referred> = BTreeMap::new();
    for bundle in bundles {
        let tag: Arc<str> = Arc::from(bundle.tag.as_str());
        let files = bundle.files.iter().map(|file| (file.digest, file.size, Some(file.title.clone())));
        let documents = [
            (bundle.digest, bundle.manifest_size, None),
            (bundle.config_blob.digest, bundle.config_blob.size, None),
        ];
        for (digest, size, title) in files.chain(documents) {
            let referred = blobs.entry(digest).or_default();
            referred.size = size;
            referred.tags.insert(Arc::clone(&tag));
            referred.title = referred.title.take().or(title);
        }
    }
    blobs
}

fn describe(digest: Digest, problem: Problem, wanted: &BTreeMap<Digest, Referred>) -> Damage {
    let referred = wanted.get(&digest).cloned().unwrap_or_default();
    Damage {
        digest,
        problem,
        bundles: referred.tags.iter().map(ToString::to_string).collect(),
        title: referred.title,
    }
}

impl From<&Damage> for anyhow::Error {
    fn from(damage: &Damage) -> Self {
        let reason =
            if damage.problem == Problem::Missing { Reason::CacheMissing } else { Reason::DigestMismatch };
        reason.error(damage.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Lab, flip_a_bit};
    use super::*;
    use crate::events::Events;
    use crate::host::cancel::Cancel;
    use std::time::Duration;

    #[test]
    fn a_sound_cache_is_hashed_whole() {
        let lab = Lab::new();
        let bundle = lab.publish("one", &[("a.deb", b"aa"), ("b.deb", b"b")]);
        let report = lab.cache.verify(&lab.host, None).unwrap();
        assert!(report.is_sound() && report.unreferenced.is_empty(), "{report:?}");
        assert_eq!((report.blobs, report.bytes), (4, bundle.size_in_all));
    }

    #[test]
    fn every_kind_of_damage_is_found_and_named() {
        let lab = Lab::new();
        let files: [(&str, &[u8]); 4] =
            [("flipped", b"aaaa"), ("short", b"bbbb"), ("long", b"cccc"), ("gone", b"dddd")];
        lab.publish("one", &files);
        let path = |bytes: &[u8]| lab.cache.blob_path(&Digest::of_bytes(bytes));
        flip_a_bit(&path(b"aaaa"));
        std::fs::write(path(b"bbbb"), "b").unwrap();
        std::fs::write(path(b"cccc"), "ccccc").unwrap();
        std::fs::remove_file(path(b"dddd")).unwrap();
        let report = lab.cache.verify(&lab.host, None).unwrap();
        let mut found: Vec<_> =
            report.damaged.iter().map(|it| (it.title.as_deref().unwrap(), it.problem)).collect();
        found.sort_by_key(|(title, _)| *title);
        let expected = [
            ("flipped", Problem::Digest),
            ("gone", Problem::Missing),
            ("long", Problem::TooLong),
            ("short", Problem::Truncated),
        ];
        assert_eq!(found, expected);
        assert!(report.damaged.iter().all(|damage| damage.bundles == ["one"]));
        let only = lab.cache.bundles().unwrap();
        assert_eq!(lab.cache.verify(&lab.host, Some(&only)).unwrap().damaged, report.damaged);
    }

    #[test]
    fn a_damaged_document_is_reported_once_and_does_not_end_the_check() {
        let lab = Lab::new();
        let one = lab.publish("one", &[("a.deb", b"a")]);
        let two = lab.publish("two", &[("b.deb", b"b")]);
        flip_a_bit(&lab.cache.blob_path(&one.digest));
        flip_a_bit(&lab.cache.blob_path(&two.config_blob.digest));
        let report = lab.cache.verify(&lab.host, None).unwrap();
        let mut found: Vec<_> =
            report.damaged.iter().map(|it| (it.bundles[0].as_str(), it.problem)).collect();
        found.sort_unstable_by_key(|(tag, _)| *tag);
        assert_eq!(found, [("one", Problem::Digest), ("two", Problem::Digest)]);
        assert!(report.unreferenced.is_empty(), "what a damaged manifest needs looks unneeded");
    }

    #[test]
    fn a_config_that_is_no_bundle_config_is_malformed() {
        let lab = Lab::new();
        lab.publish_strange("later");
        let report = lab.cache.verify(&lab.host, None).unwrap();
        assert_eq!(report.damaged.iter().map(|it| it.problem).collect::<Vec<_>>(), [Problem::Malformed]);
    }

    #[test]
    fn blobs_nobody_needs_are_listed_and_hashed_all_the_same() {
        let lab = Lab::new();
        let lost = lab.writer().put(b"lost").unwrap().digest;
        let report = lab.cache.verify(&lab.host, None).unwrap();
        assert_eq!((report.unreferenced.as_slice(), report.bytes), ([lost].as_slice(), 4));
        flip_a_bit(&lab.cache.blob_path(&lost));
        assert_eq!(lab.cache.verify(&lab.host, None).unwrap().damaged[0].problem, Problem::Digest);
    }

    #[test]
    fn a_check_ends_when_the_run_must() {
        let lab = Lab::new();
        lab.publish("one", &[("a.deb", b"a")]);
        let cancel = Cancel::never().within(Duration::ZERO);
        let host = Host::open(lab.dir.path(), Events::silent(), cancel).unwrap();
        let error = lab.cache.verify(&host, None).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::DeadlineExceeded);
    }
}
