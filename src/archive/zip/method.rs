//! The ways in which members are packed, and the decoders of those that are read.
#![expect(
    clippy::disallowed_types,
    reason = "decoders are opened here, under the meter, and nowhere else"
)]

#[cfg(test)]
mod tests;

use std::io::{self, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::DeflateDecoder;
use lzma_rust2::LzmaReader;
use ppmd_rust::{Ppmd8Decoder, RestoreMethod};

use crate::archive::contract::UnpackError;
use crate::archive::deflate64_stream::Deflate64;
use crate::archive::dictionary_budget::{self, Draw, Window};
use crate::archive::xz::XzStream;
use crate::archive::zip::directory::{ZipEntry, damaged};
use crate::archive::zip::input::Input;
use crate::archive::zip::legacy::{Decoded, Legacy};
use crate::model::failure::Class;

/// The most memory that a decoder may take because a member claims that it needs it: LZMA with 192
/// MiB, and a little more.
pub const MOST_MEMORY_BYTES: u64 = 193 << 20;

/// The ways to pack that are read. A further one is a variant here and in [`ZipMethodDecoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// As it is.
    Stored,
    /// The usual one.
    Deflate,
    /// The same with a window of 64 KiB, by Windows beyond 2 GiB.
    Deflate64,
    /// bzip2.
    Bzip2,
    /// LZMA with a header of its own.
    Lzma,
    /// Zstandard.
    Zstd,
    /// A whole xz file.
    Xz,
    /// PPMd, variant I, revision 1.
    Ppmd,
    /// Shrink, reduce, implode.
    Legacy(Legacy),
}

/// Method of content that is stored as it is.
pub const STORED: u16 = 0;

impl Method {
    /// The method with this number, of a member of which the directory says `entry`.
    pub fn of(number: u16, entry: &ZipEntry) -> Result<Self, UnpackError> {
        let unsupported = |what: String| {
            Err(UnpackError::new(Class::ArchiveUnsupported, format!("it is packed with {what}")))
        };
        match number {
            STORED => Ok(Method::Stored),
            1..=6 => Ok(Method::Legacy(Legacy { number, flags: entry.flags, crc: entry.crc })),
            8 => Ok(Method::Deflate),
            9 => Ok(Method::Deflate64),
            12 => Ok(Method::Bzip2),
            14 => Ok(Method::Lzma),
            // 20 was Zstandard's number for a year.
            20 | 93 => Ok(Method::Zstd),
            95 => Ok(Method::Xz),
            98 => Ok(Method::Ppmd),
            other => match NAMED.iter().find(|(number, _)| *number == other) {
                Some((number, name)) => unsupported(format!("{name} (method {number})")),
                None => unsupported(format!("the unknown method {other}")),
            },
        }
    }
}

/// Methods that have a name and are not read.
const NAMED: &[(u16, &str)] = &[
    (10, "PKWARE DCL implode"),
    (16, "IBM CMPSC"),
    (18, "IBM TERSE"),
    (19, "IBM LZ77"),
    (94, "MP3"),
    (96, "JPEG"),
    (97, "WavPack"),
];

