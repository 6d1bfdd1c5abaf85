//! Files of a share that somebody else is at: locked, open for writing.

use std::fs::{self, File};
use std::io::Read;
use std::process::{Command, Stdio};

use blobferry::model::RemotePath;
use blobferry::model::failure::{Class, Failure};
use blobferry::source::contract::{Endpoint, FileUse};
use blobferry::source::file::FileSourceFolder;

#[tokio::test]
async fn a_file_under_a_lock_is_not_read_and_not_free() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "bytes").unwrap();
    let root = RemotePath::from(dir.path().to_str().unwrap());
    let mut session = FileSourceFolder::new(&root).open().await.unwrap();
    let file = session.stat(&root.join(b"a")).await.unwrap().expect("it is there");
    let held = File::open(dir.path().join("a")).unwrap();
    held.lock().unwrap();
    let error = session.read(&file, 0).await.err().expect("it is locked");
    assert_eq!((error.class(), error.is_transient()), (Class::Busy, true), "{error:?}");
    let told = session.file_use(&file.path).await.unwrap();
    assert!(matches!(&told, FileUse::Taken(who) if who.contains("lock")), "{told:?}");
    drop(held);
    assert!(session.read(&file, 0).await.is_ok());
    assert!(!matches!(session.file_use(&file.path).await.unwrap(), FileUse::Taken(_)));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_that_a_process_has_open_for_writing_is_taken_by_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("slow"), "begun").unwrap();
    let root = RemotePath::from(dir.path().to_str().unwrap());
    let mut writer = Command::new("/bin/sh")
        .args(["-c", "exec 3>>\"$1\"; echo ready; read -r line", "sh"])
        .arg(dir.path().join("slow"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let mut session = FileSourceFolder::new(&root).open().await.unwrap();
    let told = session.file_use(&root.join(b"slow")).await.unwrap();
    drop(writer.stdin.take());
    writer.wait().unwrap();
    let process = format!("process {} ", writer.id());
    assert!(matches!(&told, FileUse::Taken(who) if who.starts_with(&process)), "{told:?}");
}
