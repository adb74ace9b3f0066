//! Checks on a running VM: that the kernel has loaded the installed modules, and that every adapter that the size
//! should have is up.

use crate::edits::Edit;
use crate::facts::modules::{Module, find};
use crate::facts::naming::{self, Naming};
use crate::facts::rdma::{LoadedModule, Port, VerbsDevice};
use crate::facts::rule_findings;
use crate::facts::vm_size::{SizeVerdict, verdict};
use crate::facts::{compute, pci, rdma};
use crate::host::Host;
use crate::host::has_extension;
use crate::host::run::Cmd;
use crate::ledger::Check;
use crate::plan_document::Plan;
use anyhow::Result;

/// The file with the running kernel's release.
const RELEASE: &str = "/proc/sys/kernel/osrelease";
/// The rules that give RDMA devices their names (linux-rdma/rdma-core, kernel-boot).
const NAMING: &str = "/etc/udev/rules.d/60-rdma-persistent-naming.rules";
/// The PCI domain Azure gives the first InfiniBand function of a VM.
const FIRST_DOMAIN: usize = 0x0101;
/// The number of domains from there for which this program has rules.
const DOMAINS: usize = 16;
const LIMITS: &str = "/etc/security/limits.conf";
const LIMITS_DIR: &str = "/etc/security/limits.d";

/// Checks the running system. Nothing is checked on a machine that neither has nor should have InfiniBand, such as one
/// on which images are baked.
pub fn check_running_system(host: &Host, plan: &Plan) -> Result<Vec<Check>> {
    let functions = pci::read(host);
    let functions: Vec<_> = pci::infiniband(&functions).collect();
    let size = compute::size_of(host, None).vm_size;
    let expected = match size.as_deref().map(verdict) {
        Some(SizeVerdict::Rdma(size)) => Some(size.hcas),
        _ => None,
    };
    if functions.is_empty() && expected.is_none() {
        return Ok(Vec::new());
    }
    let mut checks = loaded(host, plan)?;
    let expected = expected.flatten().and_then(|count| usize::try_from(count).ok());
    let (ok, found) = match (expected, &size) {
        (Some(count), Some(size)) => {
            (functions.len() == count, format!("{}; {size} has {count}", functions.len()))
        }
        _ => (!functions.is_empty(), functions.len().to_string()),
    };
    checks.push(Check::new("InfiniBand functions", ok, found));
    let devices: Vec<VerbsDevice> =
        rdma::devices(host).into_iter().filter(VerbsDevice::is_infiniband).collect();
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    let found = if names.is_empty() { "none".to_owned() } else { names.join(" ") };
    checks.push(Check::new(
        "InfiniBand devices",
        devices.len() == functions.len() && !devices.is_empty(),
        found,
    ));
    for device in &devices {
        checks.extend(device.ports.iter().map(|port| link(device, port)));
    }
    checks.extend(super::ipoib::check_interfaces(host, plan, &devices));
    checks.extend(super::services::check_services(host)?);
    checks.extend(named(host, &devices));
    checks.extend(memlock(host, plan)?);
    Ok(checks)
}

/// Whether the running kernel has loaded each module of the plan, from the file that is installed now.
pub fn loaded(host: &Host, plan: &Plan) -> Result<Vec<Check>> {
    let kernel = host.root.attribute(RELEASE).unwrap_or_default();
    let files = find(&host.root, &kernel, &plan.modules);
    let loaded = rdma::modules(host);
    let now = |name: &String| loaded.iter().find(|module| module.name == *name);
    let names: Vec<&String> = plan.modules.iter().filter(|name| now(name).is_some()).collect();
    let mut of_files = srcversions(host, &kernel, &names)?.into_iter();
    let check_one = |(name, file): (&String, Module)| match (now(name), file) {
        (None, Module::BuiltIn) => Check::new(format!("loaded {name}"), true, "built in".to_owned()),
        (None, _) => Check::new(format!("loaded {name}"), false, "not loaded".to_owned()),
        (Some(now), _) => same_source(now, of_files.next().flatten().as_deref()),
    };
    Ok(plan.modules.iter().zip(files).map(check_one).collect())
}

