//! `blobferry audit`.

use std::fmt::Write as _;

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::console;
use super::exit::{NOTHING, WELL};
use crate::app::configured::Configured;
use crate::app::open::{self, OpenedConfig};
use crate::audit::{self, Bytes, Findings, Violation};
use crate::audit::{AuditChecked, AuditNotes};
use crate::config::text::Environment;
use crate::model::failure::Failure;
use crate::model::number_of;
use crate::model::{chain, printable};
use crate::report::in_bytes;
use crate::runtime::retry::Policy;
use crate::telemetry::Watched;

/// Exit status: something does not hold.
const VIOLATED: u8 = 1;

#[derive(Debug, clap::Args)]
pub(crate) struct AuditArguments {
    #[command(flatten)]
    configured: Configured,
    /// Print what was checked and every violation as JSON.
    #[arg(long)]
    json: bool,
    /// Also read the bytes of every blob and compare them with their MD5.
    #[arg(long)]
    download: bool,
}

pub async fn audit(arguments: AuditArguments, environment: &Environment) -> u8 {
    let OpenedConfig { config, store, destinations, redactor } =
        match open::open(&arguments.configured, environment).await {
            Ok(opened) => opened,
            Err(unusable) => return console::refuse(&unusable),
        };
    let bytes = if arguments.download { Bytes::Read } else { Bytes::Believed };
    let spinner = if console::watched() == Watched::Yes {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    let watch = |doing: &str| {
        spinner.set_message(printable(doing.as_bytes()));
        spinner.tick();
    };
    let address = store.address().to_owned();
    let others: Vec<(String, String)> = config
        .sources
        .iter()
        .filter(|source| source.destination.is_some())
        .map(|source| {
            let store = destinations.of(source.destination.as_deref(), &store);
            (source.name.clone(), store.address().to_owned())
        })
        .collect();
    let stores = (store, &destinations);
    let found = audit::audit_at(stores, &config.sources, bytes, Policy::default(), &watch).await;
    spinner.finish_and_clear();
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            console::say(&redactor.text(&format!(
                "error: {}\nhint: {}",
                chain(&error),
                error.hint()
            )));
            return NOTHING;
        }
    };
    let text = if arguments.json {
        format!("{:#}\n", redactor.json(as_json(&found, &address, &others)))
    } else {
        redactor.text(&found.iter().map(as_text).collect::<String>())
    };
    match console::data(&text) {
        WELL if found.iter().any(|found| found.violations.total > 0) => VIOLATED,
        code => code,
    }
}

/// What was found; `others` are the addresses of stores that single sources have.
fn as_json(found: &[Findings], address: &str, others: &[(String, String)]) -> Value {
    let source = |found: &Findings| {
        let mut value = json!({
            "source": found.source, "checked": found.checked, "notes": found.notes,
            "violations": found.violations.total,
        });
        if let Some((_, store)) = others.iter().find(|(name, _)| *name == found.source) {
            value["store"] = store.as_str().into();
        }
        value
    };
    let violation = |source: &str, violation: &Violation| {
        let mut value = json!(violation);
        value["source"] = source.into();
        value
    };
    let violations = found
        .iter()
        .flat_map(|found| found.violations.first.iter().map(|one| violation(&found.source, one)));
    let violations: Vec<Value> = violations.collect();
    let total: u64 = found.iter().map(|found| found.violations.total).sum();
    json!({ "clean": total == 0, "store": address,
        "sources": found.iter().map(source).collect::<Vec<_>>(), "violations": violations })
}

/// Writing to a String does not fail.
const WRITES: &str = "writing to a String does not fail";

