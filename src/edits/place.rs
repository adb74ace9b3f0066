//! Finds the file that an edit changes. A symbolic link stays as it is, and its target is edited.

use super::Edit;
use crate::host::fs::Root;
use crate::outcome::{Reason, WithReason};
use anyhow::Result;

/// A file to edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file itself, inside the root.
    pub path: String,
    /// The link that leads to it, if the edit names a link.
    pub through: Option<String>,
}

/// Finds the file that a path names. Refuses a link that leads to no file of the root: an administrator who points a
/// settings file at `/dev/null`, or at a path that does not exist, does not want it edited.
pub fn place(root: &Root, path: &str) -> Result<Place> {
    let Some(to) = root.link_target(path) else { return Ok(Place { path: path.to_owned(), through: None }) };
    let refused = || format!("`{path}` is a link to `{}`, which is no file of this root", to.display());
    let behind = root.behind_link(path).with_reason(Reason::EditRefused, refused)?;
    let is_file = root.metadata(&behind).is_some_and(|metadata| metadata.is_file());
    if !is_file || ["/proc/", "/sys/", "/dev/"].iter().any(|folder| behind.starts_with(folder)) {
        return Err(Reason::EditRefused.error(refused()));
    }
    Ok(Place { path: behind, through: Some(path.to_owned()) })
}

/// Refuses what could not be edited, before anything is changed.
pub fn require_places(root: &Root, edits: &[Edit]) -> Result<()> {
    edits.iter().filter_map(Edit::path).try_for_each(|path| place(root, path).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    #[test]
    fn a_link_is_followed_inside_the_root_and_refused_where_it_leads_to_no_file() {
        let (dir, host) = on_an_empty_root(Cancel::never());
        let outside = dir.path().parent().unwrap().join("outside");
        host.root.write_text("/usr/share/oem/waagent.conf", "x").unwrap();
        host.root.write_text("/etc/plain", "x").unwrap();
        let found = |to: &str| {
            let _ = host.root.remove_file("/etc/waagent.conf");
            host.root.make_link("/etc/waagent.conf", to.as_ref()).unwrap();
            place(&host.root, "/etc/waagent.conf").map(|place| (place.path, place.through.unwrap()))
        };
        let wanted = ("/usr/share/oem/waagent.conf".to_owned(), "/etc/waagent.conf".to_owned());
        for to in [
            "/usr/share/oem/waagent.conf",
            "../usr/share/oem/waagent.conf",
            "../../../usr/share/oem/waagent.conf",
        ] {
            assert_eq!(found(to).unwrap(), wanted, "{to}");
        }
        host.root.make_link("/etc/second", "/usr/share/oem/waagent.conf".as_ref()).unwrap();
        assert_eq!(found("second").unwrap(), wanted);
        for to in ["/dev/null", "/missing", "/usr/share", "waagent.conf", outside.to_str().unwrap()] {
            assert_eq!(Reason::from_error(&found(to).unwrap_err()), Reason::EditRefused, "{to}");
        }
        assert_eq!(place(&host.root, "/etc/plain").unwrap().through, None);
        assert_eq!(place(&host.root, "/etc/none").unwrap().path, "/etc/none");
    }
}
