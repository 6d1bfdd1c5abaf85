//! What an answer of the service means for us; `refusals.rs` has its codes.

use std::error::Error as _;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::RawResponse;
use azure_core::http::headers::{HeaderName, Headers};
use time::OffsetDateTime;

use super::refusals::{self, RetryRule, StoreRefusal};
use crate::store::contract::{Condition, StoreError, StoreKind};

const SKEW: Duration = Duration::from_secs(5 * 60);
/// Storage refuses requests that are signed by a key at a time so far from its own ("Authorize with
/// Shared Key", its section on the Date header).
const MOST_SKEW: Duration = Duration::from_secs(15 * 60);

/// What to do where the clock alone explains the refusal: a key that is copied anew is refused as
/// well.
const SET_CLOCK: &str = "set this machine's clock right, and keep it so (NTP): storage refuses \
                         requests whose time is a quarter of an hour off its own";

/// What to do where something on the way shows a certificate of its own.
const INTERCEPTED: &str = "the certificate that came is of an authority that this machine does not \
                           trust, as where a firewall or proxy opens TLS: name that authority in \
                           `destination.ca_file`, or in the environment's SSL_CERT_FILE";

/// Maps an error of the SDK. No text of it holds a URL with a query, a key or a signature.
pub fn fail(op: &'static str, name: &str, address: &str, error: &azure_core::Error) -> StoreError {
    fail_under(op, name, address, &Condition::Always, error)
}

/// As [`fail`], of a write under `condition`. Where the name was to be free, a refusal that only a
/// blob in place can meet says that it is not: the caller has to look. What it is otherwise,
/// [`StoreError::into_no_race`] tells.
pub(crate) fn fail_under(
    op: &'static str,
    name: &str,
    address: &str,
    condition: &Condition,
    error: &azure_core::Error,
) -> StoreError {
    fail_by(&[], op, name, address, condition, error)
}

/// As [`fail_under`], where refusals that stand in `own` mean what they mean there.
pub(super) fn fail_by(
    own: &[StoreRefusal],
    op: &'static str,
    name: &str,
    address: &str,
    condition: &Condition,
    error: &azure_core::Error,
) -> StoreError {
    match error.kind() {
        ErrorKind::HttpResponse { status, error_code, raw_response } => {
            let response = raw_response.as_deref();
            // Where no code was sent, the SDK puts the status in its place.
            let code = error_code
                .as_deref()
                .filter(|code| !code.bytes().all(|b| b.is_ascii_digit()))
                .unwrap_or_default();
            let status = u16::from(*status);
            let refusal = refusals::of(own, status, code);
            let wait = response.and_then(|response| asked_to_wait(response.headers()));
            let error = StoreError::new(
                op,
                name,
                address,
                refusal.kind,
                refusal_text(status, code, &refusal, response),
            )
            .after(wait)
            .with_code(refusal.code)
            .with_hint(if is_for_the_clock(code, response) {
                SET_CLOCK
            } else {
                refusal.hint
            });
            let error = if refusal.says_taken && *condition == Condition::IfAbsent {
                error.into_race()
            } else {
                error
            };
            // Of a time-out or an error within the service, nobody knows.
            if code == "ServerBusy" { error.without_effect() } else { error }
        }
        ErrorKind::Connection | ErrorKind::Io if is_untrusted(error) => {
            StoreError::new(op, name, address, StoreKind::Untrusted, causes(error))
                .with_hint(INTERCEPTED)
        }
        ErrorKind::Connection | ErrorKind::Io => {
            let causes = causes(error);
            let hint = hint_of_lost(&causes);
            StoreError::new(op, name, address, StoreKind::Unavailable, causes).with_hint(hint)
        }
        // Not what the service writes: a proxy's page, or an answer cut off.
        ErrorKind::DataConversion => StoreError::new(
            op,
            name,
            address,
            StoreKind::Unavailable,
            format!("the answer makes no sense: {}", causes(error)),
        ),
        ErrorKind::Credential if is_untrusted(error) => {
            let text = format!("no token for storage: {}", causes(error));
            StoreError::new(op, name, address, StoreKind::Untrusted, text).with_hint(INTERCEPTED)
        }
        ErrorKind::Credential => {
            let kind = if passing(error) { StoreKind::Unavailable } else { StoreKind::Denied };
            let text = format!("no token for storage: {}", causes(error));
            StoreError::new(op, name, address, kind, text).with_hint(to_check_of_token(error))
        }
        _ => StoreError::new(op, name, address, StoreKind::Rejected, causes(error)),
    }
}

