//! The files that a first boot needs in an image.

use super::module_list::{DROP_INS, KEY};
use super::run::REBOOT_REQUIRED;
use crate::facts::kernel_updates;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use serde_json::json;
use serde_yaml::Value;
use std::fmt::Write;

/// The cloud-init module.
pub(super) const ADAPTER: &str = include_str!("../../../cloud-init/cc_ofedctl.py");
pub(super) const ADAPTER_NAME: &str = "cc_ofedctl.py";
/// Read after all others by its name.
pub(super) const DROP_IN_NAME: &str = "zz-ofedctl.cfg";
/// Run by `cloud-init clean`.
pub(super) const CLEAN: (&str, &str) =
    ("/etc/cloud/clean.d/50-ofedctl", include_str!("../../../cloud-init/image/clean.sh"));
/// The systemd unit that runs where cloud-init is disabled.
pub(super) const UNIT: (&str, &str) =
    ("/etc/systemd/system/ofedctl.service", include_str!("../../../cloud-init/image/ofedctl.service"));
/// The link that `systemctl enable` would make for the unit.
pub(super) const UNIT_LINK: (&str, &str) = (kernel_updates::BOOT_UNIT, "../ofedctl.service");
/// Where this program belongs, and where the module and the unit look for it.
pub(super) const PROGRAM: &str = "/usr/local/bin/ofedctl";
/// The image's own settings, in [`crate::settings::IMAGE_DIR`].
pub(super) const IMAGE_FILE: &str = "/usr/lib/ofedctl/config.d/50-image.yaml";
pub(super) const UNITS: &str = "/etc/systemd/system";
const MADE_BY: &str = "# Made by `ofedctl cloud-init setup`";

/// Path of the file with the list of modules.
pub(super) fn drop_in_path() -> String {
    format!("{DROP_INS}/{DROP_IN_NAME}")
}

/// The file with the list of modules and, where wanted, the reboot.
pub(super) fn drop_in(modules: &[Value], reboot: bool) -> Result<String> {
    let mut text = format!(
        "{MADE_BY}; run that again after cloud-init was upgraded or its lists were changed.\n\
         # The list of the other files, and ofedctl: of lists, the last one counts.\n"
    );
    let mut put = |value: serde_json::Value| -> Result<()> {
        text.push_str(&serde_yaml::to_string(&value).context("cannot write cloud-init's configuration")?);
        Ok(())
    };
    put(json!({KEY: modules}))?;
    if reboot {
        put(json!({"power_state": {
            "mode": "reboot",
            "delay": "now",
            "timeout": 30,
            "message": "ofedctl: the InfiniBand modules are loaded at the next boot",
            "condition": format!("grep -qsx power-state {REBOOT_REQUIRED}"),
        }}))?;
    }
    Ok(text)
}

/// Path and text of the file that lets a unit start only after the run.
pub(super) fn ordering(unit: &str, after: &str) -> (String, String) {
    let text = format!("{MADE_BY}: InfiniBand comes first.\n[Unit]\nAfter={after}\n");
    (format!("{UNITS}/{unit}.d/ofedctl.conf"), text)
}

/// A unit's full name; `slurmd` is `slurmd.service`.
pub(super) fn unit_name(name: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@:_.-\\".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(Reason::Usage.error(format!("`{name}` is no name of a systemd unit")));
    }
    let has_kind = [".service", ".target", ".socket"].iter().any(|kind| name.ends_with(kind));
    Ok(if has_kind { name.to_owned() } else { format!("{name}.service") })
}

/// Whether a file was made here and not by somebody else.
pub(super) fn is_made_here(text: &str) -> bool {
    text.starts_with(MADE_BY)
}

/// The settings file with these keys set: where there is one, its other lines stay as they are.
pub(super) fn settings(now: Option<&str>, keys: &serde_yaml::Mapping) -> Result<String> {
    let mut lines: Vec<String> = match now {
        Some(now) => now.lines().map(str::to_owned).collect(),
        None => vec![format!("{MADE_BY}; `ofedctl explain settings` lists all keys.")],
    };
    for (key, value) in keys {
        let key = key.as_str().unwrap_or_default();
        let value = serde_json::to_string(value).context("cannot write a setting")?;
        let line = format!("{key}: {value}");
        match lines.iter_mut().find(|line| line.split(':').next() == Some(key)) {
            Some(there) => *there = line,
            None => lines.push(line),
        }
    }
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_lines_of_a_settings_file_stay() {
        let keys: serde_yaml::Mapping = serde_yaml::from_str("{offline: true, cache: /srv/c}").unwrap();
        let mine = "# mine\nipoib: false # no\noffline: false\n";
        let wanted = "# mine\nipoib: false # no\noffline: true\ncache: \"/srv/c\"\n";
        assert_eq!(settings(Some(mine), &keys).unwrap(), wanted);
        assert_eq!(settings(Some(wanted), &keys).unwrap(), wanted);
        assert!(is_made_here(&settings(None, &keys).unwrap()));
    }

    #[test]
    fn what_runs_at_boot_is_found_where_it_is_laid() {
        assert_eq!(drop_in_path(), kernel_updates::BOOT_MODULE);
    }

    #[test]
    fn a_unit_is_named_as_systemd_names_it() {
        assert_eq!(unit_name("slurmd").unwrap(), "slurmd.service");
        assert_eq!(unit_name("pbs.socket").unwrap(), "pbs.socket");
        for bad in ["", "../x", "a/b", ".d", "a b"] {
            assert!(unit_name(bad).is_err(), "{bad}");
        }
    }
}
