//! A folder of packages whose index is signed, as a repository on a disk is: `Release.gpg` signs `Release`, that holds the
//! digest of `Packages`, and that the digest of every package. (Debian's wiki, `DebianRepository/Format`, "flat
//! repository".) Each step is checked here, and needs nothing of the image that the packages are for.

use super::openpgp::{self, Signer};

use crate::host::Host;
use crate::host::fs::Root;
use crate::host::hex;
use crate::host::private_folder;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Component, Path};

/// The index of a flat repository.
const INDEX: &str = "Packages";
/// What holds the index's digest, and what signs that.
const RELEASE: &str = "Release";
const SIGNATURE: &str = "Release.gpg";

/// An index of a vendor's folder holds the names of some hundred packages; whatever is larger is something else.
pub const LARGEST_INDEX: u64 = 64 << 20;

/// What a signed folder says of itself, and who says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFolder {
    /// Whose signature it is; none where no key that was given made it, or there is no signature at all.
    pub signer: Option<Signer>,
    /// Its packages, in the order of its index.
    pub packages: Vec<IndexedPackage>,
    /// What `Release` calls the origin, the label and the suite, as far as it does.
    pub labels: Vec<String>,
}

/// A package as the index describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its file, as a path below the folder.
    pub file: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
}

impl SignedFolder {
    /// The package of a name.
    pub fn package(&self, name: &str) -> Option<&IndexedPackage> {
        self.packages.iter().find(|package| package.name == name)
    }
}

/// Shows the packages that the index of `folder` names, and that index, in the new folder `into`, which holds nothing else.
/// apt prefers other forms of an index to the one that is read here, `InRelease` and packed ones (apt-secure(8),
/// `Acquire::CompressionTypes::Order`), and would believe what those name. It does not go on without a packed one that
/// `Release` lists (2.6 and the 5.0 bundle, whose `Release` lists `Packages.bz2`): that is shown where it is the one that
/// is meant. It can name no more than the packages that are shown, whose bytes are compared with `Packages`.
pub fn gather(root: &Root, folder: &str, into: &str) -> Result<()> {
    private_folder::begin(root, into)?;
    for name in [INDEX, RELEASE, SIGNATURE] {
        private_folder::add(root, &format!("{folder}/{name}"), &format!("{into}/{name}"))?;
    }
    let release = small(root, &format!("{into}/{RELEASE}"))?.unwrap_or_default();
    for (name, listed) in indexes(&String::from_utf8_lossy(&release)).filter(|(name, _)| *name != INDEX) {
        let path = format!("{into}/{name}");
        private_folder::add(root, &format!("{folder}/{name}"), &path)?;
        let Some((file, _)) = root.open_file(&path)? else { continue };
        let found = digest(file).with_context(|| format!("cannot read `{path}`"))?;
        if found != listed {
            return Err(another_index(&format!("{folder}/{name}"), &found, Some(&listed)));
        }
    }
    let index = small(root, &format!("{into}/{INDEX}"))?.unwrap_or_default();
    let mut files = BTreeSet::new();
    for stanza in stanzas(&String::from_utf8_lossy(&index)) {
        files.insert(described(&stanza)?.file);
    }
    for file in files {
        private_folder::add(root, &format!("{folder}/{file}"), &format!("{into}/{file}"))?;
    }
    Ok(())
}

/// Reads the index of `folder`, a path below `root`, and finds out who of those in `keys` signed it.
///
/// An index that is not the one its `Release` means is refused, signed or not.
pub fn read(host: &Host, root: &Root, folder: &str, keys: &[u8]) -> Result<SignedFolder> {
    let index = small(root, &format!("{folder}/{INDEX}"))?.ok_or_else(|| {
        Reason::WrongPackage.error(format!("`{folder}` has no `{INDEX}`, so it is no repository"))
    })?;
    let text = String::from_utf8_lossy(&index);
    let packages = stanzas(&text).map(|stanza| described(&stanza)).collect::<Result<Vec<_>>>()?;
    let Some(release) = small(root, &format!("{folder}/{RELEASE}"))? else {
        return Ok(SignedFolder { signer: None, packages, labels: Vec::new() });
    };
    let said = String::from_utf8_lossy(&release);
    let listed = indexes(&said).find_map(|(name, digest)| (name == INDEX).then_some(digest));
    let found = hex(&Sha256::digest(&index));
    if listed.as_deref() != Some(found.as_str()) {
        return Err(another_index(&format!("{folder}/{INDEX}"), &found, listed.as_deref()));
    }
    let signature = small(root, &format!("{folder}/{SIGNATURE}"))?;
    let signer = match signature {
        Some(signature) => openpgp::signer(host, keys, &signature, &release)?,
        None => None,
    };
    let is_label = |line: &&str| ["Origin:", "Label:", "Suite:"].iter().any(|key| line.starts_with(key));
    let labels = said.lines().filter(is_label).filter_map(|line| line.split_once(':'));
    let labels = labels.map(|(_, value)| value.trim().to_owned()).collect();
    Ok(SignedFolder { signer, packages, labels })
}

