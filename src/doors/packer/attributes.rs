//! The attributes of `provisioner "ofed"`: every setting that means something while an image is built, and a few of
//! this door's own.
//!
//! Packer checks names and types of HCL2 templates by [`spec`]; values, and all of JSON templates, are for `wanted`.

use super::protocol::{Attribute, Type};
use crate::settings::{SCHEMA, keys};
use serde_json::Value;

/// Settings of a VM that runs: baking never waits for hardware, nor misses it, and never reboots.
pub(super) const NOT_HERE: [&str; 3] = ["wait_for_device", "required", "reboot"];
/// This door's own attributes, with what the documents say of them.
const OWN: [(&str, Type, &str); 9] = [
    (
        "vm_sizes",
        Type::Texts,
        "All VM sizes the image is for. One driver must serve them all, or the build is refused and says why. Takes \
         the place of `vm_size`.",
    ),
    (
        "kernel",
        Type::Text,
        "The kernel that must have working modules, as `uname -r` prints it. Defaults to the newest one installed in \
         the guest, which is the one the image will boot; `kernels` takes several.",
    ),
    (
        "stage",
        Type::Bool,
        "Fill the cache on the build host first, when it holds nothing for this guest: with the guest's package \
         sources and keys, against what the guest has installed. Defaults to `false`.",
    ),
    (
        "generalize",
        Type::Bool,
        "Make the guest safe to clone at the end: no log and no status of the build stay in it, the receipt does. \
         Defaults to `false`.",
    ),
    (
        "ofedctl_binary",
        Type::Text,
        "The program to send into the guest: a static build of this version for the guest's architecture. Defaults \
         to the plugin's own file.",
    ),
    (
        "execute_command",
        Type::Text,
        "How to become root in the guest. `{{ .Command }}` and `{{ .Path }}` stand for a script, as one word of shell, \
         and `{{ .Vars }}` for nothing, so that what is written for the shell provisioner works here. Defaults to \
         `sudo -n sh {{ .Path }}` for users other than root.",
    ),
    (
        "remote_folder",
        Type::Text,
        "Where the files of the build lie in the guest until its end. Programs must be allowed to run there. Defaults \
         to `/var/tmp`.",
    ),
    (
        "reconnect_timeout",
        Type::Text,
        "How long the guest may be away before the build fails, and how long a guest goes on when the build is gone, \
         before it stops the bake and cleans up by itself. Defaults to `5m`.",
    ),
    (
        "output_directory",
        Type::Text,
        "A folder of the build host for the guest's `status.json`, `receipt.json` and log, `ib-vmext-status`, however \
         the bake ends, with a page about it, `report.html`, and the bill of materials, `sbom.json` (CycloneDX).",
    ),
];
/// Settings that say something else here than elsewhere.
const SAID_HERE: [(&str, &str); 3] = [
    (
        "cache",
        "The cache on the build host: a folder, a file made by `ofedctl cache export`, `https://…` of such a file, or `oci://HOST/NAME:TAG`.",
    ),
    (
        "offline",
        "Give package managers in the guest no network interface. Defaults to `true` here, because all that is needed \
         was uploaded.",
    ),
    ("kernels", "The kernels that must have working modules, as `uname -r` prints them. See `kernel`."),
];
/// All attributes, for Packer.
pub(super) fn spec() -> Vec<Attribute> {
    let schema: Value = serde_json::from_str(&SCHEMA).unwrap_or_default();
    let settings = keys().into_iter().filter(|key| !NOT_HERE.contains(&key.as_str()));
    let settings = settings.map(|key| (kind(&schema["properties"][&key]), key));
    let own = OWN.iter().map(|(name, kind, _)| (*kind, (*name).to_owned()));
    settings.chain(own).map(|(kind, name)| Attribute { name, kind, required: false }).collect()
}

/// Whether an attribute is this door's own.
pub(super) fn is_own(name: &str) -> bool {
    OWN.iter().any(|(own, ..)| *own == name)
}

/// All attributes as the documents list them: Markdown, in the form of Packer's own plugins.
pub fn markdown_list() -> String {
    let schema: Value = serde_json::from_str(&SCHEMA).unwrap_or_default();
    let line = |Attribute { name, kind, .. }: &Attribute| {
        let own = OWN.iter().find(|(own, ..)| own == name).map(|(.., says)| (*says).to_owned());
        let here = SAID_HERE.iter().find(|(here, _)| here == name).map(|(_, says)| (*says).to_owned());
        let says = own.or(here).unwrap_or_else(|| described(&schema["properties"][name]));
        let kind = match kind {
            Type::Text => "string",
            Type::Bool => "bool",
            Type::Number => "number",
            Type::Texts => "list(string)",
        };
        format!("- `{name}` ({kind}) - {}\n", says.replace('\n', " "))
    };
    spec().iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What a setting's schema says of it.
fn described(property: &Value) -> String {
    let says = property["description"].as_str().unwrap_or_default();
    match &property["default"] {
        Value::Null => says.to_owned(),
        Value::Array(values) if values.is_empty() => says.to_owned(),
        Value::String(word) => format!("{says} Defaults to `{word}`."),
        value => format!("{says} Defaults to `{value}`."),
    }
}

/// The type of a setting by its schema; choices are words.
fn kind(property: &Value) -> Type {
    let names = match &property["type"] {
        Value::Array(names) => names.first().cloned().unwrap_or_default(),
        name => name.clone(),
    };
    match names.as_str() {
        Some("boolean") => Type::Bool,
        Some("integer" | "number") => Type::Number,
        Some("array") => Type::Texts,
        _ => Type::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_means_something_is_an_attribute_of_its_type() {
        let spec = spec();
        let kind = |name: &str| spec.iter().find(|attribute| attribute.name == name).map(|it| it.kind);
        for (name, wanted) in [
            ("driver", Type::Text),
            ("nic", Type::Text),
            ("cache", Type::Text),
            ("offline", Type::Bool),
            ("deadline", Type::Number),
            ("kernels", Type::Texts),
            ("vm_sizes", Type::Texts),
            ("stage", Type::Bool),
        ] {
            assert_eq!(kind(name), Some(wanted), "{name}");
        }
        assert_eq!(kind("wait_for_device"), None);
        let mut names: Vec<_> = spec.iter().map(|attribute| &attribute.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), spec.len());
    }
}
