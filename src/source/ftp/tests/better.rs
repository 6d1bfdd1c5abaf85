//! A refusal of the better command is not the folder's answer.

use super::scripted::{Said, Scripted};
use super::*;

const FACTS: &str = "211-Features:\r\n MLST type*;size*;modify*;\r\n211 End";

/// Whether the file and the folder are found, twice.
async fn check_found(server: &Scripted) {
    let mut session = server.session().await;
    for _ in 0..2 {
        let mut found = list(&mut session, "/out").await.unwrap();
        found.retain(|listed| matches!(listed, Listed::File(_) | Listed::Directory(_)));
        assert_eq!(found.len(), 2, "{found:?}");
    }
}

#[tokio::test]
async fn list_dash_a_is_refused_in_any_words_and_list_works() {
    for refusal in [
        "451 file system error",
        "450 -a: No such file or directory",
        "550 Permission denied",
        "501 Syntax error",
        "553 no such name",
    ] {
        let server = Scripted::new(move |line| match line {
            "LIST -a" => Said::Reply(refusal),
            _ => Said::Usual,
        })
        .await;
        check_found(&server).await;
        let most = if refusal.starts_with('4') { 2 } else { 1 };
        assert_eq!(server.times("LIST -a"), most, "{refusal}");
        check_found(&server).await;
        assert_eq!(server.times("LIST -a"), most, "a later login remembers it");
        let findings = server.session().await.describe();
        assert!(findings.iter().any(|found| found.text.starts_with("LIST -a is refused")));
    }
}

#[tokio::test]
async fn mlsd_is_offered_and_of_no_use() {
    for answer in [
        || Said::Reply("550 Could not list: Not supported"),
        || Said::Reply("450 Bad file descriptor"),
        || Said::Data(""),
        || Said::Data("what is this?\r\nand this?\r\n"),
    ] {
        let server = Scripted::new(move |line| match line {
            "FEAT" => Said::Reply(FACTS),
            "MLSD" => answer(),
            _ => Said::Usual,
        })
        .await;
        check_found(&server).await;
        assert_eq!(server.times("MLSD"), 1);
        check_found(&server).await;
        assert_eq!(server.times("MLSD"), 1, "a later login remembers it");
    }
}

