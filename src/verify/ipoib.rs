//! Checks on a running VM from an InfiniBand port to the address of its network interface: interface, name, address and
//! partition key are a finding each, so that the first one that fails says where the way ends.

use crate::facts::interface_naming;
use crate::facts::interfaces::{self, Interface};
use crate::facts::rdma::VerbsDevice;
use crate::facts::rule_findings;
use crate::facts::waagent::{self, EnableRdma, Waagent};
use crate::host::Host;
use crate::ledger::Check;
use crate::plan_document::Plan;

const MODULE: &str = "ib_ipoib";
/// Where the agent writes the number of its process (Azure/WALinuxAgent, azurelinuxagent/common/conf.py).
const PROCESS: [&str; 2] = ["/run/waagent.pid", "/var/run/waagent.pid"];
/// Set where the port is a full member of the partition. A limited member reaches full members only, and a VM that has
/// nothing but 0x7fff has been given no partition.
const FULL_MEMBER: u32 = 0x8000;

/// The checks of every InfiniBand device's interface, if the plan wants interfaces.
pub(super) fn check_interfaces(host: &Host, plan: &Plan, devices: &[VerbsDevice]) -> Vec<Check> {
    if !plan.modules.iter().any(|module| module == MODULE) {
        return Vec::new();
    }
    let interfaces = interfaces::infiniband(host);
    let agent = waagent::read(host, &plan.target.kernels);
    // A verbs device of Accelerated Networking has an Ethernet interface of another name.
    let devices = devices.iter().filter(|device| device.is_infiniband());
    devices
        .flat_map(|device| {
            let is_of_it = |it: &&Interface| it.pci_address.is_some() && it.pci_address == device.pci_address;
            match interfaces.iter().find(is_of_it) {
                None => {
                    let found = format!("{} has no network interface, which {MODULE} makes", device.name);
                    vec![Check::new(format!("interface {}", device.name), false, found)]
                }
                Some(interface) => check_interface(host, device, interface, agent.as_ref()),
            }
        })
        .collect()
}

/// The findings from an interface on.
fn check_interface(
    host: &Host,
    device: &VerbsDevice,
    interface: &Interface,
    agent: Option<&Waagent>,
) -> Vec<Check> {
    let name = &interface.name;
    let mut checks = vec![Check::new(format!("interface {}", device.name), true, name.clone())];
    let is_addressed = !interface.addresses.is_empty();
    // A name matters to the agent alone.
    if let Some(agent) = agent.filter(|_| !is_addressed) {
        checks.push(check_name(host, name, agent));
    }
    let found = if is_addressed {
        interface.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    } else {
        format!("none; {}", why_none(agent))
    };
    checks.push(Check::new(format!("address {name}"), is_addressed, found));
    checks.extend(interface.pkey.as_deref().map(|pkey| check_partition(name, pkey)));
    checks
}

/// Whether the agent finds an interface of this name, and what gave it the name where it does not.
fn check_name(host: &Host, name: &str, agent: &Waagent) -> Check {
    if agent.takes(name) {
        return Check::new(format!("name {name}"), true, name.to_owned());
    }
    let naming = interface_naming::read(host, &rule_findings::read(host, None).interfaces);
    let by = naming.files.first().map(|file| format!("; {} names it", file.path)).unwrap_or_default();
    Check::new(format!("name {name}"), false, format!("{} looks for {}{by}", agent.name(), agent.looks_for()))
}

/// Why an interface has no address, as far as the files of the machine tell.
fn why_none(agent: Option<&Waagent>) -> String {
    let Some(agent) = agent else { return "no VM agent is here to give one".to_owned() };
    let (name, unit) = (agent.name(), agent.unit());
    if let Some(no_start) = &agent.no_start {
        return format!("{name} does not start: {}", no_start.why(unit));
    }
    if let Some(EnableRdma::Off | EnableRdma::Commented | EnableRdma::Missing) = agent.enable_rdma {
        return "OS.EnableRDMA is not `y` in /etc/waagent.conf".to_owned();
    }
    match agent.addressing {
        Some(addressing) if addressing.fault.is_some() => {
            format!("{name} never gives one: install 2.12 or newer")
        }
        Some(addressing) if addressing.reads_kvp && !agent.has_kvp_daemon && !agent.has_ifconfig => {
            format!("{name} needs hv_kvp_daemon or ifconfig, and neither is here")
        }
        Some(addressing) if !addressing.reads_kvp && addressing.calls_ifconfig && !agent.has_ifconfig => {
            format!("{name} calls ifconfig, which is not here")
        }
        _ => format!(
            "{unit} gives it once, when it starts: restart it or reboot; if it stays so, /var/log/waagent.log tells \
             what Azure has told it"
        ),
    }
}

