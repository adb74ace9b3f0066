//! Whether the running kernel, where there is one, has the planned modules.

use super::Job;
use crate::configure;
use crate::facts::Facts;
use crate::host::Host;
use crate::plan_document::Plan;
use crate::target::{Driver, Moment};
use crate::verify;
use anyhow::Result;

/// Whether the running kernel was seen to have every module of the plan.
pub(super) fn were_seen(job: &Job, facts: &Facts, plan: &Plan) -> Result<bool> {
    let is_there = plan.modules.iter().all(|name| facts.loaded.iter().any(|module| module.name == *name));
    Ok(is_there && are_own(job.host, plan)?)
}

/// Whether the running kernel, when there is one, has every module of the plan now.
pub(super) fn load(job: &Job, plan: &Plan) -> Result<bool> {
    Ok(job.moment == Moment::Bake
        || (configure::load_modules(job.host, &plan.modules)? && are_own(job.host, plan)?))
}

/// Whether the loaded modules are the driver's. The kernel may have loaded its own before a vendor's were there:
/// Accelerated Networking needs them, too.
fn are_own(host: &Host, plan: &Plan) -> Result<bool> {
    Ok(plan.driver == Driver::Inbox || verify::failures(&verify::live::loaded(host, plan)?).is_none())
}
