//! What was put into a root as a bill of materials: `CycloneDX` 1.6 (ECMA-424) and SPDX 2.3.

use super::uuid_of;
use crate::ledger::Receipt;
use crate::target::{Family, Target};
use serde_json::{Value, json};

/// The program and its version, as receipts have it.
const TOOL: (&str, &str) = ("ofedctl", env!("CARGO_PKG_VERSION"));

/// One package or file that was put in.
struct Part {
    name: String,
    version: String,
    /// Its package URL; none for a file that no registry has.
    purl: Option<String>,
    /// Its SHA-256 in hexadecimal, where the receipt has it.
    sha256: Option<String>,
    from: Option<String>,
}

fn parts(receipt: &Receipt) -> Vec<Part> {
    let packages = receipt.packages.iter().map(|(name, version)| Part {
        name: name.clone(),
        version: version.clone(),
        purl: Some(purl(&receipt.plan.target, name, version)),
        sha256: None,
        from: None,
    });
    let file = receipt.vendor_file.as_ref().map(|file| Part {
        name: file.file_name.clone(),
        version: receipt.plan.driver_version.clone().unwrap_or_default(),
        purl: None,
        sha256: Some(file.sha256.clone()),
        from: Some(file.url.clone()),
    });
    packages.chain(file).collect()
}

/// The package URL of an installed package (the types `deb` and `rpm` of the purl specification).
fn purl(target: &Target, name: &str, version: &str) -> String {
    let (id, release) = (&target.distro.id, &target.distro.version);
    let kind = if target.family() == Family::Debian { "deb" } else { "rpm" };
    // dpkg tells the architecture of a package that may be there twice.
    let (name, arch) = name.split_once(':').map_or((name, None), |(name, arch)| (name, Some(arch)));
    // The epoch of an rpm is a qualifier; of a Debian package it stays part of the version (anchore/syft issue 1398,
    // aquasecurity/trivy issue 3485).
    let (epoch, version) = match version.split_once(':') {
        Some((epoch, rest)) if kind == "rpm" => (Some(epoch), rest),
        _ => (None, version),
    };
    let mut qualifiers = Vec::new();
    if let Some(arch) = arch {
        qualifiers.push(format!("arch={}", encoded(arch)));
    }
    qualifiers.push(format!("distro={}", encoded(&format!("{id}-{release}"))));
    if let Some(epoch) = epoch.filter(|epoch| *epoch != "0") {
        qualifiers.push(format!("epoch={}", encoded(epoch)));
    }
    format!("pkg:{kind}/{}/{}@{}?{}", encoded(id), encoded(name), encoded(version), qualifiers.join("&"))
}

/// Percent-encoding of all but the characters that a package URL leaves as they are.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The name and version of what the parts make up.
fn whole(receipt: &Receipt) -> (String, String) {
    let plan = &receipt.plan;
    let version = plan.driver_version.clone().unwrap_or_else(|| plan.target.distro.version.clone());
    (format!("{} for {}", plan.driver, plan.target.distro), version)
}

/// What names the document: everything in it follows from these.
fn seed(receipt: &Receipt) -> String {
    let list: Vec<String> =
        receipt.packages.iter().map(|(name, version)| format!("{name}={version}")).collect();
    format!("{} {} {} {list:?}", receipt.made_by, receipt.finished, receipt.question)
}

/// The bill of materials as `CycloneDX`.
pub fn cyclonedx(receipt: &Receipt) -> Value {
    let components = parts(receipt).into_iter().map(|part| {
        let kind = if part.purl.is_some() { "library" } else { "file" };
        let reference = part.purl.clone().unwrap_or_else(|| format!("file:{}", part.name));
        let mut component =
            json!({"type": kind, "bom-ref": reference, "name": part.name, "version": part.version});
        if let Some(purl) = part.purl {
            component["purl"] = purl.into();
        }
        if let Some(sha256) = part.sha256 {
            component["hashes"] = json!([{"alg": "SHA-256", "content": sha256}]);
        }
        if let Some(url) = part.from {
            component["externalReferences"] = json!([{"type": "distribution", "url": url}]);
        }
        component
    });
    let (name, version) = whole(receipt);
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid_of(&seed(receipt))),
        "version": 1,
        "metadata": {
            "timestamp": receipt.finished,
            "tools": {"components": [{"type": "application", "name": TOOL.0, "version": TOOL.1}]},
            "component": {"type": "platform", "bom-ref": "driver", "name": name, "version": version},
        },
        "components": components.collect::<Vec<_>>(),
    })
}

/// The bill of materials as SPDX.
pub fn spdx(receipt: &Receipt) -> Value {
    let (name, version) = whole(receipt);
    let root = json!({
        "SPDXID": "SPDXRef-driver", "name": name, "versionInfo": version,
        "downloadLocation": "NOASSERTION", "filesAnalyzed": false, "primaryPackagePurpose": "INSTALL",
    });
    let mut packages = vec![root];
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-driver")];
    for (index, part) in parts(receipt).into_iter().enumerate() {
        let id = format!("SPDXRef-part-{}", index + 1);
        let mut package = json!({
            "SPDXID": id, "name": part.name, "versionInfo": part.version,
            "downloadLocation": part.from.unwrap_or_else(|| "NOASSERTION".to_owned()), "filesAnalyzed": false,
        });
        if let Some(purl) = part.purl {
            let reference = json!({
                "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl,
            });
            package["externalRefs"] = json!([reference]);
        }
        if let Some(sha256) = part.sha256 {
            package["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": sha256}]);
        }
        packages.push(package);
        relations.push(relation("SPDXRef-driver", "CONTAINS", &id));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("urn:uuid:{}", uuid_of(&seed(receipt))),
        "creationInfo": {"created": receipt.finished, "creators": [format!("Tool: {}-{}", TOOL.0, TOOL.1)]},
        "packages": packages,
        "relationships": relations,
    })
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Arch, Distro};

    #[test]
    fn a_package_url_keeps_what_a_version_has_beside_digits() {
        let url = |distro: &str, version: &str, name: &str, package: &str| {
            let distro = Distro::new(distro, version);
            let target = Target {
                distro,
                arch: Arch::X86_64,
                kernels: Vec::new(),
                vm_size: None,
                nic: None,
                family: None,
            };
            purl(&target, name, package)
        };
        let wanted = "pkg:deb/debian/libibverbs1@1%3A2.3%2Bdeb12~1?arch=amd64&distro=debian-12";
        assert_eq!(url("debian", "12", "libibverbs1:amd64", "1:2.3+deb12~1"), wanted);
        let wanted = "pkg:rpm/rhel/openssl-libs@1.1.1k-7.el8_6?distro=rhel-8.6&epoch=1";
        assert_eq!(url("rhel", "8.6", "openssl-libs", "1:1.1.1k-7.el8_6"), wanted);
    }
}
