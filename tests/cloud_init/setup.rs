//! The files that `cloud-init setup` writes into an image, and their complete removal.

use crate::common::program::{self, Ran};
use crate::common::root::{Root, cloud_root};
use crate::common::tree::{self, Tree};
use crate::machine::{Machine, SUITES, text};
use serde_yaml::Value;

const DROP_IN: &str = "etc/cloud/cloud.cfg.d/zz-ofedctl.cfg";
const IMAGE: &str = "usr/lib/ofedctl/config.d/50-image.yaml";

fn setup(root: &Root, options: &[&str]) -> Ran {
    let path = root.path().to_str().unwrap();
    program::run(&[&["cloud-init", "setup", "--json", "--root", path], options].concat())
}

/// The path of each file a setup names, with what happened to it.
fn files(ran: &Ran) -> Vec<String> {
    let files = ran.json()["files"].as_array().unwrap().clone();
    files.iter().map(|file| format!("{} {}", file["change"], file["path"]).replace('"', "")).collect()
}

fn modules(root: &Root) -> Vec<Value> {
    let drop_in: Value = serde_yaml::from_str(&root.read(DROP_IN)).unwrap();
    drop_in["cloud_config_modules"].as_sequence().unwrap().clone()
}

#[test]
fn a_setup_made_twice_is_the_one_made_once_and_removing_it_leaves_nothing() {
    for suite in SUITES {
        let root = cloud_root(suite);
        let before = Tree::of(root.path());
        let all = [
            "--reboot",
            "--before",
            "slurmd",
            "--before",
            "pbs.service",
            "--offline",
            "--set",
            "ipoib=false",
        ];
        let first = setup(&root, &all);
        first.expect(0, "listed");
        let written = files(&first);
        assert!(written.iter().all(|line| line.starts_with("written ")), "{written:?}");
        let after = Tree::of(root.path());
        let again = setup(&root, &all);
        assert!(files(&again).iter().all(|line| line.starts_with("unchanged ")), "{}", again.stdout);
        assert_eq!(tree::diff(&after, &Tree::of(root.path())).to_string(), "", "{suite}");
        // Options of an earlier setup stay in force.
        setup(&root, &[]).expect(0, "listed");
        assert_eq!(tree::diff(&after, &Tree::of(root.path())).to_string(), "", "{suite}");

        let removed = setup(&root, &["--remove"]);
        removed.expect(0, "listed");
        assert_eq!(files(&removed).len(), written.len(), "{written:?} {}", removed.stdout);
        assert_eq!(tree::diff(&before, &Tree::of(root.path())).to_string(), "", "{suite}");
        assert_eq!(files(&setup(&root, &["--remove"])), Vec::<String>::new());
    }
}

#[test]
fn the_list_of_modules_is_cloud_inits_own_with_ours_at_its_end() {
    for suite in SUITES {
        let vm = Machine::new(suite);
        let asked = "import sys; from cloudinit import util\n\
            conf = util.read_conf_with_confd('/etc/cloud/cloud.cfg')\n\
            print(conf['cloud_config_modules'])";
        let list = |vm: &Machine| text(&vm.shell(&format!("python3 -B -c \"{asked}\"")));
        let with = list(&vm);
        std::fs::remove_file(vm.root.path().join(DROP_IN)).unwrap();
        let without = list(&vm);
        assert!(without.trim().ends_with(']') && !without.contains("ofedctl"), "{without}");
        assert_eq!(with.trim(), without.trim().replace(']', ", 'ofedctl']"), "{suite}");
    }
}

#[test]
fn a_setup_after_an_upgrade_of_cloud_init_mends_a_stale_list() {
    let root = cloud_root("bookworm");
    setup(&root, &["--reboot"]).expect(0, "listed");
    let cfg = root.read("etc/cloud/cloud.cfg");
    assert!(cfg.contains(" - timezone\n"));
    root.write("etc/cloud/cloud.cfg", &cfg.replace(" - timezone\n", " - brand_new\n"));
    let stale = modules(&root);
    setup(&root, &[]).expect(0, "listed");
    let (has, fresh) = (|name: &str, list: &[Value]| list.contains(&name.into()), modules(&root));
    assert!(has("timezone", &stale) && !has("brand_new", &stale));
    assert!(has("brand_new", &fresh) && !has("timezone", &fresh) && has("ofedctl", &fresh));
    assert!(root.read(DROP_IN).contains("power_state:"), "the reboot stays");
}

