//! A listing on its way: bytes to lines to entries, with nothing held but one line.

use std::sync::atomic::Ordering;

use bytes::BytesMut;
use time::OffsetDateTime;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

use super::client::FtpClient;
use super::fault::{Broken, Scene};
use super::listing::{self, list_line, name_line};
use super::listing_entry::FtpListingLine;
use super::mlsd;
use super::transfer::FtpTransfer;
use crate::model::failure::{Class, Failure};
use crate::model::{RemotePath, chain};
use crate::source::contract::{Aside, Listed, SourceError};
use crate::source::pace::PaceMeter;

/// The longest line that is believed to be one, in bytes.
pub const LINE_LIMIT: usize = 64 * 1024;

/// Lines that tell nothing are counted by so many.
const NOTHINGS: u64 = 256;
/// So many bytes of a line that is too long count as a line.
const FLOOD: usize = 64;

/// How the lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Facts.
    Mlsd,
    /// As people read them.
    List,
    /// Nothing but names.
    Names,
}

/// A listing that was read to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadLines {
    /// How many lines there were.
    pub lines: u64,
    /// Whether it was encrypted, and ended without TLS's own sign of the end.
    pub is_unsigned: bool,
}

/// Reads a listing of `dir` to the server's closing reply.
pub(super) async fn read(
    client: &mut FtpClient,
    mut data: FtpTransfer,
    scene: Scene<'_>,
    dir: &RemotePath,
    dialect: Dialect,
    visit: &mut (dyn FnMut(Listed) + Send),
) -> Result<ReadLines, SourceError> {
    let mut is_unsigned = false;
    let mut splitter = Splitter::new(dir, dialect, OffsetDateTime::now_utc());
    let stall = client.account.limits.stall;
    let mut buffer = BytesMut::with_capacity(LINE_LIMIT);
    let account = client.account.clone();
    let received = &account.learned.received;
    let mut pace = PaceMeter::new(account.limits.rate);
    loop {
        let (begun, before) = (Instant::now(), received.load(Ordering::Relaxed));
        match timeout(stall, data.read_buf(&mut buffer)).await {
            Err(_) => return Err(scene.fault(Class::Stalled, format!("no line for {stall:?}"))),
            Ok(Ok(0)) => {
                account.learned.signs_listings.fetch_or(client.is_encrypted(), Ordering::Relaxed);
                break;
            }
            Ok(Err(error))
                if error.kind() == std::io::ErrorKind::UnexpectedEof && client.is_encrypted() =>
            {
                is_unsigned = true;
                break;
            }
            Ok(Err(error)) => {
                return Err(
                    scene.fault(Class::Truncated, format!("the data connection broke: {error}"))
                );
            }
            Ok(Ok(bytes)) => {
                received.fetch_add(bytes as u64, Ordering::Relaxed);
                let bytes = received.load(Ordering::Relaxed).saturating_sub(before);
                pace.waited(begun.elapsed(), bytes)
                    .map_err(|slow| scene.fault(Class::Stalled, slow.to_string()))?;
                splitter.take(&mut buffer, visit);
                // A task that polls this may have what was found taken before it goes on.
                tokio::task::yield_now().await;
            }
        }
    }
    match client.closing(data).await {
        Some(Ok(words)) => {
            client.back_in_step();
            // A last line without an end is whole only if the listing is.
            splitter.end(&buffer, visit);
            // Pure-FTPd lists 10,000 entries unless told otherwise, and says only here that it left
            // out the rest.
            if words.says(&["truncated"]) {
                // There is more in the folder than was listed, and nobody can say what.
                visit(Listed::Unparsed(listing::sample(words.text().as_bytes())));
            }
        }
        Some(Err(Broken::Refused(reply))) => {
            let refused = scene.refused(&reply);
            if refused.class() == Class::Tls {
                return Err(client.step_down(refused));
            }
            return Err(scene.fault(Class::Truncated, reply.text()));
        }
        // A server that dies over the data connection's encryption has not sent a byte.
        Some(Err(error)) if splitter.lines == 0 && buffer.is_empty() && client.is_encrypted() => {
            return Err(client.step_down(scene.fault(Class::Connect, chain(&error))));
        }
        Some(Err(error)) => return Err(scene.fault(Class::Truncated, chain(&error))),
        None => return Err(scene.fault(Class::Stalled, "no closing reply to the listing")),
    }
    Ok(ReadLines { lines: splitter.lines, is_unsigned })
}

