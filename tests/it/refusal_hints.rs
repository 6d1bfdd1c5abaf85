//! Each refusal of storage that the program has in its table, played as storage words it: what a
//! user reads of it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::e2e::bad_input::old_file;
use super::e2e::{Ferry, azure};
use super::kit::http::{Mischief, Proxy, Rule};
use super::kit::stage::runtime;
use super::servers::Azurite;

/// A code, its status, the class that a user is told of, and words of what to do about it. A code
/// that means a race is a refusal where a look shows that nobody was quicker.
const TOLD: &[(&str, u16, &str, &str)] = &[
    ("AccountBeingCreated", 409, "store_unavailable", "the account is being made"),
    ("AccountIsDisabled", 403, "store_auth", "enable the account"),
    ("AccountSizeLimitExceeded", 409, "store_rejected", "a limit of the service"),
    ("AppendPositionConditionNotMet", 412, "store_rejected", "its message says why"),
    ("AuthenticationFailed", 403, "store_auth", "copy the key or the SAS anew"),
    ("AuthorizationFailure", 403, "store_auth", "see whether the account's firewall"),
    ("AuthorizationPermissionMismatch", 403, "store_auth", "give the credential the right"),
    ("AuthorizationProtocolMismatch", 403, "store_auth", "`https://`"),
    ("AuthorizationResourceTypeMismatch", 403, "store_auth", "`srt=co`"),
    ("AuthorizationServiceMismatch", 403, "store_auth", "`ss=b`"),
    ("AuthorizationSourceIPMismatch", 403, "store_auth", "the address that storage sees"),
    ("BlobAccessTierNotSupportedForAccountType", 400, "store_rejected", "with LRS or GRS"),
    ("BlobAlreadyExists", 409, "store_rejected", "its message says why"),
    ("BlobArchived", 409, "store_rejected", "rehydrate it"),
    ("BlobBeingRehydrated", 409, "store_rejected", "takes hours"),
    ("BlobCustomerSpecifiedEncryptionMismatch", 409, "store_rejected", "another encryption"),
    ("BlobImmutableDueToLegalHold", 409, "store_rejected", "a legal hold"),
    ("BlobImmutableDueToPolicy", 409, "store_rejected", "an immutability policy"),
    ("BlobOperationNotSupported", 409, "store_rejected", "Data Lake API"),
    ("BlobTierInadequateForContentLength", 400, "store_rejected", "a limit of the service"),
    ("BlobUsesCustomerSpecifiedEncryption", 409, "store_rejected", "another encryption"),
    ("BlockCountExceedsLimit", 409, "store_rejected", "tries that broke off"),
    ("BlockListTooLong", 400, "store_rejected", "a limit of the service"),
    ("ConditionNotMet", 412, "store_rejected", "its message says why"),
    ("ContainerBeingDeleted", 409, "store_unavailable", "half a minute"),
    ("ContainerBeingDisabled", 409, "store_unavailable", "half a minute"),
    ("ContainerDisabled", 409, "store_container", "create the container"),
    ("ContainerNotFound", 404, "store_container", "create the container"),
    ("Crc64Mismatch", 400, "store_unavailable", "the next run takes up the rest"),
    ("DefaultEncryptionScopeOverrideDenied", 403, "store_rejected", "another encryption"),
    ("DirectoryIsNotEmpty", 409, "store_rejected", "hierarchical namespace"),
    ("DirectoryNotEmpty", 409, "store_rejected", "hierarchical namespace"),
    ("EgressLimitExceeded", 503, "store_unavailable", "a limit of the service"),
    ("EncryptionScopeDisabled", 409, "store_rejected", "another encryption"),
    ("EncryptionScopeNotFound", 404, "store_rejected", "another encryption"),
    ("FeatureNotSupported", 500, "store_rejected", "Azurite needs 3.37"),
    ("FeatureNotSupportedForAccount", 409, "store_rejected", "does not do this"),
    (
        "FeatureNotYetSupportedForHierarchicalNamespaceAccounts",
        409,
        "store_rejected",
        "without a hierarchical namespace",
    ),
    ("FeatureVersionMismatch", 409, "store_rejected", "does not do this"),
    ("IngressLimitExceeded", 503, "store_unavailable", "a limit of the service"),
    ("InsufficientAccountPermissions", 403, "store_auth", "enable the account"),
    ("InternalError", 500, "store_unavailable", "the next run takes up the rest"),
    ("InvalidAuthenticationInfo", 401, "store_auth", "the account's tenant"),
    ("InvalidAuthenticationInfo.Audience", 401, "store_auth", "the account's tenant"),
    ("InvalidBlobType", 409, "store_rejected", "its message says why"),
    ("InvalidBlockList", 400, "store_rejected", "its message says why"),
    ("InvalidHeaderValue", 400, "store_rejected", "`destination.api_version`"),
    ("InvalidResourceType", 409, "store_rejected", "hierarchical namespace"),
    ("KeyBasedAuthenticationNotPermitted", 403, "store_auth", "use an identity"),
    ("KeyVaultAccessTokenCannotBeAcquired", 403, "store_rejected", "enable the key"),
    ("KeyVaultEncryptionKeyNotFound", 403, "store_rejected", "enable the key"),
    ("KeyVaultKeyNotFound", 403, "store_rejected", "enable the key"),
    ("KeyVaultUnwrapFailure", 403, "store_rejected", "enable the key"),
    ("KeyVaultVaultNotFound", 403, "store_rejected", "enable the key"),
    ("LeaseAlreadyPresent", 409, "store_rejected", "holds a lease"),
    ("LeaseIdMismatchWithBlobOperation", 412, "store_unavailable", "holds a lease"),
    ("LeaseIdMissing", 412, "store_unavailable", "holds a lease"),
    ("LeaseLost", 412, "store_unavailable", "holds a lease"),
    ("Md5Mismatch", 400, "store_unavailable", "the next run takes up the rest"),
    ("NoAuthenticationInformation", 401, "store_auth", "NO_PROXY"),
    ("NotImplemented", 501, "store_rejected", "does not do this"),
    ("OperationTimedOut", 500, "store_unavailable", "did not answer in time"),
    ("PathAlreadyExists", 409, "store_rejected", "hierarchical namespace"),
    ("PathConflict", 409, "store_rejected", "hierarchical namespace"),
    ("PendingCopyOperation", 409, "store_unavailable", "the next run takes up the rest"),
    ("PublicAccessNotPermitted", 409, "store_rejected", "its message says why"),
    ("QueueBeingDeleted", 409, "store_unavailable", "deletes the queue"),
    ("RequestBodyTooLarge", 413, "store_rejected", "a limit of the service"),
    ("RequestEntityTooLargeBlockCountExceedsLimit", 409, "store_rejected", "tries that broke off"),
    ("RequestForbiddenByAccountEncryptionPolicy", 403, "store_rejected", "another encryption"),
    ("RequestForbiddenByContainerEncryptionPolicy", 403, "store_rejected", "another encryption"),
    ("ResourceTypeMismatch", 409, "store_rejected", "hierarchical namespace"),
    ("ServerBusy", 503, "store_unavailable", "fewer requests"),
    ("SnapshotsPresent", 409, "store_rejected", "its message says why"),
    ("TargetConditionNotMet", 412, "store_rejected", "its message says why"),
    ("TooManyRequests", 429, "store_unavailable", "fewer requests"),
    ("UnauthorizedBlobOverwrite", 403, "store_auth", "the right to overwrite"),
    ("UnsupportedHeader", 400, "store_rejected", "does not do this"),
];

