//! The indexes of the repositories that tdnf fetched, and what is asked for by them.

use super::super::dnf::script::OWN_KERNELS;
use super::super::xml::{Element, Part, child_of, is_in, walk};
use super::answer::Chosen;
use crate::host::fs::Root;
use crate::host::has_extension;
use crate::outcome::{Reason, WithReason};
use crate::target::natural;
use anyhow::Result;
use flate2::read::MultiGzDecoder;
use std::collections::BTreeSet;
use std::io::Read;

/// Where they lie in the scratch folder.
const CACHE: &str = "/cache/tdnf";
/// The largest unpacked index.
const LARGEST_INDEX: u64 = 512 << 20;

/// A package in the index of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offered {
    pub(super) repository: String,
    pub(super) name: String,
    pub(super) arch: String,
    /// Version and release.
    pub(super) edition: String,
    /// Its path in the repository.
    pub(super) location: String,
    pub(super) size: u64,
    pub(super) digest_kind: String,
    pub(super) digest: String,
    /// The kernels, as `uname -r` prints them, without which it cannot be installed.
    pub(super) kernels: Vec<String>,
}

impl Offered {
    pub(super) fn is(&self, chosen: &Chosen) -> bool {
        let of_repository = chosen.repo.as_ref().is_none_or(|repo| *repo == self.repository);
        of_repository && self.name == chosen.name && self.arch == chosen.arch && self.edition == chosen.evr
    }

    /// As `tdnf install` takes it.
    pub(super) fn asked(&self) -> String {
        format!("{}-{}", self.name, self.edition)
    }
}

/// The packages in the index of a repository that tdnf fetched, none where it passed over the repository; nothing where the
/// index is packed otherwise than by gzip. Its folder is named by the repository, and since 3.4.1 by its address too.
pub(super) fn index_of(written: &Root, id: &str) -> Result<Option<Vec<Offered>>> {
    let is_of = |name: &&String| {
        let of_address = |rest: &str| rest.len() == 8 && rest.bytes().all(|it| it.is_ascii_hexdigit());
        let rest = name.strip_prefix(id);
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(of_address))
    };
    let folders = written.list(CACHE);
    let Some(folder) = folders.iter().find(is_of).map(|name| format!("{CACHE}/{name}")) else {
        return Ok(Some(Vec::new()));
    };
    let Some(repomd) = written.read_text(&format!("{folder}/repodata/repomd.xml"))? else {
        return Ok(Some(Vec::new()));
    };
    let wrong =
        |what: &str| Reason::ResolveFailed.error(format!("the index of `{id}` cannot be read: {what}"));
    let path = primary_in(&repomd).ok_or_else(|| wrong("it names no list of packages"))?;
    if !has_extension(&path, "gz") {
        return Ok(None);
    }
    let packed = written.read(&format!("{folder}/{path}"))?.ok_or_else(|| wrong("its list is not there"))?;
    let mut text = Vec::new();
    let mut unpacked = MultiGzDecoder::new(packed.as_slice()).take(LARGEST_INDEX + 1);
    let reading = || format!("the index of `{id}` cannot be read: `{path}`");
    unpacked.read_to_end(&mut text).with_reason(Reason::ResolveFailed, reading)?;
    if text.len() as u64 > LARGEST_INDEX {
        return Err(wrong("it is larger than any index"));
    }
    Ok(Some(offered(id, &String::from_utf8_lossy(&text))))
}

/// What is asked for, packages of modules by the version for the kernel: tdnf would take the newest, which may be for another.
pub(super) fn for_kernels(
    packages: &[String],
    kernels: &[String],
    offered: &[Offered],
) -> Result<Vec<String>> {
    let wrong = |said: String| Reason::KernelUnsupported.error(said);
    let ask = |name: &String| {
        let bound: Vec<&Offered> =
            offered.iter().filter(|it| it.name == *name && !it.kernels.is_empty()).collect();
        if bound.is_empty() || kernels.is_empty() {
            return Ok(name.clone());
        }
        let [kernel] = kernels else {
            let named = kernels.join(" or ");
            return Err(wrong(format!(
                "only one package {name} is there for the kernel {named}: name one with --kernel"
            )));
        };
        let of_kernel = bound.iter().filter(|it| it.kernels.contains(kernel));
        let newest = of_kernel.max_by(|a, b| natural(&a.edition).cmp(&natural(&b.edition)));
        newest.map(|it| it.asked()).ok_or_else(|| {
            let there: BTreeSet<&str> = bound.iter().flat_map(|it| &it.kernels).map(String::as_str).collect();
            let there = there.into_iter().collect::<Vec<_>>().join(", ");
            wrong(format!("no package {name} is there for the kernel {kernel}, only for {there}"))
        })
    };
    packages.iter().map(ask).collect()
}