fn as_text(found: &Findings) -> String {
    let Findings { source, checked, notes, violations } = found;
    let mut text = format!("{source}: {}\n", of_checked(checked));
    for note in of_notes(notes) {
        writeln!(text, "  {note}").expect(WRITES);
    }
    for Violation { invariant, blob, path, message } in &violations.first {
        let blob = blob
            .as_ref()
            .map(|blob| format!(" `{}`", printable(blob.as_bytes())))
            .unwrap_or_default();
        let path = path
            .as_ref()
            .map(|path| format!(" of {}", printable(path.as_bytes())))
            .unwrap_or_default();
        writeln!(
            text,
            "  violation {}{blob}{path}: {}",
            invariant.word(),
            printable(message.as_bytes())
        )
        .expect(WRITES);
    }
    let untold = violations.total - violations.first.len() as u64;
    if untold > 0 {
        writeln!(text, "  and {untold} more").expect(WRITES);
    }
    match violations.total {
        0 => text + "  all of it holds\n",
        total => text + &format!("  {total} violations\n"),
    }
}

fn of_checked(checked: &AuditChecked) -> String {
    let AuditChecked {
        records,
        versions,
        blobs,
        archives,
        members,
        reports,
        manifests,
        lines,
        downloaded,
        downloaded_bytes,
    } = checked;
    let mut text = format!(
        "{} of {}, {}, {} with {}, {}, {} with {}",
        number_of(*records, "record"),
        number_of(*versions, "version"),
        number_of(*blobs, "blob"),
        number_of(*archives, "archive"),
        number_of(*members, "member"),
        number_of(*reports, "report"),
        number_of(*manifests, "manifest"),
        number_of(*lines, "line")
    );
    if *downloaded > 0 {
        write!(text, ", {} read ({})", number_of(*downloaded, "blob"), in_bytes(*downloaded_bytes))
            .expect(WRITES);
    }
    text
}

