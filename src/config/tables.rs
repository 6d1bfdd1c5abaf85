//! The tables of the configuration file that stand in it once.

use super::keys::{DESTINATION, DISPATCH, KEYVAULT, LIMITS, LOG, TELEMETRY};
use crate::settings::{SettingKey, ValueKind};

/// The settings that stand before all tables.
pub(crate) const TOP: &[SettingKey] = &[SettingKey {
    name: "time_zone",
    kind: ValueKind::Text,
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
    pub keys: &'static [SettingKey],
}

/// What `include` at the top of the file is for.
pub(crate) const INCLUDE: &str = "Files with `[[source]]` tables, and nothing else, as \
    \"partners/*.toml\": paths and globs, relative to the main file.";
/// What `[defaults]` is for.
pub const DEFAULTS: &str = "Settings of sources, for all that do not set them: those of the tables \
    below but `name` and `url`. A source takes those that its protocol knows; what it says itself, \
    in its URL too, comes first.";
/// What `[[server]]` is for.
pub const SERVER: &str = "How many logins a server takes, whichever sources need them. Without \
    such a table, sources of the same host, port and user share the largest `connections` among \
    them.";

/// What `[destinations.NAME]` is for.
pub(crate) const DESTINATIONS: &str = "Other places for blobs, for the sources that name one by \
    `destination`. The same settings as `[destination]`; without a way to an account, that of \
    `[destination]`. State stays where it is, for all sources.";

/// Every such table: what the file may hold, the schema and the reference come from this list.
pub(crate) const TABLES: &[SettingsTable] = &[
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
    SettingsTable {
        name: "keyvault",
        about: "Who reads the secrets in key vaults that values name, as `password = { keyvault = \
            \"https://NAME.vault.azure.net/secrets/SECRET\" }`.",
        keys: KEYVAULT,
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
