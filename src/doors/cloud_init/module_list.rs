//! The list of modules of cloud-init's config stage, with ours at its end.
//!
//! cloud-init merges its files key by key, and of lists the last one counts: a file that named only our module would
//! drop all the others (canonical/cloud-init, cloudinit/util.py, `read_conf_with_confd` and `mergemanydict`). So the
//! whole list is written again from the other files.

use super::cloud_config::{self, Text};
use crate::host::Host;
use crate::host::has_extension;
use anyhow::Result;
use serde_yaml::Value;

/// The stage after the network is up and before the user's own scripts.
pub(super) const KEY: &str = "cloud_config_modules";
pub(super) const CLOUD_CFG: &str = "/etc/cloud/cloud.cfg";
pub(super) const DROP_INS: &str = "/etc/cloud/cloud.cfg.d";

/// The list as it would be without the file `ours`, and ours behind it.
pub(super) fn with_ours(host: &Host, ours: &str) -> Result<Vec<Value>> {
    let mut list = Vec::new();
    let mut own = Value::String("ofedctl".to_owned());
    for path in files(host) {
        let Some(found) = list_in(host, &path)? else { continue };
        let file = path.rsplit('/').next().unwrap_or_default();
        if file == ours {
            continue;
        }
        if path.starts_with(DROP_INS) && file > ours {
            host.events.warn(format!("`{path}` is read later and has its own `{KEY}`: add `ofedctl` to it"));
            continue;
        }
        // The image's builder may have listed this module already, with arguments.
        if let Some(entry) = found.iter().find(|entry| is_ours(entry)) {
            own = entry.clone();
        }
        list = found.into_iter().filter(|entry| !is_ours(entry)).collect();
    }
    list.push(own);
    Ok(list)
}

/// cloud-init's files in the order they lie over each other.
pub(super) fn files(host: &Host) -> impl Iterator<Item = String> {
    let is_read = |name: &String| has_extension(name, "cfg");
    let drop_ins = host.root.list(DROP_INS).into_iter().filter(is_read);
    std::iter::once(CLOUD_CFG.to_owned()).chain(drop_ins.map(|name| format!("{DROP_INS}/{name}")))
}

/// The list of one file. A file that is no YAML is passed over by cloud-init, too, with a warning; what a template makes
/// is known where cloud-init has filled it.
fn list_in(host: &Host, path: &str) -> Result<Option<Vec<Value>>> {
    match cloud_config::text(host, path)? {
        Text::Yaml(value) => Ok(value.get(KEY).and_then(Value::as_sequence).cloned()),
        Text::Other(error) => {
            host.events.warn(format!("`{path}` is passed over, for it is no YAML: {error}"));
            Ok(None)
        }
        Text::Missing | Text::Template(_) => Ok(None),
    }
}

/// Entries are `name`, `[name, frequency, argument…]` or `{name: …}`, and names may be written in several ways.
pub(super) fn is_ours(entry: &Value) -> bool {
    let name = match entry {
        Value::Sequence(parts) => parts.first(),
        Value::Mapping(parts) => parts.get("name"),
        other => Some(other),
    };
    let name = name.and_then(Value::as_str).unwrap_or_default().replace('-', "_");
    let name = name.strip_suffix(".py").unwrap_or(&name);
    name.strip_prefix("cc_").unwrap_or(name) == "ofedctl"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    const OURS: &str = "zz-ofedctl.cfg";

    fn made(files: &[(&str, &str)]) -> Vec<String> {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        for (path, text) in files {
            host.root.write_text(path, text).unwrap();
        }
        let list = with_ours(&host, OURS).unwrap();
        list.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect()
    }

    #[test]
    fn the_last_list_counts_and_ours_is_at_its_end() {
        let stock = (CLOUD_CFG, "cloud_config_modules:\n - locale\n - [runcmd, always]\n");
        assert_eq!(made(&[stock]), ["\"locale\"", "[\"runcmd\",\"always\"]", "\"ofedctl\""]);
        let other = ("/etc/cloud/cloud.cfg.d/50.cfg", "cloud_config_modules: [ntp]\n");
        let stale = ("/etc/cloud/cloud.cfg.d/zz-ofedctl.cfg", "cloud_config_modules: [gone, ofedctl]\n");
        assert_eq!(made(&[stock, other, stale]), ["\"ntp\"", "\"ofedctl\""]);
        assert_eq!(made(&[]), ["\"ofedctl\""]);
    }

    #[test]
    fn what_counts_is_what_cloud_init_reads() {
        let stock = (CLOUD_CFG, "cloud_config_modules: [locale]\n");
        let broken = ("/etc/cloud/cloud.cfg.d/60.cfg", "cloud_config_modules: [\n");
        let backup = ("/etc/cloud/cloud.cfg.d/70.cfg.bak", "cloud_config_modules: [old]\n");
        let later = ("/etc/cloud/cloud.cfg.d/zzz.cfg", "cloud_config_modules: [late]\n");
        assert_eq!(made(&[stock, broken, backup, later]), ["\"locale\"", "\"ofedctl\""]);
    }

    #[test]
    fn our_own_entry_stands_once_and_keeps_its_arguments() {
        for name in ["ofedctl", "cc_ofedctl", "cc_ofedctl.py", "{\"name\":\"ofedctl\"}"] {
            let text = format!("cloud_config_modules: [{name}, locale]\n");
            assert_eq!(made(&[(CLOUD_CFG, &text)]).len(), 2, "{name}");
        }
        let with_arguments = "cloud_config_modules: [[ofedctl, always, --offline], locale]\n";
        assert_eq!(
            made(&[(CLOUD_CFG, with_arguments)]),
            ["\"locale\"", "[\"ofedctl\",\"always\",\"--offline\"]"]
        );
    }
}
