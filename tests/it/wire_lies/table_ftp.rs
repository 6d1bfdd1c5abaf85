//! Lies of FTP servers about transfers and replies. A lie is a row, as in [`super::table_sftp`].

use super::lie::{DataEnd, FtpAnswer, Met, PLAIN_FTP, WireAct, WireCue, WireLie, keeps};

/// The number of a reply.
fn code(reply: &[u8]) -> u32 {
    reply.get(..3).map_or(0, |code| String::from_utf8_lossy(code).parse().unwrap_or(0))
}

/// Whether it tells of a file that the lie is about, by these commands, and there is one.
fn tells(answer: &FtpAnswer, cue: &WireCue<'_>, verbs: &[&str]) -> bool {
    verbs.contains(&answer.verb.as_str())
        && matches!(code(&answer.reply), 213 | 250)
        && cue.hits(&answer.path)
        && cue.scene.truth().files.contains_key(&answer.path)
}

/// A fact of a line gets another value.
fn fact(line: &mut Vec<u8>, name: &str, change: impl Fn(&str) -> String) {
    let text = String::from_utf8_lossy(line).into_owned();
    let Some(at) = text.find(name) else { return };
    let rest = &text[at + name.len()..];
    let end = rest.find(';').unwrap_or(rest.len());
    *line = format!("{}{name}{}{}", &text[..at], change(&rest[..end]), &rest[end..]).into_bytes();
}

/// What is told of the size of a file: in lines, by MLST, by SIZE.
fn sizes(answer: &mut FtpAnswer, cue: &WireCue<'_>, change: fn(u64) -> u64) -> bool {
    let other = |size: &str| change(size.trim().parse().unwrap_or(0)).to_string();
    if tells(answer, cue, &["MLST"]) {
        fact(&mut answer.reply, "size=", other);
        return true;
    }
    if tells(answer, cue, &["SIZE"]) {
        let size = String::from_utf8_lossy(&answer.reply[4..]).into_owned();
        return answer.says(&format!("213 {}", other(&size)));
    }
    answer.each_line(cue, |line| {
        if line.starts_with(b"type=file") {
            fact(line, "size=", other);
        } else if line.starts_with(b"-") {
            let text = String::from_utf8_lossy(line).into_owned();
            let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            words[4] = other(&words[4]);
            *line = words.join(" ").into_bytes();
        }
    })
}

/// What an MLST tells, in other lines.
fn mlst(answer: &mut FtpAnswer, cue: &WireCue<'_>, lines: impl Fn(&str) -> String) -> bool {
    if !tells(answer, cue, &["MLST"]) {
        return false;
    }
    let text = String::from_utf8_lossy(&answer.reply).into_owned();
    let facts = text.lines().nth(1).unwrap_or_default().trim_start().to_owned();
    answer.says(&lines(&facts))
}

/// Half of a file.
fn half(answer: &mut FtpAnswer) {
    if let Some(data) = &mut answer.data {
        data.truncate(data.len() / 2);
    }
}

