//! What would keep this program from running at a boot, or from finding its settings then.
//!
//! cloud-init can be switched off in several places (canonical/cloud-init, `doc/rtd/howto/disable_cloud_init.rst`,
//! `tools/ds-identify`, `cloudinit/cmd/status.py`), and of lists the last one counts: what a user sends lies over what a
//! vendor sends, and that over the files of the image.

use super::cloud_config::{self, Text};
use super::files::{ADAPTER_NAME, DROP_IN_NAME, UNIT_LINK, drop_in_path};
use super::module_list::{CLOUD_CFG, DROP_INS, KEY, files, is_ours};
use super::setup::module_folders;
use crate::host::Host;
use anyhow::Result;
use serde::Serialize;
use serde_yaml::Value;
use std::fmt;

/// Where cloud-init keeps what it was sent for the VM that runs.
const INSTANCE: &str = "/var/lib/cloud/instance";
/// Folders with what is to be taken for user data, in images that bring their own.
const SEEDS: [&str; 2] = ["/var/lib/cloud/seed/nocloud", "/var/lib/cloud/seed/nocloud-net"];
/// All that counts at this boot, merged by cloud-init 23 and later.
const COMBINED: &str = "/run/cloud-init/combined-cloud-config.json";
/// Boot loaders and systemd keep the kernel's arguments here, some in folders.
const ARGUMENT_FILES: [&str; 5] = [
    "/etc/kernel/cmdline",
    "/etc/default/grub",
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/boot/grub2/grubenv",
];
const ARGUMENT_FOLDERS: [(&str, &str); 2] =
    [("/etc/default/grub.d", ".cfg"), ("/boot/loader/entries", ".conf")];
const SYSTEMD_FOLDERS: [&str; 2] = ["/etc/systemd/system.conf.d", "/usr/lib/systemd/system.conf.d"];
/// Without any of these the module's stage does not begin.
const UNITS: [&str; 6] = [
    "cloud-init.target",
    "cloud-init-main.service",
    "cloud-init-local.service",
    "cloud-init-network.service",
    "cloud-init.service",
    "cloud-config.service",
];

/// How a root is set up for its boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// By cloud-init, which runs the module.
    Module,
    /// By a systemd unit of its own.
    Unit,
}

/// Something in the way of a run at a boot, or of its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Obstacle {
    /// The file that says so.
    pub place: String,
    /// What it does.
    pub what: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.place, self.what)
    }
}

/// How a root's boots are set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FirstBoot {
    /// In which way; none when no boot runs this program.
    pub way: Option<Way>,
    /// What keeps a boot from running it.
    pub obstacles: Vec<Obstacle>,
}

/// Looks at a root; none where there is neither cloud-init nor anything of ours.
pub fn first_boot(host: &Host) -> Result<Option<FirstBoot>> {
    if host.root.link_target(UNIT_LINK.0).is_some() {
        return Ok(Some(FirstBoot { way: Some(Way::Unit), obstacles: Vec::new() }));
    }
    let folders = module_folders(host);
    let is_set_up = host.root.exists(&drop_in_path())
        || folders.iter().any(|folder| host.root.exists(&format!("{folder}/{ADAPTER_NAME}")));
    match (is_set_up, folders.is_empty()) {
        (true, _) => Ok(Some(FirstBoot { way: Some(Way::Module), obstacles: obstacles(host)? })),
        (false, true) => Ok(None),
        (false, false) => Ok(Some(FirstBoot { way: None, obstacles: Vec::new() })),
    }
}

/// What is in the way of the module.
pub(super) fn obstacles(host: &Host) -> Result<Vec<Obstacle>> {
    let mut found = Vec::new();
    switched_off(host, &mut found)?;
    for folder in module_folders(host) {
        if !host.root.exists(&format!("{folder}/{ADAPTER_NAME}")) {
            add(&mut found, &folder, "the module is not there; run `ofedctl cloud-init setup` again");
        }
    }
    other_lists(host, &mut found)?;
    sent(host, &mut found)?;
    Ok(found)
}

