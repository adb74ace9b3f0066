//! Whether the VM agent's daemon can start at all: its unit names a program, which may be missing, or be a Python for which
//! the agent's code was not installed.

use super::naming::UNITS as UNIT_FOLDERS;
use crate::host::Host;
use crate::host::has_extension;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The agent's unit: Debian's and Ubuntu's name, and everybody else's.
const UNITS: [&str; 2] = ["walinuxagent.service", "waagent.service"];
/// Where a service finds programs (systemd.exec(5), `$PATH`).
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Why the daemon cannot start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum NoStart {
    /// Its unit is masked.
    Masked,
    /// The root lacks the program that its unit, or the first line of its script, names (Azure/WALinuxAgent issue 2699,
    /// microsoft/lisa issue 720).
    NoProgram(String),
    /// The Python that runs it has another version than the one that its code was installed for (Azure/WALinuxAgent issues
    /// 2728 and 2802).
    OtherPython {
        /// The program that its unit names.
        program: String,
        /// That program's version.
        runs: String,
        /// The version that has the code.
        has: String,
    },
}

impl NoStart {
    /// What is wrong with this unit, and what to do.
    pub fn why(&self, unit: &str) -> String {
        match self {
            Self::Masked => format!("{unit} is masked; `systemctl unmask {unit}` lets it start"),
            Self::NoProgram(program) => format!(
                "{unit} runs {program}, which this root lacks; a drop-in of the unit can name the Python that is there"
            ),
            Self::OtherPython { program, runs, has } => format!(
                "{unit} runs {program}, which is Python {runs}, and its code was installed for Python {has}; a drop-in of the \
                 unit can name that one"
            ),
        }
    }
}

/// The agent's unit, and the Python that it runs.
#[derive(Debug, Default)]
pub(super) struct Daemon {
    pub(super) unit: Option<String>,
    /// Why it cannot start, whatever code there is.
    pub(super) no_start: Option<NoStart>,
    /// The program, and its version as far as that is known.
    python: Option<(String, String)>,
}

impl Daemon {
    /// Looks for the unit, and for what it runs.
    pub(super) fn read(host: &Host) -> Self {
        let path = |folder: &&str, unit: &str| format!("{folder}/{unit}");
        let is_masked = |unit: &str| {
            UNIT_FOLDERS.iter().any(|folder| {
                host.root.link_target(&path(folder, unit)).is_some_and(|to| to.as_os_str() == "/dev/null")
            })
        };
        let is_there = |unit: &str| UNIT_FOLDERS.iter().any(|folder| host.root.exists(&path(folder, unit)));
        let Some(unit) = UNITS.into_iter().find(|unit| is_masked(unit) || is_there(unit)) else {
            return Self::default();
        };
        let named = Self { unit: Some(unit.to_owned()), ..Self::default() };
        if is_masked(unit) {
            return Self { no_start: Some(NoStart::Masked), ..named };
        }
        let Some(command) = command(host, unit) else { return named };
        match python(host, &command) {
            Ok(python) => Self { python, ..named },
            Err(program) => Self { no_start: Some(NoStart::NoProgram(program)), ..named },
        }
    }

    /// Whether the Python that runs the daemon finds code in a folder of the Python of this name, such as `python3.6`.
    pub(super) fn finds(&self, folder: &str) -> bool {
        let of_folder = folder.strip_prefix("python").unwrap_or(folder);
        self.python.as_ref().is_none_or(|(_, version)| {
            version == of_folder || version.strip_prefix(of_folder).is_some_and(|rest| rest.starts_with('.'))
        })
    }

    /// Why it does not start, where its code is for the Python of this name alone.
    pub(super) fn cannot_find(&self, folder: &str) -> Option<NoStart> {
        let (program, runs) = self.python.clone().filter(|_| !self.finds(folder))?;
        let has = folder.strip_prefix("python").unwrap_or(folder).to_owned();
        Some(NoStart::OtherPython { program, runs, has })
    }
}

