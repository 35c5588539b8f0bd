//! Guards against believing too much at once: a failure that is this node's own must not empty its answers.
//!
//! What probes found is never changed here; a realserver that is *held* only stays in service although they say down. Two guards hold: the
//! [`Freeze`], when more of all addresses fall within one interval than can well be dead, and [`Leaving`], when more of a pool's weight
//! would leave within one interval than it allows. Pure: time is an argument.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use jiff::Timestamp;

use crate::{config::Check, health::Target, types::Weight};

/// With fewer addresses that are probed, one dead machine is a large share, and nothing can be concluded.
pub(super) const FREEZE_ADDRESSES_MIN: usize = 4;

/// Whether the network of this node is to blame for what its probes find.
#[derive(Debug, Default)]
pub(super) struct Freeze {
    /// Who was up and fell, and when; the same in order. Entries of `in_order` that `fallen` does not have any more are dead.
    fallen: HashMap<Target, Timestamp>,
    in_order: VecDeque<(Timestamp, Target)>,
    held: HashSet<Target>,
    since: Option<Timestamp>,
    /// When the rest of those held is believed, few enough being left.
    thaws_at: Option<Timestamp>,
}

/// What a step of the freeze means for targets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    #[default]
    None,
    /// The target that fell is held like those before it.
    Held,
    /// It begins: these are held.
    Frozen(Vec<Target>),
    /// It ends: these are held no more.
    Thawed(Vec<Target>),
}

impl Freeze {
    /// A target was up and is down, of `n_probed` that there are; more than `above` percent of them is too many.
    pub(super) fn fell(&mut self, target: &Target, n_probed: usize, above: Option<u8>, now: Timestamp) -> Step {
        self.forget_before(now);
        self.fallen.insert(target.clone(), now);
        self.in_order.push_back((now, target.clone()));
        if self.since.is_some() {
            self.held.insert(target.clone());
            self.thaws_at = None;
            return Step::Held;
        }
        let is_too_many = above.is_some_and(|above| is_above(self.fallen.len(), n_probed, above));
        if !is_too_many || n_probed < FREEZE_ADDRESSES_MIN {
            return Step::None;
        }
        self.since = Some(now);
        self.held = self.fallen.keys().cloned().collect();
        Step::Frozen(self.held.iter().cloned().collect())
    }

    /// A target is up again.
    pub(super) fn rose(&mut self, target: &Target, n_probed: usize, above: Option<u8>, now: Timestamp) -> Step {
        self.fallen.remove(target);
        self.held.remove(target);
        if self.since.is_none() {
            return Step::None;
        }
        if self.held.is_empty() {
            return self.thaw();
        }
        // The network is back. The others have been asked as often as this one when they have had as much time again, and are believed then.
        let is_few = above.is_none_or(|above| !is_above(self.held.len(), n_probed, above));
        if is_few && self.thaws_at.is_none() {
            self.thaws_at = now.checked_add(time_to_rise(&target.check)).ok();
        }
        Step::None
    }

    /// A target is not probed any more: there is nothing to believe or not.
    pub(super) fn forget(&mut self, target: &Target) {
        self.fallen.remove(target);
        self.held.remove(target);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Timestamp) -> Step {
        let is_over = self.thaws_at.is_some_and(|thaws_at| thaws_at <= now);
        if self.since.is_some() && (is_over || self.held.is_empty()) { self.thaw() } else { Step::None }
    }

    /// Believes the probes from now on.
    pub(super) fn thaw(&mut self) -> Step {
        (self.since, self.thaws_at) = (None, None);
        self.fallen.clear();
        self.in_order.clear();
        Step::Thawed(self.held.drain().collect())
    }

    /// Since when, if it is.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// Whether what its probes say is not believed.
    pub(super) fn holds(&self, target: &Target) -> bool {
        self.held.contains(target)
    }

    /// Who is held.
    pub(super) fn held(&self) -> impl Iterator<Item = &Target> {
        self.held.iter()
    }

    /// Forgets falls that are longer ago than their interval.
    fn forget_before(&mut self, now: Timestamp) {
        while let Some((at, target)) = self.in_order.front() {
            let is_dead = self.fallen.get(target) != Some(at);
            if !is_dead && !is_over(*at, window(&target.check), now) {
                return;
            }
            if !is_dead {
                self.fallen.remove(target);
            }
            self.in_order.pop_front();
        }
    }
}

/// Who has left a pool lately, and who may not yet.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    left: VecDeque<Left>,
    held: VecDeque<(Box<str>, Weight)>,
}

#[derive(Debug)]
struct Left {
    at: Timestamp,
    name: Box<str>,
    weight: Weight,
}