#[test]
fn what_cannot_be_set_up_is_said_in_a_line_and_changes_nothing() {
    let root = cloud_root("trixie");
    std::fs::remove_dir_all(root.path().join("usr/lib/python3/dist-packages/cloudinit")).unwrap();
    root.write("etc/ofedctl/config.yaml", "{ipoib: true}\n");
    let before = Tree::of(root.path());
    setup(&root, &[]).expect(1, "tool-missing");
    setup(&root, &["--unit", "--reboot"]).expect(1, "usage");
    setup(&root, &["--unit", "--before", "../slurmd"]).expect(1, "usage");
    setup(&root, &["--unit", "--set", "ipoib=perhaps"]).expect(1, "usage");
    assert_eq!(tree::diff(&before, &Tree::of(root.path())).to_string(), "");
    root.write(IMAGE, "{ipoib: true}\n");
    setup(&root, &["--unit", "--set", "ipoib=false"]).expect(1, "bad-settings");
    assert_eq!(root.read(IMAGE), "{ipoib: true}\n");
    let outside = crate::common::scratch();
    program::run(&["cloud-init", "setup", "--json", "--root", outside.path().to_str().unwrap()])
        .expect(1, "bad-root");
}

#[test]
fn what_the_images_builder_set_stays_in_force_below_the_users_file() {
    let root = cloud_root("trixie");
    setup(&root, &["--offline", "--cache", "/srv/cache", "--set", "ipoib=false"]).expect(0, "listed");
    // What the shipped example for users writes, and a file of the name that an older setup wrote.
    root.write("etc/ofedctl/config.d/50-site.yaml", "required: true\nipoib: true\n");
    root.write("etc/ofedctl/config.yaml", "wait_for_device: 60\n");
    let shown = program::run(&["settings", "--json", "--root", root.path().to_str().unwrap()]);
    let list = shown.json()["settings"].clone();
    let entry = |key: &str| {
        let found = list.as_array().unwrap().iter().find(|entry| entry["key"] == key).unwrap().clone();
        (found["value"].to_string(), found["source"].as_str().unwrap().to_owned())
    };
    let image = format!("/{IMAGE}");
    assert_eq!(entry("offline"), ("true".to_owned(), image.clone()));
    assert_eq!(entry("cache"), ("\"/srv/cache\"".to_owned(), image));
    assert_eq!(entry("ipoib"), ("true".to_owned(), "/etc/ofedctl/config.d/50-site.yaml".to_owned()));
    assert_eq!(entry("wait_for_device"), ("60".to_owned(), "/etc/ofedctl/config.yaml".to_owned()));
    assert_eq!(entry("nic"), ("null".to_owned(), "default".to_owned()));
    // The setup warns that the administrator's file overrides the image's.
    let again = setup(&root, &["--set", "ipoib=false"]);
    assert!(again.stderr.contains("50-site.yaml` sets `ipoib`"), "{again:?}");
}

#[test]
fn settings_that_an_older_setup_wrote_move_below_the_users() {
    let root = cloud_root("trixie");
    let older = "# Made by `ofedctl cloud-init setup`; `ofedctl explain settings` lists all keys.\n\
        offline: true\ncache: \"/srv/old\"\n";
    root.write("etc/ofedctl/config.yaml", older);
    setup(&root, &["--cache", "/srv/new"]).expect(0, "listed");
    assert!(!root.path().join("etc/ofedctl").exists());
    let image = root.read(IMAGE);
    assert!(image.contains("offline: true\n") && image.contains("cache: \"/srv/new\"\n"), "{image}");
    // Also without any option.
    std::fs::remove_file(root.path().join(IMAGE)).unwrap();
    root.write("etc/ofedctl/config.yaml", older);
    setup(&root, &[]).expect(0, "listed");
    assert!(root.read(IMAGE).contains("cache: \"/srv/old\"\n"));
    let root_arg = root.path().to_str().unwrap().to_owned();
    program::run(&["cloud-init", "setup", "--remove", "--json", "--root", &root_arg]).expect(0, "listed");
    assert!(!root.path().join("usr/lib/ofedctl").exists());
}

