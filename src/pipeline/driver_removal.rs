//! Removes a driver from a root: runs its own uninstaller where it has one, removes the packages that are left, and makes
//! sure that the kernels load their own modules again.

use crate::drivers::{self, InstallOptions, PACKAGES_THAT_GO_FIRST, UNINSTALLER};
use crate::edits::initramfs;
use crate::facts::modules::{self, Module};
use crate::facts::ofed;
use crate::host::Host;
use crate::host::run::Cmd;
use crate::host::sandbox::Sandbox;
use crate::install;
use crate::ledger::{Journal, Receipt};
use crate::outcome::{Cause, Reason};
use crate::packages::Manager;
use crate::packages::diagnose::{self, Doing};
use crate::plan_document::Plan;
use anyhow::Result;

/// Says that another driver is being taken out, or is out, and that kernels may not have their own modules again yet: what
/// a run that failed or died there leaves to the next one, which finds no other driver any more.
const UNFINISHED: &str = "/var/lib/ofedctl/other-driver-removal";

/// What a removal needs to know of the run it belongs to.
#[derive(Debug)]
pub(super) struct DriverRemoval<'a> {
    pub(super) host: &'a Host,
    pub(super) manager: Manager,
    pub(super) options: InstallOptions<'a>,
    /// The kernels that must load their own modules again afterwards.
    pub(super) kernels: &'a [String],
}

