//! The rise/fall machine: results of probes in, health out.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{config::Check, types::Health};

/// Intervals after which a health that no probe has confirmed is stale.
const STALE_INTERVALS: u32 = 3;

/// What one probe found.
pub type Outcome = Result<(), Failure>;

/// Why a probe was no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In a few words, for operators.
    pub text: Arc<str>,
    /// Whose failure it is.
    pub cause: Cause,
}

/// Whose failure a failed probe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The realserver's.
    Realserver,
    /// The realserver's, which refused the connection: nobody listens there.
    Refused,
    /// Nobody knows: the probe could not be made, and says nothing about the realserver.
    Unclear,
}

impl Failure {
    /// A probe that could not be made.
    pub fn unclear(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), cause: Cause::Unclear }
    }
}

impl<T: Into<Arc<str>>> From<T> for Failure {
    fn from(text: T) -> Self {
        Self { text: text.into(), cause: Cause::Realserver }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A target's health and how it came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What counts.
    pub health: Health,
    /// When `health` last changed; `None` before the first result.
    pub since: Option<Timestamp>,
    /// When the last probe ended that found something.
    pub last_probe: Option<Timestamp>,
    /// Why the last probe failed, if it did.
    pub last_error: Option<Arc<str>>,
    /// When it came up after it was seen down; `None` while it is not up, and if it never was down.
    pub recovered: Option<Timestamp>,
    /// When the certificate ends that it last showed.
    pub certificate: Option<Timestamp>,
    /// Whether its end was warned of.
    is_warned: bool,
    /// When a failure that others noticed was last counted.
    last_passive: Option<Timestamp>,
    /// Failures that are not forgotten yet, while it is up.
    failures: u32,
    /// Successes in a row.
    successes: u32,
    /// Whether `health` is remembered from before a restart and no probe has ended since.
    pub is_restored: bool,
}

// health    result    becomes
// unknown   success   up
// unknown   failure   down: the first round decides, so that who is dead at start leaves with the first answer that knows
// up        failure   down at `fall` failures, in a row or not; at once if refused and the check says so
// up        success   `forgive` in a row make the failures forgotten
// down      success   up after `rise` in a row
// any       unclear   as before
//
// Failures that need not be in a row are gdnsd's damping: what answers every other time is down, not up and down.
impl Checked {
    /// What was known before a restart.
    pub fn restored(health: Health, since: Option<Timestamp>, last_error: Option<Arc<str>>) -> Self {
        Self { health, since, last_error, is_restored: true, ..Self::default() }
    }

    /// The state after one more result, at `now`.
    #[must_use]
    pub fn observe(self, outcome: &Outcome, check: &Check, now: Timestamp) -> Self {
        match outcome {
            Ok(()) => self.succeeded(check, now),
            Err(Failure { text, cause: Cause::Unclear }) => Self { last_error: Some(text.clone()), ..self },
            Err(failure) => self.failed(failure, check, now),
        }
    }

    /// The state after somebody else could not connect; `None` if that does not count: the check does not want it, or an interval has not
    /// passed since the last one, or it is what probes say already.
    #[must_use]
    pub fn observe_passive(&self, failure: &Failure, check: &Check, now: Timestamp) -> Option<Self> {
        let is_too_soon = self.last_passive.is_some_and(|last| is_within(last, now, check.interval));
        if !check.passive || is_too_soon || self.health == Health::Down {
            return None;
        }
        let after = self.clone().failed(failure, check, now);
        // Only probes keep a health from going stale.
        Some(Self { last_passive: Some(now), last_probe: self.last_probe, ..after })
    }

    fn succeeded(self, check: &Check, now: Timestamp) -> Self {
        let successes = self.successes.saturating_add(1);
        let flips = match self.health {
            Health::Up => false,
            Health::Down => successes >= check.rise,
            Health::Unknown => true,
        };
        let is_forgiven = flips || successes >= check.forgive;
        Self {
            health: if flips { Health::Up } else { self.health },
            since: if flips { Some(now) } else { self.since },
            recovered: if flips && self.health == Health::Down { Some(now) } else { self.recovered },
            last_probe: Some(now),
            last_error: None,
            failures: if is_forgiven { 0 } else { self.failures },
            successes,
            is_restored: false,
            ..self
        }
    }

    fn failed(self, failure: &Failure, check: &Check, now: Timestamp) -> Self {
        let failures = self.failures.saturating_add(1);
        let flips = match self.health {
            Health::Up => failures >= check.fall || (check.refused_is_down && failure.cause == Cause::Refused),
            Health::Down => false,
            Health::Unknown => true,
        };
        let is_down = flips || self.health == Health::Down;
        Self {
            health: if flips { Health::Down } else { self.health },
            since: if flips { Some(now) } else { self.since },
            recovered: if is_down { None } else { self.recovered },
            last_probe: Some(now),
            last_error: Some(failure.text.clone()),
            failures: if is_down { 0 } else { failures },
            successes: 0,
            is_restored: false,
            ..self
        }
    }

