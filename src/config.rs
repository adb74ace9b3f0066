//! The settings files of a root, and a door's own settings over them.

use crate::host::fs::Root;
use crate::settings::{CONFIG_DIR, CONFIG_FILE, Layer, Settings};
use anyhow::Result;
use std::path::Path;

/// The settings of a root, or the defaults where there is none, with what a door was given over them.
///
/// A file that is wrong ends in [`crate::outcome::Reason::BadSettings`] with its path and line.
pub fn load(root: Option<&Root>, door: Layer) -> Result<Settings> {
    let mut layers = Vec::new();
    if let Some(root) = root {
        for path in files(root) {
            if let Some(text) = root.read_text(&path)? {
                layers.push(Layer::parse(&path, &text)?);
            }
        }
    }
    layers.push(door);
    Settings::from_layers(layers)
}

/// The files in the order they lie over each other.
fn files(root: &Root) -> impl Iterator<Item = String> {
    let is_yaml = |name: &String| Path::new(name).extension().is_some_and(|extension| extension == "yaml");
    let further = root.list(CONFIG_DIR).into_iter().filter(is_yaml);
    std::iter::once(CONFIG_FILE.to_owned()).chain(further.map(|name| format!("{CONFIG_DIR}/{name}")))
}
