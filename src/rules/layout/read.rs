//! From the texts of `layout`, `capture` and `member_layout` to a template, or why they make none.

use regex::bytes::{Regex, RegexBuilder};
use time::{PrimitiveDateTime, macros::datetime};

use crate::model::{allowed_in_blob_name, printable};
use crate::rules::date_format::{DateFormat, DateUnit};
use crate::rules::escape::escaped_segment;
use crate::rules::layout::template::{LayoutPart, Template};
use crate::rules::time_zone::TimeZone;
use crate::settings::{closest, listed};

/// The most memory that a compiled `capture` may take.
const CAPTURE_BYTES: usize = 1 << 20;

const OF_FILES: &[&str] = &["source", "path", "folder", "file", "stem", "ext"];
const OF_MEMBERS: &[&str] = &["member", "member_file", "stem", "file"];

/// What the settings of a source say that decides about names.
#[derive(Clone, Copy, Debug)]
pub struct LayoutSettings<'a> {
    /// The source's name.
    pub source: &'a str,
    /// `layout`.
    pub layout: &'a str,
    /// `capture`.
    pub capture: Option<&'a str>,
    /// `member_layout`.
    pub member_layout: Option<&'a str>,
    /// The zone that dates are told in.
    pub zone: TimeZone,
    /// Whether there is but one file to name: `include` is one exact path, or the newest file takes
    /// the place of the one before.
    pub one_file: bool,
    /// Whether a new version replaces the one before.
    pub overwrites: bool,
}

/// Why settings make no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLayout {
    /// The setting that is wrong.
    pub key: &'static str,
    /// What is wrong with it, and what is allowed.
    pub problem: String,
}

impl Template {
    /// Reads the settings.
    pub fn read(settings: LayoutSettings<'_>) -> Result<Self, BadLayout> {
        let capture =
            settings.capture.map(capture).transpose().map_err(|problem| bad("capture", problem))?;
        let groups: Vec<String> = capture
            .iter()
            .flat_map(|capture| capture.capture_names().flatten().map(str::to_owned))
            .collect();
        let reader = LayoutReader { source: settings.source, groups: &groups, of_members: false };
        let parts = reader.parts(settings.layout).map_err(|problem| bad("layout", problem))?;
        names_files(&parts, &settings).map_err(|problem| bad("layout", problem))?;
        if capture.is_some() && !parts.iter().any(LayoutPart::is_captured) {
            let first = groups.first().map_or("…", String::as_str);
            let problem = format!("finds what `layout` does not name; use `{{{first}}}` there");
            return Err(bad("capture", problem));
        }
        let reader = LayoutReader { of_members: true, groups: &[], ..reader };
        let members = settings.member_layout.map(|text| reader.parts(text)).transpose();
        let members = members.map_err(|problem| bad("member_layout", problem))?;
        if let Some(parts) = &members {
            names_members(parts, &settings).map_err(|problem| bad("member_layout", problem))?;
        }
        let dated = |part: &LayoutPart| matches!(part, LayoutPart::Modified(_));
        let is_dated = parts.iter().chain(members.iter().flatten()).any(dated);
        let texts = [
            Some(settings.layout.to_owned()),
            settings.capture.map(|text| format!("capture = {text}")),
            settings.member_layout.map(|text| format!("member_layout = {text}")),
            is_dated.then(|| format!("time_zone = {}", settings.zone)),
        ];
        Ok(Self {
            texts: texts.into_iter().flatten().collect::<Vec<_>>().join("; "),
            parts,
            capture,
            members,
            zone: settings.zone,
        })
    }
}

impl LayoutPart {
    pub(super) fn is_captured(&self) -> bool {
        matches!(self, LayoutPart::Group(_) | LayoutPart::GroupDate(..))
    }

    pub(super) fn tells_files(&self) -> bool {
        matches!(self, LayoutPart::Path | LayoutPart::File | LayoutPart::Stem) || self.is_captured()
    }
}

fn bad(key: &'static str, problem: String) -> BadLayout {
    BadLayout { key, problem }
}

