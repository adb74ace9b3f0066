//! A cache, or an archive of one, whose documents lie: it is refused by every command with a reason of its own, and
//! nothing outside the cache changes.

use crate::common::program::{self, Ran};
use crate::tar::{Kind, header, member, pax};
use crate::{Outside, assert_told, places};
use ofedctl::cache::{BundleFile, Cache, DEB_TYPE, Digest};
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use ofedctl::outcome::Reason;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The files of a layout, by name.
type Layout = BTreeMap<String, Vec<u8>>;

fn host(folder: &Path) -> Host {
    Host::open(folder, Events::silent(), Cancel::never()).unwrap()
}

/// A sound layout with one bundle of two files.
fn sound() -> Layout {
    let folder = crate::common::scratch();
    let host = host(folder.path());
    let cache = Cache::open_or_create(&folder.path().join("cache")).unwrap();
    let mut writer = cache.writer(&host, Duration::ZERO).unwrap();
    let files = [("Packages", b"Package: a\n".as_slice()), ("a_1_all.deb", b"a package")];
    let files = files.map(|(title, bytes)| {
        let blob = writer.put(bytes).unwrap();
        BundleFile { title: title.into(), media_type: DEB_TYPE.into(), digest: blob.digest, size: blob.size }
    });
    writer.publish("it", &crate::common::bundle_config(), SystemTime::UNIX_EPOCH, files.into()).unwrap();
    let mut layout = Layout::new();
    for name in ["oci-layout", "index.json"] {
        layout.insert(name.to_owned(), std::fs::read(cache.dir().join(name)).unwrap());
    }
    for blob in std::fs::read_dir(cache.blobs_dir()).unwrap() {
        let path = blob.unwrap().path();
        let name = format!("blobs/sha256/{}", path.file_name().unwrap().to_str().unwrap());
        layout.insert(name, std::fs::read(path).unwrap());
    }
    layout
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Adds a blob, and returns its digest and size.
fn put(layout: &mut Layout, bytes: Vec<u8>) -> (String, usize) {
    let (digest, size) = (Digest::of_bytes(&bytes), bytes.len());
    layout.insert(format!("blobs/sha256/{}", digest.hex()), bytes);
    (digest.to_string(), size)
}

fn blob<'l>(layout: &'l Layout, descriptor: &Value) -> &'l [u8] {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    &layout[&format!("blobs/sha256/{digest}")]
}

/// A layout in which index, manifest and config were changed, each with its true digest unless the change says
/// otherwise.
fn lying(change: impl Fn(&mut Value, &mut Value, &mut Value)) -> Layout {
    let mut layout = sound();
    let mut index = parsed(&layout["index.json"]);
    let mut manifest = parsed(blob(&layout, &index["manifests"][0]));
    let mut config = parsed(blob(&layout, &manifest["config"]));
    // Once for the manifest and the config, and once more for the index, which names the changed ones.
    let before = (manifest.clone(), config.clone());
    change(&mut index, &mut manifest, &mut config);
    if config != before.1 {
        let (digest, size) = put(&mut layout, config.to_string().into_bytes());
        manifest["config"]["digest"] = digest.into();
        manifest["config"]["size"] = size.into();
    }
    if manifest != before.0 {
        let (digest, size) = put(&mut layout, manifest.to_string().into_bytes());
        index["manifests"][0]["digest"] = digest.into();
        index["manifests"][0]["size"] = size.into();
        let mut again = index.clone();
        change(&mut again, &mut manifest.clone(), &mut config.clone());
        index = again;
    }
    layout.insert("index.json".to_owned(), index.to_string().into_bytes());
    layout
}

fn archive(layout: &Layout) -> Vec<u8> {
    let members = layout.iter().map(|(name, bytes)| {
        let mut member = header(Kind::Regular, name.as_bytes(), b"", bytes.len() as u64, 0o644);
        member.extend(bytes);
        member.resize(member.len().next_multiple_of(512), 0);
        member
    });
    [members.collect::<Vec<_>>().concat(), vec![0; 1024]].concat()
}

