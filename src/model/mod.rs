//! The words of the house as types: remote paths and files, blob names, versions, secrets.

pub(crate) mod clocks;
pub mod failure;
mod plural;
pub mod redactor;
mod secret;
mod text;

use std::fmt;

use time::OffsetDateTime;

pub(crate) use crate::model::plural::number_of;
pub use crate::model::secret::Secret;
pub use crate::model::text::{hex, printable};

/// A path exactly as a server spelled it: bytes, absolute, segments parted by `/`.
///
/// Never a [`BlobName`]: `naming` is the only way from one to the other.
/// `Display` escapes everything that could break a line of a log or a terminal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemotePath(Box<[u8]>);

impl RemotePath {
    /// The path of these bytes. A missing leading `/` is added, trailing ones are dropped
    /// (the root stays `/`); nothing else is touched.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let mut bytes: Vec<u8> = bytes.into();
        if bytes.first() != Some(&b'/') {
            bytes.insert(0, b'/');
        }
        while bytes.len() > 1 && bytes.last() == Some(&b'/') {
            bytes.pop();
        }
        Self(bytes.into())
    }

    /// The bytes that the server knows this path by.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// This directory's entry `name` (one segment, as listed).
    pub fn join(&self, name: &[u8]) -> Self {
        let slash: &[u8] = if self.0.last() == Some(&b'/') { b"" } else { b"/" };
        Self([&self.0, slash, name].concat().into())
    }

    /// The last segment as text; what is no UTF-8 is replaced.
    pub fn file_name_text(&self) -> String {
        String::from_utf8_lossy(self.file_name()).into_owned()
    }

    /// The last segment; empty for the root.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or_default()
    }

    /// The directory that holds this path; the root for the root.
    pub fn parent(&self) -> Self {
        let end = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Self::new(&self.0[..end])
    }

    /// This path below `root`, without a leading `/`; `None` when it is not below it.
    pub fn below(&self, root: &RemotePath) -> Option<&[u8]> {
        if root.0.as_ref() == b"/" {
            return Some(&self.0[1..]);
        }
        self.0.strip_prefix(root.0.as_ref())?.strip_prefix(b"/")
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl From<&str> for RemotePath {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

/// How exactly a modified time is known. Ordered from fine to coarse.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// To the nanosecond (local files).
    Nanosecond,
    /// To the second (SFTP v3, MLSD, MDTM).
    Second,
    /// To the minute (`LIST` of a recent file).
    Minute,
    /// To the day (`LIST` of an old file).
    Day,
}

impl Precision {
    /// The step of this precision in nanoseconds.
    pub(crate) fn nanoseconds(self) -> i128 {
        match self {
            Precision::Nanosecond => 1,
            Precision::Second => 1_000_000_000,
            Precision::Minute => 60 * 1_000_000_000,
            Precision::Day => 86_400 * 1_000_000_000,
        }
    }
}

/// When a file was last modified, UTC, as exactly as the source could tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModifiedTime {
    /// The moment, cut down to `precision`.
    pub at: OffsetDateTime,
    /// How much of `at` is known.
    pub precision: Precision,
}

impl ModifiedTime {
    /// `at`, cut down to `precision`.
    pub fn new(at: OffsetDateTime, precision: Precision) -> Self {
        let step = precision.nanoseconds();
        let cut = at.unix_timestamp_nanos().div_euclid(step) * step;
        let at = OffsetDateTime::from_unix_timestamp_nanos(cut).unwrap_or(at);
        Self { at, precision }
    }

    /// Whole seconds since 1970 (negative before), as SFTP and most servers tell.
    /// `None` outside the years -9999 to 9999.
    pub fn from_unix(seconds: i64) -> Option<Self> {
        Some(Self::new(OffsetDateTime::from_unix_timestamp(seconds).ok()?, Precision::Second))
    }