/// What a refusal is told as: status, code, the store's own words.
fn refusal_text(
    status: u16,
    code: &str,
    refusal: &StoreRefusal,
    response: Option<&RawResponse>,
) -> String {
    let headers = response.map(RawResponse::headers);
    let header = |name: &'static str| {
        headers.and_then(|headers| headers.get_optional_str(&HeaderName::from_static(name)))
    };
    let mut text = if code.is_empty() {
        format!(
            "status {status} without a storage error code, so not from storage itself: is a proxy \
            in between, is the endpoint right?"
        )
    } else {
        format!("{code} ({status})")
    };
    if let Some(message) =
        response.and_then(|response| message_in(response.body())).filter(|_| !code.is_empty())
    {
        text.push_str(&format!(": {message}"));
    }
    let detail = response.and_then(|response| detail_in(response.body()));
    if let Some(detail) = detail.as_ref().filter(|_| !code.is_empty()) {
        text.push_str(&format!(" {detail}"));
    }
    let skew = headers.filter(|_| refusal.kind == StoreKind::Denied).and_then(time_of);
    let skew = skew.and_then(skewed);
    if let Some(more) = skew
        .or_else(|| Some(refusal.text.to_owned()).filter(|text| !text.is_empty()))
        .filter(|more| detail.is_none() || more != refusal.text)
    {
        text.push_str(&format!("; {more}"));
    }
    if refusal.again == RetryRule::Later {
        text.push_str("; a later run tries again");
    }
    if let Some(request) = header("x-ms-request-id") {
        text.push_str(&format!(" (request {request})"));
    }
    text
}

/// The first line of `<Message>`: what follows are request id and time.
fn message_in(body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let (_, rest) = body.split_once("<Message>")?;
    let message = rest.split(['\n', '<']).next()?.trim();
    (!message.is_empty()).then(|| message.chars().take(300).collect())
}

/// The first sentence of `<AuthenticationErrorDetail>`: it says which of many reasons it was. What
/// was signed, which follows, helps nobody.
fn detail_in(body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let (_, rest) = body.split_once("<AuthenticationErrorDetail>")?;
    let detail = rest.split(['\n', '<']).next()?;
    let detail = detail.split("String to sign").next()?.split("The MAC signature").next()?.trim();
    (!detail.is_empty()).then(|| detail.chars().take(300).collect())
}

const PROXY_LOGIN: &str = "the proxy wants a login: write it into HTTPS_PROXY \
    (`http://user:password@proxy:8080`), or leave storage out of the proxy with NO_PROXY";
const PROXY: &str = "the way to storage leads by the proxy that HTTPS_PROXY names, which does not \
    let it through: see that the proxy is right, or leave storage out of it with NO_PROXY";
const NO_NAME: &str = "no name service knows storage's host: see that the account's name or the \
    endpoint is spelled right, and that this machine's name service works";
const NOBODY: &str = "nobody listens there: see that the endpoint and its port are right, and that \
    no firewall is between";

/// What to do about a connection that was not made, by what its causes say; empty: what its class
/// says. The client tells these causes in words only.
fn hint_of_lost(causes: &str) -> &'static str {
    let says = |words: &str| causes.contains(words);
    match () {
        () if says("proxy authorization required") => PROXY_LOGIN,
        () if says("tunnel error") => PROXY,
        () if says("dns error") => NO_NAME,
        () if says("Connection refused") => NOBODY,
        () => "",
    }
}

