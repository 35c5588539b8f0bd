//! The one mutable truth, with one owner: configuration, zones, health and overrides go in as [`Event`]s, [`Snapshot`]s come out.
//!
//! Pure: it opens nothing, knows no clock, and tells what happened as [`Happening`]s instead of logging. What was refused leaves it as it
//! was. Its owner publishes what [`State::snapshot`] makes; nobody else ever writes.

mod build;
mod guard;
mod health;
#[cfg(test)]
mod health_tests;
mod operate;
mod overrides;
pub mod pattern;
pub mod place;
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
    guard::{Freeze, Leaving},
    pattern::Pattern,
};
pub use crate::types::RealserverName;
use crate::{
    config::{self, Config, Members, PoolIndex},
    diagnostic::{Diagnostics, Severity},
    geo::Geo,
    health::{Checked, ConnectFailure, Outcome, Target, calculate},
    name::Name,
    protect::Protection,
    snapshot::{Identity, Listener, Pool, Snapshot},
    types::{Admin, Family, Generation, Health, PoolId, RealserverId, Tenths, Ttl},
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
    /// A probe was shown a certificate that is valid until then.
    CertificateSeen(Target, Timestamp),
    /// Somebody else could not connect to a realserver.
    ConnectFailed(ConnectFailure),
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
    /// A realserver's health changed that is calculated from several checks.
    RealserverChanged {
        /// Who.
        realserver: RealserverName,
        /// Before.
        from: Health,
        /// After.
        to: Health,
    },
    /// The certificate that a target shows ends soon, or has ended.
    CertificateEnding(Target, Timestamp),
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

/// What health has to tell besides itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Whether what probes find is not believed.
    pub is_frozen: bool,
    /// Targets whose health no probe has confirmed for three intervals.
    pub n_stale: usize,
    /// Targets whose certificate ends soon, or has ended.
    pub n_ending: usize,
    /// When the certificate ends that each target has shown.
    pub certificates: Vec<(Target, Timestamp)>,
}

