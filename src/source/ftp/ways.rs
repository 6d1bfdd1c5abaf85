//! How a folder is listed: in the best way that its server knows.

use std::sync::atomic::Ordering;

use super::account::TransferType;
use super::client::FtpClient;
use super::fatal;
use super::fault::{FtpReply, Scene};
use super::known_ways::{WayRecord, Ways};
use super::signed_end::read_whole;
use super::transfer::FtpOpened;
use super::{lines, when};
use crate::model::failure::Class;
use crate::model::{ModifiedTime, RemoteFile, RemotePath, printable};
use crate::source::contract::{Listed, Op, SourceError};

/// Lines that cannot be parsed are held back up to this many: as many names are asked for one by
/// one.
const MOST_NAMES: usize = 10_000;
/// Of so many names at once the size and the time are asked for.
const AT_ONCE: usize = 16;

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListingWay {
    Facts,
    All,
    Plain,
}

impl ListingWay {
    fn command(self) -> &'static [u8] {
        match self {
            ListingWay::Facts => fatal::MLSD,
            ListingWay::All => fatal::LIST_ALL,
            ListingWay::Plain => b"LIST",
        }
    }

    fn known(self, ways: &Ways) -> Option<&WayRecord> {
        match self {
            ListingWay::Facts => Some(&ways.facts),
            ListingWay::All => Some(&ways.all),
            ListingWay::Plain => Some(&ways.plain),
        }
    }
}

/// What one way told of a folder.
enum FolderAnswer {
    /// Entries that were visited.
    Entries,
    /// Lines, but no entry among them.
    NoEntry,
    /// Not a line.
    Empty,
    /// Nothing that can be parsed; these lines.
    Unreadable(Vec<Listed>),
    Refused(FtpReply),
}

/// Lists the directory that the session stands in: the answer of the best way that has one, or
/// that of the simplest.
pub(super) async fn list(
    client: &mut FtpClient,
    scene: Scene<'_>,
    dir: &RemotePath,
    visit: &mut (dyn FnMut(Listed) + Send),
) -> Result<(), SourceError> {
    let account = client.account.clone();
    let ways = &account.learned.ways;
    let mut failed = Vec::new();
    if client.machine_listings && !ways.facts.fails() {
        match attempt(client, scene, dir, ListingWay::Facts, visit).await? {
            FolderAnswer::Entries | FolderAnswer::NoEntry => return Ok(()),
            FolderAnswer::Empty if ways.facts.works() => return Ok(()),
            told => failed.push((ListingWay::Facts, told)),
        }
    }
    if !ways.all.fails() {
        let mut told = attempt(client, scene, dir, ListingWay::All, visit).await?;
        // It may be busy: `-a` is not given up for that, since files would seem to vanish.
        if matches!(&told, FolderAnswer::Refused(reply) if reply.code < 500) && !ways.all.works() {
            told = attempt(client, scene, dir, ListingWay::All, visit).await?;
        }
        match told {
            FolderAnswer::Entries | FolderAnswer::NoEntry => {
                settle(client, scene, &failed, matches!(told, FolderAnswer::Entries));
                return Ok(());
            }
            FolderAnswer::Refused(reply) if ways.all.works() => {
                return nothing_there(scene, &reply);
            }
            told => failed.push((ListingWay::All, told)),
        }
    }
    match attempt(client, scene, dir, ListingWay::Plain, visit).await? {
        FolderAnswer::Entries => settle(client, scene, &failed, true),
        // Nothing was ever listed: some know NLST alone, and say nothing to the rest.
        FolderAnswer::Empty if !ways.tells_anything() => {
            let mut visited = false;
            let counted = &mut |listed| {
                visited = true;
                visit(listed);
            };
            by_name(client, scene, dir, Vec::new(), counted).await?;
            if !visited {
                settle(client, scene, &failed, false);
            }
        }
        FolderAnswer::NoEntry | FolderAnswer::Empty => settle(client, scene, &failed, false),
        FolderAnswer::Unreadable(lines) => {
            settle(client, scene, &failed, true);
            if ways.first_text() && readable_as_text(client, scene, dir, visit).await? {
                return Ok(());
            }
            let all = failed.into_iter().find_map(|failed| match failed {
                (ListingWay::All, FolderAnswer::Unreadable(all)) => Some(all),
                _ => None,
            });
            by_name(client, scene, dir, all.unwrap_or(lines), visit).await?;
        }
        FolderAnswer::Refused(reply) => {
            if is_refused_as_bytes(ways, &reply) && told_as_text(client, scene, dir, visit).await? {
                return Ok(());
            }
            return last_word(client, scene, dir, failed, &reply, visit).await;
        }
    }
    Ok(())
}

