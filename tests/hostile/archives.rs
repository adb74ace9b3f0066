//! A vendor's archive: whatever is in it, nothing outside the private folder changes, memory stays small, and the reason
//! is one of the archive's.

use crate::tar::{Kind, file, gzip, header, link, member, pax, tgz};
use crate::{Outside, assert_told, places};
use ofedctl::host::cancel::Cancel;
use ofedctl::host::unpack::{Unpacked, unpack};
use ofedctl::outcome::Reason;
use std::os::unix::fs::PermissionsExt;

/// Unpacks, and looks at what must not change.
#[track_caller]
fn unpacked(what: &str, archive: &[u8]) -> (Outside, anyhow::Result<Unpacked>) {
    let outside = Outside::new();
    let path = outside.folder.path().join("archive.tgz");
    std::fs::write(&path, archive).unwrap();
    let unpacked = unpack(&Cancel::never(), &path, &outside.private());
    outside.assert_untouched(what);
    (outside, unpacked)
}

#[track_caller]
fn refused(what: &str, members: &[Vec<u8>]) {
    let (_outside, unpacked) = unpacked(what, &tgz(members));
    let error = unpacked.expect_err(what);
    assert_eq!(assert_told(what, &error), Reason::DigestMismatch, "{what}: {error:#}");
}

#[test]
fn names_that_leave_are_refused_in_every_form() {
    for name in ["../out", "/etc/passwd", "a/../../out", "./../out", "..", "a/..", "//etc/passwd"] {
        refused(name, &[file(name)]);
        refused(name, &[member(Kind::Directory, name.as_bytes(), b"")]);
        refused(name, &[pax("path", name.as_bytes()), file("harmless")]);
        let long = member(Kind::GNULongName, b"././@LongLink", &[name.as_bytes(), b"\0"].concat());
        refused(name, &[long, file("harmless")]);
    }
}

/// A link: its kind, its name and where it leads.
type Made = (Kind, &'static str, &'static str);

#[test]
fn links_and_chains_of_them_that_leave_are_refused() {
    use Kind::{Link, Symlink};
    let table: &[(&str, &[Made])] = &[
        ("absolute", &[(Symlink, "a", "/etc/passwd")]),
        ("climbing", &[(Symlink, "a", "../out")]),
        ("a hard link", &[(Link, "a", "../out")]),
        ("an absolute hard link", &[(Link, "a", "/etc/passwd")]),
        ("by way of another", &[(Symlink, "d/e", ".."), (Symlink, "d/f", "e/../../etc")]),
        ("by way of a later one", &[(Symlink, "d/f", "e/../../etc"), (Symlink, "d/e", "..")]),
        ("a hard link to a link", &[(Symlink, "d/e", "../x"), (Link, "m", "d/e")]),
        ("two that lead to each other", &[(Symlink, "a", "b"), (Symlink, "b", "a")]),
        ("a hard link to nothing", &[(Link, "a", "b")]),
    ];
    for (what, links) in table {
        let members: Vec<_> = links.iter().map(|(kind, name, to)| link(*kind, name, to)).collect();
        refused(what, &members);
    }
    // A chain of links, each through the one before, longer than any system follows.
    let chain: Vec<_> = (0..60).map(|n| link(Symlink, &format!("l{}", n + 1), &format!("l{n}"))).collect();
    refused("a long chain", &[vec![file("l0")], chain].concat());
}

#[test]
fn nothing_is_written_through_a_link_that_the_archive_brought() {
    for (what, members) in [
        ("a file below a link", vec![link(Kind::Symlink, "a", "/etc"), file("a/passwd")]),
        ("a file in the place of a link", vec![link(Kind::Symlink, "a", "../out"), file("a")]),
        ("a folder in the place of a link", vec![link(Kind::Symlink, "a", ".."), file("a/out")]),
    ] {
        refused(what, &members);
    }
}

#[test]
fn devices_pipes_and_sparse_files_are_refused() {
    for kind in [Kind::Char, Kind::Block, Kind::Fifo, Kind::GNUSparse, Kind::new(b'V'), Kind::new(b'M')] {
        refused(&format!("{kind:?}"), &[header(kind, b"x", b"", 0, 0o666)]);
    }
    for record in ["GNU.sparse.major", "GNU.sparse.size", "GNU.sparse.realsize", "GNU.sparse.name"] {
        refused(record, &[pax(record, b"1099511627776"), file("a")]);
    }
}

