//! A run as one operation of Application Insights: its request, and what ties everything else to
//! it.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::clamp::Cleaner;
use super::health::Gate;

/// What a run begins with.
pub struct Beginning<'a> {
    /// Its name in lists of requests: the function or the command.
    pub name: &'a str,
    /// Its id.
    pub run: &'a str,
    /// What started it.
    pub trigger: &'a str,
    /// The host's id of the invocation that started it, if a host did.
    pub invocation: Option<&'a str>,
    /// The W3C `traceparent` of the request that started it. One that cannot be read is as good as
    /// none.
    pub traceparent: Option<&'a str>,
    /// When it began.
    pub at: SystemTime,
}

/// What ties telemetry to a run.
pub(crate) struct Tie {
    /// The parent of everything that the run does.
    pub context: Context,
    /// The operation, and its request.
    pub ids: (TraceId, SpanId),
    /// The run's id.
    pub run: String,
    /// Said with everything that the run does.
    pub marks: Vec<(&'static str, String)>,
    /// Who is told.
    pub wire: TelemetryWire,
}

/// Whose words are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TelemetryWire {
    /// Those of Application Insights.
    ApplicationInsights,
    /// Those of OpenTelemetry alone.
    Otlp,
}

thread_local! {
    static OF_THIS_THREAD: RefCell<Option<Arc<Tie>>> = const { RefCell::new(None) };
}

impl Tie {
    /// From now on, what this thread does is this run's. Each run of a handler has threads of its
    /// own.
    pub(crate) fn holds_this_thread(self: &Arc<Self>) {
        OF_THIS_THREAD.with_borrow_mut(|tie| *tie = Some(self.clone()));
    }

    /// The run that this thread works for, if it works for one only.
    pub(crate) fn of_this_thread() -> Option<Arc<Self>> {
        OF_THIS_THREAD
            .try_with(|tie| tie.try_borrow().ok().and_then(|tie| tie.clone()))
            .ok()
            .flatten()
    }
}

/// What requests are begun with.
pub(crate) struct OperationContext<'a> {
    /// It makes them.
    pub tracer: &'a SdkTracer,
    /// The queue that they go into.
    pub gate: &'a Gate,
    /// It cleans their texts.
    pub cleaner: &'a Cleaner,
    /// Whose words they speak.
    pub wire: TelemetryWire,
}

/// Begins the request of a run.
pub fn begin(
    context: &OperationContext<'_>,
    kind: SpanKind,
    beginning: &Beginning<'_>,
) -> (Arc<Tie>, Mutex<Option<Span>>) {
    let OperationContext { tracer, gate, cleaner, wire } = context;
    let mut marks =
        vec![("run_id", cleaner.name(beginning.run)), ("trigger", cleaner.name(beginning.trigger))];
    marks.extend(beginning.invocation.map(|invocation| {
        (crate::telemetry::insights::labels::INVOCATION, cleaner.name(invocation))
    }));
    let parent = beginning
        .traceparent
        .and_then(parse)
        .map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
    let name = cleaner.name(beginning.name);
    let own =
        (*wire == TelemetryWire::ApplicationInsights).then(|| ("ai.operation.name", name.clone()));
    let attributes =
        marks.iter().chain(&own).map(|(key, value)| KeyValue::new(*key, value.clone()));
    let attributes: Vec<KeyValue> = attributes.collect();
    let builder = tracer
        .span_builder(name)
        .with_kind(kind)
        .with_start_time(beginning.at)
        .with_attributes(attributes);
    gate.enter_anyway();
    let span = tracer.build_with_context(builder, &parent);
    let context = span.span_context().clone();
    let ids = (context.trace_id(), context.span_id());
    marks.extend(own);
    let tie = Tie {
        context: Context::new().with_remote_span_context(context),
        ids,
        run: beginning.run.to_owned(),
        marks,
        wire: *wire,
    };
    (Arc::new(tie), Mutex::new(Some(span)))
}

/// Ends the request of a run.
pub fn end(mut span: Span, status: &str, failed: bool) {
    span.set_attribute(KeyValue::new("status", status.to_owned()));
    span.set_status(if failed { Status::error(status.to_owned()) } else { Status::Ok });
    span.end();
}

/// Reads `00-<trace>-<span>-<flags>` of W3C Trace Context; later versions may have more at the end.
fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.trim().split('-');
    let mut hex = |digits: usize| {
        parts.next().filter(|part| {
            part.len() == digits
                && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

/// Measurements of a run carry its operation as others do. Over OTLP they do not: there each label
/// makes a series of its own, which is kept for the life of the process.
pub(crate) fn operation_label(tie: &Tie) -> Option<KeyValue> {
    (tie.wire == TelemetryWire::ApplicationInsights)
        .then(|| KeyValue::new("ai.operation.id", tie.ids.0.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_or_left_alone() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let read = |text: &str| {
            parse(text)
                .map(|context| (context.trace_id().to_string(), context.span_id().to_string()))
        };
        let good = Some((trace.to_owned(), span.to_owned()));
        for text in [
            format!("00-{trace}-{span}-00"),
            format!("00-{trace}-{span}-01"),
            format!("cc-{trace}-{span}-01-what-will-be"),
        ] {
            assert_eq!(read(&text), good, "{text}");
        }
        let zero = "0".repeat(32);
        let bad = [
            String::new(),
            trace.to_owned(),
            format!("ff-{trace}-{span}-00"),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-00-more"),
            format!("00-{zero}-{span}-00"),
            format!("00-{trace}-{}-00", &zero[..16]),
            format!("00-{}-{span}-00", trace.to_uppercase()),
            format!("00-{}-{span}-00", "ü".repeat(16)),
        ];
        for text in bad {
            assert_eq!(read(&text), None, "{text}");
        }
    }
}
