//! Hard links in tars: names for content that stands earlier in the same archive.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::archive::contract::Member;

/// Which files were seen, and the links to them.
#[derive(Default)]
pub(crate) struct Links {
    /// By the hash of its name, the newest file so called: its number among all entries. Names take
    /// more room, and the name is compared once the file is read.
    files: HashMap<u64, usize>,
    /// Links that were seen, by name: a link may point at another one.
    links: HashMap<Vec<u8>, LinkTarget>,
    /// Links to each file, in their order.
    waiting: BTreeMap<usize, Vec<WaitingLink>>,
}

/// What a link comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LinkTarget {
    number: usize,
    name: Vec<u8>,
}

/// A link that waits for its content.
#[derive(Debug)]
pub(crate) struct WaitingLink {
    /// The link.
    pub member: Member,
    /// The name of the file that has the content.
    pub target: Vec<u8>,
}

impl Links {
    /// The entry `number` is a file called `name`.
    pub(crate) fn saw_file(&mut self, number: usize, name: &[u8]) {
        let name = plain(name);
        self.files.insert(hash(name), number);
        self.links.remove(name);
    }

    /// `member` is a link to what is called `target`; it comes back if no such file was seen.
    pub(crate) fn saw_link(&mut self, member: Member, target: &[u8]) -> Result<(), Member> {
        let name = plain(target);
        let file = || {
            self.files
                .get(&hash(name))
                .map(|number| LinkTarget { number: *number, name: name.to_vec() })
        };
        let Some(target) = self.links.get(name).cloned().or_else(file) else { return Err(member) };
        self.links.insert(plain(&member.raw_name).to_vec(), target.clone());
        self.waiting
            .entry(target.number)
            .or_default()
            .push(WaitingLink { member, target: target.name });
        Ok(())
    }

    /// The links to the entry `number`: all of them if they can be served at once, else the first.
    pub fn take(&mut self, number: usize, at_once: bool) -> Vec<WaitingLink> {
        let Some(waiting) = self.waiting.get_mut(&number) else { return Vec::new() };
        let taken = if at_once { std::mem::take(waiting) } else { waiting.drain(..1).collect() };
        if waiting.is_empty() {
            self.waiting.remove(&number);
        }
        taken
    }

    /// The last entry that a link waits for, and how many links wait in all.
    pub fn last(&self) -> Option<(usize, usize)> {
        Some((*self.waiting.keys().next_back()?, self.waiting.values().map(Vec::len).sum()))
    }
}

/// Whether two names are of the same file.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    plain(one) == plain(other)
}

/// A name without what programs put before it in one place and leave out in another.
fn plain(name: &[u8]) -> &[u8] {
    let mut rest = name;
    loop {
        rest = match rest {
            [b'.', b'/', after @ ..] | [b'/', after @ ..] if !after.is_empty() => after,
            _ => return rest,
        };
    }
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
