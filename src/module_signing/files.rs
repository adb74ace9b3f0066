//! Modules as files of a root, compressed or not. A signature belongs to the module and not to its compressed form, so
//! what is compressed is signed before compression (kmod, `libkmod-signature.c`; openzfs/zfs issue 14698).

use super::appended::{self, Hash};
use super::{Certificate, Named, Signer};
use crate::host::Host;
use crate::host::run::Cmd;
use crate::host::sandbox::{SCRATCH, Sandbox};
use crate::host::temp::Folder;
use crate::outcome::{Cause, Reason};
use anyhow::{Context, Result};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::io::{Read, Write};

/// The largest module that is unpacked. The largest of the vendor's has some megabytes.
const MAX_BYTES: u64 = 256 << 20;

/// By whom modules are to be signed, and the key where it is here.
#[derive(Debug)]
pub struct Signing<'a> {
    /// The certificate.
    pub certificate: &'a Certificate,
    /// The key.
    pub signer: Option<&'a Signer>,
}

impl<'a> Signing<'a> {
    /// What the settings name, else the certificate that the plan has.
    pub fn new(planned: &'a Certificate, named: &'a Named) -> Self {
        let signer = named.signer().filter(|signer| signer.certificate() == planned);
        Self { certificate: planned, signer }
    }
}

/// How a module is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compressed {
    No,
    Gzip,
    Xz,
    Zstd,
}

impl Compressed {
    fn from_path(path: &str) -> Option<Self> {
        let kinds =
            [(".ko", Self::No), (".ko.gz", Self::Gzip), (".ko.xz", Self::Xz), (".ko.zst", Self::Zstd)];
        kinds.into_iter().find(|(ending, _)| path.ends_with(ending)).map(|(_, kind)| kind)
    }
}

/// Signs modules for a kernel, unless they are signed by this key already. Returns how many were signed.
pub fn sign(host: &Host, signing: &Signing, kernel: &str, paths: &[String]) -> Result<usize> {
    let mut signed = 0;
    for path in paths {
        let Some(kind) = Compressed::from_path(path) else { continue };
        let Some(bytes) = host.root.read(path)? else { continue };
        let module = unpacked(host, kind, bytes)?;
        if appended::is_signed_by(&module, signing.certificate) {
            continue;
        }
        let Some(by) = signing.signer else {
            let what = format!(
                "`{path}` has to be signed by {}, and its key is not here",
                signing.certificate.subject()
            );
            return Err(Cause::SigningKeyMissing.error(what));
        };
        let module = by.signed(&module, hash(host, kernel)?)?;
        if !appended::is_signed_by(&module, signing.certificate) {
            return Err(Reason::Internal.error(format!("the signature of `{path}` does not verify")));
        }
        host.root.rewrite(path, packed(host, kind, module)?)?;
        signed += 1;
    }
    Ok(signed)
}

/// Those of the modules that this certificate's key did not sign.
pub fn unsigned(host: &Host, certificate: &Certificate, paths: &[String]) -> Result<Vec<String>> {
    let mut unsigned = Vec::new();
    for path in paths {
        let Some(kind) = Compressed::from_path(path) else { continue };
        let Some(bytes) = host.root.read(path)? else { continue };
        if !appended::is_signed_by(&unpacked(host, kind, bytes)?, certificate) {
            unsigned.push(path.clone());
        }
    }
    Ok(unsigned)
}

/// The digest for a kernel, by its own configuration.
fn hash(host: &Host, kernel: &str) -> Result<Hash> {
    let places = [
        format!("/boot/config-{kernel}"),
        format!("/lib/modules/{kernel}/config"),
        format!("/lib/modules/{kernel}/build/.config"),
    ];
    for place in places {
        if let Some(config) = host.root.read_text(&place)? {
            return Ok(Hash::of_config(&config));
        }
    }
    Ok(Hash::of_config(""))
}

fn unpacked(host: &Host, kind: Compressed, bytes: Vec<u8>) -> Result<Vec<u8>> {
    match kind {
        Compressed::No => Ok(bytes),
        Compressed::Gzip => {
            let mut module = Vec::new();
            let unpacked = GzDecoder::new(&bytes[..]).take(MAX_BYTES).read_to_end(&mut module);
            unpacked.context("a module that is compressed by gzip cannot be unpacked")?;
            Ok(module)
        }
        Compressed::Xz => filtered(host, "xz", &["-d"], ("module.xz", bytes), "module"),
        Compressed::Zstd => filtered(host, "zstd", &["-q", "-d", "--rm"], ("module.zst", bytes), "module"),
    }
}

/// With the options of the kernel's own `make modules_install` (`scripts/Makefile.modinst`). A kernel that unpacks
/// modules itself takes no CRC64 and no large window (dkms-project/dkms issues 386 and 518).
fn packed(host: &Host, kind: Compressed, module: Vec<u8>) -> Result<Vec<u8>> {
    match kind {
        Compressed::No => Ok(module),
        Compressed::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&module).and_then(|()| encoder.finish()).context("cannot compress a module")
        }
        Compressed::Xz => {
            let options = ["--check=crc32", "--lzma2=dict=1MiB"];
            filtered(host, "xz", &options, ("module", module), "module.xz")
        }
        Compressed::Zstd => filtered(host, "zstd", &["-q", "--rm"], ("module", module), "module.zst"),
    }
}

/// Runs the root's own compressor, which compressed the module before, on a file of its own.
fn filtered(
    host: &Host,
    program: &str,
    options: &[&str],
    (from, bytes): (&str, Vec<u8>),
    to: &str,
) -> Result<Vec<u8>> {
    let scratch = Folder::small("module")?;
    let path = |name: &str| scratch.path().join(name);
    std::fs::write(path(from), bytes).with_context(|| format!("cannot write `{}`", path(from).display()))?;
    let sandbox = Sandbox::lookup(&host.root, scratch.path());
    let cmd = Cmd::new(program).args(options.iter().copied()).arg(format!("{SCRATCH}/{from}"));
    let doing = "compressing or unpacking a module, to sign it";
    host.run(&cmd.inside(sandbox))?.check(Reason::ToolMissing, doing)?;
    std::fs::read(path(to)).with_context(|| format!("cannot read `{}`", path(to).display()))
}
