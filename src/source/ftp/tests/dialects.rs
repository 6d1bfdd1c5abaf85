//! Servers that know less, or say it in another way.

use super::*;
use crate::demo::ftp::{DeadPorts, ListFormat};
use crate::model::Precision;

fn lacking(without: &[&'static str]) -> DemoFtpScript {
    DemoFtpScript { without: without.to_vec(), ..DemoFtpScript::default() }
}

async fn check_works(script: DemoFtpScript) {
    let world = World::new(script).await;
    let mut session = world.session().await;
    assert_eq!(list(&mut session, "/").await.unwrap().len(), 3);
    assert_eq!(fetch(&mut session, &file("/a.bin", 100_000), 0).await.unwrap(), content(100_000));
    assert_eq!(fetch(&mut session, &file("/empty", 0), 0).await.unwrap(), b"");
    assert_eq!(fetch(&mut session, &file("/sub/b.txt", None), 0).await.unwrap(), b"hello");
    assert_eq!(
        fetch(&mut session, &file("/a.bin", 100_000), 99_990).await.unwrap(),
        content(100_000)[99_990..]
    );
    assert_eq!(
        soon(session.stat(&RemotePath::from("/sub/b.txt"))).await.unwrap().unwrap().size,
        Some(5)
    );
    for absent in ["/sub/none", "/none/b.txt", "/sub"] {
        assert_eq!(soon(session.stat(&RemotePath::from(absent))).await.unwrap(), None, "{absent}");
    }
    soon(session.close()).await;
}

#[tokio::test]
async fn a_server_that_does_everything_right() {
    check_works(DemoFtpScript::default()).await;
}

#[tokio::test]
async fn servers_that_know_less() {
    for without in [
        &["MLST"][..],
        &["MLSD"],
        &["EPSV"],
        &["SIZE"],
        &["MDTM"],
        &["REST"],
        &["UTF8", "OPTS"],
        &["FEAT"],
        &["MLST", "LIST -a"],
        &["MLST", "SIZE"],
        &["MLST", "SIZE", "MDTM"],
        &["MLST", "SIZE", "MDTM", "REST", "EPSV", "FEAT", "OPTS", "SYST"],
    ] {
        check_works(lacking(without)).await;
    }
}

#[tokio::test]
async fn listings_in_every_dialect() {
    for listing in [
        ListFormat::Unix,
        ListFormat::UnixOld,
        ListFormat::UnixLf,
        ListFormat::Dos,
        ListFormat::DosLong,
    ] {
        check_works(DemoFtpScript { listing, ..lacking(&["MLST"]) }).await;
    }
}

#[tokio::test]
async fn a_greeting_of_many_lines() {
    let greeting =
        b"220-Welcome\r\n220-500 not an error\r\n   220 fake end\r\n220 ready\r\n".to_vec();
    check_works(DemoFtpScript { greeting: Some(greeting), ..DemoFtpScript::default() }).await;
}

#[tokio::test]
async fn times_are_as_exact_as_their_source() {
    let world = World::new(DemoFtpScript::default()).await;
    assert!(
        shown(&mut world.session().await, "/").await.contains(&"/a.bin 100000 Some(Second)".into())
    );
    let world = World::new(lacking(&["MLST"])).await;
    let mut session = world.session().await;
    assert!(shown(&mut session, "/").await.contains(&"/a.bin 100000 Some(Minute)".into()));
    let exact = soon(session.stat(&RemotePath::from("/a.bin"))).await.unwrap().unwrap();
    assert_eq!(exact.modified.unwrap().precision, Precision::Second);
    let world =
        World::new(DemoFtpScript { listing: ListFormat::UnixOld, ..lacking(&["MLST"]) }).await;
    assert!(
        shown(&mut world.session().await, "/").await.contains(&"/a.bin 100000 Some(Day)".into())
    );
}

#[tokio::test]
async fn a_listing_that_nobody_can_parse_is_not_an_empty_one() {
    let garbage = || DemoFtpScript { listing: ListFormat::Garbage, ..lacking(&["MLST"]) };
    // NLST names what nobody can parse.
    let world = World::new(garbage()).await;
    let listed = list(&mut world.session().await, "/").await.unwrap();
    let unparsed = listed.iter().any(|entry| matches!(entry, Listed::Unparsed(_)));
    assert!(listed.len() == 3 && !unparsed, "{listed:?}");
    let script = DemoFtpScript { replies: vec![("NLST", "502 no\r\n")], ..garbage() };
    let world = World::new(script).await;
    let listed = list(&mut world.session().await, "/").await.unwrap();
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|entry| matches!(entry, Listed::Unparsed(_))), "{listed:?}");
}

