//! Folders that wait to be listed: names only, below the folders that hold them.

use crate::model::RemotePath;
use crate::source::room::{MemoryRoom, RoomPart};

/// Names of one folder are kept together up to so many bytes: one buffer for many, and none that
/// has to grow far.
const TOGETHER: usize = 64 << 10;
/// What a group takes beside its names.
const GROUP: u64 = 128;

/// Folders that wait, the last found first: so that as few as can be wait.
#[derive(Debug)]
pub struct Folders {
    groups: Vec<Group>,
    part: RoomPart,
}

#[derive(Debug)]
struct Group {
    parent: RemotePath,
    depth: usize,
    /// Each name, followed by its length in four bytes.
    names: Vec<u8>,
    taken: u64,
}

impl Folders {
    /// None yet; those that come take their bytes from `room`.
    pub(crate) fn new(room: &MemoryRoom) -> Self {
        Self { groups: Vec::new(), part: room.part() }
    }

    /// A folder at `depth` waits, if there is room for its name.
    #[must_use]
    pub fn push(&mut self, path: &RemotePath, depth: usize) -> bool {
        let (parent, name) = (path.parent(), path.file_name());
        let Ok(length) = u32::try_from(name.len()) else { return false };
        let fits = |group: &Group| {
            group.depth == depth
                && group.parent == parent
                && group.names.len() + name.len() <= TOGETHER
        };
        if !self.groups.last().is_some_and(fits) {
            let taken = GROUP + parent.as_bytes().len() as u64;
            if !self.part.grow(taken) {
                return false;
            }
            self.groups.push(Group { parent, depth, names: Vec::new(), taken });
        }
        let Some(group) = self.groups.last_mut() else { return false };
        // A buffer that grows is at most twice as large as what it holds.
        let bytes = 2 * (name.len() as u64 + 4);
        if !self.part.grow(bytes) {
            return false;
        }
        group.taken += bytes;
        group.names.extend_from_slice(name);
        group.names.extend_from_slice(&length.to_be_bytes());
        true
    }

    /// The next folder to list, and its depth.
    pub fn pop(&mut self) -> Option<(RemotePath, usize)> {
        loop {
            let group = self.groups.last_mut()?;
            let Some((rest, length)) = group.names.split_last_chunk::<4>() else {
                let taken = group.taken;
                self.groups.pop();
                self.part.shrink(taken);
                continue;
            };
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let start = rest.len().saturating_sub(length);
            let found = (group.parent.join(&rest[start..]), group.depth);
            group.names.truncate(start);
            return Some(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_back_as_they_were_the_last_one_first() {
        let room = MemoryRoom::new(1 << 20);
        let mut folders = Folders::new(&room);
        for (path, depth) in [("/a", 1), ("/b c", 1), ("/a/b", 2), ("/a/ ", 2), ("/~/x", 2)] {
            assert!(folders.push(&RemotePath::from(path), depth));
        }
        let found: Vec<_> = std::iter::from_fn(|| folders.pop())
            .map(|(path, depth)| format!("{path} {depth}"))
            .collect();
        assert_eq!(found, ["/~/x 2", "/a/  2", "/a/b 2", "/b c 1", "/a 1"]);
        assert!(room.part().grow(1 << 20), "all of the room is free again");
    }

    #[test]
    fn folders_without_end_take_no_more_than_their_room() {
        let room = MemoryRoom::new(1 << 20);
        let mut folders = Folders::new(&room);
        let name = "d".repeat(200);
        let taken = (0..1_000_000)
            .take_while(|n| folders.push(&RemotePath::from(format!("/x/{name}{n}").as_str()), 1))
            .count();
        assert!((2000..5000).contains(&taken), "{taken}");
        let bytes: usize = folders
            .groups
            .iter()
            .map(|group| group.names.capacity() + group.parent.as_bytes().len())
            .sum();
        assert!(bytes <= 1 << 20, "{bytes}");
    }
}
