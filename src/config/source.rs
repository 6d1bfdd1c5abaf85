//! A `[[source]]` table to a source: the common settings here, the protocol's own by its driver.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};
use time::{OffsetDateTime, UtcOffset};

use crate::archive::options::{ArchiveOptions, Charset, InnerErrors, OwnLimits, UnknownArchives};
use crate::config::destinations::{WantedDestination, wanted};
use crate::config::keys;
use crate::config::placement::{metadata, placement};
use crate::config::selection::{included, selection};
use crate::config::servers::LoginPlace;
use crate::config::source_names::{naming, patterns};
use crate::config::text::{RawSection, source_name};
use crate::config::times::{schedule, time_zone};
use crate::model::{RemotePath, Secret, hex};
use crate::rules::date_folders::{DatePattern, split_url};
use crate::rules::patterns::NameGlobs;
use crate::rules::plan::known::Times;
use crate::runtime::retry::Policy;
use crate::settings::{
    Section, SettingEntry, SettingError, SettingKey, SourceUrl, Value, listed, parse_size,
};
use crate::source::DRIVERS;
use crate::source::contract::{Driver, Endpoint};
use crate::transfer::settings::{After, Archives, DeleteBy, FileOrder, Source, Versions};

const STABLE_FOR: Duration = Duration::from_secs(60);
const DEPTH: u64 = 64;
const PRIORITY: u64 = 50;
const RECHECK: u64 = 1 << 30;
const RETRY_AUTH_AFTER: Duration = Duration::from_secs(6 * 3600);

/// Reads one source; `late_after` holds where it does not set its own. Its secrets come back beside
/// it: no output may repeat them.
pub(crate) fn parse(raw: RawSection, late_after: Duration) -> Result<ParsedSource, SettingError> {
    let (mut raw, mut left_out) = (raw, None);
    if raw.missing.is_empty() {
        match usable(raw.clone(), late_after) {
            Err(error) if error.is_outside => left_out = leave_out(&mut raw, error),
            parsed => return parsed,
        }
    }
    let Some(missing) = missing(&raw) else { return usable(raw, late_after) };
    let is_missing = |name: &str| raw.missing.iter().any(|(key, _)| key == name);
    // Without its name it is no source at all.
    if is_missing("name") {
        return Err(missing);
    }
    if is_missing("url") {
        raw.entries.retain(|key, _| KEPT.contains(&key.as_str()));
        raw.entries.insert("url".into(), standing_in(STAND_IN_URL));
    }
    let with = |keep: &dyn Fn(&str) -> bool, stand_in: Option<&str>| {
        let mut entries: BTreeMap<String, SettingEntry> =
            raw.entries.iter().filter(|(key, _)| keep(key)).map(cloned).collect();
        if let Some(text) = stand_in {
            entries.entry("password".into()).or_insert(standing_in(text));
        }
        let (file, line) = (raw.file.clone(), raw.line);
        usable(RawSection { file, line, entries, ..RawSection::default() }, late_after)
    };
    // One expired secret of one partner must not keep all others waiting: this source fails alone.
    // Some protocols need a password or a key, others have none.
    let kept = |key: &str| KEPT.contains(&key);
    let parsed = with(&|_| true, Some(STAND_IN))
        .or_else(|_| with(&|_| true, None))
        .or_else(|_| with(&kept, Some(STAND_IN)))
        .or_else(|_| with(&kept, None));
    let mut parsed = parsed.map_err(|_| missing.clone())?;
    parsed.secrets.retain(|secret| secret.reveal() != STAND_IN);
    parsed.secrets.extend(left_out);
    parsed.source.unusable = Some(missing.to_string());
    Ok(parsed)
}

/// Takes the setting that `error` is about, and whose value cannot be had, for one that is not
/// there. Returns that value, which may be a secret that was cut short.
fn leave_out(raw: &mut RawSection, error: SettingError) -> Option<Secret> {
    let known = raw.entries.keys().filter(|key| error.key.ends_with(&format!(".{key}")));
    let key = known.max_by_key(|key| key.len()).cloned().unwrap_or_default();
    let entry = raw.entries.remove(&key);
    raw.missing.push((key, error));
    match entry?.value {
        Value::Text(text) if text.len() >= LEAST_SECRET => Some(Secret::new(text)),
        _ => None,
    }
}

