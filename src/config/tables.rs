//! The tables of the configuration file that stand in it once.

use super::keys::{DESTINATION, DISPATCH, LIMITS, LOG, TELEMETRY};
use crate::settings::{Key, Kind};

/// The settings that stand before all tables.
pub const TOP: &[Key] = &[Key {
    name: "time_zone",
    kind: Kind::Text,
    doc: "IANA name of the time zone, as \"Europe/Berlin\", in which every source's `cron`, dates \
        and date folders are meant; sources may set their own. Default \"UTC\".",
}];

/// A table that may stand once in the file.
pub struct SettingsTable {
    /// Its name in brackets.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its settings.
    pub keys: &'static [Key],
}

/// Every such table: what the file may hold, the schema and the reference come from this list.
pub const TABLES: &[SettingsTable] = &[
    SettingsTable {
        name: "destination",
        about: "Where blobs go: an account with a container, or a folder.",
        keys: DESTINATION,
    },
    SettingsTable {
        name: "state",
        about: "Where our own state is, if not among the blobs. The same settings; without a way \
            to an account, that of the destination.",
        keys: DESTINATION,
    },
    SettingsTable { name: "limits", about: "What a run may use.", keys: LIMITS },
    SettingsTable {
        name: "dispatch",
        about: "How work under the Functions host is handed out.",
        keys: DISPATCH,
    },
    SettingsTable { name: "log", about: "What is logged, and where to.", keys: LOG },
    SettingsTable {
        name: "telemetry",
        about: "Who is told of runs beside the log: Application Insights, or whatever takes OTLP.",
        keys: TELEMETRY,
    },
];
