//! Drivers. Knowledge about one driver only lies in its own folder below, behind the trait [`DriverOps`]. Outside this
//! module and the data types of catalogue and plan, no code matches on a driver: it calls [`ops`].

mod checks;
mod dkms;
mod doca;
mod inbox;
mod logs;
mod mlnx_ofed;
pub mod patches;
mod requirements;
mod shared;
mod signing;

pub use checks::{built, is_own};
pub use dkms::{hold_back, remove_built_modules};
pub use requirements::{Objection, Requirements, names};
pub use shared::check_users;
pub use signing::{is_signed_module, require_signing_key};

use crate::cache::{Built, Bundle, BundleFile, Cache, VENDOR_TYPE};
use crate::catalog::VendorKey;
use crate::edits::Edit;
use crate::edits::wanted::Subject;
use crate::facts::ofed::Ofed;
use crate::host::{Host, room};
use crate::ledger::Check;
use crate::outcome::{Cause, Reason};
use crate::packages::{Manager, Transaction, VendorRepo};
use crate::plan_document::Plan;
use crate::settings::Settings;
use crate::target::{Driver, Mode, Target};
use crate::trust::Trust;
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The name of a plan without a vendor's driver.
pub const DISTRIBUTIONS_OWN: Driver = Driver::Inbox;

/// The operations that differ between drivers.
pub trait DriverOps: Sync {
    /// Plan: packages to install beside those in the catalogue.
    fn packages(&self, manager: Manager, target: &Target, settings: &Settings) -> Vec<String>;

    /// Plan: the edits around its packages.
    fn edits(&self, subject: &Subject) -> Vec<Edit>;

    /// Plan: whether DKMS builds its modules, also for kernels that are installed later.
    fn builds_by_dkms(&self, target: &Target) -> bool;

    /// Stage: the packages in its file, as a repository in `folder`.
    fn vendor_repo(
        &self,
        host: &Host,
        _: (&Plan, &Settings),
        manager: Manager,
        file: &Path,
        folder: &Path,
    ) -> Result<VendorRepo>;

    /// Plan: whether everything in it that runs on this target should be signed by the vendor, or by the key in the
    /// settings. Staging and installing check the signature. `keys` are those that the catalogue names beside the pinned
    /// ones.
    fn is_signed(&self, _: &Target, _version: &str, _: &Settings, _keys: &[VendorKey]) -> bool {
        false
    }

    /// The folder of a root in which its file is unpacked.
    fn unpacks_into(&self) -> &'static str {
        "/var/lib/ofedctl"
    }

    /// Install: files of the root to which its installer adds lines, with those lines, which are removed afterwards.
    fn adds_lines(&self) -> &'static [(&'static str, &'static [&'static str])];

    /// Install: calls `transact` for the package manager's part, and does what the driver needs before and after it.
    fn install(&self, work: &Work, transact: &mut dyn FnMut() -> Result<()>) -> Result<Brought>;

    /// Verify: checks that the release that the driver states is the planned one; none if it states none.
    fn release(&self, host: &Host, plan: &Plan) -> Option<Check>;

    /// Verify: whether a file differs from its package because the driver's installer changed it.
    fn is_expected(&self, difference: &str) -> bool;

    /// Remove: the uninstaller to run before the remaining packages are removed, if there is one.
    fn uninstaller(&self) -> Option<&'static str>;

    /// Whether it is a vendor's driver, whose modules replace the kernel's and are loaded by a service.
    fn is_vendors(&self) -> bool {
        true
    }
}

/// The operations of this driver.
pub fn ops(driver: Driver) -> &'static dyn DriverOps {
    match driver {
        Driver::Inbox => &inbox::Inbox,
        Driver::MlnxOfed => &mlnx_ofed::MlnxOfed,
        Driver::Doca => &doca::Doca,
    }
}

/// The result of an installation.
#[derive(Debug, Default)]
pub struct Brought {
    /// The compiled modules, to be stored in the cache.
    pub built: Vec<Built>,
    /// How the vendor's file was verified, if only its content tells that.
    pub trust: Option<Trust>,
}

impl From<Vec<Built>> for Brought {
    fn from(built: Vec<Built>) -> Self {
        Self { built, trust: None }
    }
}

/// Whether the vendor's driver that an `earlier` plan of this program installed has to go before `plan` is carried out.
pub fn is_replaced(earlier: &Plan, plan: &Plan) -> bool {
    installs_vendors(earlier) && !earlier.has_driver_of(plan)
}

