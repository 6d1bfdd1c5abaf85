//! How archives are to be read, as the settings of their source say.

use crate::archive::limits::ArchiveLimits;
use crate::model::{Secret, printable};
use crate::rules::patterns::NameGlobs;
use crate::settings::closest;

/// How the archives of one source are read.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// The name of the archive file, decoded, without its folders. What has no name inside is
    /// called after it.
    pub file_name: String,
    /// Passwords to try on encrypted content, in order.
    pub passwords: Vec<Secret>,
    /// Passwords of those archives alone whose path below the source's folder matches.
    pub file_passwords: Vec<(NameGlobs, Secret)>,
    /// Members that are not wanted, by their names within the archive.
    pub exclude_members: Option<NameGlobs>,
    /// What becomes of an archive in an archive that cannot be unpacked.
    pub inner_errors: InnerErrors,
    /// What becomes of archives of kinds that are not read.
    pub unknown: UnknownArchives,
    /// The character set of names that do not tell theirs.
    pub charset: Charset,
    /// Whether zip-based documents count as archives.
    pub unpack_documents: bool,
    /// Archives in archives that are opened, the outermost counted: 1 keeps inner archives as
    /// files.
    pub depth: u32,
    /// What one archive may unpack to, all that is nested in it included.
    pub limits: ArchiveLimits,
    /// Limits of this source, instead of those of the run.
    pub own_limits: OwnLimits,
}

/// What becomes of an archive in an archive that cannot be unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InnerErrors {
    /// It is stored as the member that it is, and the run is degraded if it is damaged or
    /// encrypted.
    #[default]
    Degrade,
    /// It is stored as the member that it is, with a note.
    Keep,
    /// The whole archive fails.
    Fail,
}

/// What becomes of archives of kinds that are not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownArchives {
    /// They are stored as they are, with a note.
    #[default]
    Keep,
    /// They fail.
    Fail,
}

/// Limits of one source, where it has its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnLimits {
    /// Bytes of all members together, and of one.
    pub bytes: Option<u64>,
    /// Unpacked bytes per packed byte.
    pub ratio: Option<u64>,
    /// Members.
    pub members: Option<u64>,
    /// How long reading an archive once may take.
    pub time: Option<std::time::Duration>,
}

impl OwnLimits {
    /// These, and `others` where there are none.
    pub fn over(&self, others: &ArchiveLimits) -> ArchiveLimits {
        ArchiveLimits {
            total_bytes: self.bytes.unwrap_or(others.total_bytes),
            member_bytes: self.bytes.unwrap_or(others.member_bytes),
            ratio: self.ratio.unwrap_or(others.ratio),
            members: self.members.unwrap_or(others.members),
            time: self.time.unwrap_or(others.time),
        }
    }
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        Self {
            file_name: String::new(),
            passwords: Vec::new(),
            file_passwords: Vec::new(),
            exclude_members: None,
            inner_errors: InnerErrors::default(),
            unknown: UnknownArchives::default(),
            charset: Charset::Detect,
            unpack_documents: false,
            depth: 3,
            limits: ArchiveLimits::default(),
            own_limits: OwnLimits::default(),
        }
    }
}

/// The character set of names that do not tell theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// Guessed from all names of the archive together.
    Detect,
    /// The first code page of the IBM PC, which the zip format names as its default.
    Cp437,
    /// One that the Encoding Standard names.
    Named(&'static encoding_rs::Encoding),
}

/// Character sets that are likely meant, for a person who misspelt one.
const LIKELY: &[&str] = &[
    "auto",
    "cp437",
    "utf-8",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1253",
    "windows-1254",
    "windows-1255",
    "windows-1256",
    "iso-8859-1",
    "iso-8859-2",
    "iso-8859-15",
    "cp866",
    "koi8-r",
    "koi8-u",
    "shift_jis",
    "euc-jp",
    "gbk",
    "gb18030",
    "big5",
    "euc-kr",
];

/// Names that people know and the Encoding Standard does not.
const CODE_PAGES: &[(&str, &encoding_rs::Encoding)] = &[
    ("cp932", encoding_rs::SHIFT_JIS),
    ("cp936", encoding_rs::GBK),
    ("cp949", encoding_rs::EUC_KR),
    ("cp950", encoding_rs::BIG5),
];

impl Charset {
    /// What a setting says: `auto`, `cp437` or a label of the Encoding Standard. The error tells
    /// what is allowed.
    pub fn parse(label: &str) -> Result<Self, String> {
        match label.to_ascii_lowercase().as_str() {
            "auto" => return Ok(Charset::Detect),
            "cp437" | "ibm437" => return Ok(Charset::Cp437),
            _ => {}
        }
        let page = CODE_PAGES
            .iter()
            .find(|(page, _)| label.eq_ignore_ascii_case(page))
            .map(|(_, encoding)| *encoding);
        let found = page.or_else(|| encoding_rs::Encoding::for_label(label.as_bytes()));
        found.filter(|encoding| encoding.is_ascii_compatible()).map(Charset::Named).ok_or_else(
            || {
                let hint = match closest(&label.to_ascii_lowercase(), LIKELY) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        "allowed are `auto`, `cp437` or a character set as `shift_jis`, `gbk`, \
                    `windows-1252`"
                            .to_owned()
                    }
                };
                format!(
                    "is \"{}\", which is no character set that is known; {hint}",
                    printable(label.as_bytes())
                )
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn character_sets_go_by_the_names_that_people_use() {
        assert_eq!(Charset::parse("auto"), Ok(Charset::Detect));
        assert_eq!(Charset::parse("CP437"), Ok(Charset::Cp437));
        for (label, name) in [
            ("Shift_JIS", "Shift_JIS"),
            ("cp866", "IBM866"),
            ("gbk", "GBK"),
            ("windows-1252", "windows-1252"),
            ("latin1", "windows-1252"),
            ("CP932", "Shift_JIS"),
        ] {
            let Ok(Charset::Named(encoding)) = Charset::parse(label) else { panic!("{label}") };
            assert_eq!(encoding.name(), name);
        }
    }

    #[test]
    fn a_character_set_that_is_not_known_is_told_with_one_that_is() {
        let check = |label: &str, text: &str| {
            assert!(Charset::parse(label).unwrap_err().contains(text), "{label}")
        };
        check("shift-jiss", "did you mean `shift_jis`?");
        check("cp473", "did you mean `cp437`?");
        check("klingon", "allowed are `auto`, `cp437`");
        // Not one in which `/` is always `/`.
        check("utf-16le", "is \"utf-16le\"");
        assert!(!Charset::parse("a\nb").unwrap_err().contains('\n'));
    }
}
