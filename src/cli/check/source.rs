//! A source's steps: the way to it, the login, and what a first listing shows.

use std::time::{Duration, Instant};

use super::file_system::{self, OtherMachines};
use super::lines::{CheckLine, CheckLines};
use super::names::Foreign;
use super::probe::probe;
use crate::model::failure::{Class, Failure};
use crate::model::number_of;
use crate::model::{ModifiedTime, Precision, RemoteFile, RemotePath, printable};
use crate::pass::steps::misconfigured;
use crate::report::in_bytes;
use crate::rules::naming::Layout;
use crate::rules::patterns::slips::SlipWatch;
use crate::source::contract::{Listed, Op, Session, SourceError};
use crate::source::finding::text_setting;
use crate::transfer::settings::{After, Source, Versions};

/// How many entries of a listing are shown.
const SHOWN: usize = 20;
/// A file this far in the future tells of a clock that is wrong.
const FUTURE: Duration = Duration::from_secs(300);

/// `probed` is how many logins are tried at once, if any.
pub async fn check(lines: &mut CheckLines, source: &Source, probed: Option<usize>) {
    let before = lines.failed();
    lines.tell(CheckLine::ok("address", source.endpoint.address()));
    if let Some(problem) = misconfigured(source) {
        return lines.tell(CheckLine::wrong("settings", Class::Config, problem));
    }
    let opened = source.endpoint.diagnose(&mut |finding| lines.found(finding)).await;
    let mut session = match opened {
        Ok(session) => session,
        Err(error) => {
            let step = match (error.class(), error.op()) {
                (Class::Dns, _) => "resolve",
                (Class::HostKey, _) => "host key",
                (Class::Tls, _) => "certificate",
                (_, Op::Login) => "login",
                _ => "connect",
            };
            return lines.tell(CheckLine::failed(step, &error));
        }
    };
    let start = Instant::now();
    let looked = look(session.as_mut(), source).await;
    let took = start.elapsed();
    session.describe().into_iter().for_each(|finding| lines.found(finding));
    if let Some(root) = source.endpoint.local(&source.root) {
        file_system::tell(lines, &root, OtherMachines::Send);
        let kept = source.root.join(b".snapshot").join(b"kept");
        if !source.patterns.wants(&kept) {
            let text = "what systems and programs keep for themselves (`.snapshot`, `lost+found`, \
                `Thumbs.db` and the like); `system_files = true` brings it over, too";
            lines.tell(CheckLine::ok("left out", text));
        }
    }
    match looked {
        Ok(seen) => seen.tell(lines, source, took),
        Err(error) => lines.tell(CheckLine::failed("listing", &error).took(took)),
    }
    settings(lines, source);
    let room = match probed {
        Some(most) => Some(probe(lines, source, session, most).await),
        None => {
            session.close().await;
            None
        }
    };
    if lines.failed() == before {
        lines.table(table(source, room));
    }
}

