//! What a reader should know of an archive that was unpacked: odd names, links, archives in it that
//! were not.

use crate::archive::checked_members::CheckedMembers;
use crate::archive::contract::{Member, MemberKind};
use crate::archive::names::{Oddity, odd_names};
use crate::archive::options::InnerErrors;
use crate::archive::unpack::{KeptWhy, Proven};
use crate::archive::unread::Unread;
use crate::model::failure::Class;
use crate::model::printable;
use crate::report::{Ingested, Problem};

/// How many names of one kind are told.
const NAMES: usize = 10;
/// How many notes of one archive are told.
const MOST_NOTES: usize = 1000;

/// The notes, problems and counts of an archive that was read to its end.
pub(crate) fn of(inner_errors: InnerErrors, proven: &Proven) -> Ingested {
    let checked = &proven.members;
    let (links, listed_links) =
        listed(checked.of_kind(MemberKind::Link), "symbolic links are not stored");
    let mut told = Ingested { notes: notes(checked), members_links: links, ..Ingested::default() };
    told.notes.extend(listed_links);
    let (_, listed_special) = listed(
        checked.of_kind(MemberKind::Special),
        "devices, pipes and hard links without their file are not stored",
    );
    told.notes.extend(listed_special);
    told.notes.extend(proven.remarks.iter().cloned());
    let doubts = proven.doubts.iter().cloned();
    told.problems.extend(doubts.map(|doubt| Problem::new(Class::ArchiveDamaged, doubt)));
    for (place, kept) in checked.unopened() {
        let text = format!(
            "partly_unpacked: the inner archive `{}` is stored as it is: {}",
            name(&checked.member(place)),
            reason(&kept.why)
        );
        told.partly += 1;
        let is_bad =
            matches!(kept.why, KeptWhy::Failed(Class::ArchiveDamaged | Class::ArchiveEncrypted, _));
        match &kept.why {
            KeptWhy::Failed(class, _) if is_bad && inner_errors == InnerErrors::Degrade => {
                told.problems.push(Problem::new(*class, text));
            }
            _ => told.notes.push(text),
        }
    }
    told
}

/// The note for a file that is stored whole because its kind is not read.
pub(crate) fn not_unpacked(kind: Unread) -> String {
    format!("not_unpacked: {kind}: it is {}, and stored as it is", kind.about())
}

/// The word for why an archive in an archive is not unpacked.
pub fn word(why: &KeptWhy) -> &'static str {
    match why {
        KeptWhy::Failed(class, _) => class.word(),
        KeptWhy::Unread(kind) => kind.word(),
    }
}

fn reason(why: &KeptWhy) -> String {
    match why {
        KeptWhy::Failed(_, text) => text.clone(),
        KeptWhy::Unread(kind) => format!("{kind}: it is {}", kind.about()),
    }
}

fn name(member: &Member) -> String {
    printable(member.full_name().as_bytes())
}

/// How many there are, and their number with the names of the first, if there are any.
fn listed(members: impl Iterator<Item = Member>, what: &str) -> (u64, Option<String>) {
    let (mut count, mut names) = (0, Vec::new());
    for member in members {
        count += 1;
        if names.len() < NAMES {
            names.push(format!("`{}`", name(&member)));
        }
    }
    let more = count - names.len();
    let end = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text = (count > 0).then(|| format!("{what} ({count}): {}{end}", names.join(", ")));
    (count as u64, text)
}

/// What is odd about the members' names.
fn notes(checked: &CheckedMembers) -> Vec<String> {
    let names = checked.of_kind(MemberKind::File).map(|member| member.full_name());
    let line = |(name, odd): (String, Vec<Oddity>)| {
        let words: Vec<String> = odd.iter().map(ToString::to_string).collect();
        format!("member `{}` {}", printable(name.as_bytes()), words.join(", "))
    };
    odd_names(names).map(line).take(MOST_NOTES + 1).collect()
}

/// Cuts down what would be a report of members alone.
pub fn limit(notes: &mut Vec<String>) {
    if notes.len() > MOST_NOTES {
        notes.truncate(MOST_NOTES);
        notes.push(format!(
            "there is more to note than the first {MOST_NOTES}: the archive's manifest tells of \
             every member"
        ));
    }
}
