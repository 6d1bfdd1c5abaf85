//! Names that make trouble.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::*;

/// Names that an FTP command can carry.
fn awkward() -> Vec<Vec<u8>> {
    let long = vec![b'n'; 255];
    let names: &[&[u8]] = &[
        b" leading",
        b"  two leading",
        b"trailing ",
        b"trailing  ",
        b" both ",
        b" ",
        b"  ",
        b"in  side",
        b"tab\there",
        b"\tlead",
        b"trail\t",
        b"esc\x1b[31m",
        b"bell\x07",
        b"del\x7f",
        b"semi;colon",
        b";",
        b"type=file;size=9; x",
        b"a -> b",
        b" -> ",
        b"->",
        b"-rf",
        b"-a",
        b"--",
        b"~",
        b"~root",
        b"*",
        b"?",
        b"[x]",
        b"{a,b}",
        b"$HOME",
        b"`id`",
        b"$(id)",
        b"%41",
        b"100%",
        b"#hash",
        b"q?r=1",
        b"a&b",
        b"a\\b",
        b"quote\"d",
        b"apo'strophe",
        b"226 Transfer complete.",
        b"total 12",
        b"-rw-r--r-- 1 f f 1 Nov 20 10:11 x",
        b"11-20-26  10:11AM  1 x",
        b"Nov 20 10:11 x",
        b"caf\xc3\xa9",
        b"caf\xe9",
        b"\x83\x65\x83\x58\x83\x67",
        b"\xff",
        b"\xff\xff",
        b"a\xffb\xf4",
        b"\xe2\x80\xae rtl",
        b"\xef\xbb\xbfbom",
        b"\xf0\x9f\xa6\x80",
        b"nfd e\xcc\x81",
        b"nfc \xc3\xa9",
        b"UPPER",
        b"upper",
        b"...",
        b"..a",
        b".hidden",
        b"a.",
        b"con",
        b"x:y",
        b"<DIR>",
        b"|pipe",
    ];
    names.iter().map(|name| name.to_vec()).chain([long]).collect()
}

#[tokio::test]
async fn sixty_awkward_names_come_and_go_as_they_are() {
    let names = awkward();
    assert!(names.len() >= 60);
    for without in [vec![], vec!["MLST"]] {
        let world = World::new(DemoFtpScript { without, ..DemoFtpScript::default() }).await;
        let folder = world.path().join("odd ;-> dir ");
        std::fs::create_dir(&folder).unwrap();
        for name in &names {
            std::fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
        }
        let mut session = world.session().await;
        let mut files = Vec::new();
        for listed in list(&mut session, "/odd ;-> dir ").await.unwrap() {
            let Listed::File(file) = listed else { panic!("{listed:?}") };
            files.push(file);
        }
        let mut listed: Vec<&[u8]> = files.iter().map(|file| file.path.file_name()).collect();
        let mut expected: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        listed.sort();
        expected.sort();
        assert_eq!(listed, expected);
        for file in files {
            assert_eq!(
                fetch(&mut session, &file, 0).await.unwrap(),
                file.path.file_name(),
                "{}",
                file.path
            );
            let now = soon(session.stat(&file.path)).await.unwrap().unwrap();
            assert!(crate::rules::equality::between(&file, &now).is_possible(), "{now:?} {file:?}");
            soon(session.remove(&file.path)).await.unwrap();
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn names_with_line_breaks_are_told_and_never_asked_for() {
    for without in [vec![], vec!["MLST"]] {
        let world = World::new(DemoFtpScript { without, ..DemoFtpScript::default() }).await;
        for name in ["nl\nx.txt", "cr\rx", "crlf\r"] {
            std::fs::write(world.path().join(name), b"x").unwrap();
        }
        let mut session = world.session().await;
        let listed = list(&mut session, "/").await.unwrap();
        let unreachable: Vec<String> = listed
            .iter()
            .filter_map(|entry| match entry {
                Listed::Unreachable(path, _) => Some(path.to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(unreachable, ["/cr\\x0Dx", "/crlf\\x0D", "/nl\\x0Ax.txt"]);
        assert_eq!(listed.len(), 6);
        let path = RemotePath::new(&b"/a.bin\r\nDELE a.bin"[..]);
        check_error(soon(session.remove(&path)).await, Class::Protocol, false);
        assert!(world.path().join("a.bin").exists());
        assert_eq!(list(&mut session, "/").await.unwrap().len(), 6);
    }
}

#[tokio::test]
async fn a_server_that_does_not_undouble_0xff_is_not_said_to_have_lost_the_file() {
    let replies = vec![
        ("SIZE", "550 No such file.\r\n"),
        ("MDTM", "550 No such file.\r\n"),
        ("RETR", "550 No such file.\r\n"),
    ];
    let world =
        World::new(DemoFtpScript { without: vec!["MLST"], replies, ..DemoFtpScript::default() })
            .await;
    let mut session = world.session().await;
    let path = RemotePath::new(&b"/y\xff"[..]);
    check_error(soon(session.stat(&path)).await, Class::Protocol, false);
    check_error(
        fetch(&mut session, &RemoteFile { path, size: None, modified: None }, 0).await,
        Class::Protocol,
        false,
    );
}

#[tokio::test]
async fn links_and_pipes_are_no_files() {
    for without in [vec![], vec!["MLST"]] {
        let world = World::new(DemoFtpScript { without, ..DemoFtpScript::default() }).await;
        std::os::unix::fs::symlink("/etc/passwd", world.path().join("out")).unwrap();
        std::os::unix::fs::symlink("a.bin", world.path().join("in")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(world.path().join("socket")).unwrap();
        let mut session = world.session().await;
        let listed = list(&mut session, "/").await.unwrap();
        for expected in [
            Listed::Symlink(RemotePath::from("/out")),
            Listed::Symlink(RemotePath::from("/in")),
            Listed::Special(RemotePath::from("/socket")),
        ] {
            assert!(listed.contains(&expected), "{listed:?}");
        }
        check_error(fetch(&mut session, &file("/out", None), 0).await, Class::NotFound, false);
    }
}