fn add(found: &mut Vec<Obstacle>, place: &str, what: impl Into<String>) {
    found.push(Obstacle { place: place.to_owned(), what: what.into() });
}

/// Places that switch cloud-init off.
fn switched_off(host: &Host, found: &mut Vec<Obstacle>) -> Result<()> {
    let root = &host.root;
    let off = "switches cloud-init off";
    if root.exists("/etc/cloud/cloud-init.disabled") {
        add(found, "/etc/cloud/cloud-init.disabled", off);
    }
    for (path, text) in kernel_arguments(host)? {
        let lines = || text.lines().filter(|line| !line.trim_start().starts_with('#'));
        for word in ["cloud-init=disabled", "ci.di.policy=disabled"] {
            if lines().flat_map(words).any(|it| it == word) {
                add(found, &path, format!("the kernel's argument `{word}` {off}"));
            }
        }
    }
    let system = std::iter::once("/etc/systemd/system.conf".to_owned());
    for path in system.chain(SYSTEMD_FOLDERS.iter().flat_map(|folder| named(host, folder, ".conf"))) {
        let text = root.read_text(&path)?.unwrap_or_default();
        let sets = |line: &str| {
            line.trim_start().starts_with("DefaultEnvironment=")
                && line.contains("KERNEL_CMDLINE=cloud-init=disabled")
        };
        if text.lines().any(sets) {
            add(found, &path, format!("the variable `KERNEL_CMDLINE` {off}"));
        }
    }
    let policy = "/etc/cloud/ds-identify.cfg";
    let is_disabled = |line: &str| {
        let value =
            line.strip_prefix("policy:").map(|value| value.trim().split(',').next().unwrap_or_default());
        value == Some("disabled")
    };
    if root.read_text(policy)?.unwrap_or_default().lines().any(is_disabled) {
        add(found, policy, format!("`policy: disabled` {off}"));
    }
    for unit in UNITS {
        let path = format!("/etc/systemd/system/{unit}");
        if root.link_target(&path).is_some_and(|target| target.as_os_str() == "/dev/null") {
            add(found, &path, format!("masks `{unit}`"));
        }
    }
    let generator = "/run/cloud-init/disabled";
    if found.is_empty() && host.is_running_system() && root.exists(generator) {
        add(
            found,
            generator,
            "cloud-init found no data source; see `/run/cloud-init/cloud-init-generator.log`",
        );
    }
    Ok(())
}

/// The kernel's arguments, of this boot and as they are written down for the next.
fn kernel_arguments(host: &Host) -> Result<Vec<(String, String)>> {
    let mut paths: Vec<String> = ARGUMENT_FILES.iter().map(|&path| path.to_owned()).collect();
    paths.extend(ARGUMENT_FOLDERS.iter().flat_map(|(folder, end)| named(host, folder, end)));
    if host.is_running_system() {
        paths.push("/proc/cmdline".to_owned());
    }
    let mut arguments = Vec::new();
    for path in paths {
        if let Some(text) = host.root.read_text(&path)? {
            arguments.push((path, text));
        }
    }
    Ok(arguments)
}

fn named(host: &Host, folder: &str, end: &str) -> Vec<String> {
    let names = host.root.list(folder).into_iter().filter(|name| name.ends_with(end));
    names.map(|name| format!("{folder}/{name}")).collect()
}

/// Words of a line that may be in quotes.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let line = line.split_once("=\"").or_else(|| line.split_once("='")).map_or(line, |(_, value)| value);
    line.split(|c: char| c.is_whitespace() || c == '"' || c == '\'').filter(|word| !word.is_empty())
}

