//! Resolves with the target's own tdnf, inside the target, so that its variables, plugins, locks, mirrors and snapshots apply
//! as they do there. tdnf chooses; sizes and digests come from the indexes that it fetched, and addresses from its
//! `reposync`. It installs unsigned packages where `gpgcheck=1` is set and it knows no key (3.6.0), so signatures are asked
//! for by the repositories' settings and checked by this program.

use super::super::super::diagnose::{self, Doing, Speaker};
use super::super::super::in_target::{InTarget, Lent, inside, run_watched, say_stand_in, why_not};
use super::super::super::{Base, Resolution, ResolveRequest, openpgp};
use super::super::database_copy::{self, DATABASE, lend_folders};
use super::super::dnf::script::{Answer, Package};
use super::super::dnf::{self, in_target::resolution};
use super::super::{Dialect, sources};
use super::answer::{self, Chosen};
use super::index::{self, Offered};
use super::settings::{self, Repository, Sections};
use crate::amounts::count;
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::run::{Cmd, Finished};
use crate::host::sandbox::SCRATCH;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Folders that tdnf writes to: each starts empty, in the scratch folder.
const WRITTEN: [(&str, &str); 2] = [("cache", "/var/cache"), ("log", "/var/log")];
/// What it and its plugins change, of which they see a copy: settings, the history of two distributions, and gpg's keys. The
/// last path is in two parts because it looks like one of the machine that this was written on (tests/tidy.rs).
const COPIED: [&str; 4] =
    ["/etc/tdnf", "/var/lib/tdnf", "/usr/lib/sysimage/tdnf", concat!("/root", "/.gnupg")];
/// Prints where the packages of each repository are, into a file for each.
const ADDRESSES: &str = "to=$1; shift; number=0; for id in \"$@\"; do number=$((number + 1)); \
    tdnf -C --repoid=\"$id\" reposync --urls >$to-$number || exit; done";
const WHO: &str = "the target's tdnf";

/// Resolves with the target's own tdnf; with dnf where it cannot run there, or cannot be asked this.
pub(in super::super) fn resolve(
    dialect: &Dialect,
    host: &Host,
    request: &ResolveRequest,
    how: InTarget,
) -> Result<Option<Resolution>> {
    let (Base::Root(root), None) = (request.base, request.vendor_repo) else {
        host.events.warn(
            "the target's own tdnf cannot resolve here, because it takes what is installed for lasting, and knows no \
             repository but the target's; dnf stands in for it",
        );
        return dnf::in_target::resolve(dialect, host, request, how);
    };
    let mut lent = Lent::new(request.sources, how, request.proxy.as_slice())?;
    let main = prepare(&mut lent, request, root)?;
    let tdnf = Tdnf { host, request, lent: &lent, main };
    // The first question also tells whether this tdnf prints its answers for programs, as from 3.3 on.
    let listed = tdnf.run(&["--json", "repolist"])?;
    let Some(enabled) = answer::repositories(&listed.stdout) else {
        if answer::failure(&listed.stdout).is_some() {
            return Err(tdnf.refused(&[&listed]));
        }
        let why = why_not(&listed).unwrap_or("it is older than 3.3, or another program");
        say_stand_in(host, "tdnf", "dnf", &listed, why);
        return dnf::in_target::resolve(dialect, host, request, how);
    };
    host.events.info(format!("asking {WHO} about {}", count(request.packages.len(), "package")));
    let Some(answer) = tdnf.answer(&enabled)? else {
        let why = "an index of a repository is packed in a way that only tdnf reads";
        say_stand_in(host, "tdnf", "dnf", &listed, why);
        return dnf::in_target::resolve(dialect, host, request, how);
    };
    let mut resolution = resolution(request, answer, &lent.scratch(), None)?;
    resolution.lent = Some(lent);
    Ok(Some(resolution))
}

