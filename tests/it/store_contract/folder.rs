//! What a folder shows to people, and what it survives: hands in it, other processes, kills.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use blobferry::model::BlobName;
use blobferry::store::contract::{Condition, Etag, Metadata, Properties, Store, StoreKind, Upload};
use blobferry::store::folder::FolderStore;
use bytes::Bytes;
use futures_util::future::join_all;
use md5::Digest;
use time::OffsetDateTime;
use time::macros::datetime;

use super::{content, listed, name, properties, write};

async fn open(dir: &Path) -> FolderStore {
    let store = FolderStore::new(dir).expect("a folder");
    store.prepare().await.expect("it is prepared");
    store
}

fn read(dir: &Path, path: &str) -> Option<Vec<u8>> {
    fs::read(dir.join(path)).ok()
}

#[tokio::test]
async fn plain_names_are_their_own_paths_with_their_own_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path()).await;
    write(&store, "acme/daily/ü 100%.txt", b"x").await;
    assert_eq!(read(dir.path(), "acme/daily/ü 100%.txt").as_deref(), Some(&b"x"[..]));
    let modified = fs::metadata(dir.path().join("acme/daily/ü 100%.txt"))
        .and_then(|file| file.modified())
        .expect("a time");
    // As the metadata of these tests says.
    assert_eq!(OffsetDateTime::from(modified), datetime!(2024-02-29 12:13:14 UTC));
    let seen: Vec<_> = fs::read_dir(dir.path())
        .expect("it lists")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(seen.len(), 2, "{seen:?}: the blob's folder and `.blobferry`");
}

#[tokio::test]
async fn a_file_put_there_by_hand_is_never_written_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path()).await;
    fs::write(dir.path().join("by hand"), "theirs").expect("it writes");
    let info = store.head(&name("by hand")).await.expect("it looks").expect("it is there");
    assert_eq!((info.size, info.md5, info.metadata.len()), (6, None, 0));
    let error = store
        .put(&name("by hand"), Bytes::new(), &properties(b""), &Condition::IfAbsent)
        .await
        .expect_err("it is there");
    assert_eq!(
        (error.kind, read(dir.path(), "by hand").as_deref()),
        (StoreKind::Condition, Some(&b"theirs"[..]))
    );
    // Nor does a file keep our checksum when somebody changed it.
    write(&store, "ours", b"ours").await;
    fs::write(dir.path().join("ours"), "theirs").expect("it writes");
    assert_eq!(store.head(&name("ours")).await.expect("it looks").and_then(|info| info.md5), None);
}

#[tokio::test]
async fn a_folder_that_was_never_made_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = FolderStore::new(&dir.path().join("missing")).expect("a store");
    assert_eq!(
        store.head(&name("a")).await.expect_err("it is missing").kind,
        StoreKind::NoContainer
    );
    let upload = Upload::new(name("a"));
    assert_eq!(
        store.stage(&upload, 0, Bytes::from_static(b"x")).await.expect_err("it is missing").kind,
        StoreKind::NoContainer
    );
}

#[tokio::test]
async fn leftovers_of_the_dead_go_after_a_week() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path()).await;
    let (old, young) = (Upload::new(name("old")), Upload::new(name("young")));
    for upload in [&old, &young] {
        store.stage(upload, 0, Bytes::from_static(b"x")).await.expect("it stages");
    }
    let staged = |upload: &Upload| {
        dir.path()
            .join(".blobferry/staged")
            .join(upload.block_id(0).split('-').next().expect("a nonce"))
    };
    let long_ago = OffsetDateTime::now_utc() - time::Duration::days(8);
    fs::File::open(staged(&old))
        .and_then(|folder| folder.set_modified(long_ago.into()))
        .expect("it sets the time");
    let temporary = dir.path().join(".blobferry/temporary");
    fs::write(temporary.join(format!("{}.1000000000.x", "0".repeat(64))), "x").expect("it writes");
    fs::write(temporary.join(format!("{}.99999999999.x", "0".repeat(64))), "x").expect("it writes");
    store.prepare().await.expect("it sweeps");
    assert_eq!((staged(&old).exists(), staged(&young).exists()), (false, true));
    assert_eq!(fs::read_dir(temporary).expect("it lists").count(), 1);
    store.abandon(&young).await;
    assert!(!staged(&young).exists());
}

#[tokio::test]
async fn two_processes_cannot_both_create() {
    let dir = tempfile::tempdir().expect("a folder");
    for round in 0..20 {
        let (a, b) = (open(dir.path()).await, open(dir.path()).await);
        let at = name(&format!("round/{round}"));
        let (x, y) = (properties(b"a"), properties(b"b"));
        let (a, b) = tokio::join!(
            a.put(&at, Bytes::from_static(b"a"), &x, &Condition::IfAbsent),
            b.put(&at, Bytes::from_static(b"b"), &y, &Condition::IfAbsent)
        );
        assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    }
}

