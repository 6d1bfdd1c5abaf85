//! How many logins a server lets in at once, found by trying: only when a person asks for it.

use std::time::Duration;

use super::lines::{CheckLine, CheckLines};
use crate::model::chain;
use crate::model::failure::{Class, Failure};
use crate::source::contract::Session;
use crate::transfer::settings::Source;

/// No login is waited for any longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Logs in until `most` logins are open with `first`, or one is refused; then leaves with all of
/// them. Returns how many the server let in at once.
pub async fn probe(
    lines: &mut CheckLines,
    source: &Source,
    first: Box<dyn Session>,
    most: usize,
) -> usize {
    let mut sessions = vec![first];
    let refused = loop {
        if sessions.len() >= most {
            break None;
        }
        match tokio::time::timeout(PATIENCE, source.endpoint.open()).await {
            Ok(Ok(session)) => sessions.push(session),
            Ok(Err(error)) => break Some((error.class(), chain(&error))),
            Err(_) => {
                break Some((Class::Stalled, format!("no answer within {} s", PATIENCE.as_secs())));
            }
        }
    };
    let open = sessions.len();
    for session in sessions {
        session.close().await;
    }
    lines.tell(match refused {
        None => CheckLine::ok(
            "connections",
            format!("the server lets {open} in at once; no more were tried"),
        ),
        Some((class, why)) => {
            let text =
                format!("the server lets {open} in at once; one more was refused: [{class}] {why}");
            if source.connections > open {
                CheckLine::note("connections", text)
                    .hint(format!("set `connections = {open}`, or less if others log in there too"))
            } else {
                CheckLine::ok("connections", text)
            }
        }
    });
    open
}