/// Whose health a target's is.
#[derive(Debug)]
struct Behind {
    /// Realservers of pools, these as indexes into [`State::parts`].
    realservers: Vec<(usize, RealserverId)>,
    /// Since when it is probed.
    named: Timestamp,
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
    /// Has every target there is.
    behind: HashMap<Target, Behind>,
    /// Pools where somebody takes less than its weight because it has just come up.
    ramping: BTreeSet<usize>,
    /// When the last event came.
    now: Timestamp,
    /// The configured pools by name.
    pools_by_name: HashMap<Box<str>, PoolIndex>,
    pools: Vec<Arc<Pool>>,
    /// Which of these have to be built anew before the next snapshot.
    stale: BTreeSet<usize>,
    /// Whether some pool wants to know how long health is sure to stay.
    follows_certainty: bool,
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
            ramping: BTreeSet::new(),
            now,
            pools_by_name: HashMap::new(),
            pools: Vec::new(),
            stale: BTreeSet::new(),
            follows_certainty: false,
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
        self.now = now;
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
            Event::Probed(target, outcome) => Ok(self.probed(target, &outcome)),
            Event::CertificateSeen(target, ends) => Ok(self.certificate_seen(target, ends)),
            Event::ConnectFailed(failure) => Ok(self.connect_failed(&failure)),
            Event::OperatorSet(pattern, new) => self.set_override(&pattern, new),
            Event::Thaw => {
                let step = if self.freeze.since().is_some() { self.freeze.thaw() } else { guard::Step::None };
                Ok(self.follow_freeze(step))
            }
            Event::Tick => {
                let mut happenings = self.expire_overrides(now);
                let step = self.freeze.tick(now);
                happenings.extend(self.follow_freeze(step));
                happenings.extend(self.release(now));
                self.stale.extend(&self.ramping);
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
        self.follows_certainty = config.pools.iter().any(|pool| pool.min_ttl.is_some());
        self.config = config;
        self.geo = geo;
        self.index_targets();
        self.leaving.retain(|pool, _| self.pools_by_name.contains_key(pool));
        // A pool that is built of the same parts keeps its place in the round robin.
        let earlier = built.earlier.into_iter().map(|index| old_pools.get(index?).cloned());
        self.pools = earlier.enumerate().filter_map(|(index, earlier)| self.build_pool(index, earlier)).collect();
        self.ramping =
            (0..).zip(&self.pools).filter(|(_, pool)| build::is_ramping(pool)).map(|(index, _)| index).collect();
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
        let mut behind: HashMap<Target, Behind> = HashMap::new();
        for (index, parts) in self.parts.iter().enumerate() {
            for (target, id) in parts.probed() {
                let named = self.behind.get(&target).map_or(self.now, |before| before.named);
                let entry = behind.entry(target).or_insert_with(|| Behind { realservers: Vec::new(), named });
                // A calculated check may name one that it leads to a second time.
                if !entry.realservers.contains(&(index, id)) {
                    entry.realservers.push((index, id));
                }
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
                let stand = |realserver| self.stand(pool, check.as_ref(), realserver);
                realservers.iter().map(stand).collect()
            }
        };
        let sure_for = if self.follows_certainty { self.sure_for(parts) } else { Ttl::MAX };
        match old {
            Some(old) if build::is_same(&old, &realservers, sure_for) => Some(old),
            old => Some(Arc::new(build::pool(pool, parts, realservers, sure_for, old.as_deref()))),
        }
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
        pool: &config::Pool,
        check: Option<&Arc<config::Check>>,
        realserver: &config::Realserver,
    ) -> crate::snapshot::Realserver {
        let set = self.overrides.effective(&pool.name, &realserver.name);
        let checked =
            |check: &Arc<config::Check>, family| self.checked.get(&Target::new(check, &pool.name, realserver, family)?);
        let health = |family| match (set.force().health(), check) {
            (Some(forced), _) => forced,
            (None, None) => Health::Up,
            (None, Some(check)) => {
                calculate(check, &mut |leaf| checked(leaf, family).map_or(Health::Unknown, |one| one.health))
            }
        };
        let health = [Family::V4, Family::V6].map(health);
        let leaves = |is_wanted: bool| check.filter(|_| is_wanted).map(config::Check::leaves).unwrap_or_default();
        let error = |family, is_down| {
            let all = leaves(is_down);
            let down = all.iter().filter_map(|leaf| checked(leaf, family)).find(|one| one.health == Health::Down);
            down.and_then(|one| one.last_error.clone())
        };
        let is_leaving_late = self.leaving.get(&pool.name).is_some_and(|leaving| leaving.holds(&realserver.name));
        let is_frozen = |family| {
            let holds =
                |leaf| Target::new(leaf, &pool.name, realserver, family).is_some_and(|one| self.freeze.holds(&one));
            self.freeze.since().is_some() && leaves(true).iter().any(holds)
        };
        // What an operator says is so, whatever a guard does not believe of the probes.
        let is_held = |family| set.health.is_none() && (is_leaving_late || is_frozen(family));
        let why = match set.traffic.or(set.health) {
            Some(set) => Some(set.why().into()),
            None => {
                let [v4, v6] = health.map(|health| health == Health::Down);
                error(Family::V4, v4).or_else(|| error(Family::V6, v6))
            }
        };
        let tenths = |family, health| {
            let all = leaves(pool.ramp.is_some() && health == Health::Up);
            let recovered = all.iter().filter_map(|leaf| checked(leaf, family)?.recovered).max();
            pool.ramp.zip(recovered).map_or(Tenths::ALL, |(ramp, recovered)| build::ramped(ramp, recovered, self.now))
        };
        let [health_v4, health_v6] = health;
        crate::snapshot::Realserver {
            name: realserver.name.clone(),
            v4: realserver.v4,
            v6: realserver.v6,
            port: realserver.port,
            weight: realserver.weight,
            url: realserver.url.clone(),
            health_v4,
            health_v6,
            tenths_v4: tenths(Family::V4, health_v4),
            tenths_v6: tenths(Family::V6, health_v6),
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
            let is_configured = index < self.config.pools.len();
            if is_configured && self.is_calculated(index) {
                happenings.extend(build::changes(&old, &new));
            }
            if was_all_down != is_all_down && is_configured {
                happenings.push(Happening::PoolChanged { pool: new.name.clone(), is_all_down });
            }
            if build::is_ramping(&new) {
                self.ramping.insert(index);
            } else {
                self.ramping.remove(&index);
            }
            if let Some(place) = self.pools.get_mut(index) {
                *place = new;
                self.is_changed = true;
            }
        }
        happenings
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
    Target { check: Arc::new(config::Check { name: "".into(), ..(*target.check).clone() }), ..target.clone() }
}

/// Indexes of pools are far below 2^32: each takes more than one byte of configuration.
fn pool_id(index: PoolIndex) -> PoolId {
    PoolId(u32::try_from(index).unwrap_or(u32::MAX))
}