/// The digests of the sources of module files, in the order asked; none for a module that was built without one.
fn srcversions(host: &Host, kernel: &str, names: &[&String]) -> Result<Vec<Option<String>>> {
    let ask = |names: &[&String]| -> Result<Vec<String>> {
        let modinfo = Cmd::new("modinfo").args(["-k", kernel, "-F", "srcversion"]);
        let asked = host.run(&modinfo.args(names.iter().copied()).captured())?;
        let said = asked.stdout.lines().map(|line| line.trim().to_owned());
        Ok(said.filter(|line| asked.code == 0 && !line.is_empty()).collect())
    };
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // This runs at every boot, so one program asks for all modules, and for single ones only if a line is missing.
    let all = ask(names)?;
    if all.len() == names.len() {
        return Ok(all.into_iter().map(Some).collect());
    }
    names.iter().map(|name| Ok(ask(&[name])?.pop())).collect()
}

fn same_source(now: &LoadedModule, file: Option<&str>) -> Check {
    let version = now.version.as_deref().map(|version| format!(", version {version}")).unwrap_or_default();
    let found = match (now.srcversion.as_deref(), file) {
        (None, None) => format!("loaded{version}"),
        (Some(ours), Some(theirs)) if ours == theirs => format!("srcversion {ours}{version}"),
        (ours, theirs) => {
            let none = "none";
            let (ours, theirs) = (ours.unwrap_or(none), theirs.unwrap_or(none));
            let found = format!("srcversion {ours}, but that of the installed file is {theirs}: reboot");
            return Check::new(format!("loaded {}", now.name), false, found);
        }
    };
    Check::new(format!("loaded {}", now.name), true, found)
}

fn link(device: &VerbsDevice, port: &Port) -> Check {
    let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let rate = port.gbps.map(|gbps| format!(", {gbps} Gb/s")).unwrap_or_default();
    let (layer, state, physical) = (word(&port.link_layer), word(&port.state), word(&port.phys_state));
    let ok = layer == "InfiniBand" && state == "ACTIVE" && physical == "LinkUp";
    Check::new(
        format!("port {}/{}", device.name, port.number),
        ok,
        format!("{layer}, {state}, {physical}{rate}"),
    )
}

/// Whether device names are as expected: with this program's rules, the names that they give; else at least in the
/// order of the PCI addresses, so that a name means the same adapter on every VM of a size.
fn named(host: &Host, devices: &[VerbsDevice]) -> Option<Check> {
    let mut placed: Vec<(usize, &str)> = devices
        .iter()
        .filter_map(|device| {
            let domain = device.pci_address.as_deref()?.split(':').next()?;
            Some((usize::from_str_radix(domain, 16).ok()?, device.name.as_str()))
        })
        .collect();
    placed.sort_by_key(|(_, name)| (name.len(), *name));
    let rules = host.root.read_text(NAMING).ok().flatten().unwrap_or_default();
    let others = naming::find(host, &rule_findings::read(host, None).rules);
    let ours = rules.contains("NAME_FIXED mlx5_ib0") && others.is_empty();
    let is_right = |(domain, name): &(usize, &str)| {
        let index = domain.checked_sub(FIRST_DOMAIN).filter(|index| *index < DOMAINS);
        match (name.split_once('_').map(|(driver, _)| driver), index) {
            (Some("mlx5"), Some(index)) => *name == format!("mlx5_ib{index}"),
            // A second one in a domain of any number keeps the kernel's name.
            (Some(driver), _) => devices.len() > 1 || *name == format!("{driver}_ib0"),
            (None, _) => false,
        }
    };
    let ok = placed.is_sorted_by_key(|(domain, _)| *domain) && (!ours || placed.iter().all(is_right));
    let found: Vec<String> =
        placed.iter().map(|(domain, name)| format!("{name} in PCI domain {domain:04x}")).collect();
    let by: Vec<&str> = others.iter().map(Naming::name).collect();
    let by = if by.is_empty() { String::new() } else { format!("; named by {}", by.join(", ")) };
    (!found.is_empty()).then(|| Check::new("names", ok, found.join(", ") + &by))
}

/// Checks the limit of locked memory for a new user session, if the plan wants it unlimited: the last matching line in
/// the files that `pam_limits` reads counts.
fn memlock(host: &Host, plan: &Plan) -> Result<Option<Check>> {
    let is_wanted = |edit: &Edit| match edit {
        Edit::WriteFile { path, content, .. } => path.starts_with(LIMITS_DIR) && content.contains("memlock"),
        _ => false,
    };
    if !plan.edits.iter().any(is_wanted) {
        return Ok(None);
    }
    let mut text = host.root.read_text(LIMITS)?.unwrap_or_default();
    let is_read = |name: &&String| has_extension(name, "conf");
    for name in host.root.list(LIMITS_DIR).iter().filter(is_read) {
        text += "\n";
        text += &host.root.read_text(&format!("{LIMITS_DIR}/{name}"))?.unwrap_or_default();
    }
    let (soft, hard) = memlock_of_all(&text);
    let ok = is_unlimited(&soft) && is_unlimited(&hard);
    Ok(Some(Check::new("memlock", ok, format!("soft {soft}, hard {hard} for new sessions"))))
}

