//! Resolves with the target's own zypper, inside the target, so that its services, plugins, credentials, variables and
//! keys apply as they do there. zypper names no digests: so it downloads what it chose into the scratch folder, compares
//! that with the metadata which it has verified, and this program hashes what it takes from there.

use super::super::super::diagnose::{self, Doing, Speaker};
use super::super::super::in_target::{InTarget, Lent, run_watched, say_stand_in, why_not};
use super::super::super::signed_folder::digest;
use super::super::super::{Base, Resolution, ResolveRequest, openpgp};
use super::super::database_copy::{self, DATABASE, lend_folders};
use super::super::dnf::in_target::resolution;
use super::super::dnf::script::{Answer, Package};
use super::super::{Dialect, sources, vendor_repo};
use super::VENDORS_DKMS;
use super::answer::{self, Brought, Chosen};
use crate::amounts::count;
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::run::{Cmd, Finished};
use crate::host::sandbox::SCRATCH;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;

/// Folders that zypper writes to: each starts empty, in the scratch folder.
const WRITTEN: [(&str, &str); 3] = [("cache", "/var/cache"), ("log", "/var/log"), ("state", "/var/lib/zypp")];
/// Its settings, of which it sees a copy: services write their repositories there.
const SETTINGS: &str = "/etc/zypp";
const LOCKS: &str = "/etc/zypp/locks";
const RUN: [&str; 3] = ["--non-interactive", "--xmlout", "--no-refresh"];
/// A reboot or a restart is due, a repository was passed over (zypper(8)).
const HINTS: [i32; 4] = [0, 102, 103, PASSED_OVER];
const PASSED_OVER: i32 = 106;
const NOT_FOUND: i32 = 104;
/// Prints the repositories and the keys that rpm knows, and downloads what is named.
const DOWNLOAD: &str = "zypper --non-interactive --xmlout --no-refresh repos; \
    rpm --query --queryformat '%{DESCRIPTION}\\n' gpg-pubkey; \
    exec zypper --non-interactive --xmlout --no-refresh download \"$@\"";
const READING: &str = "reading the target's package sources";
/// The largest unpacked index of a vendor's packages.
const LARGEST_INDEX: u64 = 64 << 20;
const WHO: &str = "the target's zypper";

/// Resolves with the target's own zypper; none when it cannot run there, or cannot be asked this.
pub(in super::super) fn resolve(
    _: &Dialect,
    host: &Host,
    request: &ResolveRequest,
    how: InTarget,
) -> Result<Option<Resolution>> {
    let Base::Root(root) = request.base else {
        host.events.warn(
            "the target's own zypper cannot resolve here, because it takes what is installed for lasting, and some of that \
             goes; dnf of this machine stands in for it",
        );
        return Ok(None);
    };
    let mut lent = Lent::new(request.sources, how, request.proxy.as_slice())?;
    let scratch = lent.scratch();
    prepare(&mut lent, request, root)?;
    let vendor = request.vendor_repo.map(|vendor| lent.show(&vendor.folder, "vendor"));
    if let Some(vendor) = &vendor {
        let file = scratch.join("etc/zypp/repos.d/ofedctl-vendor.repo");
        fs::write(file, vendor_repo::repository_file(vendor))
            .context("cannot show zypper the vendor's packages")?;
    }
    let zypper = Zypper { host, request, lent: &lent };
    host.events
        .info(format!("asking the target's zypper about {}", count(request.packages.len(), "package")));
    let refreshed = zypper.run(Cmd::new("zypper").args(["--non-interactive", "--xmlout", "refresh"]))?;
    if let Some(why) = why_not(&refreshed) {
        say_stand_in(host, "zypper", "dnf of this machine", &refreshed, why);
        return Ok(None);
    }
    let chosen = zypper.choose(&refreshed)?;
    let at_hand = request.vendor_repo.map(|vendor| editions_in(&vendor.folder)).transpose()?;
    let at_hand = at_hand.unwrap_or_default();
    let is_at_hand = |it: &&Chosen| at_hand.contains(&(it.name.clone(), it.edition.clone()));
    let (vendors, missing): (Vec<Chosen>, Vec<Chosen>) = chosen.into_iter().partition(|it| is_at_hand(&it));
    let answer = zypper.download(&missing)?;
    let mut resolution = resolution(request, answer, &scratch, None)?;
    resolution.at_hand = vendors.into_iter().map(|it| it.name).collect();
    resolution.lent = Some(lent);
    Ok(Some(resolution))
}

