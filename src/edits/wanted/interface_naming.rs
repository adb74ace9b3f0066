//! Names of `IPoIB` interfaces. systemd names them after their PCI address, `ibP257s0`, and some versions of the VM agent
//! look for the kernel's names alone (Azure/WALinuxAgent pull request 2814). Only for those are the kernel's names kept.

use crate::edits::Edit;
use crate::facts::interface_naming::{InterfaceNaming, REPLACED};
use crate::facts::waagent::Addressing;
use crate::settings::Settings;

/// Before the distribution's `99-default.link` and whatever cloud-init writes, because the first file that matches an
/// interface is the only one that counts (systemd.link(5)).
const LINK: &str = "/etc/systemd/network/10-ofedctl-ipoib.link";
const OWN: &str = "# Made by ofedctl: the VM agent finds IPoIB interfaces by the kernel's names.";
const FOLDER: &str = "/etc/systemd/network";

/// The edits that keep the kernel's names, for an agent that needs them. A file without a policy leaves the name as it is;
/// `OriginalName` is known to every systemd since 213. Another file that names these interfaces is left in charge or, where
/// the settings say so, overridden by one of the same name in `/etc`.
pub(super) fn edits(
    settings: &Settings,
    agent: Option<&Addressing>,
    others: Option<&InterfaceNaming>,
) -> Vec<Edit> {
    if !settings.ipoib {
        return Vec::new();
    }
    let own = agent.filter(|agent| agent.wants_kernel_names).map(|_| keeps_names(LINK, OWN));
    let others = others.into_iter().flat_map(|others| &others.files);
    let others = others.filter(|file| settings.replace_names && file.is_link());
    let in_etc = |path: &str| format!("{FOLDER}/{}", path.rsplit('/').next().unwrap_or(path));
    let others = others.map(|file| keeps_names(&in_etc(&file.path), &format!("{REPLACED}.")));
    own.into_iter().chain(others).collect()
}

fn keeps_names(path: &str, title: &str) -> Edit {
    Edit::file_of_lines(
        path,
        [title, "[Match]", "OriginalName=ib[0-9]*", "", "[Link]", "NamePolicy="],
        "let IPoIB interfaces keep the names that the VM agent looks for (ib0)",
    )
}

/// Whether a `.link` file of the image counts before this program's own.
pub fn goes_before_ours(path: &str) -> bool {
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    name(path) < name(LINK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_only_for_an_agent_that_needs_them() {
        let agent = |wants_kernel_names| Addressing {
            fault: None,
            reads_kvp: true,
            calls_ifconfig: true,
            wants_kernel_names,
        };
        let settings = |ipoib| Settings { ipoib, ..Settings::default() };
        let edits = |settings: &Settings, agent: Option<&Addressing>| edits(settings, agent, None);
        assert_eq!(edits(&settings(true), Some(&agent(true))).len(), 1);
        assert_eq!(edits(&settings(true), Some(&agent(false))), []);
        assert_eq!(edits(&settings(false), Some(&agent(true))), []);
        assert_eq!(edits(&settings(true), None), []);
    }
}
