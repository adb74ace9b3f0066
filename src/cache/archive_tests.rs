//! Tests of export and import together, and of archives that other programs wrote.

use super::testing::{Lab, flip_a_bit};
use super::{Cache, Digest, Imported};
use crate::outcome::Reason;
use anyhow::Result;
use tar::{EntryType, Header};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

fn files(cache: &Cache) -> Vec<(String, Vec<u8>)> {
    let blobs = cache.stored().unwrap().into_iter().map(|digest| cache.blob_path(&digest));
    let documents = ["index.json", "oci-layout"].map(|name| cache.dir().join(name));
    let paths = blobs.chain(documents);
    paths
        .map(|path| {
            let name = path.strip_prefix(cache.dir()).unwrap().display().to_string();
            (name, std::fs::read(path).unwrap())
        })
        .collect()
}

fn member(kind: EntryType, name: &str, size: u64, bytes: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    // Past the checks of the library, which would not write such names.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    let mut member = header.as_bytes().to_vec();
    member.extend(bytes);
    member.resize(member.len().next_multiple_of(512), 0);
    member
}

fn import(lab: &Lab, members: &[Vec<u8>]) -> Result<Imported> {
    let mut archive = members.concat();
    archive.extend([0; 1024]);
    lab.writer().import_stream(archive.as_slice(), archive.len() as u64)
}

#[test]
fn what_was_exported_is_imported_byte_by_byte() {
    let [from, to] = [Lab::new(), Lab::new()];
    let shared = vec![7; 3 << 20];
    from.publish("one", &[("a.deb", b"a"), ("shared.deb", &shared)]);
    from.publish("two", &[("b.deb", b""), ("shared.deb", &shared)]);
    let file = from.dir.path().join("all.oci");
    let exported = from.cache.export(&from.host, &[], &file).unwrap();
    assert_eq!((exported.bundles.len(), exported.blobs), (2, 7));
    assert_eq!(exported.bytes, std::fs::metadata(&file).unwrap().len());
    let imported = to.writer().import(&file).unwrap();
    assert_eq!((imported.bundles, imported.new_blobs), (exported.bundles, 7));
    assert_eq!(files(&from.cache), files(&to.cache));
    assert_eq!(to.writer().import(&file).unwrap().new_blobs, 0);
    assert_eq!(files(&from.cache), files(&to.cache));
}

#[test]
fn exporting_the_same_bundles_gives_the_same_bytes() {
    let lab = Lab::new();
    lab.publish("one", &[("a.deb", b"a")]);
    lab.publish("two", &[("b.deb", b"b")]);
    let [first, second] = ["first", "second"].map(|name| lab.dir.path().join(name));
    lab.cache.export(&lab.host, &["one", "two"], &first).unwrap();
    lab.cache.export(&lab.host, &["two", "one", "two"], &second).unwrap();
    assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
}

#[test]
fn only_the_bundles_asked_for_are_exported() {
    let [from, to] = [Lab::new(), Lab::new()];
    from.publish("one", &[("a.deb", b"a")]);
    from.publish("two", &[("b.deb", b"b")]);
    from.add_foreign("image", true);
    let file = from.dir.path().join("one.oci");
    from.cache.export(&from.host, &["one"], &file).unwrap();
    to.publish("mine", &[("c.deb", b"c")]);
    to.writer().import(&file).unwrap();
    let tags: Vec<_> = to.cache.bundles().unwrap().into_iter().map(|bundle| bundle.tag).collect();
    assert_eq!(tags, ["mine", "one"]);
    assert!(!to.cache.has(&Digest::of_bytes(b"b")));
    let error = from.cache.export(&from.host, &["image"], &file).unwrap_err();
    assert_eq!(Reason::from_error(&error), Reason::CacheMissing);
}

#[test]
fn a_damaged_blob_is_not_exported_and_the_old_file_stays() {
    let lab = Lab::new();
    lab.publish("one", &[("a.deb", b"aaaa")]);
    let file = lab.dir.path().join("one.oci");
    std::fs::write(&file, "old").unwrap();
    flip_a_bit(&lab.cache.blob_path(&Digest::of_bytes(b"aaaa")));
    let error = lab.cache.export(&lab.host, &["one"], &file).unwrap_err();
    assert_eq!(Reason::from_error(&error), Reason::DigestMismatch);
    assert_eq!(std::fs::read(&file).unwrap(), b"old");
    assert_eq!(lab.host.root.list("/"), ["cache", "one.oci"]);
}