fn prepare(lent: &mut Lent, request: &ResolveRequest, root: &Root) -> Result<()> {
    let scratch = lent.scratch();
    lend_folders(lent, "zypper", &WRITTEN, &["keys", "etc/zypp/repos.d"])?;
    database_copy::copy_database(root, &scratch.join(DATABASE))?;
    sources::copy_tree(request.sources, SETTINGS, &scratch, sources::DEEPEST, &mut 0)?;
    let locks = request.sources.read_text(LOCKS)?.unwrap_or_default();
    fs::write(scratch.join(&LOCKS[1..]), locks_beside(&locks, request.packages))
        .context("cannot keep what zypper is to leave alone")?;
    lent.cover(&SETTINGS[1..], SETTINGS);
    Ok(())
}

/// The target's locks without those of what is asked for by name, and one of the vendor's DKMS.
fn locks_beside(locks: &str, asked: &[String]) -> String {
    let names_asked = |lock: &&str| {
        let name = lock.lines().find_map(|line| line.strip_prefix("solvable_name:")).unwrap_or_default();
        let known = name.trim().split(['*', '?', '[']).next().unwrap_or_default();
        asked.iter().any(|asked| asked.starts_with(known))
    };
    let kept = locks.split("\n\n").filter(|lock| !lock.trim().is_empty() && !names_asked(lock));
    kept.map(str::trim).chain([VENDORS_DKMS]).collect::<Vec<_>>().join("\n\n")
}

/// The target's zypper, and what it is asked for.
struct Zypper<'a> {
    host: &'a Host,
    request: &'a ResolveRequest<'a>,
    lent: &'a Lent,
}

impl Zypper<'_> {
    fn run(&self, cmd: Cmd) -> Result<Finished> {
        let mut cmd = self.lent.cmd(cmd.captured());
        for name in ["http_proxy", "https_proxy"] {
            cmd = self.request.proxy.iter().fold(cmd, |cmd, proxy| cmd.env(name, *proxy));
        }
        run_watched(self.host, &cmd, &self.lent.scratch(), READING)
    }

    /// What zypper would install. What only the vendor's installer might want is left out where nobody has it.
    fn choose(&self, refreshed: &Finished) -> Result<BTreeSet<Chosen>> {
        let wanted = self.request.vendor_repo.map(|it| it.wanted.as_slice()).unwrap_or_default();
        let more = self.request.vendor_repo.map(|it| it.packages.as_slice()).unwrap_or_default();
        let mut left: Vec<&str> = wanted.to_vec();
        loop {
            let asked =
                self.request.packages.iter().chain(more).map(String::as_str).chain(left.iter().copied());
            let options = ["install", "--dry-run", "--no-recommends", "--auto-agree-with-licenses", "--"];
            let finished = self.run(Cmd::new("zypper").args(RUN).args(options).args(asked))?;
            let unknown = answer::unknown(&answer::plain(&finished.stdout));
            let known: Vec<&str> = left.iter().copied().filter(|name| !unknown.contains(*name)).collect();
            if finished.code == NOT_FOUND && known.len() < left.len() {
                left = known;
                continue;
            }
            if !HINTS.contains(&finished.code) || !answer::is_whole(&finished.stdout) {
                return Err(self.refused(&[refreshed, &finished]));
            }
            if let Some(trouble) = heard(&[refreshed]) {
                self.host.events.warn(format!("{WHO} said: {}", trouble.line));
            }
            return Ok(answer::chosen(&finished.stdout));
        }
    }

    fn download(&self, chosen: &[Chosen]) -> Result<Answer> {
        let script = Cmd::shell(DOWNLOAD, "zypper");
        if chosen.is_empty() {
            return Ok(Answer { packages: Vec::new(), keys: Vec::new(), imported: Vec::new(), proxy: None });
        }
        let finished = self.run(script.args(chosen.iter().map(Chosen::asked)))?;
        let brought = answer::brought(&finished.stdout);
        if !HINTS.contains(&finished.code) || brought.len() < chosen.len() {
            return Err(self.refused(&[&finished]));
        }
        let unchecked = answer::unchecked(&finished.stdout);
        let written = Root::open(&self.lent.scratch())?;
        let package = |brought: &Brought| package(&written, brought, chosen, &unchecked);
        let packages = brought.iter().map(package).collect::<Result<_>>()?;
        let imported = openpgp::in_text(&finished.stdout);
        Ok(Answer { packages, keys: Vec::new(), imported, proxy: None })
    }

    /// The error, by what failed first.
    fn refused(&self, all: &[&Finished]) -> anyhow::Error {
        let doing = format!("resolving {}", self.request.packages.join(" "));
        let said = all.iter().map(|it| answer::plain(&it.stdout)).collect::<Vec<_>>().join("\n");
        let last = said.lines().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
        match (heard(all), all.last()) {
            (Some(trouble), Some(finished)) => {
                let finished = Finished { tail: said.replace('\n', " | "), ..(*finished).clone() };
                diagnose::told(self.host, &finished, Some(trouble), &doing, self.request.distro, WHO)
            }
            _ => Reason::ResolveFailed.error(format!("{doing}: {WHO} said: {}", last.join(" | "))),
        }
    }
}

