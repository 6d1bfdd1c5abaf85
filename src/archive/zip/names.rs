//! The names in a zip, decoded: by what each tells of itself, else by one character set for all.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, IBM866, SHIFT_JIS, UTF_8};

use crate::archive::contract::Charset;
use crate::archive::zip::directory::ZipEntry;
use crate::archive::zip::fields::{MADE_BY_DOS, MADE_BY_NTFS, MADE_BY_VFAT, UNICODE_PATH, field};

/// How names that do not tell their character set are decoded: the same for all names of an
/// archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoding {
    /// Code page 437.
    Cp437,
    /// One of the Encoding Standard.
    Named(&'static Encoding),
}

impl Decoding {
    /// What `charset` says, or what the names look like that do not tell theirs.
    pub fn of(charset: Charset, untold: &[Vec<u8>]) -> Self {
        match charset {
            Charset::Cp437 => Decoding::Cp437,
            Charset::Named(encoding) => Decoding::Named(encoding),
            Charset::Detect => detect(&untold.iter().map(Vec::as_slice).collect::<Vec<_>>()),
        }
    }

    fn decode(self, raw: &[u8]) -> String {
        match self {
            Decoding::Cp437 => cp437_text(raw),
            Decoding::Named(encoding) => encoding.decode_without_bom_handling(raw).0.into_owned(),
        }
    }

    /// The name of a member.
    pub fn name(self, entry: &ZipEntry) -> String {
        let of_both = || unicode_path(entry.header_name.as_ref()?, &entry.extra);
        let name = of_both()
            .or_else(|| told(&entry.raw_name, &entry.extra))
            .unwrap_or_else(|| self.decode(&entry.raw_name));
        // Only after decoding: in Shift-JIS and others a trail byte may be a backslash. Only from
        // systems that part paths by it: elsewhere it is a letter like others.
        match entry.made_by {
            MADE_BY_DOS | MADE_BY_NTFS | MADE_BY_VFAT => name.replace('\\', "/"),
            _ => name,
        }
    }
}

/// The name of `entry` as stored, if it does not tell its character set.
pub fn untold(entry: ZipEntry) -> Option<Vec<u8>> {
    told(&entry.raw_name, &entry.extra).is_none().then_some(entry.raw_name)
}

/// A name that needs no guess: the Unicode path field if it belongs to this name, else UTF-8 if it
/// is valid UTF-8, which nothing else looks like by chance for long and which many writers never
/// flag.
fn told(raw: &[u8], extra: &[u8]) -> Option<String> {
    unicode_path(raw, extra).or_else(|| String::from_utf8(raw.to_vec()).ok())
}

/// Info-ZIP's field 0x7075: version 1, CRC-32 of the plain name, the name in UTF-8.
fn unicode_path(raw: &[u8], extra: &[u8]) -> Option<String> {
    let (head, name) = field(extra, UNICODE_PATH)?.split_first_chunk::<5>()?;
    let crc = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    (head[0] == 1 && crc == crc_fast::crc32_iso_hdlc(raw))
        .then(|| String::from_utf8(name.to_vec()).ok())?
}

/// The most bytes of names that are looked at to guess.
const ENOUGH_BYTES: usize = 64 << 10;

