//! The kinds of schedules.

/// What a schedule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Runs without a queue, some at once.
    Inline,
    /// Workers of a queue.
    Queue,
    /// Both at the same source.
    Mixed,
    /// Archives among the files.
    Archives,
    /// A file in blocks among the files.
    Blocks,
    /// One file, or an archive, that becomes another all the time, and runs that replace it side by
    /// side.
    Contended,
    /// Names by templates, an archive among the files.
    Layouts,
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::Inline,
        Kind::Queue,
        Kind::Mixed,
        Kind::Archives,
        Kind::Blocks,
        Kind::Contended,
        Kind::Layouts,
    ];

    pub fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}
