//! What a run is given: sources, limits, ways to treat files. Built by `config` or by hand in
//! tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use time::UtcOffset;

use crate::archive::contract::Member;
use crate::archive::limits::ArchiveLimits;
use crate::archive::options::ArchiveOptions;
use crate::model::RemotePath;
use crate::rules::date_folders::{DateFolders, DatePattern};
use crate::rules::expect::Expectation;
use crate::rules::naming::Naming;
use crate::rules::patterns::{NameGlobs, Patterns};
use crate::rules::plan::known::Times;
use crate::rules::schedule::Schedule;
use crate::rules::selection::{FileSelection, Newest};
use crate::rules::time_zone::TimeZone;
use crate::runtime::retry::Policy;
use crate::source::contract::Endpoint;
use crate::source::shared_cap::SharedCap;
use crate::store::contract::Metadata;
use crate::store::placement::Placement;

/// A source and how to treat it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name, `[A-Za-z0-9][A-Za-z0-9._-]*`: the first segment of its blobs, the key of its
    /// ledger.
    pub name: String,
    /// Where it is.
    pub endpoint: Arc<dyn Endpoint>,
    /// Where its tree begins.
    pub root: RemotePath,
    /// Which files are wanted.
    pub patterns: Patterns,
    /// Logins at once, at most.
    pub connections: usize,
    /// The cap on logins at its server, over all sources there.
    pub shared_cap: Option<Arc<SharedCap>>,
    /// How it logs in: sources of one cap for which it is equal share their logins. `None`: it
    /// shares them with nobody.
    pub login: Option<String>,
    /// Whether runs do anything about it.
    pub enabled: bool,
    /// Which of several sources comes first: that with the higher number.
    pub priority: u64,
    /// In which order its files are brought over; `None`: as they are listed.
    pub order: Option<FileOrder>,
    /// How long a file must rest before it is taken.
    pub stable_for: Duration,
    /// How long a file may be left for later before that is not well any more.
    pub late_after: Duration,
    /// Whether that holds for files that wait for their markers, too.
    pub late_markers: bool,
    /// What happens to archives.
    pub archives: Archives,
    /// The zone of times in archives that do not name one.
    pub zone: UtcOffset,
    /// Members of archives that are wanted, by their names within; `None` is all of them.
    pub include_members: Option<NameGlobs>,
    /// Whether members are left alone that a new version of an archive holds as the version before
    /// did, by its directory: CRC-32, size and time.
    pub incremental_members: bool,
    /// Whether the originals of archives that cannot be unpacked are kept, and not fetched again.
    pub quarantine: bool,
    /// How archives are read.
    pub unpacking: ArchiveOptions,
    /// How blobs are named.
    pub naming: Naming,
    /// What happens when a file changes.
    pub versions: Versions,
    /// What happens to a file at the source once it is stored.
    pub after: After,
    /// How a file is deleted.
    pub delete_by: DeleteBy,
    /// Bytes that a run may read only to compare them, where nothing else tells whether a file
    /// changed.
    pub recheck: u64,
    /// What the source's times are worth: they tell of changes, or size alone is trusted.
    pub times: Times,
    /// Another source that can see the same files, where this one removes them.
    pub shared_with: Option<String>,
    /// Why nothing can be done at it, where its settings say so themselves: an environment variable
    /// that they name holds nothing.
    pub unusable: Option<String>,
    /// The destination that its blobs go to, if it is not the first.
    pub destination: Option<String>,
    /// How its blobs are kept.
    pub placement: Placement,
    /// Metadata of its blobs, beside ours.
    pub metadata: Metadata,
    /// Folders in it that the program itself writes to; they are left out.
    pub own_folders: Vec<RemotePath>,
    /// Which files are expected of it, by when.
    pub expectations: Vec<Expectation>,
    /// Suffix of marker files: `X` is taken only when `X` + suffix is there.
    pub marker: Option<String>,
    /// Whether a blob of another writer at our name is taken over when its bytes are equal.
    pub adopt: bool,
    /// Folders in folders, at most.
    pub depth: usize,
    /// How stubborn to be with the server.
    pub policy: Policy,
    /// How long a refused credential that has not changed is not tried again by later runs; zero:
    /// each run tries it.
    pub retry_auth_after: Duration,
    /// When it is due, beside the ticks of the timer; `None`: at each.
    pub schedule: Option<Schedule>,
    /// The zone that its dates and times are meant in.
    pub time_zone: TimeZone,
    /// Which of the wanted files are taken, by time, size and rank.
    pub selection: FileSelection,
    /// Fewer wanted files in a listing are told.
    pub min_listed: u64,
    /// Its folders that have dates in their names; `patterns` matches them at any time.
    pub dates: Option<DateFolders>,
    /// Where `after` moves files, if that has dates.
    pub move_to: Option<DatePattern>,
    /// What should be known of its settings.
    pub notes: Vec<String>,
}

