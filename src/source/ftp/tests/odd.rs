//! Servers that leave words out, and servers that end the connection over commands.

use super::scripted::{Said, Scripted};
use super::*;

const LINES: &str = "-rw-r--r-- 1 f f 6 Jan 10 2024 a.csv\r\n";
const FEATURES: &str = "211-Features:\r\n UTF8\r\n MLST type*;size*;modify;\r\n211 End";

fn told(session: &dyn Session, text: &str) -> bool {
    session.describe().iter().any(|found| found.text.contains(text))
}

#[tokio::test]
async fn data_that_no_reply_announces_are_read() {
    for last in ["226 done", "150 late\r\n226 done", "250 done"] {
        let server = Scripted::new(move |line| match line.split(' ').next().unwrap_or_default() {
            "LIST" => Said::Bare(LINES, last),
            "RETR" => Said::Bare("hello\n", last),
            _ => Said::Usual,
        })
        .await;
        let mut session = server.session().await;
        for _ in 0..2 {
            assert_eq!(list(&mut session, "/out").await.unwrap().len(), 1, "{last}");
            let file = file("/out/a.csv", 6);
            assert_eq!(fetch(&mut session, &file, 0).await.unwrap(), b"hello\n", "{last}");
        }
        assert_eq!(told(&*session, "without the reply"), !last.starts_with("150"), "{last}");
        assert_eq!(server.times("USER"), 1, "{last}");
    }
}

