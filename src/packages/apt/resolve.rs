//! Asks apt, in a private state folder, for the packages to download for a target.

use super::super::diagnose::{self, Diagnosis, Doing, Speaker};
use super::super::{Base, Download, Resolution, ResolveRequest};
use super::run::AptRun;
use super::{signed, states};
use crate::host::Host;
use crate::host::run::Finished;
use crate::outcome::{Cause, Reason, WithReason};
use anyhow::Result;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

pub(super) const HEARD: Doing = Doing::Resolving(Speaker::Apt);
pub(super) const READING: &str = "reading the target's package sources";

/// Asks apt after it has read the package sources; `trouble` is the first failure while reading. `vendor` is the folder
/// with the vendor's packages.
pub(super) fn resolve_closure(
    host: &Host,
    apt: &AptRun,
    request: &ResolveRequest,
    vendor: Option<&str>,
    (update, trouble): (&Finished, Option<Diagnosis>),
) -> Result<Resolution> {
    let packages = packages(host, apt, request)?;
    let doing = format!("resolving {}", packages.join(" "));
    let install = apt.cmd("apt-get").args(["--print-uris", "--yes", "install", "--no-install-recommends"]);
    let printed = host.run(&install.args(packages).captured())?;
    let reason = diagnose::reason_of(&printed.output, HEARD, Reason::ResolveFailed);
    if printed.code != 0
        && let Some(trouble) = trouble
    {
        return Err(diagnose::told(host, update, Some(trouble), READING, request.distro, "apt-get"));
    }
    if printed.code != 0 && !reads_sources(update) {
        let what = "apt read no package source: none is in force in what was given";
        return Err(Reason::ResolveFailed.error(format!("{doing}: {what}")));
    }
    if let Some(line) = printed.output.lines().find(|line| is_not_whole(line)) {
        return Err(Cause::PackageNotWhole.error(format!("{doing}: apt-get said: {line}")));
    }
    let printed = printed.check(reason, &doing)?;
    let mut downloads = printed.stdout.lines().filter_map(parse_uri).collect::<Result<Vec<_>>>()?;
    let mut at_hand = Vec::new();
    if let Some((vendor_repo, vendor)) = request.vendor_repo.zip(vendor) {
        let prefix = format!("file:{vendor}/");
        let below = |it: &Download| {
            Some(
                it.url
                    .replacen("file://", "file:", 1)
                    .strip_prefix(&prefix)?
                    .trim_start_matches("./")
                    .to_owned(),
            )
        };
        if vendor_repo.goes_first {
            refuse_absent(&vendor_repo.folder, &downloads.iter().filter_map(below).collect::<Vec<_>>())?;
        }
        let (vendors, others): (Vec<_>, _) = downloads.into_iter().partition(|it| below(it).is_some());
        at_hand = vendors.iter().filter_map(|it| it.name.split('=').next()).map(str::to_owned).collect();
        downloads = others;
    }
    let described = index(host, apt, &downloads)?;
    let unsigned = signed::unsigned(host, apt, &downloads)?;
    Ok(Resolution {
        downloads,
        at_hand,
        described,
        unsigned,
        proxy: apt.proxy(host),
        ..Resolution::default()
    })
}

/// Whether apt says that a package of the target is half installed and no source has it, as apt 2.6 does.
fn is_not_whole(line: &str) -> bool {
    line.starts_with("E: The package ")
        && line.ends_with(" needs to be reinstalled, but I can't find an archive for it.")
}

/// Whether `apt-get update` asked any source.
fn reads_sources(update: &Finished) -> bool {
    let asked = |line: &str| ["Hit:", "Get:", "Ign:", "Err:"].iter().any(|begin| line.starts_with(begin));
    update.output.lines().any(asked)
}

/// The packages to request: the wanted ones, and those that a vendor's installer will request, if they are available.
fn packages(host: &Host, apt: &AptRun, request: &ResolveRequest) -> Result<Vec<String>> {
    let mut packages = request.packages.to_vec();
    let Some(vendor_repo) = request.vendor_repo else { return Ok(packages) };
    packages.extend(vendor_repo.packages.iter().cloned());
    if !vendor_repo.wanted.is_empty() {
        let asked = apt.cmd("apt-cache").arg("policy").args(vendor_repo.wanted.iter().copied()).captured();
        let known = host.run(&asked)?.check(Reason::ResolveFailed, "asking which packages there are")?.stdout;
        packages.extend(with_candidates(&known));
    }
    Ok(packages)
}

/// The names in `apt-cache policy`'s answer that can be installed.
fn with_candidates(policy: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = "";
    for line in policy.lines() {
        if let Some(heading) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            name = heading;
        }
        let candidate = line.trim().strip_prefix("Candidate: ");
        if candidate.is_some_and(|version| version != "(none)") {
            names.push(name.to_owned());
        }
    }
    names
}

/// Fails if the vendor's file lacks packages that its own index names.
fn refuse_absent(folder: &Path, at_hand: &[String]) -> Result<()> {
    let absent = at_hand.iter().filter(|file| !folder.join(file).exists());
    let absent = absent.map(String::as_str).collect::<Vec<_>>().join(", ");
    if absent.is_empty() {
        return Ok(());
    }
    Err(Reason::WrongPackage.error(format!("the vendor's file lacks what its own index names: {absent}")))
}

