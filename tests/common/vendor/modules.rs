//! Kernel modules with the names of the real ones and nothing in them, as DKMS packages that the root's own compiler and
//! the headers of its kernels really have to build.

use super::package::Package;
use std::fmt::Write;

/// Every build of a kernel package adds a line here, inside the root: what was built, and for which kernel.
pub const BUILDS: &str = "var/log/test-builds";

/// Whether the modules can be built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// For every kernel.
    #[default]
    Good,
    /// For none: it uses what kernels no longer have, as backports of old releases do.
    Outdated,
}

/// The modules of the main package. All but the first use a symbol of the first, or of `ib_core`.
const KERNEL: [&str; 8] =
    ["mlx_compat", "ib_core", "mlx5_core", "mlx5_ib", "ib_uverbs", "ib_umad", "rdma_ucm", "ib_ipoib"];
/// The packages that are built with the symbols of the main one, and the module of each.
pub const DEPENDENTS: [(&str, &str); 3] = [("iser", "ib_iser"), ("isert", "ib_isert"), ("srp", "ib_srp")];

/// What others ask `ib_core` for, in the vendor's form.
const REGISTER: &str = "int ib_register_client(long client)";
const MAIN: &str = "mlnx-ofed-kernel";
/// The same, as it is called on rpm distributions.
pub const MAIN_OF_RPM: &str = "mlnx-ofa_kernel";
const SYMBOLS: &str = "/usr/src/ofa_kernel";

fn is_main(name: &str) -> bool {
    name == MAIN || name == MAIN_OF_RPM
}

/// The files of a source folder, by path below it.
pub fn sources(name: &str, version: &str, source: Source) -> Vec<(String, String, u32)> {
    let modules: Vec<&str> = if is_main(name) {
        KERNEL.to_vec()
    } else {
        DEPENDENTS.iter().filter(|(package, _)| *package == name).map(|(_, module)| *module).collect()
    };
    let mut files = vec![
        ("dkms.conf".to_owned(), dkms_conf(name, version, &modules), 0o644),
        ("Makefile".to_owned(), makefile(name, &modules), 0o644),
        ("ofed_scripts/pre_build.sh".to_owned(), pre_build(name), 0o755),
    ];
    if is_main(name) {
        files.push(("ofed_scripts/build.sh".to_owned(), BUILD.to_owned(), 0o755));
    }
    for module in modules {
        files.push((format!("{module}.c"), c_source(module, version, source), 0o644));
    }
    files
}

fn dkms_conf(name: &str, version: &str, modules: &[&str]) -> String {
    let mut text = format!(
        "PACKAGE_NAME=\"{name}\"\nPACKAGE_VERSION=\"{version}\"\nAUTOINSTALL=\"yes\"\n\
         PRE_BUILD=\"ofed_scripts/pre_build.sh $kernelver\"\n"
    );
    if is_main(name) {
        text += "MAKE[0]=\"ofed_scripts/build.sh $kernelver\"\n";
    }
    for (number, module) in modules.iter().enumerate() {
        let _ = writeln!(text, "BUILT_MODULE_NAME[{number}]=\"{module}\"");
        let _ = writeln!(text, "DEST_MODULE_LOCATION[{number}]=\"/updates\"");
    }
    text
}

fn makefile(name: &str, modules: &[&str]) -> String {
    let objects: Vec<String> = modules.iter().map(|module| format!("{module}.o")).collect();
    let objects = objects.join(" ");
    if is_main(name) {
        return format!("obj-m := {objects}\n");
    }
    format!("obj-m := {objects}\nKBUILD_EXTRA_SYMBOLS := {SYMBOLS}/$(KERNELRELEASE)/Module.symvers\n")
}

/// Notes the build, which must be for the kernel that runs: so believe the configure scripts of the vendor's packages. What
/// depends on the main package cannot be built before it.
fn pre_build(name: &str) -> String {
    let asks = "[ \"$(uname -r)\" = \"$1\" ] || { echo \"$1 is not $(uname -r)\"; exit 1; }";
    let note = format!("#!/bin/sh\nset -e\n{asks}\necho \"{name} $1\" >>/{BUILDS}\n");
    if is_main(name) {
        return note;
    }
    format!(
        "{note}if [ ! -e {SYMBOLS}/$1/Module.symvers ]; then\n\
         \techo \"{name}: {MAIN} is not built for $1\" >&2\n\texit 1\nfi\n"
    )
}

