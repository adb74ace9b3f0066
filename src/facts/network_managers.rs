//! What manages network interfaces in a root, and what it is told of Azure's virtual functions and of InfiniBand.
//!
//! Accelerated Networking shows an interface twice: as a synthetic one, and as a virtual function of the adapter with the
//! same hardware address, which the kernel puts below the first. A manager that takes the second one as well gives it the
//! address of the first.

use super::netplan;
use super::rule_files::{OURS, RuleFile};
use super::waagent::numbers;
use crate::host::Host;
use serde::{Deserialize, Serialize};

/// The settings of `NetworkManager`.
const NM_SETTINGS: [&str; 2] = ["/etc/NetworkManager/conf.d", "/usr/lib/NetworkManager/conf.d"];

/// What systemd takes for true and for false.
const YES: [&str; 6] = ["yes", "true", "on", "1", "y", "t"];
const NO: [&str; 6] = ["no", "false", "off", "0", "n", "f"];

/// What manages interfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NetworkManagers {
    /// Whether `NetworkManager` is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub network_manager: bool,
    /// Whether systemd-networkd starts at boot, by itself or for netplan.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub networkd: bool,
    /// A file that keeps each of them off virtual functions already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_off: Option<String>,
    /// Files that configure InfiniBand interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configured: Vec<Configured>,
    /// The version of cloud-init, where it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<String>,
}

/// A file that configures an InfiniBand interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Configured {
    /// The file.
    pub path: String,
    /// Whether the boot waits until the interface is up.
    pub waits: bool,
}

impl NetworkManagers {
    /// Whether cloud-init is so old that it stops where two interfaces have one hardware address
    /// (canonical/cloud-init issues 3450 and 3660, pull request 1853).
    pub fn stops_at_twins(&self) -> bool {
        self.cloud_init.as_deref().and_then(numbers).is_some_and(|version| version < vec![22, 4, 1])
    }
}

/// Reads what manages interfaces in a root. `configured` and `keeps_off` is what its files of rules and of systemd say.
pub fn read(host: &Host, configured: &[Configured], keeps_off: Option<&str>) -> NetworkManagers {
    let has = |path: &str| host.root.exists(path);
    let is_wanted = |unit: &str| has(&format!("/etc/systemd/system/multi-user.target.wants/{unit}"));
    let mut configured = configured.to_vec();
    configured.extend(configured_elsewhere(host));
    configured.extend(netplan::configured(host));
    NetworkManagers {
        network_manager: has("/usr/sbin/NetworkManager"),
        networkd: is_wanted("systemd-networkd.service") || has("/usr/sbin/netplan"),
        kept_off: keeps_off.map(str::to_owned).or_else(|| kept_off_by_settings(host)),
        configured,
        cloud_init: cloud_init(host),
    }
}

/// The files of a folder that are not this program's, with their texts.
fn texts(host: &Host, folder: &str, end: &str) -> Vec<(String, String)> {
    let names = host.root.list(folder).into_iter().filter(|name| name.ends_with(end));
    names
        .filter_map(|name| {
            let path = format!("{folder}/{name}");
            let text = host.root.read_text(&path).ok().flatten()?;
            (!text.starts_with(OURS)).then_some((path, text))
        })
        .collect()
}

/// A rule of udev or a file of systemd-networkd that keeps managers off virtual functions, as azure-vm-utils, walinuxagent
/// and images have them.
pub(super) fn kept_off_in_files(files: &[RuleFile]) -> Option<String> {
    let by_rule = |text: &str| text.contains("hv_pci") && text.contains("NM_UNMANAGED");
    let by_network = |text: &str| names_all_functions(text) && is(text, "Unmanaged", &YES);
    let keeps_off = |file: &&RuleFile| {
        !file.is_ours()
            && ((file.is_rules() && by_rule(&file.text)) || (file.is_network() && by_network(&file.text)))
    };
    files.iter().find(keeps_off).map(|file| file.path.clone())
}

/// Whether a list of drivers has both generations of Azure's adapters. One that was written before MANA leaves that one's
/// functions to be taken (flatcar/init pull request 106).
fn names_all_functions(text: &str) -> bool {
    let has = |driver: &str| {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == driver)
    };
    has("mlx5_core") && has("mana")
}

