//! Servers that say the same in other words than most.

use super::scripted::{Said, Scripted};
use super::*;

/// Lists, describes, fetches, moves and removes, with nothing out of the usual to be seen.
async fn all_goes_well(greeting: &'static str, words: fn(&str) -> Said) {
    let server = Scripted::greeting(greeting, words).await;
    let mut session = server.session().await;
    assert_eq!(list(&mut session, "/out").await.unwrap().len(), 2);
    let path = RemotePath::from("/out/a.csv");
    let told = soon(session.stat(&path)).await.unwrap().expect("it is there");
    assert_eq!(told.size, Some(6));
    for _ in 0..2 {
        assert_eq!(fetch(&mut session, &told, 0).await.unwrap(), b"hello\n");
    }
    soon(session.rename(&path, &RemotePath::from("/done/b.csv"))).await.unwrap();
    soon(session.remove(&path)).await.unwrap();
}

/// What most say to a move and a removal.
fn usual(line: &str) -> Said {
    match line.split(' ').next().unwrap_or_default() {
        "RNFR" => Said::Reply("350 go on"),
        "RNTO" | "DELE" | "MKD" => Said::Reply("250 done"),
        _ => Said::Usual,
    }
}

#[tokio::test]
async fn a_certificate_is_the_password_and_the_user_is_in_with_232() {
    all_goes_well("220 ready", |line| match line {
        "USER demo" => Said::Reply("232 User demo logged in, authorized by security data exchange"),
        line if line.starts_with("PASS") => Said::Reply("503 Bad sequence"),
        line => usual(line),
    })
    .await;
}

#[tokio::test]
async fn other_codes_say_that_it_is_done() {
    all_goes_well("220 ready", |line| match line.split(' ').next().unwrap_or_default() {
        "CWD" if !line.ends_with(".csv") => Said::Reply("257 \"/out\" is current directory"),
        "TYPE" => Said::Reply("226 Type set"),
        "DELE" => Said::Reply("200 File removed"),
        "RNFR" => Said::Reply("200 File exists"),
        "RNTO" => Said::Reply("226 Renamed"),
        _ => usual(line),
    })
    .await;
}

#[tokio::test]
async fn what_is_superfluous_is_not_done() {
    let server = Scripted::new(|line| match line.split(' ').next().unwrap_or_default() {
        "DELE" => Said::Reply("202 Command not implemented, superfluous at this site"),
        _ => usual(line),
    })
    .await;
    let mut session = server.session().await;
    assert!(soon(session.remove(&RemotePath::from("/out/a.csv"))).await.is_err());
}

#[tokio::test]
async fn a_size_with_its_unit() {
    all_goes_well("220 ready", |line| match line.split(' ').next().unwrap_or_default() {
        "SIZE" if line.ends_with("a.csv") => Said::Reply("213 6 bytes"),
        _ => usual(line),
    })
    .await;
}

#[tokio::test]
async fn empty_lines_and_questions_of_telnet_between_replies() {
    all_goes_well("\r\n220 ready", |line| match line.split(' ').next().unwrap_or_default() {
        "PASS" => Said::Reply("\r\n230 in\r\n"),
        "CWD" if !line.ends_with(".csv") => Said::Reply("250 ok\r\n"),
        _ => usual(line),
    })
    .await;
}

#[tokio::test]
async fn a_transfer_that_tells_how_far_it_is_and_ends_in_other_words() {
    all_goes_well("220 ready", |line| match line.split(' ').next().unwrap_or_default() {
        "RETR" => Said::Ends("hello\n", "150 50 percent done\r\n110 MARK 6 = 6\r\n200 all sent"),
        _ => usual(line),
    })
    .await;
}
