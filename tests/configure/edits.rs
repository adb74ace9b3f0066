//! The edits that settings switch, on the distribution's own driver.

use crate::common::image;
use crate::common::root::{Root, debian_root};
use std::path::Path;

const RULES: &str = "etc/udev/rules.d/60-rdma-persistent-naming.rules";

fn set(root: &Root, settings: &str) {
    root.write("etc/ofedctl/config.yaml", settings);
}

fn bake(root: &Root, suite: &'static str) {
    image::bake(root, &image::staged(suite)).expect(0, "installed");
}

/// The packages that dpkg keeps as they are.
fn on_hold(root: &Root) -> Vec<String> {
    let output = root.inside(&["apt-mark", "showhold"]);
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn kernels_are_held_by_setting_and_only_those_we_held_are_let_go() {
    let root = debian_root("bookworm");
    let kernel = root.installed("linux-image-amd64").unwrap();
    let versioned: Vec<String> = std::fs::read_dir(root.path().join("lib/modules"))
        .unwrap()
        .map(|entry| format!("linux-image-{}", entry.unwrap().file_name().into_string().unwrap()))
        .collect();
    assert!(root.inside(&["apt-mark", "hold", "linux-image-amd64"]).status.success());
    set(&root, "kernel_hold: true\n");
    bake(&root, "bookworm");
    let all = [&["linux-image-amd64".to_owned()], &versioned[..]].concat();
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(on_hold(&root)), sorted(all));
    image::ask("verify", &root).expect(0, "verified");
    // Held, it can be neither upgraded nor removed by apt.
    let remove = root.inside(&["apt-get", "-y", "remove", &versioned[0]]);
    assert!(!remove.status.success(), "{remove:?}");

    // Somebody lets go of one: that is seen, and mended.
    assert!(root.inside(&["apt-mark", "unhold", &versioned[0]]).status.success());
    let verified = image::ask("verify", &root);
    verified.expect(14, "verify-failed");
    assert!(verified.stdout.contains(&versioned[0]), "{}", verified.stdout);
    bake(&root, "bookworm");
    image::ask("verify", &root).expect(0, "verified");

    // Switched off again: what was held before stays.
    set(&root, "kernel_hold: false\n");
    bake(&root, "bookworm");
    assert_eq!(on_hold(&root), ["linux-image-amd64"]);
    set(&root, "kernel_hold: true\n");
    bake(&root, "bookworm");
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert_eq!(on_hold(&root), ["linux-image-amd64"]);
    assert_eq!(root.installed("linux-image-amd64").unwrap(), kernel);
}

#[test]
fn devices_are_named_as_the_settings_say_by_rules_that_udev_accepts() {
    let root = debian_root("trixie");
    let own = "# somebody's own rules\n";
    root.write(RULES, own);
    bake(&root, "trixie");
    let rules = root.read(RULES);
    assert!(rules.contains("NAME_FIXED mlx5_ib7"), "{rules}");
    let verdict = root.inside(&["udevadm", "verify", &format!("/{RULES}")]);
    assert!(verdict.status.success(), "{verdict:?}");
    // The program the rules call knows what it is asked for.
    let rename = std::fs::read(root.path().join("usr/lib/udev/rdma_rename")).unwrap();
    assert!(rename.windows(10).any(|window| window == b"NAME_FIXED"));

    set(&root, "rdma_names: kernel\n");
    bake(&root, "trixie");
    let rules = root.read(RULES);
    assert!(rules.contains("NAME_KERNEL") && !rules.contains("NAME_FIXED"), "{rules}");
    assert!(root.inside(&["udevadm", "verify", &format!("/{RULES}")]).status.success());
    set(&root, "rdma_names: distribution\n");
    bake(&root, "trixie");
    assert_eq!(root.read(RULES), own);
    image::ask("verify", &root).expect(0, "verified");
}

#[test]
fn an_edit_that_is_switched_off_is_taken_back_by_the_next_bake() {
    let root = debian_root("bookworm");
    let there = |path: &str| root.path().join(path).exists();
    bake(&root, "bookworm");
    assert!(there(RULES) && there("etc/security/limits.d/90-ofedctl.conf"));
    set(&root, "{rdma_names: distribution, memlock: false, ipoib: false}\n");
    bake(&root, "bookworm");
    assert!(!there(RULES) && !there("etc/security/limits.d/90-ofedctl.conf"));
    let modules = root.read("etc/modules-load.d/ofedctl.conf");
    assert!(modules.contains("ib_umad") && !modules.contains("ib_ipoib"), "{modules}");
    image::ask("verify", &root).expect(0, "verified");
    let receipt = image::receipt(&root);
    let recorded =
        |path: &str| receipt["changes"].as_array().unwrap().iter().any(|change| change["path"] == path);
    assert!(
        recorded("/etc/modules-load.d/ofedctl.conf") && !recorded("/etc/security/limits.d/90-ofedctl.conf")
    );
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert!(!there("etc/modules-load.d/ofedctl.conf"));
}

/// As the packages of distributions ship the line, and as users leave it.
#[test]
fn the_agents_setting_is_made_and_taken_back_whatever_form_its_line_has() {
    let root = debian_root("bookworm");
    let conf = |before: &[u8], after: &[u8]| {
        let path = root.path().join("etc/waagent.conf");
        std::fs::write(&path, before).unwrap();
        bake(&root, "bookworm");
        assert_eq!(std::fs::read(&path).unwrap(), after, "{}", before.escape_ascii());
        image::ask("uninstall", &root).expect(0, "uninstalled");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    };
    conf(b"# OS.EnableRDMA=y\nResourceDisk.Format=n\n", b"OS.EnableRDMA=y\nResourceDisk.Format=n\n");
    conf(b"OS.EnableRDMA = n\r\nA=\xe9\r\n", b"OS.EnableRDMA=y\nA=\xe9\r\n");
    conf(b"Extensions.Enabled=y", b"Extensions.Enabled=y\nOS.EnableRDMA=y\n");
    std::fs::remove_file(root.path().join("etc/waagent.conf")).unwrap();
    bake(&root, "bookworm");
    assert!(!Path::new(&root.path().join("etc/waagent.conf")).exists());
}
