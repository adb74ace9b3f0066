//! Simulates a removal with the manager before anything is changed, so that a refused removal removes nothing.

use crate::host::Host;
use crate::host::run::Cmd;
use crate::host::sandbox::Sandbox;
use crate::outcome::Reason;
use anyhow::Result;

/// Runs a simulated removal. If it is refused, returns the lines about dependent packages, which `dependents` reads
/// from the output; none if the removal is possible.
pub(super) fn needed_by_others(
    host: &Host,
    simulation: Cmd,
    dependents: impl Fn(&str) -> Vec<String>,
) -> Result<Vec<String>> {
    let finished = host.run(&simulation.with_full_output().inside(Sandbox::offline(&host.root, true)))?;
    if finished.code == 0 {
        return Ok(Vec::new());
    }
    let mut needed = dependents(&finished.stdout);
    needed.sort();
    needed.dedup();
    if needed.is_empty() {
        return Err(finished.error(Reason::PackageManager, "finding out whether packages can be removed"));
    }
    Ok(needed)
}
