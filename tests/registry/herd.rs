//! Two hundred machines that boot at one moment.

use super::common::registry::Registry;
use super::common::relay::Relay;
use super::{Lab, host, noise};
use ofedctl::cache::Cache;
use ofedctl::outcome::Reason;
use ofedctl::settings::Settings;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: u64 = 200;
/// 20 MB/s for all together.
const CAP: u64 = 20 << 20;
const FILE: u32 = 200 << 10;

/// Lets every client pull into a folder of its own; returns the bytes they say were missing, and how long it took.
fn stampede(folder: &Path, place: &str) -> (u64, Duration) {
    let begin = Instant::now();
    let missing = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let missing = &missing;
            scope.spawn(move || {
                let host = host(Path::new("/"));
                let settings = Settings { pull_spread: 2, cache: place.to_owned(), ..Settings::default() };
                let settings = Settings {
                    cache_copy: folder.join(number.to_string()).display().to_string(),
                    ..settings
                };
                ofedctl::stage::wait_turn(&host, &settings, &format!("vm-{number}")).unwrap();
                let cache = Cache::open_or_create(Path::new(&settings.cache_copy)).unwrap();
                let mut writer = cache.writer(&host, Duration::ZERO).unwrap();
                let pulled = writer.pull(place, &settings);
                let pulled =
                    pulled.unwrap_or_else(|error| panic!("{}: {error:#}", Reason::from_error(&error)));
                missing.fetch_add(pulled.new_bytes, Ordering::Relaxed);
            });
        }
    });
    (missing.into_inner(), begin.elapsed())
}

#[test]
fn two_hundred_machines_move_only_what_they_miss_and_a_mirror_takes_the_load_off_the_registry() {
    let lab = Lab::with(&[("a_1_amd64.deb", noise(1, FILE))]);
    let registry = Registry::open();
    lab.push(&registry.place("ib:bundle"), &[]).json();
    let manifest =
        std::fs::metadata(lab.cache().join("blobs/sha256").join(lab.bundle.digest.hex())).unwrap().len();
    let each = lab.bundle.size_in_all - manifest;

    let wire = Relay::to(&registry.host(), CAP);
    let (missing, took) = stampede(&lab.path("direct"), &format!("oci://{}/ib:bundle", wire.host()));
    assert_eq!(missing, CLIENTS * each);
    // Beside the blobs there are manifests and the heads of answers, and nothing comes twice.
    let overhead = wire.bytes() - missing;
    assert!(overhead < CLIENTS * (manifest + 8000), "{overhead} bytes more than were missing");
    eprintln!(
        "direct: {CLIENTS} clients, {missing} bytes missing, {} over the wire in {} ms",
        wire.bytes(),
        took.as_millis()
    );

    let wire = Relay::to(&registry.host(), CAP);
    let mirror = Registry::mirror_of(&format!("http://{}", wire.host()));
    // The first machine fills it.
    lab.pull(&mirror.place("ib:bundle"), &lab.path("first"), &[]).json();
    let (missing, took) = stampede(&lab.path("mirrored"), &mirror.place("ib:bundle"));
    assert_eq!(missing, CLIENTS * each);
    eprintln!(
        "mirror: {CLIENTS} clients, {missing} bytes missing, {} over the registry's wire in {} ms",
        wire.bytes(),
        took.as_millis()
    );
    assert!(wire.bytes() < 4 * each + CLIENTS * 8000, "{} bytes left the registry", wire.bytes());
}
