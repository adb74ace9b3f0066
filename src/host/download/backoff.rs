//! How often and how soon a request is repeated: exponential pauses with full jitter, longer where the server asks for
//! that. Full jitter best spreads many clients that failed at the same moment (AWS Architecture Blog, "Exponential
//! Backoff And Jitter").

use super::error::{DownloadError, Failure};
use crate::host::Host;
use crate::host::fault::{self, Point};
use crate::host::http::without_secrets;
use crate::outcome::Reason;
use anyhow::Result;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// So many bytes reset the count of failures. A server that sends only a few bytes at a time must not reset it each
/// time.
const WORTH_A_TRY: u64 = 64 << 10;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// One address, with its failures so far.
#[derive(Debug)]
pub(super) struct Backoff {
    /// The address.
    pub(super) url: String,
    /// Why the address was given up, if it was.
    pub(super) dead: Option<anyhow::Error>,
    /// The earliest time of the next request.
    pub(super) not_before: Instant,
    failures: u32,
    /// What is done with the address, as a verb for messages.
    verb: &'static str,
    /// Bytes received since the last failure.
    came: u64,
    retries: u32,
    /// The last message about this address; an equal message is not repeated.
    told: String,
    /// Whether the run is at a terminal, where a user can mend the fault sooner than a long series of pauses ends.
    watched: bool,
}

impl Backoff {
    pub(super) fn new(url: String, retries: u32) -> Self {
        Self {
            url,
            dead: None,
            not_before: Instant::now(),
            failures: 0,
            came: 0,
            retries,
            told: String::new(),
            watched: std::io::stderr().is_terminal(),
            verb: "downloading",
        }
    }

    /// Counts bytes that were received. Enough of them since the last failure reset the count of failures.
    pub(super) fn succeed(&mut self, bytes: u64) {
        self.came += bytes;
        if self.came >= WORTH_A_TRY {
            self.failures = 0;
        }
    }

    /// Gives the address up for good, because its content is not the wanted one.
    pub(super) fn reject(&mut self, error: anyhow::Error) {
        self.dead = Some(error.context(self.doing()));
    }

    fn doing(&self) -> String {
        format!("{} `{}`", self.verb, without_secrets(&self.url))
    }

    /// Counts a failure. Returns a message about the next try, if it is a new one.
    pub(super) fn fail(&mut self, failure: Failure) -> Option<String> {
        let doing = self.doing();
        self.failures += 1;
        self.came = 0;
        let error = failure.error;
        if !failure.passing {
            self.reject(error);
            return None;
        }
        // At a terminal a server that cannot be reached is given up at once; an unattended run waits, because the
        // server may come up.
        let retries = if self.watched && failure.unreached { self.retries.min(1) } else { self.retries };
        if self.failures > retries {
            self.dead = Some(error.context(format!("{doing}: gave up after {} tries", self.failures)));
            return None;
        }
        let pause = pause(self.failures, failure.retry_after, random());
        self.not_before = Instant::now() + pause;
        let said = format!("{error:#}");
        let is_news = said != self.told;
        self.told.clone_from(&said);
        is_news.then(|| format!("{doing}: {said}; trying again in {}, up to {retries} times", seconds(pause)))
    }
}

/// Repeats a request until it succeeds, cannot succeed, or has failed too often.
pub(crate) fn patiently<T>(
    host: &Host,
    url: &str,
    retries: u32,
    mut attempt: impl FnMut() -> Result<T, DownloadError>,
) -> Result<T> {
    let mut patience = Backoff { verb: "asking", ..Backoff::new(url.to_owned(), retries) };
    loop {
        let failure = match attempt() {
            Ok(done) => return Ok(done),
            Err(DownloadError::Stopped(error)) => return Err(error),
            Err(DownloadError::Changed) => continue,
            Err(DownloadError::Of(_, failure)) => failure,
        };
        if let Some(message) = patience.fail(failure) {
            host.events.warn(message);
        }
        if let Some(error) = patience.dead.take() {
            return Err(error);
        }
        fault::reached(Point::Pause);
        host.cancel.wait(patience.not_before.saturating_duration_since(Instant::now()))?;
    }
}

/// Lets another program ask servers until that works, cannot work, or has failed too often. Where somebody looks on, one
/// failure is enough: they can put right what is wrong sooner than any pause. What is tried again is told.
pub fn again<T>(
    host: &Host,
    what: &str,
    retries: u32,
    is_passing: impl Fn(Reason) -> bool,
    attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let retries = if std::io::stderr().is_terminal() { 0 } else { retries };
    up_to(retries, host, what, is_passing, attempt)
}

