//! The settings the agent hands over: `publicSettings` and, over them, `protectedSettings`, which take the same keys
//! as every other door. An unknown key is reported and ignored: it may be meant for a newer version of the handler.

use super::environment::Handler;
use super::package::BUNDLE;
use super::secrets;
use crate::config;
use crate::host::Host;
use crate::outcome::Reason;
use crate::settings::{Layer, Settings, keys};
use anyhow::Result;
use serde_json::Value;

/// Shorter words of protected settings are as likely to be part of any other text.
const SHORTEST_WORD: usize = 8;

/// What the user asked of the extension.
#[derive(Debug)]
pub(super) struct Given {
    /// The settings in force: those of the extension, over the machine's settings files and the defaults.
    pub(super) settings: Settings,
    /// Warnings about the settings, one line each.
    pub(super) warnings: Vec<String>,
}

/// Reads the settings that count now. What is secret in them is concealed in the host's events before anything else.
pub(super) fn read(host: &Host, handler: &Handler) -> Result<Given> {
    let mut layer = Layer::default();
    let mut warnings = Vec::new();
    if let Some(bundle) = handler.dir.as_ref().map(|dir| format!("{dir}/{BUNDLE}"))
        && host.root.exists(&bundle)
    {
        // A package that brings its bundle is for VMs without a network, unless the settings say otherwise.
        set(&mut layer, "cache", &Value::String(bundle)).map_err(|what| Reason::BadSettings.error(what))?;
        set(&mut layer, "offline", &Value::Bool(true)).map_err(|what| Reason::BadSettings.error(what))?;
    }
    let text = match handler.settings_file() {
        Some(file) => host.root.read_text(&file)?.unwrap_or_default(),
        None => String::new(),
    };
    let (public, protected) = parts(host, handler, &text)?;
    for (name, part) in [("publicSettings", public), ("protectedSettings", protected)] {
        add_setting(&mut layer, name, &part, &mut warnings)?;
    }
    Ok(Given { settings: config::load_from_outside(&host.root, layer, Layer::default())?, warnings })
}

/// Whether the extension was given any settings. Without them the agent has an empty file, and never reads a status
/// document (`WALinuxAgent`, azurelinuxagent/ga/exthandlers.py, `_report_ext_handler_status`).
pub(super) fn are_given(host: &Host, handler: &Handler) -> bool {
    let text = handler.settings_file().and_then(|file| host.root.read_text(&file).ok().flatten());
    text.is_some_and(|text| !text.trim_start_matches('\u{feff}').trim().is_empty())
}

/// The two parts of a settings file; null where there is nothing.
fn parts(host: &Host, handler: &Handler, text: &str) -> Result<(Value, Value)> {
    let text = text.trim_start_matches('\u{feff}');
    // An extension without settings has an empty file.
    if text.trim().is_empty() {
        return Ok((Value::Null, Value::Null));
    }
    let document: Value = serde_json::from_str(text).map_err(|error| {
        Reason::BadSettings.error(format!("the extension's settings are not JSON: {error}"))
    })?;
    let given = &document["runtimeSettings"][0]["handlerSettings"];
    conceal(host, &given["publicSettings"]);
    let protected = match given["protectedSettings"].as_str().filter(|text| !text.trim().is_empty()) {
        None => Value::Null,
        Some(base64) => {
            let thumbprint = given["protectedSettingsCertThumbprint"].as_str().unwrap_or_default();
            secrets::decrypt(host, &keys_dir(handler), thumbprint, base64)?
        }
    };
    conceal(host, &protected);
    conceal_words(host, &protected);
    Ok((given["publicSettings"].clone(), protected))
}

