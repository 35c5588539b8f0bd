//! What a change of configuration or zones would do, before it is in force: records that change, clients that move and where to, answers that
//! become empty, scopes that change, and who carries how much if a site fails.
//!
//! Pure: two snapshots and a stream of clients in, a [`Plan`] out. Who reads files, and says it to people or programs, is the command line.
//! Where a client goes is asked of the code that answers; of a round robin or a draw the shares are compared, not single turns.

mod capacity;
mod moves;
pub mod queries;
mod space;
pub mod text;
mod zones;

#[cfg(test)]
mod tests;

use serde::Serialize;

use capacity::FULL;
pub use capacity::{Carried, Rehearsal, rehearse};
pub use moves::{Flow, Moves, ScopeChange};
pub use zones::{RrsetChange, ZoneChange};

use crate::{
    config::{self, Config, Members, PoolIndex, PoolsPolicy},
    snapshot::Snapshot,
    types::POOL_DEPTH_MAX,
};
use moves::Use;
use queries::{Query, tally_query};
use space::Space;
use zones::Pairs;

/// What one of two servers would answer from.
#[derive(Clone, Copy, Debug)]
pub struct Side<'s> {
    /// Its configuration.
    pub config: &'s Config,
    /// Its snapshot.
    pub snapshot: &'s Snapshot,
}

/// What would be different.
#[derive(Debug, Default, Serialize)]
pub struct Plan {
    /// Zones in which something changes.
    pub zones: Vec<ZoneChange>,
    /// Names that both have.
    pub n_names_compared: u64,
    /// Pools that only the new configuration has.
    pub pools_added: Vec<String>,
    /// Pools that only the old one has.
    pub pools_removed: Vec<String>,
    /// Pools that are configured differently, or lead to one that is.
    pub pools_changed: Vec<String>,
    /// Who moves, for each pool that names or listeners lead to and each kind of client; only where something changes.
    pub moves: Vec<Moves>,
    /// Queries of a log that were compared.
    pub n_queries: u64,
    /// Who carries how much when somebody fails, if capacities are configured.
    pub failures: Vec<Rehearsal>,
}

impl Plan {
    /// Whether any client could notice.
    pub fn moves_anything(&self) -> bool {
        !self.zones.is_empty() || !self.moves.is_empty()
    }
}

/// Which clients are looked at.
#[derive(Clone, Copy, Debug)]
pub enum Clients {
    /// Every network that is treated alike, by its size.
    Networks,
    /// So many addresses, spread over all of them.
    Sample(u32),
}

/// Compares two servers, over addresses.
pub fn compare(old: Side<'_>, new: Side<'_>, clients: Clients) -> Plan {
    let (mut plan, pairs) = compare_content(old, new);
    let spaces = space::FAMILIES.map(|family| (family, Space::new(new.snapshot, family)));
    for ((old_pool, new_pool, used), names) in pairs.iter() {
        // What is the same in both, down to the realservers, sends everybody where they were.
        if used.is_same(old, new, old_pool, new_pool) {
            continue;
        }
        for (family, space) in &spaces {
            let tally = space::tally(old, new, (old_pool, new_pool), used, space, clients);
            plan.moves.extend(tally.into_moves(old, new, (old_pool, new_pool), names, space::name(*family)));
        }
    }
    plan
}

/// Compares two servers, over queries that were asked.
pub fn compare_queries(old: Side<'_>, new: Side<'_>, queries: impl Iterator<Item = Query>) -> Plan {
    let (mut plan, pairs) = compare_content(old, new);
    let mut tallies = queries::Tallies::default();
    for query in queries {
        plan.n_queries += 1;
        tally_query(old, new, &query, &mut tallies);
    }
    for ((old_pool, new_pool), tally) in tallies.into_iter() {
        let names = pairs.names_of(&old_pool, &new_pool);
        plan.moves.extend(tally.into_moves(old, new, (&old_pool, &new_pool), &names, "queries"));
    }
    plan
}

/// What can be compared without clients.
fn compare_content(old: Side<'_>, new: Side<'_>) -> (Plan, Pairs) {
    let mut plan = Plan::default();
    let mut pairs = Pairs::default();
    zones::compare(old, new, &mut plan, &mut pairs);
    for listener in &old.snapshot.listeners {
        let Some(other) = new.snapshot.listener(&listener.name) else { continue };
        let name = |side: Side<'_>, id| side.snapshot.pool(id).map(|pool| pool.name.to_string());
        if let (Some(old_pool), Some(new_pool)) = (name(old, listener.pool), name(new, other.pool)) {
            pairs.add(&old_pool, &new_pool, Use::L4, &format!("listener {}", listener.name));
        }
    }
    let names = |config: &Config| config.pools.iter().map(|pool| pool.name.to_string()).collect::<Vec<_>>();
    let (before, after) = (names(old.config), names(new.config));
    plan.pools_removed = before.iter().filter(|name| !after.contains(name)).cloned().collect();
    plan.pools_added = after.iter().filter(|name| !before.contains(name)).cloned().collect();
    plan.pools_changed =
        after.into_iter().filter(|name| before.contains(name) && !is_same_named(old, new, name, name)).collect();
    (plan, pairs)
}

