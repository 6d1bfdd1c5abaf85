//! Servers that lie about handles, pages and kinds: what they hold arrives all the same, and right.

use super::*;
use crate::demo::sftp::lies::{HandleRule, KindRule, Lies, PageRule, PastEnd};
use crate::source::contract::Aside;
use crate::source::pool::Pool;

/// Reads all of `names` side by side, each until it is there or has failed eight times.
async fn fetch_all(pool: &Arc<Pool>, names: &[String]) -> Vec<Vec<u8>> {
    let tasks: Vec<_> = names
        .iter()
        .map(|name| {
            let (pool, file) = (pool.clone(), remote(format!("/{name}"), 10_000));
            tokio::spawn(async move {
                for _ in 0..8 {
                    let mut lease = pool.lend().await.expect("there is a session");
                    let fetched = fetch(&mut *lease, &file, 0).await;
                    lease.settle(&fetched);
                    if let Ok(bytes) = fetched {
                        return bytes;
                    }
                }
                panic!("{} never came", file.path);
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.expect("it ends"));
    }
    all
}

#[tokio::test]
async fn no_file_gets_the_bytes_of_another_when_a_server_gives_one_handle_to_two() {
    let world = World::with(|options| options.script.lies.handles = HandleRule::Twice).await;
    let names: Vec<String> = (0..20).map(|n| format!("f{n:02}")).collect();
    for name in &names {
        std::fs::write(world.folder.path().join(name), name.repeat(3334)).expect("it is writable");
    }
    let endpoint = world.endpoint(&[]);
    let pool = Pool::new(endpoint.clone(), 2);
    for (name, bytes) in names.iter().zip(fetch_all(&pool, &names).await) {
        assert!(
            bytes == name.repeat(3334).as_bytes(),
            "{name} has the bytes of {}",
            String::from_utf8_lossy(&bytes[..3])
        );
    }
    let findings = endpoint.open().await.expect("it opens").describe();
    assert!(
        findings.iter().any(|finding| finding.text.contains("one handle to two open files")),
        "{findings:?}"
    );
}

async fn lying(lies: Lies) -> World {
    World::with(|options| options.script.lies = lies).await
}

/// What `/` is told to hold, and what is told beside it.
async fn told_of_root(world: &World) -> Result<(Vec<String>, Vec<Aside>), SourceError> {
    let mut session = world.session().await;
    let (mut names, mut asides) = (Vec::new(), Vec::new());
    for listed in listing(&mut *session, "/").await? {
        match listed {
            Listed::File(file) => names.push(file.path.to_string()),
            Listed::Directory(path) => names.push(format!("{path}/")),
            Listed::Aside(aside) => asides.push(aside),
            other => panic!("{other:?}"),
        }
    }
    names.sort();
    names.dedup();
    Ok((names, asides))
}

#[tokio::test]
async fn whatever_a_server_makes_of_pages_and_ends_every_entry_is_told() {
    let again = |why| vec![Aside::Again(why)];
    let failed = "it ended with a failure";
    let doubts = |first: &[Aside], why| [first, &[Aside::Doubt(why)]].concat();
    for (pages, asides) in [
        (PageRule::Honest, vec![]),
        (PageRule::EndsWith(status::OK), vec![]),
        (PageRule::EndsWith(status::NO_SUCH_FILE), vec![]),
        (PageRule::EndInBetween, again("the server told its end before some of the entries")),
        (PageRule::SamePage(5), again("the server sent a page twice")),
        (
            PageRule::BreaksOffWith(status::FAILURE),
            again("the server told its end before some of the entries"),
        ),
        (
            PageRule::EndsWith(status::FAILURE),
            doubts(
                &again(failed),
                "the server ended it with a failure, twice after the same entries",
            ),
        ),
        (
            PageRule::EmptyForEver,
            doubts(
                &again("the server sent pages without entries, and no end"),
                "the server sent pages without entries, and no end",
            ),
        ),
        (
            PageRule::RoundAndRound,
            doubts(
                &again("the server sent a page twice"),
                "the server sent its pages again and again, and no end",
            ),
        ),
    ] {
        let world = lying(Lies { pages, ..Lies::default() }).await;
        for n in 0..6 {
            world.file(format!("f{n}"), n);
        }
        let told = told_of_root(&world).await.expect("it lists");
        assert_eq!(told, ((0..6).map(|n| format!("/f{n}")).collect(), asides), "{pages:?}");
    }
}

#[tokio::test]
async fn a_listing_that_fails_after_other_entries_each_time_is_no_whole_one() {
    let world =
        lying(Lies { pages: PageRule::EndsWith(status::PERMISSION_DENIED), ..Lies::default() })
            .await;
    world.file("f", 1);
    assert_eq!(told(told_of_root(&world).await.expect_err("it is denied")).0, Class::Permission);
}

#[tokio::test]
async fn a_server_that_mixes_pages_is_asked_one_question_at_a_time_from_then_on() {
    let world = lying(Lies { pages: PageRule::SamePage(3), ..Lies::default() }).await;
    world.file("f", 1);
    let endpoint = world.endpoint(&[]);
    let mut session = endpoint.open().await.expect("it opens");
    let asides = |listed: Vec<Listed>| {
        listed.into_iter().filter(|listed| matches!(listed, Listed::Aside(_))).count()
    };
    assert_eq!(asides(listing(&mut *session, "/").await.expect("it lists")), 1);
    assert_eq!(asides(listing(&mut *session, "/").await.expect("it lists")), 0);
    assert!(session.describe().iter().any(|finding| finding.text.contains("mixes up the pages")));
}

#[cfg(unix)]
#[tokio::test]
async fn a_kind_that_is_not_told_is_tried_out() {
    use std::os::unix::fs::PermissionsExt;
    for kinds in [KindRule::NineLetters, KindRule::Untold] {
        for handles in [HandleRule::Unique, HandleRule::Twice] {
            let world = lying(Lies { kinds, handles, ..Lies::default() }).await;
            world.file("a", 3);
            std::fs::create_dir(world.folder.path().join("sub")).expect("a folder");
            let endpoint = world.endpoint(&[]);
            let pool = Pool::new(endpoint, 1);
            let mut found = Vec::new();
            for _ in 0..4 {
                let mut lease = pool.lend().await.expect("a session");
                let listed = listing(&mut *lease, "/").await;
                lease.settle(&listed);
                if let Ok(listed) = listed {
                    found = listed;
                    break;
                }
            }
            let shown: Vec<String> = found
                .iter()
                .map(|listed| match listed {
                    Listed::File(file) => format!("file {}", file.path),
                    Listed::Directory(path) => format!("folder {path}"),
                    other => format!("{other:?}"),
                })
                .collect();
            assert_eq!(shown, ["file /a", "folder /sub"], "{kinds:?} {handles:?}");
            std::fs::set_permissions(
                world.folder.path().join("sub"),
                std::fs::Permissions::from_mode(0o755),
            )
            .expect("it is ours");
        }
    }
}

#[tokio::test]
async fn a_server_that_lets_few_files_be_open_gets_them_one_after_the_other() {
    for (most, code, words) in [
        (
            1,
            status::PERMISSION_DENIED,
            "Maximum concurrent transfers exceeded for the current context",
        ),
        (1, status::FAILURE, "Failure"),
        (3, status::PERMISSION_DENIED, "Permission denied"),
    ] {
        let world = lying(Lies { most_open: Some((most, code, words)), ..Lies::default() }).await;
        let names: Vec<String> = (0..20).map(|n| format!("f{n:02}")).collect();
        names.iter().for_each(|name| drop(world.file(name, 200_000)));
        let pool = Pool::new(world.endpoint(&[]), 1);
        let tasks: Vec<_> = names
            .iter()
            .map(|name| {
                let (pool, file) = (pool.clone(), remote(format!("/{name}"), 200_000));
                tokio::spawn(async move {
                    fetch(&mut *pool.lend().await.expect("a session"), &file, 0)
                        .await
                        .map(|bytes| bytes.len())
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(
                task.await.expect("it ends").expect("it is not refused for good"),
                200_000,
                "{most} {words}"
            );
        }
    }
}

#[tokio::test]
async fn a_file_that_is_denied_is_denied_also_in_company_and_soon() {
    let script = DemoSftpScript::default()
        .always("denied", DemoSftpFault::OpenStatus(status::PERMISSION_DENIED));
    let world = World::new(script).await;
    world.file("denied", 1);
    world.file("open", 1_000_000);
    let session = world.endpoint(&[]).open().await.expect("it opens");
    let mut first = session.fork().expect("there is room");
    let open = remote("/open", 1_000_000);
    let mut download = first.read(&open, 0).await.expect("it opens");
    let mut second = session.fork().expect("there is room");
    let denied =
        tokio::spawn(
            async move { fetch(&mut *second, &remote("/denied", 1), 0).await.map(|_| ()) },
        );
    while download.next().await.expect("it reads").is_some() {}
    drop(download);
    let (class, ..) = told(denied.await.expect("it ends").expect_err("it is denied"));
    assert_eq!(class, Class::Permission);
}

#[tokio::test]
async fn whatever_is_said_behind_the_end_of_a_file_its_bytes_have_come() {
    for past_end in [
        PastEnd::Nothing,
        PastEnd::Status(status::FAILURE),
        PastEnd::Status(status::PERMISSION_DENIED),
        PastEnd::Status(status::NO_SUCH_FILE),
        PastEnd::Status(status::OK),
        PastEnd::Status(4711),
    ] {
        let world = lying(Lies { past_end: Some(past_end), ..Lies::default() }).await;
        let mut session = world.session().await;
        for size in [0, 1, 300_000] {
            let bytes = world.file("f", size);
            let found =
                fetch(&mut *session, &remote("/f", size as u64), 0).await.expect("all of it came");
            assert!(found == bytes, "{past_end:?}: {} of {size}", found.len());
        }
        world.file("f", 10);
        fetch(&mut *session, &remote("/f", 20), 0).await.expect_err("ten bytes are missing");
    }
}
