//! The Azure VM agent in a root: its version, its RDMA setting, and how its code gives `IPoIB` interfaces addresses.
//!
//! The agent's daemon does that once, when it starts. Which interfaces it finds and which programs it calls differs
//! between versions, and distributions patch it (SUSE replaces `ifconfig`, Azure/WALinuxAgent pull request 2705), so
//! its own source is read. The versions below are those of the tags of Azure/WALinuxAgent whose source was compared.

use super::waagent_start::{Daemon, NoStart};
use crate::host::Host;
use serde::{Deserialize, Serialize};

const CONF: &str = "/etc/waagent.conf";
/// The folder with the versions of itself that the agent has downloaded.
const DOWNLOADED: &str = "/var/lib/waagent";
/// Folders of programs; an image may keep `/sbin` apart from `/usr/sbin`.
const PROGRAMS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// The state of `OS.EnableRDMA` in the agent's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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

/// Why an agent never gives an `IPoIB` interface an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Its code knows Network Direct alone (before 2.2.35).
    NoSriov,
    /// Its daemon asks for the goal state with the wrong object, and gives up (2.9.1.1 to 2.11.1.12;
    /// Azure/WALinuxAgent issue 3025, Azure/azhpc-images pull request 379).
    GoalState,
}

/// How an agent's code gives `IPoIB` interfaces addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Addressing {
    /// Why it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Whether it reads the addresses of all interfaces from the host's key-value pairs (`IPoIB_Data`; from 2.2.54.2 on),
    /// which `hv_kvp_daemon` writes to a file. Without them it knows one address, for one interface.
    pub reads_kvp: bool,
    /// Whether it calls `ifconfig` (all up to 2.15.0.1; Azure/WALinuxAgent issue 1712).
    pub calls_ifconfig: bool,
    /// Whether it looks for `ib0` alone (before 2.10; Azure/WALinuxAgent pull request 2814) or for `ib` with a number
    /// (2.2.54.2 and 2.3.1.1), and not for `ibP257s0`, as systemd names them.
    pub wants_kernel_names: bool,
}

/// The Azure VM agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Waagent {
    /// The version the distribution installed, whose daemon configures `IPoIB`; else the newest it downloaded.
    pub version: Option<String>,
    /// Its RDMA setting; none without a configuration file.
    pub enable_rdma: Option<EnableRdma>,
    /// Its systemd unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Why its daemon cannot start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_start: Option<NoStart>,
    /// How it gives addresses; none where its code is not found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addressing: Option<Addressing>,
    /// Whether the root has `ifconfig`.
    #[serde(default)]
    pub has_ifconfig: bool,
    /// Whether the root has the program that keeps the host's key-value pairs.
    #[serde(default)]
    pub has_kvp_daemon: bool,
}

impl Waagent {
    /// Its name with its version, for messages.
    pub fn name(&self) -> String {
        self.version.as_ref().map_or_else(|| "the VM agent".to_owned(), |it| format!("the VM agent {it}"))
    }

    /// Its unit, for messages.
    pub fn unit(&self) -> &str {
        self.unit.as_deref().unwrap_or("the VM agent")
    }

    /// Whether it gives an address to an interface of this name.
    pub fn takes(&self, interface: &str) -> bool {
        let rest = interface.strip_prefix("ib").unwrap_or_default();
        let is_number = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        let is_word =
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_number || (is_word && !self.wants_kernel_names())
    }

    /// Whether a program is missing that some version of it calls or reads from.
    pub fn lacks_programs(&self) -> bool {
        !self.has_ifconfig || !self.has_kvp_daemon
    }

    /// The names of interfaces that it looks for.
    pub fn looks_for(&self) -> &'static str {
        if self.wants_kernel_names() { "ib0" } else { "names that begin with ib" }
    }

    fn wants_kernel_names(&self) -> bool {
        self.addressing.is_some_and(|addressing| addressing.wants_kernel_names)
    }
}

