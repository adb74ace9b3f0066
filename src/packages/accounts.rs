//! What a killed package script leaves half-done in the files of users and groups.
//!
//! Scripts change those files through the programs of shadow-utils, which hold `/etc/.pwd.lock` (lckpwdf(3)) all the
//! while, lock each file by another file with their process number in it, and write one file after the other. A program
//! that is killed leaves its locks, whose number may be that of a living process in the next sandbox, and perhaps a group
//! in `/etc/group` that `/etc/gshadow` lacks. The script that runs again finds its group and adds nothing.

use crate::host::Host;
use crate::host::fs::Root;
use crate::host::run::Cmd;
use crate::host::sandbox::Sandbox;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The files in `/etc`, each of which is written whole under another name first.
const FILES: [&str; 6] = ["passwd", "shadow", "group", "gshadow", "subuid", "subgid"];
/// What a file of users or groups says in place of a password that is in its shadow file.
const IN_SHADOW: &str = "x";
/// The longest text of a lock: a process number and its end.
const LONGEST_LOCK: usize = 16;

/// The names in a root's files of users and groups.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    users: BTreeSet<String>,
    groups: BTreeSet<String>,
}

impl Accounts {
    /// Those that are in a root now.
    pub fn read(root: &Root) -> Result<Self> {
        let names =
            |path| Ok::<_, anyhow::Error>(entries(root, path)?.unwrap_or_default().into_keys().collect());
        Ok(Self { users: names("/etc/passwd")?, groups: names("/etc/group")? })
    }
}

/// Removes what killed programs left beside the files, and finishes what they had begun with the names that came or went
/// since `before`, if that is known. To be called after a killed run alone.
pub fn heal(host: &Host, before: Option<&Accounts>, patience: Duration, sealed: bool) -> Result<()> {
    remove_leftovers(host, patience)?;
    let Some(before) = before else { return Ok(()) };
    for (program, names) in repairs(&host.root, before)? {
        host.events.info(format!("finishing an interrupted change of users and groups by {program}"));
        let cmd = Cmd::new(program).args(names).inside(Sandbox::offline(&host.root, sealed));
        let finished = host.run(&cmd)?;
        if finished.code != 0 {
            host.events
                .warn(format!("`{}` ended with {}: {}", finished.command, finished.code, finished.tail));
        }
    }
    Ok(())
}

/// Removes locks and unfinished files. Nobody is at work as long as this run holds the lock of all these programs.
fn remove_leftovers(host: &Host, patience: Duration) -> Result<()> {
    let root = &host.root;
    let are_left =
        |root: &Root| root.list("/etc").into_iter().filter(|name| is_leftover(root, name)).collect();
    let left: Vec<String> = are_left(root);
    if left.is_empty() {
        return Ok(());
    }
    let _lock = host.lock_accounts(patience)?;
    let left: Vec<String> = are_left(root);
    for name in left {
        host.events.info(format!("removing `/etc/{name}`, which an interrupted program left"));
        root.remove_file(&format!("/etc/{name}"))?;
    }
    Ok(())
}

