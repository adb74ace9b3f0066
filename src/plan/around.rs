//! What a reader of a plan has to know of what surrounds the driver in a root: what names and manages interfaces, what
//! installs new kernels by itself, and what else uses `ib_core`. And the refusal where `/usr` cannot be written to.

use super::agent;
use super::context::PlanContext;
use crate::edits::wanted;
use crate::facts::interface_naming::InterfaceNaming;
use crate::facts::kernel_updates::KernelUpdates;
use crate::facts::network_managers::NetworkManagers;
use crate::facts::stack_users::StackUser;
use crate::facts::surroundings::Surroundings;
use crate::outcome::Cause;
use crate::plan_document::Plan;
use crate::settings::NewKernels;
use anyhow::Result;

/// The kernel's modules that the vendors' own packages replace (`mlnx-nvme`, `mlnx-nfsrdma`).
const VENDORS_REPLACE: [&str; 3] = ["nvme_rdma", "nvmet_rdma", "rpcrdma"];

/// What a plan depends on; not the modules that use `ib_core`, which its own driver changes.
pub(super) fn judged(around: &Surroundings) -> (&InterfaceNaming, &NetworkManagers, &KernelUpdates) {
    (&around.naming, &around.managers, &around.updates)
}

/// The plan with what is to be known, or the reason why it cannot be carried out.
pub(super) fn judge(plan: Plan, context: &PlanContext, is_vendors: bool, by_dkms: bool) -> Result<Plan> {
    let Some(around) = context.facts.map(|facts| &facts.surroundings) else { return Ok(plan) };
    let plan = match plan.present {
        None => {
            require_writable(&around.updates)?;
            plan
        }
        Some(_) if around.updates.usr_is_read_only => agent::left_to_the_reader(plan),
        Some(_) => plan,
    };
    let mut notes = Vec::new();
    if context.settings.ipoib {
        notes.extend(names(&around.naming, context));
        notes.extend(managers(&around.managers));
    }
    if is_vendors {
        notes.extend(updates(&around.updates, context.settings.of_new_kernels(), by_dkms)?);
        for kernel in &plan.target.kernels {
            notes.extend(around.users.get(kernel).into_iter().flat_map(|users| shared(kernel, users)));
        }
    }
    Ok(plan.because(notes))
}

fn require_writable(updates: &KernelUpdates) -> Result<()> {
    if !updates.usr_is_read_only {
        return Ok(());
    }
    let what = match &updates.image_based {
        Some(kind) => {
            format!("/usr is read-only, for {kind} replaces this system as a whole; nothing was changed")
        }
        None => "/usr is on a file system that is mounted read-only; nothing was changed".to_owned(),
    };
    Err(Cause::UsrReadOnly.error(what))
}

fn names(naming: &InterfaceNaming, context: &PlanContext) -> Option<String> {
    let agent = context.facts.and_then(|facts| facts.waagent.as_ref());
    let wants_ours = agent.is_some_and(|agent| !agent.takes("ibP257s0"));
    let in_charge = naming
        .files
        .iter()
        .find(|file| !wants_ours || !file.is_link() || wanted::goes_before_ours(&file.path));
    let Some(file) = in_charge else {
        let said = if naming.keeps_names {
            "the kernel keeps its names (net.ifnames=0), so IPoIB interfaces are ib0 and on"
        } else if naming.biosdevname {
            "biosdevname names Ethernet interfaces alone; systemd names IPoIB interfaces"
        } else {
            return None;
        };
        return Some(said.to_owned());
    };
    let name = file.name.as_deref().map(|name| format!(" as {name}")).unwrap_or_default();
    let stays = match (file.is_link(), context.settings.replace_names) {
        (true, true) => {
            return Some(format!("IPoIB interfaces were named{name} by {}, which is replaced", file.path));
        }
        (true, false) => "stays in charge (`replace_names` would replace it)",
        (false, _) => "stays in charge, for it may name other interfaces as well",
    };
    let unseen = agent.filter(|agent| file.name.as_deref().is_some_and(|name| !agent.takes(name)));
    let unseen = unseen
        .map(|agent| format!("; {} looks for {} and gives it no address", agent.name(), agent.looks_for()));
    Some(format!(
        "IPoIB interfaces are named{name} by {}, which {stays}{}",
        file.path,
        unseen.unwrap_or_default()
    ))
}

