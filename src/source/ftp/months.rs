//! The names of months and of sums, in the languages in which servers list folders.

use encoding_rs::{Encoding, ISO_8859_2, WINDOWS_1251, WINDOWS_1252};

/// Names and abbreviations, in lower case, without the full stop behind them. Where two languages
/// mean two months by one word (Polish and Croatian `lip`), it is that of FileZilla's table.
const NAMES: [&str; 12] = [
    "jan january janv janvier jän jänner gen gennaio ene enero sty stycznia янв января tammi \
     januar januari janeiro led ledna sau ian gener oca jaan січ яну",
    "feb february fév fev févr fevr février feb. febbraio febrero lut lutego фев февраля helmi \
     februar februari fevereiro úno února vas febr feabhra şub veebr лют феб",
    "mar march mär mrz märz mars marzo marca мар марта maalis mrt maart março bře března márc kov \
     març mart märts бер",
    "apr april avr avril aprile abr abril kwi kwietnia апр апреля huhti dub dubna ápr bal nis кві",
    "may mai maggio mag mayo maj maja май мая touko mei maio kvě května máj geg maig mayıs тра",
    "jun june juni juin giu giugno junio cze czerwca июн июня kesä junho čvn června jún bir iun \
     juny haz juuni чер юни",
    "jul july juli juil juillet jui lug luglio julio lip lipca июл июля heinä julho čvc července \
     júl lie iul juliol tem juuli лип юли",
    "aug august août aoû aout ago agosto sie sierpnia авг августа elo augustus srp srpna rgp agost \
     ağu avg agu сер",
    "sep sept september septembre set settembre septiembre wrz września сен сентября syys setembro \
     zář září szept rgs eyl вер",
    "oct october okt oktober octobre ott ottobre octubre paź pa października окт октября loka out \
     outubro říj října spa eki жов",
    "nov november novembre noviembre lis listopada ноя ноября marras novembro lap noi kas лис ное",
    "dec december déc decembre décembre dez dezember dic dicembre diciembre gru grudnia дек \
     декабря joulu dezembro pro prosince grd des desember ara dets гру",
];

/// What stands before the sum at the head of a Unix listing.
const SUMS: &str = "total insgesamt gesamt totale totaal итого всього общо razem łącznie celkem \
    yhteensä totalt összesen toplam skupno ukupno 合計 总用量 总计 總計 합계 σύνολο jumlah iš";

/// The month that `word` names, whatever its case; a full stop or a comma may stand behind it.
pub fn month(word: &[u8]) -> Option<u8> {
    let word = trimmed(word);
    let place = named(word, |name| {
        NAMES.iter().position(|names| names.split_whitespace().any(|one| one == name))
    });
    place.and_then(|place| u8::try_from(place + 1).ok()).or_else(|| counted(word, 1..=12))
}

/// A number of this range with a word of East Asia behind it, as `3月`, in any encoding.
pub fn counted(word: &[u8], range: std::ops::RangeInclusive<u8>) -> Option<u8> {
    let (digits, unit) = word.split_at(digits(word));
    let is_unit = (1..=4).contains(&unit.len()) && unit[0] >= 0x80;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (is_unit && range.contains(&number)).then_some(number)
}

/// A year of four digits, with a word of East Asia behind it or nothing.
pub fn year(word: &[u8]) -> Option<(u32, bool)> {
    let (digits, unit) = word.split_at(digits(word));
    let fits = digits.len() == 4 && unit.len() <= 4 && unit.first().is_none_or(|b| *b >= 0x80);
    let year = std::str::from_utf8(digits).ok()?.parse().ok()?;
    fits.then_some((year, !unit.is_empty()))
}

/// Whether `line` is the sum of a Unix listing, as `insgesamt 12` or `total 1.5K`.
pub fn is_sum(line: &[u8]) -> bool {
    let mut words = line.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let (Some(word), Some(number), None) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let word = word.strip_suffix(b":").unwrap_or(word);
    let is_number = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b',');
    number[0].is_ascii_digit()
        && number.iter().all(is_number)
        && named(word, |name| SUMS.split_whitespace().position(|sum| sum == name)).is_some()
}

fn digits(word: &[u8]) -> usize {
    word.iter().take_while(|b| b.is_ascii_digit()).count()
}

fn trimmed(word: &[u8]) -> &[u8] {
    let end = word.iter().rposition(|b| !matches!(b, b'.' | b',')).map_or(0, |at| at + 1);
    &word[..end]
}

/// Where `find` finds the lower case of `word`, read in the encodings that such words come in.
fn named<T>(word: &[u8], find: impl Fn(&str) -> Option<T>) -> Option<T> {
    if word.is_empty() || word.len() > 24 {
        return None;
    }
    if word.is_ascii() {
        let letters = word.iter().all(u8::is_ascii_alphabetic);
        return letters.then(|| find(&String::from_utf8_lossy(word).to_lowercase()))?;
    }
    if let Ok(text) = std::str::from_utf8(word)
        && let Some(found) = find(&text.to_lowercase())
    {
        return Some(found);
    }
    let encodings: [&'static Encoding; 4] =
        [WINDOWS_1252, ISO_8859_2, WINDOWS_1251, encoding_rs::KOI8_R];
    encodings.into_iter().find_map(|encoding| {
        let (text, _) = encoding.decode_without_bom_handling(word);
        find(&text.to_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_of_many_languages_and_encodings() {
        for (word, number) in [
            (&b"Nov"[..], 11),
            (b"JUNE", 6),
            (b"Juli,", 7),
            ("févr.".as_bytes(), 2),
            (b"f\xE9vr.", 2),
            ("Mär".as_bytes(), 3),
            (b"M\xE4r", 3),
            (b"Okt.", 10),
            ("фев".as_bytes(), 2),
            (b"\xF4\xE5\xE2", 2),
            ("май".as_bytes(), 5),
            ("1月".as_bytes(), 1),
            (b"4\x8c\x8e", 4),
            ("12월".as_bytes(), 12),
            (b"3\xed\xef", 3),
            ("října".as_bytes(), 10),
            (b"szept", 9),
        ] {
            assert_eq!(month(word), Some(number), "{}", String::from_utf8_lossy(word));
        }
        for word in [&b""[..], b"Jam", b"13\x8c\x8e", b"12", b"...", "0月".as_bytes()] {
            assert_eq!(month(word), None, "{}", String::from_utf8_lossy(word));
        }
    }

    #[test]
    fn no_word_names_two_months() {
        let mut seen = std::collections::BTreeMap::new();
        for (place, names) in NAMES.iter().enumerate() {
            for name in names.split_whitespace() {
                let before = seen.insert(name, place);
                assert!(before.is_none_or(|before| before == place), "{name}");
            }
        }
    }

    #[test]
    fn sums_in_many_languages() {
        for line in ["total 12", "insgesamt 12", "итого 8", "Total: 1.5K", "合計 4", "总用量 0"]
        {
            assert!(is_sum(line.as_bytes()), "{line}");
        }
        for line in ["total of nothing", "README 12", "total", "total 1 2", "12 total"] {
            assert!(!is_sum(line.as_bytes()), "{line}");
        }
    }
}
