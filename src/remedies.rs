//! Remedies: what a user can do next, chosen by the cause, the distribution, the settings in force and the entry point.
//! No remedy advises a setting that is already in force, another distribution's name for a package, or an option that
//! the entry point lacks.

mod door;

use crate::outcome::{Cause, Outcome, Reason};
use crate::settings::{DriverChoice, ReplaceDriver, Settings, UnsupportedKernel};
use crate::target::{Distro, Family};
use crate::trust::Trust;

pub use door::Door;

/// The circumstances of a run on which a remedy depends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Situation {
    /// The target's distribution, where known.
    pub distro: Option<Distro>,
    /// The settings in force, where known.
    pub settings: Option<Settings>,
    /// The entry point.
    pub door: Door,
}

impl Situation {
    /// A run whose settings are not read yet.
    pub fn at(door: Door) -> Self {
        Self { door, ..Self::default() }
    }

    fn family(&self) -> Option<Family> {
        self.distro.as_ref().map(Distro::family)
    }

    fn driver(&self) -> DriverChoice {
        self.settings.as_ref().map_or(DriverChoice::Auto, |settings| settings.driver)
    }

    fn is_offline(&self) -> bool {
        self.settings.as_ref().is_some_and(|settings| settings.offline)
    }

    fn set(&self, key: &str, value: &str) -> String {
        self.door.setting(key, value)
    }

    /// The outcome that an error stands for, with the remedy that fits here.
    pub fn outcome(&self, error: &anyhow::Error) -> Outcome {
        self.advise(Outcome::from(error))
    }

    /// The same outcome with the remedy that fits here, where it is a failure.
    #[must_use]
    pub fn advise(&self, outcome: Outcome) -> Outcome {
        if outcome.is_success() {
            return outcome;
        }
        Outcome { remedy: self.remedy(outcome.reason, outcome.cause), ..outcome }
    }

    /// What to do next about a failure, in one or two sentences.
    pub fn remedy(&self, reason: Reason, cause: Option<Cause>) -> String {
        match cause {
            Some(cause) => self.of_cause(cause),
            None => self.of_reason(reason),
        }
    }