/// Imports into an empty cache, and looks at what must not change.
#[track_caller]
fn imported(what: &str, archive: &[u8]) -> anyhow::Result<usize> {
    let outside = Outside::new();
    let file = outside.folder.path().join("archive.tar");
    std::fs::write(&file, archive).unwrap();
    let host = host(outside.folder.path());
    let cache = Cache::open_or_create(&outside.private()).unwrap();
    let imported = cache.writer(&host, Duration::ZERO).unwrap().import(&file);
    outside.assert_untouched(what);
    if let Err(error) = &imported {
        assert_told(what, error);
        assert!(cache.bundles().unwrap().is_empty(), "{what}");
    }
    imported.map(|imported| imported.bundles.len())
}

/// What lies, and how it changes index, manifest and config.
type Lie = (&'static str, fn(&mut Value, &mut Value, &mut Value));

const LIES: &[Lie] = &[
    ("a manifest of another size", |index, _, _| index["manifests"][0]["size"] = 7.into()),
    ("a manifest of a negative size", |index, _, _| index["manifests"][0]["size"] = (-1).into()),
    ("a manifest of eight exabytes", |index, _, _| index["manifests"][0]["size"] = u64::MAX.into()),
    ("a manifest that is not there", |index, _, _| {
        index["manifests"][0]["digest"] = format!("sha256:{}", "0".repeat(64)).into();
    }),
    ("a digest that climbs", |index, _, _| {
        index["manifests"][0]["digest"] = format!("sha256:../../../{}", "0".repeat(55)).into();
    }),
    ("a digest of no algorithm", |index, _, _| index["manifests"][0]["digest"] = "etc:passwd".into()),
    ("no digest", |index, _, _| drop(index["manifests"][0].as_object_mut().unwrap().remove("digest"))),
    ("a config that is called a manifest", |index, manifest, _| {
        index["manifests"][0]["digest"] = manifest["config"]["digest"].clone();
        index["manifests"][0]["size"] = manifest["config"]["size"].clone();
    }),
    ("a manifest that is called an index", |index, _, _| {
        index["manifests"][0]["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
    }),
    ("no manifests", |index, _, _| index["manifests"] = json!([])),
    ("manifests that are no list", |index, _, _| index["manifests"] = json!({"a": 1})),
    ("a layer of another size", |_, manifest, _| manifest["layers"][0]["size"] = 1_000_000.into()),
    ("a layer that is not there", |_, manifest, _| {
        manifest["layers"][0]["digest"] = format!("sha256:{}", "1".repeat(64)).into();
    }),
    ("a layer twice by one name", |_, manifest, _| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"].as_array_mut().unwrap().push(layer);
    }),
    ("a layer with a name that climbs", |_, manifest, _| {
        manifest["layers"][0]["annotations"]["org.opencontainers.image.title"] = "../../etc/passwd".into();
    }),
    ("a layer with an absolute name", |_, manifest, _| {
        manifest["layers"][0]["annotations"]["org.opencontainers.image.title"] = "/etc/passwd".into();
    }),
    ("a layer with a newline in its name", |_, manifest, _| {
        manifest["layers"][0]["annotations"]["org.opencontainers.image.title"] = "a\nb".into();
    }),
    ("a layer without a name", |_, manifest, _| {
        drop(manifest["layers"][0].as_object_mut().unwrap().remove("annotations"));
    }),
    ("a config that is a layer", |_, manifest, _| manifest["config"] = manifest["layers"][0].clone()),
    ("a config of a later form", |_, _, config| config["ofedctl"]["schema_version"] = 99.into()),
    ("a config for no distribution", |_, _, config| config["ofedctl"]["distro"] = "\u{1b}[2J".into()),
    ("a config with packages that are no list", |_, _, config| config["ofedctl"]["packages"] = json!({})),
    ("a config with a package that is an option", |_, _, config| {
        config["ofedctl"]["packages"] = json!(["-oDPkg::Pre-Invoke::=touch /tmp/a-shell-was-here"]);
    }),
    ("a config with a package to remove", |_, _, config| config["ofedctl"]["packages"] = json!(["dpkg-"])),
    ("a config with a kernel that is an option", |_, _, config| {
        config["ofedctl"]["kernels"] = json!(["--all"]);
    }),
    ("a config with an index that is not there", |_, _, config| {
        config["ofedctl"]["repository"]["index"] = "../Packages".into();
    }),
];

#[test]
fn a_sound_layout_is_taken_and_one_that_lies_is_refused() {
    assert_eq!(imported("sound", &archive(&sound())).unwrap(), 1);
    for (what, lie) in LIES {
        let layout = lying(lie);
        assert_ne!(layout, sound(), "{what} changes nothing");
        let error = imported(what, &archive(&layout)).expect_err(what);
        let reason = Reason::from_error(&error);
        let of_a_cache = [Reason::CacheUnreadable, Reason::CacheMissing, Reason::DigestMismatch];
        assert!(of_a_cache.contains(&reason), "{what}: {error:#}");
    }
}

#[test]
fn no_command_on_a_folder_that_lies_fails_as_if_it_were_at_fault_itself() {
    for (what, lie) in LIES {
        let outside = Outside::new();
        for (name, bytes) in lying(lie) {
            let path = outside.private().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let (cache, out) =
            (outside.private().display().to_string(), outside.folder.path().join("archive.out"));
        for words in [&["list"][..], &["verify"], &["export", "--out", out.to_str().unwrap()], &["gc"]] {
            let ran = program::run(&[&["cache"][..], words, &["--cache", &cache, "--json"]].concat());
            assert_answers(&format!("{what}, {words:?}"), &ran);
            outside.assert_untouched(what);
        }
    }
}

#[track_caller]
fn assert_answers(what: &str, ran: &Ran) {
    assert!([0, 1, 12, 14].contains(&ran.code), "{what}: {ran:?}");
    assert_ne!(ran.reason(), "internal", "{what}: {ran:?}");
    assert!(!ran.stderr.contains('\u{1b}') && !ran.stdout.contains('\u{1b}'), "{what}: {ran:?}");
}

#[test]
fn an_archive_of_a_cache_cut_anywhere_or_with_a_flipped_bit_is_refused_or_whole() {
    let whole = archive(&sound());
    for end in (0..whole.len() - 1024).step_by(512) {
        let what = format!("cut after {end}");
        assert!(imported(&what, &whole[..end]).is_err(), "{what}");
    }
    for bit in places(whole.len() * 8, 1000) {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let what = format!("bit {bit} flipped");
        // A bit of the padding, or of a time stamp whose sum is not checked, changes nothing.
        if let Ok(bundles) = imported(&what, &flipped) {
            assert_eq!(bundles, 1, "{what}");
        }
    }
}

#[test]
fn an_archive_of_a_cache_with_a_million_folders_or_a_member_that_is_renamed_is_no_trouble() {
    let folders = header(Kind::Directory, b"blobs/", b"", 0, 0o755).repeat(1_000_000);
    let error = imported("a million folders", &folders).unwrap_err();
    assert_eq!(Reason::from_error(&error), Reason::CacheUnreadable, "{error:#}");
    for (what, first) in [
        ("renamed", pax("path", b"../../out")),
        ("resized", pax("size", b"1")),
        ("sparse", pax("GNU.sparse.major", b"1")),
        ("linked", pax("linkpath", b"/etc/passwd")),
        ("no record", member(Kind::XHeader, b"pax", b"nothing")),
    ] {
        let error = imported(what, &[first, archive(&sound())].concat()).expect_err(what);
        assert_eq!(Reason::from_error(&error), Reason::CacheUnreadable, "{what}: {error:#}");
    }
}

/// Each document names the next forty times, in an archive as well as in a folder.
#[test]
fn indexes_that_nest_cost_what_they_hold() {
    for (levels, times) in [(4, 1000), (40, 40)] {
        let mut layout = sound();
        let mut index = parsed(&layout["index.json"]);
        for _ in 0..levels {
            let (digest, size) = put(&mut layout, index.to_string().into_bytes());
            let media_type = "application/vnd.oci.image.index.v1+json";
            let next = json!({"mediaType": media_type, "digest": digest, "size": size});
            index["manifests"] = vec![next; times].into();
        }
        layout.insert("index.json".to_owned(), index.to_string().into_bytes());
        let what = format!("{levels} levels of {times}");
        assert!(imported(&what, &archive(&layout)).is_err(), "{what}");
    }
}
