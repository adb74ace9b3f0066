//! A cache, or an archive of one, whose documents lie: it is refused by every command with a reason of its own, and
//! nothing outside the cache changes.

use crate::common::program::{self, Ran};
use crate::layouts::{archive, imported, lay_out, lying, parsed, put, sound};
use crate::tar::{Kind, member, pax};
use crate::{Outside, places};
use ofedctl::outcome::Reason;
use serde_json::{Value, json};

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
        lay_out(&lying(lie), &outside.private());
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
fn an_archive_of_a_cache_with_a_member_that_is_renamed_is_refused() {
    for (what, first) in [
        ("renamed", pax("path", b"../../out")),
        ("resized", pax("size", b"1")),
        ("sparse", pax("GNU.sparse.major", b"1")),
        ("linked", pax("linkpath", b"/etc/passwd")),
        ("no record", member(Kind::XHeader, b"pax", b"nothing")),
        ("a folder with content", member(Kind::Directory, b"blobs/", b"content")),
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
