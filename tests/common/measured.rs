//! What the programs in `benches/` have measured, as `docs/measured.json` keeps it, and the tables made of it.

use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The machines for which a crowd's figures are computed.
const FLEET: u64 = 10_000;

/// Measured on one machine.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// The processors, memory and load of the machine.
    pub machine: String,
    /// Each budget that was measured.
    pub rows: Vec<Row>,
    /// Where the time of commands goes.
    #[serde(default)]
    pub profiles: Vec<Profile>,
    /// Each cost against a size.
    pub growth: Vec<Growth>,
    /// Each crowd of machines that boot at one moment.
    pub fleet: Vec<Crowd>,
    /// The share of the cloud-init module in a boot.
    pub first_boot: Option<Boot>,
    /// What a bake that finds everything in place does.
    pub already_right: Option<Calls>,
}

/// What a run does, counted by strace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Calls {
    pub children: usize,
    pub connections: usize,
    pub opened: usize,
    pub syncs: usize,
}

/// Complete boots from a baked image, with the cloud-init module and without it, in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Boot {
    pub with_ms: f64,
    pub without_ms: f64,
    /// The median of the differences.
    pub more_ms: f64,
    pub pairs: usize,
}

/// Times of two pieces of work in turn.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub what: String,
    pub against: String,
    /// The budget of the ratio.
    pub at_most: f64,
    /// The ratio of the medians.
    pub ratio: f64,
    /// The least and the largest ratio of one pair.
    pub least: f64,
    pub largest: f64,
    /// The medians, in milliseconds.
    pub ours_ms: f64,
    pub theirs_ms: f64,
    pub pairs: usize,
}

/// How much of a command's time a package manager was at work, under strace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Profile {
    pub what: String,
    pub whole_ms: f64,
    pub managers_ms: f64,
}

/// A cost against a size.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Growth {
    /// The name of the plot's file, without its end.
    pub name: String,
    /// What grows, with its unit: `MB in a bundle`.
    pub size: String,
    /// What it costs, with its unit: `ms of cache verify`.
    pub cost: String,
    pub points: Vec<(f64, f64)>,
}

/// Machines that boot at one moment, by what they pull from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Crowd {
    pub what: String,
    pub clients: u64,
    pub failed: u64,
    /// Bytes that each received, and how many of them were in what it lacked.
    pub bytes_each: u64,
    pub lacked_each: u64,
    pub requests_each: f64,
    /// Bytes that left the registry at the origin.
    pub origin_bytes: u64,
    pub median_s: f64,
    pub last_s: f64,
}

impl std::fmt::Display for Row {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, against, at_most, ratio, least, largest, .. } = self;
        let (ours, theirs) = (self.ours_ms, self.theirs_ms);
        let judged = if ratio <= at_most { "kept" } else { "MISSED" };
        write!(
            to,
            "{what}: {ours:.1} ms, {against}: {theirs:.1} ms, ratio {ratio:.2} ({least:.2} to {largest:.2}), budget \
             {at_most:.2}: {judged}"
        )
    }
}

impl Growth {
    /// The slope in a plot whose axes are both logarithmic: 1 is linear, 0 is a cost that does not grow. By least squares.
    pub fn slope(&self) -> f64 {
        let logs: Vec<(f64, f64)> = self.points.iter().map(|(x, y)| (x.ln(), y.max(1e-9).ln())).collect();
        #[allow(clippy::cast_precision_loss)]
        let count = logs.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|it| it.0), mean(|it| it.1));
        let above: f64 = logs.iter().map(|it| (it.0 - x) * (it.1 - y)).sum();
        above / logs.iter().map(|it| (it.0 - x).powi(2)).sum::<f64>()
    }
}

