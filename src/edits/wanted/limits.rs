//! Resource limits of a user's and a service's programs: RDMA registers memory, which locks it, and each MPI rank opens
//! files. A login gets its limits from `pam_limits`. Programs that a service starts, such as a batch scheduler's jobs,
//! have no login and get systemd's limits. So both are set, on every distribution.

use crate::edits::Edit;
use crate::settings::Settings;

/// The value of Azure's HPC images (Azure/azhpc-images, `hpc-tuning.sh`), which is also the kernel's default maximum
/// (`fs.nr_open`, proc(5)).
const FILES: &str = "1048576";

/// The edits that the settings ask for.
pub(super) fn edits(settings: &Settings) -> Vec<Edit> {
    let mut edits = Vec::new();
    if settings.memlock {
        let title = "# Made by ofedctl: RDMA programs register memory, which locks it.";
        edits.extend(limit_edits(
            "90-ofedctl.conf",
            title,
            ("memlock", "unlimited"),
            ("MEMLOCK", "infinity"),
            "lock memory",
        ));
    }
    if settings.nofile {
        let title = "# Made by ofedctl: each process of a parallel program opens many files and sockets.";
        let name = "91-ofedctl-nofile.conf";
        edits.extend(limit_edits(name, title, ("nofile", FILES), ("NOFILE", FILES), "open many files"));
    }
    edits
}

/// One limit for all users: for logins, for services, and for programs that a user's own systemd starts.
fn limit_edits(
    name: &str,
    title: &str,
    (item, login): (&str, &str),
    (key, service): (&str, &str),
    what: &str,
) -> [Edit; 3] {
    let users = ["*", "root"]
        .iter()
        .flat_map(|who| ["soft", "hard"].map(|kind| format!("{who} {kind} {item} {login}")));
    let lines: Vec<String> = users.collect();
    let lines = std::iter::once(title).chain(lines.iter().map(String::as_str));
    let logins = Edit::file_of_lines(
        &format!("/etc/security/limits.d/{name}"),
        lines,
        &format!("let RDMA programs {what}"),
    );
    let manager = |manager: &str, whose: &str| {
        let value = format!("DefaultLimit{key}={service}");
        Edit::file_of_lines(
            &format!("/etc/systemd/{manager}.conf.d/{name}"),
            [title, "[Manager]", &value],
            &format!("let RDMA programs of {whose} {what}"),
        )
    };
    [logins, manager("system", "services"), manager("user", "users' services")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_said_to_logins_and_to_services_and_switched_off_alone() {
        let paths = |memlock, nofile| {
            let edits = edits(&Settings { memlock, nofile, ..Settings::default() });
            edits.iter().filter_map(|edit| edit.path().map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(paths(false, false), Vec::<String>::new());
        for (memlock, nofile) in [(true, false), (false, true)] {
            let paths = paths(memlock, nofile);
            let folders =
                ["/etc/security/limits.d/", "/etc/systemd/system.conf.d/", "/etc/systemd/user.conf.d/"];
            assert!(
                paths.len() == 3 && paths.iter().zip(folders).all(|(path, folder)| path.starts_with(folder))
            );
        }
        assert_eq!(paths(true, true).len(), 6);
    }
}
