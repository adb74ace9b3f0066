//! A refused removal removes nothing, and a finished one is synced to the disk.

use crate::common::deb::Deb;
use crate::common::image;
use crate::common::need::need;
use crate::common::program;
use crate::common::root::{Root, debian_root};
use crate::common::tree::Tree;
use std::process::Command;

fn on_hold(root: &Root) -> String {
    String::from_utf8(root.inside(&["apt-mark", "showhold"]).stdout).unwrap()
}

#[test]
fn a_refused_removal_takes_nothing_out_and_names_what_depends_on_what() {
    let root = debian_root("bookworm");
    root.write("etc/ofedctl/config.yaml", "kernel_hold: true\n");
    root.write("etc/waagent.conf", "# OS.EnableRDMA=y\n");
    image::bake(&root, &image::staged("bookworm")).expect(0, "installed");
    let holds = on_hold(&root);
    assert!(holds.contains("linux-image"), "{holds}");
    let tool = Deb { name: "site-tool", version: "1", depends: "rdma-core", ..Deb::default() };
    let deb = tool.build(&root.beside(""));
    std::fs::copy(&deb, root.path().join("srv/site-tool.deb")).unwrap();
    assert!(root.inside(&["dpkg", "-i", "/srv/site-tool.deb"]).status.success());
    let before = Tree::of(root.path());

    let refused = image::ask("uninstall", &root);
    refused.expect(14, "package-manager");
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("site-tool depends on rdma-core"), "{message}");
    image::assert_untouched(&root, &before);
    assert_eq!(on_hold(&root), holds);
    image::ask("verify", &root).expect(0, "verified");

    assert!(root.inside(&["dpkg", "--purge", "site-tool"]).status.success());
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert_eq!(
        (on_hold(&root).as_str(), root.read("etc/waagent.conf").as_str()),
        ("", "# OS.EnableRDMA=y\n")
    );
}

/// After a power cut a journal that had been removed must not be back: its run would be undone.
#[test]
fn that_a_run_has_ended_is_on_the_disk_before_the_run_says_so() {
    need(&["strace"]);
    let root = debian_root("bookworm");
    image::bake(&root, &image::staged("bookworm")).expect(0, "installed");
    let trace = root.beside("trace");
    let mut strace = Command::new("strace");
    strace.args(["-y", "-e", "trace=unlink,unlinkat,fsync", "-o"]).arg(&trace);
    strace.arg(env!("CARGO_BIN_EXE_ofedctl")).args(["uninstall", "--root"]).arg(root.path());
    assert_eq!(program::finish(strace).code, 0);
    let trace = std::fs::read_to_string(trace).unwrap();
    for file in ["receipt.json", "journal.json"] {
        let removed = trace
            .lines()
            .position(|line| line.starts_with("unlink") && line.contains(&format!("\"{file}\"")));
        let after = trace.lines().skip(removed.expect(file) + 1);
        let synced = |line: &str| line.starts_with("fsync(") && line.contains("/var/lib/ofedctl>");
        assert!(after.into_iter().any(synced), "{file}:\n{trace}");
    }
}
