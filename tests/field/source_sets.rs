//! The package sources of stock images, one folder each in `sources/`: what this program makes of them is what the real
//! manager does.
//!
//! apt and dnf run for real; only what they would fetch from is a recorder (`record/`). The manager of this machine reads the
//! very files in the target's place in a mount namespace; for a folder `expanded`, it reads that, since it is too old for
//! the forms in the real ones. zypper is asked for its own list. yum 3 and tdnf are in no archive of Debian's: dnf reads for
//! them.

use crate::common::need::{need, need_root};
use crate::common::program::{self, Ran};
use crate::common::scratch;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/field");
const PYTHON: &str = "/usr/bin/python3";

/// What is known of a set: `about.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    distro: String,
    /// What it is shaped after.
    source: String,
    /// What `$releasever` is there.
    #[serde(default)]
    releasever: String,
    /// What no other machine can read for it.
    #[serde(default)]
    refused: String,
}

struct Set {
    name: String,
    folder: PathBuf,
    about: About,
}

fn sets(has: &str) -> Vec<Set> {
    let mut sets = Vec::new();
    for entry in fs::read_dir(format!("{HERE}/sources")).unwrap() {
        let folder = entry.unwrap().path();
        let about: About = serde_yaml::from_slice(&fs::read(folder.join("about.yaml")).unwrap()).unwrap();
        assert!(about.source.len() > 10, "{} says not what it is shaped after", folder.display());
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if folder.join(has).exists() {
            sets.push(Set { name, folder, about });
        }
    }
    sets
}

impl Set {
    fn stage(&self, around: &str, recorder: &Path) -> Ran {
        let cache = scratch();
        let script = format!("{around}; exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", &script]).arg(recorder).arg(env!("CARGO_BIN_EXE_ofedctl"));
        command.args(["stage", "--json", "--driver", "inbox", "--nic", "cx6", "--arch", "x86_64"]);
        command.args(["--distro", &self.about.distro, "--sources"]).arg(&self.folder);
        command.arg("--cache").arg(cache.path().join("cache"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(std::process::Stdio::null());
        program::finish(command)
    }

    /// Runs a command where the set's files lie in the places of this machine's.
    fn in_its_place(&self, command: &[String]) {
        let script = "for place in etc usr/share/keyrings var; do \
            [ ! -d \"$0/$place\" ] || mount --bind \"$0/$place\" /$place; done; exec \"$@\"";
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-ec", script]).arg(&self.folder).args(command);
        unshare.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        program::finish(unshare);
    }
}

/// The lines of a file, without the folder that stands for the target.
fn said(file: &Path, target: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let inside = target.display().to_string();
    text.lines().map(|line| line.replace(&inside, "").replace("file:///", "file:/")).collect()
}

fn differences(set: &Set, ours: &BTreeSet<String>, theirs: &BTreeSet<String>, ran: &Ran) -> Option<String> {
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    if ours == theirs && !ours.is_empty() {
        return None;
    }
    let (more, less) = (only(ours, theirs), only(theirs, ours));
    let why = if ours.is_empty() { format!("\n{}", ran.stderr) } else { String::new() };
    Some(format!("{}:\n  only read here: {more:#?}\n  only read there: {less:#?}{why}", set.name))
}

fn report(read: usize, least: usize, wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(read >= least, "only {read} sets");
}

/// A folder of apt's transports, with recorders in the place of those that reach out.
fn transports(folder: &Path, real: &Path) {
    fs::create_dir_all(folder).unwrap();
    for name in ["file", "copy", "store", "rred", "mirror", "mirror+file"] {
        symlink(real.join(if name.starts_with("mirror") { "mirror" } else { name }), folder.join(name))
            .unwrap();
    }
    for name in ["http", "https", "gpgv"] {
        symlink(format!("{HERE}/record/apt_method.py"), folder.join(name)).unwrap();
    }
}

#[test]
fn apts_sources_of_stock_images_are_read_as_apt_reads_them() {
    need_root();
    let (scratch, mut wrong) = (scratch(), Vec::new());
    let real = scratch.path().join("real");
    fs::create_dir_all(&real).unwrap();
    for name in ["file", "copy", "store", "rred", "mirror"] {
        fs::copy(Path::new("/usr/lib/apt/methods").join(name), real.join(name)).unwrap();
    }
    let sets = sets("etc/apt");
    for set in &sets {
        let at = scratch.path().join(&set.name);
        let (ours, theirs) = (at.join("ours"), at.join("theirs"));
        transports(&ours, &real);
        transports(&theirs, &real);
        let ran = set.stage("mount --bind \"$0\" /usr/lib/apt/methods", &ours);
        let option = |key: &str, value: &Path| format!("-o{key}={}", value.display());
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(at.join(folder)).unwrap();
        }
        fs::write(at.join("status"), "").unwrap();
        let command = [
            "apt-get".to_owned(),
            option("Dir::Bin::methods", &theirs),
            option("Dir::State", &at.join("state")),
            option("Dir::State::status", &at.join("status")),
            option("Dir::Cache", &at.join("cache")),
            "-oAPT::Sandbox::User=root".to_owned(),
            "-oAPT::Architecture=amd64".to_owned(),
            "update".to_owned(),
        ];
        set.in_its_place(&command);
        let found = said(&ours.join("said"), &set.folder);
        wrong.extend(differences(set, &found, &said(&theirs.join("said"), &set.folder), &ran));
    }
    report(sets.len(), 28, &wrong);
}