/// What the first of these runs that failed says.
fn heard(all: &[&Finished]) -> Option<diagnose::Diagnosis> {
    let said = all.iter().map(|it| answer::plain(&it.stdout) + "\n" + &it.output);
    diagnose::diagnose(&said.collect::<Vec<_>>().join("\n"), Doing::Resolving(Speaker::Zypper))
}

/// A package that lies in the scratch folder. Its digest is that of the file.
fn package(
    written: &Root,
    brought: &Brought,
    chosen: &[Chosen],
    unchecked: &BTreeSet<String>,
) -> Result<Package> {
    let nowhere =
        || Reason::ResolveFailed.error(format!("{WHO} named `{}`, which is not there", brought.path));
    let path = brought.path.strip_prefix(WRITTEN[0].1).ok_or_else(nowhere)?;
    let path = format!("/{}{path}", WRITTEN[0].0);
    let (file, metadata) = written.open_file(&path)?.ok_or_else(nowhere)?;
    let digest = digest(file).with_context(|| format!("cannot read `{path}`"))?;
    let file = path.rsplit('/').next().unwrap_or_default().to_owned();
    let of = chosen.iter().find(|it| it.file() == file);
    let name = of.map_or_else(|| file.trim_end_matches(".rpm").to_owned(), Chosen::full_name);
    let signed = !unchecked.contains(&brought.repository);
    Ok(Package {
        name,
        url: format!("file:{SCRATCH}{path}"),
        others: Vec::new(),
        size: metadata.len(),
        digest_kind: "sha256".to_owned(),
        digest,
        signed,
        vouched: signed,
        repository: brought.repository.clone(),
        file,
    })
}

/// The packages in a vendor's file, which need no download. Its DKMS is never taken.
fn editions_in(folder: &Path) -> Result<BTreeSet<(String, String)>> {
    let reading = || format!("cannot read the index of the vendor's packages in `{}`", folder.display());
    let mut text = String::new();
    for entry in fs::read_dir(folder.join("repodata")).with_context(reading)?.flatten() {
        if entry.file_name().to_string_lossy().ends_with("primary.xml.gz") {
            let file = fs::File::open(entry.path()).with_context(reading)?;
            MultiGzDecoder::new(file).take(LARGEST_INDEX).read_to_string(&mut text).with_context(reading)?;
        }
    }
    let mut found = answer::editions(&text);
    found.retain(|(name, _)| name != "dkms");
    Ok(found)
}
