//! Conditions of requests, and the code of a refusal.

use azure_core::http::Etag as SdkEtag;

use crate::store::contract::Condition;

pub(crate) fn code_of(error: &azure_core::Error) -> Option<&str> {
    match error.kind() {
        azure_core::error::ErrorKind::HttpResponse { error_code, .. } => error_code.as_deref(),
        _ => None,
    }
}

/// `If-Match` and `If-None-Match` of a condition.
pub fn conditions(condition: &Condition) -> (Option<SdkEtag>, Option<SdkEtag>) {
    match condition {
        Condition::IfAbsent => (None, Some("*".into())),
        Condition::IfMatch(etag) => (Some(super::answer::quoted(etag)), None),
        Condition::Always => (None, None),
    }
}