fn standing_in(text: &str) -> SettingEntry {
    SettingEntry { value: Value::Text(text.into()), line: None, origin: None, file: None }
}

/// A source, and what of its settings concerns others.
pub struct ParsedSource {
    /// The source.
    pub source: Source,
    /// Its secrets.
    pub secrets: Vec<Secret>,
    /// Where it logs in.
    pub place: Option<LoginPlace>,
    /// Where its blobs are to go.
    pub wanted: WantedDestination,
}

/// How a source logs in: equal for those whose settings of the server are equal. A digest, since it
/// is of secrets too.
fn login(section: &Section, url: &SourceUrl, driver: &Driver, endpoint: &dyn Endpoint) -> String {
    let home = url.root.as_bytes() == b"/~" || url.root.as_bytes().starts_with(b"/~/");
    let password = url.password.as_ref().map(Secret::reveal);
    let credential = endpoint.credential();
    let credential = credential.as_ref().map(Secret::reveal);
    let place = (&url.scheme, endpoint.address(), &url.user, password, credential, home);
    hex(Sha256::digest(format!("{place:?} {}", section.told(driver.keys))).as_slice())
}

/// What stands for a secret that is not there. Nothing is ever asked of the server with it.
const STAND_IN: &str = "unset";
/// A shorter value that cannot be used is no secret: its words may stand anywhere.
const LEAST_SECRET: usize = 8;
/// What stands for an address that is not there.
const STAND_IN_URL: &str = "sftp://unset@unset/";
/// Settings of a source that cannot be used which still mean something.
const KEPT: &[&str] =
    &["name", "url", "enabled", "every", "cron", "time_zone", "destination", "container"];

fn cloned((key, entry): (&String, &SettingEntry)) -> (String, SettingEntry) {
    (key.clone(), entry.clone())
}

/// What the environment does not hold, in one message that names the source.
fn missing(raw: &RawSection) -> Option<SettingError> {
    let named = |(key, error): &(String, SettingError)| {
        let source = source_name(raw).unwrap_or_default();
        let source = crate::model::printable(source.as_bytes());
        SettingError { key: format!("source.{source}.{key}"), ..error.clone() }
    };
    raw.missing.iter().map(named).reduce(SettingError::and)
}

fn usable(raw: RawSection, late_after: Duration) -> Result<ParsedSource, SettingError> {
    let file = raw.file.as_str();
    let label = source_name(&raw).map_or("source".to_owned(), |name| {
        format!("source.{}", crate::model::printable(name.as_bytes()))
    });
    let (url, dated, driver) = url_and_driver(file, &label, &raw)?;
    let known: Vec<SettingKey> = keys::SOURCE.iter().chain(driver.keys).copied().collect();
    let user = match raw.entries.get("user").map(|entry| &entry.value) {
        Some(Value::Text(user)) => Some(user.clone()),
        _ => url.user.clone(),
    };
    let section = Section::new(file, &label, raw.line, raw.entries, known)?;
    parsed(&section, (url, dated), driver, user, late_after)
        .map_err(|error| every_fault(&section, error))
}

/// `error`, and what else is wrong with values of the section.
fn every_fault(section: &Section, error: SettingError) -> SettingError {
    let told = error.to_string();
    let others = section.misfits().into_iter();
    let others = others.filter(|other| !told.contains(&other.to_string()));
    others.fold(error, |error, other| {
        let is_outside = error.is_outside && other.is_outside;
        SettingError { is_outside, ..error.and(other) }
    })
}

