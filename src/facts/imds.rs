//! Azure's instance metadata service, asked only when cloud-init has not kept its answer.
//!
//! The rules are those of the service's documentation (azure-docs, instance-metadata-service.md) and of
//! canonical/cloud-init, cloudinit/sources/azure/imds.py: the header `Metadata: true`, no proxy ever, an older
//! version when the newer one is refused with 400, and patience with a service that is busy or not up yet.

use super::compute::{Compute, Source};
use anyhow::{Context, Result, bail};
use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use serde_json::Value;
use std::io::Read;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Where the service answers on every Azure VM.
pub const ADDRESS: &str = "http://169.254.169.254";

const NEW_VERSION: &str = "2021-08-01&extended=true";
const OLD_VERSION: &str = "2019-06-01";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The most requests that get an answer of any kind.
const MAX_ATTEMPTS: u32 = 6;
/// The most requests without any answer: on a machine without the service the search must end soon.
const MAX_SILENCES: u32 = 2;
/// A real answer has some kilobytes; user data can add 64 KiB.
const MAX_BODY_BYTES: u64 = 1 << 20;

/// Asks the service at `address`, usually [`ADDRESS`], for no longer than `deadline`.
pub fn fetch(address: &str, deadline: Duration) -> Result<Compute> {
    let client = client().context("cannot make an HTTP client")?;
    let end = Instant::now() + deadline;
    let (mut version, mut pause, mut silences) = (NEW_VERSION, FIRST_PAUSE, 0);
    let mut last = String::from("no time to ask");
    for _ in 0..MAX_ATTEMPTS {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let request = client
            .get(format!("{address}/metadata/instance?api-version={version}"))
            .header("Metadata", "true")
            .timeout(left.min(REQUEST_TIMEOUT));
        let wait = match request.send() {
            Ok(response) => match response.status() {
                StatusCode::OK => return parse(response),
                StatusCode::BAD_REQUEST if version == NEW_VERSION => {
                    version = OLD_VERSION;
                    continue;
                }
                status if is_temporary(status) => {
                    last = format!("it answers {status}");
                    retry_after(&response)
                }
                status => bail!("the metadata service answers {status}"),
            },
            Err(error) => {
                silences += 1;
                last = format!("{:#}", anyhow::Error::from(error.without_url()));
                if silences == MAX_SILENCES {
                    break;
                }
                None
            }
        };
        let wait = wait.unwrap_or(pause);
        if wait >= end.saturating_duration_since(Instant::now()) {
            break;
        }
        sleep(wait);
        pause *= 2;
    }
    bail!("the metadata service gives no answer: {last}")
}

fn client() -> Result<Client> {
    // The service speaks plain HTTP. Handing over a TLS configuration that trusts nobody keeps the client from
    // looking for the system's certificates, which a minimal image may lack.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .build()?)
}

/// The status codes of a service that is starting, is being moved, or gets too many requests.
fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::TOO_MANY_REQUESTS)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn parse(response: Response) -> Result<Compute> {
    let mut body = Vec::new();
    response.take(MAX_BODY_BYTES + 1).read_to_end(&mut body).context("the metadata service broke off")?;
    if body.len() as u64 > MAX_BODY_BYTES {
        bail!("the metadata service's answer has no end");
    }
    compute(&body)
}