    fn of_cause(&self, cause: Cause) -> String {
        match cause {
            Cause::FileUnreadable => "Check the named path, and that it may be read.".to_owned(),
            Cause::FolderUnwritable => {
                "Name a folder that may be written to, or run it as a user who may.".to_owned()
            }
            Cause::CatalogFaulty => "Correct the named rows of the catalogue.".to_owned(),
            Cause::NothingRebuilds => format!(
                "Run `ofedctl cloud-init setup` for the image first, so that each boot prepares its kernel, or set {}.",
                self.set("new_kernels", "hold")
            ),
            Cause::SizeUnknown => format!(
                "Correct `vm_size`; for a size newer than this program, name its adapter with {}.",
                self.set("nic", "cx7")
            ),
            Cause::CloudInitMissing => {
                "Give `--unit` for a systemd unit in its place, or install cloud-init in the image.".to_owned()
            }
            Cause::NoProc => {
                "Mount it first: `mount -t proc proc /proc`; or run it from outside, with `--root`.".to_owned()
            }
            Cause::NoKernel => format!("Install {} in the image, then run it again.", self.kernel_package()),
            Cause::KernelNotThere => {
                "Name a kernel that is installed there, or none: all that are installed count then.".to_owned()
            }
            Cause::KernelWithoutModules => self.with_modules(),
            Cause::NoDigest => self.without_digest(),
            Cause::KernelOutOfRange => self.within_range(),
            Cause::BundleLacksKernel => format!(
                "Plan for one kernel, and let the vendor's installer build modules for it with {}; or take DOCA.",
                self.set("mlnx_ofed_installer", "true")
            ),
            Cause::ModuleBuiltIn => match self.driver() {
                DriverChoice::Inbox => format!("Boot {}.", self.kernel_package()),
                _ => format!("Take the kernel's own driver: {}.", self.set("driver", "inbox")),
            },
            Cause::OtherDriver => self.other_driver(),
            Cause::DriverLacksKernel => self.lacks_kernel(),
            Cause::OtherDriverWithoutUninstaller => {
                "Take it out in the way it was installed, or begin with an image that does not have it.".to_owned()
            }
            Cause::ModulesRefused => self.unsigned(),
            Cause::SigningKeyUnusable => {
                "Give the unencrypted RSA key of the certificate in `module_signing_cert`, outside the image, in a file that \
                 only its owner can read."
                    .to_owned()
            }
            Cause::SigningKeyMissing => format!(
                "Run it where the key is, with {}, or stage and bake there first: the cache keeps signed modules.",
                self.set("module_signing_key", "FILE")
            ),
            Cause::CertificateNotEnrolled => {
                "Give the image's version in the gallery the certificate among its UEFI keys (docs/secure-boot.md), or \
                 import it with `mokutil` at the machine's console."
                    .to_owned()
            }
            Cause::CacheEmpty | Cause::TargetNotStaged => self.stage(),
            Cause::BundleUnknown => "Take one of the bundles that `ofedctl cache list` names.".to_owned(),
            Cause::SourcesMissing => {
                "Stage again: the vendor's file or the bundle is not whole. Nothing has to be compiled by hand."
                    .to_owned()
            }
            Cause::PackageNotWhole => {
                "In the target, install the named package again from where it came (`apt-get install --reinstall`, or `dpkg \
                 --install` with its file), or take it out with `dpkg --remove --force-remove-reinstreq`. Then run this again."
                    .to_owned()
            }
            Cause::RecordsDamaged => {
                "Nothing was changed. Copy a sound file over `/var/lib/dpkg/status` (`/var/lib/dpkg/status-old`, or one of \
                 `/var/backups/dpkg.status.*`); remove a file of `/var/lib/dpkg/info` that is named, and install its package \
                 again with `apt-get install --reinstall`. Then run this again."
                    .to_owned()
            }
            Cause::OlderCatalog => {
                "Nothing was changed. To use it all the same, write it to a file with `--out` and name that as `catalog`."
                    .to_owned()
            }
            Cause::CatalogUnsigned => format!(
                "Name the key of whoever issues the catalogue with {}.",
                self.set("public_key", "/etc/ofedctl/catalog.pem")
            ),
            Cause::OlderBundle => format!(
                "Bring the newer bundle back into the cache, or go back on purpose with {}.",
                self.set("allow_older", "true")
            ),
            Cause::TooLittleRoom => self.room(),
            Cause::UsrReadOnly => self.writable(),
            Cause::BuildPlaceNoexec => {
                "Allow programs there while the driver is built: `mount -o remount,exec` on the named file \
                 system, and `mount -o remount,noexec` afterwards."
                    .to_owned()
            }
            Cause::BuildWithoutModule => {
                "Read the named log: what the vendor calls built is not there. Take another release, \
                 with `driver_version`, or another kernel."
                    .to_owned()
            }
        }
    }

    fn of_reason(&self, reason: Reason) -> String {
        match reason {
            Reason::KernelUnsupported => match self.family() {
                Some(_) => self.with_modules(),
                None => reason.remedy().to_owned(),
            },
            Reason::SecureBoot => self.unsigned(),
            Reason::DriverPresent => self.other_driver(),
            Reason::ImageUnsupported if self.driver() != DriverChoice::Auto => {
                format!("Leave the choice to {}, or use an image that `ofedctl catalog list` names.", {
                    self.set("driver", "auto")
                })
            }
            Reason::CacheMissing => self.stage(),
            _ => reason.remedy().to_owned(),
        }
    }

