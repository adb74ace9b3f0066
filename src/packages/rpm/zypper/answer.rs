//! Reads what zypper prints with `--xmlout`: a stream of flat elements, one after another (zypper's own schema,
//! `xmlout.rnc`), of which only a few matter here.

use std::collections::BTreeSet;

/// A package that zypper would install.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Chosen {
    pub(super) name: String,
    pub(super) edition: String,
    pub(super) arch: String,
}

impl Chosen {
    /// As `zypper download` takes it.
    pub(super) fn asked(&self) -> String {
        format!("{}.{}={}", self.name, self.arch, self.edition)
    }

    /// Its usual file name, which has no epoch.
    pub(super) fn file(&self) -> String {
        let edition = self.edition.split_once(':').map_or(self.edition.as_str(), |(_, rest)| rest);
        format!("{}-{edition}.{}.rpm", self.name, self.arch)
    }

    pub(super) fn full_name(&self) -> String {
        format!("{}-{}.{}", self.name, self.edition, self.arch)
    }
}

/// A package that zypper downloaded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Brought {
    /// The alias of its repository.
    pub(super) repository: String,
    /// Where it lies, as zypper sees it.
    pub(super) path: String,
}

/// The packages of a summary, without those that would go.
pub(super) fn chosen(stream: &str) -> BTreeSet<Chosen> {
    let summary = between(stream, "<install-summary", "</install-summary>").next().unwrap_or_default();
    let gone = between(summary, "<to-remove>", "</to-remove>").next().unwrap_or_default();
    let package = |element: &str| {
        let of = |name| attribute(element, name);
        let is_package = of("type").as_deref() == Some("package");
        is_package.then(|| Some(Chosen { name: of("name")?, edition: of("edition")?, arch: of("arch")? }))?
    };
    let all = summary.replacen(gone, "", usize::from(!gone.is_empty()));
    between(&all, "<solvable ", ">").filter_map(package).collect()
}

/// What was downloaded.
pub(super) fn brought(stream: &str) -> Vec<Brought> {
    let one = |element: &str| {
        let repository = attribute(element.split_once("<repository ")?.1, "alias")?;
        let path = attribute(element.split_once("<localfile ")?.1, "path")?;
        Some(Brought { repository, path })
    };
    between(stream, "<download-result>", "</download-result>").filter_map(one).collect()
}

/// The aliases of the repositories whose packages nothing vouches for.
pub(super) fn unchecked(stream: &str) -> BTreeSet<String> {
    let is_on = |element: &str, name| attribute(element, name).as_deref() == Some("1");
    let checks = ["gpgcheck", "repo_gpgcheck", "pkg_gpgcheck"];
    let unchecked = |element: &&str| !checks.iter().any(|name| is_on(element, name));
    between(stream, "<repo ", ">").filter(unchecked).filter_map(|it| attribute(it, "alias")).collect()
}

/// What was asked for and is nowhere.
pub(super) fn unknown(text: &str) -> BTreeSet<String> {
    const FORMS: [(&str, &str); 3] = [
        ("No provider of '", "' found"),
        ("Package '", "' not found"),
        ("Package '", "' is not available in your repositories"),
    ];
    let named = |line| FORMS.iter().find_map(|(begin, end)| between(line, begin, end).next());
    text.lines().filter_map(named).map(str::to_owned).collect()
}

/// Keys as rpm keeps them.
pub(super) fn keys(text: &str) -> Vec<String> {
    const ENDS: [&str; 2] = ["-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"];
    between(text, ENDS[0], ENDS[1]).map(|key| format!("{}{key}{}\n", ENDS[0], ENDS[1])).collect()
}

/// The name and edition of each package in a repository's `primary.xml`.
pub(super) fn editions(primary: &str) -> BTreeSet<(String, String)> {
    let one = |element: &str| {
        let name = between(element, "<name>", "</name>").next()?;
        let version = between(element, "<version ", ">").next()?;
        let of = |name| attribute(version, name);
        let epoch = of("epoch").filter(|epoch| epoch != "0").map(|epoch| epoch + ":").unwrap_or_default();
        Some((name.to_owned(), format!("{epoch}{}-{}", of("ver")?, of("rel")?)))
    };
    between(primary, "<package ", "</package>").filter_map(one).collect()
}

