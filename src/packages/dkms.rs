//! DKMS: which of a driver's modules are built and installed for which kernel.

use crate::host::Host;
use crate::host::fs::Root;
use crate::host::run::Cmd;
use crate::host::sandbox::Sandbox;
use crate::outcome::Reason;
use anyhow::Result;

/// The folder of built modules, as `MODULE/VERSION/KERNEL/ARCH`.
pub const TREE: &str = "/var/lib/dkms";
/// A file that keeps package scripts from building (`/usr/lib/dkms/common.postinst`).
pub const HOLD: &str = "/etc/dkms/no-autoinstall";
/// The package that the others are built with, as it is called on Debian and on RHEL.
pub const MAIN: [&str; 2] = ["mlnx-ofed-kernel", "mlnx-ofa_kernel"];
/// The vendor's other packages of modules (`%kernel_packages` of `mlnxofedinstall`; the repository of DOCA-Host).
const OTHERS: [&str; 11] = [
    "iser",
    "isert",
    "kernel-mft",
    "kernel-mft-dkms",
    "knem",
    "mlnx-nfsrdma",
    "mlnx-nvme",
    "mlnx-rdma-rxe",
    "rshim",
    "srp",
    "xpmem",
];

/// The sources of a package of modules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The state of one package for one kernel in DKMS.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    source: Source,
    /// The kernel; none for sources that are only added.
    kernel: Option<String>,
    /// Whether its modules are where the kernel loads them from.
    installed: bool,
}

/// The vendor's sources in a root; those that others need for their build come first.
pub fn sources(root: &Root) -> Vec<Source> {
    let is_source = |folder: &String| root.exists(&format!("/usr/src/{folder}/dkms.conf"));
    let folders: Vec<String> = root.list("/usr/src").into_iter().filter(is_source).collect();
    let all = MAIN.iter().chain(&OTHERS);
    let named = |name: &'static str| {
        let version = |folder: &String| {
            // `iser-1.2` is not a version of `is`, and `mlnx-nvme-1` none of `mlnx`.
            let rest = folder.strip_prefix(name)?.strip_prefix('-')?;
            rest.starts_with(|c: char| c.is_ascii_digit()).then(|| rest.to_owned())
        };
        let found = folders.iter().filter_map(version);
        let name = name.to_owned();
        found.map(move |version| Source { name: name.clone(), version }).collect::<Vec<_>>()
    };
    all.flat_map(|name| named(name)).collect()
}

/// The source, of anybody, from which DKMS has built and installed a module for a kernel.
pub fn source_of(root: &Root, module: &str, kernel: &str) -> Option<Source> {
    let is_built = |line: &str| {
        let (key, value) = line.trim().split_once('=').unwrap_or_default();
        key.starts_with("BUILT_MODULE_NAME") && value.trim_matches(['"', '\'']).replace('-', "_") == module
    };
    root.list("/usr/src").into_iter().find_map(|folder| {
        let text = root.read_text(&format!("/usr/src/{folder}/dkms.conf")).ok()??;
        text.lines().any(is_built).then_some(())?;
        let told = |key: &str| {
            let value = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
            Some(value.trim_matches(['"', '\'']).to_owned())
        };
        let source = Source { name: told("PACKAGE_NAME")?, version: told("PACKAGE_VERSION")? };
        is_installed(root, &source, kernel).then_some(source)
    })
}

/// Those of the sources whose modules are not installed for a kernel. This uses the links that DKMS itself relies on
/// (`is_module_installed` in its script), because `dkms status` takes seconds. `dkms status` is run only if there are
/// modules of another kernel that this one may load (weak-updates, on RHEL).
pub fn missing<'s>(host: &Host, sources: &'s [Source], kernel: &str) -> Result<Vec<&'s Source>> {
    let root = &host.root;
    let mut missing: Vec<&Source> =
        sources.iter().filter(|source| !is_installed(root, source, kernel)).collect();
    if !missing.is_empty() && !root.list(&format!("/lib/modules/{kernel}/weak-updates")).is_empty() {
        let told = status(host)?;
        missing.retain(|source| !is_told_of(source, kernel, &told));
    }
    Ok(missing)
}

