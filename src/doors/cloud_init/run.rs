//! One run at a boot: on the VM itself, with what cloud-init was told, and a mark where a reboot is due.

use crate::host::Host;
use crate::outcome::{Outcome, Reason};
use crate::pipeline::{self, Job};
use crate::plan::Described;
use crate::settings::Settings;
use crate::target::Mode;
use std::time::Duration;

/// This file exists while a reboot is due, as Debian's `/run/reboot-required` does, and the condition of
/// `power_state` reads it. It holds the value of the setting `reboot`.
pub const REBOOT_REQUIRED: &str = "/run/ofedctl/reboot-required";

/// Installs and configures the driver on this VM.
pub fn run(host: Host, described: &Described, mut settings: Settings) -> Outcome {
    // One image serves sizes with and without InfiniBand, and a boot that fails on half of them would teach people
    // to look away.
    settings.required.get_or_insert(false);
    let host = host.within(Duration::from_secs(settings.deadline));
    let job = Job {
        host: &host,
        settings: &settings,
        described,
        mode: Mode::Live,
        door: "cloud-init",
        status_file: None,
    };
    let outcome = pipeline::run(&job);
    if let Err(error) = mark(&host, &settings, &outcome) {
        host.events.warn(format!("`{REBOOT_REQUIRED}` is not as it should be: {error:#}"));
    }
    outcome
}

fn mark(host: &Host, settings: &Settings, outcome: &Outcome) -> anyhow::Result<()> {
    let policy = if settings.reboots() { "power-state\n" } else { "report\n" };
    match outcome.reason {
        Reason::RebootRequired => host.root.write_text(REBOOT_REQUIRED, policy),
        _ => host.root.remove_file(REBOOT_REQUIRED),
    }
}
