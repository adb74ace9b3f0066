//! Checks that each kernel would really load the driver's modules, because package scripts and installers report
//! success without it.

use crate::facts::modules::{self, Module, Place};
use crate::host::Host;
use crate::outcome::Reason;
use crate::plan_document::Plan;
use anyhow::Result;

/// Fails when a kernel lacks a module of the driver, or would load another file in its place.
pub(super) fn check(host: &Host, plan: &Plan) -> Result<()> {
    for kernel in &plan.target.kernels {
        let found = modules::find(&host.root, kernel, &plan.modules);
        for (name, module) in plan.modules.iter().zip(&found) {
            let refuse =
                |reason: Reason, what: &str| Err(reason.error(format!("{name} for {kernel}: {what}")));
            match (Place::from(module), module) {
                (Place::Added | Place::Linked, _) => {}
                (Place::Missing | Place::Kernel, _) if plan.distribution_modules => {
                    return refuse(
                        Reason::KernelUnsupported,
                        "the packages of modules are for another kernel",
                    );
                }
                (Place::Missing, _) => {
                    return refuse(Reason::DkmsBuild, "there is no such module after the build");
                }
                (Place::BuiltIn, _) => {
                    return refuse(Reason::KernelUnsupported, "it is built into the kernel");
                }
                (Place::Kernel, Module::File(path)) => {
                    return refuse(Reason::DriverShadowed, &format!("the kernel would load its own, {path}"));
                }
                (Place::Kernel, _) => return refuse(Reason::DriverShadowed, "the kernel would load its own"),
            }
        }
    }
    Ok(())
}
