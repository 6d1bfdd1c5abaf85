//! Whatever takes OTLP over HTTP: the OpenTelemetry Collector, and most services that show
//! telemetry.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry_otlp::{
    Compression, LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig,
    WithHttpConfig,
};
use opentelemetry_sdk::metrics::Temporality;
use url::Url;

use super::connection::is_here;
use super::http::Post;
use crate::model::{Secret, chain};

/// One request takes no longer, its repetitions included.
const PATIENCE: Duration = Duration::from_secs(10);

/// An endpoint.
#[derive(Clone, Debug)]
pub struct TelemetryEndpoint {
    base: String,
    headers: Vec<(String, Secret)>,
    /// Whether it is on this machine, where no proxy is between us.
    pub is_here: bool,
    temporality: Temporality,
}

/// The endpoint at `url`, without its `/v1/…`, with these headers. An `Err` says what is wrong with
/// it, and never repeats it.
pub fn endpoint(
    url: &str,
    headers: &[(String, Secret)],
    temporality: &str,
) -> Result<TelemetryEndpoint, String> {
    let url = Url::parse(url.trim()).map_err(|error| format!("it is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("it is not `https://…` or `http://…`".into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(
            "it holds a user, a password or a query; what it must know of us goes into headers"
                .into(),
        );
    }
    let is_here = is_here(&url);
    // A key in clear text is anybody's.
    if url.scheme() == "http" && !is_here && !headers.is_empty() {
        return Err(
            "headers would go in clear text to another machine; allowed is `https://…`".into()
        );
    }
    let temporality = match temporality.trim().to_ascii_lowercase().as_str() {
        "delta" => Temporality::Delta,
        "lowmemory" => Temporality::LowMemory,
        _ => Temporality::Cumulative,
    };
    Ok(TelemetryEndpoint {
        base: url.as_str().trim_end_matches('/').to_owned(),
        headers: headers.to_vec(),
        is_here,
        temporality,
    })
}

impl TelemetryEndpoint {
    /// An exporter for each signal, by way of `post`.
    pub(crate) fn exporters(
        &self,
        post: &Post,
    ) -> Result<(SpanExporter, LogExporter, MetricExporter), String> {
        let at = |signal: &str| format!("{}/v1/{signal}", self.base);
        let headers = || -> HashMap<String, String> {
            self.headers
                .iter()
                .map(|(name, value)| (name.clone(), value.reveal().to_owned()))
                .collect()
        };
        let problem = |error| chain(&error);
        let spans = SpanExporter::builder()
            .with_http()
            .with_http_client(post.clone())
            .with_headers(headers())
            .with_compression(Compression::Gzip);
        let spans = spans
            .with_endpoint(at("traces"))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(PATIENCE)
            .build()
            .map_err(problem)?;
        let logs = LogExporter::builder()
            .with_http()
            .with_http_client(post.clone())
            .with_headers(headers())
            .with_compression(Compression::Gzip);
        let logs = logs
            .with_endpoint(at("logs"))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(PATIENCE)
            .build()
            .map_err(problem)?;
        let metrics = MetricExporter::builder()
            .with_http()
            .with_http_client(post.clone())
            .with_headers(headers())
            .with_compression(Compression::Gzip);
        let metrics = metrics
            .with_endpoint(at("metrics"))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(PATIENCE);
        Ok((spans, logs, metrics.with_temporality(self.temporality).build().map_err(problem)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_without_secrets_and_headers_go_in_the_clear_to_this_machine_only() {
        let header = [("api-key".to_owned(), Secret::new("canary"))];
        let base = |url: &str, headers: &[(String, Secret)]| {
            endpoint(url, headers, "").map(|endpoint| (endpoint.base, endpoint.is_here))
        };
        assert_eq!(
            base("http://localhost:4318/", &header),
            Ok(("http://localhost:4318".into(), true))
        );
        assert_eq!(base("http://collector:4318", &[]), Ok(("http://collector:4318".into(), false)));
        assert_eq!(
            base("https://otlp.example/otlp/", &header),
            Ok(("https://otlp.example/otlp".into(), false))
        );
        for bad in [
            "canary",
            "ftp://canary/",
            "https://canary:pa55@x/",
            "https://x/?key=canary",
            "grpc://canary:4317",
        ] {
            let problem = base(bad, &[]).expect_err(bad);
            assert!(!problem.contains("canary"), "{problem}");
        }
        assert!(
            base("http://collector:4318", &header)
                .is_err_and(|problem| problem.contains("clear text"))
        );
    }

    #[test]
    fn measurements_add_up_from_the_start_unless_differences_are_asked_for() {
        let of =
            |text: &str| endpoint("http://localhost", &[], text).expect("an endpoint").temporality;
        assert_eq!(
            (of(""), of("Delta"), of("cumulative")),
            (Temporality::Cumulative, Temporality::Delta, Temporality::Cumulative)
        );
    }
}
