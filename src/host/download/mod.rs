//! One file from the network, whatever happens on the way: resumed where it broke off, from another address when one
//! fails, in flat memory.

mod mirrors;
mod patience;
mod trouble;

pub use mirrors::alternatives;
pub use patience::jitter_of;

use super::Host;
use super::http::{Client, Way, without_secrets};
use crate::outcome::Carried;
use anyhow::Result;
use bytes::Bytes;
use patience::Patience;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use std::io::Read;
use std::time::{Duration, Instant};
use trouble::Trouble;

/// A server that sends less than this over the time it may be silent is given up on, too. A modem sent more.
const LEAST_BYTES_A_SECOND: u64 = 1024;

/// Where the bytes held so far came from, and what the server called that version of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The address, without secrets.
    pub url: String,
    /// The server's strong validator (RFC 9110, 8.8.3 and 13.1.5): an entity tag or a date.
    pub validator: String,
}

/// What a stream gives next.
#[derive(Debug)]
pub enum Piece {
    /// The bytes that follow.
    Bytes(Bytes),
    /// There are no more.
    End,
    /// The file is another one now: what is held is worth nothing, and the next piece is the first.
    Changed,
}

/// Gives the header that lets a request in. Asked with `true`, it gets a new one: the last was refused.
pub type Authorize<'a> = Box<dyn Fn(bool) -> Result<Option<HeaderValue>> + 'a>;

/// A file, read from wherever it can be had.
pub struct Stream<'a> {
    host: &'a Host,
    client: &'a Client,
    sources: Vec<Patience>,
    authorize: Option<Authorize<'a>>,
    total: Option<u64>,
    at: u64,
    /// The address that was asked last.
    last: usize,
    origin: Option<Origin>,
    body: Option<Body>,
    /// Whether the bytes since the first are of more than one version or place, as far as one can tell.
    is_mixed: bool,
    /// For readers that take less than a piece.
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
    /// Bytes before the wanted ones, of a server that knows no ranges.
    skip: u64,
    window: Instant,
    in_window: u64,
}

impl<'a> Stream<'a> {
    /// Begins to read the file at `url` or its mirrors. Nothing is asked for yet.
    ///
    /// `total` is the size it must have, when that is known.
    pub fn new(host: &'a Host, client: &'a Client, way: Way, url: &str, total: Option<u64>) -> Result<Self> {
        let addresses = alternatives(way.mirrors, url)?;
        let sources = addresses.into_iter().map(|url| Patience::new(url, way.retries)).collect();
        let (authorize, origin, body, is_mixed) = (None, None, None, false);
        Ok(Self {
            host,
            client,
            sources,
            authorize,
            total,
            at: 0,
            last: 0,
            origin,
            body,
            is_mixed,
            rest: Bytes::new(),
        })
    }

    /// The same, with requests that are let in by a header.
    #[must_use]
    pub fn authorized(mut self, authorize: Authorize<'a>) -> Self {
        self.authorize = Some(authorize);
        self
    }

    /// Goes on after `at` bytes that are held already.
    #[must_use]
    pub fn resumed(mut self, at: u64, origin: Option<Origin>) -> Self {
        (self.at, self.origin) = (at, origin);
        self
    }

    /// Where the bytes so far came from; none when from several places, or when the server did not say.
    pub const fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Whether the bytes came from several places.
    pub const fn is_mixed(&self) -> bool {
        self.is_mixed
    }

    /// The size of the file, once known.
    pub const fn total(&self) -> Option<u64> {
        self.total
    }

