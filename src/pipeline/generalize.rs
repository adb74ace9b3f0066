//! Before an image is captured: what belongs to this VM alone goes, what belongs to the image stays.

use crate::host::journal::JOURNAL;
use crate::host::{CHILD_LOG_DIR, Host, LOG_FILE};
use crate::outcome::{Outcome, Reason};
use crate::receipt::Receipt;
use crate::settings::Settings;
use crate::status::STATUS_FILE;
use anyhow::Result;
use std::time::Duration;

/// Makes a root safe to clone: no status, no log and no VM's name are left; the receipt is, and the cache by setting.
///
/// Writes no report, for a clone must not inherit one.
pub fn generalize(host: &Host, settings: &Settings) -> Result<Outcome> {
    host.require_superuser()?;
    host.require_distribution()?;
    let _lock = host.lock_run(Duration::from_secs(settings.lock_timeout))?;
    if host.root.exists(JOURNAL) {
        let what = "a run on this root did not end well: finish it first, with `ofedctl bake` or `install`";
        return Err(Reason::VerifyFailed.error(what));
    }
    for file in [STATUS_FILE, LOG_FILE] {
        host.root.remove_file(file)?;
    }
    host.root.remove_all(CHILD_LOG_DIR)?;
    if let Some(mut receipt) = Receipt::load(&host.root)?
        && receipt.vm_id.take().is_some()
    {
        receipt.save(&host.root)?;
    }
    let cache = if settings.keep_cache {
        "kept"
    } else {
        host.root.remove_all(&settings.cache)?;
        "removed"
    };
    Ok(Outcome::new(Reason::Generalized, format!("log and status are gone, the cache is {cache}")))
}
