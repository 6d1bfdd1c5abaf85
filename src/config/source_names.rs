//! Which names a source takes, and how their blobs are named.

use std::sync::Arc;

use crate::config::selection::IncludedPatterns;
use crate::config::times::time_zone;
use crate::rules::layout::{LayoutSettings, Template};
use crate::rules::naming::{Layout, Naming};
use crate::rules::patterns::Patterns;
use crate::settings::{Section, SettingError, SourceUrl};
use crate::transfer::settings::After;

pub(crate) const IN_PROGRESS: &[&str] =
    &["**/*.part", "**/*.partial", "**/*.filepart", "**/*.tmp", "**/*.crdownload"];

/// And what programs on shares write under until it is whole: rsync, editors, browsers, NFS.
pub(crate) const IN_PROGRESS_ON_SHARES: &[&str] = &[
    "**/*.TMP",
    "**/*.~tmp",
    "**/*.download",
    "**/.*.sw[a-p]",
    "**/.*.[A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9][A-Za-z0-9]",
    "**/.nfs[0-9a-f]*",
];

/// What systems and programs keep for themselves on a share.
pub(crate) const SYSTEM_FILES: &[&str] = &[
    "**/.snapshot/**",
    "**/~snapshot/**",
    "**/$RECYCLE.BIN/**",
    "**/System Volume Information/**",
    "**/lost+found/**",
    "**/.DS_Store",
    "**/._*",
    "**/[Tt]humbs.db",
    "**/[Dd]esktop.ini",
    "**/~$*",
    "**/.~lock.*#",
];

pub fn naming(
    section: &Section,
    name: &str,
    url: &SourceUrl,
    patterns: &Patterns,
) -> Result<Naming, SettingError> {
    // The predecessor took port 21 for `ftp` and 22 for everything else; names made with it stay
    // valid.
    let port = url.port.unwrap_or(if url.scheme == "ftp" { 21 } else { 22 });
    Ok(Naming {
        source: name.to_owned(),
        layout: layout(section, name, patterns)?,
        root: url.root.clone(),
        host_port: format!("{}_{port}", url.host),
    })
}

/// `{source}/{path}`, as a template: what `path` is, with members elsewhere.
pub const PATH: &str = "{source}/{path}";

pub fn layout(section: &Section, name: &str, patterns: &Patterns) -> Result<Layout, SettingError> {
    let (capture, member_layout) = (section.text("capture")?, section.text("member_layout")?);
    let text = section.text("layout")?.unwrap_or_else(|| "path".to_owned());
    let alone = capture.is_none() && member_layout.is_none();
    match text.as_str() {
        "path" if alone => return Ok(Layout::Path),
        "by-type" if alone => return Ok(Layout::ByType),
        "path" | "by-type" if capture.is_some() => {
            let problem = "stands beside a `layout` that is no template; \
                allowed is one that names its groups, as \"{date:yyyy/MM}/{file}\"";
            return Err(section.error("capture", problem));
        }
        "by-type" => {
            let problem = "stands beside `layout = \"by-type\"`, which names members itself";
            return Err(section.error("member_layout", problem));
        }
        _ => {}
    }
    let template = Template::read(LayoutSettings {
        source: name,
        layout: if text == "path" { PATH } else { &text },
        capture: capture.as_deref(),
        member_layout: member_layout.as_deref(),
        zone: time_zone(section)?,
        one_file: patterns.exact().is_some_and(|paths| paths.len() == 1)
            || takes_one(section, patterns, &text)?,
        overwrites: section.one_of("versions")? == Some("overwrite"),
    });
    template
        .map(|template| Layout::Template(Arc::new(template)))
        .map_err(|bad| section.error(bad.key, bad.problem))
}

pub fn patterns(
    section: &Section,
    url: &SourceUrl,
    after: &After,
    included: &IncludedPatterns,
) -> Result<Patterns, SettingError> {
    let is_share = url.scheme == "file";
    let in_progress = if section.has("in_progress") {
        section.list("in_progress")?
    } else {
        let shares = if is_share { IN_PROGRESS_ON_SHARES } else { &[] };
        IN_PROGRESS.iter().chain(shares).map(|glob| (*glob).to_owned()).collect()
    };
    let outside = match after {
        After::Move(target) => Some(target.clone()),
        _ => None,
    };
    let mut exclude = section.list("exclude")?;
    let given_exclude = exclude.clone();
    if is_share && !section.flag("system_files", false)? {
        exclude.extend(SYSTEM_FILES.iter().map(|glob| (*glob).to_owned()));
    }
    // What is written below the URL's path is below its dates too.
    let below = |globs: Vec<String>| match &included.prefix {
        None => globs,
        Some(prefix) => {
            globs.iter().map(|glob| format!("{prefix}/{}", glob.trim_start_matches('/'))).collect()
        }
    };
    let (exclude, in_progress) = (below(exclude), below(in_progress));
    Patterns::new(url.root.clone(), &included.globs, &exclude, &in_progress, outside)
        .map(|patterns| patterns.with_given_exclude(given_exclude))
        .map_err(|error| section.error("include", error.to_string()))
}

/// Whether one file has all that `layout` names, the newest: of one pattern, or of one folder or of
/// each that `layout` names.
fn takes_one(section: &Section, patterns: &Patterns, layout: &str) -> Result<bool, SettingError> {
    let replaces = section.one_of("versions")? == Some("overwrite");
    if section.integer("newest")? != Some(1) || !replaces {
        return Ok(false);
    }
    let [pattern] = patterns.given() else { return Ok(false) };
    let is_one_folder = pattern
        .rsplit_once('/')
        .is_none_or(|(folder, _)| !folder.contains(['*', '?', '[', '{', '\\']));
    let per_pattern = section.one_of("newest_per")? == Some("pattern");
    Ok(per_pattern || is_one_folder || layout.contains("{folder}"))
}
