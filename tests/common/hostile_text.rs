//! Text that a shell would take for words of its own, and the file by which it shows that one did.

use super::tree::Tree;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// The file that a shell would make which took the text for words of its own.
pub const MARK: &str = "a-shell-was-here";

/// Text that makes [`MARK`] in whatever way a shell is led to read it: as bare words, between single quotes or double
/// ones, as more commands and more lines. It is sound shell in each, and has no `/`, so that a file may be called so.
pub fn text() -> String {
    format!("$(touch {MARK})'$(touch {MARK})'`touch {MARK}`;touch {MARK};\ntouch {MARK}\n: {{}} \\ %s")
}

/// Text that a package manager would take for an option that runs a command.
pub fn option() -> String {
    format!("-oDPkg::Pre-Invoke::=touch {MARK}")
}

/// The marks in a folder and below it.
pub fn marks(folder: &Path) -> Vec<String> {
    let is_mark = |path: &String| path.rsplit('/').next() == Some(MARK);
    Tree::of(folder).0.into_keys().filter(is_mark).collect()
}

/// Fails where a shell ran a hostile text, in any of these folders or where the test itself works.
#[track_caller]
pub fn assert_no_shell_was_here(what: &str, folders: &[&Path]) {
    let marks: Vec<String> = folders.iter().flat_map(|folder| marks(folder)).collect();
    assert!(marks.is_empty() && !Path::new(MARK).exists(), "{what}: {marks:?}");
}

/// Fails unless the text does what it is for, in every way in which a careless program would hand it to a shell.
pub fn assert_a_shell_would_be_seen() {
    for script in [format!("echo {}", text()), format!("echo \"{}\"", text()), format!("echo '{}'", text())] {
        let folder = super::scratch();
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(&folder).output().unwrap();
        assert_eq!(marks(folder.path()), [MARK], "{script}");
    }
}

/// Why a run ends that was given a hostile text: what the text names is wrong, or is not there.
pub const RIGHT_REASONS: [&str; 6] =
    ["bad-settings", "usage", "cache-missing", "size-unknown", "kernel-unsupported", "image-unsupported"];

/// The settings that take text, each with whether it takes a list of it. What takes a number, a switch or a word of a few
/// is refused by its type.
pub fn settings_of_text() -> Vec<(String, bool)> {
    let schema: Value = serde_json::from_str(&ofedctl::settings::SCHEMA).unwrap();
    let takes = |key: &str, kind: &str| schema["properties"][key]["type"].to_string().contains(kind);
    let keys = ofedctl::settings::keys().into_iter();
    let of_text = keys.filter(|key| takes(key, "string") || takes(key, "array"));
    let settings: Vec<_> = of_text.map(|key| (key.clone(), takes(&key, "array"))).collect();
    assert!(settings.len() > 15, "{settings:?}");
    settings
}

/// Those of them that a run from a sound cache takes as they are, because it needs nothing of what they say; all with a
/// text for a value.
pub fn taken_as_they_are(text: &str) -> Value {
    json!({
        "artifact": text, "mirrors": [text], "plain_http": [text], "registry_auth": text, "vendor_key": text,
        "cache_copy": text, "proxy": text, "ca_file": text,
    })
}
