//! A folder of this machine as the source.

use std::path::Path;
use std::sync::Arc;

use blobferry::model::RemotePath;
use blobferry::source::file::FileSourceFolder;
use blobferry::transfer::settings::After;

use super::World;

fn over(folder: &Path) -> World {
    let root = RemotePath::from(folder.to_str().unwrap());
    World::new().with(|source| {
        source.endpoint = Arc::new(FileSourceFolder::new(&root));
        source.naming.root = root.clone();
        source.patterns =
            blobferry::rules::patterns::Patterns::new(root.clone(), &[], &[], &[], None).unwrap();
        source.root = root;
    })
}

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn a_folder_arrives_and_is_quiet_the_second_time() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.csv", "one");
    write(folder.path(), "d/e/b 1%.csv", "two");
    write(folder.path(), "empty", "");
    let world = over(folder.path());
    assert_eq!(world.run().await.brief(), "ok: ingested 3");
    assert_eq!(world.names(), ["acme/a.csv", "acme/d/e/b 1%25.csv", "acme/empty"]);
    assert_eq!(world.text("acme/d/e/b 1%25.csv"), "two");
    assert_eq!(world.run().await.brief(), "ok: unchanged 3");
    write(folder.path(), "a.csv", "longer");
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 2");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_never_ok() {
    let folder = tempfile::tempdir().unwrap();
    let ran = over(&folder.path().join("nowhere")).run().await;
    assert_eq!((ran.brief().as_str(), ran.report.exit_code()), ("failed: problem [not_found]", 3));
}

#[cfg(unix)]
#[tokio::test]
async fn links_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a", "one");
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink("..", folder.path().join("loop")).unwrap();
    let world = over(folder.path());
    assert_eq!(world.run().await.brief(), "ok: ingested 1, skipped 2 [symlink]");
}

#[tokio::test]
async fn files_are_moved_out_of_the_way() {
    let (folder, done) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(folder.path(), "d/a.csv", "one");
    let world = over(folder.path())
        .with(|source| source.after = After::Move(RemotePath::from(done.path().to_str().unwrap())));
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.source().after_failed), ("ok: ingested 1", 0), "{ran}");
    assert!(done.path().join("d/a.csv").exists() && !folder.path().join("d/a.csv").exists());
    assert_eq!(world.run().await.brief(), "ok: nothing");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_share_that_is_not_mounted_is_not_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let memory = tempfile::tempdir_in("/dev/shm").expect("a file system in memory");
    // A link to the root is followed, so it stands for a mount here.
    let root = dir.path().join("share");
    std::os::unix::fs::symlink(memory.path(), &root).unwrap();
    write(memory.path(), "a.csv", "one");
    let world = over(&root);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    std::fs::remove_file(&root).unwrap();
    std::fs::create_dir(&root).unwrap();
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: problem [share_changed]", "{ran}");
    assert_eq!(world.run().await.brief(), "degraded: problem [share_changed]", "still so");
    std::fs::remove_dir(&root).unwrap();
    std::os::unix::fs::symlink(memory.path(), &root).unwrap();
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
    // Files may go: it is the same share.
    std::fs::remove_file(memory.path().join("a.csv")).unwrap();
    assert_eq!(world.run().await.brief(), "ok: nothing");
}
