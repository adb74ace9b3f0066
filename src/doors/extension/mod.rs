//! The VM extension's door: a handler that the Azure Linux agent runs in place of
//! `Microsoft.HpcCompute.InfiniBandDriverLinux`.
//!
//! The agent unpacks a package, starts the five commands of its manifest, and reads status files. What it expects is
//! its code's (`WALinuxAgent`, azurelinuxagent/ga/exthandlers.py) and Azure/azure-linux-extensions', docs/.

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
