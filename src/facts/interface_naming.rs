//! What names the network interfaces of InfiniBand ports in a root: kernel arguments, `.link` files of systemd, and udev's
//! rules. Without any of them systemd names an interface after its PCI address, `ibP257s0`.
//!
//! cloud-init renames interfaces by such rules and by netplan, each by the hardware address. That of an InfiniBand interface
//! has 20 bytes.

use super::rule_files::{RuleFile, is_a};
use crate::host::Host;
use serde::{Deserialize, Serialize};

/// Folders and files with kernel arguments, of GRUB, of systemd and of the loader's entries.
const ARGUMENT_FILES: [&str; 3] = ["/etc/default/grub", "/etc/kernel/cmdline", "/proc/cmdline"];
const ARGUMENT_FOLDERS: [&str; 2] = ["/etc/default/grub.d", "/boot/loader/entries"];
/// With it systemd leaves every name as the kernel gave it (systemd.net-naming-scheme(7)).
const KEEPS: &str = "net.ifnames=0";
/// The beginning of a `.link` file with which this program overrides one of the image.
pub const REPLACED: &str = "# Made by ofedctl, in place of the image's own names for IPoIB interfaces";
/// The letters in the text of a 20-byte hardware address.
pub(super) const LONG_ADDRESS: usize = 59;
/// The hardware type of an InfiniBand interface in udev's rules.
const TYPE: &str = "ATTR{type}==\"32\"";

/// What names the interfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InterfaceNaming {
    /// Whether the kernel's names stay (`net.ifnames=0`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_names: bool,
    /// Whether `biosdevname` is set, which names Ethernet interfaces alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub biosdevname: bool,
    /// Files that name them, in the order in which they count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Named>,
}

/// A file that names InfiniBand interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Named {
    /// The file.
    pub path: String,
    /// The name that it gives, where it gives one; else it follows a policy of systemd's.
    pub name: Option<String>,
}

impl Named {
    /// Whether it is one of systemd's `.link` files.
    pub fn is_link(&self) -> bool {
        is_a(&self.path, "link")
    }
}

/// Reads what names InfiniBand interfaces in a root, beside this program. `files` are those that [`RuleFindings`] holds.
///
/// [`RuleFindings`]: super::rule_findings::RuleFindings
pub fn read(host: &Host, files: &[Named]) -> InterfaceNaming {
    let arguments = arguments(host);
    let has = |argument: &str| arguments.iter().any(|it| it == argument);
    InterfaceNaming {
        keeps_names: has(KEEPS),
        biosdevname: arguments.iter().any(|it| it.starts_with("biosdevname=")),
        files: files.to_vec(),
    }
}

/// The rules and `.link` files that name InfiniBand interfaces, in the order in which they count: a rule that gives a name
/// goes before systemd's files, which 80-net-setup-link.rules asks for.
pub(super) fn in_files(files: &[RuleFile]) -> Vec<Named> {
    let name_of = |file: &RuleFile| {
        // What was replaced is still there to be replaced.
        if file.is_ours() && !(file.is_link() && file.text.starts_with(REPLACED)) {
            return None;
        }
        if file.is_rules() { file.text.lines().find_map(rule) } else { link(&file.text) }
    };
    let named = files.iter().filter(|file| file.is_rules() || file.is_link()).filter_map(|file| {
        // A name that is made of the device's properties is a policy.
        let name = Some(name_of(file)?).filter(|name| !name.is_empty() && !name.contains(['$', '%']));
        Some(Named { path: file.path.clone(), name })
    });
    named.collect()
}

fn arguments(host: &Host) -> Vec<String> {
    let in_folders = ARGUMENT_FOLDERS.iter().flat_map(|folder| {
        let is_read = |name: &String| [".cfg", ".conf"].iter().any(|end| name.ends_with(end));
        host.root.list(folder).into_iter().filter(is_read).map(move |name| format!("{folder}/{name}"))
    });
    let files = ARGUMENT_FILES.iter().map(|file| (*file).to_owned()).chain(in_folders);
    let mut found = Vec::new();
    for file in files {
        let text = host.root.read_text(&file).ok().flatten().unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let words =
            lines.flat_map(|line| line.split(|it: char| it.is_whitespace() || matches!(it, '"' | '\'')));
        found.extend(words.filter(|word| word.contains('=')).map(str::to_owned));
    }
    found
}

/// What a `.link` file says of an InfiniBand interface; none where it is not for one, or is for every interface, as the
/// distribution's `99-default.link`; empty where it leaves the name to a policy.
fn link(text: &str) -> Option<String> {
    let mut section = "";
    let mut is_for_it = false;
    let mut name = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = title;
            continue;
        }
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
            continue;
        };
        let mut words = value.split_whitespace();
        match (section, key) {
            ("Match", "Type") if words.any(|word| word == "infiniband") => is_for_it = true,
            ("Match", "Type") => return None,
            ("Match", "OriginalName") if words.any(|word| word.starts_with("ib")) => is_for_it = true,
            ("Match", "Driver") if words.any(|word| word.contains("ipoib")) => is_for_it = true,
            ("Match", "MACAddress" | "PermanentMACAddress")
                if words.any(|word| word.len() >= LONG_ADDRESS) =>
            {
                is_for_it = true;
            }
            ("Link", "Name") => value.clone_into(&mut name),
            _ => {}
        }
    }
    is_for_it.then_some(name)
}

