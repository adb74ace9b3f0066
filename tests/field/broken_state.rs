//! Machines whose package manager cannot read its own records, whose `/tmp` is not what programs expect, or where a lock of
//! a dead run lies about.

use crate::common::deb::{Deb, Repository};
use crate::common::image;
use crate::common::program;
use crate::common::root::{Root, debian_root};
use crate::common::tree::Tree;
use std::process::Command;

const SUITE: &str = "bookworm";

/// What a file is after the damage.
type Damage = fn(&str) -> String;

/// Power cuts and full cards left lists of files that end amid a line (mrworf/plexupdate 236, MichaIng/DietPi 844), records
/// that begin with garbage (davesteele/comitup 275), and a file of records that is empty. dpkg and apt refuse each change
/// then, and name neither the cause nor a way out.
#[test]
fn records_that_dpkg_cannot_read_are_named_before_anything_is_changed() {
    let root = debian_root(SUITE);
    let cache = image::staged(SUITE);
    let damages: [(&str, Damage); 3] = [
        ("var/lib/dpkg/info/tzdata.list", |list| format!("{list}/usr/share/zone")),
        ("var/lib/dpkg/status", |status| format!("\u{1}\u{fffd}\u{2}garbage: \n\n{status}")),
        ("var/lib/dpkg/status", |_| String::new()),
    ];
    for (path, damage) in damages {
        let sound = root.read(path);
        root.write(path, &damage(&sound));
        let before = Tree::of(root.path());
        let refused = image::bake(&root, &cache);
        refused.expect(14, "package-manager");
        let told = refused.json();
        assert_eq!(told["cause"], "records-damaged", "{told}");
        assert!(told["message"].as_str().unwrap().contains(path), "{told}");
        assert!(told["remedy"].as_str().unwrap().contains("status-old"), "{told}");
        image::assert_untouched(&root, &before);
        root.write(path, &sound);
    }
    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(root.dpkg_verify(), "");
}

/// A lock file that holds a process number keeps everybody out once that number is somebody else's (nightlyone/lockfile 39,
/// littlebearapps/untether 459). What counts is who holds the file locked.
#[test]
fn a_lock_file_of_a_dead_run_with_the_number_of_a_living_process_keeps_nobody_out() {
    let root = debian_root(SUITE);
    root.write("run/ofedctl/lock", &std::process::id().to_string());
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(root.path().join("run/ofedctl"), private).unwrap();
    // libpam-tmpdir gives each user of the build host a folder that the root does not have (grml/grml-debootstrap 232,
    // Thinstation/thinstation 189).
    let mut bake = program::program(&image::bake_args(&root, &image::staged(SUITE)));
    let own = root.beside("user-0");
    std::fs::create_dir(&own).unwrap();
    bake.env("TMPDIR", &own).env("TMP", &own).env("TEMPDIR", &own);
    program::finish(bake).expect(0, "installed");
    assert_eq!(std::fs::read_dir(&own).unwrap().count(), 0);
}

/// Hardened machines let nothing run from `/tmp`, and packages that put a program there fail to install (wazuh/wazuh 763,
/// savchenko/debian 36, netdata/netdata 9626).
#[test]
fn a_package_that_runs_a_program_from_its_temporary_folder_is_installed_where_tmp_runs_none() {
    let preinst = "#!/bin/sh\nset -e\nfile=$(mktemp)\nprintf '#!/bin/sh\\nexit 0\\n' >\"$file\"\n\
                   chmod 755 \"$file\"\n\"$file\"\nrm \"$file\"\n";
    let scripts = vec![("preinst", preinst)];
    let repository = Repository::of(&[Deb { name: "perftest", version: "99", scripts, ..Deb::default() }]);
    let root: Root = debian_root(SUITE);
    let machine = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hosts/hb120rs_v3-ubuntu20.04");
    let mut cp = Command::new("cp");
    cp.args(["-a", &format!("{machine}/sys"), &format!("{machine}/run")]).arg(root.path());
    assert!(cp.status().unwrap().success());
    root.add_source(&repository.source_line());
    root.write("srv/empty", "");
    std::fs::copy(env!("CARGO_BIN_EXE_ofedctl"), root.path().join("srv/ofedctl")).unwrap();
    image::stage(&root, &root.path().join("srv/cache")).expect(0, "staged");
    let script = "mount -t tmpfs -o noexec tmpfs /tmp && exec /srv/ofedctl install --cache /srv/cache --offline --json";
    program::Ran::from(root.booted(&["sh", "-c", script])).expect(0, "reboot-required");
    assert_eq!(root.installed("perftest").as_deref(), Some("99"));
    assert!(!root.path().join("var/lib/ofedctl/repo").exists());
}
