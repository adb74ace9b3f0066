//! Edits of configuration files, as data: what a plan asks for, what configure makes and verify compares.

use serde::{Deserialize, Serialize};

/// One edit. Making it twice is the same as making it once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "edit", rename_all = "kebab-case")]
pub enum Edit {
    /// The file has exactly this content.
    WriteFile {
        /// The file, inside the root.
        path: String,
        /// Its whole content.
        content: String,
        /// What it is for, in a few words.
        why: String,
    },
    /// A `key=value` file sets this key; nothing happens where the file does not exist.
    SetKey {
        /// The file, inside the root.
        path: String,
        /// The key.
        key: String,
        /// The value it has afterwards.
        value: String,
        /// What it is for, in a few words.
        why: String,
    },
}

impl Edit {
    /// The file it edits.
    pub fn path(&self) -> &str {
        match self {
            Self::WriteFile { path, .. } | Self::SetKey { path, .. } => path,
        }
    }

    /// What it is for.
    pub fn why(&self) -> &str {
        match self {
            Self::WriteFile { why, .. } | Self::SetKey { why, .. } => why,
        }
    }

    /// The file's new content, given what it holds now; none when it is already right or not there to be edited.
    pub fn apply(&self, current: Option<&str>) -> Option<String> {
        match self {
            Self::WriteFile { content, .. } => (current != Some(content)).then(|| content.clone()),
            Self::SetKey { key, value, .. } => {
                let current = current?;
                let edited = set_key(current, key, value);
                (edited != current).then_some(edited)
            }
        }
    }
}

/// Sets `key=value` whatever form its line has now: active, commented out (`# OS.EnableRDMA=y` is how waagent
/// ships it), with other spacing, twice, or missing.
fn set_key(text: &str, key: &str, value: &str) -> String {
    let wanted = format!("{key}={value}");
    let active = |line: &str| names_key(line, key);
    let commented = |line: &str| line.trim_start().strip_prefix('#').is_some_and(|rest| names_key(rest, key));
    let replace_at = text.lines().position(active).or_else(|| text.lines().position(commented));
    let mut edited = String::with_capacity(text.len() + wanted.len() + 1);
    for (at, line) in text.lines().enumerate() {
        if Some(at) == replace_at {
            edited.push_str(&wanted);
        } else if active(line) {
            // A second active line would win in some readers and lose in others.
            continue;
        } else {
            edited.push_str(line);
        }
        edited.push('\n');
    }
    if replace_at.is_none() {
        edited.push_str(&wanted);
        edited.push('\n');
    }
    edited
}

fn names_key(line: &str, key: &str) -> bool {
    line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_set_whatever_form_its_line_has() {
        let table = [
            ("A=1\n# OS.EnableRDMA=y\nB=2\n", "A=1\nOS.EnableRDMA=y\nB=2\n"),
            ("# OS.EnableRDMA=n\n", "OS.EnableRDMA=y\n"),
            ("OS.EnableRDMA = n\n", "OS.EnableRDMA=y\n"),
            ("#OS.EnableRDMA=y\nOS.EnableRDMA=n\nOS.EnableRDMA=n\n", "#OS.EnableRDMA=y\nOS.EnableRDMA=y\n"),
            ("OS.EnableRDMAX=n", "OS.EnableRDMAX=n\nOS.EnableRDMA=y\n"),
            ("", "OS.EnableRDMA=y\n"),
        ];
        for (before, after) in table {
            assert_eq!(set_key(before, "OS.EnableRDMA", "y"), after, "{before:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_gets_no_key() {
        let edit = Edit::SetKey { path: "/f".into(), key: "K".into(), value: "v".into(), why: String::new() };
        assert_eq!(edit.apply(None), None);
    }

    proptest::proptest! {
        #[test]
        fn an_edit_made_twice_is_the_edit_made_once(text in "(#|K|=|v|w| |\n){0,30}") {
            let edit = Edit::SetKey { path: "/f".into(), key: "K".into(), value: "v".into(), why: String::new() };
            let once = edit.apply(Some(&text)).unwrap_or(text);
            proptest::prop_assert_eq!(edit.apply(Some(&once)), None);
        }
    }
}
