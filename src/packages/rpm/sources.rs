//! The target's package sources, keys and database, copied into a private folder so that dnf of this machine can use
//! them. Each file is read inside the target's root; nothing of it is run, and no plugin of it is loaded.

use super::database_copy::copy_file;
use crate::host::fs::Root;
use crate::host::has_extension;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a manager finds its package sources.
pub(super) struct Places {
    /// The folders of repository files.
    pub(super) repositories: &'static [&'static str],
    /// The folders of variables, later over earlier.
    pub(super) variables: &'static [&'static str],
    /// Main settings, of which the first that is there is read.
    pub(super) main: &'static [&'static str],
    /// Whether it checks signatures where nothing is said of that.
    pub(super) checks_signatures: bool,
    /// Whether its settings may take others in.
    pub(super) includes: bool,
}

/// All of them: what is given may be of another manager than the target's.
const REPOSITORIES: [&str; 4] =
    ["/etc/yum.repos.d", "/etc/distro.repos.d", "/etc/yum/repos.d", "/etc/zypp/repos.d"];
/// Keys and certificates of the distribution, and what decides which module streams are on. Whatever else repositories name
/// by path is read where it lies.
const TREES: [&str; 7] = [
    "/etc/pki/rpm-gpg",
    "/etc/pki/rhui",
    "/etc/pki/entitlement",
    "/etc/rhsm/ca",
    "/usr/lib/rpm/gnupg/keys",
    "/etc/dnf/modules.d",
    "/etc/os-release",
];
/// The way out where this machine's dnf can't stand in for the target's manager.
const WAY_OUT: &str = "stage with --root, or on such a VM";
/// Links within these trees are followed inside the root; deeper than this, they lead in a circle.
pub(super) const DEEPEST: usize = 6;
/// The most files that the trees may lead to: links to their own folder multiply with each level.
const MOST_FILES: usize = 20_000;
/// The most bytes that settings may have with all they take in, and the most files that these may be: one file may take
/// another in many times.
const MOST_BYTES: usize = 4 << 20;
const MOST_TAKEN_IN: usize = 1000;

/// What was copied.
pub(super) struct Copied {
    /// The folder of repository files.
    pub(super) repositories: PathBuf,
    /// The manager's main settings, where it has any.
    pub(super) main: Option<PathBuf>,
    /// The folder that stands for `/`, with keys and certificates.
    pub(super) root: PathBuf,
    /// The folder of rpm's database, empty for an empty base.
    pub(super) database: PathBuf,
    /// The variables that repositories' addresses are made with.
    pub(super) variables: BTreeMap<String, String>,
}

/// Copies what `sources` has into `scratch`.
pub(super) fn copy(places: &Places, sources: &Root, scratch: &Path) -> Result<Copied> {
    let folder = |name: &str| {
        let path = scratch.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        anyhow::Ok(path)
    };
    let copied = Copied {
        repositories: folder("repositories")?,
        main: None,
        root: folder("root")?,
        database: folder("database")?,
        variables: variables(places, sources)?,
    };
    let has_any = |folder: &&str| sources.list(folder).iter().any(|name| is_repository(name));
    let own = places.repositories.iter().any(has_any);
    let folders = if own { places.repositories } else { &REPOSITORIES[..] };
    for (number, from) in folders.iter().enumerate() {
        for name in sources.list(from).iter().filter(|name| is_repository(name)) {
            // Two folders may each have a file of one name.
            let to = copied.repositories.join(format!("{number}-{name}"));
            copy_settings(places, sources, &format!("{from}/{name}"), &to)?;
        }
    }
    let mut files = 0;
    for tree in TREES {
        copy_tree(sources, tree, &copied.root, DEEPEST, &mut files)?;
    }
    let main = scratch.join("main.conf");
    let mut found = false;
    for from in places.main {
        found = found || copy_settings(places, sources, from, &main)?;
    }
    Ok(Copied { main: found.then_some(main), ..copied })
}

/// Copies a file of settings, with what it takes in.
fn copy_settings(places: &Places, root: &Root, path: &str, to: &Path) -> Result<bool> {
    if !places.includes {
        return copy_file(root, path, to);
    }
    let Some(text) = root.read_text(path)? else { return Ok(false) };
    let mut whole = Whole::default();
    whole.add(root, path, &text, DEEPEST)?;
    let text = whole.text;
    fs::write(to, text).with_context(|| format!("cannot copy `{path}`")).map(|()| true)
}

/// Settings with all that they take in.
#[derive(Default)]
struct Whole {
    text: String,
    /// How many files were taken in.
    files: usize,
}

impl Whole {
    /// Adds a file of settings. yum 3 reads another file where a line begins with `include=` (its `ConfigPreProcessor`);
    /// dnf passes over that.
    fn add(&mut self, root: &Root, path: &str, text: &str, depth: usize) -> Result<()> {
        for line in text.lines() {
            let named = line.strip_prefix("include").and_then(|rest| rest.trim_start().strip_prefix('='));
            let Some(named) = named else {
                self.text.extend([line, "\n"]);
                continue;
            };
            let named = named.trim();
            let place = named.strip_prefix("file:").unwrap_or(named);
            let place = format!("/{}", place.trim_start_matches('/'));
            let is_local = named.starts_with('/') || named.starts_with("file:");
            let taken = if is_local && depth > 0 { root.read_text(&place)? } else { None };
            let taken = taken.ok_or_else(|| {
                let why = if is_local { "is not in what was given" } else { "only the target's yum fetches" };
                Reason::ResolveFailed.error(format!("`{path}` takes in {named}, which {why}: {WAY_OUT}"))
            })?;
            self.files += 1;
            if self.files > MOST_TAKEN_IN || self.text.len() + taken.len() > MOST_BYTES {
                return Err(
                    Reason::ResolveFailed.error(format!("`{path}` takes in more than any settings do"))
                );
            }
            self.add(root, &place, &taken, depth - 1)?;
        }
        Ok(())
    }
}

