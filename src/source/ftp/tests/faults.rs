//! Servers and networks that fail.

use std::io::Write;

use super::*;
use crate::demo::ftp::script::{DemoFtpFault, DemoFtpHook};

const WHOLE: u64 = 100_000;

async fn fetched(
    fault: DemoFtpFault,
    size: Option<u64>,
) -> (Result<Vec<u8>, SourceError>, World, Box<dyn Session>) {
    let waits = matches!(fault, DemoFtpFault::Stall(_) | DemoFtpFault::No226);
    let script = DemoFtpScript { every_file: Some(fault), ..DemoFtpScript::default() };
    let world = World::new(script).await.hasty_if(waits);
    let mut session = world.session().await;
    let result = fetch(&mut session, &file("/a.bin", size), 0).await;
    (result, world, session)
}

async fn check_fetch_fails(fault: DemoFtpFault, class: Class, transient: bool) -> String {
    let name = format!("{fault:?}");
    let (result, ..) = fetched(fault, Some(WHOLE)).await;
    let text = check_error(result, class, transient);
    assert!(text.contains("/a.bin"), "{name}: {text}");
    text
}

#[tokio::test]
async fn data_that_ends_early() {
    check_fetch_fails(DemoFtpFault::FinThen426(60_000), Class::Truncated, true).await;
    check_fetch_fails(DemoFtpFault::Reset(60_000), Class::Truncated, true).await;
    check_fetch_fails(DemoFtpFault::DieControl(60_000), Class::Truncated, true).await;
}

#[tokio::test]
async fn a_server_that_calls_half_a_file_complete() {
    // The server's word is passed on with the bytes that came; their number gives it away.
    let (result, ..) = fetched(DemoFtpFault::FinThen226(60_000), Some(WHOLE)).await;
    assert_eq!(result.unwrap(), content(100_000)[..60_000]);
}

#[tokio::test]
async fn data_that_stops_coming() {
    let text = check_fetch_fails(DemoFtpFault::Stall(60_000), Class::Stalled, true).await;
    assert!(text.contains("after 60000 bytes"), "{text}");
    check_fetch_fails(DemoFtpFault::Stall(0), Class::Stalled, true).await;
}

#[tokio::test]
async fn all_data_but_no_closing_reply() {
    let (result, _world, mut session) = fetched(DemoFtpFault::No226, Some(WHOLE)).await;
    assert_eq!(result.unwrap(), content(100_000));
    check_error(list(&mut session, "/").await, Class::Connect, true);
    let (result, ..) = fetched(DemoFtpFault::No226, None).await;
    check_error(result, Class::Stalled, true);
    let (result, ..) = fetched(DemoFtpFault::No226, Some(WHOLE + 1)).await;
    check_error(result, Class::Stalled, true);
    let (result, ..) = fetched(DemoFtpFault::DieControl(WHOLE), Some(WHOLE)).await;
    assert_eq!(result.unwrap().len(), 100_000);
    let (result, ..) = fetched(DemoFtpFault::DieControl(WHOLE), None).await;
    check_error(result, Class::Truncated, true);
}

#[tokio::test]
async fn a_closing_reply_that_is_late_or_comes_twice() {
    let (result, _world, mut session) =
        fetched(DemoFtpFault::Late226(Duration::from_millis(100)), Some(WHOLE)).await;
    assert_eq!(result.unwrap(), content(100_000));
    assert_eq!(list(&mut session, "/").await.unwrap().len(), 3);
    let (result, _world, mut session) = fetched(DemoFtpFault::Twice226, Some(WHOLE)).await;
    assert_eq!(result.unwrap(), content(100_000));
    assert!(soon(session.stat(&RemotePath::from("/a.bin"))).await.unwrap().is_some());
}

#[tokio::test]
async fn a_slow_server_is_not_a_stalled_one() {
    let world = World::new(DemoFtpScript {
        every_file: Some(DemoFtpFault::Drip(Duration::from_millis(2))),
        ..DemoFtpScript::default()
    })
    .await;
    assert_eq!(
        fetch(&mut world.session().await, &file("/a.bin", WHOLE), 0).await.unwrap(),
        content(100_000)
    );
}

