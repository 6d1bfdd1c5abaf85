//! The content of one member: unpacked under the meter, its end reported only once all that is told
//! of it held.

use std::io::{self, Read};
use std::sync::OnceLock;

use crc_fast::{CrcAlgorithm, Digest};

use crate::archive::contract::{Member, UnpackError};
use crate::archive::dictionary_budget::Window;
use crate::archive::limits::{MemberMeter, Meter};
use crate::archive::options::ArchiveOptions;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::zip::cipher::Cipher;
use crate::archive::zip::directory::{ZipEntry, damaged};
use crate::archive::zip::extent::Extent;
use crate::archive::zip::input::Input;
use crate::archive::zip::locks::{Lock, ZipLockKind, encrypted, spellings};
use crate::archive::zip::method::{Method, ZipMethodDecoder};
use crate::model::failure::{Class, Failure};
use crate::model::printable;

/// Where a member's packed content is, and how it is packed.
#[derive(Debug)]
pub(crate) struct ZipContentPacked {
    lock: Lock,
    crc: u32,
    start: u64,
    bytes: u64,
    unpacked: u64,
    /// Which spelling of the passwords opens it, once that is known.
    password: OnceLock<usize>,
}

impl ZipContentPacked {
    /// What `entry` tells; its content begins where `extent` says.
    pub fn new(entry: &ZipEntry, lock: Lock, extent: Extent) -> Result<Self, UnpackError> {
        let (before, after) = lock.overhead();
        let bytes = entry
            .packed
            .checked_sub(before + after)
            .ok_or_else(|| damaged("it is too short for what is encrypted"))?;
        if lock.method == Method::Stored && bytes != entry.unpacked {
            return Err(damaged("it is stored, and its sizes packed and unpacked differ"));
        }
        Ok(Self {
            lock,
            crc: entry.crc,
            start: extent.data,
            bytes,
            unpacked: entry.unpacked,
            password: OnceLock::new(),
        })
    }

    /// The cipher with the password that fits. Where what checks passwords lets several pass, as it
    /// does by chance, the whole content decides.
    pub fn open(
        &self,
        archive: &SpoolReader,
        options: &ArchiveOptions,
    ) -> Result<Cipher, UnpackError> {
        if self.lock.kind == ZipLockKind::Open {
            return Ok(Cipher::None);
        }
        let passwords = spellings(&options.passwords);
        let open = |at: usize| match passwords.get(at) {
            Some(password) => self.lock.open(archive.clone(), self.start, password),
            None => Ok(None),
        };
        let none = || encrypted("it is encrypted, and no configured password fits");
        if let Some(known) = self.password.get() {
            return open(*known)?.ok_or_else(none);
        }
        let mut fitting = Vec::new();
        for at in 0..passwords.len() {
            fitting.extend(open(at)?.map(|cipher| (at, cipher)));
        }
        let (last, last_cipher) = fitting.pop().ok_or_else(none)?;
        for (at, cipher) in fitting {
            if self.holds(archive, cipher, options)? {
                return open(*self.password.get_or_init(|| at))?.ok_or_else(none);
            }
        }
        self.password.get_or_init(|| last);
        Ok(last_cipher)
    }

    /// Whether all that is told of the content holds with `cipher`.
    fn holds(
        &self,
        archive: &SpoolReader,
        cipher: Cipher,
        options: &ArchiveOptions,
    ) -> Result<bool, UnpackError> {
        let meter = Meter::new(options.limits.clone(), archive.size());
        let tried =
            Body::new(archive.clone(), self, cipher, meter.member()?).and_then(|mut body| {
                let mut piece = vec![0; 64 << 10];
                while body.next(&mut piece)? > 0 {}
                Ok(())
            });
        match tried {
            Ok(()) => Ok(true),
            // Garbage claims what it likes, of memory, too.
            Err(error)
                if matches!(
                    error.class(),
                    Class::ArchiveDamaged | Class::ArchiveEncrypted | Class::LimitArchive
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// The content of a member as visitors read it.
pub(crate) struct ZipContent<'a> {
    member: &'a Member,
    body: Body<'a>,
}

impl<'a> ZipContent<'a> {
    /// The content of `member`, decrypted by `cipher`.
    pub fn new(
        archive: SpoolReader,
        member: &'a Member,
        packed: &'a ZipContentPacked,
        cipher: Cipher,
        meter: MemberMeter<'a>,
    ) -> Result<Self, UnpackError> {
        Ok(Self { member, body: Body::new(archive, packed, cipher, meter)? })
    }
}

impl Read for ZipContent<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.body.next(into);
        if self.body.left > 0 {
            // Size and checksum hold, so these are no content; readers pass over them.
            let (left, name) = (self.body.left, printable(self.member.name.as_bytes()));
            let text = format!("member `{name}`: {left} packed bytes follow its end, unused");
            self.body.meter.archive().remark(text);
            self.body.left = 0;
        }
        read.map_err(|error| error.at(&self.member.name).into_read())
    }
}

struct Body<'a> {
    packed: &'a ZipContentPacked,
    meter: MemberMeter<'a>,
    crc: Digest,
    size: u64,
    /// Packed bytes that were not needed.
    left: u64,
    state: ZipContentState,
    /// The memory of the decoder.
    _window: Option<Window>,
}

