//! Changes to the vendor's sources before DKMS builds them, for kernels that they do not build for as they are.
//!
//! DKMS takes patches from the folder `patches` of the sources, and their names from `/etc/dkms/NAME.conf`, which it reads
//! after the sources' own `dkms.conf` (dkms(8)). So they also hold for kernels that come later.

use crate::host::Host;
use crate::host::fs::Root;
use crate::ledger::{Change, Journal};
use crate::packages::dkms::{self, Source};
use crate::plan_document::{Plan, SourcePatch};
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt::Write;

const SETTINGS: &str = "/etc/dkms";
const TITLE: &str = "# Made by ofedctl: patches without which the sources do not build for some kernels.";

/// Lays the plan's patches beside the sources that are installed by now.
pub fn lay_out(host: &Host, journal: &mut Journal, plan: &Plan) -> Result<()> {
    for (path, text) in files(&host.root, &plan.patches)? {
        if host.root.read_text(&path)?.as_deref() != Some(text.as_str()) {
            journal.write(&path, text.as_bytes())?;
        }
    }
    Ok(())
}

/// Whether a change of an earlier run is of patches that this plan still asks for.
pub fn is_of_patches(root: &Root, plan: &Plan, change: &Change) -> Result<bool> {
    Ok(files(root, &plan.patches)?.contains_key(&change.path))
}

/// Removes the folders of sources in which nothing was left but patches, which are gone by now.
pub fn remove_empty_sources(root: &Root, changes: &[Change]) {
    for change in changes {
        if let Some((sources, _)) =
            change.path.split_once("/patches/").filter(|(at, _)| at.starts_with("/usr/src/"))
        {
            root.remove_empty_dir(sources);
        }
    }
}

/// The files of these patches, with their texts.
fn files(root: &Root, patches: &[SourcePatch]) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    if patches.is_empty() {
        return Ok(files);
    }
    for Source { name, version } in dkms::sources(root) {
        let of_it: Vec<&SourcePatch> = patches.iter().filter(|patch| patch.package == name).collect();
        if of_it.is_empty() {
            continue;
        }
        let path = format!("{SETTINGS}/{name}.conf");
        let settings = root.read_text(&path)?.unwrap_or_default();
        let theirs = settings.split(TITLE).next().unwrap_or_default();
        let mut settings = format!("{theirs}{TITLE}\n");
        for (number, patch) in of_it.iter().enumerate() {
            let file = format!("ofedctl-{number}.patch");
            let _ =
                writeln!(settings, "PATCH+=('{file}')\nPATCH_MATCH[${{#PATCH[@]}}-1]='{}'", patch.kernels);
            files.insert(format!("/usr/src/{name}-{version}/patches/{file}"), patch.text.clone());
        }
        files.insert(path, settings);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_lie_beside_their_sources_and_are_named_after_what_others_set() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let patch = SourcePatch {
            package: "mlnx-ofa_kernel".to_owned(),
            kernels: "el9_8".to_owned(),
            text: "--- a/x\n".to_owned(),
            why: String::new(),
        };
        assert!(files(&root, std::slice::from_ref(&patch)).unwrap().is_empty(), "no sources, no patches");
        for name in ["mlnx-ofa_kernel-25.10", "iser-25.10"] {
            root.write_text(&format!("/usr/src/{name}/dkms.conf"), "").unwrap();
        }
        root.write_text("/etc/dkms/mlnx-ofa_kernel.conf", "STRIP=no\n").unwrap();
        let made = files(&root, std::slice::from_ref(&patch)).unwrap();
        let paths: Vec<&str> = made.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            ["/etc/dkms/mlnx-ofa_kernel.conf", "/usr/src/mlnx-ofa_kernel-25.10/patches/ofedctl-0.patch"]
        );
        let settings = &made[paths[0]];
        assert!(settings.starts_with("STRIP=no\n# Made") && settings.contains("PATCH+=('ofedctl-0.patch')"));
        root.write_text(paths[0], settings).unwrap();
        assert_eq!(&files(&root, &[patch]).unwrap()[paths[0]], settings, "a second time changes nothing");
    }
}
