//! The kernel modules of a kernel: files in depmod's index, or built in.

use crate::host::fs::Root;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read};

/// The longest line that is taken as one. A module needs some dozen others at most, so real lines are much shorter.
const LONGEST_LINE: u64 = 1 << 20;

/// The place of a kernel's module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Module {
    /// A file, relative to the kernel's module folder.
    File(String),
    /// Part of the kernel itself.
    BuiltIn,
    /// Nowhere.
    Missing,
}

/// The owner of a kernel's module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The kernel's own, a file.
    Kernel,
    /// The kernel's own and built in, so that no other can be loaded (`CONFIG_MLX5_CORE=y`; seen in Ubuntu's azure
    /// kernel 4.15.0-1041, microsoft/azure-linux-kernel issue 28).
    BuiltIn,
    /// A vendor driver's. depmod prefers it to the kernel's own.
    Added,
    /// A vendor driver's that was built for another kernel; `weak-modules` links it if the symbols fit.
    Linked,
    /// Nowhere.
    Missing,
}

impl From<&Module> for Place {
    fn from(module: &Module) -> Self {
        match module {
            Module::File(path) if path.starts_with("kernel/") => Self::Kernel,
            Module::File(path) if path.starts_with("weak-updates/") => Self::Linked,
            Module::File(_) => Self::Added,
            Module::BuiltIn => Self::BuiltIn,
            Module::Missing => Self::Missing,
        }
    }
}

/// Looks modules up by name for one kernel, in the order asked. Names use underscores, as lsmod prints them.
pub fn find(root: &Root, kernel: &str, names: &[String]) -> Vec<Module> {
    read(root, kernel, names, |_, _| {})
}

/// Looks modules up as [`find`] does, and meanwhile calls `each` with every module file, relative to the kernel's folder,
/// and the files that it needs, as `depmod` lists them.
pub fn read(root: &Root, kernel: &str, names: &[String], mut each: impl FnMut(&str, &str)) -> Vec<Module> {
    let mut found = vec![Module::Missing; names.len()];
    let index = |name: &str| format!("/lib/modules/{kernel}/{name}");
    each_line(root, &index("modules.dep"), |line| {
        let line = String::from_utf8_lossy(line);
        let (path, needs) = line.split_once(':').unwrap_or((&line, ""));
        each(path, needs);
        if let Some(at) = position(names, path.as_bytes()) {
            found[at] = Module::File(path.to_owned());
        }
    });
    // Last, because a file beside a built-in module is never loaded.
    each_line(root, &index("modules.builtin"), |line| {
        if let Some(at) = position(names, line) {
            found[at] = Module::BuiltIn;
        }
    });
    found
}

/// The name of a module file, with underscores as lsmod prints it.
pub fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// Calls `each` with every line of a file; with none where it cannot be read. The index of a stock kernel has half a
/// megabyte and is read at every boot: memory for all of it at once would cost more time than looking through it.
fn each_line(root: &Root, path: &str, mut each: impl FnMut(&[u8])) {
    const BUFFER: usize = 32 << 10;
    let Ok(Some((file, _))) = root.open_file(path) else { return };
    let mut file = BufReader::with_capacity(BUFFER, file);
    let mut line = Vec::new();
    while matches!(file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line), Ok(1..)) {
        each(line.strip_suffix(b"\n").unwrap_or(&line));
        line.clear();
    }
}

/// Which of the names a module file has: `…/mlx5_ib.ko.xz` has `mlx5_ib`, and dashes are underscores.
fn position(names: &[String], path: &[u8]) -> Option<usize> {
    let file = path.rsplit(|byte| *byte == b'/').next()?;
    let stem = file.split(|byte| *byte == b'.').next()?;
    let same = |name: &String| {
        name.len() == stem.len() && name.bytes().zip(stem).all(|(a, b)| a == *b || (a == b'_' && *b == b'-'))
    };
    names.iter().position(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_loadable_built_in_or_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("lib/modules/6.1");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("modules.dep"),
            "kernel/drivers/infiniband/hw/mlx5/mlx5_ib.ko.xz: kernel/x.ko.xz\nkernel/a-b.ko:\n",
        )
        .unwrap();
        std::fs::write(folder.join("modules.builtin"), "kernel/drivers/infiniband/core/ib_core.ko\n")
            .unwrap();
        let root = Root::open(dir.path()).unwrap();
        let names = ["mlx5_ib", "a_b", "ib_core", "mlx5"].map(str::to_owned);
        let found = find(&root, "6.1", &names);
        assert_eq!(found[0], Module::File("kernel/drivers/infiniband/hw/mlx5/mlx5_ib.ko.xz".into()));
        assert_eq!(found[1..], [Module::File("kernel/a-b.ko".into()), Module::BuiltIn, Module::Missing]);
        let added = Module::File("updates/dkms/mlx5_core.ko".into());
        let places = [&found[0], &found[2], &found[3], &added].map(Place::from);
        assert_eq!(places, [Place::Kernel, Place::BuiltIn, Place::Missing, Place::Added]);
    }
}
