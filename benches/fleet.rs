//! Two hundred machines that boot at one moment, as 200 processes that pull one bundle over one wire: from Debian's
//! docker-registry, from nginx as a cache before it, and with each of them failing meanwhile. `make fleet` runs it and keeps
//! the table of `docs/fleet.md`. None may fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;
mod side_by_side;

use common::measured::{Crowd, Measured};
use common::nginx::Nginx;
use common::registry::Registry;
use common::relay::Relay;
use common::{bundles, scratch, wait};
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use ofedctl::settings::Settings;
use side_by_side::{median, ofedctl, time};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tempfile::TempDir;

const CLIENTS: u64 = 200;
/// Bytes a second over the wire for all clients together.
const CAP: u64 = 20 << 20;
/// The seconds within which the clients of a fleet begin (`pull_spread`).
const SPREAD: u64 = 10;
/// Files of a bundle, of 100,000 bytes each.
const FILES: usize = 18;

/// Registry, what stands before it, and the wire that the clients share.
struct Rig {
    folder: TempDir,
    registry: Registry,
    /// Between the registry and what stands before it: what leaves the origin.
    origin: Relay,
    front: Option<Nginx>,
    wire: Relay,
    cache: PathBuf,
    mirrors: Option<String>,
}

impl Rig {
    /// A registry behind nginx, which writes down every request; `more` is what else nginx does with them.
    fn new(http: &str, more: &str) -> Self {
        let folder = scratch();
        let cache = bundles::of_small_files(&folder.path().join("source"), FILES);
        let registry = Registry::open();
        time(ofedctl(["cache", "push", &registry.place("ib:v1"), "--cache"]).arg(&cache));
        let origin = Relay::to(&registry.host(), 0);
        let (log, kept) = (folder.path().join("requests"), folder.path().join("kept"));
        let http = http.replace("KEPT", &kept.display().to_string());
        let server = format!(
            "access_log {}; location / {{ {more} proxy_pass http://{}; proxy_set_header Host $http_host; }}",
            log.display(),
            origin.host()
        );
        let front = Nginx::serve_with(folder.path(), "", &http, &server);
        let wire = Relay::to(&format!("127.0.0.1:{}", front.port), CAP);
        Self { folder, registry, origin, front: Some(front), wire, cache, mirrors: None }
    }

    fn plain() -> Self {
        Self::new("", "")
    }

    /// With a cache in nginx that lets one request through for each file.
    fn caching() -> Self {
        Self::new(
            "proxy_cache_path KEPT keys_zone=bundles:10m;",
            "proxy_cache bundles; proxy_cache_valid 200 1h; proxy_cache_lock on; proxy_ignore_headers Set-Cookie;",
        )
    }

    fn place(&self) -> String {
        let host = if self.mirrors.is_some() { self.origin.host() } else { self.wire.host() };
        format!("oci://{host}/ib:v1")
    }

    fn requests(&self) -> usize {
        std::fs::read_to_string(self.folder.path().join("requests")).unwrap_or_default().lines().count()
    }

