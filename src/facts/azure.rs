//! Signs of Azure in the root: the VM agent and its RDMA setting, the HPC images' marker, the chassis tag.

use crate::host::Host;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const WAAGENT_CONF: &str = "/etc/waagent.conf";
/// The folder with the versions of itself that the agent has downloaded.
const WAAGENT_DIR: &str = "/var/lib/waagent";
/// Written by Azure/azhpc-images, utils/utilities.sh; microsoft/lisa takes its presence for an HPC image, too.
const COMPONENT_VERSIONS: &str = "/opt/azurehpc/component_versions.txt";
/// The tag of every Azure VM's chassis (canonical/cloud-init, cloudinit/sources/azure/identity.py).
pub(crate) const AZURE_CHASSIS: &str = "7783-7084-3265-9085-8269-3286-77";

/// The state of `OS.EnableRDMA` in the agent's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnableRdma {
    /// It is on: the agent gives `IPoIB` interfaces their addresses.
    On,
    /// It is set to something else.
    Off,
    /// It is commented out, as most distributions ship it.
    Commented,
    /// It is not there at all.
    Missing,
}

/// The Azure VM agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waagent {
    /// The version the distribution installed, whose daemon configures `IPoIB`; else the newest it downloaded.
    pub version: Option<String>,
    /// Its RDMA setting; none without a configuration file.
    pub enable_rdma: Option<EnableRdma>,
}

/// An Azure HPC image, and the drivers that its list of components names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HpcImage {
    /// The OFED version.
    pub ofed: Option<String>,
    /// The DOCA version.
    pub doca: Option<String>,
}

/// Looks for the agent; none when the image has none.
pub fn waagent(host: &Host) -> Option<Waagent> {
    let conf = host.root.read_text(WAAGENT_CONF).ok().flatten();
    let version = installed_version(host).or_else(|| {
        newest(host.root.list(WAAGENT_DIR).iter().filter_map(|name| name.strip_prefix("WALinuxAgent-")))
    });
    (conf.is_some() || version.is_some())
        .then(|| Waagent { version, enable_rdma: conf.as_deref().map(enable_rdma) })
}

/// Looks for the HPC images' marker; none when this is no such image.
pub fn hpc_image(host: &Host) -> Option<HpcImage> {
    Some(component_versions(&host.root.read_text(COMPONENT_VERSIONS).ok()??))
}

/// Whether the firmware identifies an Azure VM. Hyper-V alone does not, because it runs elsewhere, too.
pub fn is_azure(host: &Host) -> bool {
    host.root.attribute("/sys/class/dmi/id/chassis_asset_tag").as_deref() == Some(AZURE_CHASSIS)
}

fn installed_version(host: &Host) -> Option<String> {
    let versions = ["/usr/lib", "/usr/local/lib"].into_iter().flat_map(|lib| {
        let pythons = host.root.list(lib).into_iter().filter(|name| name.starts_with("python"));
        pythons.flat_map(move |python| {
            ["dist-packages", "site-packages"].map(|packages| {
                let text = format!("{lib}/{python}/{packages}/azurelinuxagent/common/version.py");
                agent_version(&host.root.read_text(&text).ok()??)
            })
        })
    });
    let versions: Vec<String> = versions.flatten().collect();
    newest(versions.iter().map(String::as_str))
}

/// The version in azurelinuxagent/common/version.py: `AGENT_VERSION = '2.2.46'`.
fn agent_version(python: &str) -> Option<String> {
    let value = python.lines().find_map(|line| {
        line.strip_prefix("AGENT_VERSION")?.trim_start().strip_prefix('=').map(str::trim_start)
    })?;
    let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let version = value[1..].split(quote).next()?;
    numbers(version).map(|_| version.to_owned())
}

/// The highest of some dotted versions; what is none is left out.
fn newest<'a>(versions: impl Iterator<Item = &'a str>) -> Option<String> {
    versions
        .filter_map(|version| Some((numbers(version)?, version)))
        .max()
        .map(|(_, version)| version.to_owned())
}

fn numbers(version: &str) -> Option<Vec<u64>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

