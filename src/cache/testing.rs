//! Shared by the tests of this folder: a cache in a temporary folder, and content for it.

use super::bundle::DEB_TYPE;
use super::document;
use super::*;
use crate::events::Events;
use crate::host::Host;
use crate::host::cancel::Cancel;
use crate::target::{Arch, Distro, Driver};
use oci_spec::image::{ImageIndex, ImageManifestBuilder, MediaType};
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

pub(super) struct Lab {
    pub(super) dir: tempfile::TempDir,
    pub(super) host: Host,
    pub(super) cache: Cache,
}

pub(super) fn config() -> BundleConfig {
    BundleConfig {
        schema_version: 1,
        driver: Driver::Inbox,
        driver_version: Some("44.0-2".into()),
        distro: Distro::new("debian", "12"),
        arch: Arch::X86_64,
        kernels: vec!["6.1.0-25-amd64".into()],
        packages: vec!["rdma-core".into()],
        repository: None,
        vendor_file: None,
        vendor_room: None,
        unsigned: Vec::new(),
        origins: Vec::new(),
        made_by: "ofedctl 0.1.0".into(),
    }
}

pub(super) fn flip_a_bit(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
}

impl Lab {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::open(dir.path(), Events::silent(), Cancel::never()).unwrap();
        let cache = Cache::open_or_create(&dir.path().join("cache")).unwrap();
        Self { dir, host, cache }
    }

    pub(super) fn writer(&self) -> Writer<'_> {
        self.cache.writer(&self.host, Duration::ZERO).unwrap()
    }

    /// What is left of a writer that is killed; the kernel gives its lock back.
    pub(super) fn kill(&self, writer: Writer) {
        std::mem::forget(writer);
        let _ = std::fs::remove_file(self.cache.dir().join(".ofedctl.lock"));
    }

    pub(super) fn publish(&self, tag: &str, files: &[(&str, &[u8])]) -> Bundle {
        self.publish_at(tag, files, SystemTime::UNIX_EPOCH)
    }

    pub(super) fn publish_at(&self, tag: &str, files: &[(&str, &[u8])], created: SystemTime) -> Bundle {
        let mut writer = self.writer();
        let files = files.iter().map(|(title, bytes)| {
            let Blob { digest, size } = writer.put(bytes).unwrap();
            BundleFile { title: (*title).into(), media_type: DEB_TYPE.into(), digest, size }
        });
        let files = files.collect();
        writer.publish(tag, &config(), created, files).unwrap()
    }

    /// The names of all files in the folder of the blobs, finished or not.
    pub(super) fn names(&self) -> Vec<String> {
        self.host.root.list("/cache/blobs/sha256")
    }

    /// A bundle's manifest with a config that no version understands.
    pub(super) fn publish_strange(&self, tag: &str) {
        self.add_manifest(
            tag,
            Some(BUNDLE_TYPE),
            true,
            br#"{"ofedctl":{"schema_version":9,"driver":"quantum"}}"#,
        );
    }

    /// An image of another tool; its manifest, config and layer.
    pub(super) fn add_foreign(&self, tag: &str, typed: bool) -> [Digest; 3] {
        self.add_manifest(
            tag,
            Some("application/vnd.example.v1"),
            typed,
            format!("{{\"{tag}\":1}}").as_bytes(),
        )
    }

    /// An image index of another tool around an image; all their digests.
    pub(super) fn add_foreign_index(&self, tag: &str) -> [Digest; 4] {
        let image = self.add_foreign(tag, false);
        let mut index = layout::read_index(self.cache.dir()).unwrap();
        let place = index.manifests().iter().position(|entry| layout::tag_of(entry) == tag).unwrap();
        let inner = layout::edit(&mut index, |entries| entries.remove(place));
        let mut outer = ImageIndex::default();
        layout::edit(&mut outer, |entries| entries.push(inner));
        let blob = self.writer().put(&layout::canonical(&outer).unwrap()).unwrap();
        let entry = document::descriptor(MediaType::ImageIndex, &blob).unwrap();
        layout::edit(&mut index, |entries| entries.push(entry));
        layout::write_index(self.cache.dir(), index).unwrap();
        [image[0], image[1], image[2], blob.digest]
    }

    fn add_manifest(&self, tag: &str, kind: Option<&str>, typed: bool, config: &[u8]) -> [Digest; 3] {
        let mut writer = self.writer();
        let config = writer.put(config).unwrap();
        let layer = writer.put(format!("a layer of {tag}").as_bytes()).unwrap();
        let mut manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .config(document::descriptor(MediaType::ImageConfig, &config).unwrap())
            .layers(vec![document::descriptor(MediaType::ImageLayer, &layer).unwrap()])
            .build()
            .unwrap();
        manifest.set_artifact_type(kind.map(MediaType::from));
        let blob = writer.put(&layout::canonical(&manifest).unwrap()).unwrap();
        let mut entry = document::descriptor(MediaType::ImageManifest, &blob).unwrap();
        if typed {
            entry.set_artifact_type(kind.map(MediaType::from));
        }
        entry.set_annotations(Some(HashMap::from([(layout::TAG.to_owned(), tag.to_owned())])));
        writer.merge(vec![entry]).unwrap();
        [blob.digest, config.digest, layer.digest]
    }
}
