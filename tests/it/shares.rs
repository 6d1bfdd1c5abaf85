//! Shares as file systems are: paths that are exchanged between two calls, moves between two file
//! systems.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use blobferry::model::failure::{Class, Failure};
use blobferry::model::{RemoteFile, RemotePath};
use blobferry::source::contract::{Endpoint, Listed, Session, SourceError};
use blobferry::source::file::FileSourceFolder;

struct Share {
    _dir: tempfile::TempDir,
    root: PathBuf,
    outside: PathBuf,
}

/// A share with `a.txt` and `sub/b.txt`, and a folder outside of it with files of the same names.
fn share() -> Share {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("share"), dir.path().join("outside"));
    for (folder, content) in [(&root, "public!"), (&outside, "SECRET!")] {
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(folder.join("a.txt"), content).unwrap();
        fs::write(folder.join("sub/b.txt"), content).unwrap();
        fs::write(folder.join("b.txt"), content).unwrap();
    }
    Share { _dir: dir, root, outside }
}

fn remote(path: &Path) -> RemotePath {
    RemotePath::from(path.to_str().unwrap())
}

impl Share {
    async fn session(&self) -> Box<dyn Session> {
        FileSourceFolder::new(&remote(&self.root)).open().await.unwrap()
    }

    fn path(&self, below: &str) -> RemotePath {
        remote(&self.root.join(below))
    }

    async fn described(&self, session: &mut dyn Session, below: &str) -> RemoteFile {
        session.stat(&self.path(below)).await.unwrap().expect("it is there")
    }
}

