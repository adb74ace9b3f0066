//! What the files of udev's rules and of systemd's network settings say: what names RDMA devices, what names and configures
//! the network interfaces of InfiniBand ports, and what keeps managers of networks off Azure's virtual functions. A machine
//! has a hundred such files, and nearly every boot finds them unchanged, so what they say is remembered.

use super::interface_naming::{self, Named};
use super::naming::{self, Naming};
use super::network_managers::{self, Configured};
use super::rule_files;
use crate::host::Host;
use serde::{Deserialize, Serialize};

/// What the files say, and by what one knows that none of them has changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuleFindings {
    /// A digest of the names, sizes, numbers and times of all files; none where these would not tell.
    pub stamp: Option<String>,
    /// Those that name RDMA devices.
    pub rules: Vec<Naming>,
    /// Those that name the network interfaces of InfiniBand ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Named>,
    /// Those by which systemd-networkd configures such an interface.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configured: Vec<Configured>,
    /// One that keeps managers of networks off Azure's virtual functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeps_off: Option<String>,
}

/// Reads the files, unless they are as they were when `known` was found.
pub fn read(host: &Host, known: Option<RuleFindings>) -> RuleFindings {
    let stamp = rule_files::stamp(host);
    if let Some(known) = known.filter(|known| stamp.is_some() && known.stamp == stamp) {
        return known;
    }
    let files = rule_files::files(host);
    RuleFindings {
        stamp,
        rules: naming::in_files(&files),
        interfaces: interface_naming::in_files(&files),
        configured: network_managers::configured_in_files(&files),
        keeps_off: network_managers::kept_off_in_files(&files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;

    const RENAMES: &str = "SUBSYSTEM==\"infiniband\", PROGRAM=\"rdma_rename %k NAME_FIXED mlx5_ib0\"\n";

    #[test]
    fn files_that_changed_are_read_again_and_others_are_not() {
        let (dir, host) = host_with(&[("etc/udev/rules.d/60-ib.rules", RENAMES)]);
        let folder = dir.path().join("etc/udev/rules.d");
        let seen = read(&host, None);
        assert!(seen.stamp.is_some() && seen.rules.len() == 1);
        // What is remembered counts as long as nothing has changed.
        let remembered = RuleFindings { rules: Vec::new(), ..seen.clone() };
        assert_eq!(read(&host, Some(remembered.clone())), remembered);
        let changes: [(&str, &dyn Fn()); 4] = [
            ("another file", &|| std::fs::write(folder.join("70-more.rules"), "").unwrap()),
            ("a rewritten file", &|| std::fs::write(folder.join("60-ib.rules"), RENAMES).unwrap()),
            ("a replaced file", &|| {
                std::fs::write(folder.join("new"), RENAMES).unwrap();
                std::fs::rename(folder.join("new"), folder.join("60-ib.rules")).unwrap();
            }),
            ("a file switched off", &|| {
                std::os::unix::fs::symlink("/dev/null", folder.join("80-off.rules")).unwrap();
            }),
        ];
        for (what, change) in changes {
            let before = read(&host, None);
            change();
            let stale = RuleFindings { rules: Vec::new(), ..before };
            assert_eq!(read(&host, Some(stale)).rules.len(), 1, "{what}");
        }
        // The target of a link may change unseen.
        std::os::unix::fs::symlink("/srv/site.rules", folder.join("90-site.rules")).unwrap();
        assert_eq!(read(&host, None).stamp, None);
        assert_eq!(read(&host, Some(RuleFindings::default())).rules.len(), 1);
    }

    #[test]
    fn a_file_counts_once_and_only_where_none_of_its_name_overrides_it() {
        let (dir, host) = host_with(&[("usr/lib/udev/rules.d/60-ib.rules", RENAMES)]);
        let found = || read(&host, None).rules.iter().map(|it| it.name().to_owned()).collect::<Vec<_>>();
        // Where /lib and /usr/lib are one folder.
        std::os::unix::fs::symlink("usr/lib", dir.path().join("lib")).unwrap();
        assert_eq!(found(), ["/usr/lib/udev/rules.d/60-ib.rules"]);
        let etc = dir.path().join("etc/udev/rules.d");
        std::fs::create_dir_all(&etc).unwrap();
        std::os::unix::fs::symlink("/dev/null", etc.join("60-ib.rules")).unwrap();
        assert!(found().is_empty());
    }
}