/// Decoders that know which packed byte they stand at.
pub enum ZipMethodDecoder {
    /// For [`Method::Stored`].
    Stored(Input),
    /// For [`Method::Deflate`].
    Deflate(Box<DeflateDecoder<Input>>),
    /// For [`Method::Deflate64`].
    Deflate64(Deflate64<Input>),
    /// For [`Method::Bzip2`].
    Bzip2(Box<BzDecoder<Input>>),
    /// For [`Method::Lzma`].
    Lzma(Box<LzmaReader<Input>>),
    /// For [`Method::Zstd`].
    Zstd(Box<zstd::Decoder<'static, Input>>),
    /// For [`Method::Xz`].
    Xz(Box<XzStream<Input>>),
    /// For [`Method::Ppmd`].
    Ppmd(Box<Ppmd8Decoder<Input>>),
    /// For [`Method::Legacy`].
    Legacy(Box<Decoded>),
}

impl ZipMethodDecoder {
    /// The decoder of `input`, which is to unpack to `unpacked` bytes, and the memory for its
    /// window, which it takes only once `draw` has given it.
    pub fn new(
        method: Method,
        input: Input,
        unpacked: u64,
        draw: &Draw<'_>,
    ) -> Result<(Self, Option<Window>), UnpackError> {
        Ok(match method {
            Method::Stored => (ZipMethodDecoder::Stored(input), None),
            Method::Deflate => {
                (ZipMethodDecoder::Deflate(Box::new(DeflateDecoder::new(input))), None)
            }
            Method::Deflate64 => (ZipMethodDecoder::Deflate64(Deflate64::new(input)), None),
            Method::Bzip2 => {
                let window = draw(dictionary_budget::BZIP2_BYTES)?;
                (ZipMethodDecoder::Bzip2(Box::new(BzDecoder::new(input))), window)
            }
            Method::Lzma => lzma(input, unpacked, draw)?,
            Method::Zstd => zstd(input, draw)?,
            Method::Xz => xz(input, draw)?,
            Method::Ppmd => ppmd(input, draw)?,
            Method::Legacy(legacy) => {
                let (decoded, window) = Decoded::new(input, legacy, unpacked, draw)?;
                (ZipMethodDecoder::Legacy(Box::new(decoded)), window)
            }
        })
    }

    /// Unpacks some more; 0 at its end.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, UnpackError> {
        let read = match self {
            ZipMethodDecoder::Stored(input) => input.read(into),
            ZipMethodDecoder::Deflate(decoder) => decoder.read(into),
            ZipMethodDecoder::Deflate64(decoder) => decoder.read(into),
            ZipMethodDecoder::Bzip2(decoder) => decoder.read(into),
            ZipMethodDecoder::Lzma(decoder) => decoder.read(into),
            ZipMethodDecoder::Zstd(decoder) => decoder.read(into),
            ZipMethodDecoder::Xz(decoder) => decoder.read(into),
            ZipMethodDecoder::Ppmd(decoder) => decoder.read(into),
            ZipMethodDecoder::Legacy(decoder) => decoder.read(into),
        };
        read.map_err(failed)
    }

    /// Ends it: what it read from, and how many bytes of that it holds and did not use. `None` if
    /// it has failed.
    pub fn finish(self) -> Option<(Input, u64)> {
        Some(match self {
            ZipMethodDecoder::Stored(input) => (input, 0),
            ZipMethodDecoder::Deflate(decoder) => (decoder.into_inner(), 0),
            ZipMethodDecoder::Deflate64(decoder) => (decoder.into_inner(), 0),
            ZipMethodDecoder::Bzip2(decoder) => (decoder.into_inner(), 0),
            ZipMethodDecoder::Lzma(decoder) => {
                let (input, unused) = decoder.into_parts();
                (input, unused.len() as u64)
            }
            ZipMethodDecoder::Zstd(decoder) => (decoder.into_inner(), 0),
            ZipMethodDecoder::Xz(decoder) => (decoder.into_inner()?, 0),
            ZipMethodDecoder::Ppmd(decoder) => (decoder.into_inner(), 0),
            ZipMethodDecoder::Legacy(decoder) => (decoder.input, 0),
        })
    }
}

type ZipMethodOpened = Result<(ZipMethodDecoder, Option<Window>), UnpackError>;

/// What frames may use that come behind one whose window cannot be told.
const USUAL_ZSTD_WINDOW: u64 = 8 << 20;
const SMALL_ZSTD_WINDOW: u64 = 256 << 10;
/// What tells the window: the header of an xz stream and of its first block.
const HEAD_BYTES: usize = 12 + 1024;

