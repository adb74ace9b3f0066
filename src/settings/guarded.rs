//! What an image decides about trust, and a host from outside may not undo.
//!
//! User data and the extension's settings come with the VM, from whoever may create one. The files in the image come from
//! its builder and its administrator: what these say of signatures and of the network is a floor.

use super::Settings;
use crate::trust::Trust;
use serde::{Deserialize, Serialize};

/// A setting that can be tightened from outside and not loosened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Guarded {
    /// What has to vouch for a vendor's file.
    Trust,
    /// The key that bundles must be signed by.
    PublicKey,
    /// Whether there is no network.
    Offline,
    /// Whether an older signed bundle may take the place of a newer one.
    AllowOlder,
    /// The key that may vouch for a vendor's file in place of the vendor's own.
    VendorKey,
    /// Whose files are obeyed beside those of root.
    TrustedOwner,
}

impl Guarded {
    /// Each of them.
    pub const ALL: [Self; 6] =
        [Self::Trust, Self::PublicKey, Self::Offline, Self::AllowOlder, Self::VendorKey, Self::TrustedOwner];

    /// The key in the settings.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::PublicKey => "public_key",
            Self::Offline => "offline",
            Self::AllowOlder => "allow_older",
            Self::VendorKey => "vendor_key",
            Self::TrustedOwner => "trusted_owner",
        }
    }

    /// Whether the settings of the image are stricter in this than those with a host's over them.
    pub fn is_loosened(self, image: &Settings, over: &Settings) -> bool {
        match self {
            Self::Trust => over.trust < image.trust,
            Self::PublicKey => image.public_key.is_some() && over.public_key != image.public_key,
            Self::Offline => image.offline && !over.offline,
            Self::AllowOlder => image.public_key.is_some() && over.allow_older && !image.allow_older,
            // A key of one's own satisfies `trust: signed`, and an owner of one's own brings a key file of one's own.
            Self::VendorKey => {
                is_strict(image) && over.vendor_key.is_some() && over.vendor_key != image.vendor_key
            }
            Self::TrustedOwner => {
                is_strict(image) && over.trusted_owner.is_some() && over.trusted_owner != image.trusted_owner
            }
        }
    }
}

/// Whether an image asks for more than what everybody gets.
fn is_strict(image: &Settings) -> bool {
    image.public_key.is_some() || image.trust > Trust::default()
}
