//! Storage that is busy, or loses replies, all the time: every file arrives, once.

use super::e2e::bad_input::old_file;
use super::e2e::{Ferry, blobs, verify};
use super::kit::http::{Mischief, Proxy, Share};
use super::servers::Azurite;

const BUSY: &str = "503 Busy\r\nretry-after: 1\r\nx-ms-error-code: ServerBusy";

/// Some hundred small files through a proxy that plays its mischief on a share of all requests:
/// each arrives, once.
#[track_caller]
fn arrive_all_the_same(share: Share) {
    const FILES: usize = 300;
    let Some(azurite) = Azurite::shared() else { return };
    let root = tempfile::tempdir().unwrap();
    for n in 0..FILES {
        old_file(
            &root.path().join(format!("d{}/f{n}.txt", n % 5)),
            format!("content {n}").repeat(n).as_bytes(),
        );
    }
    let container = Azurite::container("share");
    let direct = azurite.connection_string();
    let address = azurite.blob_address();
    let runtime = super::kit::stage::runtime();
    let proxy = runtime.block_on(Proxy::sharing(address, share.clone()));
    let through = direct.replace(&address.to_string(), &proxy.address.to_string());
    let source = format!(
        "url = \"file://{}\"\nstable_for = \"0s\"\nconnections = 32\n",
        root.path().display()
    );
    let limits = "[limits]\ntransfers = 32";
    let ferry = Ferry::between(
        &source,
        &format!("connection_string = \"{through}\"\ncontainer = \"{container}\"\n{limits}"),
    );
    let report = ferry.ingest().code(0).source();
    assert_eq!(
        (&report["ingested"], &report["failed"], &report["deferred"]),
        (&FILES.into(), &0.into(), &0.into()),
        "{report:#}"
    );
    let (all, met) = proxy.dealt();
    println!("{met} of {all} requests met {:?}", share.mischief);
    assert!(
        all > FILES as u64 && met * 100 > all * share.percent * 2 / 3,
        "{met} of {all} requests met it"
    );
    // Each is there once, with the bytes that it has: another program compares.
    let names: Vec<String> = blobs(azurite, &container)
        .into_keys()
        .filter(|name| !name.starts_with("_blobferry/"))
        .collect();
    assert_eq!(names.len(), FILES, "{names:?}");
    verify(azurite, &container, root.path(), &root.path().display().to_string(), &[]);
    // The ledger knows each once: a run that meets nothing has nothing to do.
    ferry.configure(&format!(
        "[destination]\nconnection_string = \"{direct}\"\ncontainer = \
        \"{container}\"\n[[source]]\nname = \"acme\"\n{source}"
    ));
    let again = ferry.ingest().code(0).source();
    assert_eq!((&again["unchanged"], &again["blobs"]), (&FILES.into(), &0.into()), "{again:#}");
}

#[test]
fn a_fifth_of_all_requests_is_answered_that_the_service_is_busy() {
    arrive_all_the_same(Share { percent: 20, holds: "", mischief: Mischief::Answer(BUSY, "") });
}

#[test]
fn a_tenth_of_all_replies_is_lost_after_its_effect() {
    arrive_all_the_same(Share { percent: 10, holds: "PUT ", mischief: Mischief::LoseReply });
}