/// How this server ends its lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FtpEnding {
    Unknown,
    CrLf,
    Lf,
}

/// Cuts a listing into lines as its bytes arrive; where lines end in CR LF, a bare LF is part of a
/// name. What it holds is one line, at most twice [`LINE_LIMIT`] bytes.
pub struct Splitter<'a> {
    dir: &'a RemotePath,
    dialect: Dialect,
    now: OffsetDateTime,
    ending: FtpEnding,
    /// Whether the first line ended in CR CR LF, as what writes CR LF to a stream of text sends it.
    doubled: bool,
    /// A line that ended in a bare LF, as long as we do not know whether it was one.
    torn: Option<Vec<u8>>,
    /// A name of VMS that stands on a line of its own, above what is told of the file.
    named: Option<Vec<u8>>,
    /// Whether we are within a line that was too long.
    flooded: bool,
    lines: u64,
    /// Lines that told nothing, and were not counted yet.
    nothing: u64,
}

impl<'a> Splitter<'a> {
    /// Of a listing of `dir`; `now` decides on years that are left out.
    pub fn new(dir: &'a RemotePath, dialect: Dialect, now: OffsetDateTime) -> Self {
        Self {
            dir,
            dialect,
            now,
            ending: FtpEnding::Unknown,
            doubled: false,
            torn: None,
            named: None,
            flooded: false,
            lines: 0,
            nothing: 0,
        }
    }

