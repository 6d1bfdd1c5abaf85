//! The work queue that a configuration and the app settings name.

use std::sync::Arc;

use url::Url;

use super::unusable::Unusable;
use crate::config::text::Environment;
use crate::config::{Config, Destination};
use crate::model::failure::Failure;
use crate::model::{Secret, chain};
use crate::store::azure::{
    AzureIdentity, AzureQueue, Credential, ManagedId, QueueSettings, TrustedRoots, credential,
    parse_connection_string,
};
use crate::store::queue::Queue;

/// Where the work queue is: what the app setting tells that `dispatch.connection` names, in the
/// forms that the Functions host takes too.
pub(crate) fn queue_settings(
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
pub(crate) fn queue(settings: &QueueSettings) -> Result<Arc<dyn Queue>, Unusable> {
    let queue = AzureQueue::new(settings)
        .map_err(|error| Unusable(format!("{}\nhint: {}", chain(&error), error.hint())))?;
    Ok(Arc::new(queue))
}
