//! The one mutable truth, with one owner: configuration, zones, health and overrides go in as [`Event`]s, [`Snapshot`]s come out.
//!
//! Pure: it opens nothing, knows no clock, and tells what happened as [`Happening`]s instead of logging. What was refused leaves it as it
//! was. Its owner publishes what [`State::snapshot`] makes; nobody else ever writes.

mod build;
mod guard;
mod operate;
mod overrides;
pub mod pattern;
pub mod saved;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use jiff::Timestamp;

pub use self::{
    build::PoolParts,
    overrides::{Effective, Override, Overrides, Subject, Wish},
};
use self::{
    guard::{Allowance, Freeze, Leaving},
    pattern::Pattern,
};
use crate::{
    config::{self, Config, Members, PoolIndex},
    diagnostic::{Diagnostics, Severity},
    geo::Geo,
    health::{Checked, Outcome, Target},
    name::Name,
    protect::Protection,
    snapshot::{Identity, Listener, Pool, Snapshot},
    types::{Admin, Family, Generation, Health, PoolId, RealserverId, Ttl, Weight},
    zone::{ServedZone, Zone, ZoneSet},
};

/// Everything that can change what is answered.
#[derive(Debug)]
pub enum Event {
    /// A checked configuration, with the geo databases that it names, loaded.
    Configured(Arc<Config>, Arc<Geo>),
    /// The geo databases were read again.
    GeoLoaded(Arc<Geo>),
    /// What DNS does about forged and too many queries has changed: other settings, or other secrets.
    Protected(Arc<Protection>),
    /// A zone was read, for the first time or again.
    ZoneLoaded(Arc<Zone>),
    /// A zone's file is gone.
    ZoneRemoved(Name),
    /// A secondary zone must not be served any more, or is not there yet: its names get SERVFAIL.
    ZoneExpired(Name),
    /// A probe ended.
    Probed(Target, Outcome),
    /// An operator spoke, of everybody whom the pattern means.
    OperatorSet(Pattern, Override),
    /// An operator ends a freeze: what the probes say is so.
    Thaw,
    /// Time has passed: overrides may have run out, and those who are held may go.
    Tick,
}

/// What came of an event, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A target's health changed, and with it that of the realservers behind it.
    HealthChanged {
        /// Who, and where it was probed.
        target: Target,
        /// `POOL/REALSERVER` of each that it is the health of.
        realservers: Vec<RealserverName>,
        /// Before.
        from: Health,
        /// After.
        to: Health,
        /// Why the probe failed, if it did.
        error: Option<Arc<str>>,
    },
    /// Operators have forced the health of these, so that the change just told is not seen in any answer.
    HealthMasked(Vec<RealserverName>),
    /// What an operator has set, or taken back, and who that was.
    OverrideSet(Subject, Override),
    /// What an operator had set ran out.
    OverrideEnded(Subject, Override),
    /// A pool has nobody eligible now, or has somebody again.
    PoolChanged {
        /// The pool's name.
        pool: Box<str>,
        /// Whether nobody is eligible.
        is_all_down: bool,
    },
    /// So many of all probed addresses fell at once that this node's own network is blamed: they stay in service.
    Frozen {
        /// How many fell.
        n_fallen: usize,
        /// Of how many.
        n_probed: usize,
    },
    /// The probes are believed again.
    Thawed {
        /// How many addresses that had been held are down now.
        n_down: usize,
    },
    /// A realserver is down and stays in service: its pool's `max_leave` have left in this interval already.
    Held(RealserverName),
    /// A realserver that was held has left.
    Released(RealserverName),
    /// A zone waits until the configuration has the pools that it names.
    ZonePending(Name),
}

/// Where a realserver stands in the configuration: the key of everything that outlives snapshots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RealserverName {
    /// Its pool.
    pub pool: Box<str>,
    /// Its name there.
    pub realserver: Box<str>,
}

impl std::fmt::Display for RealserverName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.pool, self.realserver)
    }
}

/// A zone in service, and one that waits for its pools.
#[derive(Debug, Default)]
struct Loaded {
    current: Option<Arc<Zone>>,
    pending: Option<Arc<Zone>>,
    /// Whether `current` stands only for its name.
    is_expired: bool,
}

