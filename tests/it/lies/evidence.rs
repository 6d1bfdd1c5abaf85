//! What two things that a server told of a file prove of its content, and what they do not.

use blobferry::model::{Precision, RemoteFile};
use time::OffsetDateTime;
use time::macros::datetime;

use super::truth::HeldFile;

/// A file that is older rests, whatever the zone.
const OLD: time::Duration = time::Duration::hours(41);
/// A coarse time that was told to be older than this hides no replacement, as far as anybody can
/// know.
const ZONES: time::Duration = time::Duration::hours(15);
const FIRST_PLAUSIBLE: OffsetDateTime = datetime!(1990-01-01 0:00 UTC);

/// What a server told of one content of a file.
pub type Told = (u64, RemoteFile);

/// Whether no time is told, or none that tells files apart: a coarse one, a default, the future.
pub fn tells_nothing(file: &RemoteFile) -> bool {
    file.modified.is_none_or(|modified| {
        modified.precision > Precision::Second
            || modified.at < FIRST_PLAUSIBLE
            || modified.at > OffsetDateTime::now_utc()
    })
}

/// Whether two things that were told of a path are the same size and the same time, and not a
/// coarse time of a young file.
pub fn is_alike(then: &RemoteFile, now: &RemoteFile) -> bool {
    let (Some(a), Some(b)) = (then.modified, now.modified) else { return false };
    let precision = a.precision.max(b.precision);
    let is_old = OffsetDateTime::now_utc() - b.at > ZONES;
    let settled = is_old || precision <= Precision::Second;
    then.size.is_some() && then.size == now.size && a.agrees_with(&b) && settled
}

/// Whether `content` begins as one content of a file and ends as another, and nothing that was told
/// of the two differs: they were read while one took the place of the other.
pub fn is_torn_unseen(told: Option<&Vec<Told>>, known: &[HeldFile], content: &[u8]) -> bool {
    let begins =
        |held: &&HeldFile| held.bytes[..1.min(content.len())] == content[..1.min(content.len())];
    let of = |serial: u64| {
        told.into_iter().flatten().filter(move |(of, _)| *of == serial).map(|(_, file)| file)
    };
    known.iter().filter(begins).any(|first| {
        let same = first.bytes.iter().zip(content).take_while(|(a, b)| a == b).count();
        known.iter().any(|second| {
            let is_mixed = second.bytes.len() == content.len()
                && second.bytes[same.min(content.len())..] == content[same.min(content.len())..];
            let alike =
                || of(first.serial).any(|then| of(second.serial).any(|now| is_possible(then, now)));
            // What was taken away, or replaced, before anybody described it was never told of.
            let untold = || [first, second].iter().any(|held| of(held.serial).next().is_none());
            is_mixed && (untold() || alike())
        })
    })
}

/// Whether nothing speaks against two descriptions being of one content.
fn is_possible(then: &RemoteFile, now: &RemoteFile) -> bool {
    let sizes = then.size.is_none() || now.size.is_none() || then.size == now.size;
    let times = match (then.modified, now.modified) {
        (Some(a), Some(b)) => a.agrees_with(&b),
        _ => true,
    };
    sizes && times
}

/// Whether a time alone proves that its file rests: an exact one, old, and after 1990.
pub fn proves_rest(told: Option<&RemoteFile>) -> bool {
    let modified = told.and_then(|told| told.modified);
    modified.is_some_and(|modified| {
        modified.precision <= Precision::Second
            && modified.at >= FIRST_PLAUSIBLE
            && OffsetDateTime::now_utc() - modified.at > OLD
    })
}
