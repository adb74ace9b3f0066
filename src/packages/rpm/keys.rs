//! The signatures of packages, which stand for what apt's signed index stands for: checked once, while staging, with
//! the keys that the target's repositories name. From then on the digest in the bundle stands for them.

use super::super::openpgp::{self, Certificate, Signer};
use super::super::sources_and_keys::LARGEST_KEY;
use super::super::{Arrived, Resolution};
use super::dnf::script::Trust;
use crate::host::Host;
use crate::host::download::Stream;
use crate::host::http::{self, Client, NetworkOptions};
use crate::host::run::Cmd;
use crate::host::temp::Folder;
use crate::outcome::{Reason, WithReason};
use crate::trust::Origin;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Checks every file whose repository asks for signatures.
pub(super) fn check(host: &Host, trust: &Trust, arrived: &[Arrived], way: NetworkOptions) -> Result<()> {
    let files: Vec<String> = arrived
        .iter()
        .filter(|file| trust.signed.contains(&file.file))
        .map(|file| file.path.display().to_string())
        .collect();
    if files.is_empty() {
        return Ok(());
    }
    let scratch = Folder::small("keys")?;
    let database = format!("--dbpath={}", scratch.path().join("database").display());
    // A key that cannot be had is missed only where a package needs it, as by dnf, which asks what rpm knows first.
    let mut missed = None;
    for (number, key) in trust.keys.iter().enumerate() {
        let to = scratch.path().join(number.to_string());
        if let Err(error) = import_key(host, key, &database, &to, way) {
            missed.get_or_insert(error);
        }
        host.cancel.check()?;
    }
    let check = Cmd::new("rpmkeys").args([&database, "--define=_pkgverify_level all", "--checksig"]);
    let checked = host.run(&check.args(files).captured())?;
    match missed {
        _ if checked.code == 0 => return Ok(()),
        Some(error) => return Err(error),
        None => {}
    }
    let wrong: Vec<String> = checked
        .stdout
        .lines()
        .filter(|line| !line.ends_with(" OK") || line.contains("NOT OK"))
        .map(|line| named(line, arrived))
        .collect();
    let keys = if trust.keys.is_empty() { "no key at all".to_owned() } else { trust.keys.join(", ") };
    Err(Reason::RepositoryKey.error(format!("{}; the repositories name {keys}", wrong.join("; "))))
}

/// Who signed all of these packages: one owner of `keys`. None where one of the packages is signed by nobody of those, or
/// by somebody else than the others, and where this machine cannot tell. A package that is not whole is an error.
pub(super) fn signer_of_all(host: &Host, keys: &[u8], files: &[PathBuf]) -> Result<Option<Signer>> {
    if files.is_empty() || !openpgp::is_here("rpmkeys") {
        return Ok(None);
    }
    let paths = || files.iter().map(|file| file.display().to_string());
    let said = signatures(host, paths(), Reason::WrongPackage)?;
    let ids: BTreeSet<Option<String>> = said.lines().map(key_id).collect();
    let one = ids.first().cloned().flatten().filter(|_| ids.len() == 1);
    // What a package says of its signer only tells which key to ask for: rpm then knows no other one.
    let key = one.and_then(|id| openpgp::certificate(keys, &id));
    let scratch = Folder::small("keys")?;
    let database = format!("--dbpath={}", scratch.path().join("database").display());
    if let Some(key) = &key {
        let path = scratch.path().join("key.asc");
        std::fs::write(&path, &key.armoured).context("cannot keep a key")?;
        // A key that rpm does not take has signed nothing.
        host.run(&Cmd::new("rpmkeys").args([&database, "--import", &path.display().to_string()]))?;
    }
    let check = Cmd::new("rpmkeys").args([&database, "--define=_pkgverify_level all", "--checksig"]);
    let checked = host.run(&check.args(paths()).captured())?;
    // What is wrong is in capitals (rpmkeys(8)).
    if let Some(line) = checked.stdout.lines().find(|line| line.contains(" DIGESTS ")) {
        return Err(Reason::DigestMismatch.error(line.to_owned()));
    }
    let good = checked.stdout.lines().filter(|line| line.ends_with(" OK") && !line.contains("NOT OK"));
    let is_good = checked.code == 0 && good.count() == files.len();
    let signer =
        |key: Certificate| Signer { fingerprint: key.fingerprint, is_weak: said.lines().any(is_weak) };
    Ok(key.filter(|_| is_good).map(signer))
}

