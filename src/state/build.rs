//! Pools as configured, with health and overrides, become the pools of a snapshot: candidates, round robin order, tables.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Happening, RealserverName,
    place::{self, Member},
    pool_id,
};
use crate::{
    config::{self, Config, OnExcluded, PoolIndex, PoolsPolicy},
    geo::{Class, Geo, Nearest, Rules, Table},
    health::Target,
    select::{maglev::Maglev, wrr::Sequence},
    snapshot::{
        Exclusion, GeoList, GeoMembers, Members, NearestPools, Orders, Policy, Pool, Realserver, Realservers, View,
    },
    types::{Admin, Family, Health, PoolId, RealserverId, Tenths, Ttl, Weight},
};

/// What of a snapshot's pool does not follow from health: made once a configuration, equal if nothing about the pool has changed.
#[derive(Clone, Debug)]
pub struct PoolParts {
    /// The configured pool.
    pub pool: PoolIndex,
    /// The configured pool itself and the names of all pools, which its indexes count in.
    made_of: (config::Pool, Arc<[Box<str>]>),
    /// The listener whose own scheduler this is, and that scheduler.
    scheduler: Option<(Box<str>, config::Policy)>,
    /// Affinity table of a pool with source-hash.
    maglev: Option<Arc<Maglev>>,
    /// Compiled places of a geo pool.
    table: Option<Arc<Table>>,
    /// What the orders of a nearest pool are made of; empty for others.
    located: Vec<Member>,
    /// Compiled distances of a nearest pool.
    orders: Option<Arc<Orders>>,
    /// Compiled places of those whom the pool does not serve.
    excluded: Option<Arc<Table>>,
}

/// Equal if they make equal pools: tables follow from the rest (and from the geo databases, which the caller compares).
impl PartialEq for PoolParts {
    fn eq(&self, other: &Self) -> bool {
        self.scheduler == other.scheduler
            && self.made_of.0 == other.made_of.0
            && self.located == other.located
            && (!self.names_pools() || self.made_of.1 == other.made_of.1)
    }
}

impl PoolParts {
    pub(super) fn is_leaf(&self) -> bool {
        matches!(self.made_of.0.members, config::Members::Realservers { .. })
    }

    /// Whether it refers to other pools, by their indexes.
    fn names_pools(&self) -> bool {
        !self.is_leaf() || self.made_of.0.exclusion.is_some()
    }

    /// Whether nothing in it comes from geo databases.
    fn is_free_of_geo(&self) -> bool {
        self.table.is_none() && self.orders.is_none() && self.excluded.is_none()
    }

    /// Whether this is the pool of `listener`'s own scheduler.
    pub(super) fn is_of(&self, listener: &config::Listener) -> bool {
        self.scheduler.as_ref().is_some_and(|(name, _)| *name == listener.name)
    }

    /// The configured pool's name.
    pub(super) fn name(&self) -> &str {
        &self.made_of.0.name
    }

    /// What makes it that of one pool, or of one listener's scheduler, in any configuration.
    fn key(&self) -> (Box<str>, Option<Box<str>>) {
        (self.made_of.0.name.clone(), self.scheduler.as_ref().map(|(listener, _)| listener.clone()))
    }

    /// Everything that is probed for this pool, with the realserver whose health it is.
    pub(super) fn probed(&self) -> impl Iterator<Item = (Target, RealserverId)> {
        let (realservers, leaves) = match &self.made_of.0.members {
            config::Members::Realservers { realservers, check: Some(check), .. } => {
                (realservers.as_slice(), check.leaves())
            }
            _ => (&[][..], Vec::new()),
        };
        let pool = &self.made_of.0.name;
        (0..).map(RealserverId).zip(realservers).flat_map(move |(id, realserver)| {
            let target = |leaf, family| Some((Target::new(leaf, pool, realserver, family)?, id));
            let of = |leaf| [Family::V4, Family::V6].into_iter().filter_map(move |family| target(leaf, family));
            leaves.iter().flat_map(of).collect::<Vec<_>>()
        })
    }

    /// The name of a realserver of this pool.
    pub(super) fn name_of(&self, id: RealserverId) -> Option<RealserverName> {
        let config::Members::Realservers { realservers, .. } = &self.made_of.0.members else { return None };
        let realserver = realservers.get(usize::from(id.0))?.name.clone();
        Some(RealserverName { pool: self.made_of.0.name.clone(), realserver })
    }
}

