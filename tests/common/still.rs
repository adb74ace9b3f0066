//! Checks that nothing in a root has changed, down to the change times of files.

use super::tree::{Tree, diff};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Content, owners and modes, and when each file and what is known of it was last changed.
pub struct Still {
    tree: Tree,
    times: BTreeMap<String, [i64; 4]>,
}

impl Still {
    pub fn of(root: &Path) -> Self {
        let tree = Tree::of(root);
        let time = |path: &String| {
            let found = root.join(path).symlink_metadata().unwrap();
            (path.clone(), [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()])
        };
        let times = tree.0.keys().map(time).collect();
        Self { tree, times }
    }

    /// Fails when anything is not as it was.
    #[track_caller]
    pub fn assert_same(&self, root: &Path) {
        let now = Self::of(root);
        let changed = diff(&self.tree, &now.tree);
        assert!(changed.is_empty(), "the root was changed:\n{changed}");
        let touched: Vec<_> = self.times.iter().filter(|(path, time)| now.times[*path] != **time).collect();
        assert!(touched.is_empty(), "touched: {touched:?}");
    }
}
