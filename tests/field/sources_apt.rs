//! Package sources of apt, read without a root: this machine's apt stands in, and nothing of this machine is read.

use crate::common::deb::{Deb, Repository};
use crate::common::program::{self, Ran};
use crate::common::web::{Fault, Web};
use crate::common::{need::need_root, scratch};
use crate::expired::Expired;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const STACK: [&str; 6] =
    ["rdma-core", "ibverbs-providers", "ibverbs-utils", "rdmacm-utils", "infiniband-diags", "perftest"];

fn stack() -> Repository {
    let deb = |name| Deb { name, version: "99", ..Deb::default() };
    Repository::of(&STACK.map(deb))
}

/// A folder with a target's files, and a cache beside it.
struct Given {
    folder: TempDir,
}

impl Given {
    fn new(files: &[(&str, &str)]) -> Self {
        let given = Self { folder: scratch() };
        for (path, text) in files {
            given.put(path, text);
        }
        given
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn arguments(&self, distro: &str) -> Vec<String> {
        let show = |path: &Path| path.display().to_string();
        let (sources, cache) = (show(&self.path()), show(&self.folder.path().join("cache")));
        let all = ["stage", "--json", "--distro", distro, "--driver", "inbox", "--nic", "cx6"];
        let all = [&all[..], &["--sources", &sources, "--cache", &cache]].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    fn stage(&self, distro: &str) -> Ran {
        program::run(&self.arguments(distro))
    }
}

#[test]
fn neither_the_build_hosts_settings_nor_its_hooks_are_obeyed() {
    need_root();
    let repository = stack();
    let given = Given::new(&[("etc/apt/sources.list", &(repository.source_line() + "\n"))]);
    // Settings as a build host may have them, in a mount namespace of their own: a hook, and a proxy that is not there.
    let mark = given.folder.path().join("hook-ran");
    let settings = format!(
        "APT::Update::Pre-Invoke {{ \"touch {}\"; }};\nAcquire::http::Proxy \"http://127.0.0.1:1\";\n",
        mark.display()
    );
    let file = given.folder.path().join("99poison");
    std::fs::write(&file, settings).unwrap();
    let script = "mount -t tmpfs none /etc/apt/apt.conf.d; cp \"$0\" /etc/apt/apt.conf.d/; exec \"$@\"";
    let mut poisoned = std::process::Command::new("unshare");
    poisoned.args(["--mount", "sh", "-ec", script]).arg(&file).arg(env!("CARGO_BIN_EXE_ofedctl"));
    poisoned.args(given.arguments("debian12")).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    program::finish(poisoned).expect(0, "staged");
    assert!(!mark.exists(), "a hook of the build host ran");
}

#[test]
fn a_target_reaches_its_sources_as_its_own_settings_say() {
    let repository = stack();
    // As Debian's cloud images have it: a list of mirrors in a file of the image (debian-cloud-images).
    let given = Given::new(&[
        (
            "etc/apt/sources.list.d/debian.sources",
            "Types: deb deb-src\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: ./\nTrusted: yes\n",
        ),
        ("etc/apt/mirrors/debian.list", &format!("# mirrors\n{}\tpriority:1\n", repository.web.address())),
        ("etc/apt/apt.conf.d/10hook", "APT::Update::Pre-Invoke { \"false\"; };\n"),
    ]);
    given.stage("debian12").expect(0, "staged");
    // A proxy that the image names is the way.
    given.put("etc/apt/apt.conf.d/20proxy", "Acquire::http::Proxy \"http://127.0.0.1:1\";\n");
    given.put("etc/apt/mirrors/debian.list", "http://mirror.invalid/debian\n");
    let refused = given.stage("debian12");
    refused.expect(14, "download-failed");
    assert!(refused.stdout.contains("127.0.0.1"), "{}", refused.stdout);
}

#[test]
fn the_next_mirror_of_a_list_is_asked_where_one_fails() {
    // Lists of mirrors of which the first is gone, or has indexes and not every package (supabase/postgres, pull 1972).
    let repository = stack();
    let (broken, whole) = (Web::serve(repository.folder()), &repository.web);
    broken.fail("perftest_99", Fault::Status(404), usize::MAX);
    let list = format!(
        "{}/\tpriority:3\nhttp://127.0.0.1:1/\tpriority:1\n{}/\tpriority:2\n",
        whole.address(),
        broken.address()
    );
    let given = Given::new(&[
        ("etc/apt/sources.list", "deb [trusted=yes] mirror+file:/etc/apt/mirrors/ours.list ./\n"),
        ("etc/apt/mirrors/ours.list", &list),
    ]);
    let ran = given.stage("debian12");
    ran.expect(0, "staged");
    assert!(ran.stderr.contains("the next of the target's mirrors"), "{}", ran.stderr);
    let packages = |web: &Web| web.requests().iter().filter(|path| path.contains(".deb")).count();
    assert_eq!(packages(&broken), STACK.len());
    assert_eq!(packages(whole), 1);
}

pub(crate) fn without_network() -> Ran {
    // UserLAnd 665: apt ends well where no name can be resolved, and then knows no package.
    let unresolved =
        Given::new(&[("etc/apt/sources.list", "deb http://archive.invalid/debian bookworm main\n")]);
    program::finish(program::program_without_network(&unresolved.arguments("debian12")))
}

#[test]
fn what_failed_first_is_told_in_one_line_and_without_a_second_try() {
    let ran = without_network();
    ran.expect(14, "name-unknown");
    assert!(
        ran.stdout.contains("archive.invalid") && !ran.stdout.contains("Unable to locate"),
        "{}",
        ran.stdout
    );

    let refused = Given::new(&[("etc/apt/sources.list", "deb http://127.0.0.1:1/debian bookworm main\n")]);
    let ran = refused.stage("debian12");
    ran.expect(14, "download-failed");
    assert!(!ran.stderr.contains("trying again"), "{}", ran.stderr);
    assert!(ran.stdout.contains("Connection refused"), "{}", ran.stdout);
    let told = ran.stderr.lines().filter(|line| line.contains("Connection refused")).count();
    assert!(told <= 3, "{}", ran.stderr);
}

#[test]
fn a_server_that_is_busy_and_sources_that_are_not_there_are_told_before_the_packages_that_are_unknown_then() {
    // xcp-ng/xcp 658: 503 is what the server says; apt ends well then, and knows no package.
    let busy = stack();
    busy.web.fail("/", Fault::Status(503), usize::MAX);
    let line = format!("deb [trusted=yes] {} ./\n", busy.web.address());
    let ran = Given::new(&[("etc/apt/sources.list", &line)]).stage("debian12");
    ran.expect(14, "server-busy");
    assert!(ran.stdout.contains("503") && !ran.stdout.contains("Unable to locate"), "{}", ran.stdout);
    // ansible 80644: what has no sources of its own is not given this machine's.
    let ran = Given::new(&[("etc/apt/sources.list", "# none\n")]).stage("debian12");
    ran.expect(14, "resolve-failed");
    assert!(ran.stdout.contains("apt read no package source"), "{}", ran.stdout);
}

#[test]
fn an_expired_certificate_is_told_before_what_it_leaves_unknown() {
    let tls = Expired::serve();
    let given = Given::new(&[
        ("etc/apt/sources.list", &format!("deb {}/debian bookworm main\n", tls.address())),
        ("etc/apt/apt.conf.d/10ca", "Acquire::https::CaInfo \"/etc/ca.pem\";\n"),
        ("etc/ca.pem", &tls.certificate()),
    ]);
    let ran = given.stage("debian12");
    ran.expect(14, "server-untrusted");
    assert!(ran.stdout.contains("expired"), "{}", ran.stdout);
}

#[test]
fn an_expired_release_and_a_missing_key_are_told_before_the_packages_that_are_unknown_then() {
    // As snapshot.debian.org's are, and as a repository's is whose key was renewed.
    const MAKE: &str = "export GNUPGHOME=$PWD/gnupg; mkdir -m 700 gnupg; mkdir -p dists/x; \
        gpg --batch --passphrase '' --quick-gen-key x@example rsa2048 sign never; gpg --export > key.gpg; \
        printf 'Suite: x\nDate: Wed, 01 Jan 2020 00:00:00 UTC\nValid-Until: Wed, 08 Jan 2020 00:00:00 UTC\n\
SHA256:\n e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/binary-amd64/Packages\n' | \
        gpg --batch --clearsign > dists/x/InRelease; gpgconf --kill all";
    let folder = scratch();
    let made = std::process::Command::new("sh").args(["-ec", MAKE]).current_dir(&folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let web = crate::common::web::Web::serve(folder.path());
    let given = Given::new(&[("etc/apt/sources.list", &format!("deb {} x main\n", web.address()))]);
    given.stage("debian12").expect(14, "repository-key");
    std::fs::create_dir_all(given.path().join("etc/apt/trusted.gpg.d")).unwrap();
    let key = given.path().join("etc/apt/trusted.gpg.d/x.gpg");
    std::fs::copy(folder.path().join("key.gpg"), key).unwrap();
    let ran = given.stage("debian12");
    ran.expect(14, "resolve-failed");
    assert!(ran.stdout.contains("is expired") && !ran.stdout.contains("Unable to locate"), "{}", ran.stdout);
    // mkosi, pull 1268: an image that stays with a snapshot says in its own settings that this is no fault.
    given.put("etc/apt/apt.conf.d/99snapshot", "Acquire::Check-Valid-Until \"false\";\n");
    let ran = given.stage("debian12");
    ran.expect(14, "resolve-failed");
    assert!(!ran.stdout.contains("is expired") && ran.stdout.contains("Unable to locate"), "{}", ran.stdout);
}

#[test]
fn a_release_that_has_moved_says_where_to() {
    // Debian 10 and older left deb.debian.org (pterodactyl-installer 261 and many more).
    let empty = crate::common::web::Web::serve(scratch().path());
    let line = format!("deb {}/debian buster main\n", empty.address());
    let ran = Given::new(&[("etc/apt/sources.list", &line)]).stage("debian12");
    ran.expect(14, "not-on-server");
    assert!(ran.stdout.contains("archive.debian.org") && ran.stdout.contains("--sources"), "{}", ran.stdout);
}

#[test]
fn what_a_source_names_and_was_not_given_is_refused_by_name() {
    for (uri, said) in [
        ("file:///var/cuda-repo-debian12-12-4-local", "/var/cuda-repo-debian12-12-4-local"),
        ("mirror+http://mirror.example/list.txt", "--root"),
    ] {
        let line = format!("deb [trusted=yes] {uri} /\n");
        let ran = Given::new(&[("etc/apt/sources.list.d/x.list", &line)]).stage("debian12");
        ran.expect(14, "resolve-failed");
        assert!(ran.stdout.contains(said), "{}", ran.stdout);
    }
}