/// Parts, and the index of equal ones among the old.
pub(super) struct Built {
    pub(super) parts: Vec<PoolParts>,
    pub(super) earlier: Vec<Option<usize>>,
}

/// The parts of every configured pool, in their order, then of each listener with a scheduler of its own. What `old` has compiled already
/// is taken from there, what was compiled of geo databases only if they are the same.
pub(super) fn parts(config: &Config, geo: &Geo, old: &[PoolParts], is_geo_same: bool) -> Built {
    let names: Arc<[Box<str>]> = config.pools.iter().map(|pool| pool.name.clone()).collect();
    let old_by_name: HashMap<_, usize> = old.iter().map(PoolParts::key).zip(0..).collect();
    let own = |listener: &config::Listener| Some((listener.pool, Some((listener.name.clone(), listener.scheduler?))));
    let configured = (0..config.pools.len()).map(|index| (index, None));
    let mut built = Built { parts: Vec::with_capacity(config.pools.len()), earlier: Vec::new() };
    for (index, scheduler) in configured.chain(config.listeners.iter().filter_map(own)) {
        let Some(pool) = config.pools.get(index) else { continue };
        let located = place::members(config, geo, pool, scheduler.is_some());
        let made_of = (pool.clone(), names.clone());
        let (maglev, table, orders, excluded) = (None, None, None, None);
        let mut parts = PoolParts { pool: index, made_of, scheduler, maglev, table, located, orders, excluded };
        let earlier = old_by_name.get(&parts.key()).copied().filter(|&earlier| old.get(earlier) == Some(&parts));
        match earlier.and_then(|earlier| old.get(earlier)) {
            Some(before) if is_geo_same || before.is_free_of_geo() => {
                (parts.maglev, parts.table) = (before.maglev.clone(), before.table.clone());
                (parts.orders, parts.excluded) = (before.orders.clone(), before.excluded.clone());
                built.earlier.push(earlier);
            }
            _ => {
                compile(&mut parts, geo);
                built.earlier.push(None);
            }
        }
        built.parts.push(parts);
    }
    built
}

fn compile(parts: &mut PoolParts, geo: &Geo) {
    match &parts.made_of.0.members {
        config::Members::Realservers { policy, realservers, .. } => {
            let policy = parts.scheduler.as_ref().map_or(*policy, |(_, policy)| *policy);
            if policy == config::Policy::SourceHash {
                let members =
                    (0..).map(RealserverId).zip(realservers).map(|(id, member)| (id, &*member.name, member.weight));
                parts.maglev = Some(Arc::new(Maglev::new(members)));
            }
        }
        config::Members::Pools { policy: PoolsPolicy::Geo { keys, nets, .. }, .. } => {
            let class = |list: usize| Class(u32::try_from(list).unwrap_or(0));
            let rules = Rules {
                keys: keys.iter().map(|(key, list)| (*key, class(*list))).collect(),
                nets: nets.iter().map(|(net, list)| (*net, class(*list))).collect(),
                default: Class(0),
            };
            parts.table = Some(Arc::new(Table::compile(geo, &rules)));
        }
        config::Members::Pools { policy: PoolsPolicy::Failover | PoolsPolicy::Nearest { .. }, .. } => {}
    }
    if !parts.located.is_empty() {
        let coordinates: Vec<_> = parts.located.iter().map(|member| member.coordinates).collect();
        let default = place::default_order(&parts.made_of.0);
        parts.orders = Some(Arc::new(Orders::new(Nearest::compile(geo, &coordinates, &default))));
    }
    if let Some(exclusion) = &parts.made_of.0.exclusion {
        let keys = exclusion.places.iter().map(|key| (*key, Class(1))).collect();
        let rules = Rules { keys, nets: Vec::new(), default: Class(0) };
        parts.excluded = Some(Arc::new(Table::compile(geo, &rules)));
    }
}

