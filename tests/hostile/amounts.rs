//! Large amounts: members, entries and bytes that take little room where they are described. What a run costs is counted
//! for its own process, and must be in proportion to what it was given.

use crate::common::cost::{Cost, counted};
use crate::common::program::Ran;
use crate::is_torture;
use crate::layouts::{archive, lay_out, parsed, put, sound};
use crate::stage::Scene;
use crate::tar::{Kind, gzip, header, member};
use ofedctl::cache::Digest;
use serde_json::json;
use std::io::Write;

/// What a run may take without any input, in MiB: the program itself, its threads and their buffers.
const OWN: u64 = 80;

#[track_caller]
fn assert_refused(what: &str, ran: &Ran, reason: &str, says: &str) {
    assert_eq!(ran.reason(), reason, "{what}: {ran:?}");
    assert!(ran.json()["message"].as_str().unwrap().contains(says), "{what}: {ran:?}");
}

#[track_caller]
fn assert_cheap(what: &str, cost: &Cost, memory: u64, seconds: f64) {
    assert!(cost.memory < memory && cost.seconds < seconds, "{what}: {cost:?}");
}

#[test]
fn bombs_cost_no_memory() {
    for (what, kind, size) in [
        ("a file larger than any driver", Kind::Regular, 13 << 30),
        ("a file of eight exabytes", Kind::Regular, 1 << 62),
        ("a name of a gigabyte", Kind::GNULongName, 1 << 30),
        ("an extended header of two gigabytes", Kind::XHeader, 2 << 30),
        // Cut short within its content, which is written until then.
        ("a file of half a gigabyte", Kind::Regular, 512 << 20),
    ] {
        let scene = Scene::new();
        // Zeros, which pack into a thousandth; less of them than the header says.
        let zeros = gzip(&vec![0; 8 << 20]);
        scene.write(|file| {
            file.write_all(&gzip(&header(kind, b"bomb", b"", size, 0o644))).unwrap();
            (0..50).for_each(|_| file.write_all(&zeros).unwrap());
        });
        let (ran, cost) = counted(&scene.stage());
        assert_refused(what, &ran, "digest-mismatch", "cannot unpack");
        assert_cheap(what, &cost, OWN, 60.0);
    }
}

/// Folders of different names.
fn folders(from: u32, count: u32) -> Vec<u8> {
    let folder = |number: u32| header(Kind::Directory, number.to_string().as_bytes(), b"", 0, 0o755);
    (from..from + count).flat_map(folder).collect()
}

#[test]
fn a_vendors_archive_of_a_million_members_is_refused_and_costs_little() {
    let headers: fn(u32, u32) -> Vec<u8> =
        |_, count| member(Kind::XGlobalHeader, b"pax", b"").repeat(count as usize);
    let one: fn(u32, u32) -> Vec<u8> = |_, count| folders(0, 1).repeat(count as usize);
    let mut table = vec![("headers about nothing", headers), ("one folder", one)];
    // Fifty thousand of them are made and removed again, which takes a disk its time.
    table.extend(is_torture().then_some(("folders", folders as _)));
    for (what, members) in table {
        let scene = Scene::new();
        scene.write(|file| {
            let pieces = (0..1_000_000).step_by(1000).map(|from| gzip(&members(from, 1000)));
            pieces.for_each(|piece| file.write_all(&piece).unwrap());
        });
        let (ran, cost) = counted(&scene.stage());
        assert_refused(what, &ran, "digest-mismatch", "larger than any driver");
        assert_cheap(what, &cost, OWN, 60.0);
    }
}

/// Blobs of their own, each with its digest as its name.
fn blobs(from: u32, count: u32) -> Vec<u8> {
    let blob = |number: u32| {
        let content = number.to_le_bytes();
        let name = format!("blobs/sha256/{}", Digest::of_bytes(&content).hex());
        member(Kind::Regular, name.as_bytes(), &content)
    };
    (from..from + count).flat_map(blob).collect()
}

#[test]
fn an_archive_of_a_cache_with_a_million_members_is_refused_and_costs_little() {
    let folders: fn(u32, u32) -> Vec<u8> =
        |_, count| header(Kind::Directory, b"blobs/", b"", 0, 0o755).repeat(count as usize);
    let headers: fn(u32, u32) -> Vec<u8> =
        |_, count| member(Kind::XGlobalHeader, b"pax", b"").repeat(count as usize);
    let one: fn(u32, u32) -> Vec<u8> = |_, count| blobs(0, 1).repeat(count as usize);
    let mut table = vec![
        ("folders", folders, "more members than any cache"),
        ("headers", headers, "more members than any cache"),
        ("one blob", one, "stands twice"),
    ];
    table.extend(is_torture().then_some(("blobs", blobs as _, "more members than any cache")));
    for (what, members, says) in table {
        let scene = Scene::new();
        scene.write(|file| {
            let pieces = (0..1_000_000).step_by(1000).map(|from| members(from, 1000));
            pieces.for_each(|piece| file.write_all(&piece).unwrap());
        });
        let (ran, cost) = counted(&scene.import());
        assert_refused(what, &ran, "cache-unreadable", says);
        assert_cheap(what, &cost, OWN, 60.0);
    }
}

