//! The share that the cloud-init module has in a first boot from an image that is baked already: complete boots under
//! systemd-nspawn with the module, and the same without it, by systemd's own timestamps. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;
// The machine of the tests of the cloud-init module.
#[allow(dead_code, unreachable_pub)]
#[path = "../tests/cloud_init/machine.rs"]
mod machine;
mod side_by_side;

use common::measured::{Boot, Measured};
use common::{need, program};
use machine::Machine;
use side_by_side::{PAIRS, median};
use std::process::ExitCode;

const SUITE: &str = "trixie";
/// The milliseconds that a boot may take longer.
const AT_MOST: f64 = 150.0;
/// Notes when systemd began and when all units had started, and shuts the machine down.
const END: &str = "[Unit]\nAfter=multi-user.target cloud-final.service\n[Service]\nType=oneshot\n\
    ExecStart=sh -c 'systemctl show -P UserspaceTimestampMonotonic >/var/log/began; \
    systemctl show -P InactiveExitTimestampMonotonic end.service >/var/log/ended; systemctl exit 42'\n";

fn main() -> ExitCode {
    need::need_root();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for pair in 0..=PAIRS {
        let (a, b) = (boot(true), boot(false));
        if pair > 0 {
            with.push(a);
            without.push(b);
        }
    }
    let differences = with.iter().zip(&without).map(|(a, b)| a - b).collect();
    let boot = Boot {
        with_ms: median(with),
        without_ms: median(without),
        more_ms: median(differences),
        pairs: PAIRS,
    };
    let Boot { with_ms, without_ms, more_ms, .. } = boot;
    println!(
        "a first boot with the module: {with_ms:.0} ms, without: {without_ms:.0} ms, more: {more_ms:.0} ms of {AT_MOST}"
    );
    if std::env::var_os("OFEDCTL_BENCH_DOCS").is_some() {
        Measured::change(|measured| measured.first_boot = Some(boot));
    }
    if more_ms > AT_MOST { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Boots a fresh VM of a baked image once. Returns how many milliseconds systemd took.
fn boot(has_module: bool) -> f64 {
    let vm = if has_module { Machine::new(SUITE) } else { Machine::without_module(SUITE) };
    vm.put_cache(SUITE);
    let bake = ["bake", "--vm-size", "Standard_HB120rs_v3", "--offline", "--json", "--root", vm.path()];
    let cache = vm.root.path().join("var/cache/ofedctl").display().to_string();
    program::run(&[&bake[..], &["--cache", &cache]].concat()).expect(0, "installed");
    let ended = vm.boot_under_systemd(&[("end", END, "multi-user")]);
    assert_eq!(ended.status.code(), Some(42), "{}", machine::text(&ended));
    let stamp = |name: &str| vm.root.read(&format!("var/log/{name}")).trim().parse::<f64>().unwrap();
    (stamp("ended") - stamp("began")) / 1000.0
}
