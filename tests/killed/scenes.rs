//! What is killed, what runs afterwards, and what the root must then be like.

use crate::common::deb::Repository;
use crate::common::image::{self, VM_SIZE};
use crate::common::program;
use crate::common::root::{self, Frozen, Root};
use crate::common::tree::{self, Difference};
use crate::instants::{Watched, run_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

const SUITE: &str = "bookworm";

/// The program to kill: the one to ship where a sweep names it.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::var_os("OFEDCTL_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_ofedctl").into(), PathBuf::from)
});

/// A command of the program as one door or another starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// `bake --root` from outside.
    Bake,
    /// `bake --root /` in the machine itself, as a provisioner of a build VM does.
    BakeInside,
    /// `install` in the machine.
    Install,
    /// What the module of cloud-init runs.
    CloudInit,
    Uninstall,
    UninstallInside,
    Stage,
}

impl Door {
    fn command(self, root: &Root) -> Command {
        let at = root.path().to_str().unwrap();
        let outside = |words: &[&str]| {
            let mut command = program::clean(Command::new(&*PROGRAM), words);
            command.env("TMPDIR", temporary(root));
            command
        };
        let inside = |words: &[&str]| root.booted_command(&[&["/srv/ofedctl"], words].concat());
        let size = ["--vm-size", VM_SIZE];
        match self {
            Self::Bake => {
                outside(&[&["bake", "--root", at, "--cache", &cache(root), "--offline"], &size[..]].concat())
            }
            Self::BakeInside => {
                inside(&[&["bake", "--root", "/", "--cache", "/srv/cache", "--offline"], &size[..]].concat())
            }
            Self::Install => inside(&["install", "--cache", "/srv/cache", "--offline"]),
            Self::CloudInit => inside(&["cloud-init", "run", "--cache", "/srv/cache", "--offline"]),
            Self::Uninstall => outside(&["uninstall", "--root", at]),
            Self::UninstallInside => inside(&["uninstall"]),
            Self::Stage => outside(&[&["stage", "--root", at, "--cache", &cache(root)], &size[..]].concat()),
        }
    }
}

fn cache(root: &Root) -> String {
    root.path().join("srv/cache").display().to_string()
}

/// The folder for temporary files of a run from outside.
fn temporary(root: &Root) -> PathBuf {
    let folder = root.beside("tmp");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A command that is killed, the commands one of which ends the work, and what the first finds.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    before: Frozen,
    /// Killed, each after the one before it was; all but the last at its middle.
    victims: Vec<Door>,
    doors: Vec<Door>,
    calm: Root,
    events: Vec<usize>,
    /// Serves what a `stage` fetches.
    _web: Option<Repository>,
}

/// A VM's root, with the program in it and nothing to install from.
fn clean() -> Root {
    let root = root::debian_root(SUITE);
    let machine = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hosts/hb120rs_v3-ubuntu20.04");
    let mut cp = Command::new("cp");
    cp.args(["-a", &format!("{machine}/sys"), &format!("{machine}/run")]).arg(root.path());
    assert!(cp.status().unwrap().success());
    root.write("etc/waagent.conf", "# OS.EnableRDMA=y\n");
    root.write("srv/empty", "");
    std::fs::copy(&*PROGRAM, root.path().join("srv/ofedctl")).unwrap();
    root
}

fn with_cache() -> Root {
    let root = clean();
    image::copy_of_staged(SUITE, &root.path().join("srv"));
    root
}

/// The same after a command.
fn after(door: Door) -> Frozen {
    let root = with_cache();
    let ran = program::finish(door.command(&root));
    assert_eq!(ran.code, 0, "{door:?}: {ran:?}");
    root.freeze()
}

impl Scene {
    /// Victims of what begins with a cache and without a driver.
    pub(crate) fn of_installing(name: &'static str, victims: &[Door], doors: &[Door]) -> Self {
        Self::new(name, with_cache().freeze(), victims, doors, None)
    }

    /// Victims of what begins where a door has installed the driver.
    pub(crate) fn of_removing(name: &'static str, installed: Door, victims: &[Door], doors: &[Door]) -> Self {
        Self::new(name, after(installed), victims, doors, None)
    }

    /// Where the cache is filled, from a mirror on this machine.
    pub(crate) fn of_staging() -> Self {
        let repository = Repository::of_files(&packages(&image::staged(SUITE)));
        let root = clean();
        root.write("etc/apt/sources.list", &format!("{}\n", repository.source_line()));
        Self::new("stage", root.freeze(), &[Door::Stage], &[Door::Stage], Some(repository))
    }

    fn new(
        name: &'static str,
        before: Frozen,
        victims: &[Door],
        doors: &[Door],
        web: Option<Repository>,
    ) -> Self {
        let calm = before.thaw();
        let watched = run_until(calm.path(), None, &mut doors[0].command(&calm));
        let [doors, victims] = [doors, victims].map(<[Door]>::to_vec);
        let mut scene = Self { name, before, victims, doors, calm, events: vec![watched.events], _web: web };
        assert!(scene.is_done(&scene.calm), "{name}: the run that nobody disturbs fails");
        // A second victim finds what the first left.
        if let [first, second] = scene.victims[..] {
            let root = scene.before.thaw();
            run_until(root.path(), Some(scene.events[0] / 2), &mut first.command(&root));
            scene.events.push(run_until(root.path(), None, &mut second.command(&root)).events);
        }
        scene
    }

