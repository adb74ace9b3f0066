//! Checks that each kernel would really load the driver's modules, because package scripts and installers report
//! success without it.

use crate::facts::modules::{self, Module, Place};
use crate::host::Host;
use crate::outcome::{Cause, Reason};
use crate::plan_document::Plan;
use anyhow::Result;

/// Fails when a kernel lacks a module of the driver, or would load another file in its place.
pub(super) fn check(host: &Host, plan: &Plan) -> Result<()> {
    for kernel in &plan.target.kernels {
        let found = modules::find(&host.root, kernel, &plan.modules);
        for (name, module) in plan.modules.iter().zip(&found) {
            let said = |what: &str| format!("{name} for {kernel}: {what}");
            match (Place::from(module), module) {
                (Place::Added | Place::Linked, _) => {}
                (Place::Missing | Place::Kernel, _) if plan.distribution_modules => {
                    let what = said("the packages of modules are for another kernel");
                    return Err(Cause::KernelWithoutModules.error(what));
                }
                (Place::Missing, _) => {
                    return Err(
                        Cause::BuildWithoutModule.error(said("there is no such module after the build"))
                    );
                }
                (Place::BuiltIn, _) => {
                    return Err(Cause::ModuleBuiltIn.error(said("it is built into the kernel")));
                }
                (Place::Kernel, Module::File(path)) => {
                    let what = said(&format!("the kernel would load its own, {path}"));
                    return Err(Reason::DriverShadowed.error(what));
                }
                (Place::Kernel, _) => {
                    return Err(Reason::DriverShadowed.error(said("the kernel would load its own")));
                }
            }
        }
    }
    Ok(())
}