/// The soft and hard limit that lines of limits.conf(5) set for everybody.
fn memlock_of_all(text: &str) -> (String, String) {
    let (mut soft, mut hard) = ("unset".to_owned(), "unset".to_owned());
    for line in text.lines() {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        match words[..] {
            ["*", "soft", "memlock", value] => value.clone_into(&mut soft),
            ["*", "hard", "memlock", value] => value.clone_into(&mut hard),
            ["*", "-", "memlock", value] => {
                value.clone_into(&mut soft);
                value.clone_into(&mut hard);
            }
            _ => {}
        }
    }
    (soft, hard)
}

fn is_unlimited(value: &str) -> bool {
    matches!(value, "unlimited" | "infinity" | "-1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    fn device(host: &Host, name: &str, address: &str, state: &str) {
        let base = format!("/sys/class/infiniband/{name}");
        for (file, text) in [
            ("link_layer", "InfiniBand"),
            ("state", state),
            ("phys_state", "5: LinkUp"),
            ("rate", "200 Gb/sec"),
        ] {
            host.root.write_text(&format!("{base}/ports/1/{file}"), text).unwrap();
        }
        let target = format!("../../../{address}");
        host.root.make_link(&format!("{base}/device"), std::path::Path::new(&target)).unwrap();
    }

    fn function(host: &Host, address: &str) {
        for (file, text) in [("vendor", "0x15b3"), ("device", "0x101e"), ("class", "0x020700")] {
            host.root.write_text(&format!("/sys/bus/pci/devices/{address}/{file}"), text).unwrap();
        }
    }

    fn plan() -> Plan {
        let json = serde_json::json!({
            "schema_version": 1, "driver": "inbox", "driver_version": null, "present": null, "why": [],
            "rejected": [], "artifact": null, "packages": [], "edits": [], "modules": [],
            "target": {"distro": "debian12", "arch": "x86_64", "kernels": [], "vm_size": null, "nic": null},
        });
        serde_json::from_value(json).unwrap()
    }

    fn failed(host: &Host) -> Vec<String> {
        let checks = check_running_system(host, &plan()).unwrap();
        checks
            .into_iter()
            .filter(|check| !check.ok)
            .map(|check| format!("{}: {}", check.name, check.found))
            .collect()
    }

    #[test]
    fn every_adapter_of_the_size_must_be_there_and_up() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        assert_eq!(check_running_system(&host, &plan()).unwrap(), []);
        let size = r#"{"ds":{"meta_data":{"imds":{"compute":{"vmSize":"Standard_HB368rs_v5"}}}}}"#;
        host.root.write_text("/run/cloud-init/instance-data.json", size).unwrap();
        assert_eq!(
            failed(&host),
            ["InfiniBand functions: 0; Standard_HB368rs_v5 has 4", "InfiniBand devices: none"]
        );
        for at in 0..4 {
            let address = format!("010{}:00:00.0", at + 1);
            function(&host, &address);
            device(&host, &format!("mlx5_ib{at}"), &address, "4: ACTIVE");
        }
        assert_eq!(failed(&host), Vec::<String>::new());
        host.root.write_text("/sys/class/infiniband/mlx5_ib2/ports/1/state", "2: INIT").unwrap();
        assert_eq!(failed(&host), ["port mlx5_ib2/1: InfiniBand, INIT, LinkUp, 200 Gb/s"]);
    }

    #[test]
    fn a_name_means_the_same_adapter_everywhere() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        for (name, address) in [("mlx5_1", "0101:00:00.0"), ("mlx5_0", "0102:00:00.0")] {
            function(&host, address);
            device(&host, name, address, "4: ACTIVE");
        }
        assert_eq!(failed(&host), ["names: mlx5_0 in PCI domain 0102, mlx5_1 in PCI domain 0101"]);
        let (_dir, host) = on_an_empty_root(Cancel::never());
        function(&host, "0101:00:00.0");
        device(&host, "mlx5_0", "0101:00:00.0", "4: ACTIVE");
        assert_eq!(failed(&host), Vec::<String>::new());
        let ours = "# Made by ofedctl\nPROGRAM==\"rdma_rename %k NAME_FIXED mlx5_ib0\"";
        host.root.write_text(NAMING, ours).unwrap();
        assert_eq!(failed(&host), ["names: mlx5_0 in PCI domain 0101"]);
        // Names are judged only by the rules that are in charge of them.
        let other = "SUBSYSTEM==\"infiniband\", PROGRAM=\"rdma_rename %k NAME_KERNEL\"\n";
        host.root.write_text("/etc/udev/rules.d/60-ib.rules", other).unwrap();
        assert_eq!(failed(&host), Vec::<String>::new());
    }

    #[test]
    fn connectx_3_in_a_domain_of_any_number_is_judged_by_the_rules_that_name_it() {
        // OpenLogic/AzureBuildCentOS 92.
        let ours = "# Made by ofedctl\nPROGRAM==\"rdma_rename %k NAME_FIXED mlx5_ib0\"";
        for (name, right) in [("mlx4_ib0", true), ("mlx4_0", false), ("mlx5_ib0", true), ("mlx5_1", false)] {
            let (_dir, host) = on_an_empty_root(Cancel::never());
            host.root.write_text(NAMING, ours).unwrap();
            function(&host, "225e:00:02.0");
            device(&host, name, "225e:00:02.0", "4: ACTIVE");
            assert_eq!(failed(&host).is_empty(), right, "{name}: {:?}", failed(&host));
        }
    }

    #[test]
    fn a_module_counts_when_it_is_the_installed_one() {
        let module = |srcversion: Option<&str>| LoadedModule {
            name: "mlx5_core".to_owned(),
            version: None,
            srcversion: srcversion.map(str::to_owned),
        };
        assert!(same_source(&module(Some("A")), Some("A")).ok && same_source(&module(None), None).ok);
        assert!(!same_source(&module(Some("A")), Some("B")).ok && !same_source(&module(None), Some("B")).ok);
    }

    #[test]
    fn the_last_word_on_locked_memory_counts() {
        let text = "# * hard memlock 1\n* - memlock unlimited\nroot hard memlock 5\n* soft nofile 9";
        assert_eq!(memlock_of_all(text), ("unlimited".to_owned(), "unlimited".to_owned()));
        assert_eq!(memlock_of_all(&format!("{text}\n* hard memlock 64")).1, "64");
    }

    #[test]
    fn the_limit_of_a_plan_is_judged_with_every_file_that_a_login_reads() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let path = format!("{LIMITS_DIR}/90-ofedctl.conf");
        let wanted = |content: &str| {
            let edit =
                Edit::WriteFile { path: path.clone(), content: content.to_owned(), why: String::new() };
            memlock(&host, &Plan { edits: vec![edit], ..plan() }).unwrap()
        };
        assert_eq!(wanted("* - nofile 9\n"), None);
        let found = |check: Option<Check>| check.map(|check| (check.ok, check.found)).unwrap();
        let limits = "* - memlock unlimited\n";
        assert_eq!(found(wanted(limits)), (false, "soft unset, hard unset for new sessions".to_owned()));
        host.root.write_text(&path, limits).unwrap();
        host.root.write_text(LIMITS, "* hard memlock 64\n").unwrap();
        host.root.write_text(&format!("{LIMITS_DIR}/99-notes.txt"), "* - memlock 1\n").unwrap();
        assert_eq!(
            found(wanted(limits)),
            (true, "soft unlimited, hard unlimited for new sessions".to_owned())
        );
        host.root.write_text(&format!("{LIMITS_DIR}/99-site.conf"), "* hard memlock 64\n").unwrap();
        assert_eq!(found(wanted(limits)), (false, "soft unlimited, hard 64 for new sessions".to_owned()));
    }

    #[test]
    fn a_module_that_is_built_in_needs_no_loading() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        host.root.write_text(RELEASE, "9.9.9-test\n").unwrap();
        let builtin = "kernel/drivers/infiniband/core/ib_core.ko\n";
        host.root.write_text("/lib/modules/9.9.9-test/modules.builtin", builtin).unwrap();
        let plan = Plan { modules: vec!["ib_core".to_owned(), "mlx5_ib".to_owned()], ..plan() };
        let found = loaded(&host, &plan).unwrap();
        let said: Vec<_> =
            found.iter().map(|check| (check.ok, check.name.as_str(), check.found.as_str())).collect();
        assert_eq!(said, [(true, "loaded ib_core", "built in"), (false, "loaded mlx5_ib", "not loaded")]);
    }
}
