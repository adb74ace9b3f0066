//! A vendor's file whose digest nobody published: it is downloaded once from the vendor's own host, and later runs
//! accept only the same bytes.

use crate::cache::{Blob, Bundle, Cache, Writer};
use crate::catalog::Catalog;
use crate::drivers;
use crate::host::Host;
use crate::host::http::{NetworkOptions, without_secrets};
use crate::ledger::Receipt;
use crate::outcome::Reason;
use crate::plan_document::{Artifact, Plan};
use crate::settings::Settings;
use crate::trust::{Trust, VendorFile, host_of, is_vendors};
use anyhow::Result;
use std::path::Path;

/// Adds to a plan the digest with which the root or the cache accepted a file of that name before, so that no other is
/// accepted. This is not needed if the digest is published or given.
pub fn remember(plan: &mut Plan, settings: &Settings, receipt: Option<&Receipt>) -> Result<()> {
    let Some(artifact) = plan.artifact.as_mut().filter(|artifact| artifact.sha256.is_none()) else {
        return Ok(());
    };
    let installed = receipt.and_then(|receipt| receipt.vendor_file.clone());
    let installed = installed.map(|file| ("this root's receipt".to_owned(), file));
    // A remote cache is read after its download, and an unreadable one fails where it is used.
    let cached =
        Cache::open(Path::new(&settings.cache)).and_then(|cache| cache.bundles()).unwrap_or_default();
    let cached =
        cached.into_iter().filter_map(|it| Some((format!("the bundle {}", it.tag), it.config.vendor_file?)));
    let mut known: Option<(String, VendorFile)> = None;
    for (place, file) in
        installed.into_iter().chain(cached).filter(|(_, it)| it.file_name == artifact.file_name)
    {
        match &known {
            None => known = Some((place, file)),
            Some((first, taken)) if taken.sha256 != file.sha256 => {
                return Err(Reason::DigestMismatch.error(format!(
                    "{first} has `{}` as {}, {place} as {}, and nobody published a digest: give the right one as \
                     `sha256`, with `driver_version`",
                    file.file_name, taken.sha256, file.sha256
                )));
            }
            Some(_) => {}
        }
    }
    artifact.first_seen = known.map(|(_, file)| file.sha256);
    Ok(())
}

/// Downloads the file from the vendor's own host: over TLS, redirections included, and from no mirror. A file that must
/// be signed may come from anywhere; its signature is checked when it is unpacked.
pub(super) fn download(
    host: &Host,
    writer: &Writer,
    artifact: &Artifact,
    way: NetworkOptions,
) -> Result<Blob> {
    let name = &artifact.file_name;
    if artifact.trust == Trust::Signed {
        host.events.info(format!("downloading `{name}`, which has to be signed"));
        return writer.download_unknown(NetworkOptions { mirrors: &[], ..way }, &artifact.url, name);
    }
    if !is_vendors(&artifact.url) {
        let place = without_secrets(&artifact.url);
        let what =
            format!("nobody published a digest of `{name}`, and `{place}` is not the vendor's own place");
        return Err(Reason::Untrusted.error(what));
    }
    host.events.info(format!("downloading `{name}`, of which no digest is known"));
    let way = NetworkOptions { mirrors: &[], vendor_only: true, ..way };
    writer.download_unknown(way, &artifact.url, name)
}

/// The record of the vendor's file in a bundle. Its trust level is the one found in the file, else the plan's.
pub fn vendor_file(plan: &Plan, bundle: &Bundle, found: Option<Trust>) -> Option<VendorFile> {
    let artifact = plan.artifact.as_ref()?;
    let file = bundle.file(&artifact.file_name)?;
    Some(VendorFile {
        file_name: artifact.file_name.clone(),
        sha256: file.digest.hex(),
        trust: found.unwrap_or(artifact.trust),
        url: without_secrets(&artifact.url),
    })
}

