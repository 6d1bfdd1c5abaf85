//! `[limits]`, `[dispatch]` and `[log]`: what a run may use, who does the work, what is logged.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::archive::limits::ArchiveLimits;
use crate::config::outside::Environment;
use crate::jobs::cutting::Sizes;
use crate::settings::{Section, SettingError};
use crate::store::azure::illegal_queue;
use crate::transfer::settings::Limits;

/// `[limits]`; what is not set depends on the machine.
#[derive(Clone, Debug, Default)]
pub struct LimitSettings {
    transfers: Option<u64>,
    files: Option<u64>,
    entries: Option<u64>,
    memory: Option<u64>,
    temp: Option<u64>,
    temp_folder: Option<PathBuf>,
    blocks: Option<u64>,
    archive: Option<ArchiveLimits>,
    /// From when on a file that is left for later is late.
    pub(super) late_after: Option<Duration>,
}

/// The environment variable that names the queue of work, for the host and for us.
pub(crate) const QUEUE: &str = "INGEST_QUEUE";

impl LimitSettings {
    /// Where temporary files go.
    pub(crate) fn temp_folder(&self) -> PathBuf {
        self.temp_folder.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// The limits on a machine with `free_bytes` in its folder for temporary files.
    pub fn limits(&self, free_bytes: u64) -> Limits {
        let count = |set: Option<u64>, default: usize| {
            set.map_or(default, |n| usize::try_from(n).unwrap_or(usize::MAX))
        };
        let default = Limits::default_with(self.temp_folder(), free_bytes);
        Limits {
            transfers: count(self.transfers, default.transfers),
            files: count(self.files, default.files),
            entries: self.entries.unwrap_or(default.entries),
            memory: self.memory.unwrap_or(default.memory),
            temp: self.temp.unwrap_or(default.temp),
            blocks: count(self.blocks, default.blocks),
            archive: self.archive.clone().unwrap_or(default.archive),
            temp_folder: default.temp_folder,
            sightings: default.sightings,
        }
    }
}

/// `[dispatch]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchSettings {
    /// Whether work goes through the queue; `None`: in Azure.
    pub by_queue: Option<bool>,
    /// The queue's name.
    pub queue: String,
    /// The app setting that tells where it is.
    pub connection: String,
    /// How large pieces are.
    pub sizes: Sizes,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The least important level that is logged.
    pub level: &'static str,
    /// Whether lines are JSON objects; `None`: on the console unless somebody watches, not in
    /// files.
    pub json: Option<bool>,
    /// Whether log files are written; `None`: wherever the file system is ours.
    pub files: Option<bool>,
    /// The file for everything.
    pub monitor: PathBuf,
    /// The file for errors and warnings.
    pub errors: PathBuf,
    /// `daily`, `hourly` or `never`.
    pub rotation: &'static str,
    /// Rotated files to keep.
    pub keep: usize,
}

pub(super) fn limits(section: &Section, folder: &Path) -> Result<LimitSettings, SettingError> {
    let default = ArchiveLimits::default();
    let bytes = section.size("archive_bytes")?.unwrap_or(default.total_bytes);
    let memory = section.size("memory")?;
    if memory.is_some_and(|memory| memory < 32 << 20) {
        return Err(section.error("memory", "is too little; allowed is \"32 MiB\" and more"));
    }
    Ok(LimitSettings {
        transfers: section.integer("transfers")?,
        files: section.integer("files")?,
        entries: section.integer("entries")?,
        memory,
        temp: section.size("temp")?,
        temp_folder: section.text("temp_folder")?.map(|path| folder.join(path)),
        blocks: section.integer("blocks")?,
        late_after: section.duration("late_after")?,
        archive: Some(ArchiveLimits {
            total_bytes: bytes,
            member_bytes: bytes,
            ratio: section.integer("archive_ratio")?.unwrap_or(default.ratio),
            members: section.integer("archive_members")?.unwrap_or(default.members),
            time: section.duration("archive_time")?.unwrap_or(default.time),
        }),
    })
}

pub(super) fn dispatch(
    section: &Section,
    environment: &Environment,
) -> Result<DispatchSettings, SettingError> {
    let queue = section
        .text("queue")?
        .or_else(|| environment.get(QUEUE).filter(|name| !name.is_empty()).cloned());
    let queue = queue.unwrap_or_else(|| "blobferry-work".into());
    if let Some(allowed) = illegal_queue(&queue) {
        return Err(section.error(
            "queue",
            format!("is \"{}\"; {allowed}", crate::model::printable(queue.as_bytes())),
        ));
    }
    let default = Sizes::default();
    Ok(DispatchSettings {
        by_queue: section.one_of("mode")?.map(|mode| mode == "queue"),
        queue,
        connection: section.text("connection")?.unwrap_or_else(|| "AzureWebJobsStorage".into()),
        sizes: Sizes {
            files: section
                .integer("piece_files")?
                .map_or(default.files, |files| usize::try_from(files).unwrap_or(usize::MAX)),
            bytes: section.size("piece_bytes")?.unwrap_or(default.bytes).max(1),
        },
    })
}

pub(super) fn log(section: &Section, folder: &Path) -> Result<LogSettings, SettingError> {
    Ok(LogSettings {
        level: section.one_of("level")?.unwrap_or("info"),
        json: section.one_of("format")?.map(|format| format == "json"),
        files: if section.has("files") { Some(section.flag("files", true)?) } else { None },
        monitor: folder.join(section.text("monitor")?.unwrap_or_else(|| "log/monitor.log".into())),
        errors: folder.join(section.text("errors")?.unwrap_or_else(|| "log/error.log".into())),
        rotation: section.one_of("rotation")?.unwrap_or("daily"),
        keep: usize::try_from(section.integer("keep")?.unwrap_or(14)).unwrap_or(14),
    })
}
