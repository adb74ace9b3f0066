//! The distribution's own stack, from the repositories a root names to a root that is proven.

use crate::common::image;
use crate::common::program;
use crate::common::tree::Tree;
use crate::common::wait;
use crate::packages::{Repository, Rpm};
use crate::roots::{ALMA8, Identity};

/// The packages the catalogue asks these distributions for, with one that only a dependency brings.
pub(crate) fn stack() -> Vec<Rpm> {
    vec![
        Rpm {
            files: vec![("/etc/rdma/rdma.conf", "LOAD=yes\n"), ("/usr/sbin/rdma-tool", "tool\n")],
            ..Rpm::plain("rdma-core", "48.0", "test-pciutils")
        },
        Rpm::plain("libibverbs", "48.0", "rdma-core"),
        Rpm::plain("libibverbs-utils", "48.0", "libibverbs = 48.0"),
        Rpm::plain("librdmacm-utils", "48.0", ""),
        Rpm::plain("infiniband-diags", "48.0", ""),
        Rpm::plain("perftest", "4.5", ""),
        Rpm::plain("test-pciutils", "3.7", ""),
        Rpm::plain("unasked", "1", ""),
    ]
}

pub(crate) fn prepared(
    identity: Identity,
    folder: &str,
    rpms: &[Rpm],
) -> (crate::common::root::Root, Repository) {
    let root = identity.root();
    let repository = Repository::of(rpms);
    root.write(&format!("{folder}/test.repo"), &repository.file(""));
    root.write("etc/ofedctl/config.yaml", "driver: inbox\n");
    (root, repository)
}

/// Stages and bakes offline, and looks at what came of it.
fn holds_for(identity: Identity, folder: &str) {
    let (root, repository) = prepared(identity, folder, &stack());
    let cache = root.beside("cache");
    let before = Tree::of(root.path());
    image::stage(&root, &cache).expect(0, "staged");
    image::assert_untouched(&root, &before);
    let asked = repository.web.requests().len();

    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(repository.web.requests().len(), asked, "baking asked the repository");
    image::assert_left_alone(&root);
    let receipt = image::receipt(&root);
    let added = receipt["added"].as_array().unwrap();
    assert!(added.iter().any(|name| name == "test-pciutils"), "{receipt}");
    assert_eq!(added.len(), 7, "{receipt}");
    assert_eq!(receipt["packages"]["rdma-core"], "48.0-1");
    assert_eq!(root.read("etc/rdma/rdma.conf"), "LOAD=yes\n");
    image::ask("verify", &root).expect(0, "verified");
    image::bake(&root, &cache).expect(0, "already-installed");

    // A changed setting is the user's; a changed program is damage.
    root.write("etc/rdma/rdma.conf", "LOAD=no\n");
    image::ask("verify", &root).expect(0, "verified");
    root.write("usr/sbin/rdma-tool", "changed\n");
    let found = image::ask("verify", &root);
    found.expect(14, "verify-failed");
    assert!(found.stdout.contains("/usr/sbin/rdma-tool"), "{}", found.stdout);

    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert!(!root.path().join("usr/sbin/rdma-tool").exists());
    let left = root.inside(&["rpm", "--query", "--all"]);
    assert_eq!(String::from_utf8(left.stdout).unwrap().trim(), "test-release-8-1.noarch");
}

#[test]
fn dnf_bakes_offline_what_its_repositories_have() {
    holds_for(ALMA8, "etc/yum.repos.d");
}

#[test]
fn yum_bakes_offline() {
    holds_for(crate::roots::CENTOS7, "etc/yum.repos.d");
}

#[test]
fn tdnf_bakes_offline() {
    holds_for(crate::roots::MARINER2, "etc/yum.repos.d");
}

#[test]
fn zypper_bakes_offline() {
    holds_for(crate::roots::SLES15, "etc/zypp/repos.d");
}

/// The names and versions that rpm knows in a root.
pub(crate) fn known(root: &crate::common::root::Root) -> String {
    String::from_utf8(root.inside(&["rpm", "--query", "--all"]).stdout).unwrap()
}

/// Installs a package that no repository has.
pub(crate) fn give(root: &crate::common::root::Root, rpm: &Rpm) {
    let folder = crate::common::scratch();
    std::fs::copy(rpm.build(folder.path()), root.path().join("var/given.rpm")).unwrap();
    let installed = root.inside(&["rpm", "--install", "/var/given.rpm"]);
    assert!(installed.status.success(), "{installed:?}");
    std::fs::remove_file(root.path().join("var/given.rpm")).unwrap();
}

#[test]
fn a_root_that_lost_a_package_since_and_one_that_has_another_in_the_way_are_told_apart() {
    let (root, _repository) = prepared(ALMA8, "etc/yum.repos.d", &stack());
    give(&root, &Rpm::plain("test-pciutils", "3.7", ""));
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    assert!(root.inside(&["rpm", "--erase", "test-pciutils"]).status.success());
    let before = known(&root);
    let lost = image::bake(&root, &cache);
    lost.expect(14, "cache-missing");
    assert!(lost.stdout.contains("test-pciutils"), "{}", lost.stdout);
    assert_eq!(known(&root), before);

    let files = vec![("/usr/sbin/rdma-tool", "another\n")];
    give(&root, &Rpm { files, ..Rpm::plain("other-ofed", "1", "") });
    give(&root, &Rpm::plain("test-pciutils", "3.7", ""));
    let before = known(&root);
    let in_the_way = image::bake(&root, &cache);
    in_the_way.expect(14, "package-conflict");
    assert!(in_the_way.stdout.contains("other-ofed"), "{}", in_the_way.stdout);
    assert_eq!(known(&root), before);
}

