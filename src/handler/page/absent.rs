//! What can be said of a name that no file has: where it was looked for, what to tell the sender,
//! and names like it. Pure.

use std::collections::BTreeSet;

use serde::Serialize;
use time::OffsetDateTime;

use super::expected::ExpectedFeed;
use super::html::file_name;
use super::moment::{age, in_utc, read};
use super::overview::{MISSING, SourceState, StatusOverview};
use super::sentence::Sentence;
use super::stands::Stands;
use super::view::PassesBySource;
use crate::history::files_by_name::Hit;
use crate::report::Word;
use crate::rules::patterns::may_be_named;
use crate::transfer::settings::Source;

/// Names like the one that are told.
const NEAREST: usize = 5;
/// Letters of names that are compared.
const LETTERS: usize = 255;

/// What can be said of a name that no file has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AbsentName {
    /// Where it was looked for, in a sentence.
    pub lead: Sentence,
    /// When the first of the sources was listed in full that could have it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub listed: Option<OffsetDateTime>,
    /// What can be read out to the sender.
    pub for_the_sender: String,
    /// What is expected under such a name, and not here.
    pub expected: Vec<ExpectedFeed>,
    /// Files with names like it, the likest first.
    pub nearest: Vec<Hit>,
    /// Sources of which newer files are not known.
    pub unlisted: Vec<UnlistedSource>,
}

/// A source that the last run could not list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct UnlistedSource {
    /// Its name.
    pub source: String,
    /// Since when, if that is known.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
}

impl UnlistedSource {
    fn of(source: &SourceState) -> Self {
        // A trouble of the source, and of no file, keeps it from being listed.
        let of_it = source.needs.iter().filter(|need| need.files == 0 && need.class != MISSING);
        Self { source: source.name.clone(), since: of_it.map(|need| need.since).min() }
    }
}

/// The sources that could have a file of the name `name`: those that expect one; else those whose
/// patterns do not rule it out; else all.
pub(crate) fn candidates<'a>(
    sources: &'a [Source],
    only: Option<&str>,
    name: &str,
) -> Vec<&'a Source> {
    let asked = |source: &&Source| source.enabled && only.is_none_or(|only| only == source.name);
    let asked: Vec<&Source> = sources.iter().filter(asked).collect();
    let name = file_name(name);
    let expects = |source: &&&Source| source.expectations.iter().any(|one| one.files.mean(name));
    let wants = |source: &&&Source| {
        let include = source.patterns.given();
        include.is_empty() || may_be_named(include, name)
    };
    let expecting: Vec<&Source> = asked.iter().filter(expects).copied().collect();
    let wanting: Vec<&Source> = asked.iter().filter(wants).copied().collect();
    [expecting, wanting].into_iter().find(|some| !some.is_empty()).unwrap_or(asked)
}

/// What to look for to find names like `name`: it with any digits, then its beginning.
pub(crate) fn patterns_near(name: &str) -> Vec<String> {
    let name = file_name(name);
    let mut loose = String::new();
    for letter in name.chars() {
        match letter {
            '*' | '0'..='9' if loose.ends_with('*') => {}
            '*' | '0'..='9' => loose.push('*'),
            letter => loose.push(letter),
        }
    }
    let stem: Vec<char> = loose.chars().take_while(|letter| !"*.".contains(*letter)).collect();
    // Where no digits end it, what is typed wrong may stand anywhere in it.
    let kept = if loose.contains('*') { stem.len() } else { (stem.len() * 2).div_ceil(3).max(3) };
    let begin: String = stem.iter().take(kept).collect();
    let begin = begin.trim_end_matches(|letter: char| !letter.is_alphanumeric()).to_owned();
    let tells = |text: &str| text.chars().filter(|letter| letter.is_alphabetic()).count() >= 2;
    let digits = Some(loose).filter(|loose| *loose != name && tells(loose));
    let begin = Some(format!("{begin}*")).filter(|begin| tells(begin));
    digits.into_iter().chain(begin).collect()
}

