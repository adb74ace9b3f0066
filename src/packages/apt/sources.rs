//! The target's package sources, copied into a private folder so that apt of this machine can use them. Sources,
//! preferences, keys and logins are copied, each read inside the target's root. A file that a source names by path lies
//! in the target, too: it is copied and its new path is used, or it is refused by name. So no file of this machine is
//! read instead of the target's. Settings are handled by [`super::target_config`].

use super::mirrors::{self, Mirrors};
use crate::host::fs::Root;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

const SINGLE_FILES: [&str; 4] = ["sources.list", "preferences", "trusted.gpg", "auth.conf"];
const FOLDERS: [&str; 4] = ["sources.list.d", "preferences.d", "trusted.gpg.d", "auth.conf.d"];
/// What a user can do where this machine's apt cannot be used in place of the target's.
const WAY_OUT: &str = "stage with --root, or on such a VM";

/// Copies `/etc/apt` of `root` into `etc`, and what sources name by path into `named`. Of each list of mirrors the one is taken
/// whose `turn` it is; returned are the lists, each beginning with that one.
pub(super) fn copy(root: &Root, etc: &Path, named: &Path, turn: usize) -> Result<Vec<Mirrors>> {
    fs::create_dir_all(named).with_context(|| format!("cannot make `{}`", named.display()))?;
    let target = Target { turn, ..Target::new(root, named) };
    for folder in FOLDERS {
        let to = etc.join(folder);
        fs::create_dir_all(&to).with_context(|| format!("cannot make `{}`", to.display()))?;
        for name in root.list(&format!("/etc/apt/{folder}")) {
            target.copy_file(&format!("{folder}/{name}"), etc)?;
        }
    }
    for name in SINGLE_FILES {
        target.copy_file(name, etc)?;
    }
    Ok(target.mirrors.take())
}

/// The target, and the private folder for what its sources and settings name by path.
pub(super) struct Target<'a> {
    pub(super) root: &'a Root,
    pub(super) named: &'a Path,
    turn: usize,
    mirrors: RefCell<Vec<Mirrors>>,
}

impl<'a> Target<'a> {
    pub(super) fn new(root: &'a Root, named: &'a Path) -> Self {
        Self { root, named, turn: 0, mirrors: RefCell::default() }
    }
}

