//! Commands that a session can do without, from when they are sent to when the server goes on.

use std::sync::atomic::Ordering;

use super::client::FtpClient;
use super::fatal::{LIST_ALL, MLSD};
use crate::model::failure::{Class, Failure};
use crate::source::contract::SourceError;

impl FtpClient {
    /// `command` is sent now; the session can do without it.
    pub(super) fn puts_at_stake(&mut self, command: &'static [u8]) {
        self.at_stake.push(command);
    }

    /// The server went on after what was at stake.
    pub(super) fn nothing_at_stake(&mut self) {
        for command in std::mem::take(&mut self.at_stake) {
            self.account.learned.fatal.answered(command);
        }
    }

    /// Whether `error` ended the connection over a command that the session can do without: then
    /// a new one is worth a try.
    pub(super) fn was_lost_over_option(&mut self, error: &SourceError) -> bool {
        let at_stake = std::mem::take(&mut self.at_stake);
        if at_stake.is_empty() || !matches!(error.class(), Class::Connect | Class::Truncated) {
            return false;
        }
        let learned = &self.account.learned;
        for command in at_stake {
            if !learned.fatal.lost(command) {
                continue;
            }
            let text = String::from_utf8_lossy(command);
            tracing::debug!(server = %self.account.address, command = %text, "The server ends the \
                connection over a command: it is not sent any more.");
            // That was the reason, not how many commands were sent at once.
            learned.one_by_one.store(false, Ordering::Relaxed);
            match command {
                MLSD => learned.ways.facts.fails.store(true, Ordering::Relaxed),
                LIST_ALL => learned.ways.all.fails.store(true, Ordering::Relaxed),
                _ => {}
            }
        }
        true
    }
}
