//! Configuration to what a command works with: sources, store, limits, secrets to keep quiet about.

use std::path::Path;
use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use url::Url;

use super::configured::Configured;
use crate::config::telemetry::Export;
use crate::config::text::Environment;
use crate::config::{self, Account, Config, Destination, LimitSettings};
use crate::model::failure::Failure;
use crate::model::redactor::Redactor;
use crate::model::{Secret, chain, printable};
use crate::runtime::platform::Hosting;
use crate::store::azure::AzureIdentity;
use crate::store::azure::{
    AzureQueue, Credential, ManagedId, Principal, PrincipalProof, QueueSettings, TrustedRoots,
    credential, parse_connection_string,
};
use crate::store::contract::Store;
use crate::store::destinations::Destinations;
use crate::store::queue::Queue;
use crate::telemetry::insights::connection::{
    AUTHENTICATION, CONNECTION, authentication, connection,
};
use crate::telemetry::insights::{Insights, Receiver, Requests, Settings, endpoint};
use crate::transfer::settings::Limits;

pub use super::stores::{place, place_of_state, stores};
pub use super::unusable::Unusable;

/// What most commands begin with.
pub struct OpenedConfig {
    /// The configuration, with only the sources that were asked for.
    pub config: Config,
    /// Its store; nothing was asked of it yet.
    pub store: Arc<dyn Store>,
    /// Those of sources that name another destination.
    pub destinations: Destinations,
    /// Knows every secret of the configuration.
    pub redactor: Redactor,
}

/// Reads the configuration that `configured` names, and opens its store.
pub fn open(configured: &Configured, environment: &Environment) -> Result<OpenedConfig, Unusable> {
    let config = config(configured, environment)?;
    let (store, destinations) = stores(&config)?;
    Ok(OpenedConfig { redactor: redactor(&config), store, destinations, config })
}

/// What is wrong with a configuration: a line for each error, as safe as [`chain`] makes one.
fn in_lines(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::Setting(errors) => {
            let text = errors.to_string();
            let lines: Vec<String> = text.lines().map(|line| printable(line.as_bytes())).collect();
            lines.join("\n")
        }
        other => chain(other),
    }
}

/// The configuration that `configured` names, with only the sources that it names.
pub fn config(configured: &Configured, environment: &Environment) -> Result<Config, Unusable> {
    let mut config = config::load(&configured.config, environment).map_err(|error| {
        let hint = match &error {
            config::ConfigError::Read(..) => {
                "\nhint: `--config FILE` or BLOBFERRY_CONFIG names \
                another file; `blobferry demo` needs none"
            }
            _ => "",
        };
        Unusable(format!("{}{hint}", in_lines(&error)))
    })?;
    let unknown = configured
        .sources
        .iter()
        .find(|name| config.sources.iter().all(|source| source.name != **name));
    if let Some(name) = unknown {
        return Err(Unusable(no_such_source(name, &config)));
    }
    if !configured.sources.is_empty() {
        config.sources.retain(|source| configured.sources.contains(&source.name));
    }
    Ok(config)
}

/// So many names are shown to somebody who has mistaken one.
const NAMES: usize = 20;

