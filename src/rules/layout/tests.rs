//! Names that templates give, the files that they give none, and settings that make no template.

use std::collections::HashMap;

use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::model::{ModifiedTime, Precision, RemoteFile, RemotePath};
use crate::rules::naming::{Layout, Naming};
use crate::rules::time_zone::TimeZone;
use crate::settings::percent_decode;

fn settings(layout: &str) -> LayoutSettings<'_> {
    LayoutSettings {
        source: "acme",
        layout,
        capture: None,
        member_layout: None,
        zone: TimeZone::UTC,
        one_file: false,
        overwrites: false,
    }
}

fn template(settings: LayoutSettings<'_>) -> Template {
    Template::read(settings).unwrap_or_else(|bad| panic!("{}: {}", bad.key, bad.problem))
}

fn file(path: &[u8]) -> RemoteFile {
    let at = datetime!(2026-11-29 23:30:15 UTC).unix_timestamp();
    let path = RemotePath::from("/out").join(path);
    RemoteFile { path, size: Some(1), modified: ModifiedTime::from_unix(at) }
}

fn naming(template: Template) -> Naming {
    Naming {
        source: "acme".into(),
        layout: Layout::Template(template.into()),
        root: RemotePath::from("/out"),
        host_port: "ftp.acme.example_21".into(),
    }
}

