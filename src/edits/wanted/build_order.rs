//! The order in which DKMS builds the vendor's modules when a kernel comes later.

use crate::edits::Edit;
use crate::target::{Family, Target};

/// The packages of modules that are built with the symbols of the main one. DKMS goes by the alphabet, in which they
/// come first, and fails; azhpc-images write these files, too.
const DEPENDENTS: [&str; 3] = ["iser", "isert", "srp"];

/// The edits that tell DKMS, for a driver that leaves its modules to it.
pub(super) fn edits(target: &Target) -> Vec<Edit> {
    let main = if target.distro.family() == Family::Debian { "mlnx-ofed-kernel" } else { "mlnx-ofa_kernel" };
    let edit = |name: &str| Edit::WriteFile {
        path: format!("/etc/dkms/{name}.conf"),
        content: format!("# Made by ofedctl: built with the symbols of {main}.\nBUILD_DEPENDS=\"{main}\"\n"),
        why: format!("let DKMS build {name} after {main} when a kernel comes"),
    };
    DEPENDENTS.iter().map(|name| edit(name)).collect()
}