/// The character set of `names`, all of them together. Browsers' detector knows the sets of the
/// web; those of DOS in the West are not among them, though many zips are in them, so its guess is
/// doubted where it would make signs of what would be letters in code page 437.
fn detect(names: &[&[u8]]) -> Decoding {
    let mut sample = Vec::new();
    for name in names.iter().take_while({
        let mut bytes = 0;
        move |name| {
            bytes += name.len();
            bytes <= ENOUGH_BYTES
        }
    }) {
        sample.extend_from_slice(name);
        sample.push(b'\n');
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(&sample, true);
    let guess = detector.guess(None, Utf8Detection::Deny);
    if guess.is_single_byte() && guess != IBM866 && is_japanese(&sample) {
        return Decoding::Named(SHIFT_JIS);
    }
    let is_wrong = |name: &&[u8]| {
        let text = guess.decode_without_bom_handling_and_without_replacement(name);
        text.is_none_or(|text| text.chars().any(|c| ('\u{80}'..'\u{A0}').contains(&c)))
    };
    if names.iter().any(is_wrong) || looks_like_cp437(&sample, guess) {
        Decoding::Cp437
    } else {
        Decoding::Named(guess)
    }
}

/// The letters of words that hold others than plain ones: how many bytes of those are not ASCII,
/// and how many are.
fn letters(sample: &[u8]) -> (usize, usize) {
    let high = words(sample).flat_map(|word| word.iter()).filter(|byte| !byte.is_ascii()).count();
    (high, words(sample).map(<[u8]>::len).sum::<usize>() - high)
}

fn words(sample: &[u8]) -> impl Iterator<Item = &[u8]> {
    sample
        .split(|byte| byte.is_ascii() && !byte.is_ascii_alphabetic())
        .filter(|word| !word.is_ascii())
}

/// Whether `sample` is Shift-JIS beyond doubt: nothing but kana and common characters, at least
/// two. A short name of two words may have been guessed to be European.
fn is_japanese(sample: &[u8]) -> bool {
    let (high, ascii) = letters(sample);
    ascii <= high && usual_japanese(sample).is_some_and(|characters| characters >= 2)
}

/// How many characters beside ASCII `sample` has in Shift-JIS, if all of them are kana or kanji.
fn usual_japanese(sample: &[u8]) -> Option<usize> {
    let text = SHIFT_JIS.decode_without_bom_handling_and_without_replacement(sample)?;
    let is_usual = |c: char| matches!(c, '\u{3041}'..='\u{30FF}' | '\u{4E00}'..='\u{9FFF}');
    let mut others = text.chars().filter(|c| !c.is_ascii());
    others.clone().all(is_usual).then(|| others.by_ref().count())
}

/// Whether `sample` is rather Western text of DOS than what was guessed.
fn looks_like_cp437(sample: &[u8], guess: &'static Encoding) -> bool {
    let (high, ascii) = letters(sample);
    // In the West a word has a few accents among plain letters; elsewhere words are of other
    // letters through and through. Half of the bytes of Shift-JIS may be plain, but hardly more.
    let is_sprinkled = ascii > high;
    let is_wide = !guess.is_single_byte() || guess == UTF_8;
    if is_wide || guess == IBM866 {
        let is_plain = is_sprinkled
            && words(sample)
                .all(|word| word.windows(3).all(|three| three.iter().any(u8::is_ascii)));
        return is_plain
            && (guess != SHIFT_JIS || ascii > 2 * high || usual_japanese(sample).is_none());
    }
    let (mut dos, mut windows) = (0, 0);
    for word in words(sample) {
        for (at, byte) in word.iter().enumerate() {
            let after_small = at > 0 && word[at - 1].is_ascii_lowercase();
            let is_alone = word.len() == 1;
            match byte {
                // Dashes between words in Windows' sets.
                0x96 | 0x97 if is_alone => {}
                // Small letters in DOS; signs and rare capitals in Windows' sets.
                0x81..=0x8D | 0x91 | 0x93..=0x98 | 0xA0..=0xA4 => dos += 1,
                // Capital letters in DOS; a quotation mark and rare capitals in Windows' sets.
                0x80 | 0x8E..=0x90 | 0x92 | 0x99 | 0x9A | 0xA5 if !after_small => dos += 1,
                // Frames and mathematics in DOS, but for the sharp s; letters elsewhere.
                0xC0..=0xE0 | 0xE2..=0xFF => windows += 1,
                _ => {}
            }
        }
    }
    dos > windows
}

fn cp437_text(raw: &[u8]) -> String {
    raw.iter().map(|byte| cp437(*byte)).collect()
}

/// `text` in code page 437, if it has all of its characters.
pub(crate) fn cp437_bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|wanted| (0..=u8::MAX).find(|byte| cp437(*byte) == wanted)).collect()
}

