//! The closed set of ways in which work can fail, each with what to do about it.

use std::time::Duration;

/// The class of a failure: the same word in reports, logs and metrics.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "`hint` says of each what it means and what to do")]
pub enum Class {
    Config,
    Auth,
    HostKey,
    Tls,
    Dns,
    Connect,
    Busy,
    Stalled,
    Truncated,
    Permission,
    Protocol,
    ListingFailed,
    NotFound,
    SizeMismatch,
    Unreachable,
    Unverified,
    ShareError,
    ShareChanged,
    ShareEmpty,
    Moved,
    Late,
    TooFew,
    Name,
    ArchiveDamaged,
    ArchiveEncrypted,
    ArchiveUnsupported,
    StoreAuth,
    StoreConflict,
    StoreContainer,
    StoreUnavailable,
    StoreRejected,
    Ledger,
    LimitArchive,
    LimitTemp,
    LimitListing,
    AfterAction,
    Interrupted,
    Internal,
}

impl Class {
    /// Every class, for documentation and tests.
    pub const ALL: &[Class] = &[
        Class::Config,
        Class::Auth,
        Class::HostKey,
        Class::Tls,
        Class::Dns,
        Class::Connect,
        Class::Busy,
        Class::Stalled,
        Class::Truncated,
        Class::Permission,
        Class::Protocol,
        Class::ListingFailed,
        Class::NotFound,
        Class::SizeMismatch,
        Class::Unreachable,
        Class::Unverified,
        Class::ShareError,
        Class::ShareChanged,
        Class::ShareEmpty,
        Class::Moved,
        Class::Late,
        Class::TooFew,
        Class::Name,
        Class::ArchiveDamaged,
        Class::ArchiveEncrypted,
        Class::ArchiveUnsupported,
        Class::StoreAuth,
        Class::StoreConflict,
        Class::StoreContainer,
        Class::StoreUnavailable,
        Class::StoreRejected,
        Class::Ledger,
        Class::LimitArchive,
        Class::LimitTemp,
        Class::LimitListing,
        Class::AfterAction,
        Class::Interrupted,
        Class::Internal,
    ];