/// A snapshot's pool of its parts and its realservers as they stand.
///
/// `earlier` is the pool of equal parts that it replaces, whose round robin it goes on with.
pub(super) fn pool(
    configured: &config::Pool,
    parts: &PoolParts,
    realservers: Vec<Realserver>,
    sure_for: Ttl,
    earlier: Option<&Pool>,
) -> Pool {
    let turns = match earlier.map(|pool| &pool.members) {
        Some(Members::Realservers(earlier)) => earlier.turns.clone(),
        _ => Arc::default(),
    };
    let name = match &parts.scheduler {
        None => configured.name.clone(),
        Some((listener, _)) => format!("{}@{listener}", configured.name).into(),
    };
    let members = match &configured.members {
        config::Members::Realservers { policy, affinity_prefix, .. } => {
            let policy = match (parts.scheduler.as_ref().map_or(*policy, |(_, policy)| *policy), &parts.maglev) {
                (config::Policy::SourceHash, Some(maglev)) => Policy::SourceHash(maglev.clone()),
                (config::Policy::Random, _) => Policy::Random,
                (config::Policy::Failover, _) => Policy::Failover,
                (config::Policy::Nearest, _) => {
                    parts.orders.as_ref().map_or(Policy::Wrr, |orders| Policy::Nearest(orders.clone()))
                }
                (config::Policy::Wrr | config::Policy::SourceHash, _) => Policy::Wrr,
            };
            let is_open = !realservers.iter().any(|realserver| realserver.is_eligible(None));
            Members::Realservers(Realservers {
                policy,
                views: [Some(Family::V4), Some(Family::V6), None].map(|family| view(&realservers, family, is_open)),
                is_failed: is_open || is_below(&realservers, configured.min_healthy),
                all: realservers.into(),
                affinity_prefix: *affinity_prefix,
                sure_for,
                turns,
            })
        }
        config::Members::Pools { members, policy: PoolsPolicy::Failover } => Members::Failover(pool_ids(members)),
        config::Members::Pools { members, policy: PoolsPolicy::Nearest { .. } } => match &parts.orders {
            Some(orders) => {
                let shares = parts.located.iter().map(|member| member.share);
                let pools = pool_ids(members).into_iter().zip(shares).collect();
                Members::Nearest(NearestPools { orders: orders.clone(), pools })
            }
            None => Members::Failover(pool_ids(members)),
        },
        config::Members::Pools { policy: PoolsPolicy::Geo { lists, keys, nets }, .. } => {
            let label = |index: usize| {
                let default = (index == 0).then(|| "default".to_owned());
                let keys = keys.iter().filter(|(_, list)| *list == index).map(|(key, _)| key.to_string());
                let nets = nets.iter().filter(|(_, list)| *list == index).map(|(net, _)| net.to_string());
                default.into_iter().chain(keys).chain(nets).collect::<Vec<_>>().join(", ").into()
            };
            let lists =
                lists.iter().enumerate().map(|(index, list)| GeoList { label: label(index), pools: pool_ids(list) });
            match &parts.table {
                Some(table) => Members::Geo(GeoMembers { table: table.clone(), lists: lists.collect() }),
                None => Members::Failover(lists.take(1).flat_map(|list| list.pools).collect()),
            }
        }
    };
    let config::Pool { answers, min_healthy, on_all_down, min_ttl, sticky, .. } = *configured;
    let exclusion = configured.exclusion.as_ref().zip(parts.excluded.clone()).map(|(exclusion, table)| Exclusion {
        table,
        places: exclusion.places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ").into(),
        instead: match exclusion.to {
            OnExcluded::Refused => None,
            OnExcluded::Pool(other) => Some(pool_id(other)),
        },
    });
    Pool { name, answers, min_healthy, on_all_down, min_ttl, members, exclusion, sticky }
}

fn pool_ids(indexes: &[PoolIndex]) -> Box<[PoolId]> {
    indexes.iter().map(|&index| pool_id(index)).collect()
}

/// Whether `pool` has these realservers, and they are as sure to stay as they are.
pub(super) fn is_same(pool: &Pool, realservers: &[Realserver], sure_for: Ttl) -> bool {
    match &pool.members {
        Members::Realservers(old) => *old.all == *realservers && old.sure_for == sure_for,
        _ => true,
    }
}

/// Whether nobody in the pool is eligible; never for a pool of pools.
pub(super) fn is_all_down(pool: &Pool) -> bool {
    match &pool.members {
        Members::Realservers(realservers) => realservers.all.iter().all(|realserver| !realserver.is_eligible(None)),
        _ => false,
    }
}

