//! The rise/fall machine: results of probes in, health out.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{config::Check, types::Health};

/// What one probe found; the error says in a few words why it failed.
pub type Outcome = Result<(), Arc<str>>;

/// A target's health and how it came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What counts.
    pub health: Health,
    /// When `health` last changed; `None` before the first result.
    pub since: Option<Timestamp>,
    /// When the last probe ended.
    pub last_probe: Option<Timestamp>,
    /// Why the last probe failed, if it did.
    pub last_error: Option<Arc<str>>,
    /// Results in a row that speak against `health`.
    contrary: u32,
    /// Whether `health` is remembered from before a restart and no probe has ended since.
    pub is_restored: bool,
}

// health    result    becomes
// unknown   success   up
// unknown   failure   down: the first round decides, so that who is dead at start leaves with the first answer that knows
// up        failure   down after `fall` in a row
// down      success   up after `rise` in a row
// any       one that agrees: starts the count anew
impl Checked {
    /// What was known before a restart.
    pub fn restored(health: Health, since: Option<Timestamp>, last_error: Option<Arc<str>>) -> Self {
        Self { health, since, last_error, is_restored: true, ..Self::default() }
    }

    /// The state after one more result, at `now`.
    #[must_use]
    pub fn observe(self, outcome: &Outcome, check: &Check, now: Timestamp) -> Self {
        let (seen, needed) = match outcome {
            Ok(()) => (Health::Up, check.rise),
            Err(_) => (Health::Down, check.fall),
        };
        let contrary = if seen == self.health { 0 } else { self.contrary + 1 };
        let flips = contrary > 0 && (self.health == Health::Unknown || contrary >= needed);
        Self {
            health: if flips { seen } else { self.health },
            since: if flips { Some(now) } else { self.since },
            last_probe: Some(now),
            last_error: outcome.as_ref().err().cloned(),
            contrary: if flips { 0 } else { contrary },
            is_restored: false,
        }
    }
}

impl Checked {
    /// How many more results it takes at least until health can change.
    pub fn n_left(&self, check: &Check) -> u32 {
        let needed = match self.health {
            Health::Unknown => 1,
            Health::Up => check.fall,
            Health::Down => check.rise,
        };
        needed.saturating_sub(self.contrary).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::CheckKind;

    fn check(rise: u32, fall: u32) -> Check {
        let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(1));
        Check { name: "c".into(), kind: CheckKind::Tcp, interval, timeout, rise, fall, address: None, port: None }
    }

    /// Health after each result: `.` success, `x` failure; `U`p, `D`own.
    fn course(rise: u32, fall: u32, results: &str) -> String {
        let mut checked = Checked::default();
        let observe = |result| {
            let outcome = if result == '.' { Ok(()) } else { Err("refused".into()) };
            checked = checked.clone().observe(&outcome, &check(rise, fall), Timestamp::UNIX_EPOCH);
            if checked.health == Health::Up { 'U' } else { 'D' }
        };
        results.chars().map(observe).collect()
    }

    #[test]
    fn first_result_decides_then_rise_and_fall_count_in_a_row() {
        assert_eq!(course(2, 3, "....xx.xxx..."), "UUUUUUUUUDDUU");
        assert_eq!(course(2, 3, "x.x..x"), "DDDDUU");
        assert_eq!(course(1, 1, ".x.x"), "UDUD");
    }

    #[test]
    fn restored_health_stands_until_probes_disagree_often_enough() {
        let restored = Checked::restored(Health::Down, Some(Timestamp::UNIX_EPOCH), None);
        let once = restored.observe(&Ok(()), &check(2, 3), Timestamp::UNIX_EPOCH);
        assert_eq!((once.health, once.is_restored), (Health::Down, false));
        assert_eq!(once.observe(&Ok(()), &check(2, 3), Timestamp::UNIX_EPOCH).health, Health::Up);
    }

    proptest! {
        #[test]
        fn health_never_flips_with_fewer_than_rise_or_fall_results_in_a_row(
            rise in 1u32..5, fall in 1u32..5, results in prop::collection::vec(any::<bool>(), 2..60)
        ) {
            let text: String = results.iter().map(|ok| if *ok { '.' } else { 'x' }).collect();
            let course: Vec<char> = course(rise, fall, &text).chars().collect();
            for at in 1..course.len() {
                if course[at] != course[at - 1] {
                    let needed = if course[at] == 'U' { rise } else { fall } as usize;
                    let in_a_row = results[..=at].iter().rev().take_while(|ok| **ok == results[at]).count();
                    prop_assert!(in_a_row >= needed);
                    prop_assert_eq!(results[at], course[at] == 'U');
                }
            }
        }
    }
}
