//! The decision: which realservers a client is sent to, best first. One function, [`select`], for DNS, redirect and L4 alike.
//!
//! It is pure but for one atomic step of a round robin. It knows nothing about DNS, HTTP or sockets, and computes nothing that could have
//! been computed when the [`Snapshot`] was built, but for turns among members that are equally near. [`explain`](explain::explain) calls the same code and listens to what it says on its way.

pub mod explain;
pub mod maglev;
mod nearest;
#[cfg(test)]
mod tests;
pub mod wrr;

use std::{net::IpAddr, sync::atomic::Ordering};

use smallvec::SmallVec;

use crate::{
    config::{AffinityPrefix, Answers, OnAllDown},
    geo::GroupId,
    snapshot::{Exclusion, GeoList, Members, Orders, Policy, Pool, Realserver, Realservers, Snapshot, View},
    types::{Family, POOL_DEPTH_MAX, PoolId, RealserverId, Scope, Ttl},
};

/// Attempts of a source hash before those left are ranked by their score: with half of the weight ineligible the chance to get there
/// is 2^-64, and a hostile choice of addresses buys nothing but these attempts.
const ATTEMPTS_MAX: u32 = 64;

/// Who the answer is for, and what is asked for on the client's behalf.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The ECS prefix's address when accepted, else the peer's; IPv4-mapped addresses as IPv4.
    pub address: IpAddr,
    /// How many bits of `address` are known: the ECS source prefix, else 32 or 128. 0 means "do not use my address": the client's
    /// place is unknown, while the affinity key is made of `address`, which then is the peer's.
    pub prefix: u8,
    /// The way it comes.
    pub via: Via,
    /// A random number, used by the policy `random`.
    pub random: u64,
    /// Whether a round robin moves on.
    pub turn: Turn,
    /// How many realservers the caller can use. [`Via::Dns`] gets the pool's `answers` at most.
    pub most: usize,
}

/// The way by which a client comes. Each has its own turns of a round robin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A question for A or AAAA: only realservers with such an address, and only the best tier.
    Dns(Family),
    /// An HTTP request, to be sent on.
    Redirect,
    /// A connection, to be carried.
    L4,
}

impl Via {
    /// The family of address that is wanted; `None` for either.
    pub fn family(self) -> Option<Family> {
        match self {
            Self::Dns(family) => Some(family),
            Self::Redirect | Self::L4 => None,
        }
    }

    /// Index into [`Realservers::turns`].
    fn turn_index(self) -> usize {
        match self {
            Self::Dns(Family::V4) => 0,
            Self::Dns(Family::V6) => 1,
            Self::Redirect => 2,
            Self::L4 => 3,
        }
    }
}

/// Whether a selection uses up a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It does: an answer.
    Take,
    /// It only looks what the next one would be: an explanation.
    Peek,
    /// It gets what the very first one got, always the same: a copy of a zone, where every copy should say the same.
    First,
}

/// Realservers in the order in which they should serve a client.
#[derive(Debug)]
pub struct Ranking<'s> {
    /// Best first, each at most once.
    pub realservers: SmallVec<[Ranked<'s>; 8]>,
    /// No answer made from this may live longer.
    pub ttl: Ttl,
    /// Shortest prefix of the client's address within which every client gets the same, as far as it was known.
    pub scope: Scope,
    /// Whether nobody was eligible and these are there by fail-open.
    pub degraded: bool,
    /// What an empty ranking means.
    pub when_empty: WhenEmpty,
}

/// What it means that a ranking has nobody in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenEmpty {
    /// There is nothing: NODATA, 503, a closed connection.
    #[default]
    Nothing,
    /// `on_all_down = "servfail"`: better no answer than a wrong one.
    Servfail,
    /// `on_excluded = "refused"`: REFUSED, 403, a reset connection.
    Refused,
}

/// One realserver of a ranking.
#[derive(Clone, Copy, Debug)]
pub struct Ranked<'s> {
    /// The pool that it is in.
    pub pool: PoolId,
    /// Its index there.
    pub id: RealserverId,
    /// Itself.
    pub realserver: &'s Realserver,
    /// Preference class, 0 best: one for each pool of a failover, and for each realserver of a failover pool.
    pub tier: u8,
}

