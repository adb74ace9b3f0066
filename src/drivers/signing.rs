//! Signatures of the modules that are built, where the plan wants them: this program makes them after the build, before
//! DKMS installs the modules and before they are kept in the cache.

use super::{InstallOptions, Work};
use crate::amounts::count;
use crate::cache::Bundle;
use crate::facts::modules::{self, Module};
use crate::host::Host;
use crate::ledger::Check;
use crate::module_signing::{self, Certificate, Named, Signing};
use crate::outcome::{Cause, Reason};
use crate::packages::Installed;
use crate::packages::dkms::{self, Source, TREE};
use crate::plan_document::{ModuleSigning, Plan};
use crate::settings::Settings;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How many digits of the certificate's digest a title has.
const DIGITS: usize = 12;

/// By whom modules are signed, and the key where it is here.
pub(super) struct Signatures {
    planned: ModuleSigning,
    certificate: Certificate,
    named: Named,
}

impl Signatures {
    /// What a plan says; none if its modules are not signed.
    pub(super) fn from_plan(host: &Host, plan: &Plan, settings: &Settings) -> Result<Option<Self>> {
        let Some(planned) = plan.module_signing.clone() else { return Ok(None) };
        let certificate = certificate(&planned)?;
        let named = module_signing::named(settings, Some(&host.root))?;
        Ok(Some(Self { planned, certificate, named }))
    }

    fn signing(&self) -> Signing<'_> {
        Signing::new(&self.certificate, &self.named)
    }

    pub(super) fn has_key(&self) -> bool {
        self.signing().signer.is_some()
    }

    /// The end of the title of an archive of modules that are signed by this key.
    pub(super) fn suffix(&self) -> String {
        suffix(&self.planned)
    }

    /// Signs what DKMS has built of a source for a kernel. Returns how many modules were not signed before.
    pub(super) fn sign_built(&self, host: &Host, source: &Source, kernel: &str) -> Result<usize> {
        self.sign(host, kernel, &built(host, source, kernel))
    }

    fn sign(&self, host: &Host, kernel: &str, paths: &[String]) -> Result<usize> {
        let signed = module_signing::sign(host, &self.signing(), kernel, paths)?;
        if signed > 0 {
            host.events.info(format!(
                "signed {} for {kernel} by {}",
                count(signed, "module"),
                self.planned.subject
            ));
        }
        Ok(signed)
    }

    /// Whether a module that is built of these sources for a kernel lacks the signature.
    pub(super) fn is_lacking(&self, host: &Host, sources: &[Source], kernel: &str) -> Result<bool> {
        let paths: Vec<String> = sources.iter().flat_map(|source| built(host, source, kernel)).collect();
        Ok(!module_signing::unsigned(host, &self.certificate, &paths)?.is_empty())
    }
}

fn certificate(planned: &ModuleSigning) -> Result<Certificate> {
    let der = STANDARD.decode(&planned.certificate).ok().and_then(Certificate::from_der);
    der.ok_or_else(|| Reason::Internal.error("the plan's certificate cannot be read"))
}

fn suffix(planned: &ModuleSigning) -> String {
    format!("-signed-{}", &planned.sha256[..planned.sha256.len().min(DIGITS)])
}

/// The title of an archive of built modules in a bundle. Signed ones have a suffix.
pub(super) fn title_of_built(bundle: &Bundle, kernel: &str, suffix: &str) -> String {
    format!("dkms-{}-{kernel}{suffix}.tgz", bundle.config.driver_version.as_deref().unwrap_or_default())
}

/// The modules that DKMS has built of a source for a kernel.
fn built(host: &Host, Source { name, version }: &Source, kernel: &str) -> Vec<String> {
    let above = format!("{TREE}/{name}/{version}/{kernel}");
    let folders = host.root.list(&above).into_iter().map(|arch| format!("{above}/{arch}/module"));
    folders.flat_map(|it| host.root.list(&it).into_iter().map(move |name| format!("{it}/{name}"))).collect()
}

