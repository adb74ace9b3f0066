//! Makes the handler's package: one zip, the same byte for byte whenever it is made of the same parts.

use super::manifest::{Identity, SHIM};
use crate::cache::Hasher;
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, DateTime};

/// The bundle's name in the package, and in the handler's folder.
pub(super) const BUNDLE: &str = "bundle.tar";
const SHIM_TEXT: &str = include_str!("shim.sh");

/// What to make a package of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Publisher, type and version of the handler.
    pub identity: &'a Identity,
    /// The program that makes the package; it goes in for its architecture unless another one does.
    pub own_program: &'a Path,
    /// Further programs, at most one for an architecture.
    pub programs: &'a [PathBuf],
    /// A file made by `ofedctl cache export`, for VMs without a network.
    pub bundle: Option<&'a Path>,
}

/// A package that was made.
#[derive(Debug)]
pub struct Made {
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// The architectures it serves, as `uname -m` prints them.
    pub architectures: Vec<&'static str>,
    /// Programs that need libraries of the machine they run on.
    pub not_static: Vec<String>,
}

/// Writes the package to `out`, which is there whole or not at all.
pub fn make(out: &Path, parts: &Parts) -> Result<Made> {
    let programs = read_programs(parts)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let doing = || format!("cannot write `{}`", out.display());
    let mut file = NamedTempFile::new_in(folder).with_context(doing)?;
    write(&mut file, parts, &programs).with_context(doing)?;
    file.as_file().sync_all().with_context(doing)?;
    let (bytes, sha256) = digest(file.as_file_mut()).with_context(doing)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).with_context(doing)?;
    file.persist(out).with_context(doing)?;
    let of = |program: &Program| program.path.display().to_string();
    Ok(Made {
        bytes,
        sha256,
        architectures: programs.iter().map(|program| program.arch).collect(),
        not_static: programs.iter().filter(|program| !program.is_static).map(of).collect(),
    })
}

fn write(file: &mut NamedTempFile, parts: &Parts, programs: &[Program]) -> Result<()> {
    let mut zip = ZipWriter::new(file.as_file_mut());
    let manifest = serde_json::to_string_pretty(&parts.identity.handler_manifest())? + "\n";
    add(&mut zip, "HandlerManifest.json", 0o644, CompressionMethod::Deflated, &mut manifest.as_bytes())?;
    let xml = parts.identity.image_manifest();
    add(&mut zip, "manifest.xml", 0o644, CompressionMethod::Deflated, &mut xml.as_bytes())?;
    add(&mut zip, SHIM, 0o755, CompressionMethod::Deflated, &mut SHIM_TEXT.as_bytes())?;
    for program in programs {
        let mut opened = BufReader::new(File::open(&program.path)?);
        let name = format!("bin/ofedctl-{}", program.arch);
        add(&mut zip, &name, 0o755, CompressionMethod::Deflated, &mut opened)?;
    }
    if let Some(bundle) = parts.bundle {
        let wrong = || format!("cannot read the bundle `{}`", bundle.display());
        let mut opened = BufReader::new(File::open(bundle).with_reason(Reason::CacheUnreadable, wrong)?);
        // Packages are compressed already.
        add(&mut zip, BUNDLE, 0o644, CompressionMethod::Stored, &mut opened)?;
    }
    zip.finish()?;
    Ok(())
}

fn add(
    zip: &mut ZipWriter<&mut File>,
    name: &str,
    mode: u32,
    method: CompressionMethod,
    content: &mut impl Read,
) -> Result<()> {
    // The earliest time a zip can say: a package must not differ by when it was made.
    let options = SimpleFileOptions::default()
        .compression_method(method)
        .last_modified_time(DateTime::default())
        .large_file(true)
        .unix_permissions(mode);
    zip.start_file(name, options)?;
    std::io::copy(content, zip)?;
    Ok(())
}

fn digest(file: &mut File) -> Result<(u64, String)> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 128 << 10];
    file.rewind()?;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    let (digest, bytes) = hasher.finish();
    Ok((bytes, digest.hex()))
}

#[derive(Debug)]
struct Program {
    path: PathBuf,
    arch: &'static str,
    is_static: bool,
}

/// Reads the programs' ELF headers, and sorts the programs by architecture.
fn read_programs(parts: &Parts) -> Result<Vec<Program>> {
    let mut programs = parts.programs.iter().map(|path| read_program(path)).collect::<Result<Vec<_>>>()?;
    let own = read_program(parts.own_program)?;
    if programs.iter().all(|program| program.arch != own.arch) {
        programs.push(own);
    }
    programs.sort_by_key(|program| program.arch);
    if let Some(pair) = programs.windows(2).find(|pair| pair[0].arch == pair[1].arch) {
        let [one, other] = [&pair[0].path, &pair[1].path].map(|path| path.display());
        return Err(Reason::Usage.error(format!("`{one}` and `{other}` are both for {}", pair[0].arch)));
    }
    Ok(programs)
}

fn read_program(path: &Path) -> Result<Program> {
    let wrong = || format!("cannot read the program `{}`", path.display());
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(4096).read_to_end(&mut head))
        .with_reason(Reason::Usage, wrong)?;
    let (arch, is_static) = elf(&head).ok_or_else(|| {
        Reason::Usage.error(format!("`{}` is no Linux program for x86_64 or aarch64", path.display()))
    })?;
    Ok(Program { path: path.to_owned(), arch, is_static })
}

/// Architecture of an ELF program, and whether it needs no loader (elf(5)).
fn elf(head: &[u8]) -> Option<(&'static str, bool)> {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, size: usize| {
        let bytes = head.get(at..at + size)?;
        Some(bytes.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    // 64 bits, little-endian.
    if !head.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return None;
    }
    let arch = match number(18, 2)? {
        62 => "x86_64",
        183 => "aarch64",
        _ => return None,
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let kinds = (0..count)
        .filter_map(|index| number(usize::try_from(table.checked_add(index.checked_mul(size)?)?).ok()?, 4));
    Some((arch, !kinds.into_iter().any(|kind| kind == u64::from(PT_INTERP))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(machine: u8, interp: bool) -> Vec<u8> {
        let mut head = vec![0; 64 + 56];
        head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        (head[18], head[32], head[54], head[56]) = (machine, 64, 56, 1);
        head[64] = if interp { 3 } else { 1 };
        head
    }

    #[test]
    fn a_program_is_known_by_its_header() {
        assert_eq!(elf(&header(62, false)), Some(("x86_64", true)));
        assert_eq!(elf(&header(183, true)), Some(("aarch64", false)));
        assert_eq!(elf(&header(40, false)), None);
        assert_eq!(elf(b"#!/bin/sh\n"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_the_reader_panic(tail: Vec<u8>, at in 6usize..64, byte: u8) {
            let mut broken = header(62, true);
            broken[at] = byte;
            let _ = (elf(&tail), elf(&broken), elf(&broken[..at]));
        }
    }
}
