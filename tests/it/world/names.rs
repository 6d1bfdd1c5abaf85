//! Names that meet: nobody's blob is overwritten, and everybody finds its own again.

use super::World;
use super::zips::zip;
use blobferry::rules::naming::Layout;
use blobferry::run::run;
use blobferry::source::memory::MemoryServer;
use tokio_util::sync::CancellationToken;

fn by_type() -> World {
    World::new().with(|source| source.naming.layout = Layout::ByType)
}

#[tokio::test]
async fn by_type_files_of_one_name_in_two_folders_both_arrive_and_it_is_told() {
    let world = by_type().file("/x/a.csv", "one").file("/y/a.csv", "two");
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), world.names().len()), ("ok: ingested 2", 2));
    assert!(
        ran.to_string()
            .contains("belongs to another file, so it is stored as `ftp.acme.example_21/csv/a~"),
        "{ran}"
    );
    let contents = world.contents();
    assert_eq!(world.run().await.brief(), "ok: unchanged 2");
    // Also without the ledger everybody finds its own.
    world.lose_ledger().await;
    assert_eq!(world.run().await.brief(), "ok: ingested 2");
    assert_eq!(world.contents(), contents);
}

#[tokio::test]
async fn by_type_large_files_of_one_name_both_arrive_in_one_run() {
    let world = by_type().file("/x/a.bin", vec![1; 9 << 20]).file("/y/a.bin", vec![2; 9 << 20]);
    assert_eq!(world.run().await.brief(), "ok: ingested 2");
    assert_eq!(world.names().len(), 2);
    assert_eq!(world.run().await.brief(), "ok: unchanged 2");
}

#[tokio::test]
async fn by_type_members_and_files_of_one_name_all_arrive() {
    let world = by_type()
        .file("/x/a.csv", "file")
        .file("/b.zip", zip(&[("a.csv", b"member"), ("d/a.csv", b"another")]));
    assert_eq!(world.run().await.brief(), "ok: ingested 2");
    let mut contents: Vec<String> = world.names().iter().map(|name| world.text(name)).collect();
    contents.sort();
    assert_eq!(contents, ["another", "file", "member"]);
}

#[tokio::test]
async fn three_sources_of_one_server_meet_by_type_and_all_arrive() {
    let world = by_type();
    let mut sources = Vec::new();
    for name in ["one", "two", "three"] {
        let server = MemoryServer::new();
        server.put("/a.csv", name.to_owned(), super::LONG_AGO);
        let mut source = super::source(name, &server);
        source.naming = world.source.naming.clone();
        sources.push(source);
    }
    for expected in [1, 0] {
        let report =
            run(sources.clone(), world.options(world.store.clone(), CancellationToken::new()))
                .await;
        super::assert_equations(&report);
        let ingested: Vec<u64> = report.sources.iter().map(|source| source.ingested).collect();
        assert_eq!((ingested, report.exit_code()), (vec![expected; 3], 0), "{report}");
    }
    assert_eq!(world.names().len(), 3);
}

#[tokio::test]
async fn a_changed_file_that_was_set_apart_stays_apart() {
    let world = by_type().file("/x/a.csv", "one");
    world.run().await;
    world.put("/y/a.csv", "two", super::LONG_AGO);
    world.run().await;
    world.put("/y/a.csv", "three", super::LONG_AGO + 60);
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 1");
    assert_eq!(
        (world.names().len(), world.text("ftp.acme.example_21/csv/a.csv").as_str()),
        (3, "one")
    );
    assert_eq!(world.run().await.brief(), "ok: unchanged 2");
}
