//! `ofedctl packer setup`: puts this program where Packer looks for plugins.
//!
//! Packer from 1.11 on takes only `HOST/NAMESPACE/NAME/packer-plugin-NAME_vVERSION_xAPI_OS_ARCH` with its SHA-256
//! beside it (hashicorp/packer, packer/plugin-getter); before 1.7 it takes `packer-provisioner-NAME`.

use super::describe::api_version;
use crate::cache::Hasher;
use crate::host::variable;
use crate::outcome::{Cause, Reason, WithCause};
use crate::target::Arch;
use anyhow::{Context, Result};
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What templates write in `required_plugins`.
pub const SOURCE: &str = "github.com/ofedctl/ofed";
/// The name for Packer before 1.7.
const OLD_NAME: &str = "packer-provisioner-ofed";

/// What was put where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The folder Packer looks in.
    pub folder: PathBuf,
    /// The plugin, for Packer from 1.7 on.
    pub plugin: PathBuf,
    /// The same file under its older name.
    pub old: PathBuf,
}

/// Installs this program as a plugin, into `folder` or where Packer looks by itself.
pub fn setup(folder: Option<&Path>) -> Result<Installed> {
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None => plugin_folder()?,
    };
    let arch = Arch::of_this_program().debian();
    let name = format!("packer-plugin-ofed_v{}_{}_linux_{arch}", env!("CARGO_PKG_VERSION"), api_version());
    let below = Path::new(SOURCE).join(&name);
    let plugin = folder.join(&below);
    let doing = || format!("cannot install the plugin as `{}`", plugin.display());
    let home = plugin.parent().unwrap_or(&folder);
    std::fs::create_dir_all(home).with_cause(Cause::FolderUnwritable, doing)?;
    let this = std::env::current_exe().with_context(doing)?;
    let mut copy = tempfile::NamedTempFile::new_in(home).with_cause(Cause::FolderUnwritable, doing)?;
    let sum = copy_hashed(&mut File::open(&this).with_context(doing)?, &mut copy).with_context(doing)?;
    copy.as_file().set_permissions(Permissions::from_mode(0o755)).with_context(doing)?;
    // The sum first: a plugin whose sum is missing is silently passed over.
    write_whole(&home.join(format!("{name}_SHA256SUM")), sum.as_bytes()).with_context(doing)?;
    copy.as_file().sync_all().with_context(doing)?;
    copy.persist(&plugin).map_err(|error| error.error).with_context(doing)?;
    let old = folder.join(OLD_NAME);
    name_again(&plugin, &old).with_context(|| format!("cannot make the link `{}`", old.display()))?;
    Ok(Installed { folder, plugin, old })
}

/// Where Packer looks (`packer/plugin_folders.go`, and packer-plugin-sdk, `pathing/config_file_unix.go`).
fn plugin_folder() -> Result<PathBuf> {
    if let Some(path) = variable("PACKER_PLUGIN_PATH") {
        let path = path.to_string_lossy().into_owned();
        if path.contains(':') {
            let what = "PACKER_PLUGIN_PATH names several folders, and Packer takes one: use --plugin-path";
            return Err(Reason::Usage.error(what));
        }
        return Ok(PathBuf::from(path));
    }
    let settings = if let Some(folder) = variable("PACKER_CONFIG_DIR") {
        PathBuf::from(folder).join(".packer.d")
    } else {
        let home = variable("HOME").map(PathBuf::from).ok_or_else(|| {
            Reason::Usage.error("HOME is not set, so there is no usual place: use --plugin-path")
        })?;
        let usual = home.join(".packer.d");
        let config = variable("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
        if usual.is_dir() { usual } else { config.join("packer") }
    };
    Ok(settings.join("plugins"))
}

/// Copies all there is, and returns its SHA-256 in hex.
fn copy_hashed(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<String> {
    let mut hasher = Hasher::default();
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = from.read(&mut piece)?;
        if read == 0 {
            return Ok(hasher.finish().0.hex());
        }
        hasher.update(&piece[..read]);
        to.write_all(&piece[..read])?;
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Gives a file a second name, in place of what had it. A symbolic link would lead nowhere after `packer plugins
/// remove`, which knows one of the two names.
fn name_again(path: &Path, name: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::hard_link(path, name).or_else(|_| std::fs::copy(path, name).map(drop))
}