/// Whether a file is a lock (`group.lock`, and `group.220` until it is whole) or an unfinished file: `group+` of
/// shadow-utils, `.#groupXXXXXX` of systemd-sysusers.
fn is_leftover(root: &Root, name: &str) -> bool {
    let path = format!("/etc/{name}");
    let is_file =
        || root.link_target(&path).is_none() && root.metadata(&path).is_some_and(|found| found.is_file());
    let number = || {
        let bytes = root.read(&path).ok().flatten().filter(|bytes| bytes.len() <= LONGEST_LOCK)?;
        Some(
            String::from_utf8_lossy(&bytes).trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned(),
        )
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let rests = FILES.iter().filter_map(|file| name.trim_start_matches(".#").strip_prefix(file));
    let is_one = |rest: &str| match rest {
        _ if name.starts_with(".#") => {
            rest.len() == 6 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }
        "+" => true,
        // A power cut may leave one empty.
        ".lock" => number().is_some_and(|number| number.is_empty() || is_number(&number)),
        rest => rest
            .strip_prefix('.')
            .filter(|rest| is_number(rest))
            .is_some_and(|rest| number().is_some_and(|number| number.is_empty() || number == rest)),
    };
    rests.into_iter().any(is_one) && is_file()
}

/// The programs of the root that finish what is half-done, each with its argument. Users and groups that came and are not
/// in all files go again, so that the script that runs again makes them as if it had never run. Those that went and
/// are still in a shadow file go from there too, unless that would change others.
fn repairs(root: &Root, before: &Accounts) -> Result<Vec<(&'static str, Option<String>)>> {
    let mut all = Vec::new();
    let groups = entries(root, "/etc/group")?.unwrap_or_default();
    let numbers: BTreeSet<&str> =
        groups.values().filter_map(|fields| fields.get(1)).map(String::as_str).collect();
    let users = entries(root, "/etc/passwd")?.unwrap_or_default();
    let no_group = |user: &Vec<String>| user.get(2).is_some_and(|number| !numbers.contains(number.as_str()));
    for (names, before, shadow, delete, rewrite) in [
        (&users, &before.users, "/etc/shadow", "userdel", "pwconv"),
        (&groups, &before.groups, "/etc/gshadow", "groupdel", "grpconv"),
    ] {
        let Some(shadow) = entries(root, shadow)? else { continue };
        let lacks = |name: &str, fields: &Vec<String>| {
            let is_in_shadow = fields.first().is_some_and(|password| password == IN_SHADOW);
            (is_in_shadow && !shadow.contains_key(name)) || (delete == "userdel" && no_group(fields))
        };
        let torn: Vec<&String> =
            names.iter().filter(|(name, it)| lacks(name, it)).map(|(name, _)| name).collect();
        let (of_before, came): (Vec<&String>, Vec<&String>) =
            torn.into_iter().partition(|name| before.contains(*name));
        all.extend(came.into_iter().map(|name| (delete, Some(name.clone()))));
        let has_gone = |name: &&String| before.contains(*name) && !names.contains_key(*name);
        if shadow.keys().any(|name| has_gone(&name)) && of_before.is_empty() {
            all.push((rewrite, None));
        }
    }
    Ok(all)
}

/// The lines of a file by their first field, with the fields after it; none when there is no such file.
fn entries(root: &Root, path: &str) -> Result<Option<BTreeMap<String, Vec<String>>>> {
    let Some(text) = root.read_text(path)? else { return Ok(None) };
    let entry = |line: &str| {
        let mut fields = line.split(':').map(str::to_owned);
        // Lines of NIS begin with a sign and name no entry of this file (passwd(5) of glibc's compat).
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with(['+', '-', '#']))?;
        Some((name, fields.collect()))
    };
    Ok(Some(text.lines().filter_map(entry).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;
    use crate::outcome::Reason;
    use std::path::Path;

    fn etc(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let (dir, host) = on_an_empty_root(Cancel::never());
        for (name, text) in files {
            host.root.write_text(&format!("/etc/{name}"), text).unwrap();
        }
        (dir, host)
    }

    const GROUP: &str = "root:x:0:\nmail:x:8:\n";
    const GSHADOW: &str = "root:*::\nmail:*::\n";

    #[test]
    fn what_killed_programs_left_is_removed_and_what_others_keep_stays() {
        let left = [
            ("gshadow.lock", "220\0"),
            ("gshadow.220", "220\0"),
            ("passwd.17", ""),
            ("subuid+", "a:1:2\n"),
            (".#groupA1b2C3", GROUP),
        ];
        let kept = [
            ("group", GROUP),
            ("group-", GROUP),
            ("group.2024", GROUP),
            ("group.lock", "a note of the admin"),
            ("group.org", GROUP),
            ("groups+", ""),
        ];
        let (_dir, host) = etc(&[&left[..], &kept].concat());
        host.root.make_link("/etc/shadow.lock", Path::new("group.org")).unwrap();
        heal(&host, None, Duration::ZERO, true).unwrap();
        let mut wanted: Vec<&str> = kept.iter().map(|(name, _)| *name).collect();
        wanted.push("shadow.lock");
        wanted.sort_unstable();
        assert_eq!(host.root.list("/etc"), wanted);
    }

    /// A script's groupadd failed while another one was still at work (microsoft/mystikos 883).
    #[test]
    fn a_lock_of_a_program_that_is_at_work_is_waited_for_and_stays() {
        let (_dir, host) = etc(&[("group.lock", "17\0"), (".pwd.lock", "")]);
        let at_work = host.lock_accounts(Duration::ZERO).unwrap();
        assert!(at_work.is_some());
        let error = heal(&host, None, Duration::ZERO, true).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::LockTimeout, "{error:#}");
        assert!(host.root.exists("/etc/group.lock"));
        drop(at_work);
        heal(&host, None, Duration::ZERO, true).unwrap();
        assert!(!host.root.exists("/etc/group.lock"));
    }

    #[test]
    fn only_what_came_or_went_half_way_since_is_finished() {
        let (_dir, host) = etc(&[
            ("group", GROUP),
            ("gshadow", GSHADOW),
            ("passwd", "root:x:0:0::/:\n"),
            ("shadow", "root:*:1::::::\n"),
        ]);
        let before = Accounts::read(&host.root).unwrap();
        assert!(repairs(&host.root, &before).unwrap().is_empty());
        host.root.write_text("/etc/group", &format!("{GROUP}rdma:x:101:\nnis:!:9:\n")).unwrap();
        let wanted = vec![("groupdel", Some("rdma".to_owned()))];
        assert_eq!(repairs(&host.root, &before).unwrap(), wanted);
        // The same of a group that was so before is not for this program to judge.
        assert!(repairs(&host.root, &Accounts::read(&host.root).unwrap()).unwrap().is_empty());
        host.root.write_text("/etc/group", "root:x:0:\n").unwrap();
        assert_eq!(repairs(&host.root, &before).unwrap(), [("grpconv", None)]);
        // grpconv would also add the line that an admin has taken out.
        host.root.write_text("/etc/gshadow", "mail:*::\n").unwrap();
        assert!(repairs(&host.root, &before).unwrap().is_empty());
    }

    #[test]
    fn a_user_without_a_password_line_or_without_its_group_goes_again() {
        let passwd = "root:x:0:0::/:\n";
        let (_dir, host) = etc(&[("group", GROUP), ("passwd", passwd), ("shadow", "root:*:1::::::\n")]);
        let before = Accounts::read(&host.root).unwrap();
        host.root.write_text("/etc/passwd", &format!("{passwd}half:x:100:8::/:\n")).unwrap();
        let wanted = vec![("userdel", Some("half".to_owned()))];
        assert_eq!(repairs(&host.root, &before).unwrap(), wanted);
        host.root.write_text("/etc/shadow", "root:*:1::::::\nhalf:!:1::::::\n").unwrap();
        assert!(repairs(&host.root, &before).unwrap().is_empty());
        host.root.write_text("/etc/passwd", &format!("{passwd}half:x:100:999::/:\n")).unwrap();
        assert_eq!(repairs(&host.root, &before).unwrap(), wanted);
    }
}