    /// The word that reports use, as `size_mismatch`.
    pub fn word(self) -> &'static str {
        match self {
            Class::Config => "config",
            Class::Auth => "auth",
            Class::HostKey => "host_key",
            Class::Tls => "tls",
            Class::Dns => "dns",
            Class::Connect => "connect",
            Class::Busy => "busy",
            Class::Stalled => "stalled",
            Class::Truncated => "truncated",
            Class::Permission => "permission",
            Class::Protocol => "protocol",
            Class::ListingFailed => "listing_failed",
            Class::NotFound => "not_found",
            Class::SizeMismatch => "size_mismatch",
            Class::Unreachable => "unreachable",
            Class::Unverified => "unverified",
            Class::ShareError => "share_error",
            Class::ShareChanged => "share_changed",
            Class::ShareEmpty => "share_empty",
            Class::Moved => "moved",
            Class::Late => "late",
            Class::TooFew => "too_few",
            Class::Name => "name",
            Class::ArchiveDamaged => "archive_damaged",
            Class::ArchiveEncrypted => "archive_encrypted",
            Class::ArchiveUnsupported => "archive_unsupported",
            Class::StoreAuth => "store_auth",
            Class::StoreConflict => "store_conflict",
            Class::StoreContainer => "store_container",
            Class::StoreUnavailable => "store_unavailable",
            Class::StoreRejected => "store_rejected",
            Class::Ledger => "ledger",
            Class::LimitArchive => "limit_archive",
            Class::LimitTemp => "limit_temp",
            Class::LimitListing => "limit_listing",
            Class::AfterAction => "after_action",
            Class::Interrupted => "interrupted",
            Class::Internal => "internal",
        }
    }

    /// What is wrong, in a sentence for people.
    pub fn what(self) -> &'static str {
        match self {
            Class::Config => "The settings of this source cannot be used.",
            Class::Auth => "The server refuses the login.",
            Class::HostKey => "The server shows a host key that the settings do not name.",
            Class::Tls => "The server's certificate is not trusted.",
            Class::Dns => "The name of the server is not known.",
            Class::Connect => "The server cannot be reached.",
            Class::Busy => "The server takes no more connections.",
            Class::Stalled => "The server stops sending in the midst of a file.",
            Class::Truncated => "The server ends files early.",
            Class::Permission => "The server does not let us read what it shows.",
            Class::Protocol => "The server answers in a way that nobody understands.",
            Class::ListingFailed => "A folder could not be listed in full.",
            Class::NotFound => "The server does not have what the settings name.",
            Class::SizeMismatch => "The server sends another size than it tells.",
            Class::Unreachable => "The server lists a name and does not know it.",
            Class::Unverified => "Whether files changed could not be told.",
            Class::ShareError => "The share does not read as a file system should.",
            Class::ShareChanged => "Another file system stands where the share was.",
            Class::ShareEmpty => "The share is empty, where it held files.",
            Class::Moved => "The settings name another place for blobs than earlier runs used.",
            Class::Late => "Files wait for longer than they may.",
            Class::TooFew => "Fewer files are listed than there must be.",
            Class::Name => "A file has not what the layout of names asks for.",
            Class::ArchiveDamaged => "An archive is damaged.",
            Class::ArchiveEncrypted => "An archive needs a password.",
            Class::ArchiveUnsupported => "An archive is of a kind that is not read.",
            Class::StoreAuth => "Storage refuses our identity.",
            Class::StoreConflict => "A blob of another writer stands where ours belongs.",
            Class::StoreContainer => "The container is not there.",
            Class::StoreUnavailable => "Storage did not answer in time.",
            Class::StoreRejected => "Storage refused what was asked of it.",
            Class::Ledger => "The record of what is here cannot be read or written.",
            Class::LimitArchive => "An archive unpacks to more than the limits allow.",
            Class::LimitTemp => "There is no room for an archive.",
            Class::LimitListing => "The source holds more than expected.",
            Class::AfterAction => "Files are here, and could not be removed at the source.",
            Class::Interrupted => "The work was stopped.",
            Class::Internal => "A defect of blobferry ended the work.",
        }
    }

    /// What to do next.
    pub fn hint(self) -> &'static str {
        match self {
            Class::Config => {
                "change the settings of this source as the message says; nothing was done for it"
            }
            Class::Auth => {
                "check user, password or key; it was tried once, so that the account is not locked \
                out"
            }
            Class::HostKey => {
                "compare the fingerprint with one that the server's owner tells you, then set \
                `host_key`"
            }
            Class::Tls => {
                "check the server's certificate; `tls_ca_file` names an authority of your own"
            }
            Class::Dns => "check the host name in `url` and this machine's name service",
            Class::Connect => "check host, port and firewall; is the server up?",
            Class::Busy => {
                "the server has no room for more connections now; lower `connections` if this stays"
            }
            Class::Stalled => {
                "the server stopped sending; if it is only slow, raise `stall_timeout` or lower \
                `minimum_rate`"
            }
            Class::Truncated => {
                "the server ended the file early; it is taken again by the next run"
            }
            Class::Permission => "give the user the right to read this file or folder",
            Class::Protocol => {
                "the server answered in a way that the protocol does not allow; tell its owner"
            }
            Class::ListingFailed => {
                "the folder could not be listed in full, so files below it may be missing"
            }
            Class::NotFound => "the server does not have it; check the path in `url` and `include`",
            Class::SizeMismatch => {
                "the server promised another size than it sent; it is taken again by the next run"
            }
            Class::Unreachable => {
                "listing and opening disagree about this name: have the file renamed, or the \
                server's character set corrected"
            }
            Class::Unverified => {
                "raise `recheck` so that it can be read and compared; or set `times = \"none\"` to \
                trust its size alone"
            }
            Class::ShareError => {
                "the share answers with an error: see its server, its mount and its disk"
            }
            Class::ShareChanged => {
                "mount the share where it was; if what is there now takes its place, set `share = \
                \"any\"` in the source for a run"
            }
            Class::ShareEmpty => {
                "see whether the share is mounted; if it is empty on purpose, set `share = \
                \"any\"` in the source for a run"
            }
            Class::Moved => {
                "set the destination back; or copy the blobs to the new place, as far as they \
                belong there, and run `blobferry ledger rebuild`: the ledger then knows what is \
                there, and the next run brings the rest again"
            }
            Class::TooFew => {
                "ask the sender for the files that are missing; if so few are right, lower \
                `min_listed`"
            }
            Class::Late => {
                "it waits for longer than `late_after`: ask its sender, leave it out with \
                `exclude`, or raise `late_after`"
            }
            Class::Name => {
                "have the file renamed, leave it out with `exclude`, or change `layout`, `capture` \
                or `member_layout`"
            }
            Class::ArchiveDamaged => {
                "the archive is damaged: have it sent again, or set `archives = \"keep\"`"
            }
            Class::ArchiveEncrypted => {
                "the archive needs a password: set `archive_passwords`, or `archives = \"keep\"` \
                to store it as it is"
            }
            Class::ArchiveUnsupported => {
                "this kind of archive is not read: set `archives = \"keep\"` to store it as it is"
            }
            Class::StoreAuth => {
                "check the storage credential, its rights and its expiry, and this machine's clock"
            }
            Class::StoreConflict => {
                "another writer owns this blob name; move that blob away or use another source name"
            }
            Class::StoreContainer => {
                "create the container, or allow it with `create_container = true`"
            }
            Class::StoreUnavailable => {
                "storage did not answer in time; the next run takes up the rest"
            }
            Class::StoreRejected => "storage refused the request; its message says why",
            Class::Ledger => {
                "the record of what was ingested could not be read or written; nothing was lost"
            }
            Class::LimitArchive => {
                "the archive takes more than the limits allow; raise the one that is named if you \
                trust the sender"
            }
            Class::LimitTemp => {
                "there is no room for this archive; raise `limits.temp` or free space"
            }
            Class::LimitListing => {
                "the source lists without end, or holds more than expected; narrow `include`, or \
                raise the limit that the message names"
            }
            Class::AfterAction => {
                "the file is stored, only its removal failed or could not be proven safe; a later \
                run tries that again"
            }
            Class::Interrupted => "the run was stopped; the next run takes up the rest",
            Class::Internal => "this is a defect of blobferry; please report it with this message",
        }
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// What every error of a room that touches the world can answer.
pub trait Failure: std::error::Error + Send + Sync + 'static {
    /// Its class.
    fn class(&self) -> Class;
    /// Whether the same call may succeed if it is simply made again.
    fn is_transient(&self) -> bool;
    /// What to do next: what its class says, unless more is known.
    fn hint(&self) -> &'static str {
        self.class().hint()
    }
    /// How long the other side asked us to wait, if it did.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_classes_is_the_enum() {
        // What serde refuses a word with names every variant, whatever a list of ours says.
        let error = serde_json::from_str::<Class>("\"?\"").expect_err("no class").to_string();
        let known: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        assert_eq!(
            known,
            Class::ALL.iter().map(|class| class.word()).collect::<Vec<_>>(),
            "{error}"
        );
    }

    #[test]
    fn a_class_is_the_same_word_in_json_and_text() {
        for class in Class::ALL {
            assert_eq!(serde_json::to_value(class).unwrap_or_default(), class.word());
            assert!(!class.hint().is_empty() && class.what().ends_with('.'), "{class}");
        }
    }
}
