//! A folder's entries, page by page. What the server answers is checked before it is believed:
//! pages and ends that make no whole have the folder listed again, one question at a time.

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;

use futures_util::future::join_all;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::client::{Client, ClientError, PageAnswer};
use super::entry_names::{kind, own_name, without_mark};
use super::links::real;
use super::login::{SftpLogin, remote_file};
use super::packet::{Attributes, FileKind, Malformed, PacketEntry, status};
use super::reading::SftpReading;
use super::requests::Ticket;
use crate::failpoint::safeguard_off;
use crate::model::{RemotePath, printable};
use crate::source::contract::{Aside, Listed};
use crate::source::pace::PaceMeter;

/// Questions for the next entries of a folder that are under way at once, at most; two to begin
/// with, which tell a small folder's entries and its end.
const MOST_PAGES_AHEAD: usize = 8;
/// So many pages in a row may be empty, asked for side by side and one by one.
const MOST_EMPTY: (u64, u64) = (3, 32);
/// Pages that came before may come so much oftener in a row than there are pages.
const MOST_REPEATED: u64 = 16;
/// Lines that tell nothing are counted by so many.
const LINES: u64 = 256;
/// Entries of a folder of which the server does not tell what they are, at most.
const MOST_UNKNOWN: usize = 100_000;
/// So many of them are tried out at once.
const TRIED_TOGETHER: usize = 8;
/// So many entries are described at once: a page may hold all of a large folder.
const DESCRIBED_TOGETHER: usize = 256;

/// How many questions are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    SideBySide,
    OneByOne,
}

/// How a reading of a folder ended.
enum ListingEnd {
    /// With the server's word that this was all.
    Whole,
    /// With FAILURE: the word of some servers for the end, of others for an error.
    Failed(ClientError),
    /// Without a word, since nothing new came any more.
    Silent(&'static str),
    /// With answers that make no whole.
    Mixed(&'static str),
}

/// All the names that were listed, as a number that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct NameSum {
    count: u64,
    sum: u64,
}

/// Lists `dir` of `login`.
pub(crate) async fn list(
    login: &SftpLogin,
    dir: &RemotePath,
    visit: &mut (dyn FnMut(Listed) + Send),
) -> Result<(), ClientError> {
    let learned = login.client().learned();
    let asking = if learned.mixes_pages() { Asking::OneByOne } else { Asking::SideBySide };
    let hashes = RandomState::new();
    let mut first = FolderReading::new(login, dir, asking, &hashes);
    let (why, failed) = match first.run(visit).await? {
        ListingEnd::Whole => return first.try_out(visit).await,
        ListingEnd::Silent(why) if asking == Asking::OneByOne => {
            return first.silent(why, visit).await;
        }
        ListingEnd::Silent(why) | ListingEnd::Mixed(why) => {
            learned.pages_were_mixed(&login.address, why);
            (why, None)
        }
        ListingEnd::Failed(_) if safeguard_off!("failure-again") => {
            return first.try_out(visit).await;
        }
        ListingEnd::Failed(_) => ("it ended with a failure", Some(first.names)),
    };
    drop(first);
    visit(Listed::Aside(Aside::Again(why)));
    let mut second = FolderReading::new(login, dir, Asking::OneByOne, &hashes);
    match second.run(visit).await? {
        ListingEnd::Whole => second.try_out(visit).await,
        ListingEnd::Failed(_) if failed == Some(second.names) && second.names.count > 0 => {
            second
                .doubtful("the server ended it with a failure, twice after the same entries", visit)
                .await
        }
        ListingEnd::Failed(error) => Err(error),
        ListingEnd::Silent(why) | ListingEnd::Mixed(why) => second.silent(why, visit).await,
    }
}

/// One reading of a folder, from its first entry on.
struct FolderReading<'a> {
    login: &'a SftpLogin,
    dir: &'a RemotePath,
    asking: Asking,
    hashes: &'a RandomState,
    names: NameSum,
    /// Pages that came, by a hash of their names.
    seen: HashSet<u64>,
    /// Pages in a row that brought nothing: no entry, or what another page has brought.
    empty: u64,
    repeated: u64,
    /// Lines that told nothing, and were not counted yet.
    lines: u64,
    /// What the server does not tell the kind of.
    unknown: Vec<(RemotePath, Attributes)>,
    /// Where the folder really is, if the server tells, once an entry's name calls for it.
    real: OnceCell<Option<Vec<u8>>>,
}