fn managers(managers: &NetworkManagers) -> Vec<String> {
    let mut notes: Vec<String> = managers
        .configured
        .iter()
        .map(|file| {
            let waits =
                if file.waits { "; the boot waits for it unless it is made optional there" } else { "" };
            format!("{} configures an InfiniBand interface and stays in charge of it{waits}", file.path)
        })
        .collect();
    if managers.stops_at_twins() {
        notes.push(format!(
            "cloud-init {} gives up on the network where two interfaces have one hardware address, as those of Accelerated \
             Networking and IPoIB may (canonical/cloud-init issues 3450 and 3660): install 22.4.1 or newer",
            managers.cloud_init.as_deref().unwrap_or_default()
        ));
    }
    notes
}

fn updates(updates: &KernelUpdates, wanted: NewKernels, by_dkms: bool) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let at_boot = updates.at_boot.as_deref();
    if wanted == NewKernels::Rebuild {
        notes.push(match (by_dkms, at_boot) {
            (true, _) => "DKMS builds this driver for each new kernel whose headers come with it (`new_kernels`)".to_owned(),
            (false, Some(by)) => format!(
                "{by} runs this program at each boot, which prepares a new kernel from the cache in the image (`new_kernels`)"
            ),
            (false, None) => {
                let what = "this driver's modules are for the kernels that are there, DKMS does not have it, and nothing \
                    runs this program at boot";
                return Err(Cause::NothingRebuilds.error(what));
            }
        });
    }
    let of = |by: &String| match (wanted, by_dkms, at_boot) {
        (NewKernels::Hold, ..) => {
            format!("{by} installs updates by itself; the kernels are on hold (`kernel_hold`)")
        }
        (NewKernels::Rebuild, ..) => format!("{by} installs new kernels by itself"),
        (NewKernels::Leave, true, _) => format!(
            "{by} installs new kernels by itself: DKMS builds this driver for each whose headers come with it; \
             `kernel_hold` would keep the kernels as they are"
        ),
        (NewKernels::Leave, false, Some(boot)) => format!(
            "{by} installs new kernels by itself: {boot} runs this program at each boot, which prepares them; \
             `kernel_hold` would keep the kernels as they are"
        ),
        (NewKernels::Leave, false, None) => format!(
            "{by} installs new kernels by itself, and this driver's modules are for these alone: set `kernel_hold`, or run \
             this again after each"
        ),
    };
    notes.extend(updates.by.iter().map(of));
    notes.extend(updates.image_based.iter().map(|kind| {
        format!("{kind} replaces this system as a whole: what is installed here is gone with the next image, so bake it there")
    }));
    Ok(notes)
}

/// What becomes of modules that use the kernel's `ib_core` when a vendor's takes its place.
fn shared(kernel: &str, users: &[StackUser]) -> Vec<String> {
    let names = |is_named: &dyn Fn(&&StackUser) -> bool| -> Option<String> {
        let named: Vec<&str> = users.iter().filter(is_named).map(|user| user.module.as_str()).collect();
        (!named.is_empty()).then(|| named.join(", "))
    };
    let others = names(&|user| !user.is_kernels_own());
    let own = names(&|user| user.is_kernels_own() && !VENDORS_REPLACE.contains(&user.module.as_str()));
    let others = others.map(|names| {
        format!("{names} for {kernel} shares ib_core with this driver: built again where DKMS has its sources, else build it again")
    });
    let own =
        own.map(|names| format!("the own {names} of {kernel} does not load with this driver's ib_core"));
    others.into_iter().chain(own).collect()
}
