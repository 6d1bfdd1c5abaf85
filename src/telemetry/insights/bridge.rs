//! From `tracing` to the export: which event becomes a dependency, an exception, a measurement, a
//! message.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::logs::{LogRecord, Logger, Severity};
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer};
use opentelemetry::{KeyValue, Value};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::{Layer, Registry, filter};

use super::export::Insights;
use super::fields::{Fields, any};
use super::operation::Tie;
use super::sampling::{SAMPLED, is_chosen};
use crate::telemetry::insights::labels::QUEUED;
use crate::transfer::events::{CALL, EXPECTATION, EXPECTED, FILE, FILES, OUTCOMES, TARGET, WATCH};

/// Hears what concerns us.
struct Bridge(Arc<Insights>);

/// A layer that exports to `insights`. What nobody else listens to costs little more than a
/// comparison where it is off.
pub fn layer(insights: Arc<Insights>) -> Box<dyn Layer<Registry> + Send + Sync> {
    Bridge(insights)
        .with_filter(filter::filter_fn(concerns_us).with_max_level_hint(filter::LevelFilter::INFO))
        .boxed()
}

/// What is told to those who watch, warnings and errors, the begin and the end of runs; never what
/// the export itself has to say, nor what libraries say: they log names and addresses as they come.
fn concerns_us(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let ours = target == "blobferry" || target.starts_with("blobferry::");
    metadata.is_event()
        && match target {
            TARGET => true,
            crate::telemetry::insights::labels::OWN => false,
            "blobferry::run::local" => *metadata.level() <= Level::INFO,
            _ => ours && *metadata.level() <= Level::WARN,
        }
}

impl<S: Subscriber> Layer<S> for Bridge {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        match fields.text(WATCH) {
            Some(CALL) => self.0.call(fields),
            Some(FILE) => self.0.file(&fields),
            Some(FILES) => self.0.files(&fields),
            Some(QUEUED) => self.0.taken(&fields),
            Some(EXPECTATION) => self.0.expectation(&fields),
            Some(EXPECTED) => self.0.expected(&fields),
            _ if level == Level::ERROR
                && (fields.text("class").is_some() || fields.text("panic").is_some()) =>
            {
                self.0.exception(level, fields)
            }
            _ => self.0.message(level, fields),
        }
    }
}

impl Insights {
    /// The run that an event belongs to: the one that it names, the one of its thread, the only
    /// one.
    fn tie(&self, fields: &Fields) -> Option<Arc<Tie>> {
        let named = fields.text("run_id").or_else(|| fields.text("run"));
        let active = self.active.lock().expect("no code panics while it holds this lock");
        let found = named.and_then(|run| active.iter().find(|tie| tie.run == run)).cloned();
        let only = || (active.len() == 1).then(|| active.first().cloned()).flatten();
        found.or_else(Tie::of_this_thread).or_else(|| if named.is_none() { only() } else { None })
    }

    fn call(&self, fields: Fields) {
        let Some(tie) = self.tie(&fields) else { return };
        let stands_for_more = self.sample_percent < 100 && fields.text("outcome") == Some("ok");
        let of = |name: &str| fields.text(name).unwrap_or_default();
        if (stands_for_more && !is_chosen(self.sample_percent, &tie.run, of("source"), of("path")))
            || !self.spans.enter()
        {
            return;
        }
        let end = SystemTime::now();
        let start = end
            - Duration::from_micros(fields.number("micros").unwrap_or(0))
                .min(end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let text = |name: &str| fields.text(name).unwrap_or_default();
        let (address, path) = (text("address"), text("path"));
        let (kind, target) = place(address);
        let separator = if address.ends_with('/') || path.starts_with('/') { "" } else { "/" };
        let status = match text("outcome") {
            "ok" => Status::Ok,
            "failed" => Status::error(self.cleaner.value(text("error"))),
            // It was given up half way, through no fault of the other side.
            _ => Status::Unset,
        };
        let name = self.cleaner.name(&format!("{} {}", text("kind"), text("source")));
        let mut attributes = vec![
            KeyValue::new("rpc.system.name", kind),
            KeyValue::new("server.address", self.cleaner.name(target)),
            KeyValue::new("url.full", self.cleaner.value(&format!("{address}{separator}{path}"))),
        ];
        attributes.extend(
            fields
                .clean(&self.cleaner, &[WATCH, "kind", "address", "micros"])
                .into_iter()
                .map(|(key, value)| KeyValue::new(key, value)),
        );
        attributes.extend(
            stands_for_more.then(|| KeyValue::new(SAMPLED, i64::from(self.sample_percent))),
        );
        attributes.extend(tie.marks.iter().map(|(key, value)| KeyValue::new(*key, value.clone())));
        let builder = self
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Client)
            .with_start_time(start)
            .with_attributes(attributes);
        let mut span = self.tracer.build_with_context(builder, &tie.context);
        span.set_status(status);
        span.end_with_timestamp(end);
    }

    fn labels(&self, fields: &Fields) -> Vec<KeyValue> {
        let mut labels = vec![KeyValue::new(
            "source",
            self.cleaner.name(fields.text("source").unwrap_or_default()),
        )];
        labels.extend(
            self.tie(fields)
                .and_then(|tie| crate::telemetry::insights::operation::operation_label(&tie)),
        );
        labels
    }

