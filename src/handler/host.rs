//! What the Functions host's settings mean for us: how long an invocation may take, where our HTTP
//! API is. Pure.

use std::time::Duration;

use serde_json::Value;

use super::envelope::json_of;
use crate::config::text::Environment;
use crate::runtime::platform::Hosting;

/// The environment variable that tells where to listen.
pub const PORT: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
/// The environment variable that tells where `host.json` is.
pub(crate) const APP_ROOT: &str = "FUNCTIONS_APP_ROOT_PATH";

/// The app setting that tells when runs start.
const SCHEDULE: &str = "INGEST_SCHEDULE";
const TIMEOUT: &str = "AzureFunctionsJobHost__functionTimeout";
const ROUTE_PREFIX: &str = "AzureFunctionsJobHost__extensions__http__routePrefix";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// The port to listen on, or what is wrong with it.
pub fn port(environment: &Environment) -> Result<u16, String> {
    let hint = "the Functions host sets it; to try the handler by hand, set it to a free port";
    let Some(text) = environment.get(PORT) else {
        return Err(format!("{PORT} is not set\nhint: {hint}"));
    };
    match text.trim().parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!(
            "{PORT} is \"{}\"; allowed is a port from 1 to 65535\nhint: {hint}",
            crate::model::printable(text.as_bytes())
        )),
    }
}

/// What the host's settings say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// How long an invocation may take; `None`: as long as it likes.
    pub timeout: Option<Duration>,
    /// What paths of HTTP functions begin with: `/api`, or nothing.
    pub prefix: String,
    /// Where this is: an instance in Azure may be taken away once no invocation is under way.
    pub place: Hosting,
    /// When the host calls the timer, as it stands in its setting.
    pub schedule: Option<String>,
    /// What could not be understood.
    pub warnings: Vec<String>,
}

impl Host {
    /// Reads the text of `host.json`, if there is one, and the settings that override it.
    pub fn read(host_json: Option<&[u8]>, environment: &Environment) -> Self {
        let mut warnings = Vec::new();
        let file = host_json.map_or(Ok(Value::Null), json_of).unwrap_or_else(|error| {
            warnings.push(format!("Warning: host.json cannot be read, so defaults hold: {error}"));
            Value::Null
        });
        let setting = |name: &str, pointer: &str| {
            let over = environment.get(name).map(String::as_str);
            over.or_else(|| file.pointer(pointer).and_then(Value::as_str)).map(str::to_owned)
        };
        let timeout = match setting(TIMEOUT, "/functionTimeout") {
            None => Some(DEFAULT_TIMEOUT),
            Some(text) => time_span(&text).unwrap_or_else(|| {
                let shown = crate::model::printable(text.as_bytes());
                warnings.push(format!(
                    "Warning: functionTimeout \"{shown}\" cannot be read, so 30 minutes are kept"
                ));
                Some(DEFAULT_TIMEOUT)
            }),
        };
        let prefix = setting(ROUTE_PREFIX, "/extensions/http/routePrefix")
            .unwrap_or_else(|| "api".to_owned());
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("/{prefix}"),
        };
        let schedule = environment.get(SCHEDULE).filter(|text| !text.trim().is_empty()).cloned();
        Self { timeout, prefix, schedule, place: Hosting::of(environment), warnings }
    }

    /// When an invocation must be done with what.
    pub fn deadline(&self) -> Deadline {
        let Some(timeout) = self.timeout else { return Deadline { stop: None, answer: None } };
        let tenth = timeout / 10;
        let stop =
            tenth.max((timeout / 5).min(Duration::from_secs(60))).min(Duration::from_secs(300));
        let answer = tenth.min(Duration::from_secs(10));
        Deadline { stop: Some(timeout - stop), answer: Some(timeout - answer) }
    }
}

/// Times from the beginning of an invocation. The host kills the process, and all its other work
/// with it, when an invocation is over time, so the run is stopped before: one tenth of the time is
/// kept for files in hand, at least a minute (a fifth, where the whole is less than five), at most
/// five minutes. A run that is not done by then is ended, and the answer given, one tenth or ten
/// seconds before the host would act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// From here on no new file is begun.
    pub stop: Option<Duration>,
    /// From here on the run is ended and the answer given.
    pub answer: Option<Duration>,
}

impl Deadline {
    /// How long something may take that is done before the answer is given, `begun` ago being the
    /// invocation's begin: `most`, or what is left where the host's patience is near. A tenth of
    /// the time, or ten seconds, is between the answer and that; half of it may go to this.
    pub(crate) fn before_answer(&self, begun: Duration, most: Duration) -> Duration {
        let last = self.answer.map(|answer| answer + (answer / 20).min(Duration::from_secs(5)));
        last.map_or(most, |last| most.min(last.saturating_sub(begun)))
    }
}