#[test]
fn a_bake_killed_in_the_middle_of_a_script_is_finished_by_the_next() {
    let mut rpms = stack();
    rpms[0].post = "touch /var/in-script; if [ -e /var/hang ]; then sleep 600; fi; touch /var/finished";
    let (root, _repository) = prepared(ALMA8, "etc/yum.repos.d", &rpms);
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    root.write("var/hang", "");
    let mut child = program::start(program::program_without_network(&image::bake_args(&root, &cache)));
    wait::until_at_work(&mut child, "the script runs", || root.path().join("var/in-script").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    image::assert_left_alone(&root);
    assert!(known(&root).contains("rdma-core") && !root.path().join("var/finished").exists());
    std::fs::remove_file(root.path().join("var/hang")).unwrap();

    image::bake(&root, &cache).expect(0, "installed");
    assert!(root.path().join("var/finished").exists(), "the script was not run again");
    assert_eq!(image::receipt(&root)["added"].as_array().unwrap().len(), 7);
    image::ask("verify", &root).expect(0, "verified");
    // What only others needed is known as such, although the killed run never wrote that down.
    let asked = ["dnf", "--setopt=reposdir=/nowhere", "repoquery", "--userinstalled", "--qf", "%{name}"];
    let unneeded = root.inside(&asked);
    let by_user = String::from_utf8(unneeded.stdout).unwrap();
    assert!(by_user.contains("rdma-core") && !by_user.contains("test-pciutils"), "{by_user}");
}

/// rpm writes the new package of an upgrade down before it takes out the old one. Killed in between, it knows both: what
/// `package-cleanup --dupes` is for.
#[test]
fn an_upgrade_that_left_two_versions_of_a_package_is_finished_by_the_next_bake() {
    let (root, _repository) = prepared(ALMA8, "etc/yum.repos.d", &stack());
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    let old = Rpm {
        files: vec![("/usr/sbin/rdma-tool", "old tool\n"), ("/usr/sbin/gone-since", "old\n")],
        ..Rpm::plain("rdma-core", "47.0", "")
    };
    give(&root, &old);
    let folder = crate::common::scratch();
    std::fs::copy(stack()[0].build(folder.path()), root.path().join("var/given.rpm")).unwrap();
    let as_killed = ["rpm", "--install", "--force", "--nodeps", "/var/given.rpm"];
    assert!(root.inside(&as_killed).status.success());
    std::fs::remove_file(root.path().join("var/given.rpm")).unwrap();
    assert_eq!(known(&root).matches("rdma-core-4").count(), 2, "{}", known(&root));

    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(known(&root).matches("rdma-core-4").count(), 1, "{}", known(&root));
    assert!(known(&root).contains("rdma-core-48.0"));
    assert_eq!(root.read("usr/sbin/rdma-tool"), "tool\n");
    assert!(!root.path().join("usr/sbin/gone-since").exists());
    image::ask("verify", &root).expect(0, "verified");
}

const CONTEXTS: &str = "/.*\tsystem_u:object_r:default_t:s0\n/usr/sbin(/.*)?\tsystem_u:object_r:bin_t:s0\n\
    /etc(/.*)?\tsystem_u:object_r:etc_t:s0\n/var/lib(/.*)?\tsystem_u:object_r:var_lib_t:s0\n\
    /var/log(/.*)?\tsystem_u:object_r:var_log_t:s0\n";

/// The label of a file in a root, where it has one.
fn label(root: &crate::common::root::Root, path: &str) -> String {
    let asked = root.inside(&["getfattr", "--only-values", "--name=security.selinux", path]);
    String::from_utf8_lossy(&asked.stdout).trim_end_matches('\0').to_owned()
}

#[test]
fn what_was_baked_is_labelled_by_the_images_own_policy() {
    let (root, _repository) = prepared(ALMA8, "etc/yum.repos.d", &stack());
    root.write("etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n");
    root.write("etc/selinux/targeted/contexts/files/file_contexts", CONTEXTS);
    root.write("etc/waagent.conf", "# OS.EnableRDMA=y\n");
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    image::bake(&root, &cache).expect(0, "installed");
    for (path, kind) in [
        ("/usr/sbin/rdma-tool", "bin_t"),
        ("/etc/rdma/rdma.conf", "etc_t"),
        ("/etc/waagent.conf", "etc_t"),
        ("/etc/modules-load.d/ofedctl.conf", "etc_t"),
        ("/var/lib/ofedctl/receipt.json", "var_lib_t"),
        ("/var/log/azure/ib-vmext-status", "var_log_t"),
    ] {
        assert_eq!(label(&root, path), format!("system_u:object_r:{kind}:s0"), "{path}");
    }
    assert!(
        !root.path().join(".autorelabel").exists() && !root.path().join("var/lib/ofedctl/labels").exists()
    );
    // What is not ours is not touched.
    assert_eq!(label(&root, "/etc/os-release"), "");

    // Without the tool, the image does it itself.
    image::ask("uninstall", &root).expect(0, "uninstalled");
    for folder in ["sbin", "usr/sbin"] {
        let _ = std::fs::remove_file(root.path().join(folder).join("setfiles"));
    }
    image::bake(&root, &cache).expect(0, "installed");
    assert!(root.path().join(".autorelabel").exists());
}