    fn file(&self, fields: &Fields) {
        let labels = self.labels(fields);
        let outcome =
            OUTCOMES.iter().copied().find(|outcome| fields.text("outcome") == Some(*outcome));
        self.meters.count(outcome.unwrap_or("other"), 1, &labels);
        if let Some(bytes) = fields.number("bytes").filter(|bytes| *bytes > 0) {
            self.meters.bytes.add(bytes, &labels);
        }
        if let Some(lag) = fields.float("lag_seconds") {
            self.meters.lag.record(lag, &labels);
        }
    }

    fn files(&self, fields: &Fields) {
        let labels = self.labels(fields);
        for outcome in OUTCOMES.iter().copied().filter(|outcome| *outcome != "ingested") {
            self.meters.count(outcome, fields.number(outcome).unwrap_or(0), &labels);
        }
    }

    fn of_expectation(&self, fields: &Fields) -> Vec<KeyValue> {
        let name = self.cleaner.name(fields.text("expectation").unwrap_or_default());
        [self.labels(fields), vec![KeyValue::new("expectation", name)]].concat()
    }

    fn expectation(&self, fields: &Fields) {
        let mut labels = self.of_expectation(fields);
        let state = fields.text("state").unwrap_or_default().to_owned();
        labels.push(KeyValue::new("state", state));
        self.meters.expectations.add(1, &labels);
    }

    fn expected(&self, fields: &Fields) {
        self.meters
            .expected
            .record(fields.number("met").unwrap_or(0), &self.of_expectation(fields));
    }

    fn taken(&self, fields: &Fields) {
        if let Some(age) = fields.float("age_seconds") {
            let run = self
                .tie(fields)
                .and_then(|tie| crate::telemetry::insights::operation::operation_label(&tie));
            self.meters.queue_age.record(age.max(0.0), run.as_slice());
        }
    }

    fn exception(&self, level: Level, fields: Fields) {
        let class = fields.text("class").unwrap_or("panic");
        let text = fields.text("error").or_else(|| fields.text("panic")).unwrap_or(&fields.message);
        let (class, text) = (self.cleaner.name(class), self.cleaner.value(text));
        self.meters
            .failures
            .add(1, &[self.labels(&fields), vec![KeyValue::new("class", class.clone())]].concat());
        let mut more = vec![
            ("class", Value::from(class.clone())),
            ("exception.type", class.into()),
            ("exception.message", text.into()),
        ];
        let message = self.cleaner.value(&fields.message);
        if !message.is_empty() {
            more.push(("message", message.into()));
        }
        self.log(level, fields, &[WATCH, "class", "error", "panic"], more);
    }

    fn message(&self, level: Level, fields: Fields) {
        self.log(level, fields, &[], Vec::new());
    }

    fn log(
        &self,
        level: Level,
        mut fields: Fields,
        without: &[&str],
        more: Vec<(&'static str, Value)>,
    ) {
        if !self.logs.enter() {
            return;
        }
        let tie = self.tie(&fields);
        let mut record = self.logger.create_log_record();
        record.set_timestamp(SystemTime::now());
        record.set_severity_number(match level {
            Level::ERROR => Severity::Error,
            Level::WARN => Severity::Warn,
            _ => Severity::Info,
        });
        let message = std::mem::take(&mut fields.message);
        record.set_body(self.cleaner.value(&message).into());
        let mut values = fields.clean(&self.cleaner, without);
        values.extend(more);
        if let Some(tie) = tie {
            record.set_trace_context(tie.ids.0, tie.ids.1, None);
            let missing =
                tie.marks.iter().filter(|(key, _)| values.iter().all(|(there, _)| there != key));
            let missing: Vec<_> =
                missing.map(|(key, value)| (*key, Value::from(value.clone()))).collect();
            values.extend(missing);
        }
        values.into_iter().for_each(|(key, value)| record.add_attribute(key, any(value)));
        self.logger.emit(record);
    }
}

/// Type and host of a dependency at `address`, which has no user info.
fn place(address: &str) -> (&'static str, &str) {
    let Some((scheme, rest)) = address.split_once("://") else { return ("folder", address) };
    let kind = match scheme {
        "sftp" => "SFTP",
        "ftp" | "ftps" | "ftpes" => "FTP",
        "http" | "https" => "Azure blob",
        "file" => return ("folder", rest),
        _ => "other",
    };
    (kind, rest.split('/').next().unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_place_has_a_type_and_a_host() {
        assert_eq!(place("sftp://sftp.example.org:22"), ("SFTP", "sftp.example.org:22"));
        assert_eq!(place("ftps://[::1]:990/in"), ("FTP", "[::1]:990"));
        assert_eq!(
            place("https://acct.blob.core.windows.net/landing"),
            ("Azure blob", "acct.blob.core.windows.net")
        );
        assert_eq!(place("file:///data/in"), ("folder", "/data/in"));
        assert_eq!(place("/data/in"), ("folder", "/data/in"));
    }
}
