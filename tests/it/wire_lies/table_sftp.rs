//! Lies of SFTP servers about handles and listings.
//!
//! A lie is a row: its name, what the server does, the safeguard that sees through it, what has to
//! come of it, and how it acts.

use blobferry::source::sftp::packet::{Attributes, PacketReply, Request, status};
use bytes::Bytes;

use super::lie::{
    Met, PLAIN_SFTP, SftpAnswer, SftpSaying, SftpWhen, WireAct, WireLie, crowds, keeps,
};
use super::sftp::{OpenedHere, entry, say};
use super::table_words::{is_open, refuses};

/// A file that was just opened gets this handle instead of its own.
fn rename_handle(answer: &mut SftpAnswer<'_>, to: Bytes) -> bool {
    let PacketReply::Handle(own) = &*answer.reply else { return false };
    let Some(opened) = answer.handles.remove(own) else { return false };
    answer.handles.insert(to.clone(), opened);
    *answer.reply = PacketReply::Handle(to);
    true
}

/// The handle of another file, or of another folder, that is open.
fn another_open(answer: &SftpAnswer<'_>) -> Option<Bytes> {
    let PacketReply::Handle(own) = &*answer.reply else { return None };
    let is_file = matches!(answer.request, Request::Open { .. });
    let is_other = |(handle, opened): &(&Bytes, &OpenedHere)| {
        *handle != own && matches!(opened, OpenedHere::File(..)) == is_file
    };
    answer.handles.iter().filter(is_other).map(|(handle, _)| handle.clone()).min()
}

fn handle_twice(saying: &mut SftpSaying<'_>, when: SftpWhen, about: fn(&Request) -> bool) -> bool {
    let SftpSaying::Answer(answer) = saying else { return false };
    if !about(answer.request) {
        return false;
    }
    let Some(open) = another_open(answer) else { return false };
    *answer.when = when;
    rename_handle(answer, open)
}

/// Reads of one file wait for the next request to open one, which is done first and gets the handle
/// of that file. The answer to it is sent as `when` has it.
fn opens_first(saying: &mut SftpSaying<'_>, when: SftpWhen) -> bool {
    match saying {
        SftpSaying::Order(requests, order) => opens_before_reads(requests, order),
        SftpSaying::Answer(answer) if is_open(answer.request) => {
            let Some(read) = read_before(answer) else { return false };
            *answer.when = when;
            rename_handle(answer, read)
        }
        SftpSaying::Answer(_) => false,
    }
}

/// The same, if it is the last of the requests that are there together, so that all answers before
/// come in order; the other file has as many bytes as the first one. The answer is sent after so
/// many of those to later requests.
fn opens_first_alike(saying: &mut SftpSaying<'_>, answers: u64) -> bool {
    match saying {
        SftpSaying::Order(requests, order) => opens_before_last_reads(requests, order),
        SftpSaying::Answer(answer) if is_open(answer.request) => {
            let is_last = answer.together.last().is_some_and(|(last, _)| last == answer.id);
            let Some(read) = read_before(answer).filter(|_| is_last) else { return false };
            let PacketReply::Handle(own) = &*answer.reply else { return false };
            let (Some(OpenedHere::File(_, first)), Some(OpenedHere::File(path, other))) =
                (answer.handles.get(&read), answer.handles.get(own))
            else {
                return false;
            };
            if other.len() < first.len() || other.starts_with(first) {
                return false;
            }
            let alike = OpenedHere::File(path.clone(), other.slice(..first.len()));
            answer.handles.insert(own.clone(), alike);
            *answer.when = SftpWhen::After(answers);
            rename_handle(answer, read)
        }
        SftpSaying::Answer(_) => false,
    }
}

fn opens_before_reads(requests: &[(u32, Request)], order: &mut Vec<usize>) -> bool {
    let before = order.clone();
    let read = |at: &usize| match &requests[*at].1 {
        Request::Read { handle, .. } => Some(handle),
        _ => None,
    };
    if order.iter().any(|at| is_open(&requests[*at].1)) {
        order.sort_by_key(|at| !is_open(&requests[*at].1));
    } else if let Some(last) = before.iter().rev().find_map(read) {
        order.retain(|at| read(at) != Some(last));
    }
    before != *order
}

/// Reads wait for the requests that come next only if nothing else is asked for after them, so that
/// all is answered in order.
fn opens_before_last_reads(requests: &[(u32, Request)], order: &mut Vec<usize>) -> bool {
    let is_read = |at: &usize| matches!(requests[*at].1, Request::Read { .. });
    let opens = order.iter().any(|at| is_open(&requests[*at].1));
    (opens || order.last().is_some_and(is_read)) && opens_before_reads(requests, order)
}