    /// Lets all clients pull, each into a folder of its own; `meanwhile` is called once, when 20 of them are done.
    fn pull(&mut self, what: &str, spread: u64, meanwhile: impl FnOnce(&mut Self)) -> Crowd {
        let before = (self.wire.bytes(), self.origin.bytes(), self.requests());
        let lacked = (0..CLIENTS).map(|number| self.lacked(number)).sum::<u64>() / CLIENTS;
        let (place, clients, mirrors) =
            (self.place(), self.folder.path().join("clients"), self.mirrors.clone());
        let (done, failed, times) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Vec::new()));
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for number in 0..CLIENTS {
                let (place, clients, mirrors) = (&place, &clients, &mirrors);
                let (done, failed, times) = (&done, &failed, &times);
                scope.spawn(move || {
                    wait_turn(number, spread, place);
                    if !pull(place, &clients.join(number.to_string()), mirrors.as_deref()) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    times.lock().unwrap().push(begun.elapsed().as_secs_f64());
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }
            wait::until("the first clients are done", || done.load(Ordering::Relaxed) >= CLIENTS / 10);
            meanwhile(self);
        });
        let times = times.into_inner().unwrap();
        let came =
            self.wire.bytes() - before.0 + if mirrors.is_some() { self.origin.bytes() - before.1 } else { 0 };
        #[allow(clippy::cast_precision_loss)]
        let requests_each = (self.requests() - before.2) as f64 / CLIENTS as f64;
        Crowd {
            what: what.to_owned(),
            clients: CLIENTS,
            failed: failed.into_inner(),
            bytes_each: came / CLIENTS,
            lacked_each: lacked,
            requests_each,
            origin_bytes: self.origin.bytes() - before.1,
            last_s: times.iter().copied().fold(0.0, f64::max),
            median_s: median(times),
        }
    }

    /// The bytes of the bundle that a client does not have yet.
    fn lacked(&self, number: u64) -> u64 {
        let blobs = |cache: &Path| common::image::blobs(cache);
        let has = blobs(&self.folder.path().join("clients").join(number.to_string()));
        blobs(&self.cache).iter().filter(|(name, _)| !has.contains_key(*name)).map(|(_, size)| size).sum()
    }

    /// A new bundle under the same name: one file more.
    fn publish_another(&self) {
        let host = Host::open(self.folder.path(), Events::silent(), Cancel::never()).unwrap();
        let cache = ofedctl::cache::Cache::open(&self.cache).unwrap();
        let mut writer = cache.writer(&host, std::time::Duration::ZERO).unwrap();
        let mut files = cache.bundles().unwrap().remove(0).files;
        files.extend(bundles::files_of(&mut writer, &[("new_1_amd64.deb", 100_000)]).pop());
        let now = std::time::SystemTime::now();
        writer.publish("bundle", &common::bundle_config(), now, files).unwrap();
        drop(writer);
        time(ofedctl(["cache", "push", &self.registry.place("ib:v1"), "--cache"]).arg(&self.cache));
    }
}

/// A client's own moment within the spread, as an unattended run finds it.
fn wait_turn(number: u64, spread: u64, place: &str) {
    let host = Host::open(Path::new("/"), Events::silent(), Cancel::never()).unwrap();
    let settings = Settings { pull_spread: spread, cache: place.to_owned(), ..Settings::default() };
    ofedctl::stage::wait_turn(&host, &settings, &format!("vm-{number}")).unwrap();
}

fn pull(place: &str, to: &Path, mirrors: Option<&str>) -> bool {
    let mut pull = ofedctl(["cache", "pull", place, "--quiet", "--set", "retries=10", "--cache"]);
    pull.arg(to);
    if let Some(mirrors) = mirrors {
        pull.args(["--set", mirrors]);
    }
    pull.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

fn main() -> ExitCode {
    let mut crowds = Vec::new();
    crowds.push(Rig::plain().pull("a registry, all at one moment", 0, |_| {}));
    let mut rig = Rig::plain();
    crowds.push(rig.pull("a registry, spread over 10 s", SPREAD, |_| {}));
    crowds.push(rig.pull("the same, second boot", SPREAD, |_| {}));
    rig.publish_another();
    crowds.push(rig.pull("the same, a new bundle with one new file", SPREAD, |_| {}));
    let mut rig = Rig::new("", "if ($request_id ~ \"^0\") { return 503; }");
    crowds.push(rig.pull("a registry, one answer in 16 is 503", SPREAD, |_| {}));
    let mut rig = Rig::plain();
    (0..CLIENTS).for_each(|number| rig.wire.break_after(number * 5000));
    crowds.push(rig.pull("a registry, 200 connections break", SPREAD, |_| {}));
    crowds.push(
        Rig::plain().pull("a registry that is restarted meanwhile", SPREAD, |rig| rig.registry.restart()),
    );
    crowds.push(Rig::caching().pull("nginx as a cache before it", SPREAD, |_| {}));
    let mut rig = Rig::caching();
    rig.mirrors = Some(format!("mirrors=['oci://{}/=oci://{}/']", rig.origin.host(), rig.wire.host()));
    crowds
        .push(rig.pull("that cache as a mirror, which goes away meanwhile", SPREAD, |rig| rig.front = None));

    let has_failed = crowds.iter().any(|crowd| crowd.failed > 0);
    for crowd in crowds {
        println!("{crowd:?}");
        if std::env::var_os("OFEDCTL_BENCH_DOCS").is_some() {
            Measured::change(|measured| measured.put_crowd(crowd));
        }
    }
    if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
