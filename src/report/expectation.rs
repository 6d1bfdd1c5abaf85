//! How an expectation of a source stands, as reports, records and the page tell of it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::rules::expect::{Severity, Shortfall, WhyUnmet, WindowState};

/// How an expectation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectationStanding {
    /// Its name.
    pub name: String,
    /// What a missed window means.
    pub severity: Severity,
    /// How its newest window stands of which the deadline is over; where there is none, the open
    /// one.
    pub state: WindowState,
    /// The deadline of that window; `None` where files are to be fresh at any time.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub deadline: Option<OffsetDateTime>,
    /// How many files count in it.
    pub count: u64,
    /// How many are expected, at least.
    pub expected: u64,
    /// What it lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmet: Option<Shortfall>,
    /// Why.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub why: Option<WhyUnmet>,
    /// Since when it is late or missed.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub since: Option<OffsetDateTime>,
    /// How many seconds after the deadline it was met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_by: Option<i64>,
    /// Whether the source had the file by the deadline though it was stored after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_is_ours: Option<bool>,
    /// When the files of a missed window came after all.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub recovered_at: Option<OffsetDateTime>,
    /// Files that count, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Whether the times that decided are only about so: lines of earlier releases tell none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approximate: bool,
    /// The deadline of the last window that was met, as far back as was looked.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub last_met: Option<OffsetDateTime>,
    /// The window that is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<OpenWindow>,
}

/// A window of which the deadline is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenWindow {
    /// By when.
    #[serde(with = "time::serde::rfc3339")]
    pub deadline: OffsetDateTime,
    /// How it stands.
    pub state: WindowState,
}

impl ExpectationStanding {
    /// Whether its newest window is missed, and the files have not come after all.
    pub(crate) fn is_missed(&self) -> bool {
        self.state == WindowState::Missed && self.recovered_at.is_none()
    }

    /// Whether it is late or missed now.
    pub fn is_unmet(&self) -> bool {
        self.state == WindowState::Late || self.is_missed()
    }

    /// Whether a run is degraded by it.
    pub fn degrades(&self) -> bool {
        self.severity == Severity::Error && self.is_missed()
    }

    /// What it lacks and why, in words.
    pub fn reason(&self) -> String {
        let lacks = self.unmet.map(|unmet| match unmet {
            Shortfall::TooFew => format!("{} {} of {}", unmet.word(), self.count, self.expected),
            Shortfall::TooMany => format!("{} {}", unmet.word(), self.count),
            Shortfall::TooSmall | Shortfall::Stale => unmet.word().to_owned(),
        });
        let why = self.why.as_ref().map(|why| match why {
            WhyUnmet::Failed { class } => format!("failed: {class}"),
            WhyUnmet::Deferred { reason } => format!("deferred: {reason}"),
            other => other.word().to_owned(),
        });
        lacks.into_iter().chain(why).collect::<Vec<_>>().join(", ")
    }

    /// It in a line.
    pub fn text(&self) -> String {
        let at = |at: OffsetDateTime| {
            at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
        };
        let mut text = format!("{} {}", self.state.word(), self.name);
        if let Some(deadline) = self.deadline {
            text += &format!(" by {}", at(deadline));
        }
        let reason = self.reason();
        if !reason.is_empty() {
            text += &format!(" ({reason})");
        }
        if let Some(seconds) = self.late_by {
            text += &format!(", {} min late", seconds.div_euclid(60));
        }
        if let Some(recovered) = self.recovered_at {
            text += &format!(", came at {}", at(recovered));
        }
        if let Some(next) = &self.next {
            text += &format!("; next {} by {}", next.state.word(), at(next.deadline));
        }
        text
    }
}
