//! What an error of a file system means, and what to do about it.

use std::io::{self, ErrorKind};

use super::calls::CallError;
use crate::model::RemotePath;
use crate::model::failure::Class;
use crate::source::contract::{Op, SourceError};

const HUNG: &str = "the share does not answer: see whether its server is up and its mount is whole \
    (`mount`, `dmesg`); if it is only slow, raise `stall_timeout`";
const GONE: &str = "the share is not connected any more: mount it again";
const BROKEN: &str = "the share's file system reports an error: see `dmesg`, its server and its \
    disk";
const BUSY: &str = "another program holds this file (a lock, a lease), or the share has too much \
    to do; it is tried again";
const READ_ONLY: &str = "the share is mounted for reading only: mount it for writing, or set \
    `after = \"keep\"`";
const NO_ROOM: &str = "the file system that files are moved to is full, by bytes, files or quota: \
    make room";
const LINK: &str = "files are moved and read through no link: name the folder that the link leads \
    to in `url` or `after`";

/// The class of an answer, whether asking again may help, and what to do if the class does not say.
fn class_of(error: &io::Error) -> (Class, bool, Option<&'static str>) {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            (Class::NotFound, false, None)
        }
        ErrorKind::PermissionDenied => (Class::Permission, false, None),
        ErrorKind::AlreadyExists => (Class::Permission, false, None),
        ErrorKind::ReadOnlyFilesystem => (Class::Permission, false, Some(READ_ONLY)),
        ErrorKind::TimedOut => (Class::Stalled, true, Some(HUNG)),
        ErrorKind::NotConnected
        | ErrorKind::StaleNetworkFileHandle
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted => (Class::ShareError, true, Some(GONE)),
        ErrorKind::ResourceBusy
        | ErrorKind::WouldBlock
        | ErrorKind::Interrupted
        | ErrorKind::ExecutableFileBusy => (Class::Busy, true, Some(BUSY)),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            (Class::AfterAction, false, Some(NO_ROOM))
        }
        _ if is_loop(error) => (Class::NotFound, false, Some(LINK)),
        _ => (Class::ShareError, true, Some(BROKEN)),
    }
}

#[cfg(target_os = "linux")]
fn is_loop(error: &io::Error) -> bool {
    // EXDEV: the kernel says so of a path that leads out of the share.
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::LOOP | rustix::io::Errno::XDEV))
}

#[cfg(not(target_os = "linux"))]
fn is_loop(_error: &io::Error) -> bool {
    false
}

/// The error of a call on `path`.
pub fn fail(op: Op, address: &str, path: &RemotePath, error: CallError) -> SourceError {
    let error = match error {
        CallError::Hung(after) => {
            let cause = format!("the share did not answer within {} s", after.as_secs_f32());
            SourceError::new(op, address, Class::Stalled, cause).hinted(HUNG)
        }
        CallError::Hangs(calls) => {
            let cause = format!("the share hangs: {calls} calls never came back");
            SourceError::new(op, address, Class::Stalled, cause).hinted(HUNG).transient(false)
        }
        CallError::Io(error) => {
            let (class, transient, hint) = class_of(&error);
            let failed = SourceError::new(op, address, class, error).transient(transient);
            match hint {
                Some(hint) => failed.hinted(hint),
                None => failed,
            }
        }
    };
    error.at(path).session_survives()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Failure;

    fn check(errno: i32, class: Class, transient: bool, hint: &str) {
        let error = io::Error::from_raw_os_error(errno);
        let failed = fail(Op::Read, "file://", &"/share/a".into(), CallError::Io(error));
        let told = format!("{errno}: {failed:?}");
        assert_eq!((failed.class(), failed.is_transient()), (class, transient), "{told}");
        assert!(failed.hint().contains(hint), "{told}: {}", failed.hint());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_error_of_a_file_system_is_told_as_what_it_is() {
        use rustix::io::Errno;
        check(Errno::IO.raw_os_error(), Class::ShareError, true, "dmesg");
        check(Errno::STALE.raw_os_error(), Class::ShareError, true, "mount it again");
        check(Errno::NOTCONN.raw_os_error(), Class::ShareError, true, "mount it again");
        check(Errno::BUSY.raw_os_error(), Class::Busy, true, "another program");
        check(Errno::AGAIN.raw_os_error(), Class::Busy, true, "another program");
        check(Errno::LOOP.raw_os_error(), Class::NotFound, false, "no link");
        check(Errno::NOENT.raw_os_error(), Class::NotFound, false, "does not have it");
        check(Errno::ACCESS.raw_os_error(), Class::Permission, false, "right");
        check(Errno::ROFS.raw_os_error(), Class::Permission, false, "reading only");
        check(Errno::NOSPC.raw_os_error(), Class::AfterAction, false, "make room");
        check(Errno::DQUOT.raw_os_error(), Class::AfterAction, false, "make room");
        check(Errno::TIMEDOUT.raw_os_error(), Class::Stalled, true, "stall_timeout");
    }

    #[test]
    fn a_share_that_hangs_is_told_with_its_setting_and_then_not_asked_again() {
        let hung = CallError::Hung(std::time::Duration::from_secs(60));
        let failed = fail(Op::List, "file://", &"/share".into(), hung);
        assert_eq!((failed.class(), failed.is_transient()), (Class::Stalled, true));
        assert!(failed.hint().contains("stall_timeout"));
        let failed = fail(Op::List, "file://", &"/share".into(), CallError::Hangs(16));
        assert_eq!((failed.class(), failed.is_transient()), (Class::Stalled, false));
    }
}
