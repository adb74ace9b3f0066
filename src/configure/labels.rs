//! `SELinux` labels. rpm sets them only if the running kernel has `SELinux` on, which is often not so on a build
//! machine, and many services may not read unlabelled files. So installed and edited files are labelled by the image's
//! own policy; where that fails, the image relabels itself at its first boot (fixfiles(8)).

use crate::host::fs::Root;
use crate::host::run::Cmd;
use crate::host::sandbox::Sandbox;
use crate::host::{Host, STATE_DIR};
use crate::ledger::Journal;
use crate::outcome::Reason;
use anyhow::Result;

const CONFIG: &str = "/etc/selinux/config";
/// The file that makes an image relabel all its files at the next boot, and boot again.
const AUTORELABEL: &str = "/.autorelabel";
/// The file with the paths to label, during the labelling.
const LIST: &str = "/var/lib/ofedctl/labels";
/// The folders of this program's own files.
const OWN: [&str; 2] = [STATE_DIR, "/var/log/azure"];

/// Whether the root's files have labels.
pub fn are_kept(host: &Host) -> bool {
    contexts(&host.root).is_some()
}

/// Labels `paths` recursively, and this program's own files. Paths that do not exist are skipped.
pub fn restore(host: &Host, journal: &mut Journal, paths: &[String], sealed: bool) -> Result<()> {
    let Some(contexts) = contexts(&host.root) else { return Ok(()) };
    if label(host, &contexts, paths, sealed)? {
        host.events.info(format!("labelled {} paths for SELinux", paths.len() + OWN.len()));
    } else {
        host.events
            .warn("the files could not be labelled for SELinux; the image will do so at its first boot");
        journal.write(AUTORELABEL, b"")?;
    }
    Ok(())
}

/// Labels the files that this program wrote at the end of the run.
pub fn restore_own(host: &Host, sealed: bool) {
    let Some(contexts) = contexts(&host.root) else { return };
    if !host.root.exists(AUTORELABEL) && !label(host, &contexts, &[], sealed).unwrap_or(false) {
        host.events.warn(format!("`{STATE_DIR}` could not be labelled for SELinux"));
    }
}

/// The file contexts of the root's policy; none if `SELinux` is off or not installed.
fn contexts(root: &Root) -> Option<String> {
    let config = root.read_text(CONFIG).ok()??;
    let value = |key: &str| {
        let values =
            config.lines().filter_map(|line| line.trim().strip_prefix(key)?.trim().strip_prefix('='));
        values.map(str::trim).next_back()
    };
    let policy = value("SELINUXTYPE").unwrap_or("targeted");
    let contexts = format!("/etc/selinux/{policy}/contexts/files/file_contexts");
    (value("SELINUX") != Some("disabled") && root.exists(&contexts)).then_some(contexts)
}

/// Runs the root's setfiles. Returns whether it succeeded.
fn label(host: &Host, contexts: &str, paths: &[String], sealed: bool) -> Result<bool> {
    let paths: Vec<&str> = paths.iter().map(String::as_str).chain(OWN).collect();
    host.root.write_text(LIST, &(paths.join("\n") + "\n"))?;
    let sandbox = Sandbox::offline(&host.root, sealed).with_labels();
    let setfiles = |more: &[&str]| {
        let cmd = Cmd::new("setfiles").args(more.iter().copied()).args(["-i", "-f", LIST, contexts]);
        host.run(&cmd.inside(sandbox.clone())).map(|finished| finished.code == 0)
    };
    // Without -m it skips file systems that a kernel without SELinux mounts without labels. The version in Enterprise
    // Linux 7 does not know the option.
    let done = setfiles(&["-m"]).and_then(|done| if done { Ok(true) } else { setfiles(&[]) });
    host.root.remove_file(LIST)?;
    match done {
        Err(error)
            if matches!(Reason::from_error(&error), Reason::Interrupted | Reason::DeadlineExceeded) =>
        {
            Err(error)
        }
        done => Ok(done.unwrap_or(false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policys_table_is_found_where_selinux_is_on() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(contexts(&root), None);
        let table = "/etc/selinux/targeted/contexts/files/file_contexts";
        root.write_text(table, "").unwrap();
        assert_eq!(contexts(&root), None);
        for (config, on) in [
            ("# SELINUX=disabled\nSELINUX=enforcing\nSELINUXTYPE=targeted\n", true),
            ("SELINUX = permissive\n", true),
            ("SELINUX=disabled\nSELINUXTYPE=targeted\n", false),
            ("SELINUX=enforcing\nSELINUXTYPE=mls\n", false),
        ] {
            root.write_text(CONFIG, config).unwrap();
            assert_eq!(contexts(&root).as_deref(), on.then_some(table), "{config}");
        }
    }
}
