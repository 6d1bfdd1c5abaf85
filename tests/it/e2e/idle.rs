//! What sources cost in which there is nothing to do: requests to the store, blobs, memory.

use super::super::insights::world::Handler;
use super::super::kit::http::{Mischief, Proxy, Share};
use super::super::servers::Azurite;
use super::bad_input::old_file;
use super::*;

const SOURCES: usize = 20;
/// Requests of a run as a whole: the container, the record of the run, the index of sources, and
/// what is read of both.
const OF_A_RUN: usize = 8;

/// What the name of the index of sources ends with.
const INDEX: &str = "_runs%2Fsources.json";

/// A file that is expected by a time of day, and that may not be old.
const EXPECTED: &str = "[[source.expect]]\nname = \"daily\"\nby = \"07:00\"\nmin_count = 0\n\
    [[source.expect]]\nname = \"fresh\"\nfiles = [\"a.txt\"]\nmax_age = \"26h\"\n";

/// Sources over folders with a file each.
fn sources(ferry: &Ferry, count: usize) -> String {
    let one = |n: usize| {
        old_file(&ferry.path(&format!("in/{n}/a.txt")), format!("content {n}").as_bytes());
        format!(
            "[[source]]\nname = \"s{n:04}\"\nurl = \"file://{}\"\nstable_for = \"0s\"\n",
            ferry.path(&format!("in/{n}")).display()
        )
    };
    (0..count).map(one).collect()
}

/// Azurite behind a proxy that counts, and the lines of a destination there.
fn counted(azurite: &Azurite, container: &str) -> (tokio::runtime::Runtime, Proxy, String) {
    let direct = azurite.connection_string();
    let address = azurite.blob_address();
    let runtime = super::super::kit::stage::runtime();
    let nothing = Share { percent: 0, holds: "", mischief: Mischief::LoseReply };
    let proxy = runtime.block_on(Proxy::sharing(address, nothing));
    let through = direct.replace(&address.to_string(), &proxy.address.to_string());
    (
        runtime,
        proxy,
        format!("[destination]\nconnection_string = \"{through}\"\ncontainer = \"{container}\"\n"),
    )
}

/// The requests that `work` makes, and what comes of it.
fn requests<T>(proxy: &Proxy, work: impl FnOnce() -> T) -> (Vec<String>, T) {
    let before = proxy.requests().len();
    let done = work();
    (proxy.requests().split_off(before), done)
}

/// No source may cost more than `most` requests, and the run as a whole [`OF_A_RUN`].
#[track_caller]
fn check_cost(asked: &[String], most: usize) {
    let of_a_source =
        |line: &&String| line.contains("_blobferry/s") || line.contains("_blobferry%2Fs");
    let (of_sources, of_the_run): (Vec<_>, Vec<_>) = asked.iter().partition(of_a_source);
    assert!(of_sources.len() <= most * SOURCES, "{}: {of_sources:#?}", of_sources.len());
    assert!(of_the_run.len() <= OF_A_RUN, "{}: {of_the_run:#?}", of_the_run.len());
}

#[test]
fn an_idle_source_costs_four_requests_and_no_blob() {
    let Some(azurite) = Azurite::shared() else { return };
    let container = Azurite::container("idle");
    let (_runtime, proxy, destination) = counted(azurite, &container);
    let ferry = Ferry::new("");
    ferry.configure(&format!("{destination}{}", sources(&ferry, SOURCES)));
    ferry.run(&["run"]).code(0);
    let before = blobs(azurite, &container);
    let (asked, _) = requests(&proxy, || ferry.run(&["run"]).code(0));
    check_cost(&asked, 4);
    let after = blobs(azurite, &container);
    let new: Vec<&String> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    assert!(
        new.len() == 1 && new[0].starts_with("_blobferry/_runs/"),
        "one record, and nothing for a source: {new:?}"
    );
}

/// The same, with [`EXPECTED`] of each source.
fn expecting(ferry: &Ferry, count: usize) -> String {
    sources(ferry, count)
        .replace("stable_for = \"0s\"\n", &format!("stable_for = \"0s\"\n{EXPECTED}"))
}