/// .NET's `[-][d.]hh:mm[:ss[.fff]]`, or days alone. The inner `None` is "unbounded"; the outer,
/// "not readable".
fn time_span(text: &str) -> Option<Option<Duration>> {
    let text = text.trim();
    if text.starts_with('-') {
        return Some(None);
    }
    let parts: Vec<&str> = text.split(':').collect();
    let whole = |text: &str| text.parse::<u32>().ok().map(f64::from);
    let days_and_hours = |text: &str| match text.split_once('.') {
        Some((days, hours)) => Some(whole(days)? * 24.0 + whole(hours)?),
        None => whole(text),
    };
    let seconds = match parts.as_slice() {
        [days] => whole(days)? * 86_400.0,
        [hours, minutes] => days_and_hours(hours)? * 3_600.0 + whole(minutes)? * 60.0,
        [hours, minutes, seconds] => {
            days_and_hours(hours)? * 3_600.0
                + whole(minutes)? * 60.0
                + seconds.parse::<f64>().ok().filter(|s| (0.0..60.0).contains(s))?
        }
        _ => return None,
    };
    // Zero would leave no time to do anything in.
    (seconds > 0.0).then(|| Some(Duration::from_secs_f64(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(json: &str, set: &[(&str, &str)]) -> Host {
        let environment =
            set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Host::read((!json.is_empty()).then_some(json.as_bytes()), &environment)
    }

    #[test]
    fn function_timeout_is_read_from_the_file_and_the_setting_that_overrides_it() {
        let seconds = |json: &str, set: &[(&str, &str)]| {
            host(json, set).timeout.map(|timeout| timeout.as_secs())
        };
        assert_eq!(seconds("", &[]), Some(1800));
        assert_eq!(seconds("{}", &[]), Some(1800));
        assert_eq!(seconds(r#"{"functionTimeout":"01:00:00"}"#, &[]), Some(3600));
        assert_eq!(
            seconds(r#"{"functionTimeout":"01:00:00"}"#, &[(TIMEOUT, "00:05:00")]),
            Some(300)
        );
        assert_eq!(seconds(r#"{"functionTimeout":"-1"}"#, &[]), None);
        assert_eq!(seconds(r#"{"functionTimeout":"-1.00:00:00"}"#, &[]), None);
        assert_eq!(seconds(r#"{"functionTimeout":"1.02:00:00.5"}"#, &[]), Some(26 * 3600));
        for (json, warnings) in [
            (r#"{"functionTimeout":"soon"}"#, 1),
            ("{", 1),
            (r#"{"functionTimeout":"00:00:00"}"#, 1),
            ("{}", 0),
        ] {
            assert_eq!(
                (host(json, &[]).timeout, host(json, &[]).warnings.len()),
                (Some(DEFAULT_TIMEOUT), warnings),
                "{json}"
            );
        }
    }

    #[test]
    fn deadlines_leave_room_for_files_in_hand_and_for_the_answer() {
        let deadline = |timeout: &str| {
            let deadline = host("", &[(TIMEOUT, timeout)]).deadline();
            (deadline.stop.map(|at| at.as_secs_f64()), deadline.answer.map(|at| at.as_secs_f64()))
        };
        assert_eq!(deadline("00:00:05"), (Some(4.0), Some(4.5)));
        assert_eq!(deadline("00:05:00"), (Some(240.0), Some(290.0)));
        assert_eq!(deadline("00:30:00"), (Some(1620.0), Some(1790.0)));
        assert_eq!(deadline("10:00:00"), (Some(35_700.0), Some(35_990.0)));
        assert_eq!(deadline("-1"), (None, None));
    }

    #[test]
    fn what_is_done_before_the_answer_is_never_late_for_the_host() {
        let two = Duration::from_secs(2);
        for timeout in [5, 20, 300, 3_600] {
            let deadline = host(
                "",
                &[(
                    TIMEOUT,
                    &format!("{:02}:{:02}:{:02}", timeout / 3600, timeout / 60 % 60, timeout % 60),
                )],
            )
            .deadline();
            let answer = deadline.answer.expect("it is bounded");
            assert_eq!(deadline.before_answer(Duration::ZERO, two), two);
            let left = deadline.before_answer(answer, two);
            assert!(
                left > Duration::ZERO
                    && left <= two
                    && answer + left < Duration::from_secs(timeout),
                "{timeout}: {left:?}"
            );
            assert_eq!(deadline.before_answer(Duration::from_secs(timeout), two), Duration::ZERO);
        }
        assert_eq!(
            Deadline { stop: None, answer: None }.before_answer(Duration::from_secs(1 << 20), two),
            two
        );
    }

    #[test]
    fn the_port_and_the_prefix() {
        let port = |value: &str| port(&[(PORT.to_owned(), value.to_owned())].into());
        assert_eq!(port("7071"), Ok(7071));
        for bad in ["", "0", "http", "70000", "-1"] {
            assert!(
                port(bad)
                    .is_err_and(|problem| problem.contains(PORT) && problem.contains("1 to 65535")),
                "{bad}"
            );
        }
        assert!(super::port(&Environment::new()).is_err());
        assert_eq!(host("", &[]).prefix, "/api");
        assert_eq!(host(r#"{"extensions":{"http":{"routePrefix":""}}}"#, &[]).prefix, "");
        assert_eq!(host("", &[(ROUTE_PREFIX, "/v1/")]).prefix, "/v1");
        assert!(
            host("", &[(crate::runtime::platform::SITE, "func-x")]).place.in_azure()
                && !host("", &[]).place.in_azure()
        );
    }
}
