//! The record of the last run on a root, beside the status document: which version did what, on which machine, when and
//! how long, and what is due since. The status document is the VM agent's and has no place for it.
//!
//! It belongs to one machine: [`generalize`](crate::pipeline::generalize) removes it, and the receipt is what is left.

use crate::amounts;
use crate::config;
use crate::events::Step;
use crate::facts::compute::{self, Compute};
use crate::host::fs::Root;
use crate::host::{Host, LOG_FILE, random_id};
use crate::outcome::{Outcome, Reason};
use crate::remedies::Door;
use crate::settings::Settings;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// The record's path inside the root.
pub const RUN_FILE: &str = "/var/lib/ofedctl/run.json";
/// Differs after each boot (proc(5), `/proc/sys/kernel/random`).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// A step of a run, and the time it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StepTime {
    /// The step's name, such as `install`.
    pub step: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// How long it took, in milliseconds; none for the step at which a run is, or at which it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<u64>,
    /// What it had to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The machine on which a run took place. An image that is baked must not hold the names of the machine that bakes it, so
/// a bake notes none of them but the size it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Machine {
    /// Its host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The VM's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_id: Option<String>,
    /// The VM's size, such as `Standard_HB120rs_v3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_size: Option<String>,
    /// The boot during which the run took place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct End {
    /// The run's id.
    pub run_id: String,
    /// What was to be done, e.g. `install`.
    pub command: String,
    /// When it ended, RFC 3339.
    pub finished: String,
    /// The reason's token, e.g. `installed`.
    pub reason: String,
    /// The exit code.
    pub code: u8,
    /// One line of what happened.
    pub message: String,
}

/// The record of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunRecord {
    /// Schema version of this document.
    pub schema_version: u32,
    /// Names this run in the log.
    pub run_id: String,
    /// The program's version.
    pub version: String,
    /// What was to be done: `bake`, `install` or `uninstall`.
    pub command: String,
    /// The entry point, as in receipts, e.g. `shell`.
    pub door: String,
    /// The machine.
    pub machine: Machine,
    /// When it began, RFC 3339.
    pub started: String,
    /// The settings in force that are not the defaults, without secrets.
    pub settings: BTreeMap<String, Value>,
    /// The log inside the root.
    pub log: String,
    /// The steps so far, in order.
    pub steps: Vec<StepTime>,
    /// How it ended; none while it works, or where it was killed.
    pub end: Option<End>,
    /// How long it took, in milliseconds.
    pub milliseconds: Option<u64>,
    /// The last run that ended well, where that is another one.
    pub last_good: Option<End>,
    /// The moments as the clock gave them, which the texts above round.
    #[serde(skip, default = "SystemTime::now")]
    began: SystemTime,
    #[serde(skip)]
    step_began: Option<SystemTime>,
}

impl RunRecord {
    /// The record of a run that begins now. `operation` is the word of the status document, e.g. `Bake`.
    pub fn begin(host: &Host, operation: &str, door: Door, settings: &Settings) -> Self {
        let is_of_this_machine = operation != "Bake" && host.is_running_system();
        let of_machine = |path: &str| host.root.attribute(path).filter(|_| is_of_this_machine);
        let mut machine = Machine {
            host: of_machine(HOST_NAME),
            boot_id: of_machine(BOOT_ID),
            vm_size: settings.vm_size.clone(),
            vm_id: None,
        };
        if is_of_this_machine {
            machine.learn(&compute::size_of(host, settings.vm_size.as_deref()));
        }
        let began = SystemTime::now();
        Self {
            schema_version: 1,
            run_id: random_id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: operation.to_lowercase(),
            door: door.name().to_owned(),
            machine,
            started: rfc3339(began),
            settings: config::changed_values(settings),
            log: LOG_FILE.to_owned(),
            steps: Vec::new(),
            end: None,
            milliseconds: None,
            last_good: Self::load(&host.root).and_then(Self::into_last_good),
            began,
            step_began: None,
        }
    }

    /// The last run's record; none where there is none, or none that this version can read.
    pub fn load(root: &Root) -> Option<Self> {
        let text = root.read_text(RUN_FILE).ok().flatten()?;
        serde_json::from_str(&text).ok().filter(|record: &Self| record.schema_version == 1)
    }

