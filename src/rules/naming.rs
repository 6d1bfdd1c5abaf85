//! Remote path (and member of an archive) to blob name: one-to-one, stable, legal, readable.
//!
//! Percent-decoding a name of the default layout gives back the original bytes, so two inputs can
//! only meet where a layout throws information away (`by-type`) or where a name is over Azure's
//! limits and ends in a hash; `transfer/commit.rs` tells such blobs apart by their metadata and
//! uses [`apart`].

use std::collections::HashSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::model::{BlobName, ModifiedTime, RemoteFile, RemotePath, Version, hex};
use crate::rules::escape::{escaped_path, escaped_segment};
use crate::rules::layout::{MemberName, NameError, Template};

pub use crate::rules::escape::escaped_for_metadata;

/// How names are laid out in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `{source}/{path below the URL's path}`.
    Path,
    /// `{host}_{port}/{type}/{name}`: the predecessor's layout, which forgets folders.
    ByType,
    /// As the settings spell it.
    Template(Arc<Template>),
}

/// Everything that naming needs to know of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// The source's name, `[A-Za-z0-9][A-Za-z0-9._-]*`.
    pub source: String,
    /// The layout.
    pub layout: Layout,
    /// Where the source's tree begins.
    pub root: RemotePath,
    /// `{host}_{port}`, for [`Layout::ByType`].
    pub host_port: String,
}

/// What all names of a source begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameStart {
    /// The text.
    pub text: String,
    /// Whether it is all of the one name that there is.
    pub is_whole_name: bool,
}

impl Naming {
    /// The plain name of a file. The same for each look at one version of it; only templates ask
    /// for more than its path, and fail where that is not there.
    pub fn file(&self, file: &RemoteFile) -> Result<BlobName, NameError> {
        match &self.layout {
            Layout::Path => Ok(legal(self.by_path(&file.path))),
            Layout::ByType => Ok(self.by_type(file.path.file_name())),
            Layout::Template(template) => template.file(&self.root, file).map(legal),
        }
    }

    /// The plain name of a member of `archive`.
    pub fn member(
        &self,
        archive: &RemoteFile,
        member: MemberName<'_>,
    ) -> Result<BlobName, NameError> {
        let MemberName { within, name, .. } = member;
        match &self.layout {
            Layout::Path => {
                let inside: String =
                    within.iter().map(|outer| escaped_path(outer.as_bytes()) + "!/").collect();
                let (archive, member) =
                    (self.by_path(&archive.path), escaped_path(name.as_bytes()));
                Ok(legal(format!("{archive}!/{inside}{member}")))
            }
            Layout::ByType => Ok(self.by_type(name.rsplit('/').next().unwrap_or(name).as_bytes())),
            Layout::Template(template) => template.member(&self.root, archive, member).map(legal),
        }
    }

    /// What the names of the members of `archive` begin with.
    pub(crate) fn members_of(&self, archive: &RemoteFile) -> Result<String, NameError> {
        match &self.layout {
            Layout::Path => Ok(format!("{}!/", self.by_path(&archive.path))),
            Layout::ByType => Ok(self.beginning().text),
            Layout::Template(template) => template.members_of(&self.root, archive),
        }
    }

    /// What all names begin with.
    pub(crate) fn beginning(&self) -> NameStart {
        let (text, is_whole_name) = match &self.layout {
            Layout::Path => (format!("{}/", self.source), false),
            Layout::ByType => (format!("{}/", escaped_segment(self.host_port.as_bytes())), false),
            Layout::Template(template) => {
                let (text, whole) = template.beginning();
                (text.to_owned(), whole)
            }
        };
        NameStart { text, is_whole_name }
    }

    /// The plain names that `file` may have: by today's layout first, then by those that its source
    /// may have had before.
    pub(crate) fn by_any_layout(&self, file: &RemoteFile) -> Vec<BlobName> {
        let earlier = [Layout::Path, Layout::ByType].map(|layout| Self { layout, ..self.clone() });
        let all = std::iter::once(self).chain(&earlier);
        let mut names: Vec<BlobName> = all.filter_map(|naming| naming.file(file).ok()).collect();
        names.dedup();
        names
    }

    /// The settings that decide about names, for comparison with those of an earlier run.
    pub fn texts(&self) -> &str {
        match &self.layout {
            Layout::Path => "path",
            Layout::ByType => "by-type",
            Layout::Template(template) => template.texts(),
        }
    }

    /// Whether two files, or members of two archives, may have the same plain name.
    pub(crate) fn may_meet(&self) -> bool {
        match &self.layout {
            Layout::Path => false,
            Layout::ByType => true,
            Layout::Template(template) => !template.tells_files() || template.may_meet().is_some(),
        }
    }

    /// Whether names have dates of the modified time.
    pub(crate) fn is_dated(&self) -> bool {
        match &self.layout {
            Layout::Path | Layout::ByType => false,
            Layout::Template(template) => template.is_dated(),
        }
    }

