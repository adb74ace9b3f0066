//! Archives and bundles made to do harm. `OFEDCTL_TORTURE=1` (`make torture`) tries every place of those tests that try a
//! sample otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod amounts;
mod archives;
mod bundles;
mod layouts;
mod stage;
mod stopped;
mod tar;
mod targets;

use common::tree::Tree;
use ofedctl::outcome::Reason;
use std::path::Path;

/// How many of the places in `0..end` a test tries, evenly spread: all of at most `most` by `make torture`, and a tenth
/// otherwise.
fn places(end: usize, most: usize) -> impl Iterator<Item = usize> {
    let wanted = if is_torture() { most } else { most / 10 };
    (0..end).step_by((end / wanted).max(1))
}

/// Whether everything is tried.
fn is_torture() -> bool {
    std::env::var_os("OFEDCTL_TORTURE").is_some()
}

/// Fails where a failure is told as a fault of the program.
#[track_caller]
fn assert_told(what: &str, error: &anyhow::Error) -> Reason {
    let reason = Reason::from_error(error);
    assert_ne!(reason, Reason::Internal, "{what}: {error:#}");
    reason
}

/// What surrounds a private folder, and must stay as it is.
struct Outside {
    folder: tempfile::TempDir,
    before: Tree,
}

impl Outside {
    /// A folder with files that a hostile member would like to reach, and an empty folder `private/into`.
    fn new() -> Self {
        let folder = common::scratch();
        for name in ["etc/passwd", "private/etc/passwd", "private/out", "out"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "as it was").unwrap();
        }
        std::fs::create_dir_all(folder.path().join("private/into")).unwrap();
        let before = Self::tree(folder.path());
        Self { folder, before }
    }

    fn private(&self) -> std::path::PathBuf {
        self.folder.path().join("private/into")
    }

    fn tree(folder: &Path) -> Tree {
        Tree::around(folder, "private/into").without(|path| path.starts_with("archive"))
    }

    #[track_caller]
    fn assert_untouched(&self, what: &str) {
        assert_eq!(Self::tree(self.folder.path()), self.before, "{what}");
    }
}
