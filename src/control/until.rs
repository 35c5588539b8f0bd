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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> Result<String, UntilError> {
        let now = "2026-11-26T12:00:00Z".parse().expect("now");
        parse_until(text, now).map(|until| until.to_string())
    }

    #[test]
    fn until_is_a_timestamp_a_time_of_day_or_a_duration() {
        for (text, until) in [
            ("30m", "2026-11-26T12:30:00Z"),
            (" 2h ", "2026-11-26T14:00:00Z"),
            ("1d", "2026-11-27T12:00:00Z"),
            ("12:01", "2026-11-26T12:01:00Z"),
            ("23:59", "2026-11-26T23:59:00Z"),
            ("12:00", "2026-11-27T12:00:00Z"),
            ("00:00", "2026-11-27T00:00:00Z"),
            ("2026-11-26T18:30:00Z", "2026-11-26T18:30:00Z"),
            ("2026-11-26T18:30:00+01:00", "2026-11-26T17:30:00Z"),
            ("2026-11-26 18:30Z", "2026-11-26T18:30:00Z"),
        ] {
            assert_eq!(check(text).as_deref(), Ok(until), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_to_come_says_why() {
        for text in ["", "soon", "5", "24:00", "12:60", "1:30", "12:00:00", "-1h", "2026-11-26", "2026-13-01T00:00:00Z"]
        {
            assert_eq!(check(text), Err(UntilError::Unknown(text.to_owned())), "{text}");
        }
        for text in ["2026-11-27T18:30:00", "2026-11-27 18:30"] {
            assert_eq!(check(text), Err(UntilError::NoTimeZone(text.to_owned())), "{text}");
        }
        for text in ["0s", "2026-11-26T12:00:00Z", "2026-11-26T12:30:00+01:00"] {
            assert!(matches!(check(text), Err(UntilError::Past(_))), "{text}");
        }
        let past = check("2020-01-01T00:00:00Z").expect_err("past").to_string();
        assert_eq!(past, "2020-01-01T00:00:00Z is not in the future");
    }

    proptest! {
        #[test]
        fn time_of_day_is_always_the_next_one(hour in 0i8..24, minute in 0i8..60, now in 0i64..4_000_000_000) {
            let now = Timestamp::from_second(now).expect("now");
            let until = parse_until(&format!("{hour:02}:{minute:02}"), now).expect("until");
            let wait = until.as_second() - now.as_second();
            prop_assert!((1..=86_400).contains(&wait));
            prop_assert_eq!(until.as_second() % 86_400, i64::from(hour) * 3600 + i64::from(minute) * 60);
        }
    }
}
