//! The distribution's own stack, from the repositories a root names to a root that is proven.

use crate::common::image;
use crate::common::tree::Tree;
use crate::packages::{Repository, Rpm};
use crate::roots::{ALMA8, Identity};

/// The packages the catalogue asks these distributions for, with one that only a dependency brings.
fn stack() -> Vec<Rpm> {
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

fn prepared(identity: Identity, folder: &str, rpms: &[Rpm]) -> (crate::common::root::Root, Repository) {
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
    holds_for(crate::roots::AZURE3, "etc/yum.repos.d");
}

#[test]
fn zypper_bakes_offline() {
    holds_for(crate::roots::SLES15, "etc/zypp/repos.d");
}
