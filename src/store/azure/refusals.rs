//! What each code of storage's refusals means: its kind, whether to try again, and what to do. One
//! table.
//!
//! Sources: "Common REST API error codes" and "Azure Blob Storage error codes" of the REST
//! reference; the codes of hierarchical namespaces from its Data Lake Storage part. A refusal by a
//! policy, a right or a limit is never a race: only the codes of kind [`StoreKind::Condition`] say
//! that another writer was quicker.

use crate::store::contract::StoreKind;

/// When the same request may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryRule {
    /// Once the caller has looked at what stands there now.
    AfterALook,
    /// Soon, unchanged: this run tries again.
    Soon,
    /// Later, unchanged: a later run tries again.
    Later,
    /// Not before somebody changes the account, the container, the credential or the request.
    Never,
}

/// A caller that is known and lacks the right for what it asks: a role, or a letter of its SAS.
pub(crate) const LACKS_RIGHT: &str = "AuthorizationPermissionMismatch";

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreRefusal {
    /// The code, as the service writes it.
    pub code: &'static str,
    /// Its kind.
    pub kind: StoreKind,
    /// When the same request may succeed.
    pub again: RetryRule,
    /// Whether a write that wants the name to be free learns from this that something stands there.
    pub says_taken: bool,
    /// What it means here, or what to look at; added to the service's own words.
    pub text: &'static str,
    /// What to do about it; empty: what its class says.
    pub hint: &'static str,
}

pub(super) const fn row(
    code: &'static str,
    kind: StoreKind,
    again: RetryRule,
    text: &'static str,
    hint: &'static str,
) -> StoreRefusal {
    StoreRefusal { code, kind, again, says_taken: false, text, hint }
}

/// A refusal that only what stands there already can meet.
const fn taken(
    code: &'static str,
    kind: StoreKind,
    again: RetryRule,
    text: &'static str,
    hint: &'static str,
) -> StoreRefusal {
    StoreRefusal { says_taken: true, ..row(code, kind, again, text, hint) }
}

const WORM: &str = "an immutability policy forbids to overwrite, append to and remove blobs here. \
                    blobferry's own state below `_blobferry/` cannot live in such a container: use \
                    one without a policy for it, or ask the container's owner";
const HOLD: &str = "a legal hold forbids to overwrite, append to and remove blobs here: use a \
                    container without one, or ask whoever set the hold to clear it";
const OVERWRITE: &str = "give the credential the right to overwrite: a SAS needs `w` beside `c`, \
    an identity the role Storage Blob Data Contributor";
const LEASED: &str = "somebody else holds a lease on this blob: wait for its end, or break it (`az \
    storage blob lease break`)";
const ARCHIVED: &str = "the blob is in the archive tier: rehydrate it to a tier that is online \
    (`az storage blob set-tier --tier Hot`), or move it away";
const SCOPE: &str = "the container or account wants another encryption (a scope or a customer's \
                     key) than this request has: give the container a default encryption scope \
                     that is enabled, and let clients leave it out";
const VAULT: &str = "the account's customer-managed key cannot be reached: enable the key and give \
    the account's identity its rights in the vault";
const DIRECTORY: &str = "this account has a hierarchical namespace, where a name is either a file \
                         or a directory: move away what stands in the way, or leave one of the two \
                         out at the source";
const UNSUPPORTED: &str = "this account or emulator does not do this: Azurite needs 3.37 or later \
                           (or `--loose`), premium page blob accounts hold no block or append \
                           blobs";
const DISABLED: &str =
    "enable the account: an unpaid or stopped subscription disables its accounts";
const BUSY: &str = "storage asks for fewer requests; the next run takes up the rest. If this \
    stays, lower `limits.transfers`, or use an account that others do not keep busy";
const DELETED: &str = "somebody deletes the container at this moment: it can be made again half a \
    minute after that, and its blobs are gone unless soft delete keeps them";
