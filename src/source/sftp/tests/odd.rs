//! Servers whose answers are odd and can be made sense of: what they hold is told and read.

use super::peers::{
    Entry, FILE, FOLDER, PLAIN, Peer, PeerManners, Replaced, entries, listed_as, look, plain, say,
    told_as,
};
use super::*;
use crate::source::sftp::packet::{PacketReply, Request};

const TREE: &[(&str, &[u8])] =
    &[("/out/a.csv", b"hello"), ("/out/sub/b.csv", b"bravo"), ("/home/out/c.csv", b"charlie")];

/// What `/out` holds, each as `name`, or `name/` for a folder.
async fn names_of(session: &mut dyn Session, dir: &str) -> Vec<String> {
    let mut names: Vec<String> = listing(session, dir)
        .await
        .expect("it lists")
        .into_iter()
        .map(|listed| match listed {
            Listed::File(file) => file.path.file_name_text(),
            Listed::Directory(path) => path.file_name_text() + "/",
            other => format!("{other:?}"),
        })
        .collect();
    names.sort();
    names
}

async fn lists_and_reads(what: &str, manners: PeerManners) {
    let peer = Peer::new(TREE, manners).await;
    let mut session = peer.open("/out").await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert_eq!(names_of(&mut *session, "/out").await, ["a.csv", "sub/"], "{what}");
    let file = remote("/out/a.csv", 5);
    assert_eq!(fetch(&mut *session, &file, 0).await.expect(what), b"hello", "{what}");
    let now = session.stat(&file.path).await.expect(what).expect("it is there");
    assert_eq!(now.size, Some(5), "{what}");
}

#[tokio::test]
async fn a_server_whose_first_words_are_odd_is_read() {
    const VERSION: &[u8] = &[0, 0, 0, 5, 2, 0, 0, 0, 3];
    lists_and_reads("version before the answer", PeerManners { early: VERSION, ..PLAIN }).await;
    let no_answer = PeerManners { early: VERSION, confirms: false, ..PLAIN };
    lists_and_reads("version instead of the answer", no_answer).await;
    lists_and_reads("no answer", PeerManners { confirms: false, ..PLAIN }).await;
}

#[tokio::test]
async fn extensions_and_limits_that_cannot_be_read_change_nothing() {
    // VERSION has no id: what stands there is the version.
    fn version(rest: &[u8]) -> Vec<u8> {
        [&3_u32.to_be_bytes()[..], rest].concat()
    }
    let cut: fn(&Request, &_) -> Option<Replaced> = |request, _| {
        matches!(request, Request::Init { .. })
            .then(|| Replaced::Bytes(2, version(&[0, 0, 0, 7, b'n', b'e', b'w'])))
    };
    lists_and_reads("an extension that is cut", PeerManners { answer: cut, ..PLAIN }).await;
    let nameless: fn(&Request, &_) -> Option<Replaced> = |request, _| {
        matches!(request, Request::Init { .. })
            .then(|| Replaced::Bytes(2, version(&[0, 0, 0, 3, b'x', b'@', b'y'])))
    };
    lists_and_reads("an extension without a value", PeerManners { answer: nameless, ..PLAIN })
        .await;
    let junk: fn(&Request, &_) -> Option<Replaced> = |request, _| match request {
        Request::Init { .. } => Some(Replaced::Reply(PacketReply::Version {
            version: 3,
            extensions: vec![(Bytes::from_static(b"limits@openssh.com"), Bytes::from_static(b"1"))],
        })),
        Request::Extended { .. } => Some(Replaced::Raw(250, b"junk".to_vec())),
        _ => None,
    };
    lists_and_reads("limits of no known kind", PeerManners { answer: junk, ..PLAIN }).await;
}

#[tokio::test]
async fn what_a_server_says_beside_the_stream_is_told() {
    let aside = Some("sftp-server: your mailbox is locked, call 555\n");
    let peer = Peer::new(TREE, PeerManners { aside, ..PLAIN }).await;
    let error = told(peer.open("/out").await.err().expect("it is no server")).3;
    assert!(error.contains("your mailbox is locked, call 555"), "{error}");
}

