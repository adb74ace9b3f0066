//! Drivers: all that only one of them knows lies in its room below, behind [`DriverOps`].
//!
//! Outside this module, the catalogue's and the plan's own data types, nothing matches on a driver: it asks [`ops`].

mod checks;
mod dkms;
mod doca;
mod inbox;
mod logs;
mod mlnx_ofed;
mod requirements;

pub use checks::{built, is_own};
pub use dkms::{hold_back, remove_built_modules};
pub use requirements::{Objection, Requirements, names};

use crate::cache::{Built, Bundle, BundleFile, Cache, VENDOR_TYPE};
use crate::edits::Edit;
use crate::edits::wanted::Subject;
use crate::facts::ofed::Ofed;
use crate::host::Host;
use crate::ledger::Check;
use crate::outcome::Reason;
use crate::packages::{Format, Manager, Transaction, VendorRepo};
use crate::plan_document::Plan;
use crate::settings::Settings;
use crate::target::{Driver, Mode, Target};
use crate::trust::Trust;
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What a plan without a vendor's driver installs.
pub const DISTRIBUTIONS_OWN: Driver = Driver::Inbox;

/// What only one driver knows.
pub trait DriverOps: Sync {
    /// Plan: what the package manager is asked to install, beside what the catalogue says.
    fn packages(&self, manager: Manager, target: &Target, settings: &Settings) -> Vec<String>;

    /// Plan: the edits around its packages.
    fn edits(&self, subject: &Subject) -> Vec<Edit>;

    /// Plan: whether DKMS builds its modules, and goes on doing so for kernels that come later.
    fn builds_by_dkms(&self, target: &Target) -> bool;

    /// Stage: the packages that its file brings, as a repository in `folder`.
    fn vendor_repo(
        &self,
        host: &Host,
        _: (&Plan, &Settings),
        manager: Manager,
        file: &Path,
        folder: &Path,
    ) -> Result<VendorRepo>;

    /// Plan: whether a signature of the vendor, or of the key that the settings name, is to be expected over all of it that
    /// runs, for packages of this form. Staging and installing look whether it is there.
    fn is_signed(&self, _: Format, _version: &str, _: &Settings) -> bool {
        false
    }

    /// Install: files of the root to which its installer adds lines, with those lines, which are to go again.
    fn adds_lines(&self) -> &'static [(&'static str, &'static [&'static str])];

    /// Install: lets the package manager do its part (`transact`), and does what the driver needs before and after it.
    fn install(&self, work: &Work, transact: &dyn Fn() -> Result<()>) -> Result<Brought>;

    /// Verify: whether the release the driver says of itself is the planned one; none where it says nothing.
    fn release(&self, host: &Host, plan: &Plan) -> Option<Check>;

    /// Verify: whether a difference from the packages is the doing of the driver's installer.
    fn is_expected(&self, difference: &str) -> bool;

    /// Remove: the program that takes out what this program installed, before what is left of its packages goes.
    fn uninstaller(&self) -> Option<&'static str>;

    /// Whether it is a vendor's: its modules take the place of the kernel's, and a service loads them.
    fn is_vendors(&self) -> bool {
        true
    }
}

/// What only this driver knows.
pub fn ops(driver: Driver) -> &'static dyn DriverOps {
    match driver {
        Driver::Inbox => &inbox::Inbox,
        Driver::MlnxOfed => &mlnx_ofed::MlnxOfed,
        Driver::Doca => &doca::Doca,
    }
}

/// What installing brought to light.
#[derive(Debug, Default)]
pub struct Brought {
    /// What was compiled, to be kept.
    pub built: Vec<Built>,
    /// What vouches for the vendor's file, where that shows only in the file itself.
    pub trust: Option<Trust>,
}

impl From<Vec<Built>> for Brought {
    fn from(built: Vec<Built>) -> Self {
        Self { built, trust: None }
    }
}

