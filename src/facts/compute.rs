//! Identifies the VM and its image, from the settings, from cloud-init's data, or from the metadata service.

use crate::host::Host;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The file in which cloud-init's Azure datasource stores the metadata service's answer. All users can read it, and it
/// is rewritten at each boot (canonical/cloud-init, cloudinit/sources/__init__.py).
pub(crate) const INSTANCE_DATA: &str = "/run/cloud-init/instance-data.json";

/// The source of a VM size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The user's setting `vm_size`.
    Setting,
    /// cloud-init's instance data.
    CloudInit,
    /// The instance metadata service.
    Imds,
}

/// A VM, as its platform describes it. For images that did not come from the marketplace, publisher, offer and sku
/// are unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Compute {
    /// The VM's size, `Standard_HB120rs_v3`, in whatever case the platform wrote it.
    pub vm_size: Option<String>,
    /// The VM's identity.
    pub vm_id: Option<String>,
    /// Who published the image, `microsoft-dsvm`.
    pub publisher: Option<String>,
    /// The image's offer, `ubuntu-hpc`.
    pub offer: Option<String>,
    /// The image's sku, `2204`.
    pub sku: Option<String>,
    /// The source of the size.
    pub source: Option<Source>,
}

impl Compute {
    /// Fills missing fields from another description.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            source: if self.vm_size.is_some() { self.source } else { other.source },
            vm_size: self.vm_size.or(other.vm_size),
            vm_id: self.vm_id.or(other.vm_id),
            publisher: self.publisher.or(other.publisher),
            offer: self.offer.or(other.offer),
            sku: self.sku.or(other.sku),
        }
    }

    /// The same as cloud-init would keep it, and nothing else.
    pub(crate) fn to_instance_data(&self) -> Value {
        let compute = json!({
            "vmSize": self.vm_size,
            "vmId": self.vm_id,
            "publisher": self.publisher,
            "offer": self.offer,
            "sku": self.sku,
        });
        json!({"ds": {"meta_data": {"imds": {"compute": compute}}}})
    }

    /// Reads the metadata service's `compute` object.
    pub(super) fn from_metadata(compute: &Value, source: Source) -> Self {
        let text = |key| given_value(compute.get(key)?.as_str()?);
        let vm_size = text("vmSize");
        Self {
            source: vm_size.as_ref().map(|_| source),
            vm_size,
            vm_id: text("vmId"),
            publisher: text("publisher"),
            offer: text("offer"),
            sku: text("sku"),
        }
    }
}

/// The description that is known without a network: from the setting first, then from cloud-init's instance data.
pub fn size_of(host: &Host, settings_vm_size: Option<&str>) -> Compute {
    let vm_size = settings_vm_size.and_then(given_value);
    let source = vm_size.as_ref().map(|_| Source::Setting);
    let told = Compute { vm_size, source, ..Compute::default() };
    let instance_data = host.root.read_text(INSTANCE_DATA).ok().flatten();
    told.or(instance_data.as_deref().map(instance_data_compute).unwrap_or_default())
}

/// Reads cloud-init's instance data. What it keeps under `ds` is the datasource's own, and `imds` is empty when the
/// metadata service did not answer at boot.
fn instance_data_compute(json: &str) -> Compute {
    let data: Value = serde_json::from_str(json).unwrap_or_default();
    data.pointer("/ds/meta_data/imds/compute")
        .map(|compute| Compute::from_metadata(compute, Source::CloudInit))
        .unwrap_or_default()
}

/// A usable value; none for the service's empty string, and for the remark that cloud-init writes in place of values
/// that not all users may read.
fn given_value(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && !text.starts_with("redacted for non-root")).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;
    use proptest::prelude::*;

    const JSON: &str = r#"{"ds": {"meta_data": {"imds": {"compute": {
        "vmSize": "Standard_HB120rs_v3", "vmId": "5c0ffee0-0000-4000-8000-00000000cafe", "publisher": "", "offer": "",
        "sku": "", "userData": "redacted for non-root user"}}}}}"#;

    #[test]
    fn the_setting_wins_and_instance_data_fills_the_rest() {
        let (_dir, host) = host_with(&[(&INSTANCE_DATA[1..], JSON)]);
        let found = size_of(&host, None);
        assert_eq!(found.vm_size.as_deref(), Some("Standard_HB120rs_v3"));
        assert_eq!((found.source, found.offer.clone()), (Some(Source::CloudInit), None));
        let told = size_of(&host, Some("Standard_HC44rs"));
        assert_eq!((told.vm_size.as_deref(), told.source), (Some("Standard_HC44rs"), Some(Source::Setting)));
        assert_eq!(told.vm_id, found.vm_id);
        assert_eq!(size_of(&host, Some(" ")), found);
    }

    #[test]
    fn nothing_known_is_nothing_said() {
        assert_eq!(size_of(&host_with(&[]).1, None), Compute::default());
        for json in [
            "",
            "[]",
            "{",
            r#"{"ds":{"meta_data":{"imds":{}}}}"#,
            r#"{"ds":{"meta_data":{"imds":{"compute":7}}}}"#,
        ] {
            assert_eq!(instance_data_compute(json), Compute::default(), "{json}");
        }
    }

    #[test]
    fn what_is_known_is_not_overwritten() {
        let size = |size: &str, source| Compute {
            vm_size: Some(size.to_owned()),
            source: Some(source),
            ..Compute::default()
        };
        let imds = Compute { vm_id: Some("id".to_owned()), ..size("B", Source::Imds) };
        let merged = size("A", Source::CloudInit).or(imds.clone());
        assert_eq!(merged, Compute { vm_id: Some("id".to_owned()), ..size("A", Source::CloudInit) });
        assert_eq!(Compute::default().or(imds.clone()), imds);
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "\\PC*") {
            let _ = (instance_data_compute(&text), given_value(&text));
        }
    }
}
