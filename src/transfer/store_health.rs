//! Whether the destination still takes anything: one that is dead is not asked for every file.

use std::sync::{Mutex, PoisonError};

use crate::model::failure::Class;
use crate::report::{Outcome, Problem};

/// After so many files in a row that it refused, none of which it took, no further one is begun.
const MOST_FAILURES: u32 = 20;

/// What the destination did with the files of a run.
#[derive(Debug, Default)]
pub struct StoreHealth(Mutex<StoreFailures>);

#[derive(Debug, Default)]
struct StoreFailures {
    in_a_row: u32,
    last: Option<Problem>,
}

impl StoreHealth {
    /// Takes note of what became of a file.
    pub fn see(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Ingested(_) => *self.failures() = StoreFailures::default(),
            Outcome::Failed(problem) if is_of_all(problem.class) => {
                let mut failures = self.failures();
                failures.in_a_row += 1;
                failures.last = Some(problem.clone());
            }
            _ => {}
        }
    }

    /// Why no further file is begun, if that is so.
    pub(crate) fn is_given_up(&self) -> Option<Problem> {
        let failures = self.failures();
        let last = failures.last.as_ref().filter(|_| failures.in_a_row >= MOST_FAILURES)?;
        let message = format!(
            "the destination failed for {} files in a row, so no further file was begun; the last \
             answer: {}",
            failures.in_a_row, last.message
        );
        Some(Problem { message, ..last.clone() })
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, StoreFailures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Failures that say nothing of one file.
fn is_of_all(class: Class) -> bool {
    matches!(class, Class::StoreAuth | Class::StoreContainer | Class::StoreUnavailable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Ingested;

    #[test]
    fn a_destination_that_takes_nothing_is_given_up_and_one_that_takes_some_is_not() {
        let failed = |class| Outcome::Failed(Problem::new(class, "Input/output error"));
        let health = StoreHealth::default();
        for _ in 0..MOST_FAILURES - 1 {
            health.see(&failed(Class::StoreUnavailable));
        }
        assert_eq!(health.is_given_up(), None);
        health.see(&Outcome::Ingested(Ingested::default()));
        for _ in 0..MOST_FAILURES {
            health.see(&failed(Class::StoreConflict));
            health.see(&failed(Class::SizeMismatch));
        }
        assert_eq!(health.is_given_up(), None, "these are failures of single files");
        for _ in 0..MOST_FAILURES {
            health.see(&failed(Class::StoreUnavailable));
        }
        let problem = health.is_given_up().expect("it is dead");
        assert_eq!(problem.class, Class::StoreUnavailable);
        assert!(problem.message.ends_with("Input/output error"), "{}", problem.message);
    }
}
