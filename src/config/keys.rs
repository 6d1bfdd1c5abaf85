//! The settings that do not belong to one protocol, with what the schema says of them.

use crate::settings::{SettingKey, ValueKind};

pub(crate) use super::destination_keys::{DESTINATION, KEYVAULT};
pub(crate) use super::service_keys::{DISPATCH, LOG, TELEMETRY};

/// `[limits]`.
pub(crate) const LIMITS: &[SettingKey] = &[
    SettingKey {
        name: "transfers",
        kind: ValueKind::Integer { min: 1, max: 1024 },
        doc: "Files on their way to the store at once, over all sources, from the first byte to \
            the commit. A run begins with 64, and takes more while that brings more files a \
            second. Default 256.",
    },
    SettingKey {
        name: "files",
        kind: ValueKind::Integer { min: 1, max: 1_000_000_000 },
        doc: "Files of one source that a run does something about; further ones are deferred to \
            the next run, and the run is `interrupted`. Some 250 bytes of memory each. Default \
            1000000.",
    },
    SettingKey {
        name: "entries",
        kind: ValueKind::Integer { min: 1, max: 1_000_000_000_000 },
        doc: "Lines of one source's listing, whatever they say; it is ended there. Default \
            50000000.",
    },
    SettingKey {
        name: "memory",
        kind: ValueKind::Size,
        doc: "Bytes of file content held in memory at once; what waits to be listed may take three \
            eighths as much. Default \"256 MiB\", at least \"32 MiB\".",
    },
    SettingKey {
        name: "temp",
        kind: ValueKind::Size,
        doc: "Bytes of archives in temporary files at once. Default: the smaller of \"4 GiB\" and \
            half of what is free.",
    },
    SettingKey {
        name: "temp_folder",
        kind: ValueKind::Text,
        doc: "Where temporary files go. Default: the system's folder.",
    },
    SettingKey {
        name: "blocks",
        kind: ValueKind::Integer { min: 1, max: 64 },
        doc: "Blocks of one blob on their way at once. Default 4.",
    },
    SettingKey {
        name: "archive_bytes",
        kind: ValueKind::Size,
        doc: "What one archive may unpack to. Default \"64 GiB\".",
    },
    SettingKey {
        name: "archive_ratio",
        kind: ValueKind::Integer { min: 1, max: 1_000_000 },
        doc: "Unpacked bytes per packed byte of an archive, looked at beyond 1 GiB. Default 2000.",
    },
    SettingKey {
        name: "archive_time",
        kind: ValueKind::Duration,
        doc: "How long reading one archive may take. Default \"1h\".",
    },
    SettingKey {
        name: "archive_members",
        kind: ValueKind::Integer { min: 1, max: 100_000_000 },
        doc: "Members of one archive. Default 1000000.",
    },
    SettingKey {
        name: "late_after",
        kind: ValueKind::Duration,
        doc: "How long a file may be young, changing or unreachable, or a source be left to one \
            other run, before the run is degraded; sources may set their own. Default \"24h\".",
    },
];

