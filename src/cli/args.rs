//! Arguments of commands: targets, roots, caches and settings, as clap parses them.

use super::words;
use crate::outcome::Reason;
use crate::plan::Described;
use crate::settings::Layer;
use crate::target::{Arch, Distro};
use crate::verify::peer::Address;
use anyhow::Result;
use clap::Args;
use clap::builder::TypedValueParser;
use serde_yaml::Value;
use std::path::PathBuf;

/// A root to look at.
#[derive(Debug, Args)]
pub(super) struct RootArgs {
    /// The root to work on
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(super) root: PathBuf,
}

/// Arguments of `detect`.
#[derive(Debug, Args)]
pub(super) struct DetectArgs {
    /// The root to look at
    #[command(flatten)]
    pub(super) root: RootArgs,
    /// Also copy the small text files that were read into this new folder, for a
    /// bug report; `--root` reads it back. Nothing secret is copied
    #[arg(long, value_name = "DIR")]
    pub(super) capture: Option<PathBuf>,
}

/// Arguments of `support-bundle`.
#[derive(Debug, Args)]
pub(super) struct SupportBundleArgs {
    /// The root to look at
    #[command(flatten)]
    pub(super) root: RootArgs,
    /// The file to write, a new one
    /// [default: ofedctl-support-TIME.tar.gz in this folder]
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The root to look at
    #[command(flatten)]
    pub(super) root: RootArgs,
    /// End with the exit code of the last run, and with 14 while one works
    #[arg(long)]
    pub(super) exit_code: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The root to look at
    #[command(flatten)]
    pub(super) root: RootArgs,
    /// On a running VM, also let this verbs device talk to itself, or all that
    /// are InfiniBand [default: all]
    #[arg(long, value_name = "DEVICE", num_args = 0..=1, default_missing_value = "all")]
    pub(super) traffic: Option<String>,
    /// Let it talk to another VM, on which `verify --traffic --serve` runs
    #[arg(long, value_name = "HOST[:PORT]", requires = "traffic", conflicts_with = "serve")]
    pub(super) peer: Option<Address>,
    /// Wait for one VM that runs `verify --traffic --peer`
    /// [default port: 18514]
    #[arg(long, value_name = "PORT", requires = "traffic", num_args = 0..=1,
        default_missing_value = "18514", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) serve: Option<u16>,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// An image's root; without it, what is described, or this machine
    #[arg(long, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// The target
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

