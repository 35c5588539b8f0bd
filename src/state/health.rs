//! What comes of probes and of connections that fail: the health of targets, which pools follow, and what the guards believe of it.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Happening, Notes, PoolParts, State,
    guard::{self, Allowance},
};
use crate::{
    config::{self, Members, PoolIndex},
    health::{Cause, Checked, ConnectFailure, Failure, Outcome, Target},
    types::{Family, Health, RealserverId, RealserverName, Weight},
};

impl State {
    /// Whether no probe has confirmed the health of a target for three intervals.
    pub fn is_stale(&self, target: &Target, now: Timestamp) -> bool {
        let Some(behind) = self.behind.get(target).filter(|_| self.is_probed(target)) else { return false };
        match self.checked.get(target) {
            Some(checked) => checked.is_stale(&target.check, behind.named, now),
            None => Checked::default().is_stale(&target.check, behind.named, now),
        }
    }

    /// What health has to tell besides itself. Looks at every target.
    pub fn notes(&self, now: Timestamp) -> Notes {
        let n_stale = self.behind.keys().filter(|target| self.is_stale(target, now)).count();
        let mut notes = Notes { is_frozen: self.freeze.since().is_some(), n_stale, ..Notes::default() };
        for (target, checked) in &self.checked {
            if let Some(ends) = checked.certificate {
                notes.n_ending += usize::from(checked.is_certificate_ending(&target.check, now));
                notes.certificates.push((target.clone(), ends));
            }
        }
        notes
    }

    /// Whether health in a pool is calculated from several checks.
    pub(super) fn is_calculated(&self, pool: PoolIndex) -> bool {
        let members = self.config.pools.get(pool).map(|pool| &pool.members);
        matches!(members, Some(Members::Realservers { check: Some(check), .. })
            if matches!(check.kind, config::CheckKind::Calculated(_)))
    }

    pub(super) fn probed(&mut self, target: Target, outcome: &Outcome) -> Vec<Happening> {
        // A probe that was on its way when its target left, or went into maint, has nothing to say any more.
        if !self.behind.contains_key(&target) || !self.is_probed(&target) {
            return Vec::new();
        }
        let before = self.checked.remove(&target).unwrap_or_default();
        let (from, n_left) = (before.health, before.n_left(&target.check));
        let after = before.observe(outcome, &target.check, self.now);
        self.put(target, from, n_left, after)
    }

    /// Puts what is known of a target in the place of what was, when its health was `from` and `n_left` results were needed to change it.
    fn put(&mut self, target: Target, from: Health, n_left: u32, after: Checked) -> Vec<Happening> {
        let (to, error) = (after.health, after.last_error.clone());
        let is_as_sure = after.n_left(&target.check) == n_left;
        self.checked.insert(target.clone(), after);
        if from != to || (!is_as_sure && self.follows_certainty) {
            self.stale.extend(self.behind(&target).into_iter().map(|(index, _)| index));
        }
        if from == to {
            return Vec::new();
        }
        let mut realservers: Vec<RealserverName> = self.names_behind(&target).collect();
        realservers.sort();
        realservers.dedup();
        let is_forced =
            |name: &&RealserverName| self.overrides.effective(&name.pool, &name.realserver).health.is_some();
        let masked: Vec<RealserverName> = realservers.iter().filter(is_forced).cloned().collect();
        let changed = Happening::HealthChanged { target: target.clone(), realservers, from, to, error };
        let masked = (!masked.is_empty()).then_some(Happening::HealthMasked(masked));
        std::iter::once(changed).chain(masked).chain(self.guard(&target, from, to, self.now)).collect()
    }

