//! The one HTTP client: TLS by rustls, the system's certificate authorities, proxies from settings or environment.

use super::Host;
use crate::outcome::{Because, Reason};
use anyhow::{Context, Result};
use reqwest::blocking::{Client, Response};
use std::io::{Read, Write};
use std::time::Duration;

/// A server that takes longer than this to answer, or to send more, is given up on.
const STALL: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(20);
/// Tries in all, with a growing pause between them.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const CHUNK: usize = 128 << 10;

/// How to reach the world.
#[derive(Debug, Default, Clone, Copy)]
pub struct Way<'a> {
    /// The proxy; the environment's when not set.
    pub proxy: Option<&'a str>,
    /// A PEM file with further certificate authorities.
    pub ca_file: Option<&'a str>,
}

/// Makes a client.
pub fn client(way: Way) -> Result<Client> {
    // Fails only when a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("ofedctl/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        // In the blocking client this bounds each operation, not the whole download.
        .timeout(STALL);
    if let Some(proxy) = way.proxy {
        let wrong = || format!("`{}` is not a proxy", without_secrets(proxy));
        builder = builder.proxy(reqwest::Proxy::all(proxy).because(Reason::BadSettings, wrong)?);
    }
    if let Some(path) = way.ca_file {
        let wrong = || format!("cannot use `{path}` as certificate authorities");
        let pem = std::fs::read(path).because(Reason::BadSettings, wrong)?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).because(Reason::BadSettings, wrong)?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().because(Reason::DownloadFailed, || "cannot make an HTTP client".to_owned())
}

/// Fetches `url` into what `open` returns, which is asked anew for each try. Returns the filled sink.
///
/// `progress` is told the bytes of the current try as they come.
pub fn fetch<W: Write>(
    host: &Host,
    client: &Client,
    url: &str,
    mut open: impl FnMut() -> Result<W>,
    mut progress: impl FnMut(u64),
) -> Result<W> {
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        host.stop.check()?;
        let mut sink = open()?;
        match fetch_once(host, client, url, &mut sink, &mut progress) {
            Ok(()) => return Ok(sink),
            Err(Trouble::Final(error)) => return Err(error),
            Err(Trouble::Passing(error)) if attempt == TRIES => {
                return Err(error).because(Reason::DownloadFailed, || format!("gave up after {TRIES} tries"));
            }
            Err(Trouble::Passing(error)) => {
                host.events.warn(format!("{error:#}; trying again in {} ms", pause.as_millis()));
                std::thread::sleep(pause);
                pause *= 2;
                attempt += 1;
            }
        }
    }
}

enum Trouble {
    /// Another try may succeed.
    Passing(anyhow::Error),
    /// No try will.
    Final(anyhow::Error),
}

fn fetch_once(
    host: &Host,
    client: &Client,
    url: &str,
    sink: &mut impl Write,
    progress: &mut impl FnMut(u64),
) -> Result<(), Trouble> {
    let named = || format!("downloading `{}`", without_secrets(url));
    let answer = client.get(url).send();
    // reqwest would repeat the whole address, query and all.
    let answer =
        answer.map_err(|error| Trouble::Passing(anyhow::Error::new(error.without_url()).context(named())))?;
    let mut answer = accepted(answer, &named())?;
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    loop {
        host.stop.check().map_err(Trouble::Final)?;
        let read = answer.read(&mut buffer).with_context(named).map_err(Trouble::Passing)?;
        if read == 0 {
            return Ok(());
        }
        sink.write_all(&buffer[..read]).with_context(named).map_err(Trouble::Final)?;
        done += read as u64;
        progress(done);
    }
}

fn accepted(answer: Response, doing: &str) -> Result<Response, Trouble> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let error = Reason::DownloadFailed.error(format!("{doing}: the server said {status}"));
    let passing = status.is_server_error() || status.as_u16() == 429 || status.as_u16() == 408;
    Err(if passing { Trouble::Passing(error) } else { Trouble::Final(error) })
}

/// An address without what may be secret: user, password and query.
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
