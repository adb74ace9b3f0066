//! `ofedctl extension`: the commands of the VM extension's handler, and its package.

use super::answer::{Answer, Call, outcome_alone, outcome_json};
use crate::amounts::size;
use crate::doors::extension::{self, Identity, Parts, Verb, make};
use crate::host::process;
use crate::outcome::{Outcome, Reason};
use crate::status::verdict;
use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `extension`.
#[derive(Debug, Args)]
pub(super) struct ExtensionArgs {
    /// What to do
    #[command(subcommand)]
    pub(super) verb: ExtensionVerb,
}

/// The commands of the handler, and what makes its package.
#[derive(Debug, Subcommand)]
pub(super) enum ExtensionVerb {
    /// Make the handler's package, a zip to publish
    Package(PackageArgs),
    /// Run by the VM agent once the package is unpacked
    Install(HandlerArgs),
    /// Run by the VM agent for new settings and at each of its starts: checks,
    /// and starts the work in the background
    Enable(HandlerArgs),
    /// Run by the VM agent before an update or removal: stops the work
    Disable(HandlerArgs),
    /// Run by the VM agent, of the new version, during an update
    Update(HandlerArgs),
    /// Run by the VM agent before the package goes; the driver stays unless
    /// the settings say `remove_on_uninstall`
    Uninstall(HandlerArgs),
    /// Forget which settings were dealt with
    Reset(HandlerArgs),
    /// The work that `enable` starts
    #[command(hide = true)]
    Worker {
        /// The settings' number
        #[arg(long)]
        seq: u64,
        /// The handler
        #[command(flatten)]
        handler: HandlerArgs,
    },
}

/// A handler, as the agent has unpacked it.
#[derive(Debug, Args)]
pub(super) struct HandlerArgs {
    /// The folder with HandlerEnvironment.json; looked for when not given
    #[arg(long, value_name = "DIR")]
    pub(super) handler_dir: Option<PathBuf>,
}

/// Arguments of `extension package`.
#[derive(Debug, Args)]
pub(super) struct PackageArgs {
    /// The zip to write
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// The handler's version, of four numbers [default: this program's]
    #[arg(long, value_name = "A.B.C.D")]
    pub(super) version: Option<String>,
    /// The publisher to register it under
    #[arg(long, value_name = "NAME", default_value = "Ofedctl.Hpc")]
    pub(super) publisher: String,
    /// The type to register it under
    #[arg(long = "type", value_name = "NAME", default_value = "InfiniBandDriverLinux")]
    pub(super) kind: String,
    /// Also put in a file made by `ofedctl cache export`, for VMs without a
    /// network
    #[arg(long, value_name = "FILE")]
    pub(super) bundle: Option<PathBuf>,
    /// A static ofedctl for another architecture, beside this program; or in
    /// its place, for the same one
    #[arg(long, value_name = "FILE")]
    pub(super) program: Vec<PathBuf>,
}

pub(super) fn extension(call: &Call, args: &ExtensionArgs) -> Result<Answer> {
    let (verb, handler) = match &args.verb {
        ExtensionVerb::Package(args) => return package(call, args),
        ExtensionVerb::Install(handler) => (Verb::Install, handler),
        ExtensionVerb::Enable(handler) => (Verb::Enable, handler),
        ExtensionVerb::Disable(handler) => (Verb::Disable, handler),
        ExtensionVerb::Update(handler) => (Verb::Update, handler),
        ExtensionVerb::Uninstall(handler) => (Verb::Uninstall, handler),
        ExtensionVerb::Reset(handler) => (Verb::Reset, handler),
        ExtensionVerb::Worker { seq, handler } => (Verb::Work(*seq), handler),
    };
    extension::run(verb, handler.handler_dir.as_deref(), call.cancel).map(outcome_alone)
}

fn package(call: &Call, args: &PackageArgs) -> Result<Answer> {
    let own_version = concat!(env!("CARGO_PKG_VERSION"), ".0");
    let version = args.version.as_deref().unwrap_or(own_version);
    let identity = Identity::new(&args.publisher, &args.kind, version)?;
    let parts = Parts {
        identity: &identity,
        own_program: &process::program()?,
        programs: &args.program,
        bundle: args.bundle.as_deref(),
    };
    let made = make(&args.out, &parts)?;
    let host = call.host(Path::new("/"))?;
    for program in &made.not_static {
        host.events.warn(format!("`{program}` is not static: it runs only where its libraries are"));
    }
    let architectures = made.architectures.join(", ");
    let (out, bytes) = (args.out.display(), size(made.bytes));
    let outcome = Outcome::new(Reason::Packaged, format!("{identity} for {architectures}: `{out}`, {bytes}"));
    let mut json = outcome_json(&outcome);
    json["package"] = json!({
        "file": args.out,
        "bytes": made.bytes,
        "sha256": made.sha256,
        "architectures": made.architectures,
    });
    let text = format!("{}\nsha256 {}\n", verdict(&outcome), made.sha256);
    Ok(Answer { outcome, text, json })
}