async fn read(session: &mut dyn Session, file: &RemoteFile) -> Result<Vec<u8>, SourceError> {
    let mut download = session.read(file, 0).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = download.next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// `path` becomes a named pipe.
#[cfg(target_os = "linux")]
fn pipe(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[tokio::test]
async fn a_link_that_takes_a_files_place_brings_no_bytes_from_outside() {
    let share = share();
    let mut session = share.session().await;
    let file = share.described(&mut *session, "a.txt").await;
    fs::remove_file(share.root.join("a.txt")).unwrap();
    symlink(share.outside.join("a.txt"), share.root.join("a.txt")).unwrap();
    let error = read(&mut *session, &file).await.expect_err("it is a link by now");
    assert_eq!((error.class(), error.keeps_session()), (Class::NotFound, true), "{error:?}");
    assert_eq!(session.stat(&file.path).await.unwrap(), None);
}

#[tokio::test]
async fn a_folder_that_becomes_a_link_leads_nowhere() {
    let share = share();
    let mut session = share.session().await;
    let file = share.described(&mut *session, "sub/b.txt").await;
    fs::rename(share.root.join("sub"), share.root.join("was sub")).unwrap();
    symlink(share.outside.join("sub"), share.root.join("sub")).unwrap();
    let error = read(&mut *session, &file).await.expect_err("its folder is a link by now");
    assert_eq!(error.class(), Class::NotFound, "{error:?}");
    assert_eq!(session.stat(&file.path).await.unwrap(), None);
    let listing = session.list(&share.path("sub"), &mut |_| panic!("nothing is listed")).await;
    assert!(listing.is_err());
    drop(session.remove(&file.path).await);
    drop(session.rename(&file.path, &share.path("c.txt")).await);
    drop(session.rename(&share.path("a.txt"), &share.path("sub/new.txt")).await);
    assert!(
        share.outside.join("sub/b.txt").exists() && !share.outside.join("sub/new.txt").exists()
    );
    let names: Vec<_> = fs::read_dir(&share.outside).unwrap().collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_pipe_that_takes_a_files_place_holds_up_nobody() {
    let share = share();
    let mut session = share.session().await;
    let file = share.described(&mut *session, "a.txt").await;
    fs::remove_file(share.root.join("a.txt")).unwrap();
    pipe(&share.root.join("a.txt"));
    let soon = std::time::Duration::from_secs(20);
    let opened = tokio::time::timeout(soon, read(&mut *session, &file)).await.expect("it ends");
    assert_eq!(opened.expect_err("it is a pipe").class(), Class::NotFound);
}

#[tokio::test]
async fn another_file_that_stood_there_while_it_was_read_is_not_taken_for_it() {
    let share = share();
    let mut session = share.session().await;
    let file = share.described(&mut *session, "a.txt").await;
    let (here, aside) = (share.root.join("a.txt"), share.root.join("aside"));
    fs::rename(&here, &aside).unwrap();
    fs::write(&here, "another").unwrap();
    assert_eq!(read(&mut *session, &file).await.unwrap(), b"another");
    fs::rename(&aside, &here).unwrap();
    let after = session.stat(&file.path).await.unwrap().expect("something is there");
    assert_ne!(after.modified, file.modified, "the time is that of what was read");
    let later = session.stat(&file.path).await.unwrap().expect("it is there");
    assert_eq!(later, file, "the next look is at the path again");
}

#[tokio::test]
async fn a_file_that_took_the_place_of_the_one_described_is_neither_removed_nor_moved() {
    let share = share();
    let mut session = share.session().await;
    let path = share.path("a.txt");
    for _ in 0..2 {
        share.described(&mut *session, "a.txt").await;
        // The new one gets an inode of its own while the old one is still there.
        fs::write(share.root.join("new"), "another").unwrap();
        fs::rename(share.root.join("new"), share.root.join("a.txt")).unwrap();
        let error = session.remove(&path).await.expect_err("it is another");
        assert_eq!((error.class(), error.is_transient()), (Class::AfterAction, false), "{error:?}");
    }
    share.described(&mut *session, "a.txt").await;
    fs::write(share.root.join("a.txt"), "longer than before").unwrap();
    session.rename(&path, &share.path("c.txt")).await.expect_err("it is another");
    assert!(share.root.join("a.txt").exists() && !share.root.join("c.txt").exists());
    share.described(&mut *session, "a.txt").await;
    session.remove(&path).await.expect("it is the one described");
    assert!(!share.root.join("a.txt").exists());
    session.remove(&path).await.expect("it was gone before");
}

#[tokio::test]
async fn a_file_is_never_moved_over_another() {
    let share = share();
    let mut session = share.session().await;
    for target in [share.path("sub/b.txt"), remote(&share.outside.join("b.txt"))] {
        let error = session.rename(&share.path("a.txt"), &target).await.expect_err("it is taken");
        assert_eq!(error.class(), Class::Permission, "{error:?}");
    }
    assert_eq!(fs::read_to_string(share.root.join("a.txt")).unwrap(), "public!");
    assert_eq!(fs::read_to_string(share.root.join("sub/b.txt")).unwrap(), "public!");
    assert_eq!(fs::read_to_string(share.outside.join("b.txt")).unwrap(), "SECRET!");
    session.rename(&share.path("a.txt"), &share.path("new/c.txt")).await.expect("it is free");
    assert!(share.root.join("new/c.txt").exists() && !share.root.join("a.txt").exists());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_is_moved_to_another_file_system_with_its_bytes_and_its_time() {
    let share = share();
    let other = tempfile::tempdir_in("/dev/shm").expect("a file system in memory");
    let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap());
    assert_ne!(device(&share.root), device(other.path()), "these tests run on a disk");
    let mut session = share.session().await;
    let before = share.described(&mut *session, "a.txt").await;
    let target = remote(&other.path().join("done/a.txt"));
    session.rename(&before.path, &target).await.expect("it is copied, compared and removed");
    assert!(!share.root.join("a.txt").exists());
    assert_eq!(fs::read_to_string(other.path().join("done/a.txt")).unwrap(), "public!");
    let moved = session.stat(&target).await.unwrap().expect("it is there");
    assert_eq!((moved.size, moved.modified), (before.size, before.modified));

    // Nor is anything replaced there, or left behind.
    let error = session.rename(&share.path("b.txt"), &target).await.expect_err("it is taken");
    assert_eq!(error.class(), Class::Permission, "{error:?}");
    assert!(share.root.join("b.txt").exists());
    assert_eq!(fs::read_dir(other.path().join("done")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_folder_of_many_files_is_listed_whole_and_in_parts() {
    let share = share();
    let many = share.root.join("many");
    fs::create_dir(&many).unwrap();
    for n in 0..5000 {
        fs::write(many.join(format!("f{n}")), "").unwrap();
    }
    let mut session = share.session().await;
    let mut names = std::collections::HashSet::new();
    let visit = &mut |listed: Listed| match listed {
        Listed::File(file) => assert!(names.insert(file.path)),
        other => panic!("{other:?}"),
    };
    session.list(&share.path("many"), visit).await.unwrap();
    assert_eq!(names.len(), 5000);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_destination_that_is_not_mounted_is_refused() {
    use blobferry::store::contract::{Store, StoreKind};
    use blobferry::store::folder::FolderStore;
    let (dir, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = tempfile::tempdir_in("/dev/shm").expect("a file system in memory");
    // A link to the root of a store is followed, so it stands for a mount here.
    let root = dir.path().join("out");
    symlink(disk.path(), &root).unwrap();
    let prepare = || async {
        let known = Some(memory.path().to_owned());
        FolderStore::remembered_in(&root, known).unwrap().prepare().await
    };
    prepare().await.expect("it is new");
    prepare().await.expect("it is known");
    fs::remove_file(&root).unwrap();
    fs::create_dir(&root).unwrap();
    let error = prepare().await.expect_err("it is another folder");
    assert_eq!(error.kind, StoreKind::NoContainer);
    let told = blobferry::model::chain(&error);
    assert!(told.contains("Mount what belongs there"), "{told}");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "nothing is made there");
    fs::remove_dir(&root).unwrap();
    symlink(disk.path(), &root).unwrap();
    prepare().await.expect("it is mounted again");
}
