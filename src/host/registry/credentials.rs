//! Credentials for registries: the files that `docker login`, `podman login`, `oras login` or `az acr login` write, or
//! the credential helper that such a file names. The crate `docker_credential` reads the files and runs the helpers.
//! This module only says where the files lie (`containers-auth.json(5)`), because the crate would not find podman's
//! file when run as root and without `XDG_RUNTIME_DIR`.

use crate::host::variable;
use crate::outcome::{Cause, Reason, WithCause};
use anyhow::Result;
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Credentials for one registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// No credentials.
    Anonymous,
    /// A user with a password.
    Basic(String, String),
    /// A token that is exchanged for access tokens (`az acr login` writes one).
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

impl Credentials {
    /// Reads only the file that the settings name, if they name one; else the first known file with a login for this
    /// repository.
    pub(super) fn find(registry: &str, repository: &str, file: Option<&str>) -> Result<Self> {
        if let Some(file) = file {
            return in_file(Path::new(file), registry, repository);
        }
        for place in places(variable) {
            // A file that is missing or unreadable for this user holds no login of this user.
            if !place.is_file() || File::open(&place).is_err() {
                continue;
            }
            match in_file(&place, registry, repository)? {
                Self::Anonymous => {}
                found => return Ok(found),
            }
        }
        Ok(Self::Anonymous)
    }
}

