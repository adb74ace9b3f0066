//! Downloads one file from the network. A broken download is resumed, another address is tried when one fails, and the
//! memory in use does not depend on the file's size.

mod backoff;
mod error;
mod mirrors;
mod reader;

pub(super) use backoff::patiently;
pub use backoff::{again, jitter_of};
pub(super) use error::{DownloadError, broken, failed_with, lasting, refused, stalled};
pub use mirrors::alternatives;
pub(super) use reader::whole;

use super::Host;
use super::fault::{self, Point};
use super::http::{Client, NetworkOptions, without_secrets};
use anyhow::Result;
use backoff::Backoff;
use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode};
use std::time::{Duration, Instant};

/// A server that sends less than this, averaged over the time that it may be silent, counts as failed.
const LEAST_BYTES_A_SECOND: u64 = 1024;

/// Where the bytes received so far came from, and the server's name for that version of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The address, without secrets.
    pub url: String,
    /// The server's strong validator (RFC 9110, 8.8.3 and 13.1.5): an entity tag or a date.
    pub validator: String,
}

/// The next piece of a stream.
#[derive(Debug)]
pub enum Piece {
    /// The next bytes of the file.
    Bytes(Bytes),
    /// The file is complete.
    End,
    /// The file on the server has changed: the bytes so far are void, and the next piece is the first one.
    Changed,
}

/// Returns the authorization header for a request. With `true` it fetches a new one, because the last was refused.
pub type Authorize<'a> = Box<dyn Fn(bool) -> Result<Option<HeaderValue>> + 'a>;

/// A file that is read from any of its addresses.
pub struct Stream<'a> {
    host: &'a Host,
    client: &'a Client,
    sources: Vec<Backoff>,
    authorize: Option<Authorize<'a>>,
    header: Option<(HeaderName, HeaderValue)>,
    /// The part of the file that is read, where it is only a part: its first byte and whether it ends before the file
    /// does.
    window: Option<u64>,
    total: Option<u64>,
    at: u64,
    /// Index of the address of the last request.
    last: usize,
    origin: Option<Origin>,
    body: Option<Body>,
    /// Whether the bytes so far may come from more than one version or address.
    is_mixed: bool,
    /// Whether the last answer said that the server supports range requests.
    gives_parts: bool,
    /// The unread rest of a piece, for readers with a small buffer.
    rest: Bytes,
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("sources", &self.sources).field("at", &self.at).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Body {
    source: usize,
    response: Response,
    /// Bytes to discard before the wanted ones, where a server does not support ranges.
    skip: u64,
    window: Instant,
    in_window: u64,
}

impl<'a> Stream<'a> {
    /// Prepares to read the file at `url` or its mirrors. Sends no request yet. `total` is the size that the file must
    /// have, where that is known.
    pub fn new(
        host: &'a Host,
        client: &'a Client,
        way: NetworkOptions,
        url: &str,
        total: Option<u64>,
    ) -> Result<Self> {
        let addresses = alternatives(way.mirrors, url)?;
        let sources = addresses.into_iter().map(|url| Backoff::new(url, way.retries)).collect();
        Ok(Self {
            host,
            client,
            sources,
            authorize: None,
            header: None,
            window: None,
            total,
            at: 0,
            last: 0,
            origin: None,
            body: None,
            is_mixed: false,
            gives_parts: false,
            rest: Bytes::new(),
        })
    }

    /// Adds addresses, and their mirrors, that are asked where every one before them fails.
    pub fn or_from(mut self, way: NetworkOptions, others: &[String]) -> Result<Self> {
        for url in others {
            for url in alternatives(way.mirrors, url)? {
                if self.sources.iter().all(|source| source.url != url) {
                    self.sources.push(Backoff::new(url, way.retries));
                }
            }
        }
        Ok(self)
    }

    /// Adds an authorization header to each request.
    #[must_use]
    pub fn authorized(mut self, authorize: Authorize<'a>) -> Self {
        self.authorize = Some(authorize);
        self
    }

    /// Adds a further header to each request.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// Limits the stream to the bytes from `from` on; their number is the `total` of the stream.
    #[must_use]
    pub fn window(mut self, from: u64) -> Self {
        self.window = Some(from);
        self
    }

    /// Continues after `at` bytes that the caller has already.
    #[must_use]
    pub fn resumed(mut self, at: u64, origin: Option<Origin>) -> Self {
        (self.at, self.origin) = (at, origin);
        self
    }

