//! Remote path (and member of an archive) to blob name: one-to-one, stable, legal, readable.
//!
//! Percent-decoding a name of the default layout gives back the original bytes, so two inputs can
//! only meet where a layout throws information away (`by-type`) or where a name is over Azure's
//! limits and ends in a hash; `run` tells such blobs apart by their metadata and uses [`apart`].

use std::collections::HashSet;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::model::{BlobName, ModifiedTime, RemotePath, Version, allowed_in_blob_name, hex};

/// How names are laid out in the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `{source}/{path below the URL's path}`.
    Path,
    /// `{host}_{port}/{type}/{name}`: the predecessor's layout, which forgets folders.
    ByType,
}

/// Everything that naming needs to know of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// The source's name, `[a-z0-9][a-z0-9-]*`.
    pub source: String,
    /// The layout.
    pub layout: Layout,
    /// Where the source's tree begins.
    pub root: RemotePath,
    /// `{host}_{port}`, for [`Layout::ByType`].
    pub host_port: String,
}

impl Naming {
    /// The plain name of a file.
    pub fn file(&self, path: &RemotePath) -> BlobName {
        let below = path.below(&self.root).unwrap_or(path.as_bytes());
        match self.layout {
            Layout::Path => legal(format!("{}/{}", self.source, escaped_path(below))),
            Layout::ByType => self.by_type(path.file_name()),
        }
    }

    /// The plain name of a member of the archive at `path`; `within` names the archives in it that
    /// it is in.
    pub fn member(&self, path: &RemotePath, within: &[String], member: &str) -> BlobName {
        match self.layout {
            Layout::Path => {
                let below = path.below(&self.root).unwrap_or(path.as_bytes());
                let inside: String =
                    within.iter().map(|outer| escaped_path(outer.as_bytes()) + "!/").collect();
                legal(format!(
                    "{}/{}!/{inside}{}",
                    self.source,
                    escaped_path(below),
                    escaped_path(member.as_bytes())
                ))
            }
            Layout::ByType => self.by_type(member.rsplit('/').next().unwrap_or(member).as_bytes()),
        }
    }

    fn by_type(&self, file_name: &[u8]) -> BlobName {
        let text = String::from_utf8_lossy(file_name);
        let kind =
            text.rsplit_once('.').map(|(_, kind)| sanitized(kind)).filter(|kind| !kind.is_empty());
        let kind = kind.unwrap_or_else(|| "none".to_owned());
        let parts = [self.host_port.as_str(), &kind, &sanitized(&text)];
        let parts: Vec<String> =
            parts.iter().map(|part| escaped_segment(part.as_bytes())).collect();
        legal(parts.join("/"))
    }
}

/// The name of a later version of what already lives under `plain`:
/// `<stem>~<modified UTC>-<8 hex of its version><.ext>`.
pub fn versioned(plain: &BlobName, version: &Version, modified: Option<&ModifiedTime>) -> BlobName {
    suffixed(plain, &version_mark(version, modified))
}

/// What tells a version from others in a name: `<modified UTC>-<8 hex of its version>`.
pub fn version_mark(version: &Version, modified: Option<&ModifiedTime>) -> String {
    let short = &version.to_string()[..8];
    match modified {
        Some(modified) => {
            let at = modified.at.to_offset(time::UtcOffset::UTC);
            let date = format!("{:04}{:02}{:02}", at.year(), u8::from(at.month()), at.day());
            format!("{date}T{:02}{:02}{:02}Z-{short}", at.hour(), at.minute(), at.second())
        }
        None => (*short).to_owned(),
    }
}

/// A stable other name for `identity` (source path and member), whose plain name belongs to
/// somebody else.
pub fn apart(plain: &BlobName, identity: &[u8]) -> BlobName {
    suffixed(plain, &hex(&Sha256::digest(identity)[..8]))
}

/// The names of one archive's members, no two of which are the same.
#[derive(Debug, Default)]
pub struct Places {
    taken: HashSet<BlobName>,
}

