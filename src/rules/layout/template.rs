//! A template, filled in for a file or for a member of an archive.

use regex::bytes::{Captures, Regex};
use time::PrimitiveDateTime;

use crate::model::{ModifiedTime, Precision, RemoteFile, RemotePath, printable};
use crate::rules::date_format::{DateFormat, DateUnit};
use crate::rules::escape::{escaped_path, escaped_segment};
use crate::rules::time_zone::TimeZone;

/// How the blobs of a source are named, as its settings spell it.
#[derive(Clone, Debug)]
pub struct Template {
    /// The texts that it was read from: two templates of equal texts name alike.
    pub(super) texts: String,
    pub(super) parts: Vec<LayoutPart>,
    pub(super) capture: Option<Regex>,
    /// Where members of an archive go, from the folder of the archive's own blob on; `None`: below
    /// `{file}!/`.
    pub(super) members: Option<Vec<LayoutPart>>,
    pub(super) zone: TimeZone,
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Template {}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LayoutPart {
    /// Text as written, or the source's name.
    Literal(String),
    /// The path below the URL's folder.
    Path,
    /// The folders in it.
    Folder,
    /// Its last segment.
    File,
    /// That without its last extension.
    Stem,
    /// The extension.
    Ext,
    /// What the group of this name in `capture` holds.
    Group(String),
    /// The date that it spells, in another format.
    GroupDate(String, DateFormat),
    /// The modified time: of the file, in `member_layout` of the member.
    Modified(DateFormat),
    /// The name of a member, with those of the archives in the archive that hold it.
    Member,
    /// The last segment of a member's name.
    MemberFile,
}

/// A member of an archive, as far as names need it.
#[derive(Clone, Copy, Debug)]
pub struct MemberName<'a> {
    /// The archives in the archive that it is in.
    pub within: &'a [String],
    /// Its name.
    pub name: &'a str,
    /// When it was modified, if the archive tells.
    pub modified: Option<ModifiedTime>,
}

impl MemberName<'_> {
    /// The last segment of a member's name.
    pub fn file_name(name: &str) -> &str {
        name.rsplit('/').next().unwrap_or_default()
    }
}

/// Why a file gets no name: it has not what the layout asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the layout needs {needs}, and `{}` {has}", printable(.file))]
pub struct NameError {
    needs: String,
    file: Vec<u8>,
    has: String,
}

impl NameError {
    fn new(needs: impl Into<String>, file: &[u8], has: impl Into<String>) -> Self {
        Self { needs: needs.into(), file: file.to_vec(), has: has.into() }
    }
}

/// The file or member that a template is filled in for.
struct NamedFile<'a> {
    /// The path below the URL's folder.
    below: &'a [u8],
    /// The name that errors tell.
    named: &'a [u8],
    modified: Option<&'a ModifiedTime>,
    member: Option<MemberName<'a>>,
}

impl Template {
    /// The texts of the settings that decide about names, for comparison.
    pub fn texts(&self) -> &str {
        &self.texts
    }

    /// The text that all names begin with, and whether it is all of the name.
    pub fn beginning(&self) -> (&str, bool) {
        let (text, whole) = match self.parts.as_slice() {
            [LayoutPart::Literal(text)] => (text.as_str(), true),
            [LayoutPart::Literal(text), ..] => (text.as_str(), false),
            _ => ("", false),
        };
        match self.members {
            None => (text, whole),
            // Of the archive's name only the folder is before them.
            Some(_) => (text.rfind('/').map_or("", |slash| &text[..=slash]), false),
        }
    }

