//! Files as text, and folders that are entered one by one.

use super::scripted::{Said, Scripted};
use super::*;

fn with(server: &mut Scripted, change: impl FnOnce(&mut FtpAccount)) {
    change(Arc::get_mut(&mut server.endpoint.account).expect("nobody else has it yet"));
}

/// A server that converts line ends, and refuses sizes of text.
async fn converting() -> Scripted {
    let text = std::sync::atomic::AtomicBool::new(false);
    let mut server = Scripted::new(move |line| match line {
        "TYPE A" | "TYPE I" => {
            text.store(line == "TYPE A", Ordering::SeqCst);
            Said::Reply("200 ok")
        }
        line if line.starts_with("SIZE") && text.load(Ordering::SeqCst) => {
            Said::Reply("550 SIZE not allowed in ASCII mode")
        }
        line if line.starts_with("REST") => Said::Reply("350 go on"),
        "RETR /out/a.csv" if text.load(Ordering::SeqCst) => Said::Data("one\r\ntwo\rx\r\n"),
        _ => Said::Usual,
    })
    .await;
    with(&mut server, |account| account.transfer_type = TransferType::Ascii);
    server
}

#[tokio::test]
async fn text_comes_with_line_feeds_and_proves_nothing_by_its_size() {
    let server = converting().await;
    let mut session = server.session().await;
    for _ in 0..2 {
        let found = list(&mut session, "/out").await.unwrap();
        let Some(Listed::File(listed)) =
            found.into_iter().find(|listed| matches!(listed, Listed::File(_)))
        else {
            panic!("a file is listed")
        };
        assert_eq!(listed.size, None, "its size says nothing of what comes");
        let told = soon(session.stat(&listed.path)).await.unwrap().expect("it is there");
        assert_eq!((told.size, told.modified.is_some()), (None, true));
        let bytes = fetch(&mut session, &told, 0).await.unwrap();
        assert_eq!(bytes, b"one\ntwo\rx\n");
        // What broke is read anew: no server can go on in the middle of text.
        assert_eq!(fetch(&mut session, &told, 4).await.unwrap(), b"two\rx\n");
    }
    assert_eq!(server.times("REST"), 0);
    assert!(server.times("TYPE A") >= 2 && server.times("TYPE I") >= 2);
    let told = session.describe();
    assert!(told.iter().any(|found| found.text.starts_with("ASCII: ")), "{told:?}");
}

#[tokio::test]
async fn binary_files_are_never_asked_for_as_text() {
    let server = Scripted::new(|_| Said::Usual).await;
    let mut session = server.session().await;
    assert_eq!(fetch(&mut session, &file("/out/a.csv", 6), 0).await.unwrap(), b"hello\n");
    assert_eq!((server.times("TYPE A"), server.times("TYPE I")), (0, 1));
}

/// A server that takes `CWD` to one folder at a time, from where it stands.
async fn by_steps(root: &'static str) -> Scripted {
    Scripted::new(move |line| match line {
        "CWD /" => Said::Reply(root),
        "PWD" => Said::Reply("257 \"/\" is where you are"),
        line if line.starts_with("CWD ") && line[4..].contains('/') => {
            Said::Reply("501 Syntax error in parameters")
        }
        line if line.contains("/a.csv") => Said::Reply("501 Syntax error in parameters"),
        "CWD gone" => Said::Reply("550 No such folder"),
        _ => Said::Usual,
    })
    .await
}

#[tokio::test]
async fn a_server_that_takes_no_paths_is_entered_folder_by_folder() {
    for root in ["250 ok", "501 Syntax error in parameters"] {
        let server = by_steps(root).await;
        let mut session = server.session().await;
        assert_eq!(list(&mut session, "/deep/out").await.unwrap().len(), 2, "{root}");
        assert_eq!(fetch(&mut session, &file("/deep/out/a.csv", 6), 0).await.unwrap(), b"hello\n");
        list(&mut session, "/deep/out/sub").await.unwrap();
        list(&mut session, "/other").await.unwrap();
        let told = soon(session.stat(&RemotePath::from("/deep/out/a.csv"))).await.unwrap();
        assert_eq!(told.unwrap().size, Some(6));
        check_error(list(&mut session, "/deep/gone").await, Class::NotFound, false);
        assert_eq!(list(&mut session, "/deep/out").await.unwrap().len(), 2);
        // Only the first folder was asked for by its whole path.
        assert_eq!(server.times("CWD /deep"), 1);
        let told = session.describe();
        assert!(told.iter().any(|found| found.text.contains("one by one")), "{told:?}");
    }
}