impl Target<'_> {
    fn copy_file(&self, name: &str, etc: &Path) -> Result<()> {
        let extension = Path::new(name).extension().and_then(|end| end.to_str()).unwrap_or_default();
        let is_source = name.starts_with("sources.list");
        // apt passes over other names (sources.list(5)).
        if is_source && !matches!(extension, "list" | "sources") {
            return Ok(());
        }
        let Some(bytes) = self.root.read(&format!("/etc/apt/{name}"))? else { return Ok(()) };
        let bytes = if is_source {
            let text = without_brought(&String::from_utf8_lossy(&bytes));
            let mapped = if extension == "sources" { self.stanzas(&text) } else { self.lines(&text) };
            mapped.with_context(|| format!("in the target's `/etc/apt/{name}`"))?.into_bytes()
        } else {
            bytes
        };
        let to = etc.join(name);
        fs::write(&to, bytes).with_context(|| format!("cannot write `{}`", to.display()))
    }

    /// The private copy of a file of the target. A missing file stays missing there, too.
    pub(super) fn copied(&self, path: &str) -> Result<PathBuf> {
        let to = self.named.join(path.trim_start_matches('/').replace('/', "_"));
        if let Some(bytes) = self.root.read(path)? {
            fs::write(&to, bytes).with_context(|| format!("cannot write `{}`", to.display()))?;
        }
        Ok(to)
    }

    /// The one-line style. Sources of source packages are left out, because they are not needed.
    fn lines(&self, text: &str) -> Result<String> {
        let mapped = text.lines().map(|line| self.line(line)).collect::<Result<Vec<_>>>()?;
        Ok(mapped.into_iter().flatten().map(|line| line + "\n").collect())
    }

    fn line(&self, line: &str) -> Result<Option<String>> {
        let line = without_comment(line).trim();
        let Some((kind, rest)) = line.split_once(char::is_whitespace) else { return Ok(None) };
        if kind == "deb-src" {
            return Ok(None);
        }
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (self.options(options)?, rest),
            None => (String::new(), rest),
        };
        let words = words(rest);
        let Some((uri, suites)) = words.split_first() else { return Ok(Some(line.to_owned())) };
        Ok(Some(format!("{kind} {options}{} {}", self.uri(uri)?, suites.join(" "))))
    }

    fn options(&self, text: &str) -> Result<String> {
        let mut options = Vec::new();
        for option in words(text) {
            let (key, value) = option.split_once('=').unwrap_or((&option, ""));
            if key.trim_end_matches(['+', '-']).eq_ignore_ascii_case("signed-by") {
                options.push(format!("{key}={}", self.keys(value, ",")?));
            } else {
                options.push(option);
            }
        }
        Ok(format!("[{}] ", options.join(" ")))
    }

    /// The deb822 style (sources.list(5)): paragraphs of fields, whose values go on in lines that begin with a blank.
    fn stanzas(&self, text: &str) -> Result<String> {
        let mut mapped = String::new();
        for stanza in fields(text) {
            let value =
                |name: &str| stanza.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v);
            let is_off = value("Enabled")
                .is_some_and(|it| matches!(it.trim(), "no" | "false" | "without" | "off" | "disable"));
            let has_packages =
                value("Types").is_none_or(|types| types.split_whitespace().any(|kind| kind == "deb"));
            if stanza.is_empty() || is_off || !has_packages {
                continue;
            }
            for (key, value) in &stanza {
                let value = self.field(key, value)?;
                mapped.extend([key, ": ", &value, "\n"]);
            }
            mapped.push('\n');
        }
        Ok(mapped)
    }

    fn field(&self, key: &str, value: &str) -> Result<String> {
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        if is("Types") {
            return Ok("deb".to_owned());
        }
        if is("URIs") {
            let uris = value.split_whitespace().map(|uri| self.uri(uri)).collect::<Result<Vec<_>>>()?;
            return Ok(uris.join(" "));
        }
        // A key may stand there whole.
        if is("Signed-By") && !value.contains("-----BEGIN") {
            return self.keys(value, " ");
        }
        Ok(value.to_owned())
    }

    /// Fingerprints stay as they are; a missing key stays missing, and apt then says which source it cannot trust.
    fn keys(&self, value: &str, between: &str) -> Result<String> {
        let keys = value.split([',', ' ', '\t', '\n']).filter(|key| !key.is_empty()).map(|key| {
            if key.starts_with('/') {
                Ok(self.copied(key)?.display().to_string())
            } else {
                Ok(key.to_owned())
            }
        });
        Ok(keys.collect::<Result<Vec<_>>>()?.join(between))
    }

    fn uri(&self, uri: &str) -> Result<String> {
        let (scheme, rest) = uri.split_once(':').unwrap_or((uri, ""));
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" | "ftp" => Ok(uri.to_owned()),
            "file" | "copy" => self.folder(uri, rest),
            "mirror+file" => self.mirror(uri, rest),
            "mirror" | "mirror+http" | "mirror+https" => {
                let what =
                    format!("`{uri}` is a list of mirrors that only apt itself can choose from: {WAY_OUT}");
                Err(Reason::ResolveFailed.error(what))
            }
            _ => {
                let what =
                    format!("`{uri}` is read by a program of the target's, or from a medium: {WAY_OUT}");
                Err(Reason::ResolveFailed.error(what))
            }
        }
    }

    /// A repository in a folder of the target, by its place on this machine with all links followed inside the target.
    fn folder(&self, uri: &str, rest: &str) -> Result<String> {
        let path = rest.trim_start_matches("//localhost");
        let path = format!("/{}", path.trim_start_matches('/'));
        let missing = || {
            Reason::ResolveFailed.error(format!("`{uri}` lies in the target, and is not in what was given"))
        };
        if !self.root.is_dir(&path) {
            return Err(missing());
        }
        let (_folder, pinned) = self.root.pin(&path)?;
        let place = fs::read_link(pinned).map_err(|_| missing())?;
        Ok(format!("file:{}{}", place.display(), if path.ends_with('/') { "/" } else { "" }))
    }

    /// One of a list of mirrors.
    fn mirror(&self, uri: &str, rest: &str) -> Result<String> {
        let path = format!("/{}", rest.trim_start_matches('/'));
        let text = self.root.read_text(&path)?.ok_or_else(|| {
            Reason::ResolveFailed.error(format!("`{uri}` lies in the target, and is not in what was given"))
        })?;
        let mut mirrors = Vec::new();
        for mirror in mirrors::listed(&text) {
            if mirror.starts_with("mirror") {
                return Err(Reason::ResolveFailed.error(format!("`{uri}` lists `{mirror}`: {WAY_OUT}")));
            }
            mirrors.push(self.uri(mirror)?);
        }
        if mirrors.is_empty() {
            return Err(Reason::ResolveFailed.error(format!("`{uri}` lists no mirror")));
        }
        let turn = self.turn % mirrors.len();
        mirrors.rotate_left(turn);
        let chosen = mirrors[0].clone();
        self.mirrors.borrow_mut().push(Mirrors(mirrors));
        Ok(chosen)
    }
}

