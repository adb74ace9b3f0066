//! A bundle that says it is for this target, and whose package is for another.

use crate::bake::{prepared, stack};
use crate::common::image;
use crate::common::tree::{Tree, diff};
use crate::packages::Rpm;
use crate::roots::ALMA8;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use ofedctl::cache::{Bundle, Cache, Digest, Writer};
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

const NAME: &str = "perftest";

/// Puts other bytes in the place of the one file of a bundle whose title ends so; returns the digests before and after.
fn put(writer: &Writer, bundle: &mut Bundle, end: &str, bytes: &[u8]) -> [String; 2] {
    let blob = writer.put(bytes).unwrap();
    let file = bundle.files.iter_mut().find(|file| file.title.ends_with(end)).unwrap();
    let before = file.digest.hex();
    (file.digest, file.size) = (blob.digest, blob.size);
    [before, blob.digest.hex()]
}

fn read(cache: &Cache, bundle: &Bundle, end: &str) -> Vec<u8> {
    let file = bundle.files.iter().find(|file| file.title.ends_with(end)).unwrap();
    let mut bytes = Vec::new();
    cache.blob(&file.digest).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// Publishes a cache's one bundle again, with another package that the index describes by its true digest and size, as one
/// for this target.
fn republish(cache: &Path, package: &Path) {
    let cache = Cache::open(cache).unwrap();
    let host = Host::open(cache.dir(), Events::silent(), Cancel::never()).unwrap();
    let mut writer = cache.writer(&host, Duration::ZERO).unwrap();
    let mut bundle = cache.bundles().unwrap().remove(0);
    let title = format!("{NAME}-4.5-1.x86_64.rpm");
    let size = bundle.files.iter().find(|file| file.title == title).unwrap().size;
    let bytes = std::fs::read(package).unwrap();
    let [old, new] = put(&writer, &mut bundle, &title, &bytes);
    let mut primary = String::new();
    let packed = read(&cache, &bundle, "primary.xml.gz");
    MultiGzDecoder::new(&packed[..]).read_to_string(&mut primary).unwrap();
    let open = Digest::of_bytes(primary.as_bytes()).hex();
    let at = primary.find(&old).unwrap();
    let (head, rest) = primary.split_at(at);
    let sizes = [format!("package=\"{size}\""), format!("package=\"{}\"", bytes.len())];
    let primary = head.to_owned() + &rest.replacen(&old, &new, 1).replacen(&sizes[0], &sizes[1], 1);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(primary.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let lengths = [packed.len(), gzip.len()];
    let [old, new] = put(&writer, &mut bundle, "primary.xml.gz", &gzip);
    let repomd = String::from_utf8(read(&cache, &bundle, "repomd.xml")).unwrap();
    let repomd = repomd.replace(&old, &new).replace(&open, &Digest::of_bytes(primary.as_bytes()).hex());
    let repomd = repomd.replace(&format!("<size>{}<", lengths[0]), &format!("<size>{}<", lengths[1]));
    put(&writer, &mut bundle, "repomd.xml", repomd.as_bytes());
    writer.publish(&bundle.tag, &bundle.config, SystemTime::UNIX_EPOCH, bundle.files).unwrap();
}

#[test]
fn a_package_for_another_architecture_which_the_index_denies_is_refused_and_the_root_is_as_it_was() {
    let of = |arch: &'static str| Rpm { arch, ..Rpm::plain(NAME, "4.5", "") };
    let mut rpms = stack();
    rpms.retain(|rpm| rpm.name != NAME);
    rpms.push(of("x86_64"));
    let (root, _repository) = prepared(ALMA8, "etc/yum.repos.d", &rpms);
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    let packages = || root.inside(&["rpm", "--query", "--all"]).stdout;
    let (before, there) = (Tree::of(root.path()), packages());
    republish(&cache, &of("aarch64").build(&root.beside("other")));
    // rpm looks at all packages before it unpacks one; dnf and rpm's database keep records of their own of the attempt.
    image::bake(&root, &cache).expect(14, "cache-unreadable");
    let is_record = |path: &str| {
        ["var/log", "var/lib/dnf", "var/lib/rpm", "var/lib/ofedctl"].iter().any(|it| path.starts_with(it))
    };
    let difference = diff(&before, &Tree::of(root.path())).without(is_record);
    assert!(difference.is_empty(), "{difference}");
    assert_eq!(packages(), there);
    image::stage(&root, &cache).expect(0, "staged");
    image::bake(&root, &cache).expect(0, "installed");
}
