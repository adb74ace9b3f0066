//! Keeps network managers off interfaces that are not theirs: off the second interface of Accelerated Networking, which has
//! the hardware address of the first (learn.microsoft.com, How Accelerated Networking works in Linux), and off `IPoIB`
//! interfaces, which the VM agent addresses. A manager that waits for those holds up the boot.
//!
//! A file of the image that does so already stays in charge, and so does one that configures an InfiniBand interface.

use crate::edits::Edit;
use crate::facts::network_managers::NetworkManagers;
use crate::settings::Settings;

const TITLE: &str = "# Made by ofedctl: interfaces that the VM agent and the kernel look after.";
/// The drivers of virtual functions. The synthetic interface above them has `hv_netvsc`.
const DRIVERS: [&str; 4] = ["mlx5_core", "mlx4_core", "mlx4_en", "mana"];
const NETWORK_MANAGER: &str = "/etc/NetworkManager/conf.d/90-ofedctl.conf";
/// Before netplan's `10-netplan-….network`, because the first file that matches an interface is the only one that counts
/// (systemd.network(5)).
const FUNCTIONS: &str = "/etc/systemd/network/05-ofedctl-functions.network";
const IPOIB: &str = "/etc/systemd/network/05-ofedctl-ipoib.network";

/// The edits for the managers that are there.
pub(super) fn edits(settings: &Settings, managers: Option<&NetworkManagers>) -> Vec<Edit> {
    let Some(managers) = managers.filter(|_| settings.keep_unmanaged) else { return Vec::new() };
    let functions = managers.kept_off.is_none();
    let ipoib = settings.ipoib && managers.configured.is_empty();
    let mut edits = Vec::new();
    if managers.network_manager && (functions || ipoib) {
        let kinds = ipoib.then(|| "type:infiniband".to_owned());
        let drivers = DRIVERS.iter().filter(|_| functions).map(|driver| format!("driver:{driver}"));
        let all: Vec<String> = kinds.into_iter().chain(drivers).collect();
        let line = format!("unmanaged-devices+={}", all.join(";"));
        let why = "keep NetworkManager off interfaces that it would address twice, or wait for";
        edits.push(Edit::file_of_lines(NETWORK_MANAGER, [TITLE, "[keyfile]", &line], why));
    }
    let network = |path: &str, matched: &str, why: &str| {
        Edit::file_of_lines(path, [TITLE, "[Match]", matched, "", "[Link]", "Unmanaged=yes"], why)
    };
    if managers.networkd && functions {
        let matched = format!("Driver={}", DRIVERS.join(" "));
        let why = "keep systemd-networkd off the second interface of Accelerated Networking";
        edits.push(network(FUNCTIONS, &matched, why));
    }
    if managers.networkd && ipoib {
        edits.push(network(IPOIB, "Type=infiniband", "let no boot wait for an IPoIB interface"));
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::network_managers::Configured;

    #[test]
    fn only_managers_that_are_there_are_kept_off_and_only_what_nobody_else_looks_after() {
        let settings = Settings::default();
        let paths = |managers: &NetworkManagers| {
            let edits = edits(&settings, Some(managers));
            edits.iter().filter_map(|it| it.path().map(str::to_owned)).collect::<Vec<_>>()
        };
        let none = NetworkManagers::default();
        assert!(paths(&none).is_empty() && super::edits(&settings, None).is_empty());
        let both = NetworkManagers { network_manager: true, networkd: true, ..none };
        assert_eq!(paths(&both), [NETWORK_MANAGER, FUNCTIONS, IPOIB]);
        let kept_off = NetworkManagers { kept_off: Some("/x".into()), ..both.clone() };
        assert_eq!(paths(&kept_off), [NETWORK_MANAGER, IPOIB]);
        let configured = vec![Configured { path: "/y".into(), waits: true }];
        let configured = NetworkManagers { configured, ..both.clone() };
        assert_eq!(paths(&configured), [NETWORK_MANAGER, FUNCTIONS]);
        let off = Settings { keep_unmanaged: false, ..Settings::default() };
        assert!(super::edits(&off, Some(&both)).is_empty());
    }
}
