//! Formats of dates: what they write and read, and what is said of those that are none.

use super::*;
use proptest::prelude::*;
use time::macros::datetime;

const AT: PrimitiveDateTime = datetime!(2026-03-31 04:05);

fn check(format: &str, expected: &str) {
    let written = DateFormat::parse(format).map(|format| format.write(AT));
    assert_eq!(written.as_deref(), Ok(expected), "{format}");
}

#[test]
fn dates_are_written_as_net_and_data_factory_write_them() {
    check("yyyy-MM-dd", "2026-03-31");
    check("yyyyMMdd", "20260331");
    check("yy.MM.dd", "26.03.31");
    check("yyyy/MM/dd/HH", "2026/03/31/04");
    check("yyyy-MM-ddTHH_mm", "2026-03-31T04_05");
    check("HHmm", "0405");
    check("mm", "05");
    check("yyyyMMyyyy", "2026032026");
    check("yyyy--MM", "2026--03");
}

#[test]
fn an_offset_is_added_before_the_date_is_written() {
    check("yyyyMMdd;-1d", "20260330");
    check("yyyyMMdd;+1d", "20260401");
    check("yyyyMMddHH;-5h", "2026033023");
    // February has no 31st.
    check("yyyy-MM-dd;-1M", "2026-02-28");
    check("yyyy-MM-dd;+11M", "2027-02-28");
    check("yyyyMM;-15M", "202412");
    check("yyyy;-0d", "2026");
    check("yyyyMMdd;-9999M", "11921231");
}

#[test]
fn dates_at_the_ends_of_the_calendar_do_not_panic() {
    for format in ["yyyyMMdd;+9999M", "yyyyMMdd;-9999M", "yyyyMMddHH;+9999h", "yyyyMMdd;-9999d"] {
        let format = DateFormat::parse(format).expect("it is right");
        for at in [PrimitiveDateTime::MIN, PrimitiveDateTime::MAX] {
            assert!(!format.write(at).is_empty());
        }
    }
}

fn refused(format: &str, expected: &str) {
    let error = DateFormat::parse(format).expect_err("it is refused");
    assert_eq!(error.to_string(), expected, "{format}");
}

const NONE: &str = "is no date placeholder; allowed are yyyy yy MM dd HH mm";

#[test]
fn a_format_in_other_letters_is_refused_with_the_right_ones() {
    for (given, meant) in [
        ("YYYY", "yyyy"),
        ("yyy", "yyyy"),
        ("DD", "dd"),
        ("MON", "MM"),
        ("MMM", "MM"),
        ("date", "yyyy-MM-dd"),
        ("YYYY-MM-DD", "yyyy-MM-dd"),
        ("YYYYMMDD", "yyyyMMdd"),
        ("YYYYMMDD;-1d", "yyyyMMdd;-1d"),
        ("YYYYMMDDHHMM", "yyyyMMddHHmm"),
        ("yyyy-MM-dd_hh-mm", "yyyy-MM-dd_HH-mm"),
        ("%Y-%m-%d", "yyyy-MM-dd"),
        ("%Y%m%d_%H%M", "yyyyMMdd_HHmm"),
        ("year", "yyyy"),
    ] {
        refused(given, &format!("{{{given}}} {NONE} (did you mean {{{meant}}}?)"));
    }
    // `mm` are minutes to .NET; where no hour stands beside them, months are meant.
    refused(
        "yyyy-mm-dd",
        "{yyyy-mm-dd} has minutes (`mm`) without hours; months are `MM` (did you mean \
         {yyyy-MM-dd}?)",
    );
    refused(
        "yyyymmdd",
        "{yyyymmdd} has minutes (`mm`) without hours; months are `MM` (did you mean {yyyyMMdd}?)",
    );
}