    /// What may have the same name by this template, in words; who comes second is set apart.
    pub(crate) fn may_meet(&self) -> Option<&'static str> {
        let has = |part: LayoutPart| self.parts.contains(&part);
        let apart = has(LayoutPart::Path) || has(LayoutPart::Folder) && has(LayoutPart::File);
        if !apart && (has(LayoutPart::File) || has(LayoutPart::Stem)) {
            return Some(
                "`layout` lets files of one name in different folders have one blob's name",
            );
        }
        if !apart && self.parts.iter().any(LayoutPart::is_captured) {
            return Some(
                "`layout` lets files of which `capture` finds the same have one blob's name",
            );
        }
        let members = self.members.as_ref()?;
        let has = |part: LayoutPart| members.contains(&part);
        let apart = has(LayoutPart::Member) && (has(LayoutPart::File) || has(LayoutPart::Stem));
        (!apart).then_some("`member_layout` lets members of one name have one blob's name")
    }

    /// Whether names of files have dates of the modified time.
    pub(crate) fn is_dated(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, LayoutPart::Modified(_)))
    }

    /// Whether files have different names at all.
    pub(crate) fn tells_files(&self) -> bool {
        self.parts.iter().any(LayoutPart::tells_files)
    }

    /// The name of `file`, which may still be over the limits of a blob's name.
    pub fn file(&self, root: &RemotePath, file: &RemoteFile) -> Result<String, NameError> {
        let below = file.path.below(root).unwrap_or(file.path.as_bytes());
        let modified = file.modified.as_ref();
        let subject = NamedFile { below, named: below, modified, member: None };
        self.fill(&self.parts, &subject).map(apart_from_state)
    }

    /// The name of `member` of `archive`; the same holds of it.
    pub fn member(
        &self,
        root: &RemotePath,
        archive: &RemoteFile,
        member: MemberName<'_>,
    ) -> Result<String, NameError> {
        let whole = self.file(root, archive)?;
        let Some(parts) = &self.members else {
            return Ok(format!("{whole}!/{}", escaped_member(&member)));
        };
        let folder = whole.rfind('/').map_or("", |slash| &whole[..=slash]);
        let subject = NamedFile {
            below: archive.path.below(root).unwrap_or(archive.path.as_bytes()),
            named: member.name.as_bytes(),
            modified: member.modified.as_ref(),
            member: Some(member),
        };
        Ok(apart_from_state(format!("{folder}{}", self.fill(parts, &subject)?)))
    }

    /// Where the members of `archive` go, as far as that is known without them: what their names
    /// begin with, and how `member_layout` goes on.
    pub(crate) fn members_of(
        &self,
        root: &RemotePath,
        archive: &RemoteFile,
    ) -> Result<String, NameError> {
        let whole = self.file(root, archive)?;
        let Some(parts) = &self.members else { return Ok(format!("{whole}!/")) };
        let folder = whole.rfind('/').map_or("", |slash| &whole[..=slash]);
        let below = archive.path.below(root).unwrap_or(archive.path.as_bytes());
        let (stem, _) = stem_and_extension(file_name(below));
        let known = parts.iter().map_while(|part| match part {
            LayoutPart::Literal(text) => Some(text.clone()),
            LayoutPart::Stem => Some(escaped_segment(stem)),
            LayoutPart::File => Some(escaped_segment(file_name(below))),
            _ => None,
        });
        Ok(format!("{folder}{}", known.collect::<String>()))
    }

    fn fill(&self, parts: &[LayoutPart], subject: &NamedFile<'_>) -> Result<String, NameError> {
        let captures = self.capture.as_ref().and_then(|capture| capture.captures(subject.below));
        let mut name = String::new();
        // The slash behind a folder that is not there would begin an empty segment.
        let mut no_folder = false;
        for part in parts {
            let value = match part {
                LayoutPart::Literal(text) if no_folder => {
                    text.strip_prefix('/').unwrap_or(text).into()
                }
                part => self.value(part, subject, captures.as_ref())?,
            };
            let at_start = name.is_empty() || name.ends_with('/');
            no_folder = *part == LayoutPart::Folder && value.is_empty() && at_start;
            name.push_str(&value);
        }
        let empty = name.split('/').any(str::is_empty);
        if empty {
            return Err(NameError::new("a name for each folder", subject.named, "gives none"));
        }
        Ok(without_last_dots(&name))
    }

    fn value(
        &self,
        part: &LayoutPart,
        subject: &NamedFile<'_>,
        captures: Option<&Captures<'_>>,
    ) -> Result<String, NameError> {
        let file_name = file_name(subject.below);
        let (stem, extension) = stem_and_extension(file_name);
        Ok(match part {
            LayoutPart::Literal(text) => text.clone(),
            LayoutPart::Path => escaped_path(subject.below),
            LayoutPart::Folder => match subject.below.strip_suffix(file_name) {
                None | Some([]) => String::new(),
                Some(folder) => escaped_path(folder.strip_suffix(b"/").unwrap_or(folder)),
            },
            LayoutPart::File => segment(file_name),
            LayoutPart::Stem => segment(stem),
            LayoutPart::Ext => match extension {
                Some(extension) => segment(extension),
                None => return Err(NameError::new("`ext`", subject.named, "has none")),
            },
            LayoutPart::Group(group) => segment(self.group(group, subject, captures)?),
            LayoutPart::GroupDate(group, format) => {
                let text = self.group(group, subject, captures)?;
                let date = date_of(text).ok_or_else(|| {
                    let has = format!("has \"{}\" there, which is none", printable(text));
                    NameError::new(format!("a date as `{group}`"), subject.named, has)
                })?;
                format.write(date)
            }
            LayoutPart::Modified(format) => format.write(self.local(format, subject)?),
            LayoutPart::Member => subject.member.as_ref().map(escaped_member).unwrap_or_default(),
            LayoutPart::MemberFile => {
                // A member that is called nothing is a lone `%`, as it is as a path.
                escaped_path(
                    MemberName::file_name(subject.member.map_or("", |member| member.name))
                        .as_bytes(),
                )
            }
        })
    }

    fn group<'a>(
        &self,
        group: &str,
        subject: &NamedFile<'_>,
        captures: Option<&Captures<'a>>,
    ) -> Result<&'a [u8], NameError> {
        let needs = format!("`{group}`");
        let captures = captures.ok_or_else(|| {
            NameError::new(needs.clone(), subject.named, "does not match `capture`")
        })?;
        let found = captures.name(group).map(|found| found.as_bytes());
        found
            .filter(|found| !found.is_empty())
            .ok_or_else(|| NameError::new(needs, subject.named, "matches `capture` without it"))
    }

    /// The modified time by the clock of the source's zone, if it is known as finely as `format`
    /// tells it.
    fn local(
        &self,
        format: &DateFormat,
        subject: &NamedFile<'_>,
    ) -> Result<PrimitiveDateTime, NameError> {
        let needs = "the modified time";
        let modified = subject.modified.ok_or_else(|| {
            let who = if subject.member.is_some() { "its archive" } else { "its source" };
            NameError::new(needs, subject.named, format!("has none, as far as {who} tells"))
        })?;
        if modified.precision < Precision::Day {
            return Ok(self.zone.local(modified.at));
        }
        if format.finest() < DateUnit::Day {
            let has = "has one that is known to the day only";
            return Err(NameError::new("the modified time to the hour", subject.named, has));
        }
        // A day as a server lists it is one of its own calendar: no zone moves it.
        Ok(PrimitiveDateTime::new(modified.at.date(), modified.at.time()))
    }
}

