//! The measurements: files, bytes, failures, lag, duration, memory.

use std::sync::{Arc, Mutex};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::operation::Tie;

/// What is measured. Labels have few values: a source, an outcome, a class; never a path.
pub struct Meters {
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
}

impl Meters {
    /// Made by `meter`. Memory is measured while there are `runs`.
    pub fn new(meter: &Meter, runs: Arc<Mutex<Vec<Arc<Tie>>>>) -> Self {
        // The meter keeps it. An idle process measures nothing, since every measurement is paid for.
        meter
            .u64_observable_gauge("ingest_resident_memory_bytes")
            .with_unit("By")
            .with_callback(move |gauge| {
                let runs = runs.lock().expect("no code panics while it holds this lock").clone();
                if let (false, Some(bytes)) = (runs.is_empty(), resident_bytes()) {
                    // What several runs share belongs to none of them.
                    let run = runs.first().filter(|_| runs.len() == 1).map(|run| super::operation_label(run));
                    gauge.observe(bytes, run.as_slice());
                }
            })
            .build();
        Self {
            files: meter.u64_counter("ingest_files_total").with_unit("{file}").build(),
            bytes: meter.u64_counter("ingest_bytes_total").with_unit("By").build(),
            failures: meter.u64_counter("ingest_failures_total").with_unit("{failure}").build(),
            lag: meter.f64_histogram("ingest_lag_seconds").with_unit("s").build(),
            duration: meter.f64_histogram("ingest_run_duration_seconds").with_unit("s").build(),
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
