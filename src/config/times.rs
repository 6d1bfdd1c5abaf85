//! When a source is due, and the zone that its times are meant in.

use crate::rules::schedule::Schedule;
use crate::rules::time_zone::TimeZone;
use crate::settings::{Section, SettingError};

pub fn schedule(section: &Section) -> Result<Option<Schedule>, SettingError> {
    match (section.duration("every")?, section.text("cron")?) {
        (Some(_), Some(_)) => {
            Err(section.error("cron", "stands beside `every`; allowed is one of both"))
        }
        (Some(span), None) => {
            Schedule::every(span).map(Some).map_err(|problem| section.error("every", problem))
        }
        (None, Some(text)) => {
            let zone = time_zone(section)?;
            Schedule::cron(&text, zone).map(Some).map_err(|problem| section.error("cron", problem))
        }
        (None, None) => Ok(None),
    }
}

/// The time zone that dates and times of the section are meant in.
pub fn time_zone(section: &Section) -> Result<TimeZone, SettingError> {
    section.text("time_zone")?.map_or(Ok(TimeZone::UTC), |name| {
        TimeZone::parse(&name).map_err(|problem| section.error("time_zone", problem))
    })
}
