//! Why a command cannot begin.

use super::console;
use super::exit::UNUSABLE;

/// Why a command cannot begin: text for people, all of it.
#[derive(Debug)]
pub struct Unusable(pub String);

impl Unusable {
    /// Says so to whoever called. Returns the exit status for it.
    pub fn tell(&self) -> u8 {
        console::say(&format!("error: {}", self.0));
        UNUSABLE
    }
}
