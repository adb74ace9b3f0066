//! Entry points for other programs, called doors: Packer, cloud-init and the Azure VM agent. Each builds a
//! [`crate::settings::Settings`] value, passes in a sink for events, and reports the outcome in its host's format. A
//! door decides nothing by itself: all differences between doors are data in the pipeline's [`crate::pipeline::Job`].

pub mod cloud_init;
pub mod extension;
pub mod packer;
