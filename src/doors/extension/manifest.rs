//! The two documents of a handler package: `HandlerManifest.json`, which the VM agent reads, and `manifest.xml`, which
//! publishing reads.

use crate::outcome::Reason;
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt;

/// Where the shim lies in the package, and in the handler's folder.
pub(super) const SHIM: &str = "bin/ofedctl-shim";
/// How the agent starts it. The agent puts the handler's folder before the command, so this path leads to the
/// system's shell: the shim needs no execute permission, which neither the archive nor a `noexec` file system keeps.
const SHELL: &str = "../../../../../../../../bin/sh";

/// Publisher, type and version of the handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    publisher: String,
    kind: String,
    version: String,
}

impl Identity {
    /// Publisher (`Contoso.Hpc`), type (`InfiniBandDriverLinux`) and version (`1.2.3.4`), in the form that publishing
    /// and the agent ask for (Azure/azure-linux-extensions, docs/handler-registration.md).
    pub fn new(publisher: &str, kind: &str, version: &str) -> Result<Self> {
        // The agent splits a folder's name into name and version at the first `-`.
        let is_word = |text: &str| {
            let fine = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
            text.len() < 256 && text.split('.').all(fine)
        };
        let is_version = version.split('.').count() == 4
            && version.split('.').all(|part| part.parse::<u32>().is_ok_and(|n| n.to_string() == part));
        for (name, text, fine) in [
            ("publisher", publisher, is_word(publisher)),
            ("type", kind, is_word(kind) && !kind.contains('.')),
            ("version", version, is_version),
        ] {
            if !fine {
                let form =
                    "publisher and type are letters, digits and, between them, dots; a version is `1.2.3.4`";
                return Err(Reason::Usage.error(format!("`{text}` is no {name} of an extension: {form}")));
            }
        }
        Ok(Self { publisher: publisher.to_owned(), kind: kind.to_owned(), version: version.to_owned() })
    }

    /// `HandlerManifest.json`. The agent wants an array and all five commands (`WALinuxAgent`,
    /// azurelinuxagent/ga/exthandlers.py, `load_manifest` and `HandlerManifest`).
    pub(super) fn handler_manifest(&self) -> Value {
        let command = |name: &str| format!("{SHELL} {SHIM} {name}");
        json!([{
            "name": self.kind,
            "version": 1.0,
            // What agent 2.15 and later compare with what was asked for, where the package is signed or a policy wants it
            // (ga/signature_validation_util.py, `validate_handler_manifest_signing_info`).
            "signingInfo": {"publisher": self.publisher, "type": self.kind, "version": self.version},
            "handlerManifest": {
                "installCommand": command("install"),
                "uninstallCommand": command("uninstall"),
                "updateCommand": command("update"),
                "enableCommand": command("enable"),
                "disableCommand": command("disable"),
                "resetStateCommand": command("reset"),
                "rebootAfterInstall": false,
                // A heartbeat older than ten minutes means `Unresponsive`; this handler works once and is done.
                "reportHeartbeat": false,
                "updateMode": "UpdateWithInstall",
                // A version whose `disable` or `uninstall` fails must not keep its successor out.
                "continueOnUpdateFailure": true,
                "supportsMultipleExtensions": false,
            },
        }])
    }

    /// `manifest.xml`, as handlers published through the classic pipeline have it.
    pub(super) fn image_manifest(&self) -> String {
        let Self { publisher, kind, version } = self;
        format!(
            "<?xml version='1.0' encoding='utf-8'?>
<ExtensionImage xmlns=\"http://schemas.microsoft.com/windowsazure\">
  <ProviderNameSpace>{publisher}</ProviderNameSpace>
  <Type>{kind}</Type>
  <Version>{version}</Version>
  <Label>InfiniBand for Linux HPC VMs</Label>
  <HostingResources>VmRole</HostingResources>
  <MediaLink></MediaLink>
  <Description>Installs and proves the InfiniBand driver that fits the VM, with ofedctl {}</Description>
  <IsInternalExtension>true</IsInternalExtension>
  <IsJsonExtension>true</IsJsonExtension>
  <SupportedOS>Linux</SupportedOS>
  <CompanyName>{publisher}</CompanyName>
</ExtensionImage>
",
            env!("CARGO_PKG_VERSION")
        )
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { publisher, kind, version } = self;
        write!(f, "{publisher}.{kind} {version}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_one_that_publishing_and_agent_accept() {
        let made = Identity::new("Contoso.Hpc", "InfiniBandDriverLinux", "1.2.3.4").unwrap();
        assert_eq!(made.to_string(), "Contoso.Hpc.InfiniBandDriverLinux 1.2.3.4");
        let signed =
            json!({"publisher": "Contoso.Hpc", "type": "InfiniBandDriverLinux", "version": "1.2.3.4"});
        assert_eq!(made.handler_manifest()[0]["signingInfo"], signed);
        for (publisher, kind, version) in [
            ("Contoso-Hpc", "I", "1.2.3.4"),
            ("Contoso_Hpc", "I", "1.2.3.4"),
            ("", "I", "1.2.3.4"),
            ("C", "I.J", "1.2.3.4"),
            ("C", "<I>", "1.2.3.4"),
            ("C", "I", "1.2.3"),
            ("C", "I", "1.2.3.04"),
            ("C", "I", "1.2.3.x"),
        ] {
            let error = Identity::new(publisher, kind, version).unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::Usage, "{publisher} {kind} {version}");
        }
    }
}
