//! Kernels among packages that nobody asked for.
//!
//! A vendor's packages of built modules need the package of the one kernel they were built for. The repository of DOCA 3.1
//! for Enterprise Linux 9.6 is one: on 9.7 it would bring 9.6's `kernel-core` into the image, which then boots that one, or
//! has modules for a kernel that nobody boots.

use super::{Download, Format};

/// Packages of kernels themselves, by the names of Debian's and Ubuntu's kernels.
const DEB: &[&str] = &["linux-image"];
/// The same of Enterprise Linux, Oracle Linux, SUSE and Azure Linux. Each may end in `-core`, `-base` or `-modules-core`.
const RPM: &[&str] = &[
    "kernel",
    "kernel-64k",
    "kernel-azure",
    "kernel-default",
    "kernel-hwe",
    "kernel-mshv",
    "kernel-rt",
    "kernel-uek",
    "kernel-uek64k",
];

/// Files with a kernel that is none of `kernels`, and none of the packages that were asked for by name.
pub fn unasked<'a>(
    format: Format,
    downloads: &'a [Download],
    asked: &[String],
    kernels: &[String],
) -> Vec<&'a str> {
    let is_unasked = |download: &&Download| {
        name_of(format, &download.file).is_some_and(|name| {
            is_kernel(format, name)
                && !asked.iter().any(|it| it == name)
                && !kernels.iter().any(|kernel| download.file.contains(release_of(format, kernel)))
        })
    };
    downloads.iter().filter(is_unasked).map(|download| download.file.as_str()).collect()
}

/// A package's name, from the name of its file.
fn name_of(format: Format, file: &str) -> Option<&str> {
    match format {
        Format::Deb => file.split('_').next(),
        // NAME-VERSION-RELEASE.ARCH.rpm
        Format::Rpm => file.rsplitn(3, '-').nth(2),
    }
}

fn is_kernel(format: Format, name: &str) -> bool {
    match format {
        // `linux-image-6.1.0-50-amd64`, `linux-image-unsigned-…`, and `linux-image-azure`, which needs the newest.
        Format::Deb => DEB.iter().any(|begin| {
            name.strip_prefix(begin).is_some_and(|rest| rest.starts_with('-') && !rest.ends_with("-dbg"))
        }),
        Format::Rpm => {
            let plain = ["-modules-core", "-core", "-base"].iter().find_map(|end| name.strip_suffix(end));
            RPM.contains(&plain.unwrap_or(name))
        }
    }
}

/// What the files of a kernel's packages have of its release in their names: SUSE's have the flavour, `default`, in the
/// package's name.
fn release_of(format: Format, kernel: &str) -> &str {
    // Enterprise Linux has its flavours at the end: `…x86_64+rt`, `…aarch64+64k`.
    let kernel = if format == Format::Rpm { kernel.split('+').next().unwrap_or(kernel) } else { kernel };
    match kernel.rsplit_once('-') {
        Some((release, flavour)) if format == Format::Rpm && flavour.chars().all(char::is_alphabetic) => {
            release
        }
        _ => kernel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unasked_of(format: Format, files: &[&str], asked: &[&str], kernel: &str) -> Vec<String> {
        let download = |file: &&str| Download {
            url: String::new(),
            others: Vec::new(),
            name: String::new(),
            file: (*file).to_owned(),
            size: 0,
            sha256: String::new(),
        };
        let downloads: Vec<Download> = files.iter().map(download).collect();
        let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
        unasked(format, &downloads, &asked, &[kernel.to_owned()]).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn the_kernel_of_another_minor_release_is_unasked_and_the_plans_own_is_not() {
        let files = [
            "kernel-core-5.14.0-570.12.1.el9_6.x86_64.rpm",
            "kernel-modules-core-5.14.0-570.12.1.el9_6.x86_64.rpm",
            "kernel-core-5.14.0-611.5.1.el9_7.x86_64.rpm",
            "kernel-devel-5.14.0-570.12.1.el9_6.x86_64.rpm",
            "kernel-srpm-macros-1.0-13.el9.noarch.rpm",
            "kmod-mlnx-ofa_kernel-25.07-OFED.25.07.0.9.7.1.rhel9u6.x86_64.rpm",
        ];
        let found = unasked_of(Format::Rpm, &files, &[], "5.14.0-611.5.1.el9_7.x86_64");
        assert_eq!(found, files[..2]);
    }

    #[test]
    fn each_distribution_names_its_kernels_its_own_way() {
        let suse =
            ["kernel-default-6.4.0-150600.23.7.3.x86_64.rpm", "kernel-azure-6.4.0-150600.8.1.x86_64.rpm"];
        assert_eq!(unasked_of(Format::Rpm, &suse, &[], "6.4.0-150600.23.7-default"), suse[1..]);
        let azure = ["kernel-6.6.96.1-1.azl3.x86_64.rpm", "kernel-headers-6.6.96.1-1.azl3.noarch.rpm"];
        assert_eq!(unasked_of(Format::Rpm, &azure, &[], "6.6.92.2-2.azl3"), azure[..1]);
        assert!(unasked_of(Format::Rpm, &azure, &["kernel"], "6.6.92.2-2.azl3").is_empty());
        let ubuntu = [
            "linux-image-5.15.0-1050-azure_5.15.0-1050.57_amd64.deb",
            "linux-image-unsigned-5.15.0-106-generic_5.15.0-106.116_amd64.deb",
            "linux-image-azure_5.15.0.1060.60_amd64.deb",
            "linux-headers-5.15.0-106-generic_5.15.0-106.116_amd64.deb",
            "linux-modules-extra-5.15.0-106-generic_5.15.0-106.116_amd64.deb",
        ];
        assert_eq!(unasked_of(Format::Deb, &ubuntu, &[], "5.15.0-1050-azure"), ubuntu[1..3]);
    }
}
