//! How a server misbehaves: the dialects and faults of servers in the field, as data. Tests alone
//! give it a script.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Everything that a server does differently. The default is a server that does everything right.
#[derive(Clone, Debug, Default)]
pub struct DemoFtpScript {
    /// Sent instead of the greeting, byte for byte.
    pub greeting: Option<Vec<u8>>,
    /// What the server does not know: any command; `UTF8`; `MLST` also takes away `MLSD`;
    /// `LIST -a` makes it take options for names.
    pub without: Vec<&'static str>,
    /// Raw replies (with their CR LF) instead of a command's own; an empty one closes the
    /// connection.
    pub replies: Vec<(&'static str, &'static str)>,
    /// Said instead of 234 before encryption begins.
    pub auth_reply: Option<&'static str>,
    /// How `LIST` looks.
    pub listing: ListFormat,
    /// Sent at the end of every listing, as they are.
    pub extra_lines: Vec<Vec<u8>>,
    /// Whether MLSD leaves out what an entry is.
    pub untold_kinds: bool,
    /// Listings are sent byte by byte, with such a pause after each.
    pub listing_drip: Option<Duration>,
    /// Instead of the closing reply of a listing.
    pub listing_reply: Option<&'static str>,
    /// The address that `PASV` names instead of the true one.
    pub pasv_address: Option<[u8; 4]>,
    /// Passive ports that nobody listens on.
    pub dead_ports: DeadPorts,
    /// What becomes of commands that come with another one.
    pub company: DemoFtpCompany,
    /// The n-th connection, from 1, and those after it are turned away with 421.
    pub full_from: Option<u64>,
    /// The n-th login, from 1, and those after it are refused with 530, as too many.
    pub full_logins_from: Option<u64>,
    /// What happens to reads of the file with this name (its last segment).
    pub files: BTreeMap<Vec<u8>, DemoFtpFault>,
    /// What happens to reads of every other file.
    pub every_file: Option<DemoFtpFault>,
    /// Called while files are read.
    pub hooks: Vec<DemoFtpHook>,
    /// Connections that ask nothing for so long are closed.
    pub idle: Option<Duration>,
    /// Said instead of the closing reply when a data connection speaks TLS 1.3, which is closed at
    /// once; an empty one closes the control connection, too.
    pub tls_1_3_data: Option<&'static str>,
    /// When 150 is said.
    pub announces: DemoFtpAnnounces,
    /// Which encrypted data connections, counted from 1, end without TLS's own sign of the end.
    pub rude_tls: Range<u64>,
}

/// A server that does everything right, as it is shipped. Being a constant, it lets the compiler
/// leave out what the faults would do.
#[cfg(not(feature = "testing"))]
pub(super) static FAULTLESS: DemoFtpScript = DemoFtpScript {
    greeting: None,
    without: Vec::new(),
    replies: Vec::new(),
    auth_reply: None,
    listing: ListFormat::Unix,
    extra_lines: Vec::new(),
    untold_kinds: false,
    listing_drip: None,
    listing_reply: None,
    pasv_address: None,
    dead_ports: DeadPorts::None,
    company: DemoFtpCompany::Answered,
    full_from: None,
    full_logins_from: None,
    files: BTreeMap::new(),
    every_file: None,
    hooks: Vec::new(),
    idle: None,
    tls_1_3_data: None,
    announces: DemoFtpAnnounces::Early,
    rude_tls: 0..0,
};

impl DemoFtpScript {
    /// Whether the server does not know `what`.
    pub(super) fn lacks(&self, what: &str) -> bool {
        self.without.contains(&what) || what == "MLSD" && self.without.contains(&"MLST")
    }

    /// What happens to a read of the file named `name`.
    pub(super) fn fault(&self, name: &[u8]) -> Option<&DemoFtpFault> {
        self.files.get(name).or(self.every_file.as_ref())
    }
}

/// How `LIST` looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListFormat {
    /// As `ls -l`.
    #[default]
    Unix,
    /// As `ls -l`, every file dated `Feb 29  2024`.
    UnixOld,
    /// As `ls -l`, lines ended by LF alone.
    UnixLf,
    /// As IIS.
    Dos,
    /// As IIS with years of four digits and a clock of 24 hours.
    DosLong,
    /// As OpenVMS.
    Vms,
    /// As nothing known.
    Garbage,
}

/// When the reply comes that announces data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DemoFtpAnnounces {
    /// Before the data connection is looked at.
    #[default]
    Early,
    /// When the data connection is there and encrypted.
    Late,
    /// Not at all.
    Never,
}

/// Which passive ports nobody listens on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadPorts {
    /// None.
    #[default]
    None,
    /// Those that `EPSV` names.
    Extended,
    /// Those that were asked for together with something else: a firewall on the way saw no
    /// question.
    InCompany,
    /// All.
    All,
}

/// What becomes of commands that come together with another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DemoFtpCompany {
    /// They are answered in their turn.
    #[default]
    Answered,
    /// Those after the first are forgotten.
    Forgotten,
    /// The connection ends.
    HungUp,
}

/// What happens to a read. Numbers count bytes of the file that are sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DemoFtpFault {
    /// The data ends early, and the server says that all is well.
    FinThen226(u64),
    /// The data ends early, and the server says so.
    FinThen426(u64),
    /// The data connection is reset.
    Reset(u64),
    /// Both connections end.
    DieControl(u64),
    /// Nothing comes any more.
    Stall(u64),
    /// All the data, but no closing reply.
    No226,
    /// All the data, and the closing reply so much later.
    Late226(Duration),
    /// Two closing replies.
    Twice226,
    /// This reply (with its CR LF) instead of the data.
    Refuse(&'static str),
    /// As [`DemoFtpFault::Refuse`], after two seconds.
    RefuseLate(&'static str),
    /// This reply instead of the data, so many times; then the data.
    RefuseTimes(u64, &'static str),
    /// A kilobyte each time that this long has passed.
    Drip(Duration),
    /// Another fault so many times for each file; then all is well.
    Times(u64, Box<DemoFtpFault>),
}

impl DemoFtpFault {
    /// How many bytes are sent, if not all.
    pub(super) fn limit(&self) -> Option<u64> {
        match self {
            DemoFtpFault::FinThen226(at)
            | DemoFtpFault::FinThen426(at)
            | DemoFtpFault::Reset(at)
            | DemoFtpFault::DieControl(at)
            | DemoFtpFault::Stall(at) => Some(*at),
            _ => None,
        }
    }
}

/// Called when a read of a file has come to a point: to change the file on disk under the reader.
#[derive(Clone)]
pub struct DemoFtpHook {
    /// The file's name (its last segment).
    pub name: Vec<u8>,
    /// After so many bytes; with 0, before the file is opened.
    pub at: u64,
    /// Gets the file's path on disk.
    pub run: Arc<dyn Fn(&Path) + Send + Sync>,
}

impl fmt::Debug for DemoFtpHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hook(at {} of {})", self.at, crate::model::printable(&self.name))
    }
}
