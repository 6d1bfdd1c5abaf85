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
    let (start, length) =
        (u32::try_from(out.len()).unwrap(), u32::try_from(directory.len()).unwrap());
    let count = u16::try_from(entries.len()).unwrap_or(u16::MAX);
    out.extend(directory);
    if count == u16::MAX {
        // More than the old record can say: zip64's own, and where it is.
        let (at, many) = (out.len() as u64, entries.len() as u64);
        out.extend(*b"PK\x06\x06");
        out.extend([44_u64.to_le_bytes(), [45, 0, 45, 0, 0, 0, 0, 0]].concat());
        out.extend([0; 4]);
        out.extend([many, many, length.into(), start.into()].map(u64::to_le_bytes).concat());
        out.extend(*b"PK\x06\x07\0\0\0\0");
        out.extend(at.to_le_bytes());
        out.extend([1, 0, 0, 0]);
    }
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

/// A 7z of members that are stored, in one folder.
pub fn sevenz(members: &[(&str, &[u8])]) -> Vec<u8> {
    let number = |number: usize| [&[0xFF][..], &(number as u64).to_le_bytes()].concat();
    let packed = members.iter().map(|(_, content)| *content).collect::<Vec<_>>().concat();
    // The place and size of what is packed; one folder of the coder that copies; its size; its
    // parts: number, sizes but the last, checksums.
    let mut header = [
        &[1, 4, 6][..],
        &number(0),
        &number(1),
        &[9],
        &number(packed.len()),
        &[0, 7, 0xB, 1, 0, 1, 1, 0, 0xC],
    ]
    .concat();
    header.extend([&number(packed.len())[..], &[0, 8, 0xD], &number(members.len()), &[9]].concat());
    members[1..]
        .iter()
        .zip(members)
        .for_each(|(_, (_, content))| header.extend(number(content.len())));
    header.extend([0xA, 1]);
    members
        .iter()
        .for_each(|(_, content)| header.extend(crc_fast::crc32_iso_hdlc(content).to_le_bytes()));
    let names: Vec<u8> = members
        .iter()
        .flat_map(|(name, _)| name.encode_utf16().chain([0]))
        .flat_map(u16::to_le_bytes)
        .collect();
    header.extend(
        [
            &[0, 0, 5][..],
            &number(members.len()),
            &[0x11],
            &number(names.len() + 1),
            &[0],
            &names,
            &[0, 0],
        ]
        .concat(),
    );
    let crc = |bytes: &[u8]| crc_fast::crc32_iso_hdlc(bytes).to_le_bytes();
    let places = [
        &(packed.len() as u64).to_le_bytes()[..],
        &(header.len() as u64).to_le_bytes(),
        &crc(&header),
    ]
    .concat();
    [b"7z\xBC\xAF\x27\x1C\0\x04", &crc(&places)[..], &places, &packed, &header].concat()
}