/// Whether one of the signatures that rpm tells of proves little: `DSA/SHA1, DATE, Key ID 0123456789abcdef`.
fn is_weak(line: &str) -> bool {
    let is_weak =
        |word: &str| word.starts_with("DSA/") || ["/SHA1,", "/MD5,"].iter().any(|end| word.ends_with(end));
    line.split_whitespace().any(is_weak)
}

/// The end of the fingerprint of the key that a signature says it was made with.
fn key_id(line: &str) -> Option<String> {
    Some(line.split("Key ID ").nth(1)?.split_whitespace().next()?.to_ascii_uppercase())
}

/// What rpm tells of the signatures of packages, a line for each.
fn signatures(host: &Host, paths: impl Iterator<Item = String>, reason: Reason) -> Result<String> {
    const FORMAT: &str = "%{SIGPGP:pgpsig} %{RSAHEADER:pgpsig} %{DSAHEADER:pgpsig}\\n";
    let query = ["--query", "--nosignature", "--nomanifest", "--queryformat", FORMAT, "--package"];
    let asked = host.run(&Cmd::new("rpm").args(query).args(paths).captured())?;
    Ok(asked.check(reason, "asking who signed packages")?.stdout)
}

/// The repositories of the files, each with the keys that made the signatures which [`check`] found good. What lies in the
/// target itself is named by its path there.
pub(super) fn origins(host: &Host, resolution: &Resolution, arrived: &[Arrived]) -> Result<Vec<Origin>> {
    let trust: Trust =
        serde_json::from_str(&resolution.described).context("cannot read what dnf said of keys")?;
    let named = |file: &Arrived| Some((file.clone(), trust.repositories.get(&file.file)?));
    let (files, repositories): (Vec<Arrived>, Vec<&String>) = arrived.iter().filter_map(named).unzip();
    let mut origins: BTreeMap<&str, Origin> = BTreeMap::new();
    let mut unsigned = BTreeSet::new();
    for ((file, repository), key) in files.iter().zip(repositories).zip(signers(host, &files)?) {
        let origin = origins.entry(repository).or_default();
        origin.repository.clone_from(repository);
        if let Some(local) = resolution.local.get(&file.file).filter(|local| local.is_of_target) {
            origin.files.insert(file.file.clone(), local.path.clone());
        }
        match key.filter(|_| trust.signed.contains(&file.file)) {
            Some(key) => origin.keys.push(key),
            None => drop(unsigned.insert(repository.as_str())),
        }
    }
    for (repository, origin) in &mut origins {
        origin.keys.sort();
        origin.keys.dedup();
        if unsigned.contains(repository) {
            origin.keys.clear();
        }
    }
    Ok(origins.into_values().collect())
}

/// The key that signed each of the files, by the end of its fingerprint: one line of rpm's for each.
fn signers(host: &Host, files: &[Arrived]) -> Result<Vec<Option<String>>> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let said =
        signatures(host, files.iter().map(|file| file.path.display().to_string()), Reason::RepositoryKey)?;
    let keys: Vec<Option<String>> = said.lines().map(key_id).collect();
    if keys.len() != files.len() {
        let what = format!("rpm named the signers of {} packages, of {} asked", keys.len(), files.len());
        return Err(Reason::RepositoryKey.error(what));
    }
    Ok(keys)
}

/// Adds a key to a database of rpm's.
fn import_key(host: &Host, key: &str, database: &str, to: &Path, way: NetworkOptions) -> Result<()> {
    let path = fetch_key(host, key, to, way)?;
    let import = Cmd::new("rpmkeys").args([database, "--import", &path]);
    host.run(&import)?.check(Reason::RepositoryKey, &format!("reading the key `{key}`")).map(drop)
}

