//! What the VM agent in the root needs to give `IPoIB` interfaces their addresses, and what the plan says of it.

use super::context::PlanContext;
use crate::facts::Facts;
use crate::facts::waagent::{Addressing, Fault, Waagent};
use crate::facts::waagent_start::NoStart;
use crate::packages::Manager;
use crate::plan_document::Plan;
use crate::target::Target;

/// The agent's needs.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Packages of programs that it calls or whose files it reads, and that the root lacks.
    pub(super) packages: Vec<String>,
    /// What a reader of the plan has to know.
    pub(super) notes: Vec<String>,
}

impl Needs {
    /// The plan with these packages, as such without which the driver works.
    pub(super) fn added_to(self, mut plan: Plan) -> Plan {
        plan.packages.extend(self.packages.iter().cloned());
        plan.optional = self.packages;
        plan
    }
}

/// The plan of a driver that is there already, where nothing can be installed.
pub(super) fn left_to_the_reader(mut plan: Plan) -> Plan {
    plan.optional.clear();
    let missing = std::mem::take(&mut plan.packages).join(", ");
    let note = format!("nothing can be installed where /usr is read-only: the image has to bring {missing}");
    plan.because((!missing.is_empty()).then_some(note))
}

/// How the agent in the root gives addresses.
pub(super) fn addressing<'a>(context: &PlanContext<'a>) -> Option<&'a Addressing> {
    context.facts?.waagent.as_ref()?.addressing.as_ref()
}

/// The facts about the agent that a plan depends on.
pub(super) fn judged(facts: &Facts) -> Option<(&Option<Addressing>, &Option<String>, &Option<NoStart>)> {
    facts.waagent.as_ref().map(|agent| (&agent.addressing, &agent.version, &agent.no_start))
}

/// Finds out what the agent needs. Nothing is known of it where there is no root, and nothing is needed where no `IPoIB`
/// interface is wanted.
pub(super) fn needs(context: &PlanContext, target: &Target) -> Needs {
    let Some(facts) = context.facts.filter(|_| context.settings.ipoib) else { return Needs::default() };
    let Some(agent) = &facts.waagent else {
        let note = "no Azure VM agent is in this root: nothing gives IPoIB interfaces their addresses";
        return Needs { notes: vec![note.to_owned()], ..Needs::default() };
    };
    let no_start = agent.no_start.as_ref().map(|no_start| {
        format!(
            "{} does not start, so IPoIB interfaces get no address: {}",
            agent.name(),
            no_start.why(agent.unit())
        )
    });
    let mut needs = Needs { notes: no_start.into_iter().collect(), ..Needs::default() };
    let Some(addressing) = agent.addressing else { return needs };
    if let Some(fault) = addressing.fault {
        needs.notes.push(never(agent, fault));
        return needs;
    }
    let manager = Manager::for_target(target);
    if addressing.calls_ifconfig && !agent.has_ifconfig {
        let package = manager.map(|manager| manager.ifconfig_package().to_owned());
        needs.notes.push(format!("{} calls ifconfig, which this root lacks", agent.name()));
        needs.packages.extend(package);
    }
    if addressing.reads_kvp && !agent.has_kvp_daemon {
        needs.notes.push(format!(
            "{} reads the addresses that hv_kvp_daemon writes down, which this root lacks",
            agent.name()
        ));
        let packages = manager.map(|manager| manager.kvp_packages(&target.distro, &target.kernels));
        needs.packages.extend(packages.unwrap_or_default());
    }
    needs
}

fn never(agent: &Waagent, fault: Fault) -> String {
    let why = match fault {
        Fault::NoSriov => "it knows Network Direct alone",
        Fault::GoalState => "it fails to fetch the goal state (Azure/WALinuxAgent issue 3025)",
    };
    format!("{} never gives IPoIB interfaces addresses: {why}; install 2.12 or newer", agent.name())
}
