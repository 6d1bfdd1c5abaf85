//! Sources that get into each other's way: that can see the same files where one of them removes,
//! and that may write blobs of the same names.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::RemotePath;
use crate::rules::naming::{Layout, NameStart};
use crate::rules::patterns::Patterns;
use crate::settings::SettingError;
use crate::transfer::settings::{After, Source};

/// Tells each source that removes files which other one can see them too.
pub fn note(sources: &mut [Source]) {
    if sources.iter().all(|source| source.after == After::Keep) {
        return;
    }
    let places: Vec<SourcePlace> = sources.iter().map(SourcePlace::of).collect();
    let named = |at: usize| -> Option<String> {
        if sources[at].after == After::Keep {
            return None;
        }
        let mut others = (0..sources.len()).filter(|other| *other != at);
        let other = others.find(|other| {
            let patterns = [at, *other].map(|one| &sources[one].patterns);
            places[at].meets(&places[*other], patterns)
        })?;
        Some(sources[other].name.clone())
    };
    let shared: Vec<Option<String>> = (0..sources.len()).map(named).collect();
    for (source, shared) in sources.iter_mut().zip(shared) {
        source.shared_with = shared;
    }
}

/// Where a source is, by one spelling.
struct SourcePlace {
    server: String,
    folder: RemotePath,
}

impl SourcePlace {
    fn of(source: &Source) -> Self {
        Self { server: server(source.endpoint.address()), folder: folder(source) }
    }

    /// Whether some path may be wanted by the patterns of both. Who logs in does not matter: two
    /// users may see one tree.
    fn meets(&self, other: &Self, [own, others]: [&Patterns; 2]) -> bool {
        self.server == other.server && own.may_meet(others, &self.folder, &other.folder)
    }
}

/// The address of a server by one of its spellings: host names have no case and may end with a dot,
/// and this machine has several names.
fn server(address: &str) -> String {
    let address = address.to_ascii_lowercase();
    let Some((scheme, authority)) = address.split_once("://") else { return address };
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_loopback = host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    let host = match host.parse::<IpAddr>() {
        _ if is_loopback => "localhost".to_owned(),
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => host.to_owned(),
    };
    format!("{scheme}://{host}:{port}")
}

/// The folder of a source by one of its spellings: without `//`, `.` and `..`; on this machine
/// without links, too.
fn folder(source: &Source) -> RemotePath {
    let local = source.endpoint.local(&source.root).and_then(|path| path.canonicalize().ok());
    let bytes = match &local {
        Some(real) => real.as_os_str().as_encoded_bytes(),
        None => source.root.as_bytes(),
    };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in bytes.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    RemotePath::new(parts.join(&b'/'))
}

/// Refuses two sources whose names may be the same by their layouts: one would find the other's
/// blobs in its place.
pub(crate) fn names_apart(file: &str, sources: &[Source]) -> Result<(), SettingError> {
    let destinations: BTreeSet<_> = sources.iter().map(|source| &source.destination).collect();
    destinations.into_iter().try_for_each(|one| names_apart_in(file, sources, one))
}

/// As [`names_apart`], of the sources whose blobs go to one destination.
fn names_apart_in(
    file: &str,
    sources: &[Source],
    destination: &Option<String>,
) -> Result<(), SettingError> {
    // In this order, all that begin with one stand right behind it.
    let mut begins: Vec<(String, bool, &Source)> = sources
        .iter()
        .filter(|source| source.destination == *destination)
        .map(|source| {
            let NameStart { text, is_whole_name: whole } = source.naming.beginning();
            (text, whole, source)
        })
        .collect();
    begins.sort_by(|one, other| one.0.cmp(&other.0));
    for (at, (shorter, whole, one)) in begins.iter().enumerate() {
        let behind = begins[at + 1..].iter().take_while(|(text, ..)| text.starts_with(shorter));
        for (longer, other_whole, other) in behind {
            // One name each: they meet if it is the same.
            let apart = *whole && *other_whole && longer != shorter;
            let is_template = |source: &Source| matches!(source.naming.layout, Layout::Template(_));
            // The layouts `path` and `by-type` have always been let share a beginning.
            if apart || !(is_template(one) || is_template(other)) {
                continue;
            }
            let source = if is_template(other) { other } else { one };
            let problem = format!(
                "lets {} and {} write the same names; begin it with `{{source}}/`, or with a \
                 folder of its own",
                one.name, other.name
            );
            let key = format!("source.{}.layout", source.name);
            let place = file.to_owned();
            return Err(SettingError { place, key, problem, is_outside: false });
        }
    }
    Ok(())
}