/// Compares every file of the folder with its index. Returns the packages whose file is not there; one with other bytes
/// than the index says is refused, by name.
pub fn check_files<'a>(
    host: &Host,
    root: &Root,
    folder: &str,
    signed: &'a SignedFolder,
) -> Result<Vec<&'a IndexedPackage>> {
    let mut absent = Vec::new();
    for package in &signed.packages {
        host.cancel.check()?;
        let path = format!("{folder}/{}", package.file);
        let Some((file, metadata)) = root.open_file(&path)? else {
            absent.push(package);
            continue;
        };
        let differs = |what: String| {
            Reason::DigestMismatch
                .error(format!("`{path}` is not the file that the signed index of `{folder}` means: {what}"))
        };
        if metadata.len() != package.size {
            return Err(differs(format!("{} bytes, and not {}", metadata.len(), package.size)));
        }
        let found = digest(file).with_context(|| format!("cannot read `{path}`"))?;
        if !found.eq_ignore_ascii_case(&package.sha256) {
            return Err(differs(format!("SHA-256 {found}, and not {}", package.sha256)));
        }
    }
    Ok(absent)
}

/// The SHA-256 of a file.
pub(super) fn digest(mut file: impl Read) -> std::io::Result<String> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn small(root: &Root, path: &str) -> Result<Option<Vec<u8>>> {
    let Some((file, _)) = root.open_file(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(LARGEST_INDEX).read_to_end(&mut bytes).with_context(|| format!("cannot read `{path}`"))?;
    Ok(Some(bytes))
}

fn another_index(path: &str, found: &str, listed: Option<&str>) -> anyhow::Error {
    let listed = listed.unwrap_or("none");
    Reason::DigestMismatch
        .error(format!("`{path}` has the SHA-256 {found}, and its `Release` names {listed}"))
}

/// The forms of `Packages` that a `Release` lists, plain or packed, each with its SHA-256.
fn indexes(release: &str) -> impl Iterator<Item = (&str, String)> {
    let after = release.lines().skip_while(|line| line.trim_end() != "SHA256:").skip(1);
    after.take_while(|line| line.starts_with(' ')).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [digest, _, name] = words.as_slice() else { return None };
        let name = name.trim_start_matches("./");
        let packed = name.strip_prefix(INDEX)?;
        let is_one = packed.is_empty() || (packed.starts_with('.') && !packed.contains('/'));
        is_one.then(|| (name, digest.to_ascii_lowercase()))
    })
}

/// The paragraphs of an index, each as its lines.
fn stanzas(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut stanza = Vec::new();
        for line in lines.by_ref() {
            if !line.trim().is_empty() {
                stanza.push(line);
            } else if !stanza.is_empty() {
                break;
            }
        }
        (!stanza.is_empty()).then_some(stanza)
    })
}

