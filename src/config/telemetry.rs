//! `[telemetry]`: where what is told of runs goes beside the log, and how much of it.

use super::text::Environment;
use crate::model::Secret;
use crate::settings::{Section, SettingError, percent_decode};

/// The variables of OpenTelemetry that stand in for the settings of the same meaning.
pub(crate) const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Headers for that endpoint, as `name=value,name=value`.
pub(crate) const OTLP_HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// Who gets telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Export {
    /// Application Insights if the environment has its connection string, else an OTLP endpoint if
    /// one is named.
    #[default]
    Auto,
    /// Application Insights.
    ApplicationInsights,
    /// An OTLP endpoint.
    Otlp,
    /// Nobody.
    Off,
}

/// `[telemetry]`.
#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    /// Who gets it.
    pub export: Export,
    /// The OTLP endpoint without its `/v1/…`.
    pub otlp_endpoint: Option<String>,
    /// Names and values of headers for it.
    pub otlp_headers: Vec<(String, Secret)>,
    /// Of a hundred calls that went well, so many are sent; a part of 100 without rest, so that
    /// each stands for a whole number of calls.
    pub sample_percent: u8,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            export: Export::default(),
            otlp_endpoint: None,
            otlp_headers: Vec::new(),
            sample_percent: 100,
        }
    }
}

impl TelemetrySettings {
    /// Values that no output may repeat.
    pub fn secrets(&self) -> Vec<Secret> {
        self.otlp_headers.iter().map(|(_, value)| value.clone()).collect()
    }
}

/// Reads the section; what it does not say, the environment may.
pub(crate) fn parse(
    section: &Section,
    environment: &Environment,
) -> Result<TelemetrySettings, SettingError> {
    let export = match section.one_of("export")? {
        None | Some("auto") => Export::Auto,
        Some("application-insights") => Export::ApplicationInsights,
        Some("otlp") => Export::Otlp,
        Some(_) => Export::Off,
    };
    let variable =
        |name: &str| environment.get(name).filter(|value| !value.trim().is_empty()).cloned();
    let otlp_endpoint = section.text("otlp_endpoint")?.or_else(|| variable(OTLP_ENDPOINT));
    if export == Export::Otlp && otlp_endpoint.is_none() {
        return Err(section.error(
            "otlp_endpoint",
            format!(
                "is missing; allowed is a URL as \
            \"http://localhost:4318\", here or in {OTLP_ENDPOINT}"
            ),
        ));
    }
    let otlp_headers = match section.secret("otlp_headers")? {
        Some(text) => {
            headers(text.reveal()).map_err(|problem| section.error("otlp_headers", problem))?
        }
        // A variable that others read too must not keep a run from its work.
        None => variable(OTLP_HEADERS).and_then(|text| headers(&text).ok()).unwrap_or_default(),
    };
    let percent = section.integer("sample_percent")?.unwrap_or(100);
    let sample_percent =
        u8::try_from(percent).ok().filter(|percent| *percent > 0 && 100 % percent == 0);
    let sample_percent = sample_percent.ok_or_else(|| {
        let allowed = "allowed are 1, 2, 4, 5, 10, 20, 25, 50 and 100, so that what is sent stands \
            for a whole number of calls";
        section.error("sample_percent", format!("is {percent}; {allowed}"))
    })?;
    Ok(TelemetrySettings { export, otlp_endpoint, otlp_headers, sample_percent })
}

/// Reads `name=value,name=value` with percent-encoded values. An `Err` never repeats a value.
fn headers(text: &str) -> Result<Vec<(String, Secret)>, String> {
    let wrong = || {
        "is not `name=value,name=value` with names of HTTP headers and percent-encoded values"
            .to_owned()
    };
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
        let name = name.trim();
        let fits = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        let value = percent_decode(value.trim()).and_then(|value| String::from_utf8(value).ok());
        let value = value.filter(|value| value.bytes().all(|byte| (0x20..0x7F).contains(&byte)));
        fits.then_some(())
            .and(value)
            .map(|value| (name.to_ascii_lowercase(), Secret::new(value)))
            .ok_or_else(wrong)
    };
    pairs.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, environment: &[(&str, &str)]) -> Result<TelemetrySettings, String> {
        let text = format!(
            "[destination]\nfolder = \"x\"\n[telemetry]\n{text}\n[[source]]\nname = \"a\"\nurl = \
            \"file:///in\"\n"
        );
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let config =
            crate::config::parse("ingest.toml", std::path::Path::new(""), &text, &environment);
        config.map(|config| config.telemetry).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_of_opentelemetry_stands_in_for_what_the_file_does_not_say() {
        let environment = [
            (OTLP_ENDPOINT, "http://collector:4318"),
            (OTLP_HEADERS, "api-key=s3cret%3D%2C, X-Tenant = t "),
        ];
        let told = read("", &environment).expect("settings");
        assert_eq!(
            (told.export, told.otlp_endpoint.as_deref(), told.sample_percent),
            (Export::Auto, Some("http://collector:4318"), 100)
        );
        let headers: Vec<_> =
            told.otlp_headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
        assert_eq!(headers, [("api-key", "s3cret=,"), ("x-tenant", "t")]);
        let told = read(
            "otlp_endpoint = \"https://other\"\notlp_headers = \"a=b\"\nsample_percent = 5",
            &environment,
        )
        .expect("settings");
        assert_eq!(
            (told.otlp_endpoint.as_deref(), told.otlp_headers.len(), told.sample_percent),
            (Some("https://other"), 1, 5)
        );
        // What is wrong in a variable that is not ours alone keeps no run from its work.
        assert!(
            read("", &[(OTLP_HEADERS, "canary")]).is_ok_and(|told| told.otlp_headers.is_empty())
        );
    }

    #[test]
    fn what_cannot_hold_is_refused_without_repeating_a_value() {
        for (text, expected) in [
            ("export = \"otlp\"", "otlp_endpoint"),
            ("sample_percent = 30", "50 and 100"),
            ("otlp_headers = \"canary\"", "name=value"),
            ("otlp_headers = \"k=canary%0A\"", "name=value"),
            ("otlp_headers = \"a b=canary\"", "name=value"),
        ] {
            let problem = read(text, &[]).expect_err(text);
            assert!(problem.contains(expected) && !problem.contains("canary"), "{problem}");
        }
    }
}
