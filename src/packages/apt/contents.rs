//! The packages of the local repository by its index, and whether they are what that says. apt goes by the index alone, and
//! dpkg reads a package when its turn comes: one for another architecture would be refused when half of the others are
//! unpacked.

use super::super::{REPOSITORY, Transaction};
use super::INDEX;
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::run::Cmd;
use crate::outcome::Reason;
use anyhow::Result;

/// Prints what makes each package that is named the one that was resolved, as a stanza of an index. dpkg-deb unpacks it to
/// where temporary files are.
const SCRIPT: &str = "mkdir -p -m 1777 \"$TMPDIR\"; for file; do echo \"Filename: $file\"; \
    dpkg-deb --field \"$file\" Package Version Architecture || exit; echo; done";

/// A package in the local repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: String,
    name: String,
    version: String,
    arch: String,
}

impl File {
    /// Whether this file belongs to a package in dpkg's database. A package that was never completely installed may
    /// have no architecture there, or the machine's own instead of `all`.
    pub(super) fn is_of(&self, name: &str, arch: &str) -> bool {
        let is_any = |arch: &str| arch.is_empty() || arch == "all";
        self.name == name && (is_any(arch) || is_any(&self.arch) || self.arch == arch)
    }

    fn described(&self) -> String {
        format!("{} {} {}", self.name, self.version, self.arch)
    }
}

/// The packages that the index names.
pub(super) fn files(root: &Root) -> Result<Vec<File>> {
    Ok(parsed(&root.read_text(&format!("{REPOSITORY}/{INDEX}"))?.unwrap_or_default()))
}

fn parsed(stanzas: &str) -> Vec<File> {
    let file = |stanza: &str| {
        let field = |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let path = format!("{REPOSITORY}/{}", field("Filename: ")?.rsplit('/').next()?);
        let [name, arch] = [field("Package: ")?, field("Architecture: ")?].map(str::to_owned);
        Some(File { path, name, version: field("Version: ").unwrap_or_default().to_owned(), arch })
    };
    stanzas.split("\n\n").filter_map(file).collect()
}

/// Refuses packages that are not what the index says. `temporary` is the folder for what is read of them.
pub(super) fn require(host: &Host, transaction: &Transaction, temporary: &str) -> Result<()> {
    let mut said = files(&host.root)?;
    said.retain(|file| host.root.owner(&file.path).is_some());
    if said.is_empty() {
        return Ok(());
    }
    let show = Cmd::shell(SCRIPT, "dpkg-deb").args(said.iter().map(|file| file.path.clone()));
    let show = show.env("TMPDIR", temporary).captured().inside(transaction.sandbox(host));
    let shown = host.run(&show)?.check(Reason::CacheUnreadable, "reading the packages of the bundle")?;
    for (said, is) in said.iter().zip(parsed(&shown.stdout)) {
        if *said != is {
            let (path, is, said) = (&said.path, is.described(), said.described());
            let what = format!("`{path}` is {is}, and the index of the bundle says {said}");
            return Err(Reason::CacheUnreadable.error(what.escape_default().to_string()));
        }
    }
    Ok(())
}
