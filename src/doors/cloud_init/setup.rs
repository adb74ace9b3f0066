//! Puts a first boot into an image, and takes it out again. Files only: no program of the image is run, so that any
//! image can be set up on any machine.

use super::files::{
    ADAPTER, ADAPTER_NAME, CLEAN, DROP_IN_NAME, IMAGE_FILE, PROGRAM, UNIT, UNIT_LINK, UNITS, drop_in,
    drop_in_path, is_made_here, ordering, settings, unit_name,
};
use super::module_list;
use crate::config::{self, Origin};
use crate::host::fs::Content;
use crate::host::{Host, this_program};
use crate::outcome::{Cause, Reason};
use crate::settings::{CONFIG_FILE, IMAGE_DIR, Layer};
use anyhow::Result;
use serde::Serialize;
use std::path::Path;

/// What is wanted of a first boot.
#[derive(Debug, Default)]
pub struct SetupOptions {
    /// Settings for the image's own layer, below all that user data or an administrator writes.
    pub settings: Layer,
    /// A systemd unit of its own instead of cloud-init's module.
    pub unit: bool,
    /// Let cloud-init reboot at the end of a boot that found a reboot to be due.
    pub reboot: bool,
    /// Units that are to start only after the run.
    pub before: Vec<String>,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was made, or its content was replaced.
    Written,
    /// It has the right content already.
    Unchanged,
    /// It was removed.
    Removed,
}

/// A file of the image, and what happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Changed {
    /// The file, inside the root.
    pub path: String,
    /// What happened.
    pub change: Change,
}

/// Sets up the image's first boot as the options say. Options of an earlier setup that this one does not name stay.
pub fn setup(host: &Host, options: &SetupOptions) -> Result<Vec<Changed>> {
    host.require_superuser()?;
    host.require_distribution()?;
    let units = options.before.iter().map(|name| unit_name(name)).collect::<Result<Vec<_>>>()?;
    if options.unit && options.reboot {
        return Err(Reason::Usage.error("`--reboot` is done by cloud-init, which `--unit` does without"));
    }
    let folders = module_folders(host);
    if !options.unit && folders.is_empty() {
        return Err(Cause::CloudInitMissing.error(format!(
            "there is no cloud-init in `{}`; `--unit` needs none",
            host.root.path().display()
        )));
    }
    let mut work = Work { host, changed: Vec::new() };
    work.program()?;
    work.settings(options)?;
    let after = if options.unit { work.unit()? } else { work.module(&folders, options)? };
    for unit in units {
        let (path, text) = ordering(&unit, after);
        work.write(&path, text.as_bytes(), 0o644)?;
    }
    Ok(work.changed)
}

/// Removes all files that [`setup`] makes, whichever its options were.
pub fn remove(host: &Host) -> Result<Vec<Changed>> {
    host.require_superuser()?;
    host.require_distribution()?;
    let mut work = Work { host, changed: Vec::new() };
    for folder in module_folders(host) {
        work.remove(&format!("{folder}/{ADAPTER_NAME}"))?;
    }
    for path in [&drop_in_path(), CLEAN.0, UNIT_LINK.0, UNIT.0] {
        work.remove(path)?;
    }
    for name in host.root.list(UNITS) {
        let file = format!("{UNITS}/{name}/ofedctl.conf");
        if host.root.exists(&file) {
            work.remove(&file)?;
            host.root.remove_empty_dir(&format!("{UNITS}/{name}"));
        }
    }
    for file in [IMAGE_FILE, CONFIG_FILE] {
        if host.root.read_text(file)?.is_some_and(|text| is_made_here(&text)) {
            work.remove(file)?;
        }
    }
    for folder in [IMAGE_DIR, "/usr/lib/ofedctl", "/etc/ofedctl"] {
        host.root.remove_empty_dir(folder);
    }
    let (program, path) = this_program()?;
    // The program that is running stays: somebody else put it there.
    let is_copy = host.root.read(PROGRAM)?.is_some_and(|there| there == program);
    if is_copy && !(host.is_running_system() && path == Path::new(PROGRAM)) {
        work.remove(PROGRAM)?;
    }
    Ok(work.changed)
}

/// Where cloud-init looks for its modules, in each Python that has it.
pub(super) fn module_folders(host: &Host) -> Vec<String> {
    let mut folders = Vec::new();
    for lib in ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"] {
        if host.root.link_target(lib).is_some() {
            continue;
        }
        for python in host.root.list(lib).iter().filter(|name| name.starts_with("python")) {
            let places = ["dist-packages", "site-packages"]
                .map(|packages| format!("{lib}/{python}/{packages}/cloudinit/config"));
            folders.extend(places.into_iter().filter(|place| host.root.is_dir(place)));
        }
    }
    folders
}

struct Work<'a> {
    host: &'a Host,
    changed: Vec<Changed>,
}