/// A template is to give each file a name of its own, and each version of it the same one if it is
/// to replace the one before.
fn names_files(parts: &[LayoutPart], settings: &LayoutSettings<'_>) -> Result<(), String> {
    let tells_files = parts.iter().any(LayoutPart::tells_files);
    if !tells_files && !settings.one_file {
        let near = closest(settings.layout, &["path", "by-type"]);
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Err(format!(
            "is \"{}\", which names all files alike; allowed are `path`, `by-type`, or a template \
             with `{{path}}`, `{{file}}`, `{{stem}}` or a group of `capture`, as \
             \"landing/{{source}}/{{path}}\"; without them only where `include` is one exact \
             path, or one pattern within one folder beside `newest = 1` and \
             `versions = \"overwrite\"`{near}",
            printable(settings.layout.as_bytes())
        ));
    }
    let dated = parts.iter().any(|part| matches!(part, LayoutPart::Modified(_)));
    if dated && settings.overwrites {
        return Err("has dates of the modified time beside `versions = \"overwrite\"`: a new \
                    version would get another name and replace nothing"
            .to_owned());
    }
    is_made_of_segments(parts)
}

fn names_members(parts: &[LayoutPart], settings: &LayoutSettings<'_>) -> Result<(), String> {
    if !parts.iter().any(|part| matches!(part, LayoutPart::Member | LayoutPart::MemberFile)) {
        return Err("names all members alike; it needs `{member}` or `{member_file}`".to_owned());
    }
    let dated = parts.iter().any(|part| matches!(part, LayoutPart::Modified(_)));
    if dated && settings.overwrites {
        return Err("has dates of the modified time beside `versions = \"overwrite\"`: a new \
                    version would get another name and replace nothing"
            .to_owned());
    }
    is_made_of_segments(parts)
}

/// Whatever stands for the placeholders, no segment may be empty, `.` or `..`, end in a dot or in
/// the mark of an archive's members, or lead to our own state.
fn is_made_of_segments(parts: &[LayoutPart]) -> Result<(), String> {
    const SAMPLE: PrimitiveDateTime = datetime!(2026-11-29 10:30);
    const VALUE: &str = "\0";
    let of_members =
        parts.iter().any(|part| matches!(part, LayoutPart::Member | LayoutPart::MemberFile));
    let shown: String = parts
        .iter()
        .map(|part| match part {
            LayoutPart::Literal(text) => text.clone(),
            LayoutPart::Modified(format) | LayoutPart::GroupDate(_, format) => format.write(SAMPLE),
            _ => VALUE.to_owned(),
        })
        .collect();
    for (at, segment) in shown.split('/').enumerate() {
        let wrong = match segment {
            "" if at == 0 => "begins with a `/`; names in a container have none",
            "" if shown.ends_with('/') => {
                "ends in a `/`; behind it belongs what tells files apart, as `{path}`"
            }
            "" => "has an empty segment; allowed is one `/` between two segments",
            "." | ".." => "has a segment `.` or `..`, which readers resolve away",
            _ if segment.ends_with('.') => "has a segment that ends in a dot, which Azure drops",
            _ if segment.ends_with('!') && !of_members => {
                "has a segment that ends in `!`, which marks the members of an archive"
            }
            _ if at == 0 && segment.eq_ignore_ascii_case("_blobferry") => {
                "begins with `_blobferry/`, where the program keeps its own state"
            }
            _ => continue,
        };
        return Err(wrong.to_owned());
    }
    Ok(())
}

fn capture(text: &str) -> Result<Regex, String> {
    let shown = printable(text.as_bytes());
    let compiled = RegexBuilder::new(text).size_limit(CAPTURE_BYTES).build();
    let regex = compiled.map_err(|error| {
        // The crate draws a picture of several lines; its last one says what is wrong.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("is `{shown}`, which is no regular expression: {last}")
    })?;
    let names: Vec<&str> = regex.capture_names().flatten().collect();
    if names.is_empty() {
        return Err(format!("is `{shown}`, which names no group; name one as `(?<date>\\d{{8}})`"));
    }
    for name in names {
        let taken = OF_FILES.contains(&name)
            || OF_MEMBERS.contains(&name)
            || name == "run"
            || DateFormat::parse(name).is_ok();
        if taken {
            return Err(format!(
                "names a group `{name}`, which is a placeholder of its own; give it another name"
            ));
        }
    }
    Ok(regex)
}

struct LayoutReader<'a> {
    source: &'a str,
    groups: &'a [String],
    of_members: bool,
}

