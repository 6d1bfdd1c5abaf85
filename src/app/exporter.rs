//! The export of telemetry that a configuration and the environment ask for.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;

use crate::config::telemetry::Export;
use crate::config::text::Environment;
use crate::config::{Account, Config, Destination};
use crate::model::redactor::Redactor;
use crate::runtime::platform::Hosting;
use crate::store::azure::{AzureIdentity, ManagedId, TrustedRoots, credential};
use crate::telemetry::insights::connection::{
    AUTHENTICATION, CONNECTION, authentication, connection,
};
use crate::telemetry::insights::{Insights, Receiver, Requests, Settings, endpoint};

/// The export of telemetry, if the configuration or the environment asks for one. What is wrong
/// with it is a warning for people: a run does not need it.
pub fn insights(
    config: &Config,
    environment: &Environment,
    redactor: &Redactor,
) -> (Option<Arc<Insights>>, Vec<String>) {
    let mut warnings = Vec::new();
    let Some(receiver) = receiver(config, environment, &mut warnings) else {
        return (None, warnings);
    };
    let place = Hosting::of(environment);
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| environment.get(*name).filter(|value| !value.is_empty()))
            .cloned()
    };
    let settings = Settings {
        receiver,
        sample_percent: config.telemetry.sample_percent,
        requests: if place.in_azure() { Requests::TheHosts } else { Requests::Ours },
        role: place
            .site
            .clone()
            .or_else(|| first(&["OTEL_SERVICE_NAME"]))
            .unwrap_or_else(|| "blobferry".into()),
        instance: place.instance.unwrap_or_else(|| "local".into()),
    };
    match Insights::start(settings, redactor) {
        Ok(insights) => (Some(insights), warnings),
        Err(problem) => {
            warnings.push(format!("Warning: no telemetry is sent: {}", redactor.text(&problem)));
            (None, warnings)
        }
    }
}

/// Who is told.
fn receiver(
    config: &Config,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Option<Receiver> {
    let variable = |name: &str| environment.get(name).map_or("", String::as_str);
    let export = config.telemetry.export;
    if matches!(export, Export::Auto | Export::ApplicationInsights) {
        match connection(variable(CONNECTION)) {
            Ok(Some(connection)) => {
                let credential =
                    insights_credential(config, environment).unwrap_or_else(|problem| {
                        warnings.push(format!(
                            "Warning: {AUTHENTICATION} cannot be used, so telemetry \
                        is sent without a token: {problem}"
                        ));
                        None
                    });
                return Some(Receiver::ApplicationInsights { connection, credential });
            }
            Ok(None) if export == Export::Auto => {}
            Ok(None) => warnings.push(format!(
                "Warning: {CONNECTION} is not set, so nothing goes \
                to Application Insights"
            )),
            Err(problem) => warnings.push(format!(
                "Warning: {CONNECTION} cannot be used, so \
                nothing goes to Application Insights: {problem}"
            )),
        }
    }
    // The switch of OpenTelemetry for everything of its own.
    let is_off =
        export == Export::Auto && variable("OTEL_SDK_DISABLED").trim().eq_ignore_ascii_case("true");
    let url = config
        .telemetry
        .otlp_endpoint
        .as_ref()
        .filter(|_| matches!(export, Export::Auto | Export::Otlp) && !is_off)?;
    if variable("OTEL_EXPORTER_OTLP_PROTOCOL").trim().eq_ignore_ascii_case("grpc") {
        warnings.push(
            "Warning: OTEL_EXPORTER_OTLP_PROTOCOL is grpc; telemetry is sent as \
            http/protobuf, which collectors take on port 4318"
                .into(),
        );
    }
    match endpoint(
        url,
        &config.telemetry.otlp_headers,
        variable("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"),
    ) {
        Ok(endpoint) => Some(Receiver::Otlp(endpoint)),
        Err(problem) => {
            warnings.push(format!(
                "Warning: the OTLP endpoint cannot be used, so no telemetry is sent: {problem}"
            ));
            None
        }
    }
}

/// The identity that the store is reached by, else a managed one; none, if the key is enough.
fn insights_credential(
    config: &Config,
    environment: &Environment,
) -> Result<Option<Arc<dyn TokenCredential>>, String> {
    let text = environment.get(AUTHENTICATION).map_or("", String::as_str);
    let Some(authentication) = authentication(text)? else { return Ok(None) };
    let (of_store, trust) = match &config.destination {
        Destination::Azure { account: Account::Identity { identity, .. }, trust, .. } => {
            (Some(identity.clone()), trust.clone())
        }
        Destination::Azure { trust, .. } => (None, trust.clone()),
        Destination::Folder(_) => (None, TrustedRoots::default()),
    };
    let named = authentication.client_id;
    let identity = match of_store {
        Some(AzureIdentity::Managed { id }) => {
            AzureIdentity::Managed { id: named.map(ManagedId::Client).or(id) }
        }
        Some(AzureIdentity::Workload { client_id }) => {
            AzureIdentity::Workload { client_id: named.or(client_id) }
        }
        Some(other) => other,
        None => {
            let id = named.or_else(|| {
                environment.get("AZURE_CLIENT_ID").filter(|id| !id.is_empty()).cloned()
            });
            AzureIdentity::Managed { id: id.map(ManagedId::Client) }
        }
    };
    credential(&identity, &trust).map(Some).map_err(|error| error.to_string())
}
