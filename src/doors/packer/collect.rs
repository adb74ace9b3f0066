//! What is kept of a build: the guest's status document, receipt and log, a report and a bill of materials, in a folder of
//! the build host.

use super::guest::{As, Guest};
use super::upload::Folder;
use crate::host::LOG_FILE;
use crate::ledger::RECEIPT;
use crate::outcome::{Cause, Reason, WithCause};
use crate::status::STATUS_FILE;
use anyhow::Result;
use std::fs::File;
use std::path::Path;

/// The longest log that is fetched.
const MAX_BYTES: u64 = 64 << 20;

/// Makes the folder, and proves that files can be made in it.
pub(super) fn prepare(into: &Path) -> Result<()> {
    let doing = || format!("`output_directory` `{}` cannot be written to", into.display());
    std::fs::create_dir_all(into).with_cause(Cause::FolderUnwritable, doing)?;
    tempfile::tempfile_in(into).with_cause(Cause::FolderUnwritable, doing).map(drop)
}

/// Fetches those of the records that the guest has.
pub(super) fn collect(guest: &Guest, folder: &Folder, into: &Path) -> Result<()> {
    for (path, name) in
        [(STATUS_FILE, "status.json"), (RECEIPT, "receipt.json"), (LOG_FILE, "ib-vmext-status")]
    {
        // The user of the communicator may read the copy, and nobody else may enter the folder.
        let copy = folder.word(name);
        let ran = guest.run(As::Root, &format!("cp {path} {copy} && chmod 644 {copy}"))?;
        if ran.code != 0 {
            // A run that ended early has not written every record.
            continue;
        }
        fetch(guest, &folder.at(name), &into.join(name))?;
    }
    // What a run that installed nothing left makes a page, and no bill of materials.
    for (name, form) in [("report.html", ""), ("sbom.json", "--sbom cyclonedx")] {
        let made = folder.word(name);
        let program = folder.word("ofedctl");
        let script = format!("{program} --quiet report --out {made} {form} && chmod 644 {made}");
        if guest.run(As::Root, &script)?.code == 0 {
            fetch(guest, &folder.at(name), &into.join(name))?;
        }
    }
    guest.ui.say(&format!("ofed: status, receipt, log and report are in `{}`", into.display()));
    Ok(())
}

/// Fetches one file.
pub(super) fn fetch(guest: &Guest, path: &str, to: &Path) -> Result<()> {
    let doing = || format!("cannot write `{}`", to.display());
    let mut file = File::create(to).with_cause(Cause::FolderUnwritable, doing)?;
    let fetched = guest.caller.download(guest.broker, &guest.cancel, path, &mut file, MAX_BYTES);
    guest.cancel.check()?;
    fetched.map(drop).map_err(|how| Reason::GuestFailed.error(format!("fetching `{path}`: {how}")))
}
