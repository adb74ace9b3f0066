//! Images that were captured, or machines that went down, while a package manager worked.

use crate::common::deb::Deb;
use crate::common::endings;
use crate::common::image;
use crate::common::program;
use crate::common::root::debian_root;

/// An image for Azure pipelines came with what dpkg had not merged into its database, and each `apt-get install` on it was
/// refused until somebody ran `dpkg --configure -a` (actions/runner-images 13259; likewise openhab/openhabian 952).
#[test]
fn an_image_that_was_captured_while_dpkg_worked_is_healed_by_a_bake() {
    let root = debian_root("trixie");
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    let status = root.read("var/lib/dpkg/status");
    let record = status.split("\n\n").find(|record| record.contains("Package: base-files\n")).unwrap();
    let waiting = record.replace("install ok installed", "install ok half-configured");
    root.write("var/lib/dpkg/updates/0000", &format!("{waiting}\n"));
    // What apt itself would refuse is refused in time, with the command that helps.
    let refused = image::stage(&root, &root.beside("other"));
    refused.ends(&endings::HALF_INSTALLED);
    let refused = format!("{}{}", refused.stdout, refused.stderr);
    assert!(refused.contains("dpkg --configure -a"), "{refused}");
    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(std::fs::read_dir(root.path().join("var/lib/dpkg/updates")).unwrap().count(), 0);
    let status = root.read("var/lib/dpkg/status");
    let record = status.split("\n\n").find(|record| record.contains("Package: base-files\n")).unwrap();
    assert!(record.contains("\nStatus: install ok installed\n"), "{record}");
    assert_eq!(root.dpkg_verify(), "");
}

/// A monitoring agent's package was left half installed in an image, and apt refused every later change in words that do
/// not say how to go on (microsoft/lisa pull 4327; likewise after a power cut, Botspot/pi-apps 791).
#[test]
fn a_package_of_somebody_else_that_is_half_installed_is_named_with_the_way_out() {
    let root = debian_root("bookworm");
    let (folder, name) = (root.beside("debs"), "azsec-bpftrace");
    std::fs::create_dir_all(&folder).unwrap();
    let deb = Deb { name, version: "0.14", ..Deb::default() }.build(&folder);
    std::fs::copy(&deb, root.path().join("srv/it.deb")).unwrap();
    assert!(root.inside(&["dpkg", "--install", "/srv/it.deb"]).status.success());
    let record = |state: &str| format!("Package: {name}\nStatus: install {state}\n");
    let status = root.read("var/lib/dpkg/status");
    let torn = status.replace(&record("ok installed"), &record("reinstreq half-installed"));
    assert_ne!(torn, status);
    root.write("var/lib/dpkg/status", &torn);
    let cache = image::staged("bookworm");
    for refused in [image::stage(&root, &root.beside("cache")), image::bake(&root, &cache)] {
        refused.expect(14, "package-manager");
        let told = refused.json();
        assert_eq!(told["cause"], "package-not-whole", "{told}");
        assert!(told["message"].as_str().unwrap().contains(name), "{told}");
        assert!(told["remedy"].as_str().unwrap().contains("--force-remove-reinstreq"), "{told}");
    }
    assert_eq!(root.read("var/lib/dpkg/status"), torn);
    assert!(root.inside(&["dpkg", "--remove", "--force-remove-reinstreq", name]).status.success());
    image::stage(&root, &root.beside("cache")).expect(0, "staged");
    image::bake(&root, &cache).expect(0, "installed");
}

/// Power cuts left files of an image store at their full names and empty, and what was made of them failed with words about
/// something else (podman-container-tools/podman 8005, containerd/containerd 5854).
#[test]
fn a_blob_that_a_power_cut_left_short_is_named_and_fetched_again() {
    let root = debian_root("bookworm");
    let folder = crate::common::scratch();
    let cache = image::copy_of_staged("bookworm", folder.path());
    let short = |digest: &str| {
        let blob = cache.join("blobs/sha256").join(digest);
        let whole = std::fs::read(&blob).unwrap();
        std::fs::write(&blob, &whole[..whole.len() / 2]).unwrap();
        (blob, whole)
    };
    let blobs = image::blobs(&cache);
    for digest in blobs.keys() {
        let (blob, whole) = short(digest);
        let refused = program::run(&["cache", "verify", "--json", "--cache", cache.to_str().unwrap()]);
        assert_eq!(refused.code, 14, "{digest}: {refused:?}");
        assert!(refused.stdout.contains(digest), "{refused:?}");
        std::fs::write(blob, whole).unwrap();
    }
    for digest in blobs.keys() {
        short(digest);
    }
    assert_eq!(image::bake(&root, &cache).code, 14);
    image::stage(&root, &cache).expect(0, "staged");
    image::bake(&root, &cache).expect(0, "installed");
}