#[test]
fn files_that_are_expected_cost_an_idle_source_one_request_more_at_most() {
    let Some(azurite) = Azurite::shared() else { return };
    let container = Azurite::container("idle-expect");
    let (_runtime, proxy, destination) = counted(azurite, &container);
    let ferry = Ferry::new("");
    ferry.configure(&format!("{destination}{}", expecting(&ferry, SOURCES)));
    ferry.run(&["run"]).code(0);
    let before = blobs(azurite, &container);
    let (asked, _) = requests(&proxy, || ferry.run(&["run"]).code(0));
    check_cost(&asked, 3);
    let mut made = blobs(azurite, &container);
    made.retain(|name, _| !before.contains_key(name));
    assert_eq!(made.len(), 1, "one record, and nothing for a source: {made:#?}");
    let handler = Handler::start(&ferry.path(""), &[]);
    for most in [usize::MAX / SOURCES, 3, 2, 2] {
        let (asked, (status, told)) = requests(&proxy, || {
            let before = proxy.requests().len();
            let told = handler.post("IngestTimer", &[], r#"{"Data":{"timer":{}},"Metadata":{}}"#);
            // A run notes that it has looked once it has answered.
            let is_noted = |line: &String| line.starts_with("PUT") && line.contains(INDEX);
            wait_for("the index of sources", || proxy.requests()[before..].iter().any(is_noted));
            told
        });
        assert!(status == 200 && told.contains(&format!("unchanged {SOURCES}")), "{told}");
        check_cost(&asked, most);
    }
}

#[test]
fn an_idle_source_costs_two_requests_in_a_process_that_has_looked_before() {
    let Some(azurite) = Azurite::shared() else { return };
    let container = Azurite::container("warm");
    let (_runtime, proxy, destination) = counted(azurite, &container);
    let ferry = Ferry::new("");
    ferry.configure(&format!("{destination}{}", sources(&ferry, SOURCES)));
    let handler = Handler::start(&ferry.path(""), &[]);
    let tick = || {
        let (status, body) =
            handler.post("IngestTimer", &[], r#"{"Data":{"timer":{}},"Metadata":{}}"#);
        assert_eq!(status, 200, "{body}");
        body
    };
    assert!(tick().contains(&format!("ingested {SOURCES}")));
    // The ledger has changed by what that run recorded: it is read once more.
    tick();
    // A run notes the names of its files once it has answered.
    wait_for("the index of names", || {
        let is_named = |name: &String| name.starts_with("_blobferry/_names/");
        let asked = proxy.requests().len();
        std::thread::sleep(Duration::from_secs(2));
        proxy.requests().len() == asked && blobs(azurite, &container).keys().any(is_named)
    });
    let before = blobs(azurite, &container);
    let (asked, told) = requests(&proxy, tick);
    assert!(told.contains(&format!("unchanged {SOURCES}")), "{told}");
    check_cost(&asked, 2);
    let mut made = blobs(azurite, &container);
    made.retain(|name, _| !before.contains_key(name));
    let made: Vec<&String> = made.keys().collect();
    assert!(
        matches!(made[..], [record] if record.starts_with("_blobferry/_runs/")),
        "one record, and nothing for a source: {made:#?}"
    );
}

#[test]
fn a_thousand_idle_sources_stay_within_64_mib() {
    let ferry = Ferry::new("");
    ferry.configure(&format!("[destination]\nfolder = \"out\"\n{}", sources(&ferry, 1_000)));
    ferry.run(&["run", "--quiet"]).code(0);
    let mut child = ferry
        .command(&["run", "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        // The kernel keeps the peak, so the last look is as good as all of them.
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let told = status.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok()
        });
        peak = told.unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    println!("1,000 idle sources: {} MiB", peak >> 10);
    // What is built for tests is larger itself, and so is what its tasks hold.
    let most = if cfg!(debug_assertions) { 96 } else { 64 };
    assert!(peak > 1 << 10 && peak <= most << 10, "{peak} KiB");
}
