//! Measures two pieces of work in turn: ours, and what a user would run instead. The ratio of the medians is what a budget
//! holds; the least and the largest ratio of one pair say how far it can be trusted.
//!
//! With `OFEDCTL_BENCH_DOCS` set, what was measured is kept in `docs/measured.json`, from which the tables of
//! `docs/performance.md` are made (tests/readme.rs).
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

pub mod programs;

use crate::common::measured::{Measured, Row};
use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The pairs that are measured, after one that warms the caches of both.
pub const PAIRS: usize = 9;

/// The name of what is measured, what it is compared with, and the ratio that it may have.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    pub what: &'static str,
    pub against: &'static str,
    pub at_most: f64,
}

/// What one program of `benches/` has measured.
#[derive(Debug, Default)]
pub struct Results {
    rows: Vec<Row>,
}

impl Results {
    /// Measures both in turn; each returns how long it took.
    pub fn compare(
        &mut self,
        budget: Budget,
        ours: impl FnMut() -> Duration,
        theirs: impl FnMut() -> Duration,
    ) {
        self.compare_often(PAIRS, budget, ours, theirs);
    }

    /// The same with another number of pairs, for what takes a moment only.
    pub fn compare_often(
        &mut self,
        pairs: usize,
        budget: Budget,
        mut ours: impl FnMut() -> Duration,
        mut theirs: impl FnMut() -> Duration,
    ) {
        let mut times = Vec::new();
        for pair in 0..=pairs {
            // Which one goes first alternates, so that neither always finds what the other has left in the caches.
            let (a, b) = if pair % 2 == 0 {
                let a = ours();
                (a, theirs())
            } else {
                let b = theirs();
                (ours(), b)
            };
            if pair > 0 {
                times.push((a.as_secs_f64(), b.as_secs_f64()));
            }
        }
        let a = median(times.iter().map(|it| it.0).collect());
        let b = median(times.iter().map(|it| it.1).collect());
        let ratios: Vec<f64> = times.iter().map(|(a, b)| a / b).collect();
        let row = Row {
            what: budget.what.to_owned(),
            against: budget.against.to_owned(),
            at_most: budget.at_most,
            ratio: a / b,
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            largest: ratios.iter().copied().fold(0.0, f64::max),
            ours_ms: a * 1000.0,
            theirs_ms: b * 1000.0,
            pairs: times.len(),
        };
        println!("{row}");
        self.rows.push(row);
    }

    /// Keeps the rows where that was asked for. Fails where one is over its budget.
    pub fn finish(self) -> ExitCode {
        let is_over = self.rows.iter().any(|row| row.ratio > row.at_most);
        if std::env::var_os("OFEDCTL_BENCH_DOCS").is_some() {
            Measured::change(|measured| self.rows.into_iter().for_each(|row| measured.put_row(row)));
        }
        if is_over { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// How long a program runs, which must end well.
pub fn time(command: &mut Command) -> Duration {
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let took = begun.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    took
}

/// The program that is measured: the file to ship, where `OFEDCTL_PROGRAM` names it, as `make bench` does.
pub fn program() -> OsString {
    std::env::var_os("OFEDCTL_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_ofedctl").into())
}

/// It, with these arguments.
pub fn ofedctl<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program());
    command.args(args);
    command
}

/// How long a function runs.
pub fn time_of(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
