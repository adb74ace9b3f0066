//! The index of some packages, made of what rpm itself reads in them. rpm is wherever rpm packages are installed, which
//! `createrepo_c` is not; and of an index that came with packages two readers may make two things.
//!
//! The form is that of `createrepo_c`, as far as managers need it: libsolv's `repo_rpmmd.c` and yum 3's
//! `yum-metadata-parser` read no more to resolve. Files stand in the first part, all of them, and the other two are empty.

use crate::host::fs::{Content, Root};
use crate::host::hex;
use crate::outcome::{Reason, WithReason};
use crate::packages::signed_folder::digest;
use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use quick_xml::escape::escape;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

/// What rpm prints of each package: between separators that no name has, first of packages, then of lines, then of fields.
pub(super) const FORMAT: &str = "\u{1d}%{NAME}\u{1f}%|EPOCH?{%{EPOCH}}:{0}|\u{1f}%{VERSION}\u{1f}%{RELEASE}\u{1f}%{ARCH}\u{1f}\
    %{LONGSIZE}\u{1f}%{BUILDTIME}\u{1f}%{VENDOR}\u{1f}%{SOURCERPM}\
    [\u{1e}provides\u{1f}%{PROVIDENAME}\u{1f}%{PROVIDEFLAGS}\u{1f}%{PROVIDEVERSION}]\
    [\u{1e}requires\u{1f}%{REQUIRENAME}\u{1f}%{REQUIREFLAGS}\u{1f}%{REQUIREVERSION}]\
    [\u{1e}conflicts\u{1f}%{CONFLICTNAME}\u{1f}%{CONFLICTFLAGS}\u{1f}%{CONFLICTVERSION}]\
    [\u{1e}obsoletes\u{1f}%{OBSOLETENAME}\u{1f}%{OBSOLETEFLAGS}\u{1f}%{OBSOLETEVERSION}]\
    [\u{1e}file\u{1f}%{FILENAMES}]";
const PACKAGE: char = '\u{1d}';
const LINE: char = '\u{1e}';
const FIELD: char = '\u{1f}';
/// What rpm prints for a tag that a package lacks.
const NONE: &str = "(none)";
const RELATIONS: [&str; 4] = ["provides", "requires", "conflicts", "obsoletes"];
/// Bits of a relation's flags (rpm's `rpmds.h`): the comparison, and what has to be there before scripts run.
const COMPARISON: u32 = 0xe;
const BEFORE: u32 = (1 << 6) | (1 << 9) | (1 << 10);
/// The parts without content.
const EMPTY: [(&str, &str); 2] = [("filelists", "filelists"), ("other", "otherdata")];

/// A package, as its own header describes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) release: String,
    /// The kernels that it has modules for.
    pub(super) kernels: BTreeSet<String>,
    /// Its element in the index, up to what only the file tells.
    head: String,
    format: String,
    size: u64,
}

impl Described {
    /// Version and release.
    pub(super) fn edition(&self) -> String {
        format!("{}-{}", self.version, self.release)
    }
}

/// Reads what rpm printed by [`FORMAT`]. Packages of sources, which nobody installs, are none.
pub(super) fn described(printed: &str) -> Result<Vec<Option<Described>>> {
    printed.split(PACKAGE).skip(1).map(package).collect()
}

