//! The plan as a document: what `plan` prints, the other steps execute and the receipt keeps.
//!
//! It is complete: another program could carry it out with a package manager and a text editor.

use crate::edits::Edit;
use crate::target::{Driver, KernelDevel, Target, without_arch};
use crate::texts::{packed, unpack};
use crate::trust::Trust;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};
use std::sync::LazyLock;

/// The JSON Schema of [`Plan`], as shipped.
pub static SCHEMA: LazyLock<String> = LazyLock::new(|| unpack(packed!("plan.schema.json")));

/// Versions of a driver that were considered and not taken, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rejected {
    /// The driver.
    pub driver: Driver,
    /// Its versions, newest first; none for the distribution's own.
    pub versions: Vec<String>,
    /// Why not, in one line.
    pub why: String,
}

/// A vendor's package: one file to download, whole and verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Artifact {
    /// Its file name.
    pub file_name: String,
    /// Its address.
    pub url: String,
    /// Other addresses of the same file.
    pub mirrors: Vec<String>,
    /// Its SHA-256 in hexadecimal, which whatever comes must match; none where nobody published it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The SHA-256 of the file that the cache or the root took before, where nobody published one: it takes no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<String>,
    /// What vouches for the file.
    #[serde(default = "Trust::of_digest")]
    pub trust: Trust,
    /// What would raise that, where anything would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raise: Option<String>,
    /// The vendor's online package repository of the same release, where there is one.
    pub repository: Option<String>,
    /// The kernel headers it is to be built with, where the distribution's mirrors have dropped them.
    pub kernel_devel: Option<KernelDevel>,
}

/// A vendor driver that the image holds already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Present {
    /// What it calls itself, such as `MLNX_OFED_LINUX-5.8-1.0.1.1`.
    pub release: String,
    /// Whether the image is one of Azure's HPC images.
    pub hpc_image: bool,
}

/// A vendor's driver that somebody else installed and that stays, built for kernels that it has no modules for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rebuild {
    /// What it calls itself.
    pub release: String,
    /// The kernels that DKMS builds its sources for.
    pub kernels: Vec<String>,
}

/// By whom the modules that are built have to be signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ModuleSigning {
    /// Whom the certificate names.
    pub subject: String,
    /// The SHA-256 of the certificate in DER.
    pub sha256: String,
    /// The certificate in DER, as Base64.
    pub certificate: String,
}

/// A change to the driver's sources, before DKMS builds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SourcePatch {
    /// The sources, as DKMS calls them.
    pub package: String,
    /// A regular expression for the names of the kernels that need it.
    pub kernels: String,
    /// The change, for `patch -p1`.
    pub text: String,
    /// What it mends, and who says so.
    pub why: String,
}

/// What is to be done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Plan {
    /// Version of this document's form.
    pub schema_version: u32,
    /// What it is for.
    pub target: Target,
    /// The driver chosen.
    pub driver: Driver,
    /// Its version; none for the distribution's own.
    pub driver_version: Option<String>,
    /// The driver that is there already, so that none is installed.
    pub present: Option<Present>,
    /// A driver that somebody else installed and that is taken out first, by its own uninstaller.
    #[serde(default)]
    pub replaces: Option<String>,
    /// A driver that somebody else installed, and that is built for more kernels from its own sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilds: Option<Rebuild>,
    /// Why this one, in a few lines.
    pub why: Vec<String>,
    /// The others, and why not.
    pub rejected: Vec<Rejected>,
    /// The vendor's package, for a vendor's driver.
    pub artifact: Option<Artifact>,
    /// What the package manager is asked to install.
    pub packages: Vec<String>,
    /// Those of the packages that are for another program, the VM agent, and without which the driver works: a cache may
    /// lack them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optional: Vec<String>,
    /// The edits to make afterwards.
    pub edits: Vec<Edit>,
    /// The modules every kernel must have afterwards.
    pub modules: Vec<String>,
    /// Whether the distribution's packages bring these modules, and the kernels' own will not do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub distribution_modules: bool,
    /// By whom the modules that are built have to be signed, where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_signing: Option<ModuleSigning>,
    /// Changes to the driver's sources, without which they do not build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<SourcePatch>,
}

impl Rejected {
    /// The distribution's own driver, which has no version.
    pub const fn distributions_own(why: String) -> Self {
        Self { driver: Driver::Inbox, versions: Vec::new(), why }
    }
}

impl Artifact {
    /// The digest that whatever comes must match, where any is known.
    pub fn digest(&self) -> Option<&str> {
        self.sha256.as_deref().or(self.first_seen.as_deref())
    }

