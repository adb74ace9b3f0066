//! Reads what zypper prints with `--xmlout`: a stream of elements (zypper's own schema, `xmlout.rnc`), of which only a few
//! matter here.

use super::super::xml::{Element, Part, child_of, is_in, walk};
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

/// Whether a stream came, and to its end. Where zypper runs under another program, it may print nothing and end well
/// (ansible-collections/community.general 4859).
pub(super) fn is_whole(stream: &str) -> bool {
    let mut is_whole = false;
    walk(stream, |open, part| {
        is_whole |= matches!((open, part), ([element], Part::End) if element.name == "stream");
    });
    is_whole
}

/// The packages of a summary, without those that would go.
pub(super) fn chosen(stream: &str) -> BTreeSet<Chosen> {
    let mut all = BTreeSet::new();
    walk(stream, |open, part| {
        let (Some(element), Part::Begin) = (open.last(), part) else { return };
        let of = |name| element.get(name).map(str::to_owned);
        let comes = is_in(open, "install-summary") && !is_in(open, "to-remove");
        if comes && element.name == "solvable" && element.get("type") == Some("package") {
            let chosen = || Some(Chosen { name: of("name")?, edition: of("edition")?, arch: of("arch")? });
            all.extend(chosen());
        }
    });
    all
}

/// What was downloaded.
pub(super) fn brought(stream: &str) -> Vec<Brought> {
    let (mut all, mut repository) = (Vec::new(), None);
    walk(stream, |open, part| {
        let (Some(element), Part::Begin, true) = (open.last(), part, is_in(open, "download-result")) else {
            return;
        };
        match element.name.as_str() {
            "download-result" => repository = None,
            "repository" => repository = element.get("alias").map(str::to_owned),
            "localfile" => {
                let path = element.get("path").map(str::to_owned);
                all.extend(
                    repository.take().zip(path).map(|(repository, path)| Brought { repository, path }),
                );
            }
            _ => {}
        }
    });
    all
}

/// The aliases of the repositories whose packages nothing vouches for.
pub(super) fn unchecked(stream: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    walk(stream, |open, part| {
        let (Some(repo), Part::Begin) = (open.last().filter(|it| it.name == "repo"), part) else { return };
        let is_on = |check: &&str| repo.get(check) == Some("1");
        if !["gpgcheck", "repo_gpgcheck", "pkg_gpgcheck"].iter().any(is_on) {
            all.extend(repo.get("alias").map(str::to_owned));
        }
    });
    all
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

/// The name and edition of each package in a repository's `primary.xml`.
pub(super) fn editions(primary: &str) -> BTreeSet<(String, String)> {
    let (mut all, mut name) = (BTreeSet::new(), String::new());
    walk(primary, |open, part| {
        let Some(element) = child_of(open, "package") else { return };
        match (element.name.as_str(), part) {
            ("name", Part::Begin) => name.clear(),
            ("name", Part::Text(text)) => name.push_str(text),
            ("version", Part::Begin) => all.extend(edition(element).map(|edition| (name.clone(), edition))),
            _ => {}
        }
    });
    all
}

fn edition(version: &Element) -> Option<String> {
    let epoch = version.get("epoch").filter(|epoch| *epoch != "0").map(|epoch| format!("{epoch}:"));
    Some(format!("{}{}-{}", epoch.unwrap_or_default(), version.get("ver")?, version.get("rel")?))
}

/// The warnings, errors and questions of a stream. What it only tells of its way is left out.
pub(super) fn plain(stream: &str) -> String {
    let mut text = String::new();
    walk(stream, |open, part| {
        let tells = |it: &Element| it.name == "message" && it.get("type") == Some("info");
        match part {
            Part::Text(said) if !open.iter().any(tells) => text.push_str(said),
            _ => {}
        }
    });
    text.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

/// Each piece of a text between two others.
fn between<'a>(text: &'a str, begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).filter_map(move |rest| Some(rest.split_once(end)?.0))
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

    /// ansible/ansible 20681: the first package of a repository, whose key is named as it is (SLES 12 SP1).
    /// openSUSE/zypper 390: each option of signatures is told as on where one is, so that a package is checked too often.
    #[test]
    fn what_zypper_forgets_to_quote_hides_nothing_and_what_it_tells_wrongly_loosens_nothing() {
        let stream = "<?xml version='1.0'?>\n<stream>\n  Key Name: Somebody <build@example.com>\n\
            <install-summary><to-install><solvable type=\"package\" name=\"a\" edition=\"1-1\" arch=\"noarch\"/></to-install>\
            </install-summary>\n</stream>\n";
        assert!(is_whole(stream) && chosen(stream).len() == 1);
        let list = "<repo alias=\"a\" gpgcheck=\"1\" repo_gpgcheck=\"1\" pkg_gpgcheck=\"1\"/>";
        assert!(unchecked(list).is_empty());
    }

    #[test]
    fn a_stream_that_did_not_come_is_no_answer() {
        for text in ["", "\n", "<?xml version='1.0'?>\n<stream>\n<message type=\"info\">Loading"] {
            assert!(!is_whole(text), "{text}");
        }
        assert!(is_whole(
            "<?xml version='1.0'?><stream><message type=\"info\">Nothing to do.</message></stream>"
        ));
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
            let _ = (chosen(&text), brought(&text), unchecked(&text), plain(&text), editions(&text));
        }
    }
}