/// The path of the list of packages in a repository's `repomd.xml`.
pub(super) fn primary_in(repomd: &str) -> Option<String> {
    let mut found = None;
    walk(repomd, |open, part| {
        if let ([.., data, location], Part::Begin) = (open, part)
            && data.name == "data"
            && data.get("type") == Some("primary")
            && location.name == "location"
        {
            found = location.get("href").map(str::to_owned);
        }
    });
    found
}

/// The packages of a repository's `primary.xml`.
pub(super) fn offered(repository: &str, primary: &str) -> Vec<Offered> {
    let (mut all, mut package) = (Vec::new(), Offered::default());
    walk(primary, |open, part| {
        let Some(element) = open.last() else { return };
        match (element.name.as_str(), part) {
            ("package", Part::End) => {
                let repository = repository.to_owned();
                all.push(Offered { repository, ..std::mem::take(&mut package) });
            }
            ("rpm:entry", Part::Begin) if is_in(open, "rpm:requires") => {
                package.kernels.extend(required_kernel(element));
            }
            (_, part) if child_of(open, "package").is_some() => read(&mut package, element, &part),
            _ => {}
        }
    });
    all
}

fn read(package: &mut Offered, element: &Element, part: &Part) {
    let of = |name| element.get(name).unwrap_or_default();
    match (element.name.as_str(), part) {
        ("name", Part::Text(text)) => package.name.push_str(text),
        ("arch", Part::Text(text)) => package.arch.push_str(text),
        ("checksum", Part::Text(text)) => package.digest.push_str(text.trim()),
        ("checksum", Part::Begin) => of("type").clone_into(&mut package.digest_kind),
        ("version", Part::Begin) => package.edition = format!("{}-{}", of("ver"), of("rel")),
        ("location", Part::Begin) => of("href").clone_into(&mut package.location),
        ("size", Part::Begin) => package.size = of("package").parse().unwrap_or_default(),
        _ => {}
    }
}