#[test]
fn other_text_between_braces_is_no_date_at_all() {
    for text in
        ["", "-", "T", "csv", "csv,txt", "source", "yyyyMMddHHmmss", "yyyy MM", "é", "%", "%é"]
    {
        let error = DateFormat::parse(text).expect_err("it is none");
        assert_eq!(error.to_string(), format!("{{{text}}} {NONE}"));
        assert!(!error.resembles_a_date(), "{text}");
    }
    assert!(DateFormat::parse("YYYY").is_err_and(|error| error.resembles_a_date()));
    assert!(DateFormat::parse("YYYY").is_err_and(|error| !error.is_a_date));
    assert!(DateFormat::parse("yyyymmdd").is_err_and(|error| error.is_a_date));
}

#[test]
fn an_offset_that_is_none_is_refused() {
    for offset in ["", "1d", "-d", "-1", "-1w", "-1m", "+-1d", "-10000d", "-1dd", "- 1d", "é", "-é"]
    {
        refused(
            &format!("yyyyMMdd;{offset}"),
            &format!(
                "{{yyyyMMdd;{offset}}} has no offset after `;`; allowed is a sign, a number up to \
                 9999 and `h`, `d` or `M`, as in {{yyyyMMdd;-1d}}"
            ),
        );
    }
}

#[test]
fn dates_are_read_back_as_they_are_written() {
    let read = |format: &str, text: &str| DateFormat::parse(format).expect("right").read(text);
    assert_eq!(read("yyyyMMdd", "20260331"), Some(datetime!(2026-03-31 0:00)));
    assert_eq!(read("yyyy-MM-ddTHHmm", "2026-03-31T0405"), Some(AT));
    assert_eq!(read("yy_MM", "26_03"), Some(datetime!(2026-03-01 0:00)));
    for (format, text) in [
        ("yyyyMMdd", "20260230"),
        ("yyyyMMdd", "2026033"),
        ("yyyyMMdd", "202603310"),
        ("yyyyMMdd", "+2026331"),
        ("yyyyMMdd", "2026é31"),
        ("yyyyMMdd", "20260331 "),
        ("yyyy-yyyy", "2026-2027"),
        ("MMdd", "0331"),
        ("yyyyHH", "202624"),
    ] {
        let none = DateFormat::parse(format).map(|format| format.read(text));
        assert!(!matches!(none, Ok(Some(_))), "{format} {text}");
    }
}

#[test]
fn the_finest_part_tells_how_often_the_text_changes() {
    let finest = |format: &str| DateFormat::parse(format).expect("right").finest();
    assert_eq!(finest("yyyy"), DateUnit::Year);
    assert_eq!(finest("yyyy/MM"), DateUnit::Month);
    assert_eq!(finest("yyyyMMdd;-1h"), DateUnit::Day);
    assert_eq!(finest("HH_yyyy"), DateUnit::Hour);
    assert_eq!(finest("HHmm"), DateUnit::Minute);
    let slash = |format: &str| DateFormat::parse(format).expect("right").has_slash();
    assert!(slash("yyyy/MM") && !slash("yyyy-MM"));
}

proptest! {
    #[test]
    fn any_text_is_a_format_or_refused(text in "[yMdHmsTYDh%;,+0-9é./_-]{0,12}") {
        match DateFormat::parse(&text) {
            Ok(format) => prop_assert!(!format.write(AT).is_empty()),
            Err(error) => {
                let begins = error.to_string().starts_with(&format!("{{{text}}}"));
                prop_assert!(begins, "{}", error);
            }
        }
    }

    #[test]
    fn what_is_written_in_full_is_read_back(seconds in 0_i64..4_000_000_000) {
        let at = time::OffsetDateTime::from_unix_timestamp(seconds / 60 * 60).expect("in range");
        let at = PrimitiveDateTime::new(at.date(), at.time());
        for format in ["yyyyMMddHHmm", "yyyy-MM-ddTHH.mm", "dd/MM/yyyy_mmHH"] {
            let format = DateFormat::parse(format).expect("right");
            prop_assert_eq!(format.read(&format.write(at)), Some(at));
        }
    }
}
