//! Commands that are on their way together, and servers that do not bear it.

use super::scripted::{Said, Scripted};
use super::*;
use crate::demo::ftp::DeadPorts;
use crate::demo::ftp::script::{DemoFtpCompany, DemoFtpFault};

const WHOLE: u64 = 100_000;

/// Reads `a.bin` and describes it, as a transfer does.
async fn round(session: &mut Box<dyn Session>) -> Result<(), SourceError> {
    let bytes = fetch(session, &file("/a.bin", WHOLE), 0).await?;
    assert_eq!(bytes, content(100_000));
    let described = soon(session.stat(&RemotePath::from("/a.bin"))).await?.expect("it is there");
    assert_eq!(described.size, Some(WHOLE));
    Ok(())
}

fn in_company(world: &World) -> u64 {
    world.server.counts.in_company.load(Ordering::SeqCst)
}

#[tokio::test]
async fn between_two_files_there_is_one_round_trip() {
    for without in [vec![], vec!["MLST"]] {
        let world = World::new(DemoFtpScript { without, ..DemoFtpScript::default() }).await;
        let mut session = world.session().await;
        for _ in 0..5 {
            round(&mut session).await.unwrap();
        }
        let (before, ports) = (in_company(&world), world.server.counts.of("EPSV"));
        round(&mut session).await.unwrap();
        // The port for the next file came with the description of this one.
        assert_eq!(world.server.counts.of("EPSV"), ports + 1);
        assert!(in_company(&world) > before);
        // It serves a listing as well.
        let ports = world.server.counts.of("EPSV");
        assert_eq!(list(&mut session, "/").await.unwrap().len(), 3);
        assert_eq!(world.server.counts.of("EPSV"), ports);
        assert_eq!(world.logins(), (1, 0));
    }
}

#[tokio::test]
async fn files_are_described_many_at_a_time() {
    for without in [vec![], vec!["MLST"]] {
        let world = World::new(DemoFtpScript { without, ..DemoFtpScript::default() }).await;
        let mut session = world.session().await;
        let paths = ["/a.bin", "/gone", "/sub", "/sub/b.txt"].map(RemotePath::from);
        let told = soon(session.stat_ahead(&paths)).await.unwrap();
        assert_eq!(
            told.iter().map(|told| told.as_ref().map(|file| file.size)).collect::<Vec<_>>(),
            [Some(Some(WHOLE)), None, None, Some(Some(5))]
        );
        for told in told.into_iter().flatten() {
            assert_eq!(soon(session.stat(&told.path.clone())).await.unwrap(), Some(told));
        }
        assert!(in_company(&world) >= paths.len() as u64 - 1);
    }
}

#[tokio::test]
async fn a_server_that_reads_one_command_at_a_time() {
    for company in [DemoFtpCompany::Forgotten, DemoFtpCompany::HungUp] {
        // With and without features to agree on at the login.
        for without in [vec![], vec!["FEAT", "MLST"]] {
            let script = DemoFtpScript { company, without, ..DemoFtpScript::default() };
            let world = World::new(script).await.hasty_if(company == DemoFtpCompany::Forgotten);
            let mut session = world.session().await;
            // Where it is not found out at the login, it is when two things are asked: over a new
            // connection, and nobody else notices.
            for _ in 0..3 {
                round(&mut session).await.unwrap();
            }
            assert_eq!(in_company(&world), 1, "{company:?}");
            assert_eq!(world.logins(), (2, 0));
        }
    }
}

#[tokio::test]
async fn a_firewall_that_opens_no_port_for_a_question_in_company() {
    let world =
        World::new(DemoFtpScript { dead_ports: DeadPorts::InCompany, ..DemoFtpScript::default() })
            .await;
    let mut session = world.session().await;
    round(&mut session).await.unwrap();
    let text = check_error(round(&mut session).await, Class::Connect, true);
    assert!(text.contains("the data port that the server named cannot be reached"), "{text}");
    let mut session = world.session().await;
    for _ in 0..3 {
        round(&mut session).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_refused_while_its_port_is_reached() {
    let files = [(b"b.txt".to_vec(), DemoFtpFault::Refuse("550 No such file.\r\n"))].into();
    let world = World::new(DemoFtpScript { files, ..DemoFtpScript::default() }).await;
    let mut session = world.session().await;
    for _ in 0..3 {
        round(&mut session).await.unwrap();
        let refused = fetch(&mut session, &file("/sub/b.txt", 5), 0).await;
        check_error(refused, Class::NotFound, false);
    }
    assert_eq!(world.logins(), (1, 0));
}

#[tokio::test]
async fn a_server_that_does_not_wait_at_its_port_is_asked_once_we_are_there() {
    let files =
        [(b"b.txt".to_vec(), DemoFtpFault::RefuseTimes(1, "425 Can't open data connection.\r\n"))]
            .into();
    let world = World::new(DemoFtpScript { files, ..DemoFtpScript::default() }).await;
    let mut session = world.session().await;
    round(&mut session).await.unwrap();
    check_error(fetch(&mut session, &file("/sub/b.txt", 5), 0).await, Class::Busy, true);
    let mut session = world.session().await;
    let before = in_company(&world);
    for _ in 0..3 {
        assert_eq!(fetch(&mut session, &file("/sub/b.txt", 5), 0).await.unwrap(), b"hello");
        round(&mut session).await.unwrap();
    }
    assert_eq!(in_company(&world), before);
}

#[tokio::test]
async fn a_reply_too_many_never_gives_one_file_the_facts_of_another() {
    let (done, value) = ("226 Done.\r\n226 Done.\r\n", "226 Done.\r\n213 7\r\n");
    for (without, reply) in
        [(vec![], done), (vec!["MLST"], done), (vec![], value), (vec!["MLST"], value)]
    {
        let script =
            DemoFtpScript { without, listing_reply: Some(reply), ..DemoFtpScript::default() };
        let world = World::new(script).await;
        let mut session = world.session().await;
        assert_eq!(list(&mut session, "/").await.unwrap().len(), 3);
        let paths = ["/a.bin", "/empty", "/sub/b.txt"].map(RemotePath::from);
        let told = soon(session.stat_ahead(&paths)).await;
        if reply == done {
            let sizes = told.unwrap().into_iter().map(|file| file.and_then(|file| file.size));
            assert!(sizes.eq([Some(100_000), Some(0), Some(5)]));
            continue;
        }
        let text = check_error(told, Class::Protocol, true);
        assert!(text.contains("out of step"), "{text}");
    }
}

/// It sends a small reply only once the one before is acknowledged, and systems wait with that.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn replies_of_a_server_without_nodelay_come_without_a_wait() {
    let server = Scripted::new(|_| Said::Usual).await;
    let mut session = server.session().await;
    let path = RemotePath::from("/out/a.csv");
    let mut took = Vec::new();
    for _ in 0..60 {
        let start = std::time::Instant::now();
        soon(session.stat(&path)).await.unwrap().expect("it is there");
        took.push(start.elapsed());
    }
    // New connections acknowledge at once by themselves.
    took.drain(..40);
    took.sort();
    assert!(took[10] < Duration::from_millis(20), "{took:?}");
}
