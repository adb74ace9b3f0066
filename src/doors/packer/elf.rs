//! Which architecture a program file is built for.

use std::io::{Read, Seek};

/// The architecture of an ELF file, as `uname -m` has it.
pub(super) fn architecture(file: &mut (impl Read + Seek)) -> std::io::Result<Option<&'static str>> {
    let mut header = [0; 20];
    file.read_exact(&mut header)?;
    file.rewind()?;
    // e_machine: EM_X86_64 is 62, EM_AARCH64 is 183 (the ELF specification).
    Ok(match (&header[..4], u16::from_le_bytes([header[18], header[19]])) {
        (b"\x7fELF", 62) => Some("x86_64"),
        (b"\x7fELF", 183) => Some("aarch64"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_architecture_is_read_from_its_header() {
        let this = std::fs::read("/proc/self/exe").unwrap();
        let mut this = std::io::Cursor::new(&this[..64]);
        assert_eq!(architecture(&mut this).unwrap(), Some(crate::target::Arch::of_this_program().name()));
        assert_eq!(this.position(), 0);
        assert_eq!(architecture(&mut std::io::Cursor::new(b"#!/bin/sh\necho it is a script")).unwrap(), None);
        assert!(architecture(&mut std::io::Cursor::new(b"short")).is_err());
    }
}
