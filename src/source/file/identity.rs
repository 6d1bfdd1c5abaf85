//! Which file system lies at the root of a share, so that a bare mount point is not taken for it.

use std::io;
use std::path::Path;

use crate::source::contract::ShareId;

/// Sub-mounts that are remembered.
#[cfg(any(target_os = "linux", test))]
const MOST_MOUNTS: usize = 64;

/// The file system at `root`: its kind, its own id where that outlives a mount, whether the folder
/// is where it is mounted, and what is mounted below.
#[cfg(target_os = "linux")]
pub fn identity(root: &Path) -> io::Result<Option<ShareId>> {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statfs, statx};
    // Only these make theirs of what is on the disk.
    const EXT: u64 = 0xef53;
    const BTRFS: u64 = 0x9123_683e;
    let found = statfs(root)?;
    let kind = file_system_kind(&found);
    let own = match kind {
        EXT | BTRFS => format!("{:?}", found.f_fsid)
            .bytes()
            .filter(u8::is_ascii_digit)
            .fold(0_u64, |sum, digit| sum.wrapping_mul(31).wrapping_add(u64::from(digit))),
        _ => 0,
    };
    let mounted = statx(CWD, root, AtFlags::empty(), StatxFlags::BASIC_STATS)
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    let mounted = if mounted { "mounted" } else { "folder" };
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let real = std::fs::canonicalize(root)?;
    Ok(Some(ShareId {
        root: format!("{kind:x} {own:x} {mounted}"),
        below: mounts_below(&table, &real),
    }))
}

/// The number of a kind of file system, as statfs(2) lists them.
#[cfg(target_os = "linux")]
pub(super) fn file_system_kind(found: &rustix::fs::StatFs) -> u64 {
    #[cfg_attr(
        target_pointer_width = "64",
        expect(clippy::useless_conversion, reason = "it has 32 bits where pointers have")
    )]
    let kind = i64::from(found.f_type);
    u64::from_ne_bytes(kind.to_ne_bytes())
}

/// Elsewhere nothing tells it in a way that outlives a mount.
#[cfg(not(target_os = "linux"))]
pub fn identity(_root: &Path) -> io::Result<Option<ShareId>> {
    Ok(None)
}

/// The mount points below `root`, relative to it, of a table as `/proc/self/mountinfo`.
#[cfg(any(target_os = "linux", test))]
fn mounts_below(table: &str, root: &Path) -> Vec<String> {
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    let mut below: Vec<String> = points
        .filter_map(|point| Some(Path::new(&point).strip_prefix(root).ok()?.display().to_string()))
        .filter(|below| !below.is_empty())
        .take(MOST_MOUNTS)
        .collect();
    below.sort();
    below.dedup();
    below
}

/// The table writes blanks and the like as `\040`.
#[cfg(any(target_os = "linux", test))]
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[3..]);
            }
            None => bytes.extend_from_slice(part.as_bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What lies at `root`, in words for people.
#[cfg(target_os = "linux")]
pub fn told(root: &Path) -> io::Result<String> {
    let real = std::fs::canonicalize(root)?;
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let lines = table.lines().filter_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let point = unescaped(mount.split(' ').nth(4)?);
        let mut words = system.split(' ');
        let (kind, from) = (words.next()?.to_owned(), unescaped(words.next()?));
        real.starts_with(&point).then_some((point, kind, from))
    });
    // The last of the longest: what was mounted over it counts.
    let deepest = lines.max_by_key(|(point, ..)| point.len());
    let room = rustix::fs::statvfs(root)?;
    let free = crate::report::in_bytes(room.f_bavail.saturating_mul(room.f_frsize));
    let write = if rustix::fs::access(root, rustix::fs::Access::WRITE_OK).is_ok() {
        "may be written"
    } else {
        "may only be read"
    };
    Ok(match deepest {
        Some((point, _, _)) if point == "/" => {
            format!("a folder of this machine's own disk, {free} free, {write}")
        }
        Some((point, kind, from)) => {
            format!("{kind}, `{from}` mounted at `{point}`, {free} free, {write}")
        }
        None => format!("{free} free, {write}"),
    })
}

/// What lies at `root`, in words for people.
#[cfg(not(target_os = "linux"))]
pub fn told(root: &Path) -> io::Result<String> {
    std::fs::metadata(root).map(|_| "the file system of this machine".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_below_a_share_is_known() {
        let table = "\
            22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 22 8:2 / /srv rw - xfs /dev/sdb rw\n\
            31 30 0:40 / /srv/with\\040blank/in rw shared:1 - nfs4 host:/x rw\n\
            32 30 0:41 / /srv/a rw - tmpfs tmpfs rw\n\
            33 22 0:42 / /srvother rw - tmpfs tmpfs rw\n";
        assert_eq!(mounts_below(table, Path::new("/srv")), ["a", "with blank/in"]);
        assert_eq!(mounts_below(table, Path::new("/srv/a")), Vec::<String>::new());
    }
}
