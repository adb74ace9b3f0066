//! Imports bundles from an archive at an address. If the server supports range requests, only missing blobs are read,
//! and the next run resumes a large blob whose download broke off.

use crate::amounts::{count, size};
use crate::cache::download::{Source, Wanted};
use crate::cache::import::{Imported, Incoming};
use crate::cache::progress_io::Pass;
use crate::cache::write::Writer;
use crate::host::download::Stream;
use crate::host::http::{Client, NetworkOptions, without_secrets};
use crate::host::registry::may_be_plain;
use crate::outcome::{Reason, WithReason};
use crate::settings::Settings;
use anyhow::{Context, Result};

impl Writer<'_> {
    /// Imports the bundles of an archive that `cache export` wrote, from its address or a mirror of it.
    pub fn import_from(&mut self, address: &str, settings: &Settings) -> Result<Imported> {
        let doing = || format!("cannot import `{}`", without_secrets(address));
        refuse_open(address, settings)?;
        let way = NetworkOptions::from_settings(settings);
        let client = Client::new(way)?;
        let mut stream = Stream::new(self.host, &client, way, address, None)?;
        if !stream.is_seekable().with_context(doing)? {
            let total = stream.total().unwrap_or(0);
            return self.import_stream(stream, total).with_context(doing);
        }
        let total = stream.total().unwrap_or(0);
        self.import_parts(way, address, stream, total).with_context(doing)
    }

    fn import_parts(
        &mut self,
        way: NetworkOptions,
        address: &str,
        stream: Stream,
        total: u64,
    ) -> Result<Imported> {
        let pass = Pass::begin(self.host, "reading the archive", total);
        let mut incoming = Incoming::of_parts();
        let mut tar = tar::Archive::new(stream);
        let broken = || "it is not a whole tar archive".to_owned();
        for member in tar.entries_with_seek().with_reason(Reason::CacheUnreadable, broken)?.raw(true) {
            let mut member = member.with_reason(Reason::CacheUnreadable, broken)?;
            self.take_member(&mut member, &pass, &mut incoming)?;
        }
        let later = incoming.later.take().unwrap_or_default();
        if !later.is_empty() {
            let bytes: u64 = crate::cache::total(later.iter().map(|blob| blob.size));
            self.host.events.info(format!("downloading {}, {}", count(later.len(), "file"), size(bytes)));
        }
        incoming.new_blobs += later.len();
        let wanted = later.into_iter().map(|blob| Wanted {
            digest: blob.digest,
            size: blob.size,
            title: blob.digest.to_string(),
            source: Source::Inside(address.to_owned(), blob.from),
        });
        self.download_all(way, wanted.collect())?;
        self.merge_incoming(incoming)
    }
}

/// Refuses plain HTTP: an archive does not prove its origin, so without TLS it could be replaced on the network.
fn refuse_open(address: &str, settings: &Settings) -> Result<()> {
    let Some(rest) = address.strip_prefix("http://") else { return Ok(()) };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    if may_be_plain(host, &settings.plain_http) || settings.public_key.is_some() {
        return Ok(());
    }
    Err(Reason::BadSettings.error(format!(
        "`{}` has no TLS: write https, list `{host}` in `plain_http`, or set `public_key`",
        without_secrets(address)
    )))
}