fn cp437(byte: u8) -> char {
    const HIGH: [char; 128] = [
        'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å', 'É', 'æ',
        'Æ', 'ô', 'ö', 'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ', 'á', 'í', 'ó', 'ú',
        'ñ', 'Ñ', 'ª', 'º', '¿', '⌐', '¬', '½', '¼', '¡', '«', '»', '░', '▒', '▓', '│', '┤', '╡',
        '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛', '┐', '└', '┴', '┬', '├', '─', '┼', '╞', '╟',
        '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧', '╨', '╤', '╥', '╙', '╘', '╒', '╓', '╫', '╪', '┘',
        '┌', '█', '▄', '▌', '▐', '▀', 'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ', 'Θ', 'Ω', 'δ',
        '∞', 'φ', 'ε', '∩', '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²',
        '■', '\u{A0}',
    ];
    match byte {
        0..=0x7F => char::from(byte),
        _ => HIGH[usize::from(byte & 0x7F)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::zip::fields::MADE_BY_UNIX;
    use encoding_rs::{BIG5, EUC_KR, GBK, KOI8_U, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252};

    fn entry(raw: &[u8], extra: &[u8], made_by: u8) -> ZipEntry {
        let mut entry = ZipEntry::default();
        (entry.made_by, entry.raw_name, entry.extra) = (made_by, raw.to_vec(), extra.to_vec());
        entry
    }

    fn name(raw: &[u8], extra: &[u8], made_by: u8) -> String {
        let entry = entry(raw, extra, made_by);
        Decoding::of(Charset::Cp437, &[]).name(&entry)
    }

    #[test]
    fn names_are_decoded_by_what_is_known_of_them() {
        assert_eq!(name("grüße.txt".as_bytes(), &[], MADE_BY_UNIX), "grüße.txt");
        assert_eq!(name(b"gr\x81\xe1e.txt", &[], MADE_BY_UNIX), "grüße.txt");
        assert_eq!(name(b"a\\b\xff", &[], MADE_BY_DOS), "a/b\u{A0}");
        assert_eq!(name(b"a\\b", &[], MADE_BY_UNIX), "a\\b");
        let path = |crc: u32| {
            [&[0x75, 0x70, 11, 0, 1][..], &crc.to_le_bytes(), "日本".as_bytes()].concat()
        };
        assert_eq!(
            name(b"\x93\xfa", &path(crc_fast::crc32_iso_hdlc(b"\x93\xfa")), MADE_BY_DOS),
            "日本"
        );
        assert_eq!(name(b"plain", &path(7), MADE_BY_DOS), "plain");
    }

    #[test]
    fn backslashes_within_letters_part_nothing() {
        let entry = entry(b"\x95\x5c\x5c\x88\xea", &[], MADE_BY_DOS);
        assert_eq!(Decoding::Named(SHIFT_JIS).name(&entry), "表/一");
    }

    /// The names, packed by a system that writes `encoding`, come back.
    #[track_caller]
    fn comes_back(encoding: &'static Encoding, names: &[&str]) {
        let entries: Vec<ZipEntry> =
            names.iter().map(|name| entry(&encoding.encode(name).0, &[], MADE_BY_DOS)).collect();
        let untold: Vec<Vec<u8>> = entries.iter().cloned().filter_map(super::untold).collect();
        let decoding = Decoding::of(Charset::Detect, &untold);
        let found: Vec<String> = entries.iter().map(|entry| decoding.name(entry)).collect();
        assert_eq!(found, names, "{decoding:?}");
    }

    #[test]
    fn character_sets_are_guessed() {
        comes_back(SHIFT_JIS, &["日本語.txt"]);
        comes_back(SHIFT_JIS, &["テスト.txt", "新しいフォルダー/表.csv"]);
        comes_back(SHIFT_JIS, &["議事録_2024年度.xlsx", "readme.txt"]);
        comes_back(GBK, &["中文.txt"]);
        comes_back(GBK, &["新建文件夹/报告.doc", "说明.txt"]);
        comes_back(BIG5, &["新增資料夾/報告書.doc", "說明文件.txt"]);
        comes_back(EUC_KR, &["새 폴더/보고서.hwp", "한글.txt"]);
        comes_back(IBM866, &["Привет.txt", "Отчёт за месяц.doc"]);
        comes_back(IBM866, &["ПРИВЕТ", "привет"]);
        comes_back(WINDOWS_1251, &["Привет.txt", "Отчёт за месяц.doc"]);
        comes_back(KOI8_U, &["ПРИВЕТ", "привет"]);
        comes_back(WINDOWS_1252, &["Grüße aus München.txt", "Übersicht.doc"]);
        comes_back(WINDOWS_1252, &["l’été à la plage – 1.jpg"]);
        comes_back(WINDOWS_1250, &["Žluťoučký kůň.txt", "Příliš.doc"]);
    }

    /// The letters, packed by a PC in the West, come back.
    #[track_caller]
    fn comes_back_from_dos(names: &[&str]) {
        let byte = |c: char| (0..=255).find(|byte| cp437(*byte) == c).unwrap();
        let entries: Vec<ZipEntry> = names
            .iter()
            .map(|name| entry(&name.chars().map(byte).collect::<Vec<u8>>(), &[], MADE_BY_DOS))
            .collect();
        let untold: Vec<Vec<u8>> = entries.iter().cloned().filter_map(super::untold).collect();
        let decoding = Decoding::of(Charset::Detect, &untold);
        let found: Vec<String> = entries.iter().map(|entry| decoding.name(entry)).collect();
        assert_eq!(found, names, "{decoding:?}");
    }

    #[test]
    fn names_of_dos_are_told_from_those_of_windows() {
        comes_back_from_dos(&["grüße.txt"]);
        comes_back_from_dos(&["für.txt", "Öl.txt", "Ärger/Straße.doc"]);
        comes_back_from_dos(&["français", "déjà vu.txt", "à côté.txt"]);
        comes_back_from_dos(&["File 2 - ö.txt", "File 3 - ä.txt"]);
        comes_back_from_dos(&["año.txt", "canción.mp3", "perché no è.txt"]);
        comes_back_from_dos(&["filename_with_æoå.txt"]);
    }
}
