//! Storage that refuses for good reasons of its own: policies, rights, namespaces. Nobody goes
//! round in circles, and the reason that is told is the true one.

use super::e2e::bad_input::old_file;
use super::e2e::{Ferry, azure};
use super::kit::http::{Mischief, Proxy, Rule};
use super::kit::stage::runtime;
use super::servers::Azurite;

const IMMUTABLE: &str = "409 Conflict\r\nx-ms-error-code: BlobImmutableDueToPolicy";
const IMMUTABLE_BODY: &str = "<Error><Code>BlobImmutableDueToPolicy</Code><Message>This operation \
    is not permitted as the blob is immutable due to a policy.</Message></Error>";
const NO_OVERWRITE: &str = "403 Forbidden\r\nx-ms-error-code: UnauthorizedBlobOverwrite";
const MANY: usize = 100_000;

/// Every request of this method whose target holds this text.
fn every(
    method: &'static str,
    holds: &'static str,
    head: &'static str,
    body: &'static str,
) -> Rule {
    Rule { times: MANY, method, holds, mischief: Mischief::Answer(head, body) }
}

/// A source with these files, a container of its own behind a proxy with these rules.
struct World {
    runtime: tokio::runtime::Runtime,
    proxy: Proxy,
    direct: String,
    root: tempfile::TempDir,
    ferry: Ferry,
}

impl World {
    fn new(rules: Vec<Rule>, files: &[&str]) -> Option<Self> {
        let azurite = Azurite::shared()?;
        let root = tempfile::tempdir().unwrap();
        files.iter().for_each(|name| old_file(&root.path().join(name), name.as_bytes()));
        let direct = azure(azurite, &Azurite::container("refused"));
        let address = azurite.blob_address();
        let runtime = runtime();
        let proxy = runtime.block_on(Proxy::start(address, rules));
        let through = direct.replace(&address.to_string(), &proxy.address.to_string());
        let source = format!("url = \"file://{}\"\nstable_for = \"0s\"\n", root.path().display());
        let ferry = Ferry::between(&source, &through);
        Some(Self { runtime, proxy, direct, root, ferry })
    }

    /// The same source and container, without a proxy.
    fn directly(&self) -> Ferry {
        Ferry::between(
            &format!("url = \"file://{}\"\nstable_for = \"0s\"\n", self.root.path().display()),
            &self.direct,
        )
    }

    fn asked(&self, holds: &str) -> usize {
        let _guard = self.runtime.enter();
        self.proxy.requests().iter().filter(|line| line.contains(holds)).count()
    }
}

/// As a container with a retention policy and no protected appends refuses: what is there stays as
/// it is.
fn immutable() -> Vec<Rule> {
    vec![
        every("PUT", "comp=appendblock", IMMUTABLE, IMMUTABLE_BODY),
        every("DELETE", "", IMMUTABLE, IMMUTABLE_BODY),
    ]
}

#[test]
fn a_container_under_a_retention_policy_is_told_by_check_and_by_a_run_that_ends() {
    let Some(world) = World::new(immutable(), &["a.txt", "b.txt", "c.txt"]) else { return };
    let done =
        world.ferry.run(&["run"]).code(1).says(&["immutable", "an immutability policy forbids"]);
    assert!(
        !done.out.contains("another writer") && !done.out.contains("always quicker"),
        "{}",
        done.out
    );
    assert!(world.asked("") < 100, "{} requests", world.asked(""));
    let check = world.ferry.run(&["check"]).code(3).says(&[
        "FAIL  append: [store_rejected]",
        "immutable",
        "this is needed for the ledger's journals",
    ]);
    assert!(!check.out.contains("all is well"), "{}", check.out);
}

#[test]
fn a_policy_that_the_container_tells_of_is_told_before_anything_is_tried() {
    let told = "200 OK\r\netag: \"0x1\"\r\nlast-modified: Sun, 29 Nov 2026 08:00:00 \
        GMT\r\nx-ms-has-immutability-policy: true\r\nx-ms-has-legal-hold: true";
    let Some(world) = World::new(vec![every("GET", "?restype=container", told, "")], &["a.txt"])
    else {
        return;
    };
    world.directly().ingest().code(0);
    let done = world
        .ferry
        .run(&["check"])
        .says(&["note  policy: the container has an immutability policy \
            and a legal hold: blobs are immutable there"]);
    let policy = done.out.find("policy: ").expect("it is told");
    assert!(policy < done.out.find("create: ").expect("it is tried"), "{}", done.out);
}

