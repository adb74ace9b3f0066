//! Staging fills a cache that real tools read, downloads nothing twice, and survives being killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::deb::{Deb, Repository};
use common::image;
use common::need::need;
use common::program;
use common::root::debian_root;
use common::tree::Tree;
use serde_json::Value;
use std::process::Command;

#[test]
fn staging_twice_downloads_nothing_the_second_time() {
    let repository = Repository::of(&[Deb { name: "perftest", version: "99", ..Deb::default() }]);
    let root = debian_root("trixie");
    root.add_source(&repository.source_line());
    let cache = root.beside("cache");
    let before = Tree::of(root.path());
    image::stage(&root, &cache).expect(0, "staged");
    image::assert_untouched(&root, &before);
    let packages = || repository.web.requests().iter().filter(|path| path.contains("/perftest_")).count();
    assert_eq!(packages(), 1);
    let blobs = image::blobs(&cache);
    image::stage(&root, &cache).expect(0, "staged");
    assert_eq!(packages(), 1);
    assert_eq!(image::blobs(&cache), blobs);
}

#[test]
fn a_second_target_costs_only_the_blobs_that_differ() {
    let root = debian_root("bookworm");
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    let first = image::blobs(&cache);
    let path = |path: &std::path::Path| path.display().to_string();
    let other = [
        "stage",
        "--json",
        "--vm-size",
        "Standard_ND96asr_v4",
        "--root",
        &path(root.path()),
        "--cache",
        &path(&cache),
    ];
    program::run(&other).expect(0, "staged");
    let both = image::blobs(&cache);
    let grown: u64 =
        both.iter().filter(|(digest, _)| !first.contains_key(*digest)).map(|(_, size)| size).sum();
    assert!(grown < 200_000, "the same packages for another size cost {grown} bytes");

    let trixie = debian_root("trixie");
    image::stage(&trixie, &cache).expect(0, "staged");
    for root in [&root, &trixie] {
        image::bake(root, &cache).expect(0, "installed");
    }
}

#[test]
fn a_target_without_a_root_is_staged_from_its_sources_and_its_package_database() {
    let root = debian_root("bookworm");
    let path = |path: &std::path::Path| path.display().to_string();
    let (cache, database) = (root.beside("cache"), root.path().join("var/lib/dpkg/status"));
    let staged = |status_file: &[&str]| {
        let described =
            ["stage", "--json", "--distro", "debian12", "--sources", &path(root.path()), "--cache"];
        let cache = path(&cache);
        let arguments: Vec<&str> =
            described.into_iter().chain([cache.as_str()]).chain(status_file.iter().copied()).collect();
        program::run(&arguments).expect(0, "staged").json()["bundle"]["files"].as_array().unwrap().len()
    };
    let missing = staged(&["--status-file", &path(&database)]);
    let closure = staged(&[]);
    assert!(closure > missing + 20, "{missing} files for this root, {closure} for an empty one");
    image::bake(&root, &cache).expect(0, "installed");
}

/// Whether anyone may read this among the arguments of a process.
fn is_an_argument(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("cmdline"));
    let mut lines = processes.filter_map(|path| std::fs::read(path).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(text))
}

#[test]
fn the_proxy_of_the_settings_serves_all_of_staging_and_its_password_is_seen_nowhere() {
    let wanted =
        ["rdma-core", "ibverbs-providers", "ibverbs-utils", "rdmacm-utils", "infiniband-diags", "perftest"];
    let repository = Repository::of(&wanted.map(|name| Deb { name, version: "1", ..Deb::default() }));
    let root = debian_root("trixie");
    root.write("etc/apt/sources.list", "deb [trusted=yes] http://packages.example ./\n");
    let proxy = repository.web.address().replace("http://", "http://me:hushhush@");
    root.write("etc/ofedctl/config.yaml", &format!("proxy: {proxy}\nretries: 0\n"));
    let cache = root.beside("cache");
    let mut args = image::bake_args(&root, &cache);
    args[0] = "stage".to_owned();
    args.retain(|arg| arg != "--offline");
    let mut child = program::start(program::program(&args));
    while child.try_wait().unwrap().is_none() {
        assert!(!is_an_argument("hushhush"), "the password is among the arguments of a process");
    }
    let staged = program::Ran::from(child.wait_with_output().unwrap());
    staged.expect(0, "staged");
    let asked = repository.web.asked();
    let through = |part: &str| {
        let start = "http://packages.example/";
        let all = asked.iter().filter(|it| it.path.starts_with(start) && it.path.contains(part));
        all.filter(|it| it.header("proxy-authorization").is_some()).count()
    };
    assert_eq!((through("Packages"), through(".deb")), (1, wanted.len()), "{asked:?}");

    // A proxy that is not there is named, and no more than that.
    root.write("etc/ofedctl/config.yaml", "proxy: http://me:hushhush@127.0.0.1:9\nretries: 0\n");
    let refused = program::finish(program::program(&args));
    refused.expect(14, "download-failed");
    assert!(refused.stderr.contains("Could not connect to 127.0.0.1:9"), "{refused:?}");
    let logs = root.read("var/log/azure/ib-vmext-status");
    for said in [&staged.stdout, &staged.stderr, &refused.stdout, &refused.stderr, &logs] {
        assert!(!said.contains("hushhush"), "{said}");
    }
}

#[test]
fn a_killed_stage_leaves_a_cache_that_works() {
    let root = debian_root("trixie");
    let cache = root.beside("cache");
    let mut args = image::bake_args(&root, &cache);
    args[0] = "stage".to_owned();
    args.retain(|arg| arg != "--offline");
    program::kill_at("blob-stored#3", program::program(&args));
    // Several downloads are at work at once, so that more may be stored when the third is; but not all.
    let stored = image::blobs(&cache).len();
    assert!(stored >= 3, "{stored}");
    image::stage(&root, &cache).expect(0, "staged");
    assert!(image::blobs(&cache).len() > stored, "it was killed when all was there");
    let verified = program::run(&["cache", "verify", "--cache", cache.to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{verified:?}");
    image::bake(&root, &cache).expect(0, "installed");
}

#[test]
fn skopeo_reads_and_copies_the_cache() {
    need(&["skopeo"]);
    let cache = image::staged("trixie");
    let copy = common::scratch();
    let index: Value = serde_json::from_slice(&std::fs::read(cache.join("index.json")).unwrap()).unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), 1, "{index}");
    let name = manifests[0]["annotations"]["org.opencontainers.image.ref.name"].as_str().expect("a name");
    let here = format!("oci:{}:{name}", cache.display());
    let skopeo = |args: &[&str]| {
        let output = Command::new("skopeo").arg("--insecure-policy").args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let manifest: Value = serde_json::from_str(&skopeo(&["inspect", "--raw", &here])).unwrap();
    assert_eq!(manifest["artifactType"], "application/vnd.ofedctl.bundle.v1");
    let title = "org.opencontainers.image.title";
    assert!(
        manifest["layers"].as_array().unwrap().iter().all(|layer| layer["annotations"][title].is_string())
    );
    let there = copy.path().join("copy");
    skopeo(&["copy", "--quiet", &here, &format!("oci:{}:{name}", there.display())]);
    assert_eq!(image::blobs(&there), image::blobs(&cache));
}
