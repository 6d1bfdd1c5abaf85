//! Lies of FTP servers about what is in a folder.

use super::lie::{DataEnd, Met, PLAIN_FTP, WireAct, WireLie, keeps};

/// Of listings.
pub const LISTINGS: &[WireLie] = &[
    WireLie {
        name: "lines-twice",
        what: "each line of a listing comes twice",
        guard: "entries-once",
        met: Met::Arrives,
        act: WireAct::Ftp(|_, answer| {
            let is_listing = answer.is_listing();
            if let Some(data) = answer.data.as_mut().filter(|_| is_listing) {
                *data = data.repeat(2);
            }
            is_listing
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "listing-broken-off",
        what: "a listing ends in the middle, and the server says so",
        guard: "closing-reply",
        met: Met::NeverOk,
        act: WireAct::Ftp(|_, answer| {
            let is_listing = answer.is_listing();
            if is_listing {
                let data = answer.data.take().unwrap_or_default();
                let lines: Vec<_> = data.split_inclusive(|byte| *byte == b'\n').collect();
                answer.data = Some(lines[..lines.len() / 2].concat());
                answer.closing = b"451 Something broke.\r\n".to_vec();
            }
            is_listing
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "listing-cut",
        what: "a listing ends in the middle, and the server says that it is whole",
        met: Met::Unseen,
        act: WireAct::Ftp(|_, answer| {
            let is_listing = answer.is_listing();
            if let Some(data) = answer.data.as_mut().filter(|_| is_listing) {
                data.truncate(data.len() / 2);
            }
            is_listing
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "lines-of-nothing-for-ever",
        what: "behind the lines of a folder come ones that tell nothing, without end",
        met: Met::NeverOk,
        act: WireAct::Ftp(|_, answer| {
            let is_listing = answer.is_listing() && answer.verb == "MLSD";
            if is_listing {
                let line = b"type=cdir;modify=20240101000000; .\r\n";
                answer.end = DataEnd::Endless(line.to_vec());
            }
            is_listing
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "line-without-end",
        what: "behind the lines of a folder comes one without end",
        met: Met::NeverOk,
        act: WireAct::Ftp(|_, answer| {
            let is_listing = answer.is_listing() && answer.verb == "MLSD";
            if is_listing {
                answer.end = DataEnd::Endless(vec![b'x'; 1_000]);
            }
            is_listing
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "riddle",
        what: "a line among others that nobody understands",
        guard: "unparsed-told",
        met: Met::NeverOk,
        act: WireAct::Ftp(|_, answer| answer.adds_line("?? this means a file")),
        ..PLAIN_FTP
    },
    WireLie {
        name: "name-with-a-path-ftp",
        what: "a name leads out of its folder",
        guard: "unreachable-told",
        met: Met::NeverOk,
        act: WireAct::Ftp(|_, answer| match answer.verb.as_str() {
            "MLSD" => answer.adds_line("type=file;size=3;modify=20240101000000; ../../x"),
            _ => answer.adds_line("-rw-r--r-- 1 u g 3 Jan  1  2024 ../../x"),
        }),
        setting: keeps,
    },
    WireLie {
        name: "name-with-a-line-feed",
        what: "a name holds a line feed",
        guard: "unreachable-told",
        met: Met::NeverOk,
        act: WireAct::Ftp(|_, answer| {
            answer.verb == "MLSD"
                && answer.data.as_ref().is_some_and(|data| !data.is_empty())
                && answer.adds_line("type=file;size=3;modify=20240101000000; f\nx")
        }),
        setting: keeps,
    },
    WireLie {
        name: "name-that-is-none-ftp",
        what: "a name is listed that no command takes",
        guard: "gone-by-listing",
        met: Met::Told,
        act: WireAct::Ftp(|_, answer| match answer.verb.as_str() {
            "MLSD" => answer.adds_line("type=file;size=3;modify=20240101000000; f?.csv"),
            _ => answer.adds_line("-rw-r--r-- 1 u g 3 Jan  1  2024 f?.csv"),
        }),
        setting: keeps,
    },
    WireLie {
        name: "kinds-untold",
        what: "MLSD does not tell what an entry is",
        met: Met::Arrives,
        act: WireAct::Ftp(|_, answer| {
            let is_listing = answer.is_listing() && answer.verb == "MLSD";
            if let Some(data) = answer.data.as_mut().filter(|_| is_listing) {
                let text = String::from_utf8_lossy(data);
                *data = text.replace("type=file;", "").replace("type=dir;", "").into_bytes();
            }
            is_listing
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "facts-with-blanks",
        what: "facts of MLSD have blanks in their values",
        met: Met::Arrives,
        act: WireAct::Ftp(|_, answer| {
            let is_listing = answer.is_listing() && answer.verb == "MLSD";
            if let Some(data) = answer.data.as_mut().filter(|_| is_listing) {
                let text = String::from_utf8_lossy(data);
                *data = text.replace("; ", ";UNIX.groupname=domain users; ").into_bytes();
            }
            is_listing
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "folder-as-file-ftp",
        what: "a folder is listed as a file",
        guard: "failures-told",
        met: Met::Told,
        act: WireAct::Ftp(|_, answer| {
            let is_listing = answer.is_listing();
            if let Some(data) = answer.data.as_mut().filter(|_| is_listing) {
                let text = String::from_utf8_lossy(data);
                let text = text.replace("type=dir;", "type=file;size=0;");
                *data = text.replace("drwxr-xr-x", "-rwxr-xr-x").into_bytes();
            }
            is_listing
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "folder-as-empty-file",
        what: "a folder is listed as a file, and read as an empty one",
        guard: "folder-listed",
        met: Met::NeverOk,
        act: WireAct::Ftp(|cue, answer| {
            let is_folder = cue.scene.truth().folders().contains(&answer.path);
            if answer.verb == "RETR" && is_folder {
                answer.says("150 Here it comes.");
                answer.data = Some(Vec::new());
                return true;
            }
            // Servers that tell nothing but listings tell nothing of it.
            let is_listing = answer.is_listing() && answer.verb == "MLSD";
            if let Some(data) = answer.data.as_mut().filter(|_| is_listing) {
                let text = String::from_utf8_lossy(data);
                *data = text.replace("type=dir;", "type=file;size=0;").into_bytes();
            }
            is_listing
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "folder-refused",
        what: "a folder that is shown cannot be entered",
        guard: "folder-told",
        met: Met::NeverOk,
        act: WireAct::Ftp(|cue, answer| {
            answer.verb == "CWD" && cue.hits(&answer.path) && answer.says("550 No such folder.")
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "mlsd-refused",
        what: "MLSD is offered and refused",
        met: Met::Arrives,
        act: WireAct::Ftp(|_, answer| answer.verb == "MLSD" && answer.says("550 Not supported.")),
        ..PLAIN_FTP
    },
    WireLie {
        name: "list-of-options-refused",
        what: "`LIST -a` is taken for a name",
        met: Met::Arrives,
        act: WireAct::Ftp(|_, answer| {
            answer.argument.starts_with(b"-") && answer.says("451 No such name.")
        }),
        ..PLAIN_FTP
    },
];
