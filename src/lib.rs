//! ofedctl makes InfiniBand work on Azure HPC VMs.
//!
//! A file imports only from floors below its own:
//!
//! ```text
//! 8  main                                                     parse, run, exit
//! 7  cli                                                      the shell's door, and the way to the others
//! 6  doors                                                    how each other host talks
//! 5  pipeline                                                 the one order of steps
//! 4  detect plan stage install configure verify report        the steps; none imports another
//! 3  edits                                                    how a root stands to what was planned for it
//! 2  cache catalog config facts packages receipt status       what the steps know and read
//! 1  host                                                     files, programs, network, locks, signals
//! 0  outcome events settings target edit plan_document        plain data
//! ```

pub mod cache;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod configure;
pub mod detect;
pub mod doors;
pub mod edit;
pub mod edits;
pub mod events;
pub mod facts;
pub mod host;
pub mod install;
pub mod outcome;
pub mod packages;
pub mod pipeline;
pub mod plan;
pub mod plan_document;
pub mod receipt;
pub mod report;
pub mod settings;
pub mod stage;
pub mod status;
pub mod target;
pub mod verify;
