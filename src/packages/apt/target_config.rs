//! The settings for this machine's apt when it resolves for a target: those settings of the target that say how its
//! sources are reached and which versions are chosen, and none of this machine's. `apt.conf` can name commands that apt
//! would run here as root, so only the keys below are used. The file is parsed by apt itself, because no other parser
//! understands all its forms.

use super::sources::Target;
use crate::host::Host;
use crate::host::run::Cmd;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The prefixes of the target's settings that are used, in lower case (apt.conf(5)).
const TAKEN: [&str; 9] = [
    "acquire::http::",
    "acquire::https::",
    "acquire::check-date",
    "acquire::check-valid-until",
    "acquire::max-validtime",
    "acquire::min-validtime",
    "acquire::by-hash",
    "acquire::forceipv",
    "apt::default-release",
];
/// Commands that apt would run to find a proxy.
const NEVER: [&str; 2] = ["proxy-auto-detect", "proxyautodetect"];
/// Files that are named by path.
const FILES: [&str; 6] = ["cainfo", "sslcert", "sslkey", "crlfile", "issuercert", "capath"];

/// Writes a file for `$APT_CONFIG` and returns its path. apt reads it first, and since it sets other folders, apt reads
/// nothing in this machine's `/etc/apt` afterwards.
pub(super) fn write(host: &Host, target: &Target, scratch: &Path) -> Result<PathBuf> {
    let etc = scratch.join("etc");
    // Whatever the target's settings say of where settings are.
    let own = format!(
        "Dir::Etc \"{}\";\nDir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n",
        etc.display()
    );
    let (read, written) = (scratch.join("target.conf"), scratch.join("apt.conf"));
    let keep = |path: &Path, text: &str| {
        super::run::write_private(path, text).with_context(|| format!("cannot write `{}`", path.display()))
    };
    keep(&read, &(settings(target)? + &own))?;
    let dump = Cmd::new("apt-config").arg("dump").env("APT_CONFIG", read.display().to_string()).captured();
    let dump = host.run(&dump)?.check(Reason::ResolveFailed, "reading the target's apt.conf")?;
    let mut taken = String::new();
    for line in dump.stdout.lines() {
        if let Some((key, value)) = setting(line) {
            taken.extend([key, " \"", &mapped(target, key, value)?, "\";\n"]);
        }
    }
    keep(&written, &(taken + &own))?;
    Ok(written)
}

/// The target's settings files in apt's order, one after the other, without what would read others.
fn settings(target: &Target) -> Result<String> {
    let is_one = |name: &&String| {
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let end = name.rsplit_once('.').map_or("conf", |(_, end)| end);
        end == "conf" && name.chars().all(legal)
    };
    let parts = target.root.list("/etc/apt/apt.conf.d");
    let parts = parts.iter().filter(is_one).map(|name| format!("/etc/apt/apt.conf.d/{name}"));
    let mut text = String::new();
    for path in parts.chain(["/etc/apt/apt.conf".to_owned()]) {
        let file = target.root.read_text(&path)?.unwrap_or_default();
        for line in file.lines().filter(|line| !line.trim_start().starts_with("#include")) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// The key and value in a line of `apt-config dump`, where it is one that is taken.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.strip_suffix("\";")?.split_once(" \"")?;
    let small = key.to_ascii_lowercase();
    let last = small.rsplit("::").next()?;
    let is_taken = TAKEN.iter().any(|taken| small.starts_with(taken)) && !NEVER.contains(&last);
    (is_taken && !value.is_empty()).then_some((key, value))
}

/// A value that names a file names its copy.
fn mapped(target: &Target, key: &str, value: &str) -> Result<String> {
    let last = key.rsplit("::").next().unwrap_or_default().to_ascii_lowercase();
    if !FILES.contains(&last.as_str()) || !value.starts_with('/') {
        return Ok(value.to_owned());
    }
    if target.root.is_dir(value) {
        let (_folder, pinned) = target.root.pin(value)?;
        return Ok(fs::read_link(pinned)
            .context("cannot find a folder of the target")?
            .display()
            .to_string());
    }
    if !target.root.exists(value) {
        let what = format!("the target's apt.conf names `{value}` ({key}), which is not in what was given");
        return Err(Reason::ResolveFailed.error(what));
    }
    Ok(target.copied(value)?.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::fs::Root;
    use crate::host::testing::on_an_empty_root;

    fn written(files: &[(&str, &str)]) -> Result<String> {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = Root::open(dir.path()).unwrap();
        for (path, text) in files {
            root.write_text(path, text).unwrap();
        }
        let named = scratch.path().join("named");
        fs::create_dir_all(&named).unwrap();
        let path = write(&host, &Target::new(&root, &named), scratch.path())?;
        Ok(fs::read_to_string(path).unwrap().replace(&named.display().to_string(), "NAMED"))
    }

    #[test]
    fn the_targets_ways_are_taken_and_nothing_that_runs_a_command() {
        let text = written(&[
            (
                "/etc/apt/apt.conf.d/10way",
                "Acquire { http::Proxy \"http://p:1\"; https::CaInfo \"/etc/ca.pem\"; };\n",
            ),
            (
                "/etc/apt/apt.conf.d/20hook",
                "APT::Update::Pre-Invoke { \"touch /x\"; }; Acquire::http::Proxy-Auto-Detect \"/bin/x\";\n",
            ),
            (
                "/etc/apt/apt.conf.d/30more",
                "#include \"/etc/passwd\"\nDir::Etc::parts \"/etc/apt/apt.conf.d\";\n",
            ),
            ("/etc/apt/apt.conf.d/40old.bak", "APT::Default-Release \"no\";\n"),
            ("/etc/apt/apt.conf", "APT::Default-Release \"bookworm\";\n"),
            ("/etc/ca.pem", "ca"),
        ])
        .unwrap();
        assert!(text.contains("Acquire::http::Proxy \"http://p:1\";\n"), "{text}");
        assert!(text.contains("Acquire::https::CaInfo \"NAMED/etc_ca.pem\";\n"), "{text}");
        assert!(text.contains("APT::Default-Release \"bookworm\";\n"), "{text}");
        assert!(!text.contains("nvoke") && !text.contains("Detect") && !text.contains("passwd"), "{text}");
        assert!(text.trim_end().ends_with("Dir::Etc::parts \"/dev/null\";"), "{text}");
    }

    #[test]
    fn a_certificate_that_was_not_given_is_named() {
        let error =
            written(&[("/etc/apt/apt.conf", "Acquire::https::SslCert \"/etc/no.pem\";\n")]).unwrap_err();
        assert!(error.to_string().contains("/etc/no.pem"), "{error}");
    }
}