#[tokio::test]
async fn reads_that_are_refused() {
    check_fetch_fails(
        DemoFtpFault::Refuse("425 Can't open data connection.\r\n"),
        Class::Busy,
        true,
    )
    .await;
    check_fetch_fails(
        DemoFtpFault::Refuse("550 Failed to open file: permission denied.\r\n"),
        Class::Permission,
        false,
    )
    .await;
    check_fetch_fails(DemoFtpFault::Refuse("550 No such file.\r\n"), Class::NotFound, false).await;
    check_fetch_fails(DemoFtpFault::Refuse("452 no\r\n"), Class::Busy, true).await;
    check_fetch_fails(DemoFtpFault::Refuse("500 OOPS: vsf_sysutil_bind\r\n"), Class::Busy, true)
        .await;
    check_fetch_fails(DemoFtpFault::Refuse("522 session reuse required\r\n"), Class::Tls, false)
        .await;
    check_fetch_fails(DemoFtpFault::Refuse("421 Shutting down.\r\n"), Class::Busy, true).await;
}

#[tokio::test]
async fn a_file_that_is_busy_twice() {
    let fault = DemoFtpFault::RefuseTimes(2, "450 File busy\r\n");
    let world =
        World::new(DemoFtpScript { every_file: Some(fault), ..DemoFtpScript::default() }).await;
    let mut session = world.session().await;
    for _ in 0..2 {
        let error = fetch(&mut session, &file("/a.bin", WHOLE), 0).await.unwrap_err();
        assert!(error.is_transient() && error.keeps_session() && error.class() == Class::Busy);
    }
    assert_eq!(fetch(&mut session, &file("/a.bin", WHOLE), 0).await.unwrap().len(), 100_000);
    assert_eq!(world.logins(), (1, 0));
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let world = World::new(DemoFtpScript::default()).await;
    let refused = soon(endpoint(&world.server, "wrong", Security::Clear).open()).await;
    let text = check_error(refused.map(|_| ()), Class::Auth, false);
    assert!(!text.contains("wrong"), "{text}");
    assert_eq!(world.logins(), (0, 1));
    assert_eq!(world.server.counts.of("PASS"), 1);
}

#[tokio::test]
async fn a_server_that_is_full() {
    let world = World::new(DemoFtpScript { full_from: Some(2), ..DemoFtpScript::default() }).await;
    let _first = world.session().await;
    check_error(Err::<(), _>(world.refused().await), Class::Busy, true);
    let script = DemoFtpScript {
        replies: vec![("PASS", "530 Too many users logged in, try again later.\r\n")],
        ..DemoFtpScript::default()
    };
    check_error(Err::<(), _>(World::new(script).await.refused().await), Class::Busy, true);
}

#[tokio::test]
async fn nobody_at_the_port_and_no_such_host() {
    let world = World::new(DemoFtpScript::default()).await;
    let account = |host: &str, port| FtpAccount {
        host: host.into(),
        port,
        address: "ftp://x".into(),
        user: "u".into(),
        password: Secret::new("p"),
        security: Security::Clear,
        account: None,
        login_commands: Vec::new(),
        home: false,
        transfer_type: TransferType::Binary,
        proxy: None,
        limits: PATIENT,
        learned: Learned::default(),
    };
    let free =
        tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for (host, port, class) in
        [("127.0.0.1", free, Class::Connect), ("no-such-host.invalid", 21, Class::Dns)]
    {
        let endpoint = FtpEndpoint { account: Arc::new(account(host, port)) };
        check_error(soon(endpoint.open()).await.map(|_| ()), class, true);
    }
    drop(world);
}

#[tokio::test]
async fn greetings_that_are_none() {
    for (greeting, class, transient) in [
        (&b"421 Too many connections\r\n"[..], Class::Busy, true),
        (b"", Class::Connect, true),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Class::Protocol, false),
        // Empty lines are passed over.
        (b"\r\n", Class::Connect, true),
    ] {
        let world = World::new(DemoFtpScript {
            greeting: Some(greeting.to_vec()),
            ..DemoFtpScript::default()
        })
        .await
        .hasty_if(class == Class::Connect);
        check_error(Err::<(), _>(world.refused().await), class, transient);
    }
    let endless = World::new(DemoFtpScript {
        greeting: Some([b"220-".to_vec(), vec![b'x'; 1 << 20]].concat()),
        ..DemoFtpScript::default()
    })
    .await;
    check_error(Err::<(), _>(endless.refused().await), Class::Protocol, false);
}

