//! The values of a template, decoded and checked before anything is built.

use super::attributes::{NOT_HERE, is_own, spec};
use super::decode::weakly;
use super::elf;
use super::execute_command::ExecuteCommand;
use crate::cache::remote::unknown_place;
use crate::facts::vm_size;
use crate::outcome::shown;
use crate::settings::Layer;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What Packer passes for a value it will know only when the build runs.
const UNKNOWN: &str = "<unknown>";
/// What Packer's shell provisioner allows a guest to be away.
const RECONNECT: Duration = Duration::from_secs(5 * 60);
/// Settings with which no run comes to its end when they are 0. No lock is waited for when `lock_timeout` is.
const NOT_ZERO: [&str; 2] = ["deadline", "stall_timeout"];

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
    /// How to become root there.
    pub(super) execute_command: Option<ExecuteCommand>,
    /// Where a folder for the files of the run is made in the guest.
    pub(super) remote_folder: String,
    /// How long the guest may be unreachable, and how long its bake goes on while the build is unreachable.
    pub(super) reconnect_timeout: Duration,
    /// Where status, receipt and log go on the build host.
    pub(super) output_directory: Option<PathBuf>,
}

/// Checks what a template says. The error lists all that is wrong, as Packer does.
pub(super) fn read(given: Map<String, Value>) -> Result<Wanted, String> {
    let mut wrong = Vec::new();
    let mut own = Map::new();
    let mut settings = Map::new();
    let mut layer = Layer::default();
    let kinds: BTreeMap<String, _> = spec().into_iter().map(|it| (it.name, it.kind)).collect();
    for (key, value) in given {
        if value.is_null() || holds_unknown(&value) {
            continue;
        }
        if key != "execute_command" && is_uninterpolated(&value) {
            wrong.push(format!("`{key}`: templates in JSON are not interpolated here; write it in HCL2"));
            continue;
        }
        if NOT_HERE.contains(&key.as_str()) {
            wrong.push(format!("`{key}` means nothing while an image is built"));
            continue;
        }
        let value = match kinds.get(&key).map(|kind| weakly(*kind, value.clone())) {
            Some(Ok(decoded)) => decoded,
            Some(Err(what)) => {
                wrong.push(format!("`{key}` {what}"));
                continue;
            }
            // The settings layer suggests the key that was meant.
            None => value,
        };
        if is_own(&key) {
            own.insert(key, value);
        } else {
            let yaml = serde_yaml::to_value(&value).unwrap_or_default();
            match layer.set(&key, yaml) {
                Ok(()) => drop(settings.insert(key, value)),
                Err(what) => wrong.push(what),
            }
        }
    }
    judge(&settings, &mut wrong);
    let wanted = Own { values: &own, wrong: &mut wrong }.over(settings);
    if wrong.is_empty() { Ok(wanted) } else { Err(listed(&wrong)) }
}

/// What is wrong with settings that have their type.
fn judge(settings: &Map<String, Value>, wrong: &mut Vec<String>) {
    if let Some(size) = settings.get("vm_size").and_then(Value::as_str)
        && !size.trim().is_empty()
        && !settings.contains_key("nic")
        && let Some(what) = vm_size::unknown(size)
    {
        wrong.push(format!("`vm_size`: {what}"));
    }
    if let Some(what) = settings.get("cache").and_then(Value::as_str).and_then(unknown_place) {
        wrong.push(format!("`cache`: {what}"));
    }
    for key in NOT_ZERO {
        if settings.get(key).and_then(Value::as_u64) == Some(0) {
            wrong.push(format!("`{key}` is 0, and nothing ends in no time"));
        }
    }
}

/// This door's own values, and what is wrong with them.
struct Own<'o> {
    values: &'o Map<String, Value>,
    wrong: &'o mut Vec<String>,
}

impl Own<'_> {
    fn over(mut self, mut settings: Map<String, Value>) -> Wanted {
        let vm_sizes = texts(self.values.get("vm_sizes"));
        if !vm_sizes.is_empty() && (settings.contains_key("vm_size") || settings.contains_key("nic")) {
            self.wrong.push("`vm_sizes` goes without `vm_size` and `nic`".to_owned());
        }
        self.wrong.extend(
            vm_sizes
                .iter()
                .filter_map(|size| vm_size::unknown(size))
                .map(|what| format!("`vm_sizes`: {what}")),
        );
        if let Some(kernel) = self.text("kernel") {
            if settings.contains_key("kernels") {
                self.wrong.push("give `kernel` or `kernels`, not both".to_owned());
            }
            settings.insert("kernels".to_owned(), Value::Array(vec![Value::String(kernel)]));
        }
        Wanted {
            settings,
            vm_sizes,
            stage: self.values.get("stage") == Some(&Value::Bool(true)),
            generalize: self.values.get("generalize") == Some(&Value::Bool(true)),
            binary: self.checked("ofedctl_binary", program),
            execute_command: self.checked("execute_command", ExecuteCommand::parse),
            remote_folder: self
                .checked("remote_folder", remote_folder)
                .unwrap_or_else(|| "/var/tmp".to_owned()),
            reconnect_timeout: self.checked("reconnect_timeout", duration).unwrap_or(RECONNECT),
            output_directory: self.checked("output_directory", folder),
        }
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let text = self.values.get(name)?.as_str()?;
        if text.is_empty() {
            self.wrong.push(format!("`{name}` is empty"));
            return None;
        }
        Some(text.to_owned())
    }

    fn checked<T>(&mut self, name: &str, check: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name)?;
        check(&text).map_err(|what| self.wrong.push(format!("`{name}` {what}"))).ok()
    }
}