/// Hears what [`select_with`] decides on its way. The answer's own witness is `()`, which hears nothing and costs nothing.
pub trait Witness {
    /// A pool is asked, `depth` pools below the first one.
    fn asked(&mut self, _pool: PoolId, _depth: usize) {}
    /// A geo pool looked up the client and found `list`, the same for every client within `prefix` bits.
    fn located(&mut self, _pool: &Pool, _list: &GeoList, _prefix: u8) {}
    /// A nearest pool looked up the client and found `order`, the same for every client within `prefix` bits.
    fn measured(&mut self, _pool: PoolId, _orders: &Orders, _order: &[GroupId], _prefix: u8) {}
    /// A pool looked whether it serves the client, which is the same for every one within `prefix` bits.
    fn judged(&mut self, _pool: &Pool, _prefix: u8) {}
    /// A pool does not serve the client, as no other within `prefix` bits.
    fn excluded(&mut self, _pool: &Pool, _exclusion: &Exclusion, _prefix: u8) {}
    /// A member was passed over because it is failed.
    fn passed_over(&mut self, _pool: PoolId) {}
    /// The realservers of a pool were ranked, as tier `tier`.
    fn ranked(&mut self, _pool: PoolId, _tier: u8) {}
    /// Every pool was failed and this one decided, by its `on_all_down` or one above it.
    fn all_down(&mut self, _pool: PoolId, _rule: OnAllDown) {}
    /// A source hash was made of this much of the client's address.
    fn hashed(&mut self, _pool: PoolId, _key: IpAddr, _prefix: u8) {}
}

impl Witness for () {}

/// Ranks the realservers of `pool` for `client`, best first. Reads nothing else.
pub fn select<'s>(snapshot: &'s Snapshot, pool: PoolId, client: &Client) -> Ranking<'s> {
    select_with(snapshot, pool, client, &mut ())
}

/// [`select`] with somebody listening.
pub fn select_with<'s>(
    snapshot: &'s Snapshot,
    pool: PoolId,
    client: &Client,
    witness: &mut impl Witness,
) -> Ranking<'s> {
    let ranking = Ranking {
        realservers: SmallVec::new(),
        ttl: Ttl::MAX,
        scope: Scope(0),
        degraded: false,
        when_empty: WhenEmpty::Nothing,
    };
    let mut walk = Walk { snapshot, client, ranking, scope: 0, n_tiers: 0, is_refused: false, witness };
    if !walk.rank_healthy(pool, Inherited::default(), 0) {
        walk.rank_failed(pool, None, None, 0);
    }
    let Walk { mut ranking, scope, .. } = walk;
    ranking.scope = Scope(scope.min(client.prefix));
    ranking
}

/// What a pool of pools says for all below it, the outermost first.
#[derive(Clone, Copy, Default)]
struct Inherited {
    answers: Option<Answers>,
    min_ttl: Option<Ttl>,
}

struct Walk<'s, 'c, W> {
    snapshot: &'s Snapshot,
    client: &'c Client,
    ranking: Ranking<'s>,
    scope: u8,
    n_tiers: u8,
    /// Whether a pool has refused the client before anybody was ranked: that is the end.
    is_refused: bool,
    witness: &'c mut W,
}