impl Work<'_> {
    /// The program itself, unless it is the image's own that runs.
    fn program(&mut self) -> Result<()> {
        let (program, path) = this_program()?;
        if self.host.is_running_system() && path == Path::new(PROGRAM) {
            return Ok(());
        }
        self.write(PROGRAM, &program, 0o755)
    }

    fn settings(&mut self, options: &SetupOptions) -> Result<()> {
        let mut keys = self.settings_of_an_older_setup()?;
        keys.extend(options.settings.mapping().clone());
        if options.reboot {
            keys.insert("reboot".into(), "power-state".into());
        }
        let is_older = self.host.root.read_text(CONFIG_FILE)?.is_some_and(|text| is_made_here(&text));
        if !keys.is_empty() {
            self.image_settings(&keys)?;
        }
        // The old file is removed only after its keys are in the image's layer.
        if is_older {
            self.remove(CONFIG_FILE)?;
            self.host.root.remove_empty_dir("/etc/ofedctl");
        }
        Ok(())
    }

    fn image_settings(&mut self, keys: &serde_yaml::Mapping) -> Result<()> {
        let text = settings(self.host.root.read_text(IMAGE_FILE)?.as_deref(), keys)?;
        // A file in another form than line by line must not be broken.
        let made = Layer::parse(IMAGE_FILE, &text);
        if !made.is_ok_and(|made| keys.iter().all(|(key, value)| made.mapping().get(key) == Some(value))) {
            let what = format!("`{IMAGE_FILE}` cannot be edited line by line; set the keys there yourself");
            return Err(Reason::BadSettings.error(what));
        }
        self.write(IMAGE_FILE, text.as_bytes(), 0o644)?;
        self.warn_of_overridden(keys)
    }

    /// Moves what an earlier version of this command wrote to `/etc` into the image's own layer: user data that writes
    /// the same file would drop it otherwise. Returns its keys that the image's layer does not set by now.
    fn settings_of_an_older_setup(&mut self) -> Result<serde_yaml::Mapping> {
        let root = &self.host.root;
        let Some(text) = root.read_text(CONFIG_FILE)?.filter(|text| is_made_here(text)) else {
            return Ok(serde_yaml::Mapping::new());
        };
        let older = Layer::parse(CONFIG_FILE, &text)?;
        let now = root.read_text(IMAGE_FILE)?.map(|text| Layer::parse(IMAGE_FILE, &text)).transpose()?;
        let now = now.unwrap_or_default();
        let lacking = older.mapping().iter().filter(|(key, _)| !now.mapping().contains_key(*key));
        Ok(lacking.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// An administrator's file overrides the image's layer, and may undo what was just set.
    fn warn_of_overridden(&self, keys: &serde_yaml::Mapping) -> Result<()> {
        let (_, origins) = config::load_with_origins(&self.host.root, "", Layer::default())?;
        for origin in origins.iter().filter(|origin| keys.contains_key(origin.key.as_str())) {
            if origin.source != IMAGE_FILE {
                let Origin { key, source } = origin;
                self.host.events.warn(format!("`{source}` sets `{key}`, too, and lies over `{IMAGE_FILE}`"));
            }
        }
        Ok(())
    }

    /// Everything for cloud-init; returns the unit that has ended when the run has.
    fn module(&mut self, folders: &[String], options: &SetupOptions) -> Result<&'static str> {
        for folder in folders {
            self.write(&format!("{folder}/{ADAPTER_NAME}"), ADAPTER.as_bytes(), 0o644)?;
        }
        let reboot = options.reboot || config::load(Some(&self.host.root), Layer::default())?.reboots();
        let modules = module_list::with_ours(self.host, DROP_IN_NAME)?;
        self.write(&drop_in_path(), drop_in(&modules, reboot)?.as_bytes(), 0o644)?;
        self.write(CLEAN.0, CLEAN.1.as_bytes(), 0o755)?;
        Ok("cloud-config.service")
    }

    /// Sets up the systemd unit that runs in place of cloud-init's module.
    fn unit(&mut self) -> Result<&'static str> {
        self.write(UNIT.0, UNIT.1.as_bytes(), 0o644)?;
        if !self.host.root.exists(UNIT_LINK.0) {
            let (folder, _) = UNIT_LINK.0.rsplit_once('/').unwrap_or_default();
            self.host.root.make_dirs(folder, 0o755)?;
            self.host.root.make_link(UNIT_LINK.0, Path::new(UNIT_LINK.1))?;
        }
        Ok("ofedctl.service")
    }

    fn write(&mut self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let wanted = Content { bytes: bytes.to_vec(), mode, uid: 0, gid: 0 };
        let change = if self.host.root.content(path)?.as_ref() == Some(&wanted) {
            Change::Unchanged
        } else {
            self.host.root.write(path, &wanted)?;
            Change::Written
        };
        self.changed.push(Changed { path: path.to_owned(), change });
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<()> {
        if self.host.root.exists(path) || self.host.root.link_target(path).is_some() {
            self.host.root.remove_file(path)?;
            self.changed.push(Changed { path: path.to_owned(), change: Change::Removed });
        }
        Ok(())
    }
}
