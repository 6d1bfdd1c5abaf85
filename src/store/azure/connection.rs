//! Connection strings of storage accounts, taken apart into endpoints and a credential.

use std::collections::BTreeMap;

use url::Url;

use super::settings::Credential;
use crate::model::Secret;

/// The account of every emulator; its key is public.
/// Source: "Use the Azurite emulator for local Azure Storage development".
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Where an account's services are, and the credential for them.
#[derive(Clone, Debug)]
pub struct AzureConnection {
    /// The blob service.
    pub blob: Url,
    /// The queue service; `None` if the string names only blob endpoints.
    pub queue: Option<Url>,
    /// What to authenticate with.
    pub credential: Credential,
}

/// Takes a connection string apart. No error text repeats any of it: it holds a key.
pub fn parse_connection_string(text: &Secret) -> Result<AzureConnection, String> {
    let pairs = pairs(text.reveal())?;
    if pairs.get("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return emulator(pairs.get("developmentstorageproxyuri").copied());
    }
    let credential = credential(&pairs)?;
    let blob = endpoint(&pairs, "blob")?.ok_or(
        "names neither `AccountName` nor `BlobEndpoint`; copy it \
            from the account's page \"Access keys\", whole",
    )?;
    Ok(AzureConnection { blob, queue: endpoint(&pairs, "queue")?, credential })
}

fn pairs(text: &str) -> Result<BTreeMap<String, &str>, String> {
    if text.trim().is_empty() {
        return Err("is empty".into());
    }
    let mut pairs = BTreeMap::new();
    for part in text.trim().split(';').map(str::trim).filter(|part| !part.is_empty()) {
        // Keys and signatures hold `=` themselves: only the first one parts name and value.
        let (name, value) = part
            .split_once('=')
            .ok_or("has a part without `=`; the form is `Name=value;Name=value`")?;
        if pairs.insert(name.trim().to_ascii_lowercase(), value.trim()).is_some() {
            return Err("names a part twice".into());
        }
    }
    Ok(pairs)
}

fn emulator(proxy: Option<&str>) -> Result<AzureConnection, String> {
    let base = proxy.unwrap_or("http://127.0.0.1").trim_end_matches('/');
    let at = |port: u16| {
        service_url(&format!("{base}:{port}/{EMULATOR_ACCOUNT}"), "DevelopmentStorageProxyUri")
    };
    let credential =
        Credential::SharedKey { account: EMULATOR_ACCOUNT.into(), key: Secret::new(EMULATOR_KEY) };
    Ok(AzureConnection { blob: at(10_000)?, queue: Some(at(10_001)?), credential })
}

fn credential(pairs: &BTreeMap<String, &str>) -> Result<Credential, String> {
    let given = |name: &str| pairs.get(name).copied().filter(|value| !value.is_empty());
    match (given("accountkey"), given("sharedaccesssignature")) {
        (Some(_), Some(_)) => {
            Err("holds both `AccountKey` and `SharedAccessSignature`; keep one".into())
        }
        (Some(key), None) => {
            let account = given("accountname").ok_or("has an `AccountKey` but no `AccountName`")?;
            if base64::Engine::decode(&base64::engine::general_purpose::STANDARD, key).is_err() {
                return Err("has an `AccountKey` that is not base64; copy it again, whole".into());
            }
            Ok(Credential::SharedKey { account: account.to_owned(), key: Secret::new(key) })
        }
        (None, Some(sas)) => Ok(Credential::Sas(Secret::new(sas.trim_start_matches('?')))),
        (None, None) => Err("holds neither `AccountKey` nor `SharedAccessSignature`".into()),
    }
}

fn endpoint(pairs: &BTreeMap<String, &str>, service: &str) -> Result<Option<Url>, String> {
    let explicit = if service == "blob" { "BlobEndpoint" } else { "QueueEndpoint" };
    if let Some(url) = pairs.get(&explicit.to_ascii_lowercase()).filter(|url| !url.is_empty()) {
        return service_url(url, explicit).map(Some);
    }
    let Some(account) = pairs.get("accountname").filter(|account| !account.is_empty()) else {
        return Ok(None);
    };
    let scheme = pairs.get("defaultendpointsprotocol").copied().unwrap_or("https");
    let suffix = pairs.get("endpointsuffix").copied().unwrap_or("core.windows.net");
    service_url(&format!("{scheme}://{account}.{service}.{suffix}"), "AccountName").map(Some)
}

/// A service's URL without a trailing slash or a query: a slash left in place would make
/// `//container`.
fn service_url(text: &str, name: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|_| format!("has a `{name}` that makes no URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("has a `{name}` that makes no http or https URL"));
    }
    if url.query().is_some() || url.password().is_some() {
        return Err(format!(
            "has a `{name}` with a query or a password in it; a SAS belongs into \
            `SharedAccessSignature`"
        ));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        match parse_connection_string(&Secret::new(text)) {
            Err(why) => why,
            Ok(AzureConnection { blob, queue, credential }) => {
                let with = match credential {
                    Credential::SharedKey { account, key } => {
                        format!("{account} {}", key.reveal().len())
                    }
                    Credential::Sas(sas) => format!("sas {}", sas.reveal()),
                    Credential::Token(_) => "token".into(),
                };
                format!("{blob} {} {with}", queue.map(String::from).unwrap_or_default())
            }
        }
    }

    #[test]
    fn every_shape_is_read() {
        assert_eq!(
            check(
                "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=Zm9v;\
                EndpointSuffix=core.windows.net"
            ),
            "https://acme.blob.core.windows.net/ https://acme.queue.core.windows.net/ acme 4"
        );
        assert_eq!(
            check("UseDevelopmentStorage=true"),
            "http://127.0.0.1:10000/devstoreaccount1 http://127.0.0.1:10001/devstoreaccount1 \
            devstoreaccount1 88"
        );
        assert_eq!(
            check("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite/;"),
            "http://azurite:10000/devstoreaccount1 http://azurite:10001/devstoreaccount1 \
            devstoreaccount1 88"
        );
        assert_eq!(
            check(
                "BlobEndpoint=https://acme.blob.core.windows.net/;\
                SharedAccessSignature=?sv=2021-06-08&sig=a%3D"
            ),
            "https://acme.blob.core.windows.net/  sas sv=2021-06-08&sig=a%3D"
        );
        assert_eq!(
            check(" accountname=dev; accountkey=Zm9vYg== ;blobendpoint=http://127.0.0.1:1/dev/ "),
            "http://127.0.0.1:1/dev https://dev.queue.core.windows.net/ dev 8"
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_the_string() {
        for bad in [
            "",
            "canary",
            "AccountName=canary",
            "AccountKey=canary",
            "AccountName=canary;AccountKey=not base64!",
            "BlobEndpoint=canary;SharedAccessSignature=canary",
            "AccountName=a;AccountName=canary",
            "BlobEndpoint=https://h/?sig=canary;SharedAccessSignature=canary",
            "BlobEndpoint=ftp://canary;SharedAccessSignature=canary",
        ] {
            let why = parse_connection_string(&Secret::new(bad)).map(|_| ()).expect_err(bad);
            assert!(!why.contains("canary") && !why.contains("base64!"), "{why}");
        }
    }
}