/// The files by which systemd-networkd configures an InfiniBand interface.
pub(super) fn configured_in_files(files: &[RuleFile]) -> Vec<Configured> {
    let configures = |file: &&RuleFile| {
        let has = |key: &str, is_it: &dyn Fn(&str) -> bool| {
            value(&file.text, key).is_some_and(|words| words.split_whitespace().any(is_it))
        };
        file.is_network()
            && !file.is_ours()
            && (has("Name", &is_name)
                || has("Type", &|word| word == "infiniband")
                || has("Driver", &|word| word.contains("ipoib")))
            && !is(&file.text, "Unmanaged", &YES)
    };
    let of = |file: &RuleFile| Configured { path: file.path.clone(), waits: networkd_waits(&file.text) };
    files.iter().filter(configures).map(of).collect()
}

/// Whether the boot waits for what a file configures (systemd.network(5), `RequiredForOnline`).
fn networkd_waits(text: &str) -> bool {
    let is_required = value(text, "RequiredForOnline").is_some();
    let by_hand = is(text, "ActivationPolicy", &["manual", "down", "always-down", "bound"]);
    !is(text, "RequiredForOnline", &NO) && (is_required || !by_hand)
}

fn is(text: &str, key: &str, values: &[&str]) -> bool {
    value(text, key).is_some_and(|value| values.contains(&value.to_ascii_lowercase().as_str()))
}

fn kept_off_by_settings(host: &Host) -> Option<String> {
    let mut settings = NM_SETTINGS.iter().flat_map(|folder| texts(host, folder, ".conf"));
    let by_setting = |text: &str| text.contains("unmanaged-devices") && names_all_functions(text);
    settings.find(|(_, text)| by_setting(text)).map(|(path, _)| path)
}

/// Whether a word is the name of an InfiniBand interface, or a pattern of such names.
pub(super) fn is_name(word: &str) -> bool {
    let rest = word.strip_prefix("ib").unwrap_or_default();
    rest.starts_with(|letter: char| {
        letter.is_ascii_digit() || letter.is_ascii_uppercase() || "ps*?[".contains(letter)
    })
}

/// Whether a line of interfaces(5) begins with this word and names an InfiniBand interface.
fn names_one(line: &str, key: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some(key) && words.any(is_name)
}

/// The value of a `key=value` line, without quotes.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.trim().split_once('='));
    lines.rfind(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().trim_matches(['"', '\'']))
}

/// The files of all other managers that configure one.
fn configured_elsewhere(host: &Host) -> Vec<Configured> {
    let mut found = Vec::new();
    let mut add = |path: String, waits: bool| found.push(Configured { path, waits });
    for (path, text) in texts(host, "/etc/NetworkManager/system-connections", ".nmconnection") {
        if value(&text, "type") == Some("infiniband") {
            add(path, value(&text, "autoconnect") != Some("false"));
        }
    }
    for folder in ["/etc/sysconfig/network-scripts", "/etc/sysconfig/network"] {
        for (path, text) in texts(host, folder, "").into_iter().filter(|(path, _)| path.contains("/ifcfg-")) {
            // NetworkManager's and warewulf's files are called after a connection, and name the device inside.
            let name = path.rsplit("/ifcfg-").next();
            let named = name.into_iter().chain(value(&text, "DEVICE")).any(is_name);
            if named || value(&text, "TYPE").is_some_and(|kind| kind.eq_ignore_ascii_case("infiniband")) {
                let starts = value(&text, "STARTMODE").or_else(|| value(&text, "ONBOOT")).unwrap_or("no");
                add(path, matches!(starts, "yes" | "auto" | "boot" | "onboot" | "on"));
            }
        }
    }
    let main = "/etc/network/interfaces";
    let main = host.root.read_text(main).ok().flatten().map(|text| (main.to_owned(), text));
    for (path, text) in main.into_iter().chain(texts(host, "/etc/network/interfaces.d", "")) {
        let has = |key: &str| text.lines().any(|line| names_one(line, key));
        if has("iface") {
            add(path, has("auto"));
        }
    }
    found
}