/// The service's time.
fn time_of(headers: &Headers) -> Option<OffsetDateTime> {
    let date = headers.get_optional_str(&HeaderName::from_static("date"))?;
    azure_core::time::parse_rfc7231(date).ok()
}

/// Whether this machine's clock is the reason for a refusal. Of a shared access signature the
/// service compares the times that it names, and not that of the request.
fn is_for_the_clock(code: &str, response: Option<&RawResponse>) -> bool {
    let theirs = response.and_then(|response| time_of(response.headers()));
    let is_skewed = theirs
        .is_some_and(|theirs| (OffsetDateTime::now_utc() - theirs).unsigned_abs() > MOST_SKEW);
    let detail = response.and_then(|response| detail_in(response.body()));
    let is_of_sas = detail.is_some_and(|detail| detail.contains("specified time frame"));
    code == "AuthenticationFailed" && is_skewed && !is_of_sas
}

fn skewed(theirs: OffsetDateTime) -> Option<String> {
    let ours = OffsetDateTime::now_utc();
    let skew = (ours - theirs).unsigned_abs();
    let way = if ours > theirs { "ahead of" } else { "behind" };
    (skew > SKEW).then(|| {
        format!("this machine's clock is {} s {way} the service's: set it right", skew.as_secs())
    })
}

pub(super) fn asked_to_wait(headers: &Headers) -> Option<Duration> {
    let header = |name: &'static str| headers.get_optional_str(&HeaderName::from_static(name));
    let millis = header("x-ms-retry-after-ms")
        .or_else(|| header("retry-after-ms"))
        .and_then(|text| text.trim().parse().ok());
    millis.map(Duration::from_millis).or_else(|| {
        let text = header("retry-after")?.trim();
        let until = || {
            azure_core::time::parse_rfc7231(text)
                .ok()
                .map(|at| (at - OffsetDateTime::now_utc()).try_into().unwrap_or_default())
        };
        text.parse().ok().map(Duration::from_secs).or_else(until)
    })
}

/// What a question for a token met, as far as it got: no connection, an answer, or what makes no
/// sense as one.
fn met(error: &azure_core::Error) -> Option<&ErrorKind> {
    use ErrorKind::{Connection, DataConversion, HttpResponse, Io};
    std::iter::successors(error.source(), |cause| (*cause).source())
        .filter_map(|cause| cause.downcast_ref::<azure_core::Error>())
        .map(azure_core::Error::kind)
        .find(|kind| matches!(kind, Connection | Io | DataConversion | HttpResponse { .. }))
}

/// How an error begins of an application, which signs in at a directory: azure_identity puts the
/// credential's name first, as `ClientSecretCredential`, `ClientAssertionCredential`.
const OF_APPLICATIONS: [&str; 2] = ["Client", "WorkloadIdentityCredential"];

/// How the codes of a directory begin. azure_identity cannot read an answer of a directory whose
/// words have an escape in them, and quotes them where it says so.
const OF_DIRECTORY: &str = "AADSTS";

/// What to do where there is no token, by who asked for one and how far that came.
pub(super) fn to_check_of_token(error: &azure_core::Error) -> &'static str {
    let text = error.to_string();
    let signs_in = OF_APPLICATIONS.iter().any(|name| text.starts_with(name));
    match met(error) {
        _ if text.contains("AzureCliCredential") => {
            "install the Azure CLI and run `az login` as the user that runs this; a machine that \
            nobody logs in at needs another `identity`"
        }
        Some(ErrorKind::Connection | ErrorKind::Io) if signs_in => {
            "the place to sign in does not answer: see that this machine reaches \
            login.microsoftonline.com (or what `AZURE_AUTHORITY_HOST` names), if need be by \
            HTTPS_PROXY"
        }
        Some(ErrorKind::Connection | ErrorKind::Io) => {
            "no identity endpoint answers here. A managed identity exists only in Azure, and only \
            where it is switched on; elsewhere set `identity = \"cli\"` after `az login`, or, for \
            storage, a `connection_string`"
        }
        Some(ErrorKind::DataConversion) if !text.contains(OF_DIRECTORY) => {
            "what answers is not the place that gives tokens: is a proxy in between?"
        }
        Some(ErrorKind::HttpResponse { status, .. }) if passes(u16::from(*status)) => {
            "the place that gives tokens is in trouble itself, and the next run asks again; where \
            that goes on, restart the app or see the platform's health"
        }
        Some(_) if signs_in => {
            "the directory does not sign us in, for the reason that its code (AADSTS…) tells: \
            mostly a secret or certificate that has run out, a wrong `tenant` or `client_id`, or \
            a federated credential that names another issuer or subject"
        }
        Some(_) => {
            "the identity endpoint has no token for us: is the identity assigned to this app, is \
            `client_id` right?"
        }
        None => "check `identity` and `client_id`",
    }
}