#[tokio::test]
async fn one_folder_that_mlsd_refuses_does_not_lose_the_others_their_exact_times() {
    let refused = std::sync::atomic::AtomicBool::new(false);
    let server = Scripted::new(move |line| match line {
        "FEAT" => Said::Reply(FACTS),
        "CWD /closed" => {
            refused.store(true, Ordering::SeqCst);
            Said::Usual
        }
        "CWD /open" => {
            refused.store(false, Ordering::SeqCst);
            Said::Usual
        }
        "MLSD" if refused.load(Ordering::SeqCst) => Said::Reply("550 no"),
        "MLSD" => Said::Data("type=file;size=6;modify=20240110101112; a.csv\r\n"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    for (dir, entries) in [("/open", 1), ("/closed", 2), ("/open", 1)] {
        assert_eq!(list(&mut session, dir).await.unwrap().len(), entries, "{dir}");
    }
}

#[tokio::test]
async fn where_list_dash_a_has_worked_its_refusal_counts() {
    let busy = std::sync::atomic::AtomicBool::new(false);
    let server = Scripted::new(move |line| match line {
        "LIST -a" if busy.load(Ordering::SeqCst) => Said::Reply("450 busy"),
        "CWD /busy" => {
            busy.store(true, Ordering::SeqCst);
            Said::Usual
        }
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    list(&mut session, "/out").await.unwrap();
    // Without `-a`, files whose names begin with a dot would seem to have vanished.
    check_error(list(&mut session, "/busy").await, Class::Busy, true);
}

#[tokio::test]
async fn a_folder_that_no_command_lists_is_not_empty() {
    let server = Scripted::new(|line| match line {
        "LIST" => Said::Reply("450 Directory temporarily unavailable"),
        "LIST -a" => Said::Reply("502 no"),
        _ => Said::Usual,
    })
    .await;
    check_error(list(&mut server.session().await, "/out").await, Class::Busy, true);
    let server = Scripted::new(|line| match line {
        "LIST" | "LIST -a" => Said::Reply("450 No files found"),
        _ => Said::Usual,
    })
    .await;
    assert_eq!(list(&mut server.session().await, "/out").await.unwrap(), []);
}

#[tokio::test]
async fn a_folder_that_may_be_closed_as_vxworks_words_it_is_not_empty() {
    let server = Scripted::new(|line| match line {
        "LIST" | "LIST -a" => {
            Said::Reply("550 No files found or invalid directory or permission problem")
        }
        _ => Said::Usual,
    })
    .await;
    check_error(list(&mut server.session().await, "/out").await, Class::Permission, false);
}

#[tokio::test]
async fn what_nobody_can_parse_is_listed_by_name() {
    let server = Scripted::new(|line| match line {
        "LIST" | "LIST -a" => {
            Said::Data("what 6 a.csv\r\nwhat 9 gone.csv\r\nfolder sub\r\nhidden folder x\r\n")
        }
        "NLST" => Said::Data("/out/a.csv\r\ngone.csv\r\nsub\r\n"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    let found: Vec<String> =
        list(&mut session, "/out").await.unwrap().iter().map(|one| format!("{one:?}")).collect();
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].contains("/out/a.csv") && found[0].contains("Some(6)"), "{found:?}");
    assert!(found[1].starts_with("Unparsed(\"hidden folder x\")"), "{found:?}");
    assert!(found[2].starts_with("File") && found[2].contains("gone.csv"), "{found:?}");
    assert!(found[3].starts_with("Directory"), "{found:?}");
}

#[tokio::test]
async fn size_and_mdtm_refused_with_any_code_leave_the_listing() {
    for refusal in ["450 busy", "451 error", "550 no", "553 no", "502 no"] {
        let server = Scripted::new(move |line| match line.split(' ').next() {
            Some("SIZE" | "MDTM") => Said::Reply(refusal),
            _ => Said::Usual,
        })
        .await;
        let mut session = server.session().await;
        let told = soon(session.stat(&RemotePath::from("/out/a.csv"))).await.unwrap();
        assert_eq!(told.expect("it is listed").size, Some(6), "{refusal}");
        let none = soon(session.stat(&RemotePath::from("/out/b.csv"))).await.unwrap();
        assert_eq!(none, None, "{refusal}");
    }
}

#[tokio::test]
async fn a_move_to_a_name_of_which_the_server_says_450_not_found() {
    let server = Scripted::new(|line| match line.split(' ').next() {
        Some("SIZE" | "MDTM") => Said::Reply("450 /done/a.csv not found"),
        Some("RNFR") => Said::Reply("350 go on"),
        Some("RNTO") => Said::Reply("250 moved"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    let path = |text: &str| RemotePath::from(text);
    soon(session.rename(&path("/out/a.csv"), &path("/done/a.csv"))).await.unwrap();
    assert_eq!(server.times("RNTO"), 1);
}

#[tokio::test]
async fn a_server_that_asks_for_a_minute_before_it_greets() {
    let greeting = "120 Service ready in 1 minutes\r\n220 ready";
    let server = Scripted::greeting(greeting, |_| Said::Usual).await;
    check_found(&server).await;
}

#[tokio::test]
async fn a_folder_of_an_honest_server_is_one_listing() {
    let server = Scripted::new(|_| Said::Usual).await;
    check_found(&server).await;
    assert_eq!((server.times("LIST"), server.times("LIST -a")), (2, 2));
    let server = Scripted::new(|line| match line {
        "FEAT" => Said::Reply(FACTS),
        "CWD /empty" => Said::Usual,
        "MLSD" => Said::Data("type=file;size=6;modify=20240110101112; a.csv\r\n"),
        _ => Said::Usual,
    })
    .await;
    list(&mut server.session().await, "/out").await.unwrap();
    assert_eq!((server.times("MLSD"), server.times("LIST")), (1, 0));
}

#[tokio::test]
async fn mlst_is_tried_once_where_only_listings_tell_times() {
    let server = Scripted::new(|line| match line {
        "MLST /out/a.csv" => {
            Said::Reply("250-here\r\n type=file;size=6;modify=20240110101112; a.csv\r\n250 end")
        }
        line if line.starts_with("MDTM") => Said::Reply("502 no"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    let told = soon(session.stat(&RemotePath::from("/out/a.csv"))).await.unwrap().unwrap();
    assert_eq!((told.size, told.modified.is_some()), (Some(6), true));
    let server = Scripted::new(|line| match line.split(' ').next() {
        Some("MDTM") => Said::Reply("502 no"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    for _ in 0..3 {
        soon(session.stat(&RemotePath::from("/out/a.csv"))).await.unwrap().unwrap();
    }
    assert_eq!(server.times("MLST"), 1);
}

#[tokio::test]
async fn a_server_that_knows_nlst_alone_is_listed_by_names() {
    let server = Scripted::new(|line| match line.split(' ').next().unwrap_or_default() {
        "LIST" => Said::Reply("502 Command not implemented"),
        "NLST" => Said::Data("a.csv\r\n"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    let listed = list(&mut session, "/out").await.unwrap();
    assert!(matches!(&listed[..], [Listed::File(file)] if file.size == Some(6)), "{listed:?}");
    let findings = session.describe();
    assert!(findings.iter().any(|found| found.text.contains("names come from NLST")));
    // Without that, the folder is not taken for an empty one.
    let server = Scripted::new(|line| match line.split(' ').next().unwrap_or_default() {
        "LIST" => Said::Reply("502 Command not implemented"),
        _ => Said::Usual,
    })
    .await;
    check_error(list(&mut server.session().await, "/out").await, Class::Protocol, false);
}

#[tokio::test]
async fn where_epsv_ends_the_connection_the_next_one_asks_by_pasv() {
    let server = Scripted::new(|line| match line {
        "EPSV" => Said::HangsUp,
        _ => Said::Usual,
    })
    .await;
    check_error(list(&mut server.session().await, "/out").await, Class::Connect, true);
    // The server of these tests has no PASV; that it is asked for is enough.
    drop(list(&mut server.session().await, "/out").await);
    assert_eq!((server.times("EPSV"), server.times("PASV")), (1, 1));
}

#[tokio::test]
async fn a_restart_that_is_done_is_no_refusal() {
    let server = Scripted::new(|line| match line.split(' ').next().unwrap_or_default() {
        "REST" => Said::Reply("200 Restarting at 2"),
        "RETR" => Said::Data("llo\n"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    let told = soon(session.stat(&RemotePath::from("/out/a.csv"))).await.unwrap();
    let told = told.expect("it is there");
    assert_eq!(fetch(&mut session, &told, 2).await.unwrap(), b"llo\n");
}

#[tokio::test]
async fn facts_that_are_not_offered_spare_every_login_the_listing_of_the_folder() {
    let server = Scripted::new(|line| match line.split(' ').next().unwrap_or_default() {
        "SIZE" | "MDTM" => Said::Reply("502 not implemented"),
        "MLST" => Said::Reply(
            "250-start\r\n Size=6;Modify=20240110101112;Type=file; /out/a.csv\r\n250 end",
        ),
        _ => Said::Usual,
    })
    .await;
    let path = RemotePath::from("/out/a.csv");
    for _ in 0..2 {
        let mut session = server.session().await;
        for _ in 0..2 {
            let told = soon(session.stat(&path)).await.unwrap().expect("it is there");
            assert_eq!(told.size, Some(6));
        }
    }
    assert_eq!((server.times("MLST"), server.times("LIST")), (4, 0));
}

/// As proftpd does with `AllowRetrieveRestart off`.
#[tokio::test]
async fn a_file_whose_rest_is_refused_is_read_anew() {
    for refusal in ["550 Restart not allowed", "451 Restart not permitted, try again", "502 no"] {
        let server = Scripted::new(move |line| match line.split(' ').next().unwrap_or_default() {
            "REST" => Said::Reply(refusal),
            _ => Said::Usual,
        })
        .await;
        let mut session = server.session().await;
        for _ in 0..2 {
            assert_eq!(fetch(&mut session, &file("/out/a.csv", 6), 3).await.unwrap(), b"lo\n");
        }
        assert_eq!(server.times("REST"), 1, "{refusal}");
        let gone = fetch(&mut session, &file("/out/b.csv", 6), 3).await;
        check_error(gone, Class::NotFound, false);
    }
}