fn zstd(mut input: Input, draw: &Draw<'_>) -> ZipMethodOpened {
    let window = dictionary_budget::of_zstd(input.peek(HEAD_BYTES)?).unwrap_or(USUAL_ZSTD_WINDOW);
    // Further frames may use as much as the first.
    let log = window.max(SMALL_ZSTD_WINDOW).checked_next_power_of_two().map_or(63, u64::ilog2);
    if window > MOST_MEMORY_BYTES {
        return Err(too_much(format!("a window of {window} bytes")));
    }
    let drawn = draw(window)?;
    let mut decoder = zstd::Decoder::with_buffer(input).map_err(failed)?;
    decoder.window_log_max(log).map_err(failed)?;
    Ok((ZipMethodDecoder::Zstd(Box::new(decoder)), drawn))
}

fn xz(mut input: Input, draw: &Draw<'_>) -> ZipMethodOpened {
    let window = dictionary_budget::of_xz(input.peek(HEAD_BYTES)?).unwrap_or(0);
    if window > MOST_MEMORY_BYTES {
        return Err(too_much(format!("a dictionary of {window} bytes")));
    }
    let drawn = draw(window)?;
    // Later blocks may use what the first one does.
    Ok((
        ZipMethodDecoder::Xz(Box::new(XzStream::new(
            input,
            dictionary_budget::xz_limit_kib(window),
        ))),
        drawn,
    ))
}

/// Two bytes of version, the length of the properties, five bytes of properties; then the stream,
/// whose end marker may be missing.
fn lzma(mut input: Input, unpacked: u64, draw: &Draw<'_>) -> ZipMethodOpened {
    let mut head = [0; 9];
    input.read_exact(&mut head).map_err(failed)?;
    let [_, _, 5, 0, properties, dictionary @ ..] = head else {
        return Err(damaged("its LZMA header is not one of five bytes of properties"));
    };
    // No distance can reach back further than to its beginning, whatever size of dictionary the
    // packer was run with.
    let dictionary = u64::from(u32::from_le_bytes(dictionary)).min(unpacked).max(4 << 10);
    if dictionary > MOST_MEMORY_BYTES {
        return Err(too_much(format!("a dictionary of {dictionary} bytes")));
    }
    let window = draw(dictionary)?;
    let mut decoder =
        LzmaReader::new_with_props(input, unpacked, properties, dictionary as u32, None)
            .map_err(failed)?;
    decoder.set_relaxed_end_condition(false);
    Ok((ZipMethodDecoder::Lzma(Box::new(decoder)), window))
}

/// Two bytes: order - 1 in four bits, memory in MiB - 1 in eight, method of restoration in four.
fn ppmd(mut input: Input, draw: &Draw<'_>) -> ZipMethodOpened {
    let mut head = [0; 2];
    input.read_exact(&mut head).map_err(failed)?;
    let head = u32::from(u16::from_le_bytes(head));
    let (order, memory) = ((head & 0xF) + 1, ((head >> 4 & 0xFF) + 1) << 20);
    if u64::from(memory) > MOST_MEMORY_BYTES {
        return Err(too_much(format!("{memory} bytes for its model")));
    }
    let restoration = match head >> 12 {
        0 => RestoreMethod::Restart,
        1 => RestoreMethod::CutOff,
        _ => {
            return Err(damaged(
                "its PPMd header asks for a method of restoration that there is not",
            ));
        }
    };
    let window = draw(memory.into())?;
    let decoder = Ppmd8Decoder::new(input, order, memory, restoration)
        .map_err(|error| damaged(format!("its PPMd header is wrong: {error}")))?;
    Ok((ZipMethodDecoder::Ppmd(Box::new(decoder)), window))
}

fn too_much(what: String) -> UnpackError {
    UnpackError::new(
        Class::LimitArchive,
        format!("it claims that unpacking it takes {what}, more than {MOST_MEMORY_BYTES}"),
    )
}

fn failed(error: io::Error) -> UnpackError {
    // zstd has no kind of its own for it.
    let wants_memory = error.kind() == io::ErrorKind::OutOfMemory
        || error.to_string().contains("requires too much memory");
    match wants_memory {
        true => too_much("a window that is too big".to_owned()),
        false => UnpackError::from_read(error),
    }
}
