//! Streams of one codec after the other, to the real end of the file.

use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;

use crate::archive::contract::UnpackError;
use crate::archive::dictionary_budget::{self, Window};
use crate::archive::limits::Meter;
use crate::archive::lz4_frame::Lz4Frame;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::tar_header::damaged;
use crate::archive::xz::XzStream;
use crate::model::failure::Class;

/// A way to compress a single file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Gz,
    Bz2,
    Xz,
    Zst,
    Lz4,
}

/// zstd windows up to 128 MiB, as `zstd` itself takes without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;
/// The most that decoding xz may take: its own highest setting needs 65 MiB.
const XZ_MEMORY_KB: u32 = 257 << 10;

impl Codec {
    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Gz => "gz",
            Codec::Bz2 => "bz2",
            Codec::Xz => "xz",
            Codec::Zst => "zst",
            Codec::Lz4 => "lz4",
        }
    }

    /// What compressing adds to a name, and what stands there without it.
    pub fn endings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Codec::Gz => &[(".tgz", ".tar"), (".taz", ".tar"), (".gz", "")],
            Codec::Bz2 => {
                &[(".tbz2", ".tar"), (".tbz", ".tar"), (".tb2", ".tar"), (".bz2", ""), (".bz", "")]
            }
            Codec::Xz => &[(".txz", ".tar"), (".xz", "")],
            Codec::Zst => &[(".tzst", ".tar"), (".zst", ""), (".zstd", "")],
            Codec::Lz4 => &[(".tlz4", ".tar"), (".lz4", "")],
        }
    }

    /// Whether a stream of it begins like `head`.
    pub fn begins(self, head: &[u8]) -> bool {
        match (self, head) {
            (Codec::Gz, [0x1F, 0x8B, 8, flags, ..]) => flags & 0xE0 == 0,
            (Codec::Bz2, [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..]) => {
                rest.starts_with(b"\x31\x41\x59\x26\x53\x59")
                    || rest.starts_with(b"\x17\x72\x45\x38\x50\x90")
            }
            (Codec::Xz, head) => head.starts_with(b"\xFD7zXZ\0"),
            (Codec::Zst, head) => head.starts_with(b"\x28\xB5\x2F\xFD"),
            // With the version of the format that there is; and the one before there were frames,
            // to be refused by name.
            (Codec::Lz4, [0x04, 0x22, 0x4D, 0x18, flags, ..]) => flags >> 6 == 1,
            (Codec::Lz4, head) => head.starts_with(LZ4_LEGACY),
            _ => false,
        }
    }

    /// What a decoder of a stream that begins with `head` holds in memory, about.
    fn window(self, head: &[u8]) -> u64 {
        match self {
            Codec::Gz => 0,
            Codec::Bz2 => dictionary_budget::BZIP2_BYTES,
            Codec::Xz => dictionary_budget::of_xz(head).unwrap_or(0),
            Codec::Zst => dictionary_budget::of_zstd(head).unwrap_or(0),
            Codec::Lz4 => LZ4_BYTES,
        }
    }

    /// Whether a file of it may begin like `head`, as other files may, too: with a frame to be
    /// skipped, or with flags that no version of the format knows.
    pub(crate) fn may_begin(self, head: &[u8]) -> bool {
        match self {
            Codec::Gz => head.starts_with(&[0x1F, 0x8B, 8]),
            Codec::Zst | Codec::Lz4 => is_skippable(head),
            Codec::Bz2 | Codec::Xz => false,
        }
    }

    fn continues(self, head: &[u8]) -> bool {
        self.begins(head) || self.may_begin(head)
    }
}

/// The largest block, packed and unpacked.
const LZ4_BYTES: u64 = 8 << 20;
const LZ4_LEGACY: &[u8] = b"\x02\x21\x4C\x18";

fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..])
}

/// What the header of a gz says of the file in it.
#[derive(Default)]
pub(crate) struct GzHeader {
    /// Its name.
    pub name: Option<Vec<u8>>,
    /// When it was last modified: seconds since 1970.
    pub modified: Option<u32>,
}

/// Decodes one stream and stops behind its last byte.
struct CodecStream {
    decoder: CodecDecoder,
    /// Where it begins.
    start: u64,
    /// The memory of the decoder.
    _window: Option<Window>,
}

