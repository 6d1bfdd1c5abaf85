//! Commands over which a server ends the connection: each is sent twice, then left out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::source::finding::Finding;

/// Asks what the server can do.
pub(super) const FEAT: &[u8] = b"FEAT";
/// Lists facts.
pub(super) const MLSD: &[u8] = b"MLSD";
/// Lists names that begin with a dot, too.
pub(super) const LIST_ALL: &[u8] = b"LIST -a";

/// So many losses in a row are no chance.
const NO_CHANCE: u32 = 2;

/// Commands that a session can do without, and how often the connection ended over each.
#[derive(Debug, Default)]
pub(crate) struct FatalCommands(Mutex<BTreeMap<&'static [u8], u32>>);

impl FatalCommands {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<&'static [u8], u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `command` is left out.
    pub fn leaves_out(&self, command: &[u8]) -> bool {
        self.counts().get(command).is_some_and(|count| *count >= NO_CHANCE)
    }

    /// The connection ended while `command` was unanswered; whether it is left out from now on.
    pub(super) fn lost(&self, command: &'static [u8]) -> bool {
        let mut counts = self.counts();
        let count = counts.entry(command).or_default();
        *count += 1;
        *count == NO_CHANCE
    }

    /// The server has answered `command`.
    pub(super) fn answered(&self, command: &[u8]) {
        self.counts().retain(|known, count| *known != command || *count >= NO_CHANCE);
    }

    /// What is left out, for people.
    pub fn findings(&self) -> Vec<Finding> {
        let counts = self.counts();
        let fatal = counts.iter().filter(|(_, count)| **count >= NO_CHANCE);
        fatal
            .map(|(command, _)| {
                let command = String::from_utf8_lossy(command);
                let text = format!(
                    "the server ends the connection over `{command}`: it is not sent any more"
                );
                Finding::new("commands", text)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_left_out_after_two_losses_in_a_row() {
        let fatal = FatalCommands::default();
        assert!(!fatal.lost(MLSD));
        fatal.answered(MLSD);
        assert!(!fatal.lost(MLSD) && !fatal.leaves_out(MLSD) && fatal.findings().is_empty());
        assert!(fatal.lost(MLSD) && fatal.leaves_out(MLSD) && !fatal.leaves_out(FEAT));
        fatal.answered(MLSD);
        assert!(fatal.leaves_out(MLSD));
        assert_eq!(fatal.findings().len(), 1);
    }
}