/// Whether an answer of this status, to a question for a token, may be another one soon. 404 of a
/// virtual machine's endpoint is none of them: the library has asked it for 72 s by then.
fn passes(status: u16) -> bool {
    matches!(status, 408 | 410 | 429 | 500..)
}

/// Whether what kept us from a token may pass by itself. What makes no sense is the page of
/// something in between, unless a directory wrote it or the Azure CLI.
pub(super) fn passing(error: &azure_core::Error) -> bool {
    match met(error) {
        Some(ErrorKind::HttpResponse { status, .. }) => passes(u16::from(*status)),
        Some(ErrorKind::DataConversion) => {
            let text = error.to_string();
            !text.contains(OF_DIRECTORY) && !text.contains("AzureCliCredential")
        }
        met => met.is_some(),
    }
}

/// Whether the other end showed a certificate that is not trusted. It will not show another one
/// soon.
pub(super) fn is_untrusted(error: &azure_core::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if matches!(
            cause.downcast_ref::<rustls::Error>(),
            Some(rustls::Error::InvalidCertificate(_))
        ) {
            return true;
        }
        // An error of the connection keeps that of TLS within, where its own causes do not lead.
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = inner
            .map(|inner| inner as &(dyn std::error::Error + 'static))
            .or_else(|| cause.source());
    }
    false
}

/// The chain of causes. `reqwest` writes whole URLs, a SAS with them: of its errors only the kind
/// is told.
pub(super) fn causes(error: &azure_core::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        let text = match cause.downcast_ref::<reqwest::Error>() {
            Some(error) if error.is_timeout() => "timed out".to_owned(),
            Some(error) if error.is_connect() => "no connection".to_owned(),
            Some(_) => "the request failed".to_owned(),
            None => without_queries(first_lines(&cause.to_string())),
        };
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = cause.source();
    }
    parts.join(": ")
}

/// What the SDK says, without the pages that it recommends to readers of its own errors.
fn first_lines(text: &str) -> &str {
    text.split("\nTo troubleshoot").next().unwrap_or_default().trim_end()
}