/// Refuses a plan whose modules have to be built and signed here without the key, before anything is changed.
pub fn require_signing_key(host: &Host, plan: &Plan, bundle: &Bundle, options: InstallOptions) -> Result<()> {
    let Some(signatures) = Signatures::from_plan(host, plan, options.settings)? else { return Ok(()) };
    if signatures.has_key() {
        return Ok(());
    }
    let sources = dkms::sources(&host.root);
    let kernels = plan.rebuilds.as_ref().map_or(&plan.target.kernels, |rebuild| &rebuild.kernels);
    for kernel in kernels {
        let is_kept = bundle.file(&title_of_built(bundle, kernel, &signatures.suffix())).is_some();
        let is_there = !sources.is_empty()
            && dkms::missing(host, &sources, kernel)?.is_empty()
            && !signatures.is_lacking(host, &sources, kernel)?;
        if !is_kept && !is_there {
            let subject = &signatures.planned.subject;
            let what = format!(
                "the modules for {kernel} have to be built and signed by {subject}, and the key is not here; nothing was \
                 changed"
            );
            return Err(Cause::SigningKeyMissing.error(what));
        }
    }
    Ok(())
}

/// Signs the modules in packages that the vendor's installer built and that came since `before`. Their files differ from
/// their packages afterwards.
pub(super) fn sign_installed(work: &Work, before: &Installed) -> Result<()> {
    let Work { host, plan, manager, options, .. } = *work;
    let Some(signatures) = Signatures::from_plan(host, plan, options.settings)? else { return Ok(()) };
    let now = manager.installed(host)?.versions;
    let came: Vec<String> = now
        .into_iter()
        .filter(|(name, version)| before.versions.get(name) != Some(version))
        .map(|it| it.0)
        .collect();
    let files = manager.files(host, &came)?;
    for kernel in &plan.target.kernels {
        let is_of_it = |path: &&String| path.contains(&format!("/lib/modules/{kernel}/"));
        let paths: Vec<String> = files.iter().filter(is_of_it).cloned().collect();
        signatures.sign(host, kernel, &paths)?;
    }
    Ok(())
}

/// Whether a file differs from its package because its module was signed.
pub fn is_signed_module(plan: &Plan, difference: &str) -> bool {
    let is_module = |ending| difference.ends_with(ending);
    plan.module_signing.is_some()
        && difference.contains("/lib/modules/")
        && [".ko", ".ko.gz", ".ko.xz", ".ko.zst"].into_iter().any(is_module)
}

/// Checks the signature of each module that a kernel would load.
pub(super) fn check(host: &Host, plan: &Plan, kernel: &str) -> Result<Option<Check>> {
    let Some(planned) = &plan.module_signing else { return Ok(None) };
    let found = modules::find(&host.root, kernel, &plan.modules);
    let paths = found.into_iter().filter_map(|module| match module {
        Module::File(path) => Some(format!("/lib/modules/{kernel}/{path}")),
        Module::BuiltIn | Module::Missing => None,
    });
    let paths: Vec<String> = paths.collect();
    let unsigned = module_signing::unsigned(host, &certificate(planned)?, &paths)?;
    let found = if unsigned.is_empty() {
        format!("{} by {}", count(paths.len(), "module"), planned.subject)
    } else {
        format!("not by {}: {}", planned.subject, unsigned.join(", "))
    };
    Ok(Some(Check::new(format!("signed for {kernel}"), unsigned.is_empty(), found)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_module_that_differs_was_signed_only_where_the_plan_signs() {
        let plan = |signing: Option<serde_json::Value>| -> Plan {
            serde_json::from_value(json!({
                "schema_version": 1, "driver": "mlnx_ofed", "driver_version": "5.8-1.1.2.1", "present": null, "why": [],
                "rejected": [], "artifact": null, "packages": [], "edits": [], "modules": [], "module_signing": signing,
                "target": {"distro": "debian12", "arch": "x86_64", "kernels": [], "vm_size": null, "nic": null},
            }))
            .unwrap()
        };
        let module = "S.5......    /lib/modules/4.18.0/extra/mlnx-ofa_kernel/mlx5_core.ko.xz";
        let signs = plan(Some(json!({"subject": "site", "sha256": "", "certificate": ""})));
        assert!(is_signed_module(&signs, module) && !is_signed_module(&plan(None), module));
        for other in ["S.5......    /usr/bin/ibstat", "S.5......    /lib/modules/4.18.0/modules.dep"] {
            assert!(!is_signed_module(&signs, other), "{other}");
        }
    }
}