    /// Each distribution's package of a kernel with InfiniBand.
    fn kernel_package(&self) -> &'static str {
        match (self.family(), self.distro.as_ref().map(|distro| distro.id.as_str())) {
            (Some(Family::Debian), Some("ubuntu")) => "the package linux-azure",
            (Some(Family::Debian), _) => "the package linux-image-amd64, not the cloud flavour",
            (Some(Family::Rhel), Some("ol")) => "the package kernel-uek or kernel",
            (Some(Family::Rhel | Family::Azure), _) => "the package kernel",
            (Some(Family::Suse), _) => "the package kernel-azure or kernel-default",
            (Some(Family::Other) | None, _) => "a kernel with InfiniBand modules",
        }
    }

    /// How to install the modules that a kernel's main package lacks.
    fn with_modules(&self) -> String {
        match (self.family(), self.distro.as_ref().map(|distro| distro.id.as_str())) {
            // Canonical splits them off (packages.ubuntu.com, linux-modules-extra-azure).
            (Some(Family::Debian), Some("ubuntu")) => {
                "Install linux-modules-extra for the named kernel, or another kernel that has the modules."
                    .to_owned()
            }
            (Some(Family::Rhel), Some("ol")) => {
                "Install kernel-uek-modules or kernel-modules-extra for the named kernel, or another kernel."
                    .to_owned()
            }
            (Some(Family::Rhel), _) => {
                "Install kernel-modules-extra for the named kernel, or a kernel the driver is made for."
                    .to_owned()
            }
            _ => format!("Install {}, then run it again.", self.kernel_package()),
        }
    }

    fn lacks_kernel(&self) -> String {
        let settings = self.settings.as_ref();
        let mut ways = Vec::new();
        if settings.is_none_or(|it| it.kernels.is_empty()) {
            ways.push(format!(
                "name the kernels that it has modules for with {}",
                self.set("kernels", "[KERNEL]")
            ));
        }
        ways.push(
            "install the package with the sources of the same release, which are built then".to_owned(),
        );
        if settings.is_none_or(|it| it.replace_driver != ReplaceDriver::Replace) {
            let replace = self.set("replace_driver", "replace");
            ways.push(format!(
                "have it taken out by its own uninstaller with {replace}, which cannot be undone"
            ));
        }
        sentence(&ways)
    }

    /// What may vouch for a file in place of a published digest.
    fn without_digest(&self) -> String {
        let mut ways =
            vec!["give the digest of a file that you trust as `sha256`, with `driver_version`".to_owned()];
        if self.settings.as_ref().is_none_or(|settings| settings.trust != Trust::FirstUse) {
            ways.push(format!(
                "let the vendor's own host vouch for it with {}",
                self.set("trust", "first-use")
            ));
        }
        if self.driver() != DriverChoice::Inbox {
            ways.push(format!("take the distribution's own driver with {}", self.set("driver", "inbox")));
        }
        sentence(&ways)
    }

    /// Another driver for the kernel, the named one all the same, or another kernel.
    fn within_range(&self) -> String {
        let settings = self.settings.as_ref();
        let mut ways = Vec::new();
        if settings.is_some_and(|settings| settings.driver_version.is_some()) {
            ways.push("name neither `driver` nor `driver_version`".to_owned());
        } else if self.driver() != DriverChoice::Auto {
            ways.push(format!("leave the choice to {}", self.set("driver", "auto")));
        }
        let is_tried = settings.is_some_and(|settings| settings.unsupported_kernel == UnsupportedKernel::Try);
        if !ways.is_empty() && !is_tried {
            ways.push(format!("have it tried with {}", self.set("unsupported_kernel", "try")));
        }
        ways.push("use a kernel within the range that the message names".to_owned());
        sentence(&ways)
    }

    fn other_driver(&self) -> String {
        let replace = self.settings.as_ref().is_some_and(|it| it.replace_driver == ReplaceDriver::Replace);
        let named = self.driver() != DriverChoice::Auto
            || self.settings.as_ref().is_some_and(|settings| settings.driver_version.is_some());
        let mut ways = Vec::new();
        if !replace {
            ways.push(format!(
                "have it taken out by its own uninstaller with {}",
                self.set("replace_driver", "replace")
            ));
        }
        if named {
            ways.push(
                "name neither `driver` nor `driver_version`, and the one that is there is kept".to_owned(),
            );
        }
        ways.push("begin with an image that does not have it".to_owned());
        sentence(&ways)
    }

    fn unsigned(&self) -> String {
        let mut ways = vec!["Use the Standard security type".to_owned(), "disable Secure Boot".to_owned()];
        if self.settings.as_ref().is_none_or(|settings| settings.module_signing_cert.is_none()) {
            ways.push("have modules signed (`module_signing_key`, docs/secure-boot.md)".to_owned());
        }
        if self.driver() != DriverChoice::Inbox {
            ways.push(format!("take the distribution's own driver with {}", self.set("driver", "inbox")));
        }
        sentence(&ways)
    }

    /// Where a system that is replaced as a whole can be changed.
    fn writable(&self) -> String {
        match self.family() {
            Some(Family::Suse) => {
                "Run it as `transactional-update run ofedctl bake --root /`, then reboot into the new snapshot.".to_owned()
            }
            Some(Family::Rhel) => {
                "Run `ofedctl bake --root /` where the system's image is built, such as in the Containerfile of bootc."
                    .to_owned()
            }
            _ => "Run `ofedctl bake` where the system's image is built, or mount /usr writable.".to_owned(),
        }
    }

    fn room(&self) -> String {
        let kernels = match self.family() {
            Some(Family::Debian) => "`apt-get autoremove --purge` takes out old kernels",
            Some(Family::Rhel) => "`dnf remove --oldinstallonly` takes out old kernels",
            _ => "old kernels may go",
        };
        match self.door {
            Door::Packer => {
                "Make the disk of the image larger (`disk_size` of the builder), or free the named file system."
                    .to_owned()
            }
            _ => format!("Free the named file system or make it larger, then run again; {kernels}."),
        }
    }

    fn stage(&self) -> String {
        match self.door {
            Door::Packer if !self.is_offline() => {
                "Fill the cache with `ofedctl stage` for this guest before the build, or set `stage = true`.".to_owned()
            }
            Door::Packer => "Fill the cache with `ofedctl stage` for this guest before the build.".to_owned(),
            Door::CloudInit => {
                "Run `ofedctl stage` for this image and kernel on a machine with a network, and put the cache into \
                 the image."
                    .to_owned()
            }
            Door::Extension => format!(
                "Run `ofedctl stage` for this image and kernel on a machine with a network, and name that cache with {}.",
                self.set("cache", "oci://REGISTRY/NAME:TAG")
            ),
            Door::Shell => "Run `ofedctl stage` for this target on a machine with a network.".to_owned(),
        }
    }
}