/// Arguments of `stage`.
#[derive(Debug, Args)]
pub(super) struct StageArgs {
    /// The target's root: its package sources, keys and installed packages
    #[arg(long, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// Take package sources and keys from this root instead
    #[arg(long, value_name = "DIR")]
    pub(super) sources: Option<PathBuf>,
    /// The target's package database, such as a /var/lib/dpkg/status
    #[arg(long, value_name = "FILE")]
    pub(super) status_file: Option<PathBuf>,
    /// The cache to fill
    #[command(flatten)]
    pub(super) cache: CacheArg,
    /// The target
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

/// Arguments of `bake`.
#[derive(Debug, Args)]
pub(super) struct BakeArgs {
    /// The image's root; `/` when run inside the build VM
    #[arg(long, value_name = "DIR")]
    pub(super) root: PathBuf,
    /// What to install, and from where
    #[command(flatten)]
    pub(super) run: RunArgs,
    /// The door this came through, for the receipt
    #[arg(long, hide = true, default_value = "shell", value_parser = ["shell", "packer"])]
    pub(super) door: String,
}

/// Arguments of `generalize`.
#[derive(Debug, Args)]
pub(super) struct GeneralizeArgs {
    /// The root
    #[command(flatten)]
    pub(super) root: RootArgs,
    /// Set any key that `ofedctl explain settings` lists
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

/// Arguments of `settings`.
#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    /// The root whose files are read
    #[command(flatten)]
    pub(super) root: RootArgs,
    /// Lay this over the files, as a run with it would; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

/// Arguments of `uninstall`.
#[derive(Debug, Args)]
pub(super) struct UninstallArgs {
    /// The root
    #[command(flatten)]
    pub(super) root: RootArgs,
    /// Remove nothing, but put aside what earlier runs wrote down, even if this
    /// version cannot read it. What they installed and edited stays for good
    #[arg(long)]
    pub(super) forget_receipt: bool,
    /// Set any key that `ofedctl explain settings` lists
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

/// Arguments of whatever makes a root right; all there are for `install`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Use nothing but the cache; package managers get no network interface
    #[arg(long)]
    pub(super) offline: bool,
    /// Take a signed bundle that is older than the one that is installed
    #[arg(long)]
    pub(super) allow_older: bool,
    /// The cache to install from
    #[command(flatten)]
    pub(super) cache: CacheArg,
    /// The target
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

/// Where the cache is.
#[derive(Debug, Args)]
pub(super) struct CacheArg {
    /// The cache: a folder, an exported file, `https://…` of one, or
    /// `oci://HOST/NAME:TAG` [default: /var/cache/ofedctl]
    #[arg(long, value_name = "CACHE")]
    pub(super) cache: Option<String>,
}

/// A target, described instead of detected, and what is wanted for it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Target and settings")]
pub(super) struct TargetArgs {
    /// VM size, such as `Standard_HB120rs_v3`
    #[arg(long, value_name = "SIZE", value_parser = words::SIZES, hide_possible_values = true)]
    pub(super) vm_size: Option<String>,
    /// Adapter: cx3-pro, cx5, cx6, cx7 or cx8
    #[arg(long, value_name = "NIC", value_parser = words::NICS, hide_possible_values = true)]
    pub(super) nic: Option<String>,
    /// Distribution and version, such as debian12
    #[arg(long, value_name = "DISTRO", value_parser = words::DISTROS.try_map(|text| text.parse::<Distro>()), hide_possible_values = true)]
    pub(super) distro: Option<Distro>,
    /// Architecture: `x86_64` or aarch64
    #[arg(long, value_name = "ARCH")]
    pub(super) arch: Option<Arch>,
    /// A kernel, as `uname -r` prints it; may be given more than once
    #[arg(long, value_name = "KERNEL")]
    pub(super) kernel: Vec<String>,
    /// Driver: auto, `mlnx_ofed`, doca or inbox
    #[arg(long, value_name = "DRIVER", value_parser = words::DRIVERS, hide_possible_values = true)]
    pub(super) driver: Option<String>,
    /// Its version, or the release it must be of, such as 5.8
    #[arg(long, value_name = "VERSION")]
    pub(super) driver_version: Option<String>,
    /// The SHA-256 of its package, where nobody published one
    #[arg(long, value_name = "HEX")]
    pub(super) sha256: Option<String>,
    /// The driver's package: a file or an address in place of the catalogue's
    #[arg(long, value_name = "FILE|URL")]
    pub(super) artifact: Option<String>,
    /// What must vouch for it: digest, signed or first-use
    #[arg(long, value_name = "LEVEL", value_parser = words::TRUST, hide_possible_values = true)]
    pub(super) trust: Option<String>,
    /// A catalogue of drivers in place of the built-in one
    #[arg(long, value_name = "FILE")]
    pub(super) catalog: Option<String>,
    /// Set any key that `ofedctl explain settings` lists
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

impl TargetArgs {
    /// The part of the target that is not a setting.
    pub(super) fn described(&self) -> Described {
        Described { distro: self.distro.clone(), arch: self.arch, module_signing: None }
    }

