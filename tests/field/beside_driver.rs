//! What the VM agent lacks where a driver is there already, as on HPC images: it is planned, staged, installed beside that
//! driver and taken out again, and a machine is right without it (Azure/WALinuxAgent issue 1712).

use crate::common::deb::{self, Deb};
use crate::common::image::{self, VM_SIZE};
use crate::common::need::need_root;
use crate::common::program;
use crate::common::root::{Root, debian_root};
use crate::common::small_root::{KERNEL, MODULES, OFED_INFO};
use crate::common::tree::Tree;
use crate::packages::{Repository, Rpm};
use crate::roots::ALMA8;
use crate::surroundings::with;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// The packages of an agent's needs: that with `ifconfig`, and that with `hv_kvp_daemon`, as each family calls it.
const DEBIANS: [&str; 2] = ["net-tools", "hyperv-daemons"];
const ALMAS: [&str; 2] = ["net-tools", "hypervkvpd"];
/// What the first depends on.
const LIBRARY: &str = "test-lib";

/// Puts the agent that calls `ifconfig` and reads the host's key-value pairs into a root.
fn put_agent(root: &Root, python: &str) {
    let agent = format!("usr/lib/{python}/azurelinuxagent/common");
    root.write("etc/waagent.conf", "# OS.EnableRDMA=y\n");
    root.write(&format!("{agent}/version.py"), "AGENT_VERSION = '2.7.3.0'\n");
    root.write(
        &format!("{agent}/rdma.py"),
        "sriov IPoIB_Data \"ifconfig {0} {1}/16\" ib0 is not available\n",
    );
}

/// Puts a driver of somebody else into a root, with modules for its one kernel.
fn put_driver(root: &Root) {
    let folder = root.path().join("usr/lib/modules");
    std::fs::remove_dir_all(&folder).unwrap();
    let lines: String = MODULES.map(|module| format!("updates/dkms/{module}.ko:\n")).concat();
    root.write(&format!("usr/lib/modules/{KERNEL}/modules.dep"), &lines);
    root.write("usr/bin/ofed_info", OFED_INFO);
    root.write("etc/init.d/openibd", "#!/bin/sh\n");
}

fn debian(debs: &[Deb]) -> (Root, deb::Repository) {
    let root = debian_root("bookworm");
    let repository = deb::Repository::of(debs);
    std::fs::remove_file(root.path().join("etc/apt/sources.list")).unwrap();
    root.add_source(&repository.source_line());
    put_agent(&root, "python3/dist-packages");
    (root, repository)
}

fn debs() -> Vec<Deb> {
    let deb = |name, depends, files| Deb { name, version: "1", depends, files, ..Deb::default() };
    vec![
        deb("net-tools", LIBRARY, vec![("/usr/sbin/ifconfig", "program\n")]),
        deb("hyperv-daemons", "", vec![("/usr/sbin/hv_kvp_daemon", "program\n")]),
        deb(LIBRARY, "", vec![]),
    ]
}

fn alma(rpms: &[Rpm]) -> (Root, Repository) {
    let root = ALMA8.root();
    let repository = Repository::of(rpms);
    root.write("etc/yum.repos.d/test.repo", &repository.file(""));
    put_agent(&root, "python3.6/site-packages");
    (root, repository)
}

fn rpms() -> Vec<Rpm> {
    let rpm = |name, requires, files| Rpm { files, ..Rpm::plain(name, "1", requires) };
    vec![
        rpm("net-tools", LIBRARY, vec![("/usr/sbin/ifconfig", "program\n")]),
        rpm("hypervkvpd", "", vec![("/usr/sbin/hv_kvp_daemon", "program\n")]),
        Rpm::plain(LIBRARY, "1", ""),
    ]
}

/// The names of all packages that a root has.
fn installed(root: &Root) -> BTreeSet<String> {
    let dpkg = ["dpkg-query", "--show", "--showformat", "${db:Status-Abbrev}${Package}\\n"];
    let rpm = ["rpm", "--query", "--all", "--qf", "ii %{NAME}\\n"];
    let asked =
        root.inside(if root.path().join("etc/yum.repos.d/test.repo").exists() { &rpm } else { &dpkg });
    let lines = String::from_utf8(asked.stdout).unwrap();
    lines.lines().filter_map(|line| line.strip_prefix("ii ")).map(str::to_owned).collect()
}

