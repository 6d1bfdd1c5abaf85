//! Reports that add up and read well.

use expect_test::expect;
use time::macros::datetime;

use super::*;
use crate::model::RemotePath;
use crate::model::failure::Class;
use crate::rules::plan::Skip;

fn report(sources: Vec<SourceReport>) -> Report {
    Report {
        run: "20261120T120000Z-0a1b2c3d".into(),
        started: datetime!(2026-11-20 12:00 UTC),
        ended: datetime!(2026-11-20 12:00:02 UTC),
        interrupted: false,
        store: "folder ./ingested".into(),
        problems: Vec::new(),
        sources,
    }
}

fn mixed() -> SourceReport {
    let mut source = SourceReport::new("acme", "sftp://sftp.acme.example:22");
    let archive = Ingested {
        bytes: 5 << 20,
        stored: 2,
        identical: 1,
        members_skipped: 1,
        members: Some(4),
        ..Ingested::default()
    };
    source.add(&RemotePath::from("/a.zip"), Outcome::Ingested(archive));
    source.add(&RemotePath::from("/old.csv"), Outcome::Unchanged);
    source.add(&RemotePath::from("/x.part"), Outcome::Skipped(Skip::InProgress));
    source.add(&RemotePath::from("/young\n.csv"), Outcome::Deferred(Defer::Unsettled));
    source.add(
        &RemotePath::from("/bad.zip"),
        Outcome::Failed(Problem::new(Class::ArchiveDamaged, "unpacking: truncated")),
    );
    source
}

#[test]
fn the_report_adds_up_and_reads_well() {
    let source = mixed();
    assert_eq!(
        source.listed,
        source.ingested + source.unchanged + source.skipped + source.deferred + source.failed
    );
    let report = report(vec![source]);
    assert_eq!(report.exit_code(), 1);
    expect![[r#"
        acme (sftp://sftp.acme.example:22)
          listed 5 = ingested 1 + unchanged 1 + skipped 1 + gone 0 + deferred 1 + failed 1
          2 blobs from 5.0 MiB
          1 archive: members 4 = stored 2 + identical 1 + skipped 1
          skipped: in_progress 1
          deferred: /young\x0A.csv (unsettled)
          failed /bad.zip [archive_damaged]: unpacking: truncated
            hint: the archive is damaged: have it sent again, or set `archives = "keep"`
        run 20261120T120000Z-0a1b2c3d degraded: 1 ingested, 5.0 MiB in 2.0 s, into folder ./ingested
    "#]]
    .assert_eq(&report.to_string());
}

#[test]
fn a_report_is_read_as_it_was_written_and_parts_add_up_to_the_whole() {
    let mut whole = mixed();
    let told = serde_json::to_vec(&whole).expect("it is written");
    let read: SourceReport = serde_json::from_slice(&told).expect("it is read");
    assert_eq!(read, whole);
    whole.absorb(read);
    assert_eq!(
        (whole.listed, whole.failed, whole.members.members, whole.failures.len()),
        (10, 2, 8, 2)
    );
    assert_eq!(
        whole.listed,
        whole.ingested + whole.unchanged + whole.skipped + whole.deferred + whole.failed
    );
    assert_eq!(whole.skipped_by_reason.get("in_progress"), Some(&2));
}

#[test]
fn deferred_alone_is_well_and_a_dead_source_is_not() {
    let mut deferred = SourceReport::new("a", "file://");
    deferred.add(&RemotePath::from("/x"), Outcome::Deferred(Defer::Unsettled));
    assert_eq!(report(vec![deferred.clone()]).exit_code(), 0);
    let mut dead = SourceReport::new("b", "ftp://b:21");
    dead.unusable = true;
    assert_eq!(report(vec![dead.clone()]).exit_code(), 3);
    assert_eq!(report(vec![deferred, dead]).exit_code(), 1);
}

#[test]
fn a_source_that_is_left_to_another_run_is_well_and_says_so() {
    let mut left = SourceReport::new("a", "sftp://a:22");
    left.left_to = Some(LeftTo {
        run: Some("r1".into()),
        host: Some("h".into()),
        since: Some(datetime!(2026-11-20 11:00 UTC)),
    });
    let mut silent = SourceReport::new("b", "sftp://b:22");
    silent.left_to = Some(LeftTo::default());
    let report = report(vec![left, silent]);
    assert_eq!((report.exit_code(), report.status()), (0, Status::Ok));
    expect![[r#"
        a (sftp://a:22)
          left to run r1 on h, which is at it since 2026-11-20T11:00:00Z
        b (sftp://b:22)
          left to another run, which is at it
        run 20261120T120000Z-0a1b2c3d ok: 0 ingested, 0 B in 2.0 s, into folder ./ingested
    "#]]
    .assert_eq(&report.to_string());
    let json = serde_json::to_value(&report).expect("it is JSON");
    let (status, left_to) = (&json["sources"][0]["status"], &json["sources"][0]["left_to"]);
    assert_eq!(
        (status, &left_to["run"], &left_to["since"]),
        (&"left".into(), &"r1".into(), &"2026-11-20T11:00:00Z".into())
    );
}

#[test]
fn an_unparsed_line_degrades_the_run() {
    let mut source = SourceReport::new("a", "ftp://a:21");
    source.add_unparsed("!!!".into());
    assert_eq!(report(vec![source]).exit_code(), 1);
}

fn pass(change: impl FnOnce(&mut SourceReport)) -> Status {
    let mut report = SourceReport::new("acme", "memory://");
    change(&mut report);
    report.status()
}

#[test]
fn a_pass_has_the_worst_word_that_holds() {
    let problem =
        |class| move |report: &mut SourceReport| report.problems.push(Problem::new(class, "x"));
    let outcome =
        |outcome| move |report: &mut SourceReport| report.add(&RemotePath::from("/a"), outcome);
    assert_eq!(pass(|_| {}), Status::Ok);
    assert_eq!(pass(outcome(Outcome::Gone)), Status::Ok);
    assert_eq!(pass(outcome(Outcome::Deferred(Defer::Unsettled))), Status::Ok);
    assert_eq!(pass(outcome(Outcome::Deferred(Defer::Interrupted))), Status::Interrupted);
    assert_eq!(pass(problem(Class::Interrupted)), Status::Interrupted);
    assert_eq!(pass(problem(Class::Late)), Status::Degraded);
    assert_eq!(
        pass(outcome(Outcome::Failed(Problem::new(Class::Interrupted, "x")))),
        Status::Degraded
    );
    assert_eq!(pass(|report| report.left_to = Some(LeftTo::default())), Status::Left);
    let late = |report: &mut SourceReport| {
        report.left_to = Some(LeftTo::default());
        report.problems.push(Problem::new(Class::Late, "x"));
    };
    assert_eq!(pass(late), Status::Degraded);
    assert_eq!(pass(|report| report.unusable = true), Status::Failed);
}