/// Writes that wait together are made together: one that fails harms none of the others.
#[tokio::test]
async fn many_writes_at_once_fail_one_by_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path()).await;
    write(&store, "many/007", b"taken").await;
    let names: Vec<_> = (0..300)
        .map(|index| {
            name(&format!("many/{:03}{}", index % 250, if index % 10 == 0 { "/below" } else { "" }))
        })
        .collect();
    let wrong = Properties { md5: [7; 16], ..properties(b"x") };
    let right = properties(b"x");
    let puts = (0..).zip(&names).map(|(index, at)| {
        let properties = if index % 50 == 3 { &wrong } else { &right };
        store.put(at, Bytes::from_static(b"x"), properties, &Condition::IfAbsent)
    });
    let results = join_all(puts).await;
    let mut written = std::collections::BTreeSet::from(["many/007"]);
    for ((index, at), result) in (0..).zip(&names).zip(results) {
        match result {
            Ok(_) => assert!(
                index % 50 != 3 && written.insert(at.as_str()),
                "{at} was written twice, or wrongly"
            ),
            Err(error) if index % 50 == 3 => assert_eq!(error.kind, StoreKind::Corrupted),
            Err(error) => assert_eq!(error.kind, StoreKind::Condition, "{at}: {error:?}"),
        }
    }
    let found = listed(&store, "many/").await;
    assert_eq!(
        found.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(),
        written.iter().copied().collect::<Vec<_>>()
    );
    let distinct: std::collections::BTreeSet<_> =
        (0..).zip(&names).filter(|(index, _)| index % 50 != 3).map(|(_, at)| at.as_str()).collect();
    assert_eq!(written, distinct.into_iter().chain(["many/007"]).collect());
    // A blob and those below its name live side by side, each with its own record.
    write(&store, "many/010", b"a file where others have a folder").await;
    for info in found.iter().filter(|info| info.name != "many/007") {
        assert_eq!((info.size, info.md5), (1, Some(right.md5)), "{}", info.name);
    }
    assert_eq!(fs::read_dir(dir.path().join(".blobferry/temporary")).expect("it lists").count(), 0);
}

/// Blocks of one length lie in their places at once; others are put there.
#[tokio::test]
async fn blocks_of_any_lengths_in_any_order_become_one_blob() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path()).await;
    for (at, lengths, order) in [
        ("usual", [1000, 1000, 1000, 70], [0, 1, 2, 3]),
        ("shuffled", [1000, 1000, 1000, 1000], [2, 0, 3, 1]),
        ("last first", [1000, 1000, 1000, 70], [3, 1, 0, 2]),
        ("all different", [5, 900, 3, 1000], [1, 0, 3, 2]),
    ] {
        let upload = Upload::new(name(at));
        let block = |index: usize| Bytes::from(vec![index as u8 + 1; lengths[index]]);
        for index in order {
            let number = u32::try_from(index).expect("it is small");
            store.stage(&upload, number, Bytes::from(vec![9; 1000])).await.expect("it stages");
            store.stage(&upload, number, block(index)).await.expect("it stages again");
        }
        // One more than is committed.
        store.stage(&upload, 4, block(0)).await.expect("it stages");
        let whole = (0..4).flat_map(|index| block(index).to_vec()).collect::<Vec<_>>();
        // A commit that fails can be tried again.
        let early = store
            .commit(&upload, 4, &properties(&whole), &Condition::IfMatch(Etag("other".into())))
            .await;
        assert_eq!(early.expect_err("there is no such blob").kind, StoreKind::Condition);
        store
            .commit(&upload, 4, &properties(&whole), &Condition::IfAbsent)
            .await
            .expect("it commits");
        assert_eq!(content(&store, at).await.expect("it is there"), whole, "{at}");
        assert_eq!(
            store.head(&name(at)).await.expect("it looks").and_then(|info| info.md5),
            Some(properties(&whole).md5),
            "{at}"
        );
    }
    for left in ["staged", "temporary"] {
        assert_eq!(
            fs::read_dir(dir.path().join(".blobferry").join(left)).expect("it lists").count(),
            0,
            "{left}"
        );
    }
}

const CHILD: &str = "BLOBFERRY_TEST_FOLDER_WRITER";

