//! What servers want of a login, and what their refusals mean.

use std::sync::atomic::AtomicUsize;

use super::scripted::{Said, Scripted};
use super::*;

fn with(server: &mut Scripted, change: impl FnOnce(&mut FtpAccount)) {
    change(Arc::get_mut(&mut server.endpoint.account).expect("nobody else has it yet"));
}

async fn refused(server: &Scripted) -> SourceError {
    match soon(server.endpoint.open()).await {
        Ok(_) => panic!("it let us in"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_server_that_asks_for_an_account() {
    let words = |line: &str| match line {
        "PASS demo" => Said::Reply("332 Account is required"),
        "ACCT acct-7" => Said::Reply("230 in"),
        _ => Said::Usual,
    };
    let mut server = Scripted::new(words).await;
    let text = check_error(Err::<(), _>(refused(&server).await), Class::Protocol, false);
    assert!(text.contains("set `account`"), "{text}");
    with(&mut server, |account| account.account = Some(Secret::new("acct-7")));
    assert_eq!(list(&mut server.session().await, "/out").await.unwrap().len(), 2);
}

#[tokio::test]
async fn commands_after_the_login_are_sent_and_their_refusal_ends_it() {
    let words = |line: &str| match line {
        "SITE GOOD" => Said::Reply("200 done"),
        _ => Said::Usual,
    };
    let mut server = Scripted::new(words).await;
    with(&mut server, |account| account.login_commands = vec!["SITE GOOD".into()]);
    server.session().await;
    assert_eq!(server.times("SITE GOOD"), 1);
    let mut server = Scripted::new(words).await;
    with(&mut server, |account| account.login_commands = vec!["SITE BAD".into()]);
    let text = check_error(Err::<(), _>(refused(&server).await), Class::Protocol, false);
    assert!(text.contains("`SITE BAD` of `login_commands` is refused: 502 no"), "{text}");
}

#[tokio::test]
async fn a_refusal_while_the_same_credential_is_in_is_about_how_many_may_be() {
    let asked = AtomicUsize::new(0);
    let server = Scripted::new(move |line| match line {
        "PASS demo" if asked.fetch_add(1, Ordering::SeqCst) > 0 => {
            Said::Reply("530 nobody but you, 'demo'")
        }
        _ => Said::Usual,
    })
    .await;
    let session = server.session().await;
    check_error(Err::<(), _>(refused(&server).await), Class::Busy, true);
    drop(session);
    check_error(Err::<(), _>(refused(&server).await), Class::Auth, false);
}

#[tokio::test]
async fn a_550_during_the_login_is_not_about_a_path() {
    for (reply, class, part) in [
        ("550 SSL/TLS required on the control channel.", Class::Tls, "set `tls`"),
        ("550 Authentication failure", Class::Auth, "Authentication failure"),
    ] {
        let server = Scripted::new(move |line| match line {
            "USER demo" => Said::Reply(reply),
            _ => Said::Usual,
        })
        .await;
        let text = check_error(Err::<(), _>(refused(&server).await), class, false);
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn paths_may_begin_where_the_login_starts() {
    let mut server = Scripted::new(|line| match line {
        line if line.starts_with("CWD /") => Said::Reply("550 Permission denied"),
        _ => Said::Usual,
    })
    .await;
    with(&mut server, |account| account.home = true);
    let mut session = server.session().await;
    let found = list(&mut session, "/~/out").await.unwrap();
    assert!(found.contains(&Listed::Directory(RemotePath::from("/~/out/sub"))), "{found:?}");
    assert_eq!(fetch(&mut session, &file("/~/out/a.csv", 6), 0).await.unwrap(), b"hello\n");
    list(&mut session, "/~/out/sub").await.unwrap();
    list(&mut session, "/~/other").await.unwrap();
    list(&mut session, "/~").await.unwrap();
    let told = soon(session.stat(&RemotePath::from("/~/out/a.csv"))).await.unwrap();
    assert_eq!(told.unwrap().size, Some(6));
    for line in ["CWD out", "RETR a.csv", "CWD sub", "CWD ../../other", "SIZE out/a.csv"] {
        assert_eq!(server.times(line), 1, "{line}");
    }
}

#[tokio::test]
async fn a_server_that_reads_no_command_before_its_port_was_connected_to() {
    let server = Scripted::that_waits(|_| Said::Usual).await;
    let mut session = server.session().await;
    list(&mut session, "/out").await.unwrap();
    let begun = std::time::Instant::now();
    let path = RemotePath::from("/out/a.csv");
    for _ in 0..3 {
        assert_eq!(fetch(&mut session, &file("/out/a.csv", 6), 0).await.unwrap(), b"hello\n");
        for _ in 0..2 {
            let told = soon(session.stat(&path)).await.unwrap().expect("it is there");
            assert_eq!(told.size, Some(6));
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // One for the listing, three for the files, and one ahead: after that no more are.
    assert_eq!(server.times("EPSV"), 5);
    soon(session.close()).await;
}

#[tokio::test]
async fn an_honest_server_is_asked_for_the_next_port_ahead() {
    let server = Scripted::new(|_| Said::Usual).await;
    let mut session = server.session().await;
    list(&mut session, "/out").await.unwrap();
    let path = RemotePath::from("/out/a.csv");
    for _ in 0..3 {
        fetch(&mut session, &file("/out/a.csv", 6), 0).await.unwrap();
        for _ in 0..2 {
            soon(session.stat(&path)).await.unwrap();
        }
    }
    assert_eq!(server.times("EPSV"), 5, "the listing, the first file, three ahead");
    assert!(server.endpoint.account.learned.answers_before_data.load(Ordering::Relaxed));
}
