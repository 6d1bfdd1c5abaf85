//! What a lie is: what the server is about to say, and what becomes of it.

use std::sync::MutexGuard;

use blobferry::model::failure::Class;
use blobferry::model::{RemoteFile, RemotePath};
use blobferry::source::contract::{Listed, Op};
use blobferry::transfer::settings::{After, DeleteBy, Source};
use bytes::Bytes;

use super::scene::LyingScene;
use super::truth::SourceTruth;

/// A way in which a server errs.
#[derive(Debug)]
pub struct Lie {
    /// Its name: unique.
    pub name: &'static str,
    /// What the server does, for people.
    pub what: &'static str,
    /// The safeguard that sees through it: one of `SAFEGUARDS`.
    pub guard: &'static str,
    /// Acts on what the server is about to say; whether it did.
    pub act: fn(&Cue<'_>, &mut Saying<'_>) -> bool,
    /// What the source must be set to for the lie to matter.
    pub setting: fn(&mut Source),
}

/// What most lies have: no setting of their own.
pub const PLAIN: Lie = Lie { name: "", what: "", guard: "", act: |_, _| false, setting: |_| {} };

/// Files leave the source once they are stored.
pub fn deletes(source: &mut Source) {
    source.after = After::Delete;
}

/// And by a name of ours.
pub fn renames(source: &mut Source) {
    (source.after, source.delete_by) = (After::Delete, DeleteBy::Rename);
}

/// And without one.
pub fn deletes_in_place(source: &mut Source) {
    (source.after, source.delete_by) = (After::Delete, DeleteBy::Delete);
}

/// Files stay.
pub fn keeps(source: &mut Source) {
    source.after = After::Keep;
}

/// What becomes of a removal or a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Done,
    /// The server says that it is done, and does nothing.
    Pretended,
    Refused(Class),
}

/// What the server is about to say or to do.
#[derive(Debug)]
pub enum Saying<'a> {
    /// Nothing yet: this call has come. What lies do to the source here is true for the call.
    Before(Op, &'a RemotePath),
    /// The entries of a folder, and how the listing ends: well, or with an error.
    Listing(&'a RemotePath, &'a mut Vec<Listed>, &'a mut Option<Class>),
    /// A description.
    Description(&'a RemotePath, &'a mut Result<Option<RemoteFile>, Class>),
    /// A file is opened at an offset, or refused.
    Opening(&'a RemotePath, &'a mut u64, &'a mut Option<Class>),
    /// Bytes of a file at an offset, `None` at its end.
    Chunk(&'a RemotePath, u64, &'a mut Result<Option<Bytes>, Class>),
    /// The last byte was sent, and its end told.
    Ended(&'a RemotePath),
    /// A removal, or a rename.
    Leaving(Op, &'a RemotePath, &'a mut Deed),
    /// A run begins.
    Run(u64),
}

/// Where a lie stands.
pub struct Cue<'a> {
    pub scene: &'a LyingScene,
    pub lie: &'static Lie,
}

impl Cue<'_> {
    /// Whether the lie is about this path: about `/f0` and `/d` always, about others by the seed.
    pub fn hits(&self, path: &RemotePath) -> bool {
        // A name of ours for a file that is to leave is the file's own, and more.
        let own = path.as_bytes().split(|byte| *byte == b'~').next().unwrap_or_default();
        let path = &RemotePath::new(own);
        matches!(path.as_bytes(), b"/f0" | b"/d")
            || self.scene.draw(self.lie.name, path, 0).is_multiple_of(3)
    }

    /// How often `op` was called for `path`, this call included.
    pub fn nth(&self, op: Op, path: &RemotePath) -> u64 {
        self.scene.calls_of(op, path)
    }

    /// The number of the run, from 0.
    pub fn run(&self) -> u64 {
        self.scene.run()
    }

    /// What the server truly holds.
    pub fn truth(&self) -> MutexGuard<'_, SourceTruth> {
        self.scene.truth()
    }

    /// Once for each path and word.
    pub fn once(&self, path: &RemotePath) -> bool {
        self.scene.once(self.lie.name, path)
    }

    /// Every path at the source that the lie is about.
    pub fn paths(&self) -> Vec<RemotePath> {
        self.truth().files.keys().filter(|path| self.hits(path)).cloned().collect()
    }
}

impl Saying<'_> {
    /// Changes lines of listings that tell of files.
    pub fn lines(&mut self, cue: &Cue<'_>, change: impl Fn(&mut RemoteFile)) -> bool {
        let Saying::Listing(_, entries, _) = self else { return false };
        let mut acted = false;
        for entry in entries.iter_mut() {
            if let Listed::File(file) = entry
                && cue.hits(&file.path)
            {
                change(file);
                acted = true;
            }
        }
        acted
    }

    /// Changes what a description tells of a file that is there.
    pub fn descriptions(&mut self, cue: &Cue<'_>, change: impl Fn(&mut RemoteFile)) -> bool {
        match self {
            Saying::Description(path, Ok(Some(file))) if cue.hits(path) => {
                change(file);
                true
            }
            _ => false,
        }
    }

    /// Changes both.
    pub fn told(&mut self, cue: &Cue<'_>, change: impl Fn(&mut RemoteFile)) -> bool {
        self.lines(cue, &change) || self.descriptions(cue, &change)
    }

    /// Puts other entries into the place of lines of files; nothing in the place of some.
    pub fn entries(&mut self, cue: &Cue<'_>, change: impl Fn(RemoteFile) -> Vec<Listed>) -> bool {
        let Saying::Listing(_, entries, _) = self else { return false };
        let hit = |entry: &Listed| matches!(entry, Listed::File(file) if cue.hits(&file.path));
        let acted = entries.iter().any(hit);
        let told = std::mem::take(*entries).into_iter().flat_map(|entry| match entry {
            Listed::File(file) if cue.hits(&file.path) => change(file),
            other => vec![other],
        });
        **entries = told.collect();
        acted
    }

    /// A description or an opening of a file that the lie is about fails.
    pub fn refuses(&mut self, cue: &Cue<'_>, ops: &[Op], class: Class) -> bool {
        match self {
            Saying::Description(path, told) if cue.hits(path) && ops.contains(&Op::Stat) => {
                **told = if class == Class::NotFound { Ok(None) } else { Err(class) };
                true
            }
            Saying::Opening(path, _, error) if cue.hits(path) && ops.contains(&Op::Read) => {
                **error = Some(class);
                true
            }
            _ => false,
        }
    }

    /// The path of a call of `op` that has just come, if the lie is about it.
    pub fn comes(&self, cue: &Cue<'_>, op: Op) -> Option<RemotePath> {
        match self {
            Saying::Before(come, path) if *come == op && cue.hits(path) => Some((*path).clone()),
            _ => None,
        }
    }

    /// The path of a file that was just read to its end.
    pub fn ended(&self, cue: &Cue<'_>) -> Option<RemotePath> {
        match self {
            Saying::Ended(path) if cue.hits(path) => Some((*path).clone()),
            _ => None,
        }
    }
}