    fn by_path(&self, path: &RemotePath) -> String {
        let below = path.below(&self.root).unwrap_or(path.as_bytes());
        format!("{}/{}", self.source, escaped_path(below))
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
pub(crate) fn version_mark(version: &Version, modified: Option<&ModifiedTime>) -> String {
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
    /// Hashes of names: there may be a million.
    taken: HashSet<u64>,
}

impl Places {
    /// A place for the member `raw_name` at `index` of the archive, whose plain name is `plain`:
    /// that if no member before it has it, else another, and whether it is another. Who gets which
    /// depends on the archive alone, so it is the same in every run.
    pub fn of(&mut self, plain: BlobName, raw_name: &[u8], index: usize) -> (BlobName, bool) {
        if self.take(&plain) {
            return (plain, false);
        }
        // An archive can be made whose members are called as others' names apart are: then there is
        // one more turn.
        let mut identity = [raw_name, &index.to_be_bytes()].concat();
        loop {
            let own = apart(&plain, &identity);
            if self.take(&own) {
                return (own, true);
            }
            identity.push(0);
        }
    }

    /// Whether nobody has `name`. A caller that asks has it from now on.
    fn take(&mut self, name: &BlobName) -> bool {
        self.taken.insert(short_hash(name.as_str().as_bytes()))
    }
}

/// A hash of a name, for sets of very many. It is the same in every run. Two names that share one
/// are taken for equal, which gives one of them a name apart.
pub(crate) fn short_hash(name: &[u8]) -> u64 {
    u64::from_be_bytes(*Sha256::digest(name).first_chunk().expect("it has 32 bytes"))
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

    impl Naming {
        fn of(&self, path: &RemotePath) -> BlobName {
            let file = RemoteFile { path: path.clone(), size: None, modified: None };
            self.file(&file).expect("these layouts name every file")
        }

        fn of_member(&self, path: &RemotePath, within: &[String], name: &str) -> BlobName {
            let archive = RemoteFile { path: path.clone(), size: None, modified: None };
            self.member(&archive, MemberName { within, name, modified: None })
                .expect("these layouts name every member")
        }
    }

    fn check(path: &[u8], expected: &str) {
        assert_eq!(naming(Layout::Path).of(&RemotePath::new(path)).as_str(), expected);
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
            naming.of_member(&RemotePath::from("/out/a.zip"), &[], "x/1.txt").as_str(),
            "acme/a.zip!/x/1.txt"
        );
        check(b"/out/a.zip!/x/1.txt", "acme/a.zip%21/x/1.txt");
        check(b"/out/hey!you", "acme/hey!you");
    }

    #[test]
    fn climbing_absolute_and_empty_member_names_arrive_escaped() {
        let member = |name: &str| {
            naming(Layout::Path)
                .of_member(&RemotePath::from("/out/a.zip"), &[], name)
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
                .of(&RemotePath::from(format!("/out/{}{c}", "x".repeat(2000)).as_str()))
        };
        let deep = naming(Layout::Path)
            .of(&RemotePath::from(format!("/out/{}", "d/".repeat(400)).as_str()));
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
            |name: &str| naming(Layout::Path).of_member(&RemotePath::from("/out/a.zip"), &[], name);
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
                naming(Layout::ByType).of(&path).as_str(),
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
                .of(&RemotePath::from("/out").join(name.as_bytes()))
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
        assert_eq!(naming(Layout::ByType).of(&path).as_str(), "ftp.acme.example_21/none/report%2E");
    }

    proptest! {
        #[test]
        fn every_name_has_a_place_by_type(bytes in proptest::collection::vec(any::<u8>(), 1..40),
            odd in "[./!%~ \
            \\x00-\\x20]{0,12}") {
            let name = [&bytes[..], odd.as_bytes()].concat();
            let place = naming(Layout::ByType).of(&RemotePath::from("/out").join(&name));
            prop_assert_eq!(place.as_str().split('/').count(), 3, "{}", place.as_str());
        }

        #[test]
        fn every_name_is_legal_and_decodes_to_its_bytes(
            bytes in proptest::collection::vec(any::<u8>(), 1..200)
        ) {
            let path = RemotePath::from("/out").join(&bytes);
            let name = naming(Layout::Path).of(&path);
            let decoded = percent_decode(name.as_str().strip_prefix("acme/").unwrap_or_default());
            let expected = path.below(&RemotePath::from("/out")).map(<[u8]>::to_vec);
            prop_assert_eq!(decoded, expected);
        }

        #[test]
        fn members_decode_to_their_names(member in "\\PC{0,60}", odd in "[./!%\\\\ \
            \\x00-\\x20]{0,12}") {
            let member = format!("{odd}{member}{odd}");
            let archive = RemotePath::from("/out/a.zip");
            let name = naming(Layout::Path).of_member(&archive, &[], &member);
            let tail = name.as_str().strip_prefix("acme/a.zip!/").unwrap_or("none").to_owned();
            let decoded = if tail == "%" { Some(Vec::new()) } else { percent_decode(&tail) };
            prop_assert_eq!(decoded, Some(member.into_bytes()));
        }
    }
}