/// What a pool allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// Percentage of the weight.
    pub(super) percentage: u8,
    /// Weight of all its realservers.
    pub(super) total: u64,
    /// In this much time.
    pub(super) interval: Duration,
}

impl Leaving {
    /// A realserver is down: returns whether it may leave.
    pub(super) fn ask(&mut self, name: &str, weight: Weight, allowance: Allowance, now: Timestamp) -> bool {
        if self.left.iter().any(|left| &*left.name == name) {
            return true;
        }
        if self.holds(name) {
            return false;
        }
        let may = self.held.is_empty() && self.has_room(weight, allowance, now);
        if may {
            self.left.push_back(Left { at: now, name: name.into(), weight });
        } else {
            self.held.push_back((name.into(), weight));
        }
        may
    }

    /// A realserver is up again; returns whether it had been held.
    pub(super) fn came_back(&mut self, name: &str) -> bool {
        self.left.retain(|left| &*left.name != name);
        let n_held = self.held.len();
        self.held.retain(|(held, _)| &**held != name);
        self.held.len() < n_held
    }

    /// Time has passed: returns who may leave now.
    pub(super) fn tick(&mut self, allowance: Allowance, now: Timestamp) -> Vec<Box<str>> {
        let mut released = Vec::new();
        while let Some((name, weight)) = self.held.front().cloned()
            && self.has_room(weight, allowance, now)
        {
            self.held.pop_front();
            self.left.push_back(Left { at: now, name: name.clone(), weight });
            released.push(name);
        }
        released
    }

    /// The pool has no limit any more: everybody may leave.
    pub(super) fn release_all(&mut self) -> Vec<Box<str>> {
        self.held.drain(..).map(|(name, _)| name).collect()
    }

    /// Whether it stays although it is down.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.held.iter().any(|(held, _)| &**held == name)
    }

    /// Whether nobody is held.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// One may always leave in an interval: in a pool of three that is more than a third.
    fn has_room(&mut self, weight: Weight, allowance: Allowance, now: Timestamp) -> bool {
        while self.left.front().is_some_and(|left| is_over(left.at, allowance.interval, now)) {
            self.left.pop_front();
        }
        let gone: u64 = self.left.iter().map(|left| u64::from(left.weight.get())).sum();
        let wanted = gone + u64::from(weight.get());
        self.left.is_empty() || wanted * 100 <= allowance.total * u64::from(allowance.percentage)
    }
}

/// Time within which falls with one cause are seen: everybody is probed once an interval, and a probe may wait for its timeout.
fn window(check: &Check) -> Duration {
    check.interval.saturating_add(check.timeout)
}

/// Longest time that a target that is up takes to be called so.
fn time_to_rise(check: &Check) -> Duration {
    window(check).saturating_mul(check.rise)
}

/// Whether `span` has passed since `from`; a clock that was set back has not passed anything, one far ahead has.
fn is_over(from: Timestamp, span: Duration, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(from)).is_ok_and(|passed| passed > span)
}