/// An entry of an index that names a manifest.
fn entry(digest: &str, size: usize, tag: usize) -> serde_json::Value {
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let tag = json!({"org.opencontainers.image.ref.name": tag.to_string()});
    json!({"mediaType": media_type, "digest": digest, "size": size, "annotations": tag})
}

/// Writes an index of a million entries, 130 MB, into any place.
fn write_a_million(to: &mut impl Write) -> usize {
    let entry = entry(&Digest::of_bytes(b"").to_string(), 0, 0).to_string();
    let (head, tail) = (r#"{"schemaVersion":2,"manifests":["#, "]}");
    let thousand = format!("{entry},").repeat(1000);
    to.write_all(head.as_bytes()).unwrap();
    (0..999).for_each(|_| to.write_all(thousand.as_bytes()).unwrap());
    to.write_all(thousand.trim_end_matches(',').as_bytes()).unwrap();
    to.write_all(tail.as_bytes()).unwrap();
    head.len() + thousand.len() * 1000 - 1 + tail.len()
}

const COMMANDS: [&[&str]; 4] = [&["list"], &["verify"], &["export", "--out", "/dev/null"], &["gc"]];

#[test]
fn an_index_of_a_million_entries_is_not_even_read() {
    let scene = Scene::new();
    let size = write_a_million(&mut std::io::sink());
    scene.write(|file| {
        file.write_all(&header(Kind::Regular, b"index.json", b"", size as u64, 0o644)).unwrap();
        write_a_million(file);
        file.write_all(&vec![0; 1024 + size.next_multiple_of(512) - size]).unwrap();
    });
    let (ran, cost) = counted(&scene.import());
    assert_refused("import", &ran, "cache-unreadable", "is too large");
    assert_cheap("import", &cost, OWN, 10.0);
    lay_out(&sound(), &scene.cache());
    write_a_million(&mut std::fs::File::create(scene.cache().join("index.json")).unwrap());
    for words in COMMANDS {
        let (ran, cost) = counted(&scene.of_cache(words));
        assert_refused(words[0], &ran, "cache-unreadable", "is too large");
        assert_cheap(words[0], &cost, OWN, 10.0);
        assert!(cost.read < 10, "{words:?}: {cost:?}");
    }
}

/// The largest index that is read, whose entries name one document, which is as large as any may be.
#[test]
fn an_index_that_names_one_large_document_as_often_as_it_can_costs_what_it_holds() {
    let blank = " ".repeat(4 << 20);
    let mut foreign = json!({"schemaVersion": 2, "config": {}, "layers": []}).to_string();
    foreign.push_str(&blank[foreign.len()..]);
    let config = json!({"digest": Digest::of_bytes(b"").to_string(), "size": 0, "mediaType": "a/b"});
    let mut strange = json!({
        "schemaVersion": 2, "artifactType": "application/vnd.ofedctl.bundle.v1", "config": config, "layers": []
    });
    let mut layout = sound();
    let (digest, size) = put(&mut layout, blank.clone().into_bytes());
    (strange["config"]["digest"], strange["config"]["size"]) = (digest.into(), size.into());
    for (what, manifest) in [("no bundle", foreign), ("a bundle with a config", strange.to_string())] {
        let mut layout = layout.clone();
        let (digest, size) = put(&mut layout, manifest.into_bytes());
        let mut index = parsed(&layout["index.json"]);
        let room = (4 << 20) - index.to_string().len();
        let times = room / (entry(&digest, size, 99999).to_string().len() + 1);
        let entries = index["manifests"].as_array_mut().unwrap();
        entries.extend((0..times).map(|tag| entry(&digest, size, tag)));
        layout.insert("index.json".to_owned(), index.to_string().into_bytes());
        let scene = Scene::new();
        scene.write(|file| file.write_all(&archive(&layout)).unwrap());
        let (ran, cost) = counted(&scene.import());
        assert_eq!(ran.reason(), "cache-unreadable", "{what}: {ran:?}");
        assert_cheap(what, &cost, OWN + 100, 60.0);
        assert!(cost.read < 200, "{what}: {cost:?}");
        let _ = std::fs::remove_dir_all(scene.cache());
        lay_out(&layout, &scene.cache());
        for words in COMMANDS {
            let what = format!("{what}, {words:?}");
            let (ran, cost) = counted(&scene.of_cache(words));
            assert_ne!(ran.code, 2, "{what}: {ran:?}");
            assert_cheap(&what, &cost, OWN + 150, 60.0);
            assert!(cost.read < 400, "{what}: {cost:?}");
        }
    }
}
