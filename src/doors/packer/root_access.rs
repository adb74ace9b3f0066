//! Whether the user that Packer's communicator logs in as can become root in the guest.

use super::guest::{As, Guest, STEP, WAY, not_root};
use super::upload::{self, Folder};
use anyhow::Result;

/// Makes sure that scripts can be run as root. What `id -u` prints decides, not what other programs print on the way,
/// such as the warning of sudo that it cannot resolve the host's name.
pub(super) fn require(guest: &Guest, folder: &Folder) -> Result<()> {
    if let Some(way) = &guest.wanted.execute_command {
        // It may hold a password, and Packer writes commands into its log: so it goes into a file.
        upload::text(guest, &way.around(&folder.at(STEP)), &folder.at(WAY))?;
    }
    let uid = guest.run(As::Root, "id -u")?;
    if uid.out.trim() == "0" { Ok(()) } else { Err(not_root(&format!("{} {}", uid.out, uid.complaint))) }
}