fn is_above(part: usize, whole: usize, percentage: u8) -> bool {
    part.saturating_mul(100) > whole.saturating_mul(usize::from(percentage))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::config::CheckKind;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
    }

    /// With the defaults: interval 5 s, timeout 1 s.
    fn target(number: u8) -> Target {
        let check = Check::new("c", CheckKind::Icmp);
        Target { check: Arc::new(check), address: ([192, 0, 2, number], 80).into(), realserver: None }
    }

    #[test]
    fn more_than_half_within_one_interval_freezes_and_half_does_not() {
        let mut freeze = Freeze::default();
        for number in 0..3 {
            assert_eq!(freeze.fell(&target(number), 6, Some(50), at(i64::from(number))), Step::None);
        }
        let Step::Frozen(mut held) = freeze.fell(&target(3), 6, Some(50), at(3)) else { panic!("four of six") };
        held.sort_by_key(|target| target.address);
        assert_eq!(held, [0, 1, 2, 3].map(target));
        assert_eq!(freeze.fell(&target(4), 6, Some(50), at(60)), Step::Held, "while it lasts, at any time");
        assert_eq!(freeze.since(), Some(at(3)));
    }

    #[test]
    fn slow_falls_few_addresses_and_off_never_freeze() {
        let mut freeze = Freeze::default();
        for number in 0..6 {
            assert_eq!(freeze.fell(&target(number), 6, Some(50), at(7 * i64::from(number))), Step::None, "7 s apart");
        }
        let mut freeze = Freeze::default();
        for number in 0..3 {
            assert_eq!(freeze.fell(&target(number), 3, Some(50), at(0)), Step::None, "three machines");
        }
        let mut freeze = Freeze::default();
        for number in 0..6 {
            assert_eq!(freeze.fell(&target(number), 6, None, at(0)), Step::None, "off");
        }
    }

    #[test]
    fn ends_when_the_others_have_had_time_to_come_back_too() {
        let mut freeze = Freeze::default();
        for number in 0..4 {
            freeze.fell(&target(number), 4, Some(50), at(0));
        }
        assert!((0..4).all(|number| freeze.holds(&target(number))));
        assert_eq!(freeze.rose(&target(0), 4, Some(50), at(30)), Step::None);
        assert_eq!(freeze.tick(at(1000)), Step::None, "three of four are still too many");
        assert_eq!(freeze.rose(&target(1), 4, Some(50), at(1000)), Step::None);
        assert_eq!(freeze.tick(at(1011)), Step::None, "rise 2, every 6 s at most");
        let Step::Thawed(mut believed) = freeze.tick(at(1012)) else { panic!("it is time") };
        believed.sort_by_key(|target| target.address);
        assert_eq!(believed, [2, 3].map(target));
        assert_eq!((freeze.since(), freeze.holds(&target(2))), (None, false));
        assert_eq!(freeze.fell(&target(0), 4, Some(50), at(1013)), Step::None, "and counts anew");
    }

    #[test]
    fn ends_at_once_when_all_are_back() {
        let mut freeze = Freeze::default();
        for number in 0..4 {
            freeze.fell(&target(number), 5, Some(50), at(0));
        }
        let steps: Vec<Step> = (0..4).map(|number| freeze.rose(&target(number), 5, Some(50), at(9))).collect();
        assert_eq!(steps, [Step::None, Step::None, Step::None, Step::Thawed(Vec::new())]);
    }

    fn allowance(percentage: u8, total: u64) -> Allowance {
        Allowance { percentage, total, interval: Duration::from_secs(5) }
    }

    #[test]
    fn no_more_than_max_leave_of_the_weight_leaves_in_an_interval_and_the_others_follow_later() {
        let mut leaving = Leaving::default();
        let weight = |number| Weight::new(number).expect("not 0");
        let ten = allowance(30, 10);
        let asked: Vec<bool> = ["a", "b", "c", "d", "e"].map(|name| leaving.ask(name, weight(1), ten, at(0))).to_vec();
        assert_eq!(asked, [true, true, true, false, false]);
        assert!(leaving.tick(ten, at(5)).is_empty(), "within the interval");
        assert_eq!(leaving.tick(ten, at(6)), ["d".into(), "e".into()]);
        assert!(leaving.is_idle());
    }

    #[test]
    fn one_may_always_leave_and_who_comes_back_makes_room() {
        let mut leaving = Leaving::default();
        let weight = |number| Weight::new(number).expect("not 0");
        let three = allowance(30, 3);
        assert!(leaving.ask("a", weight(1), three, at(0)), "a third is more than 30 %");
        assert!(!leaving.ask("b", weight(1), three, at(1)));
        assert!(!leaving.ask("b", weight(1), three, at(2)), "asked again");
        assert!(leaving.ask("a", weight(1), three, at(2)), "gone is gone");
        assert!(!leaving.came_back("a"));
        assert_eq!(leaving.tick(three, at(2)), ["b".into()]);
        assert!(leaving.ask("b", weight(1), three, at(3)));
    }

    proptest! {
        /// Whatever happens when, a window never has more leavers than allowed, but one; and nobody is held and gone at once.
        #[test]
        fn leavers_of_any_interval_are_within_the_allowance(
            events in prop::collection::vec((0u8..12, 0i64..4, any::<bool>()), 1..120), percentage in 1u8..100
        ) {
            let mut leaving = Leaving::default();
            let allowance = allowance(percentage, 12);
            let mut gone: Vec<(i64, Box<str>)> = Vec::new();
            let mut now = 0;
            for (number, pause, falls) in events {
                now += pause;
                let name = number.to_string();
                gone.extend(leaving.tick(allowance, at(now)).into_iter().map(|name| (now, name)));
                if falls {
                    let was_gone = leaving.left.iter().any(|left| *left.name == *name);
                    if leaving.ask(&name, Weight::ONE, allowance, at(now)) && !was_gone {
                        gone.push((now, name.as_str().into()));
                    }
                } else {
                    leaving.came_back(&name);
                    gone.retain(|(_, left)| **left != *name);
                }
                prop_assert!(!leaving.holds(&name) || !leaving.left.iter().any(|left| *left.name == *name));
                let lately = gone.iter().filter(|(left, _)| now - left <= 5).count();
                prop_assert!(lately <= 1 || lately * 100 <= 12 * usize::from(percentage), "{lately}");
            }
        }
    }
}
