//! What comes out of the folders of a 7z archive: members, each held against its checksum.

use std::io::{self, Read};

use crc_fast::Digest;

use crate::archive::contract::UnpackError;
use crate::archive::limits::MemberMeter;
use crate::archive::sevenz_header::{PartOf, SevenZipFolder};
use crate::archive::tar_header::damaged;
use crate::model::failure::{Class, Failure};

/// What comes out of a folder, part by part.
pub(super) struct FolderReader<'a> {
    pub(super) folder: &'a SevenZipFolder,
    pub(super) stream: Box<dyn Read>,
    pub(super) next: usize,
    pub(super) crc: Digest,
    pub(super) encrypted: bool,
}

impl FolderReader<'_> {
    pub(super) fn is_over(&self) -> bool {
        self.next == self.folder.parts.len()
    }

    pub(super) fn part(&self) -> PartOf {
        self.folder.parts.get(self.next).copied().unwrap_or_default()
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, UnpackError> {
        loop {
            match self.stream.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.blamed(UnpackError::from_read(error))),
                Ok(read) => {
                    self.crc.update(&into[..read]);
                    return Ok(read);
                }
            }
        }
    }

    /// With a wrong password, content looks damaged.
    pub(super) fn blamed(&self, error: UnpackError) -> UnpackError {
        if self.encrypted && error.class() == Class::ArchiveDamaged {
            return UnpackError::new(
                Class::ArchiveEncrypted,
                format!("the password is wrong, or it is damaged: {}", crate::model::chain(&error)),
            );
        }
        error
    }

    /// After its last part.
    pub(super) fn end(mut self) -> Result<(), UnpackError> {
        if self.read(&mut [0])? > 0 {
            return Err(self.blamed(damaged("more comes out of it than its header tells")));
        }
        match self.folder.crc.is_none_or(|told| u64::from(told) == self.crc.finalize()) {
            true => Ok(()),
            false => Err(self.blamed(damaged("the checksum over several members does not hold"))),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SevenZipState {
    Reading,
    Proven,
    Failed,
}

/// The content of a member. Its end is reported only once size and checksum held.
pub(super) struct SevenZipContent<'a, 'f> {
    pub(super) reader: &'a mut FolderReader<'f>,
    pub(super) left: u64,
    pub(super) crc: Digest,
    pub(super) meter: MemberMeter<'a>,
    pub(super) name: &'a str,
    pub(super) state: SevenZipState,
}

impl SevenZipContent<'_, '_> {
    fn next(&mut self, into: &mut [u8]) -> Result<usize, UnpackError> {
        if self.state == SevenZipState::Failed {
            return Err(damaged("it failed before"));
        }
        let wish = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wish == 0 {
            return if self.left == 0 { self.prove().map(|()| 0) } else { Ok(0) };
        }
        let read = self.reader.read(&mut into[..wish])?;
        if read == 0 {
            return Err(self
                .reader
                .blamed(damaged(format!("{} of its bytes are missing", self.left))));
        }
        self.left -= read as u64;
        self.crc.update(&into[..read]);
        self.meter.bytes(read as u64)?;
        Ok(read)
    }

    fn prove(&mut self) -> Result<(), UnpackError> {
        let (crc, told) = (self.crc.finalize(), self.reader.part().crc);
        if let Some(told) = told.map(u64::from).filter(|told| *told != crc) {
            return Err(self.reader.blamed(damaged(format!(
                "its checksum is {crc:08x}; the header tells {told:08x}"
            ))));
        }
        self.state = SevenZipState::Proven;
        self.reader.next += 1;
        Ok(())
    }
}

impl Read for SevenZipContent<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.state == SevenZipState::Proven {
            return Ok(0);
        }
        self.next(into).map_err(|error| {
            self.state = SevenZipState::Failed;
            error.at(self.name).into_read()
        })
    }
}
