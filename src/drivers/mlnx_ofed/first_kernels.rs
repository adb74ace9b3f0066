//! The kernels for which rpm bundles bring built modules: the first one of the release that the bundle is for. For any
//! other the vendor's installer builds them.
//!
//! Sources: "Default Kernel Version" in the vendor's General Support tables (docs.nvidia.com/networking, `MLNX_OFED` 5.2 to
//! 24.07), and the release notes of Red Hat and SUSE for the numbers of first kernels.

use crate::target::{Target, without_arch};

/// Releases of Enterprise Linux.
const ENTERPRISE: [(&str, &str); 24] = [
    ("7.4", "3.10.0-693.el7"),
    ("7.5", "3.10.0-862.el7"),
    ("7.6", "3.10.0-957.el7"),
    ("7.7", "3.10.0-1062.el7"),
    ("7.8", "3.10.0-1127.el7"),
    ("7.9", "3.10.0-1160.el7"),
    ("8.0", "4.18.0-80.el8"),
    ("8.1", "4.18.0-147.el8"),
    ("8.2", "4.18.0-193.el8"),
    ("8.3", "4.18.0-240.el8"),
    ("8.4", "4.18.0-305.el8"),
    ("8.5", "4.18.0-348.el8"),
    ("8.6", "4.18.0-372.9.1.el8"),
    ("8.7", "4.18.0-425.3.1.el8"),
    ("8.8", "4.18.0-477.10.1.el8_8"),
    ("8.9", "4.18.0-513.5.1.el8_9"),
    ("8.10", "4.18.0-553.el8_10"),
    ("9.0", "5.14.0-70.13.1.el9_0"),
    ("9.1", "5.14.0-162.6.1.el9_1"),
    ("9.2", "5.14.0-284.11.1.el9_2"),
    ("9.3", "5.14.0-362.8.1.el9_3"),
    ("9.4", "5.14.0-427.13.1.el9_4"),
    ("9.5", "5.14.0-503.11.1.el9_5"),
    ("9.6", "5.14.0-570.12.1.el9_6"),
];
/// Service packs of SLES.
const SLES: [(&str, &str); 5] = [
    ("15.2", "5.3.18-22-default"),
    ("15.3", "5.3.18-57-default"),
    ("15.4", "5.14.21-150400.22-default"),
    ("15.5", "5.14.21-150500.53-default"),
    ("15.6", "6.4.0-150600.21-default"),
];

/// Whether a bundle for this target has built modules for its kernel. Oracle's kernels are others of the same numbers.
pub(super) fn has_modules_for(target: &Target) -> bool {
    let table = match target.distro.id.as_str() {
        "rhel" | "centos" | "almalinux" | "rocky" => &ENTERPRISE[..],
        "sles" => &SLES,
        _ => return false,
    };
    let [kernel] = target.kernels.as_slice() else { return false };
    table.contains(&(target.distro.version.as_str(), without_arch(kernel)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Arch;

    #[test]
    fn only_the_first_kernel_of_a_release_has_built_modules() {
        let has = |distro: &str, kernels: &[&str]| {
            has_modules_for(&Target {
                distro: distro.parse().unwrap(),
                arch: Arch::X86_64,
                kernels: kernels.iter().map(|kernel| (*kernel).to_owned()).collect(),
                vm_size: None,
                nic: None,
                family: None,
            })
        };
        let first = "4.18.0-553.el8_10.x86_64";
        assert!(has("almalinux8.10", &[first]) && has("sles15.4", &["5.14.21-150400.22-default"]));
        assert!(!has("almalinux8.9", &[first]) && !has("ol8.10", &[first]) && !has("ubuntu22.04", &[first]));
        assert!(!has("almalinux8.10", &["4.18.0-553.16.1.el8_10.x86_64"]) && !has("almalinux8.10", &[]));
        assert!(
            !has("almalinux8.10", &[first, "4.18.0-553.16.1.el8_10.x86_64"]),
            "each brings packages of the same names"
        );
    }
}