impl Use {
    /// Whether the two pools are the same down to their realservers, listeners' own schedulers included.
    fn is_same(self, old: Side<'_>, new: Side<'_>, old_pool: &str, new_pool: &str) -> bool {
        let split = |name: &str| {
            name.split_once('@')
                .map_or((name.to_owned(), None), |(pool, listener)| (pool.to_owned(), Some(listener.to_owned())))
        };
        let ((old_name, old_listener), (new_name, new_listener)) = (split(old_pool), split(new_pool));
        let scheduler = |side: Side<'_>, listener: &Option<String>| {
            side.config
                .listeners
                .iter()
                .find(|one| Some(&*one.name) == listener.as_deref())
                .and_then(|one| one.scheduler)
        };
        scheduler(old, &old_listener) == scheduler(new, &new_listener) && is_same_named(old, new, &old_name, &new_name)
    }
}

/// Whether two pools send everybody to the same realservers because they are configured alike, on the same databases.
fn is_same_named(old: Side<'_>, new: Side<'_>, old_pool: &str, new_pool: &str) -> bool {
    let index = |config: &Config, name: &str| config.pools.iter().position(|pool| *pool.name == *name);
    let (Some(old_index), Some(new_index)) = (index(old.config, old_pool), index(new.config, new_pool)) else {
        return false;
    };
    std::sync::Arc::ptr_eq(&old.snapshot.geo, &new.snapshot.geo)
        && is_same_pool(old.config, old_index, new.config, new_index, 0)
}

fn is_same_pool(old: &Config, old_index: PoolIndex, new: &Config, new_index: PoolIndex, depth: usize) -> bool {
    let (Some(one), Some(other)) = (old.pools.get(old_index), new.pools.get(new_index)) else { return false };
    let is_alike = |one: &config::Pool, other: &config::Pool| {
        config::Pool { members: other.members.clone(), ..one.clone() } == *other
    };
    // Another pool that serves the excluded is named by its number: the same only where all pools are.
    let names = |config: &Config| config.pools.iter().map(|pool| pool.name.clone()).collect::<Vec<_>>();
    let are_numbers_alike = || one.exclusion.is_none() && other.exclusion.is_none() || names(old) == names(new);
    if depth > POOL_DEPTH_MAX || one.name != other.name || !is_alike(one, other) || !are_numbers_alike() {
        return false;
    }
    let are_same = |one: &[PoolIndex], other: &[PoolIndex]| {
        one.len() == other.len()
            && one.iter().zip(other).all(|(&one, &other)| is_same_pool(old, one, new, other, depth + 1))
    };
    match (&one.members, &other.members) {
        (Members::Realservers { .. }, Members::Realservers { .. }) => one.members == other.members,
        (
            Members::Pools { members: one, policy: one_policy },
            Members::Pools { members: other, policy: other_policy },
        ) => {
            are_same(one, other)
                && match (one_policy, other_policy) {
                    (PoolsPolicy::Failover, PoolsPolicy::Failover) => true,
                    (
                        PoolsPolicy::Geo { lists, keys, nets },
                        PoolsPolicy::Geo { lists: other_lists, keys: other_keys, nets: other_nets },
                    ) => {
                        keys == other_keys
                            && nets == other_nets
                            && lists.len() == other_lists.len()
                            && lists.iter().zip(other_lists).all(|(one, other)| are_same(one, other))
                    }
                    _ => false,
                }
        }
        _ => false,
    }
}

/// Several things under a name that may be many: the first of them are kept, the others counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Listed {
    /// The first.
    pub first: Vec<String>,
    /// All of them.
    pub count: u64,
}

impl Listed {
    const FIRST_MAX: usize = 5;

    fn add(&mut self, one: &str) {
        self.add_with(|| one.to_owned());
    }

    /// The same, without making the text of those that are only counted.
    fn add_with(&mut self, one: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < Self::FIRST_MAX {
            self.first.push(one());
        }
    }

    fn join(&mut self, other: Self) {
        self.count += other.count;
        self.first.extend(other.first);
        self.first.truncate(Self::FIRST_MAX);
    }
}

/// The sums of a comparison are shares of all clients.
type Share = f64;