const QUEUE_DELETED: &str = "somebody deletes the queue at this moment: it can be made again about \
    half a minute after that";
const NO_TIER: &str = "the account does not have this tier: `archive` needs an account with LRS or \
    GRS (not ZRS, GZRS), and premium block blob accounts have no tiers: name another `tier`, or \
    use another account";
const BLOCKS: &str = "most likely blocks of tries that broke off: Azure keeps up to 100,000 of a \
    name and drops them a week after the last one; see why the file breaks off; a small blob \
    written under this name and removed again drops them at once";
const LIMIT: &str = "a limit of the service is reached: move blobs or load to another account, or \
    ask Azure to raise it";

/// The table. What stands in no row goes by its status: see [`of`].
pub(crate) const REFUSALS: &[StoreRefusal] = &{
    use RetryRule::{AfterALook, Later, Never, Soon};
    use StoreKind::{Condition, Corrupted, Denied, NoContainer, Rejected, Unavailable};
    [
        // A condition was judged.
        taken("BlobAlreadyExists", Condition, AfterALook, "", ""),
        row("ConditionNotMet", Condition, AfterALook, "", ""),
        row("TargetConditionNotMet", Condition, AfterALook, "", ""),
        row("AppendPositionConditionNotMet", Condition, AfterALook, "", ""),
        // The blob is there, as another type than the one that is written.
        taken("InvalidBlobType", Condition, AfterALook, "", ""),
        // Our blocks are gone because another writer committed under this name: the same commit can
        // never succeed.
        row("InvalidBlockList", Condition, AfterALook, "", ""),
        // Policies.
        taken(
            "BlobImmutableDueToPolicy",
            Rejected,
            Never,
            "the container or blob is immutable",
            WORM,
        ),
        taken(
            "BlobImmutableDueToLegalHold",
            Rejected,
            Never,
            "the container or blob is immutable",
            HOLD,
        ),
        taken("SnapshotsPresent", Rejected, Never, "", ""),
        row("PublicAccessNotPermitted", Rejected, Never, "", ""),
        // Rights.
        taken(
            "UnauthorizedBlobOverwrite",
            Denied,
            Never,
            "the credential may create blobs and not overwrite them",
            OVERWRITE,
        ),
        row(
            LACKS_RIGHT,
            Denied,
            Never,
            "check that the identity has the role Storage Blob Data Contributor, or that the SAS \
            has the permissions rwcadl",
            "give the credential the right that it lacks; a new role takes some minutes to count",
        ),
        row("AuthenticationFailed", Denied, Never, NOT_ACCEPTED, SIGN_ANEW),
        row("InvalidAuthenticationInfo", Denied, Never, WRONG_TOKEN, TOKEN),
        row("InvalidAuthenticationInfo.Audience", Denied, Never, WRONG_TOKEN, TOKEN),
        row(
            "NoAuthenticationInformation",
            Denied,
            Never,
            "no credential arrived: is a proxy in between that takes it away?",
            "look at what is between this machine and storage, and leave storage out of it with \
            NO_PROXY",
        ),
        row(
            "AuthorizationFailure",
            Denied,
            Never,
            "check the account's network rules (firewall, private endpoint), the SAS's services \
            and resource types (it needs `ss=b`, `srt=co`), the key",
            "see whether the account's firewall lets this machine's network through (its address, \
            its subnet or a private endpoint); if it does, see that the key or SAS is the \
            account's own, whole, and meant for blobs",
        ),
        row(
            "AuthorizationSourceIPMismatch",
            Denied,
            Never,
            "the SAS is for another IP address than this machine's",
            "make a SAS for the address that storage sees of this machine, or without one",
        ),
        row(
            "AuthorizationProtocolMismatch",
            Denied,
            Never,
            "the SAS is for https only",
            "begin the endpoint with `https://`",
        ),
        row(
            "AuthorizationServiceMismatch",
            Denied,
            Never,
            "check the SAS's services and resource types (it needs `ss=b`, `srt=co`)",
            "make a SAS with `ss=b` and `srt=co`",
        ),
        row(
            "AuthorizationResourceTypeMismatch",
            Denied,
            Never,
            "check the SAS's services and resource types (it needs `ss=b`, `srt=co`)",
            "make a SAS with `ss=b` and `srt=co`",
        ),
        row(
            "KeyBasedAuthenticationNotPermitted",
            Denied,
            Never,
            "the account does not allow keys",
            "use an identity: `account` in place of a connection string or a SAS that a key signed",
        ),
        row("AccountIsDisabled", Denied, Never, "the account is disabled", DISABLED),
        row(
            "InsufficientAccountPermissions",
            Denied,
            Never,
            "the account does not allow this",
            DISABLED,
        ),
        // Leases of others.
        row("LeaseIdMissing", Unavailable, Soon, "", LEASED),
        row("LeaseIdMismatchWithBlobOperation", Unavailable, Soon, "", LEASED),
        row("LeaseLost", Unavailable, Soon, "", LEASED),
        row("LeaseAlreadyPresent", Rejected, Later, "", LEASED),
        // Tiers.
        taken("BlobArchived", Rejected, Never, "", ARCHIVED),
        taken(
            "BlobBeingRehydrated",
            Rejected,
            Later,
            "",
            "the blob is on its way out of the archive tier, which takes hours; a later run tries \
            again",
        ),
        row("BlobTierInadequateForContentLength", Rejected, Never, "", LIMIT),
        row("BlobAccessTierNotSupportedForAccountType", Rejected, Never, "", NO_TIER),
        // Encryption.
        taken("BlobUsesCustomerSpecifiedEncryption", Rejected, Never, "", SCOPE),
        taken("BlobCustomerSpecifiedEncryptionMismatch", Rejected, Never, "", SCOPE),
        row("RequestForbiddenByContainerEncryptionPolicy", Rejected, Never, "", SCOPE),
        row("RequestForbiddenByAccountEncryptionPolicy", Rejected, Never, "", SCOPE),
        row("DefaultEncryptionScopeOverrideDenied", Rejected, Never, "", SCOPE),
        row("EncryptionScopeDisabled", Rejected, Never, "", SCOPE),
        row("EncryptionScopeNotFound", Rejected, Never, "", SCOPE),
        row("KeyVaultEncryptionKeyNotFound", Rejected, Never, "", VAULT),
        row("KeyVaultKeyNotFound", Rejected, Never, "", VAULT),
        row("KeyVaultAccessTokenCannotBeAcquired", Rejected, Never, "", VAULT),
        row("KeyVaultVaultNotFound", Rejected, Never, "", VAULT),
        row("KeyVaultUnwrapFailure", Rejected, Never, "", VAULT),
        // Limits that time or somebody has to lift.
        row("BlockCountExceedsLimit", Rejected, Never, "", BLOCKS),
        row("RequestEntityTooLargeBlockCountExceedsLimit", Rejected, Never, "", BLOCKS),
        row("BlockListTooLong", Rejected, Never, "", LIMIT),
        row("RequestBodyTooLarge", Rejected, Never, "", LIMIT),
        row("AccountSizeLimitExceeded", Rejected, Later, "", LIMIT),
        row("IngressLimitExceeded", Unavailable, Soon, "", LIMIT),
        row("EgressLimitExceeded", Unavailable, Soon, "", LIMIT),
        // Busy.
        row("ServerBusy", Unavailable, Soon, "", BUSY),
        row("TooManyRequests", Unavailable, Soon, "", BUSY),
        row("OperationTimedOut", Unavailable, Soon, "", ""),
        row("InternalError", Unavailable, Soon, "", ""),
        row(
            "AccountBeingCreated",
            Unavailable,
            Soon,
            "",
            "the account is being made: a later run will find it",
        ),
        row("PendingCopyOperation", Unavailable, Soon, "", ""),
        row("ContainerBeingDeleted", Unavailable, Soon, "", DELETED),
        row("ContainerBeingDisabled", Unavailable, Soon, "", DELETED),
        row("QueueBeingDeleted", Unavailable, Soon, "", QUEUE_DELETED),
        // The container.
        row("ContainerNotFound", NoContainer, Never, "", ""),
        row("ContainerDisabled", NoContainer, Never, "", ""),
        // On the way.
        row("Md5Mismatch", Corrupted, Soon, "", ""),
        row("Crc64Mismatch", Corrupted, Soon, "", ""),
        // Hierarchical namespaces.
        taken(
            "PathConflict",
            Rejected,
            Never,
            "a file stands where a directory is needed, or the other way round",
            DIRECTORY,
        ),
        taken("PathAlreadyExists", Rejected, Never, "", DIRECTORY),
        taken(
            "ResourceTypeMismatch",
            Rejected,
            Never,
            "a directory stands where a file is to be, or the other way round",
            DIRECTORY,
        ),
        taken("InvalidResourceType", Rejected, Never, "", DIRECTORY),
        taken("DirectoryIsNotEmpty", Rejected, Never, "", DIRECTORY),
        taken("DirectoryNotEmpty", Rejected, Never, "", DIRECTORY),
        taken(
            "BlobOperationNotSupported",
            Rejected,
            Never,
            "",
            "the blob was made by the Data Lake API, which does not mix with this: move it away",
        ),
        row(
            "FeatureNotYetSupportedForHierarchicalNamespaceAccounts",
            Rejected,
            Never,
            "",
            "this needs an account without a hierarchical namespace",
        ),
        // What the other end does not know.
        row("FeatureNotSupported", Rejected, Never, "", UNSUPPORTED),
        row("FeatureNotSupportedForAccount", Rejected, Never, "", UNSUPPORTED),
        row("FeatureVersionMismatch", Rejected, Never, "", UNSUPPORTED),
        row("UnsupportedHeader", Rejected, Never, "", UNSUPPORTED),
        row("NotImplemented", Rejected, Never, "", UNSUPPORTED),
        row(
            "InvalidHeaderValue",
            Rejected,
            Never,
            "",
            "if it is the version: start Azurite with `--skipApiVersionCheck`, or set \
            `destination.api_version` to one that the service knows",
        ),
    ]
};