impl LayoutReader<'_> {
    fn parts(&self, text: &str) -> Result<Vec<LayoutPart>, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (literal, placeholder) = match rest.split_once('{') {
                Some((literal, after)) => {
                    let (name, after) = after.split_once('}').ok_or_else(|| {
                        "has a `{` without its `}`; placeholders are as `{path}`".to_owned()
                    })?;
                    rest = after;
                    (literal, Some(name))
                }
                None => (std::mem::take(&mut rest), None),
            };
            if !literal.is_empty() {
                push_literal(&mut parts, legal(literal)?);
            }
            match placeholder.map(|name| self.part(name)).transpose()? {
                Some(LayoutPart::Literal(text)) => push_literal(&mut parts, &text),
                part => parts.extend(part),
            }
        }
        Ok(parts)
    }

    fn part(&self, name: &str) -> Result<LayoutPart, String> {
        if let Some((group, format)) = name.split_once(':') {
            return self.dated(group, format);
        }
        let part = match (name, self.of_members) {
            ("file", _) => LayoutPart::File,
            ("stem", _) => LayoutPart::Stem,
            ("source", false) => LayoutPart::Literal(escaped_segment(self.source.as_bytes())),
            ("path", false) => LayoutPart::Path,
            ("folder", false) => LayoutPart::Folder,
            ("ext", false) => LayoutPart::Ext,
            ("member", true) => LayoutPart::Member,
            ("member_file", true) => LayoutPart::MemberFile,
            _ if self.groups.iter().any(|group| group == name) => {
                LayoutPart::Group(name.to_owned())
            }
            _ => {
                return DateFormat::parse(name).map(LayoutPart::Modified).map_err(|error| {
                    if error.resembles_a_date() {
                        format!("holds {error}")
                    } else {
                        self.unknown(name)
                    }
                });
            }
        };
        Ok(part)
    }

    /// `{date:yyyy/MM}`.
    fn dated(&self, group: &str, format: &str) -> Result<LayoutPart, String> {
        if group == "run" {
            return Err(
                "holds `{run:…}`; dates of the run are not read, only those of the file's \
                        modified time and of groups of `capture`"
                    .to_owned(),
            );
        }
        if !self.groups.iter().any(|known| known == group) {
            return Err(self.unknown(group));
        }
        let parsed = DateFormat::parse(format).map_err(|error| format!("holds {error}"))?;
        if parsed.finest() < DateUnit::Day {
            return Err(format!(
                "holds {{{group}:{format}}}; a captured date has no time of day, allowed are yyyy \
                 yy MM dd"
            ));
        }
        Ok(LayoutPart::GroupDate(group.to_owned(), parsed))
    }

    fn unknown(&self, name: &str) -> String {
        let own = if self.of_members { OF_MEMBERS } else { OF_FILES };
        let known: Vec<&str> =
            own.iter().copied().chain(self.groups.iter().map(String::as_str)).collect();
        let shown = printable(name.as_bytes());
        match closest(name, &known) {
            Some(near) => {
                format!("holds `{{{shown}}}`, which is no placeholder; did you mean `{{{near}}}`?")
            }
            None => format!(
                "holds `{{{shown}}}`, which is no placeholder; allowed are {}, dates as \
                 `{{yyyy-MM-dd}}`{}",
                listed(&known),
                if self.of_members { "" } else { ", and the named groups of `capture`" }
            ),
        }
    }
}

fn push_literal(parts: &mut Vec<LayoutPart>, text: &str) {
    match parts.last_mut() {
        Some(LayoutPart::Literal(before)) => before.push_str(text),
        _ => parts.push(LayoutPart::Literal(text.to_owned())),
    }
}

/// Text that is taken as it is written must be what a blob's name can hold.
fn legal(literal: &str) -> Result<&str, String> {
    match literal.chars().find(|c| !allowed_in_blob_name(*c) || matches!(c, '%' | '}')) {
        None => Ok(literal),
        Some('}') => Err("has a `}` without its `{`; placeholders are as `{path}`".to_owned()),
        Some('%') => Err("holds a `%`; dates are written as `{yyyy-MM-dd}`, and names hold `%` \
                          only where a character of a file's name is escaped"
            .to_owned()),
        Some('\\') => Err("holds a `\\`; segments are parted by `/`".to_owned()),
        Some(c) => Err(format!(
            "holds the character {}, which names of blobs cannot hold",
            c.escape_unicode()
        )),
    }
}
