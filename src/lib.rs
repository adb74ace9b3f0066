//! ofedctl makes InfiniBand work on Azure HPC VMs.

pub mod events;
pub mod host;
pub mod outcome;
pub mod settings;
pub mod target;
