//! Package sources that the target's own tdnf reads, inside the target, and what is told of those that it cannot read. Runs
//! with what answers like tdnf, and with the real one where `OFEDCTL_TDNF` names it.

use crate::common::root::Root;
use crate::common::web::{Fault, Web};
use crate::common::{image, scratch};
use crate::packages::{Key, Repository, Rpm, index};
use crate::roots::MARINER2;
use crate::tdnf_program;

const FILE: &str = "etc/yum.repos.d/a.repo";
const NAMES: [&str; 6] =
    ["rdma-core", "libibverbs", "libibverbs-utils", "librdmacm-utils", "infiniband-diags", "perftest"];

fn packages(version: &'static str) -> Vec<Rpm> {
    NAMES.map(|name| Rpm::plain(name, version, "")).to_vec()
}

fn root() -> Root {
    let root = MARINER2.root();
    tdnf_program::put(&root);
    root.write("etc/ofedctl/config.yaml", "driver: inbox\n");
    root
}

/// vmware/photon 1008 and 1615: stock sources are passed over where they cannot be read, and tdnf says at last that it knows
/// no such package. vmware/photon 831: the index names a list of packages that is not there.
#[test]
fn what_tdnf_could_not_read_is_told_before_the_packages_that_are_unknown_then() {
    let (empty, whole, root) = (Web::serve(scratch().path()), Repository::of(&packages("48.0")), root());
    let file = |address: &str, more: &str| format!("[a]\nname=A\nbaseurl={address}\nenabled=1\n{more}");
    for skip in ["", "skip_if_unavailable=True\n"] {
        for (address, reason, said) in [
            (empty.address(), "not-on-server", "Error: 404 when downloading http"),
            ("http://127.0.0.1:1/x".to_owned(), "download-failed", ""),
        ] {
            root.write(FILE, &file(&address, skip));
            let refused = image::stage(&root, &root.beside("cache"));
            refused.expect(14, reason);
            let told = refused.json()["message"].as_str().unwrap().to_owned();
            assert!(told.contains(said) && !told.contains("not found or not installed"), "{told}");
        }
    }
    root.write(FILE, &file(&whole.web.address(), "gpgcheck=0\n"));
    for (part, fault, reason) in [
        ("repomd.xml", Fault::Status(503), "server-busy"),
        ("repomd.xml", Fault::Status(403), "access-denied"),
        ("primary", Fault::Status(404), "not-on-server"),
    ] {
        whole.web.fail(part, fault, 1000);
        image::stage(&root, &root.beside("cache")).expect(14, reason);
        whole.web.heal();
    }
    image::stage_in_target(&root, &root.beside("cache"));
}

/// microsoft/azure-linux-image-tools 730: with one repository passed over, another version comes from what is left.
#[test]
fn a_repository_that_was_passed_over_is_named_though_all_packages_were_found() {
    let (gone, old, root) = (Web::serve(scratch().path()), Repository::of(&packages("47.0")), root());
    let updates =
        format!("[updates]\nname=Updates\nbaseurl={}\nenabled=1\nskip_if_unavailable=True\n", gone.address());
    root.write(FILE, &old.file(&updates));
    let staged = image::stage(&root, &root.beside("cache"));
    staged.expect(0, "staged");
    assert!(
        staged.stderr.contains("WARN") && staged.stderr.contains("Error: 404 when downloading"),
        "{staged:?}"
    );
}

/// microsoft/azurelinux 4216: the index still names packages that the server no longer has.
#[test]
fn a_package_that_the_server_no_longer_has_is_told_by_its_address() {
    let (repository, root) = (Repository::of(&packages("48.0")), root());
    root.write(FILE, &repository.file(""));
    std::fs::remove_file(repository.folder().join("perftest-48.0-1.noarch.rpm")).unwrap();
    let refused = image::stage(&root, &root.beside("cache"));
    refused.expect(14, "not-on-server");
    assert!(refused.stdout.contains("/perftest-48.0-1.noarch.rpm"), "{}", refused.stdout);
}

/// vmware/photon 918: some packages of an official repository are unsigned. Azure/azure-cli 29734: packages are there under
/// another release only.
#[test]
fn the_one_unsigned_package_and_the_one_unknown_one_are_named() {
    let (key, folder, root) = (Key::new(), scratch(), root());
    for rpm in packages("48.0") {
        rpm.build(folder.path());
    }
    key.sign(folder.path());
    Rpm::plain("perftest", "48.0", "").build(folder.path());
    index(folder.path());
    let web = Web::serve(folder.path());
    root.write("etc/pki/rpm-gpg/KEY", &key.public());
    let file =
        format!("[a]\nname=A\nbaseurl={}\nenabled=1\ngpgkey=file:///etc/pki/rpm-gpg/KEY\n", web.address());
    root.write(FILE, &file);
    let refused = image::stage(&root, &root.beside("cache"));
    refused.expect(14, "repository-key");
    let told = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(told.contains("perftest-48.0-1") && !told.contains("rdma-core-48"), "{told}");

    std::fs::remove_file(folder.path().join("perftest-48.0-1.noarch.rpm")).unwrap();
    index(folder.path());
    let refused = image::stage(&root, &root.beside("cache"));
    refused.expect(14, "resolve-failed");
    assert!(refused.stdout.contains("perftest package not found"), "{}", refused.stdout);
}