/// See the module.
#[derive(Debug)]
pub struct State {
    config: Arc<Config>,
    geo: Arc<Geo>,
    protection: Arc<Protection>,
    zones: BTreeMap<Name, Loaded>,
    checked: HashMap<Target, Checked>,
    /// Health from before a restart or from under another check, taken up when targets are indexed.
    restored: HashMap<saved::TargetKey, Checked>,
    overrides: Overrides,
    /// What of a pool does not follow from health, by index into the snapshot's pools.
    parts: Vec<PoolParts>,
    /// Whose health a target's is: realservers of pools, these as indexes into `parts`. Has every target there is.
    behind: HashMap<Target, Vec<(usize, RealserverId)>>,
    /// The configured pools by name.
    pools_by_name: HashMap<Box<str>, PoolIndex>,
    pools: Vec<Arc<Pool>>,
    /// Which of these have to be built anew before the next snapshot.
    stale: BTreeSet<usize>,
    freeze: Freeze,
    /// Of the pools with `max_leave` that somebody has left lately.
    leaving: BTreeMap<Box<str>, Leaving>,
    zone_set: Arc<ZoneSet>,
    generation: Generation,
    is_changed: bool,
}

impl State {
    /// A state with a configuration, and with what was saved before a restart. Zones come as events, and so does protection.
    pub fn new(config: Arc<Config>, geo: Arc<Geo>, saved: saved::Saved, now: Timestamp) -> Self {
        let (overrides, restored) = saved.into_parts();
        let mut state = Self {
            config: config.clone(),
            geo: geo.clone(),
            protection: Arc::default(),
            zones: BTreeMap::new(),
            checked: HashMap::new(),
            restored,
            overrides,
            parts: Vec::new(),
            behind: HashMap::new(),
            pools_by_name: HashMap::new(),
            pools: Vec::new(),
            stale: BTreeSet::new(),
            freeze: Freeze::default(),
            leaving: BTreeMap::new(),
            zone_set: Arc::default(),
            generation: Generation(0),
            is_changed: true,
        };
        state.configure(config, geo);
        state.expire_overrides(now);
        state
    }

