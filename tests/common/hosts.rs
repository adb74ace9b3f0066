//! Newer versions of cloud-init and the Azure agent than the distribution has, from downloaded source trees: `make
//! hosts-newest SRC=FOLDER`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with the trees `cloud-init` (canonical/cloud-init) and `WALinuxAgent` (Azure/WALinuxAgent); none in CI, where
/// the distribution's hosts are tried.
const VARIABLE: &str = "OFEDCTL_HOSTS";
const PACKAGES: &str = "usr/lib/python3/dist-packages";

fn source(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty())?);
    Some(folder.join(name))
}

/// Puts a tree's Python package in the place of the distribution's.
fn replace(root: &Path, package: &str, source: &Path) {
    let there = root.join(PACKAGES).join(package);
    std::fs::remove_dir_all(&there).unwrap();
    let from = source.join(package);
    let copied = Command::new("cp").arg("-r").arg(&from).arg(&there).status().unwrap();
    assert!(copied.success(), "{}", from.display());
}

/// The newest cloud-init in a root that has the distribution's, where one was fetched.
pub fn put_cloud_init(root: &Path) {
    let Some(source) = source("cloud-init") else { return };
    replace(root, "cloudinit", &source);
    // What an upgrade of the package does, too: the list of modules names those that this cloud-init has.
    replace_start_lines(root, &source);
    let cfg = root.join("etc/cloud/cloud.cfg");
    let text = std::fs::read_to_string(&cfg).unwrap();
    let modules = root.join(PACKAGES).join("cloudinit/config");
    let is_there = |line: &&str| {
        let name = line.strip_prefix(" - ").map(|name| name.trim().replace('-', "_"));
        let is_name = |name: &String| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        name.filter(is_name).is_none_or(|name| modules.join(format!("cc_{name}.py")).exists())
    };
    let kept = text.lines().filter(is_there).collect::<Vec<_>>().join("\n") + "\n";
    std::fs::write(&cfg, kept).unwrap();
    // The distribution's program wants the version it was packaged with.
    let program = "#!/usr/bin/python3\nimport sys\nfrom cloudinit.cmd.main import main\nsys.exit(main())\n";
    let path = root.join("usr/bin/cloud-init");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, program).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// Units that start a stage of the one process speak with it through its sockets, in the way of their version.
fn replace_start_lines(root: &Path, source: &Path) {
    let units = root.join("usr/lib/systemd/system");
    if !units.join("cloud-init-main.service").exists() {
        return;
    }
    for stage in ["cloud-init-local", "cloud-init-network", "cloud-config", "cloud-final"] {
        let read = |path: PathBuf| std::fs::read_to_string(path).ok();
        let theirs = source.join("systemd").join(format!("{stage}.service"));
        let theirs = read(theirs.clone()).or_else(|| read(theirs.with_extension("service.tmpl"))).unwrap();
        let is_start = |line: &&str| line.starts_with("ExecStart=");
        let start = theirs.lines().find(is_start).unwrap();
        let path = units.join(format!("{stage}.service"));
        let unit = read(path.clone()).unwrap();
        let lines = unit.lines().map(|line| if is_start(&line) { start } else { line });
        std::fs::write(&path, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    }
}

/// Whether the newest agent takes the place of the distribution's.
pub fn has_agent() -> bool {
    source("WALinuxAgent").is_some()
}

/// The newest agent in a root that has the distribution's, where one was fetched.
pub fn put_agent(root: &Path) {
    let Some(source) = source("WALinuxAgent") else { return };
    replace(root, "azurelinuxagent", &source);
}
