//! The vendor's driver, by its files: its version, and whose modules a kernel would load. `ofed_info` is a shell script
//! that prints a fixed text, so it is read and not run: an image's root may lack the means to run it.

use crate::host::Host;
use serde::{Deserialize, Serialize};

const OFED_INFO: &str = "/usr/bin/ofed_info";
/// A script that echoes how the kernel modules were configured.
const INFINIBAND_INFO: &str = "/etc/infiniband/info";
/// The service that loads the vendor's modules, as script and as unit.
const OPENIBD: [&str; 3] =
    ["/etc/init.d/openibd", "/lib/systemd/system/openibd.service", "/usr/lib/systemd/system/openibd.service"];
/// The names of a release in `ofed_info`: that of `MLNX_OFED`, or that of DOCA and of builds from source.
const RELEASES: [&str; 2] = ["MLNX_OFED_LINUX-", "OFED-internal-"];

/// An installed vendor driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ofed {
    /// What `ofed_info -s` would print, without its colon: `MLNX_OFED_LINUX-5.8-1.0.1.1`.
    pub release: Option<String>,
    /// The version alone: `5.8-1.0.1.1`.
    pub version: Option<String>,
    /// The version of DOCA-Host, whose package leaves its repository under `/usr/share`.
    pub doca_host: Option<String>,
    /// The version of the modules' sources, as DKMS would build them.
    pub dkms_sources: Option<String>,
    /// The kernel the modules were configured for, where they say so.
    pub built_for: Option<String>,
    /// Whether its service `openibd`, which loads the modules at boot, is installed.
    pub openibd: bool,
    /// Whether this program installed it, by its receipt.
    pub by_ofedctl: bool,
}

impl Ofed {
    /// The version that counts for its driver: DOCA-Host's, or the OFED release.
    pub fn driver_version(&self) -> Option<&str> {
        self.doca_host.as_deref().or(self.version.as_deref())
    }
}

/// The files of one module of a kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KernelModule {
    /// The vendor's file, below `/lib/modules/KERNEL`.
    pub vendor_file: Option<String>,
    /// The file that `modules.dep` names, which is the one that would be loaded.
    pub chosen_file: Option<String>,
}

impl KernelModule {
    /// Whether the kernel would load the vendor's module.
    pub fn is_vendors(&self) -> bool {
        self.chosen_file.as_deref().is_some_and(|file| !file.starts_with("kernel/"))
    }
}

/// Finds a vendor driver; none if there is no trace of one.
pub fn read(host: &Host) -> Option<Ofed> {
    let text = |path| host.root.read_text(path).ok().flatten();
    let after = |folder: &str, prefixes: &[&str]| {
        let names = host.root.list(folder);
        names
            .iter()
            .rev()
            .find_map(|name| Some(prefixes.iter().find_map(|prefix| name.strip_prefix(prefix))?.to_owned()))
    };
    let release = text(OFED_INFO).and_then(|script| release(&script));
    let ofed = Ofed {
        version: release.as_deref().map(|release| version(release).to_owned()),
        release,
        doca_host: after("/usr/share", &["doca-host-"]).map(|name| doca_version(&name).to_owned()),
        dkms_sources: after("/usr/src", &["mlnx-ofed-kernel-", "mlnx-ofa_kernel-"]),
        built_for: text(INFINIBAND_INFO).and_then(|script| configured_kernel(&script)),
        openibd: OPENIBD.iter().any(|file| host.root.exists(file)),
        by_ofedctl: false,
    };
    (ofed != Ofed::default()).then_some(ofed)
}

/// Finds a core module, `mlx5_core` or `mlx4_core`, of a kernel.
pub fn kernel_module(host: &Host, kernel: &str, module: &str) -> KernelModule {
    let base = format!("/lib/modules/{kernel}");
    let dep = host.root.read_text(&format!("{base}/modules.dep")).ok().flatten();
    let chosen_file = dep.as_deref().and_then(|dep| module_in_dep(dep, module));
    let vendor_file = chosen_file
        .clone()
        .filter(|file| !file.starts_with("kernel/"))
        .filter(|file| host.root.exists(&format!("{base}/{file}")))
        .or_else(|| {
            vendor_places(module).into_iter().find(|file| host.root.exists(&format!("{base}/{file}")))
        });
    KernelModule { vendor_file, chosen_file }
}

/// Where DKMS, KMP packages and the vendor's installer put a module. depmod searches these before `kernel/`
/// (kmod, depmod.d(5), `search updates extra built-in weak-updates`).
fn vendor_places(module: &str) -> Vec<String> {
    let driver = if module == "mlx4_core" { "mlx4" } else { "mlx5/core" };
    let inside = format!("drivers/net/ethernet/mellanox/{driver}");
    [
        "updates/dkms".to_owned(),
        "updates".to_owned(),
        format!("updates/{inside}"),
        "extra".to_owned(),
        format!("extra/mlnx-ofa_kernel/{inside}"),
        format!("extra/{inside}"),
        format!("weak-updates/mlnx-ofa_kernel/{inside}"),
    ]
    .iter()
    .flat_map(|folder| ["", ".xz", ".zst", ".gz"].map(|suffix| format!("{folder}/{module}.ko{suffix}")))
    .collect()
}

