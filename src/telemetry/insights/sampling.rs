//! Of calls that went well only a part is sent, if so many are made that all of them cost too much.
//!
//! What failed, runs, messages and measurements are never left out. What is sent says how many it
//! stands for, so that a portal that adds them up comes to the number that there were.

use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// The attribute of what stands for more than itself: of a hundred such, so many are sent.
pub const SAMPLED: &str = "sample_percent";

/// Whether a call that went well is sent. The fetch of a file and its storing are sent both, or
/// none of them; which files these are is another choice in each run.
pub(crate) fn is_chosen(percent: u8, run: &str, source: &str, path: &str) -> bool {
    let mut hasher = DefaultHasher::new();
    for text in [run, source, path] {
        hasher.write(text.as_bytes());
        hasher.write_u8(0xFF);
    }
    hasher.finish() % 100 < u64::from(percent)
}

/// Sends what stands for more than itself by an exporter that says so, the rest by another.
#[derive(Debug)]
pub(crate) struct Split<E> {
    whole: E,
    part: E,
}

impl<E> Split<E> {
    /// `part` says of what it sends that it is a part.
    pub fn new(whole: E, part: E) -> Self {
        Self { whole, part }
    }
}

fn is_part(span: &SpanData) -> bool {
    span.attributes.iter().any(|KeyValue { key, .. }| key.as_str() == SAMPLED)
}

impl<E: SpanExporter> SpanExporter for Split<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (part, whole): (Vec<SpanData>, Vec<SpanData>) = batch.into_iter().partition(is_part);
        // What is whole goes first: a failure is worth more than one of many calls that went well.
        let sent = if whole.is_empty() { Ok(()) } else { self.whole.export(whole).await };
        let more = if part.is_empty() { Ok(()) } else { self.part.export(part).await };
        sent.and(more)
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.whole.shutdown_with_timeout(timeout).and(self.part.shutdown_with_timeout(timeout))
    }
    fn set_resource(&mut self, resource: &Resource) {
        self.whole.set_resource(resource);
        self.part.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_as_many_are_chosen_as_was_asked_for_and_other_ones_in_each_run() {
        for percent in [1, 5, 10, 25, 50, 100] {
            let chosen = (0..20_000)
                .filter(|n| is_chosen(percent, "run", "acme", &format!("/in/{n}.csv")))
                .count();
            let expected = 200 * usize::from(percent);
            assert!(chosen.abs_diff(expected) <= 200 + expected / 10, "{percent} %: {chosen}");
        }
        assert!((0..200).all(|n| is_chosen(100, "run", "acme", &n.to_string())));
        let of = |run: &str| {
            (0..200).map(|n| is_chosen(50, run, "acme", &n.to_string())).collect::<Vec<_>>()
        };
        assert_eq!(of("one"), of("one"));
        assert_ne!(of("one"), of("two"));
    }
}