#[test]
fn set_id_bits_do_not_come_out_and_folders_can_be_written_to() {
    let members = [
        header(Kind::Directory, b"closed", b"", 0, 0o000),
        header(Kind::Regular, b"closed/root", b"", 0, 0o6755),
        header(Kind::Regular, b"sticky", b"", 0, 0o1777),
    ];
    let (outside, unpacked) = unpacked("set-id bits", &tgz(&members));
    assert_eq!(unpacked.unwrap().members, 3);
    for (name, mode) in [("closed/root", 0o755), ("sticky", 0o755)] {
        let metadata = outside.private().join(name).metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn a_name_that_stands_twice_is_refused_and_one_that_is_no_utf_8_is_taken() {
    refused("twice", &[file("a"), file("a")]);
    refused("twice, once as a link", &[file("a"), file("b"), link(Kind::Link, "b", "a")]);
    refused("a file and then a folder", &[file("a"), file("a/b")]);
    refused("a folder and then a file", &[file("a/b"), file("a")]);
    let (outside, unpacked) = unpacked("no UTF-8", &tgz(&[member(Kind::Regular, b"\xff\xfe\x1b[2J", b"x")]));
    unpacked.unwrap();
    assert_eq!(std::fs::read_dir(outside.private()).unwrap().count(), 1);
}

#[test]
fn what_extended_headers_override_is_checked_and_what_they_lie_about_is_refused() {
    refused("another size", &[pax("size", b"99999999999"), file("a")]);
    refused("a linked path", &[pax("linkpath", b"../out"), link(Kind::Symlink, "a", "b")]);
    refused("no records", &[member(Kind::XHeader, b"pax", b"this is no record"), file("a")]);
    refused("a record of the wrong length", &[member(Kind::XHeader, b"pax", b"99 path=a\n"), file("a")]);
}

/// A small archive with all that is allowed in one.
fn whole() -> Vec<u8> {
    let long = format!("top/{}", "n".repeat(120));
    let content: Vec<u8> = (0..20_000_u32).map(|n| (n * n % 251) as u8).collect();
    let members = [
        member(Kind::Directory, b"top/", b""),
        member(Kind::Regular, b"top/a", &content),
        link(Kind::Symlink, "top/b", "a"),
        link(Kind::Link, "top/c", "top/a"),
        member(Kind::GNULongName, b"././@LongLink", &[long.as_bytes(), b"\0"].concat()),
        file("short"),
        pax("path", b"top/pax"),
        file("short"),
    ];
    [members.concat(), vec![0; 1024]].concat()
}

#[test]
fn an_archive_cut_anywhere_or_with_a_flipped_bit_harms_nothing() {
    let whole = whole();
    for end in (0..whole.len()).step_by(512) {
        let what = format!("cut after {end}");
        // What is left may be an archive of its own.
        if let (_, Err(error)) = unpacked(&what, &gzip(&whole[..end])) {
            let reason = assert_told(&what, &error);
            assert!(matches!(reason, Reason::DigestMismatch | Reason::WrongPackage), "{what}: {error:#}");
        }
    }
    // Most bits of the file's content change nothing else; those of the headers are what counts.
    let is_content = |bit: usize| (1024..20_992).contains(&(bit / 8)) && !bit.is_multiple_of(97);
    for bit in places(whole.len() * 8, 10_000).filter(|bit| !is_content(*bit)) {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let what = format!("bit {bit} flipped");
        if let (_, Err(error)) = unpacked(&what, &gzip(&flipped)) {
            assert_eq!(assert_told(&what, &error), Reason::DigestMismatch, "{what}: {error:#}");
        }
    }
}

#[test]
fn a_packed_file_cut_anywhere_or_with_a_flipped_bit_is_refused_or_has_another_digest() {
    let packed = gzip(&whole());
    let digest = crate::common::sha256(&packed);
    for bit in places(packed.len() * 8, 1000) {
        let mut flipped = packed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        for (what, bytes) in [("flipped", &flipped[..]), ("cut", &packed[..bit / 8])] {
            let what = format!("{what} at bit {bit}");
            match unpacked(&what, bytes).1 {
                Ok(unpacked) => assert_ne!(unpacked.sha256, digest, "{what}"),
                Err(error) => {
                    let reason = assert_told(&what, &error);
                    assert!(
                        matches!(reason, Reason::DigestMismatch | Reason::WrongPackage),
                        "{what}: {error:#}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_unpacking_that_is_asked_to_stop_stops_between_two_pieces() {
    let outside = Outside::new();
    let path = outside.folder.path().join("archive.tgz");
    let bytes = [header(Kind::Regular, b"large", b"", 64 << 20, 0o644), vec![0; 64 << 20]].concat();
    std::fs::write(&path, gzip(&bytes)).unwrap();
    let cancel = Cancel::never();
    let large = outside.private().join("large");
    let error = std::thread::scope(|scope| {
        let unpacking = scope.spawn(|| unpack(&cancel, &path, &outside.private()));
        crate::common::wait::until("the first piece is there", || {
            large.metadata().is_ok_and(|file| file.len() > 0)
        });
        cancel.now();
        unpacking.join().unwrap().unwrap_err()
    });
    assert_eq!(Reason::from_error(&error), Reason::Interrupted, "{error:#}");
    assert!(large.metadata().unwrap().len() < 64 << 20);
}