#[tokio::test]
async fn a_session_that_the_server_closed_meanwhile() {
    let world = World::new(DemoFtpScript {
        idle: Some(Duration::from_millis(50)),
        ..DemoFtpScript::default()
    })
    .await;
    let mut session = world.session().await;
    let gone = async {
        while world.server.counts.connections.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(gone).await;
    check_error(list(&mut session, "/").await, Class::Connect, true);
    let world =
        World::new(DemoFtpScript { replies: vec![("CWD", "")], ..DemoFtpScript::default() }).await;
    check_error(list(&mut world.session().await, "/").await, Class::Connect, true);
}

#[tokio::test]
async fn a_listing_that_the_server_did_not_finish() {
    for (reply, class) in [
        ("426 Aborted.\r\n", Class::Truncated),
        ("451 Local error.\r\n", Class::Truncated),
        ("", Class::Stalled),
    ] {
        for without in [vec![], vec!["MLST"]] {
            let world = World::new(DemoFtpScript {
                listing_reply: Some(reply),
                without,
                ..DemoFtpScript::default()
            })
            .await
            .hasty_if(class == Class::Stalled);
            check_error(list(&mut world.session().await, "/").await, class, true);
        }
    }
}

#[tokio::test]
async fn a_download_that_is_given_up_ends_its_session() {
    let world = World::new(DemoFtpScript::default()).await;
    std::fs::File::create(world.path().join("huge")).unwrap().set_len(1 << 40).unwrap();
    let mut session = world.session().await;
    let huge = file("/huge", 1 << 40);
    let mut download = session.read(&huge, 0).await.unwrap();
    assert!(download.next().await.unwrap().is_some());
    drop(download);
    check_error(list(&mut session, "/").await, Class::Connect, true);
    soon(session.close()).await;
}

async fn with_hook(
    at: u64,
    change: impl Fn(&Path) + Send + Sync + 'static,
) -> (Result<Vec<u8>, SourceError>, Option<RemoteFile>) {
    let hook = DemoFtpHook { name: b"a.bin".to_vec(), at, run: Arc::new(change) };
    let world = World::new(DemoFtpScript { hooks: vec![hook], ..DemoFtpScript::default() }).await;
    let mut session = world.session().await;
    let bytes = fetch(&mut session, &file("/a.bin", WHOLE), 0).await;
    let now = soon(session.stat(&RemotePath::from("/a.bin"))).await.unwrap();
    (bytes, now)
}

#[tokio::test]
async fn files_that_change_under_the_reader() {
    let append = |path: &Path| {
        std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap()
    };
    let (bytes, now) = with_hook(50_000, append).await;
    assert_eq!((bytes.unwrap().len(), now.unwrap().size), (100_004, Some(100_004)));

    let (bytes, now) = with_hook(50_000, |path| {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(60_000).unwrap()
    })
    .await;
    assert_eq!((bytes.unwrap().len(), now.unwrap().size), (60_000, Some(60_000)));

    let replace = |path: &Path| {
        std::fs::write(path.with_extension("new"), b"other").unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    };
    let (bytes, now) = with_hook(50_000, replace).await;
    assert_eq!((bytes.unwrap(), now.unwrap().size), (content(100_000), Some(5)));

    let (bytes, now) = with_hook(50_000, |path| std::fs::remove_file(path).unwrap()).await;
    assert_eq!((bytes.unwrap().len(), now), (100_000, None));

    let (bytes, now) = with_hook(0, |path| std::fs::remove_file(path).unwrap()).await;
    check_error(bytes, Class::NotFound, false);
    assert_eq!(now, None);
}

#[tokio::test]
async fn a_server_that_takes_the_connection_and_says_nothing() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut world = World::new(DemoFtpScript::default()).await;
    world.server.address = silent.local_addr().unwrap();
    world.endpoint = endpoint(&world.server, "demo", Security::Clear);
    check_error(Err::<(), _>(world.hasty().refused().await), Class::Connect, true);
}

#[tokio::test]
async fn a_reply_that_never_ends() {
    // Half a reply, and a reply of many lines without the last.
    for reply in ["213 1", "213-1\r\n213-2\r\n"] {
        let world = World::new(DemoFtpScript {
            replies: vec![("SIZE", reply)],
            without: vec!["MLST"],
            ..DemoFtpScript::default()
        })
        .await
        .hasty();
        let mut session = world.session().await;
        check_error(soon(session.stat(&RemotePath::from("/a.bin"))).await, Class::Stalled, true);
        check_error(list(&mut session, "/").await, Class::Connect, true);
    }
}