impl Places {
    /// A place for the member `raw_name` at `index` of the archive, whose plain name is `plain`:
    /// that if no member before it has it, else another, and whether it is another. Who gets which
    /// depends on the archive alone, so it is the same in every run.
    pub fn of(&mut self, plain: BlobName, raw_name: &[u8], index: usize) -> (BlobName, bool) {
        if self.taken.insert(plain.clone()) {
            return (plain, false);
        }
        // An archive can be made whose members are called as others' names apart are: then there is
        // one more turn.
        let mut identity = [raw_name, &index.to_be_bytes()].concat();
        loop {
            let own = apart(&plain, &identity);
            if self.taken.insert(own.clone()) {
                return (own, true);
            }
            identity.push(0);
        }
    }
}

fn suffixed(plain: &BlobName, mark: &str) -> BlobName {
    let name = plain.as_str();
    let segment = name.rfind('/').map_or(0, |slash| slash + 1);
    // A dot at the start of a segment begins a hidden name, not an extension.
    match name[segment..].rfind('.').filter(|dot| *dot > 0) {
        Some(dot) => legal(format!("{}~{mark}{}", &name[..segment + dot], &name[segment + dot..])),
        None => legal(format!("{name}~{mark}")),
    }
}

/// Bytes as printable ASCII for metadata: everything but letters, digits and `/._-` is `%XX`.
pub fn escaped_for_metadata(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                out.push(char::from(*byte))
            }
            _ => push_escaped(&mut out, *byte),
        }
    }
    out
}

/// A path with every segment escaped. A slash that would make an empty segment becomes `%2F`;
/// the empty path becomes a lone `%`, which nothing else does.
fn escaped_path(path: &[u8]) -> String {
    if path.is_empty() {
        return "%".to_owned();
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    loop {
        while let Some(after) = rest.strip_prefix(b"/") {
            out.push_str("%2F");
            rest = after;
        }
        let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
        out.push_str(&escaped_segment(&rest[..end]));
        match rest.get(end + 1..) {
            None => return out,
            Some([]) => {
                out.push_str("%2F");
                return out;
            }
            Some(after) => {
                out.push('/');
                rest = after;
            }
        }
    }
}

/// One segment: what Azure or tools on it cannot hold becomes `%XX`, byte by byte.
fn escaped_segment(segment: &[u8]) -> String {
    let mut out = String::with_capacity(segment.len());
    // `.` and `..` would be resolved away, a trailing dot is dropped by Azure,
    // a trailing `!` is how we mark the members of an archive.
    let (body, last) = match segment {
        b"." | b".." => return segment.iter().map(|_| "%2E").collect(),
        [body @ .., last @ (b'.' | b'!')] => (body, Some(*last)),
        _ => (segment, None),
    };
    for chunk in body.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c != '%' && allowed_in_blob_name(c) {
                out.push(c);
            } else {
                c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_escaped(&mut out, byte));
            }
        }
        chunk.invalid().iter().for_each(|byte| push_escaped(&mut out, *byte));
    }
    if let Some(last) = last {
        push_escaped(&mut out, last);
    }
    out
}

fn push_escaped(out: &mut String, byte: u8) {
    write!(out, "%{byte:02X}").expect("writing to a String does not fail");
}

/// The predecessor's rules: anything outside `A-Z a-z 0-9 . - _` and blank becomes `-`; blanks at
/// the ends go.
fn sanitized(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || ".-_ ".contains(c) { c } else { '-' };
    name.chars().map(kept).collect::<String>().trim_matches(' ').to_owned()
}

/// `name`, or its beginning with a hash of the whole where it is over Azure's limits.
fn legal(name: String) -> BlobName {
    let name = if name.is_empty() || name.ends_with('/') { name + "%" } else { name };
    match BlobName::new(&name) {
        Ok(name) => name,
        Err(_) => BlobName::new(shortened(&name))
            .expect("segments are escaped, and the limits were the only rule left to break"),
    }
}