/// The command of the unit, with what its drop-ins change: an empty one takes back those before it (systemd.service(5)).
/// None where the code may lie in a folder that the unit names.
fn command(host: &Host, unit: &str) -> Option<String> {
    let own = UNIT_FOLDERS.iter().find_map(|folder| host.root.read_text(&format!("{folder}/{unit}")).ok()?);
    let mut drop_ins = BTreeMap::new();
    for folder in UNIT_FOLDERS.iter().rev().map(|folder| format!("{folder}/{unit}.d")) {
        let names = host.root.list(&folder).into_iter().filter(|name| has_extension(name, "conf"));
        drop_ins.extend(names.map(|name| (name.clone(), format!("{folder}/{name}"))));
    }
    let more = drop_ins.values().filter_map(|path| host.root.read_text(path).ok()?);
    let text = own.into_iter().chain(more).collect::<Vec<_>>().join("\n");
    if text.contains("PYTHONPATH") {
        return None;
    }
    let mut commands =
        text.lines().filter_map(|line| line.trim().strip_prefix("ExecStart")?.trim_start().strip_prefix('='));
    commands.next_back().map(|command| command.trim().to_owned()).filter(|command| !command.is_empty())
}

/// The Python that a command runs, and its version, where both can be told; else the program that is missing.
fn python(host: &Host, command: &str) -> Result<Option<(String, String)>, String> {
    // What systemd itself makes of the first word is said before it.
    let Some(program) = program(host, command.trim_start_matches(['@', '-', ':', '+', '!']))? else {
        return Ok(None);
    };
    if is_python(&program) {
        return Ok(version(host, &program).map(|version| (program, version)));
    }
    let text = host.root.read_text(&program).ok().flatten().unwrap_or_default();
    let Some(first) = text.lines().next().and_then(|line| line.strip_prefix("#!")) else { return Ok(None) };
    let Some(program) = self::program(host, first.trim())?.filter(|it| is_python(it)) else {
        return Ok(None);
    };
    Ok(version(host, &program).map(|version| (program, version)))
}

/// The program of a command; none where the command holds what only systemd or a shell can tell.
fn program(host: &Host, command: &str) -> Result<Option<String>, String> {
    let mut words = command.split_whitespace();
    let Some(first) = words.next().filter(|word| !word.contains(['%', '$', '"', '\''])) else {
        return Ok(None);
    };
    let found =
        |path: &str| if host.root.exists(path) { Ok(Some(path.to_owned())) } else { Err(path.to_owned()) };
    if !first.starts_with('/') {
        return look_up(host, first).map(Some);
    }
    if !first.ends_with("/env") {
        return found(first);
    }
    found(first)?;
    let named = words.find(|word| !word.starts_with('-') && !word.contains('='));
    named.map(|name| look_up(host, name)).transpose()
}

fn look_up(host: &Host, name: &str) -> Result<String, String> {
    let mut paths = PATH.iter().map(|folder| format!("{folder}/{name}"));
    paths.find(|path| host.root.exists(path)).ok_or_else(|| name.to_owned())
}

fn is_python(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    name.starts_with("python") || name.starts_with("platform-python")
}