/// Of transfers and their ends.
pub const TRANSFERS: &[WireLie] = &[
    WireLie {
        name: "half-and-226",
        what: "half of a file comes, and the server says that it is whole",
        guard: "verify",
        act: WireAct::Ftp(|cue, answer| {
            let brings = answer.brings(cue);
            if brings {
                half(answer);
            }
            brings
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "half-and-426",
        what: "nothing tells a size, half of a file comes, and the server says that it broke off",
        guard: "closing-reply",
        met: Met::NeverOk,
        act: WireAct::Ftp(|cue, answer| {
            if answer.brings(cue) {
                half(answer);
                answer.closing = b"426 It broke off.\r\n".to_vec();
                return true;
            }
            if matches!(answer.verb.as_str(), "MLST" | "SIZE") {
                return answer.says("502 What?");
            }
            answer.each_line(cue, |line| {
                if line.starts_with(b"type=file") {
                    let text = String::from_utf8_lossy(line).into_owned();
                    let facts: Vec<&str> =
                        text.split(';').filter(|fact| !fact.starts_with("size=")).collect();
                    *line = facts.join(";").into_bytes();
                }
            })
        }),
        setting: keeps,
    },
    WireLie {
        name: "no-226",
        what: "all of a file comes, and no closing reply",
        met: Met::Told,
        act: WireAct::Ftp(|cue, answer| {
            let brings = answer.brings(cue);
            if brings {
                answer.closing.clear();
            }
            brings
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "226-twice",
        what: "the closing reply comes twice",
        guard: "replies-in-step",
        met: Met::Arrives,
        act: WireAct::Ftp(|cue, answer| {
            let brings = answer.brings(cue);
            if brings {
                answer.closing = b"226 Done.\r\n226 Done.\r\n".to_vec();
            }
            brings
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "stray-size",
        what: "behind the closing reply comes the answer to a question that nobody asked",
        guard: "replies-in-step",
        met: Met::Arrives,
        act: WireAct::Ftp(|cue, answer| {
            let brings = answer.brings(cue);
            if brings {
                answer.closing = b"226 Done.\r\n213 7\r\n".to_vec();
            }
            brings
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "answered-twice",
        what: "questions about a file are answered twice",
        guard: "replies-in-step",
        met: Met::Arrives,
        act: WireAct::Ftp(|cue, answer| {
            let tells = tells(answer, cue, &["MLST", "SIZE"]) && cue.once(&answer.path);
            if tells {
                answer.reply = answer.reply.repeat(2);
            }
            tells
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "250-and-125",
        what: "a transfer begins with 125 and ends with 250",
        met: Met::Arrives,
        act: WireAct::Ftp(|_, answer| {
            let is_transfer = answer.data.is_some();
            if is_transfer {
                answer.reply = b"125 It comes already.\r\n".to_vec();
                answer.closing = b"250 Good.\r\n".to_vec();
            }
            is_transfer
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "nothing-said",
        what: "the request for a file is never answered",
        guard: "failures-told",
        met: Met::NeverOk,
        act: WireAct::Ftp(|cue, answer| {
            answer.silent = answer.brings(cue);
            answer.silent
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "data-never-ends",
        what: "behind the bytes of a file come others, without end",
        guard: "bytes-end",
        met: Met::NeverOk,
        act: WireAct::Ftp(|cue, answer| {
            let brings = answer.brings(cue);
            if brings {
                answer.end = DataEnd::Endless(b"and more and ".to_vec());
            }
            brings
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "data-stays-open",
        what: "the data connection is not closed behind the bytes of a file",
        met: Met::Arrives,
        act: WireAct::Ftp(|cue, answer| {
            let brings = answer.brings(cue);
            if brings {
                answer.end = DataEnd::Open;
            }
            brings
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "reset-once",
        what: "the data connection breaks in the middle of a file, once",
        met: Met::Arrives,
        act: WireAct::Ftp(|cue, answer| {
            let breaks = answer.brings(cue) && cue.once(&answer.path);
            if breaks {
                half(answer);
                answer.end = DataEnd::Reset;
                answer.closing = b"426 It broke off.\r\n".to_vec();
            }
            breaks
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "offset-ignored",
        what: "a transfer that goes on in the middle begins at 0",
        guard: "verify",
        act: WireAct::Ftp(|cue, answer| {
            if !answer.brings(cue) {
                return false;
            }
            if answer.offset > 0 {
                let held = cue.scene.truth().files.get(&answer.path).cloned();
                answer.data = held.map(|held| held.bytes.to_vec());
                return true;
            }
            let breaks = cue.once(&answer.path);
            if breaks {
                half(answer);
                answer.closing = b"426 It broke off.\r\n".to_vec();
            }
            breaks
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "another-files-data",
        what: "the data of a transfer is that of another file",
        guard: "verify",
        met: Met::Unseen,
        act: WireAct::Ftp(|cue, answer| {
            let other = cue.other(&answer.path).filter(|_| answer.brings(cue));
            let is_other = other.is_some();
            if let Some((_, bytes)) = other {
                answer.data = Some(bytes.to_vec());
            }
            is_other
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "longer-data",
        what: "more bytes come than a file has",
        guard: "verify",
        met: Met::NeverOk,
        act: WireAct::Ftp(|cue, answer| {
            let brings = answer.brings(cue);
            if let Some(data) = answer.data.as_mut().filter(|_| brings) {
                data.extend_from_slice(b"and this");
            }
            brings
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "gone-once-sent",
        what: "a file is not there any more once it was sent",
        met: Met::Arrives,
        act: WireAct::Ftp(|cue, answer| {
            let brings = answer.brings(cue);
            if brings {
                cue.scene.truth().files.remove(&answer.path);
            }
            brings
        }),
        setting: keeps,
        ..PLAIN_FTP
    },
    WireLie {
        name: "address-of-another",
        what: "EPSV is unknown, and PASV names the address of another host",
        met: Met::Arrives,
        act: WireAct::Ftp(|_, answer| match answer.verb.as_str() {
            "EPSV" => answer.says("502 What?"),
            "PASV" => {
                let text = String::from_utf8_lossy(&answer.reply).into_owned();
                let numbers: Vec<&str> = text.trim().trim_end_matches(')').split(',').collect();
                let port = numbers[4..].join(",");
                answer.says(&format!("227 Here (10,9,8,7,{port})"))
            }
            _ => false,
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "port-of-nobody",
        what: "EPSV names a port at which nobody listens",
        met: Met::Arrives,
        act: WireAct::Ftp(|_, answer| answer.verb == "EPSV" && answer.says("229 Here (|||1|)")),
        ..PLAIN_FTP
    },
    WireLie {
        name: "hangs-up",
        what: "the control connection ends in the middle of a transfer, once for each file",
        met: Met::Arrives,
        act: WireAct::Ftp(|cue, answer| {
            answer.hangs_up |= answer.brings(cue) && cue.once(&answer.path);
            if answer.hangs_up && answer.verb == "RETR" {
                half(answer);
                answer.closing.clear();
            }
            answer.hangs_up && answer.verb == "RETR"
        }),
        ..PLAIN_FTP
    },
];

/// Of replies and of what they tell.
pub const REPLIES: &[WireLie] = &[
    WireLie {
        name: "mlst-of-another",
        what: "MLST tells of another file",
        guard: "mlst-name",
        met: Met::Arrives,
        act: WireAct::Ftp(|cue, answer| {
            mlst(answer, cue, |_| {
                "250-Facts\r\n type=dir;modify=20010101000000; other\r\n250 End".to_owned()
            })
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "mlst-on-one-line",
        what: "MLST tells its facts in the first line",
        met: Met::Arrives,
        act: WireAct::Ftp(|cue, answer| mlst(answer, cue, |facts| format!("250 {facts}"))),
        ..PLAIN_FTP
    },
    WireLie {
        name: "mlst-behind-its-folder",
        what: "MLST tells of the folder first, and in a blank line of nothing",
        met: Met::Arrives,
        act: WireAct::Ftp(|cue, answer| {
            mlst(answer, cue, |facts| {
                format!("250-F\r\n type=cdir;modify=20010101000000; /\r\n \r\n {facts}\r\n250 End")
            })
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "size-of-another",
        what: "a file is told to be larger than it is, by all that tells sizes",
        guard: "verify",
        met: Met::NeverOk,
        act: WireAct::Ftp(|cue, answer| sizes(answer, cue, |size| size + 11)),
        ..PLAIN_FTP
    },
    WireLie {
        name: "size-of-less",
        what: "a file is told to be smaller than it is, by all that tells sizes",
        guard: "verify",
        met: Met::NeverOk,
        act: WireAct::Ftp(|cue, answer| sizes(answer, cue, |size| size.saturating_sub(3))),
        ..PLAIN_FTP
    },
    WireLie {
        name: "listed-empty-ftp",
        what: "listings tell 0 bytes, MLST and SIZE tell the truth",
        guard: "look-after-read",
        met: Met::Told,
        act: WireAct::Ftp(|cue, answer| answer.is_listing() && sizes(answer, cue, |_| 0)),
        ..PLAIN_FTP
    },
    WireLie {
        name: "mdtm-moves",
        what: "a file has another time whenever it is asked for",
        guard: "touched-reread",
        met: Met::Told,
        act: WireAct::Ftp(|cue, answer| {
            let seconds = cue.nth(&answer.path) % 60;
            if tells(answer, cue, &["MDTM"]) {
                return answer.says(&format!("213 202401020304{seconds:02}"));
            }
            if tells(answer, cue, &["MLST"]) {
                fact(&mut answer.reply, "modify=", |_| format!("202401020304{seconds:02}"));
                return true;
            }
            false
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "reply-never-ends",
        what: "a reply has lines without end",
        guard: "failures-told",
        met: Met::NeverOk,
        act: WireAct::Ftp(|cue, answer| {
            let brings = answer.brings(cue);
            if brings {
                answer.says("150-It comes");
                answer.endless = Some(b"150-and comes\r\n".to_vec());
            }
            brings
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "code-of-four-digits",
        what: "a closing reply has four digits",
        guard: "failures-told",
        met: Met::Told,
        act: WireAct::Ftp(|cue, answer| {
            let brings = answer.brings(cue);
            if brings {
                answer.closing = b"2260 Done.\r\n".to_vec();
            }
            brings
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "550-for-a-file",
        what: "a file that is listed is not there when it is to be read",
        guard: "gone-by-listing",
        met: Met::Told,
        act: WireAct::Ftp(|cue, answer| answer.brings(cue) && answer.says("550 No such file.")),
        ..PLAIN_FTP
    },
    WireLie {
        name: "denied",
        what: "a file that is listed may not be read",
        guard: "failures-told",
        met: Met::NeverOk,
        act: WireAct::Ftp(|cue, answer| {
            answer.brings(cue) && answer.says("550 Permission denied.")
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "removal-pretended",
        what: "a removal is said to be done, and the file stays",
        met: Met::Told,
        act: WireAct::Ftp(|cue, answer| {
            if answer.verb != "DELE" || code(&answer.reply) != 250 || !cue.hits(&answer.path) {
                return false;
            }
            let mut truth = cue.scene.truth();
            let last = truth.history.get(&answer.path).and_then(|all| all.last()).cloned();
            let held = last.map(|bytes| super::scene::HeldHere { bytes, modified: 1_704_067_200 });
            truth.files.extend(held.map(|held| (answer.path.clone(), held)));
            true
        }),
        setting: |source| source.after = blobferry::transfer::settings::After::Delete,
        ..PLAIN_FTP
    },
];