#[tokio::test]
async fn a_question_that_is_given_up_half_way_spoils_the_session() {
    let world = World::new(DemoFtpScript {
        every_file: Some(DemoFtpFault::Late226(Duration::from_millis(300))),
        ..DemoFtpScript::default()
    })
    .await;
    let mut session = world.session().await;
    let given_up = tokio::time::timeout(
        Duration::from_millis(50),
        fetch(&mut session, &file("/a.bin", WHOLE), 0),
    )
    .await;
    assert!(given_up.is_err());
    check_error(soon(session.stat(&RemotePath::from("/a.bin"))).await, Class::Connect, true);
}

/// Answers every line with one of these, by a fixed series of dice.
async fn nasty(listener: tokio::net::TcpListener, seed: u64) {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    const REPLIES: &[&[u8]] = &[
        b"\r\n",
        b"2\r\n",
        b"999 x\r\n",
        b"-12 x\r\n",
        b"000 x\r\n",
        b"\xff\xfe\xfd\xfc\xfb\r\n",
        b"213 \xff\xfe\r\n",
        b"213 99999999999999999999999999\r\n",
        b"213 20261399999999\r\n",
        b"213-x\r\n 213 y\r\n213 z\r\n",
        b"211-Features\r\n MLST size;\r\n \xc3\r\n211 End\r\n",
        b"227 (1,2,3,4,999,999)\r\n",
        b"227 (127,0,0,1,0,1)\r\n",
        b"229 (|||99999|)\r\n",
        b"229 (|||1|)\r\n",
        b"229 (||||)\r\n",
        b"250-\r\n\r\n250 x\r\n",
        b"250-x\r\n type=file;size=; \xff\r\n250 x\r\n",
        b"150 x\r\n",
        b"226 x\r\n226 y\r\n",
        b"350 x\r\n",
        b"550 \xff\r\n",
        b"200 ok\r\n",
        b"250 ok\r\n",
        b"500 no\r\n",
    ];
    let mut dice = seed;
    let mut roll = || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        usize::try_from(dice % REPLIES.len() as u64).unwrap()
    };
    while let Ok((stream, _)) = listener.accept().await {
        let mut stream = BufReader::new(stream);
        let mut reply: &[u8] = b"220 ready\r\n";
        let mut line = Vec::new();
        while stream.get_mut().write_all(reply).await.is_ok()
            && stream.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0)
        {
            // It has to let us in for anything else to happen.
            reply = match line.get(..4) {
                Some(b"USER") => b"331 pw\r\n",
                Some(b"PASS") => b"230 in\r\n",
                Some(b"TYPE" | b"OPTS") => b"200 ok\r\n",
                _ => REPLIES[roll()],
            };
            line.clear();
        }
    }
}

#[tokio::test]
async fn no_reply_whatsoever_makes_us_panic_or_hang() {
    // Side by side: they wait more than they work.
    let played = futures_util::future::join_all((1..60).map(before_nasty)).await;
    let failed: u32 = played.iter().sum();
    assert!(failed > 50, "{failed}");
}

/// Asks a server that answers anything, in the order of `seed`. How many questions failed.
async fn before_nasty(seed: u64) -> u32 {
    let mut failed = 0;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut world = World::new(DemoFtpScript::default()).await;
    world.server.address = listener.local_addr().unwrap();
    world.endpoint = endpoint(&world.server, "demo", Security::Clear);
    world = world.hasty();
    let server = tokio::spawn(nasty(listener, seed));
    for step in 0..5 {
        let Ok(mut session) = soon(world.endpoint.open()).await else { continue };
        let path = RemotePath::from("/a/b");
        let outcome = match step {
            0 => list(&mut session, "/a").await.map(drop),
            1 => soon(session.stat(&path)).await.map(drop),
            2 => fetch(&mut session, &file("/a/b", 5), 2).await.map(drop),
            3 => soon(session.remove(&path)).await,
            _ => soon(session.rename(&path, &RemotePath::from("/c/d"))).await,
        };
        failed += u32::from(outcome.is_err());
    }
    server.abort();
    failed
}

#[tokio::test]
async fn of_several_addresses_a_dead_one_is_passed_over() {
    let world = World::new(DemoFtpScript::default()).await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let account = world.endpoint.account.clone();
    let peers = [dead, world.server.address];
    assert!(
        crate::source::ftp::client::FtpClient::connect_first(
            account.clone(),
            &peers,
            None,
            &mut |_| {}
        )
        .await
        .is_ok()
    );
    let error = crate::source::ftp::client::FtpClient::connect_first(
        account,
        &peers[..1],
        None,
        &mut |_| {},
    )
    .await
    .err()
    .expect("it is dead");
    assert_eq!(error.class(), Class::Connect);
}
