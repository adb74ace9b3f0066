//! `ofedctl packer`: making this program a plugin of Packer. What Packer itself calls never comes here.

use super::answer::Answer;
use crate::doors::packer::{self, Installed, SOURCE};
use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `packer`.
#[derive(Debug, Args)]
pub(super) struct PackerArgs {
    /// What to do
    #[command(subcommand)]
    pub(super) verb: PackerVerb,
}

/// What can be done about Packer.
#[derive(Debug, Subcommand)]
pub(super) enum PackerVerb {
    /// Install this program where Packer looks for plugins
    Setup {
        /// The folder of plugins [default: `PACKER_PLUGIN_PATH`, or the one in
        /// Packer's own settings]
        #[arg(long, value_name = "DIR")]
        plugin_path: Option<PathBuf>,
    },
}

pub(super) fn packer(args: &PackerArgs) -> Result<Answer> {
    let PackerVerb::Setup { plugin_path } = &args.verb;
    let Installed { folder, plugin, old } = packer::setup(plugin_path.as_deref())?;
    let text = format!(
        "{}\n    for Packer from 1.11 on; `required_plugins` names it {SOURCE}\n\
         {}\n    for Packer before 1.7, with PACKER_PLUGIN_PATH={}\n",
        plugin.display(),
        old.display(),
        folder.display()
    );
    let json = json!({
        "schema_version": 1,
        "folder": folder,
        "plugin": plugin,
        "old": old,
        "source": SOURCE,
        "version": env!("CARGO_PKG_VERSION"),
    });
    Ok(Answer::listed(text, json))
}