    fn is_done(&self, root: &Root) -> bool {
        self.victims[0] == Door::Stage || image::status(root).state == "success"
    }

    /// Kills at the `nth` of `of` instants, runs again, and compares. Returns whether the last victim was still at work.
    pub(crate) fn kill_at(&self, nth: usize, of: usize) -> bool {
        let root = self.before.thaw();
        let last = self.victims.len() - 1;
        let mut ended = Watched { events: 0, was_killed: false };
        for (turn, victim) in self.victims.iter().enumerate() {
            let event = if turn == last { 1 + self.events[turn] * nth / of } else { self.events[turn] / 2 };
            ended = run_until(root.path(), Some(event), &mut victim.command(&root));
            image::assert_left_alone(&root);
        }
        let door = self.doors[nth % self.doors.len()];
        let what = format!("{}: killed at {nth} of {of} ({} events), then {door:?}", self.name, ended.events);
        let ran = program::finish(door.command(&root));
        assert_eq!(ran.code, 0, "{what}: {ran:?}\n{}", root.read("var/log/azure/ib-vmext-status"));
        self.compare(&root, &what);
        ended.was_killed
    }

    /// The lines of short texts that only one of the two roots has.
    fn lines_of(&self, difference: &Difference, root: &Root) -> String {
        let text = |root: &Root, path: &str| {
            let text = std::fs::read_to_string(root.path().join(path)).unwrap_or_default();
            if text.len() > SHORT { String::new() } else { text }
        };
        let mut said = String::new();
        for path in &difference.changed {
            let (calm, found) = (text(&self.calm, path), text(root, path));
            for (sign, these, others) in [('-', &calm, &found), ('+', &found, &calm)] {
                for line in these.lines().filter(|line| !others.lines().any(|other| other == *line)) {
                    let _ = writeln!(said, "{path}: {sign}{line}");
                }
            }
        }
        said
    }

    fn compare(&self, root: &Root, what: &str) {
        image::assert_left_alone(root);
        let difference = tree::difference_of(&self.calm, root).without(is_of_the_moment);
        assert!(
            difference.is_empty(),
            "{what}:\n{difference}\n{}\n{}",
            self.lines_of(&difference, root),
            root.read("var/log/azure/ib-vmext-status")
        );
        let records = |root: &Root| tree::records(root.path());
        tree::assert_same_records(what, &records(&self.calm), &records(root));
        assert_eq!(kept(&self.calm), kept(root), "{what}");
        assert_eq!(bundle(&self.calm), bundle(root), "{what}");
        assert!(self.is_done(root), "{what}: {:?}", image::status(root));
        let left: Vec<_> =
            std::fs::read_dir(temporary(root)).unwrap().map(|left| left.unwrap().path()).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "{what}: temporary files are left");
    }
}

/// The longest text whose lines are compared in a message.
const SHORT: usize = 64 << 10;

/// What two equal runs may differ in: logs and times, and what is compared in its own way.
fn is_of_the_moment(path: &str) -> bool {
    let logs_and_times = [
        "var/log",
        "var/lib/ofedctl",
        "var/cache/ldconfig",
        "var/lib/dpkg/status-old",
        "srv/cache",
        "run/ofedctl",
    ];
    logs_and_times.iter().any(|start| Path::new(path).starts_with(start)) || tree::RECORDS.contains(&path)
}

/// The names in the program's own folder, and what the receipt says of the root.
fn kept(root: &Root) -> (BTreeSet<String>, [Value; 3]) {
    let names = std::fs::read_dir(root.path().join("var/lib/ofedctl"));
    let names =
        names.map(|names| names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect());
    let receipt: Value = serde_json::from_str(&root.read("var/lib/ofedctl/receipt.json")).unwrap_or_default();
    (names.unwrap_or_default(), ["packages", "added", "held"].map(|key| receipt[key].clone()))
}

/// The files of the one bundle in the root's cache by title and digest, how many blobs there are, and what lies beside
/// them.
fn bundle(root: &Root) -> (BTreeSet<(String, String)>, usize, BTreeSet<String>) {
    let folder = root.path().join("srv/cache");
    if !folder.exists() {
        return Default::default();
    }
    let beside =
        std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    (layers(&folder), image::blobs(&folder).len(), beside.collect())
}

fn layers(cache: &Path) -> BTreeSet<(String, String)> {
    let read = |path: PathBuf| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| {
        cache.join("blobs/sha256").join(digest.as_str().unwrap().trim_start_matches("sha256:"))
    };
    let index = read(cache.join("index.json"));
    let mut all = BTreeSet::new();
    for manifest in index["manifests"].as_array().unwrap() {
        for layer in read(blob(&manifest["digest"]))["layers"].as_array().unwrap() {
            let title = layer["annotations"]["org.opencontainers.image.title"].as_str().unwrap();
            all.insert((title.to_owned(), layer["digest"].as_str().unwrap().to_owned()));
        }
    }
    all
}

/// The packages of a cache: the name and the file of each.
fn packages(cache: &Path) -> Vec<(String, PathBuf)> {
    let is_a_package =
        |(title, _): &(String, String)| Path::new(title).extension().is_some_and(|end| end == "deb");
    let file = |(title, digest): (String, String)| {
        let name = title.rsplit('/').next().unwrap().to_owned();
        (name, cache.join("blobs/sha256").join(digest.trim_start_matches("sha256:")))
    };
    layers(cache).into_iter().filter(is_a_package).map(file).collect()
}
