//! How much of a command's time the package manager's own programs take: what is left is all that this program can make
//! faster.

use crate::common::measured::{Measured, Profile};
use crate::common::need::need;
use crate::common::scratch;
use std::collections::HashMap;
use std::process::Command;

/// The programs that count, with all that they start.
const PROGRAMS: [&str; 5] = ["apt-get", "apt-cache", "apt-config", "apt-mark", "dpkg"];

/// Runs a command under strace, and keeps how long it took and for how much of that a package manager was at work.
pub fn profile(what: &str, command: &Command) {
    need(&["strace"]);
    let folder = scratch();
    let log = folder.path().join("programs");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-ttt", "--seccomp-bpf", "--trace=execve", "--string-limit=200", "-o"]).arg(&log);
    strace.arg(command.get_program()).args(command.get_args());
    super::time(&mut strace);
    let profile = read(what, &std::fs::read_to_string(log).unwrap());
    println!(
        "    {what} under strace: {:.0} ms, of which package managers worked {:.0} ms",
        profile.whole_ms, profile.managers_ms
    );
    if std::env::var_os("OFEDCTL_BENCH_DOCS").is_some() {
        Measured::change(|measured| measured.put_profile(profile));
    }
}

fn read(what: &str, log: &str) -> Profile {
    let mut begun = HashMap::new();
    let mut spans = Vec::new();
    let mut moments = Vec::new();
    for line in log.lines() {
        let mut words = line.split_whitespace();
        let (Some(process), Some(moment), Some(event)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Ok(moment) = moment.parse::<f64>() else { continue };
        moments.push(moment);
        let program = event.strip_prefix("execve(\"").and_then(|path| path.split('"').next());
        if let Some(program) = program.filter(|_| line.ends_with("= 0")) {
            if PROGRAMS.contains(&program.rsplit('/').next().unwrap_or_default()) {
                begun.entry(process).or_insert(moment);
            }
        } else if event == "+++"
            && let Some(begun) = begun.remove(process)
        {
            spans.push((begun, moment));
        }
    }
    let (first, last) = (moments[0], moments[moments.len() - 1]);
    Profile { what: what.to_owned(), whole_ms: (last - first) * 1000.0, managers_ms: covered(spans) * 1000.0 }
}

/// How long at least one of these spans lasted.
fn covered(mut spans: Vec<(f64, f64)>) -> f64 {
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut total, mut until) = (0.0, f64::NEG_INFINITY);
    for (begun, ended) in spans {
        total += (ended - begun.max(until)).max(0.0);
        until = until.max(ended);
    }
    total
}