/// Whether DKMS has linked what it built of a source for a kernel, and has it still.
fn is_installed(root: &Root, source: &Source, kernel: &str) -> bool {
    let Source { name, version } = source;
    let prefix = format!("kernel-{kernel}-");
    root.list(&format!("{TREE}/{name}")).iter().filter_map(|entry| entry.strip_prefix(&prefix)).any(|arch| {
        let built = format!("{version}/{kernel}/{arch}");
        let link = root.link_target(&format!("{TREE}/{name}/{prefix}{arch}"));
        link.is_some_and(|link| link.ends_with(&built))
            && !root.list(&format!("{TREE}/{name}/{built}/module")).is_empty()
    })
}

/// Whether `dkms status` tells that the modules of a source are installed for a kernel, be they another kernel's:
/// `installed-weak from 3.10.0-123.el7.x86_64`.
fn is_told_of(source: &Source, kernel: &str, told: &str) -> bool {
    let mut states = told.lines().filter_map(parse);
    states.any(|state| state.source == *source && state.kernel.as_deref() == Some(kernel) && state.installed)
}

/// The output of `dkms status`; nothing if there is no DKMS.
fn status(host: &Host) -> Result<String> {
    if !host.root.exists("/usr/sbin/dkms") && !host.root.exists("/sbin/dkms") {
        return Ok(String::new());
    }
    let sandbox = Sandbox::offline(&host.root, false);
    let asked = host.run(&Cmd::new("dkms").arg("status").captured().inside(sandbox))?;
    Ok(asked.check(Reason::DkmsBuild, "asking DKMS")?.stdout)
}