fn no_such_source(name: &str, config: &Config) -> String {
    let names: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
    let shown = crate::model::printable(name.as_bytes());
    let hint = match crate::settings::closest(name, &names) {
        Some(near) if names.len() > NAMES => format!("did you mean `{near}`?"),
        _ if name.contains(['*', '?']) => {
            "names are given whole, one `--source` each; `--source` takes no patterns".to_owned()
        }
        _ => {
            let more = match names.len().saturating_sub(NAMES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let first = &names[..names.len().min(NAMES)];
            format!("the configuration holds {}{more}", crate::settings::listed(first))
        }
    };
    format!("--source {shown}: there is no such source; {hint}")
}

/// A source that is off is not run because somebody names it.
pub fn must_be_on(configured: &Configured, config: &Config) -> Result<(), Unusable> {
    let is_off = |source: &&crate::transfer::settings::Source| {
        !source.enabled && configured.sources.contains(&source.name)
    };
    match config.sources.iter().find(is_off) {
        Some(source) => Err(Unusable(format!(
            "--source {}: it is off (`enabled = false`); `BLOBFERRY__SOURCE__{}__ENABLED=true` \
            switches it on for once",
            source.name,
            crate::config::overrides::in_variables(&source.name).to_ascii_uppercase()
        ))),
        None => Ok(()),
    }
}

/// Why a run could not work with the destination's credential, if the credential says so itself.
pub fn lacking(section: &str, destination: &Destination) -> Option<String> {
    let Destination::Azure { account, .. } = destination else { return None };
    let (setting, credential) = match account {
        Account::ConnectionString(text) => {
            ("connection_string", parse_connection_string(text).ok()?.credential)
        }
        Account::Sas { sas, .. } => ("sas", Credential::Sas(sas.clone())),
        Account::Identity { .. } => return None,
    };
    let lacking = crate::store::azure::lacking(&credential)?;
    Some(format!(
        "`{section}.{setting}`: the shared access signature cannot be used for runs: {lacking}"
    ))
}

/// A destination whose credential says itself that no run can work with it is refused before
/// anything is asked of it.
pub fn must_allow_runs(config: &Config) -> Result<(), Unusable> {
    // Where state has a place of its own, users' blobs take fewer rights than it does.
    let lacking = match &config.state {
        Some(state) => lacking("state", state),
        None => lacking("destination", &config.destination),
    };
    lacking.map_or(Ok(()), |problem| {
        Err(Unusable(format!("{problem}\nhint: make one with the permissions rwdlac")))
    })
}

/// Where the work queue is: what the app setting tells that `dispatch.connection` names, in the
/// forms that the Functions host takes too.
pub fn queue_settings(
    config: &Config,
    environment: &Environment,
) -> Result<QueueSettings, Unusable> {
    let setting = &config.dispatch.connection;
    let given = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let part = |part: &str| {
        given(&format!("{setting}__{part}")).or_else(|| given(&format!("{setting}:{part}")))
    };
    let (api_version, trust) = match &config.destination {
        Destination::Azure { api_version, trust, .. } => (api_version.clone(), trust.clone()),
        Destination::Folder(_) => (None, TrustedRoots::default()),
    };
    let name = config.dispatch.queue.clone();
    if let Some(text) = given(setting) {
        let told = |problem: String| {
            Unusable(format!("the app setting {setting}, a connection string, {problem}"))
        };
        let connection = parse_connection_string(&Secret::new(text)).map_err(told)?;
        let service = connection
            .queue
            .ok_or_else(|| told("names no queue service; add `QueueEndpoint`".into()))?;
        return Ok(QueueSettings {
            service,
            name,
            credential: connection.credential,
            api_version,
            trust,
        });
    }
    let of_blobs = || {
        part("blobServiceUri")
            .and_then(|uri| uri.contains(".blob.").then(|| uri.replacen(".blob.", ".queue.", 1)))
    };
    let of_account =
        || part("accountName").map(|account| format!("https://{account}.queue.core.windows.net"));
    // Other clouds have other domains: the URL of the blob service tells which, the account's name
    // does not.
    let service = part("queueServiceUri").cloned().or_else(of_blobs).or_else(of_account);
    let Some(service) = service else {
        return Err(Unusable(format!(
            "work goes by the queue `{name}`, and no app setting tells where it is: {setting} (a \
            connection string), {setting}__queueServiceUri or {setting}__accountName\nhint: \
            `dispatch.mode = \"inline\"` does without a queue"
        )));
    };
    let service = Url::parse(&service)
        .map_err(|error| Unusable(format!("{setting}__queueServiceUri is no URL: {error}")))?;
    let client_id = part("clientId").or_else(|| given("AZURE_CLIENT_ID")).cloned();
    let identity = AzureIdentity::Managed { id: client_id.map(ManagedId::Client) };
    let credential = credential(&identity, &trust)
        .map_err(|error| Unusable(format!("{setting}__clientId: {error}")))?;
    Ok(QueueSettings {
        service,
        name,
        credential: Credential::Token(credential),
        api_version,
        trust,
    })
}

/// The work queue. Does no I/O.
pub fn queue(settings: &QueueSettings) -> Result<Arc<dyn Queue>, Unusable> {
    let queue = AzureQueue::new(settings)
        .map_err(|error| Unusable(format!("{}\nhint: {}", chain(&error), error.hint())))?;
    Ok(Arc::new(queue))
}

/// The limits on this machine.
pub fn limits(settings: &LimitSettings) -> Limits {
    let folder = settings.temp_folder();
    let free = fs4::available_space(existing(&folder)).unwrap_or(0);
    settings.limits(free)
}

/// The nearest folder above that is there: free space is asked of it.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."))
}

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

/// Everything that no output may repeat.
pub fn redactor(config: &Config) -> Redactor {
    let mut secrets: Vec<Secret> = config.secrets.clone();
    for place in config.places() {
        let Destination::Azure { account, .. } = place else { continue };
        match account {
            Account::ConnectionString(text) => {
                let parts = text.reveal().split(';').filter_map(|pair| pair.split_once('='));
                let parts = parts.filter(|(key, _)| {
                    matches!(
                        key.trim().to_ascii_lowercase().as_str(),
                        "accountkey" | "sharedaccesssignature"
                    )
                });
                secrets.extend(parts.map(|(_, value)| Secret::new(value.trim())));
                secrets.push(text.clone());
            }
            Account::Sas { sas, .. } => secrets.extend(signatures(sas)),
            Account::Identity {
                identity:
                    AzureIdentity::ServicePrincipal(Principal {
                        proof: PrincipalProof::Secret(secret),
                        ..
                    }),
                ..
            } => secrets.push(secret.clone()),
            Account::Identity { .. } => {}
        }
    }
    Redactor::new(&secrets)
}

/// The whole SAS and the part of it that counts.
fn signatures(sas: &Secret) -> Vec<Secret> {
    let signature =
        sas.reveal().split('&').find_map(|pair| pair.strip_prefix("sig=")).map(Secret::new);
    [Some(sas.clone()), signature].into_iter().flatten().collect()
}
