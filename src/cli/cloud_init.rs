//! `cloud-init`: what its module runs at each boot, and what puts that module into an image.

use super::answer::{Answer, Call, outcome_alone, outcome_json, to_json};
use super::args::{CacheArg, RootArgs, RunArgs, set};
use crate::config;
use crate::doors::cloud_init::{self, Change, SetupOptions};
use crate::host::{Host, read_here};
use crate::outcome::{Outcome, Reason};
use crate::pipeline;
use crate::settings::{Layer, Settings};
use anyhow::Result;
use clap::{Args, Subcommand};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Arguments of `cloud-init`.
#[derive(Debug, Args)]
pub(super) struct CloudInitArgs {
    /// What to do
    #[command(subcommand)]
    command: CloudInitCommand,
}

/// The commands around cloud-init.
#[derive(Debug, Subcommand)]
enum CloudInitCommand {
    /// Install what this VM needs at boot; run by cloud-init's module `ofedctl`
    Run(Box<BootArgs>),
    /// Put that module, and what goes with it, into an image
    Setup(SetupArgs),
}

/// Arguments of `cloud-init run`.
#[derive(Debug, Args)]
struct BootArgs {
    /// Read further settings, as YAML or JSON, from this file
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// What to install, and from where
    #[command(flatten)]
    run: RunArgs,
}

/// Arguments of `cloud-init setup`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
struct SetupArgs {
    /// The image's root
    #[command(flatten)]
    root: RootArgs,
    /// Take everything out again
    #[arg(long, conflicts_with_all = ["unit", "reboot", "before", "offline", "cache", "set"])]
    remove: bool,
    /// A systemd unit in place of the module, for images where cloud-init is off
    #[arg(long)]
    unit: bool,
    /// Let cloud-init reboot at the end of a boot that found a reboot to be due
    #[arg(long)]
    reboot: bool,
    /// Start this unit, such as slurmd, only after the run; may be given again
    #[arg(long, value_name = "UNIT")]
    before: Vec<String>,
    /// Write `offline: true` into the image's own settings,
    /// /usr/lib/ofedctl/config.d/50-image.yaml
    #[arg(long)]
    offline: bool,
    /// Write where the cache is there, as the image sees it
    #[command(flatten)]
    cache: CacheArg,
    /// Write any key that `ofedctl explain settings` lists there
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(super) fn cloud_init(call: &Call, args: &CloudInitArgs) -> Result<Answer> {
    match &args.command {
        CloudInitCommand::Run(args) => run(call, args),
        CloudInitCommand::Setup(args) => setup(call, args),
    }
}

fn run(call: &Call, args: &BootArgs) -> Result<Answer> {
    let host = call.host(Path::new("/"))?;
    match settings(&host, args) {
        Ok(settings) => Ok(outcome_alone(cloud_init::run(host, &args.run.target.described(), settings))),
        Err(error) => Ok(outcome_alone(pipeline::refused(&host, error))),
    }
}

fn settings(host: &Host, args: &BootArgs) -> Result<Settings> {
    let told = match &args.settings {
        Some(file) => Layer::parse("cloud-init's key `ofedctl`", &read_here(file)?)?,
        None => Layer::default(),
    };
    config::load_from_outside(&host.root, told, args.run.layer()?)
}

fn setup(call: &Call, args: &SetupArgs) -> Result<Answer> {
    let host = call.host(&args.root.root)?;
    let (changed, what) = if args.remove {
        (cloud_init::remove(&host)?, "the first boot is out of the image")
    } else {
        let options = SetupOptions {
            settings: set(&args.set, &args.cache, args.offline)?,
            unit: args.unit,
            reboot: args.reboot,
            before: args.before.clone(),
        };
        (cloud_init::setup(&host, &options)?, "the first boot is in the image")
    };
    let mut text = String::new();
    for file in &changed {
        let word = match file.change {
            Change::Written => "written",
            Change::Unchanged => "unchanged",
            Change::Removed => "removed",
        };
        let _ = writeln!(text, "{word:<9} {}", file.path);
    }
    let outcome = Outcome::new(Reason::Listed, what);
    let mut json = outcome_json(&outcome);
    json["files"] = to_json(&changed)?;
    let boot = cloud_init::first_boot(&host)?.filter(|_| !args.remove);
    for obstacle in boot.iter().flat_map(|boot| &boot.obstacles) {
        host.events.warn(format!("a boot may not run it: {obstacle}. With `--unit` every boot does"));
    }
    json["first_boot"] = to_json(&boot)?;
    Ok(Answer { outcome, text, json })
}