fn named(settings: LayoutSettings<'_>, path: &str) -> String {
    match naming(template(settings)).file(&file(path.as_bytes())) {
        Ok(name) => name.as_str().to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

fn check(layout: &str, path: &str, expected: &str) {
    assert_eq!(named(settings(layout), path), expected, "{layout}");
}

fn check_member(layout: &str, member_layout: Option<&str>, member: &str, expected: &str) {
    let naming = naming(template(LayoutSettings { member_layout, ..settings(layout) }));
    let within = ["in.zip".to_owned()];
    let at = datetime!(2026-10-01 12:00 UTC).unix_timestamp();
    let (within, name) = match member.split_once("!/") {
        Some((_, name)) => (&within[..], name),
        None => (&[][..], member),
    };
    let member = MemberName { within, name, modified: ModifiedTime::from_unix(at) };
    let name = match naming.member(&file(b"zips/daily.zip"), member) {
        Ok(name) => name.as_str().to_owned(),
        Err(error) => format!("error: {error}"),
    };
    assert_eq!(name, expected, "{layout} with {member_layout:?}");
}

fn refused(settings: LayoutSettings<'_>, key: &str, says: &str) {
    let bad = Template::read(settings).expect_err("it is refused");
    assert!(bad.key == key && bad.problem.contains(says), "{}: {}", bad.key, bad.problem);
}

#[test]
fn forty_pipelines_get_the_names_that_they_had() {
    check(
        "landing/{source}/dt={yyyy-MM-dd}/{path}",
        "a/b.csv",
        "landing/acme/dt=2026-11-29/a/b.csv",
    );
    check("raw/sftp/{path}", "a/b.csv", "raw/sftp/a/b.csv");
    check("{path}", "a/b.csv", "a/b.csv");
    check("{source}/{yyyy}/{MM}/{dd}/{file}", "a/b.csv", "acme/2026/11/29/b.csv");
    check("{yyyy/MM/dd}/{file}", "a/b.csv", "2026/11/29/b.csv");
    check(
        "in/{folder}/{stem}_{yyyyMMddTHHmm}.{ext}",
        "a/b/c.tar.gz",
        "in/a/b/c.tar_20261129T2330.gz",
    );
    check("in/{folder}/{file}", "c.csv", "in/c.csv");
    check("{ext}/{file}", "a/c.csv", "csv/c.csv");
}

#[test]
fn a_captured_date_is_written_in_another_form() {
    let capture = Some(r"(?<feed>[a-z]+)_(?<date>\d{4}[-_]?\d\d[-_]?\d\d)");
    let settings = LayoutSettings {
        capture,
        ..settings("{feed}/dt={date:yyyy-MM-dd}/y={date:yyyy/MM}/{file}")
    };
    for path in ["x/sales_20251231.csv", "sales_2025-12-31.csv", "sales_2025_12_31.csv"] {
        let file = path.rsplit('/').next().unwrap_or_default();
        let expected = format!("sales/dt=2025-12-31/y=2025/12/{file}");
        assert_eq!(named(settings, path), expected);
    }
    let told = named(settings, "sales_20250231.csv");
    assert!(
        told.contains(
            "the layout needs a date as `date`, and `sales_20250231.csv` has \"20250231\""
        ),
        "{told}"
    );
    let told = named(settings, "x/PURCHASES.csv");
    assert_eq!(
        told,
        "error: the layout needs `feed`, and `x/PURCHASES.csv` does not match `capture`"
    );
}

#[test]
fn a_group_that_holds_a_slash_or_nothing_makes_no_folder() {
    let capture = Some("^(?<head>.*?)-(?<tail>[0-9]*)");
    let settings = LayoutSettings { capture, ..settings("{head}/{tail}/{file}") };
    assert_eq!(named(settings, "a/b-1"), "a%2Fb/1/b-1");
    assert_eq!(
        named(settings, "a/b-"),
        "error: the layout needs `tail`, and `a/b-` matches `capture` without it"
    );
}

#[test]
fn what_the_file_has_not_is_told_and_nothing_is_made_up() {
    check("{ext}/{file}", "README", "error: the layout needs `ext`, and `README` has none");
    check("{ext}/{file}", ".bashrc", "error: the layout needs `ext`, and `.bashrc` has none");
    let naming = naming(template(settings("{yyyy}/{path}")));
    let timeless = RemoteFile { modified: None, ..file(b"a.csv") };
    let error = naming.file(&timeless).expect_err("it has no time").to_string();
    assert_eq!(
        error,
        "the layout needs the modified time, and `a.csv` has none, as far as its source tells"
    );
}

#[test]
fn a_day_that_a_listing_tells_is_moved_by_no_zone_and_has_no_hours() {
    let zone = TimeZone::parse("America/New_York").expect("a zone");
    let at = datetime!(2026-03-01 0:00 UTC);
    let listed =
        |precision| RemoteFile { modified: Some(ModifiedTime::new(at, precision)), ..file(b"a") };
    let name = |layout, file: &RemoteFile| {
        naming(template(LayoutSettings { zone, ..settings(layout) }))
            .file(file)
            .map(|name| name.as_str().to_owned())
    };
    let day = "{yyyy-MM-dd}/{path}";
    assert_eq!(name(day, &listed(Precision::Day)).as_deref(), Ok("2026-03-01/a"));
    assert_eq!(name(day, &listed(Precision::Second)).as_deref(), Ok("2026-02-28/a"));
    let error = name("{yyyyMMddTHH}/{path}", &listed(Precision::Day)).expect_err("no hour");
    assert!(error.to_string().contains("known to the day only"), "{error}");
}

#[test]
fn literal_names_are_for_one_file() {
    let one = LayoutSettings { one_file: true, ..settings("landing/current.csv") };
    assert_eq!(named(one, "any"), "landing/current.csv");
    let daily = LayoutSettings { one_file: true, ..settings("landing/{yyyy-MM-dd}.csv") };
    assert_eq!(named(daily, "any"), "landing/2026-11-29.csv");
    refused(settings("landing/current.csv"), "layout", "only where `include` is one exact path");
    refused(settings("by_type"), "layout", "did you mean `by-type`?");
}

#[test]
fn members_go_where_member_layout_says() {
    check_member("in/{path}", None, "x/m.csv", "in/zips/daily.zip!/x/m.csv");
    check_member("in/{path}", Some("{file}!/{member}"), "x/m.csv", "in/zips/daily.zip!/x/m.csv");
    check_member("in/{path}", Some("{stem}/{member}"), "x/m.csv", "in/zips/daily/x/m.csv");
    check_member(
        "in/{path}",
        Some("{stem}/{member}"),
        "in.zip!/m.csv",
        "in/zips/daily/in.zip!/m.csv",
    );
    check_member("in/{path}", Some("{member_file}"), "x/m.csv", "in/zips/m.csv");
    check_member("{file}", Some("{member_file}"), "", "%");
    check_member("{file}", Some("{member}"), "", "%");
    check_member("{file}", Some("{member}"), "../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd");
    check_member("{file}", Some("{member}"), "_blobferry/x", "%5Fblobferry/x");
    check_member("{file}", Some("{stem}_{yyyy-MM}/{member}"), "m", "daily_2026-10/m");
}

#[test]
fn names_never_lead_to_our_own_state() {
    check("{path}", "_blobferry/acme/lock", "%5Fblobferry/acme/lock");
    check("{path}", "_BlobFerry/acme/lock", "%5FBlobFerry/acme/lock");
    check("{path}", "%5Fblobferry/acme/lock", "%255Fblobferry/acme/lock");
    check("{folder}/{file}", "_blobferry/x", "%5Fblobferry/x");
    check("in/{path}", "_blobferry/x", "in/_blobferry/x");
    refused(settings("_blobferry/{path}"), "layout", "its own state");
}

#[test]
fn no_segment_is_empty_or_ends_in_a_dot() {
    check("a.{folder}/{file}", "b", "a%2E/b");
    check(".{folder}/{file}", "b", "%2E/b");
    check("{stem}/{file}", "a..csv", "a%2E/a..csv");
    check("{stem}x{ext}", "a.b.", "error: the layout needs `ext`, and `a.b.` has none");
    for layout in ["/{path}", "{path}/", "a//{path}", "{yyyy//MM}/{path}"] {
        refused(settings(layout), "layout", "`/`");
    }
    for layout in
        ["a/../{path}", "./{path}", "a./{path}", "{path}/.", "a!/{path}", "{stem}!/{file}"]
    {
        refused(settings(layout), "layout", "has a segment");
    }
}

#[test]
fn a_slip_is_told_with_the_right_spelling() {
    for (layout, says) in [
        ("{YYYY}/{path}", "did you mean {yyyy}?"),
        ("{YYYY-MM-DD}/{path}", "did you mean {yyyy-MM-dd}?"),
        ("{yyy}/{path}", "is no date placeholder; allowed are yyyy yy MM dd HH mm"),
        ("{filename}/{path}", "`{filename}`, which is no placeholder"),
        ("{paht}", "did you mean `{path}`?"),
        ("{feed}/{path}", "the named groups of `capture`"),
        ("%Y/{path}", "holds a `%`; dates are written as `{yyyy-MM-dd}`"),
        ("{path", "`{` without its `}`"),
        ("path}", "`}` without its `{`"),
        ("a\\{path}", "holds a `\\`"),
        ("{date:yyyy}/{path}", "`{date}`, which is no placeholder"),
        ("{run:yyyy}/{path}", "dates of the run"),
        ("{member}/{path}", "which is no placeholder"),
        ("{yyyy}", "names all files alike"),
    ] {
        refused(settings(layout), "layout", says);
    }
    let overwrites = LayoutSettings { overwrites: true, ..settings("{yyyy}/{path}") };
    refused(overwrites, "layout", "replace nothing");
}

#[test]
fn captures_alone_name_files_and_those_that_may_meet_are_told() {
    let edi = r"(?<type>[A-Z]+)_(?<who>[A-Z]+)_(?<on>\d{8})_(?<seq>\d+)";
    let renamed = LayoutSettings {
        capture: Some(edi),
        ..settings("edi/{who}/{type}/{on:yyyy/MM/dd}/{seq}.edi")
    };
    assert_eq!(
        named(renamed, "in/ORDERS_ACME_20261129_0001.edi"),
        "edi/ACME/ORDERS/2026/11/29/0001.edi"
    );
    let meet = template(renamed).may_meet().expect("two files may have one name");
    assert!(meet.contains("of which `capture` finds the same"), "{meet}");
    let with_path = LayoutSettings { capture: Some("(?<who>a)"), ..settings("{who}/{path}") };
    assert_eq!(template(with_path).may_meet(), None);
}

#[test]
fn captures_and_member_layouts_are_checked_when_they_are_read() {
    let with = |capture| LayoutSettings { capture: Some(capture), ..settings("{feed}/{path}") };
    refused(with("(?<feed>["), "capture", "is no regular expression");
    refused(with("([a-z]+)"), "capture", "names no group");
    refused(with("(?<feed>a)(?<file>b)"), "capture", "a placeholder of its own");
    refused(with("(?<feed>a)(?<yyyy>b)"), "capture", "a placeholder of its own");
    refused(with("(?<feeds>a)"), "layout", "did you mean `{feeds}`?");
    let unused = LayoutSettings { capture: Some("(?<feed>a)"), ..settings("{path}") };
    refused(unused, "capture", "use `{feed}` there");
    let hours = LayoutSettings { capture: Some("(?<on>a)"), ..settings("{on:yyyyMMddTHH}/{path}") };
    refused(hours, "layout", "no time of day");
    let with = |text| LayoutSettings { member_layout: Some(text), ..settings("{path}") };
    refused(with("{stem}"), "member_layout", "needs `{member}` or `{member_file}`");
    refused(with("{path}/{member}"), "member_layout", "which is no placeholder");
    refused(with("{membre}"), "member_layout", "did you mean `{member}`?");
    refused(with("_blobferry/{member}"), "member_layout", "its own state");
    let overwrites = LayoutSettings { overwrites: true, ..with("{yyyy}/{member}") };
    refused(overwrites, "member_layout", "replace nothing");
}

#[test]
fn a_name_over_the_limits_ends_in_a_hash() {
    let long = |end: &str| named(settings("{yyyy}/{path}"), &("x".repeat(2000) + end));
    assert_ne!(long("a"), long("b"));
    assert_eq!(long("a").len(), 1024);
}

/// Templates that tell every two files apart, whatever their names.
const ONE_TO_ONE: &[&str] = &[
    "{path}",
    "landing/{source}/dt={yyyy-MM-dd}/{path}",
    "{folder}/{file}",
    "in/{folder}/{file}",
    "{yyyyMMdd}-{path}",
    "{stem}/{path}",
    "{path}/data",
    "{file}/{path}",
];

fn awkward() -> impl Strategy<Value = Vec<u8>> {
    let odd: &[&[u8]] = &[
        b"/",
        b"//",
        b".",
        b"..",
        b"!",
        b"%",
        b"%2F",
        b"_blobferry",
        b"%5Fblobferry",
        b"a",
        b"~",
        b"\\",
        b"\xff",
        b"\0",
    ];
    let odd = proptest::collection::vec(proptest::sample::select(odd), 1..8);
    let odd = odd.prop_map(|parts| parts.concat());
    prop_oneof![odd, proptest::collection::vec(any::<u8>(), 1..24)]
        .prop_filter("servers list names that are not empty", |path| {
            !RemotePath::from("/out").join(path).file_name().is_empty()
        })
}

proptest! {
    #[test]
    fn two_files_never_share_a_name(paths in proptest::collection::vec(awkward(), 2..12)) {
        for layout in ONE_TO_ONE {
            let naming = naming(template(settings(layout)));
            let mut taken: HashMap<String, Vec<u8>> = HashMap::new();
            for path in &paths {
                let file = file(path);
                let name = naming.file(&file).expect("it has a time").as_str().to_owned();
                prop_assert!(!name.to_ascii_lowercase().starts_with("_blobferry/"), "{}", name);
                let bytes = file.path.as_bytes().to_vec();
                if let Some(other) = taken.insert(name.clone(), bytes.clone()) {
                    prop_assert_eq!(other, bytes, "both are called {} by {}", name, layout);
                }
            }
        }
    }

    #[test]
    fn a_name_decodes_to_the_bytes_of_its_file(path in awkward()) {
        let name = named_bytes("in/{path}", &path);
        let tail = name.strip_prefix("in/").expect("it is below");
        prop_assert_eq!(percent_decode(tail), Some(path));
    }

    #[test]
    fn files_and_members_of_archives_never_meet(
        archive in awkward(), member in "\\PC{0,20}", path in awkward(),
    ) {
        for layout in ONE_TO_ONE.iter().filter(|layout| layout.ends_with("{path}")) {
            let naming = naming(template(settings(layout)));
            let member = MemberName { within: &[], name: &member, modified: None };
            let member = naming.member(&file(&archive), member).expect("named");
            let other = naming.file(&file(&path)).expect("named");
            prop_assert_ne!(member.as_str(), other.as_str());
        }
    }

    #[test]
    fn every_template_gives_a_legal_name_or_says_why(
        path in awkward(), member in "\\PC{0,12}", pieces in proptest::collection::vec(
            prop_oneof![
                Just("{path}"), Just("{folder}"), Just("{file}"), Just("{stem}"), Just("{ext}"),
                Just("{yyyy}"), Just("{yyyy/MM}"), Just("{group}"), Just("/"), Just("."),
                Just("x"), Just("~"), Just("{source}"),
            ], 1..7),
    ) {
        let layout = pieces.concat();
        let capture = layout.contains("{group}").then_some("(?<group>[^0-9]*)");
        let read = Template::read(LayoutSettings { capture, ..settings(&layout) });
        if let Ok(template) = read {
            let naming = naming(template);
            if let Ok(name) = naming.file(&file(&path)) {
                let again = crate::model::BlobName::new(name.as_str());
                prop_assert!(again.is_ok(), "{:?}", again);
                let member = MemberName { within: &[], name: &member, modified: None };
                prop_assert!(naming.member(&file(&path), member).is_ok());
            }
        }
    }
}

fn named_bytes(layout: &str, path: &[u8]) -> String {
    let name = naming(template(settings(layout))).file(&file(path));
    name.expect("it has a time").as_str().to_owned()
}
