//! Builds modules of others again that share `ib_core` with a driver that was just built, where DKMS has their sources: the
//! kernel refuses them with another `ib_core` than the one they were built against.

use super::InstallOptions;
use crate::facts::stack_users;
use crate::host::Host;
use crate::host::run::Cmd;
use crate::host::sandbox::Sandbox;
use crate::packages::dkms::{self, Source};
use anyhow::Result;

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
