//! Package sources of dnf, yum, tdnf and zypper, read without a root: this machine's dnf stands in.

use crate::common::need::{need, need_root};
use crate::common::program::{self, Ran};
use crate::common::scratch;
use crate::common::web::{Fault, Web};
use crate::expired::Expired;
use crate::packages::{Repository, Rpm};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

fn stack() -> Vec<Rpm> {
    ["rdma-core", "libibverbs", "libibverbs-utils", "librdmacm-utils", "infiniband-diags", "perftest"]
        .map(|name| Rpm::plain(name, "48.0", ""))
        .to_vec()
}

struct Given {
    folder: TempDir,
}

impl Given {
    fn new(files: &[(&str, &str)]) -> Self {
        need(&["dnf", "rpm", "createrepo-c"]);
        let given = Self { folder: scratch() };
        for (path, text) in files {
            let path = given.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        given
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    fn arguments(&self, distro: &str) -> Vec<String> {
        let show = |path: PathBuf| path.display().to_string();
        let (sources, cache) = (show(self.path()), show(self.folder.path().join("cache")));
        let all = ["stage", "--json", "--distro", distro, "--driver", "inbox", "--nic", "cx6"];
        let all = [&all[..], &["--sources", &sources, "--cache", &cache]].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    fn stage(&self, distro: &str, more: &[&str]) -> Ran {
        let more = more.iter().map(|argument| (*argument).to_owned());
        program::run(&self.arguments(distro).into_iter().chain(more).collect::<Vec<_>>())
    }
}

/// A repository at a path of a server.
fn served(path: &str) -> (Web, TempDir) {
    let (repository, folder) = (Repository::of(&stack()), scratch());
    let place = folder.path().join(path);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    let mut cp = Command::new("cp");
    assert!(cp.arg("-a").arg(repository.folder()).arg(&place).status().unwrap().success());
    (Web::serve(folder.path()), folder)
}

#[test]
fn variables_mean_what_they_mean_to_the_targets_dnf() {
    // Rocky 9 has an empty `rltype`; Fedora 41 and dnf 5 know the parts of a release and `${x:+y}`.
    let (web, _folder) = served("9/BaseOS-9-4/x86_64/os");
    let address = web.address();
    let file = format!(
        "[base]\nname=base\ngpgcheck=0\n\
         baseurl={address}/$releasever_major/BaseOS-$releasever_major$rltype${{releasever_minor:+-$releasever_minor}}/\
         ${{arch_of_mine:-$basearch}}/os\n"
    );
    let given = Given::new(&[
        ("etc/yum.repos.d/rocky.repo", &file),
        ("etc/dnf/vars/rltype", "\n"),
        ("etc/dnf/vars/releasever", "9.4\n"),
    ]);
    given.stage("rocky9.4", &[]).expect(0, "staged");
}

#[test]
fn a_repository_that_its_owner_can_do_without_may_be_gone_and_any_other_is_named() {
    // coreos/rpm-ostree 1602, rpm-software-management/dnf5 2439: Fedora's repository of openh264; balena-io/etcher 4034: one
    // whose owner did not pay, so that it answered 402.
    let (web, folder) = (Repository::of(&stack()), scratch());
    let gone = Web::serve(folder.path());
    gone.fail("repomd", Fault::Status(402), 1000);
    let file = |more: &str| {
        let (base, other) = (web.web.address(), gone.address());
        format!(
            "[base]\nname=base\ngpgcheck=0\nbaseurl={base}\n[other]\nname=other\ngpgcheck=0\nbaseurl={other}\n{more}\n"
        )
    };
    let staged = |more| Given::new(&[("etc/yum.repos.d/a.repo", &file(more))]).stage("almalinux9.6", &[]);
    staged("skip_if_unavailable=True").expect(0, "staged");
    let ran = staged("");
    assert!(ran.code == 14 && ran.stdout.contains("402") && ran.stdout.contains("other"), "{ran:?}");
}

#[test]
fn a_token_at_the_end_of_an_address_stays_there() {
    // As SUSEConnect writes them for SLES BYOS.
    let (web, _folder) = served("product");
    let file = format!("[base]\nname=base\ngpgcheck=0\nbaseurl={}/product?tOkEn\n", web.address());
    let given = Given::new(&[("etc/zypp/repos.d/sle.repo", &file)]);
    given.stage("sles15.5", &[]).expect(0, "staged");
    let asked = web.requests();
    let rpm = asked.iter().find(|path| path.contains("rdma-core-48.0-1.noarch.rpm")).unwrap();
    assert_eq!(rpm, "/product/rdma-core-48.0-1.noarch.rpm?tOkEn");
}

#[test]
fn a_manager_that_checks_signatures_by_default_is_stood_in_for_by_one_that_does() {
    // Azure Linux's own modules are among what is wanted there.
    let modules = ["mlnx-ofa_kernel", "mlnx-ofa_kernel-modules"].map(|name| Rpm::plain(name, "24.10", ""));
    let repository = Repository::of(&[stack(), modules.to_vec()].concat());
    let file = format!("[base]\nname=base\nbaseurl={}\n", repository.web.address());
    let staged = |distro, place| Given::new(&[(place, &file)]).stage(distro, &[]);
    staged("sles15.5", "etc/zypp/repos.d/a.repo").expect(14, "repository-key");
    staged("azurelinux3", "etc/yum.repos.d/a.repo").expect(14, "repository-key");
    staged("almalinux9.6", "etc/yum.repos.d/a.repo").expect(0, "staged");
}

#[test]
fn what_a_repository_names_by_path_is_the_targets_or_refused_by_name() {
    let repository = Repository::of(&stack());
    let address = repository.web.address();
    for (line, said) in [
        // A file that this machine has.
        (
            "sslcacert=/etc/ssl/certs/ca-certificates.crt",
            "ca-certificates.crt, which is not in what was given",
        ),
        ("mirrorlist=file:///etc/hosts", "/etc/hosts, which is not in what was given"),
    ] {
        let file = format!("[base]\nname=base\ngpgcheck=0\nbaseurl={address}\n{line}\n");
        let ran = Given::new(&[("etc/yum.repos.d/a.repo", &file)]).stage("almalinux9.6", &[]);
        ran.expect(14, "resolve-failed");
        assert!(ran.stdout.contains(said), "{}", ran.stdout);
    }
    // SLES on Azure, pay as you go.
    let plugin = "[base]\nname=base\nbaseurl=plugin:/susecloud?credentials=SMT&path=/repo/x\n";
    let ran = Given::new(&[("etc/zypp/repos.d/a.repo", plugin)]).stage("sles15.5", &[]);
    ran.expect(14, "resolve-failed");
    assert!(ran.stdout.contains("plugin:/susecloud") && ran.stdout.contains("--root"), "{}", ran.stdout);
}

#[test]
fn a_list_of_mirrors_from_elsewhere_names_nothing_of_this_machine() {
    let (lists, repository) = (scratch(), Repository::of(&stack()));
    // This machine has that folder; the target may have another.
    std::fs::write(lists.path().join("list"), format!("file://{}\n", repository.folder().display())).unwrap();
    let web = Web::serve(lists.path());
    let file = format!("[base]\nname=base\ngpgcheck=0\nmirrorlist={}/list\n", web.address());
    let ran = Given::new(&[("etc/yum.repos.d/a.repo", &file)]).stage("almalinux9.6", &[]);
    ran.expect(14, "resolve-failed");
    assert!(ran.stdout.contains("list of mirrors") && ran.stdout.contains("--root"), "{}", ran.stdout);
}

#[test]
fn a_package_that_one_mirror_lacks_comes_from_the_next() {
    // osbuild-composer 1031 and qubes-core-agent-linux 393: the one mirror that dnf named first was slow, or lacked the file.
    let repository = Repository::of(&stack());
    let (broken, whole) = (Web::serve(repository.folder()), &repository.web);
    broken.fail("perftest", Fault::Status(404), usize::MAX);
    let file = format!("[base]\nname=base\ngpgcheck=0\nbaseurl={}/ {}/\n", broken.address(), whole.address());
    Given::new(&[("etc/yum.repos.d/a.repo", &file)]).stage("almalinux9.6", &[]).expect(0, "staged");
    let packages = |web: &Web| web.requests().iter().filter(|path| path.contains(".rpm")).count();
    assert_eq!((packages(&broken), packages(whole)), (stack().len(), 1));
}

#[test]
fn a_mirror_whose_name_is_unknown_leaves_the_others() {
    // rpm 3870: a list names a mirror that DNS does not have.
    let repository = Repository::of(&stack());
    let lists = scratch();
    let list = format!("http://gone.invalid/x/\n{}/\n", repository.web.address());
    std::fs::write(lists.path().join("list"), list).unwrap();
    let web = Web::serve(lists.path());
    let file = format!("[base]\nname=base\ngpgcheck=0\nmirrorlist={}/list\n", web.address());
    Given::new(&[("etc/yum.repos.d/a.repo", &file)]).stage("almalinux9.6", &[]).expect(0, "staged");
}

#[test]
fn neither_dnfs_nor_zyppers_settings_of_the_build_host_are_obeyed() {
    need_root();
    let repository = Repository::of(&stack());
    // In a mount namespace of its own: a proxy that is not there, nothing to be installed, another repository, a plugin that
    // ends whatever loads it.
    let script = "for folder in dnf zypp; do mount -t tmpfs none /etc/$folder; done
        settings='[main]\nproxy=http://127.0.0.1:1\nexcludepkgs=*\npluginpath=/etc/dnf/bad\n'
        mkdir -p /etc/dnf/vars /etc/dnf/bad /etc/dnf/plugins
        printf \"$settings\" >/etc/dnf/dnf.conf; printf '[main]\\nproxy=http://127.0.0.1:1\\n' >/etc/zypp/zypp.conf
        echo 'raise SystemExit(7)' >/etc/dnf/bad/bad.py; printf '[main]\\nenabled=1\\n' >/etc/dnf/plugins/bad.conf
        echo poison >/etc/dnf/vars/basearch; exec \"$@\"";
    for (distro, place) in
        [("almalinux9.6", "etc/yum.repos.d/a.repo"), ("sles15.5", "etc/zypp/repos.d/a.repo")]
    {
        let file = format!("[base]\nname=base\ngpgcheck=0\nbaseurl={}\n", repository.web.address());
        let given = Given::new(&[(place, &file)]);
        let mut poisoned = Command::new("unshare");
        poisoned.args(["--mount", "sh", "-ec", script, "sh", env!("CARGO_BIN_EXE_ofedctl")]);
        poisoned.args(given.arguments(distro)).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        program::finish(poisoned).expect(0, "staged");
    }
}

#[test]
fn what_yum_3_takes_in_is_taken_in() {
    let repository = Repository::of(&stack());
    let own = format!("[own]\nname=own\ngpgcheck=0\nbaseurl={}\n", repository.web.address());
    let files = [
        ("etc/yum.conf", "[main]\ngpgcheck=1\n"),
        ("etc/yum.repos.d/a.repo", "include=file:///etc/yum/own.conf\n"),
        ("etc/yum/own.conf", &own),
    ];
    Given::new(&files).stage("centos7.9", &[]).expect(0, "staged");
}

#[test]
fn what_stands_in_the_way_is_told_first_in_one_line() {
    // An authority that the target names, and a certificate of it that is past its time (apache/arrow 43122 and many more).
    let tls = Expired::serve();
    let file = format!("[base]\nname=base\ngpgcheck=0\nbaseurl={}/x\nsslcacert=/etc/ca.pem\n", tls.address());
    let given = Given::new(&[("etc/yum.repos.d/a.repo", &file), ("etc/ca.pem", &tls.certificate())]);
    given.stage("almalinux9.6", &[]).expect(14, "server-untrusted");
    for distro in ["almalinux9.6", "sles15.5"] {
        let place =
            if distro.starts_with("sles") { "etc/zypp/repos.d/a.repo" } else { "etc/yum.repos.d/a.repo" };
        let file = "[base]\nname=base\nmirrorlist=http://127.0.0.1:1/list\n";
        let ran = Given::new(&[(place, file)]).stage(distro, &[]);
        ran.expect(14, "download-failed");
        assert!(!ran.stderr.contains("trying again"), "{}", ran.stderr);
        let told = ran.json()["message"].as_str().unwrap().to_owned();
        assert!(
            told.contains("dnf said: ") && !told.contains('|') && !told.contains("missing packages"),
            "{told}"
        );
    }
}

#[test]
fn a_busy_server_sources_that_are_not_there_and_an_old_database_are_told_in_one_line() {
    // xcp-ng/xcp 658: the list of mirrors of CentOS 7, with a variable that nobody set.
    let (repository, empty) = (Repository::of(&stack()), Repository::of(&[]));
    repository.web.fail("repomd.xml", Fault::Status(503), usize::MAX);
    let file = |web: &Web| format!("[base]\nname=base\ngpgcheck=0\nbaseurl={}/$infra/\n", web.address());
    // ansible 80644: what has no repositories of its own is not given this machine's.
    let none = "[base]\nname=base\nenabled=0\nbaseurl=http://127.0.0.1:1/\n".to_owned();
    for (file, reason, said) in [
        (file(&repository.web), "server-busy", "Status code: 503"),
        (none, "resolve-failed", "dnf read no package source"),
    ] {
        let ran = Given::new(&[("etc/yum.repos.d/a.repo", &file)]).stage("centos7.9", &[]);
        ran.expect(14, reason);
        assert!(ran.stdout.contains(said) && !ran.stdout.contains("No match"), "{}", ran.stdout);
    }
    // Each index that a Berkeley database lacks is a warning of rpm's.
    need(&["db5.3-util"]);
    let file = format!("[base]\nname=base\ngpgcheck=0\nbaseurl={}\n", empty.web.address());
    let given = Given::new(&[("etc/yum.repos.d/a.repo", &file), ("var/lib/rpm/.keep", "")]);
    let database = given.path().join("var/lib/rpm/Packages");
    let mut load = Command::new("db5.3_load");
    load.args(["-T", "-t", "hash"]).arg(&database).stdin(std::process::Stdio::null());
    assert!(load.status().unwrap().success());
    let ran = given.stage("centos7.9", &["--status-file", &database.display().to_string()]);
    assert_eq!(ran.code, 14, "{ran:?}");
    assert!(!ran.stdout.contains("could not open") && !ran.stderr.contains("could not open"), "{ran:?}");
}

#[test]
fn a_mirror_that_is_gone_is_told_with_the_vault() {
    let ran = from_a_mirror_that_is_gone();
    ran.expect(14, "not-on-server");
    assert!(ran.stdout.contains("vault.centos.org") && ran.stdout.contains("--sources"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("missing packages"), "{}", ran.stdout);
}

pub(crate) fn from_a_mirror_that_is_gone() -> Ran {
    // apache/arrow 43122 and sig-cloud-instance-images 202; the address is one that answers with nothing.
    let empty = Web::serve(scratch().path());
    let file = format!("[base]\nname=base\ngpgcheck=0\nbaseurl={}/centos/7/os/x86_64/\n", empty.address());
    Given::new(&[("etc/yum.repos.d/CentOS-Base.repo", &file)]).stage("centos7.9", &[])
}

#[test]
fn a_database_of_another_distribution_is_refused() {
    let repository = Repository::of(&stack());
    let file = format!("[base]\nname=base\ngpgcheck=0\nbaseurl={}\n", repository.web.address());
    let given = Given::new(&[("etc/yum.repos.d/a.repo", &file)]);
    let (rpms, database) = (scratch(), given.path().join("var/lib/rpm"));
    let release = Rpm::plain("almalinux-release", "9.6", "").build(rpms.path());
    let mut install = Command::new("rpm");
    install
        .arg(format!("--dbpath={}", database.display()))
        .args(["--install", "--justdb", "--nodeps"])
        .arg(release);
    assert!(install.status().unwrap().success());
    let database = database.join("rpmdb.sqlite").display().to_string();
    let ran = given.stage("rocky9.6", &["--status-file", &database]);
    ran.expect(1, "usage");
    assert!(ran.stdout.contains("almalinux"), "{}", ran.stdout);
    given.stage("almalinux9.6", &["--status-file", &database]).expect(0, "staged");
}
