//! Which distribution this is, exactly, and which kernels it has.

use crate::host::fs::Root;
use crate::target::{Arch, Distro, Family, natural};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A root's operating system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Os {
    /// Distribution and its most exact version.
    pub distro: Option<Distro>,
    /// Its family, which tells its package manager.
    pub family: Option<Family>,
    /// The distribution's own name for itself.
    pub name: Option<String>,
    /// The architecture its programs are built for.
    pub arch: Option<Arch>,
    /// The kernels whose modules are installed, oldest first.
    pub kernels: Vec<String>,
    /// The kernel that runs; only on a running system.
    pub running_kernel: Option<String>,
}

/// Reads the operating system of a root.
pub fn read(root: &Root) -> Os {
    let release = release(root);
    let distro = distro(&release, || centos_release(root));
    Os {
        family: distro
            .as_ref()
            .map(|distro| family(root, distro, release.get("ID_LIKE").map(String::as_str))),
        distro,
        name: release.get("PRETTY_NAME").cloned(),
        arch: arch(root),
        kernels: kernels(root),
        running_kernel: root.attribute("/proc/sys/kernel/osrelease"),
    }
}

/// Reads only which distribution a root holds.
pub fn read_distro(root: &Root) -> Option<Distro> {
    distro(&release(root), || centos_release(root))
}

/// os-release of `CentOS` 7 says only `7`; the minor version decides which driver fits.
fn centos_release(root: &Root) -> Option<String> {
    root.attribute("/etc/centos-release")
}

fn release(root: &Root) -> HashMap<String, String> {
    ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| root.read_text(path).ok().flatten())
        .map(|text| parse_os_release(&text))
        .unwrap_or_default()
}

