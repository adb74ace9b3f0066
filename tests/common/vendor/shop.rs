//! A web server with vendor packages, and the catalogue that names them with their digests.

use crate::common::{program, web::Web};
use ofedctl::catalog::package_names::FileName;
use ofedctl::target::Driver;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Serves files until it is dropped.
#[derive(Debug)]
pub struct Shop {
    pub web: Web,
    folder: tempfile::TempDir,
}

impl Shop {
    /// Lets `fill` make vendor packages in a folder, serves them, and has `catalog import` make a catalogue of a list
    /// in the form of azhpc-images' `versions.json`.
    pub fn of(fill: impl FnOnce(&Path)) -> Self {
        let folder = crate::common::scratch();
        fill(folder.path());
        let web = Web::serve(folder.path());
        let list = json!({ "doca": {}, "mofed": {} });
        let shop = Self { web, folder };
        let list = shop.files().iter().fold(list, |list, file| shop.listed(list, file));
        let versions = shop.folder.path().join("versions.json");
        std::fs::write(&versions, list.to_string()).unwrap();
        let path = |path: &Path| path.display().to_string();
        let import =
            ["catalog", "import", &path(&versions), "--out", &path(&shop.catalog())].map(str::to_owned);
        let ran = program::run(&import);
        assert_eq!(ran.code, 0, "{ran:?}");
        for_any_kernel(&shop.catalog());
        shop
    }

    /// The catalogue, for `--catalog`.
    pub fn catalog(&self) -> PathBuf {
        self.folder.path().join("catalog.yaml")
    }

    /// Where the packages lie on this machine.
    pub fn files(&self) -> Vec<PathBuf> {
        let all = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        all.filter(|path| FileName::parse(&name(path)).is_some()).collect()
    }

    fn listed(&self, mut list: Value, file: &Path) -> Value {
        let name = file.file_name().unwrap().to_str().unwrap();
        let parsed = FileName::parse(name).unwrap();
        let section = if parsed.driver == Driver::Doca { "doca" } else { "mofed" };
        let (distro, arch) = (parsed.distro.unwrap().to_string(), parsed.arch.unwrap().to_string());
        list[section][distro][arch] = json!({
            "version": parsed.version.to_string(),
            "sha256": crate::common::sha256(&std::fs::read(file).unwrap()),
            "url": format!("{}/{name}", self.web.address()),
        });
        list
    }
}

/// The tests' modules are few lines of code that build for every kernel; the real ones are not known to build for that of
/// Debian 12, which the tests' roots have.
fn for_any_kernel(catalog: &Path) {
    let text = std::fs::read_to_string(catalog).unwrap();
    let mut catalog_of: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    for (_, line) in catalog_of["lines"].as_mapping_mut().unwrap() {
        let line = line.as_mapping_mut().unwrap();
        line.remove("kernel_below");
        line.remove("kernel_source");
    }
    std::fs::write(catalog, serde_yaml::to_string(&catalog_of).unwrap()).unwrap();
}
