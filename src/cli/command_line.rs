//! The command line: every command with what it takes, as clap reads it.

use super::args::{
    BakeArgs, DetectArgs, GeneralizeArgs, PlanArgs, RunArgs, SettingsArgs, StageArgs, StatusArgs,
    SupportBundleArgs, UninstallArgs, VerifyArgs,
};
use super::cache::CacheArgs;
use super::catalog::CatalogArgs;
use super::cloud_init::CloudInitArgs;
use super::extension::ExtensionArgs;
use super::packer::PackerArgs;
use super::report::ReportArgs;
use clap::{Parser, Subcommand};

/// Makes InfiniBand work on Azure HPC VMs: picks, installs and proves the right driver, offline.
#[derive(Debug, Parser)]
#[command(name = "ofedctl", version, max_term_width = 80, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 usage, 10 no VMBus, 11 no device, 12 no driver for\nthis image, 13 size without InfiniBand, 14 failed; see `ofedctl explain`."
)]
pub(super) struct Cli {
    /// Print the result as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Say only what went wrong
    #[arg(long, short, global = true)]
    pub(super) quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub(super) command: Command,
}

impl Command {
    /// Whether what it prints is a document for other programs, whose lines stay as they are.
    pub(super) fn prints_document(&self) -> bool {
        match self {
            Self::Completions { .. } | Self::Man { .. } => true,
            Self::Explain { what, name } => what.as_deref() == Some("schema") && name.is_some(),
            Self::Catalog(args) => args.prints_document(),
            _ => false,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what this machine, or an image's root, is
    Detect(DetectArgs),
    /// Show what would be installed and why; touches nothing
    Plan(PlanArgs),
    /// Fill the cache for a target, from the network
    Stage(StageArgs),
    /// Install the driver into an image's root, from the cache
    Bake(BakeArgs),
    /// Install the driver on this VM; quick when nothing is to be done
    Install(RunArgs),
    /// Check that a root, or this VM, is as its receipt says
    Verify(VerifyArgs),
    /// Show how the last run ended, where its log is, and what is due
    Status(StatusArgs),
    /// Write what was done as one page, a bill of materials, or a provenance
    Report(ReportArgs),
    /// Put what a helper needs to see into one file; nothing secret
    SupportBundle(SupportBundleArgs),
    /// Remove what was installed, and undo its edits
    Uninstall(UninstallArgs),
    /// Make a root safe to clone, before its image is captured
    Generalize(GeneralizeArgs),
    /// List, check, copy or clean a cache
    Cache(CacheArgs),
    /// First boot through cloud-init
    CloudInit(CloudInitArgs),
    /// Show, check or import catalogues of drivers
    Catalog(CatalogArgs),
    /// Let Packer find this program as its provisioner `ofed`
    Packer(PackerArgs),
    /// Serve as an Azure VM extension, and make its package
    Extension(ExtensionArgs),
    /// Show each setting, its value, and which file or default it comes from
    Settings(SettingsArgs),
    /// Explain an exit code, a reason, a cause, a setting, or a document
    Explain {
        /// An exit code, a reason such as `cache-missing`, a cause such as `bundle-unknown`, a setting, `settings`,
        /// `plan`, or `schema`
        what: Option<String>,
        /// After `schema`: the document whose JSON Schema to print, such as `receipt`
        name: Option<String>,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of the program, or of a command
    Man {
        /// The command, such as `cache list`
        command: Vec<String>,
    },
}
