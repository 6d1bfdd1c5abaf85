//! The coders of 7z, one behind the other, within a limit on what they may take of memory.
#![expect(
    clippy::disallowed_types,
    reason = "decoders are opened here, under the meter, and nowhere else"
)]

use std::io::{self, BufReader, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::DeflateDecoder;
use lzma_rust2::filter::bcj::BcjReader;
use lzma_rust2::filter::bcj2::Bcj2Reader;
use lzma_rust2::filter::delta::DeltaReader;
use lzma_rust2::{Lzma2Reader, LzmaReader, lzma_get_memory_usage_by_props, lzma2_get_memory_usage};
use ppmd_rust::Ppmd7Decoder;

use crate::archive::contract::UnpackError;
use crate::archive::deflate64_stream::Deflate64;
use crate::archive::dictionary_budget::{self, Window};
use crate::archive::limits::Meter;
use crate::archive::sevenz_aes::{AesReader, Keys};
use crate::archive::sevenz_header::{Coder, SevenZipFolder, SevenZipStreams};
use crate::archive::sevenz_swap::SwapReader;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::tar_header::damaged;
use crate::model::failure::Class;

const SIGNATURE_BYTES: u64 = 32;
/// What the decoders of one folder may take of memory: a dictionary of 256 MiB, the largest that
/// 7-Zip uses by itself.
const MEMORY_KB: u64 = 257 << 10;
pub(crate) const AES: &[u8] = &[6, 0xF1, 7, 1];
/// As branches of 7-Zip write it, and libarchive reads it.
const ZSTD: &[u8] = &[4, 0xF7, 0x11, 1];
/// The logarithms of the windows that zstd is given: that of its highest usual level, even where
/// less comes out of it, and that which `zstd` itself takes without being asked.
const ZSTD_WINDOW_LOGS: std::ops::RangeInclusive<u32> = 23..=27;

type SevenZipCoderStream = Box<dyn Read>;

/// What comes out of `folder`, of which `password` is the password in UTF-16, if it needs one.
pub fn open(
    archive: &SpoolReader,
    streams: &SevenZipStreams,
    folder: &SevenZipFolder,
    password: Option<&[u8]>,
    keys: &Keys,
    meter: &Meter,
) -> Result<SevenZipCoderStream, UnpackError> {
    let main = folder
        .main()
        .ok_or_else(|| damaged("its header is wrong: coders feed each other in a circle"))?;
    // All of it at once: a reader that holds a part of what is needed would keep others waiting.
    let kb = folder.coders.iter().zip(&folder.sizes).try_fold(0u64, |sum, (coder, size)| {
        Ok::<_, UnpackError>(sum.saturating_add(memory_kb(coder, *size)?))
    })?;
    if kb > MEMORY_KB {
        return Err(UnpackError::new(
            Class::LimitArchive,
            format!(
                "unpacking it takes {} MiB of memory; more than {} are not taken",
                kb >> 10,
                MEMORY_KB >> 10
            ),
        ));
    }
    let window = meter.window(kb << 10)?;
    let mut opening = Opening { archive, streams, folder, password, keys };
    Ok(Box::new(Within { stream: opening.output(main, 0)?, _window: window }))
}

/// A stream and the memory of its decoders.
struct Within {
    stream: SevenZipCoderStream,
    _window: Option<Window>,
}

impl Read for Within {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.read(into)
    }
}

/// What the decoder of `coder`, out of which `size` bytes come, takes of memory, in KiB.
fn memory_kb(coder: &Coder, size: u64) -> Result<u64, UnpackError> {
    Ok(match (&coder.method[..], &coder.properties[..]) {
        ([3, 1, 1], [settings, dictionary @ ..]) => {
            let dictionary = dictionary.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            lzma_get_memory_usage_by_props(needed(dictionary, size), *settings)
                .map_err(broken)?
                .into()
        }
        ([0x21], [setting, ..]) => {
            lzma2_get_memory_usage(needed(lzma2_dictionary(*setting).unwrap_or(0), size)).into()
        }
        ([3, 4, 1], [_, a, b, c, d, ..]) => {
            u64::from(u32::from_le_bytes([*a, *b, *c, *d])).div_ceil(1 << 10)
        }
        ([4, 2, 2], _) => dictionary_budget::BZIP2_BYTES >> 10,
        (ZSTD, _) => 1 << (zstd_window_log(size) - 10),
        _ => 0,
    })
}