/// Lays out what tdnf writes to; returns its main settings.
fn prepare(lent: &mut Lent, request: &ResolveRequest, root: &Root) -> Result<Sections> {
    let scratch = lent.scratch();
    lend_folders(lent, "tdnf", &WRITTEN, &["keys", "packages"])?;
    database_copy::copy_database(root, &scratch.join(DATABASE))?;
    for (number, path) in COPIED.into_iter().enumerate() {
        let name = format!("copied-{number}");
        fs::create_dir(scratch.join(&name)).context("cannot make folders for the target's tdnf")?;
        sources::copy_tree(request.sources, path, &scratch.join(&name), sources::DEEPEST, &mut 0)?;
        fs::create_dir_all(scratch.join(&name).join(&path[1..])).context("cannot make folders for tdnf")?;
        lent.cover(&format!("{name}{path}"), path);
    }
    let settings = Root::open(&scratch.join("copied-0"))?;
    let main = settings.read_text(settings::MAIN)?.unwrap_or_default();
    settings.write_text(settings::MAIN, &settings::main_for(&main, request.packages, request.proxy))?;
    for name in settings.list(settings::LOCKS) {
        let path = format!("{}/{name}", settings::LOCKS);
        let text = settings.read_text(&path)?.unwrap_or_default();
        settings.write_text(&path, &settings::locks_for(&text, request.packages))?;
    }
    let kernels = settings::locks_of_kernels(request.packages);
    settings.write_text(&format!("{}/ofedctl-kernels.conf", settings::LOCKS), &kernels)?;
    Ok(settings::sections(&main))
}

/// The target's tdnf, and what it is asked for.
struct Tdnf<'a> {
    host: &'a Host,
    request: &'a ResolveRequest<'a>,
    lent: &'a Lent,
    main: Sections,
}

impl Tdnf<'_> {
    fn run(&self, words: &[&str]) -> Result<Finished> {
        self.start(Cmd::new("tdnf").args(words.iter().copied()))
    }

    fn start(&self, cmd: Cmd) -> Result<Finished> {
        let cmd = self.lent.cmd(cmd.captured());
        run_watched(self.host, &cmd, &self.lent.scratch(), "reading the target's package sources")
    }

    fn answer(&self, enabled: &[String]) -> Result<Option<Answer>> {
        let refreshed = self.run(&["-y", "makecache"])?;
        if refreshed.code != 0 {
            return Err(self.refused(&[&refreshed]));
        }
        let written = Root::open(&self.lent.scratch())?;
        let mut offered = Vec::new();
        for id in enabled {
            let Some(packages) = index::index_of(&written, id)? else { return Ok(None) };
            offered.extend(packages);
        }
        let asked = index::for_kernels(self.request.packages, self.request.kernels, &offered)?;
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        let solved = self.run(&[&["-C", "--json", "--assumeno", "install"], &asked[..]].concat())?;
        let Some(chosen) = answer::chosen(&solved.stdout).filter(|_| solved.code == 0) else {
            return Err(self.refused(&[&refreshed, &solved]));
        };
        // A repository that may be missing is passed over, and tdnf goes on.
        if let Some(trouble) = heard(&[&refreshed]) {
            self.host.events.warn(format!("{WHO} said: {}", trouble.line));
        }
        let settings = settings::repositories(self.request.sources, &self.main)?;
        let taken: Vec<&Offered> =
            chosen.iter().map(|it| found(it, &offered, &settings)).collect::<Result<_>>()?;
        self.packages(&written, &taken, &asked, &settings).map(Some)
    }

    /// Where the packages are, and what vouches for them.
    fn packages(
        &self,
        written: &Root,
        taken: &[&Offered],
        asked: &[&str],
        settings: &BTreeMap<String, Repository>,
    ) -> Result<Answer> {
        let used: BTreeSet<&str> = taken.iter().map(|it| it.repository.as_str()).collect();
        let of = |id: &str| settings.get(id);
        let is_private = used.iter().any(|id| of(id).is_some_and(|it| it.is_private));
        let addresses = if is_private { self.download(asked)? } else { self.addresses(written, &used)? };
        let packages =
            taken.iter().map(|it| package(it, &addresses, of(&it.repository))).collect::<Result<_>>()?;
        let named = used.iter().filter_map(|id| of(id)).filter(|it| it.signed).flat_map(|it| it.keys.clone());
        // An image without rpm's own program has no key that is not in a file.
        let query = ["--query", "--queryformat", "%{DESCRIPTION}\\n", "gpg-pubkey"];
        let imported = self.start(Cmd::new("rpm").args(query))?;
        Ok(Answer {
            packages,
            keys: named.collect::<BTreeSet<String>>().into_iter().collect(),
            imported: openpgp::in_text(&imported.stdout),
            proxy: settings::proxy(&self.main),
        })
    }

    /// The addresses of all packages of repositories.
    fn addresses(&self, written: &Root, used: &BTreeSet<&str>) -> Result<BTreeMap<String, Vec<String>>> {
        let listed =
            self.start(Cmd::shell(ADDRESSES, "tdnf").arg(inside("addresses")).args(used.iter().copied()))?;
        if listed.code != 0 {
            return Err(self.refused(&[&listed]));
        }
        let read = |(number, id): (usize, &&str)| {
            let text = written.read_text(&format!("/addresses-{}", number + 1))?.unwrap_or_default();
            Ok(((*id).to_owned(), text.lines().map(|line| line.trim().to_owned()).collect()))
        };
        used.iter().enumerate().map(read).collect()
    }

    /// Has tdnf download what only it can reach. Nothing is installed, and signatures are checked afterwards.
    fn download(&self, asked: &[&str]) -> Result<BTreeMap<String, Vec<String>>> {
        let to = format!("--downloaddir={}", inside("packages"));
        let words = ["-C", "-y", "--nogpgcheck", "--downloadonly", &to, "install"];
        let brought = self.run(&[&words, asked].concat())?;
        if brought.code == 0 { Ok(BTreeMap::new()) } else { Err(self.refused(&[&brought])) }
    }

    /// The error, by what failed first.
    fn refused(&self, all: &[&Finished]) -> anyhow::Error {
        let doing = format!("resolving {}", self.request.packages.join(" "));
        let said = all.iter().map(|it| words_of(it)).collect::<Vec<_>>().join("\n");
        let last = all.last().map(|it| Finished { tail: said.trim().replace('\n', " | "), ..(*it).clone() });
        match last {
            Some(finished) => {
                diagnose::told(self.host, &finished, heard(all), &doing, self.request.distro, WHO)
            }
            None => Reason::ResolveFailed.error(doing),
        }
    }
}