/// Belt and braces: whatever looks like the query of a URL is cut out.
fn without_queries(text: &str) -> String {
    text.split(' ')
        .map(|word| {
            if word.contains("sig=") || word.contains("://") {
                word.split('?').next().unwrap_or_default()
            } else {
                word
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, String)], body: &'static str) -> String {
        let mut all = Headers::new();
        for (name, value) in headers {
            all.insert(*name, value.clone());
        }
        let code = body
            .split_once("<Code>")
            .and_then(|(_, rest)| rest.split('<').next())
            .map(str::to_owned);
        let raw_response = Some(Box::new(RawResponse::from_bytes(status.into(), all, body)));
        let error =
            ErrorKind::HttpResponse { status: status.into(), error_code: code, raw_response }
                .into_error();
        let error = fail("writing", "b", "store", &error);
        use crate::model::failure::Failure;
        format!("{:?} {:?} {}", error.kind, error.retry_after(), crate::model::chain(&error))
    }

    #[test]
    fn a_refusal_says_what_to_check() {
        let body = "<?xml?><Error><Code>AuthorizationFailure</Code><Message>Not \
            authorized.\nRequestId:1\nTime:2</Message></Error>";
        let told = answer(403, &[("x-ms-request-id", "42".into())], body);
        assert_eq!(
            told,
            "Denied None writing `b` in store: AuthorizationFailure (403): Not authorized.; check \
             the account's network rules (firewall, private endpoint), the SAS's services and \
             resource types (it needs `ss=b`, `srt=co`), the key (request 42)"
        );
        let skewed = answer(403, &[("date", "Mon, 01 Jan 2001 00:00:00 GMT".into())], body);
        assert!(skewed.contains("ahead of the service's"), "{skewed}");
    }

    #[test]
    fn what_was_wrong_with_a_signature_is_told_in_the_service_s_words() {
        let body = "<Error><Code>AuthenticationFailed</Code><Message>Server failed to \
            authenticate the request.\nRequestId:1</Message><AuthenticationErrorDetail>Signature \
            did not match. String to sign used was account\nrwl\n</AuthenticationErrorDetail>\
            </Error>";
        assert_eq!(
            answer(403, &[], body),
            "Denied None writing `b` in store: AuthenticationFailed (403): Server failed to \
             authenticate the request. Signature did not match."
        );
        let body = "<Error><Code>AuthenticationFailed</Code></Error>";
        assert!(answer(403, &[], body).contains("of a key that was renewed since"));
    }

    #[test]
    fn an_answer_of_something_in_between_accuses_no_credential() {
        let told = answer(403, &[], "<html>blocked</html>");
        assert!(told.contains("not from storage itself"), "{told}");
        assert!(!told.contains("the SAS"), "{told}");
        let hint = |status| refusals::of(&[], status, "").hint;
        assert!(hint(403).contains("web filter") && hint(502).is_empty());
    }

    #[test]
    fn a_connection_that_is_not_made_has_its_own_hint() {
        for (causes, words) in [
            ("no connection: tunnel error: proxy authorization required", "wants a login"),
            ("no connection: tunnel error: tcp connect error: Connection refused", "the proxy"),
            ("no connection: dns error: failed to lookup address", "name service"),
            ("no connection: tcp connect error: Connection refused (os error 111)", "listens"),
        ] {
            assert!(hint_of_lost(causes).contains(words), "{causes}");
        }
        assert_eq!(hint_of_lost("timed out"), "");
    }

    #[test]
    fn a_busy_service_is_given_the_time_it_asks_for() {
        assert!(
            answer(503, &[("retry-after", "7".into())], "").starts_with("Unavailable Some(7s)")
        );
        assert!(
            answer(429, &[("x-ms-retry-after-ms", "1500".into()), ("retry-after", "7".into())], "")
                .starts_with("Unavailable Some(1.5s)")
        );
    }

    #[test]
    fn an_identity_endpoint_that_is_down_may_come_back() {
        let kind_for = |text: &str, inner: ErrorKind| {
            let (kind, text) = (ErrorKind::Credential, text.to_owned());
            let error = azure_core::Error::with_error(kind, inner.into_error(), text);
            fail("writing", "b", "store", &error).kind
        };
        let kind = |status: u16| {
            let (status, error_code, raw_response) = (status.into(), None, None);
            kind_for("", ErrorKind::HttpResponse { status, error_code, raw_response })
        };
        assert_eq!([503, 429, 410, 408].map(kind), [StoreKind::Unavailable; 4]);
        assert_eq!([400, 401, 404].map(kind), [StoreKind::Denied; 3]);
        // A proxy's page in place of a token, and what is none.
        for (text, kind) in [
            ("ClientSecretCredential", StoreKind::Unavailable),
            ("ClientSecretCredential: \"AADSTS7000215: no\"", StoreKind::Denied),
            ("AzureCliCredential", StoreKind::Denied),
        ] {
            assert_eq!(kind_for(text, ErrorKind::DataConversion), kind, "{text}");
        }
    }

    #[test]
    fn queries_are_cut_out() {
        assert_eq!(
            without_queries("sending to http://h/c?sv=1&sig=canary failed"),
            "sending to http://h/c failed"
        );
    }
}