/// The handle of an open file that is to be read by a request before this one.
fn read_before(answer: &SftpAnswer<'_>) -> Option<Bytes> {
    let own = *answer.id;
    let is_before = |(id, one): &(u32, Request)| match one {
        Request::Read { handle, .. } if *id < own => Some(handle.clone()),
        _ => None,
    };
    let read = answer.together.iter().find_map(is_before);
    read.filter(|read| answer.handles.contains_key(read))
}

/// The answers to questions for entries of folders: what the n-th one becomes.
fn pages(saying: &mut SftpSaying<'_>, change: impl Fn(u64, &mut PacketReply) -> bool) -> bool {
    saying.page().is_some_and(|(_, reply, asked)| change(asked, reply))
}

/// Of questions that are there together, the one of this number finds the end, and what it should
/// have brought comes with the next one.
fn ends_early(saying: &mut SftpSaying<'_>, number: u64) -> bool {
    let SftpSaying::Answer(SftpAnswer { request, together, reply, handles, .. }) = saying else {
        return false;
    };
    let Request::ReadDir { handle } = request else { return false };
    let alike = |(_, one): &&(u32, Request)| one == *request;
    if together.iter().filter(alike).count() < 2 {
        return false;
    }
    match (handles.get_mut(handle), &mut **reply) {
        (Some(OpenedHere::Folder { left, asked, .. }), PacketReply::Names(entries))
            if *asked == number =>
        {
            entries.drain(..).rev().for_each(|entry| left.push_front(entry));
            **reply = say(status::EOF);
            true
        }
        _ => false,
    }
}

/// The end of a listing is told by this status.
fn ends_with(saying: &mut SftpSaying<'_>, code: u32) -> bool {
    pages(saying, |asked, reply| {
        let is_end = asked > 1 && matches!(reply, PacketReply::Status { .. });
        if is_end {
            *reply = say(code);
        }
        is_end
    })
}

/// Of handles.
pub const HANDLES: &[WireLie] = &[
    WireLie {
        name: "handle-twice",
        what: "a file is opened under the handle of another one that is open",
        guard: "handles-unique",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| handle_twice(saying, SftpWhen::Now, is_open)),
        setting: crowds,
    },
    WireLie {
        name: "handle-twice-told-late",
        what: "the same, and the answer that tells it comes after those to later requests",
        guard: "handles-unique",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| handle_twice(saying, SftpWhen::After(6), is_open)),
        setting: crowds,
    },
    WireLie {
        name: "handle-twice-done-first",
        what: "the same, done before reads that came before, and answered in order",
        guard: "handles-unique",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| opens_first(saying, SftpWhen::Now)),
        setting: crowds,
    },
    WireLie {
        name: "handle-twice-done-first-told-late",
        what: "the same, and the answer that tells it comes after those to later requests",
        guard: "handles-unique",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| opens_first(saying, SftpWhen::After(2))),
        setting: crowds,
    },
    WireLie {
        name: "handle-twice-described-first",
        what: "the same, and the answer that tells it comes after the file's description",
        guard: "reads-settled",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| opens_first_alike(saying, 64)),
        setting: crowds,
    },
    WireLie {
        name: "handle-twice-told-after-the-bytes",
        what: "the same, and the answer that tells it comes once the file has all its bytes",
        guard: "spoilt-anew",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| opens_first_alike(saying, 16)),
        setting: crowds,
    },
    WireLie {
        name: "folders-of-one-handle-told-late",
        what: "a folder is opened under the handle of another one that is open, and told late",
        guard: "opens-settled",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| {
            handle_twice(saying, SftpWhen::After(3), |request| {
                matches!(request, Request::OpenDir { .. })
            })
        }),
        setting: crowds,
    },
    WireLie {
        name: "handle-reused",
        what: "a file is opened under the handle that was given back last",
        act: WireAct::Sftp(|_, saying| match saying {
            SftpSaying::Answer(answer) if matches!(answer.request, Request::Open { .. }) => {
                let free = answer.returned.last().cloned();
                let free = free.filter(|free| !answer.handles.contains_key(free));
                free.is_some_and(|free| rename_handle(answer, free))
            }
            _ => false,
        }),
        met: Met::Arrives,
        setting: crowds,
        ..PLAIN_SFTP
    },
    WireLie {
        name: "opens-late",
        what: "answers to requests to open files come after those to later requests",
        act: WireAct::Sftp(|cue, saying| match saying {
            SftpSaying::Answer(SftpAnswer { request, path, when, .. })
                if is_open(request) && cue.hits(path) =>
            {
                **when = SftpWhen::After(4);
                true
            }
            _ => false,
        }),
        met: Met::Arrives,
        ..PLAIN_SFTP
    },
    WireLie {
        name: "one-file-open",
        what: "one file may be open at a time; further ones are refused",
        guard: "refusals-doubted",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| match saying {
            SftpSaying::Answer(answer) if is_open(answer.request) => {
                if another_open(answer).is_none() {
                    return false;
                }
                if let PacketReply::Handle(own) = &*answer.reply {
                    answer.handles.remove(own);
                }
                *answer.reply = say(status::FAILURE);
                true
            }
            _ => false,
        }),
        setting: crowds,
    },
];