fn parsed(
    section: &Section,
    (url, dated): (SourceUrl, Option<String>),
    driver: &Driver,
    user: Option<String>,
    late_after: Duration,
) -> Result<ParsedSource, SettingError> {
    let secrets = section.secrets().into_iter().chain(url.password.clone()).collect();
    let name = name(section)?;
    let endpoint = (driver.configure)(section, &url)?;
    let (after, move_to) = after(section, &url.root)?;
    let included = included(section, dated.as_deref())?;
    let stable_for = section.duration("stable_for")?.unwrap_or(STABLE_FOR);
    let time_zone = time_zone(section)?;
    let connections = section
        .integer("connections")?
        .map_or(endpoint.default_connections(), |n| usize::try_from(n).unwrap_or(1));
    let attempts = section
        .integer("attempts")?
        .map_or(Policy::default().attempts, |n| u32::try_from(n).unwrap_or(1));
    let patterns = patterns(section, &url, &after, &included)?;
    let source = Source {
        naming: naming(section, &name, &url, &patterns)?,
        patterns,
        connections,
        shared_cap: None,
        login: Some(login(section, &url, driver, endpoint.as_ref())),
        enabled: section.flag("enabled", true)?,
        priority: section.integer("priority")?.unwrap_or(PRIORITY),
        order: match section.one_of("order")? {
            Some("modified") => Some(FileOrder::Modified),
            Some(_) => Some(FileOrder::Name),
            None => None,
        },
        stable_for,
        late_after: section.duration("late_after")?.unwrap_or(late_after),
        late_markers: section.has("late_after"),
        archives: match section.one_of("archives")? {
            Some("keep") => Archives::Keep,
            Some("both") => Archives::Both,
            _ => Archives::Unpack,
        },
        zone: zone(section)?,
        include_members: include_members(section)?,
        incremental_members: section.flag("incremental_members", false)?,
        quarantine: section.flag("quarantine", false)?,
        unpacking: unpacking(section)?,
        versions: if section.one_of("versions")? == Some("overwrite") {
            Versions::Overwrite
        } else {
            Versions::Keep
        },
        delete_by: if section.one_of("delete_by")? == Some("rename") {
            DeleteBy::Rename
        } else {
            DeleteBy::Delete
        },
        recheck: recheck(section)?,
        times: times(section, endpoint.as_ref())?,
        shared_with: None,
        unusable: None,
        destination: None,
        placement: placement(section)?,
        metadata: metadata(section)?,
        own_folders: Vec::new(),
        expectations: Vec::new(),
        marker: section.text("marker")?,
        adopt: section.flag("adopt", false)?,
        depth: usize::try_from(section.integer("depth")?.unwrap_or(DEPTH)).unwrap_or(usize::MAX),
        policy: Policy { attempts, ..Policy::default() },
        retry_auth_after: section.duration("retry_auth_after")?.unwrap_or(RETRY_AUTH_AFTER),
        schedule: schedule(section)?,
        time_zone,
        selection: selection(section, time_zone, stable_for, OffsetDateTime::now_utc())?,
        min_listed: section.integer("min_listed")?.unwrap_or(0),
        dates: included.dates,
        move_to,
        notes: included.notes,
        after,
        root: url.root,
        endpoint,
        name,
    };
    let place = LoginPlace::of(source.endpoint.address(), user.as_deref());
    Ok(ParsedSource { source, secrets, place, wanted: wanted(section)? })
}

/// What the times of a source are worth. Sizes say nothing of text that the server converts.
fn times(section: &Section, endpoint: &dyn Endpoint) -> Result<Times, SettingError> {
    Ok(match section.one_of("times")? {
        Some("none") => Times::None,
        _ if !endpoint.tells_sizes() => Times::Alone,
        _ => Times::Trust,
    })
}

