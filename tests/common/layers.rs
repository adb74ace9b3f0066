//! The layers of test roots. Each layer adds packages to the one below it and is built once per checkout. Complete
//! roots of every kind would contain the same kernel and initramfs again and again.

use super::{archive, need};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Options to skip syncing, because test roots are not needed after a power cut.
const DPKG: &str = "force-unsafe-io";

/// Installs packages into `$1`: the layers `$2` with a new one at `$3` over them. The network is this machine's, and the
/// package lists in `$4` are for all layers of a suite. No service is started, and nothing of the making stays.
const INSTALL: &str = r#"
    root=$1 lower=$2 new=$3 lists=$4
    shift 4
    mount --make-rprivate /
    mkdir "$root" "$new/upper" "$new/work"
    chmod 755 "$new/upper"
    mount -t overlay -o "lowerdir=$lower,upperdir=$new/upper,workdir=$new/work" overlay "$root"
    cd "$root"
    mount --bind "$lists" var/lib/apt/lists
    mount -t proc proc proc
    printf '#!/bin/sh\nexit 101\n' >usr/sbin/policy-rc.d
    chmod 755 usr/sbin/policy-rc.d
    case $* in *linux-image*)
        mkdir -p etc/initramfs-tools/conf.d
        echo COMPRESSLEVEL=1 >etc/initramfs-tools/conf.d/quick
    esac
    inside() { chroot . env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }
    install() { inside apt-get -qq -o DPkg::Options::=--DPKG --no-install-recommends install --yes "$@"; }
    install "$@" || { inside apt-get -qq update && install "$@"; }
    rm -f usr/sbin/policy-rc.d var/cache/apt/*.bin var/cache/apt/archives/*.deb
    rm -f var/log/apt/* var/log/dpkg.log var/log/alternatives.log
    [ ! -e etc/machine-id ] || : >etc/machine-id
"#;

/// Layers over each other, the lowest first: folders that nobody may write to.
#[derive(Debug, Clone)]
pub struct Layers {
    suite: String,
    folders: Vec<PathBuf>,
}

impl Layers {
    /// The lowest: what Debian's own installer of roots calls a minimal one.
    pub fn of(suite: &str) -> Self {
        need::need_root();
        need::need(&["mmdebstrap", "debian-archive-keyring"]);
        let mut bootstrap = Command::new("mmdebstrap");
        bootstrap.args(["--variant=minbase", "--format=directory", "--skip=cleanup/apt/lists"]);
        bootstrap.args(["--include=ca-certificates", &format!("--keyring={KEYRING}")]);
        bootstrap.arg(format!("--dpkgopt={DPKG}"));
        bootstrap.args(archive::options().iter().map(|option| format!("--aptopt={option}")));
        let source = archive::mirror().map(|mirror| format!("deb {mirror} {suite} main"));
        let folder = kept(suite, &format!("{bootstrap:?} {source:?}"), |unfinished| {
            let made = bootstrap.arg(suite).arg(unfinished.join("upper")).args(&source);
            succeeded(suite, &made.stdin(Stdio::null()).output().unwrap());
            let lists = unfinished.join("upper/var/lib/apt/lists");
            std::fs::rename(&lists, unfinished.join("lists")).unwrap();
            std::fs::create_dir_all(lists.join("partial")).unwrap();
        });
        Self { suite: suite.to_owned(), folders: vec![folder] }
    }

    /// With packages more, under a name that no other layer's begins with.
    #[must_use]
    pub fn with(mut self, name: &str, packages: &str) -> Self {
        let packages: Vec<&str> = packages.split(',').map(str::trim).collect();
        let below: Vec<_> = self.folders.iter().map(|folder| folder.file_name()).collect();
        let recipe = format!("{INSTALL}{packages:?}{below:?}");
        let folder = kept(&format!("{}-{name}", self.suite), &recipe, |unfinished| {
            let mut install = Command::new("unshare");
            let script = INSTALL.replace("DPKG", DPKG);
            install.args([
                "--mount",
                "--uts",
                "--ipc",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-euc",
                &script,
            ]);
            install.arg("sh").arg(unfinished.join("root")).arg(self.lower()).arg(unfinished);
            let made =
                install.arg(self.folders[0].join("lists")).args(&packages).stdin(Stdio::null()).output();
            succeeded(name, &made.unwrap());
        });
        self.folders.push(folder);
        self
    }

    /// As overlayfs wants them.
    pub fn lower(&self) -> String {
        let upper: Vec<String> =
            self.folders.iter().rev().map(|folder| folder.join("upper").display().to_string()).collect();
        upper.join(":")
    }
}

#[track_caller]
fn succeeded(name: &str, made: &Output) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(made.status.success(), "{name}: {}\n{}", text(&made.stdout), text(&made.stderr));
}

/// The kept folder of a name, made by `make` the first time anyone asks for this recipe of it.
fn kept(name: &str, recipe: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let folder = super::kept("test-layers");
    let layer = folder.join(format!("{name}-{}", &super::sha256(recipe.as_bytes())[..12]));
    let _lock = super::lock(&folder.join(format!("{name}.lock")));
    if !layer.exists() {
        let unfinished = folder.join(format!("{name}.unfinished"));
        let _ = std::fs::remove_dir_all(&unfinished);
        std::fs::create_dir(&unfinished).unwrap();
        make(&unfinished);
        // Made by another recipe; nobody asks for them any more.
        for old in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
            let is_older = |old: &str| old.strip_prefix(name).is_some_and(is_of_a_recipe);
            if is_older(old.file_name().to_str().unwrap()) {
                std::fs::remove_dir_all(old.path()).unwrap();
            }
        }
        std::fs::rename(unfinished, &layer).unwrap();
    }
    layer
}

/// Whether this is what follows a layer's name.
fn is_of_a_recipe(rest: &str) -> bool {
    rest.strip_prefix('-').is_some_and(|hash| hash.len() == 12 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}
