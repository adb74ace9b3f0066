//! The only HTTP client: TLS by rustls, the system's certificate authorities, proxies from settings or environment.

use super::authorities;
use super::cancel::Cancel;
use crate::outcome::{Reason, WithReason};
use crate::settings::Settings;
use crate::trust::is_vendors;
use anyhow::Result;
use reqwest::redirect::{Attempt, Policy};
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// The `User-Agent` header of every request.
pub(super) const USER_AGENT: &str = concat!("ofedctl/", env!("CARGO_PKG_VERSION"));
pub(super) const CONNECT: Duration = Duration::from_secs(20);
/// How often a wait checks whether the run must end.
const TICK: Duration = Duration::from_millis(200);
/// The most redirections that are followed. Browsers follow 20 (Fetch standard); file servers need one or two.
const MAX_REDIRECTS: usize = 10;

/// How to reach servers on the network.
#[derive(Debug, Clone, Copy)]
pub struct NetworkOptions<'a> {
    /// The proxy; the environment's when not set.
    pub proxy: Option<&'a str>,
    /// A PEM file with further certificate authorities.
    pub ca_file: Option<&'a str>,
    /// Mirrors of files, from the setting `mirrors`.
    pub mirrors: &'a [String],
    /// How often in succession an address may fail.
    pub retries: u32,
    /// How long a server may send nothing, or almost nothing.
    pub stall: Duration,
    /// Whether requests and redirections may go only to the vendor's own servers.
    pub vendor_only: bool,
}

impl<'a> NetworkOptions<'a> {
    /// The options that the settings describe.
    pub fn from_settings(settings: &'a Settings) -> Self {
        Self {
            proxy: settings.proxy.as_deref(),
            ca_file: settings.ca_file.as_deref(),
            mirrors: &settings.mirrors,
            retries: settings.retries,
            stall: Duration::from_secs(settings.stall_timeout.max(1)),
            vendor_only: false,
        }
    }
}

/// A client for one thread. Its waits end when the run must end.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    pub(super) http: reqwest::Client,
    /// How long a server may send nothing.
    pub(super) stall: Duration,
}

impl Client {
    /// Makes a client.
    pub fn new(way: NetworkOptions) -> Result<Self> {
        // Fails only when a provider is installed already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let vendor_only = way.vendor_only;
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT.min(way.stall))
            .redirect(Policy::custom(move |attempt| follow(attempt, vendor_only)))
            .tls_backend_preconfigured(authorities::tls(authorities::of_file(way.ca_file)?)?);
        if let Some(proxy) = way.proxy {
            let wrong = || format!("`{}` is not a proxy", without_secrets(proxy));
            let proxy = reqwest::Proxy::all(proxy).with_reason(Reason::BadSettings, wrong)?;
            builder = builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_env()));
        }
        let failed = || "cannot make an HTTP client".to_owned();
        let http = builder.build().with_reason(Reason::DownloadFailed, failed)?;
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self { runtime: runtime.with_reason(Reason::Internal, failed)?, http, stall: way.stall })
    }

    /// Waits for a future, however long it takes. Fails when the run must end.
    pub(super) fn finish<T>(&self, cancel: &Cancel, future: impl Future<Output = T>) -> Result<T> {
        self.runtime.block_on(async {
            let mut future = pin!(future);
            loop {
                if let Ok(output) = tokio::time::timeout(TICK, future.as_mut()).await {
                    return Ok(output);
                }
                cancel.check()?;
            }
        })
    }

    /// Waits for a future, but no longer than a server may be silent; returns none after that time. Fails when the run
    /// must end.
    pub(super) fn wait<T>(&self, cancel: &Cancel, future: impl Future<Output = T>) -> Result<Option<T>> {
        let begin = Instant::now();
        self.runtime.block_on(async {
            let mut future = pin!(future);
            loop {
                if let Ok(output) = tokio::time::timeout(TICK.min(self.stall), future.as_mut()).await {
                    return Ok(Some(output));
                }
                cancel.check()?;
                if begin.elapsed() >= self.stall {
                    return Ok(None);
                }
            }
        })
    }
}

/// Follows redirections, but not in circles, not from TLS to plain HTTP, and not away from the vendor's own servers
/// where only those are allowed.
fn follow(attempt: Attempt, vendor_only: bool) -> reqwest::redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS || attempt.previous().contains(attempt.url()) {
        return attempt.error("the server redirects in circles");
    }
    let was_protected = attempt.previous().last().is_some_and(|from| from.scheme() == "https");
    if was_protected && attempt.url().scheme() != "https" {
        let to = without_secrets(attempt.url().as_str());
        return attempt.error(format!("the server redirects to `{to}`, which is not protected by TLS"));
    }
    if vendor_only && !is_vendors(attempt.url().as_str()) {
        let to = without_secrets(attempt.url().as_str());
        return attempt.error(format!(
            "the server redirects to `{to}`, which is not the vendor's own place, and nobody published a digest"
        ));
    }
    attempt.follow()
}

/// The hosts that are reached without a proxy, from the environment (`NO_PROXY`).
pub fn asked_directly() -> Option<String> {
    ["NO_PROXY", "no_proxy"].iter().find_map(|name| std::env::var(name).ok())
}

/// An address without its parts that may be secret: user, password and query.
pub fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let server = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{server}{path}")
        }
        None => url.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        assert_eq!(without_secrets("https://u:p@host:8/a/b.tgz?sig=x#y"), "https://host:8/a/b.tgz");
        assert_eq!(without_secrets("u:p@proxy:3128"), "proxy:3128");
    }

    proptest::proptest! {
        #[test]
        fn no_secret_survives(secret in "[a-z]{8}", path in "/[a-z]{0,5}") {
            let shown = without_secrets(&format!("https://me:{secret}@host{path}?sas={secret}"));
            proptest::prop_assert!(!shown.contains(&secret), "{}", shown);
        }
    }
}