/// What is asked after it would be about files of another folder.
#[tokio::test]
async fn a_folder_that_is_refused_and_entered_all_the_same_ends_the_session() {
    let moved = std::sync::atomic::AtomicBool::new(false);
    let server = Scripted::new(move |line| match line {
        "CWD moved" => {
            moved.store(true, Ordering::SeqCst);
            Said::Reply("550 No such folder")
        }
        "PWD" if moved.load(Ordering::SeqCst) => Said::Reply("257 \"/moved\" is where you are"),
        line if line.starts_with("CWD ") && line[4..].contains('/') && line != "CWD /" => {
            Said::Reply("501 Syntax error in parameters")
        }
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    list(&mut session, "/deep/out").await.unwrap();
    let error = list(&mut session, "/moved").await.expect_err("it is not where it was");
    assert!(!error.keeps_session(), "{}", chain(&error));
    assert!(chain(&error).contains("refused to leave `/`, and left it"), "{}", chain(&error));
    let server = by_steps("250 ok").await;
    let mut session = server.session().await;
    list(&mut session, "/deep/out").await.unwrap();
    check_error(list(&mut session, "/deep/gone").await, Class::NotFound, false);
    assert_eq!(server.times("PWD"), 1, "it is asked where it stands");
}

/// `-rw-r--r-- 1 f f 6 Jan 10 2024 a.csv` and a line end as a host with EBCDIC writes them.
const EBCDIC: &str = "\u{60}`\u{40}\u{4b}\u{40}\u{4b}\u{40}\u{25}";

#[tokio::test]
async fn a_listing_that_can_be_read_as_text_alone_is_asked_for_so() {
    let text = std::sync::atomic::AtomicBool::new(false);
    let server = Scripted::new(move |line| match line {
        "TYPE A" | "TYPE I" => {
            text.store(line == "TYPE A", Ordering::SeqCst);
            Said::Reply("200 ok")
        }
        line if line.starts_with("LIST") && !text.load(Ordering::SeqCst) => Said::Data(EBCDIC),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    for _ in 0..2 {
        assert_eq!(list(&mut session, "/out").await.unwrap().len(), 2);
        let told = soon(session.stat(&RemotePath::from("/out/a.csv"))).await.unwrap();
        assert_eq!(told.unwrap().size, Some(6));
    }
    // -a and plain in binary, plain as text, and from then on as text at once.
    assert_eq!((server.times("LIST -a"), server.times("LIST"), server.times("NLST")), (1, 4, 0));
    let told = session.describe();
    assert!(told.iter().any(|found| found.text.contains("TYPE A")), "{told:?}");
}

/// A server that lists nothing but as text, as simple-ftpd does.
async fn listing_as_text_alone(text_type: &'static str) -> Scripted {
    let text = std::sync::atomic::AtomicBool::new(false);
    Scripted::new(move |line| match line {
        "TYPE A" if !text_type.starts_with("200") => Said::Reply(text_type),
        "TYPE A" | "TYPE I" => {
            text.store(line == "TYPE A", Ordering::SeqCst);
            Said::Reply("200 ok")
        }
        line if line.starts_with("LIST") && !text.load(Ordering::SeqCst) => {
            Said::Reply("550 data encoding must be set to utf8 for listing")
        }
        "LIST -a" => Said::Data("-rw-r--r-- 1 f f 6 Jan 10 2024 .hidden\r\n"),
        _ => Said::Usual,
    })
    .await
}

#[tokio::test]
async fn a_server_that_lists_as_text_alone_is_listed_and_read_as_bytes() {
    let server = listing_as_text_alone("200 ok").await;
    let mut session = server.session().await;
    for _ in 0..2 {
        let found = list(&mut session, "/out").await.unwrap();
        assert!(matches!(&found[..], [Listed::File(file)] if file.path.file_name() == b".hidden"));
        assert_eq!(fetch(&mut session, &file("/out/a.csv", 6), 0).await.unwrap(), b"hello\n");
    }
    // Both in bytes once, and from then on the one that tells most, as text at once.
    assert_eq!((server.times("LIST -a"), server.times("LIST")), (3, 4));
    assert_eq!(server.times("TYPE I"), 3, "files are read as bytes");
    let told = session.describe();
    assert!(told.iter().any(|found| found.text.contains("TYPE A")), "{told:?}");
}

#[tokio::test]
async fn a_refused_folder_is_told_as_refused_when_text_does_not_help() {
    let server = listing_as_text_alone("504 not here").await;
    let mut session = server.session().await;
    let error = list(&mut session, "/out").await.expect_err("it lists nothing");
    assert!(chain(&error).contains("550 data encoding"), "{}", chain(&error));
    let server = Scripted::new(|line| match line {
        line if line.starts_with("LIST") => Said::Reply("550 Permission denied"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    for _ in 0..2 {
        check_error(list(&mut session, "/out").await, Class::Permission, false);
    }
    // Text was tried once, and files are still read as bytes.
    assert_eq!((server.times("TYPE A"), server.times("LIST")), (1, 6));
    assert_eq!(fetch(&mut session, &file("/out/a.csv", 6), 0).await.unwrap(), b"hello\n");
}

/// As on simple-ftpd and on hosts with EBCDIC.
#[tokio::test]
async fn a_file_that_listings_alone_tell_of_is_looked_for_in_a_listing_as_text() {
    let text = std::sync::atomic::AtomicBool::new(false);
    let server = Scripted::new(move |line| match line.split(' ').next().unwrap_or_default() {
        "TYPE" => {
            text.store(line == "TYPE A", Ordering::SeqCst);
            Said::Reply("200 ok")
        }
        "LIST" if !text.load(Ordering::SeqCst) => Said::Reply("550 not in this mode"),
        "RETR" if text.load(Ordering::SeqCst) => Said::Reply("550 not in this mode"),
        "SIZE" | "MDTM" => Said::Reply("502 no"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    assert_eq!(list(&mut session, "/out").await.unwrap().len(), 2);
    for _ in 0..2 {
        let told = soon(session.stat(&RemotePath::from("/out/a.csv"))).await.unwrap();
        assert_eq!(told.and_then(|file| file.size), Some(6));
        assert_eq!(fetch(&mut session, &file("/out/a.csv", 6), 0).await.unwrap(), b"hello\n");
        assert_eq!(soon(session.stat(&RemotePath::from("/out/b.csv"))).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_listing_that_is_refused_does_not_mean_that_a_file_is_gone() {
    let server = Scripted::new(|line| match line.split(' ').next().unwrap_or_default() {
        "SIZE" | "MDTM" => Said::Reply("502 no"),
        "LIST" => Said::Reply("550 not today"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    let told = soon(session.stat(&RemotePath::from("/out/a.csv"))).await;
    let text = check_error(told, Class::ListingFailed, false);
    assert!(text.contains("its folder cannot be listed: 550 not today"), "{text}");
}
