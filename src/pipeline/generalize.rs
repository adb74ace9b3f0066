//! Prepares an image for capture: state that belongs to this VM alone is removed, state of the image stays.

use crate::configure;
use crate::host::{CHILD_LOG_DIR, Host, LOG_FILE, STATE_DIR};
use crate::ledger::{self, JOURNAL, LAST_BUNDLE, RECEIPT, Receipt, SAVED_DIR};
use crate::outcome::{Outcome, Reason};
use crate::settings::Settings;
use anyhow::Result;
use std::time::Duration;

/// The parts of this program's own state that an image keeps. Everything else belongs to one VM and is removed.
const OF_THE_IMAGE: [&str; 3] = [RECEIPT, LAST_BUNDLE, SAVED_DIR];
/// Values that the Hyper-V host told this VM, such as the address of its InfiniBand interface. A clone that still has
/// them when the VM agent starts would use that address (Azure/azhpc-images removes the file, too).
const KVP_POOL: &str = "/var/lib/hyperv/.kvp_pool_0";

/// Makes a root safe to clone: removes the status, the log, the VM's name and leftovers of the vendor's installer. The
/// receipt stays, and the cache stays if the settings say so. Writes no report, because a clone must not inherit one.
pub fn generalize(host: &Host, settings: &Settings) -> Result<Outcome> {
    host.require_superuser()?;
    host.require_distribution()?;
    let _lock = host.lock_run(Duration::from_secs(settings.lock_timeout))?;
    // A receipt that can't be read ends the command before anything is changed.
    let receipt = Receipt::load(&host.root)?;
    ledger::require_readable(host)?;
    if host.root.exists(JOURNAL) {
        let what = "a run on this root did not end well: finish it first, with `ofedctl bake` or `install`";
        return Err(Reason::VerifyFailed.error(what));
    }
    let state = host.root.list(STATE_DIR).into_iter().map(|name| format!("{STATE_DIR}/{name}"));
    for path in state.filter(|path| !OF_THE_IMAGE.contains(&path.as_str())) {
        host.root.remove_all(&path)?;
    }
    for file in [LOG_FILE, KVP_POOL] {
        host.root.remove_file(file)?;
    }
    host.root.remove_all(CHILD_LOG_DIR)?;
    for path in configure::leftovers(host) {
        host.root.remove_all(&path)?;
    }
    if let Some(mut receipt) = receipt
        && receipt.vm_id.take().is_some()
    {
        receipt.save(&host.root)?;
    }
    let cache = if settings.keep_cache {
        "kept"
    } else {
        let is_elsewhere = crate::cache::remote::is_remote(&settings.cache);
        host.root.remove_all(if is_elsewhere { &settings.cache_copy } else { &settings.cache })?;
        "removed"
    };
    Ok(Outcome::new(Reason::Generalized, format!("log and status are gone, the cache is {cache}")))
}
