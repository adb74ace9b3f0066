//! Caches with bundles of random bytes, for what depends on sizes alone.

use ofedctl::cache::{APT_INDEX_TYPE, Blob, BundleFile, Cache, DEB_TYPE, Writer};
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A cache in `folder` with one bundle, `bundle`: an index, and files of these names and sizes.
pub fn cache_of(folder: &Path, files: &[(&str, u64)]) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join("cache");
    let host = Host::open(folder, Events::silent(), Cancel::never()).unwrap();
    let cache = Cache::open_or_create(&path).unwrap();
    let mut writer = cache.writer(&host, Duration::ZERO).unwrap();
    let held = files_of(&mut writer, files);
    writer.publish("bundle", &super::bundle_config(), SystemTime::UNIX_EPOCH, held).unwrap();
    path
}

/// A bundle's files, stored.
pub fn files_of(writer: &mut Writer, files: &[(&str, u64)]) -> Vec<BundleFile> {
    let file = |title: &str, media_type: &str, Blob { digest, size }| BundleFile {
        title: title.to_owned(),
        media_type: media_type.to_owned(),
        digest,
        size,
    };
    let mut held = vec![file("Packages", APT_INDEX_TYPE, writer.put(b"Package: a\n").unwrap())];
    for (title, size) in files {
        let mut blob = writer.blob(None).unwrap();
        let random = std::fs::File::open("/dev/urandom").unwrap();
        std::io::copy(&mut random.take(*size), &mut blob).unwrap();
        blob.flush().unwrap();
        held.push(file(title, DEB_TYPE, blob.finish().unwrap()));
    }
    held
}

/// A cache with one bundle of so many small files, its index included.
pub fn of_small_files(folder: &Path, count: usize) -> PathBuf {
    let names: Vec<String> = (0..count - 1).map(|number| format!("package{number}_1_amd64.deb")).collect();
    cache_of(folder, &names.iter().map(|name| (name.as_str(), 100_000)).collect::<Vec<_>>())
}
