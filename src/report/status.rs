//! The word that a pass, a run or several of them ended with, and its exit status: made here and
//! nowhere else. history/ reads it back from records, and handler/page/stands.rs for the pages: a
//! new word must be added there, too.

use serde::Serialize;

/// How a run or a pass ended, from well to worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was not begun: another run is at it. Only a pass ends so, and all is well.
    Left,
    /// All is well: what was listed is stored, unchanged, left out, gone, or deferred within its
    /// time.
    Ok,
    /// It was stopped before it was done, or a limit left files over; the next run takes up the
    /// rest.
    Interrupted,
    /// Something did not arrive, may not have been listed, or is late.
    Degraded,
    /// Nothing could be done.
    Failed,
}

/// What a pass or a run as a whole shows of its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Nothing of it could be worked on.
    pub unusable: bool,
    /// Something failed, may not have been listed, or is late.
    pub wrong: bool,
    /// It was stopped before it was done, or had as much to do as a run may have.
    pub stopped: bool,
    /// It was left to another run.
    pub left: bool,
}

impl Status {
    const ALL: [Status; 5] =
        [Status::Left, Status::Ok, Status::Interrupted, Status::Degraded, Status::Failed];

    /// The word for reports.
    pub fn word(self) -> &'static str {
        match self {
            Status::Left => "left",
            Status::Ok => "ok",
            Status::Interrupted => "interrupted",
            Status::Degraded => "degraded",
            Status::Failed => "failed",
        }
    }

    /// Reads [`Status::word`].
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }

    /// The word of a pass of which this is so.
    pub(crate) fn of_pass(signs: Signs) -> Self {
        let Signs { unusable, wrong, stopped, left } = signs;
        if unusable {
            Status::Failed
        } else if wrong {
            Status::Degraded
        } else if stopped {
            Status::Interrupted
        } else if left {
            Status::Left
        } else {
            Status::Ok
        }
    }

    /// The word of a run: the worst of its sources' and of its own.
    pub fn of_run(sources: &[Status], own: Signs) -> Self {
        match Status::of_all(sources.iter().copied()) {
            Status::Failed => Status::Failed,
            worst => worst
                .max(Status::of_pass(Signs { unusable: own.wrong && sources.is_empty(), ..own })),
        }
    }

    /// The word of a run whose sources ended so: failed if all of them did, else the worst of
    /// theirs.
    pub(crate) fn of_all(sources: impl IntoIterator<Item = Status>) -> Self {
        let (mut best, mut worst) = (Status::Failed, Status::Ok);
        let mut any = false;
        for status in sources {
            (best, worst, any) = (best.min(status), worst.max(status), true);
        }
        match (any, best, worst) {
            (false, ..) => Status::Ok,
            // Some of it could be done.
            (true, best, Status::Failed) if best < Status::Failed => Status::Degraded,
            (true, _, worst) => worst,
        }
    }

    /// The exit status that tells the same: 0 all well, 1 something is left or went wrong, 3
    /// nothing could be done.
    pub fn exit_code(self) -> u8 {
        match self {
            Status::Ok | Status::Left => 0,
            Status::Interrupted | Status::Degraded => 1,
            Status::Failed => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_fails_only_if_all_of_it_does() {
        use Status::{Degraded, Failed, Interrupted, Left, Ok};
        for (sources, word) in [
            (vec![], Ok),
            (vec![Left], Ok),
            (vec![Ok, Interrupted], Interrupted),
            (vec![Interrupted, Degraded], Degraded),
            (vec![Failed, Ok], Degraded),
            (vec![Failed, Interrupted], Degraded),
            (vec![Failed, Failed], Failed),
        ] {
            assert_eq!(Status::of_all(sources.clone()), word, "{sources:?}");
        }
    }

    #[test]
    fn a_word_is_read_as_it_is_written() {
        for status in Status::ALL {
            assert_eq!(Status::from_word(status.word()), Some(status));
        }
        assert_eq!(Status::from_word("running"), None);
    }
}