impl Measured {
    fn file() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/measured.json")
    }

    /// What was kept; nothing where the file is missing.
    pub fn load() -> Self {
        let text = std::fs::read_to_string(Self::file()).unwrap_or_default();
        if text.is_empty() { Self::default() } else { serde_json::from_str(&text).unwrap() }
    }

    /// Changes what is kept.
    pub fn change(change: impl FnOnce(&mut Self)) {
        let mut measured = Self::load();
        measured.machine = machine();
        change(&mut measured);
        let text = serde_json::to_string_pretty(&measured).unwrap();
        std::fs::write(Self::file(), text + "\n").unwrap();
    }

    pub fn put_row(&mut self, row: Row) {
        put(&mut self.rows, row, |row| &row.what);
    }

    pub fn put_profile(&mut self, profile: Profile) {
        put(&mut self.profiles, profile, |profile| &profile.what);
    }

    pub fn put_growth(&mut self, growth: Growth) {
        put(&mut self.growth, growth, |growth| &growth.name);
    }

    pub fn put_crowd(&mut self, crowd: Crowd) {
        put(&mut self.fleet, crowd, |crowd| &crowd.what);
    }

    /// The table of budgets.
    pub fn budgets(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut table = format!("Measured on {}.\n\n", self.machine);
        table += "| what | compared with | at most | ratio | of single pairs | `ofedctl` | the other |\n";
        table += "|---|---|---|---|---|---|---|\n";
        for row in &self.rows {
            let Row { what, against, at_most, ratio, least, largest, .. } = row;
            let (ours, theirs) = (time(row.ours_ms), time(row.theirs_ms));
            let _ = writeln!(
                table,
                "| {what} | {against} | {at_most:.2} | {ratio:.2} | {least:.2} to {largest:.2} | {ours} | {theirs} |"
            );
        }
        if let Some(Calls { children, connections, opened, syncs }) = &self.already_right {
            let _ = writeln!(
                table,
                "\nThe bake that is already right opens {opened} files, of 60 at most, and syncs {syncs} times; it starts \
                 {children} programs and makes {connections} connections, as strace counts them."
            );
        }
        if let Some(boot) = &self.first_boot {
            let Boot { with_ms, without_ms, more_ms, pairs } = boot;
            let _ = writeln!(
                table,
                "\nA first boot from a baked image takes {} with the cloud-init module and {} without it, under systemd-nspawn: \
                 {more_ms:.0} ms more, by the median of {pairs} pairs, of 150 ms at most.",
                time(*with_ms),
                time(*without_ms)
            );
        }
        for Profile { what, whole_ms, managers_ms } in &self.profiles {
            let _ = writeln!(
                table,
                "\n{what} takes {} under strace, and package managers are at work for {} of that: {:.0} % of its time is this \
                 program's own.",
                time(*whole_ms),
                time(*managers_ms),
                100.0 * (whole_ms - managers_ms) / whole_ms
            );
        }
        table
    }

    /// The table of what grows with what, and the plots.
    pub fn growths(&self) -> String {
        if self.growth.is_empty() {
            return String::new();
        }
        let mut table =
            "| what grows | cost | smallest | largest | slope | plot |\n|---|---|---|---|---|---|\n"
                .to_owned();
        for growth in &self.growth {
            let (Some(first), Some(last)) = (growth.points.first(), growth.points.last()) else { continue };
            let at = |point: &(f64, f64)| format!("{:.1} at {}", point.1, point.0);
            let _ = writeln!(
                table,
                "| {} | {} | {} | {} | {:.2} | [plot](plots/{}.svg) |",
                growth.size,
                growth.cost,
                at(first),
                at(last),
                growth.slope(),
                growth.name
            );
        }
        table
    }

    /// The table of crowds.
    pub fn crowds(&self) -> String {
        if self.fleet.is_empty() {
            return String::new();
        }
        let mut table =
            "| pulled from | clients | failed | received by each | of which lacked | requests by each | \
            left the registry | median | last | 10,000 receive |\n|---|---|---|---|---|---|---|---|---|---|\n"
                .to_owned();
        for it in &self.fleet {
            let _ = writeln!(
                table,
                "| {} | {} | {} | {} | {} | {:.1} | {} | {:.1} s | {:.1} s | {:.1} GB |",
                it.what,
                it.clients,
                it.failed,
                kilobytes(it.bytes_each),
                kilobytes(it.lacked_each),
                it.requests_each,
                kilobytes(it.origin_bytes),
                it.median_s,
                it.last_s,
                gigabytes(it.bytes_each * FLEET)
            );
        }
        table
    }
}

/// Puts what was measured in the place of what was measured of the same name before.
fn put<T>(list: &mut Vec<T>, new: T, name: fn(&T) -> &str) {
    match list.iter_mut().find(|it| name(it) == name(&new)) {
        Some(old) => *old = new,
        None => list.push(new),
    }
}

fn time(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.1} ms") } else { format!("{:.2} s", ms / 1000.0) }
}

#[allow(clippy::cast_precision_loss)]
fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

fn kilobytes(bytes: u64) -> String {
    format!("{} kB", bytes / 1000)
}

/// The processors and memory of this machine, and how much work it has beside.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|it| it.1));
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().split(' ').next()?.parse().ok())
        .unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{cores} cores of {}, {} GiB of memory, at a load of {}",
        model.unwrap_or("an unnamed processor"),
        kib >> 20,
        load.split(' ').next().unwrap_or_default()
    )
}
