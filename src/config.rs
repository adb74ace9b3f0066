//! Loads the settings: the files of a root, overridden by the settings that the entry point (command line, Packer,
//! cloud-init, VM extension) was given.

use crate::host::fs::Root;
use crate::host::has_extension;
use crate::host::http;
use crate::host::owner::Owners;
use crate::outcome::Reason;
use crate::settings::{CONFIG_DIR, CONFIG_FILE, Guarded, IMAGE_DIR, Layer, Settings, keys};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;

/// The largest part of a file that is read. Real settings files are smaller; a longer one is refused by the parser.
const MAX_BYTES: u64 = 2 << 20;
/// The value of [`Origin::source`] for a key that nobody set.
pub const DEFAULT: &str = "default";

/// The settings of a root, or the defaults where there is no root, overridden by the settings given to the entry point.
///
/// A file that is wrong ends in [`crate::outcome::Reason::BadSettings`] with its path and line.
pub fn load(root: Option<&Root>, door: Layer) -> Result<Settings> {
    let files = root.map(layers).transpose()?.unwrap_or_default();
    Settings::from_layers(files.into_iter().map(|(_, layer)| layer).chain([door]))
}

/// The same for a host outside the machine: `door` are user data or an extension's settings, and `over` what is laid over
/// both by whoever is root here. What the files say of trust, such settings may tighten; they loosen it only as far as
/// the files permit.
pub fn load_from_outside(root: &Root, door: Layer, over: Layer) -> Result<Settings> {
    let files: Vec<Layer> = layers(root)?.into_iter().map(|(_, layer)| layer).collect();
    let image = Settings::from_layers(files.clone())?;
    if door.sets("may_loosen") {
        let what = "key `may_loosen`: it counts in the image's own files alone";
        return Err(Reason::BadSettings.error(what));
    }
    let told = Settings::from_layers(files.iter().cloned().chain([door.clone()]))?;
    let loosened = |key: &Guarded| key.is_loosened(&image, &told) && !image.may_loosen.contains(key);
    if let Some(key) = Guarded::ALL.into_iter().find(loosened) {
        return Err(Reason::BadSettings.error(format!(
            "key `{0}`: the image's own settings are stricter, and do not have `{0}` in `may_loosen`",
            key.key()
        )));
    }
    Settings::from_layers(files.into_iter().chain([door, over]))
}

/// The source of one key's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The key.
    pub key: String,
    /// The file, the name of the entry point's layer, or [`DEFAULT`].
    pub source: String,
}

/// The settings, and for each key, in the order of the schema, the layer that set it. `name` is the name of the entry
/// point's layer.
pub fn load_with_origins(root: &Root, name: &str, door: Layer) -> Result<(Settings, Vec<Origin>)> {
    let mut layers = layers(root)?;
    layers.push((name.to_owned(), door));
    let source = |key: &str| layers.iter().rev().find(|(_, layer)| layer.sets(key)).map(|(source, _)| source);
    let origins = keys().into_iter().map(|key| {
        let source = source(&key).map_or(DEFAULT, String::as_str).to_owned();
        Origin { key, source }
    });
    let origins = origins.collect();
    Ok((Settings::from_layers(layers.into_iter().map(|(_, layer)| layer))?, origins))
}

/// All settings by key, without logins and signatures of addresses.
pub fn shown_values(settings: &Settings) -> BTreeMap<String, Value> {
    let value = serde_json::to_value(settings).unwrap_or_default();
    let all = value.as_object().into_iter().flatten();
    all.map(|(key, value)| (key.clone(), without_secrets(value))).collect()
}

/// The settings that are not the defaults, in the same form.
pub fn changed_values(settings: &Settings) -> BTreeMap<String, Value> {
    let defaults = shown_values(&Settings::default());
    let mut values = shown_values(settings);
    values.retain(|key, value| defaults.get(key) != Some(value));
    values
}

/// A value whose addresses have lost login, query and fragment, wherever they stand in it.
pub fn without_secrets(value: &Value) -> Value {
    match value {
        // A mirror is two addresses, `FROM=TO`.
        Value::String(text) => match text.split_once("=http") {
            Some((from, to)) if from.contains("://") && !from.contains('?') => {
                let to = http::without_secrets(&format!("http{to}"));
                Value::String(format!("{}={to}", http::without_secrets(from)))
            }
            _ if text.contains("://") => Value::String(http::without_secrets(text)),
            _ => value.clone(),
        },
        Value::Array(values) => values.iter().map(without_secrets).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), without_secrets(value))).collect())
        }
        other => other.clone(),
    }
}

/// The files of a root with their paths; later ones override earlier ones.
fn layers(root: &Root) -> Result<Vec<(String, Layer)>> {
    let mut layers = Vec::new();
    for path in files(root) {
        if let Some(text) = read(root, &path)? {
            let layer = Layer::parse(&path, &text)?;
            layers.push((path, layer));
        }
    }
    Ok(layers)
}