/// The warning about a file whose digest nobody published.
pub fn warning(plan: &Plan, file: &VendorFile) -> Option<String> {
    let weak = file.trust == Trust::FirstUse;
    weak.then(|| {
        format!(
            "nobody published a digest of {}: it came over TLS from {} as {}; pin it ({}) or set `trust: signed`",
            file.file_name,
            host_of(&file.url),
            file.sha256,
            pin(plan, file)
        )
    })
}

/// Whether the file itself may turn out to be trusted more than the plan assumes, because its packages may be signed.
pub fn may_be_signed(plan: &Plan, settings: &Settings) -> Result<bool> {
    let keys = Catalog::from_settings(settings)?.vendor_keys;
    let version = plan.driver_version.as_deref().unwrap_or_default();
    Ok(drivers::ops(plan.driver).is_signed(&plan.target, version, settings, &keys))
}

/// The settings that accept this very file and no other on every machine.
pub fn pin(plan: &Plan, file: &VendorFile) -> String {
    let version = plan.driver_version.as_deref().unwrap_or_default();
    format!("`driver_version: {version}`, `sha256: {}`", file.sha256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::BundleConfig;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;
    use serde_json::json;
    use std::time::{Duration, SystemTime};

    const NAME: &str = "MLNX_OFED_LINUX-5.8-1.1.2.1-debian11.3-x86_64.tgz";
    const URL: &str = "https://content.mellanox.com/ofed/MLNX_OFED-5.8-1.1.2.1/x.tgz?sig=secret";

    fn plan(sha256: Option<&str>) -> Plan {
        let artifact = json!({
            "file_name": NAME, "url": URL, "mirrors": [], "sha256": sha256, "trust": "first-use",
            "repository": null, "kernel_devel": null,
        });
        let plan = json!({
            "schema_version": 1, "driver": "mlnx_ofed", "driver_version": "5.8-1.1.2.1", "present": null, "why": [],
            "rejected": [], "artifact": artifact, "packages": [], "edits": [], "modules": [],
            "target": {"distro": "debian11", "arch": "x86_64", "kernels": [], "vm_size": null, "nic": null},
        });
        serde_json::from_value(plan).unwrap()
    }

    fn file(sha256: &str) -> VendorFile {
        let [file_name, url] = [NAME, "https://content.mellanox.com/ofed/x.tgz"].map(str::to_owned);
        VendorFile { file_name, sha256: sha256.to_owned(), trust: Trust::FirstUse, url }
    }

    fn receipt(file: &VendorFile) -> Receipt {
        let receipt = json!({
            "schema_version": 1, "made_by": "ofedctl 1.0.0", "door": "shell", "vm_id": null, "started": "",
            "finished": "", "question": "", "plan": plan(None), "bundle": null, "vendor_file": file, "packages": {},
            "added": [], "changes": [], "checks": [],
        });
        serde_json::from_value(receipt).unwrap()
    }

    fn publish(host: &Host, settings: &Settings, tag: &str, vendor_file: VendorFile) -> Bundle {
        let plan = plan(None);
        let config = BundleConfig {
            schema_version: 1,
            driver: plan.driver,
            driver_version: plan.driver_version,
            distro: plan.target.distro,
            arch: plan.target.arch,
            kernels: Vec::new(),
            packages: Vec::new(),
            repository: None,
            vendor_file: Some(vendor_file),
            vendor_room: None,
            unsigned: Vec::new(),
            origins: Vec::new(),
            made_by: String::new(),
        };
        let cache = Cache::open_or_create(Path::new(&settings.cache)).unwrap();
        let mut writer = cache.writer(host, Duration::ZERO).unwrap();
        writer.publish(tag, &config, SystemTime::UNIX_EPOCH, Vec::new()).unwrap()
    }

    /// A host, and settings with a cache in it that is not made yet.
    fn scene() -> (tempfile::TempDir, Host, Settings) {
        let (folder, host) = on_an_empty_root(Cancel::never());
        let cache = folder.path().join("cache").display().to_string();
        (folder, host, Settings { cache, ..Settings::default() })
    }

    #[test]
    fn a_file_that_was_taken_before_is_the_only_one_of_its_name_from_then_on() {
        let (_folder, host, settings) = scene();
        let first_seen = |sha256, receipt: Option<&Receipt>| {
            let mut plan = plan(sha256);
            remember(&mut plan, &settings, receipt).unwrap();
            plan.artifact.unwrap().first_seen
        };
        let root = receipt(&file("aa"));
        assert_eq!(first_seen(None, None), None);
        assert_eq!(first_seen(None, Some(&root)).as_deref(), Some("aa"));
        assert_eq!(first_seen(Some("cc"), Some(&root)), None, "a digest is given");
        let other = VendorFile { file_name: "other.tgz".to_owned(), ..file("bb") };
        publish(&host, &settings, "other", other);
        assert_eq!(first_seen(None, None), None, "another file");
        publish(&host, &settings, "one", file("aa"));
        publish(&host, &settings, "again", file("aa"));
        assert_eq!(first_seen(None, None).as_deref(), Some("aa"));
        assert_eq!(first_seen(None, Some(&root)).as_deref(), Some("aa"));
    }

    #[test]
    fn where_two_files_of_a_name_were_taken_a_person_has_to_say_which_is_right() {
        let (_folder, host, settings) = scene();
        publish(&host, &settings, "one", file("aa"));
        let refused = |receipt: Option<&Receipt>| {
            let error = remember(&mut plan(None), &settings, receipt).unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::DigestMismatch);
            error.to_string()
        };
        let said = refused(Some(&receipt(&file("bb"))));
        assert!(
            said.starts_with(&format!("this root's receipt has `{NAME}` as bb, the bundle one as aa")),
            "{said}"
        );
        assert!(said.contains("`sha256`"), "{said}");
        publish(&host, &settings, "two", file("bb"));
        let said = refused(None);
        assert!(said.contains("the bundle one") && said.contains("the bundle two"), "{said}");
    }

    #[test]
    fn without_a_digest_a_file_comes_from_the_vendors_place_or_has_to_be_signed() {
        let (folder, host, _) = scene();
        let cache = Cache::open_or_create(&folder.path().join("cache")).unwrap();
        let writer = cache.writer(&host, Duration::ZERO).unwrap();
        let settings = Settings { retries: 0, ..Settings::default() };
        let error = |url: &str, trust| {
            let mut artifact = plan(None).artifact.unwrap();
            (artifact.url, artifact.trust) = (url.to_owned(), trust);
            let way = NetworkOptions::from_settings(&settings);
            download(&host, &writer, &artifact, way).unwrap_err()
        };
        // Nobody listens on this port.
        let url = "http://127.0.0.1:1/ofed/x.tgz?sig=secret";
        let untrusted = error(url, Trust::FirstUse);
        assert_eq!(Reason::from_error(&untrusted), Reason::Untrusted);
        assert!(!format!("{untrusted:#}").contains("secret"), "{untrusted:#}");
        assert_ne!(Reason::from_error(&error(url, Trust::Signed)), Reason::Untrusted);
    }

    #[test]
    fn a_weak_file_is_warned_of_with_the_settings_that_pin_it() {
        let (_folder, host, settings) = scene();
        let bundle = publish(&host, &settings, "one", file("aa"));
        assert_eq!(vendor_file(&plan(None), &bundle, None), None, "the bundle has no such file");
        let said = warning(&plan(None), &file("aa")).unwrap();
        assert!(said.contains("came over TLS from content.mellanox.com as aa;"), "{said}");
        assert!(said.contains("`driver_version: 5.8-1.1.2.1`, `sha256: aa`"), "{said}");
        let signed = VendorFile { trust: Trust::Signed, ..file("aa") };
        assert_eq!(warning(&plan(None), &signed), None);
    }
}