fn package(printed: &str) -> Result<Option<Described>> {
    let strange = || Reason::WrongPackage.error("rpm describes a package in another form than was asked for");
    let mut lines = printed.split(LINE);
    let first: Vec<&str> = lines.next().unwrap_or_default().split(FIELD).collect();
    let [name, epoch, version, release, arch, size, built, vendor, source] = first[..] else {
        return Err(strange());
    };
    if source == NONE {
        return Ok(None);
    }
    let vendor = if vendor == NONE { "" } else { vendor };
    let mut format = format!("<rpm:vendor>{}</rpm:vendor>", escape(vendor));
    let rest: Vec<Vec<&str>> = lines.map(|line| line.split(FIELD).collect()).collect();
    for kind in RELATIONS {
        let of_kind = rest.iter().filter(|line| line.first() == Some(&kind));
        let entries: String = of_kind.filter_map(|line| relation(line)).collect();
        if !entries.is_empty() {
            let _ = write!(format, "<rpm:{kind}>{entries}</rpm:{kind}>");
        }
    }
    let mut kernels = BTreeSet::new();
    for line in &rest {
        if let ["file", path] = line[..]
            && path != NONE
        {
            let _ = write!(format, "<file>{}</file>", escape(path));
            kernels.extend(kernel_of(path).map(str::to_owned));
        }
    }
    let head = format!(
        "<name>{}</name><arch>{}</arch><version epoch=\"{}\" ver=\"{}\" rel=\"{}\"/><summary></summary>\
         <description></description><time file=\"{built}\" build=\"{built}\"/>",
        escape(name),
        escape(arch),
        escape(epoch),
        escape(version),
        escape(release),
        built = built.parse::<u64>().map_err(|_| strange())?,
    );
    let size = size.parse().map_err(|_| strange())?;
    let [name, version, release] = [name, version, release].map(str::to_owned);
    Ok(Some(Described { name, version, release, kernels, head, format, size }))
}

/// The kernel that a file is a module for.
fn kernel_of(path: &str) -> Option<&str> {
    let (kernel, below) =
        path.strip_prefix("/usr").unwrap_or(path).strip_prefix("/lib/modules/")?.split_once('/')?;
    let name = below.rsplit('/').next().unwrap_or_default();
    [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().any(|end| name.ends_with(end)).then_some(kernel)
}

/// The entry of what a package provides, needs, conflicts with or replaces. What it needs of rpm itself, rpm checks.
fn relation(line: &[&str]) -> Option<String> {
    let [_, name, flags, edition] = line else { return None };
    if *name == NONE || name.starts_with("rpmlib(") {
        return None;
    }
    let flags: u32 = flags.parse().unwrap_or_default();
    let mut entry = format!("<rpm:entry name=\"{}\"", escape(*name));
    let comparison = match flags & COMPARISON {
        0x2 => "LT",
        0x4 => "GT",
        0x8 => "EQ",
        0xa => "LE",
        0xc => "GE",
        _ => "",
    };
    if !comparison.is_empty() && !edition.is_empty() {
        let (epoch, edition) = edition.split_once(':').unwrap_or(("0", edition));
        let (version, release) =
            edition.rsplit_once('-').map_or((edition, None), |(version, release)| (version, Some(release)));
        let _ =
            write!(entry, " flags=\"{comparison}\" epoch=\"{}\" ver=\"{}\"", escape(epoch), escape(version));
        if let Some(release) = release {
            let _ = write!(entry, " rel=\"{}\"", escape(release));
        }
    }
    if line[0] == "requires" && flags & BEFORE != 0 {
        entry += " pre=\"1\"";
    }
    Some(entry + "/>")
}

/// Writes the index of the packages in a folder, each with the name of its file there.
pub(super) fn write(root: &Root, folder: &str, packages: &[(String, Described)]) -> Result<()> {
    let mut primary = format!(
        "<metadata xmlns=\"http://linux.duke.edu/metadata/common\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" \
         packages=\"{}\">\n",
        packages.len()
    );
    for (file, package) in packages {
        let path = format!("{folder}/{file}");
        let reading = || format!("cannot read `{path}`");
        let (opened, metadata) =
            root.open_file(&path)?.ok_or_else(|| Reason::WrongPackage.error(format!("`{path}` is gone")))?;
        let sha256 = digest(opened).with_reason(Reason::WrongPackage, reading)?;
        let Described { head, format, size, .. } = package;
        let _ = writeln!(
            primary,
            "<package type=\"rpm\">{head}<checksum type=\"sha256\" pkgid=\"YES\">{sha256}</checksum>\
             <size package=\"{}\" installed=\"{size}\" archive=\"{size}\"/><location href=\"{}\"/><format>{format}</format>\
             </package>",
            metadata.len(),
            escape(file.as_str())
        );
    }
    let mut parts = vec![("primary", primary + "</metadata>\n")];
    parts.extend(EMPTY.map(|(kind, element)| {
        (
            kind,
            format!(
                "<{element} xmlns=\"http://linux.duke.edu/metadata/{kind}\" packages=\"0\"></{element}>\n"
            ),
        )
    }));
    let mut list = String::new();
    for (kind, text) in parts {
        let href = format!("repodata/{kind}.xml.gz");
        let bytes = packed(&text)?;
        let _ = writeln!(
            list,
            "<data type=\"{kind}\"><checksum type=\"sha256\">{}</checksum><location href=\"{href}\"/>\
             <timestamp>1</timestamp><size>{}</size></data>",
            hex(&Sha256::digest(&bytes)),
            bytes.len()
        );
        root.write(&format!("{folder}/{href}"), &Content { bytes, mode: 0o644, uid: 0, gid: 0 })?;
    }
    let repomd = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <repomd xmlns=\"http://linux.duke.edu/metadata/repo\"><revision>1</revision>\n{list}</repomd>\n"
    );
    root.write_text(&format!("{folder}/repodata/repomd.xml"), &repomd)
}