enum CodecDecoder {
    Gz(Box<GzDecoder<SpoolReader>>),
    Bz2(BzDecoder<SpoolReader>),
    Xz(Box<XzStream<SpoolReader>>),
    Zst(zstd::Decoder<'static, SpoolReader>),
    Lz4(Box<Lz4Frame>),
    Skipped(SpoolReader),
}

impl CodecStream {
    fn open(codec: Codec, mut input: SpoolReader, meter: &Meter) -> Result<Self, UnpackError> {
        let (head, start) = (peek(&input)?, input.position());
        if is_skippable(&head) {
            skip(&mut input)?;
            return Ok(Self { decoder: CodecDecoder::Skipped(input), start, _window: None });
        }
        let bytes = codec.window(&head);
        let window = meter.window(bytes)?;
        let decoder = match codec {
            Codec::Gz => CodecDecoder::Gz(Box::new(GzDecoder::new(input))),
            Codec::Bz2 => CodecDecoder::Bz2(BzDecoder::new(input)),
            // Later blocks may use what the first one does.
            Codec::Xz => CodecDecoder::Xz(Box::new(XzStream::new(
                input,
                dictionary_budget::xz_limit_kib(bytes).min(XZ_MEMORY_KB),
            ))),
            Codec::Zst if dictionary_budget::needs_dictionary(&head) => {
                return Err(UnpackError::new(
                    Class::ArchiveUnsupported,
                    "it needs a zstd dictionary that it does not bring",
                ));
            }
            Codec::Zst => {
                let mut decoder = zstd::Decoder::with_buffer(input)
                    .map_err(UnpackError::from_read)?
                    .single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(UnpackError::from_read)?;
                CodecDecoder::Zst(decoder)
            }
            Codec::Lz4 if head.starts_with(LZ4_LEGACY) => {
                return Err(UnpackError::new(
                    Class::ArchiveUnsupported,
                    "it is an lz4 of the legacy format",
                ));
            }
            Codec::Lz4 => CodecDecoder::Lz4(Box::new(Lz4Frame::open(input)?)),
        };
        Ok(Self { decoder, start, _window: window })
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.decoder {
            CodecDecoder::Gz(decoder) => decoder.read(into),
            CodecDecoder::Bz2(decoder) => decoder.read(into),
            CodecDecoder::Xz(decoder) => decoder.read(into),
            CodecDecoder::Zst(decoder) => decoder.read(into),
            CodecDecoder::Lz4(decoder) => decoder.read(into),
            CodecDecoder::Skipped(_) => Ok(0),
        }
    }

    fn position(&self) -> u64 {
        let input = match &self.decoder {
            CodecDecoder::Gz(decoder) => decoder.get_ref(),
            CodecDecoder::Bz2(decoder) => decoder.get_ref(),
            CodecDecoder::Xz(decoder) => return self.start + decoder.taken(),
            CodecDecoder::Zst(decoder) => decoder.get_ref(),
            CodecDecoder::Lz4(decoder) => decoder.get_ref(),
            CodecDecoder::Skipped(input) => input,
        };
        input.position()
    }

    /// What follows it, once it has come to its end.
    fn into_inner(self) -> Option<SpoolReader> {
        Some(match self.decoder {
            CodecDecoder::Gz(decoder) => decoder.into_inner(),
            CodecDecoder::Bz2(decoder) => decoder.into_inner(),
            CodecDecoder::Xz(decoder) => decoder.into_inner()?,
            CodecDecoder::Zst(decoder) => decoder.finish(),
            CodecDecoder::Lz4(decoder) => decoder.into_inner(),
            CodecDecoder::Skipped(input) => input,
        })
    }
}

/// What tells the window of every codec: the header of an xz stream and of its first block.
const HEAD_BYTES: u64 = 12 + 1024;

/// The next bytes of `input`, which stay in it.
fn peek(input: &SpoolReader) -> Result<Vec<u8>, UnpackError> {
    let mut head = Vec::new();
    input.clone().take(HEAD_BYTES).read_to_end(&mut head).map_err(UnpackError::from_read)?;
    Ok(head)
}

/// Skips a frame that holds something for others.
fn skip(input: &mut SpoolReader) -> Result<(), UnpackError> {
    let mut head = [0; 8];
    let start = input.position();
    let truncated = || damaged(format!("the frame at byte {start} ends early"));
    if input.size() - start < head.len() as u64 {
        return Err(truncated());
    }
    input.read_exact(&mut head).map_err(UnpackError::from_read)?;
    let size = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
    let end = start + head.len() as u64 + size;
    if end > input.size() {
        return Err(truncated());
    }
    input.jump(end);
    Ok(())
}

/// Goes to the next byte of `input` that is not zero; whether there is one.
fn skip_zeros(input: &mut SpoolReader) -> Result<bool, UnpackError> {
    loop {
        let rest = input.fill_buf().map_err(UnpackError::from_read)?;
        let zeros = rest.iter().position(|byte| *byte != 0);
        match (zeros, rest.len()) {
            (Some(zeros), _) => {
                input.consume(zeros);
                return Ok(true);
            }
            (None, 0) => return Ok(false),
            (None, zeros) => input.consume(zeros),
        }
    }
}

/// What all streams of a file hold, one after the other. Its end is reported only once every
/// checksum held and nothing but zeros follows the last stream.
pub(crate) struct CodecStreams<'a> {
    codec: Codec,
    stream: Option<CodecStream>,
    out: u64,
    meter: &'a Meter,
    failed: bool,
}