    /// Whether both may be the same moment, compared at the coarser precision of the two.
    pub fn agrees_with(&self, other: &ModifiedTime) -> bool {
        let precision = self.precision.max(other.precision);
        Self::new(self.at, precision).at == Self::new(other.at, precision).at
    }
}

/// A file as a source listed or described it. What the server did not tell is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Where it is.
    pub path: RemotePath,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// When it was last modified.
    pub modified: Option<ModifiedTime>,
}

impl RemoteFile {
    /// A file as a server told of it. No file has more bytes than a signed number counts: what
    /// is above is the -1 of a server that knows no size.
    pub(crate) fn told(
        path: RemotePath,
        size: Option<u64>,
        modified: Option<ModifiedTime>,
    ) -> Self {
        Self { path, size: size.filter(|size| i64::try_from(*size).is_ok()), modified }
    }
}

/// The name of a blob: legal in Azure, readable, with the container's own prefix if any.
///
/// Invariant: 1 to 1,024 characters, at most 254 segments, none empty, `.`, `..` or ending in
/// a dot; no control characters, backslashes, private-use or non-characters.
/// Source: Azure's "Naming and referencing containers, blobs, and metadata".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct BlobName(String);

/// Why a text is no blob name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a legal blob name: {why}")]
pub struct IllegalName {
    name: String,
    why: &'static str,
}

impl BlobName {
    /// The most characters that Azure allows in a name.
    pub(crate) const MAX_CHARS: usize = 1024;
    /// The most segments that Azure allows in a name.
    pub(crate) const MAX_SEGMENTS: usize = 254;

    /// `name` if it keeps every rule of the type; the first rule it breaks otherwise.
    pub fn new(name: impl Into<String>) -> Result<Self, IllegalName> {
        let name: String = name.into();
        match broken_rule(&name) {
            None => Ok(Self(name)),
            Some(why) => Err(IllegalName { name: printable(name.as_bytes()), why }),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn broken_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    // Azure counts UTF-16 code units: a character outside the BMP counts twice.
    if name.encode_utf16().count() > BlobName::MAX_CHARS {
        return Some("it has more than 1,024 characters");
    }
    if name.split('/').count() > BlobName::MAX_SEGMENTS {
        return Some("it has more than 254 segments");
    }
    if name.split('/').any(|segment| segment.is_empty() || segment.ends_with('.')) {
        return Some("a segment is empty or ends in a dot");
    }
    name.chars()
        .any(|c| !allowed_in_blob_name(c))
        .then_some("it holds a character that Azure or tools on it cannot hold")
}

/// Characters that survive a round trip through Azure and through the tools that read it:
/// no controls, no backslash (stored as `/`), no private use, no non-characters.
pub(crate) fn allowed_in_blob_name(c: char) -> bool {
    !c.is_control()
        && c != '\\'
        && !matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{FDD0}'..='\u{FDEF}')
        && (u32::from(c) & 0xFFFE) != 0xFFFE
        && u32::from(c) < 0xF_0000
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(self.0.as_bytes()))
    }
}

/// Which content of a file this is: a fingerprint of path, size and modified time. Shown as 32 hex
/// digits. Equal versions of one path are the same content as far as the source tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u8; 16]);

impl Version {
    /// The version of `file`: the first 16 bytes of SHA-256 over path, size, time, precision.
    pub fn of(file: &RemoteFile) -> Self {
        use sha2::Digest;
        let mut hash = sha2::Sha256::new();
        hash.update((file.path.as_bytes().len() as u64).to_be_bytes());
        hash.update(file.path.as_bytes());
        hash.update(format!("|{:?}|", file.size));
        if let Some(modified) = &file.modified {
            hash.update(format!("{}|{:?}", modified.at.unix_timestamp_nanos(), modified.precision));
        }
        let mut version = [0; 16];
        version.copy_from_slice(&hash.finalize()[..16]);
        Self(version)
    }