/// Not a test by itself: the process that the next test kills. Writes one name over and over.
#[tokio::test]
#[ignore = "started by `a_killed_writer_leaves_whole_blobs`"]
async fn endless_writer() {
    let dir = std::env::var(CHILD).expect("it is started by the next test");
    let store = FolderStore::new(Path::new(&dir)).expect("a store");
    for round in 0u64.. {
        let bytes = numbered(round);
        let metadata = Metadata::from([("round".to_owned(), round.to_string())]);
        let properties = Properties {
            content_type: "text/plain".into(),
            md5: md5::Md5::digest(&bytes).into(),
            metadata,
            placement: Default::default(),
        };
        if round % 2 == 0 {
            store
                .put(&name("killed/blob"), bytes, &properties, &Condition::Always)
                .await
                .expect("it writes");
        } else {
            let upload = Upload::new(name("killed/blob"));
            let half = bytes.len() / 2;
            store.stage(&upload, 0, bytes.slice(..half)).await.expect("it stages");
            store.stage(&upload, 1, bytes.slice(half..)).await.expect("it stages");
            store.commit(&upload, 2, &properties, &Condition::Always).await.expect("it commits");
        }
        let (bytes, metadata) =
            (numbered(round), Metadata::from([("round".to_owned(), round.to_string())]));
        let together = Properties {
            content_type: "text/plain".into(),
            md5: md5::Md5::digest(&bytes).into(),
            metadata,
            placement: Default::default(),
        };
        let names: Vec<_> = (0..MANY).map(many).collect();
        let puts =
            names.iter().map(|name| store.put(name, bytes.clone(), &together, &Condition::Always));
        join_all(puts).await.into_iter().for_each(|put| drop(put.expect("it writes")));
        let line = Bytes::from(format!("{round:>9}\n"));
        let position = store
            .head(&name("killed/journal"))
            .await
            .expect("it looks")
            .map_or(0, |info| info.size);
        store.append(&name("killed/journal"), line, position).await.expect("it appends");
        println!("round {round}");
    }
}

/// Blobs that are written together.
const MANY: usize = 20;

fn many(index: usize) -> BlobName {
    name(&format!("killed/many/{index:02}"))
}

fn numbered(round: u64) -> Bytes {
    Bytes::from(format!("{round} ").repeat(2_000 + usize::try_from(round % 7).unwrap_or(0) * 1_000))
}

#[tokio::test]
async fn a_killed_writer_leaves_whole_blobs() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path()).await;
    for kill in 0..6 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "--ignored", "--nocapture", "store_contract::folder::endless_writer"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let worked = lines
            .map_while(Result::ok)
            .filter(|line| line.contains("round "))
            .take(5 + kill * 3)
            .count();
        // Readers look while it writes, and again when it is dead.
        let mut seen = Vec::new();
        for _ in 0..10 {
            seen.push(whole(&store).await);
        }
        child.kill().expect("it is killed");
        child.wait().expect("it is dead");
        seen.push(whole(&store).await);
        assert_eq!((worked, seen.iter().all(|seen| *seen)), (5 + kill * 3, true));
    }
    write(&store, "killed/after", b"it goes on").await;
    assert_eq!(listed(&store, "killed/").await.len(), 3 + MANY);
}

/// Whether content, checksum and metadata are of one write, and the journal has whole lines only.
async fn whole(store: &FolderStore) -> bool {
    let mut all_whole = true;
    for at in [name("killed/blob")].into_iter().chain((0..MANY).map(many)) {
        let Some((info, bytes)) = store.get(&at, 0, 1 << 20).await.expect("it reads") else {
            continue;
        };
        let round = info.metadata.get("round").and_then(|text| text.parse().ok()).map(numbered);
        let digest: [u8; 16] = md5::Md5::digest(&bytes).into();
        all_whole &= round == Some(bytes) && info.md5 == Some(digest);
    }
    let journal = content(store, "killed/journal").await.unwrap_or_default();
    all_whole
        && !journal.is_empty()
        && journal.len() % 10 == 0
        && journal.chunks(10).all(|line| line.ends_with(b"\n"))
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_in_the_folder_is_not_followed() {
    let (dir, elsewhere) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let store = open(dir.path()).await;
    std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("acme")).expect("it links");
    let blob = name("acme/a.txt");
    let error = store
        .put(&blob, "x".into(), &properties(b"x"), &Condition::Always)
        .await
        .expect_err("it is refused");
    assert_eq!(error.kind, StoreKind::Rejected);
    let told = blobferry::model::chain(&error);
    assert!(told.contains("is a link"), "{told}");
    assert_eq!(fs::read_dir(elsewhere.path()).expect("it lists").count(), 0);
    assert!(store.head(&blob).await.is_err(), "what is listed is what is read");
}
