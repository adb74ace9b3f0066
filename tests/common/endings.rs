//! Endings that the score of diagnosis refers to (`tests/field/score_rows.rs`), and that the tests which provoke them assert.

use super::program::Ran;
use ofedctl::outcome::{Cause, Reason};

/// How a run ends: its reason, the cause below it, and words of the remedy.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// What a test writes to assert it.
    pub name: &'static str,
    pub reason: Reason,
    pub cause: Option<Cause>,
    pub advised: &'static str,
}

macro_rules! endings {
    ($($name:ident: $reason:ident, $cause:expr, $advised:literal;)+) => {
        $(pub const $name: Ending =
            Ending { name: stringify!($name), reason: Reason::$reason, cause: $cause, advised: $advised };)+
    };
}

endings! {
    MODULES_DO_NOT_BUILD: DkmsBuild, None, "compiler's lines";
    PACKAGE_OF_ANOTHER: WrongPackage, None, "the package for this distribution";
    FILE_OF_ANOTHER: PackageConflict, None, "Remove the package";
    HALF_INSTALLED: PackageManager, None, "quoted lines";
    STOPPED: Interrupted, None, "it continues where it stopped";
    SERVICE_HANGS: ServiceFailed, None, "journalctl";
    KERNEL_UNASKED: KernelUnsupported, None, "kernel";
    NOTHING_RUNS_IN_VAR: DkmsBuild, Some(Cause::BuildPlaceNoexec), "mount -o remount,exec";
}

impl Ran {
    /// Fails unless the run ended so.
    #[track_caller]
    pub fn ends(&self, ending: &Ending) -> &Self {
        self.expect(i32::from(ending.reason.exit_code().number()), ending.reason.token());
        let answer = self.json();
        assert_eq!(answer["cause"].as_str(), ending.cause.map(Cause::token), "{answer:#}");
        assert!(
            answer["remedy"].as_str().is_some_and(|remedy| remedy.contains(ending.advised)),
            "{answer:#}"
        );
        self
    }
}
