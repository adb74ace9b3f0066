//! Authorization at a registry: none, a password, or a token from its token server (distribution specification, "token
//! authentication"). The crate `oci-client` is not used here: it hides the server's status and `Retry-After`, and its
//! tokens are for one repository, while mounting a blob from another repository takes a token for both.

use super::credentials::Credentials;
use super::{Access, Registry};
use crate::host::Host;
use crate::host::download::{DownloadError, broken, patiently, refused, stalled};
use crate::host::http::{Client, without_secrets};
use crate::outcome::Reason;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

/// The largest answer of a token server that is read.
const MAX_TOKEN_BYTES: usize = 1 << 20;

/// The answer of a token server. Both names may be present, with the same value.
#[derive(Deserialize)]
struct Tokens {
    token: Option<String>,
    access_token: Option<String>,
}

/// Finds the authorization header for requests; none when none is needed.
pub(super) fn obtain(registry: &Registry, host: &Host, client: &Client) -> Result<Option<HeaderValue>> {
    let url = format!("{}/v2/", registry.base());
    let challenge = patiently(host, &url, registry.way.retries, || {
        let answer = send(host, client, client.http.get(&url))?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => {
                let wanted = answer.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
                Ok(wanted.map(str::to_owned))
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(refused(0, &answer))
            }
            // Some registries do not serve `/v2/` and need no authorization.
            _ => Ok(None),
        }
    })?;
    match challenge.as_deref().map(Challenge::parse) {
        Some(Some(challenge)) => bearer(registry, host, client, &challenge).map(Some),
        Some(None) => Ok(basic(&registry.credentials)),
        None => Ok(None),
    }
}

fn bearer(registry: &Registry, host: &Host, client: &Client, challenge: &Challenge) -> Result<HeaderValue> {
    let realm = Url::parse(&challenge.realm).ok();
    let named = without_secrets(&challenge.realm);
    let Some(realm) = realm.filter(|realm| registry.is_plain || realm.scheme() == "https") else {
        let message =
            format!("`{}` sends to `{named}` for a token, which is not protected by TLS", registry.address());
        return Err(Reason::RedirectRefused.error(message));
    };
    let bytes = patiently(host, realm.as_str(), registry.way.retries, || {
        let answer = send(host, client, request(registry, client, &realm, challenge))?;
        if !answer.status().is_success() {
            return Err(refused(0, &answer));
        }
        let body = client.wait(&host.cancel, answer.bytes()).map_err(DownloadError::Stopped)?;
        body.ok_or_else(|| stalled(0, client.stall))?.map_err(|error| broken(0, error))
    })?;
    let tokens = serde_json::from_slice::<Tokens>(&bytes).ok().filter(|_| bytes.len() <= MAX_TOKEN_BYTES);
    let token = tokens.and_then(|tokens| tokens.token.or(tokens.access_token));
    let header = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
    let mut header = header.ok_or_else(|| Reason::AccessDenied.error(format!("`{named}` gave no token")))?;
    header.set_sensitive(true);
    Ok(header)
}

fn request(registry: &Registry, client: &Client, realm: &Url, challenge: &Challenge) -> RequestBuilder {
    let scopes = scopes(registry);
    let mut fields: Vec<(&str, &str)> = Vec::new();
    fields.extend(challenge.service.as_deref().map(|service| ("service", service)));
    let mut url = realm.clone();
    if let Credentials::Identity(token) = &registry.credentials {
        // RFC 6749, 6, as Docker's "OAuth2 token specification" has it.
        let all = scopes.join(" ");
        fields.extend([("grant_type", "refresh_token"), ("client_id", "ofedctl")]);
        fields.extend([("scope", all.as_str()), ("refresh_token", token.as_str())]);
        let form = Url::parse_with_params("form:x", &fields).ok();
        let form = form.and_then(|form| form.query().map(str::to_owned)).unwrap_or_default();
        let request = client.http.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        return request.body(form);
    }
    fields.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    url.query_pairs_mut().extend_pairs(fields);
    let request = client.http.get(url);
    match basic(&registry.credentials) {
        Some(header) => request.header(AUTHORIZATION, header),
        None => request,
    }
}

fn scopes(registry: &Registry) -> Vec<String> {
    let repository = registry.reference.repository();
    match &registry.access {
        Access::Pull => vec![format!("repository:{repository}:pull")],
        Access::Push { mount_from } => {
            let from = mount_from.iter().map(|from| format!("repository:{from}:pull"));
            std::iter::once(format!("repository:{repository}:pull,push")).chain(from).collect()
        }
    }
}

fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    let Credentials::Basic(user, password) = credentials else { return None };
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    let mut header = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn send(host: &Host, client: &Client, request: RequestBuilder) -> Result<Response, DownloadError> {
    let answer = client.wait(&host.cancel, request.send()).map_err(DownloadError::Stopped)?;
    let answer = answer.ok_or_else(|| stalled(0, client.stall))?;
    answer.map_err(|error| broken(0, error))
}

/// `Bearer realm="…",service="…"`.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
}

impl Challenge {
    /// Parses a `Bearer` challenge; none for other schemes such as `Basic`.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, None);
        let mut rest = rest.trim_start();
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').map_or((after, ""), |(value, after)| (value, after)),
            };
            match name.trim().to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                "service" => service = Some(value.to_owned()),
                _ => {}
            }
            rest = after.trim_start_matches([',', ' ']);
        }
        Some(Self { realm: realm?, service })
    }
}

/// Reads bytes as a challenge and as a token server's answer, for the fuzz targets.
#[cfg(any(debug_assertions, feature = "fuzzing"))]
pub(super) fn read_answer(bytes: &[u8]) {
    let _ = Challenge::parse(&String::from_utf8_lossy(bytes));
    let _ = serde_json::from_slice::<Tokens>(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_in_any_order_and_with_commas_in_quotes() {
        let wanted = Challenge { realm: "https://auth.example/token".into(), service: Some("r,s".into()) };
        for text in [
            r#"Bearer realm="https://auth.example/token",service="r,s",scope="a:b:pull,push""#,
            r#"bearer scope="a:b:pull,push", service="r,s", realm="https://auth.example/token""#,
        ] {
            assert_eq!(Challenge::parse(text).as_ref(), Some(&wanted), "{text}");
        }
        assert_eq!(Challenge::parse(r#"Basic realm="x""#), None);
        assert_eq!(Challenge::parse("Bearer service=x"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_challenge_makes_it_panic(text in "(Bearer )?.{0,60}") {
            let _ = Challenge::parse(&text);
        }
    }
}