/// A line of `dkms status`: `iser/25.10, 6.1.0-25-amd64, x86_64: installed` or, before DKMS 3, `iser, 25.10, …`.
fn parse(line: &str) -> Option<State> {
    let (place, state) = line.rsplit_once(": ").map(|(place, state)| (place, state.trim()))?;
    let mut words = place.split(", ").map(str::trim);
    let first = words.next()?;
    let (name, version) = match first.split_once('/') {
        Some((name, version)) => (name, version),
        None => (first, words.next()?),
    };
    let kernel = words.next().map(str::to_owned);
    let source = Source { name: name.to_owned(), version: version.to_owned() };
    let installed = state.starts_with("installed");
    (!name.is_empty() && !version.is_empty()).then_some(State { source, kernel, installed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    #[test]
    fn both_forms_of_status_lines_are_read() {
        let said = |line| {
            let State { source, kernel, installed } = parse(line)?;
            Some((source.name, source.version, kernel.unwrap_or_default(), installed))
        };
        let of = |version: &str, kernel: &str, installed| {
            Some(("mlnx-ofed-kernel".to_owned(), version.to_owned(), kernel.to_owned(), installed))
        };
        let table = [
            (
                "mlnx-ofed-kernel/25.10, 6.1.0-25-amd64, x86_64: installed",
                of("25.10", "6.1.0-25-amd64", true),
            ),
            (
                "mlnx-ofed-kernel/5.8, 5.15.0-1, x86_64: installed (WARNING! Diff between built and installed module!)",
                of("5.8", "5.15.0-1", true),
            ),
            ("mlnx-ofed-kernel, 5.8, 5.4.0-1, x86_64: built", of("5.8", "5.4.0-1", false)),
            ("mlnx-ofed-kernel/25.10: added", of("25.10", "", false)),
            ("mlnx-ofed-kernel, 5.8: added", of("5.8", "", false)),
            ("Error! Could not locate dkms.conf file.", None),
            ("", None),
        ];
        for (line, wanted) in table {
            assert_eq!(said(line), wanted, "{line}");
        }
    }

    #[test]
    fn only_the_vendors_sources_count_and_the_main_one_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["iser-25.10", "mlnx-ofed-kernel-25.10.OFED.1", "nvidia-535", "srp-25.10", "knem-x"] {
            std::fs::create_dir_all(dir.path().join("usr/src").join(folder)).unwrap();
            std::fs::write(dir.path().join("usr/src").join(folder).join("dkms.conf"), "").unwrap();
        }
        std::fs::create_dir_all(dir.path().join("usr/src/isert-25.10")).unwrap();
        let found = sources(&Root::open(dir.path()).unwrap());
        let found: Vec<_> = found.iter().map(|it| format!("{} {}", it.name, it.version)).collect();
        assert_eq!(found, ["mlnx-ofed-kernel 25.10.OFED.1", "iser 25.10", "srp 25.10"]);
    }

    #[test]
    fn the_source_of_anybodys_module_is_found_where_dkms_has_installed_it() {
        let (dir, host) = on_an_empty_root(Cancel::never());
        let conf = "PACKAGE_NAME=\"nvidia\"\nPACKAGE_VERSION=\"535.1\"\nBUILT_MODULE_NAME[0]=\"nvidia\"\n\
            BUILT_MODULE_NAME[4]=\"nvidia-peermem\"\n";
        host.root.write_text("/usr/src/nvidia-535.1/dkms.conf", conf).unwrap();
        let found =
            |module| source_of(&host.root, module, "6.1").map(|it| format!("{} {}", it.name, it.version));
        assert_eq!(found("nvidia_peermem"), None, "only a source");
        let tree = dir.path().join("var/lib/dkms/nvidia");
        host.root.write_text("/var/lib/dkms/nvidia/535.1/6.1/x86_64/module/nvidia-peermem.ko", "").unwrap();
        std::os::unix::fs::symlink("535.1/6.1/x86_64", tree.join("kernel-6.1-x86_64")).unwrap();
        assert_eq!(found("nvidia_peermem").unwrap(), "nvidia 535.1");
        assert_eq!(found("knem"), None);
    }

    #[test]
    fn what_dkms_has_linked_is_installed() {
        let (dir, host) = on_an_empty_root(Cancel::never());
        let of = |version: &str| Source { name: "iser".to_owned(), version: version.to_owned() };
        let sources = [of("25.10"), of("5.8")];
        let missing = |kernel| -> Vec<_> {
            missing(&host, &sources, kernel).unwrap().iter().map(|it| it.version.clone()).collect()
        };
        assert_eq!(missing("6.1"), ["25.10", "5.8"]);
        let tree = dir.path().join("var/lib/dkms/iser");
        let modules = tree.join("25.10/6.1/x86_64/module");
        std::fs::create_dir_all(&modules).unwrap();
        std::fs::write(modules.join("ib_iser.ko"), "").unwrap();
        assert_eq!(missing("6.1"), ["25.10", "5.8"], "only built");
        std::os::unix::fs::symlink("25.10/6.1/x86_64", tree.join("kernel-6.1-x86_64")).unwrap();
        assert_eq!(missing("6.1"), ["5.8"]);
        assert_eq!(missing("6"), ["25.10", "5.8"]);
        std::fs::remove_file(modules.join("ib_iser.ko")).unwrap();
        assert_eq!(missing("6.1"), ["25.10", "5.8"], "nothing to load");
    }

    /// As DKMS 2.8 of EL 8 says it, where kernels load modules of others that are alike.
    #[test]
    fn modules_of_another_kernel_count_where_dkms_tells_that_this_one_loads_them() {
        let told = "iser, 25.10, 4.18.0-477.10.1.el8_8.x86_64, x86_64: installed\n\
            iser, 25.10, 4.18.0-477.13.1.el8_8.x86_64, x86_64: installed-weak from 4.18.0-477.10.1.el8_8.x86_64\n\
            srp, 25.10, 4.18.0-477.13.1.el8_8.x86_64, x86_64: built\n";
        let is_told = |name: &str, version: &str, kernel: &str| {
            let source = Source { name: name.to_owned(), version: version.to_owned() };
            is_told_of(&source, &format!("4.18.0-{kernel}.el8_8.x86_64"), told)
        };
        assert!(is_told("iser", "25.10", "477.13.1"));
        assert!(!is_told("iser", "24.04", "477.13.1"), "another release");
        assert!(!is_told("iser", "25.10", "477.15.1"), "another kernel");
        assert!(!is_told("srp", "25.10", "477.13.1"), "only built");
    }

    #[test]
    fn links_to_modules_of_another_kernel_prove_nothing_where_there_is_no_dkms() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        host.root.write_text("/lib/modules/6.1/weak-updates/ib_iser.ko", "").unwrap();
        let sources = [Source { name: "iser".to_owned(), version: "25.10".to_owned() }];
        assert_eq!(missing(&host, &sources, "6.1").unwrap(), [&sources[0]]);
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(line in "[a-z0-9/,:. ]{0,60}") {
            let _ = parse(&line);
        }
    }
}
