//! Modules of others that share `ib_core` with a vendor's driver, really built by DKMS: first against the kernel's own
//! `ib_core`, and after the driver against the vendor's. One whose sources are gone is named.

use super::scene::Scene;
use crate::common::image;
use crate::common::root::Root;
use crate::common::vendor;
use crate::common::vendor::doca::{self, Doca};
use crate::common::vendor::shop::Shop;

/// `ib_core` as the kernel has it: what others ask it for has another form than the vendor's.
const CORE: &str = "#include <linux/module.h>\nint ib_register_client(int client);\n\
    int ib_register_client(int client) { return client; }\nEXPORT_SYMBOL(ib_register_client);\n\
    MODULE_LICENSE(\"GPL\");\n";
/// A user, which takes the symbols of the vendor's driver where that is installed, as knem and `nv_peer_mem` do.
const MAKEFILE: &str = "obj-m := THIS.o\nOFED := /usr/src/ofa_kernel/$(KERNELRELEASE)/Module.symvers\n\
    KBUILD_EXTRA_SYMBOLS := $(if $(wildcard $(OFED)),$(OFED),/usr/src/own/Module.symvers)\n\
    ccflags-y := $(if $(wildcard $(OFED)),-DCLIENT=long,-DCLIENT=int)\n";
const SOURCE: &str = "#include <linux/module.h>\nextern int ib_register_client(CLIENT client);\n\
    static int __init start(void) { return ib_register_client(0); }\nmodule_init(start);\nMODULE_LICENSE(\"GPL\");\n";
const DKMS: &str = "PACKAGE_NAME=\"THIS\"\nPACKAGE_VERSION=\"1\"\nAUTOINSTALL=\"yes\"\nBUILT_MODULE_NAME[0]=\"THIS\"\n\
    DEST_MODULE_LOCATION[0]=\"/updates\"\n";

fn must(root: &Root, script: &str) {
    let ran = root.booted(&["sh", "-ec", script]);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(ran.status.success(), "{script}: {}{}", said(&ran.stdout), said(&ran.stderr));
}

/// Builds the kernel's `ib_core`, and a user of it by DKMS.
fn add_users(root: &Root, kernel: &str, names: &[&str]) {
    root.write("usr/src/own/Makefile", "obj-m := ib_core.o\n");
    root.write("usr/src/own/ib_core.c", CORE);
    let place = format!("/lib/modules/{kernel}/kernel/drivers/infiniband/core");
    must(
        root,
        &format!(
            "make -C /lib/modules/{kernel}/build M=/usr/src/own modules\nmkdir -p {place}\n\
             cp /usr/src/own/ib_core.ko {place}\ndepmod {kernel}"
        ),
    );
    for name in names {
        for (file, text) in [("Makefile", MAKEFILE), ("dkms.conf", DKMS)] {
            root.write(&format!("usr/src/{name}-1/{file}"), &text.replace("THIS", name));
        }
        root.write(&format!("usr/src/{name}-1/{name}.c"), SOURCE);
        must(
            root,
            &format!("dkms add {name}/1\ndkms build {name}/1 -k {kernel}\ndkms install {name}/1 -k {kernel}"),
        );
    }
}

/// Seagate/cortx-motr issue 17: lnet's module after `MLNX_OFED`. namjaejeon/ksmbd issue 485: one that was built after it, against
/// the kernel's own. Both are refused with `disagrees about version of symbol`.
#[test]
fn what_shares_ib_core_is_built_again_with_the_driver_and_what_has_no_source_is_named() {
    let shop = Shop::of(|folder| drop(doca::host_package(folder, &Doca::default())));
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    let kernel = scene.kernel();
    add_users(&scene.root, &kernel, &["knem", "beegfs", "ko2iblnd"]);
    // The source of one is gone, as where a package of built modules brought it.
    must(&scene.root, "rm -rf /usr/src/ko2iblnd-1 /var/lib/dkms/ko2iblnd");
    let plan = crate::common::program::run(&scene.arguments("plan", &["--driver", "doca"]));
    let why = plan.json()["why"].to_string();
    assert!(why.contains(&format!("beegfs, knem, ko2iblnd for {kernel} shares ib_core")), "{why}");

    scene.stage(&["--driver", "doca"]).expect(0, "staged");
    let baked = scene.bake(&["--driver", "doca"]);
    baked.expect(0, "installed");
    let log = scene.root.read("var/log/azure/ib-vmext-status");
    // One of them the vendor has, too; DKMS knows the other one alone.
    for name in ["knem", "beegfs"] {
        let again = format!("building {name} 1 again for {kernel}, for it shares ib_core");
        assert!(log.contains(&again), "{log}");
    }
    assert!(
        log.contains(&format!(
            "ko2iblnd for {kernel} shares ib_core with this driver, and DKMS does not have it"
        )),
        "{log}"
    );

    let verified = image::ask("verify", &scene.root);
    verified.expect(14, "verify-failed");
    let answer = verified.json();
    let found = |name: &str| {
        let checks = answer["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == format!("{name} for {kernel}"));
        let check = check.unwrap_or_else(|| panic!("{name}: {answer:#}"));
        (check["ok"].as_bool().unwrap(), check["found"].as_str().unwrap().to_owned())
    };
    for name in ["knem", "beegfs"] {
        assert_eq!(found(name), (true, "fits the driver's ib_core".to_owned()));
    }
    let stale = "built against another ib_core (ib_register_client): build it again".to_owned();
    assert_eq!(found("ko2iblnd"), (false, stale));
    // Without it all is right.
    must(&scene.root, &format!("rm /lib/modules/{kernel}/updates/dkms/ko2iblnd.ko* && depmod {kernel}"));
    image::ask("verify", &scene.root).expect(0, "verified");
}