fn up_to<T>(
    retries: u32,
    host: &Host,
    what: &str,
    is_passing: impl Fn(Reason) -> bool,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut failures = 0;
    loop {
        let error = match attempt() {
            Err(error) if is_passing(Reason::from_error(&error)) && failures < retries => error,
            done => return done,
        };
        failures += 1;
        let pause = pause(failures, None, random());
        host.events
            .warn(format!("{what}: {error:#}; trying again in {}, up to {retries} times", seconds(pause)));
        fault::reached(Point::Pause);
        host.cancel.wait(pause)?;
    }
}

fn seconds(pause: Duration) -> String {
    format!("{}.{} s", pause.as_secs(), pause.subsec_millis() / 100)
}

/// A random pause up to a limit that doubles with each failure, added to the pause that the server asked for.
fn pause(failures: u32, retry_after: Option<Duration>, random: u64) -> Duration {
    let limit = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(LONGEST_PAUSE);
    retry_after.unwrap_or_default() + share(limit, random)
}

/// A random part of a duration, uniformly distributed.
fn share(limit: Duration, random: u64) -> Duration {
    let nanos = (u128::from(random) * limit.as_nanos()) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or_default())
}

/// A random number from the seed of hash maps. It need not be unpredictable.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The delay of one machine within a time span: always the same for one name, uniformly distributed over many names.
pub fn jitter_of(name: &str, spread: Duration) -> Duration {
    // FNV-1a, then mixed over all bits, because names of machines differ in few characters.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
    share(spread, (mixed ^ (mixed >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d))
}

/// The error when every address has failed: that of the file's own address, which is tried last, with the mirrors'
/// errors.
pub(super) fn all_dead(sources: &mut [Backoff]) -> anyhow::Error {
    let mut errors = sources.iter_mut().filter_map(|source| source.dead.take()).collect::<Vec<_>>();
    let Some(last) = errors.pop() else { return Reason::DownloadFailed.error("there is no address to ask") };
    if errors.is_empty() {
        return last;
    }
    let mirrors = errors.iter().map(|error| format!("{error:#}")).collect::<Vec<_>>().join("; ");
    last.context(format!("no mirror helped ({mirrors})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    #[test]
    fn a_program_that_reaches_no_server_is_run_again_so_often_and_no_more() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let after = |failures: u32, retries, reason: Reason| {
            let mut tries = 0;
            let is_passing = |reason| reason == Reason::DownloadFailed;
            let done = up_to(retries, &host, "reading", is_passing, || {
                tries += 1;
                if tries > failures { Ok(()) } else { Err(reason.error("Connection refused")) }
            });
            (done.is_ok(), tries)
        };
        assert_eq!(after(2, 2, Reason::DownloadFailed), (true, 3));
        assert_eq!(after(2, 1, Reason::DownloadFailed), (false, 2));
        assert_eq!(after(1, 9, Reason::ResolveFailed), (false, 1));
        // Where somebody looks on.
        assert_eq!(after(1, 0, Reason::DownloadFailed), (false, 1));
    }

    #[test]
    fn a_server_that_is_not_there_is_told_once_and_given_up_at_once_only_where_somebody_looks_on() {
        let fail = |backoff: &mut Backoff| {
            let error = Reason::DownloadFailed.error("Connection refused");
            backoff.fail(Failure { error, passing: true, unreached: true, retry_after: None })
        };
        let mut unattended = Backoff { watched: false, ..Backoff::new("http://h/x".to_owned(), 8) };
        let told: Vec<String> = (0..8).filter_map(|_| fail(&mut unattended)).collect();
        assert!(told.len() == 1 && told[0].contains("Connection refused"), "{told:?}");
        assert!(unattended.dead.is_none());
        let mut watched = Backoff { watched: true, ..Backoff::new("http://h/x".to_owned(), 8) };
        let _ = (fail(&mut watched), fail(&mut watched));
        assert!(watched.dead.is_some());
    }

    #[test]
    fn pauses_grow_to_a_limit_and_keep_what_the_server_asked_for() {
        let longest = |failures| pause(failures, None, u64::MAX).as_millis();
        assert_eq!([1, 2, 3, 4].map(longest), [499, 999, 1999, 3999]);
        assert_eq!(longest(40), 59_999);
        assert_eq!(pause(3, None, 0), Duration::ZERO);
        assert_eq!(pause(1, Some(Duration::from_secs(7)), 0), Duration::from_secs(7));
    }

    #[test]
    fn many_machines_spread_evenly_and_each_keeps_its_turn() {
        let spread = Duration::from_secs(100);
        let mut tenths = [0; 10];
        for n in 0..10_000 {
            let name = format!("3b241101-e2bb-4255-8caf-{n:012x}");
            let turn = jitter_of(&name, spread);
            assert!(turn < spread && turn == jitter_of(&name, spread));
            tenths[usize::try_from(turn.as_secs() / 10).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
    }
}
