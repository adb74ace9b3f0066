//! What the logs of builds and of the vendor's installer mean: the reason a user can act on, and the lines that show it.

use crate::host::{CHILD_LOG_DIR, Host};
use crate::outcome::Reason;
use anyhow::Result;

/// How many lines of a log are quoted.
const LINES: usize = 12;

/// What a line that contains the words on the left means. The first that is found counts: causes stand before their
/// consequences. Sources: `mlnxofedinstall` and `mlnx_add_kernel_support.sh` themselves; issues of microsoft/pai
/// (2470), Azure/azhpc-images (298), NVIDIA's doca-driver-build (52), and apt, dpkg, DKMS and kmod.
const SIGNS: [(&str, Reason); 40] = [
    ("No space left on device", Reason::NoSpace),
    ("Not enough free space", Reason::NoSpace),
    ("Not enough disk space", Reason::NoSpace),
    ("have enough free space", Reason::NoSpace),
    ("Could not get lock", Reason::LockTimeout),
    ("Unable to acquire the dpkg frontend lock", Reason::LockTimeout),
    ("frontend lock was locked by another process", Reason::LockTimeout),
    ("Waiting for process with pid", Reason::LockTimeout),
    ("Required key not available", Reason::SecureBoot),
    ("Key was rejected by service", Reason::SecureBoot),
    ("Loading of module with unavailable key is rejected", Reason::SecureBoot),
    ("Lockdown: ", Reason::SecureBoot),
    ("Provide path to the kernel sources", Reason::HeadersMissing),
    ("the kernel sources are not there", Reason::HeadersMissing),
    ("kernel headers for this kernel do not seem to be installed", Reason::HeadersMissing),
    ("Your kernel headers for kernel", Reason::HeadersMissing),
    ("Unable to locate package linux-headers", Reason::HeadersMissing),
    ("No match for argument: kernel-devel", Reason::HeadersMissing),
    ("No package kernel-devel", Reason::HeadersMissing),
    ("is intended for", Reason::WrongPackage),
    ("Current operation system is not supported", Reason::WrongPackage),
    ("has one or more unsupported device", Reason::AdapterUnsupported),
    ("trying to overwrite", Reason::PackageConflict),
    ("held broken packages", Reason::PackageConflict),
    ("cannot install both", Reason::PackageConflict),
    ("One or more packages depends on", Reason::PackageConflict),
    ("conflicts with file from package", Reason::PackageConflict),
    ("conflicts between attempted installs", Reason::PackageConflict),
    ("error: Failed dependencies:", Reason::PackageConflict),
    ("does not verify: ", Reason::RepositoryKey),
    ("required packages for installing", Reason::PrerequisitesMissing),
    ("Unable to locate package", Reason::PrerequisitesMissing),
    ("is in use by", Reason::DriverInUse),
    ("does not have drivers available for this kernel", Reason::KernelUnsupported),
    ("does not have non-DKMS driver packages available for this kernel", Reason::KernelUnsupported),
    ("belong to a kernel which is not a part of", Reason::DriverShadowed),
    ("Failed to build MLNX_OFED_LINUX", Reason::DkmsBuild),
    ("Bad return status for module build on kernel", Reason::DkmsBuild),
    ("implicit declaration of function", Reason::DkmsBuild),
    ("has no member named", Reason::DkmsBuild),
];

/// What a log means; `otherwise` where it has no sign that is known.
pub(super) fn classify(log: &str, otherwise: Reason) -> Reason {
    Reason::by_sign(&SIGNS, log, otherwise)
}

/// Copies a log of the root among this program's logs, for the one it was found in will be gone. Returns the copy's path
/// and the log's last lines, joined by ` | `; nothing where there is no log.
pub(super) fn keep(host: &Host, log: &str) -> Result<(String, String)> {
    let Some(text) = host.root.read_text(log)? else { return Ok((log.to_owned(), String::new())) };
    let name = log.trim_start_matches('/').replace('/', "_");
    let kept = format!("{CHILD_LOG_DIR}/{name}");
    host.root.write_text(&kept, &text)?;
    Ok((kept, last_lines(&text)))
}

