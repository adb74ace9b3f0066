//! `ofedctl detect`: the facts as a table.

use super::answer::{Answer, Call, to_json};
use super::args::DetectArgs;
use crate::amounts::count;
use crate::detect::{bug_report, detect_with_size};
use crate::doors::cloud_init::{self, FirstBoot, Way};
use crate::events::Step;
use crate::facts::Facts;
use crate::facts::modules::Place;
use crate::facts::secure_boot::SecureBoot;
use crate::facts::vm_size::{SizeVerdict, verdict};
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt::Write;

pub(super) fn detect(call: &Call, args: &DetectArgs) -> Result<Answer> {
    let host = call.host(&args.root.root)?;
    host.events.begin(Step::Detect);
    let facts = detect_with_size(&host)?;
    let boot = cloud_init::first_boot(&host)?;
    let mut text = table(&facts);
    text.push_str(&boot.as_ref().map(first_boot).unwrap_or_default());
    if let Some(folder) = &args.capture {
        let files = bug_report::write(&host, &facts, folder)?;
        let _ = writeln!(text, "{:<12} {} in {}", "captured", count(files, "file"), folder.display());
    }
    let mut json = to_json(&facts)?;
    if let Some(boot) = boot {
        json["first_boot"] = to_json(&boot)?;
    }
    Ok(Answer::listed(text, json))
}

/// Whether a boot of this system runs this program, and what keeps it from that.
fn first_boot(boot: &FirstBoot) -> String {
    let way = match boot.way {
        None => "not set up (`ofedctl cloud-init setup`)",
        Some(Way::Module) => "by cloud-init's module",
        Some(Way::Unit) => "by a systemd unit",
    };
    let mut text = format!("{:<12} {way}\n", "boot");
    for obstacle in &boot.obstacles {
        let _ = writeln!(text, "{:<12} may not run it: {obstacle}", "");
    }
    text
}

fn table(facts: &Facts) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    let os = &facts.os;
    let unknown = || "unknown".to_owned();
    let distro = os.distro.as_ref().map_or_else(unknown, ToString::to_string);
    let arch = os.arch.map_or_else(unknown, |arch| arch.to_string());
    line("system", format!("{} ({distro}), {arch}", os.name.as_deref().unwrap_or("unknown")));
    for (kernel, modules) in &facts.modules {
        let runs = if os.running_kernel.as_ref() == Some(kernel) { ", runs" } else { "" };
        line("kernel", format!("{kernel}{runs}: {}", modules_in_words(modules)));
    }
    line("platform", platform(facts));
    line("VM size", size(facts));
    for function in &facts.functions {
        let driver = function.driver.as_deref().unwrap_or("none");
        let nic = function.generation.map(|nic| format!(", {nic}")).unwrap_or_default();
        line("PCI", format!("{function}{nic}, driver {driver}"));
    }
    for device in &facts.verbs {
        let ports = device.ports.iter().map(|port| {
            let word = |text: &Option<String>| text.clone().unwrap_or_else(unknown);
            let rate = port.gbps.map(|gbps| format!(" {gbps} Gb/s")).unwrap_or_default();
            format!("{}{rate} {}", word(&port.link_layer), word(&port.state))
        });
        line("verbs", format!("{}: {}", device.name, ports.collect::<Vec<_>>().join(", ")));
    }
    line("Secure Boot", secure_boot(facts.secure_boot).to_owned());
    if let Some(agent) = &facts.waagent {
        let setting =
            agent.enable_rdma.map(|it| format!(", OS.EnableRDMA {}", format!("{it:?}").to_lowercase()));
        let version = agent.version.as_deref().unwrap_or("of unknown version");
        line("VM agent", format!("{version}{}", setting.unwrap_or_default()));
    }
    line("driver", vendor_driver(facts));
    for (name, version) in &facts.packages {
        line("package", format!("{name} {version}"));
    }
    text
}

fn modules_in_words(modules: &BTreeMap<String, Place>) -> String {
    let all = |place| {
        let names = modules.iter().filter(|(_, it)| **it == place).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(" ")
    };
    let said = [
        ("no", all(Place::Missing)),
        ("built in:", all(Place::BuiltIn)),
        ("from a vendor:", all(Place::Added)),
        ("from a vendor, for another kernel:", all(Place::Linked)),
    ];
    let said: Vec<String> = said
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what} {names}"))
        .collect();
    if said.is_empty() { "all InfiniBand modules".to_owned() } else { said.join("; ") }
}

fn platform(facts: &Facts) -> String {
    let azure = if facts.azure { "Azure" } else { "not known as Azure" };
    match &facts.vmbus {
        None => format!("{azure}, no VMBus"),
        Some(bus) => {
            let nd = if bus.network_direct { ", Network Direct" } else { "" };
            let (devices, netvsc, pci) = (bus.devices, bus.netvsc, bus.pci_passthrough);
            format!("{azure}, VMBus with {devices} devices: {netvsc} network, {pci} PCI{nd}")
        }
    }
}

fn size(facts: &Facts) -> String {
    let Some(name) = &facts.compute.vm_size else { return "unknown".to_owned() };
    let says = match verdict(name) {
        SizeVerdict::NotRdma => "no InfiniBand".to_owned(),
        SizeVerdict::LegacyNd { series } => format!("{series}, Network Direct"),
        SizeVerdict::Rdma(size) => match (size.series, size.hcas, size.nic, size.gbps) {
            (Some(series), Some(hcas), Some(nic), Some(gbps)) => {
                format!("{series}, {hcas} x {nic}, {gbps} Gb/s")
            }
            _ => "InfiniBand by its name".to_owned(),
        },
    };
    format!("{name} ({says})")
}

fn secure_boot(state: SecureBoot) -> &'static str {
    match state {
        SecureBoot::On => "on",
        SecureBoot::Off => "off",
        SecureBoot::Absent => "not there (no UEFI)",
        SecureBoot::Unknown => "unknown",
    }
}

fn vendor_driver(facts: &Facts) -> String {
    let image = if facts.hpc_image.is_some() { ", on an HPC image" } else { "" };
    let Some(ofed) = &facts.ofed else { return format!("the distribution's own{image}") };
    let release = ofed.release.as_deref().unwrap_or("traces of a vendor driver");
    let doca = ofed.doca_host.as_ref().map(|version| format!(", DOCA-Host {version}")).unwrap_or_default();
    let built = ofed.built_for.as_ref().map(|kernel| format!(", built for {kernel}")).unwrap_or_default();
    format!("{release}{doca}{built}{image}")
}