    /// The bytes that follow. Fails when every address was given up on, or the run must end.
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
                Trouble::Stopped(error) => return Err(error),
                Trouble::Changed => {
                    self.rewind();
                    return Ok(Piece::Changed);
                }
                Trouble::Of(source, failure) => {
                    if let Some(message) = self.sources[source].fail(failure) {
                        self.host.events.warn(message);
                    }
                    self.alive()?;
                }
            }
        }
    }

    /// Begins again with the first byte.
    pub fn rewind(&mut self) {
        (self.at, self.origin, self.body, self.is_mixed) = (0, None, None, false);
        self.rest = Bytes::new();
    }

    /// Gives the address up that the last bytes came from, for what they turned out to be, and begins again.
    pub fn reject(&mut self, error: anyhow::Error) -> Result<()> {
        self.sources[self.last].reject(error);
        self.rewind();
        self.alive()
    }

    /// Moves on without reading, with a new request where that is cheaper.
    pub fn skip(&mut self, bytes: u64) -> Result<()> {
        /// About what a new request costs at 10 Gb/s and 1 ms.
        const WORTH_A_REQUEST: u64 = 1 << 20;
        let mut left = bytes;
        let held = left.min(self.rest.len() as u64);
        let _ = self.rest.split_to(usize::try_from(held)?);
        left -= held;
        if left > WORTH_A_REQUEST {
            self.at += left;
            self.body = None;
            return Ok(());
        }
        std::io::copy(&mut self.by_ref().take(left), &mut std::io::sink())?;
        Ok(())
    }

    fn alive(&mut self) -> Result<()> {
        if self.sources.iter().any(|source| source.dead.is_none()) {
            return Ok(());
        }
        Err(patience::all_dead(&mut self.sources))
    }

    fn attempt(&mut self) -> Result<Piece, Trouble> {
        if self.body.is_none() {
            let source = self.choose().map_err(Trouble::Stopped)?;
            self.last = source;
            self.open(source)?;
        }
        let Some(body) = &mut self.body else { return Ok(Piece::End) };
        let source = body.source;
        loop {
            let next = self.client.wait(&self.host.stop, body.response.chunk()).map_err(Trouble::Stopped)?;
            let Some(next) = next else { return Err(trouble::stalled(source, self.client.stall)) };
            let Some(mut bytes) = next.map_err(|error| trouble::broken(source, error))? else {
                if let Some(total) = self.total.filter(|total| self.at < *total) {
                    return Err(trouble::cut_short(source, self.at, total));
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
            self.at += bytes.len() as u64;
            if let Some(total) = self.total.filter(|total| self.at > *total) {
                return Err(trouble::wrong_length(source, self.at, total));
            }
            self.sources[source].succeed(bytes.len() as u64);
            return Ok(Piece::Bytes(bytes));
        }
    }

    /// The first address that need not be left alone, waited for when there is none.
    fn choose(&mut self) -> Result<usize> {
        loop {
            self.host.stop.check()?;
            let now = Instant::now();
            let living = self.sources.iter().enumerate().filter(|(_, source)| source.dead.is_none());
            let wait = |source: &Patience| source.not_before.saturating_duration_since(now);
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

    fn open(&mut self, source: usize) -> Result<(), Trouble> {
        let mut answer = self.ask(source, false)?;
        if answer.status() == StatusCode::UNAUTHORIZED && self.authorize.is_some() {
            // Tokens of registries live for minutes, and a file may take longer.
            answer = self.ask(source, true)?;
        }
        if answer.status().is_success() {
            trouble::check_kind(source, answer.headers())?;
        }
        let skip = match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                trouble::check_range(source, answer.headers(), self.at, &mut self.total)?;
                0
            }
            StatusCode::RANGE_NOT_SATISFIABLE if self.at > 0 => return Err(Trouble::Changed),
            status if status.is_success() => {
                trouble::check_length(source, answer.headers(), &mut self.total)?;
                let same = self.origin_of(source, answer.headers());
                if self.at > 0 && self.origin.is_some() && same != self.origin && self.is_same_place(source) {
                    return Err(Trouble::Changed);
                }
                self.at
            }
            _ => return Err(trouble::refused(source, &answer)),
        };
        let now = self.origin_of(source, answer.headers());
        if self.at == 0 {
            self.origin = now;
        } else if now.is_none() || now != self.origin {
            // Bytes of two places go by their digest alone.
            (self.origin, self.is_mixed) = (None, true);
        }
        let window = Instant::now();
        self.body = Some(Body { source, response: answer, skip, window, in_window: 0 });
        Ok(())
    }

    fn ask(&self, source: usize, renewed: bool) -> Result<Response, Trouble> {
        let mut request = self.client.http.get(&self.sources[source].url);
        if self.at > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.at));
            if let Some(origin) = self.origin.as_ref().filter(|_| self.is_same_place(source)) {
                request = request.header(header::IF_RANGE, &origin.validator);
            }
        }
        if let Some(authorize) = &self.authorize
            && let Some(value) = authorize(renewed).map_err(Trouble::Stopped)?
        {
            request = request.header(header::AUTHORIZATION, value);
        }
        let answer = self.client.wait(&self.host.stop, request.send()).map_err(Trouble::Stopped)?;
        let answer = answer.ok_or_else(|| trouble::stalled(source, self.client.stall))?;
        answer.map_err(|error| trouble::broken(source, error))
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
    fn is_fast_enough(&mut self, bytes: usize, stall: Duration) -> Result<(), Trouble> {
        self.in_window += bytes as u64;
        if self.window.elapsed() < stall {
            return Ok(());
        }
        if self.in_window < LEAST_BYTES_A_SECOND * stall.as_secs() {
            return Err(trouble::too_slow(self.source, self.in_window, stall));
        }
        (self.window, self.in_window) = (Instant::now(), 0);
        Ok(())
    }
}

impl Read for Stream<'_> {
    /// For readers that see the bytes once: a file that changes meanwhile is an error.
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.is_empty() {
            match self.next_piece().map_err(Carried::from)? {
                Piece::Bytes(bytes) => self.rest = bytes,
                Piece::End => return Ok(0),
                Piece::Changed => return Err(std::io::Error::other("the file changed while it was read")),
            }
        }
        let taken = self.rest.split_to(self.rest.len().min(buffer.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}