fn parse_os_release(text: &str) -> HashMap<String, String> {
    let pair = |line: &str| {
        let (key, value) = line.trim().split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        (!key.starts_with('#')).then(|| (key.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

fn distro(
    release: &HashMap<String, String>,
    centos_release: impl FnOnce() -> Option<String>,
) -> Option<Distro> {
    let id = release.get("ID")?.as_str();
    let mut version = release.get("VERSION_ID").cloned().unwrap_or_default();
    if id == "centos" && !version.contains('.') {
        version = centos_release().as_deref().and_then(minor_version).unwrap_or(version);
    }
    Distro::of_os_release(id, &version)
}

/// The family by the distribution's name, by `ID_LIKE` (os-release(5)), or by the installed package managers.
fn family(root: &Root, distro: &Distro, like: Option<&str>) -> Family {
    let by_name = |name: &str| match name {
        "suse" | "opensuse" => Family::Suse,
        name => Distro::new(name, "").family(),
    };
    let names = std::iter::once(distro.id.as_str()).chain(like.unwrap_or_default().split_whitespace());
    let known = names.map(by_name).find(|family| *family != Family::Other);
    let managers = [
        ("/usr/bin/apt-get", Family::Debian),
        ("/usr/bin/zypper", Family::Suse),
        ("/usr/bin/tdnf", Family::Azure),
        ("/usr/bin/dnf", Family::Rhel),
        ("/usr/bin/yum", Family::Rhel),
    ];
    let there = || managers.iter().find(|(path, _)| root.exists(path)).map(|(_, family)| *family);
    known.or_else(there).unwrap_or(Family::Other)
}

/// `CentOS Linux release 7.6.1810 (Core)` is 7.6.
fn minor_version(centos_release: &str) -> Option<String> {
    let number =
        centos_release.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut parts = number.split('.');
    Some(format!("{}.{}", parts.next()?, parts.next()?))
}

/// The architecture: from the running kernel or a captured tree, else from the shell's ELF header.
fn arch(root: &Root) -> Option<Arch> {
    // Present from kernel 6.1 on.
    if let Some(named) = root.attribute("/proc/sys/kernel/arch") {
        return named.parse().ok();
    }
    ["/bin/sh", "/usr/bin/env", "/usr/bin/true"].iter().find_map(|path| elf_machine(root, path))
}

fn elf_machine(root: &Root, path: &str) -> Option<Arch> {
    use std::io::Read;
    let (mut file, _) = root.open_file(path).ok()??;
    let mut header = [0; 20];
    file.read_exact(&mut header).ok()?;
    if header[..4] != *b"\x7fELF" {
        return None;
    }
    // e_machine: EM_X86_64 is 62, EM_AARCH64 is 183 (the ELF specification).
    match u16::from_le_bytes([header[18], header[19]]) {
        62 => Some(Arch::X86_64),
        183 => Some(Arch::Aarch64),
        _ => None,
    }
}

fn kernels(root: &Root) -> Vec<String> {
    let has_modules = |kernel: &String| {
        ["modules.dep", "modules.builtin", "kernel"]
            .iter()
            .any(|name| root.exists(&format!("/lib/modules/{kernel}/{name}")))
    };
    let mut kernels: Vec<String> = root.list("/lib/modules").into_iter().filter(has_modules).collect();
    kernels.sort_by(|a, b| natural(a).cmp(&natural(b)));
    kernels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distro_of(release: &str, centos: Option<&str>) -> String {
        distro(&parse_os_release(release), || centos.map(str::to_owned))
            .map_or_else(|| "unknown".to_owned(), |distro| distro.to_string())
    }

    #[test]
    fn every_distribution_names_itself_its_own_way() {
        let table = [
            ("ID=debian\nVERSION_ID=\"12\"\n", None, "debian12"),
            ("ID=ubuntu\nVERSION_ID=\"22.04\"\n", None, "ubuntu22.04"),
            ("ID=\"centos\"\nVERSION_ID=\"7\"\n", Some("CentOS Linux release 7.6.1810 (Core) "), "centos7.6"),
            ("ID=\"rhel\"\nVERSION_ID=\"8.2\"\n", None, "rhel8.2"),
            ("ID=azurelinux\nVERSION_ID=\"3.0\"\n", None, "azurelinux3"),
            ("ID=\"sles\"\nVERSION_ID=\"15.4\"\n", None, "sles15.4"),
            ("ID=arch\n", None, "arch"),
            ("ID=debian\nVERSION_CODENAME=forky\n", None, "debian"),
            ("ID=sles_sap\nVERSION_ID=\"15.4\"\n", None, "sles15.4"),
            ("# nothing\nVERSION_ID=1\n", None, "unknown"),
        ];
        for (release, centos, wanted) in table {
            assert_eq!(distro_of(release, centos), wanted);
        }
    }

    #[test]
    fn what_no_list_names_is_known_by_what_it_is_like() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let of = |id: &str, like: Option<&str>| family(&root, &Distro::new(id, "1"), like);
        assert_eq!(of("linuxmint", Some("ubuntu debian")), Family::Debian);
        assert_eq!(of("eurolinux", Some("rhel fedora centos")), Family::Rhel);
        assert_eq!(of("sle-micro", Some("suse")), Family::Suse);
        assert_eq!(of("arch", None), Family::Other);
        root.write_text("/usr/bin/dnf", "").unwrap();
        assert_eq!(of("homemade", None), Family::Rhel);
    }

    #[test]
    fn kernels_are_in_the_order_they_came_out() {
        let mut kernels = ["6.1.0-10-amd64", "5.10.0-1-amd64", "6.1.0-9-amd64"];
        kernels.sort_by(|a, b| natural(a).cmp(&natural(b)));
        assert_eq!(kernels, ["5.10.0-1-amd64", "6.1.0-9-amd64", "6.1.0-10-amd64"]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "(ID=|VERSION_ID=|[a-z0-9.\"é \n]){0,40}") {
            distro(&parse_os_release(&text), || Some(text.clone()));
            natural(&text);
        }
    }
}