#[tokio::test]
async fn where_a_login_starts_is_told_in_many_forms() {
    let none: fn(&Request, &_) -> Option<Replaced> = |request, _| match request {
        Request::RealPath { .. } => Some(Replaced::Reply(PacketReply::Names(Vec::new()))),
        _ => relative(request),
    };
    let empty: fn(&Request, &_) -> Option<Replaced> = |request, _| match request {
        Request::RealPath { .. } => {
            let names = vec![listed_as("", Attributes::default())];
            Some(Replaced::Reply(PacketReply::Names(names)))
        }
        _ => relative(request),
    };
    let two: fn(&Request, &_) -> Option<Replaced> = |request, _| match request {
        Request::RealPath { .. } => {
            let names = ["/home", "/else"].map(|name| listed_as(name, told_as(FOLDER, 0)));
            Some(Replaced::Reply(PacketReply::Names(names.to_vec())))
        }
        _ => None,
    };
    for (what, answer) in [("none", none), ("empty", empty), ("two", two)] {
        let peer = Peer::new(TREE, PeerManners { answer, ..PLAIN }).await;
        let mut session = peer.open("/~/out").await.expect(what);
        assert_eq!(names_of(&mut *session, "/~/out").await, ["c.csv"], "{what}");
    }
}

/// Opens `./out` as `/home/out`, and no absolute path.
fn relative(request: &Request) -> Option<Replaced> {
    match request {
        Request::OpenDir { path } if path.starts_with(b"/") => {
            Some(Replaced::Reply(say(status::NO_SUCH_FILE)))
        }
        Request::OpenDir { .. } => Some(Replaced::Reply(PacketReply::Handle("home".into()))),
        Request::ReadDir { handle } if handle.as_ref() == b"home" => {
            let entry = listed_as("c.csv", told_as(FILE, 7));
            Some(Replaced::Once("home", PacketReply::Names(vec![entry])))
        }
        _ => None,
    }
}

/// `/out` with its entries named as `name` has it.
async fn named(what: &str, answer: fn(&Request, &peers::Tree) -> Option<Replaced>) {
    lists_and_reads(what, PeerManners { answer, ..PLAIN }).await;
}

fn renamed(
    request: &Request,
    tree: &peers::Tree,
    more: Vec<ListedEntry>,
    name: fn(&str) -> String,
) -> Option<Replaced> {
    let Request::ReadDir { .. } = request else { return None };
    let mut listed = more;
    for entry in entries(tree, "/out") {
        let own = name(&String::from_utf8_lossy(&entry.name));
        listed.push(ListedEntry { name: own.into(), ..entry });
    }
    Some(Replaced::Once("out", PacketReply::Names(listed)))
}

#[tokio::test]
async fn names_are_taken_in_whichever_form_they_come() {
    named("dot", |request, tree| renamed(request, tree, Vec::new(), |name| format!("./{name}")))
        .await;
    named("two slashes", |request, tree| {
        renamed(request, tree, Vec::new(), |name| format!("/out//{name}"))
    })
    .await;
    named("the real folder", |request, tree| match request {
        Request::RealPath { path } => {
            let real = format!("/data/acme{}", plain(path));
            let names = vec![listed_as(&real, Attributes::default())];
            Some(Replaced::Reply(PacketReply::Names(names)))
        }
        _ => renamed(request, tree, Vec::new(), |name| format!("/data/acme/out/{name}")),
    })
    .await;
    named("the folder itself, without a name", |request, tree| {
        renamed(request, tree, vec![listed_as("", told_as(FOLDER, 0))], str::to_owned)
    })
    .await;
    named("the folder itself, by its path", |request, tree| {
        renamed(request, tree, vec![listed_as("/out/", told_as(FOLDER, 0))], str::to_owned)
    })
    .await;
}

