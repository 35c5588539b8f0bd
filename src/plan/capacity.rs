//! Who carries how much of its capacity if somebody fails (N-1): one pool or one realserver at a time, the others as they are.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{
    Share, Side,
    moves::{Looked, client, land, shares},
    space::{Space, address},
};
use crate::{
    config::{Config, Members, PoolIndex},
    select::Via,
    snapshot::Snapshot,
    types::{Family, POOL_DEPTH_MAX, PoolId},
};

/// Addresses that stand for all clients.
const CLIENTS: u32 = 10_000;
/// More than this is too much; less is what rounding adds.
pub(super) const FULL: f64 = 100.5;
/// Failures that are tried for one pool.
const FAILURES_MAX: usize = 500;

/// What happens to the clients of one pool when somebody fails.
#[derive(Clone, Debug, Serialize)]
pub struct Rehearsal {
    /// The pool that names or listeners lead to.
    pub pool: String,
    /// Who fails: a pool, or a realserver as `POOL/REALSERVER`.
    pub fails: String,
    /// The load of all clients together, in the unit of the capacities.
    pub load: f64,
    /// Whether that is the greatest that fits while nobody fails, because none was given.
    pub is_load_assumed: bool,
    /// Who carries how much then, the fullest first. Who fails is among them if nobody else is left.
    pub carried: Vec<Carried>,
}

impl Rehearsal {
    /// Whether somebody would carry more than it can.
    pub fn is_too_much(&self) -> bool {
        self.carried.first().is_some_and(|carried| carried.percent > FULL || carried.who == self.fails)
    }
}

/// The load of one pool or realserver.
#[derive(Clone, Debug, Serialize)]
pub struct Carried {
    /// A pool, or a realserver as `POOL/REALSERVER`.
    pub who: String,
    /// Of its capacity.
    pub percent: f64,
}

/// Tries every failure that capacities are configured for. `fail` gives the snapshot in which one pool or realserver is down.
pub fn rehearse(
    side: Side<'_>,
    load: Option<f64>,
    fail: &mut dyn FnMut(&str) -> Option<Arc<Snapshot>>,
) -> Vec<Rehearsal> {
    let mut rehearsals = Vec::new();
    let space = Space::new(side.snapshot, Family::V4);
    for id in entries(side.snapshot) {
        let Some(pool) = side.snapshot.pool(id) else { continue };
        let capacities = capacities(side.config, &pool.name);
        if capacities.is_empty() {
            continue;
        }
        let base = loads(side.snapshot, id, &space);
        let share = |who: &str| base.get(who).copied().unwrap_or(0.0);
        let fits = capacities.iter().filter(|(who, _)| share(who) > 0.0).map(|(who, capacity)| capacity / share(who));
        let Some(most) = fits.min_by(f64::total_cmp) else { continue };
        let assumed = load.unwrap_or(most);
        let failing: Vec<&String> = capacities.keys().filter(|who| share(who) > 0.0).take(FAILURES_MAX).collect();
        for fails in failing {
            let Some(snapshot) = fail(fails) else { continue };
            let then = loads(&snapshot, id, &space);
            let percent = |(who, capacity): (&String, &f64)| Carried {
                who: who.clone(),
                percent: then.get(who).copied().unwrap_or(0.0) * assumed * 100.0 / capacity,
            };
            let mut carried: Vec<Carried> =
                capacities.iter().map(percent).filter(|carried| carried.percent > 0.0).collect();
            carried.sort_by(|one, other| other.percent.total_cmp(&one.percent));
            rehearsals.push(Rehearsal {
                pool: pool.name.to_string(),
                fails: fails.clone(),
                load: assumed,
                is_load_assumed: load.is_none(),
                carried,
            });
        }
    }
    rehearsals
}

/// The pools that names and listeners lead to, each once.
fn entries(snapshot: &Snapshot) -> Vec<PoolId> {
    let of_zones = snapshot.zones.iter().flat_map(|served| served.pools.iter().copied());
    let mut entries: Vec<PoolId> = of_zones.chain(snapshot.listeners.iter().map(|listener| listener.pool)).collect();
    entries.sort_unstable();
    entries.dedup();
    entries
}

/// Everybody below a pool whose capacity is known, as `POOL` and `POOL/REALSERVER`.
#[expect(clippy::cast_precision_loss, reason = "a capacity, not a count")]
fn capacities(config: &Config, entry: &str) -> BTreeMap<String, f64> {
    let mut capacities = BTreeMap::new();
    let entry = entry.split('@').next().unwrap_or_default();
    let mut below: Vec<PoolIndex> = Vec::new();
    let start = config.pools.iter().position(|pool| *pool.name == *entry);
    start.into_iter().for_each(|start| collect(config, start, 0, &mut below));
    for pool in below.into_iter().filter_map(|index| config.pools.get(index)) {
        let Members::Realservers { realservers, .. } = &pool.members else { continue };
        let each = realservers.iter().map(|realserver| realserver.capacity);
        // That of all its realservers, if it has none of its own.
        let sum = each.sum::<Option<u64>>();
        if let Some(capacity) = pool.capacity.or(sum) {
            capacities.insert(pool.name.to_string(), capacity as f64);
        }
        if realservers.len() > 1 {
            for realserver in realservers {
                let Some(capacity) = realserver.capacity else { continue };
                capacities.insert(format!("{}/{}", pool.name, realserver.name), capacity as f64);
            }
        }
    }
    capacities
}

fn collect(config: &Config, index: PoolIndex, depth: usize, found: &mut Vec<PoolIndex>) {
    if depth > POOL_DEPTH_MAX || found.contains(&index) {
        return;
    }
    found.push(index);
    if let Some(Members::Pools { members, .. }) = config.pools.get(index).map(|pool| &pool.members) {
        members.iter().for_each(|&member| collect(config, member, depth + 1, found));
    }
}

/// The part of all clients that lands at each realserver, and in each pool.
fn loads(snapshot: &Snapshot, entry: PoolId, space: &Space) -> BTreeMap<String, Share> {
    let mut landed = BTreeMap::new();
    for bits in space.spread(CLIENTS) {
        let (address, length) = address(Family::V4, bits);
        let (landing, _) = land(snapshot, entry, &client(address, length, Via::L4), &mut Looked::default());
        *landed.entry(landing).or_insert(0.0) += 1.0 / f64::from(CLIENTS);
    }
    let mut loads = BTreeMap::new();
    for (landing, weight) in landed {
        for place in shares(snapshot, landing, None).into_iter().filter(|place| place.address.is_some()) {
            *loads.entry(format!("{}/{}", place.pool, place.name)).or_insert(0.0) += weight * place.share;
            *loads.entry(place.pool).or_insert(0.0) += weight * place.share;
        }
    }
    loads
}