/// The paragraphs of a deb822 file, without comments; values keep their line breaks.
fn fields(text: &str) -> Vec<Vec<(String, String)>> {
    let mut stanzas: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
            continue;
        }
        let Some(stanza) = stanzas.last_mut() else { continue };
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((key, value)) = line.split_once(':') {
            stanza.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    stanzas.retain(|stanza| !stanza.is_empty());
    stanzas
}

/// A line up to its comment; what stands in brackets is no comment (apt, sourcelist.cc).
fn without_comment(line: &str) -> &str {
    let mut depth = 0_u32;
    for (at, c) in line.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '#' if depth == 0 => return &line[..at],
            _ => {}
        }
    }
    line
}

/// Words between blanks; what stands in double quotes is of one word, and the quotes are not (apt, strutl.cc).
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                words.push(std::mem::take(&mut word));
            }
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// The sources without those that DOCA-Host's package has added inside the target: packages are resolved from the
/// package file itself.
pub(super) fn without_brought(text: &str) -> String {
    let is_brought = |part: &&str| part.contains("file:") && part.contains("/usr/share/doca-host-");
    if text.lines().any(|line| line.starts_with("Types:")) {
        return text.split("\n\n").filter(|part| !is_brought(part)).collect::<Vec<_>>().join("\n\n");
    }
    text.split_inclusive('\n').filter(|line| !is_brought(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target with these files, and how its `/etc/apt/NAME` reads for apt of this machine. `NAMED` and `ROOT` stand for
    /// the private folder and the target.
    fn mapped(name: &str, text: &str, files: &[(&str, &str)]) -> Result<String> {
        let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = Root::open(dir.path()).unwrap();
        root.write_text(&format!("/etc/apt/{name}"), text).unwrap();
        for (path, text) in files {
            root.write_text(path, text).unwrap();
        }
        let (etc, named) = (scratch.path().join("etc"), scratch.path().join("named"));
        copy(&root, &etc, &named, 0).map(drop)?;
        let text = fs::read_to_string(etc.join(name)).unwrap_or_default();
        let show = |path: &Path| fs::canonicalize(path).unwrap().display().to_string();
        Ok(text.replace(&named.display().to_string(), "NAMED").replace(&show(dir.path()), "ROOT"))
    }

    #[test]
    fn keys_named_by_a_source_are_those_of_the_target_quoted_or_not() {
        let table = [
            (
                "deb [arch=amd64 signed-by=/k/a.gpg,/k/b.asc] http://x y main\n",
                "deb [arch=amd64 signed-by=NAMED/k_a.gpg,NAMED/k_b.asc] http://x y main\n",
            ),
            (
                "deb [signed-by=\"/usr/share/keyrings/x.gpg\" trusted=no] http://x/ ./ # of x\n",
                "deb [signed-by=NAMED/usr_share_keyrings_x.gpg trusted=no] http://x/ ./\n",
            ),
            ("# deb http://x y main\ndeb-src http://x y main\n", ""),
            ("deb http://x y main\n", "deb http://x y main\n"),
        ];
        for (text, wanted) in table {
            assert_eq!(mapped("sources.list.d/x.list", text, &[]).unwrap(), wanted);
        }
    }

    #[test]
    fn values_that_go_on_are_mapped_and_whole_keys_stay() {
        let text =
            "# of Debian\nTypes: deb deb-src\nURIs: http://a\n http://b\nSuites: x\nSigned-By:\n /k/a.gpg\n";
        let wanted = "Types: deb\nURIs: http://a http://b\nSuites: x\nSigned-By: NAMED/k_a.gpg\n\n";
        assert_eq!(mapped("sources.list.d/x.sources", text, &[]).unwrap(), wanted);
        let key = "Types: deb\nURIs: http://a\nSuites: x\nSigned-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n ab\n\n";
        assert_eq!(mapped("sources.list.d/x.sources", key, &[]).unwrap(), key);
        let off = "Types: deb\nEnabled: no\nURIs: cdrom:x\nSuites: x\n";
        assert_eq!(mapped("sources.list.d/x.sources", off, &[]).unwrap(), "");
    }

    #[test]
    fn what_lies_in_the_target_is_looked_for_there_or_refused_by_name() {
        let list = [(
            "/etc/apt/mirrors/debian.list",
            "# best last\nhttp://b/debian priority:2\nhttps://a/debian\tpriority:1\n",
        )];
        let text = "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: bookworm\n";
        let mapped_list = mapped("sources.list.d/d.sources", text, &list).unwrap();
        assert!(mapped_list.contains("URIs: https://a/debian\n"), "{mapped_list}");
        let repository = [("/var/cuda-repo/Packages", "")];
        let line = "deb [trusted=yes] file:///var/cuda-repo /\n";
        assert_eq!(
            mapped("sources.list", line, &repository).unwrap(),
            "deb [trusted=yes] file:ROOT/var/cuda-repo /\n"
        );
        for refused in
            ["file:/no/such", "mirror+file:/no/such", "mirror://x/list", "cdrom:[Debian]/", "spacewalk://x"]
        {
            let error = mapped("sources.list", &format!("deb {refused} x main\n"), &[]).unwrap_err();
            assert!(format!("{error:#}").contains(refused.split('[').next().unwrap()), "{error:#}");
        }
    }

    #[test]
    fn sources_that_an_installed_vendor_package_brought_are_left_out() {
        let brought = "file:///usr/share/doca-host-3.2.1/repo";
        assert_eq!(
            without_brought(&format!("deb {brought} ./\ndeb http://x y main\n")),
            "deb http://x y main\n"
        );
        let other = "Types: deb\nURIs: http://x\n";
        assert_eq!(without_brought(&format!("Types: deb\nURIs: {brought}\nSuites: ./\n\n{other}")), other);
    }

    proptest::proptest! {
        #[test]
        fn no_source_makes_the_mapping_panic(text in "(deb |signed-by=|Signed-By:|URIs: |file:|/|\\[|\\]|\"|[a-zé \n]){0,40}") {
            let _ = mapped("sources.list.d/x.list", &text, &[]);
            let _ = mapped("sources.list.d/x.sources", &text, &[]);
        }
    }
}
