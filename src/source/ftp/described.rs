//! What replies to SIZE, MDTM and MLST tell of one file.

use crate::failpoint::safeguard_off;
use crate::model::{RemoteFile, RemotePath};
use crate::source::contract::SourceError;
use crate::source::ftp::fault::{FtpReply, Scene};
use crate::source::ftp::mlsd;
use crate::source::ftp::ways::{size_of, time_of};

/// What a server says of one property of a file.
pub(crate) enum FtpTold {
    Value(Vec<u8>),
    Missing(FtpReply),
    NoSuchCommand,
}

pub fn told(scene: Scene<'_>, reply: FtpReply) -> Result<FtpTold, SourceError> {
    match reply.code {
        213 => Ok(FtpTold::Value(reply.body.get(4..).unwrap_or_default().trim_ascii().to_vec())),
        _ if reply.not_understood() => Ok(FtpTold::NoSuchCommand),
        _ if reply.is_about_the_path() => Ok(FtpTold::Missing(reply)),
        // Whatever else it refuses this command for: what the login may not ask, its listings tell.
        530 | 532 | 534 => Ok(FtpTold::NoSuchCommand),
        _ => Err(scene.refused(&reply)),
    }
}

/// The file, if the server told its size, and its time, too, unless that is left out of its
/// listings. A reply that answers neither question belongs to an earlier one: then none of those
/// after it can be believed.
pub(crate) fn told_plainly(
    scene: Scene<'_>,
    path: &RemotePath,
    replies: &[FtpReply],
) -> Result<Option<RemoteFile>, SourceError> {
    match replies {
        [facts] => match facts.code {
            250 => Ok(match told_by_mlst(facts, path) {
                Some(ToldByMlst::File(file)) if file.size.is_some() => Some(file),
                _ => None,
            }),
            _ if facts.not_understood() || facts.is_about_the_path() => Ok(None),
            _ => Err(scene.refused(facts)),
        },
        [size, modified] => {
            Ok(match (told(scene, size.clone())?, told(scene, modified.clone())?) {
                (FtpTold::Value(size), FtpTold::Value(modified)) => {
                    size_of(&size).zip(time_of(&modified)).map(|(size, modified)| {
                        RemoteFile::told(path.clone(), Some(size), Some(modified))
                    })
                }
                _ => None,
            })
        }
        _ => Err(scene.unanswered()),
    }
}

/// What `MLST` says of a path.
pub(crate) enum ToldByMlst {
    File(RemoteFile),
    NoFile,
}

/// What `MLST` says; `None` if that cannot be read, or is about another file than was asked for.
/// Some servers tell it in the first line, some tell of the folder before.
pub(crate) fn told_by_mlst(reply: &FtpReply, path: &RemotePath) -> Option<ToldByMlst> {
    use super::listing_entry::{FtpListingKind, FtpListingLine};
    let lines = reply.body.split(|b| *b == b'\n').enumerate().filter_map(|(n, line)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if n == 0 { line.get(4..) } else { Some(line.strip_prefix(b" ").unwrap_or(line)) }
    });
    let mut named = lines.filter_map(|line| match mlsd::line(line) {
        FtpListingLine::Entry(entry)
            if last(&entry.name) == last(path.as_bytes()) || safeguard_off!("mlst-name") =>
        {
            Some(entry)
        }
        _ => None,
    });
    let entry = named.next()?;
    Some(match entry.kind {
        FtpListingKind::File => {
            ToldByMlst::File(RemoteFile::told(path.clone(), entry.size, entry.modified))
        }
        _ => ToldByMlst::NoFile,
    })
}

/// The last segment of a path.
pub fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}
