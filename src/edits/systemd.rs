//! Units of a root as files: whether one starts at boot, and the links that make it do so.
//!
//! `systemctl --root` does the same, but the root's own or this machine's program may be older than the units it has
//! to read, and it cannot say beforehand what it will change.

use crate::host::fs::Root;
use anyhow::Result;
use std::path::Path;

/// Where links and drop-ins of the administrator are.
pub const SYSTEM: &str = "/etc/systemd/system";
/// Where units are looked for, the administrator's first (systemd.unit(5)).
const UNIT_PATHS: [&str; 4] =
    [SYSTEM, "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// The links that are missing for a unit to start at boot, as (path, target); none when it does not exist, is masked,
/// or does not ask for any.
pub fn missing_links(root: &Root, unit: &str) -> Result<Vec<(String, String)>> {
    for folder in UNIT_PATHS {
        let file = format!("{folder}/{unit}");
        if root.link_target(&file).is_some_and(|to| to == Path::new("/dev/null")) {
            break;
        }
        let Some(text) = root.read_text(&file)? else { continue };
        let links = wanted_by(&text).into_iter().map(|place| format!("{SYSTEM}/{place}/{unit}"));
        let missing = links.filter(|link| root.link_target(link).is_none() && !root.exists(link));
        return Ok(missing.map(|link| (link, file.clone())).collect());
    }
    Ok(Vec::new())
}

/// The folders of a unit's `[Install]` section: `sysinit.target.wants` for `WantedBy=sysinit.target`. An empty value
/// takes back what came before it (systemd.syntax(7)).
fn wanted_by(unit: &str) -> Vec<String> {
    let mut section = "";
    let mut places: Vec<String> = Vec::new();
    for line in unit.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| section == "[Install]") else { continue };
        let kind = match key.trim() {
            "WantedBy" => ".wants",
            "RequiredBy" => ".requires",
            _ => continue,
        };
        if value.trim().is_empty() {
            places.retain(|place| !place.ends_with(kind));
        }
        // A name with a slash would lead elsewhere.
        let targets = value.split_whitespace().filter(|target| !target.contains('/'));
        places.extend(targets.map(|target| format!("{target}{kind}")));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;
    use proptest::prelude::*;

    const UNIT: &str = "[Unit]\nDescription=openibd\nWantedBy=no.target\n\n[Service]\nType=oneshot\n\n\
        [Install]\nWantedBy = sysinit.target other.target\nRequiredBy=must.target\nAlias=x.service\n";

    #[test]
    fn a_unit_is_linked_where_it_asks_to_be() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let missing = || missing_links(&host.root, "openibd.service").unwrap();
        assert_eq!(missing(), []);
        host.root.write_text("/lib/systemd/system/openibd.service", UNIT).unwrap();
        let link = |place: &str| format!("{SYSTEM}/{place}/openibd.service");
        let places: Vec<_> = missing().into_iter().map(|(path, _)| path).collect();
        assert_eq!(places, ["sysinit.target.wants", "other.target.wants", "must.target.requires"].map(link));
        assert!(missing().iter().all(|(_, to)| to == "/lib/systemd/system/openibd.service"));

        host.root.make_dirs(&format!("{SYSTEM}/sysinit.target.wants"), 0o755).unwrap();
        host.root
            .make_link(&link("sysinit.target.wants"), "/usr/lib/systemd/system/openibd.service".as_ref())
            .unwrap();
        assert_eq!(missing().len(), 2);
        // A link to `/dev/null` or an empty file masks a unit (systemd.unit(5)).
        host.root.make_link(&format!("{SYSTEM}/openibd.service"), "/dev/null".as_ref()).unwrap();
        assert_eq!(missing(), []);
    }

    proptest! {
        #[test]
        fn no_unit_makes_a_link_outside_its_folder(text in "(\\[Install\\]\n|WantedBy=|RequiredBy=|\\.\\./|[a-z. \n]){0,40}") {
            for place in wanted_by(&text) {
                prop_assert!(!place.contains('/') && place.contains('.'), "{place}");
            }
        }
    }
}
