//! Packs the texts that the program carries, which would otherwise be some 200 KB of it.

use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::io::Write;
use std::path::Path;
use std::{env, fs, io};

/// The texts by their paths in this folder; each is packed into a file of its own name.
const TEXTS: [&str; 12] = [
    "docs/schema/cache-list.schema.json",
    "docs/schema/detect.schema.json",
    "docs/schema/envelope.schema.json",
    "docs/schema/outcome.schema.json",
    "docs/schema/plan.schema.json",
    "docs/schema/receipt.schema.json",
    "docs/schema/report.schema.json",
    "docs/schema/run.schema.json",
    "docs/schema/settings-list.schema.json",
    "docs/schema/settings.schema.json",
    "docs/schema/status.schema.json",
    "src/catalog/catalog.yaml",
];

fn main() -> io::Result<()> {
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo names no OUT_DIR"))?;
    println!("cargo::rerun-if-changed=build.rs");
    for text in TEXTS {
        println!("cargo::rerun-if-changed={text}");
        let name = Path::new(text).file_name().unwrap_or_default();
        let file = fs::File::create(Path::new(&out).join(name))?;
        let mut encoder = DeflateEncoder::new(file, Compression::best());
        encoder.write_all(&fs::read(text)?)?;
        encoder.finish()?;
    }
    Ok(())
}
