//! Layouts of caches, sound or not, in folders and archives, and what becomes of an import.

use crate::tar::{Kind, header};
use crate::{Outside, assert_told};
use ofedctl::cache::{BundleFile, Cache, DEB_TYPE, Digest};
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The files of a layout, by name.
pub(crate) type Layout = BTreeMap<String, Vec<u8>>;

fn host(folder: &Path) -> Host {
    Host::open(folder, Events::silent(), Cancel::never()).unwrap()
}

/// A sound layout with one bundle of two files.
pub(crate) fn sound() -> Layout {
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

pub(crate) fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Adds a blob, and returns its digest and size.
pub(crate) fn put(layout: &mut Layout, bytes: Vec<u8>) -> (String, usize) {
    let (digest, size) = (Digest::of_bytes(&bytes), bytes.len());
    layout.insert(format!("blobs/sha256/{}", digest.hex()), bytes);
    (digest.to_string(), size)
}

pub(crate) fn blob<'l>(layout: &'l Layout, descriptor: &Value) -> &'l [u8] {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    &layout[&format!("blobs/sha256/{digest}")]
}

/// A layout in which index, manifest and config were changed, each with its true digest unless the change says
/// otherwise.
pub(crate) fn lying(change: impl Fn(&mut Value, &mut Value, &mut Value)) -> Layout {
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

pub(crate) fn archive(layout: &Layout) -> Vec<u8> {
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
pub(crate) fn imported(what: &str, archive: &[u8]) -> anyhow::Result<usize> {
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

/// Lays a layout out as a folder.
pub(crate) fn lay_out(layout: &Layout, folder: &Path) {
    for (name, bytes) in layout {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// The names in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
