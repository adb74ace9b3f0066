//! The options of `mlnxofedinstall`, by version, and what its exit codes mean. Sources: the installers of 4.9, 5.0, 5.8 and
//! 5.9 themselves, and how Azure/azhpc-images and microsoft/lisa call them.

use crate::catalog::versions::Version;
use crate::outcome::Reason;
use crate::settings::LibrarySet;

/// How kernel modules are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modules {
    /// Rebuild the package for a kernel, and install nothing.
    BuildOnly,
    /// Install those that the package has for the kernel.
    Prebuilt,
    /// Install their sources.
    Dkms,
}

impl Modules {
    /// What the installer does then.
    pub(super) const fn doing(self) -> &'static str {
        match self {
            Self::BuildOnly => "building MLNX_OFED",
            Self::Prebuilt | Self::Dkms => "installing MLNX_OFED",
        }
    }
}

/// The input of the options.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options<'a> {
    pub(super) version: &'a str,
    pub(super) kernel: &'a str,
    pub(super) distro: Option<&'a str>,
    pub(super) is_rpm: bool,
    pub(super) tmpdir: &'a str,
    pub(super) modules: Modules,
    /// The library set, where the user chose one.
    pub(super) library_set: Option<LibrarySet>,
}

impl Options<'_> {
    /// The options in full.
    pub(super) fn all(&self) -> Vec<String> {
        // Without --force it asks questions. The firmware of a virtual function cannot be updated.
        let mut options = vec!["--force", "--without-fw-update"];
        // From 5.1 on it refuses ConnectX-3, which a VM may have for Ethernet. 4.9 and 5.0 do not know the option.
        if Version::new(self.version) >= Version::new("5.1") {
            options.push("--skip-unsupported-devices-check");
        }
        match self.modules {
            Modules::BuildOnly => options.push("--add-kernel-support-build-only"),
            Modules::Prebuilt => options.push("--without-dkms"),
            // Without force it checks whether the running kernel was installed as a package, and the running kernel is
            // not the image's.
            Modules::Dkms => options.push("--force-dkms"),
        }
        // Of 4.9 and 5.0; other releases have one set.
        options.extend(self.library_set.map(|set| match set {
            LibrarySet::Upstream => "--upstream-libs",
            LibrarySet::Mlnx => "--mlnx-libs",
        }));
        // Otherwise it creates a repository of rpm packages with createrepo.
        if self.is_rpm && self.modules == Modules::BuildOnly {
            options.push("--skip-repo");
        }
        let mut options: Vec<String> = options.into_iter().map(str::to_owned).collect();
        let build = format!("/lib/modules/{}/build", self.kernel);
        let pairs = [("--kernel", self.kernel), ("--kernel-sources", &build), ("--tmpdir", self.tmpdir)];
        for (name, value) in pairs.into_iter().chain(self.distro.map(|distro| ("--distro", distro))) {
            options.extend([name.to_owned(), value.to_owned()]);
        }
        options
    }
}

/// The meaning of an exit code, if no log tells more.
pub(super) const fn reason(code: i32) -> Reason {
    match code {
        28 => Reason::NoSpace,
        172 => Reason::PrerequisitesMissing,
        171 => Reason::AdapterUnsupported,
        174 => Reason::PackageConflict,
        // 1 failed; 2 no firmware for the adapter; 22 an option it does not know; 173 its mst service did not start.
        _ => Reason::InstallerFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(version: &str, modules: Modules, distro: Option<&str>) -> String {
        let is_rpm = distro.is_some();
        let library_set = None;
        Options { version, kernel: "K", distro, is_rpm, tmpdir: "/t", modules, library_set }.all().join(" ")
    }

    #[test]
    fn every_version_gets_the_options_it_knows() {
        const END: &str = "--kernel K --kernel-sources /lib/modules/K/build --tmpdir /t";
        let build = "--add-kernel-support-build-only";
        let skip = "--skip-unsupported-devices-check";
        for old in ["4.9-7.1.0.0", "5.0-2.1.8.0"] {
            assert_eq!(
                options(old, Modules::BuildOnly, None),
                format!("--force --without-fw-update {build} {END}")
            );
        }
        for new in ["5.1-2.5.8.0", "5.8-2.0.3.0", "23.10-0.5.5.0", "24.10-3.2.5.0"] {
            assert_eq!(
                options(new, Modules::Prebuilt, None),
                format!("--force --without-fw-update {skip} --without-dkms {END}")
            );
        }
        assert_eq!(
            options("5.8-1.0.1.1", Modules::BuildOnly, Some("rhel8.7")),
            format!("--force --without-fw-update {skip} {build} --skip-repo {END} --distro rhel8.7")
        );
        assert!(options("5.8-1.0.1.1", Modules::Dkms, None).contains("--force-dkms"));
        for (set, flag) in [(LibrarySet::Mlnx, "--mlnx-libs"), (LibrarySet::Upstream, "--upstream-libs")] {
            let options = Options {
                version: "4.9-7.1.0.0",
                kernel: "K",
                distro: None,
                is_rpm: false,
                tmpdir: "/t",
                modules: Modules::Dkms,
                library_set: Some(set),
            };
            assert!(options.all().iter().any(|it| it == flag));
        }
    }

    #[test]
    fn exit_codes_are_told_apart() {
        let table = [
            (1, Reason::InstallerFailed),
            (2, Reason::InstallerFailed),
            (22, Reason::InstallerFailed),
            (28, Reason::NoSpace),
            (171, Reason::AdapterUnsupported),
            (172, Reason::PrerequisitesMissing),
            (173, Reason::InstallerFailed),
            (174, Reason::PackageConflict),
        ];
        for (code, wanted) in table {
            assert_eq!(reason(code), wanted, "{code}");
        }
    }
}