fn zstd_window_log(size: u64) -> u32 {
    let log = size.max(1).checked_next_power_of_two().map_or(63, u64::ilog2);
    log.clamp(*ZSTD_WINDOW_LOGS.start(), *ZSTD_WINDOW_LOGS.end())
}

fn zstd(input: SevenZipCoderStream, size: u64) -> Result<SevenZipCoderStream, UnpackError> {
    let mut decoder = zstd::Decoder::new(input).map_err(broken)?;
    decoder.window_log_max(zstd_window_log(size)).map_err(broken)?;
    Ok(Box::new(decoder))
}

fn lzma2_dictionary(setting: u8) -> Option<u32> {
    dictionary_budget::of_lzma2(setting).and_then(|bytes| u32::try_from(bytes).ok())
}

/// No distance reaches back further than to the beginning, whatever dictionary the packer was run
/// with.
fn needed(dictionary: u32, size: u64) -> u32 {
    dictionary.min(u32::try_from(size).unwrap_or(u32::MAX).max(4 << 10))
}

/// Whether a password is needed to unpack `folder`.
pub(crate) fn is_encrypted(folder: &SevenZipFolder) -> bool {
    folder.coders.iter().any(|coder| coder.method == AES)
}

struct Opening<'a> {
    archive: &'a SpoolReader,
    streams: &'a SevenZipStreams,
    folder: &'a SevenZipFolder,
    password: Option<&'a [u8]>,
    keys: &'a Keys,
}

impl Opening<'_> {
    fn output(&mut self, index: usize, depth: usize) -> Result<SevenZipCoderStream, UnpackError> {
        if depth >= self.folder.coders.len() {
            return Err(damaged("its header is wrong: coders feed each other in a circle"));
        }
        let (coder, size) = (&self.folder.coders[index], self.folder.sizes[index]);
        let first = self.folder.first_input(index);
        let inputs = (first..first + coder.inputs)
            .map(|input| self.input(input, depth))
            .collect::<Result<Vec<_>, _>>()?;
        self.decoder(coder, inputs, size)
    }

    fn input(&mut self, input: usize, depth: usize) -> Result<SevenZipCoderStream, UnpackError> {
        if let Some((_, output)) = self.folder.binds.iter().find(|(bound, _)| *bound == input) {
            return self.output(*output, depth + 1);
        }
        let place = self.folder.packed.iter().position(|packed| *packed == input);
        let place = place
            .map(|place| self.folder.first_packed + place)
            .filter(|place| *place < self.streams.pack_sizes.len());
        let place = place.ok_or_else(|| damaged("its header is wrong: nothing feeds a coder"))?;
        let before = self.streams.pack_sizes[..place]
            .iter()
            .try_fold(self.streams.pack_start, |sum, size| sum.checked_add(*size));
        let start = before.and_then(|before| before.checked_add(SIGNATURE_BYTES));
        let (size, all) = (self.streams.pack_sizes[place], self.archive.size());
        let start = start.filter(|start| start.checked_add(size).is_some_and(|end| end <= all));
        let start = start
            .ok_or_else(|| damaged("its header is wrong: packed content lies behind its end"))?;
        let mut reader = self.archive.clone();
        reader.jump(start);
        Ok(Box::new(reader.take(size)))
    }

    fn decoder(
        &mut self,
        coder: &Coder,
        mut inputs: Vec<SevenZipCoderStream>,
        size: u64,
    ) -> Result<SevenZipCoderStream, UnpackError> {
        let properties = &coder.properties[..];
        if coder.method == [3, 3, 1, 0x1B] {
            return Ok(Box::new(Bcj2Reader::try_new(inputs, size).map_err(broken)?));
        }
        let (Some(input), true) = (inputs.pop(), inputs.is_empty()) else {
            return Err(unsupported(coder));
        };
        Ok(match &coder.method[..] {
            // Some writers give `Copy` no number.
            [] | [0] => input,
            [3] => Box::new(DeltaReader::new(
                input,
                properties.first().map_or(1, |distance| usize::from(*distance) + 1),
            )),
            [3, 1, 1] => lzma(input, properties, size)?,
            [0x21] => lzma2(input, properties, size)?,
            [3, 4, 1] => ppmd(input, properties, size)?,
            [4, 1, 8] => Box::new(DeflateDecoder::new(BufReader::new(input))),
            [4, 1, 9] => Box::new(Deflate64::new(BufReader::new(input))),
            [4, 2, 2] => Box::new(BzDecoder::new(BufReader::new(input))),
            ZSTD => zstd(input, size)?,
            [2, 3, 2] => Box::new(SwapReader::new(input, 2)),
            [2, 3, 4] => Box::new(SwapReader::new(input, 4)),
            [4] | [3, 3, 1, 3] => Box::new(BcjReader::new_x86(input, start(properties))),
            [5] | [3, 3, 2, 5] => Box::new(BcjReader::new_ppc(input, start(properties))),
            [6] | [3, 3, 4, 1] => Box::new(BcjReader::new_ia64(input, start(properties))),
            [7] | [3, 3, 5, 1] => Box::new(BcjReader::new_arm(input, start(properties))),
            [8] | [3, 3, 7, 1] => Box::new(BcjReader::new_arm_thumb(input, start(properties))),
            [9] | [3, 3, 8, 5] => Box::new(BcjReader::new_sparc(input, start(properties))),
            [0xA] => Box::new(BcjReader::new_arm64(input, start(properties))),
            [0xB] => Box::new(BcjReader::new_riscv(input, start(properties))),
            AES => {
                let password = self.password.ok_or_else(|| {
                    UnpackError::new(Class::ArchiveEncrypted, "it is encrypted with AES")
                })?;
                Box::new(AesReader::new(input, properties, password, self.keys)?.take(size))
            }
            _ => return Err(unsupported(coder)),
        })
    }
}