impl<'s, W: Witness> Walk<'s, '_, W> {
    /// Adds the tiers of every member that is not failed; false if there was none and nothing was added.
    ///
    /// A pool that is asked for by itself counts as failed only when nobody in it is eligible: `min_healthy` is for the pool above.
    fn rank_healthy(&mut self, id: PoolId, inherited: Inherited, depth: usize) -> bool {
        let Some(pool) = self.snapshot.pool(id).filter(|_| depth < POOL_DEPTH_MAX) else { return false };
        self.witness.asked(id, depth);
        if let Some((exclusion, prefix)) = self.exclusion_of(pool) {
            self.witness.excluded(pool, exclusion, prefix);
            let Some(other) = exclusion.instead else {
                self.refuse();
                return true;
            };
            return self.rank_healthy(other, inherited, depth + 1);
        }
        let answers = inherited.answers.or(pool.answers);
        let min_ttl = inherited.min_ttl.or(pool.min_ttl);
        let members = match &pool.members {
            Members::Realservers(realservers) => {
                // Who was passed over took part: once it is back the answer is another one.
                if let Some(min_ttl) = min_ttl {
                    self.ranking.ttl = self.ranking.ttl.min(realservers.sure_for.max(min_ttl));
                }
                let is_failed = if depth == 0 { has_nobody_eligible(realservers) } else { realservers.is_failed };
                if is_failed {
                    if depth > 0 {
                        self.witness.passed_over(id);
                    }
                    return false;
                }
                // Two ways may lead to one pool, and a realserver has one place.
                if !self.ranking.realservers.iter().any(|ranked| ranked.pool == id) {
                    self.rank_realservers(id, realservers, self.limit(answers));
                }
                return true;
            }
            Members::Failover(members) => members,
            Members::Nearest(nearest) => {
                return self.rank_nearest_pools(id, nearest, Inherited { answers, min_ttl }, depth);
            }
            Members::Geo(_) => match self.locate(pool) {
                // An empty list is deliberate: these clients get nothing, and that is no failure.
                Some([]) => return true,
                Some(members) => members,
                None => return false,
            },
        };
        let mut is_ranked = false;
        for &member in members {
            is_ranked |= self.rank_healthy(member, Inherited { answers, min_ttl }, depth + 1);
            if is_ranked && self.is_enough(answers) {
                break;
            }
        }
        is_ranked
    }

    /// Every pool is failed: the outermost `on_all_down` on the way to the first member's realservers decides.
    fn rank_failed(&mut self, id: PoolId, answers: Option<Answers>, rule: Option<OnAllDown>, depth: usize) {
        let Some(pool) = self.snapshot.pool(id).filter(|_| depth < POOL_DEPTH_MAX) else { return };
        // Who is refused does not come here, and who is sent elsewhere was told so on the way down.
        if let Some(other) = self.exclusion_of(pool).and_then(|(exclusion, _)| exclusion.instead) {
            return self.rank_failed(other, answers, rule, depth + 1);
        }
        let answers = answers.or(pool.answers);
        let rule = rule.or(pool.on_all_down);
        let first = match &pool.members {
            Members::Realservers(realservers) => {
                let rule = rule.unwrap_or_default();
                self.witness.all_down(id, rule);
                match rule {
                    OnAllDown::None => {}
                    OnAllDown::Servfail => self.ranking.when_empty = WhenEmpty::Servfail,
                    // Where only `min_healthy` was missed, those who are eligible serve, and nothing is open.
                    OnAllDown::All => {
                        self.rank_realservers(id, realservers, self.limit(answers));
                        let has_somebody = !self.ranking.realservers.is_empty();
                        self.ranking.degraded = has_somebody && has_nobody_eligible(realservers);
                    }
                }
                return;
            }
            Members::Failover(members) => members.first().copied(),
            // The client was located on the way down already; to hear of it twice would help nobody.
            Members::Geo(geo) => geo_list(geo, self.client).and_then(|(list, _)| list.pools.first().copied()),
            Members::Nearest(nearest) => nearest.first(self.order_of(&nearest.orders).0),
        };
        if let Some(first) = first {
            self.rank_failed(first, answers, rule, depth + 1);
        }
    }

    /// How the pool excludes this client, if it does.
    fn exclusion_of(&mut self, pool: &'s Pool) -> Option<(&'s Exclusion, u8)> {
        let exclusion = pool.exclusion.as_ref()?;
        let (is_excluded, prefix) = is_excluded(exclusion, self.client);
        self.scope = self.scope.max(prefix);
        self.witness.judged(pool, prefix);
        is_excluded.then_some((exclusion, prefix))
    }

    /// Who has somebody already, of a pool before, is served by that.
    fn refuse(&mut self) {
        if self.ranking.realservers.is_empty() {
            self.ranking.when_empty = WhenEmpty::Refused;
            self.is_refused = true;
        }
    }

    /// The members of a geo pool for this client.
    fn locate(&mut self, pool: &'s Pool) -> Option<&'s [PoolId]> {
        let Members::Geo(geo) = &pool.members else { return None };
        let (list, prefix) = geo_list(geo, self.client)?;
        self.scope = self.scope.max(prefix);
        self.witness.located(pool, list, prefix);
        Some(&list.pools)
    }

    /// How many realservers of the tiers so far and to come are of use.
    fn limit(&self, answers: Option<Answers>) -> usize {
        match (self.client.via, answers.unwrap_or(Answers::AtMost(1))) {
            (Via::Dns(_), Answers::AtMost(most)) => self.client.most.min(usize::from(most)),
            _ => self.client.most,
        }
    }

    /// Whether further tiers are of no use: a DNS answer comes from the best one alone.
    fn is_enough(&self, answers: Option<Answers>) -> bool {
        self.is_refused
            || matches!(self.client.via, Via::Dns(_))
            || self.ranking.realservers.len() >= self.limit(answers)
    }

    /// Adds the candidates of one pool, up to `limit` in all.
    fn rank_realservers(&mut self, pool: PoolId, realservers: &'s Realservers, limit: usize) {
        let view = realservers.view(self.client.via.family());
        self.witness.ranked(pool, self.n_tiers);
        if view.candidates.is_empty() {
            return;
        }
        let room = limit.saturating_sub(self.ranking.realservers.len());
        let tier = self.n_tiers;
        let order: Order = match &realservers.policy {
            Policy::Wrr => {
                let turn = self.take_turn(realservers);
                round_robin(view, turn, room)
            }
            Policy::Random => draw(view, self.client.random, room),
            Policy::SourceHash(maglev) => {
                let (key, prefix) = affinity_key(self.client.address, realservers.affinity_prefix);
                self.witness.hashed(pool, key, prefix);
                if view.candidates.len() > 1 {
                    self.scope = self.scope.max(prefix);
                }
                by_hash(view, maglev, key, room)
            }
            Policy::Nearest(orders) => return self.rank_nearest(pool, realservers, orders, view, limit),
            Policy::Failover => {
                let best = if matches!(self.client.via, Via::Dns(_)) { room.min(1) } else { room };
                view.candidates.iter().copied().take(best).collect()
            }
        };
        let is_failover = matches!(realservers.policy, Policy::Failover);
        for id in order {
            let Some(realserver) = realservers.get(id) else { continue };
            let tier = if is_failover { self.n_tiers } else { tier };
            self.ranking.realservers.push(Ranked { pool, id, realserver, tier });
            if is_failover {
                self.n_tiers = self.n_tiers.saturating_add(1);
            }
        }
        if !is_failover {
            self.n_tiers = self.n_tiers.saturating_add(1);
        }
    }

    fn take_turn(&self, realservers: &Realservers) -> u64 {
        let Some(turns) = realservers.turns.get(self.client.via.turn_index()) else { return 0 };
        match self.client.turn {
            Turn::Take => turns.fetch_add(1, Ordering::Relaxed),
            Turn::Peek => turns.load(Ordering::Relaxed),
            Turn::First => 0,
        }
    }
}

