//! What installs new kernels into a root by itself, and whether the root can be changed at all.

use crate::host::Host;
use serde::{Deserialize, Serialize};

/// What `cloud-init setup` lays into an image so that this program runs at each boot, and prepares the kernel that runs.
pub const BOOT_MODULE: &str = "/etc/cloud/cloud.cfg.d/zz-ofedctl.cfg";
/// The same where cloud-init is disabled.
pub const BOOT_UNIT: &str = "/etc/systemd/system/multi-user.target.wants/ofedctl.service";
const TIMERS: &str = "/etc/systemd/system/timers.target.wants";
/// Where only a booted ostree or bootc system has this file (ostree(1)).
const OSTREE: [&str; 3] = ["/run/ostree-booted", "/ostree/repo", "/sysroot/ostree/repo"];

/// What updates a root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KernelUpdates {
    /// The programs that install updates by themselves, by the name of the package.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// What replaces the whole system at once, and keeps `/usr` as it is until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_based: Option<String>,
    /// Whether `/usr` is on a file system that is mounted read-only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub usr_is_read_only: bool,
    /// What runs this program at each boot, if `cloud-init setup` was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_boot: Option<String>,
}

/// Reads what updates a root.
pub fn read(host: &Host) -> KernelUpdates {
    let mut by = Vec::new();
    if unattended(host) {
        by.push("unattended-upgrades".to_owned());
    }
    let applies = |conf: &str| value(host, conf, "apply_updates").is_some_and(|value| is_yes(&value));
    let has_timer = |name: &str| host.root.exists(&format!("{TIMERS}/{name}.timer"));
    let is_dnf = has_timer("dnf-automatic-install")
        || ((has_timer("dnf-automatic") || has_timer("dnf5-automatic"))
            && applies("/etc/dnf/automatic.conf"));
    if is_dnf {
        by.push("dnf-automatic".to_owned());
    }
    if host.root.exists("/etc/systemd/system/multi-user.target.wants/yum-cron.service")
        && applies("/etc/yum/yum-cron.conf")
    {
        by.push("yum-cron".to_owned());
    }
    let at_boot = [(BOOT_MODULE, "cloud-init"), (BOOT_UNIT, "ofedctl.service")];
    let at_boot = at_boot.into_iter().find(|(path, _)| host.root.exists(path));
    KernelUpdates {
        by,
        image_based: image_based(host),
        usr_is_read_only: host.root.is_read_only("/usr"),
        at_boot: at_boot.map(|(_, name)| name.to_owned()),
    }
}

fn image_based(host: &Host) -> Option<String> {
    let has = |paths: &[&str]| paths.iter().any(|path| host.root.exists(path));
    if has(&OSTREE) {
        return Some(if has(&["/usr/bin/bootc", "/usr/lib/bootc"]) { "bootc" } else { "ostree" }.to_owned());
    }
    has(&["/usr/sbin/transactional-update", "/sbin/transactional-update"])
        .then(|| "transactional-update".to_owned())
}

/// Whether apt's daily timer runs `unattended-upgrade` (`APT::Periodic::Unattended-Upgrade`). The last file counts.
fn unattended(host: &Host) -> bool {
    const FOLDER: &str = "/etc/apt/apt.conf.d";
    if !host.root.exists("/usr/bin/unattended-upgrade") {
        return false;
    }
    let texts = host
        .root
        .list(FOLDER)
        .into_iter()
        .filter_map(|name| host.root.read_text(&format!("{FOLDER}/{name}")).ok().flatten());
    let mut on = false;
    for text in texts {
        for line in
            text.lines().map(str::trim).filter(|line| line.contains("APT::Periodic::Unattended-Upgrade"))
        {
            let value = line.split('"').nth(1).unwrap_or_default();
            if !line.starts_with("//") && !line.starts_with('#') {
                on = !matches!(value, "" | "0");
            }
        }
    }
    on
}

fn value(host: &Host, conf: &str, key: &str) -> Option<String> {
    let text = host.root.read_text(conf).ok().flatten()?;
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    lines.rfind(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_ascii_lowercase())
}

fn is_yes(value: &str) -> bool {
    matches!(value, "yes" | "true" | "1" | "on")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;

    #[test]
    fn what_installs_kernels_by_itself_is_found_where_it_is_switched_on() {
        let by = |files: &[(&str, &str)]| read(&host_with(files).1).by.join(" ");
        let program = ("usr/bin/unattended-upgrade", "");
        let conf = |value| ("etc/apt/apt.conf.d/20auto-upgrades", value);
        assert_eq!(by(&[program, conf("APT::Periodic::Unattended-Upgrade \"1\";\n")]), "unattended-upgrades");
        assert_eq!(by(&[program, conf("APT::Periodic::Unattended-Upgrade \"0\";\n")]), "");
        assert_eq!(by(&[program, conf("// APT::Periodic::Unattended-Upgrade \"1\";\n")]), "");
        let timer = ("etc/systemd/system/timers.target.wants/dnf-automatic.timer", "");
        assert_eq!(
            by(&[timer, ("etc/dnf/automatic.conf", "[commands]\napply_updates = yes\n")]),
            "dnf-automatic"
        );
        assert_eq!(by(&[timer, ("etc/dnf/automatic.conf", "[commands]\napply_updates = no\n")]), "");
        let service = ("etc/systemd/system/multi-user.target.wants/yum-cron.service", "");
        assert_eq!(by(&[service, ("etc/yum/yum-cron.conf", "apply_updates = yes\n")]), "yum-cron");
    }

    #[test]
    fn systems_that_are_replaced_as_a_whole_are_told_apart() {
        let found = |files: &[(&str, &str)]| read(&host_with(files).1).image_based.unwrap_or_default();
        assert_eq!(found(&[("run/ostree-booted", ""), ("usr/bin/bootc", "")]), "bootc");
        assert_eq!(found(&[("run/ostree-booted", "")]), "ostree");
        assert_eq!(found(&[("usr/sbin/transactional-update", "")]), "transactional-update");
        // A container of such a system, in which an image is built, can be changed.
        assert_eq!(found(&[("usr/bin/bootc", "")]), "");
    }
}
