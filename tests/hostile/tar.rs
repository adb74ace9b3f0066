//! Members of tar archives, byte by byte, as no library would write them.

pub(crate) use tar::EntryType as Kind;

/// A header alone.
pub(crate) fn header(kind: Kind, name: &[u8], link: &[u8], size: u64, mode: u32) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.name[..name.len()].copy_from_slice(name);
    gnu.linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// A member with its content, padded.
pub(crate) fn member(kind: Kind, name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut member = header(kind, name, b"", content.len() as u64, 0o644);
    member.extend(content);
    member.resize(member.len().next_multiple_of(512), 0);
    member
}

/// A plain file.
pub(crate) fn file(name: &str) -> Vec<u8> {
    member(Kind::Regular, name.as_bytes(), b"content")
}

/// A link.
pub(crate) fn link(kind: Kind, name: &str, to: &str) -> Vec<u8> {
    header(kind, name.as_bytes(), to.as_bytes(), 0, 0o777)
}

/// An extended header with one record about the next member.
pub(crate) fn pax(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..rest + 10).find(|length| length.to_string().len() + rest == *length).unwrap();
    let record = [format!("{length} {key}=").as_bytes(), value, b"\n"].concat();
    member(Kind::XHeader, b"pax", &record)
}

/// Compressed, with the end of an archive.
pub(crate) fn tgz(members: &[Vec<u8>]) -> Vec<u8> {
    gzip(&[members.concat(), vec![0; 1024]].concat())
}

/// Compressed.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, bytes).unwrap();
    packed.finish().unwrap()
}
