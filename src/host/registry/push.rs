//! Writing to a registry.

use super::{Access, Registry};
use crate::host::Host;
use crate::host::authorities;
use crate::host::download::{DownloadError, broken, failed_with, lasting, patiently};
use crate::host::http::{CONNECT, Client, USER_AGENT};
use crate::outcome::{Reason, WithReason};
use anyhow::Result;
use bytes::Bytes;
use futures_util::stream;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client as Oci, Reference};
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use rustls::pki_types::CertificateDer;
use std::cell::RefCell;
use std::future::Future;
use std::io::Read;

/// The size of one piece of an upload: large enough for throughput, small in memory.
const CHUNK: usize = 256 << 10;

/// A connection for writing to a registry. Each thread has its own.
pub struct Push<'r> {
    registry: &'r Registry<'r>,
    host: &'r Host,
    client: Client,
    oci: RefCell<Option<Oci>>,
}

impl std::fmt::Debug for Push<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl<'r> Push<'r> {
    /// Prepares the connection. Sends no request yet.
    pub fn to(registry: &'r Registry<'r>, host: &'r Host) -> Result<Self> {
        Ok(Self { registry, host, client: Client::new(registry.way)?, oci: RefCell::default() })
    }

    /// Whether the registry has a blob already.
    pub fn has(&self, digest: &str) -> Result<bool> {
        self.doing("asking for", digest, |oci, place| {
            let digest = digest.to_owned();
            async move { oci.blob_exists(&place, &digest).await }
        })
    }

    /// Mounts a blob from the other repository, if the registry supports that. No data is transferred.
    pub fn mount(&self, digest: &str) -> Result<bool> {
        let Access::Push { mount_from: Some(from) } = &self.registry.access else { return Ok(false) };
        let place = &self.registry.reference;
        let source = Reference::with_tag(place.registry().to_owned(), from.clone(), "latest".to_owned());
        let mounted = self.doing("mounting", digest, |oci, place| {
            let (source, digest) = (source.clone(), digest.to_owned());
            async move { oci.mount_blob(&place, &source, &digest).await }
        });
        // A registry that does not mount begins an upload instead; a missing permission shows when the blob is
        // uploaded.
        Ok(mounted.is_ok())
    }