#[test]
fn a_probe_that_cannot_be_removed_stays_one() {
    let Some(world) = World::new(vec![every("DELETE", "", IMMUTABLE, IMMUTABLE_BODY)], &["a.txt"])
    else {
        return;
    };
    world.directly().ingest().code(0);
    world.ferry.run(&["check"]).code(0).says(&["note  remove: the probes stay"]);
    let once = world.directly().run(&["ls", "_blobferry/_check"]).out;
    world.ferry.run(&["check"]).code(0).says(&[
        "the probe of an earlier check is there",
        "ok    overwrite: ",
        "ok    append: ",
    ]);
    let names = |text: &str| {
        text.split_whitespace()
            .filter(|word| word.contains("_check/"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&once), names(&world.directly().run(&["ls", "_blobferry/_check"]).out));
}

#[test]
fn a_right_that_lacks_is_no_race_that_is_run_again_and_again() {
    for (holds, method) in [("head.json", "PUT"), ("comp=appendblock", "PUT")] {
        let Some(world) =
            World::new(vec![every(method, holds, NO_OVERWRITE, "")], &["a.txt", "b.txt"])
        else {
            return;
        };
        let done =
            world.ferry.run(&["run"]).code(1).says(&["[store_auth]", "a SAS needs `w` beside `c`"]);
        assert!(!done.out.contains("always quicker"), "{}", done.out);
        assert!(world.asked(holds) < 40, "{holds}: {} requests", world.asked(holds));
    }
}

#[test]
fn check_does_what_a_run_does_and_says_what_each_refusal_costs() {
    for (rule, words) in [
        (
            every("PUT", "comp=appendblock", "500 No\r\nx-ms-error-code: FeatureNotSupported", ""),
            ["FAIL  append: ", "Azurite needs 3.37"],
        ),
        (
            every("PUT", "_check%2Fprobe", NO_OVERWRITE, ""),
            ["FAIL  create: ", "this is needed for every blob"],
        ),
        (
            every(
                "GET",
                "comp=list",
                "403 No\r\nx-ms-error-code: AuthorizationPermissionMismatch",
                "",
            ),
            ["FAIL  list: ", "`ledger rebuild`"],
        ),
    ] {
        let Some(world) = World::new(vec![rule], &["a.txt"]) else { return };
        world.directly().ingest().code(0);
        world.ferry.run(&["check"]).code(3).says(&words);
    }
}

#[test]
fn check_fails_where_the_container_is_missing_and_may_not_be_made() {
    let Some(world) = World::new(Vec::new(), &["a.txt"]) else { return };
    let source = format!("url = \"file://{}\"\n", world.root.path().display());
    Ferry::between(&source, &format!("{}create_container = false\n", world.direct))
        .run(&["check"])
        .code(3)
        .says(&["FAIL  destination: [store_container]"]);
}

#[test]
fn a_signature_without_a_letter_that_runs_need_is_refused_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let source = format!("url = \"file://{}\"\n", folder.path().display());
    let with = |rights: &str| {
        let sas = format!("sv=2021-06-08&sr=c&sp={rights}&se=2090-01-01T00:00:00Z&sig=Y2FuYXJ5");
        Ferry::between(
            &source,
            &format!(
                "endpoint = \"http://127.0.0.1:9/a\"\ncontainer = \"landing\"\nsas = \"{sas}\"\n"
            ),
        )
    };
    let done = with("racdl")
        .run(&["run"])
        .code(2)
        .says(&["lacks the permission `w`", "the ledger's head"]);
    assert!(!done.err.contains("Y2FuYXJ5"), "{}", done.err);
    with("rw").run(&["run"]).code(2).says(&["lacks the permission `l`"]);
    with("racdl").run(&["check"]).code(3).says(&["FAIL  identity: ", "lacks the permission `w`"]);
    // Whoever only reads needs less: here nobody answers, which is another matter.
    with("rl").run(&["ls"]).code(3);
}