/// Of listings.
pub const LISTINGS: &[WireLie] = &[
    WireLie {
        name: "end-between-pages",
        what: "where several questions come at once, the second one finds the end too early",
        guard: "answers-drained",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| ends_early(saying, 2)),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "pages-swapped",
        what: "where several questions come at once, the first one gets the end, others entries",
        guard: "answers-drained",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| ends_early(saying, 1)),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "page-again",
        what: "the first page comes four times before the others",
        guard: "entries-once",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| match saying {
            SftpSaying::Answer(SftpAnswer {
                request: Request::ReadDir { handle },
                reply,
                handles,
                ..
            }) => match (handles.get_mut(handle), &**reply) {
                (Some(OpenedHere::Folder { left, asked, .. }), PacketReply::Names(entries))
                    if *asked <= 3 =>
                {
                    entries.iter().rev().for_each(|entry| left.push_front(entry.clone()));
                    true
                }
                _ => false,
            },
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "entries-twice",
        what: "each entry of a page is told twice",
        guard: "entries-once",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| {
            saying.entries().is_some_and(|(_, entries)| {
                entries.extend_from_slice(&entries.clone());
                true
            })
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "empty-pages-for-ever",
        what: "behind the entries come pages without any, and no end",
        guard: "empty-pages",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| {
            pages(saying, |_, reply| {
                let is_end = matches!(reply, PacketReply::Status { .. });
                if is_end {
                    *reply = PacketReply::Names(Vec::new());
                }
                is_end
            })
        }),
        setting: keeps,
    },
    WireLie {
        name: "round-and-round",
        what: "behind the last entry comes the first one again, and no end",
        guard: "pages-repeat",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| match saying {
            SftpSaying::Answer(SftpAnswer {
                request: Request::ReadDir { handle },
                reply: reply @ PacketReply::Status { .. },
                handles,
                ..
            }) => match handles.get(handle) {
                Some(OpenedHere::Folder { all, asked, .. }) if !all.is_empty() => {
                    let pages = all.chunks(4).collect::<Vec<_>>();
                    let page = usize::try_from(*asked).unwrap_or(0) % pages.len();
                    **reply = PacketReply::Names(pages[page].to_vec());
                    true
                }
                _ => false,
            },
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "dots-for-ever",
        what: "a folder has `.` and `..` without end, and nothing else",
        guard: "empty-pages",
        met: Met::NeverOk,
        act: WireAct::Sftp(|_, saying| {
            pages(saying, |_, reply| {
                let dots = [&b"."[..], b".."].map(|name| entry(name, Attributes::default()));
                *reply = PacketReply::Names(dots.to_vec());
                true
            })
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "ends-with-ok",
        what: "a listing ends with OK",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| ends_with(saying, status::OK)),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "ends-with-no-such-file",
        what: "a listing ends with no such file",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| ends_with(saying, status::NO_SUCH_FILE)),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "ends-with-failure",
        what: "a listing ends with a failure, each time after the same entries",
        guard: "failure-again",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| ends_with(saying, status::FAILURE)),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "breaks-off",
        what: "the first listing of each folder fails before it has brought an entry",
        guard: "failure-again",
        met: Met::Arrives,
        act: WireAct::Sftp(|cue, saying| match saying {
            SftpSaying::Answer(SftpAnswer {
                request: Request::ReadDir { .. },
                path,
                reply,
                handles,
                ..
            }) => {
                if !cue.once(path) {
                    return false;
                }
                handles.retain(|_, opened| opened.path() != *path);
                **reply = say(status::FAILURE);
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "listing-denied",
        what: "a folder that is shown may not be listed",
        guard: "listing-told",
        met: Met::NeverOk,
        act: WireAct::Sftp(|cue, saying| {
            refuses(cue, saying, status::PERMISSION_DENIED, |request| {
                matches!(request, Request::OpenDir { .. })
            })
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "folder-not-there",
        what: "a folder that is shown is not there when it is to be listed",
        guard: "folder-told",
        met: Met::NeverOk,
        act: WireAct::Sftp(|cue, saying| {
            refuses(cue, saying, status::NO_SUCH_FILE, |request| {
                matches!(request, Request::OpenDir { .. })
            })
        }),
        ..PLAIN_SFTP
    },
];