#[tokio::test]
async fn a_strange_line_among_good_ones_is_told() {
    for without in [&[][..], &["MLST"]] {
        let world = World::new(DemoFtpScript {
            extra_lines: vec![b"\x1b[31mwhat?\r\n".to_vec()],
            ..lacking(without)
        })
        .await;
        let listed = list(&mut world.session().await, "/").await.unwrap();
        assert_eq!(listed.len(), 4);
        assert_eq!(listed[3], Listed::Unparsed("\\x1B[31mwhat?".into()));
    }
}

#[tokio::test]
async fn dot_files_are_listed_also_without_mlsd() {
    let world = World::new(lacking(&["MLST"])).await;
    std::fs::write(world.path().join(".hidden"), b"x").unwrap();
    assert!(
        shown(&mut world.session().await, "/")
            .await
            .iter()
            .any(|line| line.starts_with("/.hidden 1"))
    );
}

#[tokio::test]
async fn a_server_behind_nat_names_an_address_that_nobody_reaches() {
    let world =
        World::new(DemoFtpScript { pasv_address: Some([10, 255, 255, 1]), ..lacking(&["EPSV"]) })
            .await;
    for _ in 0..2 {
        let mut session = world.session().await;
        assert_eq!(
            fetch(&mut session, &file("/a.bin", 100_000), 0).await.unwrap(),
            content(100_000)
        );
    }
    // The second login remembers what the first found out.
    assert_eq!((world.server.counts.of("EPSV"), world.server.counts.of("PASV")), (1, 2));
}

#[tokio::test]
async fn a_firewall_that_knows_only_pasv() {
    check_works(DemoFtpScript { dead_ports: DeadPorts::Extended, ..DemoFtpScript::default() })
        .await;
}

#[tokio::test]
async fn a_firewall_that_blocks_every_passive_port() {
    let world =
        World::new(DemoFtpScript { dead_ports: DeadPorts::All, ..DemoFtpScript::default() }).await;
    let mut session = world.session().await;
    let text = check_error(list(&mut session, "/").await, Class::Connect, true);
    assert!(text.contains("passive ports"), "{text}");
}

#[tokio::test]
async fn a_passive_reply_that_means_nothing() {
    let world = World::new(DemoFtpScript {
        replies: vec![("EPSV", "229 somewhere\r\n"), ("PASV", "227 Entering Passive Mode\r\n")],
        ..DemoFtpScript::default()
    })
    .await;
    let mut session = world.session().await;
    check_error(list(&mut session, "/").await, Class::Protocol, true);
}

#[tokio::test]
async fn ipv6_without_pasv() {
    let world =
        World::at(DemoFtpScript::default(), |options| options.listen = "[::1]:0".parse().unwrap())
            .await;
    let mut session = world.session().await;
    assert_eq!(list(&mut session, "/").await.unwrap().len(), 3);
    assert_eq!(fetch(&mut session, &file("/a.bin", 100_000), 0).await.unwrap().len(), 100_000);
    let world =
        World::at(lacking(&["EPSV"]), |options| options.listen = "[::1]:0".parse().unwrap()).await;
    let mut session = world.session().await;
    for _ in 0..2 {
        check_error(list(&mut session, "/").await, Class::Protocol, false);
    }
    assert_eq!(world.server.counts.of("PASV"), 0);
}

#[tokio::test]
async fn a_server_that_refuses_to_list_what_is_empty() {
    let world = World::new(DemoFtpScript {
        replies: vec![("LIST", "550 No files found.\r\n")],
        ..lacking(&["MLST"])
    })
    .await;
    assert_eq!(list(&mut world.session().await, "/").await.unwrap(), []);
}