    /// Asks the guards whether a change of health may be believed.
    fn guard(&mut self, target: &Target, from: Health, to: Health, now: Timestamp) -> Vec<Happening> {
        let (n_probed, above) = (self.behind.len(), self.config.guards.freeze_above);
        let step = match (from, to) {
            (Health::Up, Health::Down) => self.freeze.fell(target, n_probed, above, now),
            (_, Health::Up) => self.freeze.rose(target, n_probed, above, now),
            _ => guard::Step::None,
        };
        let mut happenings = self.follow_freeze(step);
        for (index, id) in self.behind(target) {
            let Some((pool, name, weight, allowance)) = self.allowance_of(index, id) else { continue };
            // Where several checks decide, one of them is not yet the realserver.
            let calculated = self.calculated_health(index, id);
            if to == Health::Down && calculated.is_some_and(|health| health != Health::Down) {
                continue;
            }
            let is_back = || match calculated {
                Some(health) => health != Health::Down,
                None => self.parts.get(index).is_some_and(|parts| self.has_nothing_down(parts, id)),
            };
            match (from, to) {
                (Health::Up, Health::Down) => {
                    let leaving = self.leaving.entry(pool.clone()).or_default();
                    let was_held = leaving.holds(&name);
                    if !leaving.ask(&name, weight, allowance, now) && !was_held {
                        happenings.push(Happening::Held(RealserverName { pool, realserver: name }));
                    }
                }
                (_, Health::Up) if is_back() => {
                    if let Some(leaving) = self.leaving.get_mut(&pool) {
                        leaving.came_back(&name);
                    }
                }
                _ => {}
            }
        }
        happenings
    }

    /// A realserver of a pool with `max_leave`, and what that allows; `None` for other pools and for listeners' own schedulers, which share
    /// their pool's.
    fn allowance_of(&self, index: usize, id: RealserverId) -> Option<(Box<str>, Box<str>, Weight, Allowance)> {
        let pool = self.config.pools.get(index)?;
        let percentage = Some(pool.max_leave).filter(|&percentage| percentage < 100)?;
        let Members::Realservers { realservers, check: Some(check), .. } = &pool.members else { return None };
        let realserver = realservers.get(usize::from(id.0))?;
        let total = realservers.iter().map(|realserver| u64::from(realserver.weight.get())).sum();
        let allowance = Allowance { percentage, total, interval: check.interval };
        Some((pool.name.clone(), realserver.name.clone(), realserver.weight, allowance))
    }

    fn has_nothing_down(&self, parts: &PoolParts, id: RealserverId) -> bool {
        let mut of_it = parts.probed().filter(|(_, other)| *other == id);
        of_it.all(|(target, _)| self.checked.get(&target).is_none_or(|checked| checked.health != Health::Down))
    }

    /// Pools follow what a freeze holds or lets go.
    pub(super) fn follow_freeze(&mut self, step: guard::Step) -> Vec<Happening> {
        let (targets, happening) = match step {
            guard::Step::None | guard::Step::Held => return Vec::new(),
            guard::Step::Frozen(held) => {
                let happening = Happening::Frozen { n_fallen: held.len(), n_probed: self.behind.len() };
                (held, happening)
            }
            guard::Step::Thawed(held) => {
                let n_down = held.len();
                (held, Happening::Thawed { n_down })
            }
        };
        for target in &targets {
            self.stale.extend(self.behind(target).into_iter().map(|(index, _)| index));
        }
        vec![happening]
    }

    /// Lets those go who had to wait for others to leave.
    pub(super) fn release(&mut self, now: Timestamp) -> Vec<Happening> {
        let mut happenings = Vec::new();
        let waiting: Vec<Box<str>> =
            self.leaving.iter().filter(|(_, leaving)| !leaving.is_idle()).map(|(pool, _)| pool.clone()).collect();
        for pool in waiting {
            let index = self.pools_by_name.get(&pool).copied();
            let allowance = index.and_then(|index| self.allowance_of(index, RealserverId(0)));
            let Some(leaving) = self.leaving.get_mut(&pool) else { continue };
            let released = match allowance {
                Some((.., allowance)) => leaving.tick(allowance, now),
                // A reload has taken `max_leave` or the check away.
                None => leaving.release_all(),
            };
            if !released.is_empty() {
                let is_of_pool = |(_, parts): &(usize, &PoolParts)| parts.name() == &*pool;
                let indexes = self.parts.iter().enumerate().filter(is_of_pool).map(|(index, _)| index);
                self.stale.extend(indexes.collect::<Vec<_>>());
            }
            let named = |realserver| Happening::Released(RealserverName { pool: pool.clone(), realserver });
            happenings.extend(released.into_iter().map(named));
        }
        happenings
    }

