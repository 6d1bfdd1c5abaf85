//! What an FTP server tells of itself, and how its connections turned out, for people.

use std::net::SocketAddr;
use std::time::Duration;

use time::OffsetDateTime;

use super::certificate;
use super::tls::{Connector, Handshakes};
use crate::model::printable;
use crate::source::finding::{Finding, Tell, text_setting};

/// How many lines of a server's answer to FEAT are kept.
const MOST: usize = 64;
/// How long a line of it, or of a greeting, is shown.
const LONGEST: usize = 120;

/// The lines of an answer to FEAT that name a feature.
pub fn kept(lines: Vec<String>) -> Vec<String> {
    let names = lines.into_iter().filter(|line| !line.is_empty() && !line.starts_with("211"));
    names.take(MOST).map(|line| cut(&line)).collect()
}

fn cut(text: &str) -> String {
    printable(text.trim().as_bytes()).chars().take(LONGEST).collect()
}

/// Tells what connecting to `peer` showed; without a `greeting` it failed, and at most a
/// certificate was seen.
pub fn connected(
    peer: SocketAddr,
    took: Duration,
    tls: Option<&Connector>,
    greeting: Option<&str>,
    tell: Tell<'_>,
) {
    if let Some(greeting) = greeting {
        let greeting = greeting.lines().next().unwrap_or_default();
        tell(
            Finding::new("connect", format!("{peer}, greeted with `{}`", cut(greeting))).took(took),
        );
    }
    let Some(tls) = tls else { return };
    let refused = greeting.is_none();
    for mut found in certificate::findings(&tls.presented(), OffsetDateTime::now_utc()) {
        // One that is trusted anyway needs no pin.
        found.paste = found.paste.filter(|_| refused && tls.refusal().is_some());
        found.setting = found.paste.clone();
        tell(found);
    }
    if let Some(first) = tls.handshakes().first {
        tell(Finding::new("encryption", first));
    }
}

/// What a login as `user` was, `tls` being its encryption, if any.
pub(crate) fn logged_in(user: &str, took: Duration, tls: Option<&Connector>) -> Finding {
    let found =
        Finding::new("login", format!("as `{}`, with password", printable(user.as_bytes())))
            .took(took)
            .setting(text_setting("user", user));
    if tls.is_none() && user != "anonymous" {
        return found.advice(
            "the password and every file go over the line in clear text; ask the \
            server's owner for FTPS or SFTP",
        );
    }
    found
}

/// What is known by the answer to FEAT, by the passive command that works, and by the handshakes so
/// far.
pub fn describe(lines: &[String], passive: &str, handshakes: Option<Handshakes>) -> Vec<Finding> {
    let has = |name: &str| {
        lines.iter().any(|line| {
            line.split([' ', ';']).next().is_some_and(|word| word.eq_ignore_ascii_case(name))
        })
    };
    let word = |name: &str| format!("{name} {}", if has(name) { "yes" } else { "no" });
    let each: Vec<String> =
        ["MLST", "MDTM", "SIZE", "REST", "UTF8"].into_iter().map(word).collect();
    let told = if lines.is_empty() {
        "the server tells none (FEAT)".into()
    } else {
        format!("{}; FEAT: {}", each.join(", "), lines.join(", "))
    };
    let way = match handshakes.map(|handshakes| handshakes.resumed) {
        None => passive.to_owned(),
        Some(None) => format!("{passive}, none was opened yet"),
        Some(Some(true)) => {
            format!("{passive}, encrypted, taking up the TLS session of the control connection")
        }
        Some(Some(false)) => format!("{passive}, encrypted, with a TLS session of its own"),
    };
    vec![Finding::new("features", told), Finding::new("data connection", way)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_told_in_a_line() {
        let lines = kept(
            [
                "211-Features:",
                " MDTM",
                " REST STREAM",
                " MLST size*;type*;",
                " UTF8",
                "",
                "211 End",
            ]
            .map(|line| line.trim().to_owned())
            .to_vec(),
        );
        let told = describe(&lines, "EPSV", None);
        assert_eq!(
            told[0].text,
            "MLST yes, MDTM yes, SIZE no, REST yes, UTF8 yes; FEAT: MDTM, REST STREAM, MLST \
            size*;type*;, UTF8"
        );
        assert_eq!(told[1].text, "EPSV");
        assert_eq!(describe(&[], "PASV", None)[0].text, "the server tells none (FEAT)");
    }

    #[test]
    fn a_password_in_clear_text_is_advised_against() {
        assert!(logged_in("acme", Duration::ZERO, None).advice.is_some());
        assert!(logged_in("anonymous", Duration::ZERO, None).advice.is_none());
    }
}