/// Files of the image and arguments of the kernel with a list of their own.
fn other_lists(host: &Host, found: &mut Vec<Obstacle>) -> Result<()> {
    for path in files(host) {
        let text = cloud_config::text(host, &path)?;
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_later = path.starts_with(DROP_INS) && name > DROP_IN_NAME;
        match text {
            Text::Template(text) if text.contains(KEY) => {
                add(
                    found,
                    &path,
                    format!("is a jinja template with a `{KEY}`, which is known only at a boot"),
                );
            }
            Text::Yaml(value) if is_later && lacks_ours(&value) => {
                add(found, &path, format!("is read later and has a `{KEY}` without `ofedctl`"));
            }
            Text::Yaml(value) if path == CLOUD_CFG => {
                let folder = value.get("conf_d").and_then(Value::as_str).map(str::trim);
                if let Some(folder) = folder.filter(|folder| folder.trim_end_matches('/') != DROP_INS) {
                    add(found, &path, format!("`conf_d` reads `{folder}` in the place of `{DROP_INS}`"));
                }
            }
            _ => {}
        }
    }
    for (path, text) in kernel_arguments(host)? {
        let parts = text.split(" cc:").skip(1).map(|part| part.split("end_cc").next().unwrap_or_default());
        if parts.filter(|part| part.contains(KEY)).any(|part| !part.contains("ofedctl")) {
            add(found, &path, format!("the kernel's argument `cc:` has a `{KEY}` without `ofedctl`"));
        }
    }
    Ok(())
}

fn lacks_ours(config: &Value) -> bool {
    let list = config.get(KEY).and_then(Value::as_sequence);
    list.is_some_and(|list| !list.iter().any(is_ours))
}

/// What users and vendors have sent, or what lies in the image to be taken for that.
fn sent(host: &Host, found: &mut Vec<Obstacle>) -> Result<()> {
    let before = found.len();
    let instance = ["cloud-config.txt", "vendor-cloud-config.txt"].map(|name| format!("{INSTANCE}/{name}"));
    let seeds = SEEDS.map(|folder| ["user-data", "vendor-data"].map(|name| format!("{folder}/{name}")));
    for [user, vendor] in std::iter::once(instance).chain(seeds) {
        let [sent, given] = [cloud_config::text(host, &user)?, cloud_config::text(host, &vendor)?];
        match &sent {
            Text::Yaml(value) if lacks_ours(value) => {
                add(found, &user, format!("user data has a `{KEY}` without `ofedctl`"));
            }
            Text::Template(text) if text.contains(KEY) => {
                add(found, &user, format!("user data is a jinja template with a `{KEY}`"));
            }
            _ => {}
        }
        if let (Text::Yaml(user_data), Text::Yaml(vendor_data)) = (&sent, &given) {
            for path in replaced(user_data, vendor_data) {
                let what = format!(
                    "user data puts its own in the place of the vendor's `write_files`, and `{path}` is not written"
                );
                add(found, &vendor, what);
            }
        }
    }
    // Module lists that came in other forms, such as parts of a MIME archive.
    if found.len() == before
        && host.is_running_system()
        && let Text::Yaml(value) = cloud_config::text(host, COMBINED)?
        && lacks_ours(&value)
    {
        add(found, COMBINED, format!("at this boot `{KEY}` has no `ofedctl`"));
    }
    Ok(())
}

/// Files of ours that a vendor writes and that are not written, because of two lists the user's alone counts.
fn replaced(user: &Value, vendor: &Value) -> Vec<String> {
    let paths = |config: &Value| -> Option<Vec<String>> {
        let list = config.get("write_files")?.as_sequence()?;
        Some(list.iter().filter_map(|file| Some(file.get("path")?.as_str()?.to_owned())).collect())
    };
    let refuses =
        user.get("vendor_data").and_then(|it| it.get("enabled")).and_then(Value::as_bool) == Some(false);
    let merges = ["merge_how", "merge_type"].iter().any(|key| user.get(*key).is_some());
    let users = paths(user).unwrap_or_default();
    if !refuses && (merges || users.is_empty()) {
        return Vec::new();
    }
    let ours = |path: &String| path.starts_with("/etc/ofedctl/") || path.starts_with("/usr/lib/ofedctl/");
    let vendors = paths(vendor).unwrap_or_default();
    vendors.into_iter().filter(|path| ours(path) && !users.contains(path)).collect()
}