fn described(stanza: &[&str]) -> Result<IndexedPackage> {
    let field = |name: &str| {
        let of = |line: &&str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
        stanza.iter().find_map(of)
    };
    let name = field("Package").unwrap_or_default();
    let lacks = |what: &str| Reason::WrongPackage.error(format!("the index names no {what} of `{name}`"));
    let file = field("Filename").ok_or_else(|| lacks("file"))?;
    let is_below =
        Path::new(&file).components().all(|part| matches!(part, Component::CurDir | Component::Normal(_)));
    if !is_below || file.is_empty() {
        return Err(
            Reason::WrongPackage.error(format!("the index names a file outside its folder: `{file}`"))
        );
    }
    Ok(IndexedPackage {
        version: field("Version").ok_or_else(|| lacks("version"))?,
        size: field("Size").and_then(|size| size.parse().ok()).ok_or_else(|| lacks("length"))?,
        sha256: field("SHA256").ok_or_else(|| lacks("SHA-256"))?.to_ascii_lowercase(),
        file: file.trim_start_matches("./").to_owned(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;
    use std::fs;

    const STANZA: &str =
        "Package: a\nVersion: 1-2\nFilename: ./a_1-2_all.deb\nSize: 3\nSHA256: @\nDescription: x\n y\n\n";

    /// A folder below a root with one package, and an index of it that nobody signed.
    fn folder() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("DEBS/SET");
        fs::create_dir_all(&at).unwrap();
        fs::create_dir_all(dir.path().join("DEBS/COMMON")).unwrap();
        fs::write(dir.path().join("DEBS/COMMON/a_1-2_all.deb"), "deb").unwrap();
        std::os::unix::fs::symlink("../COMMON/a_1-2_all.deb", at.join("a_1-2_all.deb")).unwrap();
        let index = STANZA.replace('@', &hex(&Sha256::digest(b"deb")));
        fs::write(at.join("Packages"), &index).unwrap();
        let release = format!(
            "Date: now\nSuite: 5.0-1\nMD5Sum:\n 0 1 Packages\nSHA256:\n {} {} Packages\n 0 0 Release\nSHA512:\n 1 2 Packages\n",
            hex(&Sha256::digest(&index)),
            index.len()
        );
        fs::write(at.join("Release"), release).unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    fn checked(root: &Root) -> Result<usize> {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let read = read(&host, root, "/DEBS/SET", b"")?;
        Ok(check_files(&host, root, "/DEBS/SET", &read)?.len())
    }

    #[test]
    fn files_are_found_through_links_and_compared_with_the_index() {
        let (dir, root) = folder();
        let (_other, host) = on_an_empty_root(Cancel::never());
        let read = read(&host, &root, "/DEBS/SET", b"").unwrap();
        assert_eq!((read.signer.as_ref(), read.labels.as_slice()), (None, &["5.0-1".to_owned()][..]));
        assert_eq!(read.package("a").unwrap().version, "1-2");
        assert_eq!(checked(&root).unwrap(), 0);
        fs::write(dir.path().join("DEBS/COMMON/a_1-2_all.deb"), "dEb").unwrap();
        assert_eq!(Reason::from_error(&checked(&root).unwrap_err()), Reason::DigestMismatch);
        fs::remove_file(dir.path().join("DEBS/COMMON/a_1-2_all.deb")).unwrap();
        assert_eq!(checked(&root).unwrap(), 1, "one is absent");
    }

    /// apt asks for `InRelease` first and for packed forms of an index, and would believe what they name.
    #[test]
    fn a_folder_is_shown_without_what_was_not_checked() {
        let (dir, root) = folder();
        for name in ["InRelease", "Packages.xz", "Packages.gz", "evil_1_all.deb", "Release.gpg"] {
            fs::write(dir.path().join("DEBS/SET").join(name), "x").unwrap();
        }
        gather(&root, "/DEBS/SET", "/shown").unwrap();
        assert_eq!(root.list("/shown"), ["Packages", "Release", "Release.gpg", "a_1-2_all.deb"]);
        assert!(root.link_target("/shown/a_1-2_all.deb").is_none());
    }

    /// The vendor's bundle of 5.0 lists `Packages` and `Packages.bz2`.
    #[test]
    fn a_packed_index_is_shown_where_it_is_the_one_that_is_listed() {
        let (dir, root) = folder();
        let at = dir.path().join("DEBS/SET");
        let release = fs::read_to_string(at.join("Release")).unwrap();
        let line =
            format!(" {} 1 ./Packages.bz2\n 0 0 Packages/../x\n 0 0 Release", hex(&Sha256::digest(b"x")));
        fs::write(at.join("Release"), release.replace(" 0 0 Release", &line)).unwrap();
        gather(&root, "/DEBS/SET", "/without").unwrap();
        assert_eq!(root.list("/without"), ["Packages", "Release", "a_1-2_all.deb"]);
        fs::write(at.join("Packages.bz2"), "x").unwrap();
        gather(&root, "/DEBS/SET", "/shown").unwrap();
        assert_eq!(root.list("/shown"), ["Packages", "Packages.bz2", "Release", "a_1-2_all.deb"]);
        assert_eq!(checked(&root).unwrap(), 0);
        fs::write(at.join("Packages.bz2"), "y").unwrap();
        let error = gather(&root, "/DEBS/SET", "/other").unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::DigestMismatch, "{error:#}");
    }

    #[test]
    fn an_index_that_its_release_does_not_mean_is_refused() {
        let (dir, root) = folder();
        let index = dir.path().join("DEBS/SET/Packages");
        fs::write(&index, fs::read_to_string(&index).unwrap() + "\n").unwrap();
        assert_eq!(Reason::from_error(&checked(&root).unwrap_err()), Reason::DigestMismatch);
    }

    #[test]
    fn a_file_outside_the_folder_is_refused() {
        for name in ["../x.deb", "/etc/passwd", "./../../x"] {
            let stanza = STANZA.replace("./a_1-2_all.deb", name);
            let lines: Vec<&str> = stanza.lines().collect();
            assert_eq!(Reason::from_error(&described(&lines).unwrap_err()), Reason::WrongPackage, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_index_makes_the_reader_panic(text in "(Package: |Filename: |Size: |SHA256:|[a-z./0-9 ]|\n){0,60}") {
            let _ = indexes(&text).count();
            for stanza in stanzas(&text) {
                let _ = described(&stanza);
            }
        }
    }
}