fn shortened(name: &str) -> String {
    let hash = hex(&Sha256::digest(name.as_bytes())[..16]);
    let room = BlobName::MAX_CHARS - hash.len() - 1;
    let mut units = 0;
    let mut slashes = 0;
    let mut end = 0;
    for (at, c) in name.char_indices() {
        units += c.len_utf16();
        slashes += usize::from(c == '/');
        if units > room || slashes > BlobName::MAX_SEGMENTS - 1 {
            break;
        }
        end = at + c.len_utf8();
    }
    format!("{}~{hash}", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::percent_decode;
    use proptest::prelude::*;
    use time::macros::datetime;

    fn naming(layout: Layout) -> Naming {
        Naming {
            source: "acme".into(),
            layout,
            root: RemotePath::from("/out"),
            host_port: "ftp.acme.example_21".into(),
        }
    }

    fn check(path: &[u8], expected: &str) {
        assert_eq!(naming(Layout::Path).file(&RemotePath::new(path)).as_str(), expected);
    }

    #[test]
    fn readable_names_stay_as_they_are() {
        check(b"/out/daily/report.csv", "acme/daily/report.csv");
        check("/out/ü 日本 ☺.txt".as_bytes(), "acme/ü 日本 ☺.txt");
        check(b"/out/ a b ", "acme/ a b ");
        check(b"/out/a#b?c&d+e'f\"g;h", "acme/a#b?c&d+e'f\"g;h");
    }

    #[test]
    fn what_azure_cannot_hold_is_escaped_byte_by_byte() {
        check(b"/out/50%.txt", "acme/50%25.txt");
        check(b"/out/a\\b", "acme/a%5Cb");
        check(b"/out/caf\xe9", "acme/caf%E9");
        check(b"/out/nl\nesc\x1b", "acme/nl%0Aesc%1B");
        check("/out/\u{85}\u{E001}\u{FFFE}".as_bytes(), "acme/%C2%85%EE%80%81%EF%BF%BE");
        check(b"/out/dir./x..", "acme/dir%2E/x.%2E");
        check(b"/out/../etc", "acme/%2E%2E/etc");
    }

    #[test]
    fn an_archives_members_never_meet_a_folder_of_its_name() {
        let naming = naming(Layout::Path);
        assert_eq!(
            naming.member(&RemotePath::from("/out/a.zip"), &[], "x/1.txt").as_str(),
            "acme/a.zip!/x/1.txt"
        );
        check(b"/out/a.zip!/x/1.txt", "acme/a.zip%21/x/1.txt");
        check(b"/out/hey!you", "acme/hey!you");
    }

    #[test]
    fn climbing_absolute_and_empty_member_names_arrive_escaped() {
        let member = |name: &str| {
            naming(Layout::Path)
                .member(&RemotePath::from("/out/a.zip"), &[], name)
                .as_str()
                .to_owned()
        };
        assert_eq!(member("../../etc/passwd"), "acme/a.zip!/%2E%2E/%2E%2E/etc/passwd");
        assert_eq!(member("/tmp/moo"), "acme/a.zip!/%2Ftmp/moo");
        assert_eq!(member("a//b/"), "acme/a.zip!/a/%2Fb%2F");
        assert_eq!(member(""), "acme/a.zip!/%");
    }

    #[test]
    fn names_over_the_limits_end_in_a_hash_and_stay_apart() {
        let long = |c: &str| {
            naming(Layout::Path)
                .file(&RemotePath::from(format!("/out/{}{c}", "x".repeat(2000)).as_str()))
        };
        let deep = naming(Layout::Path)
            .file(&RemotePath::from(format!("/out/{}", "d/".repeat(400)).as_str()));
        assert_ne!(long("a"), long("b"));
        assert_eq!(long("a").as_str().len(), 1024);
        assert!(deep.as_str().split('/').count() <= 254);
    }

    #[test]
    fn a_later_version_has_its_time_and_version_in_its_name() {
        let version = Version::from_hex("0123456789abcdef0123456789abcdef").expect("32 digits");
        let at = ModifiedTime::from_unix(datetime!(2026-11-20 10:11:12 UTC).unix_timestamp());
        let name = |plain: &str| {
            versioned(&BlobName::new(plain).expect("legal"), &version, at.as_ref())
                .as_str()
                .to_owned()
        };
        assert_eq!(name("acme/v1.0/report.csv"), "acme/v1.0/report~20261120T101112Z-01234567.csv");
        assert_eq!(name("acme/v1.0/.hidden"), "acme/v1.0/.hidden~20261120T101112Z-01234567");
    }

    #[test]
    fn a_member_called_as_anothers_name_apart_gets_a_name_of_its_own() {
        let plain =
            |name: &str| naming(Layout::Path).member(&RemotePath::from("/out/a.zip"), &[], name);
        // Anybody can compute what the second `a.txt`, at place 2, will be called.
        let forged = apart(&plain("a.txt"), &[&b"a.txt"[..], &2usize.to_be_bytes()].concat());
        let forged = forged.as_str().strip_prefix("acme/a.zip!/").expect("it is below the archive");
        let mut places = Places::default();
        let placed: Vec<_> = [forged, "a.txt", "a.txt"]
            .iter()
            .enumerate()
            .map(|(at, name)| places.of(plain(name), name.as_bytes(), at).0)
            .collect();
        let distinct: HashSet<&BlobName> = placed.iter().collect();
        assert_eq!((distinct.len(), placed[1].as_str()), (3, "acme/a.zip!/a.txt"), "{placed:?}");
    }

    #[test]
    fn by_type_follows_the_predecessor() {
        let cases = [
            ("file@name!.zip", "zip", "file-name-.zip"),
            ("   file name with spaces.txt   ", "txt", "file name with spaces.txt"),
            ("file.name.with.dots.zip", "zip", "file.name.with.dots.zip"),
            ("___filename--.txt", "txt", "___filename--.txt"),
            ("filename\0with\u{1F}controlchars.txt", "txt", "filename-with-controlchars.txt"),
            ("fileñame😀with_unicode_chars.txt", "txt", "file-ame-with_unicode_chars.txt"),
            ("-filename-.txt-", "txt-", "-filename-.txt-"),
            (
                "file--name---with--multiple---hyphens.txt",
                "txt",
                "file--name---with--multiple---hyphens.txt",
            ),
        ];
        for (name, kind, expected) in cases {
            let path = RemotePath::from("/out").join(name.as_bytes());
            assert_eq!(
                naming(Layout::ByType).file(&path).as_str(),
                format!("ftp.acme.example_21/{kind}/{expected}")
            );
        }
        // The ninth case holds a slash, which no file name does; its rule is tested by itself.
        assert_eq!(
            sanitized("file/name\\with?illegal%chars*here:too|and\"quotes<and>more.txt"),
            "file-name-with-illegal-chars-here-too-and-quotes-and-more.txt"
        );
    }

    #[test]
    fn by_type_knows_files_without_a_type_and_dots_that_azure_drops() {
        let name = |name: &str| {
            naming(Layout::ByType)
                .file(&RemotePath::from("/out").join(name.as_bytes()))
                .as_str()
                .to_owned()
        };
        assert_eq!(name("README"), "ftp.acme.example_21/none/README");
        assert_eq!(name("x."), "ftp.acme.example_21/none/x%2E");
        assert_eq!(name("   "), "ftp.acme.example_21/none/%");
    }

    #[test]
    fn a_file_whose_extension_is_blanks_ends_no_run() {
        let path = RemotePath::from("/out/report. ");
        assert_eq!(
            naming(Layout::ByType).file(&path).as_str(),
            "ftp.acme.example_21/none/report%2E"
        );
    }

    proptest! {
        #[test]
        fn every_name_has_a_place_by_type(bytes in proptest::collection::vec(any::<u8>(), 1..40), odd in "[./!%~ \
            \\x00-\\x20]{0,12}") {
            let name = [&bytes[..], odd.as_bytes()].concat();
            let place = naming(Layout::ByType).file(&RemotePath::from("/out").join(&name));
            prop_assert_eq!(place.as_str().split('/').count(), 3, "{}", place.as_str());
        }

        #[test]
        fn every_name_is_legal_and_decodes_to_its_bytes(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            let path = RemotePath::from("/out").join(&bytes);
            let name = naming(Layout::Path).file(&path);
            let decoded = percent_decode(name.as_str().strip_prefix("acme/").unwrap_or_default());
            let expected = path.below(&RemotePath::from("/out")).map(<[u8]>::to_vec);
            prop_assert_eq!(decoded, expected);
        }

        #[test]
        fn members_decode_to_their_names(member in "\\PC{0,60}", odd in "[./!%\\\\ \
            \\x00-\\x20]{0,12}") {
            let member = format!("{odd}{member}{odd}");
            let name = naming(Layout::Path).member(&RemotePath::from("/out/a.zip"), &[], &member);
            let tail = name.as_str().strip_prefix("acme/a.zip!/").unwrap_or("none").to_owned();
            let decoded = if tail == "%" { Some(Vec::new()) } else { percent_decode(&tail) };
            prop_assert_eq!(decoded, Some(member.into_bytes()));
        }
    }
}
