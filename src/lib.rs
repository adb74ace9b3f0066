//! ofedctl makes InfiniBand work on Azure HPC VMs.
//!
//! A file imports only from floors below its own:
//!
//! ```text
//! 11  main                                                 parse, run, exit
//! 10  cli                                                  the command line, which also leads to the doors
//! 9  doors                                                 entry points for Packer, cloud-init and the VM agent
//! 8  evidence pipeline                                     what a run left, for readers; the order of the steps
//! 7  detect plan stage install configure verify report     the steps; none imports another
//! 6  drivers                                               knowledge about single drivers
//! 5  ledger                                                what this program did to a root, and its undo
//! 4  plan_document                                         what is to be done to a root
//! 3  edits module_signing                                  edits: how each is made and undone; signatures of modules
//! 2  cache catalog config facts packages status            knowledge and input of the steps
//! 1  host                                                  files, programs, network, locks, signals
//! 0  amounts outcome events remedies settings target texts trust  plain data
//! ```

pub mod amounts;
pub mod cache;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod configure;
pub mod detect;
pub mod doors;
pub mod drivers;
pub mod edits;
pub mod events;
pub mod evidence;
pub mod facts;
pub mod host;
pub mod install;
pub mod ledger;
pub mod module_signing;
pub mod outcome;
pub mod packages;
pub mod pipeline;
pub mod plan;
pub mod plan_document;
pub mod remedies;
pub mod report;
pub mod settings;
pub mod stage;
pub mod status;
pub mod target;
mod texts;
pub mod trust;
pub mod verify;

// The rules of the house read files alone. Here they need nothing that is not built for the unit tests anyhow.
#[cfg(test)]
#[path = "../tests/tidy.rs"]
mod tidy;
