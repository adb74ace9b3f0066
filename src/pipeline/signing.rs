//! By whom the modules of a root are signed: the certificate that the settings name, else the one that its receipt names.
//! A root whose modules are signed stays so: a later run without the key builds nothing that its machine would refuse.

use crate::host::Host;
use crate::ledger::Receipt;
use crate::module_signing::{self, Certificate};
use crate::plan::Described;
use crate::plan_document::ModuleSigning;
use crate::settings::Settings;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The target with what is to be signed. Refuses a key that cannot be used, and hides one that can from all programs that
/// are run in the root.
pub(super) fn described(
    host: Option<&Host>,
    described: &Described,
    settings: &Settings,
    receipt: Option<&Receipt>,
) -> Result<Described> {
    let named = module_signing::named(settings, host.map(|host| &host.root))?;
    if let Some((host, signer)) = host.zip(named.signer()) {
        host.root.hide(signer.path());
    }
    let of_receipt = || receipt.and_then(|receipt| receipt.plan.module_signing.clone());
    let module_signing = named.certificate().map(document).or_else(of_receipt);
    Ok(Described { module_signing, ..described.clone() })
}

fn document(certificate: &Certificate) -> ModuleSigning {
    ModuleSigning {
        subject: certificate.subject(),
        sha256: certificate.sha256(),
        certificate: STANDARD.encode(certificate.der()),
    }
}