/// The codes of the table.
#[cfg(feature = "testing")]
pub fn refusal_codes() -> Vec<&'static str> {
    REFUSALS.iter().map(|row| row.code).collect()
}

const TOKEN: &str = "see that the identity is of the account's tenant, and that \
    `AZURE_AUTHORITY_HOST` names the account's cloud";

const WRONG_TOKEN: &str = "the token is not for storage: it has run out, is of another tenant than \
    the account, or is for another audience than https://storage.azure.com";

const NOT_ACCEPTED: &str = "the key or signature is not accepted: it may be another account's, \
    cut short, run out, or of a key that was renewed since";

const SIGN_ANEW: &str = "copy the key or the SAS anew, whole; a renewed key ends the old one and \
    every SAS that it signed. See that this machine's clock is right";

/// What to do where the answer is not storage's own.
const BETWEEN: &str = "something between this machine and storage answers in its place, as a proxy \
    or a web filter: have storage's host let through, or leave storage out of the proxy with \
    NO_PROXY; see that the endpoint is storage's";

/// Said of a refusal of a credential that stands in no row.
const CHECK_CREDENTIAL: &str =
    "check the key, the SAS's expiry and signature, or the identity's role";

/// The row of `code`, in `own` before the table; of a code that stands in none, what its status
/// says.
pub fn of(own: &[StoreRefusal], status: u16, code: &str) -> StoreRefusal {
    if let Some(known) = own.iter().chain(REFUSALS).find(|row| row.code == code) {
        return *known;
    }
    let (kind, again) = match (code, status) {
        // Every answer of storage names a code. One that does not comes from something in between.
        ("", status) if !matches!(status, 401 | 403 | 409 | 412) => {
            (StoreKind::Unavailable, RetryRule::Soon)
        }
        (_, 401 | 403) => (StoreKind::Denied, RetryRule::Never),
        (_, 412) => (StoreKind::Condition, RetryRule::AfterALook),
        (_, 408 | 429 | 500 | 502 | 503 | 504) => (StoreKind::Unavailable, RetryRule::Soon),
        _ => (StoreKind::Rejected, RetryRule::Never),
    };
    match (code, status) {
        ("", ..500) => row("", kind, again, "", BETWEEN),
        _ if kind == StoreKind::Denied => row("", kind, again, CHECK_CREDENTIAL, ""),
        _ => row("", kind, again, "", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_when_to_try_again_say_the_same() {
        for refusal in REFUSALS {
            let by_kind = match refusal.kind {
                StoreKind::Condition => refusal.again == RetryRule::AfterALook,
                StoreKind::Unavailable | StoreKind::Corrupted => refusal.again == RetryRule::Soon,
                _ => matches!(refusal.again, RetryRule::Later | RetryRule::Never),
            };
            assert!(by_kind, "{refusal:?}");
            assert_eq!(
                REFUSALS.iter().filter(|other| other.code == refusal.code).count(),
                1,
                "{}",
                refusal.code
            );
            assert!(
                refusal.kind != StoreKind::Rejected
                    || refusal.again != RetryRule::Later
                    || !refusal.hint.is_empty(),
                "{}",
                refusal.code
            );
        }
    }

    #[test]
    fn codes_become_kinds() {
        for (status, code, kind) in [
            (409, "BlobAlreadyExists", StoreKind::Condition),
            (412, "ConditionNotMet", StoreKind::Condition),
            (403, "UnauthorizedBlobOverwrite", StoreKind::Denied),
            (409, "BlobImmutableDueToPolicy", StoreKind::Rejected),
            (400, "InvalidBlockList", StoreKind::Condition),
            (404, "ContainerNotFound", StoreKind::NoContainer),
            (409, "ContainerBeingDeleted", StoreKind::Unavailable),
            (401, "InvalidAuthenticationInfo", StoreKind::Denied),
            (403, "AuthorizationFailure", StoreKind::Denied),
            (403, "", StoreKind::Denied),
            (503, "ServerBusy", StoreKind::Unavailable),
            (429, "TooManyRequests", StoreKind::Unavailable),
            (302, "", StoreKind::Unavailable),
            (400, "Md5Mismatch", StoreKind::Corrupted),
            (400, "InvalidMetadata", StoreKind::Rejected),
        ] {
            assert_eq!(of(&[], status, code).kind, kind, "{status} {code}");
        }
    }

    #[test]
    fn a_policy_a_right_or_a_limit_is_no_race() {
        for code in [
            "BlobImmutableDueToPolicy",
            "BlobImmutableDueToLegalHold",
            "UnauthorizedBlobOverwrite",
            "BlobArchived",
            "PathConflict",
        ] {
            let refusal = of(&[], 409, code);
            assert!(refusal.kind != StoreKind::Condition && !refusal.hint.is_empty(), "{code}");
        }
    }

    #[test]
    fn a_tier_that_is_not_there_and_blocks_without_end_say_what_to_change() {
        let hint = |code| of(&[], 409, code).hint;
        assert!(hint("BlobAccessTierNotSupportedForAccountType").contains("another `tier`"));
        for code in ["BlockCountExceedsLimit", "RequestEntityTooLargeBlockCountExceedsLimit"] {
            assert!(hint(code).contains("tries that broke off"), "{code}");
        }
    }
}
