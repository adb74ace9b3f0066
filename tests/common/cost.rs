//! What one run of a program cost, as the kernel counted it for that process alone: other tests run beside it.

use super::need::need;
use super::program::Ran;
use std::process::Command;

/// Runs a command and writes its cost to the file that the first word names. A process starts with the peak of the one
/// that it is a copy of, so it has to come from a small one, which this is.
const COUNT: &str = r#"
import os, sys
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
io = dict(line.split(": ") for line in open(f"/proc/{child}/io").read().splitlines())
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as cost:
    print(usage.ru_maxrss, io["rchar"], io["wchar"], usage.ru_utime + usage.ru_stime, file=cost)
sys.exit(os.waitstatus_to_exitcode(status))
"#;

/// The cost of a run.
#[derive(Debug)]
pub struct Cost {
    /// The most memory, in MiB.
    pub memory: u64,
    /// The MiB read, from wherever.
    pub read: u64,
    /// The MiB written.
    pub written: u64,
    /// The seconds that processors worked.
    pub seconds: f64,
}

/// Runs a command to its end.
pub fn counted(command: &Command) -> (Ran, Cost) {
    need(&["python3"]);
    let folder = super::scratch();
    let file = folder.path().join("cost");
    let mut python = Command::new("python3");
    python.args(["-c", COUNT]).arg(&file).arg(command.get_program()).args(command.get_args()).env_clear();
    python.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = super::program::finish(python);
    let cost = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let numbers: Vec<&str> = cost.split_whitespace().collect();
    let whole = |at: usize| numbers[at].parse::<u64>().unwrap();
    let cost = Cost {
        memory: whole(0) >> 10,
        read: whole(1) >> 20,
        written: whole(2) >> 20,
        seconds: numbers[3].parse().unwrap(),
    };
    (ran, cost)
}
