//! What a reader should know of an archive that was unpacked: odd names, links, archives in it that
//! were not.

use crate::archive::contract::{Member, MemberKind};
use crate::archive::names::{Oddity, odd_names};
use crate::archive::options::InnerErrors;
use crate::archive::unpack::{KeptWhy, Proven};
use crate::archive::unread::Unread;
use crate::archive::verify::Checked;
use crate::model::failure::Class;
use crate::model::printable;
use crate::report::{Ingested, Problem};

/// How many names of one kind are told.
const NAMES: usize = 10;

/// The notes, problems and counts of an archive that was read to its end.
pub fn of(inner_errors: InnerErrors, proven: &Proven) -> Ingested {
    let checked = &proven.members[..];
    let links = of_kind(checked, MemberKind::Link);
    let mut told = Ingested {
        notes: notes(checked),
        members_links: links.len() as u64,
        ..Ingested::default()
    };
    told.notes.extend(listed(&links, "symbolic links are not stored"));
    told.notes.extend(listed(
        &of_kind(checked, MemberKind::Special),
        "devices, pipes and hard links without their file are not stored",
    ));
    told.notes.extend(proven.remarks.iter().cloned());
    let doubts = proven.doubts.iter().cloned();
    told.problems.extend(doubts.map(|doubt| Problem::new(Class::ArchiveDamaged, doubt)));
    for checked in checked {
        let Some(kept) = &checked.unopened else { continue };
        let text = format!(
            "partly_unpacked: the inner archive `{}` is stored as it is: {}",
            name(&checked.member),
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
pub fn not_unpacked(kind: Unread) -> String {
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

fn of_kind(checked: &[Checked], kind: MemberKind) -> Vec<&Member> {
    checked.iter().map(|checked| &checked.member).filter(|member| member.kind == kind).collect()
}

/// How many there are, and the names of the first.
fn listed(members: &[&Member], what: &str) -> Option<String> {
    let names: Vec<String> =
        members.iter().take(NAMES).map(|member| format!("`{}`", name(member))).collect();
    let more = members.len().saturating_sub(NAMES);
    let end = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!members.is_empty()).then(|| format!("{what} ({}): {}{end}", members.len(), names.join(", ")))
}

/// What is odd about the members' names.
fn notes(checked: &[Checked]) -> Vec<String> {
    let files: Vec<&Member> = of_kind(checked, MemberKind::File);
    let full_names: Vec<String> = files.iter().map(|member| member.full_name()).collect();
    let odd = odd_names(full_names.iter().map(String::as_str));
    let line = |(index, odd): (usize, Vec<Oddity>)| {
        let words: Vec<String> = odd.iter().map(ToString::to_string).collect();
        format!("member `{}` {}", printable(full_names[index].as_bytes()), words.join(", "))
    };
    odd.into_iter().map(line).collect()
}
