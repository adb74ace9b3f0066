//! Leftovers of the vendor's installers in folders for temporary files: build trees of gigabytes, and logs.

use crate::host::Host;
use anyhow::Result;
use std::collections::BTreeSet;

/// The folders where they leave files.
const FOLDERS: [&str; 2] = ["/tmp", "/var/tmp"];

/// Whether a file name is one of a leftover of `mlnxofedinstall`, `doca-kernel-support` or DKMS (Azure/azhpc-images
/// removes the same before it captures an image).
fn is_leftover(name: &str) -> bool {
    let starts = ["MLNX_OFED", "OFED.", "DOCA.", "mlnx_", "mlnx-", "mlnxofed", "dkms."];
    name == "ofed.conf" || starts.iter().any(|start| name.starts_with(start))
}

/// The leftovers that are there, as paths inside the root.
pub fn leftovers(host: &Host) -> Vec<String> {
    let of = |folder: &&str| {
        let names = host.root.list(folder).into_iter().filter(|name| is_leftover(name));
        names.map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
    };
    FOLDERS.iter().flat_map(of).collect()
}

/// Removes the leftovers, except those that were there `before` and those that another user owns: both belong to
/// somebody else.
pub fn tidy(host: &Host, before: &BTreeSet<String>) -> Result<()> {
    let is_ours = |path: &&String| !before.contains(*path) && host.root.owner(path) == Some(host.user());
    for path in leftovers(host).iter().filter(is_ours) {
        host.events.info(format!("removing {path}, which the vendor's installer left"));
        host.root.remove_all(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    #[test]
    fn what_an_installer_left_goes_and_what_was_there_stays() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let put = |path: &str| host.root.write_text(path, "x").unwrap();
        put("/tmp/OFED.1.logs/general.log");
        put("/tmp/notes.txt");
        let before = leftovers(&host).into_iter().collect();
        put("/tmp/MLNX_OFED_LINUX.77.logs/general.log");
        put("/var/tmp/dkms.Ab12/make.log");
        put("/tmp/ofed.conf");
        host.root.make_link("/tmp/DOCA.x", "/tmp/notes.txt".as_ref()).unwrap();
        // A file that another user creates meanwhile. Only root can create it in a test.
        put("/tmp/mlnx_others/x");
        let chowned = std::os::unix::fs::chown(host.root.path().join("tmp/mlnx_others"), Some(12345), None);
        tidy(&host, &before).unwrap();
        let others: &[&str] = if chowned.is_ok() { &["mlnx_others"] } else { &[] };
        assert_eq!(host.root.list("/tmp"), [&["OFED.1.logs"], others, &["notes.txt"]].concat());
        assert!(host.root.list("/var/tmp").is_empty());
    }
}