#[tokio::test]
async fn a_file_whose_type_is_none_that_a_system_has_is_no_special_one() {
    named("odd bits", |request, tree| match request {
        Request::Lstat { path } | Request::Stat { path } => {
            let told = look(tree, path)?;
            let permissions = told.permissions.map(|bits| bits | 0o170_000);
            Some(Replaced::Reply(PacketReply::Attributes(Attributes { permissions, ..told })))
        }
        Request::ReadDir { .. } => {
            let odd = |entry: ListedEntry| {
                let permissions = entry.attributes.permissions.map(|bits| bits | 0o170_000);
                let attributes = Attributes { permissions, ..entry.attributes };
                ListedEntry { attributes, ..entry }
            };
            let listed = entries(tree, "/out").into_iter().map(odd).collect();
            Some(Replaced::Once("out", PacketReply::Names(listed)))
        }
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn a_server_without_lstat_is_asked_by_stat() {
    for code in [status::NO_SUCH_FILE, status::OP_UNSUPPORTED, status::FAILURE] {
        let answer: fn(&Request, &peers::Tree) -> Option<Replaced> = match code {
            status::NO_SUCH_FILE => |request, _| refused(request, status::NO_SUCH_FILE),
            status::OP_UNSUPPORTED => |request, _| refused(request, status::OP_UNSUPPORTED),
            _ => |request, _| refused(request, status::FAILURE),
        };
        named("no LSTAT", answer).await;
    }
}

fn refused(request: &Request, code: u32) -> Option<Replaced> {
    match request {
        Request::Lstat { .. } => Some(Replaced::Reply(say(code))),
        _ => None,
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_not_an_empty_one() {
    // It opens everything, and tells later what there is.
    let lazy: fn(&Request, &peers::Tree) -> Option<Replaced> = |request, _| match request {
        Request::OpenDir { .. } => Some(Replaced::Reply(PacketReply::Handle("lazy".into()))),
        Request::ReadDir { .. } => Some(Replaced::Reply(say(status::NO_SUCH_FILE))),
        _ => None,
    };
    let peer = Peer::new(TREE, PeerManners { answer: lazy, ..PLAIN }).await;
    let mut session = peer.open("/").await.expect("it opens");
    let error = listing(&mut *session, "/mistyped").await.expect_err("it is not there");
    assert_eq!(error.class(), Class::NotFound);
    // One that is there and ends so is empty.
    assert!(listing(&mut *session, "/out/sub").await.expect("it lists").is_empty());
}

#[tokio::test]
async fn a_size_of_minus_one_is_no_size() {
    let answer: fn(&Request, &peers::Tree) -> Option<Replaced> = |request, tree| match request {
        Request::Lstat { path } => {
            let told = Attributes { size: Some(u64::MAX), ..look(tree, path)? };
            Some(Replaced::Reply(PacketReply::Attributes(told)))
        }
        _ => None,
    };
    let peer = Peer::new(TREE, PeerManners { answer, ..PLAIN }).await;
    let mut session = peer.open("/").await.expect("it opens");
    let told = session.stat(&RemotePath::from("/out/a.csv")).await.expect("it is described");
    assert_eq!(told.expect("it is there").size, None);
}

#[tokio::test]
async fn no_such_path_is_no_such_file() {
    let answer: fn(&Request, &peers::Tree) -> Option<Replaced> = |request, tree| match request {
        Request::Lstat { path } | Request::Stat { path } | Request::OpenDir { path } => {
            look(tree, path).is_none().then(|| Replaced::Reply(say(10)))
        }
        Request::Open { .. } => Some(Replaced::Reply(say(17))),
        _ => None,
    };
    let peer = Peer::new(TREE, PeerManners { answer, ..PLAIN }).await;
    let mut session = peer.open("/").await.expect("it opens");
    assert_eq!(session.stat(&RemotePath::from("/done/x/a.csv")).await.expect("it answers"), None);
    let (from, to) = (RemotePath::from("/out/a.csv"), RemotePath::from("/done/x/a.csv"));
    session.rename(&from, &to).await.expect("its folders are made");
    let error = told(fetch(&mut *session, &remote("/out/a.csv", 5), 0).await.expect_err("locked"));
    assert_eq!(error.0, Class::Busy);
    assert!(error.3.contains("lock conflict (status 17)"), "{}", error.3);
}

#[tokio::test]
async fn a_server_that_describes_nothing_has_its_folders_made_for_a_move() {
    let answer: fn(&Request, &peers::Tree) -> Option<Replaced> = |request, _| match request {
        Request::Lstat { .. } | Request::Stat { .. } => {
            Some(Replaced::Reply(say(status::OP_UNSUPPORTED)))
        }
        Request::Rename { .. } => Some(Replaced::If("made", say(status::OK))),
        Request::MakeDir { path } if path.as_ref() == b"/done/x" => {
            Some(Replaced::Once("made", say(status::OK)))
        }
        _ => None,
    };
    let peer = Peer::new(TREE, PeerManners { answer, ..PLAIN }).await;
    let mut session = peer.open("/").await.expect("it opens");
    let to = RemotePath::from("/done/x/a.csv");
    assert_eq!(session.stat(&to).await.expect("its folder is not there"), None);
    session.rename(&RemotePath::from("/out/a.csv"), &to).await.expect("its folders are made");
}

#[tokio::test]
async fn one_login_more_that_is_refused_is_no_refused_credential() {
    let refused: fn(usize, usize) -> Entry = |_, inside| match inside {
        0 => Entry::In,
        _ => Entry::Refused,
    };
    let peer = Peer::new(TREE, PeerManners { lets_in: refused, ..PLAIN }).await;
    let endpoint = peer.endpoint("/out");
    let first = endpoint.open().await.expect("the first one is in");
    let (class, is_transient, ..) = told(endpoint.open().await.err().expect("it is full"));
    assert_eq!((class, is_transient), (Class::Busy, true));
    drop(first);
}

/// As MySecureShell does with `LimitConnectionByUser`.
#[tokio::test]
async fn one_login_more_that_gets_no_sftp_while_others_are_in_is_one_too_many() {
    let peer = Peer::new(TREE, PeerManners { serves: 1, ..PLAIN }).await;
    let endpoint = peer.endpoint("/out");
    let first = endpoint.open().await.expect("the first one is served");
    let (class, is_transient, _, text) = told(endpoint.open().await.err().expect("it is full"));
    assert_eq!((class, is_transient), (Class::Busy, true), "{text}");
    assert!(text.contains("status 10") && text.contains("1 logins are in"), "{text}");
    drop(first);
    let nobody = Peer::new(TREE, PeerManners { serves: 0, ..PLAIN }).await;
    let alone = told(nobody.open("/out").await.err().expect("nobody is served"));
    assert_eq!(alone.0, Class::Protocol, "{}", alone.3);
}

#[tokio::test]
async fn a_server_that_says_it_is_full_has_not_refused_the_credential() {
    let words: fn(usize, usize) -> Entry = |shown, _| match shown {
        0 => Entry::Ended(russh::Disconnect::ByApplication, "Too many logins for user me"),
        _ => Entry::Ended(russh::Disconnect::TooManyConnections, "none left"),
    };
    let peer = Peer::new(TREE, PeerManners { lets_in: words, ..PLAIN }).await;
    let endpoint = peer.endpoint("/out");
    for words in ["Too many logins for user me", "none left"] {
        let error = told(endpoint.open().await.err().expect("it ends"));
        assert_eq!((error.0, error.1), (Class::Busy, true), "{}", error.3);
        assert!(error.3.contains(words), "{}", error.3);
    }
}

#[tokio::test]
async fn a_refused_login_is_told_with_the_servers_banner() {
    let lets_in: fn(usize, usize) -> Entry = |_, _| Entry::Refused;
    let banner = Some("Your account expired on 1 January; call 555.\r\n");
    let peer = Peer::new(TREE, PeerManners { lets_in, banner, ..PLAIN }).await;
    let error = told(peer.open("/out").await.err().expect("it is refused"));
    assert_eq!(error.0, Class::Auth);
    assert!(error.3.contains("`Your account expired on 1 January; call 555.`"), "{}", error.3);
}

#[tokio::test]
async fn all_entries_of_a_large_folder_may_come_in_one_answer() {
    let answer: fn(&Request, &peers::Tree) -> Option<Replaced> = |request, _| match request {
        Request::ReadDir { .. } => {
            let name = |n: u32| format!("{n:06}-a-rather-long-name-in-an-object-store.csv");
            let listed = (0..20_000).map(|n| listed_as(&name(n), told_as(FILE, 7))).collect();
            Some(Replaced::Once("out", PacketReply::Names(listed)))
        }
        _ => None,
    };
    let peer = Peer::new(TREE, PeerManners { answer, ..PLAIN }).await;
    let mut session = peer.open("/out").await.expect("it opens");
    assert_eq!(listing(&mut *session, "/out").await.expect("it lists").len(), 20_000);
}

/// Opens whatever it is asked to as a folder, and tells of nothing what it is.
fn lazy(request: &Request, tree: &peers::Tree, of_a_file: u32) -> Option<Replaced> {
    match request {
        Request::Lstat { path } | Request::Stat { path } => {
            look(tree, path)?;
            Some(Replaced::Reply(PacketReply::Attributes(Attributes::default())))
        }
        Request::OpenDir { path } => Some(Replaced::Reply(PacketReply::Handle(plain(path).into()))),
        Request::ReadDir { handle } if handle.as_ref() == b"/out" => {
            let untold = |name: &str| ListedEntry {
                long_name: Bytes::new(),
                ..listed_as(name, Attributes::default())
            };
            Some(Replaced::Once("out", PacketReply::Names(vec![untold("a.csv"), untold("sub")])))
        }
        Request::ReadDir { handle } if handle.as_ref() == b"/out/sub" => {
            Some(Replaced::Reply(PacketReply::Names(vec![listed_as("b.csv", told_as(FILE, 5))])))
        }
        Request::ReadDir { .. } => Some(Replaced::Reply(say(of_a_file))),
        _ => None,
    }
}

#[tokio::test]
async fn a_file_that_can_be_opened_as_a_folder_is_no_empty_folder() {
    let answers: [fn(&Request, &peers::Tree) -> Option<Replaced>; 3] = [
        |request, tree| lazy(request, tree, status::NO_SUCH_FILE),
        |request, tree| lazy(request, tree, status::FAILURE),
        |request, tree| lazy(request, tree, status::EOF),
    ];
    for answer in answers {
        let peer = Peer::new(TREE, PeerManners { answer, ..PLAIN }).await;
        let mut session = peer.open("/out").await.expect("it opens");
        assert_eq!(names_of(&mut *session, "/out").await, ["a.csv", "sub/"]);
    }
}

#[tokio::test]
async fn what_was_done_is_done_whatever_the_server_says_of_it() {
    let answer: fn(&Request, &peers::Tree) -> Option<Replaced> = |request, _| match request {
        Request::Lstat { path } | Request::Stat { path } if path.starts_with(b"/done") => {
            let told = PacketReply::Attributes(told_as(FILE, 5));
            Some(Replaced::If("moved", told))
        }
        Request::Lstat { .. } | Request::Stat { .. } => {
            Some(Replaced::Reply(say(status::NO_SUCH_FILE)))
        }
        Request::Rename { .. } => Some(Replaced::Once("moved", say(status::FAILURE))),
        Request::Remove { .. } => Some(Replaced::Reply(say(status::FAILURE))),
        _ => None,
    };
    let peer = Peer::new(TREE, PeerManners { answer, ..PLAIN }).await;
    let mut session = peer.open("/").await.expect("it opens");
    let (from, to) = (RemotePath::from("/out/a.csv"), RemotePath::from("/done/a.csv"));
    session.remove(&from).await.expect("it is not there");
    session.rename(&from, &to).await.expect("it is there");
    // What is still there was not removed.
    let still: fn(&Request, &peers::Tree) -> Option<Replaced> = |request, _| {
        matches!(request, Request::Remove { .. }).then(|| Replaced::Reply(say(status::FAILURE)))
    };
    let peer = Peer::new(TREE, PeerManners { answer: still, ..PLAIN }).await;
    let mut session = peer.open("/").await.expect("it opens");
    session.remove(&from).await.expect_err("it is there");
}
