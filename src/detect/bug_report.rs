//! `detect --capture`: copies the small text files that detection reads, so that a machine can be examined elsewhere.
//! Only what detection uses is copied. Long lists are cut down to the lines that matter, and for files that may hold
//! secrets only the facts are written, never the file. `ofedctl detect --root DIR` reads the copy as it would read the
//! machine.

use super::STACK;
use crate::config;
use crate::facts::{Facts, MODULES, azure, compute, rdma};
use crate::host::Host;
use crate::host::fs::{Content, Root};
use crate::ledger::RECEIPT;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Whether a root is such a copy: it has files of a running kernel, but not those that every `/proc` has.
pub fn is_copy(root: &Root) -> bool {
    root.exists("/proc/sys/kernel/osrelease") && !root.exists("/proc/version")
}

/// How a path is copied.
#[derive(Clone, Copy)]
enum Keep {
    /// Unchanged.
    Whole,
    /// As an empty file, because only its existence matters.
    Existence,
    /// Only the lines for which the function returns text.
    Lines(fn(&str) -> Option<String>),
    /// As a link into this folder; only the last part of its target matters.
    Link(&'static str),
}

/// The paths that detection reads. `*` stands for any part of one name.
#[rustfmt::skip]
const TREE: &[(&str, Keep)] = &[
    ("/etc/os-release", Keep::Whole),
    ("/usr/lib/os-release", Keep::Whole),
    ("/etc/centos-release", Keep::Whole),
    ("/proc/sys/kernel/osrelease", Keep::Whole),
    ("/proc/modules", Keep::Lines(loaded)),
    ("/lib/modules/*/modules.dep", Keep::Lines(in_dep)),
    ("/lib/modules/*/modules.builtin", Keep::Lines(built_in)),
    ("/lib/modules/*/kernel", Keep::Existence),
    ("/sys/bus/vmbus/devices/*/class_id", Keep::Whole),
    ("/sys/bus/vmbus/drivers/hv_pci/*-*-*-*-*", Keep::Existence),
    ("/sys/module/hv_network_direct*", Keep::Existence),
    ("/dev/hvnd_rdma", Keep::Existence),
    ("/sys/bus/pci/devices/*/vendor", Keep::Whole),
    ("/sys/bus/pci/devices/*/device", Keep::Whole),
    ("/sys/bus/pci/devices/*/class", Keep::Whole),
    ("/sys/bus/pci/devices/*/driver", Keep::Link("../../drivers")),
    ("/sys/class/infiniband/*/node_type", Keep::Whole),
    ("/sys/class/infiniband/*/hca_type", Keep::Whole),
    ("/sys/class/infiniband/*/fw_ver", Keep::Whole),
    ("/sys/class/infiniband/*/device", Keep::Link("../../../bus/pci/devices")),
    ("/sys/class/infiniband/*/ports/*/link_layer", Keep::Whole),
    ("/sys/class/infiniband/*/ports/*/state", Keep::Whole),
    ("/sys/class/infiniband/*/ports/*/phys_state", Keep::Whole),
    ("/sys/class/infiniband/*/ports/*/rate", Keep::Whole),
    ("/sys/class/dmi/id/chassis_asset_tag", Keep::Lines(azure_tag)),
    ("/sys/firmware", Keep::Existence),
    ("/sys/firmware/efi", Keep::Existence),
    ("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", Keep::Whole),
    ("/sys/firmware/efi/efivars/db-d719b2cb-3d3a-4596-a3bc-dad00e67656f", Keep::Whole),
    ("/sys/firmware/efi/efivars/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23", Keep::Whole),
    ("/etc/waagent.conf", Keep::Lines(rdma_setting)),
    ("/usr/lib/python*/*-packages/azurelinuxagent/common/version.py", Keep::Lines(agent_version)),
    ("/usr/local/lib/python*/*-packages/azurelinuxagent/common/version.py", Keep::Lines(agent_version)),
    ("/var/lib/waagent/WALinuxAgent-*", Keep::Existence),
    ("/opt/azurehpc/component_versions.txt", Keep::Whole),
    ("/usr/bin/ofed_info", Keep::Whole),
    ("/etc/infiniband/info", Keep::Whole),
    ("/etc/init.d/openibd", Keep::Existence),
    ("/lib/systemd/system/openibd.service", Keep::Existence),
    ("/usr/lib/systemd/system/openibd.service", Keep::Existence),
    ("/usr/share/doca-host-*", Keep::Existence),
    ("/usr/src/mlnx-ofed-kernel-*", Keep::Existence),
    ("/usr/src/mlnx-ofa_kernel-*", Keep::Existence),
];

/// Copies into `to`, a new or empty folder. Returns the number of files and folders copied.
pub fn write(host: &Host, facts: &Facts, to: &Path) -> Result<usize> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make the folder `{}`", to.display()))?;
    let copy = Root::open(to)?;
    if !copy.list("/").is_empty() {
        let what = format!("`{}` is not empty", to.display());
        return Err(crate::outcome::Reason::Usage.error(what));
    }
    let mut count = 0;
    for (pattern, keep) in TREE {
        for path in expand(&host.root, pattern) {
            host.cancel.check()?;
            count += usize::from(copy_one(&host.root, &copy, &path, *keep)?);
        }
    }
    for module in rdma::MODULES {
        for file in ["version", "srcversion"] {
            let path = format!("/sys/module/{module}/{file}");
            count += usize::from(copy_one(&host.root, &copy, &path, Keep::Whole)?);
        }
    }
    for (path, text) in made_from(host, facts)? {
        copy.write_text(&path, &text)?;
        count += 1;
    }
    Ok(count)
}

