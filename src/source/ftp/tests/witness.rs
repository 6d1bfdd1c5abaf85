//! Servers that answer about another file than they were asked for, or say more than that.

use super::*;

const OTHER: &str = "250-Listing\r\n type=file;size=5;modify=20010203040506; b.bin\r\n250 End\r\n";

fn replying(verb: &'static str, reply: &'static str, without: Vec<&'static str>) -> DemoFtpScript {
    DemoFtpScript { replies: vec![(verb, reply)], without, ..DemoFtpScript::default() }
}

#[tokio::test]
async fn what_mlst_tells_of_another_file_is_not_believed() {
    let world = World::new(replying("MLST", OTHER, Vec::new())).await;
    let mut session = world.session().await;
    let path = RemotePath::from("/a.bin");
    let told = soon(session.stat(&path)).await.unwrap().expect("it is there");
    assert_eq!((told.path, told.size), (path.clone(), Some(100_000)));
    let told = soon(session.stat_ahead(&[path])).await.unwrap();
    assert_eq!(told, [None], "to be asked for by itself");
}

#[tokio::test]
async fn mlst_is_read_in_its_first_line_and_behind_that_of_the_folder() {
    for reply in [
        "250 type=file;size=7;modify=20010203040506; a.bin\r\n",
        "250-Listing\r\n type=cdir;modify=20010203040506; /\r\n \
         type=file;size=7;modify=20010203040506; /a.bin\r\n250 End\r\n",
    ] {
        let world = World::new(replying("MLST", reply, Vec::new())).await;
        let mut session = world.session().await;
        let told = soon(session.stat(&RemotePath::from("/a.bin"))).await.unwrap();
        assert_eq!(told.and_then(|file| file.size), Some(7), "{reply:?}");
        assert_eq!(world.server.counts.of("SIZE"), 0);
    }
}

#[tokio::test]
async fn what_mlst_describes_as_a_folder_is_no_file() {
    let reply = "250-Listing\r\n type=dir;modify=20010203040506; a.bin\r\n250 End\r\n";
    let world = World::new(replying("MLST", reply, Vec::new())).await;
    let mut session = world.session().await;
    assert_eq!(soon(session.stat(&RemotePath::from("/a.bin"))).await.unwrap(), None);
}

#[tokio::test]
async fn a_reply_too_many_spoils_the_answers_that_it_came_with() {
    let twice = "213 20010203040506\r\n213 20010203040506\r\n";
    let world = World::new(replying("MDTM", twice, vec!["MLST"])).await;
    let mut session = world.session().await;
    let paths = ["/a.bin", "/sub/b.txt"].map(RemotePath::from);
    let text = check_error(soon(session.stat_ahead(&paths)).await, Class::Protocol, true);
    assert!(text.contains("out of step"), "{text}");
}

#[tokio::test]
async fn a_reply_that_nobody_asked_for_ends_the_session() {
    let late = "250 done\r\n550 done again\r\n";
    let world = World::new(replying("CWD", late, Vec::new())).await;
    let mut session = world.session().await;
    let text = check_error(list(&mut session, "/sub").await, Class::Protocol, true);
    assert!(text.contains("without being asked") && text.contains("done again"), "{text}");
}