/// When a source was listed in full, and how many of its files the rules left out.
struct ListedInFull {
    at: OffsetDateTime,
    left_out: u64,
}

/// The newest listing in full that is known of a source.
fn in_full(passes: &PassesBySource<'_>, name: &str) -> Option<ListedInFull> {
    let mut passes = passes.get(name).into_iter().flatten();
    let (run, pass) = passes.find(|(_, pass)| {
        Stands::of(&pass.status).is_told_to_the_end()
            && pass.problems.is_empty()
            && !pass.unusable
            && pass.listed.is_some()
    })?;
    Some(ListedInFull { at: run.started, left_out: pass.skipped })
}

impl AbsentName {
    /// Of `name`, which no file has that is known of the sources `could_have`; `near` are files
    /// with names like it.
    pub fn of(
        name: &str,
        could_have: &[&Source],
        (overview, passes): (&StatusOverview, &PassesBySource<'_>),
        near: Vec<Hit>,
    ) -> Self {
        let file = file_name(name);
        let listed: Vec<Option<ListedInFull>> =
            could_have.iter().map(|source| in_full(passes, &source.name)).collect();
        let nearest = nearest(file, near);
        let one = match could_have {
            [source] => overview.sources.iter().find(|known| known.name == source.name),
            _ => None,
        };
        let for_the_sender = match (one, could_have) {
            (Some(known), [source]) => {
                let listed = listed.first().and_then(Option::as_ref);
                to_its_sender(file, (source, known), listed, &nearest)
            }
            _ => to_some_sender(file, &listed),
        };
        let unlisted = overview.sources.iter().filter(|source| source.listed.is_none());
        Self {
            lead: lead(could_have, &listed, overview.as_of),
            listed: listed.iter().flatten().map(|listed| listed.at).min(),
            for_the_sender,
            expected: expected(file, could_have, overview),
            nearest,
            unlisted: unlisted.map(UnlistedSource::of).collect(),
        }
    }
}

fn lead(could_have: &[&Source], listed: &[Option<ListedInFull>], now: OffsetDateTime) -> Sentence {
    let (all, full) = (could_have.len(), listed.iter().flatten().count());
    let oldest = listed.iter().flatten().map(|listed| listed.at).min();
    let left_out = listed.iter().flatten().map(|listed| listed.left_out).sum::<u64>();
    let out = match left_out {
        0 => ".".to_owned(),
        1 => ", unless it is the file that your rules leave out.".to_owned(),
        count => format!(", unless it is one of the {count} files that your rules leave out."),
    };
    let subject = match (could_have, oldest) {
        ([], _) => return Sentence::new("No such source is configured, so nobody looked."),
        ([source], None) => {
            let unknown = "was not listed in full of late, so nobody knows whether it is there.";
            return Sentence::new(format!("{} {unknown}", source.name));
        }
        (_, None) => {
            return Sentence::new(format!(
                "None of the {all} sources that could have it was listed in full of late, so \
                nobody knows whether it is there."
            ));
        }
        ([source], _) => format!("{} was listed in full at ", source.name),
        _ if all == full => {
            format!("All {all} sources that could have it were listed in full, the first at ")
        }
        _ => {
            let were = if full == 1 { "was" } else { "were" };
            format!(
                "{full} of the {all} sources that could have it {were} listed in full, the first \
                at "
            )
        }
    };
    let at = oldest.unwrap_or(now);
    let absent = if full == 1 { "it was not there" } else { "it was in none of them" };
    Sentence::new(subject).at(at).and(format!(", {} ago, and {absent}{out}", age(now - at)))
}

/// What to tell the sender where only one source could have the file.
fn to_its_sender(
    file: &str,
    (source, known): (&Source, &SourceState),
    listed: Option<&ListedInFull>,
    nearest: &[Hit],
) -> String {
    let root = source.root.to_string();
    let place = match root.trim_matches('/') {
        _ if known.address.is_empty() => "your server".to_owned(),
        "" => known.address.clone(),
        // A folder has no server; some addresses end with the folder.
        _ if known.address.starts_with("file:") => root.clone(),
        below if known.address.ends_with(below) => known.address.clone(),
        below => format!("/{below} at {}", known.address),
    };
    let looked = match listed {
        Some(ListedInFull { at, left_out: 0 }) => {
            format!("We looked at {place} on {} and it was not there.", in_utc(*at))
        }
        Some(ListedInFull { at, .. }) => {
            format!("We looked at {place} on {} and found no such file to take.", in_utc(*at))
        }
        None => format!("We could not list {place} of late."),
    };
    let alike = patterns_near(file).into_iter().next();
    let is_of_its_kind = |hit: &&Hit| {
        hit.outcome == Word::Ingested && patterns_near(&hit.path).first() == alike.as_ref()
    };
    let last = nearest.iter().filter(is_of_its_kind).max_by_key(|hit| hit.stored.clone());
    let last = last.and_then(|hit| Some((file_name(&hit.path), read(hit.stored.as_deref()?)?)));
    let last = last.map_or_else(String::new, |(name, stored)| {
        format!(" The last file of this kind is {name}, complete since {}.", in_utc(stored))
    });
    format!("We have not received {}. {looked}{last}", spoken(file))
}

/// A name as it is said to its sender: a part of one is told as that.
fn spoken(file: &str) -> String {
    let is_whole = file.contains('.') && !file.contains('*');
    if is_whole { file.to_owned() } else { format!("a file named \u{201c}{file}\u{201d}") }
}

/// What to tell a sender of whom nobody knows which source is theirs: nothing of the others.
fn to_some_sender(file: &str, listed: &[Option<ListedInFull>]) -> String {
    let all = listed.iter().map(|listed| listed.as_ref().map(|listed| listed.at));
    match all.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min()) {
        Some(at) => {
            let (file, at) = (spoken(file), in_utc(at));
            format!("We have not received {file}. We looked for it on {at}.")
        }
        None => format!("We have not received {}.", spoken(file)),
    }
}

