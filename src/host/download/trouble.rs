//! What can go wrong with a request, whether asking again may help, and which reason it is.

use super::patience::Failure;
use crate::outcome::Reason;
use reqwest::header::{self, HeaderMap};
use reqwest::{Response, StatusCode};
use std::time::{Duration, SystemTime};

/// A server that asks for more is not waited for: another run will find it better.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// Why no bytes came.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The run must end.
    Stopped(anyhow::Error),
    /// The file is another one than the one begun.
    Changed,
    /// An address failed.
    Of(usize, Failure),
}

fn passing(source: usize, error: anyhow::Error) -> Trouble {
    Trouble::Of(source, Failure { error, passing: true, retry_after: None })
}

fn lasting(source: usize, error: anyhow::Error) -> Trouble {
    Trouble::Of(source, Failure { error, passing: false, retry_after: None })
}

pub(super) fn stalled(source: usize, stall: Duration) -> Trouble {
    passing(source, Reason::ServerSlow.error(format!("the server sent nothing for {} s", stall.as_secs())))
}

pub(super) fn too_slow(source: usize, bytes: u64, stall: Duration) -> Trouble {
    let message = format!("the server sent only {bytes} bytes in {} s", stall.as_secs());
    passing(source, Reason::ServerSlow.error(message))
}

pub(super) fn cut_short(source: usize, at: u64, total: u64) -> Trouble {
    let message = format!("the server ended the file after {at} of {total} bytes");
    passing(source, Reason::DownloadFailed.error(message))
}

pub(super) fn wrong_length(source: usize, found: u64, total: u64) -> Trouble {
    let message = format!("the server has a file of {found} bytes where one of {total} is wanted");
    lasting(source, Reason::DigestMismatch.error(message))
}

/// A request that failed before its answer was complete.
pub(super) fn broken(source: usize, error: reqwest::Error) -> Trouble {
    // reqwest would repeat the whole address, query and all.
    let error = error.without_url();
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
    if said.contains("dns error") {
        return passing(source, Reason::NameUnknown.error(said));
    }
    passing(source, Reason::DownloadFailed.error(said))
}

/// What happened and why, each said once.
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

/// An answer that is neither the file nor a part of it.
pub(super) fn refused(source: usize, answer: &Response) -> Trouble {
    let status = answer.status();
    let message = format!("the server said {status}");
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            lasting(source, Reason::AccessDenied.error(message))
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => lasting(source, Reason::NotOnServer.error(message)),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            busy(source, message, answer.headers())
        }
        status if status.is_server_error() => busy(source, message, answer.headers()),
        _ => lasting(source, Reason::DownloadFailed.error(message)),
    }
}

fn busy(source: usize, message: String, headers: &HeaderMap) -> Trouble {
    let retry_after = retry_after(headers, SystemTime::now());
    if let Some(wait) = retry_after.filter(|wait| *wait > LONGEST_WAIT) {
        let message = format!("{message} and wants to be left alone for {} s", wait.as_secs());
        return lasting(source, Reason::ServerBusy.error(message));
    }
    Trouble::Of(source, Failure { error: Reason::ServerBusy.error(message), passing: true, retry_after })
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

/// A part must begin where the last one ended, and be of a file of the right size.
pub(super) fn check_range(
    source: usize,
    headers: &HeaderMap,
    at: u64,
    total: &mut Option<u64>,
) -> Result<(), Trouble> {
    let text = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parts = text.strip_prefix("bytes ").and_then(|rest| rest.split_once('/'));
    let from = parts.and_then(|(range, _)| range.split_once('-')?.0.parse::<u64>().ok());
    if from != Some(at) {
        let message = format!("the server sent the part `{text}` where one from byte {at} was asked for");
        return Err(lasting(source, Reason::DownloadFailed.error(message)));
    }
    agree(source, parts.and_then(|(_, size)| size.parse().ok()), total)
}

pub(super) fn check_length(
    source: usize,
    headers: &HeaderMap,
    total: &mut Option<u64>,
) -> Result<(), Trouble> {
    let text = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    agree(source, text.and_then(|text| text.parse().ok()), total)
}

fn agree(source: usize, found: Option<u64>, total: &mut Option<u64>) -> Result<(), Trouble> {
    match (found, *total) {
        (Some(found), Some(total)) if found != total => Err(wrong_length(source, found, total)),
        (Some(found), None) => {
            *total = Some(found);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Portals and proxies that want a login answer anything with a page of theirs, as if all were well.
pub(super) fn check_kind(source: usize, headers: &HeaderMap) -> Result<(), Trouble> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("text/html") {
        return Ok(());
    }
    let message = "the server sent a web page (text/html) where a file is wanted, perhaps one to log in";
    Err(lasting(source, Reason::WebPage.error(message)))
}
