//! What can go wrong in the archive room, told by class and member.

use std::fmt;
use std::io;

use crate::archive::unread::Unread;
use crate::model::BoxError;
use crate::model::failure::{Class, Failure};

/// Why an archive could not be unpacked.
#[derive(Debug)]
pub struct UnpackError {
    member: Option<String>,
    class: Class,
    cause: BoxError,
    unread: Option<Unread>,
}

impl UnpackError {
    /// An error of `class` (`archive_*`, `limit_*`, `internal`).
    pub fn new(class: Class, cause: impl Into<BoxError>) -> Self {
        Self { member: None, class, cause: cause.into(), unread: None }
    }

    /// The error behind a failed read of a member's content or of a spool: what was put in by
    /// [`UnpackError::into_read`] as it was; anything else came from a decoder, so the archive is
    /// damaged.
    pub fn from_read(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(error) => Self::new(Class::ArchiveDamaged, error),
        }
    }

    /// This error as one that `Read` can carry.
    pub(crate) fn into_read(self) -> io::Error {
        io::Error::other(self)
    }

    /// The archive is of a kind that is not read.
    pub(crate) fn unread(kind: Unread) -> Self {
        Self {
            unread: Some(kind),
            ..Self::new(Class::ArchiveUnsupported, format!("it is {}", kind.about()))
        }
    }

    /// The archive may be of a kind that is not read, or what is told of it is true.
    #[must_use]
    pub(crate) fn or_unread(self, kind: Unread) -> Self {
        Self { unread: Some(kind), ..self }
    }

    /// It is none of a kind that is not read.
    #[must_use]
    pub(crate) fn for_certain(self) -> Self {
        Self { unread: None, ..self }
    }

    /// The kind that is not read, if it is or may be one.
    pub(crate) fn kind(&self) -> Option<Unread> {
        self.unread
    }

    /// The member that it was about; the first to tell is the nearest and stays.
    #[must_use]
    pub fn at(mut self, member: &str) -> Self {
        self.member.get_or_insert_with(|| crate::model::printable(member.as_bytes()));
        self
    }

    /// It happened in the archive that is the member `outer` of another one.
    #[must_use]
    pub fn inside(mut self, outer: &str) -> Self {
        let outer = crate::model::printable(outer.as_bytes());
        self.member = Some(match self.member {
            Some(member) => format!("{outer}!/{member}"),
            None => outer,
        });
        self
    }
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.member {
            Some(member) => write!(f, "unpacking member `{member}`"),
            None => f.write_str("unpacking"),
        }
    }
}

impl std::error::Error for UnpackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.cause.as_ref())
    }
}

impl Failure for UnpackError {
    fn class(&self) -> Class {
        self.class
    }
    fn is_transient(&self) -> bool {
        false
    }
}