fn program(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    if !path.is_file() {
        return Err(format!("is no file: `{}`", path.display()));
    }
    let mut file = File::open(&path).map_err(|error| format!("cannot be read: {error}"))?;
    match elf::architecture(&mut file) {
        Ok(Some(_)) => Ok(path),
        _ => Err(format!("is no program for Linux on x86_64 or aarch64: `{}`", path.display())),
    }
}

/// Communicators of builders that work in a chroot put a path between words of shell as it is.
fn remote_folder(path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err(format!("is not an absolute path: `{path}`"));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:=".contains(c);
    if !path.chars().all(is_plain) {
        return Err(format!("may have only letters, digits and `/._-+@:=` in it: `{path}`"));
    }
    Ok(path.trim_end_matches('/').to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let how = "write it as `5m` or `90s`";
    let duration = humantime::parse_duration(text).map_err(|error| format!("is `{text}`: {error}; {how}"))?;
    if duration.is_zero() { Err(format!("is no time at all; {how}")) } else { Ok(duration) }
}

fn folder(path: &str) -> Result<PathBuf, String> {
    let path = Path::new(path);
    let there = path.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok());
    match there.filter(|there| !there.is_dir()) {
        Some(other) => Err(format!("cannot be made, as `{}` is no folder", other.display())),
        None => Ok(path.to_owned()),
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

/// Several errors as Packer's own provisioners say them, each in one line whatever value it names.
fn listed(wrong: &[String]) -> String {
    let lines: Vec<String> = wrong.iter().map(|what| shown::line(what)).collect();
    format!("{} error(s) occurred:\n\n* {}", wrong.len(), lines.join("\n* "))
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
    fn a_template_without_attributes_is_all_defaults() {
        let wanted = given(json!({"cache": null, "generalize": null})).unwrap();
        assert!(wanted.settings.is_empty() && !wanted.generalize && wanted.binary.is_none());
        assert_eq!((wanted.remote_folder.as_str(), wanted.reconnect_timeout), ("/var/tmp", RECONNECT));
    }

    #[test]
    fn all_that_is_wrong_is_listed_at_once() {
        let error = given(json!({
            "nic": "cx4", "driver": "{{user `driver`}}", "drivr": "inbox", "kernel": "6.1", "kernels": ["5.4"],
            "vm_size": "Standard_HB120rs_v3", "vm_sizes": ["Standard_HC44rs"], "ofedctl_binary": "/no/such", "execute_command": "sudo sh",
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
            "`ofedctl_binary` is no file: `/no/such`",
            "`execute_command` has neither `{{ .Command }}`",
            "`remote_folder` is not an absolute path: `tmp`",
            "`reconnect_timeout` is `soon`: ",
            "`reboot` means nothing",
            "`output_directory` is empty",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn a_value_forges_no_line_and_its_secrets_are_not_said() {
        let error = given(json!({
            "vm_size": "Standard_\n* all is well\u{1b}[2J", "cache": "ftp://me:secret@mirror/cache?sig=secret"
        }))
        .unwrap_err();
        assert_eq!(error.lines().filter(|line| line.starts_with("* ")).count(), 2, "{error}");
        assert!(!error.contains('\u{1b}') && !error.contains("secret"), "{error}");
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
    fn what_no_build_could_end_well_with_is_found_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        std::fs::write(&text, "#!/bin/sh\necho it is a script\n").unwrap();
        let error = given(json!({
            "vm_sizes": "Standard_HB120rs_v3,Standard_HB120sr_v3", "cache": "ftp://mirror/cache", "ofedctl_binary": text,
            "deadline": "0", "stall_timeout": 0, "reconnect_timeout": "0s", "output_directory": text.join("records"),
            "remote_folder": "/a b", "stage": ["x"], "generalize": "yes", "lock_timeout": "10m"
        }))
        .unwrap_err();
        assert!(error.starts_with("11 error(s) occurred:"), "{error}");
        for part in [
            "`vm_sizes`: no VM size is known by the name `Standard_HB120sr_v3`; did you mean Standard_HB120rs_v3",
            "`cache`: `ftp://mirror/cache` is ",
            "`ofedctl_binary` is no program for Linux",
            "`deadline` is 0",
            "`stall_timeout` is 0",
            "`reconnect_timeout` is no time at all",
            "text` is no folder",
            "`remote_folder` may have only",
            "`stage` takes true or false, and this is a list",
            "`generalize` takes true or false, and this is \"yes\"",
            "`lock_timeout` takes a number, and this is \"10m\"",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        // Where the template names the adapter, the VM size is not needed.
        assert!(given(json!({"vm_size": "Standard_HB999rs_v9", "nic": "cx7"})).is_ok());
    }

    #[test]
    fn values_of_a_json_template_are_decoded_weakly() {
        let wanted = given(json!({
            "vm_sizes": "Standard_NC24rs_v3", "stage": "1", "generalize": "True", "offline": "0", "deadline": "600",
            "driver_version": 5.8, "kernels": "6.1.0-31-amd64"
        }))
        .unwrap();
        assert_eq!(
            (wanted.vm_sizes.as_slice(), wanted.stage),
            (&["Standard_NC24rs_v3".to_owned()][..], true)
        );
        assert!(wanted.generalize);
        let settings = json!({
            "offline": false, "deadline": 600, "driver_version": "5.8", "kernels": ["6.1.0-31-amd64"]
        });
        assert_eq!(Value::Object(wanted.settings), settings);
    }
}