/// All that a run said.
fn words_of(run: &Finished) -> String {
    let answer = answer::failure(&run.stdout).unwrap_or_else(|| run.stdout.clone());
    format!("{}\n{answer}", run.output)
}

/// What the first of these runs that failed says.
fn heard(all: &[&Finished]) -> Option<diagnose::Diagnosis> {
    all.iter().find_map(|it| diagnose::diagnose(&words_of(it), Doing::Resolving(Speaker::Tdnf)))
}

/// A chosen package in an index. Where tdnf does not tell the repository, one that asks for signatures goes first.
fn found<'a>(
    chosen: &Chosen,
    offered: &'a [Offered],
    settings: &BTreeMap<String, Repository>,
) -> Result<&'a Offered> {
    let is_unsigned = |it: &&Offered| settings.get(&it.repository).is_some_and(|it| !it.signed);
    offered.iter().filter(|it| it.is(chosen)).min_by_key(is_unsigned).ok_or_else(|| {
        let Chosen { name, evr, arch, .. } = chosen;
        Reason::ResolveFailed
            .error(format!("{WHO} named {name}-{evr}.{arch}, which no index of a repository has"))
    })
}

/// What is to be downloaded; what tdnf downloaded itself lies in the scratch folder. A repository without settings, which a
/// plugin made, asks for signatures, as tdnf takes it.
fn package(
    offered: &Offered,
    addresses: &BTreeMap<String, Vec<String>>,
    settings: Option<&Repository>,
) -> Result<Package> {
    let file = offered.location.rsplit('/').next().unwrap_or_default().to_owned();
    let end = format!("/{}", offered.location);
    let url = match addresses.get(&offered.repository) {
        Some(lines) => lines.iter().find(|line| line.ends_with(&end)).cloned(),
        None => Some(format!("file:{SCRATCH}/packages/{file}")),
    };
    let url = url.with_context(|| format!("{WHO} named no address of `{}`", offered.location))?;
    let signed = settings.is_none_or(|it| it.signed);
    Ok(Package {
        name: format!("{}.{}", offered.asked(), offered.arch),
        file,
        url,
        others: Vec::new(),
        size: offered.size,
        digest_kind: offered.digest_kind.clone(),
        digest: offered.digest.clone(),
        signed,
        vouched: signed,
        repository: offered.repository.clone(),
    })
}