/// One value as a part of a segment: a slash in it parts nothing.
fn segment(value: &[u8]) -> String {
    escaped_segment(value).replace('/', "%2F")
}

fn escaped_member(member: &MemberName<'_>) -> String {
    let within = member.within.iter().map(|outer| escaped_path(outer.as_bytes()) + "!/");
    within.chain([escaped_path(member.name.as_bytes())]).collect()
}

fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// A dot at the start begins a hidden name, not an extension; an extension that is empty is none.
fn stem_and_extension(file_name: &[u8]) -> (&[u8], Option<&[u8]>) {
    match file_name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0) {
        Some(dot) if dot + 1 < file_name.len() => (&file_name[..dot], Some(&file_name[dot + 1..])),
        _ => (file_name, None),
    }
}

/// The date that a captured text spells.
fn date_of(text: &[u8]) -> Option<PrimitiveDateTime> {
    let text = std::str::from_utf8(text).ok()?;
    let formats = ["yyyyMMdd", "yyyy-MM-dd", "yyyy_MM_dd"];
    formats.iter().find_map(|format| DateFormat::parse(format).ok()?.read(text))
}

/// Azure drops a dot at the end of a segment, and readers resolve `.` and `..` away.
fn without_last_dots(name: &str) -> String {
    let whole = |segment: &str| match segment {
        "." | ".." => "%2E".repeat(segment.len()),
        _ => segment
            .strip_suffix('.')
            .map_or_else(|| segment.to_owned(), |rest| rest.to_owned() + "%2E"),
    };
    name.split('/').map(whole).collect::<Vec<_>>().join("/")
}

/// The program's own state is below `_blobferry/`: a file that comes from such a folder is told
/// from it.
fn apart_from_state(name: String) -> String {
    const STATE: &str = "_blobferry";
    let first = name.split('/').next().unwrap_or_default();
    if first.eq_ignore_ascii_case(STATE) { name.replacen('_', "%5F", 1) } else { name }
}