#[tokio::test]
async fn folders_that_are_missing_or_closed() {
    let world = World::new(DemoFtpScript::default()).await;
    let mut session = world.session().await;
    check_error(list(&mut session, "/nowhere").await, Class::NotFound, false);
    check_error(list(&mut session, "/a.bin").await, Class::NotFound, false);
    assert_eq!(list(&mut session, "/sub").await.unwrap().len(), 1);
    let world = World::new(DemoFtpScript {
        replies: vec![("CWD", "550 Permission denied.\r\n")],
        ..DemoFtpScript::default()
    })
    .await;
    let mut session = world.session().await;
    check_error(list(&mut session, "/sub").await, Class::Permission, false);
    assert_eq!(fetch(&mut session, &file("/a.bin", 100_000), 0).await.unwrap().len(), 100_000);
}

#[tokio::test]
async fn a_refusal_does_not_look_like_a_file_that_vanished() {
    for reply in ["550 Permission denied.\r\n", "550 Access is denied.\r\n"] {
        let world = World::new(DemoFtpScript {
            replies: vec![("SIZE", reply), ("MDTM", reply)],
            ..lacking(&["MLST"])
        })
        .await;
        check_error(
            soon(world.session().await.stat(&RemotePath::from("/a.bin"))).await,
            Class::Permission,
            false,
        );
    }
    // vsftpd says this of files that are missing and of files that it does not want to describe.
    let vague = vec![
        ("SIZE", "550 Could not get file size.\r\n"),
        ("MDTM", "550 Could not get file modification time.\r\n"),
    ];
    let world = World::new(DemoFtpScript { replies: vague, ..lacking(&["MLST"]) }).await;
    let mut session = world.session().await;
    assert_eq!(
        soon(session.stat(&RemotePath::from("/a.bin"))).await.unwrap().unwrap().size,
        Some(100_000)
    );
    assert_eq!(soon(session.stat(&RemotePath::from("/none"))).await.unwrap(), None);
}

#[tokio::test]
async fn removing_and_renaming() {
    for without in [&[][..], &["MLST"], &["MLST", "SIZE", "MDTM"]] {
        let world = World::new(lacking(without)).await;
        let mut session = world.session().await;
        let path = |text: &str| RemotePath::from(text);
        soon(session.rename(&path("/a.bin"), &path("/done/deep er/a.bin"))).await.unwrap();
        assert!(
            world.path().join("done/deep er/a.bin").exists()
                && !world.path().join("a.bin").exists()
        );
        let text = check_error(
            soon(session.rename(&path("/empty"), &path("/sub/b.txt"))).await,
            Class::AfterAction,
            false,
        );
        assert!(text.contains("there already"), "{text}");
        assert_eq!(std::fs::read(world.path().join("sub/b.txt")).unwrap(), b"hello");
        check_error(
            soon(session.rename(&path("/gone"), &path("/x"))).await,
            Class::NotFound,
            false,
        );
        for _ in 0..2 {
            soon(session.remove(&path("/sub/b.txt"))).await.unwrap();
            assert!(!world.path().join("sub/b.txt").exists());
        }
    }
    let world = World::new(DemoFtpScript {
        replies: vec![("DELE", "550 Delete operation failed.\r\n")],
        ..DemoFtpScript::default()
    })
    .await;
    check_error(
        soon(world.session().await.remove(&RemotePath::from("/a.bin"))).await,
        Class::Permission,
        false,
    );
}

#[tokio::test]
async fn a_server_that_says_no_more_than_failed() {
    // These are the words of vsftpd, for what is missing and for what is closed alike.
    let replies = vec![("RETR", "550 Failed to open file.\r\n")];
    for without in [vec![], vec!["MLST"], vec!["MLST", "LIST -a"]] {
        let world = World::new(DemoFtpScript {
            replies: replies.clone(),
            without,
            ..DemoFtpScript::default()
        })
        .await;
        let mut session = world.session().await;
        check_error(fetch(&mut session, &file("/sub/b.txt", 5), 0).await, Class::Permission, false);
        check_error(fetch(&mut session, &file("/sub/none", 5), 0).await, Class::NotFound, false);
        check_error(fetch(&mut session, &file("/none/b.txt", 5), 0).await, Class::NotFound, false);
        assert_eq!(list(&mut session, "/").await.unwrap().len(), 3);
    }
}