/// The warnings, errors and questions of a stream, without its elements. What it only tells of its way is left out.
pub(super) fn plain(stream: &str) -> String {
    let mut text = String::new();
    for part in stream.split('<').filter(|part| !part.starts_with("message type=\"info\">")) {
        text.push_str(part.split_once('>').map_or(part, |(_, rest)| rest));
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    unescaped(&lines.collect::<Vec<_>>().join("\n"))
}

/// Each piece of a text between two others.
fn between<'a>(text: &'a str, begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).filter_map(move |rest| Some(rest.split_once(end)?.0))
}

fn attribute(element: &str, name: &str) -> Option<String> {
    let at = element.match_indices(name).find(|(at, _)| {
        let (before, after) = (&element[..*at], &element[at + name.len()..]);
        (before.is_empty() || before.ends_with(char::is_whitespace)) && after.starts_with("=\"")
    })?;
    let value = &element[at.0 + name.len() + 2..];
    Some(unescaped(value.split_once('"')?.0))
}

fn unescaped(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_of_a_summary_are_those_that_come() {
        let stream = "<install-summary packages-to-change=\"3\"><to-install>\n\
            <solvable type=\"package\" name=\"a\" edition=\"2:1-1\" arch=\"noarch\" summary=\"type=&quot;x&quot;\">\n\
            <description>x</description></solvable>\n<solvable type=\"patch\" name=\"p\" edition=\"1\" arch=\"x\">\n\
            </to-install><to-upgrade><solvable type=\"package\" name=\"b\" edition=\"2-1\" edition-old=\"1-1\" \
            arch=\"x86_64\"></solvable></to-upgrade><to-remove><solvable type=\"package\" name=\"c\" edition=\"1-1\" \
            arch=\"noarch\"></solvable></to-remove></install-summary>";
        let names: Vec<String> = chosen(stream).iter().map(Chosen::asked).collect();
        assert_eq!(names, ["a.noarch=2:1-1", "b.x86_64=2-1"]);
    }

    #[test]
    fn what_was_brought_is_told_with_its_repository() {
        let stream = "<download-result><solvable><name>c</name><repository name=\"f &amp; g\" alias=\"f\"/></solvable>\
            <localfile path=\"/var/cache/zypp/packages/f/c.rpm\"/></download-result>";
        let wanted =
            Brought { repository: "f".to_owned(), path: "/var/cache/zypp/packages/f/c.rpm".to_owned() };
        assert_eq!(brought(stream), [wanted]);
        let list = "<repo alias=\"a\" gpgcheck=\"0\" repo_gpgcheck=\"0\" pkg_gpgcheck=\"0\">\
            <repo alias=\"b\" gpgcheck=\"1\" repo_gpgcheck=\"0\" pkg_gpgcheck=\"0\">";
        assert_eq!(unchecked(list).into_iter().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn messages_are_read_without_their_elements() {
        let stream = "<message type=\"info\">'zz' not found in package names.</message>\n\
            <message type=\"error\">No provider of &apos;zz &gt;= 3&apos; found.</message>\n";
        assert_eq!(plain(stream), "No provider of 'zz >= 3' found.");
        assert_eq!(unknown(&plain(stream)).into_iter().collect::<Vec<_>>(), ["zz >= 3"]);
        let text =
            "Package 'gcc-fortran' not found.\nPackage 'tk' is not available in your repositories. Cannot";
        assert_eq!(unknown(text).into_iter().collect::<Vec<_>>(), ["gcc-fortran", "tk"]);
    }

    proptest::proptest! {
        #[test]
        fn no_output_makes_the_reader_panic(
            text in "(<install-summary|</install-summary>|<solvable |<to-remove>|name=\"|alias=\"|\"|>|<|é|[a-z0-9 \n]){0,60}",
        ) {
            let _ = (chosen(&text), brought(&text), unchecked(&text), plain(&text), editions(&text), keys(&text));
        }
    }
}
