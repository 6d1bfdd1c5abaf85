//! Lies in how reads go, and in what becomes of removals and renames.

use blobferry::model::failure::Class;
use blobferry::source::contract::Op;
use bytes::Bytes;

use super::cue::{Cue, Deed, Lie, PLAIN, Saying, deletes, renames};

/// How reads end, and what the server allows.
pub const READS: &[Lie] = &[
    Lie {
        name: "ends-early",
        what: "a read ends early, and says that it is whole",
        guard: "verify",
        act: |cue, saying| match saying {
            Saying::Chunk(path, at, chunk) if cue.hits(path) && *at > 0 => {
                **chunk = Ok(None);
                true
            }
            _ => false,
        },
        ..PLAIN
    },
    Lie {
        name: "sends-more",
        what: "more comes than there is",
        guard: "verify",
        act: |cue, saying| match saying {
            Saying::Chunk(path, at, Ok(chunk @ None)) if cue.hits(path) && *at < 4_000 => {
                *chunk = Some(Bytes::from_static(&[0; 4_000]));
                true
            }
            _ => false,
        },
        ..PLAIN
    },
    Lie {
        name: "offset-ignored",
        what: "a read that goes on after a lost connection begins at 0",
        guard: "verify",
        act: |cue, saying| match saying {
            Saying::Opening(path, at, None) if cue.hits(path) && **at > 0 => {
                **at = 0;
                true
            }
            Saying::Chunk(path, at, chunk) if cue.hits(path) && *at > 0 && cue.once(path) => {
                **chunk = Err(Class::Connect);
                true
            }
            _ => false,
        },
        ..PLAIN
    },
    Lie {
        name: "end-fails",
        what: "the read past the last byte fails",
        guard: "failures-told",
        act: |cue, saying| match saying {
            Saying::Chunk(path, _, chunk @ Ok(None)) if cue.hits(path) => {
                **chunk = Err(Class::Permission);
                true
            }
            _ => false,
        },
        ..PLAIN
    },
    Lie {
        name: "reading-denied",
        what: "a file is listed, and may not be read",
        guard: "failures-told",
        act: |cue, saying| saying.refuses(cue, &[Op::Read], Class::Permission),
        ..PLAIN
    },
    Lie {
        name: "reading-breaks",
        what: "every read of a file breaks its connection",
        guard: "failures-told",
        act: |cue, saying| saying.refuses(cue, &[Op::Read], Class::Connect),
        ..PLAIN
    },
    Lie {
        name: "removal-refused",
        what: "removals and renames are refused",
        guard: "failures-told",
        act: |cue, saying| leaving(cue, saying, Deed::Refused(Class::Permission)),
        setting: deletes,
        ..PLAIN
    },
    Lie {
        name: "removal-pretended",
        what: "a removal is said to be done, and the file stays",
        guard: "look-after-removal",
        act: |cue, saying| {
            let is_removal = matches!(saying, Saying::Leaving(Op::Remove, ..));
            is_removal && leaving(cue, saying, Deed::Pretended)
        },
        setting: deletes,
        ..PLAIN
    },
    Lie {
        name: "rename-pretended",
        what: "a rename is said to be done, and the file stays",
        guard: "look-after-removal",
        act: |cue, saying| {
            let is_rename = matches!(saying, Saying::Leaving(Op::Rename, ..));
            is_rename && leaving(cue, saying, Deed::Pretended)
        },
        setting: renames,
        ..PLAIN
    },
    Lie {
        name: "removal-breaks",
        what: "the first removals of a file that was renamed break their connection",
        guard: "names-given-back",
        act: |cue, saying| match saying {
            Saying::Leaving(Op::Remove, path, deed)
                if cue.hits(path) && cue.nth(Op::Remove, path) < 6 =>
            {
                **deed = Deed::Refused(Class::Connect);
                true
            }
            _ => false,
        },
        setting: renames,
        ..PLAIN
    },
];

fn leaving(cue: &Cue<'_>, saying: &mut Saying<'_>, becomes: Deed) -> bool {
    match saying {
        Saying::Leaving(_, path, deed) if cue.hits(path) => {
            **deed = becomes;
            true
        }
        _ => false,
    }
}