/// The URL decides which protocol's settings are allowed, so it is read before all others.
fn url_and_driver(
    file: &str,
    label: &str,
    raw: &RawSection,
) -> Result<(SourceUrl, Option<String>, &'static Driver), SettingError> {
    let only_url = raw
        .entries
        .iter()
        .filter(|(key, _)| *key == "url")
        .map(|(key, entry)| (key.clone(), entry.clone()))
        .collect();
    let section = Section::new(file, label, raw.line, only_url, keys::SOURCE.to_vec())?;
    let schemes: Vec<&str> =
        DRIVERS.iter().flat_map(|driver| driver.schemes.iter().copied()).collect();
    let text = match raw.entries.get("url") {
        None => {
            return Err(section.error("url", "is missing; allowed is `scheme://user@host/folder`"));
        }
        Some(SettingEntry { value: Value::Text(text), .. }) => text,
        Some(_) => {
            return Err(section.error("url", "is no text; allowed is `scheme://user@host/folder`"));
        }
    };
    let wrong = |problem: String| section.error("url", problem);
    let (text, dated) = split_url(text).map_err(wrong)?;
    let url = SourceUrl::parse(&text).map_err(wrong)?;
    let driver = DRIVERS.iter().find(|driver| driver.schemes.contains(&url.scheme.as_str()));
    let unknown = || {
        section.error(
            "url",
            format!(
                "has the scheme `{}`; allowed are {}",
                crate::model::printable(url.scheme.as_bytes()),
                listed(&schemes)
            ),
        )
    };
    let driver = driver.ok_or_else(unknown)?;
    Ok((url, dated, driver))
}

fn name(section: &Section) -> Result<String, SettingError> {
    let name = section
        .text("name")?
        .ok_or_else(|| section.error("name", "is missing; allowed is a name as `acme`"))?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    // Some file systems drop a dot at the end: two names would be one folder.
    let is_fit = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && !name.ends_with('.');
    if name.len() <= 63 && is_fit && name.chars().all(legal) {
        return Ok(name);
    }
    let shown = crate::model::printable(name.as_bytes());
    Err(section.error(
        "name",
        format!(
            "is \"{shown}\"; allowed are up to 63 letters, digits, `.`, `_` and `-`, a letter or \
            digit first, `.` not last"
        ),
    ))
}

fn recheck(section: &Section) -> Result<u64, SettingError> {
    match section.text("recheck")?.as_deref() {
        None => Ok(RECHECK),
        Some("off") => Ok(0),
        Some(text) => parse_size(text).ok_or_else(|| {
            let shown = crate::model::printable(text.as_bytes());
            section.error(
                "recheck",
                format!("is \"{shown}\"; allowed is a size with a unit, as \"1 GiB\", or `off`"),
            )
        }),
    }
}

fn zone(section: &Section) -> Result<UtcOffset, SettingError> {
    let Some(text) = section.text("archive_time_zone")? else { return Ok(UtcOffset::UTC) };
    let format = time::macros::format_description!("[offset_hour sign:mandatory]:[offset_minute]");
    let wrong =
        || section.error("archive_time_zone", "is no offset from UTC; allowed is one as `+02:00`");
    if text == "UTC" {
        Ok(UtcOffset::UTC)
    } else {
        UtcOffset::parse(&text, format).map_err(|_| wrong())
    }
}

fn include_members(section: &Section) -> Result<Option<NameGlobs>, SettingError> {
    if !section.has("include_members") {
        return Ok(None);
    }
    NameGlobs::new(&section.list("include_members")?)
        .map(Some)
        .map_err(|error| section.error("include_members", error.to_string()))
}

/// What programs of other systems leave in archives.
const PRESETS: &[(&str, &[&str])] = &[
    ("preset:macos", &["**/__MACOSX/**", "**/.DS_Store"]),
    ("preset:windows", &["**/Thumbs.db", "**/thumbs.db"]),
];

fn exclude_members(section: &Section) -> Result<Option<NameGlobs>, SettingError> {
    let mut globs = Vec::new();
    for glob in section.list("exclude_members")? {
        match PRESETS.iter().find(|(name, _)| *name == glob) {
            Some((_, preset)) => globs.extend(preset.iter().map(|glob| (*glob).to_owned())),
            None if glob.starts_with("preset:") => {
                let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
                let shown = crate::model::printable(glob.as_bytes());
                return Err(section.error(
                    "exclude_members",
                    format!("names the preset \"{shown}\"; allowed are {}", listed(&names)),
                ));
            }
            None => globs.push(glob),
        }
    }
    let compiled = (!globs.is_empty()).then(|| NameGlobs::new(&globs)).transpose();
    compiled.map_err(|error| section.error("exclude_members", error.to_string()))
}