#[tokio::test]
async fn more_data_than_any_buffer_holds_come_without_a_word() {
    let data: &'static str = Box::leak("0123456789abcdef".repeat(1 << 19).into_boxed_str());
    let server = Scripted::new(move |line| match line.split(' ').next().unwrap_or_default() {
        "RETR" => Said::Bare(data, "226 done"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    for _ in 0..2 {
        let file = file("/out/big", data.len() as u64);
        assert!(fetch(&mut session, &file, 0).await.unwrap() == data.as_bytes());
    }
}

#[tokio::test]
async fn an_end_without_data_is_no_empty_folder_unless_the_server_announces_none() {
    let server = Scripted::new(|line| match line {
        "LIST" | "LIST -a" => Said::Bare("", "226 done"),
        _ => Said::Usual,
    })
    .await;
    check_error(list(&mut server.session().await, "/out").await, Class::Protocol, true);
    let here = std::sync::Mutex::new(String::new());
    let server = Scripted::new(move |line| match line {
        line if line.starts_with("CWD ") => {
            *here.lock().unwrap() = line[4..].to_owned();
            Said::Usual
        }
        "LIST" | "LIST -a" if *here.lock().unwrap() == "/empty" => Said::Bare("", "226 done"),
        "LIST" | "LIST -a" => Said::Bare(LINES, "226 done"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    for (dir, entries) in [("/out", 1), ("/empty", 0), ("/out", 1)] {
        assert_eq!(list(&mut session, dir).await.unwrap().len(), entries, "{dir}");
    }
}

#[tokio::test]
async fn a_command_that_ends_the_connection_is_left_out_after_the_second_time() {
    for fatal in ["FEAT", "OPTS UTF8 ON", "OPTS MLST type;size;modify;", "MLSD", "LIST -a"] {
        let server = Scripted::new(move |line| match line {
            line if line == fatal => Said::HangsUp,
            "FEAT" if fatal == "LIST -a" => Said::Usual,
            "FEAT" => Said::Reply(FEATURES),
            "MLSD" => Said::Data("type=file;size=6;modify=20240110101112; a.csv\r\n"),
            "LIST" | "LIST -a" => Said::Data(LINES),
            _ => Said::Usual,
        })
        .await;
        for _ in 0..2 {
            let mut session = server.session().await;
            assert_eq!(list(&mut session, "/out").await.unwrap().len(), 1, "{fatal}");
            assert!(told(&*session, &format!("ends the connection over `{fatal}`")), "{fatal}");
        }
        assert_eq!((server.times(fatal), server.times("USER")), (2, 4), "{fatal}");
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_once_costs_no_command() {
    let lost = std::sync::atomic::AtomicBool::new(false);
    let server = Scripted::new(move |line| match line {
        "OPTS UTF8 ON" if !lost.swap(true, Ordering::SeqCst) => Said::HangsUp,
        "FEAT" => Said::Reply(FEATURES),
        _ => Said::Usual,
    })
    .await;
    for _ in 0..2 {
        assert!(!told(&*server.session().await, "ends the connection"));
    }
    assert_eq!((server.times("OPTS UTF8 ON"), server.times("USER")), (3, 3));
}

#[tokio::test]
async fn a_server_that_says_goodbye_after_it_refused_an_option() {
    let refused = std::sync::atomic::AtomicBool::new(false);
    let server = Scripted::new(move |line| match line {
        "USER demo" => {
            refused.store(false, Ordering::SeqCst);
            Said::Usual
        }
        "FEAT" => Said::Reply(FEATURES),
        line if line.starts_with("OPTS UTF8") => {
            refused.store(true, Ordering::SeqCst);
            Said::Reply("500 unknown")
        }
        _ if refused.load(Ordering::SeqCst) => Said::HangsUp,
        _ => Said::Usual,
    })
    .await;
    assert!(told(&*server.session().await, "over `OPTS UTF8 ON`"));
}

/// <https://github.com/robinrodricks/FluentFTP/issues/1735>
#[tokio::test]
async fn a_server_that_lists_nothing_and_tells_names_is_listed_by_names() {
    let server = Scripted::new(|line| match line {
        "LIST" | "LIST -a" => Said::Data(""),
        "NLST" => Said::Data("a.csv\r\n"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    for _ in 0..2 {
        let listed = list(&mut session, "/out").await.unwrap();
        assert!(matches!(&listed[..], [Listed::File(file)] if file.size == Some(6)), "{listed:?}");
    }
    assert!(told(&*session, "names come from NLST"));
    // A folder that is empty costs one question more, and only as long as nothing was listed.
    for nlst in ["450 No files", "550 nothing there", "226 done"] {
        let here = std::sync::Mutex::new(String::new());
        let server = Scripted::new(move |line| match line {
            line if line.starts_with("CWD ") => {
                *here.lock().unwrap() = line[4..].to_owned();
                Said::Usual
            }
            "LIST" | "LIST -a" if *here.lock().unwrap() == "/out" => Said::Data(LINES),
            "LIST" | "LIST -a" => Said::Data(""),
            "NLST" if nlst.starts_with('2') => Said::Data(""),
            "NLST" => Said::Reply(nlst),
            _ => Said::Usual,
        })
        .await;
        let mut session = server.session().await;
        for (dir, entries) in [("/empty", 0), ("/out", 1), ("/empty", 0), ("/empty", 0)] {
            assert_eq!(list(&mut session, dir).await.unwrap().len(), entries, "{dir} {nlst}");
        }
        assert_eq!(server.times("NLST"), 1, "{nlst}");
    }
}

#[tokio::test]
async fn an_empty_level_of_names_of_a_mainframe_is_an_empty_folder() {
    for words in ["550 No data sets found.", "550 No members found."] {
        let server = Scripted::new(move |line| match line {
            "LIST" | "LIST -a" => Said::Reply(words),
            _ => Said::Usual,
        })
        .await;
        assert_eq!(list(&mut server.session().await, "/out").await.unwrap(), []);
    }
}

#[tokio::test]
async fn commands_that_are_answered_twice_are_done_once() {
    let both = [("250 ok\r\n250 ok", "226 done\r\n226 done"), ("250 a\r\n250 b", "226 x\r\n226 y")];
    for (cwd, end) in both {
        let server = Scripted::new(move |line| match line.split(' ').next().unwrap_or_default() {
            "CWD" => Said::Reply(cwd),
            "LIST" => Said::Ends(LINES, end),
            "RETR" => Said::Ends("hello\n", end),
            _ => Said::Usual,
        })
        .await;
        let mut session = server.session().await;
        for dir in ["/out", "/in", "/out"] {
            assert_eq!(list(&mut session, dir).await.unwrap().len(), 1, "{cwd}");
            let file = file("/out/a.csv", 6);
            assert_eq!(fetch(&mut session, &file, 0).await.unwrap(), b"hello\n", "{cwd}");
        }
        assert_eq!(server.times("USER"), 1, "{cwd}");
    }
}

#[tokio::test]
async fn a_second_answer_that_comes_with_the_next_one() {
    let server = Scripted::new(|line| match line {
        "CWD /out" => Said::Late("250 ok", "250 ok"),
        "LIST" | "LIST -a" => Said::Data(LINES),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    for _ in 0..3 {
        assert_eq!(list(&mut session, "/out").await.unwrap().len(), 1);
    }
    assert_eq!((server.times("USER"), server.times("PASV")), (1, 0));
}

#[tokio::test]
async fn an_answer_to_another_question_is_never_passed_over() {
    // A refusal and then "done", or a value and then "done": nobody knows which is the answer.
    for (verb, reply) in [
        ("CWD", "550 no\r\n250 ok"),
        ("CWD", "250 ok\r\n550 no"),
        ("SIZE", "213 6\r\n250 ok"),
        ("MDTM", "213 20240110101112\r\n213 20240110101112"),
    ] {
        let server = Scripted::new(move |line| match line.split(' ').next().unwrap_or_default() {
            found if found == verb => Said::Reply(reply),
            _ => Said::Usual,
        })
        .await;
        let mut session = server.session().await;
        let text = match verb {
            "CWD" => {
                let first = list(&mut session, "/out").await;
                let second = list(&mut session, "/out").await;
                check_error(first.and(second), Class::Protocol, true)
            }
            _ => {
                let path = RemotePath::from("/out/a.csv");
                check_error(soon(session.stat(&path)).await, Class::Protocol, true)
            }
        };
        assert!(text.contains("out of step"), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_greets_by_several_replies() {
    for greeting in
        ["220 hi\r\n220 there\r\n220 ready", "Starting up\r\n220 hi\r\nWarning\r\n220 x"]
    {
        let server = Scripted::greeting(greeting, |_| Said::Usual).await;
        let mut session = server.session().await;
        assert_eq!(list(&mut session, "/out").await.unwrap().len(), 2, "{greeting}");
    }
}

#[tokio::test]
async fn a_control_connection_that_is_found_idle_while_all_bytes_come() {
    let server = Scripted::new(|line| match line.split(' ').next().unwrap_or_default() {
        "RETR" => Said::Ends("hello\n", "421 Timeout: closing control connection"),
        _ => Said::Usual,
    })
    .await;
    let whole = fetch(&mut server.session().await, &file("/out/a.csv", 6), 0).await;
    assert_eq!(whole.unwrap(), b"hello\n");
    for size in [Some(7), None] {
        let cut = fetch(&mut server.session().await, &file("/out/a.csv", size), 0).await;
        check_error(cut, Class::Truncated, true);
    }
}

#[tokio::test]
async fn size_and_mdtm_that_the_login_may_not_ask_are_told_by_the_listing() {
    let server = Scripted::new(|line| match line.split(' ').next().unwrap_or_default() {
        "SIZE" | "MDTM" => Said::Reply("530 Not allowed here"),
        _ => Said::Usual,
    })
    .await;
    let mut session = server.session().await;
    let told = soon(session.stat(&RemotePath::from("/out/a.csv"))).await.unwrap();
    assert_eq!(told.and_then(|file| file.size), Some(6));
    assert_eq!(soon(session.stat(&RemotePath::from("/out/b.csv"))).await.unwrap(), None);
}

/// As vsftpd does with `pasv_enable=NO`: it is not about the file, which is there.
#[tokio::test]
async fn a_refused_passive_command_says_nothing_of_the_file_or_folder() {
    for (reply, class, transient, says) in [
        ("550 Permission denied.", Class::Protocol, false, "passive mode"),
        ("502 no", Class::Protocol, false, "passive mode"),
        ("550 No port found", Class::Busy, true, "passive ports"),
    ] {
        let server = Scripted::new(move |line| match line.split(' ').next().unwrap_or_default() {
            "EPSV" | "PASV" => Said::Reply(reply),
            _ => Said::Usual,
        })
        .await;
        let mut session = server.session().await;
        let told = check_error(list(&mut session, "/out").await, class, transient);
        assert!(told.contains(says) && told.contains(reply), "{told}");
        let read = fetch(&mut server.session().await, &file("/out/a.csv", 6), 0).await;
        check_error(read, class, transient);
    }
}