#[test]
fn cloud_init_clean_leaves_nothing_of_the_machine_to_its_clones() {
    for suite in SUITES {
        let vm = Machine::with_cache(suite);
        vm.boot().expect_clean();
        assert!(vm.root.read("var/lib/ofedctl/receipt.json").contains("5c0ffee0"));
        let clean = vm.shell("cloud-init clean");
        assert!(clean.status.success(), "{}", text(&clean));
        assert!(!vm.root.read("var/lib/ofedctl/receipt.json").contains("5c0ffee0"));
        assert!(!vm.root.path().join("var/log/azure/ib-vmext-status").exists());
        assert!(!vm.root.path().join("var/lib/ofedctl/status/0.status").exists());
        assert!(vm.in_run("ofedctl/reboot-required").is_empty());
        // An image without the program can be cleaned, too.
        std::fs::remove_file(vm.root.path().join("usr/local/bin/ofedctl")).unwrap();
        assert!(vm.shell("cloud-init clean").status.success());
    }
}

#[test]
fn a_reboot_is_asked_for_only_where_it_is_due_and_wanted() {
    let vm = Machine::with_cache("trixie");
    setup(&vm.root, &["--reboot"]).expect(0, "listed");
    let drop_in: Value = serde_yaml::from_str(&vm.root.read(DROP_IN)).unwrap();
    let condition = drop_in["power_state"]["condition"].as_str().unwrap().to_owned();
    let holds = |vm: &Machine| vm.shell(&condition).status.success();
    // Otherwise cloud-init would look for a process to wait for, and shut this down.
    let without = vm.root.read(DROP_IN).split("power_state:").next().unwrap().to_owned();
    vm.root.write(DROP_IN, &without);
    assert!(!holds(&vm));
    vm.boot().expect_clean();
    assert!(holds(&vm), "{}", vm.in_run("ofedctl/reboot-required"));
    vm.root.write("etc/ofedctl/config.yaml", "offline: true\nreboot: report\n");
    vm.boot().expect_clean();
    assert!(!holds(&vm) && !vm.in_run("ofedctl/reboot-required").is_empty());
    vm.root.write("etc/ofedctl/config.yaml", "offline: true\nreboot: never\n");
    vm.boot().expect_clean();
    assert!(!holds(&vm) && vm.in_run("ofedctl/reboot-required").is_empty());
}

/// A template is no YAML until it is filled, and cloud-init alone can do that.
#[test]
fn a_template_with_a_list_of_modules_is_filled_by_cloud_init_itself() {
    for suite in SUITES {
        let vm = Machine::new(suite);
        let template = "## template: jinja\n{% if v1.cloud_name %}\ncloud_config_modules: [runcmd, {{ 'n' ~ 'tp' }}]\n{% endif %}\n";
        vm.root.write("etc/cloud/cloud.cfg.d/50-template.cfg", template);
        let before = program::run(&["detect", "--root", vm.path()]).stdout;
        assert!(before.contains("50-template.cfg`: is a jinja template"), "{suite}: {before}");
        vm.boot();
        let set_up = vm.shell("/usr/local/bin/ofedctl cloud-init setup --json");
        let said: serde_json::Value = serde_json::from_slice(&set_up.stdout).unwrap();
        assert_eq!(said["first_boot"]["obstacles"], serde_json::json!([]), "{suite}: {said}");
        assert_eq!(modules(&vm.root), ["runcmd", "ntp", "ofedctl"], "{suite}");
    }
}