/// Realservers of one pool in order.
type Order = SmallVec<[RealserverId; 8]>;

fn has_nobody_eligible(realservers: &Realservers) -> bool {
    let view = realservers.view(None);
    view.candidates.is_empty() || view.is_degraded
}

/// Whether `pool` does not serve this client.
pub fn excludes(pool: &Pool, client: &Client) -> bool {
    pool.exclusion.as_ref().is_some_and(|exclusion| is_excluded(exclusion, client).0)
}

/// Whether the client is excluded, and the prefix within which that is the same.
///
/// A client that does not want its address to be used is judged by the address it asks from: excluding is not a service to the client.
fn is_excluded(exclusion: &Exclusion, client: &Client) -> (bool, u8) {
    let (class, prefix) = exclusion.table.lookup(client.address);
    (class.0 != 0, prefix)
}

fn geo_list<'s>(geo: &'s crate::snapshot::GeoMembers, client: &Client) -> Option<(&'s GeoList, u8)> {
    if client.prefix == 0 {
        return geo.lists.first().map(|list| (list, 0));
    }
    let (class, prefix) = geo.table.lookup(client.address);
    geo.lists.get(class.0 as usize).map(|list| (list, prefix))
}

/// The realserver whose turn it is, then the others in the order of the file, going round: where several are used at once each of them
/// has its share of the first places, and that is what the weights are about.
fn round_robin(view: &View, turn: u64, room: usize) -> Order {
    let mut order = Order::new();
    let first = view.sequence.at(turn);
    if let Some(first) = first {
        order.push(first);
    }
    if room == 1 {
        return order;
    }
    let start = first.and_then(|first| view.candidates.iter().position(|&id| id == first)).map_or(0, |at| at + 1);
    let (before, after) = view.candidates.split_at_checked(start).unwrap_or((&[], &view.candidates));
    order.extend(after.iter().chain(before).copied().filter(|&id| Some(id) != first).take(room.saturating_sub(1)));
    order
}