/// Passwords of those files alone that a glob matches.
type FilePasswords = Vec<(NameGlobs, Secret)>;

/// Passwords for all archives, and those for some.
fn passwords(section: &Section) -> Result<(Vec<Secret>, FilePasswords), SettingError> {
    let (mut all, mut some) = (Vec::from_iter(section.secret("archive_password")?), Vec::new());
    for (files, password) in section.secret_list("archive_passwords")? {
        match files {
            None => all.push(password),
            Some(glob) => {
                let globs = NameGlobs::new(&[glob])
                    .map_err(|error| section.error("archive_passwords", error.to_string()))?;
                some.push((globs, password));
            }
        }
    }
    Ok((all, some))
}

fn own_limits(section: &Section) -> Result<OwnLimits, SettingError> {
    Ok(OwnLimits {
        bytes: section.size("limits.archive_bytes")?,
        ratio: section.integer("limits.archive_ratio")?,
        members: section.integer("limits.archive_members")?,
        time: section.duration("limits.archive_time")?,
    })
}

/// How archives are read; limits come from the run.
fn unpacking(section: &Section) -> Result<ArchiveOptions, SettingError> {
    let default = ArchiveOptions::default();
    let depth = section
        .integer("archive_depth")?
        .map_or(default.depth, |depth| u32::try_from(depth).unwrap_or(u32::MAX));
    let (passwords, file_passwords) = passwords(section)?;
    let charset = match section.text("archive_names")? {
        Some(label) => {
            Charset::parse(&label).map_err(|problem| section.error("archive_names", problem))?
        }
        None => default.charset,
    };
    Ok(ArchiveOptions {
        unpack_documents: section.flag("unpack_documents", false)?,
        depth,
        passwords,
        file_passwords,
        charset,
        exclude_members: exclude_members(section)?,
        inner_errors: match section.one_of("inner_errors")? {
            Some("keep") => InnerErrors::Keep,
            Some("fail") => InnerErrors::Fail,
            _ => InnerErrors::Degrade,
        },
        unknown: if section.one_of("on_unknown_archive")? == Some("fail") {
            UnknownArchives::Fail
        } else {
            UnknownArchives::Keep
        },
        own_limits: own_limits(section)?,
        ..default
    })
}

fn after(
    section: &Section,
    root: &RemotePath,
) -> Result<(After, Option<DatePattern>), SettingError> {
    let allowed = "`keep`, `delete` or `move:/folder`";
    let text = section.text("after")?;
    let target = match text.as_deref() {
        None | Some("keep") => return Ok((After::Keep, None)),
        Some("delete") => return Ok((After::Delete, None)),
        Some(text) => text.strip_prefix("move:"),
    };
    let Some(target) = target.filter(|target| target.starts_with('/') && target.len() > 1) else {
        let shown = crate::model::printable(text.unwrap_or_default().as_bytes());
        return Err(section.error("after", format!("is \"{shown}\"; allowed is {allowed}")));
    };
    let pattern =
        DatePattern::of_path(target).map_err(|problem| section.error("after", problem))?;
    if pattern.fixed_folder().is_empty() {
        let problem = "moves files to folders that only dates name; allowed is a folder before the \
                       first date, as `move:/done/{yyyy-MM}`";
        return Err(section.error("after", problem));
    }
    let fixed = RemotePath::from(pattern.fixed_folder());
    // Everything would be moved onto itself, or out of the listing for ever.
    if root == &fixed || root.below(&fixed).is_some() {
        return Err(section
            .error("after", "moves files to the folder that they are taken from, or above it"));
    }
    Ok((After::Move(fixed), pattern.has_dates().then_some(pattern)))
}
