//! Moves a file, within a file system or to another one, never over another file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use md5::{Digest, Md5};

#[cfg(target_os = "linux")]
use super::beneath::Share;
use super::calls::Pulse;
use super::look::FileLook;
#[cfg(not(target_os = "linux"))]
use super::plain::PathShare as Share;
use crate::model::{RemotePath, hex};

const CHUNK: usize = 1 << 20;

/// Moves the file at `from` to `to`, if it is `expected` still; `false` if it is another. Between
/// two file systems it is copied, brought to the disk and compared before the original goes.
pub fn rename(
    share: &Share,
    (from, to): (&RemotePath, &RemotePath),
    expected: Option<&FileLook>,
    pulse: &Pulse,
) -> io::Result<bool> {
    share.make_folders_of(to)?;
    match share.rename(from, to, expected) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            across(share, (from, to), expected, pulse)
        }
        result => result,
    }
}

fn across(
    share: &Share,
    (from, to): (&RemotePath, &RemotePath),
    expected: Option<&FileLook>,
    pulse: &Pulse,
) -> io::Result<bool> {
    let (original, look) = share.read(from)?;
    if expected.is_some_and(|expected| !look.is_still(expected)) {
        return Ok(false);
    }
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let partial = to.parent().join(format!(".blobferry-{}.part", hex(&random)).as_bytes());
    let copied = share
        .create(&partial)
        .and_then(|copy| copy_whole(&original, copy, &look, pulse))
        .and_then(|()| Ok(share.look_again(&original)?.is_still(&look)))
        .and_then(|still| Ok(still && share.rename(&partial, to, None)?));
    match copied {
        Ok(true) => {
            share.sync_folder_of(to)?;
            share.remove(from, Some(&look))
        }
        stays => {
            // The first error counts.
            drop(share.remove(&partial, None));
            stays
        }
    }
}

fn copy_whole(from: &File, mut to: File, look: &FileLook, pulse: &Pulse) -> io::Result<()> {
    let sent = each_chunk(from, pulse, &mut |chunk| to.write_all(chunk))?;
    if let Some(modified) = look.modified {
        to.set_modified(modified.at.into())?;
    }
    to.sync_all()?;
    pulse.beat();
    to.seek(SeekFrom::Start(0))?;
    let arrived = each_chunk(&to, pulse, &mut |_| Ok(()))?;
    if sent != arrived {
        return Err(io::Error::other("the copy holds other bytes than the file: it stays"));
    }
    Ok(())
}

/// Reads to the end; the MD5 of what came.
fn each_chunk(
    mut file: &File,
    pulse: &Pulse,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<[u8; 16]> {
    let (mut md5, mut chunk) = (Md5::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(md5.finalize().into()),
            Ok(read) => {
                md5.update(&chunk[..read]);
                take(&chunk[..read])?;
                pulse.beat();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
