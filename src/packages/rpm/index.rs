//! The index of a repository. `createrepo_c` builds it from the packages while staging, so that the target needs only
//! its package manager.

use super::super::{Arrived, IndexFile, Resolution};
use super::dnf::script::Trust;
use super::xml::{self, Part};
use super::{INDEX, keys};
use crate::host::Host;
use crate::host::http::NetworkOptions;
use crate::host::run::Cmd;
use crate::host::temp::Folder;
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;

/// Checks the signatures of the files, then indexes them.
pub(super) fn index(
    host: &Host,
    resolution: &Resolution,
    arrived: &[Arrived],
    way: NetworkOptions,
) -> Result<Vec<IndexFile>> {
    let trust: Trust =
        serde_json::from_str(&resolution.described).context("cannot read what dnf said of keys")?;
    keys::check(host, &trust, arrived, way)?;
    let folder = Folder::small("index")?;
    for file in arrived {
        symlink(&file.path, folder.path().join(&file.file)).context("cannot lay out the packages")?;
    }
    let options = ["--quiet", "--no-database", "--simple-md-filenames", "--general-compress-type=gz"];
    // The same packages make the same index.
    let still = ["--revision=1", "--set-timestamp-to-revision"];
    let make = Cmd::new("createrepo_c").args(options).args(still).arg(folder.path().display().to_string());
    host.run(&make)?.check(Reason::ResolveFailed, "indexing the packages")?;
    let read = |(name, subfolder): (&'static str, &str)| {
        let path = folder.path().join(subfolder).join(name);
        let bytes = fs::read(&path).with_context(|| format!("createrepo_c made no `{name}`"))?;
        Ok(IndexFile { name, bytes })
    };
    INDEX.into_iter().map(read).collect()
}

/// The largest unpacked index; a larger one was not written by this program.
const LARGEST_INDEX: u64 = 256 << 20;

/// The names and sizes in a `primary.xml.gz`, as `createrepo_c` writes it: a `name`, then a `size` in each `package`.
pub(super) fn unpacked_sizes(bytes: &[u8]) -> Result<Vec<(String, u64)>> {
    let mut text = Vec::new();
    let mut unpacked = flate2::read::MultiGzDecoder::new(bytes).take(LARGEST_INDEX);
    let reading = || "cannot read the index of the bundle".to_owned();
    unpacked.read_to_end(&mut text).with_reason(Reason::CacheUnreadable, reading)?;
    Ok(sizes(&String::from_utf8_lossy(&text)))
}

fn sizes(text: &str) -> Vec<(String, u64)> {
    let (mut all, mut name) = (Vec::new(), String::new());
    xml::walk(text, |open, part| {
        let Some(element) = xml::child_of(open, "package") else { return };
        match (element.name.as_str(), part) {
            ("name", Part::Begin) => name.clear(),
            ("name", Part::Text(text)) => name.push_str(text),
            ("size", Part::Begin) => {
                let size = element.get("installed").and_then(|size| size.parse().ok());
                all.extend(size.map(|size| (name.clone(), size)));
            }
            _ => {}
        }
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unpacked_size_of_each_package_is_read() {
        let text = "<metadata packages=\"2\">\n<package type=\"rpm\">\n  <name>perftest</name>\n  \
            <size package=\"300\" installed=\"700\" archive=\"800\"/>\n</package>\n<package type=\"rpm\">\n  \
            <name>broken</name>\n</package>\n</metadata>";
        assert_eq!(sizes(text), [("perftest".to_owned(), 700)]);
    }

    proptest::proptest! {
        #[test]
        fn no_index_makes_the_reader_panic(text in "(<package |<name>|</name>|<size |installed=\"|[a-z0-9\" \n]){0,60}") {
            sizes(&text);
            unpacked_sizes(text.as_bytes()).unwrap_err();
        }
    }
}
