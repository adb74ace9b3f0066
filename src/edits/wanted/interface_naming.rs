//! Names of `IPoIB` interfaces. systemd names them after their PCI address, `ibP257s0`, and some versions of the VM agent
//! look for the kernel's names alone (Azure/WALinuxAgent pull request 2814). Only for those are the kernel's names kept.

use crate::edits::Edit;
use crate::facts::waagent::Addressing;
use crate::settings::Settings;

/// Before the distribution's `99-default.link` and whatever cloud-init writes, because the first file that matches an
/// interface is the only one that counts (systemd.link(5)).
const LINK: &str = "/etc/systemd/network/10-ofedctl-ipoib.link";

/// The edit that keeps the kernel's names, for an agent that needs them. A file without a policy leaves the name as it is;
/// `OriginalName` is known to every systemd since 213.
pub(super) fn edit(settings: &Settings, agent: Option<&Addressing>) -> Option<Edit> {
    agent.filter(|agent| settings.ipoib && agent.wants_kernel_names)?;
    Some(Edit::file_of_lines(
        LINK,
        [
            "# Made by ofedctl: the VM agent finds IPoIB interfaces by the kernel's names.",
            "[Match]",
            "OriginalName=ib[0-9]*",
            "",
            "[Link]",
            "NamePolicy=",
        ],
        "let IPoIB interfaces keep the names that the VM agent looks for (ib0)",
    ))
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
        assert!(edit(&settings(true), Some(&agent(true))).is_some());
        assert_eq!(edit(&settings(true), Some(&agent(false))), None);
        assert_eq!(edit(&settings(false), Some(&agent(true))), None);
        assert_eq!(edit(&settings(true), None), None);
    }
}
