//! One ping-pong between two VMs: `ib_send_lat` of perftest, as server on one and as client on the other.

use crate::facts::rdma::VerbsDevice;
use crate::host::Host;
use crate::host::run::{Cmd, Finished};
use crate::verify::traffic::{Flag, PATIENCE, addressing, loop_until_it_listens};
use anyhow::Result;
use serde::{Deserialize, Serialize};

const PROGRAM: &str = "ib_send_lat";
/// What a shell ends with when there is no such program.
const MISSING: i32 = 127;
/// The column with the median in the program's table.
const TYPICAL: usize = 4;

/// What a ping-pong runs over.
#[derive(Debug)]
pub(super) struct PingPong<'a> {
    pub(super) device: &'a VerbsDevice,
    pub(super) port: u32,
    /// The index of the key of the partition that both are in.
    pub(super) key: u32,
    /// Where the programs find each other over TCP.
    pub(super) tcp_port: u16,
}

/// What came of it at one end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PingPongResult {
    pub(super) code: i32,
    /// The program's last words, where it failed.
    pub(super) said: String,
    /// Half of the median time there and back, in nanoseconds.
    pub(super) ns: Option<u32>,
}

impl PingPongResult {
    pub(super) const fn ok(&self) -> bool {
        self.code == 0
    }

    pub(super) const fn lacks_the_program(&self) -> bool {
        self.code == MISSING
    }

    fn from_end(ended: &Finished) -> Self {
        let said = if ended.code == 0 { String::new() } else { ended.tail.clone() };
        Self { code: ended.code, said, ns: typical_ns(&ended.stdout) }
    }

    /// One that did not begin.
    fn not_begun(why: &str) -> Self {
        Self { code: 1, said: why.to_owned(), ns: None }
    }
}

impl PingPong<'_> {
    /// Waits for the other end.
    pub(super) fn serve(&self, host: &Host) -> Result<PingPongResult> {
        self.run(host, |cmd| host.run(&cmd))
    }

    /// Begins it with the other end.
    pub(super) fn begin_with(&self, host: &Host, machine: &str) -> Result<PingPongResult> {
        self.run(host, |cmd| loop_until_it_listens(host, &cmd.arg(machine), || false))
    }

    fn run(&self, host: &Host, start: impl FnOnce(Cmd) -> Result<Finished>) -> Result<PingPongResult> {
        let Some(port) = self.device.ports.iter().find(|port| port.number == self.port) else {
            return Ok(PingPongResult::not_begun("the port has gone"));
        };
        let Some(addressing) = addressing(host, self.device, port, Flag::Perftest) else {
            return Ok(PingPongResult::not_begun("the port has no address (GID) yet"));
        };
        let mut cmd = Cmd::new("timeout")
            .args([PATIENCE.to_string().as_str(), PROGRAM, "-d", &self.device.name, "-s", "2", "-n", "1000"])
            // A processor whose clock changes is no reason to give up.
            .arg("-F")
            .args(["-i".to_owned(), self.port.to_string(), "-p".to_owned(), self.tcp_port.to_string()])
            .args(addressing);
        // Older releases do not know the option.
        if self.key != 0 {
            cmd = cmd.arg(format!("--pkey_index={}", self.key));
        }
        Ok(PingPongResult::from_end(&start(cmd.captured())?))
    }
}

/// The median of the program's table. Its rows have sizes, numbers and times in microseconds; all else that it prints
/// begins with a word.
pub(in crate::verify) fn typical_ns(printed: &str) -> Option<u32> {
    let mut rows = printed.lines().rev().filter_map(|line| {
        let numbers: Option<Vec<f64>> = line.split_whitespace().map(|word| word.parse().ok()).collect();
        numbers.filter(|numbers| numbers.len() > TYPICAL)
    });
    let usec = *rows.next()?.get(TYPICAL)?;
    let ns = (usec * 1000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between the two bounds"
    )]
    (0.0..=f64::from(u32::MAX)).contains(&ns).then_some(ns as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::rdma;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    #[test]
    fn the_median_stands_in_the_last_row_of_numbers() {
        let table = " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]\n \
            2       1000          1.07           4.22         1.12     \t       1.13        \t0.05\t\t1.30\t4.22\n---\n";
        assert_eq!(typical_ns(table), Some(1120));
        assert_eq!(typical_ns("2 1000 1 2 nan\n"), None);
        assert_eq!(typical_ns("2 1000 1 2 -3\n"), None);
        assert_eq!(typical_ns("Failed status 12\n"), None);
    }

    /// A ping-pong over a port of InfiniBand whose program ended so, and how it was called.
    fn played(key: u32, code: i32, stdout: &str, tail: &str) -> (PingPongResult, String) {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        host.root.write_text("/sys/class/infiniband/mlx5_ib0/ports/1/link_layer", "InfiniBand").unwrap();
        let devices = rdma::devices(&host);
        let ping_pong = PingPong { device: &devices[0], port: 1, key, tcp_port: 18_515 };
        let mut called = String::new();
        let result = ping_pong.run(&host, |cmd| {
            called = format!("{cmd:?}");
            let [stdout, tail] = [stdout, tail].map(str::to_owned);
            let (command, name, output) = (String::new(), String::new(), String::new());
            Ok(Finished { command, name, code, stdout, output, tail, log: None })
        });
        (result.unwrap(), called)
    }

    #[test]
    fn a_ping_pong_asks_for_its_key_and_tells_the_time_or_the_last_words() {
        let (result, called) = played(3, 0, "2 1000 1.07 4.22 1.12 1.13\n", "");
        assert!(result.ok() && result.said.is_empty());
        assert_eq!(result.ns, Some(1120));
        for words in [r#""-d", "mlx5_ib0""#, r#""-i", "1", "-p", "18515""#, r#""--pkey_index=3""#] {
            assert!(called.contains(words), "{called}");
        }
        let (result, called) = played(0, 127, "", "timeout: no such program");
        assert!(result.lacks_the_program() && !result.ok());
        assert_eq!((result.ns, result.said.as_str()), (None, "timeout: no such program"));
        assert!(!called.contains("pkey"), "an older release does not know the option: {called}");
    }
}
