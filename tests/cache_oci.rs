//! The cache as other OCI tools see it: the real skopeo inspects, copies and archives our bundles.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::need::need;
use ofedctl::cache::{APT_INDEX_TYPE, Blob, Bundle, BundleFile, Cache, DEB_TYPE};
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use std::path::Path;
use std::time::{Duration, SystemTime};

const TAG: &str = "inbox-debian12-x86_64";

struct Lab {
    dir: tempfile::TempDir,
    host: Host,
    cache: Cache,
    bundle: Bundle,
}

fn lab() -> Lab {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::open(dir.path(), Events::silent(), Cancel::never()).unwrap();
    let cache = Cache::open_or_create(&dir.path().join("cache")).unwrap();
    let mut writer = cache.writer(&host, Duration::ZERO).unwrap();
    let mut files = Vec::new();
    for (title, media_type, bytes) in [
        ("Packages", APT_INDEX_TYPE, b"Package: a\nFilename: ./a_1_amd64.deb\n".as_slice()),
        ("a_1_amd64.deb", DEB_TYPE, &vec![7; 3 << 20]),
        ("b_1%3a2_amd64.deb", DEB_TYPE, b"another"),
    ] {
        let Blob { digest, size } = writer.put(bytes).unwrap();
        files.push(BundleFile { title: title.into(), media_type: media_type.into(), digest, size });
    }
    let bundle = writer.publish(TAG, &common::bundle_config(), SystemTime::UNIX_EPOCH, files).unwrap();
    drop(writer);
    Lab { dir, host, cache, bundle }
}

fn skopeo(args: &[&str]) -> String {
    need(&["skopeo"]);
    let all = ["--insecure-policy"].iter().chain(args);
    duct::cmd("skopeo", all).read().unwrap_or_else(|error| panic!("skopeo {args:?}: {error}"))
}

fn oci(dir: &Path) -> String {
    format!("oci:{}:{TAG}", dir.display())
}

#[test]
fn skopeo_inspects_a_bundle_and_shows_its_labels() {
    let lab = lab();
    let inspected: serde_json::Value =
        serde_json::from_str(&skopeo(&["inspect", &oci(lab.cache.dir())])).unwrap();
    assert_eq!(inspected["Digest"], lab.bundle.digest.to_string());
    assert_eq!((&inspected["Architecture"], &inspected["Os"]), (&"amd64".into(), &"linux".into()));
    assert_eq!(inspected["Created"], "1970-01-01T00:00:00Z");
    let labels = &inspected["Labels"];
    assert_eq!(labels["dev.ofedctl.driver"], "inbox");
    assert_eq!(labels["dev.ofedctl.distro"], "debian12");
    assert_eq!(labels["dev.ofedctl.kernels"], "6.1.0-25-amd64");
    let layers: Vec<String> = lab.bundle.files.iter().map(|file| file.digest.to_string()).collect();
    assert_eq!(inspected["Layers"], serde_json::json!(layers));
}

#[test]
fn a_bundle_copied_by_skopeo_is_the_same_bundle() {
    let lab = lab();
    let copy = lab.dir.path().join("copy");
    skopeo(&["copy", &oci(lab.cache.dir()), &oci(&copy)]);
    let copied = Cache::open(&copy).unwrap();
    assert_eq!(copied.bundles().unwrap(), std::slice::from_ref(&lab.bundle));
    let report = copied.verify(&lab.host, None).unwrap();
    assert!(report.is_sound() && report.unreferenced.is_empty(), "{report:?}");
    let freed = copied.writer(&lab.host, Duration::ZERO).unwrap().gc(true).unwrap();
    assert_eq!(freed.files, 0);
}

#[test]
fn an_archive_written_by_skopeo_is_imported() {
    let lab = lab();
    let archive = lab.dir.path().join("skopeo.tar");
    let named = format!("oci-archive:{}:{TAG}", archive.display());
    skopeo(&["copy", &oci(lab.cache.dir()), &named]);
    let other = Cache::open_or_create(&lab.dir.path().join("other")).unwrap();
    let imported = other.writer(&lab.host, Duration::ZERO).unwrap().import(&archive).unwrap();
    assert_eq!(imported.bundles, std::slice::from_ref(&lab.bundle));
    assert_eq!(imported.new_blobs, 5);
    assert!(other.verify(&lab.host, None).unwrap().is_sound());
}

#[test]
fn an_archive_written_by_export_is_read_by_skopeo() {
    let lab = lab();
    let archive = lab.dir.path().join("ours.tar");
    lab.cache.export(&lab.host, &[TAG], &archive).unwrap();
    let named = format!("oci-archive:{}:{TAG}", archive.display());
    let inspected: serde_json::Value = serde_json::from_str(&skopeo(&["inspect", &named])).unwrap();
    assert_eq!(inspected["Digest"], lab.bundle.digest.to_string());
    let copy = lab.dir.path().join("copy");
    skopeo(&["copy", &named, &oci(&copy)]);
    assert_eq!(Cache::open(&copy).unwrap().bundle(TAG).unwrap(), Some(lab.bundle));
}

#[test]
fn what_skopeo_writes_into_the_cache_itself_is_kept_by_gc() {
    let lab = lab();
    let other = format!("oci:{}:other", lab.cache.dir().display());
    skopeo(&["copy", &oci(lab.cache.dir()), &other]);
    let mut writer = lab.cache.writer(&lab.host, Duration::ZERO).unwrap();
    writer.remove(&[TAG]).unwrap();
    assert_eq!(writer.gc(true).unwrap().files, 0);
    let mut bundle = lab.bundle;
    bundle.tag = "other".into();
    assert_eq!(lab.cache.bundles().unwrap(), [bundle]);
    skopeo(&["inspect", &other]);
}
