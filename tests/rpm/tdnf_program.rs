//! tdnf for the roots of tests. No registry has it, so one that answers like it stands there, unless `OFEDCTL_TDNF` names the
//! folder in which the real one was built (`cmake` and `make` of vmware/tdnf): then that runs, with the libraries it needs.

use crate::common::root::Root;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIKE_TDNF: &str = include_str!("like_tdnf_3_6.py");
/// As in images of Azure Linux 3; the release is that of the package in the roots of tests.
const SETTINGS: &str = "[main]\ngpgcheck=1\ninstallonly_limit=3\nclean_requirements_on_remove=0\nrepodir=/etc/yum.repos.d\n\
    cachedir=/var/cache/tdnf\ndistroverpkg=test-release\n";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The folder of a real one.
pub(crate) fn real() -> Option<PathBuf> {
    std::env::var_os("OFEDCTL_TDNF").map(PathBuf::from)
}

/// Puts it into a root.
pub(crate) fn put(root: &Root) {
    root.write("etc/tdnf/tdnf.conf", SETTINGS);
    let program = root.path().join("usr/bin/tdnf");
    let _ = std::fs::remove_file(&program);
    let Some(folder) = real() else {
        std::fs::write(&program, LIKE_TDNF).unwrap();
        return std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let libraries = folder.join("lib");
    std::fs::copy(folder.join("bin/tdnf"), &program).unwrap();
    std::fs::copy(folder.join("bin/tdnf-history-util"), root.path().join("usr/bin/tdnf-history-util"))
        .unwrap();
    for library in needed(&folder.join("bin/tdnf"), &libraries) {
        let to = root.path().join(LIBRARIES).join(library.file_name().unwrap());
        if !to.exists() {
            std::fs::copy(&library, to).unwrap();
        }
    }
    root.write("var/lib/tdnf/.keep", "");
    let made = root.inside(&["tdnf-history-util", "init"]);
    assert!(made.status.success(), "{made:?}");
}

/// The libraries of a program.
fn needed(program: &Path, own: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).env("LD_LIBRARY_PATH", own).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    text.lines().filter(|line| line.contains("=>")).filter_map(path).collect()
}
