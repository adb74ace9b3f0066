//! Named instants of a run at which a test lets the program die, or stand still until it is told to go on.
//!
//! Only a build for development or with the feature `fault-points` obeys the variable [`VARIABLE`]; a release does not:
//! `kill@edit-noted` ends the program at that point as a power cut would, `stop@edit-noted` stops it there as a debugger
//! would, and `kill@edit-noted#3` waits for the third time. In every other build a point is nothing.

/// Declares [`Point`] as one table, so that a point cannot exist without its name and meaning.
macro_rules! points {
    ($($variant:ident $name:literal $meaning:literal;)+) => {
        /// A point at which a run can be ended from outside.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $(#[doc = $meaning] $variant,)+
        }

        impl Point {
            /// Every point, in the order in which a bake and then an uninstall come to it.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name that a test gives it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

points! {
    Pause "pause" "a server was not reached, that is told, and the pause before the next try begins";
    BlobStored "blob-stored" "a file is whole in the cache, and no bundle names it yet";
    JournalBegun "journal-begun" "the journal of a run is written, and nothing is changed yet";
    PackagesNoted "packages-noted" "the journal says what is installed, and no package is touched yet";
    RepositoryLaidOut "repository-laid-out" "the local repository is complete, and the manager has not begun";
    PackagesInstalled "packages-installed" "the manager is done, and the local repository is still there";
    EditNoted "edit-noted" "the journal tells of an edit that is not made yet";
    FileHalfWritten "file-half-written" "the new content of a file is complete beside the old one";
    EditMade "edit-made" "an edit is made, and the next one is not noted yet";
    TemporaryUndone "temporary-undone" "what was only for the run is undone, and there is no receipt of it yet";
    ReceiptWritten "receipt-written" "the receipt is written, and the journal is still there";
    PackagesRemoved "packages-removed" "uninstalling: the packages are gone, and the edits are still there";
    EditsTakenBack "edits-taken-back" "uninstalling: the edits are gone, and the receipt still tells of them";
    ReceiptRemoved "receipt-removed" "uninstalling: the receipt is gone, and the journal is still there";
}

/// The variable that says what is to happen, and where. `make release` looks for this name in what it built.
pub const VARIABLE: &str = "OFEDCTL_FAULT_POINT";

/// Where a test can end the program.
#[cfg(not(any(debug_assertions, feature = "fault-points")))]
pub const fn reached(_: Point) {}

#[cfg(any(debug_assertions, feature = "fault-points"))]
pub use armed::reached;

#[cfg(any(debug_assertions, feature = "fault-points"))]
mod armed {
    use super::{Point, VARIABLE};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::getpid;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// What [`VARIABLE`] says.
    #[derive(Debug, PartialEq, Eq)]
    struct Fault {
        signal: Signal,
        name: String,
        turn: usize,
    }

    /// Reads `ACTION@POINT` or `ACTION@POINT#TURN`.
    fn parse(text: &str) -> Option<Fault> {
        let (action, at) = text.split_once('@')?;
        let (name, turn) = at.split_once('#').unwrap_or((at, "1"));
        let signal = match action {
            "kill" => Signal::SIGKILL,
            "stop" => Signal::SIGSTOP,
            _ => return None,
        };
        let is_known = Point::ALL.iter().any(|point| point.name() == name);
        let turn = turn.parse().ok().filter(|_| is_known)?;
        Some(Fault { signal, name: name.to_owned(), turn })
    }

    /// Where a test can end the program.
    pub fn reached(point: Point) {
        static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
        static TURNS: AtomicUsize = AtomicUsize::new(0);
        let fault = FAULT.get_or_init(|| parse(crate::host::variable(VARIABLE)?.to_str()?));
        let Some(fault) = fault.as_ref().filter(|fault| fault.name == point.name()) else { return };
        if TURNS.fetch_add(1, Ordering::Relaxed) + 1 == fault.turn {
            let _ = kill(getpid(), fault.signal);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_fault_is_an_action_a_point_and_the_turn_it_waits_for() {
            let fault = |signal, turn| Some(Fault { signal, name: "edit-noted".to_owned(), turn });
            assert_eq!(parse("kill@edit-noted"), fault(Signal::SIGKILL, 1));
            assert_eq!(parse("stop@edit-noted#3"), fault(Signal::SIGSTOP, 3));
            for text in ["", "kill", "kill@", "kill@nowhere", "burn@edit-noted", "kill@edit-noted#x"] {
                assert_eq!(parse(text), None, "{text}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
