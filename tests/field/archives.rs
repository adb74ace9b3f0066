//! Archives and layouts that other programs read in a way that did harm.

use crate::common::bundles::cache_of;
use crate::common::cost::counted;
use crate::common::program::{Ran, program, run};
use ofedctl::host::cancel::Cancel;
use ofedctl::host::unpack::{Unpacked, unpack};
use ofedctl::outcome::Reason;
use std::io::Write;
use std::path::{Path, PathBuf};
use tar::EntryType as Kind;

/// A header with any name and size, and a content that need not have that size.
fn member(kind: Kind, name: &str, size: usize, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size as u64);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.name[..name.len()].copy_from_slice(name.as_bytes());
    gnu.linkname[..4].copy_from_slice(b"top\0");
    header.set_cksum();
    let mut member = [header.as_bytes().as_slice(), content].concat();
    member.resize(member.len().next_multiple_of(512), 0);
    member
}

fn file(name: &str) -> Vec<u8> {
    member(Kind::Regular, name, 4, b"here")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// Unpacks into a folder beside the archive. Returns the names that came out.
fn unpacked(archive: &[u8]) -> (anyhow::Result<Unpacked>, Vec<String>) {
    let folder = crate::common::scratch();
    let (archive_file, into) = (folder.path().join("a.tgz"), folder.path().join("into"));
    std::fs::write(&archive_file, archive).unwrap();
    std::fs::create_dir(&into).unwrap();
    let unpacked = unpack(&Cancel::never(), &archive_file, &into);
    let entries = std::fs::read_dir(&into).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "something came out beside the folder");
    (unpacked, names)
}

#[track_caller]
fn refused(archive: &[u8], says: &str) {
    let error = unpacked(archive).0.unwrap_err();
    assert_eq!(Reason::from_error(&error), Reason::DigestMismatch, "{error:#}");
    assert!(format!("{error:#}").contains(says), "{error:#}");
}

/// composefs/tar-rs 454: the size in an extended header was taken for that of the long name between it and its file, so
/// that members were swallowed or came up out of others.
#[test]
fn a_size_in_an_extended_header_is_of_the_file_and_of_no_header_between() {
    let sized = |size: &str| {
        let record = format!("13 size={size}\n");
        member(Kind::XHeader, "pax", record.len(), record.as_bytes())
    };
    let long = member(Kind::GNULongName, "././@LongLink", 9, b"top/name\0");
    let end = vec![0; 1024];
    refused(
        &gzip(&[sized("2048"), long.clone(), file("a"), file("b"), end.clone()].concat()),
        "has two sizes",
    );
    refused(&gzip(&[sized("what"), long.clone(), file("a"), end.clone()].concat()), "cannot be read");
    let (unpacked, names) = unpacked(&gzip(&[sized("0004"), long, file("a"), file("b"), end].concat()));
    assert_eq!((unpacked.unwrap().members, names), (4, vec!["b".to_owned(), "top".to_owned()]));
}

/// JoviDeCroock/drydock 659: members behind a single block of zeros, which some readers take for the end. systemd/systemd
/// 16930: two archives in one file, of which the second was ignored.
#[test]
fn an_archive_that_goes_on_behind_its_end_is_refused() {
    for zeros in [512, 1024, 10240] {
        let archive = [file("a"), vec![0; zeros], file("hidden"), vec![0; 1024]].concat();
        refused(&gzip(&archive), "goes on behind its end");
    }
    let (unpacked, names) = unpacked(&gzip(&[file("a"), vec![0; 9 * 1024]].concat()));
    assert_eq!((unpacked.unwrap().members, names), (1, vec!["a".to_owned()]));
}

