//! When the bundle of a removed driver was made. `uninstall` removes the receipt; without this record whoever holds an
//! old signed bundle could bring its faults back by way of a removal.

use super::document;
use super::receipt::Receipt;
use crate::host::fs::Root;
use crate::plan_document::Plan;
use crate::target::Driver;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Path of the record inside the root.
pub const LAST_BUNDLE: &str = "/var/lib/ofedctl/last-bundle.json";
/// The schema version in which this program writes it.
const FORM: u64 = 1;

/// The bundle that the driver came from which was removed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBundle {
    schema_version: u64,
    driver: Driver,
    driver_version: Option<String>,
    /// When it was published, RFC 3339.
    bundle_made: String,
}

impl LastBundle {
    /// Reads a root's record; none when there is none.
    pub fn load(root: &Root) -> Result<Option<Self>> {
        document::read(root, LAST_BUNDLE, FORM, |_, value| value)
    }

    /// Keeps what the receipt of a driver that is being removed says of its bundle. A receipt that names none leaves an
    /// earlier record as it is.
    pub fn record(root: &Root, receipt: &Receipt) -> Result<()> {
        let Some(bundle_made) = receipt.bundle_made.clone() else { return Ok(()) };
        let Plan { driver, driver_version, .. } = &receipt.plan;
        let last = Self {
            schema_version: FORM,
            driver: *driver,
            driver_version: driver_version.clone(),
            bundle_made,
        };
        let text =
            serde_json::to_string_pretty(&last).context("cannot write the record of the last bundle")?;
        root.write_text(LAST_BUNDLE, &(text + "\n"))
    }

    /// When the bundle was made, if it brought the driver of this plan in the same version.
    pub fn made_for(&self, plan: &Plan) -> Option<&str> {
        let is_the_same = (self.driver, &self.driver_version) == (plan.driver, &plan.driver_version);
        is_the_same.then_some(self.bundle_made.as_str())
    }
}