/// The head of a table of this source as it was found; what was found on the way is added to it.
/// Secrets are not repeated: there is a variable where the password was. `None` where no login is
/// needed.
fn table(source: &Source, room: Option<usize>) -> Option<String> {
    let address = source.endpoint.address();
    if !["sftp://", "ftp://", "ftps://", "ftpes://"]
        .iter()
        .any(|scheme| address.starts_with(scheme))
    {
        return None;
    }
    let escape = |byte: &u8| {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            char::from(*byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    let path: String = source.root.as_bytes().iter().map(escape).collect();
    let variable = format!(
        "{}_PASSWORD",
        source.name.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
    );
    let connections = source.connections.min(room.unwrap_or(source.connections));
    let name = text_setting("name", &source.name);
    let url = text_setting("url", &format!("{address}/{}", path.trim_start_matches('/')));
    Some(format!(
        "[[source]]\n{name}\n{url}\npassword = {{ env = \"{variable}\" }} # or \
        private_key_file\nconnections = {connections}\n"
    ))
}

/// Files that patterns leave out and that are named.
const UNWANTED: usize = 3;

/// `include` as it would be for files of all folders, if it is for those of the top one alone.
fn top_only(include: &[String]) -> Option<String> {
    let is_top =
        |glob: &String| !glob.trim_start_matches('/').contains('/') && !glob.contains("**");
    let deep = |glob: &String| format!("\"**/{}\"", glob.trim_start_matches('/'));
    let all_top = !include.is_empty() && include.iter().all(is_top);
    all_top.then(|| include.iter().map(deep).collect::<Vec<_>>().join(", "))
}

/// What one listing shows of a server.
#[derive(Default)]
struct CheckSeen {
    first: Vec<String>,
    files: u64,
    directories: u64,
    others: u64,
    unparsed: u64,
    foreign: Foreign,
    coarse: u64,
    wanted: u64,
    /// The first files that no pattern wants.
    unwanted: Vec<String>,
    in_progress: u64,
    /// Patterns that have matched nothing so far.
    slips: SlipWatch,
    newest: Option<time::OffsetDateTime>,
    /// The first file, as the listing shows it and as the server describes it by itself.
    some_file: Option<(RemoteFile, Option<RemoteFile>)>,
}

async fn look(session: &mut dyn Session, source: &Source) -> Result<CheckSeen, SourceError> {
    let mut seen = CheckSeen { slips: source.patterns.watch(), ..CheckSeen::default() };
    session.list(&source.root, &mut |listed| seen.take(listed, source)).await?;
    if let Some((listed, exact)) = &mut seen.some_file {
        // A listing may be coarse where a single answer is exact.
        *exact = session.stat(&listed.path).await?;
    }
    Ok(seen)
}

fn is_exact(modified: Option<ModifiedTime>) -> bool {
    modified.is_some_and(|modified| modified.precision <= Precision::Second)
}

impl CheckSeen {
    fn take(&mut self, listed: Listed, source: &Source) {
        let shown = match &listed {
            Listed::File(file) => {
                format!("{} ({})", file.path, file.size.map_or("size unknown".into(), in_bytes))
            }
            Listed::Directory(path) => format!("{path}/"),
            Listed::Symlink(path) => format!("{path} (link, skipped)"),
            Listed::Special(path) => format!("{path} (special, skipped)"),
            Listed::Unreachable(path, why) => format!("{path} (cannot be asked for: {why})"),
            Listed::Undescribed(path, why) => format!("{path} ({why})"),
            Listed::Unparsed(line) => format!("cannot be parsed: {line}"),
            Listed::Untold(_) | Listed::Aside(_) => return,
        };
        if self.first.len() < SHOWN {
            self.first.push(shown);
        }
        match listed {
            Listed::File(file) => {
                self.files += 1;
                let is_wanted = source.patterns.wants(&file.path);
                self.wanted += u64::from(is_wanted);
                if !is_wanted && self.unwanted.len() < UNWANTED {
                    self.unwanted.push(printable(file.path.as_bytes()));
                }
                if let Some(below) = source.patterns.below(&file.path) {
                    self.slips.see(below);
                }
                self.in_progress += u64::from(source.patterns.in_progress(&file.path));
                self.foreign.see(
                    file.path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default(),
                );
                self.coarse += u64::from(!is_exact(file.modified));
                self.newest = self.newest.max(file.modified.map(|modified| modified.at));
                self.some_file.get_or_insert((file, None));
            }
            Listed::Directory(_) => self.directories += 1,
            Listed::Unparsed(_) => self.unparsed += 1,
            Listed::Symlink(_)
            | Listed::Special(_)
            | Listed::Unreachable(..)
            | Listed::Undescribed(..) => self.others += 1,
            Listed::Untold(_) | Listed::Aside(_) => {}
        }
    }

    fn tell(&self, lines: &mut CheckLines, source: &Source, took: Duration) {
        let counts = format!(
            "`{}` holds {}, {}, {} others",
            source.root,
            number_of(self.files, "file"),
            number_of(self.directories, "folder"),
            self.others
        );
        lines.tell(CheckLine::ok("listing", counts).took(took));
        self.first.iter().for_each(|entry| lines.entry(entry));
        if self.unparsed > 0 {
            let text =
                format!("{} of the listing cannot be parsed", number_of(self.unparsed, "line"));
            lines.tell(CheckLine::wrong("listing", Class::ListingFailed, text));
        }
        self.tell_patterns(lines, source);
        if let Some(text) = self.foreign.told() {
            lines.tell(CheckLine::note("names", text));
        }
        self.tell_times(lines);
    }

    fn tell_patterns(&self, lines: &mut CheckLines, source: &Source) {
        if self.directories > 0
            && let Some(deep) = top_only(source.patterns.given())
        {
            let text = "`include` takes files of the top folder alone, none of the folders in it";
            let hint = format!("to take those of all folders too: `include = [{deep}]`");
            lines.tell(CheckLine::note("patterns", text).hint(hint));
        }
        if self.files == 0 {
            return;
        }
        let text = format!(
            "`include` and `exclude` want {} of {}",
            self.wanted,
            number_of(self.files, "file")
        );
        let text = if self.in_progress > 0 {
            format!("{text}; {} are being written, by their names", self.in_progress)
        } else {
            text
        };
        let text = match self.files.saturating_sub(self.wanted) {
            0 => text,
            left if left == self.unwanted.len() as u64 => {
                format!("{text}; left out: {}", self.unwanted.join(", "))
            }
            left => {
                let more = left - self.unwanted.len() as u64;
                format!("{text}; left out: {} and {more} more", self.unwanted.join(", "))
            }
        };
        // What is below its folders has not been looked at.
        lines.tell(if self.wanted == 0 && self.directories == 0 {
            CheckLine::note("patterns", text).hint(
                "compare `include` and `exclude` with the names above: a run would bring nothing",
            )
        } else {
            CheckLine::ok("patterns", text)
        });
        // In folders that were not looked at there may be what they match.
        for slip in self.slips.slips().iter().filter(|slip| slip.is_likely || self.directories == 0)
        {
            lines.tell(CheckLine::note("patterns", slip.text.clone()));
        }
    }

    fn tell_times(&self, lines: &mut CheckLines) {
        if let Some((listed, exact)) = &self.some_file {
            let exact = exact.as_ref().and_then(|file| file.modified);
            if self.coarse > 0 && !is_exact(exact) {
                let text = "the server tells modified times only to the minute or day";
                lines.tell(
                    CheckLine::note("times", text)
                        .hint("a changed file of the same size may be missed"),
                );
            } else if let (false, Some(exact), Some(listed)) =
                (is_exact(listed.modified), exact, listed.modified)
            {
                let text = match (listed.precision, (listed.at - exact.at).whole_minutes()) {
                    (Precision::Day, _) => {
                        "listings tell the day of older files only; exact times \
                        are asked for one by one"
                            .to_owned()
                    }
                    (_, -1..=1) => "listings are in UTC, to the minute; exact times are asked for \
                        one by one"
                        .to_owned(),
                    (_, minutes) => format!(
                        "listings are {minutes} minutes off UTC; exact times \
                        are asked for one by one, and those count"
                    ),
                };
                lines.tell(CheckLine::ok("times", text));
            }
        }
        let now = time::OffsetDateTime::now_utc();
        match self.newest {
            Some(newest) if newest > now + FUTURE => {
                let text = format!("the newest file is dated {} in the future", span(newest - now));
                lines.tell(
                    CheckLine::note("clock", text)
                        .hint("the server's clock or zone is wrong, or this machine's"),
                );
            }
            Some(newest) => {
                let age = span(now - newest);
                lines.tell(CheckLine::ok(
                    "clock",
                    format!("the newest file is {age} old, by the two clocks"),
                ));
            }
            None => {}
        }
    }
}

/// Settings that are as they are meant to be, but should be known.
fn settings(lines: &mut CheckLines, source: &Source) {
    for note in &source.notes {
        lines.tell(
            CheckLine::note("settings", note)
                .hint("in a pattern such a group is an alternative, and no date"),
        );
    }
    let now = time::OffsetDateTime::now_utc();
    if let Some(text) = source.schedule.as_ref().and_then(|schedule| schedule.left_out(now)) {
        lines.tell(
            CheckLine::note("schedule", text)
                .hint("choose an hour that clocks show in each night, or leave `time_zone` UTC"),
        );
    }
    if let Layout::Template(template) = &source.naming.layout
        && let Some(meet) = template.may_meet()
    {
        lines.tell(
            CheckLine::note("settings", meet)
                .hint("whoever comes second gets a stable suffix, which the report tells"),
        );
    }
    if source.versions == Versions::Overwrite {
        lines.tell(
            CheckLine::note("settings", "`versions = \"overwrite\"` replaces blobs")
                .hint("keep versions or soft deletion on in the container"),
        );
    }
    if let After::Move(target) = &source.after
        && is_elsewhere(source, target)
    {
        lines.tell(CheckLine::note(
            "settings",
            "`after` moves files to another file system: each is copied, compared and removed",
        ));
    }
    if source.after != After::Keep {
        lines.tell(CheckLine::note(
            "settings",
            "files are removed from the server once they are stored (`after`)",
        ));
    }
}

/// Whether files that are moved to `target` change their file system.
#[cfg(unix)]
fn is_elsewhere(source: &Source, target: &RemotePath) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &RemotePath| {
        let local = source.endpoint.local(path)?;
        let there = local.ancestors().find_map(|there| std::fs::metadata(there).ok())?;
        Some(there.dev())
    };
    device(&source.root) != device(target)
}

/// Nothing tells it without moving a file.
#[cfg(not(unix))]
fn is_elsewhere(_source: &Source, _target: &RemotePath) -> bool {
    false
}

/// A time as people count it: in minutes, hours or days.
fn span(time: time::Duration) -> String {
    match (time.whole_minutes(), time.whole_hours(), time.whole_days()) {
        (minutes, ..2, _) => number_of(minutes.max(0), "minute"),
        (_, hours, ..2) => number_of(hours, "hour"),
        (_, _, days) => number_of(days, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::{span, top_only};

    #[test]
    fn a_time_is_told_as_people_count_it() {
        for (minutes, told) in [
            (-3, "0 minutes"),
            (1, "1 minute"),
            (119, "119 minutes"),
            (120, "2 hours"),
            (2 * 24 * 60, "2 days"),
            (100_423, "69 days"),
        ] {
            assert_eq!(span(time::Duration::minutes(minutes)), told);
        }
    }

    #[test]
    fn patterns_of_the_top_folder_are_told_in_the_form_for_all_folders() {
        let of = |globs: &[&str]| {
            top_only(&globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["*.csv", "/x_*.xml"]).as_deref(), Some(r#""**/*.csv", "**/x_*.xml""#));
        for others in [&["*.csv", "in/*.csv"][..], &["**/*.csv"], &["**"], &[]] {
            assert_eq!(of(others), None, "{others:?}");
        }
    }
}
