//! Downloads from a server that imitates every failure of a network: in each case the file is complete or the run ends
//! with a specific reason, and a partial file is never used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod mirrors;
mod resume;
mod tls;

use common::web::Web;
use ofedctl::cache::{Blob, Cache, Digest};
use ofedctl::events::{Event, Events, What};
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use ofedctl::host::download::Stream;
use ofedctl::host::http::{Client, NetworkOptions};
use ofedctl::outcome::Reason;
use ofedctl::settings::Settings;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A file on a server, and a cache for it.
struct Lab {
    dir: tempfile::TempDir,
    web: Web,
    bytes: Vec<u8>,
    digest: Digest,
    settings: Settings,
    cancel: Cancel,
    said: Arc<Mutex<Vec<String>>>,
}

impl Lab {
    /// A file of some hundred kilobytes, a server that may fail twice in a row, and little patience with it.
    fn new() -> Self {
        let dir = common::scratch();
        let bytes: Vec<u8> =
            (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        std::fs::create_dir(dir.path().join("www")).unwrap();
        std::fs::write(dir.path().join("www/driver.tgz"), &bytes).unwrap();
        let settings = Settings { retries: 2, stall_timeout: 1, ..Settings::default() };
        Self {
            web: Web::serve(&dir.path().join("www")),
            digest: Digest::of_bytes(&bytes),
            dir,
            bytes,
            settings,
            cancel: Cancel::never().within(Duration::from_secs(60)),
            said: Arc::default(),
        }
    }

    fn url(&self) -> String {
        format!("{}/driver.tgz", self.web.address())
    }

    fn fetch(&self) -> Result<Blob, (Reason, String)> {
        self.fetch_from(&self.url())
    }

    /// One run of the program, as far as downloads go.
    fn fetch_from(&self, url: &str) -> Result<Blob, (Reason, String)> {
        let said = Arc::clone(&self.said);
        let events = Events::to(Box::new(move |event: &Event| {
            if let What::Message(_, text) = &event.what {
                said.lock().unwrap().push(text.clone());
            }
        }));
        let host = Host::open(self.dir.path(), events, self.cancel.clone()).unwrap();
        let cache = Cache::open_or_create(&self.dir.path().join("cache")).unwrap();
        let writer = cache.writer(&host, Duration::ZERO).unwrap();
        let way = NetworkOptions::from_settings(&self.settings);
        let got = Client::new(way).and_then(|client| {
            let stream = Stream::new(&host, &client, way, url, Some(self.bytes.len() as u64))?;
            writer.download(stream, &self.digest, |_| {})
        });
        got.map_err(|error| (Reason::from_error(&error), format!("{error:#}")))
    }

    /// Fails unless the blob in the cache is the file on the server, and nothing else is there.
    #[track_caller]
    fn assert_whole(&self) {
        assert_eq!(self.names(), [self.digest.hex()]);
        assert!(std::fs::read(self.blobs().join(self.digest.hex())).unwrap() == self.bytes);
    }

    /// Fails if anything there could be taken for a blob. What is kept for the next run must be right as far as it goes.
    #[track_caller]
    fn assert_nothing_usable(&self) {
        let blob = self.digest.hex();
        let kept = [format!("{blob}.partial"), format!("{blob}.partial-from")];
        assert!(self.names().iter().all(|name| kept.contains(name)), "{:?}", self.names());
        let partial = std::fs::read(self.blobs().join(&kept[0])).unwrap_or_default();
        assert!(self.bytes.starts_with(&partial));
    }

    fn blobs(&self) -> PathBuf {
        self.dir.path().join("cache/blobs/sha256")
    }

    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.blobs()).unwrap();
        let mut names: Vec<_> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
