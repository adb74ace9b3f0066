//! New kernels that come by themselves, and systems that are replaced as a whole: what becomes of the driver is settled when
//! it is planned and baked, and what is advised leads on.

use crate::common::need::need_root;
use crate::common::program::{self, Ran};
use crate::common::root::{Root, debian_root};
use crate::common::small_root::SmallRoot;
use serde_json::Value;

/// Ubuntu whose kernels are upgraded unattended, with a driver for the kernel that is there.
fn upgraded_unattended() -> SmallRoot {
    let root = SmallRoot::ubuntu().with_vendor_driver();
    root.put("usr/bin/unattended-upgrade", "");
    root.put("etc/apt/apt.conf.d/20auto-upgrades", "APT::Periodic::Unattended-Upgrade \"1\";\n");
    root
}

fn ask(root: &SmallRoot, command: &str, wanted: &str) -> Ran {
    let wanted = format!("new_kernels={wanted}");
    root.run(command, &["--arch", "x86_64", "--set", &wanted])
}

/// The same where the driver is to be built for a later kernel, and nothing would do so.
pub(crate) fn nothing_rebuilds() -> Ran {
    need_root();
    ask(&upgraded_unattended(), "bake", "rebuild")
}

#[test]
fn a_new_kernel_is_kept_away_or_built_for_or_left_alone_as_the_setting_says() {
    need_root();
    // Azure/azhpc-images issue 372 and Azure/batch-shipyard issue 174: a kernel came by itself, and InfiniBand was gone.
    // GoogleCloudPlatform/slurm-gcp pull request 89 holds kernels while an image is built. dkms-project/dkms issue 521: DKMS
    // builds for a new kernel only where its headers came with it.
    let folder = upgraded_unattended();
    let why = |wanted: &str| {
        let ran = ask(&folder, "plan", wanted);
        assert_eq!(ran.code, 0, "{}", ran.stdout);
        ran.json()["why"].to_string()
    };
    assert!(why("leave").contains("this driver's modules are for these alone"), "{}", why("leave"));
    assert!(why("hold").contains("the kernels are on hold"), "{}", why("hold"));
    // DKMS does not have the driver, and nothing runs at boot.
    for command in ["plan", "bake"] {
        let ran = ask(&folder, command, "rebuild");
        ran.expect(1, "bad-settings");
        assert_eq!(ran.json()["cause"], "nothing-rebuilds", "{}", ran.stdout);
        assert!(
            ran.json()["remedy"].as_str().unwrap().contains("`ofedctl cloud-init setup`"),
            "{}",
            ran.stdout
        );
    }
    // What is advised is done, and the same question has another ending.
    let root = folder.path().display().to_string();
    folder.put("usr/local/bin/ofedctl", "");
    program::run(&["cloud-init", "setup", "--unit", "--json", "--root", &root]).expect(0, "listed");
    assert!(why("rebuild").contains("ofedctl.service runs this program at each boot"), "{}", why("rebuild"));
    ask(&folder, "bake", "rebuild").expect(0, "already-installed");
    // Its sources in DKMS' tree are enough, and DKMS' own unit is enabled where there is one.
    let folder = upgraded_unattended();
    folder.put(
        "usr/src/mlnx-ofed-kernel-5.8/dkms.conf",
        "PACKAGE_NAME=mlnx-ofed-kernel\nPACKAGE_VERSION=5.8\n",
    );
    folder.put("var/lib/dkms/mlnx-ofed-kernel/5.8/source/dkms.conf", "PACKAGE_NAME=mlnx-ofed-kernel\n");
    folder.put(
        "usr/lib/systemd/system/dkms.service",
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
    );
    let ran = ask(&folder, "plan", "rebuild");
    assert!(
        ran.stdout.contains("DKMS builds this driver for each new kernel whose headers come with it"),
        "{}",
        ran.stdout
    );
    let ran = ask(&folder, "bake", "rebuild");
    ran.expect(0, "already-installed");
    let link = folder.path().join("etc/systemd/system/multi-user.target.wants/dkms.service");
    assert!(link.is_symlink(), "{}", ran.stdout);
    folder.run("verify", &[]).expect(0, "verified");
    let both =
        program::run(&["plan", "--root", &root, "--set", "kernel_hold=true", "--set", "new_kernels=rebuild"]);
    assert_eq!(both.code, 1, "{}", both.stderr);
}

/// What `transactional-update run` does for a program (its manual page): a new snapshot of the root that can be written to,
/// and the program in it as in a root of its own.
const IN_A_SNAPSHOT: &str = "mount -t tmpfs none /mnt; mkdir /mnt/upper /mnt/work /mnt/snapshot
    mount -t overlay -o lowerdir=\"$0\",upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/snapshot
    cd /mnt/snapshot; mount -t proc proc proc; mount --bind /dev dev
    mount --bind \"$1\" usr/bin/ofedctl; shift
    TRANSACTIONAL_UPDATE=true exec chroot . \"$@\"";
/// The system as it runs: nothing below `/usr` can be written to.
const AS_IT_RUNS: &str = "mount --bind \"$0\" \"$0\"; mount --bind \"$0/usr\" \"$0/usr\"; mount -o remount,bind,ro \"$0/usr\"
    cd \"$0\"; mount -t proc proc proc; mount --bind /dev dev; mount --bind \"$1\" run/ofedctl-program; shift; shift
    exec chroot . /run/ofedctl-program \"$@\"";

#[test]
fn suses_way_through_a_snapshot_leads_on_where_the_running_system_is_refused() {
    // khenidak/dysk issue 60 is the same refusal on another system; openSUSE's MicroOS has the program.
    let root = debian_root("bookworm");
    root.write("usr/sbin/transactional-update", "#!/bin/sh\n");
    root.write("etc/os-release", "ID=sles\nVERSION_ID=\"15.5\"\n");
    root.write("run/ofedctl-program", "");
    root.write("usr/bin/ofedctl", "");
    let refused = inside(&root, AS_IT_RUNS);
    assert_eq!(refused["cause"], "usr-read-only", "{refused:#}");
    let remedy = refused["remedy"].as_str().unwrap();
    assert!(remedy.contains("`transactional-update run ofedctl bake --root /`"), "{remedy}");
    assert!(refused["message"].as_str().unwrap().contains("transactional-update replaces"), "{refused:#}");
    // There it goes on to what comes next, which here is the cache that nobody filled.
    let led_on = inside(&root, IN_A_SNAPSHOT);
    assert_eq!(led_on["reason"], "cache-missing", "{led_on:#}");
}

/// `ofedctl bake --root /` in one of the ways above.
fn inside(root: &Root, way: &str) -> Value {
    let mut ran = program::in_namespaces(way);
    ran.arg(root.path())
        .arg(env!("CARGO_BIN_EXE_ofedctl"))
        .args(["ofedctl", "bake", "--json", "--root", "/"]);
    ran.args(["--driver", "inbox", "--nic", "cx6", "--offline"]);
    program::finish(ran).json()
}