/// The part of its weight that a realserver takes which came up at `recovered`: a tenth more with each tenth of `ramp`.
pub(super) fn ramped(ramp: Duration, recovered: Timestamp, now: Timestamp) -> Tenths {
    // A clock that was set back must not hold anybody down.
    let Ok(elapsed) = Duration::try_from(now.duration_since(recovered)) else { return Tenths::ALL };
    let tenths = elapsed.as_millis().saturating_mul(10) / ramp.as_millis().max(1) + 1;
    Tenths::new(u8::try_from(tenths).unwrap_or(u8::MAX))
}

/// Whether somebody in the pool takes less than its weight.
pub(super) fn is_ramping(pool: &Pool) -> bool {
    match &pool.members {
        Members::Realservers(realservers) => realservers
            .all
            .iter()
            .any(|realserver| realserver.tenths_v4 != Tenths::ALL || realserver.tenths_v6 != Tenths::ALL),
        _ => false,
    }
}

/// Whose health differs between two states of a pool.
pub(super) fn changes(old: &Pool, new: &Pool) -> Vec<Happening> {
    let (Members::Realservers(before), Members::Realservers(after)) = (&old.members, &new.members) else {
        return Vec::new();
    };
    let pairs = before.all.iter().zip(&after.all);
    let changed = pairs.filter(|(before, after)| before.health(None) != after.health(None));
    let change = |(before, after): (&Realserver, &Realserver)| Happening::RealserverChanged {
        realserver: RealserverName { pool: new.name.clone(), realserver: after.name.clone() },
        from: before.health(None),
        to: after.health(None),
    };
    changed.map(change).collect()
}

/// Whether less than this percentage of the weight is eligible.
fn is_below(realservers: &[Realserver], percentage: u8) -> bool {
    let weight = |realserver: &Realserver| u64::from(realserver.weight.get());
    let total: u64 = realservers.iter().map(weight).sum();
    let eligible: u64 = realservers.iter().filter(|realserver| realserver.is_eligible(None)).map(weight).sum();
    eligible * 100 < total * u64::from(percentage)
}

/// Weights of which some are to be less than whole: all are made ten times as large first, or as much as there is room for.
pub(super) fn ramped_weights(realservers: &[(RealserverId, Weight, Tenths)]) -> Vec<(RealserverId, Weight)> {
    if realservers.iter().all(|(_, _, tenths)| *tenths == Tenths::ALL) {
        return realservers.iter().map(|(id, weight, _)| (*id, *weight)).collect();
    }
    let largest = realservers.iter().map(|(_, weight, _)| u32::from(weight.get())).max().unwrap_or(1);
    let factor = (u32::from(u16::MAX) / largest).min(10);
    let ramped = |weight: Weight, tenths: Tenths| {
        let ramped = u32::from(weight.get()) * factor * u32::from(tenths.get()) / 10;
        u16::try_from(ramped).ok().and_then(Weight::new).unwrap_or(Weight::ONE)
    };
    realservers.iter().map(|(id, weight, tenths)| (*id, ramped(*weight, *tenths))).collect()
}

/// The candidates where `family` is wanted: the eligible ones or, with `is_open`, everybody who is ready.
fn view(realservers: &[Realserver], family: Option<Family>, is_open: bool) -> View {
    let fails_open = |realserver: &Realserver| {
        realserver.has(family) && realserver.admin == Admin::Ready && realserver.health(family) == Health::Down
    };
    let is_candidate =
        |realserver: &Realserver| if is_open { fails_open(realserver) } else { realserver.is_eligible(family) };
    let is_candidate: Box<[bool]> = realservers.iter().map(is_candidate).collect();
    let weighted: Vec<_> = (0..)
        .map(RealserverId)
        .zip(realservers)
        .zip(&is_candidate)
        .filter(|(_, is_candidate)| **is_candidate)
        .map(|((id, realserver), _)| (id, realserver.weight, realserver.tenths(family)))
        .collect();
    let weighted = ramped_weights(&weighted);
    let cumulative_weights = weighted
        .iter()
        .scan(0u32, |sum, (_, weight)| {
            *sum = sum.saturating_add(u32::from(weight.get()));
            Some(*sum)
        })
        .collect();
    View {
        candidates: weighted.iter().map(|(id, _)| *id).collect(),
        is_candidate,
        sequence: Sequence::new(&weighted),
        cumulative_weights,
        is_degraded: is_open,
    }
}