fn cloud_init(host: &Host) -> Option<String> {
    if !host.root.exists("/usr/bin/cloud-init") {
        return None;
    }
    let folders = ["/usr/lib", "/usr/lib64"].iter().flat_map(|lib| {
        let pythons = host.root.list(lib).into_iter().filter(|name| name.starts_with("python"));
        pythons.flat_map(move |python| {
            ["dist-packages", "site-packages"]
                .map(|packages| format!("{lib}/{python}/{packages}/cloudinit/version.py"))
        })
    });
    folders.filter_map(|path| host.root.read_text(&path).ok().flatten()).find_map(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("__VERSION__"))?;
        let version = line.split(['"', '\'']).nth(1)?;
        Some(version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::rule_findings;
    use crate::facts::tests::host_with;

    fn read_all(host: &Host) -> NetworkManagers {
        let files = rule_findings::read(host, None);
        read(host, &files.configured, files.keeps_off.as_deref())
    }

    #[test]
    fn a_configured_interface_is_found_in_every_managers_files() {
        for (path, text, waits) in [
            (
                "etc/NetworkManager/system-connections/ib.nmconnection",
                "[connection]\ntype=infiniband\n",
                Some(true),
            ),
            (
                "etc/NetworkManager/system-connections/ib.nmconnection",
                "[connection]\ntype=infiniband\nautoconnect=false\n",
                Some(false),
            ),
            ("etc/sysconfig/network-scripts/ifcfg-ib0", "ONBOOT=yes\n", Some(true)),
            ("etc/sysconfig/network-scripts/ifcfg-default", "DEVICE=\"ib0\"\nONBOOT=yes\n", Some(true)),
            ("etc/sysconfig/network-scripts/ifcfg-hpc", "TYPE=InfiniBand\nONBOOT=\"no\"\n", Some(false)),
            ("etc/sysconfig/network/ifcfg-ib0", "STARTMODE='auto'\n", Some(true)),
            ("etc/sysconfig/network/ifcfg-ib0", "STARTMODE='hotplug'\n", Some(false)),
            ("etc/systemd/network/20-ib.network", "[Match]\nName=ib0\n", Some(true)),
            (
                "etc/systemd/network/20-ib.network",
                "[Match]\nName=ib0\n[Link]\nRequiredForOnline=no\n",
                Some(false),
            ),
            ("etc/systemd/network/20-ib.network", "[Match]\nName=eth9 ib*\n", Some(true)),
            ("etc/systemd/network/20-ib.network", "[Match]\nName=!ib*\n", None),
            (
                "etc/systemd/network/20-ib.network",
                "[Match]\nType=infiniband\n[Link]\nActivationPolicy=manual\n",
                Some(false),
            ),
            ("etc/systemd/network/20-ib.network", "[Match]\nType=infiniband\n[Link]\nUnmanaged=true\n", None),
            ("etc/netplan/60-ib.yaml", "network:\n  ethernets:\n    ib0: {dhcp4: false}\n", Some(true)),
            ("etc/network/interfaces", "auto lo ib0\niface ib0 inet manual\n", Some(true)),
            ("etc/network/interfaces.d/ib", "allow-hotplug ib0\niface ib0 inet manual\n", Some(false)),
            ("etc/netplan/50-cloud-init.yaml", "network:\n  ethernets:\n    eth0: {dhcp4: true}\n", None),
            ("etc/sysconfig/network-scripts/ifcfg-eth0", "ONBOOT=yes\n", None),
        ] {
            let (_dir, host) = host_with(&[(path, text)]);
            let found = read_all(&host).configured;
            assert_eq!(found.first().map(|it| it.waits), waits, "{path}: {text}");
        }
    }

    #[test]
    fn what_keeps_managers_off_virtual_functions_already_is_found() {
        for (path, text) in [
            (
                "usr/lib/udev/rules.d/10-azure-unmanaged-sriov.rules",
                "SUBSYSTEM==\"net\", DRIVERS==\"hv_pci\", ENV{NM_UNMANAGED}=\"1\"\n",
            ),
            (
                "etc/systemd/network/01-vf.network",
                "[Match]\nDriver=mlx4_en mlx5_core mana\n[Link]\nUnmanaged=yes\n",
            ),
            (
                "etc/NetworkManager/conf.d/vf.conf",
                "[keyfile]\nunmanaged-devices=driver:mlx5_core;driver:mana\n",
            ),
        ] {
            let (_dir, host) = host_with(&[(path, text)]);
            assert_eq!(read_all(&host).kept_off.unwrap(), format!("/{path}"));
            let (_dir, host) = host_with(&[(path, &format!("{OURS}\n{text}"))]);
            assert_eq!(read_all(&host).kept_off, None);
        }
    }

    #[test]
    fn an_old_cloud_init_is_known_by_its_version() {
        for (version, old) in [("20.2", true), ("22.4", true), ("22.4.1", false), ("25.1.4", false)] {
            let text = format!("__VERSION__ = \"{version}\"\n");
            let program = ("usr/bin/cloud-init", "");
            let (_dir, host) =
                host_with(&[program, ("usr/lib/python3/dist-packages/cloudinit/version.py", &text)]);
            assert_eq!(read_all(&host).stops_at_twins(), old, "{version}");
        }
    }
}
