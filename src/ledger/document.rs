//! How the ledger's files are read. Every later version can read them; a version that does not understand one refuses
//! the whole file. A file that cannot be understood never counts as a missing one: the record of what belongs to this
//! program would be lost.

use crate::host::fs::Root;
use crate::outcome::Reason;
use anyhow::Result;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a document of schema version `newest` or older; `migrate` turns a document of one version into the next. None
/// where there is no such file.
pub(super) fn read<T: DeserializeOwned>(
    root: &Root,
    path: &str,
    newest: u64,
    migrate: impl Fn(u64, Value) -> Value,
) -> Result<Option<T>> {
    let unreadable = |why: String| {
        Reason::LedgerUnreadable
            .error(format!("`{path}` in `{}` cannot be read: {why}", root.path().display()))
    };
    let Some(text) = root.read_text(path)? else {
        // A dangling link or a folder at this path is an error, not a missing file.
        let is_there = root.exists(path) || root.link_target(path).is_some();
        return if is_there { Err(unreadable("it is not a file".to_owned())) } else { Ok(None) };
    };
    let mut value: Value =
        serde_json::from_str(&text).map_err(|error| unreadable(format!("it is damaged: {error}")))?;
    let version = value.get("schema_version").and_then(Value::as_u64).filter(|version| *version > 0);
    let version = version.ok_or_else(|| unreadable("it has no `schema_version`".to_owned()))?;
    if version > newest {
        let by = value.get("made_by").and_then(Value::as_str).unwrap_or("a newer version of this program");
        let what = format!(
            "it has schema version {version}, written by {by}; this version knows versions up to {newest}"
        );
        return Err(unreadable(what));
    }
    for from in version..newest {
        value = migrate(from, value);
    }
    serde_json::from_value(value).map(Some).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_not_understood_is_refused_and_never_taken_for_none() {
        let (dir, host) = on_an_empty_root(Cancel::never());
        let read = || {
            read::<BTreeMap<String, u64>>(&host.root, "/f.json", 2, |from, mut value| {
                value["schema_version"] = (from + 1).into();
                value["new"] = 5.into();
                value
            })
        };
        assert_eq!(read().unwrap(), None);
        host.root.write_text("/f.json", r#"{"schema_version": 1}"#).unwrap();
        assert_eq!(read().unwrap().unwrap()["new"], 5);
        for (text, why) in [
            ("", "damaged"),
            ("{\"schema_version\": 2, ", "damaged"),
            ("[]", "no `schema_version`"),
            ("{}", "no `schema_version`"),
            (r#"{"schema_version": "2"}"#, "no `schema_version`"),
            (r#"{"schema_version": 0}"#, "no `schema_version`"),
            (
                r#"{"schema_version": 3, "made_by": "ofedctl 9"}"#,
                "written by ofedctl 9; this version knows versions up to 2",
            ),
            (r#"{"schema_version": 2, "new": "x"}"#, "invalid type"),
        ] {
            host.root.write_text("/f.json", text).unwrap();
            let error = read().unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::LedgerUnreadable, "{text}");
            assert!(error.to_string().contains(why), "{text}: {error}");
            assert_eq!(host.root.read_text("/f.json").unwrap().unwrap(), text);
        }
        host.root.remove_file("/f.json").unwrap();
        std::os::unix::fs::symlink("gone", dir.path().join("f.json")).unwrap();
        assert_eq!(Reason::from_error(&read().unwrap_err()), Reason::LedgerUnreadable);
        std::fs::remove_file(dir.path().join("f.json")).unwrap();
        std::fs::create_dir(dir.path().join("f.json")).unwrap();
        assert_eq!(Reason::from_error(&read().unwrap_err()), Reason::LedgerUnreadable);
    }
}