    /// Takes whole lines out of `buffer`; what has not ended stays in it.
    pub fn take(&mut self, buffer: &mut BytesMut, visit: &mut (dyn FnMut(Listed) + Send)) {
        while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
            let line = buffer.split_to(end + 1);
            self.line(&line[..end], visit);
        }
        if buffer.len() >= LINE_LIMIT {
            if !self.flooded {
                self.lines += 1;
                visit(Listed::Unparsed(listing::sample(buffer)));
            }
            self.nothing += (buffer.len() / FLOOD) as u64;
            self.tell_nothing(visit);
            self.flooded = true;
            buffer.clear();
        }
    }

    fn line(&mut self, line: &[u8], visit: &mut (dyn FnMut(Listed) + Send)) {
        if std::mem::take(&mut self.flooded) {
            return;
        }
        let (line, ended) = match line.strip_suffix(b"\r") {
            Some(line) => (line, FtpEnding::CrLf),
            None => (line, FtpEnding::Lf),
        };
        if self.ending == FtpEnding::Unknown && self.torn.is_none() {
            self.doubled = self.dialect == Dialect::List && line.ends_with(b"\r");
        }
        let line = line.strip_suffix(b"\r").filter(|_| self.doubled).unwrap_or(line);
        match (self.ending, ended, self.torn.take()) {
            (FtpEnding::Lf, _, _) => self.visit(line, visit),
            (_, FtpEnding::CrLf, torn) => {
                self.ending = FtpEnding::CrLf;
                match torn {
                    Some(head) => self.name_with_line_feed(&[&head, line].join(&b'\n'), visit),
                    None => self.visit(line, visit),
                }
            }
            (FtpEnding::Unknown, _, Some(first)) => {
                self.ending = FtpEnding::Lf;
                self.visit(&first, visit);
                self.visit(line, visit);
            }
            (_, _, None) => self.torn = Some(line.to_vec()),
            // Another line feed in the same name; the beginning is enough to report it.
            (FtpEnding::CrLf, _, Some(mut head)) => {
                if head.len() + line.len() < LINE_LIMIT {
                    head.push(b'\n');
                    head.extend_from_slice(line);
                }
                self.torn = Some(head);
            }
        }
    }

    /// The listing is over: `rest` is what stayed in the buffer.
    pub fn end(&mut self, rest: &[u8], visit: &mut (dyn FnMut(Listed) + Send)) {
        match self.torn.take() {
            Some(head) if self.ending == FtpEnding::CrLf => self.name_with_line_feed(&head, visit),
            Some(head) => self.visit(&head, visit),
            None => {}
        }
        if !rest.is_empty() && !self.flooded {
            self.visit(rest.strip_suffix(b"\r").unwrap_or(rest), visit);
        }
        if let Some(name) = self.named.take() {
            self.visit_one(&name, visit);
        }
    }

    fn parse(&self, line: &[u8]) -> FtpListingLine {
        match self.dialect {
            Dialect::Mlsd => mlsd::line(line),
            Dialect::List => list_line(line, self.now),
            Dialect::Names => name_line(self.dir, line),
        }
    }

    fn visit(&mut self, line: &[u8], visit: &mut (dyn FnMut(Listed) + Send)) {
        if let Some(name) = self.named.take() {
            let whole = [&name, line].join(&b' ');
            if matches!(self.parse(&whole), FtpListingLine::Entry(_)) {
                return self.visit_one(&whole, visit);
            }
            self.visit_one(&name, visit);
        }
        if self.dialect == Dialect::List && listing::is_vms_name(line) {
            self.named = Some(line.to_vec());
            return;
        }
        self.visit_one(line, visit);
    }

    fn visit_one(&mut self, line: &[u8], visit: &mut (dyn FnMut(Listed) + Send)) {
        // The mark of a text's end, of DOS and CP/M.
        let is_mark = line == b"\x1a";
        self.lines += u64::from(!is_mark);
        if let Some(listed) = listing::listed(self.dir, line, self.parse(line)).filter(|_| !is_mark)
        {
            visit(listed);
        } else {
            self.nothing += 1;
            self.tell_nothing(visit);
        }
    }

    fn tell_nothing(&mut self, visit: &mut (dyn FnMut(Listed) + Send)) {
        if self.nothing >= NOTHINGS {
            visit(Listed::Aside(Aside::Lines(std::mem::take(&mut self.nothing))));
        }
    }

    fn name_with_line_feed(&mut self, line: &[u8], visit: &mut (dyn FnMut(Listed) + Send)) {
        self.lines += 1;
        // What kind it is matters less than that it cannot be asked for.
        visit(match self.parse(line) {
            FtpListingLine::Entry(entry) => Listed::Unreachable(
                self.dir.join(&entry.name),
                "the name holds a line feed, which no FTP command can carry",
            ),
            _ => Listed::Unparsed(listing::sample(line)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    fn split(bytes: &[u8], step: usize, dialect: Dialect) -> Vec<Listed> {
        let dir = RemotePath::from("/d");
        let mut listed = Vec::new();
        let mut splitter = Splitter::new(&dir, dialect, datetime!(2026-11-23 2:00 UTC));
        let mut buffer = BytesMut::new();
        for piece in bytes.chunks(step.max(1)) {
            buffer.extend_from_slice(piece);
            splitter.take(&mut buffer, &mut |entry| listed.push(entry));
        }
        splitter.end(&buffer, &mut |entry| listed.push(entry));
        listed
    }

    fn names(bytes: &[u8]) -> Vec<String> {
        let show = |listed: &Listed| match listed {
            Listed::File(file) => format!("{}", file.path),
            Listed::Unreachable(path, _) => format!("unreachable {path}"),
            Listed::Undescribed(path, _) => format!("undescribed {path}"),
            Listed::Unparsed(text) => format!("unparsed {text}"),
            other => format!("{other:?}"),
        };
        let whole: Vec<String> =
            split(bytes, bytes.len(), Dialect::Mlsd).iter().map(show).collect();
        let bytewise: Vec<String> = split(bytes, 1, Dialect::Mlsd).iter().map(show).collect();
        assert_eq!(whole, bytewise);
        whole
    }

    /// <https://github.com/apache/commons-net/pull/47>
    #[test]
    fn a_name_of_vms_may_stand_on_a_line_of_its_own() {
        let listing = b"FILE123.DAT;1\r\n          64   4-MAR-2019 00:04 [USR,USRGROUP] \
            (RWED,RWED,RWED,R)\r\nA.DAT;2  9/9   2-JUN-1998 07:32:04  [G,O]  \
            (RWED,RWED,RWED,RE)\r\nALONE.DAT;1\r\nLAST.DAT;1";
        for step in [1, listing.len()] {
            let found = split(listing, step, Dialect::List);
            let shown: Vec<String> = found
                .iter()
                .map(|listed| match listed {
                    Listed::File(file) => {
                        format!("{} {}", file.path, file.modified.expect("a time").at.date())
                    }
                    Listed::Unparsed(text) => format!("unparsed {text}"),
                    other => format!("{other:?}"),
                })
                .collect();
            let expected = [
                "/d/FILE123.DAT;1 2019-03-04",
                "/d/A.DAT;2 1998-06-02",
                "unparsed ALONE.DAT;1",
                "unparsed LAST.DAT;1",
            ];
            assert_eq!(shown, expected, "{step}");
        }
    }

    #[test]
    fn a_line_feed_in_a_name_is_no_second_file() {
        let listing = b"type=file;size=1; a\r\ntype=file;size=1; nl\ntype=file;size=9; \
            x\r\ntype=file;size=1; b\r\n";
        assert_eq!(names(listing), ["/d/a", "unreachable /d/nl\\x0Atype=file;size=9; x", "/d/b"]);
        assert_eq!(
            names(b"type=file; a\r\ntype=file; nl\n\nx\r\ntype=file; b\r\n"),
            ["/d/a", "unreachable /d/nl\\x0A\\x0Ax", "/d/b"]
        );
        assert_eq!(names(b"type=file; a\r\ntype=file; z\n"), ["/d/a", "unreachable /d/z"]);
    }

    #[test]
    fn a_carriage_return_in_a_name_is_told() {
        assert_eq!(
            names(b"type=file; a\rb\r\ntype=file; c\r\r\n"),
            ["unreachable /d/a\\x0Db", "unreachable /d/c\\x0D"]
        );
    }

    #[test]
    fn a_list_whose_lines_all_end_in_two_carriage_returns_has_names_without() {
        let line = |name: &str| format!("-rw-r--r-- 1 f f 6 Jan 10 2024 {name}\r\r\n");
        let found = |text: &str| {
            let listed = split(text.as_bytes(), 7, Dialect::List);
            listed.iter().filter_map(|one| one.path().map(ToString::to_string)).collect::<Vec<_>>()
        };
        let text = format!("total 2\r\r\n{}{}\x1a", line("a"), line("b"));
        assert_eq!(found(&text), ["/d/a", "/d/b"]);
        let told = split(text.as_bytes(), 7, Dialect::List);
        assert!(!told.iter().any(|one| matches!(one, Listed::Unparsed(_))), "{told:?}");
        // Among others it is a name's own.
        let one = format!("total 2\r\n{}", line("a"));
        assert_eq!(found(&one), ["/d/a\\x0D"]);
    }

    #[test]
    fn a_server_that_ends_lines_in_line_feeds_alone() {
        assert_eq!(names(b"type=file; a\ntype=file; b\ntype=file; c"), ["/d/a", "/d/b", "/d/c"]);
        assert_eq!(names(b"type=file; only\n"), ["/d/only"]);
    }

    #[test]
    fn a_line_without_end_is_one_bad_line() {
        let listing =
            [b"type=file; a\r\n".as_slice(), &vec![b'x'; 300_000], b"\r\ntype=file; b\r\n"]
                .concat();
        let mut found = split(&listing, 4096, Dialect::Mlsd);
        // Its bytes count against the limit of lines that tell nothing.
        let asides = found.len();
        found.retain(|listed| !matches!(listed, Listed::Aside(_)));
        assert!(found.len() < asides, "{asides}");
        assert_eq!(found.len(), 3);
        assert!(matches!(&found[1], Listed::Unparsed(text) if text.len() == 200));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..600),
            step in 1usize..50) {
            split(&bytes, step, Dialect::Mlsd);
            split(&bytes, step, Dialect::List);
        }

        #[test]
        fn no_line_of_the_right_letters_breaks_the_parser(line in "[-dlbcp][-rwxst]{9}[+. \
            ]{1,2}[0-9a-zA-Z:. +,-]{0,60}", dos in "[0-9/-]{8,10} \
            +[0-9:]{3,8}[APMapm]{0,2} +(<DIR>)?[0-9 a-z]{0,20}") {
            split(line.as_bytes(), 7, Dialect::List);
            split(dos.as_bytes(), 7, Dialect::List);
        }

        #[test]
        fn every_name_comes_back_as_it_was(name in proptest::collection::vec(any::<u8>(), 1..80)) {
            prop_assume!(!name.iter().any(|b| matches!(b,
                b'\r' | b'\n' | b'/' | 0)) && name != b"." && name != b"..");
            for (head, dialect) in [
                ("type=file;size=3;modify=20261120101112; ", Dialect::Mlsd),
                ("-rw-r--r--   1 ftp      ftp             3 Nov 20 10:11 ", Dialect::List),
                ("-rw-r--r--   1 ftp      ftp             3 Nov 20  2024 ", Dialect::List),
                ("11-20-26  10:11AM                    3 ", Dialect::List),
            ] {
                let found = split(&[head.as_bytes(), &name, b"\r\n"].concat(), 100, dialect);
                let [Listed::File(file)] = found.as_slice() else { panic!("{found:?}") };
                prop_assert_eq!(file.path.file_name(), name.as_slice());
                prop_assert_eq!(file.size, Some(3));
            }
        }
    }
}
