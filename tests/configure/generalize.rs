//! The state that an image passes on to its clones, and the state that is removed.

use crate::common::image;
use crate::common::root::debian_root;

#[test]
fn an_image_is_safe_to_clone() {
    let root = debian_root("bookworm");
    image::bake(&root, &image::staged("bookworm")).expect(0, "installed");
    let receipt = image::receipt(&root);
    for (path, text) in [
        ("var/lib/ofedctl/of-some-door.json", "{\"vm\": 1}"),
        ("var/lib/hyperv/.kvp_pool_0", "IPoIB_Data"),
        ("tmp/MLNX_OFED_LINUX.77.logs/general.log", "log"),
        ("var/tmp/dkms.x/make.log", "log"),
        ("tmp/mine.txt", "mine"),
        ("var/cache/ofedctl/oci-layout", "{}"),
    ] {
        root.write(path, text);
    }
    image::ask("generalize", &root).expect(0, "generalized");
    let there = |path: &str| root.path().join(path).exists();
    for gone in [
        "var/lib/ofedctl/of-some-door.json",
        "var/lib/ofedctl/status",
        "var/lib/ofedctl/run.json",
        "var/lib/hyperv/.kvp_pool_0",
        "tmp/MLNX_OFED_LINUX.77.logs",
        "var/tmp/dkms.x",
        "var/log/azure/ib-vmext-status",
        "var/log/azure/ofedctl",
    ] {
        assert!(!there(gone), "{gone} is left");
    }
    assert!(there("tmp/mine.txt") && there("var/cache/ofedctl/oci-layout"));
    assert_eq!(image::receipt(&root), receipt);
    image::ask("verify", &root).expect(0, "verified");
    // The receipt tells what the removed status cannot.
    let status = image::ask("status", &root);
    assert!(status.code == 0 && status.stdout.contains("receipt-only"), "{status:?}");

    root.write("etc/ofedctl/config.yaml", "keep_cache: false\n");
    image::ask("generalize", &root).expect(0, "generalized");
    assert!(!there("var/cache/ofedctl"));
    image::ask("uninstall", &root).expect(0, "uninstalled");
    image::ask("generalize", &root).expect(0, "generalized");
    image::ask("status", &root).expect(14, "never-run");
    assert!(!there("etc/modules-load.d/ofedctl.conf"));
}