/// Also a public address may have a token in it that is better not repeated.
fn conceal(host: &Host, part: &Value) {
    match part {
        Value::String(word) => host.events.conceal(secrets::of_address(word)),
        Value::Array(parts) => parts.iter().for_each(|part| conceal(host, part)),
        Value::Object(parts) => parts.values().for_each(|part| conceal(host, part)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Of what the user protects, whatever is neither an address nor a path is not said at all: a key's value of its own,
/// or a login without an address.
fn conceal_words(host: &Host, protected: &Value) {
    let words = protected.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str());
    let is_word = |word: &&str| {
        word.chars().count() >= SHORTEST_WORD && !word.contains("://") && !word.starts_with('/')
    };
    host.events.conceal(words.filter(is_word).map(str::to_owned));
}

/// The agent's own folder, two above the settings'.
fn keys_dir(handler: &Handler) -> String {
    let folder = handler.config_folder.as_deref().unwrap_or_default().trim_end_matches('/');
    let above = folder.rsplitn(3, '/').nth(2).unwrap_or_default();
    if above.is_empty() { "/var/lib/waagent".to_owned() } else { above.to_owned() }
}

fn add_setting(layer: &mut Layer, name: &str, part: &Value, warnings: &mut Vec<String>) -> Result<()> {
    let given = match part {
        Value::Null => return Ok(()),
        Value::Object(given) => given,
        _ => return Err(Reason::BadSettings.error(format!("{name} are not a JSON object"))),
    };
    let known = keys();
    for (key, value) in given {
        match set(layer, key, value) {
            Ok(()) => {}
            Err(what) if !known.contains(key) => warnings.push(format!("{name}: {what}")),
            Err(what) => return Err(Reason::BadSettings.error(format!("{name}: {what}"))),
        }
    }
    Ok(())
}

fn set(layer: &mut Layer, key: &str, value: &Value) -> Result<(), String> {
    let value = serde_yaml::to_value(value).map_err(|error| format!("key `{key}`: {error}"))?;
    layer.set(key, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;
    use crate::settings::DriverChoice;

    fn given(text: &str) -> Result<Given> {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        host.root.write_text("/w/h/config/0.settings", text).unwrap();
        let config_folder = Some("/w/h/config".to_owned());
        read(&host, &Handler { dir: Some("/w/h".to_owned()), config_folder, ..Handler::default() })
    }

    fn public(settings: &str) -> String {
        format!(
            r#"{{"runtimeSettings": [{{"handlerSettings": {{"publicSettings": {settings}, "protectedSettings": null,
            "protectedSettingsCertThumbprint": null}}}}]}}"#
        )
    }

    #[test]
    fn no_settings_in_any_form_are_the_defaults() {
        for text in
            ["", " \n", "\u{feff}", "{}", r#"{"runtimeSettings": []}"#, &public("null"), &public("{}")]
        {
            let given = given(text).unwrap();
            assert_eq!((given.settings, given.warnings.len()), (Settings::default(), 0), "{text:?}");
        }
    }

    #[test]
    fn public_settings_are_the_settings_of_every_door() {
        let given = given(&public(r#"{"driver": "inbox", "offline": true, "vm_size": null}"#)).unwrap();
        assert_eq!((given.settings.driver, given.settings.offline), (DriverChoice::Inbox, true));
    }

    #[test]
    fn an_unknown_key_is_told_and_a_wrong_value_refused() {
        let odd = given(&public(r#"{"drivr": "inbox", "offline": true}"#)).unwrap();
        assert!(odd.settings.offline);
        assert_eq!(odd.warnings, ["publicSettings: unknown key `drivr`; did you mean `driver`?"]);
        for wrong in [r#"{"offline": "perhaps"}"#, "[]", "7"] {
            let error = given(&public(wrong)).unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::BadSettings, "{wrong}");
        }
        assert!(given("{").unwrap_err().to_string().contains("not JSON"));
    }

    #[test]
    fn protected_settings_without_a_usable_key_are_refused() {
        let text = public("{}").replacen("null", r#""AAAA""#, 1);
        for (thumbprint, says) in
            [("null", "thumbprint"), (r#""../X""#, "thumbprint"), (r#""AB12""#, "/w/AB12.prv")]
        {
            let error = given(&text.replace("null", thumbprint)).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn what_is_secret_in_any_setting_is_concealed() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let settings = r#"{"proxy": "http://me:secret@proxy", "mirrors": ["https://m.example/x?sig=token"]}"#;
        host.root.write_text("/w/h/config/0.settings", &public(settings)).unwrap();
        let config_folder = Some("/w/h/config".to_owned());
        read(&host, &Handler { config_folder, ..Handler::default() }).unwrap();
        let said = host.events.clean("secret of http://me:secret@proxy and ?sig=token");
        assert_eq!(said, "*** of http://***@proxy and ?***");
    }

    #[test]
    fn a_protected_word_is_not_said_and_a_protected_path_is() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let protected =
            serde_json::json!({"registry_auth": "me:correct-horse", "cache": "/srv/cache", "nic": "cx6"});
        conceal_words(&host, &protected);
        let said = "me:correct-horse, /srv/cache, cx6";
        assert_eq!(host.events.clean(said), "***, /srv/cache, cx6");
    }

    #[test]
    fn a_bundle_in_the_package_is_the_cache_unless_the_settings_name_one() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        host.root.write_text("/w/h/bundle.tar", "").unwrap();
        let handler = Handler { dir: Some("/w/h".to_owned()), ..Handler::default() };
        let settings = read(&host, &handler).unwrap().settings;
        assert_eq!((settings.cache.as_str(), settings.offline), ("/w/h/bundle.tar", true));
    }

    proptest::proptest! {
        #[test]
        fn no_settings_file_makes_the_reader_panic(text in "\\PC{0,80}") {
            let _ = (given(&text), given(&public(&text)));
        }
    }
}