fn lzma(
    input: SevenZipCoderStream,
    properties: &[u8],
    size: u64,
) -> Result<SevenZipCoderStream, UnpackError> {
    let &[settings, a, b, c, d] = properties else {
        return Err(damaged("its header is wrong: LZMA has no settings"));
    };
    let dictionary = needed(u32::from_le_bytes([a, b, c, d]), size);
    let mut decoder =
        LzmaReader::new_with_props(input, size, settings, dictionary, None).map_err(broken)?;
    decoder.set_relaxed_end_condition(false);
    Ok(Box::new(decoder))
}

fn lzma2(
    input: SevenZipCoderStream,
    properties: &[u8],
    size: u64,
) -> Result<SevenZipCoderStream, UnpackError> {
    let [setting] = properties else {
        return Err(damaged("its header is wrong: LZMA2 has no settings"));
    };
    let dictionary = lzma2_dictionary(*setting)
        .ok_or_else(|| damaged("its header is wrong: LZMA2 has no settings"))?;
    Ok(Box::new(Lzma2Reader::new(input, needed(dictionary, size), None)))
}

fn ppmd(
    input: SevenZipCoderStream,
    properties: &[u8],
    size: u64,
) -> Result<SevenZipCoderStream, UnpackError> {
    let [order, a, b, c, d, ..] = properties else {
        return Err(damaged("its header is wrong: PPMd has no settings"));
    };
    let memory = u32::from_le_bytes([*a, *b, *c, *d]);
    let decoder = Ppmd7Decoder::new(input, u32::from(*order), memory)
        .map_err(|error| damaged(format!("PPMd: {error}")))?;
    Ok(Box::new(decoder.take(size)))
}

/// Where the first instruction stands, for filters that are told.
fn start(properties: &[u8]) -> usize {
    properties.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
}

fn broken(error: io::Error) -> UnpackError {
    UnpackError::from_read(error)
}

fn unsupported(coder: &Coder) -> UnpackError {
    let name = match &coder.method[..] {
        [4, 0xF7, 0x11, 2] => "Brotli",
        [4, 0xF7, 0x11, 4] => "LZ4",
        [4, 0xF7, 0x11, 5] => "Lizard",
        [3, 1, 0x1B] => "BCJ2",
        [6, 1..=3, ..] => "an encryption other than AES",
        _ => "an unknown method",
    };
    let id: String = coder.method.iter().map(|byte| format!("{byte:02x}")).collect();
    UnpackError::new(Class::ArchiveUnsupported, format!("it is packed with {name} ({id})"))
}
