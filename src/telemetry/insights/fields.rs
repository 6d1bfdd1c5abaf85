//! The fields of a `tracing` event as values for export.

use std::fmt::Debug;

use opentelemetry::Value;
use opentelemetry::logs::AnyValue;
use tracing::field::{Field, Visit};

use super::clamp::Cleaner;
use crate::model::chain;

/// What an event says.
#[derive(Default)]
pub(crate) struct Fields {
    /// Its sentence.
    pub message: String,
    values: Vec<(&'static str, Value)>,
}

impl Fields {
    /// The text of the field `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(key, _)| *key == name).and_then(|(_, value)| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The number in the field `name`, if it is whole and not negative.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.values.iter().find(|(key, _)| *key == name).and_then(|(_, value)| match value {
            Value::I64(number) => u64::try_from(*number).ok(),
            _ => None,
        })
    }

    /// The number in the field `name`.
    pub(crate) fn float(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(key, _)| *key == name).and_then(|(_, value)| match value {
            Value::F64(number) => Some(*number),
            _ => None,
        })
    }

    /// All fields but `without`, clean, under the names that Azure Functions uses where it has any.
    pub fn clean(self, cleaner: &Cleaner, without: &[&str]) -> Vec<(&'static str, Value)> {
        let rest = self.values.into_iter().filter(|(key, _)| !without.contains(key));
        let clean = |value| match value {
            Value::String(text) => Value::String(cleaner.value(text.as_str()).into()),
            other => other,
        };
        rest.map(|(key, value)| (known_as(key), clean(value))).collect()
    }

    fn push(&mut self, field: &Field, value: impl Into<Value>) {
        self.values.push((field.name(), value.into()));
    }
}

/// The name under which a field is exported.
fn known_as(key: &'static str) -> &'static str {
    match key {
        "invocation" => crate::telemetry::insights::labels::INVOCATION,
        "run" => "run_id",
        other => other,
    }
}

/// A value as logs want it.
pub fn any(value: Value) -> AnyValue {
    match value {
        Value::Bool(value) => AnyValue::Boolean(value),
        Value::I64(value) => AnyValue::Int(value),
        Value::F64(value) => AnyValue::Double(value),
        other => AnyValue::String(other.as_str().into_owned().into()),
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.push(field, format!("{value:?}")),
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ => self.push(field, value.to_owned()),
        }
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push(field, chain(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, i64::try_from(value).unwrap_or(i64::MAX));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }
}
