//! Builds modules of others again that share `ib_core` with a driver that was just built, where DKMS has their sources: the
//! kernel refuses them with another `ib_core` than the one they were built against. Afterwards tells which of them it would
//! still refuse.

use super::InstallOptions;
use crate::facts::modules::{self, Module};
use crate::facts::stack_users;
use crate::host::Host;
use crate::host::run::Cmd;
use crate::host::sandbox::Sandbox;
use crate::ledger::Check;
use crate::packages::dkms::{self, Source};
use crate::plan_document::Plan;
use anyhow::Result;
use std::collections::BTreeMap;

/// Builds them again for a kernel. A failure leaves what was there in its place, and is told.
pub(super) fn rebuild(host: &Host, kernel: &str, options: InstallOptions) -> Result<()> {
    let users = stack_users::find(&host.root, kernel);
    let built_by_others = users.iter().filter(|user| !user.is_kernels_own());
    let mut again: Vec<Source> = Vec::new();
    for user in built_by_others {
        match dkms::source_of(&host.root, &user.module, kernel) {
            Some(source) if dkms::sources(&host.root).contains(&source) => {}
            Some(source) if !again.contains(&source) => again.push(source),
            Some(_) => {}
            None => host.events.warn(format!(
                "{} for {kernel} shares ib_core with this driver, and DKMS does not have it: build it again",
                user.module
            )),
        }
    }
    for source in again {
        host.cancel.check()?;
        build(host, &source, kernel, options)?;
    }
    Ok(())
}

fn build(
    host: &Host,
    Source { name, version }: &Source,
    kernel: &str,
    options: InstallOptions,
) -> Result<()> {
    let InstallOptions { offline, sealed, .. } = options;
    host.events.info(format!("building {name} {version} again for {kernel}, for it shares ib_core"));
    for action in ["build", "install"] {
        let sandbox = Sandbox::offline(&host.root, sealed).with_network(!offline).for_kernel(kernel);
        let dkms = Cmd::new("dkms").args([action, "--force", "-m", name, "-v", version, "-k", kernel]);
        let ran = host.run(&dkms.inside(sandbox))?;
        if ran.code != 0 {
            let said = &ran.tail;
            host.events.warn(format!("{name} {version} for {kernel} could not be built again: {said}"));
            break;
        }
    }
    Ok(())
}

/// Whether each kernel would take the modules of others that share `ib_core` with the driver: a symbol that they and the
/// driver's modules ask for has one checksum in all of them, for else they were built against different ones. Nothing is said
/// of a kernel without such checksums, which takes them all.
pub fn check_users(host: &Host, plan: &Plan) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for kernel in &plan.target.kernels {
        let mut users = stack_users::find(&host.root, kernel);
        users.retain(|user| !user.is_kernels_own() && !plan.modules.contains(&user.module));
        if users.is_empty() {
            continue;
        }
        let mut of_driver = BTreeMap::new();
        for module in modules::find(&host.root, kernel, &plan.modules) {
            if let Module::File(path) = module {
                of_driver.extend(checksums(host, kernel, &path)?);
            }
        }
        for user in users {
            let own = checksums(host, kernel, &user.path)?;
            let shared: Vec<_> =
                own.iter().filter_map(|(symbol, sum)| Some((symbol, sum, of_driver.get(symbol)?))).collect();
            let other = shared.iter().find(|(_, sum, of_driver)| sum != of_driver);
            let found = match other {
                Some((symbol, ..)) => format!("built against another ib_core ({symbol}): build it again"),
                None => "fits the driver's ib_core".to_owned(),
            };
            if !shared.is_empty() {
                checks.push(Check::new(format!("{} for {kernel}", user.module), other.is_none(), found));
            }
        }
    }
    Ok(checks)
}

/// The symbols that a module asks for, each with its checksum (`CONFIG_MODVERSIONS`).
fn checksums(host: &Host, kernel: &str, path: &str) -> Result<BTreeMap<String, String>> {
    let file = format!("/lib/modules/{kernel}/{path}");
    let modprobe = Cmd::new("modprobe").args(["--dump-modversions", &file]);
    let said = host.run(&modprobe.captured().inside(Sandbox::offline(&host.root, false)))?;
    let pair = |line: &str| {
        let (sum, symbol) = line.trim().split_once(char::is_whitespace)?;
        Some((symbol.trim().to_owned(), sum.to_owned()))
    };
    Ok(if said.code == 0 { said.stdout.lines().filter_map(pair).collect() } else { BTreeMap::new() })
}