/// The file of a module in `modules.dep`, whose lines are `path: the paths it needs`.
fn module_in_dep(dep: &str, module: &str) -> Option<String> {
    dep.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).find_map(|path| {
        let rest = path.rsplit('/').next()?.strip_prefix(module)?.strip_prefix(".ko")?;
        matches!(rest, "" | ".xz" | ".zst" | ".gz").then(|| path.to_owned())
    })
}

/// The release an `ofed_info` script was made for.
fn release(script: &str) -> Option<String> {
    let (start, prefix) =
        RELEASES.iter().filter_map(|prefix| Some((find_release(script, prefix)?, *prefix))).min()?;
    let rest = &script[start + prefix.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-').unwrap_or(rest.len());
    Some(format!("{prefix}{}", rest[..end].trim_end_matches(['.', '-'])))
}

/// Where a release's name stands with a version behind it.
fn find_release(script: &str, prefix: &str) -> Option<usize> {
    let mut hits = script.match_indices(prefix);
    hits.find(|(at, _)| script[at + prefix.len()..].starts_with(|c: char| c.is_ascii_digit()))
        .map(|(at, _)| at)
}

fn version(release: &str) -> &str {
    RELEASES.iter().find_map(|prefix| release.strip_prefix(prefix)).unwrap_or(release)
}

/// The version of DOCA in its folder's name, `3.2.1-044000-25.10-ubuntu2204` after the prefix.
fn doca_version(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// The kernel in `/etc/infiniband/info`: `echo Kernel=5.15.0-1019-azure`.
fn configured_kernel(script: &str) -> Option<String> {
    let value = script.lines().find_map(|line| line.trim().strip_prefix("echo Kernel="))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;
    use proptest::prelude::*;

    const SCRIPT: &str = "#!/bin/bash\nif [ \"X$1\" == \"X-s\" ]; then echo RELEASE:; exit 0; fi\n\
        cat << EOF\nRELEASE (OFED-5.8-1.0.1):\n\nclusterkit:\nmlnx_ofed_clusterkit/clusterkit-1.8-1.src.rpm\nEOF\n";

    #[test]
    fn the_release_is_read_from_the_script() {
        for named in
            ["MLNX_OFED_LINUX-5.8-1.0.1.1", "MLNX_OFED_LINUX-4.9-4.1.7.0", "OFED-internal-25.10-1.7.1"]
        {
            assert_eq!(release(&SCRIPT.replace("RELEASE", named)).as_deref(), Some(named));
            assert!(version(named).starts_with(|c: char| c.is_ascii_digit()), "{named}");
        }
        for odd in ["", "echo MLNX_OFED_LINUX-\n", "OFED-internal-x", "OFED-5.8-1"] {
            assert_eq!(release(odd), None, "{odd}");
        }
    }

    #[test]
    fn modules_dep_says_which_module_would_be_loaded() {
        let inbox =
            "kernel/drivers/net/ethernet/mellanox/mlx5/core/mlx5_core.ko.zst: kernel/net/tls/tls.ko.zst\n";
        assert!(module_in_dep(inbox, "mlx5_core").unwrap().ends_with("mlx5_core.ko.zst"));
        assert_eq!(
            module_in_dep("updates/dkms/mlx5_core.ko: updates/dkms/mlx_compat.ko", "mlx_compat"),
            None
        );
        assert_eq!(module_in_dep("kernel/mlx5_core_extra.ko:\nkernel/mlx5_core.ko.old:", "mlx5_core"), None);

        let dep = "lib/modules/5.15.0-1019-azure/modules.dep";
        let file = ("lib/modules/5.15.0-1019-azure/updates/dkms/mlx5_core.ko", "");
        let of =
            |files: &[(&str, &str)]| kernel_module(&host_with(files).1, "5.15.0-1019-azure", "mlx5_core");
        let built = of(&[(dep, "updates/dkms/mlx5_core.ko: updates/dkms/mlx_compat.ko\n"), file]);
        assert!(built.is_vendors() && built.vendor_file == built.chosen_file);
        // Built, but depmod has not run: the old one would be loaded.
        let stale = of(&[(dep, inbox), file]);
        assert!(!stale.is_vendors() && stale.vendor_file.as_deref() == Some("updates/dkms/mlx5_core.ko"));
        // Removed, but depmod has not run.
        assert_eq!(of(&[(dep, "extra/mlx5_core.ko:\n")]).vendor_file, None);
        assert_eq!(of(&[]), KernelModule::default());
    }

    #[test]
    fn traces_of_doca_and_dkms_are_told() {
        let (_dir, host) = host_with(&[
            ("usr/share/doca-host-3.2.1-044000-25.10-ubuntu2204/repo/Release", ""),
            ("usr/src/mlnx-ofed-kernel-25.10.OFED.25.10.1.7.1.1/dkms.conf", ""),
            ("etc/infiniband/info", "#!/bin/bash\necho prefix=/usr\necho Kernel=5.15.0-1019-azure\n"),
        ]);
        let found = read(&host).unwrap();
        assert_eq!((found.release, found.doca_host.as_deref()), (None, Some("3.2.1")));
        assert_eq!(found.dkms_sources.as_deref(), Some("25.10.OFED.25.10.1.7.1.1"));
        assert_eq!(found.built_for.as_deref(), Some("5.15.0-1019-azure"));
        assert_eq!(read(&host_with(&[]).1), None);
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "\\PC*") {
            let _ = (release(&text), configured_kernel(&text), doca_version(&text), module_in_dep(&text, "mlx5_core"));
            let _ = release(&format!("MLNX_OFED_LINUX-5{text}"));
        }
    }
}