/// The version in the name of the file that a program leads to, such as `python3.9`; none where the name has none.
fn version(host: &Host, program: &str) -> Option<String> {
    let file = host.root.behind_link(program).ok()?;
    let name = file.rsplit('/').next()?;
    let version = name.strip_prefix("platform-").unwrap_or(name).strip_prefix("python")?;
    let (major, minor) = version.split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(major) && is_number(minor)).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;
    use std::os::unix::fs::symlink;

    const UNIT: &str = "usr/lib/systemd/system/waagent.service";

    /// What is wrong, with these files and links, where the code is for this Python.
    fn wrong(files: &[(&str, &str)], links: &[(&str, &str)], folder: &str) -> Option<NoStart> {
        let (dir, host) = host_with(files);
        for (path, to) in links {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(to, path).unwrap();
        }
        let daemon = Daemon::read(&host);
        let cannot = daemon.cannot_find(folder);
        daemon.no_start.or(cannot)
    }

    fn no(program: &str) -> NoStart {
        NoStart::NoProgram(program.to_owned())
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let unit = |command: &str| format!("[Service]\nType=simple\nExecStart={command}\n");
        let python = unit("/usr/bin/python -u /usr/sbin/waagent -daemon");
        assert_eq!(wrong(&[(UNIT, &python)], &[], "python3.6"), Some(no("/usr/bin/python")));
        // A link that leads nowhere, as after python3.6 was removed.
        let link = [("usr/bin/python", "/usr/bin/python2.7")];
        assert_eq!(wrong(&[(UNIT, &python)], &link, "python3.6"), Some(no("/usr/bin/python")));
        assert_eq!(wrong(&[(UNIT, &python), ("usr/bin/python", "")], &[], "python3.6"), None);
        // By the first line of the script.
        let script = unit("-/usr/sbin/waagent -daemon");
        let of = |first: &str| {
            wrong(&[(UNIT, &script), ("usr/sbin/waagent", first), ("usr/bin/env", "")], &[], "python3")
        };
        assert_eq!(of("#!/usr/bin/env python\nimport x\n"), Some(no("python")));
        assert_eq!(of("#! /usr/bin/python3\n"), Some(no("/usr/bin/python3")));
        assert_eq!(of("\u{7f}ELF"), None);
        assert_eq!(wrong(&[(UNIT, &unit("python3 /usr/sbin/waagent"))], &[], "python3"), Some(no("python3")));
        for odd in ["", "%h/x", "\"/usr/bin/x y\"", "${PYTHON} x", "/usr/bin/env -i A=b"] {
            assert_eq!(wrong(&[(UNIT, &unit(odd)), ("usr/bin/env", "")], &[], "python3"), None, "{odd}");
        }
    }

    #[test]
    fn a_python_without_the_code_is_named_with_the_one_that_has_it() {
        let unit = "[Service]\nExecStart=/usr/bin/python3 -u /usr/sbin/waagent -daemon\n";
        let files = [(UNIT, unit), ("usr/bin/python3.9", ""), ("usr/libexec/platform-python3.6", "")];
        let links = [
            ("usr/bin/python3", "/etc/alternatives/python3"),
            ("etc/alternatives/python3", "/usr/bin/python3.9"),
        ];
        let (program, runs, has) = ("/usr/bin/python3".to_owned(), "3.9".to_owned(), "3.6".to_owned());
        assert_eq!(wrong(&files, &links, "python3.6"), Some(NoStart::OtherPython { program, runs, has }));
        assert_eq!(wrong(&files, &links, "python3.9"), None);
        assert_eq!(wrong(&files, &links, "python3"), None, "Debian's folder serves all");
        assert!(wrong(&files, &links, "python2").is_some());
        // The way out that users found.
        let drop_in =
            "[Service]\nExecStart=\nExecStart=/usr/libexec/platform-python -u /usr/sbin/waagent -daemon\n";
        let mended =
            [&files[..], &[("etc/systemd/system/waagent.service.d/override.conf", drop_in)]].concat();
        let links = [&links[..], &[("usr/libexec/platform-python", "platform-python3.6")]].concat();
        assert_eq!(wrong(&mended, &links, "python3.6"), None);
        let path = [
            &files[..],
            &[("etc/systemd/system/waagent.service.d/x.conf", "[Service]\nEnvironment=PYTHONPATH=/opt\n")],
        ]
        .concat();
        assert_eq!(wrong(&path, &links, "python3.6"), None);
    }

    #[test]
    fn a_masked_unit_is_told() {
        let mask = [("etc/systemd/system/walinuxagent.service", "/dev/null")];
        assert_eq!(
            wrong(&[("lib/systemd/system/walinuxagent.service", "")], &mask, "python3"),
            Some(NoStart::Masked)
        );
        assert_eq!(wrong(&[], &[], "python3"), None);
    }
}