    /// The version of `file` with bytes of this MD5, where other bytes of equal path, size and time
    /// were taken before.
    pub(crate) fn of_content(file: &RemoteFile, md5: &Md5) -> Self {
        use sha2::Digest;
        let mut hash = sha2::Sha256::new();
        hash.update(Self::of(file).0);
        hash.update(md5);
        let mut version = [0; 16];
        version.copy_from_slice(&hash.finalize()[..16]);
        Self(version)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The version that a blob's metadata or a ledger record names.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        let mut version = [0; 16];
        for (byte, digits) in version.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(version))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// MD5 of a whole blob: what Azure stores as `Content-MD5`.
pub type Md5 = [u8; 16];

/// The MD5 that 32 hex digits tell.
pub(crate) fn md5_of_hex(text: &str) -> Option<Md5> {
    Version::from_hex(text).map(|bytes| bytes.0)
}

/// A boxed cause.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// `error` and all its causes on one safe line, parted by `: `.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let line = cause.to_string();
        // A foreign error that repeats its cause in its own text is told once.
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        next = cause.source();
    }
    printable(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn paths_are_absolute_and_keep_their_bytes() {
        let path = RemotePath::new(&b"out/caf\xe9 .txt"[..]);
        assert_eq!(path.as_bytes(), b"/out/caf\xe9 .txt");
        assert_eq!(path.to_string(), "/out/caf\\xE9 .txt");
        assert_eq!(path.parent(), RemotePath::from("/out"));
        assert_eq!(path.below(&RemotePath::from("/out")), Some(&b"caf\xe9 .txt"[..]));
        assert_eq!(path.below(&RemotePath::from("/ou")), None);
        assert_eq!(RemotePath::from("/").join(b"a"), RemotePath::from("/a"));
    }

    #[test]
    fn a_size_that_no_file_has_is_not_known() {
        let told = |size| RemoteFile::told(RemotePath::from("/a"), size, None).size;
        assert_eq!(told(Some(u64::MAX)), None, "-1, of a server that knows no size");
        assert_eq!(told(Some(1 << 63)), None);
        assert_eq!(told(Some((1 << 63) - 1)), Some((1 << 63) - 1));
        assert_eq!(told(None), None);
    }

    #[test]
    fn no_name_breaks_a_line() {
        assert_eq!(printable("a\nb\x1b[31m\u{202E}é".as_bytes()), "a\\x0Ab\\x1B[31m\\u{202E}é");
    }

    #[test]
    fn times_compare_at_the_coarser_precision() {
        let exact = ModifiedTime::new(datetime!(2026-11-20 10:11:12 UTC), Precision::Second);
        let listed = ModifiedTime::new(datetime!(2026-11-20 10:11 UTC), Precision::Minute);
        let old = ModifiedTime::new(datetime!(2026-11-20 0:00 UTC), Precision::Day);
        assert!(
            exact.agrees_with(&listed) && listed.agrees_with(&exact) && old.agrees_with(&exact)
        );
        assert!(!exact.agrees_with(&ModifiedTime::new(
            datetime!(2026-11-20 10:11:13 UTC),
            Precision::Second
        )));
    }

    #[test]
    fn secrets_print_as_stars() {
        let secret = Secret::new("canary");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    }

    #[test]
    fn blob_names_keep_azures_rules() {
        assert!(BlobName::new("acme/daily/ü report.csv").is_ok());
        for bad in [
            "",
            "a//b",
            "/a",
            "a/",
            "a/..",
            "a.",
            "a\\b",
            "a\nb",
            "a\u{85}",
            "a\u{E001}",
            "a\u{FFFE}",
        ] {
            assert!(BlobName::new(bad).is_err(), "{bad:?}");
        }
        assert!(
            BlobName::new("x".repeat(1024)).is_ok() && BlobName::new("x".repeat(1025)).is_err()
        );
        assert!(
            BlobName::new(vec!["s"; 254].join("/")).is_ok()
                && BlobName::new(vec!["s"; 255].join("/")).is_err()
        );
    }
}
