//! The attributes of `provisioner "ofed"`: every setting that means something while an image is built, and a few of
//! this door's own.
//!
//! Packer checks names and types of HCL2 templates by [`spec`]; values, and all of JSON templates, are checked here.

use super::protocol::{Attribute, Type};
use crate::settings::{Layer, SCHEMA, keys};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a VM that runs: baking never waits for hardware, nor misses it, and never reboots.
const NOT_HERE: [&str; 3] = ["wait_for_device", "required", "reboot"];
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
        "How to become root in the guest; `{{ .Command }}` stands for the command, one quoted word of shell. Defaults \
         to `sh -c {{ .Command }}` for root and `sudo -n sh -c {{ .Command }}` for others.",
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
         the bake ends.",
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
/// What stands for the command in `execute_command`, written as Packer's own provisioners write it.
const COMMAND: [&str; 2] = ["{{ .Command }}", "{{.Command}}"];
/// What Packer passes for a value it will know only when the build runs.
const UNKNOWN: &str = "<unknown>";
/// What Packer's shell provisioner allows a guest to be away.
const RECONNECT: Duration = Duration::from_secs(5 * 60);

/// What a template asks for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The settings, as they are laid over those of the build host and of the guest.
    pub(super) settings: Map<String, Value>,
    /// The VM sizes the image is for; none when the settings say it, or nothing does.
    pub(super) vm_sizes: Vec<String>,
    /// Fill the cache first when it has nothing for the guest.
    pub(super) stage: bool,
    /// Make the guest safe to clone at the end.
    pub(super) generalize: bool,
    /// The program for the guest; this one when not set.
    pub(super) binary: Option<PathBuf>,
    /// How to become root there, with [`COMMAND`] in it.
    pub(super) execute_command: Option<String>,
    /// Where a folder for the files of the run is made in the guest.
    pub(super) remote_folder: String,
    /// How long the guest may be away, and how long it goes on when the build is.
    pub(super) reconnect_timeout: Duration,
    /// Where status, receipt and log go on the build host.
    pub(super) output_directory: Option<PathBuf>,
}

/// All attributes, for Packer.
pub(super) fn spec() -> Vec<Attribute> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap_or_default();
    let settings = keys().into_iter().filter(|key| !NOT_HERE.contains(&key.as_str()));
    let settings = settings.map(|key| (kind(&schema["properties"][&key]), key));
    let own = OWN.iter().map(|(name, kind, _)| (*kind, (*name).to_owned()));
    settings.chain(own).map(|(kind, name)| Attribute { name, kind, required: false }).collect()
}

/// All attributes as the documents list them: Markdown, in the form of Packer's own plugins.
pub fn markdown_list() -> String {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap_or_default();
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

/// Checks what a template says. The error lists all that is wrong, as Packer does.
pub(super) fn read(given: Map<String, Value>) -> Result<Wanted, String> {
    let mut wrong = Vec::new();
    let mut own = Map::new();
    let mut settings = Map::new();
    let mut layer = Layer::default();
    for (key, value) in given {
        if value.is_null() || holds_unknown(&value) {
            continue;
        }
        if key != "execute_command" && is_uninterpolated(&value) {
            wrong.push(format!("`{key}`: templates in JSON are not interpolated here; write it in HCL2"));
        } else if OWN.iter().any(|(name, ..)| *name == key) {
            own.insert(key, value);
        } else if NOT_HERE.contains(&key.as_str()) {
            wrong.push(format!("`{key}` means nothing while an image is built"));
        } else {
            let yaml = serde_yaml::to_value(&value).unwrap_or_default();
            match layer.set(&key, yaml) {
                Ok(()) => drop(settings.insert(key, value)),
                Err(what) => wrong.push(what),
            }
        }
    }
    let wanted = with_own(&own, settings, &mut wrong);
    if wrong.is_empty() { Ok(wanted) } else { Err(listed(&wrong)) }
}

fn with_own(own: &Map<String, Value>, mut settings: Map<String, Value>, wrong: &mut Vec<String>) -> Wanted {
    let text = |name: &str, wrong: &mut Vec<String>| match own.get(name) {
        None => None,
        Some(Value::String(text)) if text.is_empty() => {
            wrong.push(format!("`{name}` is empty"));
            None
        }
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            wrong.push(format!("`{name}` is not a text"));
            None
        }
    };
    let switch = |name: &str| match own.get(name) {
        Some(Value::Bool(on)) => *on,
        Some(Value::String(word)) => word == "true",
        _ => false,
    };
    let vm_sizes = texts(own.get("vm_sizes"));
    if !vm_sizes.is_empty() && (settings.contains_key("vm_size") || settings.contains_key("nic")) {
        wrong.push("`vm_sizes` goes without `vm_size` and `nic`".to_owned());
    }
    if let Some(kernel) = text("kernel", wrong) {
        if settings.contains_key("kernels") {
            wrong.push("give `kernel` or `kernels`, not both".to_owned());
        }
        settings.insert("kernels".to_owned(), Value::Array(vec![Value::String(kernel)]));
    }
    let execute_command = text("execute_command", wrong);
    if execute_command.as_ref().is_some_and(|text| !COMMAND.iter().any(|command| text.contains(command))) {
        wrong.push(format!("`execute_command` has no `{}` in it", COMMAND[0]));
    }
    let binary = text("ofedctl_binary", wrong).map(PathBuf::from);
    if let Some(missing) = binary.as_ref().filter(|binary| !binary.is_file()) {
        wrong.push(format!("`ofedctl_binary`: there is no file `{}`", missing.display()));
    }
    let remote_folder = text("remote_folder", wrong).unwrap_or_else(|| "/var/tmp".to_owned());
    if !remote_folder.starts_with('/') {
        wrong.push(format!("`remote_folder`: `{remote_folder}` is not an absolute path"));
    }
    let reconnect_timeout = text("reconnect_timeout", wrong).map(|text| humantime::parse_duration(&text));
    let reconnect_timeout = reconnect_timeout.transpose().unwrap_or_else(|error| {
        wrong.push(format!("`reconnect_timeout`: {error}; write it as `5m` or `90s`"));
        None
    });
    Wanted {
        settings,
        vm_sizes,
        stage: switch("stage"),
        generalize: switch("generalize"),
        binary,
        execute_command,
        remote_folder: remote_folder.trim_end_matches('/').to_owned(),
        reconnect_timeout: reconnect_timeout.unwrap_or(RECONNECT),
        output_directory: text("output_directory", wrong).map(PathBuf::from),
    }
}