    /// Where the bytes so far came from; none when they came from several addresses, or when the server named no
    /// version.
    pub const fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Whether the bytes came from several addresses.
    pub const fn is_mixed(&self) -> bool {
        self.is_mixed
    }

    /// The size of the file, once known.
    pub const fn total(&self) -> Option<u64> {
        self.total
    }

    /// Returns the next piece. Fails when every address was given up, or when the run must end.
    pub fn next_piece(&mut self) -> Result<Piece> {
        if !self.rest.is_empty() {
            return Ok(Piece::Bytes(std::mem::take(&mut self.rest)));
        }
        loop {
            if self.body.is_none() && self.total == Some(self.at) {
                return Ok(Piece::End);
            }
            let trouble = match self.attempt() {
                Ok(piece) => return Ok(piece),
                Err(trouble) => trouble,
            };
            self.body = None;
            match trouble {
                DownloadError::Stopped(error) => return Err(error),
                DownloadError::Changed => {
                    self.rewind();
                    return Ok(Piece::Changed);
                }
                DownloadError::Of(source, failure) => {
                    if let Some(message) = self.sources[source].fail(failure) {
                        self.host.events.warn(message);
                    }
                    self.alive()?;
                    fault::reached(Point::Pause);
                }
            }
        }
    }

    /// Begins again with the first byte.
    pub fn rewind(&mut self) {
        (self.at, self.origin, self.body, self.is_mixed) = (0, None, None, false);
        self.rest = Bytes::new();
    }

    /// Gives up the address of the last bytes because its content is wrong, and begins again.
    pub fn reject(&mut self, error: anyhow::Error) -> Result<()> {
        self.sources[self.last].reject(error);
        self.rewind();
        self.alive()
    }

    fn alive(&mut self) -> Result<()> {
        if self.sources.iter().any(|source| source.dead.is_none()) {
            return Ok(());
        }
        Err(backoff::all_dead(&mut self.sources))
    }

    fn attempt(&mut self) -> Result<Piece, DownloadError> {
        if self.body.is_none() {
            let source = self.choose().map_err(DownloadError::Stopped)?;
            self.last = source;
            self.open(source)?;
        }
        let Some(body) = &mut self.body else { return Ok(Piece::End) };
        let source = body.source;
        loop {
            let next =
                self.client.wait(&self.host.cancel, body.response.chunk()).map_err(DownloadError::Stopped)?;
            let Some(next) = next else { return Err(error::stalled(source, self.client.stall)) };
            let Some(mut bytes) = next.map_err(|error| error::broken(source, error))? else {
                if let Some(total) = self.total.filter(|total| self.at < *total) {
                    return Err(error::cut_short(source, self.at, total));
                }
                self.total = Some(self.at);
                self.body = None;
                return Ok(Piece::End);
            };
            body.is_fast_enough(bytes.len(), self.client.stall)?;
            let before = body.skip.min(bytes.len() as u64);
            body.skip -= before;
            let _ = bytes.split_to(usize::try_from(before).unwrap_or_default());
            if bytes.is_empty() {
                continue;
            }
            if self.window.is_some() {
                // A server that does not support ranges also sends the rest of the file.
                let left = self.total.unwrap_or(u64::MAX) - self.at;
                bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            }
            self.at += bytes.len() as u64;
            if let Some(total) = self.total.filter(|total| self.at > *total) {
                return Err(error::wrong_length(source, self.at, total));
            }
            if self.window.is_some() && self.total == Some(self.at) {
                self.body = None;
            }
            self.sources[source].succeed(bytes.len() as u64);
            return Ok(Piece::Bytes(bytes));
        }
    }

