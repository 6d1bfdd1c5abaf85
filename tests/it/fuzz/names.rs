//! Names of files and of members of archives to blob names: each legal, no two the same.

use std::collections::HashMap;

use blobferry::archive::options::{ArchiveOptions, Charset};
use blobferry::model::{BlobName, ModifiedTime, RemoteFile, RemotePath, Version};
use blobferry::rules::layout::{LayoutSettings, MemberName, Template};
use blobferry::rules::naming::{Layout, Naming, Places, apart, versioned};
use blobferry::rules::time_zone::TimeZone;

use super::packed::{self, LIMITS};
use super::seeds::{Stored, stored_zip};
use super::taking::Taking;

/// A source whose tree begins at `/out`.
pub fn naming(layout: Layout) -> Naming {
    Naming {
        source: "acme".into(),
        layout,
        root: RemotePath::from("/out"),
        host_port: "ftp.acme.example_21".into(),
    }
}

/// The default layout first; all of them name every file and member.
fn layouts() -> Vec<Layout> {
    let template = |layout, member_layout| {
        let read = Template::read(LayoutSettings {
            source: "acme",
            layout,
            capture: None,
            member_layout,
            zone: TimeZone::UTC,
            one_file: false,
            overwrites: false,
        });
        Layout::Template(read.expect("a template").into())
    };
    vec![
        Layout::Path,
        Layout::ByType,
        template("{path}", None),
        template("in/{folder}/{file}", Some("{stem}/{member}")),
        template("{stem}x/{path}", Some("{member_file}")),
    ]
}

fn file(naming: &Naming, path: &RemotePath) -> BlobName {
    let file = RemoteFile { path: path.clone(), size: None, modified: None };
    naming.file(&file).expect("these layouts name every file")
}

fn member(naming: &Naming, path: &RemotePath, within: &[String], name: &str) -> BlobName {
    let archive = RemoteFile { path: path.clone(), size: None, modified: None };
    let member = MemberName { within, name, modified: None };
    naming.member(&archive, member).expect("these layouts name every member")
}

/// The first byte chooses a character set; then come names: how deep, by what system, how long,
/// bytes.
pub fn check(bytes: &[u8]) {
    let mut taking = Taking(bytes);
    let charset = packed::charset(taking.byte());
    let (mut stored, mut whole) = (Vec::new(), HashMap::new());
    while !taking.is_over() && stored.len() < 64 {
        let form = taking.byte();
        let name = taking.piece();
        plain_names(form, name, &mut taking, &mut whole);
        stored.push(Stored {
            name,
            made_by: form >> 4,
            flags: u16::from(form & 1) << 11,
            unicode: (form & 2 != 0).then(|| taking.piece()),
        });
    }
    in_a_zip(&stored, charset);
}

/// What a blob is of: a file's path; the archives and the member in it.
type Of = (Vec<u8>, Vec<String>, Option<String>);

fn plain_names(form: u8, name: &[u8], taking: &mut Taking<'_>, whole: &mut HashMap<BlobName, Of>) {
    let path = RemotePath::new([&b"/out/"[..], name].concat());
    let within: Vec<String> =
        (0..form >> 2 & 3).map(|_| String::from_utf8_lossy(taking.piece()).into_owned()).collect();
    let inner = String::from_utf8_lossy(taking.piece()).into_owned();
    // Templates name files, and the root is none.
    let is_root = path.below(&RemotePath::from("/out")).is_none_or(<[u8]>::is_empty);
    let layouts = layouts().into_iter().take(if is_root { 2 } else { usize::MAX });
    let naming: Vec<Naming> = layouts.map(naming).collect();
    for naming in &naming {
        for name in [file(naming, &path), member(naming, &path, &within, &inner)] {
            legal(&name);
            legal(&apart(&name, name.as_str().as_bytes()));
            let version = Version::from_hex(&"0123456789abcdef".repeat(2)).expect("32 digits");
            legal(&versioned(&name, &version, ModifiedTime::from_unix(1_700_000_000).as_ref()));
        }
    }
    if is_root {
        return;
    }
    for (name, of) in [
        (file(&naming[0], &path), (path.as_bytes().to_vec(), Vec::new(), None)),
        (
            member(&naming[0], &path, &within, &inner),
            (path.as_bytes().to_vec(), within.clone(), Some(inner.clone())),
        ),
    ] {
        let first = whole.entry(name.clone()).or_insert_with(|| of.clone());
        assert_eq!(*first, of, "both are called `{}`", name.as_str());
    }
}

/// The names as those of a zip's members: decoded, and given places.
fn in_a_zip(stored: &[Stored<'_>], charset: Charset) {
    let options = ArchiveOptions {
        file_name: "a.zip".into(),
        charset,
        limits: LIMITS,
        ..ArchiveOptions::default()
    };
    let Some(proven) = packed::unpack("a.zip", &stored_zip(stored), options) else { return };
    assert_eq!(proven.len(), stored.len(), "a member is lost");
}

/// Azure takes it, by the rules that the project knows.
pub fn legal(name: &BlobName) {
    let again = BlobName::new(name.as_str());
    assert!(again.is_ok(), "{:?}: {again:?}", name.as_str());
}

/// No two members of an archive meet, and where each goes is the same in every run.
pub fn places<'a>(members: impl Iterator<Item = (&'a [String], &'a str, &'a [u8])> + Clone) {
    for layout in layouts() {
        let naming = naming(layout);
        let placed = || {
            let mut places = Places::default();
            let place =
                move |(index, (within, name, raw_name)): (usize, (&[String], &str, &[u8]))| {
                    places
                        .of(
                            member(&naming, &RemotePath::from("/out/a.zip"), within, name),
                            raw_name,
                            index,
                        )
                        .0
                };
            members.clone().enumerate().map(place).collect::<Vec<_>>()
        };
        let once = placed();
        once.iter().for_each(legal);
        let mut sorted: Vec<&BlobName> = once.iter().collect();
        sorted.sort();
        let twins = sorted.windows(2).find(|two| two[0] == two[1]);
        assert_eq!(twins, None, "two members have one name");
    }
}

/// Names that were trouble somewhere.
pub fn seeds() -> Vec<Vec<u8>> {
    const NAMES: &[&[u8]] = &[
        b"a.txt",
        b"a.txt",
        b"A.TXT",
        b"../../etc/passwd",
        b"/abs",
        b"C:\\x\\..\\y",
        b"a.zip!/x",
        b"",
        b"%",
        b"%2F",
        b"x.",
        b"..",
        b"a//b/",
        b"nul\0.txt",
        b"\x83\x5c\x93\xfa",
        b"caf\x82.txt",
        b"\xff\xfe",
        "\u{fffd}".as_bytes(),
        "\u{202e}gpj.exe".as_bytes(),
        "\u{e000}\u{fffe}".as_bytes(),
    ];
    let one = |form: u8, name: &[u8]| {
        let mut out = vec![form, name.len() as u8];
        out.extend(name);
        for _ in 0..(form >> 2 & 3) + 1 {
            out.extend([3, b'b', b'!', b'/']);
        }
        out
    };
    let mut seeds: Vec<Vec<u8>> = (0..8u8)
        .map(|form| {
            [vec![form], NAMES.iter().flat_map(|name| one(form.wrapping_mul(37), name)).collect()]
                .concat()
        })
        .collect();
    seeds.extend(NAMES.windows(2).map(|two| [vec![0], one(0x30, two[0]), one(1, two[1])].concat()));
    seeds
}
