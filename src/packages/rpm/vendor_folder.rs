//! A folder of a vendor's rpm packages, as a repository. The vendor signs each package and not the index; so what the index
//! can name is limited to packages of the folder, and it is written again for those of its parts that were read.

use super::keys;
use super::vendor_repo;
use super::xml::{self, Part};
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::hex;
use crate::outcome::{Reason, WithReason};
use crate::packages::openpgp::Signer;
use crate::packages::rpm::install::REPOSITORIES;
use anyhow::Result;
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The parts of an index that managers need. Others are left out: databases, which name packages too, and deltas.
const PARTS: [&str; 3] = ["primary", "filelists", "other"];
/// The largest unpacked index of some hundred packages.
const LARGEST_INDEX: u64 = 64 << 20;

/// What a folder holds.
#[derive(Debug)]
pub struct RpmFolder {
    /// Who signed every package; none where not everyone of them is signed by one of the keys.
    pub signer: Option<Signer>,
    /// Name and edition of each package.
    pub packages: Vec<(String, String)>,
    /// The packages that the index names and that are missing.
    pub absent: Vec<String>,
}

/// The parts of an index, each by its kind and path.
type Parts = Vec<(&'static str, String)>;

/// A package in the index.
#[derive(Debug, Default, PartialEq, Eq)]
struct Indexed {
    name: String,
    edition: String,
    file: String,
}

/// Reads the folder of an unpacked archive, checks every package that its index names with `keys`, and leaves an index
/// that names nothing else.
pub fn read(host: &Host, root: &Root, folder: &str, keys: &[u8]) -> Result<RpmFolder> {
    let (parts, packages) = read_index(root, folder)?;
    let is_there = |package: &&Indexed| root.exists(&format!("{folder}/{}", package.file));
    let (there, absent): (Vec<&Indexed>, Vec<&Indexed>) = packages.iter().partition(is_there);
    let path = |package: &&Indexed| -> Result<PathBuf> {
        let (_handle, pinned) = root.pin(&format!("{folder}/{}", package.file))?;
        pinned.read_link().with_reason(Reason::WrongPackage, || format!("cannot find `{}`", package.file))
    };
    let files = there.iter().map(path).collect::<Result<Vec<_>>>()?;
    let signer = keys::signer_of_all(host, keys, &files)?;
    root.write_text(&format!("{folder}/repodata/repomd.xml"), &index_of(root, folder, &parts)?)?;
    let absent = absent.into_iter().map(|package| package.name.clone()).collect();
    let packages = packages.into_iter().map(|package| (package.name, package.edition)).collect();
    Ok(RpmFolder { signer, packages, absent })
}

/// Shows the target's manager a folder of the root as a repository, for its next transaction.
pub fn add_repository(root: &Root, folder: &str) -> Result<()> {
    root.write_text(&format!("{REPOSITORIES}/vendor.repo"), &vendor_repo::repository_file(folder))
}

/// The paths of the index's parts, and the packages in it.
fn read_index(root: &Root, folder: &str) -> Result<(Parts, Vec<Indexed>)> {
    let wrong = |what: String| Reason::WrongPackage.error(format!("`{folder}` is no repository: {what}"));
    let text = root.read_text(&format!("{folder}/repodata/repomd.xml"))?;
    let text = text.ok_or_else(|| wrong("it has no `repodata/repomd.xml`".to_owned()))?;
    let parts = parts_of(&text);
    let is_safe = |path: &str| is_plain(path) && path.ends_with(".xml.gz");
    let [(_, primary), ..] = parts.as_slice() else {
        return Err(wrong("its index is incomplete".to_owned()));
    };
    if let Some((_, other)) = parts.iter().find(|(_, path)| !is_safe(path)) {
        return Err(wrong(format!("its index names `{other}`")));
    }
    let packed = root.read(&format!("{folder}/{primary}"))?;
    let packed = packed.ok_or_else(|| wrong(format!("it lacks `{primary}`")))?;
    let mut bytes = Vec::new();
    let mut unpacked = MultiGzDecoder::new(packed.as_slice()).take(LARGEST_INDEX + 1);
    unpacked
        .read_to_end(&mut bytes)
        .with_reason(Reason::WrongPackage, || format!("cannot read `{primary}`"))?;
    // The manager would read on, and find packages that were not checked.
    if bytes.len() as u64 > LARGEST_INDEX {
        return Err(wrong(format!("`{primary}` is larger than any index")));
    }
    let packages = packages_of(&String::from_utf8_lossy(&bytes));
    match packages.iter().find(|package| !is_plain(&package.file)) {
        Some(outside) => Err(wrong(format!("its index names `{}`, which is not in it", outside.file))),
        None => Ok((parts, packages)),
    }
}

/// Whether a path leads to something below the folder, without a detour.
fn is_plain(path: &str) -> bool {
    let below = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    below && !path.is_empty() && !path.contains([':', '%', '\\', '\n'])
}

fn parts_of(repomd: &str) -> Parts {
    let mut found = Vec::new();
    xml::walk(repomd, |open, part| {
        let ([.., data, location], Part::Begin) = (open, part) else { return };
        let kind = PARTS.into_iter().find(|kind| data.name == "data" && data.get("type") == Some(kind));
        if let (Some(kind), "location", Some(path)) = (kind, location.name.as_str(), location.get("href")) {
            found.push((kind, path.to_owned()));
        }
    });
    found.sort_by_key(|(kind, _)| PARTS.iter().position(|known| known == kind));
    if found.iter().map(|(kind, _)| *kind).eq(PARTS) { found } else { Vec::new() }
}

fn packages_of(primary: &str) -> Vec<Indexed> {
    let (mut found, mut package) = (Vec::new(), Indexed::default());
    xml::walk(primary, |open, part| {
        if let ([.., element], Part::End) = (open, &part)
            && element.name == "package"
        {
            found.push(std::mem::take(&mut package));
            return;
        }
        let Some(element) = xml::child_of(open, "package") else { return };
        match (element.name.as_str(), part) {
            ("name", Part::Text(text)) => package.name.push_str(text),
            ("version", Part::Begin) => {
                let of = |name| element.get(name).unwrap_or_default();
                package.edition = format!("{}-{}", of("ver"), of("rel"));
            }
            // A base leads elsewhere.
            ("location", Part::Begin) if element.get("xml:base").is_none() => {
                element.get("href").unwrap_or_default().clone_into(&mut package.file);
            }
            _ => {}
        }
    });
    found
}

/// `repomd.xml` for these parts.
fn index_of(root: &Root, folder: &str, parts: &[(&'static str, String)]) -> Result<String> {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <repomd xmlns=\"http://linux.duke.edu/metadata/repo\"><revision>1</revision>\n"
        .to_owned();
    for (kind, path) in parts {
        let bytes = root.read(&format!("{folder}/{path}"))?.unwrap_or_default();
        let digest = hex(&Sha256::digest(&bytes));
        let _ = writeln!(
            text,
            "<data type=\"{kind}\"><checksum type=\"sha256\">{digest}</checksum><location href=\"{path}\"/>\
             <timestamp>1</timestamp><size>{}</size></data>",
            bytes.len()
        );
    }
    Ok(text + "</repomd>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOMD: &str = "<repomd><data type=\"other\"><location href=\"repodata/o.xml.gz\"/></data>\
        <data type=\"primary_db\"><location href=\"repodata/p.sqlite.bz2\"/></data>\
        <data type=\"primary\"><location href=\"repodata/p.xml.gz\"/></data>\
        <data type=\"filelists\"><location href=\"repodata/f.xml.gz\"/></data></repomd>";

    fn folder(repomd: &str, location: &str) -> (tempfile::TempDir, Root) {
        use flate2::write::GzEncoder;
        use std::io::Write as _;
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("f/repodata");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("repomd.xml"), repomd).unwrap();
        let primary = format!(
            "<metadata><package type=\"rpm\"><name>a</name><version epoch=\"0\" ver=\"24.10\" rel=\"3.2.5.0.rhel8u10\"/>\
             {location}<format><rpm:requires><rpm:entry name=\"b\"/></rpm:requires></format></package></metadata>"
        );
        for (name, text) in [("p", primary.as_str()), ("f", ""), ("o", "")] {
            let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(text.as_bytes()).unwrap();
            std::fs::write(data.join(format!("{name}.xml.gz")), packed.finish().unwrap()).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn an_index_is_written_again_without_what_was_not_read() {
        let (_dir, root) = folder(REPOMD, "<location href=\"a.rpm\"/>");
        let (parts, packages) = read_index(&root, "/f").unwrap();
        let wanted = Indexed {
            name: "a".to_owned(),
            edition: "24.10-3.2.5.0.rhel8u10".to_owned(),
            file: "a.rpm".to_owned(),
        };
        assert_eq!(packages, [wanted]);
        let again = index_of(&root, "/f", &parts).unwrap();
        assert_eq!(parts_of(&again), parts);
        assert!(!again.contains("sqlite"), "{again}");
    }

    /// A manager reads all of it, and would install what stands behind the part that was checked.
    #[test]
    fn an_index_that_is_too_large_to_be_read_whole_is_refused() {
        let padding = " ".repeat(usize::try_from(LARGEST_INDEX).unwrap());
        let (_dir, root) = folder(REPOMD, &format!("<location href=\"a.rpm\"/>{padding}"));
        let error = read_index(&root, "/f").unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::WrongPackage, "{error}");
        assert!(error.to_string().contains("larger than any index"), "{error}");
    }

    #[test]
    fn an_index_that_leads_out_of_its_folder_is_refused() {
        for location in [
            "<location href=\"../a.rpm\"/>",
            "<location href=\"/tmp/a.rpm\"/>",
            "<location href=\"http://h/a.rpm\"/>",
            "<location href=\"%2e%2e/a.rpm\"/>",
            "<location xml:base=\"http://h/\" href=\"a.rpm\"/>",
            "",
        ] {
            let (_dir, root) = folder(REPOMD, location);
            let error = read_index(&root, "/f").unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::WrongPackage, "{location}: {error}");
        }
        for repomd in [
            "",
            "<repomd/>",
            &REPOMD.replace("repodata/f.xml.gz", "../f.xml.gz"),
            &REPOMD.replace("p.xml.gz", "p.xml.zst"),
        ] {
            let (_dir, root) = folder(repomd, "<location href=\"a.rpm\"/>");
            assert!(read_index(&root, "/f").is_err(), "{repomd}");
        }
    }
}
