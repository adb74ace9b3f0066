//! Determines the adapter generation for which a driver is chosen, and the source of that knowledge.

use super::context::PlanContext;
use crate::facts::{pci, vm_size};
use crate::target::Nic;

/// The adapter generations to plan for when nothing tells which one it is: those of all sizes sold today, or, if no
/// driver serves them all, those that older distributions support.
const USUAL: [&[Nic]; 2] = [&[Nic::Cx5, Nic::Cx6, Nic::Cx7], &[Nic::Cx5, Nic::Cx6]];

/// The adapter.
pub(super) struct Adapter {
    /// Its generation, if known.
    pub(super) nic: Option<Nic>,
    /// The source of that knowledge, in one line.
    pub(super) why: String,
}

impl Adapter {
    /// Sets of generations, one of which the driver must serve as a whole; the best set comes first.
    pub(super) fn nics(&self) -> Vec<Vec<Nic>> {
        match self.nic {
            Some(nic) => vec![vec![nic]],
            None => USUAL.map(<[Nic]>::to_vec).to_vec(),
        }
    }
}

/// Settings come first, then the hardware where its PCI device number tells the generation, then the VM size.
pub(super) fn planned(context: &PlanContext) -> Adapter {
    let adapter = told(context);
    let name = context.vm_size.as_deref().unwrap_or_default();
    let note = match vm_size::retirement(name) {
        Some(retirement) => format!("; {retirement}"),
        None if !name.is_empty() && !vm_size::is_known(name) => {
            format!("; the size {name} is not known to this program, so the adapter decides")
        }
        None => String::new(),
    };
    Adapter { why: adapter.why + &note, ..adapter }
}

fn told(context: &PlanContext) -> Adapter {
    let known = |nic: Nic, why: String| Adapter { nic: Some(nic), why };
    if let Some(nic) = context.settings.nic {
        return known(nic, format!("the settings say that the adapter is {nic}"));
    }
    let functions = context.live.map_or(&[][..], |facts| &facts.functions);
    let size = context.rdma_size().and_then(|size| Some((size.nic?, size.series.unwrap_or_default())));
    let name = context.vm_size.as_deref().unwrap_or_default();
    if let (Some(nic), Some(function)) = (pci::generation_of(functions), pci::infiniband(functions).next()) {
        let why = match size {
            Some((by_name, series)) if by_name != nic => {
                format!(
                    "the adapter is {nic}: {function}, although {name} ({series}) has {by_name} by its name"
                )
            }
            _ => format!("the adapter is {nic}: {function}"),
        };
        return known(nic, why);
    }
    // Functions whose device number does not tell the generation all use mlx5.
    let fits = |nic: Nic| pci::infiniband(functions).next().is_none() || nic.kernel_driver() == "mlx5";
    match size {
        Some((nic, series)) if fits(nic) => known(nic, format!("the adapter of {name} ({series}) is {nic}")),
        _ => Adapter { nic: None, why: "nothing tells which adapter it is for, so it must drive all usual ones (give --vm-size or --nic)".to_owned() },
    }
}
