//! What goes wrong, file by file. Tests alone give a server a script.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::lies::Lies;
use crate::source::sftp::packet::PacketEntry;

/// Something done to the real file, whose path it is given.
pub type DemoSftpHook = Arc<dyn Fn(&Path) + Send + Sync>;

/// One thing that goes wrong with a file.
#[derive(Clone)]
pub enum DemoSftpFault {
    /// No READ is answered with more than this many bytes.
    ShortReads(u32),
    /// A READ of this byte is answered with this status.
    StatusAt(u64, u32),
    /// A READ of this byte cuts the connection.
    DisconnectAt(u64),
    /// A READ of this byte is never answered.
    StallAt(u64),
    /// A READ of this byte is answered with the end of the file.
    EofAt(u64),
    /// This byte arrives as another one, and nobody is told.
    FlipAt(u64),
    /// The size is told wrong by this much.
    LieSize(i64),
    /// Listings tell its time wrong by so many seconds; STAT, LSTAT and FSTAT tell it right.
    ListedLater(i32),
    /// Nothing is told: no size, no time, no kind.
    NoAttributes,
    /// STAT, LSTAT and FSTAT are denied; listings tell all.
    StatDenied,
    /// OPEN is answered with this status.
    OpenStatus(u32),
    /// No READ is answered while another file is open on the same connection.
    SilentInCompany,
    /// This happens before the file is opened.
    OnOpen(DemoSftpHook),
    /// This happens before a READ of this byte.
    OnRead(u64, DemoSftpHook),
}

impl fmt::Debug for DemoSftpFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DemoSftpFault::ShortReads(most) => write!(f, "ShortReads({most})"),
            DemoSftpFault::StatusAt(at, code) => write!(f, "StatusAt({at}, {code})"),
            DemoSftpFault::DisconnectAt(at) => write!(f, "DisconnectAt({at})"),
            DemoSftpFault::StallAt(at) => write!(f, "StallAt({at})"),
            DemoSftpFault::EofAt(at) => write!(f, "EofAt({at})"),
            DemoSftpFault::FlipAt(at) => write!(f, "FlipAt({at})"),
            DemoSftpFault::LieSize(by) => write!(f, "LieSize({by})"),
            DemoSftpFault::ListedLater(by) => write!(f, "ListedLater({by})"),
            DemoSftpFault::NoAttributes => f.write_str("NoAttributes"),
            DemoSftpFault::StatDenied => f.write_str("StatDenied"),
            DemoSftpFault::OpenStatus(code) => write!(f, "OpenStatus({code})"),
            DemoSftpFault::SilentInCompany => f.write_str("SilentInCompany"),
            DemoSftpFault::OnOpen(_) => f.write_str("OnOpen"),
            DemoSftpFault::OnRead(at, _) => write!(f, "OnRead({at})"),
        }
    }
}

#[derive(Debug)]
struct Rule {
    fault: DemoSftpFault,
    left: AtomicUsize,
}

/// Everything that goes wrong; empty, a server that does its work.
#[derive(Debug, Default, Clone)]
pub struct DemoSftpScript {
    rules: BTreeMap<Vec<u8>, Vec<Arc<Rule>>>,
    /// Entries that listings of a directory (by its path) show beside the real ones.
    pub entries: BTreeMap<Vec<u8>, Vec<PacketEntry>>,
    /// After this many logins every credential is refused.
    pub most_logins: Option<usize>,
    /// Above this many open connections, visitors are turned away as sshd does.
    pub most_connections: Option<usize>,
    /// What it claims that is not so.
    pub lies: Lies,
}

/// A server that does its work, as it is shipped. Being a constant, it lets the compiler leave out
/// what the faults would do.
#[cfg(not(feature = "testing"))]
pub(super) static FAULTLESS: DemoSftpScript = DemoSftpScript {
    rules: BTreeMap::new(),
    entries: BTreeMap::new(),
    most_logins: None,
    most_connections: None,
    lies: Lies::NONE,
};

impl DemoSftpScript {
    /// Nothing goes wrong but these lies.
    pub fn lying(lies: Lies) -> Self {
        Self { lies, ..Self::default() }
    }

    /// `fault` befalls every file named `name`, each time.
    #[must_use]
    pub fn always(self, name: impl AsRef<[u8]>, fault: DemoSftpFault) -> Self {
        self.times(usize::MAX, name, fault)
    }

    /// `fault` befalls files named `name` once. For the faults that come at a moment, not for those
    /// of the attributes.
    #[must_use]
    pub fn once(self, name: impl AsRef<[u8]>, fault: DemoSftpFault) -> Self {
        self.times(1, name, fault)
    }

    /// `fault` befalls files named `name` so many times.
    #[must_use]
    pub fn times(mut self, times: usize, name: impl AsRef<[u8]>, fault: DemoSftpFault) -> Self {
        let rule = Rule { fault, left: AtomicUsize::new(times) };
        self.rules.entry(name.as_ref().to_vec()).or_default().push(Arc::new(rule));
        self
    }

    /// The first fault of `name` that `applies`, counted as having happened.
    pub(super) fn happens(
        &self,
        name: &[u8],
        applies: impl Fn(&DemoSftpFault) -> bool,
    ) -> Option<DemoSftpFault> {
        // The compiler sees by this that what is shipped has no faults.
        if !cfg!(feature = "testing") {
            return None;
        }
        let rules = self.rules.get(name)?;
        let rule = rules.iter().find(|rule| {
            let count =
                |left: usize| if left == usize::MAX { Some(left) } else { left.checked_sub(1) };
            applies(&rule.fault)
                && rule.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
        })?;
        Some(rule.fault.clone())
    }
}
