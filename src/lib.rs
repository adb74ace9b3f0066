//! ofedctl makes InfiniBand work on Azure HPC VMs.

pub mod cache;
pub mod catalog;
pub mod configure;
pub mod edit;
pub mod events;
pub mod facts;
pub mod host;
pub mod outcome;
pub mod packages;
pub mod plan_document;
pub mod receipt;
pub mod report;
pub mod settings;
pub mod status;
pub mod target;
pub mod verify;
