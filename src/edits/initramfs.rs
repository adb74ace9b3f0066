//! The initial file system (initramfs) of a kernel: which modules it holds, and how the root's own tools rebuild it.
//!
//! It is made from the modules that are installed when it is made. An initial file system that holds the inbox
//! `mlx5_core` loads it before the vendor's module can be found, and after the vendor's driver is removed the other
//! way round. To undo the edit it is made again from the installed modules; no old copy is put back.

use crate::facts::modules;
use crate::host::Host;
use crate::host::room;
use crate::host::run::Cmd;
use crate::host::sandbox::Sandbox;
use crate::outcome::Reason;
use crate::packages::diagnose::{self, Doing};
use anyhow::Result;
use std::collections::BTreeMap;

/// The tool with which a distribution builds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    /// `update-initramfs`, of initramfs-tools.
    InitramfsTools,
    /// `dracut`.
    Dracut,
}

/// A kernel's initial file system.
#[derive(Debug)]
pub struct Initramfs {
    kernel: String,
    path: String,
    tool: Tool,
}

/// Finds a kernel's initramfs; none if there is none, or no tool to build it.
pub fn find(host: &Host, kernel: &str) -> Option<Initramfs> {
    let root = &host.root;
    let paths = [format!("/boot/initrd.img-{kernel}"), format!("/boot/initramfs-{kernel}.img")];
    let path = paths.into_iter().find(|path| root.exists(path))?;
    let has = |name: &str| {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|dir| root.exists(&format!("{dir}/{name}")))
    };
    let tool = if has("update-initramfs") && has("lsinitramfs") {
        Tool::InitramfsTools
    } else if has("dracut") && has("lsinitrd") {
        Tool::Dracut
    } else {
        return None;
    };
    Some(Initramfs { kernel: kernel.to_owned(), path, tool })
}

impl Initramfs {
    /// The modules in it that are not the files the kernel would load from the root, if `module` is among those it
    /// holds; one line each.
    pub fn stale(&self, host: &Host, module: &str, sealed: bool) -> Result<Vec<String>> {
        let held = self.list(host, sealed)?;
        if !held.keys().any(|path| module_name(path).is_some_and(|name| name == module)) {
            return Ok(Vec::new());
        }
        let names: Vec<String> = held.keys().filter_map(|path| module_name(path)).collect();
        let found = modules::find(&host.root, &self.kernel, &names);
        let mut stale = Vec::new();
        for ((path, size), found) in held.iter().zip(found) {
            let modules::Module::File(file) = found else {
                stale.push(format!("{path}, which the kernel does not have any more"));
                continue;
            };
            if without_compression(&file) != without_compression(path) {
                stale.push(format!("{path} instead of {file}"));
            } else if self.has_another_size(host, path, &file, *size) {
                stale.push(format!("another {path}"));
            }
        }
        Ok(stale)
    }

    /// Rebuilds it. The old one stays until the new one is complete, because both tools write a new file and rename it.
    pub fn refresh(&self, host: &Host, sealed: bool) -> Result<()> {
        let cmd = match self.tool {
            Tool::InitramfsTools => Cmd::new("update-initramfs").args(["-u", "-k", &self.kernel]),
            Tool::Dracut => Cmd::new("dracut").args(["--force", &self.path, &self.kernel]),
        };
        let old = host.root.metadata(&self.path).map_or(0, |old| old.len());
        let finished = host.run(&cmd.inside(sandbox(host, sealed)))?;
        // Not every packer says why it could not write: lz4 says only that it could not.
        let is_full = room::free_for(&host.root, &self.path)? < old;
        let otherwise = if is_full { Reason::NoSpace } else { Reason::InitramfsFailed };
        let reason = diagnose::reason_of(&finished.output, Doing::Writing, otherwise);
        finished.check(reason, &format!("making `{}` again", self.path)).map(drop)
    }