/// `[[source]]`, whatever its protocol.
pub(crate) const SOURCE: &[SettingKey] = &[
    SettingKey {
        name: "name",
        kind: ValueKind::Text,
        doc: "Name of the source: letters, digits, `.`, `_` and `-`. First segment of its blobs.",
    },
    SettingKey {
        name: "url",
        kind: ValueKind::Text,
        doc: "`scheme://[user[:password]@]host[:port]/folder`; special characters percent-encoded.",
    },
    SettingKey {
        name: "include",
        kind: ValueKind::List,
        doc: "Globs or exact paths below the URL's path. Default: everything.",
    },
    SettingKey { name: "exclude", kind: ValueKind::List, doc: "Globs of what is left alone." },
    SettingKey {
        name: "days_back",
        kind: ValueKind::Integer { min: 0, max: 366 },
        doc: "Days before today in `time_zone` whose folders are looked at, where `url` or \
            `include` has dates, as {yyyy-MM-dd}. Default 1: yesterday and today.",
    },
    SettingKey {
        name: "catch_up",
        kind: ValueKind::Duration,
        doc: "How far back folders of days are looked at that earlier runs missed or left undone. \
            Default \"31d\", at most \"366d\".",
    },
    SettingKey {
        name: "modified_after",
        kind: ValueKind::Text,
        doc: "Files that are older are skipped (`too_old`): a day in `time_zone`, as \
            \"2026-01-31\", or a time as \"2026-01-31T18:00:00+01:00\".",
    },
    SettingKey {
        name: "modified_before",
        kind: ValueKind::Text,
        doc: "Files from that day or time on are skipped (`too_new`).",
    },
    SettingKey {
        name: "max_age",
        kind: ValueKind::Duration,
        doc: "Files that are older are skipped (`too_old`), unless an earlier run should have \
            taken them.",
    },
    SettingKey {
        name: "min_size",
        kind: ValueKind::Size,
        doc: "Smaller files are skipped (`too_small`).",
    },
    SettingKey {
        name: "max_size",
        kind: ValueKind::Size,
        doc: "Larger files are skipped (`too_large`).",
    },
    SettingKey {
        name: "newest",
        kind: ValueKind::Integer { min: 1, max: 1_000_000 },
        doc: "So many files are taken of each folder, the newest; the others are skipped \
            (`not_newest`), unless an earlier run left them undone. Default: all.",
    },
    SettingKey {
        name: "newest_by",
        kind: ValueKind::OneOf(&["modified", "name"]),
        doc: "What makes a file newer: its modified time, or the last name by bytes. Default \
            `modified`.",
    },
    SettingKey {
        name: "newest_per",
        kind: ValueKind::OneOf(&["folder", "pattern"]),
        doc: "Which files `newest` compares: those of one folder, or those that one `include` \
            pattern matches. Default `folder`.",
    },
    SettingKey {
        name: "min_listed",
        kind: ValueKind::Integer { min: 1, max: 1_000_000_000 },
        doc: "The run is degraded (`too_few`) if fewer files that `include` and `exclude` want are \
            listed. Default: any number will do.",
    },
    SettingKey {
        name: "in_progress",
        kind: ValueKind::List,
        doc: "Globs of names that are still being written. Default: `**/*.part`, `**/*.partial`, \
            `**/*.filepart`, `**/*.tmp`, `**/*.crdownload`; more for `file://` sources.",
    },
    SettingKey {
        name: "connections",
        kind: ValueKind::Integer { min: 1, max: 64 },
        doc: "Cap on logins at once. Default: 2 for SFTP, 4 for FTP, 8 for `file://`.",
    },
    SettingKey {
        name: "enabled",
        kind: ValueKind::Flag,
        doc: "Whether runs do anything about it; what is known of it stays. Default true.",
    },
    SettingKey {
        name: "priority",
        kind: ValueKind::Integer { min: 0, max: 100 },
        doc: "Which of several sources comes first: that with the higher number. Default 50.",
    },
    SettingKey {
        name: "order",
        kind: ValueKind::OneOf(&["modified", "name"]),
        doc: "In which order its files are brought over: the oldest first, or by path. Default: as \
            they are listed.",
    },
    SettingKey {
        name: "attempts",
        kind: ValueKind::Integer { min: 1, max: 100 },
        doc: "Tries for what may succeed when tried again. Default 5.",
    },
    SettingKey {
        name: "retry_auth_after",
        kind: ValueKind::Duration,
        doc: "How long a refused credential that has not changed is left alone by later runs, so \
            that no account is locked. Default \"6h\"; \"0s\" tries it in each run.",
    },
    SettingKey {
        name: "every",
        kind: ValueKind::Duration,
        doc: "How often a tick of the timer begins a run over this source: once in each span of \
            this length, as \"15m\" (on the quarters of an hour, UTC). Default: at each tick.",
    },
    SettingKey {
        name: "cron",
        kind: ValueKind::Text,
        doc: "Instead of `every`: when it is due, as a cron expression of five fields in \
            `time_zone`, as \"30 6 * * 1-5\". The first tick from then on begins the run.",
    },
    SettingKey {
        name: "time_zone",
        kind: ValueKind::Text,
        doc: "IANA name of the time zone, as \"Europe/Berlin\", in which `cron`, dates and date \
            folders are meant. Default: `time_zone` at the top of the file, else \"UTC\".",
    },
    SettingKey {
        name: "depth",
        kind: ValueKind::Integer { min: 1, max: 1000 },
        doc: "Folders in folders that are walked. Default 64.",
    },
    SettingKey {
        name: "stable_for",
        kind: ValueKind::Duration,
        doc: "How long a file must rest before it is taken. Default \"60s\".",
    },
    SettingKey {
        name: "late_after",
        kind: ValueKind::Duration,
        doc: "How long a file may be young, changing or unreachable, or a source be left to one \
            other run, before the run is degraded. Where it is set here, files that wait for their \
            marker are late, too, by their own time. Default: that of `[limits]`.",
    },
    SettingKey {
        name: "marker",
        kind: ValueKind::Text,
        doc: "Suffix of marker files: `X` is taken only when `X` with this suffix is there. Of an \
            `X` that is newer than its marker that says nothing: `stable_for` decides.",
    },
    SettingKey {
        name: "archives",
        kind: ValueKind::OneOf(&["unpack", "keep", "both"]),
        doc: "What happens to archives. Default `unpack`.",
    },
    SettingKey {
        name: "archive_time_zone",
        kind: ValueKind::Text,
        doc: "Offset from UTC of times in archives that name no zone, as `+02:00`. Default `UTC`.",
    },
    SettingKey {
        name: "archive_depth",
        kind: ValueKind::Integer { min: 1, max: 100 },
        doc: "Archives in archives that are opened, the outermost counted. Default 3.",
    },
    SettingKey {
        name: "include_members",
        kind: ValueKind::List,
        doc: "Globs of names within archives: only these members are stored. Default: all of them.",
    },
    SettingKey {
        name: "exclude_members",
        kind: ValueKind::List,
        doc: "Globs of names within archives: these members are not stored, and do not keep a file \
            at its source. `preset:macos` stands for `__MACOSX` folders and `.DS_Store`, \
            `preset:windows` for `Thumbs.db`.",
    },
    SettingKey {
        name: "on_unknown_archive",
        kind: ValueKind::OneOf(&["keep", "fail"]),
        doc: "What becomes of archives of kinds that are not read (rar, cab, .Z, .lzma, .lz, arj, \
            parts of split archives, self-extractors): stored as they are and told as \
            `not_unpacked`, or failed. Default `keep`.",
    },
    SettingKey {
        name: "inner_errors",
        kind: ValueKind::OneOf(&["degrade", "keep", "fail"]),
        doc: "What becomes of an archive in an archive that cannot be unpacked: stored as the \
            member that it is, in a run that is degraded once if it is damaged or encrypted; the \
            same in a run that is not; or all of the archive fails. Default `degrade`.",
    },
    SettingKey {
        name: "limits.archive_bytes",
        kind: ValueKind::Size,
        doc: "`archive_bytes` for this source alone, in `[source.limits]`.",
    },
    SettingKey {
        name: "limits.archive_ratio",
        kind: ValueKind::Integer { min: 1, max: 1_000_000 },
        doc: "`archive_ratio` for this source alone, in `[source.limits]`.",
    },
    SettingKey {
        name: "limits.archive_time",
        kind: ValueKind::Duration,
        doc: "`archive_time` for this source alone, in `[source.limits]`.",
    },
    SettingKey {
        name: "limits.archive_members",
        kind: ValueKind::Integer { min: 1, max: 100_000_000 },
        doc: "`archive_members` for this source alone, in `[source.limits]`.",
    },
    SettingKey {
        name: "incremental_members",
        kind: ValueKind::Flag,
        doc: "Whether members of a new version of a zip that equal the recorded ones by CRC-32, \
            size and time are not fetched again. Default false.",
    },
    SettingKey {
        name: "quarantine",
        kind: ValueKind::Flag,
        doc: "Whether the originals of archives that cannot be unpacked are kept below \
            `_blobferry/` and not fetched again. Default false.",
    },
    SettingKey {
        name: "archive_password",
        kind: ValueKind::Secret,
        doc: "Password of encrypted archives.",
    },
    SettingKey {
        name: "archive_passwords",
        kind: ValueKind::Secrets,
        doc: "Passwords to try on encrypted archives, in order. \
            `{ files = \"in/*.zip\", password = \"…\" }` among them is for the files that match, \
            and comes first.",
    },
    SettingKey {
        name: "archive_names",
        kind: ValueKind::Text,
        doc: "Character set of names in archives that do not tell theirs: `auto`, `cp437` or one \
            as `shift_jis`, `gbk`, `windows-1252`. Default `auto`.",
    },
    SettingKey {
        name: "unpack_documents",
        kind: ValueKind::Flag,
        doc: "Whether docx, xlsx, jar, epub and their like are unpacked too. Default false.",
    },
    SettingKey {
        name: "layout",
        kind: ValueKind::Text,
        doc: "How blobs are named: `path` is `{source}/{path}`, `by-type` is \
            `{host}_{port}/{type}/{name}`, else a template as \
            \"landing/{source}/dt={yyyy-MM-dd}/{path}\" of `{source}`, `{path}`, `{folder}`, \
            `{file}`, `{stem}`, `{ext}`, dates of the modified time, groups of `capture`. Default \
            `path`.",
    },
    SettingKey {
        name: "capture",
        kind: ValueKind::Text,
        doc: "Regular expression, searched in the path below the URL's; `layout` names its groups: \
            `(?<date>\\d{8})` is `{date}`, or `{date:yyyy/MM}`.",
    },
    SettingKey {
        name: "member_layout",
        kind: ValueKind::Text,
        doc: "How members of archives are named from the folder of the archive's own blob on, as \
            \"{stem}/{member}\": of `{member}`, `{member_file}`, `{stem}` and `{file}` of the \
            archive, dates of the member. Default `{file}!/{member}`.",
    },
    SettingKey {
        name: "destination",
        kind: ValueKind::Text,
        doc: "Which `[destinations.NAME]` its blobs go to. Default: `[destination]`.",
    },
    SettingKey {
        name: "container",
        kind: ValueKind::Text,
        doc: "Container of the account of `[destination]` that its blobs go to, where that is all \
            that differs.",
    },
    SettingKey {
        name: "tier",
        kind: ValueKind::OneOf(&["hot", "cool", "cold", "archive"]),
        doc: "Access tier of its blobs. Default: the account's. Blobs in `archive` cannot be read \
            before they are rehydrated, by `audit --download` neither. `archive` needs an account \
            with LRS or GRS: the template's default, ZRS, has none.",
    },
    SettingKey {
        name: "tags",
        kind: ValueKind::Pairs,
        doc: "Index tags of its blobs, at most 10, as `{ owner = \"finance\" }`. They need a right \
            of their own: `t` of a SAS, or the role Storage Blob Data Owner; accounts with a \
            hierarchical namespace have none.",
    },
    SettingKey {
        name: "metadata",
        kind: ValueKind::Pairs,
        doc: "Metadata of its blobs beside ours, at most 1 KiB, as `{ feed = \"sales\" }`.",
    },
    SettingKey {
        name: "versions",
        kind: ValueKind::OneOf(&["keep", "overwrite"]),
        doc: "Whether a changed file gets a new blob or replaces the old one. Default `keep`.",
    },
    SettingKey {
        name: "after",
        kind: ValueKind::Text,
        doc: "What happens at the source once a file is stored: `keep`, `delete` or \
            `move:/folder`. Default `keep`.",
    },
    SettingKey {
        name: "delete_by",
        kind: ValueKind::OneOf(&["delete", "rename"]),
        doc: "How `after = \"delete\"` deletes: described and deleted back to back, or renamed \
            first, so that no new file of that name can be hit; one that has to be read again is \
            read under its new name. A rename may start a partner's workflow. Default `delete`.",
    },
    SettingKey {
        name: "recheck",
        kind: ValueKind::Text,
        doc: "Bytes that a run may read only to compare them, where neither size nor time tells \
            whether a file changed; `off`: none. Default \"1 GiB\".",
    },
    SettingKey {
        name: "times",
        kind: ValueKind::OneOf(&["trust", "none"]),
        doc: "Whether the source's times tell of changes. `none`: an equal size is enough; reports \
            count the files that were taken for unchanged so. Default `trust`.",
    },
    SettingKey {
        name: "adopt",
        kind: ValueKind::Flag,
        doc: "Whether a foreign blob at our name is taken over when its bytes are equal. Default \
            false.",
    },
];
