//! A driver that an earlier run installed and that still verifies stays, unless the user asks for another one.
//!
//! Today's choice may be newer only because the catalogue or this program is newer. Replacing a driver in use is a change
//! that the user has to ask for, by naming the driver, its version or its file.

use crate::catalog::Catalog;
use crate::facts::Facts;
use crate::host::Host;
use crate::ledger::Receipt;
use crate::plan::{self, Described};
use crate::plan_document::Plan;
use crate::settings::{DriverChoice, Settings, UnsupportedKernel};
use crate::stage;
use crate::target::Mode;
use crate::verify;
use anyhow::Result;

/// What is known when a plan is made for a root.
pub(super) struct Asked<'a> {
    pub(super) host: &'a Host,
    pub(super) described: &'a Described,
    pub(super) facts: &'a Facts,
    pub(super) mode: Mode,
    pub(super) settings: &'a Settings,
    pub(super) catalog: &'a Catalog,
}

impl Asked<'_> {
    /// The plan for the installed driver, where `better` is a driver that the user did not name and the root still
    /// matches its receipt; else `better`.
    pub(super) fn settle(&self, better: Plan, receipt: Option<&Receipt>) -> Result<Plan> {
        let is_free = better.present.is_none() && better.replaces.is_none() && !is_named(self.settings);
        let Some(receipt) = receipt.filter(|receipt| is_free && !receipt.plan.has_driver_of(&better)) else {
            return Ok(better);
        };
        let there = &receipt.plan;
        if there.rebuilds.is_some() {
            return Ok(better);
        }
        // Whether the driver supports these kernels was decided when it was installed.
        let is_for = |kernel: &String| there.target.kernels.contains(kernel);
        let is_for_all = better.target.kernels.iter().all(is_for);
        let unsupported_kernel =
            if is_for_all { UnsupportedKernel::Try } else { self.settings.unsupported_kernel };
        let settings = Settings {
            driver: DriverChoice::from_driver(there.driver),
            driver_version: there.driver_version.clone(),
            // The driver is installed already, so the trust level of its file does not matter for keeping it.
            sha256: receipt.vendor_file.as_ref().map(|file| file.sha256.clone()),
            unsupported_kernel,
            ..self.settings.clone()
        };
        let plan = plan::plan(self.described, Some(self.facts), self.mode, self.catalog, &settings);
        let mut plan = match plan {
            Ok(plan) if plan.has_driver_of(there) => plan,
            // The catalogue of today may not have this version any more.
            _ if is_for_all => Plan { target: better.target.clone(), ..there.clone() },
            _ => return Ok(better),
        };
        if !self.is_right(receipt)? {
            return Ok(better);
        }
        plan.artifact.clone_from(&there.artifact);
        let name = better.driver_name();
        let ask = match &better.driver_version {
            Some(version) => format!("`driver: {}` and `driver_version: {version}`", better.driver),
            None => format!("`driver: {}`", better.driver),
        };
        plan.why = vec![
            format!("{} is here and as its receipt says, so it stays", there.driver_name()),
            format!("{name} would be chosen today ({}): {ask} take it", better.why.join("; ")),
        ];
        plan.rejected.clear();
        Ok(plan)
    }

    fn is_right(&self, receipt: &Receipt) -> Result<bool> {
        let installed = stage::manager_of(&receipt.plan)?.installed(self.host)?;
        let checks = verify::check_files(self.host, &receipt.plan, &installed, Some(receipt))?;
        Ok(installed.broken.is_empty() && verify::failures(&checks).is_none())
    }
}

/// Whether somebody asked for a driver by its name, its version or its file.
fn is_named(settings: &Settings) -> bool {
    settings.driver != DriverChoice::Auto || settings.driver_version.is_some() || settings.artifact.is_some()
}
