//! Reads what tdnf prints with `--json`. Its list of what it would install has neither addresses nor digests, and before 3.5.8
//! no repositories (vmware/tdnf, tools/cli/lib/installcmd.c).

use serde::Deserialize;

/// A package that tdnf would install.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Chosen {
    pub(super) name: String,
    pub(super) arch: String,
    /// Version and release; the epoch is left out.
    pub(super) evr: String,
    pub(super) repo: Option<String>,
}

/// What an action would do. Each list is left out where it is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Solved {
    install: Vec<Chosen>,
    upgrade: Vec<Chosen>,
    downgrade: Vec<Chosen>,
    reinstall: Vec<Chosen>,
}

/// What tdnf says instead of an answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    error: u32,
    error_message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    repo: String,
    enabled: bool,
}

/// The repositories that are switched on; none where this is no answer of tdnf's.
pub(super) fn repositories(stdout: &str) -> Option<Vec<String>> {
    let listed: Vec<Listed> = serde_json::from_str(stdout.trim()).ok()?;
    Some(listed.into_iter().filter(|it| it.enabled).map(|it| it.repo).collect())
}

/// The packages of an answer; none where it is not whole. Where there is nothing to do, tdnf prints nothing.
pub(super) fn chosen(stdout: &str) -> Option<Vec<Chosen>> {
    if stdout.trim().is_empty() {
        return Some(Vec::new());
    }
    let Solved { install, upgrade, downgrade, reinstall } = serde_json::from_str(stdout.trim()).ok()?;
    Some([install, upgrade, downgrade, reinstall].concat())
}

/// A failure as tdnf prints it without `--json`.
pub(super) fn failure(stdout: &str) -> Option<String> {
    let Failure { error, error_message } = serde_json::from_str(stdout.trim()).ok()?;
    Some(format!("Error({error}) : {error_message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_each_version_are_read() {
        // 3.6.0, and 3.5.2 without the repository.
        let text = "{\"Install\":[{\"Name\":\"b\",\"Arch\":\"noarch\",\"Evr\":\"1-1\",\"InstallSize\":0,\"Repo\":\"x\"}],\
            \"Upgrade\":[{\"Name\":\"c\",\"Arch\":\"x86_64\",\"Evr\":\"2-1\",\"InstallSize\":0}],\
            \"Remove\":[{\"Name\":\"d\",\"Arch\":\"x86_64\",\"Evr\":\"2-1\",\"InstallSize\":0}]}";
        let found = chosen(text).unwrap();
        let names: Vec<_> = found.iter().map(|it| (it.name.as_str(), it.repo.as_deref())).collect();
        assert_eq!(names, [("b", Some("x")), ("c", None)]);
        assert_eq!(chosen(""), Some(Vec::new()));
        for cut in ["{\"Install\":[{\"Name\":\"b\"", "Nothing to do.", "{\"Install\":[{\"Name\":\"b\"}]}"] {
            assert_eq!(chosen(cut), None, "{cut}");
        }
        let list = "[{\"Repo\":\"@cmdline\",\"RepoName\":\"@cmdline\",\"Enabled\":false},\
            {\"Repo\":\"x\",\"RepoName\":\"X\",\"Enabled\":true}]";
        assert_eq!(repositories(list).unwrap(), ["x"]);
        let failed = "{\"Error\":1011,\"ErrorMessage\":\"No matching packages\"}";
        assert_eq!(repositories(failed), None);
        assert_eq!(failure(failed).unwrap(), "Error(1011) : No matching packages");
        assert_eq!(failure(text), None);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(
            text in "(\\{\"Install\":|\"Error\":|\\[|\\]|\\}|\"Repo\":|,|[a-z0-9\" \n]){0,60}",
        ) {
            let _ = (chosen(&text), failure(&text), repositories(&text));
        }
    }
}