fn of_notes(notes: &AuditNotes) -> Vec<String> {
    let AuditNotes {
        unfinished_runs,
        manifests_without_report,
        unrecorded,
        earlier_versions,
        earlier_names,
        foreign,
        reports_without_manifest,
        incomplete_manifests,
        unprovable,
        quarantined,
        reports_without_facts,
        before_reports,
    } = notes;
    let counts = [
        (
            *manifests_without_report,
            "manifest",
            "without a report: of runs that were killed, or are under way",
        ),
        (
            *unrecorded,
            "blob",
            "that no record speaks of: written by a run that was killed, or is under way",
        ),
        (*earlier_versions, "blob", "of earlier versions, whose records were folded away"),
        (*earlier_names, "blob", "under names that an earlier layout gave"),
        (*foreign, "blob", "of other writers where ours belong"),
        (*reports_without_manifest, "report", "of releases that wrote no manifests"),
        (*incomplete_manifests, "report", "of manifests that lack lines, as they say themselves"),
        (
            *unprovable,
            "claim",
            "that could not be checked in full: a name too long or with a secret in it, or too \
            large a manifest",
        ),
        (*quarantined, "original", "in quarantine"),
        (
            *reports_without_facts,
            "report",
            "of earlier builds, which name no checksums of what they rest on",
        ),
        (
            *before_reports,
            "blob",
            "of runs before the first report that is there: earlier ones were removed",
        ),
    ];
    let mut told = Vec::new();
    // A rebuild is over; the ledger keeps its name until the next run has looked for what is there.
    let (rebuilt, unfinished): (Vec<&String>, Vec<&String>) =
        unfinished_runs.iter().partition(|run| run.starts_with("rebuild-"));
    if !rebuilt.is_empty() {
        let next = "the next run looks for what is there before it fetches";
        told.push(format!("the ledger was made anew from the blobs: {next}"));
    }
    if !unfinished.is_empty() {
        let runs: Vec<String> = unfinished.iter().map(|run| printable(run.as_bytes())).collect();
        told.push(format!(
            "{} began and did not end, or {} under way: {}",
            number_of(runs.len(), "run"),
            if runs.len() == 1 { "is" } else { "are" },
            runs.join(", ")
        ));
    }
    told.extend(
        counts
            .into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, thing, what)| format!("{} {what}", number_of(count, thing))),
    );
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Invariant, Violations};
    use expect_test::expect;

    fn findings() -> Findings {
        let mut violations = Violations::default();
        violations.add(Invariant::I1, Some("acme/a\n.csv"), Some("/a%0A.csv"), "it is not there");
        violations.add(Invariant::Manifest, None, None, "no");
        violations.total += 7;
        let checked = AuditChecked {
            records: 3,
            versions: 2,
            blobs: 2,
            downloaded: 2,
            downloaded_bytes: 2048,
            ..AuditChecked::default()
        };
        let notes =
            AuditNotes { unfinished_runs: vec!["r1".into()], foreign: 4, ..AuditNotes::default() };
        Findings { source: "acme".into(), checked, notes, violations }
    }

    #[test]
    fn people_read_what_was_checked_and_what_does_not_hold() {
        let text = as_text(&findings());
        let (first, others) = text.split_once('\n').expect("lines");
        let checked = "acme: 3 records of 2 versions, 2 blobs, 0 archives with 0 members, \
            0 reports, 0 manifests with 0 lines, 2 blobs read (2.0 KiB)";
        assert_eq!(first, checked);
        let told: Vec<&str> = others.lines().collect();
        let expected = [
            "  1 run began and did not end, or is under way: r1",
            "  4 blobs of other writers where ours belong",
            "  violation I1 `acme/a\\x0A.csv` of /a%0A.csv: it is not there",
            "  violation manifest: no",
            "  and 7 more",
            "  9 violations",
        ];
        assert_eq!(told, expected);
        let clean = Findings { source: "b".into(), ..Findings::default() };
        assert!(as_text(&clean).ends_with("  all of it holds\n"));
    }

    #[test]
    fn programs_read_the_same() {
        let found = [findings(), Findings { source: "b".into(), ..Findings::default() }];
        let value = as_json(&found, "folder ./out", &[]);
        expect![[r#"
            {
              "clean": false,
              "sources": [
                {
                  "checked": {
                    "archives": 0,
                    "blobs": 2,
                    "downloaded": 2,
                    "downloaded_bytes": 2048,
                    "lines": 0,
                    "manifests": 0,
                    "members": 0,
                    "records": 3,
                    "reports": 0,
                    "versions": 2
                  },
                  "notes": {
                    "before_reports": 0,
                    "earlier_versions": 0,
                    "foreign": 4,
                    "incomplete_manifests": 0,
                    "manifests_without_report": 0,
                    "quarantined": 0,
                    "reports_without_facts": 0,
                    "reports_without_manifest": 0,
                    "unfinished_runs": [
                      "r1"
                    ],
                    "unprovable": 0,
                    "unrecorded": 0
                  },
                  "source": "acme",
                  "violations": 9
                },
                {
                  "checked": {
                    "archives": 0,
                    "blobs": 0,
                    "downloaded": 0,
                    "downloaded_bytes": 0,
                    "lines": 0,
                    "manifests": 0,
                    "members": 0,
                    "records": 0,
                    "reports": 0,
                    "versions": 0
                  },
                  "notes": {
                    "before_reports": 0,
                    "earlier_versions": 0,
                    "foreign": 0,
                    "incomplete_manifests": 0,
                    "manifests_without_report": 0,
                    "quarantined": 0,
                    "reports_without_facts": 0,
                    "reports_without_manifest": 0,
                    "unfinished_runs": [],
                    "unprovable": 0,
                    "unrecorded": 0
                  },
                  "source": "b",
                  "violations": 0
                }
              ],
              "store": "folder ./out",
              "violations": [
                {
                  "blob": "acme/a\n.csv",
                  "invariant": "I1",
                  "message": "it is not there",
                  "path": "/a%0A.csv",
                  "source": "acme"
                },
                {
                  "blob": null,
                  "invariant": "manifest",
                  "message": "no",
                  "path": null,
                  "source": "acme"
                }
              ]
            }"#]]
        .assert_eq(&format!("{value:#}"));
    }
}
