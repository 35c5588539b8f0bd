//! `--until`, as operators write it: a timestamp, a time of day, or how long from now.

use std::time::Duration;

use jiff::{Timestamp, civil, tz::TimeZone};

use crate::types::parse_duration;

/// Why a text is no time to come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UntilError {
    /// None of the three forms.
    #[error(
        "`{0}` is no time: write `30m`, `2h` or `1d` from now, a time of day in UTC such as `18:30`, or a timestamp such as `2026-11-26T18:30:00Z`"
    )]
    Unknown(String),
    /// A timestamp that leaves open where on earth it is meant.
    #[error("`{0}` has no time zone: add `Z` for UTC, or an offset such as `+01:00`")]
    NoTimeZone(String),
    /// It is over.
    #[error("{0} is not in the future")]
    Past(Timestamp),
}

/// Reads a timestamp (RFC 3339), a time of day (the next `HH:MM` in UTC), or a duration from `now`.
pub fn parse_until(text: &str, now: Timestamp) -> Result<Timestamp, UntilError> {
    let text = text.trim();
    let until = if let Some(duration) = parse_duration(text) {
        after(now, duration)
    } else if let Some((hour, minute)) = parse_time_of_day(text) {
        next_time_of_day(hour, minute, now)
    } else if let Ok(until) = text.parse::<Timestamp>() {
        Some(until)
    } else if text.contains(['T', 't', ' ']) && text.parse::<civil::DateTime>().is_ok() {
        return Err(UntilError::NoTimeZone(text.to_owned()));
    } else {
        None
    };
    let until = until.ok_or_else(|| UntilError::Unknown(text.to_owned()))?;
    if until > now { Ok(until) } else { Err(UntilError::Past(until)) }
}

fn after(now: Timestamp, duration: Duration) -> Option<Timestamp> {
    now.checked_add(duration).ok()
}

/// Two digits, a colon, two digits.
fn parse_time_of_day(text: &str) -> Option<(i8, i8)> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { digits.parse().ok() } else { None }
    };
    Some((number(hour)?, number(minute)?))
}

fn next_time_of_day(hour: i8, minute: i8, now: Timestamp) -> Option<Timestamp> {
    let time = civil::Time::new(hour, minute, 0, 0).ok()?;
    let today = now.to_zoned(TimeZone::UTC).date();
    let at = |date: civil::Date| date.to_datetime(time).to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).ok();
    at(today).filter(|at| *at > now).or_else(|| at(today.tomorrow().ok()?))
}