/// Every write to a target that holds this text is refused with `code`.
fn refuses(holds: String, code: &str, status: u16) -> Rule {
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let head = format!("{status} No\r\nx-ms-error-code: {code}\r\nx-ms-request-id: r-1");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>Words of \
         {code}.\nRequestId:r-1\nTime:now</Message></Error>"
    );
    let mischief = Mischief::Answer(leak(head), leak(body));
    Rule { times: usize::MAX, method: "PUT", holds: leak(holds), mischief }
}

/// A source with a file for each of `rows`, behind a proxy that refuses as each of them says.
fn world(
    runtime: &tokio::runtime::Runtime,
    azurite: &Azurite,
    files: &[&str],
    rules: Vec<Rule>,
) -> (tempfile::TempDir, Proxy, Ferry) {
    let root = tempfile::tempdir().unwrap();
    files.iter().for_each(|name| old_file(&root.path().join(name), name.as_bytes()));
    let direct = azure(azurite, &Azurite::container("told"));
    let address = azurite.blob_address();
    let proxy = runtime.block_on(Proxy::start(address, rules));
    let through = direct.replace(&address.to_string(), &proxy.address.to_string());
    let source =
        format!("url = \"file://{}\"\nstable_for = \"0s\"\nattempts = 1\n", root.path().display());
    (root, proxy, Ferry::between(&source, &through))
}