    /// Whether both are one file, wherever it is to be had. A digest that only one of them knows tells no difference.
    fn are_the_same(one: Option<&Self>, other: Option<&Self>) -> bool {
        let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
        let digests = one.digest().zip(other.digest());
        (&one.file_name, &one.kernel_devel) == (&other.file_name, &other.kernel_devel)
            && digests.is_none_or(|(one, other)| one == other)
    }
}

impl Plan {
    /// Whether the kernels are to load modules that come with the driver, and not those that they came with. Nothing is known
    /// of those of a driver that is there already.
    pub fn brings_modules(&self) -> bool {
        self.present.is_none() && (self.driver != Driver::Inbox || self.distribution_modules)
    }

    /// The same with more reasons.
    #[must_use]
    pub fn because(mut self, why: impl IntoIterator<Item = String>) -> Self {
        self.why.extend(why);
        self
    }

    /// The driver with its version, as one would say it.
    pub fn driver_name(&self) -> String {
        match &self.driver_version {
            Some(version) => format!("{} {version}", self.driver),
            None => self.driver.to_string(),
        }
    }

    /// Whether both plans are for the same driver in the same version.
    pub fn has_driver_of(&self, other: &Self) -> bool {
        (self.driver, &self.driver_version) == (other.driver, &other.driver_version)
    }

    /// Whether both plans ask for the same result, for the same kernels or for others. Facts about the machine and
    /// reasons may differ, because only a VM made from an image knows its size; so may a driver that was removed
    /// first, because it is gone by now.
    pub fn does_the_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.target, &other.target);
        (&ours.distro, ours.arch) == (&theirs.distro, theirs.arch)
            && (self.driver, self.distribution_modules) == (other.driver, other.distribution_modules)
            && (&self.driver_version, &self.modules) == (&other.driver_version, &other.modules)
            && self.module_signing == other.module_signing
            && Artifact::are_the_same(self.artifact.as_ref(), other.artifact.as_ref())
            && self.for_any_kernel() == other.for_any_kernel()
    }

    /// Takes over for which kernels an earlier plan had somebody else's driver built: that is this program's work, also
    /// when a later plan finds the driver right and builds nothing.
    pub fn keep_rebuilds_of(&mut self, earlier: &Self) {
        let Some(before) = &earlier.rebuilds else { return };
        if self.rebuilds.is_none() && self.present.is_none() {
            return;
        }
        let is_there = |kernel: &&String| self.target.kernels.contains(kernel);
        let kernels: Vec<String> = before.kernels.iter().filter(is_there).cloned().collect();
        match &mut self.rebuilds {
            Some(rebuild) => {
                let more: Vec<_> = kernels.into_iter().filter(|it| !rebuild.kernels.contains(it)).collect();
                rebuild.kernels.extend(more);
            }
            None if kernels.is_empty() => {}
            None => self.rebuilds = Some(Rebuild { kernels, ..before.clone() }),
        }
    }

    /// Whether it installs anything, a driver or what the VM agent lacks.
    pub const fn installs(&self) -> bool {
        self.present.is_none() || !self.packages.is_empty()
    }

    /// The packages without which the driver does not work.
    pub fn needed_packages(&self) -> impl Iterator<Item = &String> {
        self.packages.iter().filter(|package| !self.optional.contains(package))
    }

    /// Needed packages and edits that are not for one kernel.
    fn for_any_kernel(&self) -> (Vec<&String>, Vec<&Edit>) {
        let is_for_one = |package: &&String| self.target.kernels.iter().any(|kernel| is_for(package, kernel));
        let packages = self.needed_packages().filter(|package| !is_for_one(package)).collect();
        let is_for_all = |edit: &&Edit| !matches!(edit, Edit::RefreshInitramfs { .. });
        (packages, self.edits.iter().filter(is_for_all).collect())
    }

    /// The plan in lines fit for a change request.
    pub fn to_text(&self) -> String {
        let target = &self.target;
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<10} {value}");
        };
        let size = target.vm_size.as_deref().map(|size| format!(", {size}")).unwrap_or_default();
        let nic = target.nic.map(|nic| format!(", {nic}")).unwrap_or_default();
        line("target", &format!("{} {}{size}{nic}", target.distro, target.arch));
        if !target.kernels.is_empty() {
            line("kernels", &target.kernels.join(" "));
        }
        line("driver", &self.driver_name());
        for why in &self.why {
            line("  because", why);
        }
        for rejected in &self.rejected {
            line("  not", &rejected.to_string());
        }
        if let Some(artifact) = &self.artifact {
            line("download", &artifact.url);
            for mirror in &artifact.mirrors {
                line("  or", mirror);
            }
            match (&artifact.sha256, &artifact.first_seen) {
                (Some(digest), _) => line("  sha256", digest),
                (None, Some(digest)) => {
                    line("  sha256", &format!("{digest} (as it came first; pin it: `sha256: {digest}`)"));
                }
                (None, None) => line("  sha256", "nobody published it; `stage` tells what came"),
            }
            line("  trust", artifact.trust.name());
            if let Some(raise) = &artifact.raise {
                line("  raise it", raise);
            }
            if let Some(devel) = &artifact.kernel_devel {
                line("headers", &format!("kernel-devel {}", devel.url.as_ref().unwrap_or(&devel.version)));
            }
        }
        if let Some(replaced) = &self.replaces {
            line("take out", &format!("{replaced}, by its own uninstaller; this cannot be undone"));
        }
        if let Some(rebuild) = &self.rebuilds {
            let kernels = rebuild.kernels.join(" ");
            line(
                "build",
                &format!("{} for {kernels}, by DKMS from the sources that are here", rebuild.release),
            );
        }
        if let Some(signing) = &self.module_signing {
            line(
                "sign",
                &format!("its modules, by {} (certificate sha256 {})", signing.subject, signing.sha256),
            );
        }
        if !self.installs() {
            line("install", "nothing: it is there already");
        } else if !self.packages.is_empty() {
            line("install", &self.packages.join(" "));
        }
        for patch in &self.patches {
            line("patch", &format!("the sources of {} ({})", patch.package, patch.why));
        }
        for edit in &self.edits {
            line("edit", &format!("{} ({})", edit.subject(), edit.why()));
        }
        line("verify", &format!("modules {}", self.modules.join(" ")));
        text
    }
}

