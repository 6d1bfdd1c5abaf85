//! Why a command cannot begin.

/// Why a command cannot begin: text for people, all of it.
#[derive(Debug)]
pub struct Unusable(pub String);
