//! Waits until a condition holds. This is the only place where a test sleeps, and only between two checks of the
//! condition.

use std::process::Child;
use std::time::{Duration, Instant};

const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// Far longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whether a condition holds within some time.
pub fn within(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    true
}

/// Waits until a condition holds; fails with what was waited for.
#[track_caller]
pub fn until(what: &str, holds: impl FnMut() -> bool) {
    assert!(within(PATIENCE, holds), "waited in vain: {what}");
}

/// The same while a program is at work, which must not end before.
#[track_caller]
pub fn until_at_work(child: &mut Child, what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || {
        let is_so = holds();
        assert!(is_so || child.try_wait().unwrap().is_none(), "the program ended before {what}");
        is_so
    });
}
