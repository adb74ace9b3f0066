//! How long each command takes until its first line is on the screen, by the median of some runs. The screen is a terminal of
//! `script` (Debian: bsdutils), as a person has one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;
mod side_by_side;

use side_by_side::{PAIRS, median};
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const BUDGET: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let mut is_over = false;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=12\n").unwrap();
    let root = root.display();
    for args in [
        "--help".to_owned(),
        format!("detect --root {root}"),
        format!("plan --root {root} --vm-size Standard_HB120rs_v3"),
        format!(
            "stage --root {root} --vm-size Standard_HB120rs_v3 --cache {}/cache",
            folder.path().display()
        ),
        format!("bake --root {root} --vm-size Standard_HB120rs_v3 --offline"),
        format!("verify --root {root}"),
        format!("status --root {root}"),
        format!("settings --root {root}"),
        format!("support-bundle --root {root} --out /dev/null"),
        "catalog list".to_owned(),
        "explain".to_owned(),
        "completions bash".to_owned(),
        "man".to_owned(),
    ] {
        let times = (0..PAIRS).map(|_| first_line(&args).as_secs_f64()).collect();
        let median = Duration::from_secs_f64(median(times));
        let said = if median <= BUDGET { "kept" } else { "MISSED" };
        is_over |= median > BUDGET;
        let verb = args.split(" --root").next().unwrap_or_default();
        println!("first line of {verb}: {} ms, budget {} ms: {said}", median.as_millis(), BUDGET.as_millis());
    }
    if is_over { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The time until a command has written its first byte, the start of `script` included.
fn first_line(args: &str) -> Duration {
    let line = format!("{} {args}", side_by_side::program().display());
    let begin = Instant::now();
    let mut script = Command::new("script");
    script.args(["--quiet", "--flush", "--command", &line, "/dev/null"]);
    let mut child = script.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = child.stdout.take().unwrap();
    let mut byte = [0];
    shown.read_exact(&mut byte).unwrap();
    let took = begin.elapsed();
    std::io::copy(&mut shown, &mut std::io::sink()).unwrap();
    child.wait().unwrap();
    took
}
