//! How often and how soon an address is asked again: exponential pauses with full jitter, longer where the server asks
//! for it. Full jitter, because it spreads many clients that failed at the same moment best (AWS Architecture Blog,
//! "Exponential Backoff And Jitter").

use super::error::{DownloadError, Failure};
use crate::host::Host;
use crate::host::http::without_secrets;
use crate::outcome::Reason;
use anyhow::Result;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A server that drips is not forgiven for every drop.
const WORTH_A_TRY: u64 = 64 << 10;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// One address, and how it has behaved.
#[derive(Debug)]
pub(super) struct Backoff {
    /// The address.
    pub(super) url: String,
    /// Why it is not asked again.
    pub(super) dead: Option<anyhow::Error>,
    /// When it may be asked next.
    pub(super) not_before: Instant,
    failures: u32,
    /// What is being done with it.
    verb: &'static str,
    /// Bytes since the last failure.
    came: u64,
    retries: u32,
    /// What was said of it last: the same is not said again.
    told: String,
    /// Whether somebody looks on, who can put right what is wrong sooner than any pause.
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

    /// Some bytes came. So many that they are worth a request, in all since the last failure, make up for it.
    pub(super) fn succeed(&mut self, bytes: u64) {
        self.came += bytes;
        if self.came >= WORTH_A_TRY {
            self.failures = 0;
        }
    }

    /// What came is not what is wanted, and will not be.
    pub(super) fn reject(&mut self, error: anyhow::Error) {
        self.dead = Some(error.context(self.doing()));
    }

    fn doing(&self) -> String {
        format!("{} `{}`", self.verb, without_secrets(&self.url))
    }

    /// Nothing came. Returns what there is to say about another try.
    pub(super) fn fail(&mut self, failure: Failure) -> Option<String> {
        let doing = self.doing();
        self.failures += 1;
        self.came = 0;
        let error = failure.error;
        if !failure.passing {
            self.reject(error);
            return None;
        }
        // On a terminal a server that is not there is given up at once; where nobody looks on, it may yet come.
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

/// Does something with a server until it works, cannot work, or has failed too often.
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
        while Instant::now() < patience.not_before {
            host.cancel.check()?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn seconds(pause: Duration) -> String {
    format!("{}.{} s", pause.as_secs(), pause.subsec_millis() / 100)
}

/// Between nothing and a limit that doubles with each failure, after what the server asked for.
fn pause(failures: u32, retry_after: Option<Duration>, random: u64) -> Duration {
    let limit = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(LONGEST_PAUSE);
    retry_after.unwrap_or_default() + share(limit, random)
}

/// A part of a duration, uniformly.
fn share(limit: Duration, random: u64) -> Duration {
    let nanos = (u128::from(random) * limit.as_nanos()) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or_default())
}

/// Hash maps are seeded at random, and nothing here must be unpredictable.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Where in a spread of time a machine has its turn: always the same for one name, uniform over many.
pub fn jitter_of(name: &str, spread: Duration) -> Duration {
    // FNV-1a, then spread over all bits: names of machines differ in few.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
    share(spread, (mixed ^ (mixed >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d))
}

/// The end of all addresses: the own address's error, which is last, with what the mirrors said.
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
