//! The records that dpkg and apt keep. After a power cut or a full disk dpkg may not be able to read its own, and then it
//! refuses every change, in words that name neither the cause nor a way out. A killed apt leaves a half-written one.

use super::states::STATUS;
use crate::host::fs::Root;
use crate::host::has_extension;
use crate::outcome::Cause;
use anyhow::{Context, Result};
use std::io::{Read, Seek, SeekFrom};

/// The folder with each package's list of files.
const LISTS: &str = "/var/lib/dpkg/info";

/// The folder with apt's record of what was installed only as a dependency.
const APT: &str = "/var/lib/apt";

/// The folder with the control files of the package that dpkg unpacks. dpkg clears it before the next package, but there
/// may be none.
const UNPACKED_CONTROL: &str = "/var/lib/dpkg/tmp.ci";

/// Fails where dpkg would refuse to work, and names the file.
pub(super) fn require_sound(root: &Root) -> Result<()> {
    let lists: Vec<String> = root
        .list(LISTS)
        .into_iter()
        .filter(|name| has_extension(name, "list"))
        .map(|name| format!("{LISTS}/{name}"))
        .collect();
    let status = root.read(STATUS)?.unwrap_or_default();
    if let Some(what) = what_is_wrong(&String::from_utf8_lossy(&status), !lists.is_empty()) {
        return Err(Cause::RecordsDamaged.error(format!("`{STATUS}` {what}")));
    }
    for list in lists {
        // dpkg(1) takes an empty list for that of a package without files.
        if ends_amid_a_line(root, &list)? {
            return Err(Cause::RecordsDamaged.error(format!("`{list}` ends amid a line")));
        }
    }
    Ok(())
}

/// Whether the last byte of a file ends no line. There are hundreds of lists, so only that byte is read.
fn ends_amid_a_line(root: &Root, path: &str) -> Result<bool> {
    let Some((mut file, metadata)) = root.open_file(path)? else { return Ok(false) };
    if metadata.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    let read = file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last));
    read.with_context(|| format!("cannot read `{path}`"))?;
    Ok(last != *b"\n")
}

/// Removes what an apt that was killed while it wrote its own record has left beside it: apt gives the new text six letters
/// for a name (mkstemp(3)) until it is whole. To be called after a killed run alone, when no other apt works.
pub(super) fn remove_unfinished(root: &Root) -> Result<()> {
    root.remove_all(UNPACKED_CONTROL)?;
    for name in root.list(APT) {
        let letters = name.strip_prefix("extended_states.").unwrap_or_default();
        if letters.len() == 6 && letters.chars().all(|letter| letter.is_ascii_alphanumeric()) {
            root.remove_file(&format!("{APT}/{name}"))?;
        }
    }
    Ok(())
}

/// What apt and dpkg do not accept in a text of records.
fn what_is_wrong(status: &str, has_packages: bool) -> Option<String> {
    if has_packages && status.trim().is_empty() {
        return Some("is empty, and packages are installed".to_owned());
    }
    let stanzas = status.split("\n\n").map(str::trim).filter(|stanza| !stanza.is_empty());
    let nameless = |stanza: &&str| !stanza.lines().any(|line| line.starts_with("Package: "));
    let first = stanzas.enumerate().find(|(_, stanza)| nameless(stanza))?;
    Some(format!("has a record, number {}, without a package's name", first.0 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_apt_left_beside_its_record_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let apt = dir.path().join("var/lib/apt");
        std::fs::create_dir_all(&apt).unwrap();
        for name in ["extended_states", "extended_states.a1B2c3", "extended_states.orig"] {
            std::fs::write(apt.join(name), "").unwrap();
        }
        std::fs::create_dir_all(dir.path().join("var/lib/dpkg/tmp.ci/control")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        remove_unfinished(&root).unwrap();
        assert!(!root.exists(UNPACKED_CONTROL));
        assert_eq!(root.list(APT), ["extended_states", "extended_states.orig"]);
    }

    #[test]
    fn records_are_sound_where_each_names_its_package() {
        let sound =
            "Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: install ok installed\n\n\n";
        assert_eq!(what_is_wrong(sound, true), None);
        assert_eq!(what_is_wrong("", false), None);
        assert!(what_is_wrong("\n", true).unwrap().contains("empty"));
        let torn = format!("{sound}Status: install ok installed\nVersion: 1\n");
        assert!(what_is_wrong(&torn, true).unwrap().contains("number 3"));
    }
}