    /// How many more results it takes at least until health can change.
    pub fn n_left(&self, check: &Check) -> u32 {
        let left = match self.health {
            Health::Up if check.refused_is_down => 1,
            Health::Up => check.fall.saturating_sub(self.failures),
            Health::Down => check.rise.saturating_sub(self.successes),
            Health::Unknown => 1,
        };
        left.max(1)
    }

    /// Whether no probe has confirmed `health` for three intervals; `named` is when the target became one.
    pub fn is_stale(&self, check: &Check, named: Timestamp, now: Timestamp) -> bool {
        let last = self.last_probe.map_or(named, |last| last.max(named));
        !is_within(last, now, check.interval * STALE_INTERVALS + check.timeout)
    }

    /// Notes when the certificate ends that was shown; whether this is the first time that it must be warned of.
    pub fn certificate_shown(&mut self, ends: Timestamp, check: &Check, now: Timestamp) -> bool {
        self.certificate = Some(ends);
        let is_ending = self.is_certificate_ending(check, now);
        let was_warned = std::mem::replace(&mut self.is_warned, is_ending);
        is_ending && !was_warned
    }

    /// Whether the certificate ends soon enough to be warned of.
    pub fn is_certificate_ending(&self, check: &Check, now: Timestamp) -> bool {
        let warning = check.tls().and_then(|tls| tls.expiry_warning);
        warning.zip(self.certificate).is_some_and(|(warning, ends)| ends <= now || is_within(now, ends, warning))
    }
}

/// Whether less than `time` lies between two moments. A clock that was set back makes no long time.
fn is_within(from: Timestamp, to: Timestamp, time: Duration) -> bool {
    u128::try_from(to.duration_since(from).as_millis()).unwrap_or(0) < time.as_millis()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{CheckKind, Talk, TlsCheck};

    fn check(rise: u32, fall: u32, forgive: u32) -> Check {
        Check { rise, fall, forgive, ..Check::new("c", CheckKind::Tcp(Talk::default(), None)) }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn outcome(result: char) -> Outcome {
        match result {
            '.' => Ok(()),
            'r' => Err(Failure { text: "refused".into(), cause: Cause::Refused }),
            '?' => Err(Failure::unclear("no descriptor")),
            _ => Err("timed out".into()),
        }
    }

    /// Health after each result: `.` success, `x` failure, `r` refused, `?` unclear; `U`p, `D`own, `-` unknown.
    fn course(check: &Check, results: &str) -> String {
        let mut checked = Checked::default();
        let observe = |(second, result)| {
            let left = checked.n_left(check);
            let before = checked.health;
            checked = checked.clone().observe(&outcome(result), check, at(second));
            assert!(checked.health == before || left == 1, "{results}: {second}");
            match checked.health {
                Health::Up => 'U',
                Health::Down => 'D',
                Health::Unknown => '-',
            }
        };
        (0..).zip(results.chars()).map(observe).collect()
    }

    #[test]
    fn first_result_decides_then_rise_and_fall_count() {
        assert_eq!(course(&check(2, 3, 1), "....xx.xxx..."), "UUUUUUUUUDDUU");
        assert_eq!(course(&check(2, 3, 3), "x.x..x"), "DDDDUU");
        assert_eq!(course(&check(1, 1, 1), ".x.x"), "UDUD");
    }

    #[test]
    fn two_failures_and_a_success_stay_up_at_fall_three() {
        assert_eq!(course(&check(2, 3, 3), ".xx....xx.."), "UUUUUUUUUUU");
    }

    #[test]
    fn alternating_target_goes_down_and_stays_there() {
        assert_eq!(course(&check(2, 3, 3), ".x.x.x.x.x.x"), "UUUUUDDDDDDD");
        assert_eq!(course(&check(2, 3, 1), ".x.x.x.x.x.x"), "U".repeat(12), "unless one success forgives");
    }

    #[test]
    fn forgive_successes_in_a_row_make_failures_forgotten() {
        assert_eq!(course(&check(2, 3, 2), ".xx.x"), "UUUUD");
        assert_eq!(course(&check(2, 3, 2), ".xx..xx"), "UUUUUUU");
    }

    #[test]
    fn refused_connection_is_down_at_once_if_the_check_says_so() {
        assert_eq!(course(&check(2, 3, 3), ".rr"), "UUU");
        assert_eq!(course(&Check { refused_is_down: true, ..check(2, 3, 3) }, ".xr.."), "UUDDU");
    }

    #[test]
    fn probe_that_could_not_be_made_changes_nothing_but_is_told() {
        assert_eq!(course(&check(2, 1, 1), "?.???x??..?"), "-UUUUDDDDUU");
        let before = Checked::default().observe(&Ok(()), &check(2, 3, 3), at(1));
        let after = before.clone().observe(&outcome('?'), &check(2, 3, 3), at(2));
        assert_eq!(after, Checked { last_error: Some("no descriptor".into()), ..before });
    }

    #[test]
    fn restored_health_stands_until_probes_disagree_often_enough() {
        let restored = Checked::restored(Health::Down, Some(Timestamp::UNIX_EPOCH), None);
        let once = restored.observe(&Ok(()), &check(2, 3, 3), Timestamp::UNIX_EPOCH);
        assert_eq!((once.health, once.is_restored), (Health::Down, false));
        assert_eq!(once.observe(&Ok(()), &check(2, 3, 3), Timestamp::UNIX_EPOCH).health, Health::Up);
    }

    #[test]
    fn recovery_is_remembered_until_the_next_failure_that_brings_down() {
        let check = check(1, 2, 2);
        let mut checked = Checked::default();
        let mut seen = Vec::new();
        for (second, result) in (0..).zip(".xx.x.xx".chars()) {
            checked = checked.observe(&outcome(result), &check, at(second));
            seen.push(checked.recovered.map(Timestamp::as_second));
        }
        let at_three = Some(3);
        assert_eq!(seen, [None, None, None, at_three, at_three, at_three, None, None]);
    }

    #[test]
    fn passive_failures_count_once_an_interval_and_only_where_wanted() {
        let check = check(2, 3, 3);
        let failure = Failure::from("connection refused");
        let mut checked = Checked::default().observe(&Ok(()), &check, at(0));
        let mut counted = Vec::new();
        for second in 0..14 {
            if let Some(after) = checked.observe_passive(&failure, &check, at(second)) {
                checked = after;
                counted.push((second, checked.health));
            }
        }
        assert_eq!(counted, [(0, Health::Up), (5, Health::Up), (10, Health::Down)]);
        assert_eq!(checked.last_probe, Some(at(0)), "probes alone keep it from going stale");
        assert_eq!(checked.observe_passive(&failure, &check, at(99)), None, "it is down already");
        let deaf = Check { passive: false, ..check };
        assert_eq!(Checked::default().observe_passive(&failure, &deaf, at(0)), None);
    }

    #[test]
    fn health_is_stale_three_intervals_after_the_last_probe() {
        let check = check(2, 3, 3);
        let checked = Checked::default().observe(&Ok(()), &check, at(100));
        let stale = |second| checked.is_stale(&check, at(0), at(second));
        assert_eq!([100, 115, 116, 200].map(stale), [false, false, true, true]);
        assert!(!stale(50), "a clock that was set back");
        assert!(!checked.is_stale(&check, at(150), at(160)), "it is a target again only since then");
        assert!(
            Checked::default().is_stale(&check, at(0), at(16)) && !Checked::default().is_stale(&check, at(0), at(15))
        );
    }

    #[test]
    fn certificate_is_warned_of_within_the_time_that_the_check_says() {
        let tls = |expiry_warning| {
            Check::new("c", CheckKind::Tcp(Talk::default(), Some(TlsCheck { expiry_warning, ..TlsCheck::default() })))
        };
        let checked = Checked { certificate: Some(at(1000)), ..Checked::default() };
        let ending = |check: &Check, second| checked.is_certificate_ending(check, at(second));
        let hundred = tls(Some(Duration::from_secs(100)));
        assert_eq!(
            [800, 900, 901, 1000, 1001].map(|second| ending(&hundred, second)),
            [false, false, true, true, true]
        );
        assert!(!ending(&tls(None), 1001) && !ending(&check(1, 1, 1), 1001));
        let mut checked = Checked::default();
        let mut shown = |ends, second| checked.certificate_shown(at(ends), &hundred, at(second));
        let told = [shown(1000, 800), shown(1000, 950), shown(1000, 960), shown(9000, 970), shown(9000, 8950)];
        assert_eq!(told, [false, true, false, false, true], "once for each certificate");
    }

    proptest! {
        #[test]
        fn health_never_flips_with_fewer_results_than_the_check_asks_for(
            rise in 1u32..5, fall in 1u32..5, forgive in 1u32..5, results in "[.x]{2,60}"
        ) {
            let course: Vec<char> = course(&check(rise, fall, forgive), &results).chars().collect();
            let results: Vec<char> = results.chars().collect();
            let mut failures = 0;
            for at in 1..course.len() {
                let in_a_row = results[..=at].iter().rev().take_while(|one| **one == results[at]).count();
                let in_a_row = u32::try_from(in_a_row).expect("few");
                let is_success = results[at] == '.';
                // Failures since it came up, or since they were last forgotten.
                failures = match (course[at - 1], is_success) {
                    ('D', _) => 0,
                    (_, true) => if in_a_row >= forgive { 0 } else { failures },
                    (_, false) => failures + 1,
                };
                let expected = if course[at - 1] == 'U' { failures >= fall } else { is_success && in_a_row >= rise };
                prop_assert_eq!(course[at] != course[at - 1], expected);
            }
        }
    }
}