/// The setting as the agent itself reads it (Azure/WALinuxAgent, azurelinuxagent/common/conf.py): a line that starts
/// with `#` is a comment, the last value counts, quotes and a comment behind it do not, only `y` is on.
fn enable_rdma(conf: &str) -> EnableRdma {
    const KEY: &str = "OS.EnableRDMA";
    let mut found = EnableRdma::Missing;
    for line in conf.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        if key.trim() == KEY {
            let value = value.split('#').next().unwrap_or_default().trim_matches(['"', ' ']).trim();
            found = if value.eq_ignore_ascii_case("y") { EnableRdma::On } else { EnableRdma::Off };
        } else if found == EnableRdma::Missing && key.trim_start_matches(['#', ' ', '\t']).trim() == KEY {
            found = EnableRdma::Commented;
        }
    }
    found
}

/// The drivers in the HPC images' list of components, a JSON object of names and versions.
fn component_versions(json: &str) -> HpcImage {
    let components: Value = serde_json::from_str(json).unwrap_or_default();
    let version = |names: &[&str]| {
        names.iter().find_map(|name| {
            let value = components.get(name)?;
            let version = value.get("version").unwrap_or(value).as_str()?.trim();
            (!version.is_empty()).then(|| version.to_owned())
        })
    };
    HpcImage { ofed: version(&["OFED", "MOFED"]), doca: version(&["DOCA"]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;
    use proptest::prelude::*;

    #[test]
    fn the_rdma_setting_is_read_as_the_agent_reads_it() {
        for (conf, setting) in [
            ("OS.EnableRDMA=y\n", EnableRdma::On),
            ("  OS.EnableRDMA = Y  # IPoIB\n", EnableRdma::On),
            ("OS.EnableRDMA=\"y\"\n", EnableRdma::On),
            ("OS.EnableRDMA=n\nOS.EnableRDMA=y\n# OS.EnableRDMA=n\n", EnableRdma::On),
            ("OS.EnableRDMA=y\nOS.EnableRDMA=n\n", EnableRdma::Off),
            ("OS.EnableRDMA=yes\n", EnableRdma::Off),
            ("OS.EnableRDMA=\n", EnableRdma::Off),
            ("# OS.EnableRDMA=y\n", EnableRdma::Commented),
            ("#OS.EnableRDMA=n", EnableRdma::Commented),
            ("# Enable RDMA management and set up, should only be used in HPC images\n", EnableRdma::Missing),
            ("OS.UpdateRdmaDriver=y\nOS.EnableRDMAx=y\n", EnableRdma::Missing),
            ("", EnableRdma::Missing),
        ] {
            assert_eq!(enable_rdma(conf), setting, "{conf:?}");
        }
    }

    #[test]
    fn the_agents_version_is_the_installed_one_before_the_downloaded() {
        let downloaded = ("var/lib/waagent/WALinuxAgent-2.9.1.1/bin/x", "");
        let newer = ("var/lib/waagent/WALinuxAgent-2.15.0.1/bin/x", "");
        let version = |files: &[(&str, &str)]| waagent(&host_with(files).1)?.version;
        assert_eq!(version(&[]), None);
        assert_eq!(
            version(&[downloaded, newer, ("var/lib/waagent/WALinuxAgent-x", "")]).unwrap(),
            "2.15.0.1"
        );
        let installed = (
            "usr/lib/python3/dist-packages/azurelinuxagent/common/version.py",
            "AGENT_NAME = \"WALinuxAgent\"\nAGENT_VERSION = '2.2.46'\nAGENT_LONG_VERSION = x\n",
        );
        assert_eq!(version(&[downloaded, installed]).unwrap(), "2.2.46");
        for odd in [
            "AGENT_VERSION",
            "AGENT_VERSION = ",
            "AGENT_VERSION = x()",
            "AGENT_VERSION = '",
            "AGENT_VERSION = ''",
        ] {
            assert_eq!(agent_version(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_marker_alone_makes_an_hpc_image() {
        let both = HpcImage { ofed: Some("25.10-1.7.1".to_owned()), doca: Some("3.2.1".to_owned()) };
        assert_eq!(component_versions(r#"{"OFED": "25.10-1.7.1", "DOCA": "3.2.1", "HPCX": "v2.24"}"#), both);
        for odd in ["", "[]", "{}", r#"{"OFED": 5, "DOCA": ""}"#] {
            assert_eq!(component_versions(odd), HpcImage::default(), "{odd}");
        }
        assert_eq!(hpc_image(&host_with(&[(&COMPONENT_VERSIONS[1..], "?")]).1), Some(HpcImage::default()));
        assert_eq!(hpc_image(&host_with(&[]).1), None);
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "\\PC*") {
            let _ = (enable_rdma(&text), component_versions(&text), numbers(&text));
            let _ = agent_version(&format!("AGENT_VERSION = {text}"));
        }
    }
}