/// Whether a package is for one kernel: `NAME-VERSION`, where rpm ones leave out the architecture at the end of
/// `uname -r`, or `NAME = VERSION` without the flavour, as SUSE's are asked for.
fn is_for(package: &str, kernel: &str) -> bool {
    if let Some((_, version)) = package.split_once(" = ") {
        return kernel.rsplit_once('-').is_some_and(|(without_flavour, _)| without_flavour == version);
    }
    package.ends_with(without_arch(kernel))
}

/// How many versions a line names before it only counts them.
const NAMED_VERSIONS: usize = 3;

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.driver)?;
        let named = &self.versions[..self.versions.len().min(NAMED_VERSIONS)];
        if !named.is_empty() {
            write!(f, " {}", named.join(", "))?;
        }
        match self.versions.len() - named.len() {
            0 => {}
            more => write!(f, " and {more} more")?,
        }
        write!(f, ": {}", self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_schema_is_that_of_the_struct() {
        let made = serde_json::to_string_pretty(&schemars::schema_for!(Plan)).unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema/plan.schema.json"), &made)
                .unwrap();
        }
        assert_eq!(made, *SCHEMA, "run the tests once with UPDATE_GOLDEN=1");
    }

    #[test]
    fn headers_are_known_by_their_kernel() {
        let table = [
            ("linux-headers-6.1.0-50-cloud-amd64", "6.1.0-50-cloud-amd64", true),
            ("linux-headers-6.1.0-50-amd64", "6.1.0-50-cloud-amd64", false),
            ("kernel-devel-4.18.0-553.el8_10", "4.18.0-553.el8_10.x86_64", true),
            ("kernel-azure-devel = 5.14.21-150400.14.31", "5.14.21-150400.14.31-azure", true),
            ("kernel-azure-devel = 5.14.21-150400.14.28", "5.14.21-150400.14.31-azure", false),
            ("gcc", "5.14.21-150400.14.31-azure", false),
        ];
        for (package, kernel, is_it) in table {
            assert_eq!(is_for(package, kernel), is_it, "{package} {kernel}");
        }
    }

    #[test]
    fn many_versions_are_counted() {
        let rejected = |versions: &[&str]| {
            let versions = versions.iter().map(|version| (*version).to_owned()).collect();
            Rejected { driver: Driver::Doca, versions, why: "older".to_owned() }.to_string()
        };
        assert_eq!(rejected(&[]), "doca: older");
        assert_eq!(rejected(&["3.2.1", "3.1.0", "3.0.0"]), "doca 3.2.1, 3.1.0, 3.0.0: older");
        assert_eq!(rejected(&["5", "4", "3", "2", "1"]), "doca 5, 4, 3 and 2 more: older");
    }
}