/// Whether the listing can be read as text: servers of hosts with EBCDIC send it in that, unless
/// they are told otherwise.
async fn readable_as_text(
    client: &mut FtpClient,
    scene: Scene<'_>,
    dir: &RemotePath,
    visit: &mut (dyn FnMut(Listed) + Send),
) -> Result<bool, SourceError> {
    if !turns_to_text(client, scene).await? {
        return Ok(false);
    }
    let told = attempt(client, scene, dir, ListingWay::Plain, visit).await?;
    stays_with_text(client, scene, matches!(told, FolderAnswer::Entries)).await
}

/// Whether `LIST` may be refused because it is to be sent as bytes: nothing was ever listed, the
/// command is known, and text was not tried yet. RFC 959 §4.1.3 has listings sent as text.
fn is_refused_as_bytes(ways: &Ways, reply: &FtpReply) -> bool {
    reply.code >= 500 && !reply.not_understood() && !ways.tells_anything() && ways.text_after_no()
}

/// Whether the folder is listed as text, which was refused as bytes.
async fn told_as_text(
    client: &mut FtpClient,
    scene: Scene<'_>,
    dir: &RemotePath,
    visit: &mut (dyn FnMut(Listed) + Send),
) -> Result<bool, SourceError> {
    if !turns_to_text(client, scene).await? {
        return Ok(false);
    }
    let mut helps = false;
    for way in [ListingWay::All, ListingWay::Plain] {
        helps = match attempt(client, scene, dir, way, visit).await? {
            FolderAnswer::Entries | FolderAnswer::NoEntry => true,
            // A refusal that has gone is an answer, too.
            FolderAnswer::Empty => way == ListingWay::Plain,
            FolderAnswer::Unreadable(_) | FolderAnswer::Refused(_) => false,
        };
        if helps {
            break;
        }
    }
    stays_with_text(client, scene, helps).await
}

