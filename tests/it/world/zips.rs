//! Zips byte by byte, as senders make them and as they should not.

/// A member to be: stored, not packed, so that every byte of it can be found and spoilt.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub name: Vec<u8>,
    pub content: Vec<u8>,
    /// Its checksum, where it is to be a wrong one.
    pub crc: Option<u32>,
    /// Bit 0: encrypted.
    pub flags: u16,
    /// Unix mode in the upper half.
    pub attributes: u32,
    /// MS-DOS time and date; 0 stands for 2026-11-20 12:00:00.
    pub time: u16,
}

/// An ordinary member.
pub fn entry(name: &str, content: &[u8]) -> Entry {
    Entry { name: name.into(), content: content.to_vec(), ..Entry::default() }
}

/// A symbolic link.
pub fn link(name: &str, target: &str) -> Entry {
    Entry { attributes: 0o120_777 << 16, ..entry(name, target.as_bytes()) }
}

/// A zip of ordinary members.
pub fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    zip_of(&members.iter().map(|(name, content)| entry(name, content)).collect::<Vec<_>>())
}

const DATE: u16 = (46 << 9) | (11 << 5) | 20;
const NOON: u16 = 12 << 11;

/// A zip of these members.
pub fn zip_of(entries: &[Entry]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let offset = u32::try_from(out.len()).unwrap();
        let fields = fields(entry);
        out.extend(*b"PK\x03\x04");
        out.extend(&fields);
        out.extend(&entry.name);
        out.extend(&entry.content);
        directory.extend(*b"PK\x01\x02");
        directory.extend(0x0314u16.to_le_bytes());
        directory.extend(&fields);
        directory.extend([0; 6]);
        directory.extend(entry.attributes.to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(&entry.name);
    }
    let (start, length) = (u32::try_from(out.len()).unwrap(), u32::try_from(directory.len()).unwrap());
    let count = u16::try_from(entries.len()).unwrap();
    out.extend(directory);
    out.extend(*b"PK\x05\x06\0\0\0\0");
    out.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    out.extend([length.to_le_bytes(), start.to_le_bytes()].concat());
    out.extend([0; 2]);
    out
}

/// From `version needed` to `extra length`, the same in header and directory.
fn fields(entry: &Entry) -> Vec<u8> {
    let crc = entry.crc.unwrap_or_else(|| crc_fast::crc32_iso_hdlc(&entry.content));
    let size = u32::try_from(entry.content.len()).unwrap();
    let mut out = Vec::new();
    let time = if entry.time == 0 { NOON } else { entry.time };
    [20u16, entry.flags, 0, time, DATE].iter().for_each(|value| out.extend(value.to_le_bytes()));
    [crc, size, size].iter().for_each(|value| out.extend(value.to_le_bytes()));
    out.extend(u16::try_from(entry.name.len()).unwrap().to_le_bytes());
    out.extend([0; 2]);
    out
}
