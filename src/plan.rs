//! The deciding step: a pure function of target, facts, catalogue and settings.

use crate::catalog::{Catalog, Inbox};
use crate::edit::Edit;
use crate::facts::Facts;
use crate::facts::modules::Place;
use crate::outcome::Reason;
use crate::plan_document::{Plan, Target};
use crate::settings::{DriverChoice, Settings};
use crate::target::{Arch, Distro, Driver, Moment, Nic};
use anyhow::Result;

/// Planned for when nothing tells the adapter: every size that is still sold has an mlx5 adapter.
const USUAL_NIC: Nic = Nic::Cx6;

/// What a user says of the target on the command line; it goes before what detection finds.
#[derive(Debug, Clone, Default)]
pub struct Described {
    /// Distribution and version.
    pub distro: Option<Distro>,
    /// Architecture.
    pub arch: Option<Arch>,
}

/// Puts together what a driver is wanted for. `facts` are those of the root that is worked on, if there is one.
pub fn target(described: &Described, facts: Option<&Facts>, settings: &Settings) -> Result<Target> {
    let os = facts.map(|facts| &facts.os);
    let distro = described.distro.clone().or_else(|| os?.distro.clone()).ok_or_else(|| match os {
        Some(_) => {
            Reason::ImageUnsupported.error("this root does not say which distribution it is (no os-release)")
        }
        None => Reason::Usage.error("the target's distribution is not given: use --distro or --root"),
    })?;
    let arch = described.arch.or_else(|| os?.arch).unwrap_or(Arch::of_this_program());
    let kernels = match (&settings.kernels, os) {
        (given, _) if !given.is_empty() => given.clone(),
        (_, Some(os)) if os.kernels.is_empty() => {
            return Err(Reason::KernelUnsupported
                .error("no kernel is installed in this root, so there is nothing to have modules for"));
        }
        (_, Some(os)) => os.kernels.clone(),
        (_, None) => Vec::new(),
    };
    Ok(Target { distro, arch, kernels, vm_size: settings.vm_size.clone(), nic: settings.nic })
}

/// Decides what is to be installed, or refuses with the reason.
pub fn plan(
    target: Target,
    facts: Option<&Facts>,
    moment: Moment,
    catalog: &Catalog,
    settings: &Settings,
) -> Result<Plan> {
    if let (Moment::Live, Some(facts)) = (moment, facts)
        && facts.vmbus.is_none()
    {
        return Err(Reason::NoVmbus.error("there is no /sys/bus/vmbus on this machine"));
    }
    let inbox = inbox(&target, catalog)?;
    let modules = modules(target.nic, settings);
    refuse_kernels_without(&modules, &target, facts)?;
    let mut why = vec![match settings.driver {
        DriverChoice::Auto => {
            format!("{} brings an RDMA stack that drives {}", target.distro, nic_names(inbox))
        }
        _ => "the settings ask for it".to_owned(),
    }];
    if !target.kernels.is_empty() {
        let have = if target.kernels.len() == 1 { "the kernel has" } else { "all kernels have" };
        why.push(format!("{have} the {} modules it needs", modules.len()));
    }
    Ok(Plan {
        schema_version: 1,
        driver: Driver::Inbox,
        driver_version: None,
        why,
        rejected: Vec::new(),
        packages: inbox.packages.clone(),
        edits: edits(settings),
        modules,
        target,
    })
}

fn inbox<'c>(target: &Target, catalog: &'c Catalog) -> Result<&'c Inbox> {
    let Target { distro, arch, nic, .. } = target;
    let nic = nic.unwrap_or(USUAL_NIC);
    catalog.inbox(distro, *arch, nic).ok_or_else(|| {
        Reason::ImageUnsupported.error(format!("the catalogue has no driver for {nic} on {distro} {arch}"))
    })
}

fn nic_names(inbox: &Inbox) -> String {
    inbox.nics.iter().map(|nic| nic.name()).collect::<Vec<_>>().join(", ")
}

/// The adapter's own modules, and those that give programs verbs, management datagrams, the connection
/// manager and, when wanted, IP over InfiniBand.
fn modules(nic: Option<Nic>, settings: &Settings) -> Vec<String> {
    let adapter = match nic.unwrap_or(USUAL_NIC).kernel_driver() {
        "mlx4" => ["mlx4_core", "mlx4_ib"],
        _ => ["mlx5_core", "mlx5_ib"],
    };
    adapter.into_iter().chain(boot_modules(settings)).map(str::to_owned).collect()
}

/// What nothing loads by itself. The VM agent wants them before it starts (Azure/azhpc-images, Microsoft/lisa#3131).
fn boot_modules(settings: &Settings) -> Vec<&'static str> {
    let mut modules = vec!["ib_uverbs", "ib_umad", "rdma_ucm"];
    if settings.ipoib {
        modules.push("ib_ipoib");
    }
    modules
}

fn refuse_kernels_without(modules: &[String], target: &Target, facts: Option<&Facts>) -> Result<()> {
    let Some(facts) = facts else { return Ok(()) };
    for kernel in &target.kernels {
        let Some(places) = facts.modules.get(kernel) else {
            return Err(
                Reason::KernelUnsupported.error(format!("the kernel {kernel} is not installed in this root"))
            );
        };
        let lacking: Vec<_> = modules
            .iter()
            .filter(|module| places.get(*module) == Some(&Place::Missing))
            .map(String::as_str)
            .collect();
        if !lacking.is_empty() {
            return Err(Reason::KernelUnsupported
                .error(format!("the kernel {kernel} of this image has no {}", lacking.join(", "))));
        }
    }
    Ok(())
}

fn edits(settings: &Settings) -> Vec<Edit> {
    let lines = |words: Vec<&str>| words.join("\n") + "\n";
    let mut edits = vec![Edit::WriteFile {
        path: "/etc/modules-load.d/ofedctl.conf".to_owned(),
        content: lines(
            [
                vec!["# Made by ofedctl: InfiniBand modules that nothing loads by itself."],
                boot_modules(settings),
            ]
            .concat(),
        ),
        why: "load the InfiniBand modules at boot".to_owned(),
    }];
    if settings.memlock {
        edits.push(Edit::WriteFile {
            path: "/etc/security/limits.d/90-ofedctl.conf".to_owned(),
            content: lines(vec![
                "# Made by ofedctl: RDMA programs register memory, which locks it.",
                "* soft memlock unlimited",
                "* hard memlock unlimited",
                "root soft memlock unlimited",
                "root hard memlock unlimited",
            ]),
            why: "let RDMA programs lock memory".to_owned(),
        });
    }
    edits.push(Edit::SetKey {
        path: "/etc/waagent.conf".to_owned(),
        key: "OS.EnableRDMA".to_owned(),
        value: "y".to_owned(),
        why: "let the VM agent address the InfiniBand interfaces".to_owned(),
    });
    edits
}