    /// Whether the target is described, so that this machine's facts must not be used.
    pub(super) fn is_given(&self) -> bool {
        self.distro.is_some()
            || self.arch.is_some()
            || self.vm_size.is_some()
            || self.nic.is_some()
            || !self.kernel.is_empty()
    }
}

/// The settings given on the command line, as the last layer.
pub(super) fn layer(target: &TargetArgs, cache: Option<&CacheArg>, offline: bool) -> Result<Layer> {
    let word = |text: &String| Value::String(text.clone());
    let mut given = Vec::new();
    given.extend(target.vm_size.iter().map(|size| ("--vm-size", "vm_size", word(size))));
    given.extend(target.nic.iter().map(|nic| ("--nic", "nic", word(nic))));
    given.extend(target.driver.iter().map(|driver| ("--driver", "driver", word(driver))));
    let version = target.driver_version.iter();
    given.extend(version.map(|version| ("--driver-version", "driver_version", word(version))));
    given.extend(target.sha256.iter().map(|digest| ("--sha256", "sha256", word(digest))));
    given.extend(target.artifact.iter().map(|place| ("--artifact", "artifact", word(place))));
    given.extend(target.trust.iter().map(|level| ("--trust", "trust", word(level))));
    given.extend(target.catalog.iter().map(|file| ("--catalog", "catalog", word(file))));
    if !target.kernel.is_empty() {
        given.push(("--kernel", "kernels", Value::Sequence(target.kernel.iter().map(word).collect())));
    }
    let mut layer = pairs(&target.set)?;
    put(&mut layer, given)?;
    put(&mut layer, cache_settings(cache, offline))?;
    Ok(layer)
}

impl RunArgs {
    /// The settings given for a run.
    pub(super) fn layer(&self) -> Result<Layer> {
        let mut layer = layer(&self.target, Some(&self.cache), self.offline)?;
        if self.allow_older {
            put(&mut layer, vec![("--allow-older", "allow_older", Value::Bool(true))])?;
        }
        Ok(layer)
    }
}

/// The settings that say where to install from, and those given as `--set KEY=VALUE`.
pub(super) fn set(set: &[String], cache: &CacheArg, offline: bool) -> Result<Layer> {
    let mut layer = pairs(set)?;
    put(&mut layer, cache_settings(Some(cache), offline))?;
    Ok(layer)
}

type Given<'a> = (&'a str, &'a str, Value);

/// The settings given as `--set KEY=VALUE`.
pub(super) fn pairs(set: &[String]) -> Result<Layer> {
    let mut layer = Layer::default();
    for pair in set {
        let (key, text) = pair
            .split_once('=')
            .ok_or_else(|| Reason::Usage.error(format!("`--set {pair}`: write `--set KEY=VALUE`")))?;
        let plain = Value::String(text.to_owned());
        let value = serde_yaml::from_str(text).unwrap_or_else(|_| plain.clone());
        let is_number = value.is_number();
        if let Err(error) = put(&mut layer, vec![("--set", key, value)]) {
            // A version such as 24.10 is a number to YAML alone.
            if !is_number || layer.set(key, plain).is_err() {
                return Err(error);
            }
        }
    }
    Ok(layer)
}

fn cache_settings(cache: Option<&CacheArg>, offline: bool) -> Vec<Given<'static>> {
    let cache = cache.and_then(|arg| arg.cache.as_ref());
    let cache = cache.map(|cache| ("--cache", "cache", Value::String(cache.clone())));
    cache.into_iter().chain(offline.then_some(("--offline", "offline", Value::Bool(true)))).collect()
}

fn put(layer: &mut Layer, given: Vec<Given>) -> Result<()> {
    for (flag, key, value) in given {
        layer.set(key, value).map_err(|what| Reason::Usage.error(format!("{flag}: {what}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_looks_like_a_number_stays_as_it_was_written() {
        let read = |pair: &str| pairs(&[pair.to_owned()]).unwrap().mapping().values().next().cloned();
        assert_eq!(read("driver_version=24.10"), Some(Value::String("24.10".to_owned())));
        assert_eq!(read("lock_timeout=10"), Some(Value::Number(10.into())));
        assert!(pairs(&["lock_timeout=ten".to_owned()]).is_err());
        assert!(pairs(&["driver_version=[1]".to_owned()]).is_err());
    }
}
