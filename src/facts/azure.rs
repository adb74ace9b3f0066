//! Signs of Azure in the root: the HPC images' marker, and the chassis tag.

use crate::host::Host;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Written by Azure/azhpc-images, utils/utilities.sh; microsoft/lisa takes its presence for an HPC image, too.
const COMPONENT_VERSIONS: &str = "/opt/azurehpc/component_versions.txt";
/// The tag of every Azure VM's chassis (canonical/cloud-init, cloudinit/sources/azure/identity.py).
pub(crate) const AZURE_CHASSIS: &str = "7783-7084-3265-9085-8269-3286-77";

/// An Azure HPC image, and the drivers that its list of components names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HpcImage {
    /// The OFED version.
    pub ofed: Option<String>,
    /// The DOCA version.
    pub doca: Option<String>,
}

/// Looks for the HPC images' marker; none when this is no such image.
pub fn hpc_image(host: &Host) -> Option<HpcImage> {
    Some(component_versions(&host.root.read_text(COMPONENT_VERSIONS).ok()??))
}

/// Whether the firmware identifies an Azure VM. Hyper-V alone does not, because it runs elsewhere, too.
pub fn is_azure(host: &Host) -> bool {
    host.root.attribute("/sys/class/dmi/id/chassis_asset_tag").as_deref() == Some(AZURE_CHASSIS)
}

/// The drivers in the HPC images' list of components, a JSON object of names and versions.
fn component_versions(json: &str) -> HpcImage {
    let components: Value = serde_json::from_str(json).unwrap_or_default();
    let version = |names: &[&str]| {
        names.iter().find_map(|name| {
            let value = components.get(name)?;
            let version = value.get("version").unwrap_or(value).as_str()?.trim();
            (!version.is_empty()).then(|| version.to_owned())
        })
    };
    HpcImage { ofed: version(&["OFED", "MOFED"]), doca: version(&["DOCA"]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;
    use proptest::prelude::*;

    #[test]
    fn the_marker_alone_makes_an_hpc_image() {
        let both = HpcImage { ofed: Some("25.10-1.7.1".to_owned()), doca: Some("3.2.1".to_owned()) };
        assert_eq!(component_versions(r#"{"OFED": "25.10-1.7.1", "DOCA": "3.2.1", "HPCX": "v2.24"}"#), both);
        for odd in ["", "[]", "{}", r#"{"OFED": 5, "DOCA": ""}"#] {
            assert_eq!(component_versions(odd), HpcImage::default(), "{odd}");
        }
        assert_eq!(hpc_image(&host_with(&[(&COMPONENT_VERSIONS[1..], "?")]).1), Some(HpcImage::default()));
        assert_eq!(hpc_image(&host_with(&[]).1), None);
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "\\PC*") {
            let _ = component_versions(&text);
        }
    }
}
