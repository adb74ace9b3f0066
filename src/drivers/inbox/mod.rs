//! The distribution's own kernel modules and rdma-core: ordinary packages without anything beside them.

use super::{Brought, DriverOps, Work};
use crate::edits::Edit;
use crate::edits::wanted::Subject;
use crate::host::Host;
use crate::ledger::Check;
use crate::outcome::Reason;
use crate::packages::{Manager, VendorRepo};
use crate::plan_document::Plan;
use crate::settings::Settings;
use crate::target::Target;
use anyhow::Result;
use std::path::Path;

/// The driver's implementation of [`DriverOps`].
pub(super) struct Inbox;

impl DriverOps for Inbox {
    /// Needs no further packages, because the catalogue names them all.
    fn packages(&self, _: Manager, _: &Target, _: &Settings) -> Vec<String> {
        Vec::new()
    }

    fn edits(&self, _: &Subject) -> Vec<Edit> {
        Vec::new()
    }

    fn builds_by_dkms(&self, _: &Target) -> bool {
        false
    }

    fn vendor_repo(
        &self,
        _: &Host,
        _: (&Plan, &Settings),
        _: Manager,
        file: &Path,
        _: &Path,
    ) -> Result<VendorRepo> {
        let what = format!("the distribution's own driver comes in no file such as `{}`", file.display());
        Err(Reason::Internal.error(what))
    }

    fn adds_lines(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[]
    }

    fn install(&self, _: &Work, transact: &mut dyn FnMut() -> Result<()>) -> Result<Brought> {
        transact().map(|()| Brought::default())
    }

    fn release(&self, _: &Host, _: &Plan) -> Option<Check> {
        None
    }

    fn is_expected(&self, _: &str) -> bool {
        false
    }

    fn uninstaller(&self) -> Option<&'static str> {
        None
    }

    fn is_vendors(&self) -> bool {
        false
    }
}
