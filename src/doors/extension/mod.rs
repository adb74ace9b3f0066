//! The entry point for the Azure VM agent: an extension handler that the agent runs in place of
//! `Microsoft.HpcCompute.InfiniBandDriverLinux`.
//!
//! The agent unpacks a package, starts the five commands of its manifest, and reads status files. Its expectations are
//! described in its code (`WALinuxAgent`, azurelinuxagent/ga/exthandlers.py) and in Azure/azure-linux-extensions,
//! docs/.

mod commands;
mod environment;
mod manifest;
mod package;
mod secrets;
mod settings;
mod status_guard;
mod telemetry;
mod update;
mod worker;

pub use commands::{Verb, run};
pub use manifest::Identity;
pub use package::{Made, Parts, make};

/// Reads what an agent handed over in a folder, for the fuzz targets.
#[cfg(any(debug_assertions, feature = "fuzzing"))]
pub fn read_handed_over(host: &crate::host::Host, folder: &std::path::Path) -> anyhow::Result<()> {
    let handler = environment::Handler::find(host, Some(folder));
    let _ = (handler.status_file(), settings::are_given(host, &handler));
    settings::read(host, &handler).map(drop)
}
