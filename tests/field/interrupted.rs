//! Images that were captured, or machines that went down, while a package manager worked.

use crate::common::endings;
use crate::common::image;
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
