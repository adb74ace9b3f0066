//! For which image a bundle is good whose packages an image's own package manager named.
//!
//! What the code of an image says counts for that image. Another image takes such a bundle only where it trusts by
//! itself what is in it: it has the keys by which this program found the packages signed; or its own files say of the
//! repository, word for word, what those of the first one said, so that it would itself take what comes from there; or
//! it has the very files; or its receipt says that it was installed from this bundle. All else is staged again.

use crate::cache::{Bundle, Digest};
use crate::host::fs::Root;
use crate::host::http::without_secrets;
use crate::ledger::Receipt;
use crate::outcome::Cause;
use crate::packages::{openpgp, sources_and_keys};
use crate::trust::Origin;
use anyhow::Result;
use std::collections::BTreeSet;

/// Notes what the target's files say of the repositories.
pub(super) fn described(target: &Root, mut origins: Vec<Origin>) -> Vec<Origin> {
    let sources = sources_and_keys::sources(target);
    for origin in &mut origins {
        origin.settings = digest_of_settings(&sources, &origin.repository);
    }
    origins
}

/// The bundles that the target can trust; an error that names what it cannot where none is left.
pub(super) fn keep_trusted(bundles: Vec<Bundle>, target: &Root) -> Result<Vec<Bundle>> {
    if bundles.iter().all(|bundle| bundle.config.origins.is_empty()) {
        return Ok(bundles);
    }
    let trusted = Trusted::from_root(target);
    // What it has taken once it may take again, whatever has become of its sources since.
    let taken = Receipt::load(target)?.and_then(|receipt| receipt.bundle);
    let mut refused = None;
    let mut kept = Vec::new();
    for bundle in bundles {
        let is_taken = taken.as_ref().is_some_and(|digest| *digest == bundle.digest.to_string());
        let is_stranger = |origin: &&Origin| !is_taken && !trusted.takes(origin, &bundle);
        let strangers = bundle.config.origins.iter().filter(is_stranger);
        let strangers: Vec<&str> = strangers.map(|origin| origin.repository.as_str()).collect();
        if strangers.is_empty() {
            kept.push(bundle);
        } else {
            refused = Some(format!("{} has packages of {}", bundle.tag, strangers.join(", ")));
        }
    }
    match refused.filter(|_| kept.is_empty()) {
        None => Ok(kept),
        Some(what) => Err(Cause::TargetNotStaged.error(format!(
            "the bundle {what}, which another image's own package manager named; this image has neither the key that signs \
             them nor that package source"
        ))),
    }
}

/// What a target trusts by itself.
struct Trusted<'a> {
    target: &'a Root,
    sources: Vec<String>,
    keys: Vec<String>,
}

impl<'a> Trusted<'a> {
    fn from_root(target: &'a Root) -> Self {
        let sources = sources_and_keys::sources(target);
        let keys =
            sources_and_keys::all(target).iter().flat_map(|bytes| openpgp::fingerprints(bytes)).collect();
        Self { target, sources, keys }
    }

    fn takes(&self, origin: &Origin, bundle: &Bundle) -> bool {
        let has = |key: &String| self.keys.iter().any(|known| known.ends_with(key.as_str()));
        if !origin.keys.is_empty() && origin.keys.iter().all(has) {
            return true;
        }
        self.says_the_same(origin)
            && origin.files.iter().all(|(title, path)| self.has_file(bundle, title, path))
    }

    fn says_the_same(&self, origin: &Origin) -> bool {
        origin.settings.is_some() && digest_of_settings(&self.sources, &origin.repository) == origin.settings
    }

    fn has_file(&self, bundle: &Bundle, title: &str, path: &str) -> bool {
        let ours = self.target.read(path).ok().flatten().map(|bytes| Digest::of_bytes(&bytes));
        ours.is_some() && bundle.file(title).map(|file| file.digest) == ours
    }
}

fn digest_of_settings(sources: &[String], repository: &str) -> Option<String> {
    let settings = section(sources, repository).or_else(|| entries(sources, repository))?;
    Some(Digest::of_bytes(settings.as_bytes()).hex())
}

/// What the sources say of a repository that has a name, as dnf's do: its heading and the lines up to the next one.
fn section(sources: &[String], name: &str) -> Option<String> {
    let heading = format!("[{name}]");
    let in_text = |text: &String| {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let at = lines.iter().position(|line| *line == heading)?;
        let below = lines[at + 1..].iter().take_while(|line| !line.starts_with('['));
        let below = below.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Some(below.fold(heading.clone(), |all, line| all + "\n" + line))
    };
    sources.iter().find_map(in_text)
}

/// What the sources say of a repository that has only an address, as apt's do (sources.list(5)): each line that names it, and
/// in the deb822 style each paragraph. Options such as `[trusted=yes]` are part of that; comments and spaces are not.
fn entries(sources: &[String], address: &str) -> Option<String> {
    let wanted = place(address)?;
    let mut found = BTreeSet::new();
    for text in sources {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        let is_deb822 = lines.iter().any(|line| line.to_ascii_lowercase().starts_with("uris:"));
        let parts: Vec<String> = if is_deb822 {
            lines.split(|line| line.trim().is_empty()).map(|part| part.join(" ")).collect()
        } else {
            // A comment may stand behind an entry.
            lines.iter().map(|line| line.split(" #").next().unwrap_or_default().to_owned()).collect()
        };
        for part in parts {
            let words: Vec<&str> = part.split_whitespace().collect();
            if words.iter().any(|word| place(&without_secrets(word)) == Some(wanted)) {
                found.insert(words.join(" "));
            }
        }
    }
    (!found.is_empty()).then(|| found.into_iter().collect::<Vec<_>>().join("\n"))
}

/// An address without its scheme, and without the slashes at its ends, which apt writes its own way; none for other words.
fn place(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once(':')?;
    Some(rest.trim_matches('/')).filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_what_a_source_says_of_one_repository() {
        let sources = ["[a]\nbaseurl=x\n\n# of a\ngpgcheck = 0\n[b]\nbaseurl=y\n".to_owned()];
        assert_eq!(section(&sources, "a").as_deref(), Some("[a]\nbaseurl=x\ngpgcheck = 0"));
        assert_eq!(section(&sources, "b").as_deref(), Some("[b]\nbaseurl=y"));
        assert_eq!(section(&sources, "c"), None);
    }

    #[test]
    fn an_entry_is_a_line_or_a_paragraph_that_names_the_very_address() {
        let sources = [
            "# deb http://h/off ./\ndeb  [trusted=yes] http://h/a/ ./ # ours\ndeb http://h/a-security ./\n",
            "Types: deb\nURIs: http://h/b\n# no\nSuites: ./\nTrusted: yes\n\nTypes: deb\nURIs: file:///srv/c\nSuites: ./\n",
        ]
        .map(str::to_owned);
        let said = |address: &str| entries(&sources, address);
        assert_eq!(said("http://h/a/").as_deref(), Some("deb [trusted=yes] http://h/a/ ./"));
        assert_eq!(
            said("http://h/b/").as_deref(),
            Some("Types: deb URIs: http://h/b Suites: ./ Trusted: yes")
        );
        assert_eq!(said("file:/srv/c/").as_deref(), Some("Types: deb URIs: file:///srv/c Suites: ./"));
        for other in ["http://h/off/", "http://h/", "http://h/a/b", "deb", ""] {
            assert_eq!(said(other), None, "{other}");
        }
    }
}
