//! An OCI registry. Reading uses this program's own downloads, which retry and resume; writing uses the crate
//! `oci-client` on the runtime of [`Client`].

mod address;
mod credentials;
mod push;
mod token;

pub use push::Push;

use super::Host;
use super::download::{Stream, whole};
use super::http::{Client, NetworkOptions};
use crate::outcome::Reason;
use crate::settings::Settings;
use anyhow::Result;
use credentials::Credentials;
use oci_client::Reference;
use reqwest::header::{ACCEPT, HeaderValue};
use std::net::IpAddr;
use std::sync::Mutex;

/// The prefix of registry names on the command line and in settings.
pub const SCHEME: &str = "oci://";
/// The media type of manifests, of bundles and of signatures.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of a list of manifests, here of those that refer to another one.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The largest manifest that every registry must accept (OCI distribution specification, "Pushing Manifests").
const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// A repository in a registry, with a tag or digest, and the options for reaching it.
#[derive(Debug)]
pub struct Registry<'s> {
    reference: Reference,
    way: NetworkOptions<'s>,
    /// Whether plain HTTP is used instead of TLS.
    is_plain: bool,
    credentials: Credentials,
    access: Access,
    pass: Mutex<Pass>,
}

/// The authorization of requests.
#[derive(Debug, Clone, Default)]
enum Pass {
    /// Not asked for yet.
    #[default]
    Unknown,
    /// This header, or none because none is needed.
    Known(Option<HeaderValue>),
}

/// The access that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Pull,
    /// Writing, with blobs perhaps taken over from another repository of the same registry.
    Push {
        /// That repository.
        mount_from: Option<String>,
    },
}

impl<'s> Registry<'s> {
    /// Prepares access to `oci://HOST/NAME:TAG` or `oci://HOST/NAME@sha256:…`. Sends no request yet.
    pub fn at(address: &str, access: Access, settings: &'s Settings) -> Result<Self> {
        let reference = address::parse(address)?;
        let host = reference.registry();
        let is_plain = may_be_plain(host, &settings.plain_http);
        let credentials = Credentials::find(host, reference.repository(), settings.registry_auth.as_deref())?;
        // The mirror rules apply to addresses of files; for registries they have been applied already.
        let way = NetworkOptions { mirrors: &[], ..NetworkOptions::from_settings(settings) };
        Ok(Self { reference, way, is_plain, credentials, access, pass: Mutex::default() })
    }

    /// The same, asked once more at most: where another place has what it lacks, one that is down keeps nobody waiting
    /// (containerd issue 4531, cri-o issue 5450).
    #[must_use]
    pub fn one_of_several(mut self) -> Self {
        self.way.retries = self.way.retries.min(1);
        self
    }

    /// The address, as users write it.
    pub fn address(&self) -> String {
        format!("{SCHEME}{}", self.reference)
    }

    /// The network options for this registry.
    pub const fn network(&self) -> NetworkOptions<'s> {
        self.way
    }

    /// The tag, `latest` when none was given, or none when the place is given by digest alone.
    pub fn tag(&self) -> Option<&str> {
        self.reference.tag()
    }

    /// The digest in the address, if the address is pinned to one.
    pub fn digest(&self) -> Option<&str> {
        self.reference.digest()
    }

    /// A stream of a blob's bytes; the registry may redirect to its storage.
    pub fn blob<'c>(
        &'c self,
        host: &'c Host,
        client: &'c Client,
        digest: &str,
        size: Option<u64>,
    ) -> Result<Stream<'c>> {
        let stream = Stream::new(host, client, self.way, &self.url("blobs", digest), size)?;
        Ok(stream.authorized(Box::new(move |renew| self.authorize(host, client, renew))))
    }

    /// A manifest by its tag or digest; none when there is none.
    pub fn manifest(&self, host: &Host, client: &Client, name: &str) -> Result<Option<Vec<u8>>> {
        self.small(host, client, &self.url("manifests", name), MANIFEST)
    }

    /// The list of manifests that refer to this one: from the registry's referrers API, or else from the tag that
    /// replaces it. None when there is neither; true when the registry has the API (distribution specification 1.1,
    /// "Listing Referrers" and "Referrers Tag Schema").
    pub fn referrers(&self, host: &Host, client: &Client, digest: &str) -> Result<(Option<Vec<u8>>, bool)> {
        match self.small(host, client, &self.url("referrers", digest), INDEX) {
            Ok(Some(list)) => return Ok((Some(list), true)),
            // Registries without the referrers API answer 404, 405 or 400, or send a web page.
            Ok(None) => {}
            Err(error) if [Reason::DownloadFailed, Reason::WebPage].contains(&Reason::from_error(&error)) => {
            }
            Err(error) => return Err(error),
        }
        let tag = digest.replace(':', "-");
        Ok((self.small(host, client, &self.url("manifests", &tag), INDEX)?, false))
    }

    /// Downloads a document; none where it does not exist.
    fn small(&self, host: &Host, client: &Client, url: &str, kind: &'static str) -> Result<Option<Vec<u8>>> {
        let stream = Stream::new(host, client, self.way, url, None)?
            .with_header(ACCEPT, HeaderValue::from_static(kind))
            .authorized(Box::new(|renew| self.authorize(host, client, renew)));
        match whole(stream, MAX_MANIFEST_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if Reason::from_error(&error) == Reason::NotOnServer => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn base(&self) -> String {
        let scheme = if self.is_plain { "http" } else { "https" };
        format!("{scheme}://{}", self.reference.resolve_registry())
    }

    fn url(&self, kind: &str, name: &str) -> String {
        format!("{}/v2/{}/{kind}/{name}", self.base(), self.reference.repository())
    }

    /// The authorization header, if one is needed; a new one when the last was refused.
    fn authorize(&self, host: &Host, client: &Client, renew: bool) -> Result<Option<HeaderValue>> {
        // Under the lock, threads that need a token at the same moment request only one.
        let Ok(mut pass) = self.pass.lock() else {
            return Err(Reason::Internal.error("a thread that asked for a token has died"));
        };
        match &*pass {
            Pass::Known(value) if !renew => Ok(value.clone()),
            _ => {
                let value = token::obtain(self, host, client)?;
                *pass = Pass::Known(value.clone());
                Ok(value)
            }
        }
    }
}

/// Whether plain HTTP is allowed: the host is this machine, or the setting `plain_http` names it.
pub fn may_be_plain(host: &str, named: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost"
        || address.is_ok_and(|address| address.is_loopback())
        || named.iter().any(|it| it == host || it == name)
}

/// Reads bytes as a registry's answer, for the fuzz targets.
#[cfg(any(debug_assertions, feature = "fuzzing"))]
pub fn read_answer(bytes: &[u8]) {
    token::read_answer(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_and_named_hosts_are_reached_without_tls() {
        let named = ["near.example:5000".to_owned(), "far.example".to_owned()];
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:80",
            "[::1]:5000",
            "near.example:5000",
            "far.example:1",
        ] {
            assert!(may_be_plain(host, &named), "{host}");
        }
        for host in ["registry.example", "near.example", "near.example:5001", "10.0.0.1", "127.0.0.1.example"]
        {
            assert!(!may_be_plain(host, &named), "{host}");
        }
    }
}