fn packed(text: &str) -> Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")?;
    packed.write_all(text.as_bytes())?;
    Ok(packed.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\u{1d}a&b\u{1f}0\u{1f}24.10\u{1f}1.rhel8\u{1f}x86_64\u{1f}7\u{1f}5\u{1f}(none)\u{1f}a.src.rpm\
        \u{1e}provides\u{1f}a&b\u{1f}8\u{1f}1:24.10-1.rhel8\u{1e}requires\u{1f}/bin/sh\u{1f}1280\u{1f}\
        \u{1e}requires\u{1f}rpmlib(X)\u{1f}16777226\u{1f}4-1\u{1e}requires\u{1f}c\u{1f}12\u{1f}2\
        \u{1e}conflicts\u{1f}(none)\u{1f}(none)\u{1f}(none)\u{1e}file\u{1f}/x<y\
        \u{1d}s\u{1f}0\u{1f}1\u{1f}1\u{1f}x86_64\u{1f}7\u{1f}5\u{1f}V\u{1f}(none)";

    #[test]
    fn a_package_is_written_down_as_its_header_has_it_and_sources_are_left_out() {
        let found = described(PRINTED).unwrap();
        let [Some(package), None] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((package.name.as_str(), package.edition().as_str()), ("a&b", "24.10-1.rhel8"));
        let wanted = "<rpm:vendor></rpm:vendor><rpm:provides><rpm:entry name=\"a&amp;b\" flags=\"EQ\" epoch=\"1\" \
            ver=\"24.10\" rel=\"1.rhel8\"/></rpm:provides><rpm:requires><rpm:entry name=\"/bin/sh\" pre=\"1\"/>\
            <rpm:entry name=\"c\" flags=\"GE\" epoch=\"0\" ver=\"2\"/></rpm:requires><file>/x&lt;y</file>";
        assert_eq!(package.format, wanted);
        let error = described("\u{1d}a\u{1f}0").unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::WrongPackage);
    }

    #[test]
    fn the_kernel_of_a_module_is_told_by_its_folder() {
        for (path, kernel) in [
            (
                "/lib/modules/5.14.0-1.el9.x86_64/extra/mlnx-ofa_kernel/a/mlx5_core.ko",
                Some("5.14.0-1.el9.x86_64"),
            ),
            ("/usr/lib/modules/6.4.0-1-default/updates/a.ko.zst", Some("6.4.0-1-default")),
            ("/lib/modules/6.4.0-1-default/modules.dep", None),
            ("/usr/src/a.ko", None),
        ] {
            assert_eq!(kernel_of(path), kernel, "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(text in "[\u{1d}\u{1e}\u{1f}a0:-]{0,80}") {
            let _ = described(&text);
        }
    }
}