/// The main package leaves its symbols for those that are built after it.
const BUILD: &str = "#!/bin/sh\nset -e\nmake -C /lib/modules/$1/build M=\"$PWD\" modules\n\
    mkdir -p /usr/src/ofa_kernel/$1\ncp Module.symvers /usr/src/ofa_kernel/$1/\n";

fn c_source(module: &str, version: &str, source: Source) -> String {
    let mut text =
        "#include <linux/module.h>\n#include <linux/init.h>\n#include <linux/timer.h>\n".to_owned();
    if module == "mlx_compat" {
        text += "int ofed_compat(void);\nint ofed_compat(void) { return 0; }\nEXPORT_SYMBOL(ofed_compat);\n";
        text += "static int __init start(void) { return 0; }\n";
    } else if module == "ib_uverbs" {
        let _ = writeln!(text, "extern {REGISTER};");
        text += "static int __init start(void) { return ib_register_client(0); }\n";
    } else {
        text += "extern int ofed_compat(void);\nstatic int __init start(void) { return ofed_compat(); }\n";
    }
    if module == "ib_core" {
        let _ = writeln!(
            text,
            "{REGISTER};\n{REGISTER} {{ return (int)client; }}\nEXPORT_SYMBOL(ib_register_client);"
        );
    }
    if source == Source::Outdated && module == "mlx5_core" {
        text += "unsigned long old_timer(struct timer_list *timer);\n";
        text += "unsigned long old_timer(struct timer_list *timer) { return timer->data; }\n";
    }
    text += "static void __exit stop(void) {}\nmodule_init(start);\nmodule_exit(stop);\n";
    let _ = writeln!(text, "MODULE_LICENSE(\"Dual BSD/GPL\");\nMODULE_VERSION(\"{version}\");");
    // So that no two have the same source version.
    let _ = writeln!(text, "MODULE_DESCRIPTION(\"{module}\");");
    text
}

/// The DKMS package of a source. Its script hides a failed build, as the vendor's do; those beside the main one add, build
/// and install by themselves, for the kernel that `uname` names (the postinst of iser-dkms, srp-dkms and knem-dkms 5.0).
pub(super) fn dkms_package(name: &str, version: &str, source: Source, depends: &str) -> Package {
    let postinst = format!(
        "#!/bin/sh\nset -e\nif [ \"$1\" = configure ] && [ -x /usr/lib/dkms/common.postinst ]; then\n\
         \t/usr/lib/dkms/common.postinst {name} {version} /usr/share/{name}-dkms '' \"$2\" || true\nfi\nexit 0\n"
    );
    let by_itself = format!(
        "#!/bin/sh\nset -e\n[ -n \"$(dkms status -m {name} -v {version})\" ] || dkms add -m {name} -v {version}\n\
         if [ \"$1\" = configure ]; then\n\
         \tdkms build -m {name} -v {version} && dkms install -m {name} -v {version} --force || true\nfi\nexit 0\n"
    );
    let postinst = if is_main(name) { postinst } else { by_itself };
    let prerm = format!(
        "#!/bin/sh\nset -e\ncase $1 in remove|upgrade|deconfigure)\n\
         \tdkms remove -m {name} -v {version} --all >/dev/null 2>&1 || true ;;\nesac\nexit 0\n"
    );
    let postrm = format!("#!/bin/sh\nrm -rf {SYMBOLS} /{BUILDS}\nexit 0\n");
    let mut package = Package::new(&format!("{name}-dkms"), &format!("{version}-1"))
        .field("Depends", depends)
        .script("postinst", &postinst)
        .script("prerm", &prerm);
    if is_main(name) {
        package = package.script("postrm", &postrm);
    }
    for (path, text, mode) in sources(name, version, source) {
        let path = format!("usr/src/{name}-{version}/{path}");
        package = if mode == 0o755 { package.program(&path, text) } else { package.file(&path, text) };
    }
    package
}