/// The last lines that say something. Compilers say what is wrong, and then make says so again and again.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors = lines.iter().position(|line| line.contains("error:") || line.contains("Error!"));
    let from = match errors {
        Some(first) => first.saturating_sub(1),
        None => lines.len().saturating_sub(LINES),
    };
    lines[from..lines.len().min(from + LINES)].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_in_an_installation_becomes_a_reason_of_its_own() {
        let table = [
            (
                "The 6.8.0-1 kernel is installed, MLNX_OFED_LINUX does not have drivers available for this kernel",
                Reason::KernelUnsupported,
            ),
            ("Failed to build MLNX_OFED_LINUX for 6.8.0-1", Reason::DkmsBuild),
            ("error: implicit declaration of function 'do_gettimeofday'", Reason::DkmsBuild),
            ("error: 'struct timer_list' has no member named 'data'", Reason::DkmsBuild),
            ("Error! Bad return status for module build on kernel: 6.8.0-1 (x86_64)", Reason::DkmsBuild),
            ("Provide path to the kernel sources for 5.4.0-1 kernel.", Reason::HeadersMissing),
            ("E: Unable to locate package linux-headers-5.15.0-1", Reason::HeadersMissing),
            (
                "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt)",
                Reason::LockTimeout,
            ),
            ("Not enough free space. Required 1048576KB", Reason::NoSpace),
            ("ERROR: Not enough disk space in the /var/tmp directory. Required 614400KB", Reason::NoSpace),
            ("Error: The current MLNX_OFED_LINUX is intended for rhel8.6", Reason::WrongPackage),
            (
                "One or more required packages for installing MLNX_OFED_LINUX are missing.",
                Reason::PrerequisitesMissing,
            ),
            (
                "Error: One or more required packages for installing OFED-internal are missing. | Run: | zypper install \
                 kernel-source | Failed to build MLNX_OFED_LINUX for 5.3.18-150300.38.53-azure",
                Reason::PrerequisitesMissing,
            ),
            (
                "file /usr/bin/x from install of rdma-core-58-1.x86_64 conflicts with file from package other-1-1.x86_64",
                Reason::PackageConflict,
            ),
            (
                "error: Failed dependencies: | rdma-core = 48 is needed by (installed) lustre-client-2.15-1.x86_64",
                Reason::PackageConflict,
            ),
            ("package knem-1-1.x86_64 does not verify: no signature", Reason::RepositoryKey),
            ("System has one or more unsupported device, see below.", Reason::AdapterUnsupported),
            ("E: Unable to correct problems, you have held broken packages.", Reason::PackageConflict),
            (
                "trying to overwrite '/etc/pmix-mca-params.conf', which is also in package libpmix2",
                Reason::PackageConflict,
            ),
            ("cannot install both libibverbs-41 and libibverbs-2501", Reason::PackageConflict),
            ("Error: One or more packages depends on MLNX_OFED_LINUX.", Reason::PackageConflict),
            (
                "Module mlx5_ib belong to a kernel which is not a part of MLNX_OFED, skipping",
                Reason::DriverShadowed,
            ),
            ("rmmod: ERROR: Module ib_core is in use by: ko2iblnd", Reason::DriverInUse),
            (
                "modprobe: ERROR: could not insert 'mlx5_core': Key was rejected by service",
                Reason::SecureBoot,
            ),
            ("modprobe: ERROR: could not insert 'mlx5_core': Required key not available", Reason::SecureBoot),
            ("something nobody has seen", Reason::InstallerFailed),
        ];
        for (log, reason) in table {
            assert_eq!(classify(log, Reason::InstallerFailed), reason, "{log}");
        }
    }

    #[test]
    fn the_compilers_first_error_is_quoted_and_not_what_make_says_of_it() {
        let mut text = "CC a.o\nin function f:\na.c:1: error: no such thing\n".to_owned();
        text += &"make[1]: again\n".repeat(30);
        let lines = last_lines(&text);
        assert!(lines.starts_with("in function f: | a.c:1: error: no such thing | make[1]"), "{lines}");
        assert_eq!(last_lines(&"line\n".repeat(40)).split(" | ").count(), LINES);
        assert_eq!(last_lines(""), "");
    }

    proptest::proptest! {
        #[test]
        fn any_log_can_be_quoted(text in "(error:|x|\n| ){0,60}") {
            last_lines(&text);
        }
    }
}
