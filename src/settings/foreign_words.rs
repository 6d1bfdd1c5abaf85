//! Words of other programs for settings that we have under another name.

/// What people write who come from rclone, lftp, WinSCP, Data Factory, Camel, Airflow, Singer:
/// words without case and separators, the setting that they mean, and how it is written here.
const WORDS: &[(&[&str], &str, &str)] = &[
    (
        &["overwrite", "overwriteexisting", "replace", "replaceexisting", "fileexist"],
        "versions",
        "`versions = \"overwrite\"`",
    ),
    (
        &[
            "schedule",
            "interval",
            "frequency",
            "timer",
            "trigger",
            "poll",
            "pollinterval",
            "period",
            "delay",
            "scheduleinterval",
        ],
        "every",
        "`every = \"15m\"` or `cron = \"30 6 * * 1-5\"`",
    ),
    (
        &["recursive", "recurse", "recursion", "subfolders", "subdirectories", "maxdepth"],
        "depth",
        "`depth` (folders are walked unless it is small) with `include = [\"**/*.csv\"]`, which \
            looks below folders",
    ),
    (
        &[
            "pattern",
            "patterns",
            "filepattern",
            "filepatterns",
            "filemask",
            "mask",
            "glob",
            "globs",
            "wildcard",
            "wildcardfilename",
            "wildcardfolderpath",
            "wildcardpath",
            "regex",
            "regexp",
            "searchpattern",
            "match",
            "filter",
            "filters",
            "files",
            "filename",
            "antinclude",
            "includes",
        ],
        "include",
        "`include = [\"**/*.csv\"]`: globs, relative to the URL's path",
    ),
    (
        &["ignore", "excludes", "excludepattern", "exclusions", "antexclude"],
        "exclude",
        "`exclude = [\"**/tmp/**\"]`: globs, relative to the URL's path",
    ),
    (
        &[
            "retries",
            "retry",
            "maxretries",
            "retrycount",
            "lowlevelretries",
            "tries",
            "maxattempts",
            "maximumreconnectattempts",
        ],
        "attempts",
        "`attempts`, the first one counted",
    ),
    (
        &[
            "rename",
            "prefix",
            "blobprefix",
            "blobname",
            "blobpath",
            "target",
            "targetpath",
            "targetfolder",
            "dest",
            "destpath",
            "destination",
            "destinationpath",
            "outputpath",
            "template",
            "pathtemplate",
            "copybehavior",
            "remotename",
        ],
        "layout",
        "`layout`",
    ),
    (
        &[
            "delete",
            "deleteafter",
            "deleteaftercopy",
            "deleteaftertransfer",
            "deletesource",
            "deletefilesaftercompletion",
            "removesourcefiles",
            "remove",
            "move",
            "moveto",
            "movefailed",
            "premove",
            "archivefolder",
            "postprocess",
            "noop",
        ],
        "after",
        "`after = \"delete\"` or `after = \"move:/done\"`; files are kept unless it is set",
    ),
    (
        &[
            "maxconcurrentconnections",
            "maxconnections",
            "concurrency",
            "parallel",
            "parallelism",
            "threads",
            "workers",
            "checkers",
            "transfers",
            "maxsessions",
        ],
        "connections",
        "`connections`, logins at once; `transfers` in `[limits]` is for all sources together",
    ),
    (
        &["maxfiles", "batchsize", "maxmessagesperpoll", "maxfilesperrun"],
        "connections",
        "`files` in `[limits]`",
    ),
    (&["username", "login", "userid", "ftpuser", "sftpuser"], "user", "`user`, or in the URL"),
    (&["passwd", "pass", "pwd", "secret", "ftppassword"], "password", "`password`"),
    (
        &[
            "keyfile",
            "identityfile",
            "sshkey",
            "sshkeyfile",
            "pkey",
            "privatekeypath",
            "privatekeyuri",
            "sftpkeyfile",
        ],
        "private_key_file",
        "`private_key_file`",
    ),
    (&["keyfilepass", "keypassphrase", "privatekeypassphrase"], "passphrase", "`passphrase`"),
    (
        &["hostkeyfingerprint", "sshhostkeyfingerprint", "sshhostkey", "fingerprint", "hostkeys"],
        "host_key",
        "`host_key`, which `blobferry check` shows",
    ),
    (
        &[
            "fingerprint",
            "tlsfingerprint",
            "certificatefingerprint",
            "tlshostcertificatefingerprint",
        ],
        "tls_pin",
        "`tls_pin`, which `blobferry check` shows",
    ),
    (&["knownhostsfile"], "known_hosts", "`known_hosts`"),
    (
        &[
            "host",
            "hostname",
            "server",
            "address",
            "port",
            "path",
            "remotepath",
            "remotedir",
            "directory",
            "dir",
            "folder",
            "folderpath",
            "directoryname",
            "protocol",
            "uri",
            "remote",
        ],
        "url",
        "a part of `url = \"sftp://user@host:22/folder\"`",
    ),
    (
        &["disabled", "disable", "active", "enable", "isenabled", "paused"],
        "enabled",
        "`enabled = false`",
    ),
    (
        &["minage", "settle", "settletime", "stabletime", "quiettime", "readlockminage"],
        "stable_for",
        "`stable_for`",
    ),
    (
        &["donefile", "donefilename", "triggerfile", "flagfile", "readyfile", "semaphorefile"],
        "marker",
        "`marker`, the suffix of marker files",
    ),
    (
        &["unzip", "unpack", "decompress", "extract", "compression", "compressiontype"],
        "archives",
        "`archives = \"unpack\"`, which is the default, or `archives = \"keep\"`",
    ),
    (&["zippassword", "archivekey"], "archive_password", "`archive_password`"),
    (
        &["timeout", "idletimeout", "sotimeout", "readtimeout", "requesttimeout"],
        "stall_timeout",
        "`stall_timeout`",
    ),
    (&["contimeout", "conntimeout", "connectiontimeout"], "connect_timeout", "`connect_timeout`"),
    (
        &[
            "ssl",
            "usetls",
            "usessl",
            "enablessl",
            "enabletls",
            "explicittls",
            "implicittls",
            "ftpsecure",
            "encryption",
        ],
        "tls",
        "`tls = \"explicit\"`, or the scheme `ftps://`",
    ),
    (&["sort", "sortby", "orderby"], "order", "`order = \"modified\"` or `order = \"name\"`"),
    (&["weight", "rank"], "priority", "`priority`"),
    (
        &["bucket", "blobcontainer", "containername", "filesystem", "share"],
        "container",
        "`container`",
    ),
    (&["storageaccount", "storageaccountname", "accountname"], "account", "`account`"),
    (
        &["key", "accountkey", "storageaccountkey", "accesskey", "storagekey"],
        "connection_string",
        "a part of `connection_string`",
    ),
    (&["sastoken", "sasurl", "sasuri"], "sas", "`sas`, beside `account`"),
    (&["url", "uri", "bloburl", "serviceurl", "serviceuri"], "endpoint", "`endpoint`"),
    (&["path", "directory", "dir", "folderpath", "local"], "folder", "`folder`"),
    (&["msi", "usemsi", "managedidentity", "auth", "authtype"], "identity", "`identity`"),
    (&["verbosity", "verbose", "loglevel"], "level", "`level`"),
    (&["file", "logfile", "path"], "monitor", "`monitor`"),
    (&["maxconcurrency", "threads", "concurrency", "parallel"], "transfers", "`transfers`"),
    (&["maxmemory", "buffer", "buffersize"], "memory", "`memory`"),
    (&["tempdir", "tmp", "tmpdir"], "temp_folder", "`temp_folder`"),
];

