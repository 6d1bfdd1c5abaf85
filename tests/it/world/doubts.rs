//! Archives whose content holds and that somebody should look at nevertheless.

use super::World;
use super::compressed::{gz, tar};
use super::zips::zip;
use blobferry::transfer::settings::After;

/// Runs over `archive` twice: what the first run told, and that the second has nothing to do. The
/// file stays at its source although files are removed there.
async fn doubted(name: &str, archive: Vec<u8>, names: &[&str]) -> String {
    let world =
        World::new().with(|source| source.after = After::Delete).file(&format!("/{name}"), archive);
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: ingested 1, problem [archive_damaged]");
    assert_eq!(
        (ran.report.exit_code(), world.names()),
        (1, names.iter().map(ToString::to_string).collect())
    );
    let again = world.run().await;
    assert_eq!(again.brief(), "ok: unchanged 1");
    assert_eq!(world.at_source(), [format!("/{name}")]);
    ran.source().problems[0].message.clone()
}

#[tokio::test]
async fn a_tar_without_its_end_mark_arrives_and_degrades_the_run_once_and_stays_at_the_source() {
    let whole = tar(&[("a.csv", b"one"), ("b.csv", b"two")]);
    let cut = &whole[..1024];
    let told = doubted("t.tar", cut.to_vec(), &["acme/t.tar!/a.csv"]).await;
    assert!(told.contains("without its end mark"), "{told}");
    doubted("t.tgz", gz(cut), &["acme/t.tgz!/a.csv"]).await;
    doubted("p.zip", zip(&[("t.tar", cut)]), &["acme/p.zip!/t.tar!/a.csv"]).await;
}

#[tokio::test]
async fn a_zip_whose_headers_name_a_member_differently_arrives_and_degrades_the_run_once() {
    let mut archive = zip(&[("a.csv", b"one")]);
    let name = archive.windows(5).position(|bytes| bytes == b"a.csv").unwrap();
    archive[name] = b'b';
    let told = doubted("a.zip", archive, &["acme/a.zip!/a.csv"]).await;
    assert!(told.contains("member `a.csv`: its own header calls it `b.csv`"), "{told}");
}

#[tokio::test]
async fn a_tar_that_ends_with_a_record_is_kept_whole_and_degrades_the_run_once() {
    let cut = tar(&[("a.csv", &[b'x'; 30_000])])[..10_240].to_vec();
    let world = World::new().file("/t.tar", cut.clone());
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: ingested 1, problem [archive_unsupported]");
    assert_eq!(world.store.content("acme/t.tar").unwrap(), cut);
    let told = &ran.source().problems[0].message;
    assert!(told.contains("one volume of a tar") && told.contains("or damaged"), "{told}");
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
}