/// What is wrong with what was told of `row`, `told` being its class, error and hint.
fn problem(row: &(&str, u16, &str, &str), told: Option<[&str; 3]>) -> Option<String> {
    let (code, _, class, words) = row;
    let Some([its_class, error, hint]) = told else { return Some(format!("{code}: not told")) };
    let whole = format!("{its_class}: {error} / {hint}");
    let right = its_class == *class
        && hint.contains(words)
        && error.contains(code)
        && error.contains("Words of");
    (!right).then(|| format!("{code}: {whole}"))
}

#[test]
fn every_refusal_of_the_table_is_played() {
    let known: BTreeSet<&str> = blobferry::store::azure::refusal_codes().into_iter().collect();
    let played: BTreeSet<&str> = TOLD.iter().map(|(code, ..)| *code).collect();
    assert_eq!(played, known);
}

#[test]
fn a_run_tells_of_each_refusal_its_class_its_words_and_what_to_do() {
    let Some(azurite) = Azurite::shared() else { return };
    // One after the other in so many runs side by side: a destination that refuses file after file
    // is given up.
    let problems: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|run| {
                scope.spawn(move || {
                    let rows: Vec<_> = TOLD.iter().skip(run).step_by(8).collect();
                    let files: Vec<&str> = rows.iter().map(|(code, ..)| *code).collect();
                    let rules = rows
                        .iter()
                        .map(|(code, status, ..)| refuses(format!("acme%2F{code}"), code, *status));
                    let runtime = runtime();
                    let (_root, _proxy, ferry) = world(&runtime, azurite, &files, rules.collect());
                    let done = ferry.run(&["run"]).code(1);
                    let lines: Vec<Value> = done
                        .err
                        .lines()
                        .filter_map(|line| serde_json::from_str(line).ok())
                        .collect();
                    rows.into_iter()
                        .filter_map(|row| {
                            let of_it = |line: &&Value| {
                                line["message"] == "A file did not arrive."
                                    && line["path"]
                                        .as_str()
                                        .is_some_and(|path| path.ends_with(&format!("/{}", row.0)))
                            };
                            let told = lines.iter().find(of_it).and_then(|line| {
                                Some([
                                    line["class"].as_str()?,
                                    line["error"].as_str()?,
                                    line["hint"].as_str()?,
                                ])
                            });
                            problem(row, told)
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        runs.into_iter().flat_map(|run| run.join().expect("no panic")).collect()
    });
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn check_tells_of_each_kind_of_refusal_what_to_do() {
    let Some(azurite) = Azurite::shared() else { return };
    // One code for each advice; `check` tells the same of all codes that share it.
    let mut advice = BTreeSet::new();
    let rows: Vec<_> = TOLD
        .iter()
        .filter(|(_, _, class, words)| {
            // A race at the probe is one, and a container that is missing is made.
            *words != "its message says why" && *class != "store_container" && advice.insert(*words)
        })
        .collect();
    let rows = &rows;
    let problems: Vec<String> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..4)
            .map(|part| {
                scope.spawn(move || {
                    let runtime = runtime();
                    let mut problems = Vec::new();
                    for (code, status, class, words) in rows.iter().skip(part).step_by(4) {
                        let rule = refuses("_check%2Fprobe".into(), code, *status);
                        let (_root, _proxy, ferry) = world(&runtime, azurite, &[], vec![rule]);
                        let done = ferry.run(&["check"]);
                        let told = done.code != 0
                            && [*words, *class, *code].iter().all(|text| done.out.contains(text));
                        if !told {
                            problems.push(format!("{code}: {}\n{}", done.code, done.out));
                        }
                    }
                    problems
                })
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("no panic")).collect()
    });
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