#[test]
fn a_member_that_is_no_part_of_a_layout_is_refused() {
    let blob = format!("blobs/sha256/{}", Digest::of_bytes(b"x").hex());
    let plain = |name: &str| member(EntryType::Regular, name, 1, b"x");
    let hostile = [
        ("a climbing path", plain("../x")),
        ("a climbing path below blobs", plain("blobs/sha256/../../x")),
        ("an absolute path", plain("/etc/x")),
        ("a strange file", plain("manifest.json")),
        ("a blob with a short name", plain("blobs/sha256/abc")),
        ("a climbing folder", member(EntryType::Directory, "../x", 0, b"")),
        ("a symbolic link", member(EntryType::Symlink, &blob, 0, b"")),
        ("a hard link", member(EntryType::Link, &blob, 0, b"")),
        ("a device", member(EntryType::Block, &blob, 0, b"")),
        ("a pipe", member(EntryType::Fifo, &blob, 0, b"")),
        ("a sparse file", member(EntryType::GNUSparse, &blob, 1, b"x")),
        ("a long name", member(EntryType::GNULongName, "././@LongLink", 4, b"../x")),
        ("a renaming header", member(EntryType::XHeader, "x", 13, b"13 path=../x\n")),
        ("a resizing header", member(EntryType::XHeader, "x", 9, b"9 size=9\n")),
        ("a huge header", member(EntryType::XHeader, "x", 1 << 40, b"")),
        ("a huge index", member(EntryType::Regular, "index.json", 1 << 40, b"{}")),
    ];
    for (what, bytes) in hostile {
        let lab = Lab::new();
        let error = import(&lab, &[bytes]).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::CacheUnreadable, "{what}: {error:#}");
        assert!(lab.cache.stored().unwrap().is_empty(), "{what}");
        assert_eq!(lab.host.root.list("/"), ["cache"], "{what}");
        assert!(lab.host.root.list("/cache/blobs/sha256").is_empty(), "{what}");
    }
}

#[test]
fn a_blob_that_is_cut_short_or_not_its_digest_leaves_nothing() {
    let name = format!("blobs/sha256/{}", Digest::of_bytes(b"right").hex());
    let right = Digest::of_bytes(b"right");
    for (present, size, bytes) in
        [(false, 1 << 40, b"right".as_slice()), (false, 5, b"wrong"), (true, 5, b"wrong")]
    {
        let lab = Lab::new();
        if present {
            lab.writer().put(b"right").unwrap();
        }
        let error = import(&lab, &[member(EntryType::Regular, &name, size, bytes)]).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::DigestMismatch, "{error:#}");
        assert!(format!("{error:#}").contains(&right.hex()), "{error:#}");
        assert_eq!(lab.host.root.list("/cache/blobs/sha256").len(), usize::from(present));
    }
}

#[test]
fn an_archive_that_lacks_something_merges_nothing() {
    let from = Lab::new();
    from.publish("one", &[("a.deb", b"aaaa")]);
    let all = files(&from.cache);
    for lacking in &all {
        let to = Lab::new();
        let members = all.iter().filter(|file| file.0 != lacking.0);
        let members: Vec<_> = members
            .map(|(name, bytes)| member(EntryType::Regular, name, bytes.len() as u64, bytes))
            .collect();
        let error = import(&to, &members).unwrap_err();
        let reason = Reason::from_error(&error);
        assert!(matches!(reason, Reason::CacheUnreadable | Reason::CacheMissing), "{error:#}");
        assert!(to.cache.bundles().unwrap().is_empty());
    }
    let twice = [b"{}", b"{}"].map(|bytes| member(EntryType::Regular, "index.json", 2, bytes));
    assert!(import(&Lab::new(), &twice).unwrap_err().to_string().contains("stands twice"));
}

#[test]
fn folders_leading_dots_and_time_stamps_of_other_writers_are_fine() {
    let [from, to] = [Lab::new(), Lab::new()];
    from.publish("one", &[("a.deb", b"aaaa")]);
    let mut members = vec![
        member(EntryType::XGlobalHeader, "pax", 17, b"17 comment=hello\n"),
        member(EntryType::Directory, "./", 0, b""),
        member(EntryType::Directory, "./blobs/", 0, b""),
        member(EntryType::XHeader, "x", 14, b"14 mtime=1.25\n"),
    ];
    for (name, bytes) in files(&from.cache) {
        members.push(member(EntryType::Regular, &format!("./{name}"), bytes.len() as u64, &bytes));
    }
    import(&to, &members).unwrap();
    assert_eq!(files(&from.cache), files(&to.cache));
}

#[test]
fn an_archive_without_a_bundle_is_refused() {
    let members = [("oci-layout", LAYOUT), ("index.json", br#"{"schemaVersion":2,"manifests":[]}"#)];
    let members = members.map(|(name, bytes)| member(EntryType::Regular, name, bytes.len() as u64, bytes));
    let error = import(&Lab::new(), &members).unwrap_err();
    assert_eq!(Reason::from_error(&error), Reason::CacheMissing);
    let error = import(&Lab::new(), &[b"not a tar at all".repeat(64)]).unwrap_err();
    assert_eq!(Reason::from_error(&error), Reason::CacheUnreadable);
}