    pub(super) fn certificate_seen(&mut self, target: Target, ends: Timestamp) -> Vec<Happening> {
        if !self.behind.contains_key(&target) || !self.is_probed(&target) {
            return Vec::new();
        }
        let now = self.now;
        let checked = self.checked.entry(target.clone()).or_default();
        let is_new = checked.certificate_shown(ends, &target.check, now);
        if is_new { vec![Happening::CertificateEnding(target, ends)] } else { Vec::new() }
    }

    /// Counts a connection that could not be made as a failure of the checks of that realserver.
    pub(super) fn connect_failed(&mut self, failed: &ConnectFailure) -> Vec<Happening> {
        let pool = self.pools_by_name.get(&failed.realserver.pool).and_then(|index| self.config.pools.get(*index));
        let Some(Members::Realservers { realservers, check: Some(check), .. }) = pool.map(|pool| &pool.members) else {
            return Vec::new();
        };
        let named = |realserver: &&config::Realserver| realserver.name == failed.realserver.realserver;
        let Some(realserver) = realservers.iter().find(named) else { return Vec::new() };
        let family = Family::of(failed.address);
        if realserver.address(family) != Some(failed.address) {
            return Vec::new();
        }
        let cause = if failed.is_refused { Cause::Refused } else { Cause::Realserver };
        let failure = Failure { text: format!("a listener's connection: {}", failed.error).into(), cause };
        // Where several checks decide, an echo has not failed because a port was closed.
        let connects = |leaf: &&Arc<config::Check>| Arc::ptr_eq(leaf, check) || leaf.connects();
        let leaves = check.leaves();
        let targets = leaves.iter().filter(connects);
        let targets: Vec<Target> =
            targets.filter_map(|leaf| Target::new(leaf, &failed.realserver.pool, realserver, family)).collect();
        let mut happenings = Vec::new();
        for target in targets {
            if !self.is_probed(&target) {
                continue;
            }
            let unknown = Checked::default();
            let before = self.checked.get(&target).unwrap_or(&unknown);
            let (from, n_left) = (before.health, before.n_left(&target.check));
            if let Some(after) = before.observe_passive(&failure, &target.check, self.now) {
                happenings.extend(self.put(target, from, n_left, after));
            }
        }
        happenings
    }

    /// The realservers of pools whose health a target's is.
    pub(super) fn behind(&self, target: &Target) -> Vec<(usize, RealserverId)> {
        self.behind.get(target).map(|behind| behind.realservers.clone()).unwrap_or_default()
    }

    /// The health of a realserver in a pool where several checks decide, the best of its addresses; `None` elsewhere.
    pub(super) fn calculated_health(&self, index: usize, id: RealserverId) -> Option<Health> {
        let pool = self.config.pools.get(index).filter(|_| self.is_calculated(index))?;
        let Members::Realservers { realservers, check, .. } = &pool.members else { return None };
        Some(self.stand(pool, check.as_ref(), realservers.get(usize::from(id.0))?).health(None))
    }

    pub(super) fn names_behind(&self, target: &Target) -> impl Iterator<Item = RealserverName> {
        let behind = self.behind.get(target).into_iter().flat_map(|behind| &behind.realservers);
        behind.filter_map(|(index, id)| self.parts.get(*index)?.name_of(*id))
    }
}
