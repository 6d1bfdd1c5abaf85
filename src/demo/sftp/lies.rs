//! What a server claims that is not so, about handles, pages, kinds and ends: as servers in the
//! field do.

/// Everything that it lies about; by default nothing.
#[derive(Clone, Debug, Default)]
pub struct Lies {
    /// How it names what is open.
    pub handles: HandleRule,
    /// How it tells what a folder holds.
    pub pages: PageRule,
    /// How it tells what an entry is.
    pub kinds: KindRule,
    /// Whether it names each entry twice.
    pub entries_twice: bool,
    /// So many files may be open on a connection; OPEN of another one is answered with this status
    /// and these words.
    pub most_open: Option<(usize, u32, &'static str)>,
    /// A READ behind the end of a file is answered with this status instead of EOF, or with data of
    /// no bytes.
    pub past_end: Option<PastEnd>,
}

impl Lies {
    /// All that is claimed is so.
    #[cfg(not(feature = "testing"))]
    pub(super) const NONE: Self = Self {
        handles: HandleRule::Unique,
        pages: PageRule::Honest,
        kinds: KindRule::Told,
        entries_twice: false,
        most_open: None,
        past_end: None,
    };
}

/// How a server names what is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandleRule {
    /// By the next number.
    #[default]
    Unique,
    /// By the lowest number that it believes to be free, as Erlang/OTP 25: 1, whenever anything is
    /// open. What bore that name before is forgotten.
    Twice,
}

/// How a server tells what a folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageRule {
    /// Page by page, then the end.
    #[default]
    Honest,
    /// Of the first folder that is opened two entries, the end, and then the rest; all others in
    /// order.
    EndInBetween,
    /// The first page as often as this, then the end.
    SamePage(u32),
    /// All of it, and then pages without entries, without end.
    EmptyForEver,
    /// All of it, again and again, without end.
    RoundAndRound,
    /// All of it, then this status.
    EndsWith(u32),
    /// Of the first folder that is opened two entries, then this status; all others in order.
    BreaksOffWith(u32),
    /// `.` and `..`, without end.
    DotsForEver,
}

/// How a server tells what an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KindRule {
    /// By its permission bits.
    #[default]
    Told,
    /// By the first of nine letters only, as SolarWinds.
    NineLetters,
    /// Not at all.
    Untold,
    /// Folders as files of no bytes, wherever it is asked; they can be opened, and not be read.
    FoldersAsFiles,
}

/// The answer to a READ behind the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastEnd {
    /// This status.
    Status(u32),
    /// No bytes.
    Nothing,
}
