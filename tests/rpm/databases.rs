//! An rpm database that rpm of the machine that stages cannot read.

use crate::bake::{give, known, stack};
use crate::common::image;
use crate::packages::{Repository, Rpm};
use crate::roots::SLES15;

#[test]
fn what_an_image_has_is_read_from_a_database_that_only_its_own_rpm_knows() {
    let root = SLES15.root_with_ndb();
    assert!(root.path().join("var/lib/rpm/Packages.db").exists());
    let repository = Repository::of(&stack());
    root.write("etc/zypp/repos.d/test.repo", &repository.file(""));
    root.write("etc/ofedctl/config.yaml", "driver: inbox\n");
    give(&root, &Rpm::plain("test-pciutils", "3.7", ""));
    let cache = root.beside("cache");
    let staged = image::stage(&root, &cache);
    staged.expect(0, "staged");
    // Its own zypper reads it, and nothing stands in.
    assert!(staged.stderr.contains("asking the target's zypper"), "{staged:?}");
    assert!(!staged.stderr.contains("stands in"), "{staged:?}");
    let asked = repository.web.requests();
    assert!(asked.iter().any(|path| path.contains("rdma-core")), "{asked:?}");
    assert!(!asked.iter().any(|path| path.contains("test-pciutils")), "what is there was fetched: {asked:?}");

    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(image::receipt(&root)["packages"]["rdma-core"], "48.0-1");
    image::ask("verify", &root).expect(0, "verified");
    image::ask("uninstall", &root).expect(0, "uninstalled");
    let mut left: Vec<String> = known(&root).lines().map(str::to_owned).collect();
    left.sort();
    assert_eq!(left, ["test-pciutils-3.7-1.noarch", "test-release-8-1.noarch"]);
}