/// Reads the service's answer. Fails where it is not JSON or describes no VM.
pub fn compute(body: &[u8]) -> Result<Compute> {
    let answer: Value = serde_json::from_slice(body).context("the metadata service's answer is not JSON")?;
    let compute = answer.get("compute").context("the metadata service's answer describes no VM")?;
    Ok(Compute::from_metadata(compute, Source::Imds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};

    const VM: &str =
        r#"{"compute":{"vmSize":"Standard_HB120rs_v3","vmId":"id","publisher":"","offer":"o","sku":"s"}}"#;

    /// A server on a free port that gives these answers one after the other, the last one again and again; and the
    /// requests it gets.
    fn serve(answers: Vec<String>) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (tell, requests) = channel();
        std::thread::spawn(move || {
            let mut answers = answers.into_iter().peekable();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> =
                    lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
                let Some(answer) = answers.next() else { return };
                if answers.peek().is_none() {
                    answers = vec![answer.clone(), answer.clone()].into_iter().peekable();
                }
                let _ = (tell.send(head.join("\n")), stream.write_all(answer.as_bytes()));
            }
        });
        (address, requests)
    }

    fn answer(status: &str, header: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{header}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_vm_is_read_and_the_request_is_as_the_service_wants_it() {
        let (address, requests) = serve(vec![answer("200 OK", "", VM)]);
        let found = fetch(&address, seconds(10)).unwrap();
        assert_eq!(found.vm_size.as_deref(), Some("Standard_HB120rs_v3"));
        assert_eq!((found.publisher, found.source), (None, Some(Source::Imds)));
        let request = requests.recv().unwrap();
        let line = "GET /metadata/instance?api-version=2021-08-01&extended=true HTTP/1.1\n";
        assert!(request.starts_with(line) && request.to_lowercase().contains("metadata: true"), "{request}");
    }

    #[test]
    fn the_older_version_is_asked_when_the_newer_is_refused() {
        let (address, requests) = serve(vec![answer("400 Bad Request", "", "{}"), answer("200 OK", "", VM)]);
        fetch(&address, seconds(10)).unwrap();
        assert!(requests.iter().nth(1).unwrap().contains("api-version=2019-06-01 "));
        let (address, requests) = serve(vec![answer("400 Bad Request", "", "{}")]);
        assert!(fetch(&address, seconds(10)).is_err());
        assert_eq!(requests.try_iter().count(), 2);
    }

    #[test]
    fn a_busy_service_is_given_the_time_it_asks_for() {
        let busy = answer("429 Too Many Requests", "Retry-After: 1\r\n", "");
        let (address, _requests) = serve(vec![busy, answer("200 OK", "", VM)]);
        let start = Instant::now();
        fetch(&address, seconds(10)).unwrap();
        assert!(start.elapsed() >= seconds(1));
    }

    #[test]
    fn a_wait_longer_than_the_deadline_is_not_begun() {
        let busy = answer("503 Service Unavailable", "Retry-After: 3600\r\n", "");
        let (address, requests) = serve(vec![busy]);
        let error = fetch(&address, seconds(60)).unwrap_err();
        assert!(error.to_string().contains("503"), "{error}");
        assert_eq!(requests.try_iter().count(), 1);
    }

    #[test]
    fn a_service_that_keeps_failing_is_left_at_the_deadline() {
        let (address, requests) = serve(vec![answer("500 Internal Server Error", "", "")]);
        assert!(fetch(&address, Duration::from_millis(600)).is_err());
        assert!((2..=3).contains(&requests.try_iter().count()));
    }

    #[test]
    fn what_is_no_metadata_is_refused_at_once() {
        let big = format!("[{}]", "0,".repeat(1 << 20));
        for body in ["<html>Sign in</html>", "", "{}", &big] {
            let (address, requests) = serve(vec![answer("200 OK", "", body)]);
            assert!(fetch(&address, seconds(10)).is_err(), "{body:.20}");
            assert_eq!(requests.try_iter().count(), 1, "{body:.20}");
        }
        let (address, _requests) = serve(vec![answer("302 Found", "Location: http://127.0.0.1:9/\r\n", VM)]);
        assert!(fetch(&address, seconds(10)).unwrap_err().to_string().contains("302"));
    }

    #[test]
    fn nobody_there_is_found_out_soon() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        assert!(fetch(&address, seconds(600)).is_err());
        assert!(fetch(&address, Duration::ZERO).unwrap_err().to_string().contains("no time"));
    }

    #[test]
    fn a_server_that_is_silent_or_never_ends_is_left_at_the_deadline() {
        for head in ["", "HTTP/1.1 200 OK\r\n\r\n"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let mut sent = stream.write_all(head.as_bytes());
                    while sent.is_ok() && !head.is_empty() {
                        std::thread::sleep(Duration::from_millis(50));
                        sent = stream.write_all(b" ");
                    }
                    std::mem::forget(stream);
                }
            });
            let start = Instant::now();
            assert!(fetch(&address, Duration::from_millis(300)).is_err());
            assert!(start.elapsed() < seconds(5), "{head}");
        }
    }

    /// The environment belongs to a process, so the first test is run again in one of its own.
    #[test]
    fn a_proxy_in_the_environment_is_ignored() {
        let this = std::env::current_exe().unwrap();
        let mut again = std::process::Command::new(this);
        let test = "a_vm_is_read_and_the_request_is_as_the_service_wants_it";
        again
            .args(["--exact", &format!("facts::imds::tests::{test}")])
            .env_remove("no_proxy")
            .env_remove("NO_PROXY");
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            again.env(name, "http://127.0.0.1:9");
        }
        let output = again.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    }

    proptest! {
        #[test]
        fn any_body_can_be_read(body: Vec<u8>) {
            let _ = compute(&body);
        }
    }
}