#[test]
fn a_file_whose_name_is_a_directory_of_the_account_is_stored_under_a_name_apart() {
    let directory = "200 OK\r\netag: \"0x8DDIR\"\r\nx-ms-meta-hdi_isfolder: \
        true\r\nx-ms-resource-type: directory";
    let exists = "409 Conflict\r\nx-ms-error-code: BlobAlreadyExists";
    let rules = vec![
        every("HEAD", "acme%2Fa%2Fb ", directory, ""),
        every("HEAD", "acme/a/b ", directory, ""),
        every("PUT", "acme%2Fa%2Fb ", exists, ""),
    ];
    let rules = rules.into_iter().chain([every("PUT", "acme/a/b ", exists, "")]).collect();
    let Some(world) = World::new(rules, &["a/b"]) else { return };
    let done = world
        .ferry
        .run(&["run"])
        .code(0)
        .says(&["is a directory in this account, so it is stored as `acme/a/b~"]);
    assert!(!done.out.contains("another writer"), "{}", done.out);
    // Where a file stands in the way of a folder, that is told too.
    let conflict = "409 Conflict\r\nx-ms-error-code: PathConflict";
    let Some(world) = World::new(
        vec![every("PUT", "acme%2Fc%2Fd", conflict, ""), every("PUT", "acme/c/d", conflict, "")],
        &["c/d"],
    ) else {
        return;
    };
    world
        .ferry
        .run(&["run"])
        .code(1)
        .says(&["PathConflict (409)", "a name is either a file or a directory"]);
}

#[test]
fn a_head_that_a_rule_removed_is_told_and_a_rebuild_mends_it() {
    let Some(world) = World::new(Vec::new(), &["a.txt", "b.txt"]) else { return };
    world.ferry.ingest().code(0);
    let azurite = Azurite::shared().expect("it is there");
    let container = world
        .direct
        .split("container = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a container");
    let store = super::e2e::look(azurite, container);
    let head = blobferry::model::BlobName::new("_blobferry/acme/ledger/head.json").unwrap();
    world
        .runtime
        .block_on(blobferry::store::contract::Store::delete(&store, &head))
        .expect("removed");
    world
        .ferry
        .run(&["run"])
        .code(3)
        .says(&["head.json` is missing, though", "ledger rebuild --source acme"]);
    world.ferry.run(&["ledger", "rebuild", "--source", "acme"]).code(0);
    assert_eq!(world.ferry.ingest().code(0).source()["unchanged"], 2);
}

#[test]
fn a_blob_that_may_not_be_written_for_another_reason_is_no_blob_of_another_writer() {
    let archived = "409 Conflict\r\nx-ms-error-code: BlobArchived";
    for (head, words) in [
        (NO_OVERWRITE, ["[store_auth]", "a SAS needs `w`"]),
        (archived, ["[store_rejected]", "archive tier: rehydrate it"]),
    ] {
        let Some(world) =
            World::new(vec![every("PUT", "acme%2Fa.txt", head, "")], &["a.txt", "b.txt"])
        else {
            return;
        };
        let done = world.ferry.run(&["run"]).code(1).says(&words).says(&["ingested 1"]);
        assert!(!done.out.contains("another writer"), "{}", done.out);
        assert!(world.asked("acme%2Fa.txt") < 10, "{} requests", world.asked("acme%2Fa.txt"));
    }
}

#[test]
fn check_tries_the_queue_where_work_goes_by_it() {
    let Some(azurite) = Azurite::shared() else { return };
    let Some(world) = World::new(Vec::new(), &["a.txt"]) else { return };
    let by_queue = world.directly().set("BLOBFERRY__DISPATCH__MODE", "queue");
    by_queue.run(&["check"]).code(3).says(&[
        "FAIL  queue: ",
        "no app setting tells where it is",
        "dispatch by queue",
    ]);
    by_queue
        .set("AzureWebJobsStorage", &azurite.connection_string())
        .run(&["check"])
        .code(0)
        .says(&["ok    queue: http://127.0.0.1:"]);
}

#[test]
fn tags_without_their_right_are_told_by_check_and_by_a_run() {
    const NO_TAGS: &str = "403 Forbidden\r\nx-ms-error-code: AuthorizationPermissionMismatch";
    let rules = vec![
        every("PUT", "_check%2Fplaced", NO_TAGS, ""),
        every("PUT", "/acme%2Fa.txt", NO_TAGS, ""),
    ];
    let Some(world) = World::new(rules, &["a.txt"]) else { return };
    let tagged = |text: String| format!("{text}tags = {{ owner = \"fin\" }}\n");
    let configuration = std::fs::read_to_string(world.ferry.path("ingest.toml")).unwrap();
    world.ferry.configure(&tagged(configuration));
    let need = "`t` of a SAS, or the role Storage Blob Data Owner";
    world.ferry.run(&["check"]).code(3).says(&["placement", "1 index tags", need]);
    world.ferry.run(&["run"]).code(1).says(&[need]);
}

