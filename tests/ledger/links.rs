//! Symbolic links in the place of files that are edited, as administrators keep settings elsewhere and as udev rules
//! are masked.

use crate::common::image;
use crate::common::root::{Root, debian_root};
use crate::common::tree::Tree;
use std::os::unix::fs::symlink;

fn link(root: &Root, path: &str, to: &str) {
    let path = root.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(to, path).unwrap();
}

fn leads_to(root: &Root, path: &str) -> String {
    std::fs::read_link(root.path().join(path)).unwrap().display().to_string()
}

#[test]
fn a_link_stays_a_link_and_the_file_it_leads_to_is_edited_and_restored() {
    let root = debian_root("bookworm");
    root.write("etc/site/waagent.conf", "# OS.EnableRDMA=y\nA=1\n");
    link(&root, "etc/waagent.conf", "site/waagent.conf");
    root.write("usr/share/oem/limits.conf", "");
    link(&root, "etc/security/limits.d/90-ofedctl.conf", "/usr/share/oem/limits.conf");
    let cache = image::staged("bookworm");
    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(root.read("etc/site/waagent.conf"), "OS.EnableRDMA=y\nA=1\n");
    assert!(root.read("usr/share/oem/limits.conf").contains("memlock unlimited"));
    image::ask("verify", &root).expect(0, "verified");
    image::bake(&root, &cache).expect(0, "already-installed");
    root.write("etc/site/waagent.conf", "OS.EnableRDMA=y\nA=1\nAdmins=line\n");
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert_eq!(root.read("etc/site/waagent.conf"), "# OS.EnableRDMA=y\nA=1\nAdmins=line\n");
    assert_eq!(root.read("usr/share/oem/limits.conf"), "");
    assert_eq!(leads_to(&root, "etc/waagent.conf"), "site/waagent.conf");
    assert_eq!(leads_to(&root, "etc/security/limits.d/90-ofedctl.conf"), "/usr/share/oem/limits.conf");
}

#[test]
fn a_link_to_no_file_of_the_root_is_refused_before_anything_is_touched() {
    let root = debian_root("bookworm");
    let rules = "etc/udev/rules.d/60-rdma-persistent-naming.rules";
    link(&root, rules, "/dev/null");
    let before = Tree::of(root.path());
    let cache = image::staged("bookworm");
    let ran = image::bake(&root, &cache);
    ran.expect(14, "edit-refused");
    assert!(ran.json()["message"].as_str().unwrap().contains("/dev/null"), "{ran:?}");
    image::assert_untouched(&root, &before);
    // As the remedy says.
    root.write("etc/ofedctl/config.yaml", "rdma_names: distribution\n");
    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(leads_to(&root, rules), "/dev/null");
}