/// libarchive/libarchive 145 and 101arrowz/fflate 287: of a file of several gzip members, only the first was read.
#[test]
fn an_archive_in_several_gzip_members_is_read_whole() {
    let members = [gzip(&file("a")), gzip(&file("b")), gzip(&[0; 1024])].concat();
    let (unpacked, names) = unpacked(&members);
    let unpacked = unpacked.unwrap();
    assert_eq!((unpacked.members, names), (2, vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(unpacked.sha256, crate::common::sha256(&members));
}

/// golang/vulndb 1351: a link with the name `.` took the place of the folder into which umoci unpacked.
#[test]
fn nothing_takes_the_place_of_the_folder_itself() {
    for kind in [Kind::Symlink, Kind::Link, Kind::Regular] {
        for name in [".", "./", "./.", ""] {
            let (unpacked, names) = unpacked(&gzip(
                &[file("top"), member(kind, name, 0, b""), file("below"), vec![0; 1024]].concat(),
            ));
            let error = unpacked.unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::DigestMismatch, "{kind:?} {name:?}: {error:#}");
            assert_eq!(names, ["top"], "{kind:?} {name:?}");
        }
    }
}

/// mafintosh/tar-stream 69: a folder with a size. Some readers skip that many bytes, and others find members there.
#[test]
fn a_folder_with_content_is_refused() {
    let hidden = file("hidden");
    refused(
        &gzip(&[member(Kind::Directory, "d", hidden.len(), &hidden), vec![0; 1024]].concat()),
        "is no file and has content",
    );
}

/// anchore/stereoscope 647: a name that begins as the marks of deleted files in layers do took whole folders away.
#[test]
fn marks_of_deleted_files_are_files_as_any_other() {
    let names = [".wh.", ".wh..wh..opq", ".wh.a", "a"];
    let members: Vec<u8> = names.iter().flat_map(|name| file(name)).chain([0; 1024]).collect();
    let (unpacked, mut found) = unpacked(&gzip(&members));
    unpacked.unwrap();
    found.sort_unstable();
    let mut names = names.map(str::to_owned);
    names.sort_unstable();
    assert_eq!(found, names);
}

fn cache(words: &[&str], cache: &Path) -> Ran {
    run(&[&["cache", "--json", "--cache", cache.to_str().unwrap()][..], words].concat())
}

/// google/go-containerregistry 2306: a blob that was a link to a file of the machine was pushed to a registry.
#[test]
fn a_blob_that_is_a_link_is_never_followed() {
    let folder = crate::common::scratch();
    let secret = folder.path().join("secret");
    let path = cache_of(folder.path(), &[("a_1_all.deb", 1000)]);
    let of_size = |size: u64| {
        let blobs = std::fs::read_dir(path.join("blobs/sha256")).unwrap().map(|it| it.unwrap().path());
        blobs.into_iter().find(|blob| blob.metadata().unwrap().len() == size).unwrap()
    };
    let blob: PathBuf = of_size(1000);
    // The very content, so that no digest tells it.
    std::fs::rename(&blob, &secret).unwrap();
    std::os::unix::fs::symlink(&secret, &blob).unwrap();
    let out = folder.path().join("out");
    for words in [&["verify"][..], &["export", "--out", out.to_str().unwrap()]] {
        let ran = cache(words, &path);
        assert_eq!(ran.code, 14, "{words:?}: {ran:?}");
        assert_ne!(ran.reason(), "internal", "{words:?}: {ran:?}");
    }
    assert!(!out.exists());
}

/// oras-project/oras-go 1223: memory was taken for the size that a descriptor names, which was up to `2^62`. moby/moby
/// 38973: a document of two gigabytes was read whole.
#[test]
fn sizes_that_documents_name_take_no_memory() {
    let folder = crate::common::scratch();
    let path = cache_of(folder.path(), &[("a_1_all.deb", 1000)]);
    let blobs = || std::fs::read_dir(path.join("blobs/sha256")).unwrap().map(|it| it.unwrap().path());
    let manifest =
        blobs().find(|blob| std::fs::read(blob).unwrap().starts_with(b"{\"artifactType\"")).unwrap();
    let text = std::fs::read_to_string(&manifest).unwrap();
    let lying = text.replace("\"size\":1000}", &format!("\"size\":{}}}", 1_u64 << 62));
    assert_ne!(lying, text, "{text}");
    let digest = crate::common::sha256(lying.as_bytes());
    std::fs::write(path.join("blobs/sha256").join(&digest), &lying).unwrap();
    let index = std::fs::read_to_string(path.join("index.json")).unwrap();
    let before = manifest.file_name().unwrap().to_str().unwrap().to_owned();
    let sized = |size: usize| format!("\"size\":{size}}}");
    let index = index.replace(&before, &digest).replace(&sized(text.len()), &sized(lying.len()));
    std::fs::write(path.join("index.json"), &index).unwrap();
    let assert_small = |what: &str, reason: &str| {
        let (ran, cost) =
            counted(&program(&["cache", "verify", "--json", "--cache", path.to_str().unwrap()]));
        assert_eq!(ran.reason(), reason, "{what}: {ran:?}");
        assert!(cost.memory < 80, "{what}: {cost:?}");
    };
    assert_small("a file of exabytes", "digest-mismatch");
    std::fs::File::create(path.join("index.json")).unwrap().set_len(2 << 30).unwrap();
    assert_small("an index of two gigabytes", "cache-unreadable");
}