/// What stands for dnf: its first line names its interpreter, which is the recorder.
fn stands_for_dnf(folder: &Path, target: &Path) {
    fs::create_dir_all(folder).unwrap();
    let interpreter = folder.join("python");
    let (file, target) = (folder.join("ours").display().to_string(), target.display());
    let script =
        format!("#!/bin/sh\nexec {PYTHON} {HERE}/record/repositories.py '{file}' '{target}' \"$@\"\n");
    fs::write(&interpreter, script).unwrap();
    fs::write(folder.join("dnf"), format!("#!{}\n", interpreter.display())).unwrap();
    for program in ["python", "dnf"] {
        fs::set_permissions(folder.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn rpms_sources_of_stock_images_are_read_as_their_managers_read_them() {
    need_root();
    need(&["dnf", "rpm", "zypper"]);
    let (scratch, mut wrong) = (scratch(), Vec::new());
    let (yum, zypp) = (sets("etc/yum.repos.d"), sets("etc/zypp/repos.d"));
    let place = |set: &Set, whose: &str| scratch.path().join(&set.name).join(whose);
    let mut reads = recorder("dnf");
    for set in &yum {
        let from = set.folder.join("expanded");
        let from = if from.exists() { from } else { set.folder.clone() };
        reads.arg(place(set, "theirs")).arg(&set.about.releasever).arg(from);
    }
    for set in yum.iter().chain(&zypp) {
        stands_for_dnf(&scratch.path().join(&set.name), &set.folder);
    }
    assert_eq!(program::finish(reads).stderr, "");
    for set in yum.iter().chain(&zypp) {
        let around = "mount -t tmpfs none /usr/local/sbin; ln -s \"$0/dnf\" /usr/local/sbin/";
        let ran = set.stage(around, &scratch.path().join(&set.name));
        if !set.about.refused.is_empty() {
            let named = ran.stdout.contains(&set.about.refused) && ran.stdout.contains("--root");
            wrong.extend((ran.code != 14 || !named).then(|| format!("{}: {}", set.name, ran.stdout)));
            continue;
        }
        let (ours, theirs) = (place(set, "ours"), place(set, "theirs"));
        let mut ours = said(&ours, &set.folder);
        if set.folder.join("etc/zypp").exists() {
            // It tidies up where it reads.
            let copy = place(set, "copy");
            assert!(Command::new("cp").arg("-r").arg(&set.folder).arg(&copy).status().unwrap().success());
            let mut asks = recorder("zypper");
            asks.arg(&theirs).arg(&set.about.releasever).arg(copy);
            assert_eq!(program::finish(asks).stderr, "");
            ours.retain(|line| line.contains(" address ") || line.contains(" gpgcheck "));
        }
        wrong.extend(differences(set, &ours, &said(&theirs, &set.folder), &ran));
    }
    report(yum.len() + zypp.len(), 30, &wrong);
}

/// The program that writes down what dnf or zypper reads, in a mount namespace of its own.
fn recorder(of: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", PYTHON, &format!("{HERE}/record/repositories.py"), of]);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}
