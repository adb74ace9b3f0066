//! The mark of an update: the agent runs the old version's `uninstall` between the new one's `update` and `install`, and
//! nothing it says tells that apart from a removal. An update must not take drivers out.

use crate::host::Host;
use anyhow::Result;
use std::time::Duration;

/// Outside of every handler's folder, as both versions look at it.
const MARK: &str = "/var/lib/ofedctl/extension-update";
/// `update` may take 15 minutes, and the `uninstall` after it 5. An older mark was left by an update that failed.
const VALID: Duration = Duration::from_secs(60 * 60);

/// Says that an update is under way.
pub(super) fn begin(host: &Host) -> Result<()> {
    host.root.write_text(MARK, "")
}

/// Notes that the update is over, or that there was none.
pub(super) fn end(host: &Host) -> Result<()> {
    host.root.remove_file(MARK)
}

/// Whether an update is under way.
pub(super) fn is_under_way(host: &Host) -> bool {
    let written = host.root.metadata(MARK).and_then(|mark| mark.modified().ok());
    // A mark with a time in the future was made before the clock was set back.
    written.is_some_and(|written| written.elapsed().unwrap_or_default() < VALID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;
    use std::time::SystemTime;

    #[test]
    fn a_mark_counts_until_it_is_taken_away_or_old() {
        let (dir, host) = on_an_empty_root(Cancel::never());
        assert!(!is_under_way(&host));
        begin(&host).unwrap();
        assert!(is_under_way(&host));
        let mark = std::fs::File::options().write(true).open(dir.path().join(&MARK[1..])).unwrap();
        mark.set_modified(SystemTime::now() - 2 * VALID).unwrap();
        assert!(!is_under_way(&host));
        begin(&host).unwrap();
        end(&host).unwrap();
        end(&host).unwrap();
        assert!(!is_under_way(&host));
    }
}
