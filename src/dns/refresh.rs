//! When a secondary zone is to be looked after (RFC 1034 §4.3.5): refresh, retry and expire of its SOA, and what follows from them.
//!
//! Pure: times are since any moment that both sides of a comparison share, and randomness is an argument.

use std::time::Duration;

/// The least that refresh and retry mean, whatever a SOA says: a primary is not asked more than once a second.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The most: a NOTIFY may be lost.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);
/// First wait after a failure while there is no zone, whose SOA would say how long.
const BOOTSTRAP_MIN: Duration = Duration::from_secs(2);
/// Longest of these waits; each is twice the one before.
const BOOTSTRAP_MAX: Duration = Duration::from_secs(600);

/// The timers of a SOA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Time from one look at the primary to the next.
    pub refresh: Duration,
    /// The same after one that failed.
    pub retry: Duration,
    /// How long the zone is served without the primary.
    pub expire: Duration,
}

impl Timers {
    /// Those of a SOA's rdata. What makes no sense is bounded: a zone is never given up before its first retry.
    pub fn of_soa(rdata: &[u8]) -> Option<Self> {
        let (numbers, _) = rdata.last_chunk::<16>()?.as_chunks::<4>();
        let seconds = |index: usize| Some(Duration::from_secs(u32::from_be_bytes(*numbers.get(index)?).into()));
        let refresh = seconds(0)?.clamp(INTERVAL_MIN, INTERVAL_MAX);
        let retry = seconds(1)?.clamp(INTERVAL_MIN, INTERVAL_MAX);
        Some(Self { refresh, retry, expire: seconds(2)?.max(refresh + retry) })
    }
}

/// How a secondary zone stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The zone's timers, if there is a zone.
    timers: Option<Timers>,
    /// When the primary was last known to have what is here.
    confirmed: Option<Duration>,
    /// Failures since.
    n_failures: u32,
    /// When to look next.
    next: Duration,
}

impl Schedule {
    /// There is no zone yet: look at once.
    pub fn without_zone(now: Duration) -> Self {
        Self { timers: None, confirmed: None, n_failures: 0, next: now }
    }

    /// A zone from disk, confirmed then: look at once, since much may have happened.
    pub fn kept(timers: Timers, confirmed: Duration, now: Duration) -> Self {
        // A clock that was set back must not keep a zone for ever.
        Self { timers: Some(timers), confirmed: Some(confirmed.min(now)), n_failures: 0, next: now }
    }

    /// The primary has this zone now. `random` below 1 spreads the next look over the last tenth of the refresh time.
    #[must_use]
    pub fn succeeded(self, timers: Timers, now: Duration, random: f64) -> Self {
        let next = now + timers.refresh.mul_f64(1.0 - random * 0.1);
        Self { timers: Some(timers), confirmed: Some(now), n_failures: 0, next }
    }

    /// No primary could be asked, or gave what can be used.
    #[must_use]
    pub fn failed(self, now: Duration, random: f64) -> Self {
        let n_failures = self.n_failures.saturating_add(1);
        let wait = match self.timers {
            Some(timers) => timers.retry,
            None => BOOTSTRAP_MIN.saturating_mul(1 << self.n_failures.min(10)).min(BOOTSTRAP_MAX),
        };
        Self { n_failures, next: now + wait.mul_f64(1.0 - random * 0.1), ..self }
    }

    /// The primary says that it has something new: look now.
    #[must_use]
    pub fn hurried(self, now: Duration) -> Self {
        Self { next: self.next.min(now), ..self }
    }

    /// When to look next.
    pub fn next(self) -> Duration {
        self.next
    }

    /// When the primary last had what is here.
    pub fn confirmed(self) -> Option<Duration> {
        self.confirmed
    }

    /// When the zone is not to be served any more.
    pub fn expires(self) -> Option<Duration> {
        Some(self.confirmed? + self.timers?.expire)
    }

    /// Whether that is now.
    pub fn is_expired(self, now: Duration) -> bool {
        self.expires().is_none_or(|expires| expires <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn timers(refresh: u32, retry: u32, expire: u32) -> Timers {
        let numbers = [1, refresh, retry, expire, 60];
        let rdata: Vec<u8> = [0, 0].into_iter().chain(numbers.into_iter().flat_map(u32::to_be_bytes)).collect();
        Timers::of_soa(&rdata).expect("SOA")
    }

    #[test]
    fn rfc1034_4_3_5_refresh_then_retry_until_expire() {
        let schedule = Schedule::without_zone(seconds(100));
        assert!(schedule.is_expired(seconds(100)), "there is nothing to serve");
        let fresh = schedule.succeeded(timers(60, 10, 1000), seconds(100), 0.0);
        assert_eq!((fresh.next(), fresh.expires()), (seconds(160), Some(seconds(1100))));
        assert_eq!(fresh.succeeded(timers(60, 10, 1000), seconds(100), 0.5).next(), seconds(157));
        let failed = fresh.failed(seconds(160), 0.0).failed(seconds(170), 0.0);
        assert_eq!((failed.next(), failed.expires()), (seconds(180), Some(seconds(1100))));
        assert!(!failed.is_expired(seconds(1099)) && failed.is_expired(seconds(1100)));
    }

    #[test]
    fn without_a_zone_waits_double_up_to_ten_minutes() {
        let mut schedule = Schedule::without_zone(seconds(0));
        let mut waits = Vec::new();
        for _ in 0..12 {
            schedule = schedule.failed(seconds(0), 0.0);
            waits.push(schedule.next().as_secs());
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]);
    }

    #[test]
    fn senseless_timers_are_bounded() {
        assert_eq!(timers(0, 0, 0), Timers { refresh: seconds(1), retry: seconds(1), expire: seconds(2) });
        assert_eq!(timers(u32::MAX, 5, 10).refresh, seconds(86_400));
        assert_eq!(timers(100, 50, 10).expire, seconds(150));
        assert_eq!(Timers::of_soa(&[0; 3]), None);
    }

    #[test]
    fn kept_zone_is_looked_after_at_once_and_ages_from_when_it_was_confirmed() {
        let schedule = Schedule::kept(timers(60, 10, 1000), seconds(500), seconds(900));
        assert_eq!((schedule.next(), schedule.expires()), (seconds(900), Some(seconds(1500))));
        let from_the_future = Schedule::kept(timers(60, 10, 1000), seconds(5000), seconds(900));
        assert_eq!(from_the_future.expires(), Some(seconds(1900)));
    }
}
