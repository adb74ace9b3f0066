//! Which kernel modules a kernel has: as depmod indexed them, or built in.

use crate::host::fs::Root;
use serde::{Deserialize, Serialize};

/// Where a kernel has a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Module {
    /// A file, relative to the kernel's module folder.
    File(String),
    /// Part of the kernel itself.
    BuiltIn,
    /// Nowhere.
    Missing,
}

/// Looks modules up by name for one kernel, in the order asked. Names use underscores, as lsmod prints them.
pub fn find(root: &Root, kernel: &str, names: &[String]) -> Vec<Module> {
    let index = |name: &str| {
        root.read_text(&format!("/lib/modules/{kernel}/{name}")).ok().flatten().unwrap_or_default()
    };
    let (loadable, built_in) = (index("modules.dep"), index("modules.builtin"));
    let mut found = vec![Module::Missing; names.len()];
    for line in built_in.lines() {
        if let Some(at) = position(names, line) {
            found[at] = Module::BuiltIn;
        }
    }
    for line in loadable.lines() {
        let path = line.split(':').next().unwrap_or_default();
        if let Some(at) = position(names, path) {
            found[at] = Module::File(path.to_owned());
        }
    }
    found
}

fn position(names: &[String], path: &str) -> Option<usize> {
    let file = path.rsplit('/').next()?;
    let stem = file.split_once(".ko").map_or(file, |(stem, _)| stem);
    names.iter().position(|name| {
        name.len() == stem.len()
            && name.bytes().zip(stem.bytes()).all(|(a, b)| a == b || (a == b'_' && b == b'-'))
    })
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
    }
}
