//! All that is wrong with a configuration, told at once.

use crate::settings::SettingError;

/// So many errors are told; more of them mostly have the same cause.
const SHOWN: usize = 30;

/// What was found wrong so far.
#[derive(Debug, Default)]
pub struct Faults(Vec<SettingError>);

impl Faults {
    /// One more.
    pub(crate) fn add(&mut self, error: SettingError) {
        if !self.0.contains(&error) {
            self.0.push(error);
        }
    }

    /// The value, if there is one; else the error is kept.
    pub(crate) fn take<T>(&mut self, result: Result<T, SettingError>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them as one error, in the order in which they were found.
    pub(crate) fn end(self) -> Result<(), SettingError> {
        let more = self.0.len().saturating_sub(SHOWN);
        let all = self.0.into_iter().take(SHOWN).reduce(SettingError::and);
        match all {
            None => Ok(()),
            Some(error) if more == 0 => Err(error),
            Some(error) => {
                let problem = format!("{}\n… and {more} more", error.problem);
                Err(SettingError { problem, ..error })
            }
        }
    }
}