    /// Writes it into the root.
    pub fn save(&self, root: &Root) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot write the run's record")?;
        root.write_text(RUN_FILE, &(text + "\n"))
    }

    /// The last run that ended well, up to and with this one.
    pub fn into_last_good(self) -> Option<End> {
        self.end.filter(|end| end.code == 0).or(self.last_good)
    }

    /// Adds what was found out about the VM.
    pub fn learn(&mut self, vm: &Compute) {
        if self.machine.boot_id.is_some() {
            self.machine.learn(vm);
        }
    }

    /// Notes that a step begins.
    pub fn enter(&mut self, step: Step) {
        let now = SystemTime::now();
        self.step_began = Some(now);
        self.steps.push(StepTime {
            step: step.name().to_owned(),
            started: rfc3339(now),
            milliseconds: None,
            message: None,
        });
    }

    /// Notes what the step that is at work had to say at its end.
    pub fn leave(&mut self, message: &str) {
        let took = self.step_began.take().map(since);
        if let (Some(step), Some(took)) = (self.steps.last_mut(), took) {
            step.milliseconds = Some(took);
            step.message = Some(message.to_owned());
        }
    }

    /// Notes how the run ended.
    pub fn finish(&mut self, outcome: &Outcome) {
        self.milliseconds = Some(since(self.began));
        self.end = Some(End {
            run_id: self.run_id.clone(),
            command: self.command.clone(),
            finished: rfc3339(SystemTime::now()),
            reason: outcome.reason.token().to_owned(),
            code: outcome.exit_code().number(),
            message: outcome.message.clone(),
        });
    }

    /// Whether the reboot that the run asked for is still due on this root: it is, until another boot has begun.
    pub fn reboot_is_due(&self, root: &Root) -> bool {
        let asked = self.end.as_ref().is_some_and(|end| end.reason == Reason::RebootRequired.token());
        asked && (self.machine.boot_id.is_none() || root.attribute(BOOT_ID) == self.machine.boot_id)
    }

    /// The first line that the log has of a run.
    pub fn first_line(&self) -> String {
        let mut text =
            format!("run {} begins: ofedctl {} {} ({})", self.run_id, self.version, self.command, self.door);
        if let Some(host) = &self.machine.host {
            text = text + " on " + host;
        }
        let set: Vec<String> = self.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        match set.as_slice() {
            [] => text + "; all settings are the defaults",
            set => text + "; settings that are not the defaults: " + &set.join(", "),
        }
    }

    /// The last line that the log has of a run.
    pub fn last_line(&self) -> String {
        let took = amounts::time(self.milliseconds.unwrap_or_default());
        let (reason, code) = self.end.as_ref().map_or(("?", 0), |end| (end.reason.as_str(), end.code));
        format!("run {} ends: {reason} ({code}) after {took}", self.run_id)
    }
}

impl Machine {
    fn learn(&mut self, vm: &Compute) {
        self.vm_id = vm.vm_id.clone().or_else(|| self.vm_id.take());
        self.vm_size = vm.vm_size.clone().or_else(|| self.vm_size.take());
    }
}

fn since(time: SystemTime) -> u64 {
    // A clock that was set back in between says nothing.
    let took = time.elapsed().unwrap_or_default();
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    #[test]
    fn a_record_keeps_the_last_good_run_through_those_that_fail() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let run = |outcome: Outcome| {
            let mut record = RunRecord::begin(&host, "Bake", Door::Shell, &Settings::default());
            record.enter(Step::Detect);
            record.leave("debian12");
            record.finish(&outcome);
            record.save(&host.root).unwrap();
            RunRecord::load(&host.root).unwrap()
        };
        let good = run(Outcome::new(Reason::Installed, "inbox"));
        assert_eq!((good.last_good.clone(), good.steps[0].message.as_deref()), (None, Some("debian12")));
        let bad = run(Outcome::new(Reason::CacheMissing, "no bundle"));
        let worse = run(Outcome::new(Reason::Internal, "x"));
        for record in [bad, worse] {
            assert_eq!(record.last_good.unwrap().run_id, good.run_id);
        }
    }

    #[test]
    fn the_line_at_the_begin_of_a_run_has_the_settings_and_no_secret() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let settings = Settings {
            offline: true,
            proxy: Some("http://me:hush@proxy:3128".to_owned()),
            artifact: Some("https://host/ofed.tgz?sig=hush".to_owned()),
            ..Settings::default()
        };
        let line = RunRecord::begin(&host, "Bake", Door::Packer, &settings).first_line();
        assert!(line.contains("offline=true") && line.contains("bake (packer)"), "{line}");
        assert!(line.contains("proxy:3128") && !line.contains("hush"), "{line}");
    }

    #[test]
    fn an_image_learns_nothing_of_the_machine_that_bakes_it() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let mut record = RunRecord::begin(&host, "Bake", Door::Shell, &Settings::default());
        record.learn(&Compute { vm_id: Some("id".to_owned()), ..Compute::default() });
        assert_eq!(record.machine, Machine::default());
    }
}