/// Alternatives, as one sentence.
fn sentence(ways: &[String]) -> String {
    let text = match ways {
        [] => return String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{}, or {last}", first.join(", ")),
    };
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISTROS: [&str; 8] = [
        "ubuntu22.04",
        "debian12",
        "almalinux9.6",
        "ol8.10",
        "sles15.5",
        "azurelinux3.0",
        "centos7.9",
        "arch1",
    ];

    fn situations() -> Vec<Situation> {
        let mut all = vec![Situation::default()];
        let drivers = [DriverChoice::Auto, DriverChoice::Inbox, DriverChoice::Doca];
        for distro in DISTROS {
            for door in Door::ALL {
                for driver in drivers {
                    for replace_driver in [ReplaceDriver::Refuse, ReplaceDriver::Replace] {
                        let settings =
                            Settings { driver, replace_driver, offline: true, ..Settings::default() };
                        let distro = Some(distro.parse().unwrap());
                        all.push(Situation { distro, settings: Some(settings), door });
                    }
                }
            }
        }
        all
    }

    /// Every cause and every reason of a failure, in every situation, with what is advised.
    fn all_advice() -> Vec<(Situation, String)> {
        let mut all = Vec::new();
        for situation in situations() {
            let causes = Cause::ALL.iter().map(|cause| (cause.reason(), Some(*cause)));
            let reasons = Reason::ALL.iter().map(|reason| (*reason, None));
            for (reason, cause) in causes.chain(reasons) {
                all.push((situation.clone(), situation.remedy(reason, cause)));
            }
        }
        all
    }

    #[test]
    fn every_cause_has_a_remedy_that_is_a_whole_sentence() {
        for (_, advice) in all_advice() {
            assert!(advice.ends_with('.') && advice.starts_with(char::is_uppercase), "{advice}");
        }
    }

    #[test]
    fn nothing_is_advised_that_is_already_set() {
        for (situation, advice) in all_advice() {
            let settings = situation.settings.unwrap_or_default();
            for (key, value) in [
                ("driver", settings.driver.name()),
                (
                    "replace_driver",
                    if settings.replace_driver == ReplaceDriver::Replace { "replace" } else { "refuse" },
                ),
            ] {
                for door in Door::ALL {
                    assert!(!advice.contains(&door.setting(key, value)), "{advice}");
                }
            }
        }
    }

    #[test]
    fn no_distribution_is_told_what_another_calls_it() {
        let foreign = |family: Family| match family {
            Family::Debian => ["kernel-modules-extra", "kernel-default", "kernel-uek"],
            Family::Rhel => ["linux-", "kernel-default", "apt"],
            Family::Suse | Family::Azure => ["linux-", "kernel-modules-extra", "apt"],
            Family::Other => ["linux-", "kernel-", "apt"],
        };
        let chosen =
            [Reason::KernelUnsupported, Reason::SecureBoot, Reason::DriverPresent, Reason::CacheMissing];
        for situation in situations().iter().skip(1) {
            let causes = Cause::ALL.iter().map(|cause| (cause.reason(), Some(*cause)));
            for (reason, cause) in causes.chain(chosen.map(|reason| (reason, None))) {
                let advice = situation.remedy(reason, cause);
                for word in foreign(situation.family().unwrap()) {
                    assert!(!advice.split(' ').any(|it| it.starts_with(word)), "{situation:?}: {advice}");
                }
            }
        }
    }

    #[test]
    fn a_setting_is_written_as_the_door_writes_it() {
        for (situation, advice) in all_advice() {
            if situation.door != Door::Shell {
                assert!(!advice.contains("--set"), "{situation:?}: {advice}");
            }
        }
    }
}
