//! The settings of Application Insights, as Azure writes them into an app's environment.

use url::{Host, Url};

/// The variable that turns the export on.
pub const CONNECTION: &str = "APPLICATIONINSIGHTS_CONNECTION_STRING";
/// The variable that asks for tokens of Entra ID instead of the bare key.
pub const AUTHENTICATION: &str = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING";

/// Where telemetry goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConnection {
    /// The connection string in the form that the exporter reads: it refuses empty parts, and
    /// values with `=`.
    pub text: String,
    /// Whether the endpoint is on this machine and speaks plain HTTP. The exporter makes `https` of
    /// it.
    pub plain: bool,
}

/// Reads a connection string; `Ok(None)` if it is empty. An `Err` says what is wrong with it, and
/// never repeats it.
pub fn connection(text: &str) -> Result<Option<TelemetryConnection>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let parts = parts(text)?;
    let part = |name: &str| {
        parts
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| *value)
            .filter(|value| !value.is_empty())
    };
    let key = part("instrumentationkey").ok_or("it holds no `InstrumentationKey`")?;
    if key.len() > 40 || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err("its `InstrumentationKey` is none".into());
    }
    if part("authorization")
        .is_some_and(|authorization| !authorization.eq_ignore_ascii_case("ikey"))
    {
        return Err("its `Authorization` is not `ikey`".into());
    }
    let mut text = format!("InstrumentationKey={key}");
    let mut plain = false;
    match (part("ingestionendpoint"), part("endpointsuffix")) {
        (Some(endpoint), _) => {
            let endpoint = Url::parse(endpoint)
                .map_err(|error| format!("its `IngestionEndpoint` is no URL: {error}"))?;
            plain = is_plain(&endpoint)?;
            let host = endpoint.host_str().unwrap_or_default();
            let port = endpoint.port().map(|port| format!(":{port}")).unwrap_or_default();
            text += &format!(
                ";IngestionEndpoint={}://{host}{port}{}",
                endpoint.scheme(),
                endpoint.path()
            );
        }
        (None, Some(suffix)) => {
            let location = part("location")
                .map(|location| format!(";Location={location}"))
                .unwrap_or_default();
            text += &format!("{location};EndpointSuffix={suffix}");
        }
        (None, None) => {}
    }
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("it holds blanks".into());
    }
    Ok(Some(TelemetryConnection { text, plain }))
}

/// Telemetry is nobody else's business, so it goes over TLS; only on this machine it need not.
fn is_plain(endpoint: &Url) -> Result<bool, String> {
    match endpoint.scheme() {
        "https" => Ok(false),
        "http" if is_here(endpoint) => Ok(true),
        _ => Err("its `IngestionEndpoint` is not `https://…` (`http://` is for this machine only)"
            .into()),
    }
}

/// Whether `endpoint` is on this machine.
pub(crate) fn is_here(endpoint: &Url) -> bool {
    match endpoint.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Who sends telemetry, where the key alone is not enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authentication {
    /// Client id of a user-assigned identity, if one is named.
    pub client_id: Option<String>,
}

/// Reads `Authorization=AAD[;ClientId=…]`, in any order; `Ok(None)` if it is empty.
pub fn authentication(text: &str) -> Result<Option<Authentication>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let parts = parts(text)?;
    let part = |name: &str| {
        parts
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| *value)
            .filter(|value| !value.is_empty())
    };
    match part("authorization") {
        Some(kind) if kind.eq_ignore_ascii_case("aad") => {
            Ok(Some(Authentication { client_id: part("clientid").map(str::to_owned) }))
        }
        Some(_) => Err("its `Authorization` is not `AAD`".into()),
        None => Err("it holds no `Authorization=AAD`".into()),
    }
}

fn parts(text: &str) -> Result<Vec<(String, &str)>, String> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part| {
        let (key, value): (&str, &str) =
            str::split_once(part, '=').ok_or("one of its parts is not `Name=value`")?;
        Ok((key.trim().to_ascii_lowercase(), value.trim()))
    };
    parts.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "00000000-1111-2222-3333-444444444444";

    fn text(more: &str) -> Result<(String, bool), String> {
        let connection =
            connection(&format!("InstrumentationKey={KEY}{more}"))?.expect("it is not empty");
        Ok((connection.text.replace(KEY, "K"), connection.plain))
    }

    #[test]
    fn what_azure_writes_is_read() {
        let azure = ";IngestionEndpoint=https://westeurope-5.in.applicationinsights.azure.com/;\
            LiveEndpoint=https://westeurope.livediagnostics.monitor.azure.com/;ApplicationId=5";
        let read = "InstrumentationKey=K;\
            IngestionEndpoint=https://westeurope-5.in.applicationinsights.azure.com/";
        assert_eq!(text(azure), Ok((read.to_owned(), false)));
        assert_eq!(text(";"), Ok(("InstrumentationKey=K".to_owned(), false)));
        assert_eq!(
            text(" ; ;Authorization=ikey;Other=a=b;"),
            Ok(("InstrumentationKey=K".to_owned(), false))
        );
        assert_eq!(
            text(";EndpointSuffix=ai.contoso.com;Location=here"),
            Ok(("InstrumentationKey=K;Location=here;EndpointSuffix=ai.contoso.com".into(), false))
        );
        assert_eq!((connection(""), connection("  ")), (Ok(None), Ok(None)));
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for here in ["http://127.0.0.1:8080", "http://localhost:8080/", "http://[::1]:8080/"] {
            assert!(
                text(&format!(";IngestionEndpoint={here}")).is_ok_and(|(_, plain)| plain),
                "{here}"
            );
        }
        for elsewhere in [
            "http://127.0.0.1.example.org/",
            "http://localhost.example.org",
            "http://10.0.0.1",
            "ftp://127.0.0.1",
            "//x",
            "http://",
        ] {
            assert!(text(&format!(";IngestionEndpoint={elsewhere}")).is_err(), "{elsewhere}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_repeating_it() {
        let wrong = [
            "canary",
            "IngestionEndpoint=https://canary/",
            "InstrumentationKey=",
            "InstrumentationKey=canary pa55",
        ];
        for wrong in wrong
            .into_iter()
            .chain(["InstrumentationKey=canary;Authorization=aad", "InstrumentationKey=ü-canary"])
        {
            let problem = connection(wrong).expect_err(wrong);
            assert!(!problem.contains("canary"), "{problem}");
        }
    }

    #[test]
    fn the_authentication_string() {
        let client = |id: &str| Ok(Some(Authentication { client_id: Some(id.into()) }));
        assert_eq!(authentication("Authorization=AAD"), Ok(Some(Authentication::default())));
        assert_eq!(authentication("ClientId=1-2;Authorization=AAD"), client("1-2"));
        assert_eq!(authentication("authorization=aad;clientid=1-2;"), client("1-2"));
        assert_eq!(authentication(" "), Ok(None));
        assert!(
            authentication("ClientId=1-2").is_err()
                && authentication("Authorization=ikey").is_err()
                && authentication("AAD").is_err()
        );
    }
}