/// Looks for the agent; none when the image has none.
pub fn read(host: &Host, kernels: &[String]) -> Option<Waagent> {
    let conf = host.root.read_text(CONF).ok().flatten();
    let daemon = Daemon::read(host);
    let installed = installed(host, &daemon);
    let addressing = installed.as_ref().and_then(|it| addressing_of(host, &it.code));
    let cannot_find = installed.as_ref().and_then(|it| daemon.cannot_find(&it.python));
    let version = installed.map(|it| it.version).or_else(|| {
        newest(host.root.list(DOWNLOADED).iter().filter_map(|name| name.strip_prefix("WALinuxAgent-")))
    });
    (conf.is_some() || version.is_some()).then(|| Waagent {
        version,
        enable_rdma: conf.as_deref().map(enable_rdma),
        unit: daemon.unit,
        no_start: daemon.no_start.or(cannot_find),
        addressing,
        has_ifconfig: has_program(host, "ifconfig"),
        has_kvp_daemon: has_kvp_daemon(host, kernels),
    })
}

/// An installed agent.
struct InstalledAgent {
    version: String,
    /// The folder of its code.
    code: String,
    /// The folder of the Python that finds it, such as `python3.6`.
    python: String,
}

/// The newest that the daemon's Python finds; else the newest.
fn installed(host: &Host, daemon: &Daemon) -> Option<InstalledAgent> {
    let list = |folder: &str| host.root.list(folder).into_iter();
    let mut found = Vec::new();
    for lib in ["/usr/lib", "/usr/lib64", "/usr/local/lib"] {
        for python in list(lib).filter(|name| name.starts_with("python")) {
            for packages in ["dist-packages", "site-packages"] {
                let folder = format!("{lib}/{python}/{packages}");
                // Its own setup.py makes an egg, as on Azure's HPC images (Azure/azhpc-images, install_waagent.sh).
                let eggs = list(&folder).filter(|name| name.starts_with("WALinuxAgent-"));
                let places = eggs.map(|egg| format!("{folder}/{egg}")).chain([folder.clone()]);
                found.extend(places.filter_map(|place| {
                    let code = format!("{place}/azurelinuxagent");
                    let text = host.root.read_text(&format!("{code}/common/version.py")).ok()??;
                    let version = agent_version(&text)?;
                    let order = (daemon.finds(&python), numbers(&version)?);
                    Some((order, InstalledAgent { version, code, python: python.clone() }))
                }));
            }
        }
    }
    found.into_iter().max_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, agent)| agent)
}

fn addressing_of(host: &Host, code: &str) -> Option<Addressing> {
    let read = |path: &str| host.root.read_text(&format!("{code}/{path}")).ok().flatten();
    // Moved in 2.10.
    let rdma = read("pa/rdma/rdma.py").or_else(|| read("common/rdma.py"))?;
    Some(addressing(&rdma, &read("daemon/main.py").unwrap_or_default()))
}

/// What the source of `rdma.py`, and of the daemon that calls it, says.
fn addressing(rdma: &str, daemon: &str) -> Addressing {
    let fault = if !rdma.contains("sriov") {
        Some(Fault::NoSriov)
    } else if daemon.contains("GoalState(protocol,") {
        Some(Fault::GoalState)
    } else {
        None
    };
    Addressing {
        fault,
        reads_kvp: rdma.contains("IPoIB_Data"),
        calls_ifconfig: rdma.contains("\"ifconfig "),
        wants_kernel_names: rdma.contains("ib0 is not available") || rdma.contains("\"ib\\d+\""),
    }
}

fn has_program(host: &Host, name: &str) -> bool {
    PROGRAMS.iter().any(|folder| host.root.exists(&format!("{folder}/{name}")))
}