impl<'a> FolderReading<'a> {
    fn new(
        login: &'a SftpLogin,
        dir: &'a RemotePath,
        asking: Asking,
        hashes: &'a RandomState,
    ) -> Self {
        let (names, seen) = (NameSum::default(), HashSet::new());
        Self {
            login,
            dir,
            asking,
            hashes,
            names,
            seen,
            empty: 0,
            repeated: 0,
            lines: 0,
            unknown: Vec::new(),
            real: OnceCell::new(),
        }
    }

    async fn run(
        &mut self,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<ListingEnd, ClientError> {
        let client = self.login.client();
        let directory = client.open_dir(&self.login.wire(self.dir)).await?;
        let mut pages = VecDeque::from([client.ask_dir(&directory)]);
        let most = if self.asking == Asking::SideBySide { MOST_PAGES_AHEAD } else { 1 };
        let (mut ahead, mut told) = (most.min(2), 0);
        let mut pace = PaceMeter::new(client.rate());
        loop {
            while pages.len() < ahead {
                pages.push_back(client.ask_dir(&directory));
            }
            let mut page = pages.pop_front().expect("at least one was asked for");
            let (begun, before) = (Instant::now(), client.received());
            let entries = client.entries(&mut page).await;
            pace.waited(begun.elapsed(), client.received().saturating_sub(before))?;
            let entries = match entries {
                Ok(PageAnswer::Entries(entries)) => entries,
                Ok(PageAnswer::End) => return rest(client, pages, ListingEnd::Whole).await,
                Ok(PageAnswer::NoSuchFile(error)) => {
                    let end = rest(client, pages, ListingEnd::Whole).await?;
                    return self.ended_by_no_such_file(error).await.map(|()| end);
                }
                Err(error @ ClientError::Status { code: status::FAILURE, .. }) => {
                    return rest(client, pages, ListingEnd::Failed(error)).await;
                }
                Err(error) => return Err(error),
            };
            // Only a folder whose second page has entries as well is worth more questions.
            ahead = if told > 0 { (ahead * 2).min(most) } else { ahead };
            told += 1;
            if let Some(end) = self.judge(&entries) {
                return Ok(end);
            }
            self.tell(entries, visit).await?;
            // A task that polls this may have what was found taken before it goes on.
            tokio::task::yield_now().await;
        }
    }

    /// Some servers open folders that are not there, and tell so when they are asked for entries.
    async fn ended_by_no_such_file(&self, error: ClientError) -> Result<(), ClientError> {
        if self.names.count > 0 {
            return Ok(());
        }
        match self.login.client().stat(&self.login.wire(self.dir)).await {
            Err(ClientError::Status { code: status::NO_SUCH_FILE, .. }) => Err(error),
            Ok(_) | Err(ClientError::Status { .. }) => Ok(()),
            Err(lost) => Err(lost),
        }
    }

    /// Whether this page ends the reading.
    fn judge(&mut self, entries: &[PacketEntry]) -> Option<ListingEnd> {
        let is_dot = |entry: &&PacketEntry| matches!(entry.name.as_ref(), b"." | b"..");
        let named: Vec<&[u8]> = entries
            .iter()
            .filter(|entry| !is_dot(entry))
            .map(|entry| entry.name.as_ref())
            .collect();
        self.names.count += entries.len() as u64;
        for name in &named {
            self.names.sum = self.names.sum.wrapping_add(self.hashes.hash_one(name));
        }
        if named.is_empty() {
            self.empty += 1;
            self.lines += 1;
            let most = if self.asking == Asking::SideBySide { MOST_EMPTY.0 } else { MOST_EMPTY.1 };
            let over = self.empty > most && !safeguard_off!("empty-pages");
            return over.then_some(ListingEnd::Silent(
                "the server sent pages without entries, and no end",
            ));
        }
        self.empty = 0;
        if self.seen.insert(self.hashes.hash_one(&named)) {
            self.repeated = 0;
            return None;
        }
        if self.asking == Asking::SideBySide {
            return Some(ListingEnd::Mixed("the server sent a page twice"));
        }
        self.repeated += 1;
        // Once around, and nothing new: that was all.
        let over = self.repeated > self.seen.len() as u64 + MOST_REPEATED;
        (over && !safeguard_off!("pages-repeat"))
            .then_some(ListingEnd::Silent("the server sent its pages again and again, and no end"))
    }

    async fn tell(
        &mut self,
        entries: Vec<PacketEntry>,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), ClientError> {
        let mut entries = entries.into_iter();
        while entries.len() > 0 {
            let some = entries.by_ref().take(DESCRIBED_TOGETHER);
            for described in join_all(some.map(|entry| self.describe(entry))).await {
                match described? {
                    DescribedEntry::Nothing => self.lines += 1,
                    DescribedEntry::Told(listed) => visit(listed),
                    DescribedEntry::Link(listed, note) => {
                        visit(listed);
                        note.into_iter().for_each(|note| visit(Listed::Aside(Aside::Note(note))));
                    }
                    DescribedEntry::Unknown(path, told) => self.unknown.push((path, told)),
                }
            }
        }
        if self.lines >= LINES {
            visit(Listed::Aside(Aside::Lines(std::mem::take(&mut self.lines))));
        }
        if self.unknown.len() > MOST_UNKNOWN {
            return Err(Malformed(
                "it does not tell of too many entries of a folder whether they are files",
            )
            .into());
        }
        Ok(())
    }

    /// A server that sends nothing but empty pages has listed nothing.
    async fn silent(
        self,
        why: &'static str,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), ClientError> {
        if self.seen.is_empty() {
            Err(Malformed(why).into())
        } else {
            self.doubtful(why, visit).await
        }
    }

    /// Taken for whole, though the server did not say so.
    async fn doubtful(
        self,
        why: &'static str,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), ClientError> {
        visit(Listed::Aside(Aside::Doubt(why)));
        self.try_out(visit).await
    }

    /// What the server does not tell is tried out, once the folder is closed: it may stand one open
    /// handle only.
    async fn try_out(self, visit: &mut (dyn FnMut(Listed) + Send)) -> Result<(), ClientError> {
        for some in self.unknown.chunks(TRIED_TOGETHER) {
            for listed in
                join_all(some.iter().map(|(path, attributes)| tried(self.login, path, attributes)))
                    .await
            {
                visit(listed?);
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// An entry as the contract has it; asks again where the listing does not tell the kind.
    async fn describe(&self, entry: PacketEntry) -> Result<DescribedEntry, ClientError> {
        let login = self.login;
        let mut name = own_name(&login.wire(self.dir), without_mark(&entry));
        if name.contains(&b'/')
            && let Some(real) = self.real.get_or_try_init(|| real(login, self.dir)).await?
        {
            name = own_name(real, name);
        }
        let line = &entry.long_name;
        let is_folder = kind(&entry.attributes, line) == Some(FileKind::Directory);
        let is_itself = name.is_empty() && is_folder;
        if name == b"." || name == b".." || is_itself {
            return Ok(DescribedEntry::Nothing);
        }
        if name.is_empty() {
            let line: String = printable(line).chars().take(160).collect();
            return Ok(DescribedEntry::Told(Listed::Unparsed(format!(
                "an entry without a name: `{line}`"
            ))));
        }
        let path = self.dir.join(name);
        if name.contains(&b'/') {
            return Ok(DescribedEntry::Told(Listed::Unreachable(path, "its name holds a slash")));
        }
        if name.contains(&0) {
            return Ok(DescribedEntry::Told(Listed::Unreachable(
                path,
                "its name holds a NUL byte",
            )));
        }
        let mut attributes = entry.attributes;
        if attributes.kind().is_none() {
            match login.client().lstat(&login.wire(&path)).await {
                Ok(told) => attributes = told,
                // What was listed is told; reading it shows whether it has gone or may not be read.
                Err(ClientError::Status { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(match kind(&attributes, line) {
            Some(FileKind::Symlink) if let Some(links) = &login.links => {
                let (listed, note) = links.followed(login, path).await?;
                DescribedEntry::Link(listed, note)
            }
            Some(kind) => DescribedEntry::Told(of_kind(kind, path, &attributes)),
            None => DescribedEntry::Unknown(path, attributes),
        })
    }
}

/// The answers to the questions that are still under way when an end has come: entries among them
/// were not told by it.
async fn rest(
    client: &Client,
    pages: VecDeque<Ticket>,
    end: ListingEnd,
) -> Result<ListingEnd, ClientError> {
    let mut mixed = None;
    for mut page in pages {
        match client.entries(&mut page).await {
            Ok(PageAnswer::Entries(entries))
                if !entries.is_empty() && !safeguard_off!("answers-drained") =>
            {
                mixed = Some("the server told its end before some of the entries")
            }
            Ok(_) | Err(ClientError::Status { .. }) => {}
            Err(ClientError::Stalled(_)) => {
                mixed = Some("the server did not answer all questions for entries");
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(mixed.map_or(end, ListingEnd::Mixed))
}

enum DescribedEntry {
    /// `.` or `..`.
    Nothing,
    Told(Listed),
    /// A link, as what it is followed to, and what is to be told of it.
    Link(Listed, Option<&'static str>),
    /// The server does not tell what it is.
    Unknown(RemotePath, Attributes),
}

fn of_kind(kind: FileKind, path: RemotePath, attributes: &Attributes) -> Listed {
    match kind {
        FileKind::Regular => Listed::File(remote_file(path, attributes)),
        FileKind::Directory => Listed::Directory(path),
        FileKind::Symlink => Listed::Symlink(path),
        FileKind::Special => Listed::Special(path),
    }
}

/// What can be listed is a folder; what cannot, and is not denied, is a file as far as can be told.
/// Some servers open whatever they are asked to as a folder: what has no entry, and can be read, is
/// a file.
async fn tried(
    login: &SftpLogin,
    path: &RemotePath,
    attributes: &Attributes,
) -> Result<Listed, ClientError> {
    let (client, wire) = (login.client(), login.wire(path));
    if safeguard_off!("kind-tried") {
        return Ok(of_kind(FileKind::Regular, path.clone(), attributes));
    }
    match client.open_dir(&wire).await {
        Ok(folder) => {
            let first = client.entries(&mut client.ask_dir(&folder)).await;
            let is_folder = match first {
                Ok(PageAnswer::Entries(_)) => true,
                Ok(PageAnswer::End) => {
                    drop(folder);
                    !holds_bytes(client, &wire).await?
                }
                Ok(PageAnswer::NoSuchFile(_)) | Err(ClientError::Status { .. }) => false,
                Err(error) => return Err(error),
            };
            let kind = if is_folder { FileKind::Directory } else { FileKind::Regular };
            return Ok(of_kind(kind, path.clone(), attributes));
        }
        Err(ClientError::Status { code: status::PERMISSION_DENIED, .. }) => {}
        Err(ClientError::Status { .. }) => {
            return Ok(of_kind(FileKind::Regular, path.clone(), attributes));
        }
        Err(error) => return Err(error),
    }
    match client.open(&wire).await {
        Ok(_) => Ok(of_kind(FileKind::Regular, path.clone(), attributes)),
        Err(ClientError::Status { .. }) => Ok(Listed::Unreachable(
            path.clone(),
            "the server does not tell whether it is a file or a folder, and opens it as neither",
        )),
        Err(error) => Err(error),
    }
}

/// Whether something at `wire` can be opened as a file and brings bytes.
async fn holds_bytes(client: &Client, wire: &[u8]) -> Result<bool, ClientError> {
    let file = match client.open(wire).await {
        Ok(file) => file,
        Err(ClientError::Status { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    match SftpReading::new(client.clone(), file, 0, None).next().await {
        Ok(first) => Ok(first.is_some()),
        Err(ClientError::Status { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
