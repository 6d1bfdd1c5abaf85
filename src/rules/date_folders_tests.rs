//! Patterns with dates, and the days that a run looks at.

use super::*;
use time::macros::{date, datetime};

const NOW: PrimitiveDateTime = datetime!(2026-11-29 10:30);

fn folders(include: &[&str], days_back: u16, catch_up: u16) -> DateFolders {
    let pattern = |glob: &&str| DatePattern::of_glob(glob).expect("it is right").0;
    DateFolders { include: include.iter().map(pattern).collect(), days_back, catch_up }
}

fn check(include: &[&str], days_back: u16, settled: Option<PrimitiveDateTime>, expected: &[&str]) {
    let folders = folders(include, days_back, 31);
    assert_eq!(folders.patterns(&folders.days(NOW, settled)), expected, "{include:?}");
}

#[test]
fn a_pattern_means_its_days() {
    check(&["{yyyy}/{MM}/{dd}/**/*.csv"], 1, None, &["2026/11/28/**/*.csv", "2026/11/29/**/*.csv"]);
    check(&["{yyyyMMdd}*.{csv,txt}"], 0, None, &["20261129*.{csv,txt}"]);
    // A month is one pattern, whatever the days.
    check(&["m{yyyyMM}/*", "other/*"], 3, None, &["m202611/*", "other/*"]);
    check(&["{yyyyMMdd;-1d}/*"], 0, None, &["20261128/*"]);
    check(&["{yyyy,yy}/[{]{yyyy}\\{x}"], 0, None, &["{yyyy,yy}/[{]2026\\{x}"]);
    check(&["{a,{dd}}"], 0, None, &["{a,29}"]);
}

#[test]
fn hours_of_today_end_now() {
    let folders = folders(&["{yyyyMMddHH}"], 1, 31);
    let found = folders.patterns(&folders.days(NOW, None));
    assert_eq!(
        (found.len(), found[0].as_str(), found[34].as_str()),
        (35, "2026112800", "2026112910")
    );
    // With an offset of hours a day is two.
    let folders = self::folders(&["{yyyyMMdd;-5h}"], 0, 31);
    assert_eq!(folders.patterns(&folders.days(NOW, None)), ["20261128", "20261129"]);
}

#[test]
fn days_without_a_run_are_made_up_for_up_to_the_limit() {
    let folders = folders(&["{yyyyMMdd}"], 1, 10);
    let days = |settled| folders.days(NOW, settled);
    assert_eq!(days(None).first, date!(2026 - 11 - 28));
    assert_eq!(days(Some(NOW)).first, date!(2026 - 11 - 28));
    assert_eq!(days(Some(datetime!(2026-11-24 9:00))).first, date!(2026 - 11 - 23));
    let far = days(Some(datetime!(2026-11-01 9:00)));
    assert_eq!(far.first, date!(2026 - 11 - 19));
    assert_eq!(far.missed, Some((date!(2026 - 11 - 01), date!(2026 - 11 - 18))));
    assert_eq!(days(Some(datetime!(2026-11-19 9:00))).missed, None);
    // A clock that was set back.
    assert_eq!(days(Some(datetime!(2027-11-19 9:00))).first, date!(2026 - 11 - 28));
}

#[test]
fn what_resembles_a_date_is_told_and_what_can_be_nothing_else_refused() {
    let (pattern, doubtful) = DatePattern::of_glob("{YYYY}/{csv}/{MON,x}").expect("it is a glob");
    assert!(!pattern.has_dates());
    assert_eq!(doubtful.len(), 1);
    assert!(DatePattern::of_glob("{yyyy-mm-dd}").is_err());
    assert!(DatePattern::of_glob("{yyyyMMdd;1d}").is_err());
    let error = DatePattern::of_path("/done/{YYYY}").expect_err("it is refused");
    assert!(error.ends_with("(did you mean {yyyy}?)"), "{error}");
    assert!(DatePattern::of_path("/done/{yyyy").is_err());
}

#[test]
fn any_time_of_a_pattern_is_a_glob() {
    let pattern = DatePattern::of_path("in/{yyyy-MM}/{HH}").expect("right");
    let d = "[0-9]";
    assert_eq!(
        pattern.at_any_time(),
        format!("in/{}-{}/{}", d.repeat(4), d.repeat(2), d.repeat(2))
    );
    assert_eq!(pattern.fixed_folder(), "in");
    assert_eq!(DatePattern::of_path("/done/x").expect("right").fixed_folder(), "/done/x");
    assert_eq!(DatePattern::of_path("/{yyyy}").expect("right").fixed_folder(), "");
}

#[test]
fn the_dated_part_of_a_url_is_cut_off_as_a_glob() {
    let split = |url: &str| split_url(url).map_err(|error| error.to_string());
    let is = |url: &str, base: &str, glob: Option<&str>| {
        assert_eq!(split(url), Ok((base.to_owned(), glob.map(str::to_owned))), "{url}");
    };
    is("sftp://u@h/out", "sftp://u@h/out", None);
    is("sftp://u@h/out/{yyyy-MM-dd}", "sftp://u@h/out", Some("{yyyy-MM-dd}"));
    is("sftp://u@h/out/x{yyyy}/a%5B1%5D/", "sftp://u@h/out", Some("x{yyyy}/a\\[1\\]"));
    is("sftp://u@h/{yyyyMMdd;-1d}/b", "sftp://u@h/", Some("{yyyyMMdd;-1d}/b"));
    is("sftp://u:p{a}b@h/out/%7Byyyy%7D", "sftp://u:p{a}b@h/out/%7Byyyy%7D", None);
    assert!(
        split("sftp://{yyyy}.example/out").is_err_and(|error| error.contains("before its path"))
    );
    assert!(split("sftp://h/{YYYY}").is_err_and(|error| error.contains("did you mean {yyyy}?")));
    assert!(split("sftp://h/{abc}").is_err_and(|error| error.contains("%7B")));
}
