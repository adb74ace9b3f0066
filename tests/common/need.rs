//! Installs the real programs that tests need, if they are missing.

use std::process::Command;

/// Installs the Debian packages that are missing. As a plain user it can only say which they are.
pub fn need(packages: &[&str]) {
    // One test asks at a time; the others then find everything installed.
    let _lock = super::lock(&super::kept("test-locks").join("apt"));
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return;
    }
    let command = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    assert!(nix::unistd::geteuid().is_root(), "this test needs programs; as root: {command}");
    // The package lists of a fresh machine or container are empty, or older than the archive.
    assert!(apt(&command) || (apt("apt-get update") && apt(&command)), "this test needs programs: {command}");
}

/// Fails without root rights, which most tests need to create roots and namespaces.
pub fn need_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test makes namespaces and roots: run the tests as root");
}

fn is_installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]).output();
    query.is_ok_and(|query| query.stdout == b"installed")
}

fn apt(command: &str) -> bool {
    let mut words = command.split(' ');
    let mut apt = Command::new(words.next().unwrap());
    apt.args(["-q", "-o", "DPkg::Lock::Timeout=600"]).args(words).env("DEBIAN_FRONTEND", "noninteractive");
    apt.stdin(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
}