/// How the setting is written here that `name` most likely means, if a section with the settings
/// `known` has it.
pub(crate) fn meaning(name: &str, known: &[&str]) -> Option<&'static str> {
    let word: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let is_meant = |(words, key, _): &&(&[&str], &str, &str)| {
        words.contains(&word.as_str()) && known.contains(key)
    };
    WORDS.iter().find(is_meant).map(|(_, _, here)| *here)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &[&str] = &[
        "name",
        "url",
        "versions",
        "every",
        "cron",
        "depth",
        "include",
        "attempts",
        "layout",
        "after",
        "connections",
        "enabled",
    ];

    #[test]
    fn words_of_other_programs_are_answered_with_ours() {
        for (foreign, ours) in [
            ("overwrite", "`versions = \"overwrite\"`"),
            ("schedule", "cron"),
            ("recursive", "depth"),
            ("pattern", "include"),
            ("wildcardFileName", "include"),
            ("retries", "attempts"),
            ("low-level-retries", "attempts"),
            ("prefix", "layout"),
            ("rename", "layout"),
            ("deleteFilesAfterCompletion", "after"),
            ("disabled", "enabled"),
        ] {
            let told = meaning(foreign, SOURCE).unwrap_or_default();
            assert!(told.contains(ours), "{foreign}: {told}");
        }
    }

    #[test]
    fn what_a_section_does_not_have_is_not_named() {
        assert_eq!(meaning("overwrite", &["level", "format"]), None);
        assert_eq!(meaning("nonsense", SOURCE), None);
        assert_eq!(meaning("path", &["folder", "container"]), Some("`folder`"));
    }

    #[test]
    fn no_word_is_one_of_ours_where_it_is_foreign() {
        for (words, key, _) in WORDS {
            let own = key.replace('_', "");
            assert!(!words.contains(&own.as_str()), "{own} is near enough to itself");
        }
    }
}
