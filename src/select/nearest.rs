//! nearest: the groups of the client's order, one after the other, each by a weighted round robin of its own.
//!
//! Who is not in the client's order, because nobody knows where it is or because eight groups are nearer, comes last.

use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::{Inherited, Ranked, Turn, Via, Walk, Witness, geo_list, is_excluded, round_robin, wrr::turn_among};
use crate::{
    geo::GroupId,
    snapshot::{Members, NearestPools, Orders, Realservers, View},
    types::{POOL_DEPTH_MAX, PoolId, RealserverId},
};

impl<'s, W: Witness> Walk<'s, '_, W> {
    /// The groups for this client, nearest first, and the prefix within which they are the same.
    pub(super) fn order_of(&self, orders: &'s Orders) -> (&'s [GroupId], u8) {
        match self.client.prefix {
            0 => (orders.nearest.default_order(), 0),
            _ => orders.nearest.lookup(self.client.address),
        }
    }

    /// Adds the candidates of a nearest pool, up to `limit` in all. A DNS answer is made of the nearest group alone.
    pub(super) fn rank_nearest(
        &mut self,
        pool: PoolId,
        realservers: &'s Realservers,
        orders: &'s Orders,
        view: &'s View,
        limit: usize,
    ) {
        let (order, prefix) = self.order_of(orders);
        self.witness.measured(pool, orders, order, prefix);
        if view.candidates.len() > 1 {
            self.scope = self.scope.max(prefix);
        }
        let is_best_alone = matches!(self.client.via, Via::Dns(_));
        let n_before = self.ranking.realservers.len();
        for &group in order {
            let n_so_far = self.ranking.realservers.len();
            if n_so_far >= limit || is_best_alone && n_so_far > n_before {
                return;
            }
            let ids = orders.nearest.group(group).iter().map(|&index| RealserverId(index));
            let members = ids.filter(|id| view.is_candidate.get(usize::from(id.0)) == Some(&true));
            let shares = members.clone().filter_map(|id| Some((id, u64::from(realservers.get(id)?.weight.get()))));
            let is_choice = members.clone().nth(1).is_some();
            let turn = self.turn_of(orders, group, is_choice && n_so_far == n_before);
            let Some(first) = turn_among(shares, turn) else { continue };
            // As in a round robin: whose turn it is, then the others in the order of the file, going round.
            let following = members.clone().filter(|id| id.0 > first.0).chain(members.filter(|id| id.0 < first.0));
            self.push_tier(pool, realservers, [first].into_iter().chain(following), limit);
        }
        let n_so_far = self.ranking.realservers.len();
        if n_so_far >= limit || is_best_alone && n_so_far > n_before {
            return;
        }
        let turn = if n_so_far == n_before { self.take_turn(realservers) } else { 0 };
        let rest = round_robin(view, turn, view.candidates.len());
        let is_new =
            |id: &RealserverId| !self.ranking.realservers.iter().any(|ranked| ranked.pool == pool && ranked.id == *id);
        let rest: SmallVec<[RealserverId; 8]> = rest.into_iter().filter(is_new).collect();
        self.push_tier(pool, realservers, rest.into_iter(), limit);
    }

    fn push_tier(
        &mut self,
        pool: PoolId,
        realservers: &'s Realservers,
        ids: impl Iterator<Item = RealserverId>,
        limit: usize,
    ) {
        let (tier, n_before) = (self.n_tiers, self.ranking.realservers.len());
        for id in ids.take(limit.saturating_sub(n_before)) {
            let Some(realserver) = realservers.get(id) else { continue };
            self.ranking.realservers.push(Ranked { pool, id, realserver, tier });
        }
        if self.ranking.realservers.len() > n_before {
            self.n_tiers = self.n_tiers.saturating_add(1);
        }
    }

    /// Adds the tiers of the members that are not failed, nearest first; false if there was none.
    pub(super) fn rank_nearest_pools(
        &mut self,
        id: PoolId,
        nearest: &'s NearestPools,
        inherited: Inherited,
        depth: usize,
    ) -> bool {
        let answers = inherited.answers;
        let (order, prefix) = self.order_of(&nearest.orders);
        self.witness.measured(id, &nearest.orders, order, prefix);
        if nearest.pools.len() > 1 {
            self.scope = self.scope.max(prefix);
        }
        let mut is_ranked = false;
        for &group in order {
            let mut members: SmallVec<[(PoolId, u64); 8]> = SmallVec::new();
            for &index in nearest.orders.nearest.group(group) {
                let Some(&(member, share)) = nearest.pools.get(usize::from(index)) else { continue };
                if self.is_failed(member, depth + 1) {
                    // It adds nothing but what it has to do with how long the answer may live.
                    self.rank_healthy(member, inherited, depth + 1);
                } else {
                    members.push((member, share));
                }
            }
            let turn = self.turn_of(&nearest.orders, group, members.len() > 1 && !is_ranked);
            let Some(first) = turn_among((0..).zip(&members).map(|(at, (_, share))| (at, *share)), turn) else {
                continue;
            };
            members.rotate_left(first);
            for (member, _) in members {
                is_ranked |= self.rank_healthy(member, inherited, depth + 1);
                if is_ranked && self.is_enough(answers) {
                    return true;
                }
            }
        }
        for member in nearest.rest(order) {
            is_ranked |= self.rank_healthy(member, inherited, depth + 1);
            if is_ranked && self.is_enough(answers) {
                return true;
            }
        }
        is_ranked
    }

    /// Whether [`Walk::rank_healthy`] would add nothing. What that depends on of the client is in the scope, as it would be.
    fn is_failed(&mut self, id: PoolId, depth: usize) -> bool {
        let Some(pool) = self.snapshot.pool(id).filter(|_| depth < POOL_DEPTH_MAX) else { return true };
        if let Some(exclusion) = &pool.exclusion {
            let (is_excluded, prefix) = is_excluded(exclusion, self.client);
            self.scope = self.scope.max(prefix);
            match (is_excluded, exclusion.instead) {
                (true, None) => return false,
                (true, Some(other)) => return self.is_failed(other, depth + 1),
                (false, _) => {}
            }
        }
        match &pool.members {
            Members::Realservers(realservers) => realservers.is_failed,
            Members::Failover(members) => members.iter().all(|&member| self.is_failed(member, depth + 1)),
            Members::Nearest(nearest) => nearest.pools.iter().all(|&(member, _)| self.is_failed(member, depth + 1)),
            Members::Geo(geo) => {
                let Some((list, prefix)) = geo_list(geo, self.client) else { return true };
                self.scope = self.scope.max(prefix);
                !list.pools.is_empty() && list.pools.iter().all(|&member| self.is_failed(member, depth + 1))
            }
        }
    }

    /// The turn of a group's round robin: used up where that decides who is first.
    fn turn_of(&self, orders: &Orders, group: GroupId, decides: bool) -> u64 {
        let turns = orders.turns.get(group.0 as usize);
        let Some(turns): Option<&AtomicU64> = turns.and_then(|turns| turns.get(self.client.via.turn_index())) else {
            return 0;
        };
        match self.client.turn {
            Turn::Take if decides => turns.fetch_add(1, Ordering::Relaxed),
            Turn::Take | Turn::Peek => turns.load(Ordering::Relaxed),
            Turn::First => 0,
        }
    }
}

impl NearestPools {
    /// The first pool for a client with this order.
    pub(super) fn first(&self, order: &[GroupId]) -> Option<PoolId> {
        let first = order.iter().find_map(|&group| self.orders.nearest.group(group).first());
        let member = first.map_or(self.pools.first(), |&index| self.pools.get(usize::from(index)));
        member.map(|(pool, _)| *pool)
    }

    /// Those that are not in `order`, in the order of the file.
    fn rest(&self, order: &[GroupId]) -> impl Iterator<Item = PoolId> {
        let is_in = |index: u16| order.iter().any(|&group| self.orders.nearest.group(group).contains(&index));
        let rest = (0..=u16::MAX).zip(&self.pools).filter(move |(index, _)| !is_in(*index));
        rest.map(|(_, (pool, _))| *pool)
    }
}