/// Files that are generated from the facts, because the originals are long, binary, or hold private data.
fn made_from(host: &Host, facts: &Facts) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    if let Some(arch) = facts.os.arch {
        files.push(("/proc/sys/kernel/arch".to_owned(), format!("{arch}\n")));
    }
    if facts.compute != compute::Compute::default() {
        let text = serde_json::to_string_pretty(&facts.compute.to_instance_data())?;
        files.push((compute::INSTANCE_DATA.to_owned(), text + "\n"));
    }
    let receipt = host.root.read_text(RECEIPT)?.and_then(|text| serde_json::from_str(&text).ok());
    if let Some(Value::Object(mut receipt)) = receipt {
        receipt.insert("vm_id".to_owned(), Value::Null);
        let shown = config::without_secrets(&Value::Object(receipt));
        files.push((RECEIPT.to_owned(), format!("{shown:#}\n")));
    }
    if let Some(status) = host.root.read_text(DPKG_STATUS)? {
        files.push((DPKG_STATUS.to_owned(), stanzas(&status)));
    }
    Ok(files)
}

const DPKG_STATUS: &str = "/var/lib/dpkg/status";

/// The dpkg status of the packages of the RDMA stack.
fn stanzas(status: &str) -> String {
    let kept = status.split("\n\n").filter(|stanza| {
        let name = stanza.lines().find_map(|line| line.strip_prefix("Package:"));
        name.is_some_and(|name| STACK.contains(&name.trim()))
    });
    kept.flat_map(|stanza| {
        let fields = ["Package:", "Status:", "Architecture:", "Version:"];
        let lines = stanza.lines().filter(move |line| fields.iter().any(|field| line.starts_with(field)));
        lines.chain([""]).map(|line| format!("{line}\n"))
    })
    .collect()
}

/// Copies one path; false when it does not exist.
fn copy_one(from: &Root, to: &Root, path: &str, keep: Keep) -> Result<bool> {
    let write = |bytes: Vec<u8>| to.write(path, &Content { bytes, mode: 0o644, uid: 0, gid: 0 });
    match keep {
        Keep::Link(folder) => {
            let Some(target) = from.link_target(path) else { return Ok(false) };
            let (parent, _) = path.rsplit_once('/').unwrap_or_default();
            to.make_dirs(parent, 0o755)?;
            let name = target.file_name().map(PathBuf::from).unwrap_or_default();
            to.make_link(path, &Path::new(folder).join(name))?;
        }
        Keep::Existence if from.is_dir(path) => to.make_dirs(path, 0o755)?,
        Keep::Existence if from.exists(path) => write(Vec::new())?,
        Keep::Existence => return Ok(false),
        Keep::Whole => {
            let Ok(Some(bytes)) = from.read(path) else { return Ok(false) };
            write(bytes)?;
        }
        Keep::Lines(of) => {
            let Ok(Some(text)) = from.read_text(path) else { return Ok(false) };
            write(text.lines().filter_map(of).map(|line| line + "\n").collect::<String>().into_bytes())?;
        }
    }
    Ok(true)
}