/// The files with logins in their order of precedence. If a variable names a file, only that one is read, as podman,
/// buildah and skopeo do.
fn places(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Vec<PathBuf> {
    let folder = |name: &str| variable(name).map(PathBuf::from);
    if let Some(file) = folder("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    // The VM agent and cloud-init run programs as root without `HOME`.
    let home = folder("HOME").unwrap_or_else(|| "/root".into());
    let uid = nix::unistd::Uid::effective();
    let podman = "containers/auth.json";
    let mut places: Vec<PathBuf> = folder("DOCKER_CONFIG").iter().map(|it| it.join("config.json")).collect();
    places.extend(folder("XDG_RUNTIME_DIR").map(|it| it.join(podman)));
    places.push(Path::new("/run/containers").join(uid.to_string()).join("auth.json"));
    places.push(folder("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join(podman));
    places.push(home.join(".docker/config.json"));
    places
}

fn in_file(path: &Path, registry: &str, repository: &str) -> Result<Credentials> {
    // A login may be for a part of a registry: the longest matching name takes precedence (`containers-auth.json(5)`).
    let whole = format!("{registry}/{repository}");
    let names = whole.match_indices('/').map(|(end, _)| &whole[..end]).chain([whole.as_str()]);
    for name in names.collect::<Vec<_>>().into_iter().rev() {
        let file = File::open(path)
            .with_cause(Cause::FileUnreadable, || format!("cannot read `{}`", path.display()))?;
        match get_credential_from_reader(file, name) {
            Ok(DockerCredential::IdentityToken(token)) if token.is_empty() => {}
            Ok(DockerCredential::IdentityToken(token)) => return Ok(Credentials::Identity(token)),
            Ok(DockerCredential::UsernamePassword(user, password)) => {
                // Docker pads the encoded password with NUL bytes.
                let password = password.trim_end_matches('\0').to_owned();
                return Ok(Credentials::Basic(user, password));
            }
            // Helpers know registries, but not repositories in them.
            Err(CredentialRetrievalError::HelperFailure { .. }) if name != registry => {}
            Err(error) => not_found(error, path, name)?,
        }
    }
    Ok(Credentials::Anonymous)
}

/// Turns "no login for this name" into none. Other errors are reported without quoting the file, which holds secrets.
fn not_found(error: CredentialRetrievalError, path: &Path, name: &str) -> Result<()> {
    use CredentialRetrievalError as E;
    let path = path.display();
    let (reason, what) = match error {
        E::NoCredentialConfigured | E::ConfigNotFound => return Ok(()),
        // This is the text that credential helpers print for an unknown registry.
        E::HelperFailure { stdout, stderr, .. }
            if [&stdout, &stderr].iter().any(|said| said.contains("credentials not found")) =>
        {
            return Ok(());
        }
        E::HelperFailure { helper, stderr, .. } => {
            let said = stderr.trim().escape_default().to_string();
            (Reason::AccessDenied, format!("asking the credential helper `{helper}` for `{name}`: {said}"))
        }
        E::HelperCommunicationError => (
            Reason::ToolMissing,
            format!("the credential helper that `{path}` names for `{name}` cannot be run"),
        ),
        E::MalformedHelperResponse => (
            Reason::AccessDenied,
            format!("the credential helper that `{path}` names for `{name}` printed no credentials"),
        ),
        E::ConfigReadError => {
            (Reason::BadSettings, format!("`{path}` is not a file of registry credentials"))
        }
        E::CredentialDecodingError | E::CredentialMismatchError => {
            (Reason::BadSettings, format!("`{path}` has no usable credentials for `{name}`"))
        }
    };
    Err(reason.error(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> Result<Credentials> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.json");
        std::fs::write(&file, text).unwrap();
        Credentials::find("registry.example", "team/ib", file.to_str())
    }

    fn basic() -> Credentials {
        Credentials::Basic("me".into(), "pass:word".into())
    }

    #[test]
    fn every_form_a_login_leaves_is_read() {
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
    fn a_login_for_a_part_of_a_registry_counts_before_one_for_all_of_it() {
        let other = r#""registry.example":{"auth":"YTpi"}"#;
        for part in ["registry.example/team", "registry.example/team/ib"] {
            let text = format!(r#"{{"auths":{{{other},"{part}":{{"auth":"bWU6cGFzczp3b3Jk"}}}}}}"#);
            assert_eq!(find(&text).unwrap(), basic(), "{part}");
        }
        let elsewhere = r#"{"auths":{"registry.example/te":{"auth":"bWU6cGFzczp3b3Jk"}}}"#;
        assert_eq!(find(elsewhere).unwrap(), Credentials::Anonymous);
    }

    #[test]
    fn a_broken_file_is_refused_without_repeating_it() {
        for text in
            ["secret", r#"{"auths":{"registry.example":{"auth":"secret!"}}}"#, r#"{"auths":"secret"}"#]
        {
            let error = find(text).unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::BadSettings);
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
    }

    #[test]
    fn a_helper_that_is_not_there_is_said_to_be_missing() {
        let error = find(r#"{"credsStore":"no-such-helper"}"#).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::ToolMissing, "{error:#}");
    }

    #[test]
    fn logins_are_looked_for_where_podman_and_docker_leave_them() {
        let with = |set: &[(&str, &str)]| {
            let found =
                places(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()));
            found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        let run = format!("/run/containers/{}/auth.json", nix::unistd::Uid::effective());
        assert_eq!(
            with(&[("HOME", "/h")]),
            [&run, "/h/.config/containers/auth.json", "/h/.docker/config.json"]
        );
        assert_eq!(with(&[("REGISTRY_AUTH_FILE", "/a"), ("DOCKER_CONFIG", "/d")]), ["/a"]);
        assert_eq!(
            with(&[("XDG_RUNTIME_DIR", "/run/user/7"), ("HOME", "/h"), ("DOCKER_CONFIG", "/d")]),
            [
                "/d/config.json",
                "/run/user/7/containers/auth.json",
                &run,
                "/h/.config/containers/auth.json",
                "/h/.docker/config.json"
            ]
        );
    }

    #[test]
    fn what_a_helper_says_instead_of_a_login_is_told_by_its_kind() {
        use CredentialRetrievalError as E;
        let failed = |stdout: &str, stderr: &str| {
            let [helper, stdout, stderr] = ["docker-credential-x", stdout, stderr].map(str::to_owned);
            E::HelperFailure { helper, stdout, stderr }
        };
        let told = |error| not_found(error, Path::new("/h/config.json"), "registry.example");
        // The words are those of docker's own helpers, which print them on either stream.
        for unknown in [
            failed("credentials not found in native keychain\n", ""),
            failed("", "credentials not found in native keychain\n"),
            E::NoCredentialConfigured,
            E::ConfigNotFound,
        ] {
            told(unknown).unwrap();
        }
        for (error, reason, words) in [
            (
                failed("", "locked\u{1b}[2J\n"),
                Reason::AccessDenied,
                r"`docker-credential-x` for `registry.example`: locked\u{1b}[2J",
            ),
            (E::HelperCommunicationError, Reason::ToolMissing, "cannot be run"),
            (E::MalformedHelperResponse, Reason::AccessDenied, "printed no credentials"),
            (E::CredentialMismatchError, Reason::BadSettings, "`/h/config.json` has no usable credentials"),
        ] {
            let error = told(error).unwrap_err();
            assert_eq!(Reason::from_error(&error), reason, "{error:#}");
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }

    #[test]
    fn credentials_shown_for_debugging_keep_their_secrets() {
        let shown =
            format!("{:?} {:?} {:?}", Credentials::Anonymous, basic(), Credentials::Identity("long".into()));
        assert_eq!(shown, "Anonymous Basic(…) Identity(…)");
    }
}
