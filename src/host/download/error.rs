//! What can go wrong with a request, whether a repetition may help, and which reason code it gets.

use crate::outcome::Reason;
use reqwest::header::{self, HeaderMap};
use reqwest::{Response, StatusCode};
use std::time::{Duration, SystemTime};

/// The longest pause a server may ask for. A run does not wait longer; a later run can try again.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// Why an address could not deliver the file.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What happened.
    pub(super) error: anyhow::Error,
    /// Whether another request may help.
    pub(super) passing: bool,
    /// Whether no server was reached at all: the name is unknown, or nothing answers at the address.
    pub(super) unreached: bool,
    /// How long the server asked clients to wait (`Retry-After`).
    pub(super) retry_after: Option<Duration>,
}

/// Why no bytes were received.
#[derive(Debug)]
pub(crate) enum DownloadError {
    /// The run must end.
    Stopped(anyhow::Error),
    /// The file on the server has changed since the download began.
    Changed,
    /// The address with this index failed.
    Of(usize, Failure),
}

fn passing(source: usize, error: anyhow::Error) -> DownloadError {
    DownloadError::Of(source, Failure { error, passing: true, unreached: false, retry_after: None })
}

pub(crate) fn lasting(source: usize, error: anyhow::Error) -> DownloadError {
    DownloadError::Of(source, Failure { error, passing: false, unreached: false, retry_after: None })
}

pub(crate) fn stalled(source: usize, stall: Duration) -> DownloadError {
    passing(source, Reason::ServerSlow.error(format!("the server sent nothing for {} s", stall.as_secs())))
}

pub(super) fn too_slow(source: usize, bytes: u64, stall: Duration) -> DownloadError {
    let message = format!("the server sent only {bytes} bytes in {} s", stall.as_secs());
    passing(source, Reason::ServerSlow.error(message))
}

pub(super) fn cut_short(source: usize, at: u64, total: u64) -> DownloadError {
    let message = format!("the server ended the file after {at} of {total} bytes");
    passing(source, Reason::DownloadFailed.error(message))
}

pub(super) fn wrong_length(source: usize, found: u64, total: u64) -> DownloadError {
    let message = format!("the server has a file of {found} bytes where one of {total} is wanted");
    lasting(source, Reason::DigestMismatch.error(message))
}

/// A request that failed before its answer was complete.
pub(crate) fn broken(source: usize, error: reqwest::Error) -> DownloadError {
    // reqwest's message would contain the whole address with its query, which may be secret.
    let error = error.without_url();
    let is_connect = error.is_connect();
    let said = chain(&error);
    if error.is_redirect() {
        return lasting(source, Reason::RedirectRefused.error(said));
    }
    if error.is_builder() {
        return lasting(source, Reason::BadSettings.error(format!("this is not an address: {said}")));
    }
    if said.contains("invalid peer certificate") {
        return lasting(source, Reason::ServerUntrusted.error(said));
    }
    let unreached = |error| {
        DownloadError::Of(source, Failure { error, passing: true, unreached: true, retry_after: None })
    };
    if said.contains("dns error") {
        return unreached(Reason::NameUnknown.error(said));
    }
    if is_connect {
        return unreached(Reason::DownloadFailed.error(said));
    }
    passing(source, Reason::DownloadFailed.error(said))
}

/// An error and its causes in one line, each text only once.
fn chain(error: &reqwest::Error) -> String {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let text = next.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        cause = next.source();
    }
    said
}

/// The error for an answer that is neither the file nor a part of it.
pub(crate) fn refused(source: usize, answer: &Response) -> DownloadError {
    let DownloadError::Of(source, failure) = failed_with(source, answer.status(), None) else {
        return failed_with(source, answer.status(), None);
    };
    let retry_after = retry_after(answer.headers(), SystemTime::now()).filter(|_| failure.passing);
    if let Some(wait) = retry_after.filter(|wait| *wait > LONGEST_WAIT) {
        let message = format!("{} and wants to be left alone for {} s", failure.error, wait.as_secs());
        return lasting(source, Reason::ServerBusy.error(message));
    }
    DownloadError::Of(source, Failure { retry_after, ..failure })
}

/// The error for an HTTP status that is no success, with the rest of the server's answer.
pub(crate) fn failed_with(source: usize, status: StatusCode, said: Option<&str>) -> DownloadError {
    let said = said.filter(|said| !said.is_empty()).map(|said| format!(": {said}")).unwrap_or_default();
    let message = format!("the server said {status}{said}");
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            lasting(source, Reason::AccessDenied.error(message))
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => lasting(source, Reason::NotOnServer.error(message)),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            passing(source, Reason::ServerBusy.error(message))
        }
        status if status.is_server_error() => passing(source, Reason::ServerBusy.error(message)),
        _ => lasting(source, Reason::DownloadFailed.error(message)),
    }
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

/// Whether an answer is a part of the file. Some servers send one under the status of the whole
/// (`modelscope/modelscope_hub` issue 50).
pub(super) fn is_part(status: StatusCode, headers: &HeaderMap, from: u64) -> bool {
    let is_named = from > 0 && status.is_success() && headers.contains_key(header::CONTENT_RANGE);
    status == StatusCode::PARTIAL_CONTENT || is_named
}

/// Checks that a part begins where the last one ended, or before: caches send whole blocks (RFC 9110, 15.3.7; xroche/httrack
/// pull request 428). Returns where it begins, and the size of the whole file, if the server says it.
pub(super) fn check_range(
    source: usize,
    headers: &HeaderMap,
    from: u64,
) -> Result<(u64, Option<u64>), DownloadError> {
    let text = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parts = text.strip_prefix("bytes ").and_then(|rest| rest.split_once('/'));
    let begins = parts.and_then(|(range, _)| range.split_once('-')?.0.parse::<u64>().ok());
    let Some(begins) = begins.filter(|begins| *begins <= from) else {
        let message = format!("the server sent the part `{text}` where one from byte {from} was asked for");
        return Err(lasting(source, Reason::DownloadFailed.error(message)));
    };
    Ok((begins, parts.and_then(|(_, size)| size.parse().ok())))
}

pub(super) fn length_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Refuses a web page. Portals and proxies that require a login answer every request with a page and status 200.
pub(super) fn check_kind(source: usize, headers: &HeaderMap) -> Result<(), DownloadError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("text/html") {
        return Ok(());
    }
    let message = "the server sent a web page (text/html) where a file is wanted, perhaps one to log in";
    Err(lasting(source, Reason::WebPage.error(message)))
}
