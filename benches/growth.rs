//! What costs grow with: each command against the size of what it works on, with the slope of the plot (1 is linear). Nothing
//! may grow faster. `make bench-plots` draws them into `docs/plots`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;
mod side_by_side;

use common::bundles;
use common::measured::{Growth, Measured};
use ofedctl::cache::Cache;
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use plotters::prelude::{
    BLACK, BLUE, ChartBuilder, Circle, IntoDrawingArea, IntoLogRange, LineSeries, SVGBackend, WHITE,
};
use side_by_side::{median, ofedctl, time};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

/// What measures more than linear: the noise of small times is in it.
const STEEPEST: f64 = 1.1;
const RUNS: usize = 5;
const HOST: &str = "tests/fixtures/hosts/hb120rs_v3-ubuntu20.04";
const MIB: u64 = 1 << 20;

fn main() -> ExitCode {
    let found = [
        bundle_bytes(),
        memory(),
        bundle_files(),
        targets(),
        functions(),
        catalogue(),
        packages(),
        past_runs(),
    ];
    let mut is_steep = false;
    for growth in found {
        println!("{} against {}: slope {:.2}, {:?}", growth.cost, growth.size, growth.slope(), growth.points);
        is_steep |= growth.slope() > STEEPEST;
        if std::env::var_os("OFEDCTL_BENCH_DOCS").is_some() {
            draw(&growth);
            Measured::change(|measured| measured.put_growth(growth));
        }
    }
    if is_steep { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The median time of a command, in milliseconds.
fn ms(command: impl Fn() -> Command) -> f64 {
    time(&mut command());
    median((0..RUNS).map(|_| time(&mut command()).as_secs_f64() * 1000.0).collect())
}

fn grow(name: &str, size: &str, cost: &str, sizes: &[u64], mut cost_of: impl FnMut(u64) -> f64) -> Growth {
    #[allow(clippy::cast_precision_loss)]
    let points = sizes.iter().map(|size| (*size as f64, cost_of(*size))).collect();
    Growth { name: name.to_owned(), size: size.to_owned(), cost: cost.to_owned(), points }
}

fn verify(cache: &Path) -> Command {
    let mut command = ofedctl(["cache", "verify", "--cache"]);
    command.arg(cache);
    command
}

fn bundle_bytes() -> Growth {
    grow("bundle-size", "MB in a bundle", "ms of `cache verify`", &[10, 100, 1000, 4000], |mib| {
        let folder = common::scratch();
        let cache = bundles::cache_of(folder.path(), &[("ofed_1_amd64.deb", mib * MIB)]);
        ms(|| verify(&cache))
    })
}

fn memory() -> Growth {
    grow(
        "memory",
        "MB in a bundle",
        "MiB of memory at the peak of `cache export`",
        &[10, 100, 1000, 4000],
        |mib| {
            let folder = common::scratch();
            let cache = bundles::cache_of(folder.path(), &[("ofed_1_amd64.deb", mib * MIB)]);
            let out = folder.path().join("bundle.tar").display().to_string();
            peak(&["cache", "export", "--out", &out, "--cache", cache.to_str().unwrap()])
        },
    )
}

/// The peak of a run's memory in MiB, as the kernel counts it for a child that has ended.
fn peak(args: &[&str]) -> f64 {
    let script = "import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, code, used = os.wait4(child.pid, 0)
print(used.ru_maxrss if code == 0 else 'failed')";
    let measure =
        Command::new("python3").args(["-c", script]).arg(side_by_side::program()).args(args).output();
    let kib: f64 = String::from_utf8(measure.unwrap().stdout).unwrap().trim().parse().unwrap();
    kib / 1024.0
}

fn bundle_files() -> Growth {
    grow("bundle-files", "packages in a bundle", "ms of `cache verify`", &[10, 30, 100, 300, 1000], |count| {
        let folder = common::scratch();
        let cache = bundles::of_small_files(folder.path(), usize::try_from(count).unwrap());
        ms(|| verify(&cache))
    })
}

fn targets() -> Growth {
    grow("targets", "targets in one cache", "ms of `cache list`", &[1, 10, 50, 200], |count| {
        let folder = common::scratch();
        let path = folder.path().join("cache");
        let host = Host::open(folder.path(), Events::silent(), Cancel::never()).unwrap();
        let cache = Cache::open_or_create(&path).unwrap();
        let mut writer = cache.writer(&host, Duration::ZERO).unwrap();
        for number in 0..count {
            let name = format!("package{number}_1_amd64.deb");
            let files = bundles::files_of(&mut writer, &[(&name, 10_000)]);
            let mut config = common::bundle_config();
            config.kernels = vec![format!("6.1.0-{number}-amd64")];
            writer.publish(&format!("bundle{number}"), &config, SystemTime::UNIX_EPOCH, files).unwrap();
        }
        ms(|| {
            let mut list = ofedctl(["cache", "list", "--cache"]);
            list.arg(&path);
            list
        })
    })
}

/// A copy of the tree of a real VM, with more of the same.
fn vm(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join(HOST);
    assert!(Command::new("cp").arg("-a").arg(host).arg(&root).status().unwrap().success());
    root
}

fn detect(root: &Path) -> Command {
    let mut command = ofedctl(["detect", "--root"]);
    command.arg(root);
    command
}

fn functions() -> Growth {
    grow("functions", "PCI functions", "ms of `detect`", &[1, 4, 16, 64, 256], |count| {
        let folder = common::scratch();
        let root = vm(folder.path());
        let devices = root.join("sys/bus/pci/devices");
        for number in 1..count {
            let to = devices.join(format!("{:04x}:00:00.0", 0x101 + number));
            let copied = Command::new("cp").arg("-a").arg(devices.join("0101:00:00.0")).arg(to).status();
            assert!(copied.unwrap().success());
        }
        ms(|| detect(&root))
    })
}

fn packages() -> Growth {
    grow("packages", "packages in dpkg's database", "ms of `detect`", &[100, 300, 1000, 3000], |count| {
        let folder = common::scratch();
        let root = vm(folder.path());
        let mut status = String::new();
        for number in 0..count {
            let _ = write!(
                status,
                "Package: package{number}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\
                 Description: one of many\n\n"
            );
        }
        fs::create_dir_all(root.join("var/lib/dpkg")).unwrap();
        fs::write(root.join("var/lib/dpkg/status"), status).unwrap();
        ms(|| detect(&root))
    })
}

fn catalogue() -> Growth {
    grow("catalogue", "rows of a catalogue", "ms of `plan`", &[200, 2000, 20_000], |count| {
        let folder = common::scratch();
        let mut text = ofedctl::catalog::EMBEDDED.split_once("\ninbox:").unwrap().0.to_owned();
        let inbox = ofedctl::catalog::EMBEDDED.split_once("\ninbox:").unwrap().1;
        for number in 0..count {
            let _ = write!(
                text,
                "\n  - {{driver: mlnx_ofed, version: 5.8-{number}.0.0.0, line: 5.8-lts, distro: ubuntu18.04, arch: x86_64, \
                 url: \"https://example.com/MLNX_OFED_LINUX-5.8-{number}.0.0.0-ubuntu18.04-x86_64.tgz\"}}"
            );
        }
        let file = folder.path().join("catalog.yaml");
        fs::write(&file, format!("{text}\ninbox:{inbox}")).unwrap();
        ms(|| {
            let mut plan = ofedctl(["plan", "--distro", "ubuntu22.04", "--nic", "cx6", "--catalog"]);
            plan.arg(&file);
            plan
        })
    })
}

fn past_runs() -> Growth {
    grow("past-runs", "MB of log of past runs", "ms of `detect`", &[1, 10, 100], |mib| {
        let folder = common::scratch();
        let root = vm(folder.path());
        let log = root.join(ofedctl::host::LOG_FILE.trim_start_matches('/'));
        fs::create_dir_all(log.parent().unwrap()).unwrap();
        let line = "2026-11-20T10:11:12Z INFO  install: ten packages of some length, to fill a log that grew for years\n";
        let lines = usize::try_from(mib * MIB).unwrap() / line.len();
        fs::write(log, line.repeat(lines)).unwrap();
        ms(|| detect(&root))
    })
}

/// Draws the points with both axes logarithmic, so that what is linear is a straight line of slope 1.
fn draw(growth: &Growth) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plots");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{}.svg", growth.name));
    let area = SVGBackend::new(&file, (640, 400)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let range = |of: fn(&(f64, f64)) -> f64| {
        let values = growth.points.iter().map(of);
        (values.clone().fold(f64::INFINITY, f64::min) / 1.5)..(values.fold(0.0, f64::max) * 1.5)
    };
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(range(|it| it.0).log_scale(), range(|it| it.1).log_scale())
        .unwrap();
    let title = format!("{} (slope {:.2})", growth.size, growth.slope());
    chart
        .configure_mesh()
        .x_desc(title)
        .y_desc(growth.cost.replace('`', ""))
        .axis_style(BLACK)
        .draw()
        .unwrap();
    chart.draw_series(LineSeries::new(growth.points.iter().copied(), BLUE)).unwrap();
    chart.draw_series(growth.points.iter().map(|point| Circle::new(*point, 3, BLUE))).unwrap();
    area.present().unwrap();
}