    /// Files that a killed tool may leave beside it.
    pub fn leftovers(&self) -> Vec<String> {
        match self.tool {
            Tool::InitramfsTools => ["new", "dpkg-bak"].map(|end| format!("{}.{end}", self.path)).to_vec(),
            Tool::Dracut => Vec::new(),
        }
    }

    /// dracut strips modules; initramfs-tools copies them, but may unpack them.
    fn has_another_size(&self, host: &Host, path: &str, file: &str, size: u64) -> bool {
        let installed = host.root.metadata(&format!("/lib/modules/{}/{file}", self.kernel));
        self.tool == Tool::InitramfsTools && path == file && installed.is_some_and(|file| file.len() != size)
    }

    /// The modules it holds, by path below the kernel's folder of modules, with their sizes.
    fn list(&self, host: &Host, sealed: bool) -> Result<BTreeMap<String, u64>> {
        let cmd = match self.tool {
            Tool::InitramfsTools => Cmd::new("lsinitramfs").args(["-l", &self.path]),
            Tool::Dracut => Cmd::new("lsinitrd").arg(&self.path),
        };
        // Of the running system any user who may read it may list it.
        let cmd = if host.is_running_system() { cmd } else { cmd.inside(sandbox(host, sealed)) };
        let finished = host.run(&cmd.captured())?;
        let finished = finished.check(Reason::InitramfsFailed, &format!("listing `{}`", self.path))?;
        Ok(parse(&finished.stdout, &self.kernel))
    }
}

fn sandbox(host: &Host, sealed: bool) -> Sandbox {
    Sandbox::offline(&host.root, sealed)
}

/// Lines as `ls -l` and `cpio -tv` print them: mode, links, owner, group, size, date, path.
fn parse(listing: &str, kernel: &str) -> BTreeMap<String, u64> {
    let folder = format!("lib/modules/{kernel}/");
    let module = |line: &str| {
        let (_, path) = line.split_once(&folder)?;
        module_name(path)?;
        let size = line.split_whitespace().nth(4)?.parse().ok()?;
        line.starts_with('-').then(|| (path.trim_end().to_owned(), size))
    };
    listing.lines().filter_map(module).collect()
}

/// The module in a file, as lsmod would print its name; none for other files.
fn module_name(path: &str) -> Option<String> {
    let file = without_compression(path.rsplit('/').next()?);
    Some(file.strip_suffix(".ko")?.replace('-', "_"))
}

fn without_compression(path: &str) -> &str {
    [".xz", ".zst", ".gz"].iter().find_map(|suffix| path.strip_suffix(suffix)).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_in_the_listings_of_both_tools() {
        let listing = "drwxr-xr-x   2 root     root            0 Jan  1 00:00 usr/lib/modules/6.1/kernel\n\
            -rw-r--r--   1 root     root      3170529 Jan  1 00:00 usr/lib/modules/6.1/kernel/net/mlx5-core.ko.xz\n\
            -rw-r--r--   1 root     root           12 Jan  1 00:00 usr/lib/modules/6.1/modules.dep\n\
            -rw-r--r--   1 root     root            9 Jan  1 00:00 usr/lib/modules/5.0/x.ko\n\
            lrwxrwxrwx   1 root     root            7 Jan  1 00:00 lib -> usr/lib/modules/6.1/y.ko\n\
            Image: /boot/initramfs-6.1.img: 40M\n";
        let found = parse(listing, "6.1");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [("kernel/net/mlx5-core.ko.xz".to_owned(), 3_170_529)]
        );
        assert_eq!(module_name("kernel/net/mlx5-core.ko.xz").unwrap(), "mlx5_core");
    }

    proptest::proptest! {
        #[test]
        fn any_listing_can_be_read(text in "(-rw | 1 |lib/modules/6.1/|x.ko|\n|[ -~é]){0,40}") {
            parse(&text, "6.1");
        }
    }
}
