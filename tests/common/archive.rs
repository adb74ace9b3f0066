//! The Debian archive this machine itself installs from.

use std::process::Command;

/// The address of Debian's main archive on this machine's own mirror; none on another distribution, where
/// mmdebstrap knows one.
pub fn mirror() -> Option<String> {
    // Asks apt, which reads both forms of its source lists; this command does not touch the network.
    let uris = output("apt-get", &["--print-uris", "update"]);
    let archives = uris.lines().filter_map(|line| Some(line.strip_prefix('\'')?.split_once("/dists/")?.0));
    let mut debian = archives.filter(|uri| uri.starts_with("http") && uri.ends_with("/debian"));
    debian.next().map(str::to_owned)
}

/// How this machine reaches it (a proxy, a frozen mirror), as lines of apt's configuration.
pub fn options() -> Vec<String> {
    let ways = ["Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries", "Acquire::ForceIP"];
    let dump = output("apt-config", &["dump"]);
    let ours = dump.lines().filter(|line| ways.iter().any(|way| line.starts_with(way)));
    // A key without a value is only the head of the keys below it.
    ours.filter(|line| !line.ends_with(" \"\";")).map(str::to_owned).collect()
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("these tests need apt ({program}): {error}"));
    String::from_utf8(output.stdout).unwrap()
}