#[test]
fn a_look_that_is_refused_without_words_is_told_with_those_of_a_read() {
    const REFUSED: &str = "403 Forbidden\r\nx-ms-error-code: AuthenticationFailed";
    const WORDS: &str = "<Error><Code>AuthenticationFailed</Code><Message>Server failed to \
        authenticate the request.\nRequestId:1</Message><AuthenticationErrorDetail>Signature not \
        valid in the specified time frame: Start [a] - Expiry [b] - Current [c]\n\
        </AuthenticationErrorDetail></Error>";
    let rules = vec![every("HEAD", "", REFUSED, ""), every("GET", "", REFUSED, WORDS)];
    let Some(world) = World::new(rules, &["a.txt"]) else { return };
    for command in ["check", "run"] {
        world.ferry.run(&[command]).code(3).says(&[
            "Signature not valid in the specified time frame: Start [a] - Expiry [b]",
            "hint: copy the key or the SAS anew",
        ]);
    }
}

#[test]
fn a_clock_that_is_off_is_told_as_that_and_no_key_is_accused() {
    const REFUSED: &str = "403 Forbidden\r\nx-ms-error-code: AuthenticationFailed\r\n\
        date: Mon, 01 Jan 2001 00:00:00 GMT";
    const KEY: &str = "<Error><Code>AuthenticationFailed</Code><Message>Server failed to \
        authenticate the request.</Message><AuthenticationErrorDetail>The date header in the \
        request is incorrect.</AuthenticationErrorDetail></Error>";
    const SAS: &str = "<Error><Code>AuthenticationFailed</Code><Message>Server failed to \
        authenticate the request.</Message><AuthenticationErrorDetail>Signature not valid in the \
        specified time frame: Start [a] - Expiry [b]</AuthenticationErrorDetail></Error>";
    for (words, hint) in [
        (KEY, "hint: set this machine's clock right, and keep it so (NTP)"),
        (SAS, "hint: copy the key or the SAS anew"),
    ] {
        let rules = vec![every("HEAD", "", REFUSED, ""), every("GET", "", REFUSED, words)];
        let Some(world) = World::new(rules, &["a.txt"]) else { return };
        for command in ["check", "run"] {
            let told = world.ferry.run(&[command]).code(3);
            told.says(&["this machine's clock is ", "ahead of the service's", hint]);
        }
    }
}

#[test]
fn a_signature_that_ran_out_or_does_not_count_yet_is_told_with_its_time() {
    let Some(azurite) = Azurite::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = format!("url = \"file://{}\"\n", folder.path().display());
    let direct = azure(azurite, &Azurite::container("signed"));
    let endpoint = direct
        .split("BlobEndpoint=")
        .nth(1)
        .and_then(|rest| rest.split(';').next())
        .expect("an endpoint");
    let with = |times: &str| {
        let sas = format!("sv=2021-06-08&ss=b&srt=co&sp=rwdlac&{times}&sig=Y2FuYXJ5");
        let destination =
            format!("endpoint = \"{endpoint}\"\ncontainer = \"landing\"\nsas = \"{sas}\"\n");
        Ferry::between(&source, &destination)
    };
    for (times, words) in [
        ("se=2020-01-01T00:00:00Z", "the SAS ran out at 2020-01-01T00:00:00Z (`se`)"),
        ("st=2089-01-01&se=2090-01-01", "the SAS counts from 2089-01-01T00:00:00Z on (`st`)"),
    ] {
        for command in ["check", "run"] {
            with(times).run(&[command]).code(3).says(&[words, "hint: make a new SAS"]);
        }
    }
    let done = with("se=2090-01-01T00:00:00Z").run(&["check"]).code(3);
    let done = done.says(&["a shared access signature, good until 2090-01-01T00:00:00Z"]);
    assert!(!done.out.contains("Y2FuYXJ5") && !done.out.contains("ran out"), "{}", done.out);
}