/// Does the installing part of a plan: builds a driver that is there for more kernels, or installs one.
pub fn install(work: &Work, transact: &dyn Fn() -> Result<()>) -> Result<Brought> {
    let Some(rebuild) = &work.plan.rebuilds else { return ops(work.plan.driver).install(work, transact) };
    transact()?;
    let Work { host, cache, bundle, options, .. } = *work;
    dkms::Build { host, cache, bundle, kernels: &rebuild.kernels, options }.build().map(Brought::from)
}

/// Whether a vendor's driver was there `before` a run that did not end, and is there as it was.
pub fn was_there(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> bool {
    const PACKAGES: [&str; 4] =
        ["mlnx-ofa_kernel", "mlnx-ofa_kernel-dkms", "mlnx-ofed-kernel-dkms", "ofed-scripts"];
    PACKAGES.iter().any(|name| before.contains_key(*name) && before.get(*name) == now.get(*name))
}

/// What DKMS needs to build the sources of a driver that is there.
pub fn needed_to_build(manager: Manager, kernels: &[String]) -> Vec<String> {
    built_with(manager, kernels, &["dkms", "gcc", "make"])
}

/// Which driver somebody has installed, by what lies in the file system.
pub fn installed(found: &Ofed) -> Driver {
    if mlnx_ofed::is_it(found) { Driver::MlnxOfed } else { Driver::Doca }
}

/// What both vendor drivers bring to take themselves out with (`ofed-scripts`; NVIDIA's `MLNX_OFED` and DOCA-Host
/// installation guides).
pub const UNINSTALLER: &str = "/usr/sbin/ofed_uninstall.sh";
/// What is to be removed as packages before [`UNINSTALLER`] takes out a driver that somebody else installed.
pub use doca::PACKAGES_THAT_GO_FIRST;

/// How to install or remove.
#[derive(Debug, Clone, Copy)]
pub struct InstallOptions<'a> {
    /// Without any network interface.
    pub offline: bool,
    /// An image is being made: nothing may start or reach the running system.
    pub sealed: bool,
    /// How long to wait for another package manager.
    pub patience: Duration,
    /// What the user wants.
    pub settings: &'a Settings,
}

impl<'a> InstallOptions<'a> {
    /// As the settings ask and the moment allows.
    pub fn new(settings: &'a Settings, mode: Mode) -> Self {
        Self {
            offline: settings.offline,
            sealed: mode == Mode::Bake,
            patience: Duration::from_secs(settings.lock_timeout),
            settings,
        }
    }
}

/// An installation under way.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// The root.
    pub host: &'a Host,
    /// Its package manager.
    pub manager: Manager,
    /// What the package manager is asked to do.
    pub transaction: &'a Transaction<'a>,
    /// Where the files come from.
    pub cache: &'a Cache,
    /// Which of them.
    pub bundle: &'a Bundle,
    /// What is to be there afterwards.
    pub plan: &'a Plan,
    /// How.
    pub options: InstallOptions<'a>,
}

/// The packages that modules are built with: the headers of each kernel, and these tools.
fn built_with(manager: Manager, kernels: &[String], tools: &[&str]) -> Vec<String> {
    let headers = kernels.iter().flat_map(|kernel| manager.headers(kernel));
    headers.chain(tools.iter().map(|name| (*name).to_owned())).collect()
}

impl Work<'_> {
    /// The vendor's file in the bundle.
    fn vendor_file(&self) -> Result<&BundleFile> {
        self.bundle.files.iter().find(|file| file.media_type == VENDOR_TYPE).ok_or_else(|| {
            Reason::CacheMissing.error(format!("the bundle {} has no file of the vendor", self.bundle.tag))
        })
    }

    /// Makes the modules of the vendor's sources for every kernel of the plan.
    fn build_by_dkms(&self) -> Result<Vec<Built>> {
        let Self { host, cache, bundle, plan, options, .. } = *self;
        dkms::Build { host, cache, bundle, kernels: &plan.target.kernels, options }.build()
    }
}