/// Reads one file, which only root may be able to write: it decides which key is trusted and where drivers come from.
fn read(root: &Root, path: &str) -> Result<Option<String>> {
    let Some((file, metadata)) = root.open_file(path)? else { return Ok(None) };
    let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
    let above = root.metadata(folder);
    for (what, metadata) in std::iter::once((path, &metadata)).chain(above.as_ref().map(|it| (folder, it))) {
        Owners::default().check(what, metadata)?;
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).with_context(|| format!("cannot read `{path}`"))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The paths of the files; later ones override earlier ones.
fn files(root: &Root) -> impl Iterator<Item = String> {
    let image = drop_ins(root, IMAGE_DIR);
    image.chain(std::iter::once(CONFIG_FILE.to_owned())).chain(drop_ins(root, CONFIG_DIR))
}

fn drop_ins(root: &Root, folder: &'static str) -> impl Iterator<Item = String> {
    let is_yaml = |name: &String| has_extension(name, "yaml");
    root.list(folder).into_iter().filter(is_yaml).map(move |name| format!("{folder}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;
    use std::path::Path;

    #[test]
    fn a_login_and_a_signature_are_not_shown() {
        let value = serde_json::json!([
            "https://me:secret@a/x?sig=secret",
            "https://a/=https://me:secret@b/",
            "plain=x"
        ]);
        let shown = without_secrets(&value).to_string();
        assert!(!shown.contains("secret") && shown.contains("plain=x"), "{shown}");
        let settings = Settings { offline: true, ..Settings::default() };
        assert_eq!(changed_values(&settings).into_keys().collect::<Vec<_>>(), ["offline"]);
    }

    #[test]
    fn an_administrators_file_lies_over_the_images_and_leaves_its_other_keys() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let files = [
            (
                "/usr/lib/ofedctl/config.d/50-image.yaml",
                "offline: true\ncache: /srv/image\nmirrors: [a, b]\n",
            ),
            ("/etc/ofedctl/config.yaml", "cache: /srv/site\n"),
            ("/etc/ofedctl/config.d/50-site.yaml", "mirrors: [c]\n"),
            ("/etc/ofedctl/config.d/50-site.yaml.bak", "mirrors: [d]\n"),
        ];
        for (path, text) in files {
            host.root.write_text(path, text).unwrap();
        }
        let mut door = Layer::default();
        door.set("ipoib", false.into()).unwrap();
        let (settings, origins) = load_with_origins(&host.root, "command line", door.clone()).unwrap();
        assert_eq!(load(Some(&host.root), door).unwrap(), settings);
        assert!(settings.offline && !settings.ipoib);
        // A list replaces the earlier list as a whole.
        assert_eq!((settings.cache.as_str(), settings.mirrors), ("/srv/site", vec!["c".to_owned()]));
        let source = |key: &str| origins.iter().find(|origin| origin.key == key).unwrap().source.clone();
        assert_eq!(source("offline"), files[0].0);
        assert_eq!(source("cache"), files[1].0);
        assert_eq!(source("mirrors"), files[2].0);
        assert_eq!((source("ipoib"), source("nic")), ("command line".to_owned(), DEFAULT.to_owned()));
    }

    #[test]
    fn what_comes_with_a_vm_may_tighten_trust_and_loosens_it_only_where_the_image_permits() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let image = "/usr/lib/ofedctl/config.d/50-image.yaml";
        let strict = "trust: signed\npublic_key: /etc/key.pem\noffline: true\n";
        let load = |files: &str, door: &str| {
            host.root.write_text(image, files).unwrap();
            load_from_outside(&host.root, Layer::parse("door", door).unwrap(), Layer::default())
        };
        for door in ["trust: digest", "offline: true", "public_key: /etc/key.pem", "driver: inbox"] {
            load(strict, door).unwrap();
        }
        let table = [
            ("trust", "trust: first-use"),
            ("public_key", "public_key: /tmp/other.pem"),
            ("offline", "offline: false"),
            ("allow_older", "allow_older: true"),
            ("vendor_key", "vendor_key: /tmp/other.asc"),
            ("trusted_owner", "trusted_owner: nobody"),
        ];
        for (key, door) in table {
            let error = load(strict, door).unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::BadSettings, "{door}");
            assert!(error.to_string().contains(key), "{error:#}");
            load(&format!("{strict}may_loosen: [{key}]\n"), door).unwrap();
            load("", door).unwrap();
        }
        assert!(load(strict, "may_loosen: [trust]").is_err());
    }

    #[test]
    fn as_root_a_settings_file_that_others_may_change_is_refused() {
        use crate::outcome::Reason;
        use std::os::unix::fs::{PermissionsExt, chown};
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.write_text("/etc/ofedctl/config.d/zz.yaml", "public_key: /etc/other.pem\n").unwrap();
        let path = dir.path().join("etc/ofedctl/config.d/zz.yaml");
        let load = || load(Some(&root), Layer::default());
        assert!(load().is_ok());
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for hostile in [&path, path.parent().unwrap()] {
            let before = std::fs::metadata(hostile).unwrap().permissions().mode();
            mode(hostile, 0o777);
            let error = load().unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::UnsafeOwner);
            assert!(error.to_string().contains(hostile.file_name().unwrap().to_str().unwrap()), "{error}");
            mode(hostile, before);
            chown(hostile, Some(65534), None).unwrap();
            assert_eq!(Reason::from_error(&load().unwrap_err()), Reason::UnsafeOwner);
            chown(hostile, Some(0), None).unwrap();
        }
        assert!(load().is_ok());
    }
}