fn plan(root: &Root) -> Value {
    program::run(&["plan", "--json", "--vm-size", VM_SIZE, "--root", root.path().to_str().unwrap()]).json()
}

fn names(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// With what they depend on, in order.
fn all([ifconfig, daemon]: [&str; 2]) -> [&str; 3] {
    [daemon, ifconfig, LIBRARY]
}

/// All of it, in the order in which a user would see it.
fn goes_beside_the_driver(root: &Root, lacked: [&str; 2]) {
    let all = all(lacked);
    put_driver(root);
    let cache = root.beside("cache");
    let before = installed(root);
    let planned = plan(root);
    assert_eq!((&planned["packages"], &planned["optional"]), (&json!(lacked), &json!(lacked)), "{planned:#}");
    assert_eq!(planned["present"]["release"], "MLNX_OFED_LINUX-5.8-1.1.2.1");

    // Without a cache the driver is right all the same, and what to do is said each time.
    for _ in 0..2 {
        let ran = image::bake(root, &cache);
        ran.expect(0, "already-installed");
        assert!(ran.stdout.contains(&format!("or install {}", lacked.join(", "))), "{ran:?}");
        assert_eq!(installed(root), before);
        image::ask("verify", root).expect(0, "verified");
    }
    let tree = Tree::of(root.path());
    image::bake(root, &cache).expect(0, "already-installed");
    image::assert_untouched(root, &tree);

    let staged = image::stage(root, &cache);
    staged.expect(0, "staged");
    let bundle = &staged.json()["bundle"];
    assert_eq!(bundle["config"]["packages"], json!(lacked), "{bundle:#}");
    let files: BTreeSet<&str> =
        bundle["files"].as_array().unwrap().iter().filter_map(|file| file["title"].as_str()).collect();
    let packages =
        files.iter().filter(|file| Path::new(file).extension().is_some_and(|it| it == "deb" || it == "rpm"));
    assert_eq!(packages.count(), all.len(), "{files:?}");

    // The cache that an earlier run did not find is found now.
    let ran = image::bake(root, &cache);
    ran.expect(0, "already-installed");
    assert!(!ran.stdout.contains("which the cache does not have"), "{ran:?}");
    let came: Vec<String> = installed(root).difference(&before).cloned().collect();
    assert_eq!(came, all);
    let receipt = image::receipt(root);
    assert_eq!(names(&receipt["added"]), all, "{receipt:#}");
    assert_eq!((root.read("usr/bin/ofed_info").as_str(), &receipt["replaced"]), (OFED_INFO, &json!({})));
    image::ask("verify", root).expect(0, "verified");
    let tree = Tree::of(root.path());
    image::bake(root, &cache).expect(0, "already-installed");
    image::assert_untouched(root, &tree);
    image::stage(root, &cache).expect(0, "already-installed");

    root.write("usr/sbin/ifconfig", "damaged\n");
    let damaged = image::ask("verify", root);
    damaged.expect(14, "verify-failed");
    assert!(damaged.stdout.contains("/usr/sbin/ifconfig"), "{damaged:?}");
    root.write("usr/sbin/ifconfig", "program\n");

    image::ask("uninstall", root).expect(0, "uninstalled");
    assert_eq!(installed(root), before);
    assert_eq!(root.read("usr/bin/ofed_info"), OFED_INFO);
    assert!(root.read("etc/waagent.conf").starts_with('#'));
}

#[test]
fn what_the_agent_lacks_goes_beside_a_driver_of_somebody_else_with_apt() {
    goes_beside_the_driver(&debian(&debs()).0, DEBIANS);
}

#[test]
fn what_the_agent_lacks_goes_beside_a_driver_of_somebody_else_with_dnf() {
    goes_beside_the_driver(&alma(&rpms()).0, ALMAS);
}

#[test]
fn a_run_that_is_killed_beside_a_driver_of_somebody_else_is_finished_by_the_next() {
    // No package of the root is the driver's: only files tell that it is there.
    let (root, _repository) = debian(&debs());
    put_driver(&root);
    let cache = root.beside("cache");
    let before = installed(&root);
    image::stage(&root, &cache).expect(0, "staged");
    for point in ["packages-noted", "packages-installed", "receipt-written"] {
        program::kill_at(point, program::program(&image::bake_args(&root, &cache)));
    }
    let ran = image::bake(&root, &cache);
    ran.expect(0, "already-installed");
    let receipt = image::receipt(&root);
    assert_eq!(names(&receipt["added"]), all(DEBIANS), "{receipt:#}");
    assert_eq!(receipt["plan"]["present"]["release"], "MLNX_OFED_LINUX-5.8-1.1.2.1");
    image::ask("verify", &root).expect(0, "verified");
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert_eq!((installed(&root), root.read("usr/bin/ofed_info").as_str()), (before, OFED_INFO));
}

/// What only one of the two has in its sources is installed, and the other is named.
fn goes_without_the_other(root: &Root, daemon: &str) {
    put_driver(root);
    let cache = root.beside("cache");
    let staged = image::stage(root, &cache);
    staged.expect(0, "staged");
    assert!(
        staged.stderr.contains("net-tools, which the VM agent needs for addresses, is left out"),
        "{staged:?}"
    );
    let ran = image::bake(root, &cache);
    ran.expect(0, "already-installed");
    assert!(ran.stdout.contains("the VM agent lacks net-tools, which"), "{ran:?}");
    assert_eq!(names(&image::receipt(root)["added"]), [daemon]);
    image::ask("verify", root).expect(0, "verified");
}

#[test]
fn sources_that_lack_a_package_for_the_agent_serve_the_rest_of_it() {
    goes_without_the_other(&debian(&debs()[1..]).0, DEBIANS[1]);
    goes_without_the_other(&alma(&rpms()[1..]).0, ALMAS[1]);
    // Where they have nothing of it, there is nothing to stage, and the machine is right.
    let (root, _repository) = alma(&rpms()[2..]);
    put_driver(&root);
    let staged = image::stage(&root, &root.beside("cache"));
    staged.expect(0, "already-installed");
    assert!(staged.stdout.contains("cannot be staged") && staged.stdout.contains("net-tools"), "{staged:?}");
}

#[test]
fn a_driver_comes_although_the_sources_lack_what_the_agent_needs_and_later_that_comes_too() {
    let stack =
        ["rdma-core", "libibverbs", "libibverbs-utils", "librdmacm-utils", "infiniband-diags", "perftest"];
    let stack = stack.map(|name| Rpm::plain(name, "48.0", ""));
    let (root, _repository) = alma(&stack);
    root.write("etc/ofedctl/config.yaml", "driver: inbox\n");
    let cache = root.beside("cache");
    let staged = image::stage(&root, &cache);
    staged.expect(0, "staged");
    let packages = staged.json()["bundle"]["config"]["packages"].clone();
    assert!(
        names(&packages).contains(&"rdma-core") && !names(&packages).contains(&"net-tools"),
        "{packages}"
    );
    let ran = image::bake(&root, &cache);
    ran.expect(0, "installed");
    assert!(ran.stdout.contains("stage for this image, or install net-tools"), "{ran:?}");

    let more = Repository::of(&[&stack[..], &rpms()].concat());
    root.write("etc/yum.repos.d/test.repo", &more.file(""));
    image::stage(&root, &cache).expect(0, "staged");
    image::bake(&root, &cache).expect(0, "installed");
    assert!(all(ALMAS).iter().all(|name| installed(&root).contains(*name)), "{:?}", installed(&root));
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert!(all(ALMAS).iter().all(|name| !installed(&root).contains(*name)), "{:?}", installed(&root));
}

#[test]
fn nothing_is_planned_beside_a_driver_where_usr_is_read_only() {
    need_root();
    let code = "sriov \"ifconfig {0} {1}/16\" ib0 is not available\n";
    let root = with(&[("usr/lib/python3/dist-packages/azurelinuxagent/common/rdma.py", code)]);
    let script = "mount --bind \"$0/usr\" \"$0/usr\"\nmount -o remount,bind,ro \"$0/usr\"\nexec \"$1\" bake --json \
        --arch x86_64 --root \"$0\"\n";
    let mut bake = program::in_namespaces(script);
    bake.arg(root.path()).arg(env!("CARGO_BIN_EXE_ofedctl"));
    let ran = program::finish(bake);
    ran.expect(0, "already-installed");
    assert!(ran.stdout.contains("the image has to bring net-tools"), "{ran:?}");
    assert!(root.read("var/lib/ofedctl/receipt.json").contains("\"packages\": []"));
}
