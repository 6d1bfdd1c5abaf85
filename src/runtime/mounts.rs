//! What the system tells of the mount that a folder is in.

use std::path::Path;

/// Why other machines do not see the locks that this one takes in `folder`, if they do not.
pub(crate) fn local_locks_of(folder: &Path) -> Option<&'static str> {
    local_locks(&mount_options(folder)?)
}

/// The same by the kind and the options of a mount.
fn local_locks(options: &str) -> Option<&'static str> {
    let mut words = options.split([' ', ',']);
    let kind = words.next()?;
    let has = |wanted: &[&str]| options.split([' ', ',']).any(|word| wanted.contains(&word));
    match kind {
        "fuse.sshfs" => Some("sshfs"),
        "nfs" | "nfs4" if has(&["nolock", "local_lock=all", "local_lock=flock"]) => {
            Some("an NFS mount with `nolock` or `local_lock`")
        }
        "cifs" | "smb3" if has(&["nobrl", "nolock"]) => Some("an SMB mount with `nobrl`"),
        // A program serves these, and the system keeps their locks itself unless it is asked not
        // to. `fuseblk` is a disk of this machine.
        _ if kind.starts_with("fuse.") => Some("a file system that a program serves"),
        _ => None,
    }
}

/// Kind and options of the mount that `folder` is in: `nfs4 rw,vers=4.2 …`.
#[cfg(target_os = "linux")]
fn mount_options(folder: &Path) -> Option<String> {
    let real = std::fs::canonicalize(folder).ok()?;
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts = table.lines().filter_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        let mut words = system.split(' ');
        let (kind, options) = (words.next()?, words.nth(1)?);
        real.starts_with(point).then(|| (point.len(), format!("{kind} {options}")))
    });
    // The last of the longest: what was mounted over it counts.
    mounts.max_by_key(|(length, _)| *length).map(|(_, options)| options)
}

#[cfg(not(target_os = "linux"))]
fn mount_options(_folder: &Path) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_whose_locks_hold_on_one_machine_are_known() {
        assert_eq!(local_locks("fuse.sshfs rw,user_id=0"), Some("sshfs"));
        assert!(local_locks("fuse.rclone rw,user_id=0").is_some());
        assert!(local_locks("fuseblk rw,user_id=0").is_none());
        assert!(local_locks("nfs4 rw,local_lock=none,vers=4.2").is_none());
        assert!(local_locks("nfs rw,vers=3,nolock,proto=tcp").is_some());
        assert!(local_locks("nfs rw,local_lock=all").is_some());
        assert!(local_locks("cifs rw,nobrl,cache=none").is_some());
        assert!(local_locks("cifs rw,cache=none").is_none() && local_locks("ext4 rw").is_none());
    }
}
