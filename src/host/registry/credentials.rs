//! Who one is to a registry: what `docker login`, `podman login`, `oras login` or `az acr login` have left in a file of
//! Docker's form, or the credential helper it names.

use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Who one is.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// Nobody in particular.
    Anonymous,
    /// A user with a password.
    Basic(String, String),
    /// A token that gives tokens (`az acr login` leaves one).
    Identity(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic(..) => "Basic(…)",
            Self::Identity(_) => "Identity(…)",
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

impl Credentials {
    /// Looks into the file the settings name, or into Docker's own where it is.
    pub(super) fn find(registry: &str, file: Option<&str>) -> Result<Self> {
        let text = match file {
            Some(file) => Some((file.into(), crate::host::read_here(Path::new(file))?)),
            None => usual_file().and_then(|path| Some((path.clone(), std::fs::read_to_string(path).ok()?))),
        };
        let Some((path, text)): Option<(PathBuf, String)> = text else { return Ok(Self::Anonymous) };
        // What is wrong with it is not repeated: it is made of secrets.
        let config: Config = serde_json::from_str(&text).map_err(|_| {
            Reason::BadSettings.error(format!("`{}` is not a file of registry credentials", path.display()))
        })?;
        let helper = config.cred_helpers.get(registry).or(config.creds_store.as_ref());
        let Some(entry) = config.auths.iter().find(|(name, _)| is_of(name, registry)).map(|(_, entry)| entry)
        else {
            return helper.map_or(Ok(Self::Anonymous), |helper| ask_helper(helper, registry));
        };
        match entry.read() {
            Some(found) => Ok(found),
            // `docker login` leaves an empty entry where a helper keeps the secret.
            None => match helper {
                Some(helper) => ask_helper(helper, registry),
                None => Err(Reason::BadSettings
                    .error(format!("`{}` has no usable credentials for `{registry}`", path.display()))),
            },
        }
    }
}

impl Entry {
    fn read(&self) -> Option<Credentials> {
        if !self.identitytoken.is_empty() {
            return Some(Credentials::Identity(self.identitytoken.clone()));
        }
        if !self.username.is_empty() {
            return Some(Credentials::Basic(self.username.clone(), self.password.clone()));
        }
        let decoded = String::from_utf8(STANDARD.decode(self.auth.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some(Credentials::Basic(user.to_owned(), password.trim_end_matches('\0').to_owned()))
    }
}

/// Files name registries with or without a scheme and a path, as in `https://index.docker.io/v1/`.
fn is_of(name: &str, registry: &str) -> bool {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    name.split('/').next() == Some(registry)
}

fn usual_file() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    // Agents and cloud-init run as root without a home.
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".docker");
    Some(folder.unwrap_or_else(home).join("config.json")).filter(|path| path.is_file())
}

/// Asks `docker-credential-NAME get`, which takes the registry on its standard input and prints JSON.
fn ask_helper(name: &str, registry: &str) -> Result<Credentials> {
    let doing = || format!("asking the credential helper `{}` for `{registry}`", name.escape_default());
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(Reason::BadSettings.error(doing()));
    }
    let answer =
        duct::cmd!(format!("docker-credential-{name}"), "get").stdin_bytes(registry).stderr_capture();
    let answer = answer.stdout_capture().unchecked().run().with_reason(Reason::ToolMissing, doing)?;
    if !answer.status.success() {
        let said = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        if said.contains("credentials not found") {
            return Ok(Credentials::Anonymous);
        }
        return Err(Reason::AccessDenied.error(format!("{}: {said}", doing())));
    }
    let helped: Helped = serde_json::from_slice(&answer.stdout)
        .map_err(|_| Reason::AccessDenied.error("it printed no credentials"))
        .with_context(doing)?;
    // The helpers' own protocol: a token that gives tokens comes under this name.
    if helped.username == "<token>" {
        return Ok(Credentials::Identity(helped.secret));
    }
    Ok(Credentials::Basic(helped.username, helped.secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> Result<Credentials> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.json");
        std::fs::write(&file, text).unwrap();
        Credentials::find("registry.example", file.to_str())
    }

    #[test]
    fn every_form_a_login_leaves_is_read() {
        let basic = || Credentials::Basic("me".into(), "pass:word".into());
        for (text, wanted) in [
            (r#"{"auths":{"registry.example":{"auth":"bWU6cGFzczp3b3Jk"}}}"#, basic()),
            (r#"{"auths":{"https://registry.example/v2/":{"auth":"bWU6cGFzczp3b3Jk"}}}"#, basic()),
            (r#"{"auths":{"registry.example":{"username":"me","password":"pass:word"}}}"#, basic()),
            (
                r#"{"auths":{"registry.example":{"auth":"bWU6","identitytoken":"long"}}}"#,
                Credentials::Identity("long".into()),
            ),
            (r#"{"auths":{"other.example":{"auth":"bWU6cGFzczp3b3Jk"}}}"#, Credentials::Anonymous),
            ("{}", Credentials::Anonymous),
        ] {
            assert_eq!(find(text).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn a_broken_file_is_refused_without_repeating_it() {
        for text in
            ["secret", r#"{"auths":{"registry.example":{"auth":"secret!"}}}"#, r#"{"auths":"secret"}"#]
        {
            let error = find(text).unwrap_err();
            assert_eq!(Reason::of(&error), Reason::BadSettings);
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
    }

    #[test]
    fn a_helper_is_a_program_and_never_a_path() {
        let error = find(r#"{"credsStore":"../../bin/sh -c x"}"#).unwrap_err();
        assert_eq!(Reason::of(&error), Reason::BadSettings);
    }
}