/// Draws by weight without putting back, as far as there is room.
fn draw(view: &View, random: u64, room: usize) -> Order {
    let mut order = Order::new();
    let mut state = random;
    let total = view.cumulative_weights.last().copied().unwrap_or(0);
    if total == 0 {
        return order;
    }
    if let Some(first) = drawn(view, scale(random, total)) {
        order.push(first);
    }
    if room <= 1 {
        return order;
    }
    // Later places matter little and are few: draw again on a repetition, and take the rest in the order of the file once that gets long.
    let wanted = room.min(view.candidates.len());
    let mut attempts = 4 * wanted;
    while order.len() < wanted && attempts > 0 {
        attempts -= 1;
        state = next_random(state);
        if let Some(id) = drawn(view, scale(state, total)).filter(|id| !order.contains(id)) {
            order.push(id);
        }
    }
    fill(view, &mut order, room);
    order
}

fn drawn(view: &View, at: u32) -> Option<RealserverId> {
    view.candidates.get(view.cumulative_weights.partition_point(|&sum| sum <= at)).copied()
}

/// Maps a random number to 0 .. `below` without the modulo's bias (Lemire, "Fast Random Integer Generation in an Interval").
#[expect(clippy::cast_possible_truncation, reason = "the product's high half is below `below`")]
fn scale(random: u64, below: u32) -> u32 {
    ((u128::from(random) * u128::from(below)) >> 64) as u32
}

/// The next number of a splitmix64 sequence (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators").
fn next_random(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The realserver of the key's slot, then those of its further attempts, passing over who is no candidate.
fn by_hash(view: &View, maglev: &maglev::Maglev, key: IpAddr, room: usize) -> Order {
    let mut order = Order::new();
    let wanted = room.min(view.candidates.len());
    for attempt in 0..ATTEMPTS_MAX {
        if order.len() >= wanted {
            return order;
        }
        let id = maglev.at(key, attempt);
        if view.is_candidate.get(usize::from(id.0)) == Some(&true) && !order.contains(&id) {
            order.push(id);
        }
    }
    // Neither the order of the file nor who else is there may matter here either: highest score first (rendezvous hashing).
    let mut rest: Vec<_> = view.candidates.iter().copied().filter(|id| !order.contains(id)).collect();
    rest.sort_by_cached_key(|&id| std::cmp::Reverse(maglev.score(key, id)));
    order.extend(rest.into_iter().take(wanted - order.len()));
    order
}

/// Adds the candidates that are missing, in the order of the file.
fn fill(view: &View, order: &mut Order, room: usize) {
    for &id in &view.candidates {
        if order.len() >= room {
            return;
        }
        if !order.contains(&id) {
            order.push(id);
        }
    }
}

/// The address cut to its affinity prefix, and that prefix.
pub fn affinity_key(address: IpAddr, prefix: AffinityPrefix) -> (IpAddr, u8) {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.v4.min(32))).unwrap_or(0);
            (IpAddr::V4((v4.to_bits() & mask).into()), prefix.v4)
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.v6.min(128))).unwrap_or(0);
            (IpAddr::V6((v6.to_bits() & mask).into()), prefix.v6)
        }
    }
}
