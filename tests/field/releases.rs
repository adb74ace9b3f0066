//! Distributions and releases that no list names are recognised by their family and their modules.

use crate::common::need::need_root;
use crate::common::program::{self, Ran};
use crate::common::scratch;
use tempfile::TempDir;

const KERNEL: &str = "6.12.0-1-test";
const MODULES: [&str; 6] = ["mlx5_core", "mlx5_ib", "ib_uverbs", "ib_umad", "rdma_ucm", "ib_ipoib"];

/// A root that says this of itself, with one kernel that has these modules.
fn root(os_release: &str, modules: &[&str]) -> TempDir {
    let root = scratch();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("etc/os-release", os_release);
    let line = |module: &&str| format!("kernel/drivers/{module}.ko:\n");
    put(&format!("lib/modules/{KERNEL}/modules.dep"), &modules.iter().map(line).collect::<String>());
    root
}

fn plan(root: &TempDir) -> Ran {
    let path = root.path().display().to_string();
    let size = ["--vm-size", "Standard_HB120rs_v3", "--arch", "x86_64"];
    program::run(&[&["plan", "--json", "--root", &path][..], &size].concat())
}

#[test]
fn whatever_has_packages_and_modules_gets_the_distributions_own_driver() {
    for (os_release, manager_has) in [
        // drbd 123.
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"25.04\"\n", "ibverbs-providers"),
        // Debian 14 and sid have no VERSION_ID until they are released.
        (
            "ID=debian\nVERSION_CODENAME=forky\nPRETTY_NAME=\"Debian GNU/Linux forky/sid\"\n",
            "ibverbs-providers",
        ),
        ("ID=fedora\nVERSION_ID=42\n", "libibverbs"),
        ("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\nVERSION_ID=\"15.6\"\n", "libibverbs"),
        ("ID=\"sles\"\nID_LIKE=\"suse\"\nVERSION_ID=\"16.0\"\n", "libibverbs"),
        ("ID=\"centos\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"9\"\nNAME=\"CentOS Stream\"\n", "libibverbs"),
        ("ID=azurelinux\nVERSION_ID=\"4.0\"\n", "libibverbs"),
        ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"22\"\n", "ibverbs-providers"),
    ] {
        let ran = plan(&root(os_release, &MODULES));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(
            ran.stdout.contains(manager_has) && ran.stdout.contains("\"inbox\""),
            "{os_release}{}",
            ran.stdout
        );
    }
    // Without modules there is nothing to have.
    plan(&root("ID=debian\nVERSION_CODENAME=forky\n", &[])).expect(12, "kernel-unsupported");
    let arch = plan(&root("ID=arch\nPRETTY_NAME=\"Arch Linux\"\nBUILD_ID=rolling\n", &MODULES));
    arch.expect(12, "image-unsupported");
    assert!(arch.stdout.contains("arch") && !arch.stdout.contains("no os-release"), "{}", arch.stdout);
}

