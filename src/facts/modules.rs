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
    read(root, kernel, names, |_| {})
}

/// A module in depmod's index.
#[derive(Debug, Clone, Copy)]
pub struct Indexed<'a> {
    /// Its name, with dashes or underscores as its file has them.
    stem: &'a str,
    /// Its file, relative to the kernel's module folder.
    pub path: &'a str,
    /// The files that it needs, with blanks between them.
    pub needs: &'a str,
}

impl<'a> Indexed<'a> {
    /// Reads a line of `modules.dep`.
    pub fn parse(line: &'a str) -> Self {
        let (path, needs) = line.split_once(':').unwrap_or((line, ""));
        Self { stem: stem_of(path), path, needs }
    }

    /// Whether it has this name, which is with underscores.
    pub fn is(&self, name: &str) -> bool {
        is_same(self.stem, name)
    }
}

/// Looks modules up as [`find`] does, and meanwhile calls `each` with every module that `depmod` lists.
pub fn read(root: &Root, kernel: &str, names: &[String], mut each: impl FnMut(Indexed)) -> Vec<Module> {
    let mut found = vec![Module::Missing; names.len()];
    let index = |name: &str| format!("/lib/modules/{kernel}/{name}");
    each_line(root, &index("modules.dep"), |line| {
        let module = Indexed::parse(line);
        each(module);
        if let Some(at) = names.iter().position(|name| module.is(name)) {
            found[at] = Module::File(module.path.to_owned());
        }
    });
    // Last, because a file beside a built-in module is never loaded.
    each_line(root, &index("modules.builtin"), |line| {
        if let Some(at) = names.iter().position(|name| has_name(line, name)) {
            found[at] = Module::BuiltIn;
        }
    });
    found
}

/// The name of a module file, with underscores as lsmod prints it: `…/mlx5-ib.ko.xz` has `mlx5_ib`.
pub fn name_of(path: &str) -> String {
    stem_of(path).replace('-', "_")
}

/// Whether a module file has this name, which is with underscores.
pub fn has_name(path: &str, name: &str) -> bool {
    is_same(stem_of(path), name)
}

fn stem_of(path: &str) -> &str {
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    file.split_once('.').map_or(file, |(stem, _)| stem)
}

fn is_same(stem: &str, name: &str) -> bool {
    stem.len() == name.len()
        && stem.bytes().zip(name.bytes()).all(|(a, b)| a == b || (a == b'-' && b == b'_'))
}

/// Calls `each` with every line of a file; with none where it cannot be read. The index of a stock kernel has half a
/// megabyte and is read at every boot: memory for all of it at once would cost more time than looking through it.
fn each_line(root: &Root, path: &str, mut each: impl FnMut(&str)) {
    const BUFFER: usize = 32 << 10;
    let Ok(Some((file, _))) = root.open_file(path) else { return };
    let mut file = BufReader::with_capacity(BUFFER, file);
    let mut line = Vec::new();
    while matches!(file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line), Ok(1..)) {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        match std::str::from_utf8(text) {
            Ok(text) => each(text),
            Err(_) => each(&String::from_utf8_lossy(text)),
        }
        line.clear();
    }
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
