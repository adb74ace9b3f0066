//! The entry point for cloud-init: the command that its module runs at boot, and the setup that puts the module into an
//! image.
//!
//! The module itself is a few lines of Python (`cloud-init/cc_ofedctl.py`) that start `ofedctl cloud-init run`. An image
//! where cloud-init is disabled gets a systemd unit that does the same.

mod cloud_config;
mod files;
mod module_list;
mod obstacles;
mod run;
mod setup;

pub use obstacles::{FirstBoot, Obstacle, Way, first_boot};
pub use run::{REBOOT_REQUIRED, run};
pub use setup::{Change, Changed, SetupOptions, remove, setup};