impl DriverRemoval<'_> {
    /// Refuses to remove the packages that a receipt records while other packages need them.
    pub(super) fn require_ours_not_needed(&self, receipt: &Receipt) -> Result<()> {
        let mut goes = receipt.added.clone();
        // The vendor's own uninstaller also removes packages that replaced other versions.
        let runs = receipt.plan.present.is_none();
        if runs
            && drivers::ops(receipt.plan.driver)
                .uninstaller()
                .is_some_and(|program| self.host.root.exists(program))
        {
            goes.extend(receipt.replaced.keys().cloned());
        }
        self.require_not_needed(&goes.into_iter().collect::<Vec<_>>())
    }

    /// Refuses to remove packages that other packages need, and names both. Nothing is changed yet.
    fn require_not_needed(&self, packages: &[String]) -> Result<()> {
        let Self { host, manager, options, .. } = self;
        manager.wait_for_locks(host, options.patience)?;
        let installed = manager.installed(host)?;
        let there: Vec<String> = packages.iter().filter(|name| installed.has_any_of(name)).cloned().collect();
        let needed = if there.is_empty() { Vec::new() } else { manager.needed_by_others(host, &there)? };
        if needed.is_empty() {
            return Ok(());
        }
        let what = format!("nothing was removed, because others need it: {}", needed.join("; "));
        Err(Reason::PackageManager.error(what))
    }

    /// Removes a driver that somebody else installed, which no receipt records.
    pub(super) fn remove_others(&self, journal: &mut Journal, release: &str) -> Result<()> {
        let Self { host, manager, options, .. } = self;
        host.events.info(format!("taking out {release}"));
        if !host.root.exists(UNINSTALLER) {
            let what =
                format!("{release} brought no {UNINSTALLER}, so only who installed it can take it out");
            return Err(Cause::OtherDriverWithoutUninstaller.error(what));
        }
        let first = PACKAGES_THAT_GO_FIRST.map(str::to_owned);
        let installed = manager.installed(host)?;
        let first: Vec<String> = installed.named(&first).map(str::to_owned).collect();
        self.require_not_needed(&first)?;
        self.keep_services(journal)?;
        install::remove(host, journal, *manager, &first, *options)?;
        host.root.write_text(UNFINISHED, &format!("{release}\n"))?;
        self.run_uninstaller(journal, UNINSTALLER)?;
        self.finish_others()?;
        match ofed::read(host).filter(|left| left.release.is_some() || left.openibd) {
            Some(left) => {
                let what = format!("{UNINSTALLER} ended well and left {}", left.release.unwrap_or_default());
                Err(Reason::VerifyFailed.error(what))
            }
            None => Ok(()),
        }
    }

    /// Finishes the removal of a driver that somebody else installed, where one is unfinished.
    pub(super) fn finish_others(&self) -> Result<()> {
        if !self.host.root.exists(UNFINISHED) {
            return Ok(());
        }
        self.restore_kernel_modules(&self.host.root.list("/lib/modules"))?;
        self.host.root.remove_file(UNFINISHED)
    }

    /// Removes the driver that this program installed. `packages` are those of its packages that are still installed.
    pub(super) fn remove_ours(&self, journal: &mut Journal, plan: &Plan, packages: &[String]) -> Result<()> {
        let Self { host, manager, options, .. } = self;
        // A driver that somebody else installed stays; the modules and packages that this program added to it are
        // removed.
        let stays = plan.present.is_some() && plan.rebuilds.is_none();
        if stays && packages.is_empty() {
            return Ok(());
        }
        let ops = drivers::ops(plan.driver);
        if ops.is_vendors() {
            self.keep_services(journal)?;
        }
        if let Some(rebuild) = &plan.rebuilds {
            drivers::remove_built_modules(host, &rebuild.kernels, *options)?;
        } else if let Some(uninstaller) =
            ops.uninstaller().filter(|program| !stays && host.root.exists(program))
        {
            self.run_uninstaller(journal, uninstaller)?;
        }
        let installed = manager.installed(host)?;
        let left: Vec<String> = packages.iter().filter(|name| installed.has_any_of(name)).cloned().collect();
        install::remove(host, journal, *manager, &left, *options)?;
        if ops.is_vendors() && !stays {
            self.restore_kernel_modules(self.kernels)?;
        }
        Ok(())
    }

    /// Keeps package scripts from stopping `openibd`: that would unload the adapters' modules, and on Azure the
    /// adapters would then be missing until the next boot.
    fn keep_services(&self, journal: &mut Journal) -> Result<()> {
        install::begin(self.host, journal, self.manager, InstallOptions { sealed: true, ..self.options })
    }

    /// With `--force` the vendor's uninstaller asks no questions; without `--unload-modules` it leaves loaded modules
    /// alone.
    fn run_uninstaller(&self, journal: &mut Journal, program: &str) -> Result<()> {
        self.keep_services(journal)?;
        let finished = self.host.run(&self.inside(Cmd::new(program).arg("--force")))?;
        let reason =
            diagnose::reason_on(self.host, &finished.output, Doing::Vendors, Reason::PackageManager)?;
        let finished = finished.check(reason, "taking out the vendor's driver")?;
        self.host.events.info(format!("`{}` ended well", finished.command));
        self.host.root.sync()
    }

    /// Runs depmod for each of these kernels, and rebuilds the initramfs images that hold the vendor's modules. Fails where a
    /// vendor's adapter module is left, because the kernel would still load it.
    fn restore_kernel_modules(&self, kernels: &[String]) -> Result<()> {
        let host = self.host;
        let cores = ["mlx5_core".to_owned(), "mlx4_core".to_owned()];
        for kernel in kernels.iter().filter(|kernel| host.root.is_dir(&format!("/lib/modules/{kernel}"))) {
            let finished = host.run(&self.inside(Cmd::new("depmod").args(["-a", kernel])))?;
            let reason = diagnose::reason_of(&finished.output, Doing::Writing, Reason::VerifyFailed);
            finished.check(reason, &format!("indexing the modules of {kernel}"))?;
            for found in modules::find(&host.root, kernel, &cores) {
                if let Module::File(file) = found
                    && !file.starts_with("kernel/")
                {
                    let what = format!("the vendor's driver is out, but {file} of {kernel} is left");
                    return Err(Reason::VerifyFailed.error(what));
                }
            }
            if let Some(initramfs) = initramfs::find(host, kernel) {
                let sealed = self.options.sealed;
                for core in &cores {
                    if !initramfs.stale(host, core, sealed)?.is_empty() {
                        initramfs.refresh(host, sealed)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn inside(&self, cmd: Cmd) -> Cmd {
        let InstallOptions { offline, sealed, .. } = self.options;
        cmd.inside(Sandbox::offline(&self.host.root, sealed).with_network(!offline))
    }
}