/// Brings a key to this machine; returns its path.
fn fetch_key(host: &Host, key: &str, to: &Path, way: NetworkOptions) -> Result<String> {
    if let Some(path) = key.strip_prefix("file://") {
        return Ok(path.to_owned());
    }
    if !key.starts_with("https://") {
        let what = format!(
            "the key `{}` would come over a line that anybody can change",
            http::without_secrets(key)
        );
        return Err(Reason::RepositoryKey.error(what));
    }
    let missing = || format!("fetching the key `{}`", http::without_secrets(key));
    let client = Client::new(way)?;
    let stream = Stream::new(host, &client, way, key, None)?;
    let mut file = std::fs::File::create(to).context("cannot keep a key")?;
    std::io::copy(&mut stream.take(LARGEST_KEY), &mut file).with_reason(Reason::RepositoryKey, missing)?;
    Ok(to.display().to_string())
}

/// rpm's line with the name of the package instead of the blob's.
fn named(line: &str, arrived: &[Arrived]) -> String {
    let (path, said) = line.split_once(": ").unwrap_or((line, ""));
    let file = arrived.iter().find(|file| file.path == Path::new(path)).map_or(path, |file| &file.file);
    format!("{file}: {said}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;
    use crate::settings::Settings;

    #[test]
    fn a_signature_is_told_by_its_key_and_is_weak_where_its_digest_is() {
        let strong = "(none) RSA/SHA256, Tue 02 Jun 2020, Key ID 0123456789abcdef (none)";
        assert_eq!(key_id(strong).as_deref(), Some("0123456789ABCDEF"));
        assert_eq!(key_id("(none) (none) (none)"), None);
        let strong = [strong, "(none) EdDSA/SHA256, Tue 02 Jun 2020, Key ID 0123456789abcdef"];
        let weak =
            ["DSA/SHA1, Tue 02 Jun 2020, Key ID 0 (none)", "RSA/SHA1, Tue 02 Jun 2020, Key ID 0 (none)"];
        assert!(!strong.into_iter().any(is_weak) && weak.into_iter().all(is_weak));
    }

    #[test]
    fn a_key_comes_from_this_machine_or_over_tls_and_no_other_way() {
        let (dir, host) = on_an_empty_root(Cancel::never());
        let settings = Settings::default();
        let fetch = |key: &str| {
            fetch_key(&host, key, &dir.path().join("key"), NetworkOptions::from_settings(&settings))
        };
        assert_eq!(fetch("file:///etc/pki/rpm-gpg/KEY").unwrap(), "/etc/pki/rpm-gpg/KEY");
        for key in ["http://me:secret@keys.example/KEY", "ftp://keys.example/KEY", "keys.example/KEY"] {
            let error = fetch(key).unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::RepositoryKey, "{error:#}");
            let said = format!("{error:#}");
            assert!(said.contains("a line that anybody can change") && !said.contains("secret"), "{said}");
        }
        assert!(!dir.path().join("key").exists());
    }

    #[test]
    fn rpm_s_word_on_a_file_names_the_package_and_keeps_what_it_said() {
        let arrived = [Arrived { file: "a-1.rpm".to_owned(), path: "/cache/blobs/1f".into() }];
        assert_eq!(
            named("/cache/blobs/1f: digests SIGNATURES NOT OK", &arrived),
            "a-1.rpm: digests SIGNATURES NOT OK"
        );
        assert_eq!(named("/elsewhere: NOT OK", &arrived), "/elsewhere: NOT OK");
        assert_eq!(named("no file at all", &arrived), "no file at all: ");
    }

    #[test]
    fn no_packages_are_signed_by_nobody() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        assert_eq!(signer_of_all(&host, b"", &[]).unwrap(), None);
        assert_eq!(signers(&host, &[]).unwrap(), Vec::<Option<String>>::new());
    }
}
