//! Checks the services around the driver on a running VM: one that failed or hung at boot explains other failures.

use crate::host::Host;
use crate::host::run::Cmd;
use crate::ledger::Check;
use anyhow::Result;

/// The services that load modules at boot, and those that wait for a network interface that may never come up.
const SERVICES: [&str; 4] = [
    "openibd.service",
    "systemd-modules-load.service",
    "systemd-networkd-wait-online.service",
    "NetworkManager-wait-online.service",
];
/// Only systemd makes this folder (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

/// Checks each service that the machine has; none if it was not booted by systemd.
pub(super) fn check_services(host: &Host) -> Result<Vec<Check>> {
    if !host.root.exists(BOOTED) {
        return Ok(Vec::new());
    }
    let show = Cmd::new("systemctl").args(["show", "--property=Id,LoadState,ActiveState,Result"]);
    let shown = host.run(&show.args(SERVICES).captured())?;
    // It tells of a service that is not there, too, so nothing told is nothing asked.
    if shown.code != 0 || shown.stdout.trim().is_empty() {
        host.events.warn(format!("the services around the driver could not be checked: {}", shown.tail));
    }
    Ok(services(&shown.stdout))
}

/// What `systemctl show` printed of several.
fn services(shown: &str) -> Vec<Check> {
    shown.split("\n\n").filter_map(service).collect()
}

/// One block of `systemctl show`; none for a service that is not there or was never asked to start.
fn service(block: &str) -> Option<Check> {
    let value = |key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default()
    };
    if value("LoadState") != "loaded" || value("ActiveState") == "inactive" {
        return None;
    }
    let (state, result) = (value("ActiveState"), value("Result"));
    let found = match result {
        "" | "success" => state.to_owned(),
        result => format!("{state} ({result})"),
    };
    let name = value("Id").trim_end_matches(".service");
    Some(Check::new(format!("service {name}"), state == "active", found).of_service())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_failed_or_still_hangs_is_told_from_one_that_is_not_there() {
        let shown = "Id=openibd.service\nLoadState=loaded\nActiveState=failed\nResult=timeout\n\n\
            Result=success\nId=systemd-modules-load.service\nLoadState=loaded\nActiveState=active\n\n\
            Id=systemd-networkd-wait-online.service\nLoadState=loaded\nActiveState=activating\nResult=success\n\n\
            Id=NetworkManager-wait-online.service\nLoadState=not-found\nActiveState=inactive\nResult=success\n";
        let checks = services(shown);
        let said = |check: &Check| format!("{} {} {}", check.ok, check.name, check.found);
        assert_eq!(
            checks.iter().map(said).collect::<Vec<_>>(),
            [
                "false service openibd failed (timeout)",
                "true service systemd-modules-load active",
                "false service systemd-networkd-wait-online activating",
            ]
        );
        assert!(checks.iter().all(|check| check.subject == crate::ledger::Subject::Service));
    }
}
