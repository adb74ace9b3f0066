//! Uninstalling from images in which others have installed or changed something since.

use crate::common::deb::Deb;
use crate::common::image;
use crate::common::root::{Root, debian_root};
use crate::packages::{Repository, Rpm};
use crate::roots::ALMA8;
use std::os::unix::fs::symlink;

fn message(ran: &crate::common::program::Ran) -> String {
    ran.json()["message"].as_str().unwrap().to_owned()
}

/// Installs a package that no repository has.
fn install(root: &Root, deb: &Deb) {
    std::fs::copy(deb.build(&root.beside("")), root.path().join("srv/site.deb")).unwrap();
    let installed = root.inside(&["dpkg", "-i", "/srv/site.deb"]);
    assert!(installed.status.success(), "{installed:?}");
}

#[test]
fn what_needs_a_package_before_it_is_unpacked_or_by_another_name_is_named_in_a_refusal() {
    // dpkg has its own words for both: guardianproject/lildebi 181 and owncloud/core 19124 (`; however:`).
    let root = debian_root("bookworm");
    // Newer images of Flatcar keep the agent's file in /etc, and a link to it where the agent looked before: the other
    // way round than one would expect (Azure/WALinuxAgent 3045).
    root.write("etc/waagent.conf", "# OS.EnableRDMA=y\n");
    std::fs::create_dir_all(root.path().join("usr/share/oem")).unwrap();
    symlink("/etc/waagent.conf", root.path().join("usr/share/oem/waagent.conf")).unwrap();
    image::bake(&root, &image::staged("bookworm")).expect(0, "installed");
    assert_eq!(root.read("etc/waagent.conf"), "OS.EnableRDMA=y\n");
    assert!(root.path().join("usr/share/oem/waagent.conf").is_symlink());

    let depends = "perftest\nPre-Depends: rdma-core";
    install(&root, &Deb { name: "site-mpi", version: "1", depends, ..Deb::default() });
    install(&root, &Deb { name: "site-tool", version: "1", depends: "libmlx5-1", ..Deb::default() });
    let refused = image::ask("uninstall", &root);
    refused.expect(14, "package-manager");
    let message = message(&refused);
    for named in [
        "site-mpi depends on rdma-core",
        "site-mpi depends on perftest",
        "site-tool depends on libmlx5-1, which",
    ] {
        assert!(message.contains(named), "{named}: {message}");
    }
    // Not what perftest itself needs, which goes with it.
    assert!(!message.contains("perftest depends on"), "{message}");
    image::ask("verify", &root).expect(0, "verified");

    // A power cut can leave a file at its full length with nothing but zero bytes in it (fagemx/edda 1190).
    let receipt = root.read("var/lib/ofedctl/receipt.json");
    root.write("var/lib/ofedctl/receipt.json", &"\0".repeat(receipt.len()));
    image::ask("uninstall", &root).expect(14, "ledger-unreadable");
    root.write("var/lib/ofedctl/receipt.json", &receipt);
    assert!(root.inside(&["dpkg", "--purge", "site-mpi", "site-tool"]).status.success());
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert_eq!(root.read("etc/waagent.conf"), "# OS.EnableRDMA=y\n");
    assert!(root.path().join("usr/share/oem/waagent.conf").is_symlink());
}

#[test]
fn a_library_of_a_second_architecture_and_a_script_that_fails_leave_a_removal_to_be_finished() {
    let mut stack: Vec<Rpm> =
        ["rdma-core", "libibverbs", "libibverbs-utils", "librdmacm-utils", "infiniband-diags"]
            .map(|name| Rpm::plain(name, "48.0", ""))
            .to_vec();
    // As packages do whose script stops a service that does not run (manticoresoftware/manticoresearch 2231).
    stack.push(Rpm { preun: "[ ! -e /var/fails ]", ..Rpm::plain("perftest", "48.0", "") });
    let root = ALMA8.root();
    let repository = Repository::of(&stack);
    root.write("etc/yum.repos.d/test.repo", &repository.file(""));
    root.write("etc/ofedctl/config.yaml", "driver: inbox\n");
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    image::bake(&root, &cache).expect(0, "installed");

    // rpm: `"libibverbs" specifies multiple packages` (rpm-software-management/rpm 1792, and every x86_64 machine that runs a
    // program of 32 bits).
    let other = Rpm { arch: "i686", ..Rpm::plain("libibverbs", "48.0", "") };
    std::fs::copy(other.build(&root.beside("")), root.path().join("var/other.rpm")).unwrap();
    let installed =
        root.inside(&["rpm", "--install", "--nodeps", "--ignorearch", "--replacefiles", "/var/other.rpm"]);
    assert!(installed.status.success(), "{installed:?}");
    root.write("var/fails", "");
    let failed = image::ask("uninstall", &root);
    failed.expect(14, "package-manager");
    assert!(message(&failed).contains("%preun(perftest-48.0-1.noarch) scriptlet failed"), "{failed:?}");
    assert!(root.path().join("etc/modules-load.d/ofedctl.conf").exists(), "edits go last");

    std::fs::remove_file(root.path().join("var/fails")).unwrap();
    image::ask("uninstall", &root).expect(0, "uninstalled");
    let left = root.inside(&["rpm", "--query", "--all", "--qf", "%{NAME}.%{ARCH}\n"]);
    let left = String::from_utf8(left.stdout).unwrap();
    let mut left: Vec<&str> = left.lines().collect();
    left.sort_unstable();
    // The library that somebody else installed stays.
    assert_eq!(left, ["libibverbs.i686", "test-release.noarch"]);
}