impl Wanted {
    /// The settings as a layer over those of a machine.
    pub(super) fn layer(&self) -> Result<Layer, String> {
        let mut layer = Layer::default();
        for (key, value) in &self.settings {
            layer.set(key, serde_yaml::to_value(value).map_err(|error| error.to_string())?)?;
        }
        Ok(layer)
    }

    /// The kernels the template names. Those in the build host's own settings are not the guest's.
    pub(super) fn kernels(&self) -> Vec<String> {
        texts(self.settings.get("kernels"))
    }

    /// The command that runs `quoted`, one word of shell, as root.
    pub(super) fn as_root(&self, quoted: &str) -> Option<String> {
        let template = self.execute_command.as_ref()?;
        Some(COMMAND.iter().fold(template.clone(), |text, command| text.replace(command, quoted)))
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn holds_unknown(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(UNKNOWN),
        Value::Array(values) => values.iter().any(holds_unknown),
        _ => false,
    }
}

fn is_uninterpolated(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{"),
        Value::Array(values) => values.iter().any(is_uninterpolated),
        _ => false,
    }
}

/// Several errors as Packer's own provisioners say them.
fn listed(wrong: &[String]) -> String {
    let count = wrong.len();
    format!("{count} error(s) occurred:\n\n* {}", wrong.join("\n* "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn given(value: Value) -> Result<Wanted, String> {
        let Value::Object(map) = value else { panic!("an object") };
        read(map)
    }

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

    #[test]
    fn a_template_without_attributes_is_all_defaults() {
        let wanted = given(json!({"cache": null, "generalize": null})).unwrap();
        assert!(wanted.settings.is_empty() && !wanted.generalize && wanted.binary.is_none());
        assert_eq!((wanted.remote_folder.as_str(), wanted.reconnect_timeout), ("/var/tmp", RECONNECT));
    }

    #[test]
    fn all_that_is_wrong_is_listed_at_once() {
        let error = given(json!({
            "nic": "cx4", "driver": "{{user `driver`}}", "drivr": "inbox", "kernel": "6.1", "kernels": ["5.4"],
            "vm_size": "a", "vm_sizes": ["b"], "ofedctl_binary": "/no/such", "execute_command": "sudo sh",
            "remote_folder": "tmp", "reconnect_timeout": "soon", "reboot": "never", "output_directory": ""
        }))
        .unwrap_err();
        assert!(error.starts_with("11 error(s) occurred:\n\n* "), "{error}");
        for part in [
            "key `nic`: ",
            "`driver`: templates in JSON",
            "did you mean `driver`?",
            "`kernel` or `kernels`",
            "`vm_sizes` goes without",
            "no file `/no/such`",
            "`execute_command` has no `{{ .Command }}`",
            "`tmp` is not an absolute path",
            "`reconnect_timeout`: ",
            "`reboot` means nothing",
            "`output_directory` is empty",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn values_that_packer_does_not_know_yet_are_not_judged() {
        let wanted =
            given(json!({"nic": "<unknown>", "vm_size": "x-<unknown>", "kernels": ["<unknown>"]})).unwrap();
        assert!(wanted.settings.is_empty());
    }

    #[test]
    fn one_kernel_is_a_list_of_one() {
        let wanted = given(json!({"kernel": "6.1.0-31-amd64", "offline": false})).unwrap();
        assert_eq!(wanted.settings["kernels"], json!(["6.1.0-31-amd64"]));
        assert!(wanted.layer().is_ok());
    }

    #[test]
    fn the_command_takes_the_place_of_either_spelling() {
        let wanted = given(json!({"execute_command": "echo pw | sudo -S sh -c {{.Command}}"})).unwrap();
        assert_eq!(wanted.as_root("'id -u'").unwrap(), "echo pw | sudo -S sh -c 'id -u'");
    }
}