#[test]
fn a_derivative_that_only_its_name_tells_of_is_of_the_family_it_is_made_from() {
    for (name, has) in [("linuxmint22", "ibverbs-providers"), ("cloudlinux9.4", "libibverbs")] {
        let ran = program::run(&["plan", "--json", "--distro", name, "--vm-size", "Standard_HB120rs_v3"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains(has) && ran.stdout.contains("\"inbox\""), "{}", ran.stdout);
    }
}

#[test]
fn modules_that_ubuntus_cloud_images_leave_out_are_asked_for() {
    // actions/runner-images 7587 and 8080.
    let ran =
        plan(&root("ID=ubuntu\nVERSION_ID=\"25.04\"\n", &["mlx5_core", "mlx5_ib", "ib_uverbs", "rdma_ucm"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains(&format!("linux-modules-extra-{KERNEL}")), "{}", ran.stdout);
}

#[test]
fn a_described_target_is_refused_as_a_root_would_be() {
    let described = |distro: &str, more: &[&str]| {
        program::run(
            &[&["plan", "--json", "--driver", "inbox", "--nic", "cx6", "--distro", distro][..], more]
                .concat(),
        )
    };
    let cloud = described("debian12", &["--kernel", "6.1.0-37-cloud-amd64"]);
    cloud.expect(12, "kernel-unsupported");
    assert!(cloud.stdout.contains("linux-image-amd64"), "{}", cloud.stdout);
    assert_eq!(described("debian12", &["--kernel", "6.1.0-37-amd64"]).code, 0);
    let mistyped = described("ubunut22.04", &[]);
    mistyped.expect(12, "image-unsupported");
    assert!(mistyped.stdout.contains("did you mean ubuntu22.04"), "{}", mistyped.stdout);
    for name in [
        "alma9.6",
        "ubuntu_24.04",
        "oracle8.10",
        "sles_sap15.4",
        // An alias of Azure's marketplace, a machine's name, a release's own name, and what SUSE prints.
        "Ubuntu2204",
        "RHEL-9.6",
        "centos-stream9",
        "debian-trixie",
        "debian-sid",
        "SLES15-SP5",
    ] {
        assert_eq!(described(name, &[]).code, 0, "{name}");
    }
}

#[test]
fn a_release_that_does_not_exist_is_not_planned_for_and_one_that_is_in_no_list_is_called_so() {
    let described =
        |name: &str| program::run(&["plan", "--json", "--distro", name, "--vm-size", "Standard_HB120rs_v3"]);
    for (name, meant) in
        [("debian21", "did you mean debian12?"), ("ubuntu22.40", "did you mean ubuntu22.04?")]
    {
        let ran = described(name);
        ran.expect(12, "image-unsupported");
        assert!(ran.stdout.contains(meant) && ran.stdout.contains("--root"), "{}", ran.stdout);
    }
    for name in ["debian14", "debian-sid", "fedora43", "leap15.6", "sles16.0", "ubuntu25.10"] {
        let ran = described(name);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains("no list names") && ran.stdout.contains("--root"), "{}", ran.stdout);
    }
    assert!(!described("debian13").stdout.contains("no list names"));
    // An image tells what it has, whatever it calls itself.
    let own = plan(&root("ID=debian\nVERSION_ID=\"21\"\n", &MODULES));
    assert_eq!(own.code, 0, "{}", own.stderr);
    assert!(!own.stdout.contains("no list names"), "{}", own.stdout);
}

#[test]
fn a_copied_machine_is_planned_for_as_the_machine_itself() {
    let copy = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hosts/hb120rs_v3-ubuntu20.04");
    let ran = program::run(&["plan", "--json", "--root", copy]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let target = &ran.json()["target"];
    assert_eq!(
        (&target["vm_size"], &target["nic"]),
        (&"Standard_HB120rs_v3".into(), &"cx6".into()),
        "{target}"
    );
    assert!(!ran.stderr.contains("169.254"), "this machine was asked: {}", ran.stderr);
}

#[test]
fn without_proc_a_run_says_so() {
    need_root();
    let ran = without_proc();
    ran.expect(1, "tool-missing");
    assert!(ran.stdout.contains("no-proc") && ran.stdout.contains("mount -t proc"), "{}", ran.stdout);
}

pub(crate) fn without_proc() -> Ran {
    // `chroot IMAGE ofedctl ...`, as image builders run it.
    let mut bare = std::process::Command::new("unshare");
    bare.args(["--mount", "sh", "-c", "mount -t tmpfs none /proc; exec \"$0\" detect --json"]);
    bare.arg(env!("CARGO_BIN_EXE_ofedctl")).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    program::finish(bare)
}

#[test]
fn an_image_that_has_all_packages_leaves_no_empty_bundle_behind() {
    let image = root("ID=debian\nVERSION_ID=\"12\"\n", &MODULES);
    let stanza = |name: &str| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1-1\nMaintainer: x\n\n"
        )
    };
    let stack =
        ["rdma-core", "ibverbs-providers", "ibverbs-utils", "rdmacm-utils", "infiniband-diags", "perftest"];
    let (status, cache) = (image.path().join("var/lib/dpkg/status"), image.path().join("cache"));
    std::fs::create_dir_all(status.parent().unwrap()).unwrap();
    std::fs::write(&status, stack.map(stanza).concat()).unwrap();
    let show = |path: &std::path::Path| path.display().to_string();
    let (path, cache) = (show(image.path()), show(&cache));
    let staged = program::run(&[
        "stage",
        "--json",
        "--root",
        &path,
        "--cache",
        &cache,
        "--vm-size",
        "Standard_HB120rs_v3",
        "--arch",
        "x86_64",
    ]);
    staged.expect(0, "already-installed");
    assert!(staged.stdout.contains("nothing to stage"), "{}", staged.stdout);
    let listed = program::run(&["cache", "list", "--json", "--cache", &cache]);
    assert!(!listed.stdout.contains("inbox-debian12"), "{}", listed.stdout);
}