/// What is expected under such a name, and not here.
fn expected(file: &str, could_have: &[&Source], overview: &StatusOverview) -> Vec<ExpectedFeed> {
    let of = |source: &&Source| {
        let meant = source.expectations.iter().filter(|one| one.files.mean(file));
        meant.map(|one| (source.name.clone(), one.name.clone())).collect::<Vec<_>>()
    };
    let meant: BTreeSet<(String, String)> = could_have.iter().flat_map(of).collect();
    let fits = |feed: &&ExpectedFeed| {
        let (source, name) = (feed.source.clone(), feed.standing.name.clone());
        feed.standing.is_unmet() && meant.contains(&(source, name))
    };
    overview.expected.iter().filter(fits).cloned().collect()
}

/// The files whose names are likest to `file`, each once; of equal ones the newest first.
fn nearest(file: &str, near: Vec<Hit>) -> Vec<Hit> {
    let letters = |name: &str| name.to_lowercase().chars().take(LETTERS).collect::<String>();
    let wanted = letters(file);
    let far = |hit: &Hit| strsim::damerau_levenshtein(&wanted, &letters(file_name(&hit.path)));
    let mut ranked: Vec<(usize, Hit)> = near.into_iter().map(|hit| (far(&hit), hit)).collect();
    ranked.sort_by(|(far, hit), (farther, other)| {
        far.cmp(farther).then_with(|| other.run.cmp(&hit.run))
    });
    let mut seen = BTreeSet::new();
    ranked.retain(|(_, hit)| seen.insert((hit.source.clone(), hit.path.clone())));
    ranked.into_iter().take(NEAREST).map(|(_, hit)| hit).collect()
}