impl<'a> CodecStreams<'a> {
    /// The streams of `archive`, and what the header of the first says.
    pub fn open(
        codec: Codec,
        archive: SpoolReader,
        meter: &'a Meter,
    ) -> Result<(Self, Option<GzHeader>), UnpackError> {
        let stream = CodecStream::open(codec, archive, meter)?;
        let header = match &stream.decoder {
            CodecDecoder::Gz(decoder) => decoder.header().map(|header| GzHeader {
                name: header.filename().map(<[u8]>::to_vec),
                modified: Some(header.mtime()).filter(|seconds| *seconds > 0),
            }),
            _ => None,
        };
        Ok((Self { codec, stream: Some(stream), out: 0, meter, failed: false }, header))
    }

    fn next(&mut self, into: &mut [u8]) -> Result<usize, UnpackError> {
        if self.failed {
            return Err(damaged("it failed before"));
        }
        while let Some(stream) = &mut self.stream {
            // A reader may be asked for nothing; decoders take no bytes for their end.
            if into.is_empty() {
                return Ok(0);
            }
            let read = match stream.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.error(error)),
                Ok(read) => read,
            };
            if read > 0 {
                self.out += read as u64;
                self.meter.between(self.out)?;
                return Ok(read);
            }
            self.stream = self
                .stream
                .take()
                .and_then(CodecStream::into_inner)
                .map(|input| self.following(input))
                .transpose()?
                .flatten();
            self.meter.between(self.out)?;
        }
        Ok(0)
    }

    /// The stream that begins where the one before has ended.
    fn following(&self, mut input: SpoolReader) -> Result<Option<CodecStream>, UnpackError> {
        if self.codec.continues(&peek(&input)?) {
            return CodecStream::open(self.codec, input, self.meter).map(Some);
        }
        // Tapes and some programs fill up with zeros.
        let end = input.position();
        let follows = skip_zeros(&mut input)?;
        let zeros = input.position() - end;
        let is_xz = self.codec == Codec::Xz;
        if follows && !(is_xz && self.codec.begins(&peek(&input)?)) {
            return Err(damaged(format!(
                "something follows the end of the {} stream, at byte {}",
                self.codec.name(),
                input.position()
            )));
        }
        // The format allows zeros in fours, and further streams behind them.
        if is_xz && !zeros.is_multiple_of(4) {
            return Err(damaged(format!(
                "{zeros} zeros follow the end of the xz stream, at byte {end}; the format has them \
                in fours"
            )));
        }
        if follows { CodecStream::open(self.codec, input, self.meter).map(Some) } else { Ok(None) }
    }

    fn error(&self, error: io::Error) -> UnpackError {
        if error.get_ref().is_some_and(|inner| inner.is::<UnpackError>()) {
            return UnpackError::from_read(error);
        }
        let at = self.stream.as_ref().map_or(0, CodecStream::position);
        let class = match error.kind() {
            io::ErrorKind::OutOfMemory => Class::LimitArchive,
            io::ErrorKind::Unsupported => Class::ArchiveUnsupported,
            // The library tells its errors as text.
            _ if error.to_string().contains("too much memory") => Class::LimitArchive,
            _ => Class::ArchiveDamaged,
        };
        UnpackError::new(class, format!("the {} stream, at byte {at}: {error}", self.codec.name()))
    }
}

impl Read for CodecStreams<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.next(into).map_err(|error| {
            self.failed = true;
            error.into_read()
        })
    }
}