enum ZipContentState {
    Reading(ZipMethodDecoder),
    Proven,
    Failed,
}

impl<'a> Body<'a> {
    fn new(
        mut archive: SpoolReader,
        packed: &'a ZipContentPacked,
        cipher: Cipher,
        meter: MemberMeter<'a>,
    ) -> Result<Self, UnpackError> {
        let (before, _) = packed.lock.overhead();
        archive.jump(packed.start + before);
        let input = Input::new(archive, packed.bytes, cipher);
        let draw = |bytes| meter.archive().window(bytes);
        let opened = ZipMethodDecoder::new(packed.lock.method, input, packed.unpacked, &draw);
        let (decoder, window) = opened.map_err(|error| packed.doubted(error))?;
        Ok(Self {
            packed,
            meter,
            crc: Digest::new(CrcAlgorithm::Crc32IsoHdlc),
            size: 0,
            left: 0,
            state: ZipContentState::Reading(decoder),
            _window: window,
        })
    }

    fn next(&mut self, into: &mut [u8]) -> Result<usize, UnpackError> {
        if into.is_empty() {
            return Ok(0);
        }
        match std::mem::replace(&mut self.state, ZipContentState::Failed) {
            ZipContentState::Proven => {
                self.state = ZipContentState::Proven;
                Ok(0)
            }
            ZipContentState::Failed => Err(damaged("it failed before")),
            ZipContentState::Reading(mut decoder) => {
                let read =
                    self.unpack(&mut decoder, into).map_err(|error| self.packed.doubted(error))?;
                self.state = match read {
                    0 => self
                        .prove(decoder)
                        .map(|()| ZipContentState::Proven)
                        .map_err(|error| self.packed.doubted(error))?,
                    _ => ZipContentState::Reading(decoder),
                };
                Ok(read)
            }
        }
    }

    fn unpack(
        &mut self,
        decoder: &mut ZipMethodDecoder,
        into: &mut [u8],
    ) -> Result<usize, UnpackError> {
        let claimed = self.packed.unpacked;
        let read = decoder.read(into)?;
        self.size += read as u64;
        self.meter.bytes(read as u64)?;
        if self.size > claimed {
            return Err(damaged(format!(
                "it has more than the {claimed} bytes that the directory tells"
            )));
        }
        self.crc.update(&into[..read]);
        Ok(read)
    }

    fn prove(&mut self, decoder: ZipMethodDecoder) -> Result<(), UnpackError> {
        let (size, claimed) = (self.size, self.packed.unpacked);
        if size != claimed {
            return Err(damaged(format!("it has {size} bytes; the directory tells {claimed}")));
        }
        let (crc, told) = (self.crc.finalize(), u64::from(self.packed.crc));
        if crc != told && self.packed.lock.has_crc {
            return Err(damaged(format!(
                "its checksum is {crc:08x}; the directory tells {told:08x}"
            )));
        }
        let (input, unused) = decoder.finish().ok_or_else(|| damaged("it failed before"))?;
        match input.unread() + unused {
            0 => input.finish(),
            left if self.packed.passes_over() => {
                self.left = left;
                Ok(())
            }
            left => Err(damaged(format!("{left} packed bytes follow its end"))),
        }
    }
}

impl ZipContentPacked {
    /// Whether readers pass over packed bytes behind the end of the content: deflate tells where it
    /// is over, and old writers packed more.
    fn passes_over(&self) -> bool {
        self.lock.method == Method::Deflate
            && self.lock.kind == ZipLockKind::Open
            && self.lock.has_crc
    }

    /// `error` as it is, unless a wrong password that passed by chance would fail in the same way.
    fn doubted(&self, error: UnpackError) -> UnpackError {
        let may_be_garbage = matches!(self.lock.kind, ZipLockKind::Traditional(_))
            && error.class() == Class::ArchiveDamaged;
        if may_be_garbage {
            encrypted("it is encrypted, and no configured password fits; or it is damaged")
        } else {
            error
        }
    }
}
