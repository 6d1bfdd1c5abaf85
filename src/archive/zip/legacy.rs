//! Members packed as PKZIP did before 1993: shrink, reduce, implode. The `zip` crate decodes them.

use std::io::{self, Cursor, Read};

use crate::archive::contract::UnpackError;
use crate::archive::dictionary_budget::{Draw, Window};
use crate::archive::zip::directory::damaged;
use crate::archive::zip::input::Input;
use crate::model::failure::Class;

/// The largest content that is read: the programs that packed so knew no more than a few megabytes
/// of memory.
const MOST_BYTES: u64 = 64 << 20;
const HEADER_BYTES: u32 = 30;
const ENTRY_BYTES: u32 = 46;

/// What a header tells that decoding takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Legacy {
    /// The method's number: 1 to 6.
    pub number: u16,
    /// The flags, of which two say how implode was set.
    pub flags: u16,
    /// CRC-32 of the content.
    pub crc: u32,
}

/// The content of a member, decoded as a whole.
pub(crate) struct Decoded {
    /// What it was read from: all of it was.
    pub input: Input,
    content: Cursor<Vec<u8>>,
}

impl Decoded {
    /// The member that is packed as `legacy` says in `input`, and has `unpacked` bytes.
    pub fn new(
        mut input: Input,
        legacy: Legacy,
        unpacked: u64,
        draw: &Draw<'_>,
    ) -> Result<(Self, Option<Window>), UnpackError> {
        let packed = input.unread();
        if packed > MOST_BYTES || unpacked > MOST_BYTES {
            let why = format!(
                "it is packed by a method of before 1993 and has {unpacked} bytes, more than \
                {MOST_BYTES}"
            );
            return Err(UnpackError::new(Class::LimitArchive, why));
        }
        let window = draw(packed + unpacked)?;
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes).map_err(UnpackError::from_read)?;
        let content =
            decode(&bytes, legacy, unpacked as u32).map_err(|error| damaged(error.to_string()))?;
        Ok((Self { input, content: Cursor::new(content) }, window))
    }
}

impl Read for Decoded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.content.read(into)
    }
}

/// The crate decodes members of archives, so this makes one around the member.
fn decode(packed: &[u8], legacy: Legacy, unpacked: u32) -> io::Result<Vec<u8>> {
    let size = u32::try_from(packed.len()).map_err(io::Error::other)?;
    let fields = [
        &20u16.to_le_bytes()[..],
        // Only those that tell how it is packed.
        &(legacy.flags & 6).to_le_bytes(),
        &legacy.number.to_le_bytes(),
        &[0, 0, 0x21, 0],
        &legacy.crc.to_le_bytes(),
        &size.to_le_bytes(),
        &unpacked.to_le_bytes(),
        &1u16.to_le_bytes(),
        &[0, 0],
    ]
    .concat();
    let directory = HEADER_BYTES + 1 + size;
    let mut archive =
        [&b"PK\x03\x04"[..], &fields, b"a", packed, b"PK\x01\x02\x14\0", &fields, &[0; 14], b"a"]
            .concat();
    archive.extend(
        [
            &b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..],
            &(ENTRY_BYTES + 1).to_le_bytes(),
            &directory.to_le_bytes(),
            &[0, 0],
        ]
        .concat(),
    );
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).map_err(io::Error::other)?;
    let mut content = Vec::new();
    let member = archive.by_index(0).map_err(io::Error::other)?;
    member.take(u64::from(unpacked) + 1).read_to_end(&mut content)?;
    Ok(content)
}