/// Whether a file is one of repositories, by its name.
pub(super) fn is_repository(name: &str) -> bool {
    has_extension(name, "repo")
}

/// An empty variable is a value, too: stock Rocky 9 has one.
fn variables(places: &Places, root: &Root) -> Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for folder in places.variables {
        for name in root.list(folder) {
            if let Some(text) = root.read_text(&format!("{folder}/{name}"))? {
                let value = text.lines().next().unwrap_or_default().trim();
                variables.insert(name, value.to_owned());
            }
        }
    }
    Ok(variables)
}

/// Copies a folder of the root to its path below another; links are followed inside the root. `files` counts what was
/// copied.
pub(super) fn copy_tree(root: &Root, path: &str, to: &Path, depth: usize, files: &mut usize) -> Result<()> {
    *files += 1;
    if *files > MOST_FILES {
        return Err(Reason::ResolveFailed.error(format!("`{path}`: links lead round in circles")));
    }
    let place = to.join(path.trim_start_matches('/'));
    if root.is_dir(path) && depth > 0 {
        for name in root.list(path) {
            copy_tree(root, &format!("{path}/{name}"), to, depth - 1, files)?;
        }
        return Ok(());
    }
    copy_file(root, path, &place).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_keys_variables_and_database_are_copied_and_nothing_else() {
        let target = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = target.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("etc/yum.repos.d/a.repo", "[a]");
        put("etc/yum.repos.d/a.repo.rpmsave", "[old]");
        put("etc/zypp/repos.d/a.repo", "[b]");
        put("etc/dnf/vars/releasever", "8.6\n");
        put("etc/dnf/vars/rltype", "\n");
        put("etc/yum.conf", "[main]");
        put("etc/pki/rpm-gpg/KEY", "key");
        put("etc/pki/rhui/product/content.crt", "certificate");
        put("etc/shadow", "root:x");
        put("var/lib/rpm/Packages", "bdb");
        put("var/lib/rpm/__db.001", "scratch");
        std::os::unix::fs::symlink("/etc/shadow", target.path().join("etc/pki/rpm-gpg/loop")).unwrap();
        let root = Root::open(target.path()).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let places = &super::super::dnf::DIALECT.sources;
        let copied = copy(places, &root, scratch.path()).unwrap();
        super::super::database_copy::copy_database(&root, &copied.database).unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&copied.repositories.join("0-a.repo")), "[a]");
        // zypper's are for zypper, or for want of others.
        assert_eq!(fs::read_dir(&copied.repositories).unwrap().count(), 1);
        assert_eq!(copied.variables["releasever"], "8.6");
        assert_eq!(copied.variables["rltype"], "");
        assert_eq!(read(copied.main.as_deref().unwrap()), "[main]");
        assert_eq!(read(&copied.root.join("etc/pki/rhui/product/content.crt")), "certificate");
        assert_eq!(fs::read_dir(&copied.database).unwrap().count(), 1);
    }

    #[test]
    fn what_yums_settings_take_in_comes_from_the_target_or_is_refused_by_name() {
        let target = tempfile::tempdir().unwrap();
        let root = Root::open(target.path()).unwrap();
        root.write_text("/etc/yum/own.conf", "[own]\nbaseurl=http://own.example\n").unwrap();
        let read = |text: &str| {
            let mut whole = Whole::default();
            whole.add(&root, "/etc/yum.conf", text, DEEPEST).map(|()| whole.text)
        };
        let wanted = "[main]\n[own]\nbaseurl=http://own.example\ngpgcheck=1\n";
        for named in ["/etc/yum/own.conf", "file:///etc/yum/own.conf", "file:/etc/yum/own.conf"] {
            assert_eq!(read(&format!("[main]\ninclude = {named}\ngpgcheck=1\n")).unwrap(), wanted);
        }
        for named in ["http://settings.example/x.repo", "file:///etc/hosts"] {
            assert!(read(&format!("include={named}\n")).unwrap_err().to_string().contains(named));
        }
        root.write_text("/etc/yum/loop.conf", "include=/etc/yum/loop.conf\n").unwrap();
        assert!(read("include=/etc/yum/loop.conf\n").is_err());
    }

    /// Followed as often as named, either would read some 10^12 files.
    #[test]
    fn what_leads_to_itself_many_times_is_refused() {
        let target = tempfile::tempdir().unwrap();
        let root = Root::open(target.path()).unwrap();
        for level in 1..DEEPEST {
            let next = format!("include=/etc/yum/{}.conf\n", level + 1);
            root.write_text(&format!("/etc/yum/{level}.conf"), &next.repeat(100)).unwrap();
        }
        root.write_text(&format!("/etc/yum/{DEEPEST}.conf"), &"#\n".repeat(100)).unwrap();
        let text = "include=/etc/yum/1.conf\n".repeat(100);
        let error = Whole::default().add(&root, "/etc/yum.conf", &text, DEEPEST).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::ResolveFailed, "{error:#}");

        root.write_text("/etc/pki/rpm-gpg/key", "key").unwrap();
        for name in 0..100 {
            std::os::unix::fs::symlink(".", target.path().join(format!("etc/pki/rpm-gpg/{name}"))).unwrap();
        }
        let scratch = tempfile::tempdir().unwrap();
        let error = copy_tree(&root, "/etc/pki/rpm-gpg", scratch.path(), DEEPEST, &mut 0).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::ResolveFailed, "{error:#}");
    }
}
