//! Package sources that the target's own zypper reads, inside the target, and what is told of those that it cannot read.

use crate::common::root::Root;
use crate::common::scratch;
use crate::common::web::Web;
use crate::common::{image, program};
use crate::packages::{Repository, Rpm};
use crate::roots::SLES15;
use std::os::unix::fs::PermissionsExt;

const FILE: &str = "etc/zypp/repos.d/a.repo";
/// As the program of SUSE's images that knows where the repositories of a cloud are: it answers each question of zypper with an
/// address, which no file of a repository names.
const PLUGIN: &str = "#!/bin/sh\nread -r question\n\
    printf 'RESOLVEDURL\\n\\n%s\\n\\000' \"$(cat /etc/zypp/test-cloud)\"\n";

fn repository() -> Repository {
    let names =
        ["rdma-core", "libibverbs", "libibverbs-utils", "librdmacm-utils", "infiniband-diags", "perftest"];
    Repository::of(&names.map(|name| Rpm::plain(name, "48.0", "")))
}

fn root() -> Root {
    let root = SLES15.root();
    root.write("etc/ofedctl/config.yaml", "driver: inbox\n");
    root
}

#[test]
fn the_addresses_that_only_a_program_of_the_image_knows_are_asked_for_there() {
    // The images of SLES that Azure bills by use name `plugin:/susecloud?...`, and nothing else.
    let (repository, root) = (repository(), root());
    root.write("etc/zypp/test-cloud", &repository.web.address());
    root.write("usr/lib/zypp/plugins/urlresolver/susecloud", PLUGIN);
    let plugin = root.path().join("usr/lib/zypp/plugins/urlresolver/susecloud");
    std::fs::set_permissions(plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    let address = "plugin:/susecloud?credentials=SCCcredentials&path=/repo/Basesystem";
    root.write(FILE, &format!("[a]\nname=a\ntype=rpm-md\ngpgcheck=0\nbaseurl={address}\n"));
    let cache = root.beside("cache");
    image::stage_in_target(&root, &cache);
    image::bake(&root, &cache).expect(0, "installed");
}

#[test]
fn what_zypper_could_not_read_is_told_before_the_packages_that_are_unknown_then() {
    let (unsigned, empty, root) = (repository(), Web::serve(scratch().path()), root());
    let file = |address: &str, more: &str| format!("[a]\nname=a\nbaseurl={address}\n{more}\n");
    for (file, reason, said) in [
        // OpenVoxProject/planning 65: an index without a signature, and `gpgcheck=1`.
        (file(&unsigned.web.address(), "gpgcheck=1"), "repository-key", "is unsigned"),
        // logan2211/ansible-bird, pull 22: that of the index is waived, and that of packages is not.
        (
            file(&unsigned.web.address(), "gpgcheck=1\nrepo_gpgcheck=0\npkg_gpgcheck=1"),
            "repository-key",
            "Signature verification failed",
        ),
        // mapr-emea/mapr-ansible 45: zypper goes on without the repository, and then knows no provider.
        (file(&empty.address(), "gpgcheck=0"), "not-on-server", "Valid metadata not found"),
        (file("http://127.0.0.1:1/x", "gpgcheck=0"), "download-failed", "127.0.0.1"),
        (String::new(), "resolve-failed", "No repositories defined"),
    ] {
        root.write(FILE, &file);
        let refused = image::stage(&root, &root.beside("cache"));
        refused.expect(14, reason);
        let told = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(told.contains(said) && !told.contains("No provider of"), "{told}");
    }
    // A run that nobody looks at goes on, and has told by then what it waits for.
    root.write(FILE, &file("http://127.0.0.1:1/x", "gpgcheck=0"));
    let words = image::bake_args(&root, &root.beside("cache"));
    let online: Vec<_> = words.into_iter().filter(|word| word != "--offline").collect();
    let ran = program::killed_at("pause", program::program(&online));
    let told: Vec<_> = ran.stderr.lines().filter(|line| line.contains("trying again in")).collect();
    assert!(told.len() == 1 && told[0].contains("Connection refused"), "{ran:?}");
}
