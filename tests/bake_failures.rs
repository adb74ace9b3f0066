//! A failed bake ends with the right reason, and a bake that could not begin leaves the root unchanged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::deb::{Deb, Repository};
use common::image;
use common::need::need;
use common::program::{self, Ran};
use common::root::{self, Root, debian_root};
use common::tree::Tree;
use std::path::Path;
use std::process::Command;

const SUITE: &str = "trixie";

/// Runs a bake that must fail with this reason, and checks its status document.
#[track_caller]
fn fails(root: &Root, cache: &Path, reason: &str) -> Ran {
    let ran = image::bake(root, cache);
    ran.expect(14, reason);
    let status = image::status(root);
    assert_eq!((status.state.as_str(), status.code), ("error", 14), "{status:?}");
    assert!(status.message.starts_with(&format!("{reason}: ")), "{}", status.message);
    ran
}

#[track_caller]
fn fails_untouched(cache: &Path, reason: &str) {
    let root = debian_root(SUITE);
    let before = Tree::of(root.path());
    fails(&root, cache, reason);
    image::assert_untouched(&root, &before);
}

fn flip_a_bit(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_in_a_package_is_refused_and_nothing_is_touched() {
    let folder = common::scratch();
    let cache = image::copy_of_staged(SUITE, folder.path());
    let blobs = image::blobs(&cache);
    let largest = blobs.iter().max_by_key(|(_, size)| **size).unwrap().0;
    flip_a_bit(&cache.join("blobs/sha256").join(largest));
    fails_untouched(&cache, "digest-mismatch");
}

#[test]
fn an_empty_cache_is_named_and_nothing_is_touched() {
    let folder = common::scratch();
    fails_untouched(folder.path(), "cache-missing");
}

#[test]
fn a_cache_for_another_distribution_is_no_cache_for_this_one() {
    fails_untouched(&image::staged("bookworm"), "cache-missing");
}

#[test]
fn a_missing_blob_is_named_and_nothing_is_touched() {
    let folder = common::scratch();
    let cache = image::copy_of_staged(SUITE, folder.path());
    let blobs = image::blobs(&cache);
    let largest = blobs.iter().max_by_key(|(_, size)| **size).unwrap().0;
    std::fs::remove_file(cache.join("blobs/sha256").join(largest)).unwrap();
    fails_untouched(&cache, "cache-missing");
}

#[test]
fn a_package_that_fetches_during_its_installation_fails_offline_and_only_there() {
    let web = common::web::Web::serve(common::scratch().path());
    let port = web.address().rsplit(':').next().unwrap().to_owned();
    let postinst = format!(
        "#!/bin/bash\nset -e\nexec 3<>/dev/tcp/127.0.0.1/{port}\nprintf 'GET /fetched HTTP/1.0\\r\\n\\r\\n' >&3\ncat <&3 >/dev/null\n"
    );
    let scripts = vec![("postinst", postinst.leak() as &str)];
    let repository = Repository::of(&[Deb { name: "perftest", version: "99", scripts, ..Deb::default() }]);
    let root = debian_root(SUITE);
    root.add_source(&repository.source_line());
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");

    fails(&root, &cache, "package-manager");
    assert_eq!(web.requests(), Vec::<String>::new(), "the package reached the network");

    // The same package with a network: it was the cut that failed it. Half-installed, it is also repaired.
    let online: Vec<String> =
        image::bake_args(&root, &cache).into_iter().filter(|arg| arg != "--offline").collect();
    let ran = program::run(&online);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(web.requests(), ["/fetched"]);
    assert_eq!(root.installed("perftest").unwrap(), "99");
}

#[test]
fn a_package_manager_at_work_is_waited_for_and_then_named() {
    let root = debian_root(SUITE);
    root.write("etc/ofedctl/config.yaml", "lock_timeout: 1\n");
    let before = Tree::of(root.path());
    let mut holder = program::hold_lock(root.path());

    fails(&root, &image::staged(SUITE), "lock-timeout");
    let status = image::status(&root);
    let named = format!("process {}", holder.id());
    assert!(status.message.contains(&named) && status.message.contains("lock-frontend"), "{status:?}");
    image::assert_untouched(&root, &before);

    holder.kill().unwrap();
    holder.wait().unwrap();
    image::bake(&root, &image::staged(SUITE)).expect(0, "installed");
}

#[test]
fn a_disk_with_too_little_room_is_named_before_anything_is_changed_and_with_room_the_next_bake_ends_well() {
    let folder = common::scratch();
    // The mount is private to this shell and ends with it, however it ends.
    let script = r#"
        layers=$2 program=$3 cache=$4 size=$5
        over=$1/over disk=$1/disk
        mkdir "$over" "$disk"
        mount -t tmpfs -o size=1g tmpfs "$over"
        mkdir "$over/upper" "$over/work"
        mount -t overlay -o "lowerdir=$layers,upperdir=$over/upper,workdir=$over/work" overlay "$disk"
        cp "$disk/var/lib/dpkg/status" "$1/before"
        bake() { "$program" bake --root "$disk" --vm-size "$size" --cache "$cache" --offline --json; }
        mount -o remount,size=3m "$over"
        bake >"$1/full.json" || echo $? >"$1/full.code"
        cmp "$disk/var/lib/dpkg/status" "$1/before"
        mount -o remount,size=1g "$over"
        bake >"$1/room.json"
    "#;
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--net", "sh", "-euc", script, "sh"]).arg(folder.path());
    unshare.arg(root::debian(SUITE).lower()).arg(env!("CARGO_BIN_EXE_ofedctl")).arg(image::staged(SUITE));
    let ran = program::finish({
        unshare.arg(image::VM_SIZE);
        unshare
    });
    assert_eq!(ran.code, 0, "{ran:?}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let full = Ran { code: read("full.code").trim().parse().unwrap_or(0), stdout: read("full.json"), ..ran };
    full.expect(14, "no-space");
    assert_eq!(full.json()["cause"], "too-little-room", "{}", full.stdout);
    let disk = folder.path().join("disk").display().to_string();
    assert!(full.stdout.contains(&disk) && full.stdout.contains("MiB free"), "{}", full.stdout);
}

/// Whoever holds an old signed bundle needs no key to bring its faults back.
#[test]
fn a_signed_bundle_that_is_older_than_the_one_that_is_installed_is_refused_unless_asked_for() {
    need(&["openssl"]);
    let folder = common::scratch();
    let cache = image::copy_of_staged(SUITE, folder.path());
    let key = |name: &str| folder.path().join(name).display().to_string();
    let openssl = |arguments: &[&str]| {
        assert!(Command::new("openssl").args(arguments).output().unwrap().status.success());
    };
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key("key.pem")]);
    openssl(&["pkey", "-in", &key("key.pem"), "-pubout", "-out", &key("key.pub")]);
    let listed = program::run(&["cache", "list", "--json", "--cache", cache.to_str().unwrap()]).json();
    let signed =
        program::run(&["cache", "sign", "--key", &key("key.pem"), "--cache", cache.to_str().unwrap()]);
    assert_eq!(signed.code, 0, "{signed:?}");
    let root = debian_root(SUITE);
    let bake = |more: &[&str]| {
        let mut arguments = image::bake_args(&root, &cache);
        arguments.extend(["--set".to_owned(), format!("public_key={}", key("key.pub"))]);
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        program::run(&arguments)
    };
    bake(&[]).expect(0, "installed");
    let mut receipt = image::receipt(&root);
    assert_eq!(receipt["bundle_made"], listed["bundles"][0]["created"]);
    receipt["bundle_made"] = "2999-01-01T00:00:00Z".into();
    root.write("var/lib/ofedctl/receipt.json", &receipt.to_string());

    let changed = ["--set", "memlock=false"];
    let refused = bake(&changed);
    refused.expect(14, "untrusted");
    assert_eq!(refused.json()["cause"], "older-bundle", "{}", refused.stdout);
    bake(&[&changed[..], &["--allow-older"]].concat()).expect(0, "installed");

    // A removal is no way around it.
    let mut receipt = image::receipt(&root);
    receipt["bundle_made"] = "2999-01-01T00:00:00Z".into();
    root.write("var/lib/ofedctl/receipt.json", &receipt.to_string());
    image::ask("uninstall", &root).expect(0, "uninstalled");
    image::ask("generalize", &root).expect(0, "generalized");
    let refused = bake(&[]);
    refused.expect(14, "untrusted");
    assert_eq!(refused.json()["cause"], "older-bundle", "{}", refused.stdout);
    bake(&["--allow-older"]).expect(0, "installed");
}