/// The paths that match a pattern.
fn expand(root: &Root, pattern: &str) -> Vec<String> {
    let mut paths = vec![String::new()];
    for part in pattern.split('/').skip(1) {
        paths = paths
            .into_iter()
            .flat_map(|path| {
                let names = if part.contains('*') {
                    let mut names = root.list(&format!("{path}/"));
                    names.retain(|name| is_like(name, part));
                    names
                } else {
                    vec![part.to_owned()]
                };
                names.into_iter().map(move |name| format!("{path}/{name}"))
            })
            .collect();
    }
    paths
}

fn is_like(name: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return name == pattern };
    let Some(name) = name.strip_prefix(first) else { return false };
    name.char_indices().map(|(at, _)| &name[at..]).chain([""]).any(|tail| is_like(tail, rest))
}

/// Whether a path of a module list is one of the modules that detection looks for.
fn is_module(path: &str) -> bool {
    let file = path.trim().rsplit('/').next().unwrap_or_default();
    let stem = file.split(".ko").next().unwrap_or_default().replace('-', "_");
    MODULES.contains(&stem.as_str())
}

/// A line of `modules.dep`, without the dependencies.
fn in_dep(line: &str) -> Option<String> {
    let (path, _) = line.split_once(':')?;
    is_module(path).then(|| format!("{path}:"))
}

fn built_in(line: &str) -> Option<String> {
    is_module(line).then(|| line.to_owned())
}

/// A line of `/proc/modules`, without the address, which would help an attack on the kernel.
fn loaded(line: &str) -> Option<String> {
    let name = line.split_ascii_whitespace().next()?;
    let wanted = rdma::MODULES.contains(&name) || name.starts_with("hv_network_direct");
    wanted.then(|| format!("{name} 0 0 - Live 0x0"))
}

/// The chassis asset tag that is the same on every Azure VM; any other tag may identify one machine.
fn azure_tag(line: &str) -> Option<String> {
    (line.trim() == azure::AZURE_CHASSIS).then(|| line.to_owned())
}

fn rdma_setting(line: &str) -> Option<String> {
    line.contains("OS.EnableRDMA").then(|| line.to_owned())
}

fn agent_version(line: &str) -> Option<String> {
    line.starts_with("AGENT_VERSION").then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_like_a_shells() {
        for (name, pattern, like) in [
            ("doca-host-3.2.1", "doca-host-*", true),
            ("site-packages", "*-packages", true),
            ("a-b-c", "*-*-*", true),
            ("a-b", "*-*-*", false),
            ("x", "*", true),
            ("", "*", true),
            ("é-é", "*-é", true),
        ] {
            assert_eq!(is_like(name, pattern), like, "{name} {pattern}");
        }
    }

    #[test]
    fn only_the_lines_that_matter_are_kept() {
        assert_eq!(
            in_dep("kernel/a/mlx5_ib.ko.zst: kernel/b.ko").as_deref(),
            Some("kernel/a/mlx5_ib.ko.zst:")
        );
        assert_eq!(in_dep("kernel/fs/ext4.ko: kernel/b.ko"), None);
        assert_eq!(
            loaded("mlx5_core 1 0 - Live 0xffffffffc0000000").as_deref(),
            Some("mlx5_core 0 0 - Live 0x0")
        );
        assert_eq!(
            stanzas("Package: rdma-core\nStatus: x\nMaintainer: y\n\nPackage: bash\n"),
            "Package: rdma-core\nStatus: x\n\n"
        );
        assert_eq!(azure_tag("my server 12"), None);
    }
}