/// Has the server send listings as text; not, if it refuses.
async fn turns_to_text(client: &mut FtpClient, scene: Scene<'_>) -> Result<bool, SourceError> {
    match client.in_type(scene, TransferType::Ascii).await {
        Ok(()) => Ok(true),
        Err(error) if error.keeps_session() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Keeps to text from now on if that helps, and says whether.
async fn stays_with_text(
    client: &mut FtpClient,
    scene: Scene<'_>,
    helps: bool,
) -> Result<bool, SourceError> {
    if helps {
        tracing::debug!(server = scene.address, "Listings are asked for as text from now on.");
        client.account.learned.ways.text.store(true, Ordering::Relaxed);
    } else {
        client.in_type(scene, TransferType::Binary).await?;
    }
    Ok(helps)
}

/// `LIST` is refused: the answer of a better way counts, if there was one.
async fn last_word(
    client: &mut FtpClient,
    scene: Scene<'_>,
    dir: &RemotePath,
    failed: Vec<(ListingWay, FolderAnswer)>,
    reply: &FtpReply,
    visit: &mut (dyn FnMut(Listed) + Send),
) -> Result<(), SourceError> {
    let mut refusal = None;
    for (_, told) in failed {
        match told {
            FolderAnswer::Unreadable(lines) => {
                by_name(client, scene, dir, lines, visit).await?;
                return Ok(());
            }
            FolderAnswer::Empty => return Ok(()),
            FolderAnswer::Refused(better) => {
                refusal.get_or_insert(better);
            }
            FolderAnswer::Entries | FolderAnswer::NoEntry => {}
        }
    }
    if reply.not_understood()
        && refusal.as_ref().is_none_or(FtpReply::not_understood)
        && by_name(client, scene, dir, Vec::new(), visit).await?
    {
        return Ok(());
    }
    // A server that does not know LIST has given its reason before.
    let refusal = refusal.filter(|better| reply.not_understood() && !better.not_understood());
    nothing_there(scene, refusal.as_ref().unwrap_or(reply))
}

/// A simpler way has told what is there: those that did not are given up, if they told less.
fn settle(
    client: &mut FtpClient,
    scene: Scene<'_>,
    failed: &[(ListingWay, FolderAnswer)],
    entries: bool,
) {
    let account = client.account.clone();
    for (way, told) in failed {
        let Some(known) = way.known(&account.learned.ways) else { continue };
        match told {
            // It told of nothing, and there is nothing.
            FolderAnswer::Empty if !entries => {
                if *way == ListingWay::Facts {
                    known.works.store(true, Ordering::Relaxed);
                }
            }
            _ if !entries || known.works() => {}
            told => {
                if !known.fails.swap(true, Ordering::Relaxed) {
                    let why = match told {
                        FolderAnswer::Refused(reply) => reply.text(),
                        FolderAnswer::Unreadable(_) => "no line of its answer can be parsed".into(),
                        _ => "its answer is empty".into(),
                    };
                    let command = String::from_utf8_lossy(way.command());
                    tracing::debug!(server = scene.address, %command, why, "A simpler command \
                        lists folders here: this one is not sent any more.");
                }
                if *way == ListingWay::Facts {
                    client.machine_listings = false;
                }
            }
        }
    }
}

/// Lists in one way, which may be more than the server survives as long as it never worked.
async fn attempt(
    client: &mut FtpClient,
    scene: Scene<'_>,
    dir: &RemotePath,
    way: ListingWay,
    visit: &mut (dyn FnMut(Listed) + Send),
) -> Result<FolderAnswer, SourceError> {
    let is_option = way != ListingWay::Plain;
    let is_known = way.known(&client.account.learned.ways).is_none_or(WayRecord::works);
    if is_option && !is_known {
        client.puts_at_stake(way.command());
    }
    let told = listed_by(client, scene, dir, way, visit).await?;
    client.nothing_at_stake();
    Ok(told)
}

/// Lists in one way. Lines that cannot be parsed wait for the first that can.
async fn listed_by(
    client: &mut FtpClient,
    scene: Scene<'_>,
    dir: &RemotePath,
    way: ListingWay,
    visit: &mut (dyn FnMut(Listed) + Send),
) -> Result<FolderAnswer, SourceError> {
    let data = match client.transfer(scene, way.command(), 0).await? {
        FtpOpened::Data(data) => *data,
        FtpOpened::Refused(reply) => {
            let refused = scene.refused(&reply);
            // What is not about this command ends the session.
            return if refused.keeps_session() {
                Ok(FolderAnswer::Refused(reply))
            } else {
                Err(refused)
            };
        }
    };
    let (mut held, mut entries, mut all_held) = (Vec::new(), false, true);
    let mut holding = |listed: Listed| match listed {
        Listed::Unparsed(_) if !entries && all_held => {
            held.push(listed);
            all_held = held.len() <= MOST_NAMES;
            if !all_held {
                held.drain(..).for_each(&mut *visit);
            }
        }
        Listed::Unparsed(_) | Listed::Aside(_) => visit(listed),
        listed => {
            if !std::mem::replace(&mut entries, true) {
                held.drain(..).for_each(&mut *visit);
            }
            visit(listed);
        }
    };
    let dialect =
        if way == ListingWay::Facts { lines::Dialect::Mlsd } else { lines::Dialect::List };
    let asked = (way.command(), dialect);
    let lines = read_whole(client, data, scene, dir, asked, &mut holding).await?;
    if !held.is_empty() {
        return Ok(FolderAnswer::Unreadable(held));
    }
    let told = match (entries || !all_held, lines) {
        (true, _) => FolderAnswer::Entries,
        (false, 0) => return Ok(FolderAnswer::Empty),
        (false, _) => FolderAnswer::NoEntry,
    };
    if let Some(known) = way.known(&client.account.learned.ways) {
        known.works.store(true, Ordering::Relaxed);
    }
    Ok(told)
}

/// The last way, where none of `lines` can be parsed: names, and what the server tells of each.
/// Whether it tells names.
async fn by_name(
    client: &mut FtpClient,
    scene: Scene<'_>,
    dir: &RemotePath,
    mut lines: Vec<Listed>,
    visit: &mut (dyn FnMut(Listed) + Send),
) -> Result<bool, SourceError> {
    lines.retain(|listed| !is_itself(listed));
    let (mut names, mut told) = (Vec::new(), false);
    if let FtpOpened::Data(data) = client.transfer(scene, b"NLST", 0).await? {
        let mut take = |listed| match listed {
            Listed::Untold(RemoteFile { path, .. }) if names.len() <= MOST_NAMES => {
                names.push(path)
            }
            Listed::Untold(_) => {}
            // What it cannot be asked for, the lines tell of as well.
            listed => visit(listed),
        };
        let asked = (&b"NLST"[..], lines::Dialect::Names);
        read_whole(client, *data, scene, dir, asked, &mut take).await?;
        told = true;
    }
    if names.len() > MOST_NAMES {
        names.clear();
    }
    if !names.is_empty() && !client.account.learned.ways.names.swap(true, Ordering::Relaxed) {
        tracing::debug!(
            server = scene.address,
            "Its listings cannot be read: names come from NLST, sizes and times from SIZE and \
            MDTM."
        );
    }
    for paths in names.chunks(AT_ONCE) {
        let asked: Vec<_> = paths
            .iter()
            .flat_map(|path| [client.line("SIZE", path), client.line("MDTM", path)])
            .collect();
        let replies = client.commands(scene, &asked).await?;
        for (path, replies) in paths.iter().zip(replies.chunks_exact(2)) {
            cover(&mut lines, path.file_name());
            let (size, modified) = (value(&replies[0]).and_then(size_of), value(&replies[1]));
            let file = RemoteFile::told(path.clone(), size, modified.and_then(time_of));
            visit(if size.is_some() { Listed::File(file) } else { Listed::Untold(file) });
        }
    }
    // What no name stands for may be a folder that NLST hides.
    lines.into_iter().for_each(visit);
    Ok(told)
}

/// Whether a line that cannot be parsed tells of the folder itself or of the one above.
fn is_itself(listed: &Listed) -> bool {
    let Listed::Unparsed(line) = listed else { return false };
    let mut words = line.split_whitespace();
    [words.next(), words.next_back()].iter().any(|word| matches!(word, Some("." | "..")))
}

/// Takes the one line that tells of `name` out of `lines`.
fn cover(lines: &mut Vec<Listed>, name: &[u8]) {
    let name = printable(name);
    let tells = |listed: &Listed| {
        let Listed::Unparsed(line) = listed else { return false };
        let mut found = line.match_indices(name.as_str());
        let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && !"._-".contains(c));
        found.any(|(at, _)| {
            edge(line[..at].chars().next_back()) && edge(line[at + name.len()..].chars().next())
        })
    };
    if let Some(at) = lines.iter().position(tells) {
        lines.remove(at);
    }
}

/// What a reply to `SIZE` or `MDTM` tells.
fn value(reply: &FtpReply) -> Option<&[u8]> {
    (reply.code == 213).then(|| reply.body.get(4..).unwrap_or_default().trim_ascii())
}

/// The size in a reply to `SIZE`; some say `6 bytes`.
pub(super) fn size_of(told: &[u8]) -> Option<u64> {
    let digits = told.split(|b| *b == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The time in a reply to `MDTM`.
pub(super) fn time_of(told: &[u8]) -> Option<ModifiedTime> {
    when::stamp(told.split(|b| *b == b' ').next().unwrap_or_default())
}

/// Some servers refuse to list an empty directory instead of listing nothing.
fn nothing_there(scene: Scene<'_>, reply: &FtpReply) -> Result<(), SourceError> {
    match reply.code {
        450 | 550
            if reply.says(&[
                "no files",
                "directory is empty",
                "empty directory",
                // z/OS, of a level of names and of a library.
                "no data sets found",
                "no members found",
            ]) && !reply.says(&["permission", "invalid directory"]) =>
        {
            Ok(())
        }
        // The folder has been entered, so this says nothing of the file that is looked for in it.
        550 if scene.op != Op::List && !reply.denies() && !reply.says_missing() => {
            let why = format!("its folder cannot be listed: {}", reply.text());
            Err(scene.fault(Class::ListingFailed, why).session_survives())
        }
        _ => Err(scene.refused(reply)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_no_name_covers_stay() {
        let line = |text: &str| Listed::Unparsed(text.into());
        let mut lines = vec![line("1 x a.csv.bak"), line("2 x a.csv"), line("3 x SUB")];
        cover(&mut lines, b"a.csv");
        assert_eq!(lines, [line("1 x a.csv.bak"), line("3 x SUB")]);
        cover(&mut lines, b"B");
        assert_eq!(lines.len(), 2);
    }
}