    /// Takes one event in. On an error nothing has changed.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Result<Vec<Happening>, Diagnostics> {
        match event {
            Event::Configured(config, geo) => self.try_configure(config, geo),
            Event::GeoLoaded(geo) => {
                self.configure(self.config.clone(), geo);
                Ok(Vec::new())
            }
            Event::Protected(protection) => {
                self.protection = protection;
                self.is_changed = true;
                Ok(Vec::new())
            }
            Event::ZoneLoaded(zone) => self.load_zone(zone),
            Event::ZoneExpired(apex) => {
                self.expire_zone(&apex);
                Ok(Vec::new())
            }
            Event::ZoneRemoved(apex) => {
                self.remove_zone(&apex);
                Ok(Vec::new())
            }
            Event::Probed(target, outcome) => Ok(self.probed(target, &outcome, now)),
            Event::OperatorSet(pattern, new) => self.set_override(&pattern, new),
            Event::Thaw => {
                let step = self.freeze.thaw();
                Ok(self.follow_freeze(step))
            }
            Event::Tick => {
                let mut happenings = self.expire_overrides(now);
                let step = self.freeze.tick(now);
                happenings.extend(self.follow_freeze(step));
                happenings.extend(self.release(now));
                Ok(happenings)
            }
        }
    }

    /// Builds the pools that events have changed, each once however many they were, and says which have lost or found their last eligible
    /// realserver.
    pub fn settle(&mut self) -> Vec<Happening> {
        let stale = std::mem::take(&mut self.stale);
        self.rebuild(stale)
    }

    /// The snapshot that follows, if anything has changed since the last one was made; after [`settle`](Self::settle).
    pub fn snapshot(&mut self) -> Option<Arc<Snapshot>> {
        self.settle();
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        self.generation = Generation(self.generation.0 + 1);
        let dns = &self.config.dns;
        let identity =
            Identity { version: dns.version.as_deref().map(Box::from), nsid: dns.nsid.as_deref().map(Box::from) };
        let schedulers = self.parts.get(self.config.pools.len()..).unwrap_or_default();
        let mut listeners: Vec<Listener> = self
            .config
            .listeners
            .iter()
            .filter_map(|listener| {
                let index = match listener.scheduler {
                    None => listener.pool,
                    // Those of listeners come after all others.
                    Some(_) => self.config.pools.len() + schedulers.iter().position(|parts| parts.is_of(listener))?,
                };
                Some(Listener { name: listener.name.clone(), pool: pool_id(index), config: listener.clone() })
            })
            .collect();
        listeners.sort_by(|a, b| a.name.cmp(&b.name));
        Some(Arc::new(Snapshot {
            generation: self.generation,
            zones: self.zone_set.clone(),
            pools: self.pools.clone().into(),
            geo: self.geo.clone(),
            identity: Arc::new(identity),
            transfer: self.config.dns.transfer.clone(),
            protection: self.protection.clone(),
            redirect: Arc::new(self.config.redirect.clone()),
            listeners: listeners.into(),
        }))
    }

    /// Everything that is to be probed, each once: realservers in maint are left alone.
    pub fn targets(&self) -> Vec<Target> {
        self.behind.keys().filter(|target| self.is_probed(target)).cloned().collect()
    }

    /// The configuration in force.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The zones in service, and those that wait for pools (`true`).
    pub fn zones(&self) -> impl Iterator<Item = (&Arc<Zone>, bool)> {
        let current = self.zones.values().filter_map(|loaded| loaded.current.as_ref()).map(|zone| (zone, false));
        current.chain(self.zones.values().filter_map(|loaded| loaded.pending.as_ref()).map(|zone| (zone, true)))
    }

    /// What operators have set.
    pub fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// How a target's health came about.
    pub fn checked(&self, target: &Target) -> Option<&Checked> {
        self.checked.get(target)
    }

    /// Since when most of what the probes find is not believed, if it is so.
    pub fn frozen_since(&self) -> Option<Timestamp> {
        self.freeze.since()
    }

    /// What has to outlive a restart.
    pub fn to_saved(&self, now: Timestamp) -> saved::Saved {
        saved::Saved::new(&self.overrides, &self.checked, now)
    }

    /// Checks that `zone` names only pools that `config` has, as [`Event::ZoneLoaded`] would.
    pub fn check_zone(config: &Config, zone: &Zone) -> Result<(), Diagnostics> {
        resolve(config, &pools_by_name(config), zone).map(|_| ())
    }

    fn load_zone(&mut self, zone: Arc<Zone>) -> Result<Vec<Happening>, Diagnostics> {
        let resolved = resolve(&self.config, &self.pools_by_name, &zone);
        let loaded = self.zones.entry(zone.apex().clone()).or_default();
        match resolved {
            Ok(pools) => {
                *loaded = Loaded { current: Some(zone.clone()), pending: None, is_expired: false };
                // One zone of ten thousand: the set is copied once and changed at one place, the others are shared.
                let mut set = (*self.zone_set).clone();
                set.insert(Arc::new(ServedZone { zone, pools, is_expired: false }));
                self.zone_set = Arc::new(set);
                self.is_changed = true;
                Ok(Vec::new())
            }
            Err(findings) => {
                // The zone may come a moment before the configuration that has its pools.
                loaded.pending = Some(zone);
                Err(findings)
            }
        }
    }

    fn expire_zone(&mut self, apex: &Name) {
        // One name's zone is as good as another: nothing in it is ever answered.
        let text = format!("{apex} 0 SOA . . 0 0 0 0 0\n{apex} 0 NS .\n");
        let Ok((zone, _)) = Zone::from_text(Path::new("expired.zone"), &text) else { return };
        let zone = Arc::new(zone);
        let loaded = Loaded { current: Some(zone.clone()), pending: None, is_expired: true };
        self.zones.insert(apex.clone(), loaded);
        let mut set = (*self.zone_set).clone();
        set.insert(Arc::new(ServedZone { zone, pools: Box::new([]), is_expired: true }));
        self.zone_set = Arc::new(set);
        self.is_changed = true;
    }

    fn remove_zone(&mut self, apex: &Name) {
        if self.zones.remove(apex).is_some_and(|loaded| loaded.current.is_some()) {
            let mut set = (*self.zone_set).clone();
            set.remove(apex);
            self.zone_set = Arc::new(set);
            self.is_changed = true;
        }
    }

    /// Takes a configuration whose pools are enough for the zones, each as it waits or else as it is served.
    fn try_configure(&mut self, config: Arc<Config>, geo: Arc<Geo>) -> Result<Vec<Happening>, Diagnostics> {
        let mut findings = Diagnostics::default();
        let by_name = pools_by_name(&config);
        let resolved = |zone: &Option<Arc<Zone>>| Some(resolve(&config, &by_name, zone.as_ref()?));
        for loaded in self.zones.values() {
            if !matches!(resolved(&loaded.pending), Some(Ok(_)))
                && let Some(Err(unknown)) = resolved(&loaded.current)
            {
                findings.extend(unknown);
            }
        }
        if findings.has_errors() {
            return Err(findings);
        }
        self.configure(config, geo);
        Ok(self
            .zones
            .iter()
            .filter(|(_, loaded)| loaded.pending.is_some())
            .map(|(apex, _)| Happening::ZonePending(apex.clone()))
            .collect())
    }

    fn configure(&mut self, config: Arc<Config>, geo: Arc<Geo>) {
        let is_geo_same = Arc::ptr_eq(&geo, &self.geo);
        let built = build::parts(&config, &geo, &self.parts, is_geo_same);
        let old_pools = std::mem::take(&mut self.pools);
        self.parts = built.parts;
        // All pools are built below.
        self.stale.clear();
        self.pools_by_name = pools_by_name(&config);
        self.config = config;
        self.geo = geo;
        self.index_targets();
        self.leaving.retain(|pool, _| self.pools_by_name.contains_key(pool));
        // A pool that is built of the same parts keeps its place in the round robin.
        let earlier = built.earlier.into_iter().map(|index| old_pools.get(index?).cloned());
        self.pools = earlier.enumerate().filter_map(|(index, earlier)| self.build_pool(index, earlier)).collect();
        self.serve_zones();
    }

    /// Makes the zone set anew: pools have other numbers, or several zones have changed.
    fn serve_zones(&mut self) {
        let mut set = ZoneSet::new();
        for loaded in self.zones.values_mut() {
            let is_expired = loaded.is_expired;
            let resolve = |zone: &Arc<Zone>| {
                let pools = resolve(&self.config, &self.pools_by_name, zone).ok()?;
                Some(Arc::new(ServedZone { zone: zone.clone(), pools, is_expired }))
            };
            let served = match loaded.pending.as_ref().and_then(resolve) {
                Some(served) => {
                    loaded.current = loaded.pending.take();
                    Some(served)
                }
                None => loaded.current.as_ref().and_then(resolve),
            };
            if let Some(served) = served {
                set.insert(served);
            }
        }
        self.zone_set = Arc::new(set);
        self.is_changed = true;
    }

    /// Notes whose health each target's is, forgets targets that are gone, and takes up health from before.
    fn index_targets(&mut self) {
        let mut behind: HashMap<Target, Vec<(usize, RealserverId)>> = HashMap::new();
        for (index, parts) in self.parts.iter().enumerate() {
            for (target, id) in parts.probed() {
                behind.entry(target).or_default().push((index, id));
            }
        }
        // A check with another name or other numbers is another target, and what was known under the old one is better than nothing.
        let mut renamed = HashMap::new();
        for (target, checked) in self.checked.extract_if(|target, _| !behind.contains_key(target)) {
            renamed.insert(nameless(&target), checked.clone());
            self.restored.insert(saved::TargetKey::new(&target), checked);
        }
        if !renamed.is_empty() || !self.restored.is_empty() {
            for target in behind.keys().filter(|target| !self.checked.contains_key(target)).cloned().collect::<Vec<_>>()
            {
                let known =
                    self.restored.get(&saved::TargetKey::new(&target)).or_else(|| renamed.get(&nameless(&target)));
                if let Some(known) = known.cloned() {
                    self.checked.insert(target, known);
                }
            }
        }
        self.restored.clear();
        self.behind = behind;
        // Who is gone cannot come back and end a freeze.
        let gone: Vec<Target> =
            self.freeze.held().filter(|target| !self.behind.contains_key(target)).cloned().collect();
        for target in gone {
            self.freeze.forget(&target);
        }
    }

    /// Builds pool `index` from its parts, health and overrides; gives back `old` if that is what it comes to.
    fn build_pool(&self, index: usize, old: Option<Arc<Pool>>) -> Option<Arc<Pool>> {
        let parts = self.parts.get(index)?;
        let pool = self.config.pools.get(parts.pool)?;
        let realservers = match &pool.members {
            Members::Pools { .. } => Vec::new(),
            Members::Realservers { realservers, check, .. } => {
                let stand = |realserver| self.stand(&pool.name, check.as_ref(), realserver);
                realservers.iter().map(stand).collect()
            }
        };
        let sure_for = if self.follows_certainty() { self.sure_for(parts) } else { Ttl::MAX };
        match old {
            Some(old) if build::is_same(&old, &realservers, sure_for) => Some(old),
            old => Some(Arc::new(build::pool(pool, parts, realservers, sure_for, old.as_deref()))),
        }
    }

    /// Whether some pool wants to know how long health is sure to stay.
    fn follows_certainty(&self) -> bool {
        self.config.pools.iter().any(|pool| pool.min_ttl.is_some())
    }

    /// The least time until probes could change the health of somebody in the pool: the results that are still needed, one an interval.
    fn sure_for(&self, parts: &PoolParts) -> Ttl {
        let unknown = Checked::default();
        let seconds = parts.probed().map(|(target, _)| {
            let n_left = self.checked.get(&target).unwrap_or(&unknown).n_left(&target.check);
            target.check.interval.saturating_mul(n_left).as_secs().max(1)
        });
        let least = seconds.min().and_then(|seconds| u32::try_from(seconds).ok());
        least.and_then(Ttl::new).unwrap_or(Ttl::MAX)
    }

    /// A realserver as it stands now.
    fn stand(
        &self,
        pool: &str,
        check: Option<&Arc<config::Check>>,
        realserver: &config::Realserver,
    ) -> crate::snapshot::Realserver {
        let set = self.overrides.effective(pool, &realserver.name);
        let checked = |family| self.checked.get(&Target::new(check?, realserver, family)?);
        let health = |family| match (set.force().health(), check) {
            (Some(forced), _) => forced,
            (None, None) => Health::Up,
            (None, Some(_)) => checked(family).map_or(Health::Unknown, |checked| checked.health),
        };
        let error = |family| {
            checked(family)
                .filter(|checked| checked.health == Health::Down)
                .and_then(|checked| checked.last_error.clone())
        };
        let is_leaving_late = self.leaving.get(pool).is_some_and(|leaving| leaving.holds(&realserver.name));
        let is_frozen = |family| {
            let target = check.and_then(|check| Target::new(check, realserver, family));
            target.is_some_and(|target| self.freeze.holds(&target))
        };
        // What an operator says is so, whatever a guard does not believe of the probes.
        let is_held = |family| set.health.is_none() && (is_leaving_late || is_frozen(family));
        let why = match set.traffic.or(set.health) {
            Some(set) => Some(set.why().into()),
            None => error(Family::V4).or_else(|| error(Family::V6)),
        };
        crate::snapshot::Realserver {
            name: realserver.name.clone(),
            v4: realserver.v4,
            v6: realserver.v6,
            port: realserver.port,
            weight: realserver.weight,
            url: realserver.url.clone(),
            health_v4: health(Family::V4),
            health_v6: health(Family::V6),
            is_held_v4: is_held(Family::V4),
            is_held_v6: is_held(Family::V6),
            admin: set.admin(),
            is_forced: set.health.is_some(),
            why,
        }
    }

    /// Builds these pools anew, and says which of them have lost or found their last eligible realserver.
    fn rebuild(&mut self, indexes: impl IntoIterator<Item = usize>) -> Vec<Happening> {
        let mut happenings = Vec::new();
        for index in indexes {
            let Some(old) = self.pools.get(index).cloned() else { continue };
            let Some(new) = self.build_pool(index, Some(old.clone())) else { continue };
            if Arc::ptr_eq(&old, &new) {
                continue;
            }
            let (was_all_down, is_all_down) = (build::is_all_down(&old), build::is_all_down(&new));
            if was_all_down != is_all_down && index < self.config.pools.len() {
                happenings.push(Happening::PoolChanged { pool: new.name.clone(), is_all_down });
            }
            if let Some(place) = self.pools.get_mut(index) {
                *place = new;
                self.is_changed = true;
            }
        }
        happenings
    }

    fn probed(&mut self, target: Target, outcome: &Outcome, now: Timestamp) -> Vec<Happening> {
        // A probe that was on its way when its target left, or went into maint, has nothing to say any more.
        let Some(behind) = self.behind.get(&target).filter(|_| self.is_probed(&target)) else { return Vec::new() };
        let indexes: BTreeSet<usize> = behind.iter().map(|(index, _)| *index).collect();
        let mut realservers: Vec<RealserverName> = self.names_behind(&target).collect();
        let before = self.checked.remove(&target).unwrap_or_default();
        let (from, n_left) = (before.health, before.n_left(&target.check));
        let after = before.observe(outcome, &target.check, now);
        let (to, error) = (after.health, after.last_error.clone());
        let is_as_sure = after.n_left(&target.check) == n_left;
        self.checked.insert(target.clone(), after);
        if from != to || (!is_as_sure && self.follows_certainty()) {
            self.stale.extend(indexes);
        }
        if from == to {
            return Vec::new();
        }
        realservers.sort();
        realservers.dedup();
        let is_forced =
            |name: &&RealserverName| self.overrides.effective(&name.pool, &name.realserver).health.is_some();
        let masked: Vec<RealserverName> = realservers.iter().filter(is_forced).cloned().collect();
        let changed = Happening::HealthChanged { target: target.clone(), realservers, from, to, error };
        let masked = (!masked.is_empty()).then_some(Happening::HealthMasked(masked));
        std::iter::once(changed).chain(masked).chain(self.guard(&target, from, to, now)).collect()
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
        for (index, id) in self.behind.get(target).cloned().unwrap_or_default() {
            let Some((pool, name, weight, allowance)) = self.allowance_of(index, id) else { continue };
            let is_back = || self.parts.get(index).is_some_and(|parts| self.has_nothing_down(parts, id));
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
    fn follow_freeze(&mut self, step: guard::Step) -> Vec<Happening> {
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
            self.stale.extend(self.behind.get(target).into_iter().flatten().map(|(index, _)| *index));
        }
        vec![happening]
    }

    /// Lets those go who had to wait for others to leave.
    fn release(&mut self, now: Timestamp) -> Vec<Happening> {
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

    fn names_behind(&self, target: &Target) -> impl Iterator<Item = RealserverName> {
        let behind = self.behind.get(target).into_iter().flatten();
        behind.filter_map(|(index, id)| self.parts.get(*index)?.name_of(*id))
    }

    /// Whether some realserver behind the target is not in maint.
    fn is_probed(&self, target: &Target) -> bool {
        let is_in_maint =
            |name: RealserverName| self.overrides.effective(&name.pool, &name.realserver).admin() == Admin::Maint;
        self.overrides.is_empty() || !self.names_behind(target).all(is_in_maint)
    }
}

/// The pools of a configured zone, or what is wrong with it.
fn resolve(config: &Config, by_name: &HashMap<Box<str>, PoolIndex>, zone: &Zone) -> Result<Box<[PoolId]>, Diagnostics> {
    let mut findings = Diagnostics::default();
    let mut ids = Vec::with_capacity(zone.pools().len());
    for used in zone.pools() {
        match by_name.get(&used.name) {
            Some(&index) => ids.push(pool_id(index)),
            None => {
                let error = used.diagnostic(Severity::Error, format!("unknown pool `{}`", used.name));
                let names: Vec<&str> = config.pools.iter().map(|pool| &*pool.name).collect();
                let path = config.path.display();
                findings.push(match names.is_empty() {
                    true => error.hint(format!("`{path}` has no pools")),
                    false => error.hint(format!("pools in `{path}`: {}", listed(&names))),
                });
            }
        }
    }
    if findings.has_errors() { Err(findings) } else { Ok(ids.into()) }
}

fn pools_by_name(config: &Config) -> HashMap<Box<str>, PoolIndex> {
    config.pools.iter().map(|pool| pool.name.clone()).zip(0..).collect()
}

/// The first names of a list that may be long, for a hint.
fn listed(names: &[&str]) -> String {
    const LISTED_MAX: usize = 16;
    let shown: Vec<&str> = names.iter().copied().take(LISTED_MAX).collect();
    let more = match names.len() - shown.len() {
        0 => String::new(),
        n_more => format!(" and {n_more} more"),
    };
    format!("`{}`{more}", shown.join("`, `"))
}

/// A target by what its check does: a check that was only renamed is the same probe.
fn nameless(target: &Target) -> Target {
    Target { check: Arc::new(config::Check { name: "".into(), ..(*target.check).clone() }), address: target.address }
}

/// Indexes of pools are far below 2^32: each takes more than one byte of configuration.
fn pool_id(index: PoolIndex) -> PoolId {
    PoolId(u32::try_from(index).unwrap_or(u32::MAX))
}