    /// The first address that may be asked now. Waits where every address has asked for a pause.
    fn choose(&mut self) -> Result<usize> {
        loop {
            self.host.cancel.check()?;
            let now = Instant::now();
            let living = self.sources.iter().enumerate().filter(|(_, source)| source.dead.is_none());
            let wait = |source: &Backoff| source.not_before.saturating_duration_since(now);
            let Some((place, source)) = living.min_by_key(|(place, source)| (wait(source), *place)) else {
                return self.alive().map(|()| 0);
            };
            let left = wait(source);
            if left.is_zero() {
                return Ok(place);
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    fn open(&mut self, source: usize) -> Result<(), DownloadError> {
        let mut answer = self.ask(source, false)?;
        if answer.status() == StatusCode::UNAUTHORIZED && self.authorize.is_some() {
            // Registry tokens are valid for minutes, and a download may take longer.
            answer = self.ask(source, true)?;
        }
        if answer.status().is_success() {
            error::check_kind(source, answer.headers())?;
        }
        let from = self.window.unwrap_or(0) + self.at;
        let skip = match answer.status() {
            status if error::is_part(status, answer.headers(), from) => {
                let (begins, total) = error::check_range(source, answer.headers(), from)?;
                self.agree(source, total)?;
                from - begins
            }
            StatusCode::RANGE_NOT_SATISFIABLE if self.at > 0 => return Err(DownloadError::Changed),
            status if status.is_success() => {
                self.agree(source, error::length_of(answer.headers()))?;
                let same = self.origin_of(source, answer.headers());
                if self.at > 0 && self.origin.is_some() && same != self.origin && self.is_same_place(source) {
                    return Err(DownloadError::Changed);
                }
                from
            }
            _ => return Err(error::refused(source, &answer)),
        };
        let parts = answer.headers().get(header::ACCEPT_RANGES);
        self.gives_parts =
            answer.status() == StatusCode::PARTIAL_CONTENT || parts.is_some_and(|parts| parts == "bytes");
        let now = self.origin_of(source, answer.headers());
        if self.at == 0 {
            self.origin = now;
        } else if now.is_none() || now != self.origin {
            // Bytes from two addresses are verified by their digest alone.
            (self.origin, self.is_mixed) = (None, true);
        }
        let window = Instant::now();
        self.body = Some(Body { source, response: answer, skip, window, in_window: 0 });
        Ok(())
    }

    fn ask(&self, source: usize, renewed: bool) -> Result<Response, DownloadError> {
        let mut request = self.client.http.get(&self.sources[source].url);
        let from = self.window.unwrap_or(0) + self.at;
        // Up to the end, where that is known: go-containerregistry's own registry refuses an open range with 416
        // (anchore/stereoscope pull request 695).
        let to = self.total.map(|total| self.window.unwrap_or(0) + total.saturating_sub(1));
        if from > 0 || (self.window.is_some() && to.is_some()) {
            let to = to.map(|to| to.to_string()).unwrap_or_default();
            request = request.header(header::RANGE, format!("bytes={from}-{to}"));
            if let Some(origin) = self.origin.as_ref().filter(|_| self.at > 0 && self.is_same_place(source)) {
                request = request.header(header::IF_RANGE, &origin.validator);
            }
        }
        if let Some((name, value)) = &self.header {
            request = request.header(name, value);
        }
        if let Some(authorize) = &self.authorize
            && let Some(value) = authorize(renewed).map_err(DownloadError::Stopped)?
        {
            request = request.header(header::AUTHORIZATION, value);
        }
        let answer = self.client.wait(&self.host.cancel, request.send()).map_err(DownloadError::Stopped)?;
        let answer = answer.ok_or_else(|| error::stalled(source, self.client.stall))?;
        answer.map_err(|error| error::broken(source, error))
    }

    /// Compares the size of the file, if the server states it, with the expected size.
    fn agree(&mut self, source: usize, found: Option<u64>) -> Result<(), DownloadError> {
        match (found.filter(|_| self.window.is_none()), self.total) {
            (Some(found), Some(total)) if found != total => {
                return Err(error::wrong_length(source, found, total));
            }
            (Some(found), None) => self.total = Some(found),
            _ => {}
        }
        Ok(())
    }

    fn is_same_place(&self, source: usize) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.url == without_secrets(&self.sources[source].url))
    }

    fn origin_of(&self, source: usize, headers: &HeaderMap) -> Option<Origin> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let tag = text(header::ETAG).filter(|tag| tag.starts_with('"'));
        let validator = tag.or_else(|| text(header::LAST_MODIFIED))?.to_owned();
        Some(Origin { url: without_secrets(&self.sources[source].url), validator })
    }
}

impl Body {
    fn is_fast_enough(&mut self, bytes: usize, stall: Duration) -> Result<(), DownloadError> {
        self.in_window += bytes as u64;
        if self.window.elapsed() < stall {
            return Ok(());
        }
        if self.in_window < LEAST_BYTES_A_SECOND * stall.as_secs() {
            return Err(error::too_slow(self.source, self.in_window, stall));
        }
        (self.window, self.in_window) = (Instant::now(), 0);
        Ok(())
    }
}
