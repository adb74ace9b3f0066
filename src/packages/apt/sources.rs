//! The target's apt configuration, copied into a private folder so that apt of this machine can use it.
//!
//! Copied are sources, preferences, keys and logins, each read inside the target's root. Not copied is
//! `apt.conf`: it can name commands that apt would run here, as root.

use crate::host::fs::Root;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

const SINGLE_FILES: [&str; 4] = ["sources.list", "preferences", "trusted.gpg", "auth.conf"];
const FOLDERS: [&str; 4] = ["sources.list.d", "preferences.d", "trusted.gpg.d", "auth.conf.d"];

/// Copies `/etc/apt` of `root` into `etc`, and the keys that sources name into `keys`.
pub(super) fn copy(root: &Root, etc: &Path, keys: &Path) -> Result<()> {
    fs::create_dir_all(keys).with_context(|| format!("cannot make `{}`", keys.display()))?;
    for folder in FOLDERS {
        let to = etc.join(folder);
        fs::create_dir_all(&to).with_context(|| format!("cannot make `{}`", to.display()))?;
        for name in root.list(&format!("/etc/apt/{folder}")) {
            copy_file(root, &format!("{folder}/{name}"), etc, keys)?;
        }
    }
    for name in SINGLE_FILES {
        copy_file(root, name, etc, keys)?;
    }
    Ok(())
}

fn copy_file(root: &Root, name: &str, etc: &Path, keys: &Path) -> Result<()> {
    let Some(bytes) = root.read(&format!("/etc/apt/{name}"))? else { return Ok(()) };
    let is_source = name == "sources.list" || name.starts_with("sources.list.d/");
    let bytes = if is_source {
        let text = without_brought(&String::from_utf8_lossy(&bytes));
        with_private_keys(&text, |key| copy_key(root, key, keys))?.into_bytes()
    } else {
        bytes
    };
    let to = etc.join(name);
    fs::write(&to, bytes).with_context(|| format!("cannot write `{}`", to.display()))
}

/// The sources without those of DOCA-Host's package, which lie inside the target: they are resolved against from the
/// package itself.
fn without_brought(text: &str) -> String {
    let is_brought = |part: &&str| part.contains("file:") && part.contains("/usr/share/doca-host-");
    if text.lines().any(|line| line.starts_with("Types:")) {
        return text.split("\n\n").filter(|part| !is_brought(part)).collect::<Vec<_>>().join("\n\n");
    }
    text.split_inclusive('\n').filter(|line| !is_brought(line)).collect()
}

fn copy_key(root: &Root, key: &str, keys: &Path) -> Result<PathBuf> {
    let to = keys.join(key.trim_start_matches('/').replace('/', "_"));
    // A missing key stays missing: apt then says which source it cannot trust.
    if let Some(bytes) = root.read(key)? {
        fs::write(&to, bytes).with_context(|| format!("cannot write `{}`", to.display()))?;
    }
    Ok(to)
}

/// Rewrites `signed-by=/path` (one-line style) and `Signed-By: /path` (deb822 style) through `copy_key`.
/// Fingerprints and keys written inline stay as they are.
fn with_private_keys(text: &str, copy_key: impl Fn(&str) -> Result<PathBuf>) -> Result<String> {
    let mut rewritten = String::with_capacity(text.len());
    for line in text.lines() {
        let lower = line.to_ascii_lowercase();
        let value_at = if lower.starts_with("signed-by:") {
            Some("signed-by:".len())
        } else if lower.trim_start().starts_with("deb") {
            lower.find("signed-by=").map(|at| at + "signed-by=".len())
        } else {
            None
        };
        match value_at {
            None => rewritten.push_str(line),
            Some(at) => {
                let (head, rest) = line.split_at(at);
                let inline_style = head.ends_with('=');
                let end =
                    if inline_style { rest.find([' ', '\t', ']']).unwrap_or(rest.len()) } else { rest.len() };
                let (value, tail) = rest.split_at(end);
                let keys = value.split([',', ' ', '\t']).filter(|key| !key.is_empty()).map(|key| {
                    if key.starts_with('/') {
                        Ok(copy_key(key)?.display().to_string())
                    } else {
                        Ok(key.to_owned())
                    }
                });
                let keys = keys.collect::<Result<Vec<_>>>()?.join(if inline_style { "," } else { " " });
                rewritten.push_str(head);
                if !inline_style && !keys.is_empty() {
                    rewritten.push(' ');
                }
                rewritten.push_str(&keys);
                rewritten.push_str(tail);
            }
        }
        rewritten.push('\n');
    }
    Ok(rewritten)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(text: &str) -> String {
        with_private_keys(text, |key| Ok(PathBuf::from(format!("/private{key}")))).unwrap()
    }

    #[test]
    fn keys_named_by_a_source_are_those_of_the_target() {
        assert_eq!(
            rewrite("deb [arch=amd64 signed-by=/k/a.gpg,/k/b.asc] http://x y main\n"),
            "deb [arch=amd64 signed-by=/private/k/a.gpg,/private/k/b.asc] http://x y main\n"
        );
        assert_eq!(rewrite("Types: deb\nSigned-By: /k/a.gpg\n"), "Types: deb\nSigned-By: /private/k/a.gpg\n");
    }

    #[test]
    fn inline_keys_fingerprints_and_comments_stay() {
        for text in [
            "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n",
            "Signed-By: 0123456789ABCDEF\n",
            "# deb [signed-by=/k/a.gpg] http://x y main\n",
            "deb http://x y main\n",
        ] {
            assert_eq!(rewrite(text), text);
        }
    }

    #[test]
    fn sources_that_an_installed_vendor_package_brought_are_left_out() {
        let brought = "file:///usr/share/doca-host-3.2.1/repo";
        assert_eq!(
            without_brought(&format!("deb {brought} ./\ndeb http://x y main\n")),
            "deb http://x y main\n"
        );
        let other = "Types: deb\nURIs: http://x\n";
        assert_eq!(without_brought(&format!("Types: deb\nURIs: {brought}\nSuites: ./\n\n{other}")), other);
    }

    proptest::proptest! {
        #[test]
        fn no_source_makes_the_rewriter_panic(text in "(deb |signed-by=|Signed-By:|/|\\]|[a-zé \n]){0,40}") {
            rewrite(&text);
        }
    }
}