fn required_kernel(entry: &Element) -> Option<String> {
    let is_kernel = OWN_KERNELS.contains(&entry.get("name")?) && entry.get("flags") == Some("EQ");
    is_kernel.then(|| Some(format!("{}-{}", entry.get("ver")?, entry.get("rel")?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_found_in_the_index_by_all_that_tdnf_tells_of_it() {
        let primary = "<metadata packages=\"1\"><package type=\"rpm\"><name>mods</name><arch>x86_64</arch>\
            <version epoch=\"3\" ver=\"24.10\" rel=\"20_6.6\"/><checksum type=\"sha256\" pkgid=\"YES\">ab</checksum>\
            <summary>s</summary><size package=\"7\" installed=\"9\" archive=\"9\"/>\
            <location href=\"Packages/m/mods.rpm\"/><format><rpm:provides><rpm:entry name=\"kernel\" flags=\"EQ\" \
            ver=\"1\" rel=\"1\"/></rpm:provides><rpm:requires><rpm:entry name=\"kernel\" flags=\"EQ\" epoch=\"0\" \
            ver=\"6.6.57.1\" rel=\"7.azl3\"/><rpm:entry name=\"kernel\" flags=\"GE\" ver=\"5\" rel=\"1\"/></rpm:requires>\
            <file>/x</file></format></package></metadata>";
        let wanted = Offered {
            repository: "base".to_owned(),
            name: "mods".to_owned(),
            arch: "x86_64".to_owned(),
            edition: "24.10-20_6.6".to_owned(),
            location: "Packages/m/mods.rpm".to_owned(),
            size: 7,
            digest_kind: "sha256".to_owned(),
            digest: "ab".to_owned(),
            kernels: vec!["6.6.57.1-7.azl3".to_owned()],
        };
        assert_eq!(offered("base", primary), std::slice::from_ref(&wanted));
        let chosen = |arch: &str, repo: Option<&str>| Chosen {
            name: "mods".to_owned(),
            arch: arch.to_owned(),
            evr: "24.10-20_6.6".to_owned(),
            repo: repo.map(str::to_owned),
        };
        let is = [("x86_64", None), ("x86_64", Some("base")), ("x86_64", Some("other")), ("noarch", None)];
        assert_eq!(is.map(|(arch, repo)| wanted.is(&chosen(arch, repo))), [true, true, false, false]);
        let repomd = "<repomd><data type=\"primary_db\"><location href=\"p.sqlite\"/></data>\
            <data type=\"primary\"><checksum>x</checksum><location href=\"repodata/p.xml.gz\"/></data></repomd>";
        assert_eq!(primary_in(repomd).unwrap(), "repodata/p.xml.gz");
    }

    #[test]
    fn modules_are_asked_for_by_the_newest_version_for_the_kernel() {
        let of = |name: &str, edition: &str, kernels: &[&str]| Offered {
            name: name.to_owned(),
            edition: edition.to_owned(),
            kernels: kernels.iter().map(|it| (*it).to_owned()).collect(),
            ..Offered::default()
        };
        let offered = [
            of("mods", "24.10-9_k1", &["k-1"]),
            of("mods", "24.10-21_k2", &["k-2"]),
            of("mods", "24.10-10_k1", &["k-1"]),
            of("tool", "1-1", &[]),
        ];
        let packages = ["tool", "mods"].map(str::to_owned);
        let ask = |kernels: &[&str]| {
            let kernels: Vec<String> = kernels.iter().map(|it| (*it).to_owned()).collect();
            for_kernels(&packages, &kernels, &offered)
        };
        assert_eq!(ask(&["k-1"]).unwrap(), ["tool", "mods-24.10-10_k1"]);
        assert_eq!(ask(&[]).unwrap(), packages);
        let refused = |kernels: &[&str]| ask(kernels).unwrap_err().to_string();
        assert_eq!(refused(&["k-3"]), "no package mods is there for the kernel k-3, only for k-1, k-2");
        assert!(refused(&["k-1", "k-2"]).contains("name one with --kernel"));
    }

    #[test]
    fn the_folder_of_an_index_is_that_of_its_repository_and_no_other() {
        use flate2::write::GzEncoder;
        use std::io::Write;
        let scratch = tempfile::tempdir().unwrap();
        let written = Root::open(scratch.path()).unwrap();
        let repomd = "<repomd><data type=\"primary\"><location href=\"repodata/p.xml.gz\"/></data></repomd>";
        for (folder, name) in
            [("base", "a"), ("base-debug", "b"), ("base-debug-12ab34cd", "c"), ("x-12345678", "d")]
        {
            let folder = format!("{CACHE}/{folder}/repodata");
            written.write_text(&format!("{folder}/repomd.xml"), repomd).unwrap();
            let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            write!(packed, "<metadata><package><name>{name}</name></package></metadata>").unwrap();
            let path = scratch.path().join(&folder[1..]).join("p.xml.gz");
            std::fs::write(path, packed.finish().unwrap()).unwrap();
        }
        let of = |id: &str| {
            index_of(&written, id).unwrap().unwrap().into_iter().map(|it| it.name).collect::<String>()
        };
        assert_eq!(["base", "x", "x-12345678", "other"].map(of), ["a", "d", "d", ""]);
        let repomd_of_base = format!("{CACHE}/base/repodata/repomd.xml");
        written.write_text(&repomd_of_base, &repomd.replace("/p.", "/q.")).unwrap();
        assert_eq!(Reason::from_error(&index_of(&written, "base").unwrap_err()), Reason::ResolveFailed);
        written.write_text(&repomd_of_base, &repomd.replace(".gz", ".zst")).unwrap();
        assert!(index_of(&written, "base").unwrap().is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_index_makes_the_reader_panic(
            text in "(<package |<name>|</name>|<rpm:requires>|<rpm:entry name=\"kernel\"|</package>|href=\"|[a-z0-9\" \n]){0,60}",
        ) {
            let _ = (offered("r", &text), primary_in(&text));
        }
    }
}