pub(super) fn installed_set(request: &ResolveRequest) -> Result<Vec<u8>> {
    match request.base {
        Base::Empty => Ok(Vec::new()),
        Base::Root(root) => root
            .read(states::STATUS)?
            .ok_or_else(|| Reason::BadRoot.error(format!("there is no `{}` in the root", states::STATUS))),
        Base::StatusFile(path) => {
            fs::read(path).with_reason(Reason::Usage, || format!("cannot read `{}`", path.display()))
        }
    }
}

/// One line of `apt-get --print-uris`: `'URI' FILE SIZE SHA256:HASH`.
fn parse_uri(line: &str) -> Option<Result<Download>> {
    let (url, rest) = line.strip_prefix('\'')?.split_once('\'')?;
    let parsed = || {
        let mut words = rest.split_whitespace();
        let name = file_package(words.next()?)?;
        let size = words.next()?.parse().ok()?;
        let sha256 = words.next()?.strip_prefix("SHA256:")?.to_owned();
        let file = percent_decoded(url.rsplit('/').next()?)?;
        // A path is a path; only what goes over the network stays encoded.
        let url = if url.starts_with("file:") { percent_decoded(url)? } else { url.to_owned() };
        Some(Download { url, others: Vec::new(), name, file, size, sha256 })
    };
    Some(parsed().ok_or_else(|| {
        // Without a SHA-256 from signed metadata a file is not fit to be installed by root.
        Reason::ResolveFailed.error(format!("apt names no SHA-256 for `{}`", line.trim()))
    }))
}

/// The package and its exact version in the name that apt gives a file.
pub(super) fn file_package(file: &str) -> Option<String> {
    let mut parts = file.split('_');
    Some(format!("{}={}", parts.next()?, percent_decoded(parts.next()?)?))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The index of a flat repository: apt's own stanzas, each pointing to its plain file name.
fn index(host: &Host, apt: &AptRun, downloads: &[Download]) -> Result<String> {
    if downloads.is_empty() {
        return Ok(String::new());
    }
    let names = downloads.iter().map(|download| download.name.clone());
    let shown = host
        .run(&apt.cmd("apt-cache").arg("show").args(names).captured())?
        .check(Reason::ResolveFailed, "reading the packages' descriptions")?;
    let wanted: HashMap<&str, &str> =
        downloads.iter().map(|d| (d.sha256.as_str(), d.file.as_str())).collect();
    let mut stanzas: HashMap<&str, String> = HashMap::new();
    for stanza in shown.stdout.split("\n\n") {
        let Some(sha256) = stanza.lines().find_map(|line| line.strip_prefix("SHA256: ")) else { continue };
        if let Some((sha256, file)) = wanted.get_key_value(sha256.trim()) {
            stanzas.entry(sha256).or_insert_with(|| with_file_name(stanza, file));
        }
    }
    // In the order of the downloads, so that the same answer makes the same index.
    let found = downloads.iter().map(|download| {
        stanzas.get(download.sha256.as_str()).map(String::as_str).ok_or_else(|| {
            Reason::ResolveFailed.error(format!("apt has no description of `{}`", download.file))
        })
    });
    Ok(found.collect::<Result<Vec<_>>>()?.join("\n"))
}

fn with_file_name(stanza: &str, file: &str) -> String {
    let line = |line: &str| match line.strip_prefix("Filename: ") {
        Some(_) => format!("Filename: ./{file}\n"),
        None => format!("{line}\n"),
    };
    stanza.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_uri_becomes_a_download_with_its_plain_name() {
        let line = "'http://deb.example/pool/libstdc%2b%2b6_12.2.0-14_amd64.deb' libstdc++6_12.2.0-14_amd64.deb 613044 SHA256:ab12";
        let download = parse_uri(line).unwrap().unwrap();
        assert_eq!((download.file.as_str(), download.size), ("libstdc++6_12.2.0-14_amd64.deb", 613_044));
        assert_eq!(download.sha256, "ab12");
        let line = "'http://deb.example/p/perl_5.36-1_amd64.deb' perl_1%3a5.36-1_amd64.deb 1 SHA256:ab";
        assert_eq!(parse_uri(line).unwrap().unwrap().name, "perl=1:5.36-1");
    }

    #[test]
    fn a_file_without_a_sha256_is_refused() {
        let error =
            parse_uri("'http://deb.example/a_1_amd64.deb' a_1_amd64.deb 10 MD5Sum:ab").unwrap().unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::ResolveFailed);
        assert!(parse_uri("Reading package lists...").is_none());
    }

    #[test]
    fn an_index_stanza_points_to_the_plain_file() {
        let stanza = "Package: a\nFilename: pool/main/a/a_1_amd64.deb\nSize: 1";
        assert_eq!(
            with_file_name(stanza, "a_1_amd64.deb"),
            "Package: a\nFilename: ./a_1_amd64.deb\nSize: 1\n"
        );
    }

    #[test]
    fn only_what_has_a_candidate_is_asked_for() {
        let policy = "quilt:\n  Installed: (none)\n  Candidate: 0.67\n  Version table:\n     0.67 500\n\
                      dpatch:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\nm4:\n  Candidate: 1\n";
        assert_eq!(with_candidates(policy), ["quilt", "m4"]);
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(line in "'?[ -~é%']{0,80}") {
            let _ = parse_uri(&line);
        }
    }
}
