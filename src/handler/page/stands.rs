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
}