/// Whether the daemon is there: under the names of upstream and of Enterprise Linux, in SUSE's folders, or, on Ubuntu,
/// where the program in `/usr/sbin` starts the one of the kernel, for every kernel.
fn has_kvp_daemon(host: &Host, kernels: &[String]) -> bool {
    let of_kernel = |kernel: &String| format!("/usr/lib/linux-tools/{kernel}/hv_kvp_daemon");
    if host.root.is_dir("/usr/lib/linux-tools") || host.root.is_dir("/usr/share/doc/linux-cloud-tools-common")
    {
        return kernels.iter().all(|kernel| host.root.exists(&of_kernel(kernel)));
    }
    ["hv_kvp_daemon", "hypervkvpd"].iter().any(|name| has_program(host, name))
        || ["/usr/lib/hyper-v/bin", "/usr/libexec/hyper-v/bin", "/usr/libexec/hypervkvpd"]
            .iter()
            .any(|folder| host.root.is_dir(folder))
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

/// The numbers of a dotted version; none where it has anything else.
pub(super) fn numbers(version: &str) -> Option<Vec<u64>> {
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
        let version = |files: &[(&str, &str)]| read(&host_with(files).1, &[])?.version;
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

    /// The lines of each tag's source that tell it apart; the whole agents are tried in tests/extension/ipoib.rs.
    #[test]
    fn each_version_is_told_by_its_own_code() {
        let sriov = "def provision_sriov_rdma(self):\n";
        let kvp = format!("{sriov}if key_0 == \"IPoIB_Data\":\nif not re.match(r\"ib\\w+\", nic):\n");
        let single = "run_get_output(\"ifconfig -a\")\n";
        let ib0 = format!("{single}raise Exception(\"ib0 is not available\")\n");
        let fetch = "protocol.client.update_goal_state(force_update=True)\n";
        let wrong = "goal_state = GoalState(protocol, goal_state_properties=x)\n";
        let right = "goal_state = GoalState(protocol.client, goal_state_properties=x)\n";
        let found = |rdma: String, daemon: &str| {
            let Addressing { fault, reads_kvp, calls_ifconfig, wants_kernel_names } =
                addressing(&rdma, daemon);
            (fault, reads_kvp, calls_ifconfig, wants_kernel_names)
        };
        for (version, rdma, daemon, wanted) in [
            ("2.2.33", ib0.clone(), fetch, (Some(Fault::NoSriov), false, true, true)),
            ("2.2.46", format!("{sriov}{ib0}"), fetch, (None, false, true, true)),
            (
                "2.3.1.1",
                format!("{sriov}IPoIB_Data\nre.match(r\"ib\\d+\", nic)\n"),
                fetch,
                (None, true, false, true),
            ),
            ("2.7.3.0", format!("{kvp}{ib0}"), fetch, (None, true, true, true)),
            ("2.9.1.1", format!("{kvp}{ib0}"), wrong, (Some(Fault::GoalState), true, true, true)),
            ("2.11.1.4", format!("{kvp}{single}"), wrong, (Some(Fault::GoalState), true, true, false)),
            ("2.15.0.1", format!("{kvp}{single}"), right, (None, true, true, false)),
            ("SUSE's", kvp, right, (None, true, false, false)),
        ] {
            assert_eq!(found(rdma, daemon), wanted, "{version}");
        }
    }

    #[test]
    fn the_code_is_found_wherever_it_was_installed() {
        let version = "AGENT_VERSION = '2.12.0.4'\n";
        let egg = "usr/local/lib/python3.10/dist-packages/WALinuxAgent-2.12.0.4-py3.10.egg/azurelinuxagent";
        let (code, rdma) = (format!("{egg}/common/version.py"), format!("{egg}/pa/rdma/rdma.py"));
        let (_dir, host) = host_with(&[
            (&code, version),
            (&rdma, "sriov IPoIB_Data"),
            ("usr/lib/python3/dist-packages/azurelinuxagent/common/version.py", "AGENT_VERSION = '2.2.46'\n"),
            ("lib/systemd/system/walinuxagent.service", ""),
            ("usr/sbin/hv_kvp_daemon", ""),
            ("bin/ifconfig", ""),
        ]);
        let agent = read(&host, &[]).unwrap();
        assert_eq!(agent.version.as_deref(), Some("2.12.0.4"));
        assert!(agent.addressing.is_some_and(|it| it.reads_kvp));
        assert_eq!(agent.unit.as_deref(), Some("walinuxagent.service"));
        assert!(agent.has_ifconfig && agent.has_kvp_daemon);
    }

    #[test]
    fn ubuntus_daemon_must_be_there_for_every_kernel() {
        let daemon = "usr/lib/linux-tools/6.8.0-1015-azure/hv_kvp_daemon";
        let (_dir, host) = host_with(&[("usr/sbin/hv_kvp_daemon", ""), (daemon, "")]);
        let has = |kernels: &[&str]| {
            has_kvp_daemon(&host, &kernels.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        };
        assert!(has(&["6.8.0-1015-azure"]) && !has(&["6.8.0-1015-azure", "6.8.0-1020-azure"]));
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "\\PC*") {
            let _ = (enable_rdma(&text), numbers(&text), addressing(&text, &text));
            let _ = agent_version(&format!("AGENT_VERSION = {text}"));
        }
    }
}
