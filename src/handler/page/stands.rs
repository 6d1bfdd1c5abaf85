//! How a run or a pass stands, as its record has the word. Pages decide by this enum, so that a new
//! word must be thought of wherever one of them decides. Pure.

use crate::report::Status;

/// How a run or a pass stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// It goes on.
    Running,
    /// It ended so.
    Ended(Status),
    /// Its process died.
    Abandoned,
    /// Its record cannot be read, or has a word of another release.
    Unknown,
}

impl Stands {
    /// By the word of its record.
    pub fn of(word: &str) -> Self {
        match word {
            "running" => Self::Running,
            "abandoned" => Self::Abandoned,
            word => Status::from_word(word).map_or(Self::Unknown, Self::Ended),
        }
    }

    /// Whether all was listed and all that came of it is told.
    pub fn is_told_to_the_end(self) -> bool {
        matches!(self, Self::Ended(Status::Ok | Status::Degraded))
    }
}

/// What is known while no source needs anybody and not all have ended well: `known` of `all`.
pub(super) fn so_far(known: usize, all: usize) -> String {
    match (known, all) {
        (0, 1) => "Nothing is known of the source yet".into(),
        (0, _) => format!("Nothing is known yet of the {all} sources"),
        (1, 1) => "The source is fine so far".into(),
        _ if known == all => format!("All {all} sources are fine so far"),
        _ => {
            let are = |count| if count == 1 { "is" } else { "are" };
            let (well, unknown) = (are(known), all - known);
            let them = are(unknown);
            format!("{known} of {all} sources {well} fine so far; {unknown} {them} not known yet")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::record::RunStatus;

    #[test]
    fn words_of_records_are_known_and_those_of_other_releases_are_not() {
        use RunStatus::{Abandoned, Degraded, Failed, Interrupted, Ok, Running};
        for status in [Abandoned, Degraded, Failed, Interrupted, Ok, Running] {
            assert_ne!(Stands::of(status.word()), Stands::Unknown, "{status:?}");
        }
        assert_eq!(Stands::of("left"), Stands::Ended(Status::Left));
        assert_eq!(Stands::of("marvellous"), Stands::Unknown);
    }

    #[test]
    fn sources_of_which_nobody_knows_are_not_called_fine() {
        assert_eq!(so_far(0, 16), "Nothing is known yet of the 16 sources");
        let some = "7 of 16 sources are fine so far; 9 are not known yet";
        assert_eq!(so_far(7, 16), some);
        assert_eq!(so_far(16, 16), "All 16 sources are fine so far");
    }
}