impl Source {
    /// The rule by which the newest file of a group takes the place of the one before under one
    /// name, if there is one.
    pub(crate) fn succession(&self) -> Option<Newest> {
        let is_one = |rule: &Newest| rule.files == 1 && self.versions == Versions::Overwrite;
        self.selection.newest.filter(is_one)
    }

    /// How many things it can be asked for at once.
    pub fn parallel(&self) -> usize {
        (self.connections * self.endpoint.transfers_per_connection()).max(1)
    }
}

impl Source {
    /// The cap over its pool of logins, and its priority there.
    pub(crate) fn within(&self) -> Option<(Arc<SharedCap>, u64)> {
        self.shared_cap.clone().map(|cap| (cap, self.priority))
    }
}

/// Which members of archives are wanted, by their names within.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemberGlobs {
    /// Those that are; `None` is all of them.
    pub include: Option<NameGlobs>,
    /// Those that are not, of these.
    pub exclude: Option<NameGlobs>,
}

impl MemberGlobs {
    /// What the settings of `source` say.
    pub fn of(source: &Source) -> Self {
        Self {
            include: source.include_members.clone(),
            exclude: source.unpacking.exclude_members.clone(),
        }
    }

    /// Whether a member called `name` is left out because somebody said so.
    pub(crate) fn excludes(&self, name: &str) -> bool {
        self.exclude.as_ref().is_some_and(|globs| globs.matches(name))
    }

    /// Whether a member called `name` is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|globs| globs.matches(name)) && !self.excludes(name)
    }
}

/// In which order files are brought over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOrder {
    /// The one that was modified first comes first; those without a time come last.
    Modified,
    /// By path, byte by byte.
    Name,
}

/// What happens to archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archives {
    /// Their members are stored.
    Unpack,
    /// They are stored as they are.
    Keep,
    /// Both.
    Both,
}

/// What happens when a file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// Each version gets a blob of its own.
    Keep,
    /// The blob is replaced.
    Overwrite,
}

/// What happens to a file at the source once it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Keep,
    /// It is deleted.
    Delete,
    /// It is moved below this folder, keeping its path below the root.
    Move(RemotePath),
}

/// How a file is deleted at the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeleteBy {
    /// It is described and deleted, back to back.
    #[default]
    Delete,
    /// It is renamed first, so that what is described is what is deleted.
    Rename,
}

/// What a run may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Files on their way to the store at once, of all sources, from the first byte to the commit.
    /// There are fewer at the beginning.
    pub transfers: usize,
    /// Files of one source that a run does something about; further ones wait for the next run.
    pub files: usize,
    /// Entries of one source's listing; it ends there.
    pub entries: u64,
    /// Bytes of file content in memory at once: a quarter for what decoders hold (seven eighths,
    /// where one alone needs so much), three sixteenths each for archives at rest and for blocks on
    /// their way, an eighth for members kept from their check.
    pub memory: u64,
    /// Bytes of archives in temporary files at once.
    pub temp: u64,
    /// Where temporary files go.
    pub temp_folder: PathBuf,
    /// Blocks of one blob on their way at once.
    pub blocks: usize,
    /// What one archive may unpack to.
    pub archive: ArchiveLimits,
    /// Files of one source that are remembered one by one though they were not taken; further ones
    /// are remembered by their folders.
    pub sightings: usize,
}

impl Limits {
    /// The limits when the settings do not say: 256 files, 256 MiB of memory, the smaller of 4 GiB
    /// and half of what is free for temporary files.
    pub fn default_with(temp_folder: PathBuf, free_bytes: u64) -> Self {
        let temp = (4 << 30).min(free_bytes / 2);
        Self {
            transfers: 256,
            files: 1_000_000,
            entries: 50_000_000,
            memory: 256 << 20,
            temp,
            temp_folder,
            blocks: 4,
            archive: ArchiveLimits::default(),
            sightings: 100_000,
        }
    }
}

/// Whether `globs` want the member.
pub(crate) fn is_wanted(globs: &MemberGlobs, member: &Member) -> bool {
    globs.wants(&member.full_name())
}
