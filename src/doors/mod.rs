//! The doors other programs come through: each builds the one [`crate::settings::Settings`], hands in a sink for
//! events, and says the outcome in its host's language. A door takes no decision of its own: what differs between
//! doors is data in the pipeline's [`crate::pipeline::Job`].

pub mod cloud_init;
pub mod extension;
pub mod packer;