    /// Uploads a blob. `open` returns a reader from its beginning for each attempt.
    pub fn blob<R: Read + Send + 'static>(
        &self,
        digest: &str,
        size: u64,
        mut open: impl FnMut() -> Result<R>,
    ) -> Result<()> {
        self.try_doing("pushing", digest, |oci, place| {
            let from = open()?;
            let digest = digest.to_owned();
            Ok(async move {
                let bytes = stream::try_unfold(from, |mut from| async move {
                    let mut chunk = vec![0; CHUNK];
                    let read = from.read(&mut chunk)?;
                    chunk.truncate(read);
                    Ok((read > 0).then(|| (Bytes::from(chunk), from)))
                });
                oci.push_blob_stream(&place, bytes, &digest, Some(size)).await
            })
        })
        .map(drop)
    }

    /// Writes a manifest, as these bytes, under a tag or its digest.
    pub fn manifest(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
        let kind = HeaderValue::from_str(media_type)?;
        self.doing("pushing", name, |oci, place| {
            let (kind, bytes) = (kind.clone(), bytes.to_vec());
            let (registry, repository) = (place.registry().to_owned(), place.repository().to_owned());
            let place = if name.contains(':') {
                Reference::with_digest(registry, repository, name.to_owned())
            } else {
                Reference::with_tag(registry, repository, name.to_owned())
            };
            async move { oci.push_manifest_raw(&place, bytes, kind).await }
        })
        .map(drop)
    }

    fn doing<T, F: Future<Output = Result<T, OciDistributionError>>>(
        &self,
        doing: &str,
        what: &str,
        mut action: impl FnMut(Oci, Reference) -> F,
    ) -> Result<T> {
        self.try_doing(doing, what, |oci, place| Ok(action(oci, place)))
    }

    /// Repeats a request until it succeeds, cannot succeed, or has failed too often. A refused token is renewed once.
    fn try_doing<T, F: Future<Output = Result<T, OciDistributionError>>>(
        &self,
        doing: &str,
        what: &str,
        mut action: impl FnMut(Oci, Reference) -> Result<F>,
    ) -> Result<T> {
        let registry = self.registry;
        let mut may_renew = true;
        let mut renew = false;
        let done = patiently(self.host, &registry.base(), registry.way.retries, || {
            loop {
                let known = self.oci.borrow().clone().filter(|_| !renew);
                let oci = known.map_or_else(|| self.oci(renew), Ok).map_err(DownloadError::Stopped)?;
                let work = action(oci, registry.reference.clone()).map_err(DownloadError::Stopped)?;
                // There is no time limit, because a large blob may take long; a server that accepts no more data closes
                // the connection.
                let result = self.client.finish(&self.host.cancel, work).map_err(DownloadError::Stopped)?;
                match result {
                    Ok(done) => return Ok(done),
                    Err(error) if may_renew && is_unauthorized(&error) => (may_renew, renew) = (false, true),
                    Err(error) => return Err(trouble(error)),
                }
            }
        });
        done.with_reason(Reason::UploadFailed, || format!("{doing} `{what}` at `{}`", registry.address()))
    }

    fn oci(&self, renew: bool) -> Result<Oci> {
        let registry = self.registry;
        let name = registry.reference.resolve_registry().to_owned();
        let proxy = registry.way.proxy.map(str::to_owned);
        let config = ClientConfig {
            protocol: if registry.is_plain {
                ClientProtocol::HttpsExcept(vec![name.clone()])
            } else {
                ClientProtocol::Https
            },
            use_monolithic_push: true,
            tls_certs_only: certificates(registry.way.ca_file)?,
            connect_timeout: Some(CONNECT.min(registry.way.stall)),
            read_timeout: Some(registry.way.stall),
            user_agent: USER_AGENT,
            https_proxy: proxy.clone(),
            no_proxy: proxy.as_ref().and_then(|_| std::env::var("NO_PROXY").ok()),
            http_proxy: proxy,
            platform_resolver: None,
            ..ClientConfig::default()
        };
        let failed = || "cannot make a registry client".to_owned();
        let oci = Oci::try_from(config).with_reason(Reason::UploadFailed, failed)?;
        let pass = registry.authorize(self.host, &self.client, renew)?;
        let auth = match pass.as_ref().and_then(|pass| pass.to_str().ok()?.strip_prefix("Bearer ")) {
            Some(token) => RegistryAuth::Bearer(token.to_owned()),
            None => match &registry.credentials {
                super::Credentials::Basic(user, password) => {
                    RegistryAuth::Basic(user.clone(), password.clone())
                }
                _ => RegistryAuth::Anonymous,
            },
        };
        self.client.finish(&self.host.cancel, oci.store_auth_if_needed(&name, &auth))?;
        self.oci.replace(Some(oci.clone()));
        Ok(oci)
    }
}

/// The certificate authorities as `oci-client` takes them. Left alone, it would read the system's again in each thread.
fn certificates(ca_file: Option<&str>) -> Result<Vec<Certificate>> {
    let further = authorities::of_file(ca_file)?;
    let der = |it: &CertificateDer<'_>| Certificate { encoding: CertificateEncoding::Der, data: it.to_vec() };
    Ok(further.iter().chain(authorities::system()).map(der).collect())
}

fn is_unauthorized(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::UnauthorizedError { .. } => true,
        OciDistributionError::ServerError { code, .. } => *code == 401,
        OciDistributionError::RequestError(error) => error.status() == Some(StatusCode::UNAUTHORIZED),
        _ => false,
    }
}

fn trouble(error: OciDistributionError) -> DownloadError {
    let denied = || lasting(0, Reason::AccessDenied.error("the server said 401 Unauthorized"));
    match error {
        OciDistributionError::RequestError(error) => match error.status() {
            Some(status) => failed_with(0, status, None),
            None => broken(0, error),
        },
        OciDistributionError::ServerError { code, message, .. } => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            failed_with(0, status, Some(message.trim()))
        }
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            denied()
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            lasting(0, Reason::UploadFailed.error(format!("the server said: {envelope}")))
        }
        OciDistributionError::IoError(error) => DownloadError::Stopped(error.into()),
        other => lasting(0, Reason::UploadFailed.error(other.to_string())),
    }
}