/// Whether a plan installs a vendor's driver. Where one is there already it stays as it is, and only what the VM agent lacks is
/// installed beside it.
pub fn installs_vendors(plan: &Plan) -> bool {
    ops(plan.driver).is_vendors() && plan.present.is_none()
}

/// Carries out the installing part of a plan: installs a driver, or builds an installed one for more kernels, or leaves it
/// as it is.
pub fn install(work: &Work, transact: &mut dyn FnMut() -> Result<()>) -> Result<Brought> {
    if work.plan.present.is_some() {
        return transact().map(|()| Brought::default());
    }
    let Some(rebuild) = &work.plan.rebuilds else { return ops(work.plan.driver).install(work, transact) };
    transact()?;
    let Work { host, cache, bundle, plan, options, .. } = *work;
    let signatures = signing::Signatures::from_plan(host, plan, options.settings)?;
    dkms::Build { host, cache, bundle, signatures, kernels: &rebuild.kernels, options }
        .build()
        .map(Brought::from)
}

/// Refuses to build a vendor's modules in a root where no program runs from the folders that they are built in, before
/// anything is changed.
pub fn require_build_place(host: &Host, plan: &Plan) -> Result<()> {
    const PLACES: [&str; 2] = ["/var/lib/dkms", "/var/lib/ofedctl"];
    if !installs_vendors(plan) {
        return Ok(());
    }
    for place in PLACES {
        let Some(there) = room::without_programs(&host.root, place) else { continue };
        let what = format!(
            "kernel modules are built in `{place}`, and `{there}` is on a file system that is mounted noexec; nothing was \
             changed"
        );
        return Err(Cause::BuildPlaceNoexec.error(what));
    }
    Ok(())
}

/// Whether a vendor's driver was installed `before` a failed run, and is unchanged.
pub fn was_there(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> bool {
    const PACKAGES: [&str; 4] =
        ["mlnx-ofa_kernel", "mlnx-ofa_kernel-dkms", "mlnx-ofed-kernel-dkms", "ofed-scripts"];
    PACKAGES.iter().any(|name| before.contains_key(*name) && before.get(*name) == now.get(*name))
}

/// The packages that DKMS needs to build the sources of an installed driver.
pub fn needed_to_build(manager: Manager, kernels: &[String]) -> Vec<String> {
    built_with(manager, kernels, &["dkms", "gcc", "make"])
}

/// The driver that somebody has installed, found by files in the root.
pub fn installed(found: &Ofed) -> Driver {
    if mlnx_ofed::is_it(found) { Driver::MlnxOfed } else { Driver::Doca }
}

/// The uninstaller that both vendor drivers contain (`ofed-scripts`; NVIDIA's `MLNX_OFED` and DOCA-Host installation
/// guides).
pub const UNINSTALLER: &str = "/usr/sbin/ofed_uninstall.sh";
/// The packages to remove before [`UNINSTALLER`] removes a driver that somebody else installed.
pub use doca::PACKAGES_THAT_GO_FIRST;

/// The options for installing or removing.
#[derive(Debug, Clone, Copy)]
pub struct InstallOptions<'a> {
    /// Without any network interface.
    pub offline: bool,
    /// Whether an image is baked: no service may start, and no program may reach the running system.
    pub sealed: bool,
    /// How long to wait for another package manager.
    pub patience: Duration,
    /// The user's settings.
    pub settings: &'a Settings,
}

impl<'a> InstallOptions<'a> {
    /// The options for these settings and this mode.
    pub fn new(settings: &'a Settings, mode: Mode) -> Self {
        Self {
            offline: settings.offline,
            sealed: mode == Mode::Bake,
            patience: Duration::from_secs(settings.lock_timeout),
            settings,
        }
    }
}

/// An installation in progress.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// The root.
    pub host: &'a Host,
    /// Its package manager.
    pub manager: Manager,
    /// The package manager's transaction.
    pub transaction: &'a Transaction<'a>,
    /// The cache with the files.
    pub cache: &'a Cache,
    /// The bundle to install.
    pub bundle: &'a Bundle,
    /// The plan to carry out.
    pub plan: &'a Plan,
    /// The options.
    pub options: InstallOptions<'a>,
}

/// The packages needed to build modules: the headers of each kernel, and these tools.
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

    /// Builds the modules of the vendor's sources for every kernel of the plan.
    fn build_by_dkms(&self) -> Result<Vec<Built>> {
        let Self { host, cache, bundle, plan, options, .. } = *self;
        let signatures = signing::Signatures::from_plan(host, plan, options.settings)?;
        dkms::Build { host, cache, bundle, signatures, kernels: &plan.target.kernels, options }.build()
    }
}
