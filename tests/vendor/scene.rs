//! A root, a cache and a shop of vendor packages, and what users do with them.

use crate::common::image::VM_SIZE;
use crate::common::program::{self, Ran};
use crate::common::root::Root;
use crate::common::vendor::{self, modules::BUILDS, shop::Shop};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// All of it.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) root: Root,
    pub(crate) cache: PathBuf,
    catalog: PathBuf,
    folder: Rc<tempfile::TempDir>,
}

impl Scene {
    /// With an empty cache.
    pub(crate) fn new(shop: &Shop, root: Root) -> Self {
        let folder = Rc::new(crate::common::scratch());
        Self { root, cache: folder.path().join("cache"), catalog: shop.catalog(), folder }
    }

    /// Another root with the same cache.
    pub(crate) fn again(&self, root: Root) -> Self {
        let (cache, catalog) = (self.cache.clone(), self.catalog.clone());
        Self { root, cache, catalog, folder: Rc::clone(&self.folder) }
    }

    /// The root's one kernel.
    pub(crate) fn kernel(&self) -> String {
        let [kernel] = <[String; 1]>::try_from(vendor::kernels(&self.root)).unwrap();
        kernel
    }

    pub(crate) fn stage(&self, more: &[&str]) -> Ran {
        program::run(&self.arguments("stage", more))
    }

    /// Where neither the program nor what it runs has a network.
    pub(crate) fn bake(&self, more: &[&str]) -> Ran {
        let more = [&["--offline"], more].concat();
        program::finish(program::program_without_network(&self.arguments("bake", &more)))
    }

    /// The same root and cache, with another catalogue.
    pub(crate) fn with_catalog_of(self, shop: &Shop) -> Self {
        Self { catalog: shop.catalog(), ..self }
    }

    pub(crate) fn arguments(&self, command: &str, more: &[&str]) -> Vec<String> {
        let mut all = self.arguments_without_root(command, more);
        all.extend(["--root".to_owned(), self.root.path().display().to_string()]);
        all
    }

    /// A command line that still lacks its `--root`.
    pub(crate) fn arguments_without_root(&self, command: &str, more: &[&str]) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let (cache, catalog) = (path(&self.cache), path(&self.catalog));
        let all = [command, "--catalog", &catalog, "--vm-size", VM_SIZE, "--json"];
        // A plan needs no cache, and looks into the one that the settings name.
        let setting = format!("cache={cache}");
        let of_cache = if command == "plan" { ["--set", &setting] } else { ["--cache", &cache] };
        all.iter().chain(&of_cache).chain(more).map(|word| (*word).to_owned()).collect()
    }
}

/// What was compiled in a root, and for which kernels, in that order.
pub(crate) fn builds(root: &Root) -> Vec<String> {
    root.read(BUILDS).lines().map(str::to_owned).collect()
}
