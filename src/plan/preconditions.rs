//! Rejects unsuitable machines before the image is considered: exit codes 10, 13 and 11, in this order.

use super::context::PlanContext;
use crate::facts::vm_size::{self, SizeVerdict};
use crate::facts::vmbus::Vmbus;
use crate::facts::{Facts, pci};
use crate::outcome::{Cause, Reason};
use anyhow::Result;

/// Refuses a machine that cannot have InfiniBand. On a running machine the hardware counts more than the size's name:
/// the size may be newer than the table, or may have moved from Network Direct to SR-IOV.
pub(super) fn machine(context: &PlanContext) -> Result<()> {
    given_size(context)?;
    let Some(facts) = context.live else { return size(context, "") };
    let (seen, seen_by_name) = (seen(facts), without_bus(facts));
    let Some(vmbus) = &facts.vmbus else {
        return Err(Reason::NoVmbus.error(format!("there is no VMBus here (/sys/bus/vmbus/devices); {seen}")));
    };
    if pci::infiniband(&facts.functions).next().is_some() {
        return Ok(());
    }
    let name = context.vm_size.as_deref();
    if vmbus.network_direct {
        let retirement = retirement(name.unwrap_or_default());
        let what =
            format!("{} offers Network Direct on the VMBus{retirement}; {seen}", name.unwrap_or("this VM"));
        return Err(Reason::SizeLegacyNd.error(what));
    }
    size(context, &format!("; {seen_by_name}"))?;
    let expected = match (name, context.rdma_size().and_then(|size| size.hcas)) {
        (Some(name), Some(1)) => format!("{name} should have an InfiniBand function, and has none"),
        (Some(name), Some(count)) => format!("{name} should have {count} InfiniBand functions, and has none"),
        (Some(name), None) => format!("{name} has no InfiniBand function"),
        (None, _) => "this VM, of unknown size, has no InfiniBand function".to_owned(),
    };
    Err(Reason::NoIbDevice.error(format!("{expected}; {seen}")))
}

/// Refuses an unknown size that the user gives, which is most likely mistyped, unless the adapter is given as well. An
/// unknown size from the metadata service may be newer than this program; then the adapter decides.
fn given_size(context: &PlanContext) -> Result<()> {
    let Some(given) = context.settings.vm_size.as_deref() else { return Ok(()) };
    match vm_size::unknown(given).filter(|_| context.settings.nic.is_none()) {
        Some(what) => Err(Cause::SizeUnknown.error(what)),
        None => Ok(()),
    }
}

/// Refuses a size by its name, unless the user names the adapter: names newer than the table come every month.
fn size(context: &PlanContext, seen: &str) -> Result<()> {
    if context.settings.nic.is_some() {
        return Ok(());
    }
    let name = context.vm_size.as_deref().unwrap_or_default();
    let retirement = retirement(name);
    match context.verdict() {
        Some(SizeVerdict::NotRdma) => {
            Err(Reason::SizeNotRdma.error(format!("{name} has no InfiniBand by its name{retirement}{seen}")))
        }
        Some(SizeVerdict::LegacyNd { series }) => Err(Reason::SizeLegacyNd.error(format!(
            "{name}, of the {series} series, has Network Direct by its name{retirement}{seen}"
        ))),
        Some(SizeVerdict::Rdma(_)) | None => Ok(()),
    }
}

/// What is known of a size's end, to be added to a sentence.
fn retirement(name: &str) -> String {
    vm_size::retirement(name).map(|known| format!("; {known}")).unwrap_or_default()
}

/// The facts about the machine that a reader needs to judge the refusal, in one line.
fn seen(facts: &Facts) -> String {
    let bus = facts.vmbus.as_ref().map(|bus| format!("; VMBus: {}", classes(bus))).unwrap_or_default();
    format!("{}{bus}", without_bus(facts))
}

/// The size alone, where its name already explains the refusal and the devices on the bus add nothing.
fn without_bus(facts: &Facts) -> String {
    let functions: Vec<String> = facts.functions.iter().map(ToString::to_string).collect();
    let functions = if functions.is_empty() {
        "no Mellanox or Microsoft network function".to_owned()
    } else {
        functions.join(", ")
    };
    let distro = facts.os.distro.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    let kernel = facts.os.running_kernel.as_deref().unwrap_or("unknown");
    format!("seen: distribution {distro}, running kernel {kernel}; PCI: {functions}")
}

fn classes(bus: &Vmbus) -> String {
    let counted = bus.classes.iter().map(|(class, count)| format!("{count} x {class}"));
    counted.collect::<Vec<_>>().join(", ")
}