/// The name that a rule gives an InfiniBand interface, as those of Red Hat's rdma package (`70-persistent-ipoib.rules`) and
/// of cloud-init (`70-persistent-net.rules`) do.
fn rule(line: &str) -> Option<String> {
    let line = line.trim();
    let value = |key: &str| {
        let (before, rest) = line.split_once(&format!("{key}=\""))?;
        (before.is_empty() || before.ends_with([' ', ',']))
            .then(|| rest.split('"').next().unwrap_or_default())
    };
    let compared = |key: &str| {
        let (_, rest) = line.split_once(&format!("{key}==\""))?;
        rest.split('"').next()
    };
    if line.starts_with('#') || !line.contains("SUBSYSTEM==\"net\"") {
        return None;
    }
    let is_for_it = line.contains(TYPE)
        || compared("KERNEL").is_some_and(|name| name.starts_with("ib"))
        || compared("ATTR{address}").is_some_and(|address| address.len() >= LONG_ADDRESS);
    value("NAME").filter(|name| is_for_it && !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::rule_findings;
    use crate::facts::tests::host_with;

    #[test]
    fn files_that_name_infiniband_interfaces_are_found_and_others_are_not() {
        let long = "80:00:01:49:fe:80:00:00:00:00:00:00:00:15:5d:ff:fd:33:ff:2a";
        let of_address = format!(
            "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{{address}}==\"{long}\", NAME=\"eth1\"\n"
        );
        let short = of_address.replace(long, "00:15:5d:33:ff:2a");
        let link = "etc/systemd/network/05-ib.link";
        let rules = "etc/udev/rules.d/70-persistent-ipoib.rules";
        let by_type =
            "ACTION==\"add\", SUBSYSTEM==\"net\", DRIVERS==\"?*\", ATTR{type}==\"32\", NAME=\"mlx5_ib0\"\n";
        for (path, text, name) in [
            (link, "[Match]\nType=infiniband\n[Link]\nName=hpc0\n", Some(Some("hpc0"))),
            (link, "[Match]\nOriginalName=ib*\n[Link]\nNamePolicy=path\n", Some(None)),
            (link, "[Match]\nOriginalName=*\n[Link]\nNamePolicy=keep kernel\n", None),
            (link, "[Match]\nType=ether\nOriginalName=ib*\n[Link]\nName=x\n", None),
            (link, "# Made by ofedctl\n[Match]\nOriginalName=ib[0-9]*\n", None),
            (link, &format!("{REPLACED}.\n[Match]\nOriginalName=ib[0-9]*\n"), Some(None)),
            (rules, by_type, Some(Some("mlx5_ib0"))),
            (rules, &format!("# {by_type}"), None),
            (rules, &of_address, Some(Some("eth1"))),
            (rules, &short, None),
            (rules, "SUBSYSTEM==\"net\", KERNEL==\"ib*\", RUN+=\"/sbin/ifup %k\"\n", None),
        ] {
            let (_dir, host) = host_with(&[(path, text)]);
            let found = read(&host, &rule_findings::read(&host, None).interfaces).files;
            let found = found.first().map(|it| it.name.as_deref());
            assert_eq!(found, name, "{text}");
        }
    }

    #[test]
    fn kernel_arguments_are_read_wherever_a_distribution_keeps_them() {
        for (path, text, keeps) in [
            ("etc/default/grub", "GRUB_CMDLINE_LINUX=\"console=ttyS0 net.ifnames=0 biosdevname=0\"\n", true),
            ("etc/default/grub.d/50-cloudimg-settings.cfg", "GRUB_CMDLINE_LINUX='net.ifnames=0'\n", true),
            ("boot/loader/entries/a.conf", "options root=/dev/sda1 net.ifnames=0\n", true),
            ("etc/kernel/cmdline", "root=/dev/sda1 net.ifnames=0\n", true),
            ("proc/cmdline", "root=/dev/sda1 net.ifnames=0\n", true),
            ("etc/default/grub", "#GRUB_CMDLINE_LINUX=\"net.ifnames=0\"\n", false),
            ("etc/default/grub", "GRUB_CMDLINE_LINUX=\"net.ifnames=1 biosdevname=0\"\n", false),
        ] {
            let (_dir, host) = host_with(&[(path, text)]);
            let found = read(&host, &rule_findings::read(&host, None).interfaces);
            assert_eq!(found.keeps_names, keeps, "{path} {text}");
            assert_eq!(found.biosdevname, text.contains("biosdevname") && !text.starts_with('#'), "{text}");
        }
    }
}