fn check_partition(name: &str, pkey: &str) -> Check {
    let number = pkey.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let ok = number.is_some_and(|number| number & FULL_MEMBER != 0);
    let found = if ok { pkey.to_owned() } else { format!("{pkey}, which is no full member of a partition") };
    Check::new(format!("pkey {name}"), ok, found)
}

/// What is due after a run: the agent is at work already, and has looked for interfaces before this one was there. It is
/// never restarted from here, because it may be what started this program and waits for its report.
pub fn restart_due(host: &Host, plan: &Plan) -> Option<String> {
    let wants = plan.modules.iter().any(|module| module == MODULE);
    let pid = PROCESS.iter().find_map(|path| host.root.attribute(path))?;
    if !wants || pid.parse::<u32>().is_err() || !host.root.is_dir(&format!("/proc/{pid}")) {
        return None;
    }
    let bare: Vec<String> = interfaces::infiniband(host)
        .into_iter()
        .filter(|interface| interface.addresses.is_empty())
        .map(|it| it.name)
        .collect();
    let agent = waagent::read(host, &plan.target.kernels)?;
    if bare.is_empty()
        || agent.no_start.is_some()
        || agent.addressing.is_none_or(|addressing| addressing.fault.is_some())
    {
        return None;
    }
    let unit = agent.unit();
    Some(format!("{} has no address yet: a restart of {unit}, or a reboot, is due", bare.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    const FUNCTION: &str = "0101:00:00.0";
    const CODE: &str = "/usr/lib/python3/dist-packages/azurelinuxagent";

    fn plan(modules: &[&str]) -> Plan {
        let json = serde_json::json!({
            "schema_version": 1, "driver": "inbox", "driver_version": null, "present": null, "why": [],
            "rejected": [], "artifact": null, "packages": [], "edits": [], "modules": modules,
            "target": {"distro": "debian12", "arch": "x86_64", "kernels": [], "vm_size": null, "nic": null},
        });
        serde_json::from_value(json).unwrap()
    }

    fn write(host: &Host, files: &[(&str, &str)]) {
        for (path, text) in files {
            host.root.write_text(path, text).unwrap();
        }
    }

    /// A device, and where `interface` is not empty an interface of that name over it.
    fn machine(host: &Host, interface: &str) -> Vec<VerbsDevice> {
        if !interface.is_empty() {
            let class = format!("/sys/class/net/{interface}");
            write(host, &[(&format!("{class}/type"), "32\n"), (&format!("{class}/pkey"), "0x8001\n")]);
            let target = format!("../../../{FUNCTION}");
            host.root.make_link(&format!("{class}/device"), target.as_ref()).unwrap();
        }
        let json = serde_json::json!({"name": "mlx5_ib0", "node_type": null, "hca_type": null, "firmware": null,
            "pci_address": FUNCTION, "driver": null, "ports": [
                {"number": 1, "link_layer": "InfiniBand", "state": null, "phys_state": null, "gbps": null}]});
        let mut ethernet = json.clone();
        ethernet["name"] = "mlx5_an0".into();
        ethernet["pci_address"] = "ab12:00:02.0".into();
        ethernet["ports"][0]["link_layer"] = "Ethernet".into();
        [json, ethernet].map(|json| serde_json::from_value(json).unwrap()).to_vec()
    }

    /// The agent, with the source of its RDMA code.
    fn agent(host: &Host, version: &str, rdma: &str) {
        write(
            host,
            &[
                ("/etc/waagent.conf", "OS.EnableRDMA=y\n"),
                ("/lib/systemd/system/walinuxagent.service", ""),
                (&format!("{CODE}/common/version.py"), &format!("AGENT_VERSION = '{version}'\n")),
                (&format!("{CODE}/common/rdma.py"), rdma),
            ],
        );
    }

    fn addressed(host: &Host, interface: &str) {
        let (network, mask) = (u32::from_ne_bytes([172, 16, 0, 0]), u32::from_ne_bytes([255, 255, 0, 0]));
        let route = format!("{interface}\t{network:08X}\t00000000\t0001\t0\t0\t0\t{mask:08X}\t0\t0\t0\n");
        let trie = "     |-- 172.16.1.4\n        /32 host LOCAL\n";
        write(host, &[("/proc/net/route", &route), ("/proc/net/fib_trie", trie)]);
    }

    fn lines_of(host: &Host, devices: &[VerbsDevice]) -> Vec<String> {
        let checks = check_interfaces(host, &plan(&["ib_ipoib"]), devices);
        let line = |check: Check| format!("{} {}: {}", check.ok, check.name, check.found);
        checks.into_iter().map(line).collect()
    }

    #[test]
    fn the_first_link_that_is_missing_says_where_the_way_ends() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let bare = machine(&host, "");
        assert_eq!(check_interfaces(&host, &plan(&["mlx5_ib"]), &bare), []);
        assert_eq!(
            lines_of(&host, &bare),
            ["false interface mlx5_ib0: mlx5_ib0 has no network interface, which ib_ipoib makes"]
        );
        let devices = machine(&host, "ibP257s0");
        assert_eq!(
            lines_of(&host, &devices)[1],
            "false address ibP257s0: none; no VM agent is here to give one"
        );
        agent(&host, "2.7.3.0", "sriov IPoIB_Data \"ifconfig -a\" ib0 is not available");
        assert_eq!(
            lines_of(&host, &devices)[1..3],
            [
                "false name ibP257s0: the VM agent 2.7.3.0 looks for ib0",
                "false address ibP257s0: none; the VM agent 2.7.3.0 needs hv_kvp_daemon or ifconfig, and neither is here"
            ]
        );
        write(&host, &[("/usr/sbin/ifconfig", "")]);
        assert!(lines_of(&host, &devices)[2].contains("walinuxagent.service gives it once, when it starts"));
        write(&host, &[("/etc/waagent.conf", "# OS.EnableRDMA=y\n")]);
        assert!(lines_of(&host, &devices)[2].contains("OS.EnableRDMA is not `y`"));
        addressed(&host, "ibP257s0");
        assert_eq!(
            lines_of(&host, &devices),
            [
                "true interface mlx5_ib0: ibP257s0",
                "true address ibP257s0: 172.16.1.4",
                "true pkey ibP257s0: 0x8001"
            ]
        );
        write(&host, &[("/sys/class/net/ibP257s0/pkey", "0x7fff\n")]);
        assert!(lines_of(&host, &devices)[2].starts_with("false pkey ibP257s0: 0x7fff"));
    }

    #[test]
    fn a_name_is_judged_by_the_agent_that_looks_for_it() {
        for (name, of_old, of_new) in [
            ("ib0", true, true),
            ("ib7", true, true),
            ("ibP257s0", false, true),
            ("mlx5_ib0", false, false),
            ("ib-data", false, false),
        ] {
            for (rdma, right) in [("sriov ib0 is not available", of_old), ("sriov IPoIB_Data", of_new)] {
                let (_dir, host) = on_an_empty_root(Cancel::never());
                let devices = machine(&host, name);
                agent(&host, "2.7.3.0", rdma);
                assert_eq!(lines_of(&host, &devices)[1].starts_with("true name"), right, "{name} {rdma}");
            }
        }
    }

    #[test]
    fn a_restart_is_due_only_of_an_agent_that_started_before_the_interface_came() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        machine(&host, "ib0");
        agent(&host, "2.12.0.2", "sriov IPoIB_Data");
        let due = || restart_due(&host, &plan(&["ib_ipoib"]));
        assert_eq!(due(), None, "it is not at work");
        write(&host, &[("/run/waagent.pid", "77\n"), ("/proc/77/stat", "")]);
        assert_eq!(
            due().unwrap(),
            "ib0 has no address yet: a restart of walinuxagent.service, or a reboot, is due"
        );
        assert_eq!(restart_due(&host, &plan(&[])), None);
        addressed(&host, "ib0");
        assert_eq!(due(), None);
    }
}
