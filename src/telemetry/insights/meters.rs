//! The measurements: files, bytes, failures, lag, duration, queue age, memory.

use std::sync::{Arc, Mutex};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};

use super::operation::Tie;

/// Names of measurements. Workbook and alert rules ask for them.
pub mod names {
    /// Files by `source` and `outcome`.
    pub const FILES: &str = "ingest_files_total";
    /// Bytes of ingested files by `source`.
    pub(crate) const BYTES: &str = "ingest_bytes_total";
    /// Failures by `source` and `class`.
    pub(crate) const FAILURES: &str = "ingest_failures_total";
    /// Seconds from a file's modified time to its being stored, by `source`.
    pub(crate) const LAG: &str = "ingest_lag_seconds";
    /// Seconds that a run took, by `trigger` and `status`.
    pub(crate) const DURATION: &str = "ingest_run_duration_seconds";
    /// Seconds that work waited in the queue before it was begun.
    pub const QUEUE_AGE: &str = "ingest_queue_age_seconds";
    /// Memory of the process while runs go on.
    pub(crate) const MEMORY: &str = "ingest_resident_memory_bytes";
    /// Windows of expectations that came to a `state`, by `source` and `expectation`.
    pub(crate) const EXPECTATIONS: &str = "ingest_expectations_total";
    /// 1 while what is expected is here or in time, 0 while it is late or missed.
    pub(crate) const EXPECTATION_MET: &str = "ingest_expectation_met";
    /// All of them.
    pub const ALL: &[&str] =
        &[FILES, BYTES, FAILURES, LAG, DURATION, QUEUE_AGE, MEMORY, EXPECTATIONS, EXPECTATION_MET];
    /// The status of a run that ended without a word: it panicked.
    pub const BROKEN: &str = "broken";
    /// Their labels.
    pub const LABELS: &[&str] =
        &["source", "outcome", "class", "trigger", "status", "expectation", "state"];
}

/// What is measured. Labels have few values: a source, an outcome, a class; never a path.
pub(crate) struct Meters {
    /// Files by source and outcome.
    pub files: Counter<u64>,
    /// Bytes of ingested files by source.
    pub bytes: Counter<u64>,
    /// Failures by source and class.
    pub failures: Counter<u64>,
    /// Seconds from a file's modified time to its being stored, by source.
    pub lag: Histogram<f64>,
    /// Seconds that a run took, by trigger and status.
    pub duration: Histogram<f64>,
    /// Seconds that work waited in the queue.
    pub queue_age: Histogram<f64>,
    /// Windows of expectations by source, expectation and state.
    pub expectations: Counter<u64>,
    /// Whether what is expected is here or in time, by source and expectation.
    pub expected: Gauge<u64>,
}

impl Meters {
    /// Made by `meter`. Memory is measured while there are `runs`.
    pub fn new(meter: &Meter, runs: Arc<Mutex<Vec<Arc<Tie>>>>) -> Self {
        // The meter keeps it. An idle process measures nothing, since every measurement is paid
        // for.
        meter
            .u64_observable_gauge(names::MEMORY)
            .with_unit("By")
            .with_callback(move |gauge| {
                let runs = runs.lock().expect("no code panics while it holds this lock").clone();
                if let (false, Some(bytes)) = (runs.is_empty(), resident_bytes()) {
                    // What several runs share belongs to none of them.
                    let run = runs.first().filter(|_| runs.len() == 1).and_then(|run| {
                        crate::telemetry::insights::operation::operation_label(run)
                    });
                    gauge.observe(bytes, run.as_slice());
                }
            })
            .build();
        Self {
            files: meter.u64_counter(names::FILES).with_unit("{file}").build(),
            bytes: meter.u64_counter(names::BYTES).with_unit("By").build(),
            failures: meter.u64_counter(names::FAILURES).with_unit("{failure}").build(),
            lag: meter.f64_histogram(names::LAG).with_unit("s").build(),
            duration: meter.f64_histogram(names::DURATION).with_unit("s").build(),
            expectations: meter.u64_counter(names::EXPECTATIONS).with_unit("{window}").build(),
            expected: meter.u64_gauge(names::EXPECTATION_MET).build(),
            queue_age: meter.f64_histogram(names::QUEUE_AGE).with_unit("s").build(),
        }
    }

    /// Counts `count` files that came to `outcome`.
    pub fn count(&self, outcome: &'static str, count: u64, labels: &[KeyValue]) {
        if count > 0 {
            self.files.add(count, &[labels, &[KeyValue::new("outcome", outcome)]].concat());
        }
    }
}

/// Memory of this process, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory() {
        assert!(super::resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
