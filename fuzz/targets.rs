//! What each fuzz target does with an input. `tests/fuzz_seeds.rs` runs the same functions as ordinary tests, so that
//! they always build, and what fuzzing once found stays mended.

use ofedctl::cache::{Cache, Digest};
use ofedctl::events::Events;
use ofedctl::facts;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use ofedctl::host::fs::Root;
use ofedctl::packages::{self, Manager};
use ofedctl::settings::{Layer, Settings};
use std::path::Path;
use tempfile::TempDir;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: &[Target] = &[
    ("agent", agent),
    ("apt_sources", apt_sources),
    ("catalog", catalog),
    ("dpkg_status", dpkg_status),
    ("extension", extension),
    ("metadata", metadata),
    ("oci_layout", oci_layout),
    ("os_release", os_release),
    ("packages", package_indexes),
    ("packer_wire", packer_wire),
    ("registry", registry),
    ("rpm_sources", rpm_sources),
    ("settings", settings),
    ("sysfs", sysfs),
];

/// The settings of the VM agent, and what images tell of themselves.
pub fn agent(input: &[u8]) {
    let files =
        ["etc/waagent.conf", "opt/azurehpc/component_versions.txt", "run/cloud-init/instance-data.json"];
    let (_dir, host) = host(input, &files);
    let _ = facts::waagent::read(&host, &[]);
    let _ = (facts::azure::hpc_image(&host), facts::compute::size_of(&host, None));
}

/// Package sources of apt.
pub fn apt_sources(input: &[u8]) {
    let dir =
        with_files(input, &["etc/apt/sources.list", "etc/apt/sources.list.d/a.sources", "etc/apt/m.list"]);
    let scratch = folder();
    let _ = packages::copy_apt_sources(&root(&dir), scratch.path());
}

/// Package sources and variables of dnf and yum.
pub fn rpm_sources(input: &[u8]) {
    let files = ["etc/yum.conf", "etc/yum.repos.d/a.repo", "etc/yum/vars/a", "etc/own.conf"];
    let dir = with_files(input, &files);
    let scratch = folder();
    let _ = packages::copy_yum_sources(&root(&dir), scratch.path());
}

/// A catalogue.
pub fn catalog(input: &[u8]) {
    let _ = ofedctl::catalog::Catalog::parse("fuzz", &String::from_utf8_lossy(input));
}

/// dpkg's own records.
pub fn dpkg_status(input: &[u8]) {
    let files = ["var/lib/dpkg/status", "var/lib/dpkg/updates/0000", "var/lib/dpkg/triggers/Unincorp"];
    let dir = with_files(input, &files);
    let _ = Manager::Apt.installed_by_its_files(&root(&dir));
}

/// What the VM agent hands to an extension.
pub fn extension(input: &[u8]) {
    let files = ["handler/HandlerEnvironment.json", "handler/config/0.settings"];
    let (_dir, host) = host(input, &files);
    let _ = ofedctl::doors::extension::read_handed_over(&host, Path::new("/handler"));
}

/// An answer of the metadata service.
pub fn metadata(input: &[u8]) {
    let _ = facts::imds::compute(input);
}

/// An index, a manifest and its config. The input can name a blob by its digest only by luck, so an index is made that
/// names the input as a manifest.
pub fn oci_layout(input: &[u8]) {
    let dir = with_files(input, &["index.json"]);
    put(dir.path(), "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let _ = Cache::open(dir.path()).and_then(|cache| cache.bundles());
    let digest = Digest::of_bytes(input);
    put(dir.path(), &format!("blobs/sha256/{}", digest.hex()), input);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"x"}}}}]}}"#,
        input.len()
    );
    put(dir.path(), "index.json", index.as_bytes());
    let _ = Cache::open(dir.path()).and_then(|cache| cache.bundles());
}

/// os-release.
pub fn os_release(input: &[u8]) {
    let dir = with_files(input, &["etc/os-release"]);
    let _ = facts::os::read(&root(&dir));
}

/// Indexes of local repositories.
pub fn package_indexes(input: &[u8]) {
    let _ = Manager::Apt.unpacked_sizes(input);
    let _ = Manager::Dnf.unpacked_sizes(input);
}

/// What Packer sends to a plugin.
pub fn packer_wire(input: &[u8]) {
    ofedctl::doors::packer::read_wire(input);
}

/// The answers of a registry and of its token server.
pub fn registry(input: &[u8]) {
    ofedctl::host::registry::read_answer(input);
}

/// A file of settings.
pub fn settings(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = Layer::parse("fuzz", &text).and_then(|layer| Settings::from_layers([layer]));
}

/// What the kernel tells of hardware.
pub fn sysfs(input: &[u8]) {
    let files = [
        "sys/bus/pci/devices/0000:00:00.0/vendor",
        "sys/bus/pci/devices/0000:00:00.0/device",
        "sys/bus/pci/devices/0000:00:00.0/class",
        "sys/bus/vmbus/devices/1/class_id",
        "sys/class/infiniband/mlx5_0/ports/1/state",
        "sys/class/infiniband/mlx5_0/ports/1/rate",
        "sys/class/infiniband/mlx5_0/fw_ver",
        "proc/modules",
    ];
    let (_dir, host) = host(input, &files);
    let _ = (facts::pci::read(&host), facts::vmbus::read(&host), facts::rdma::modules(&host));
}

/// Puts the parts of the input, which a zero byte ends, into these files of a new root.
fn with_files(input: &[u8], paths: &[&str]) -> TempDir {
    let dir = folder();
    for (path, bytes) in paths.iter().zip(input.split(|byte| *byte == 0)) {
        put(dir.path(), path, bytes);
    }
    dir
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn put(dir: &Path, path: &str, bytes: &[u8]) {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().expect("a path inside the root")).expect("a folder");
    std::fs::write(path, bytes).expect("a file");
}

fn root(dir: &TempDir) -> Root {
    Root::open(dir.path()).expect("a root")
}

/// A host with these files in its root, which says nothing; and the folder that is its root.
fn host(input: &[u8], paths: &[&str]) -> (TempDir, Host) {
    let dir = with_files(input, paths);
    let host = Host::open(dir.path(), Events::silent(), Cancel::never()).expect("a host");
    (dir, host)
}
