//! The immutable view that every request is answered from, built by [`crate::state`] and read by everything else.
//!
//! What a query would otherwise compute each time (who is eligible, the round robin order, the Maglev table) is built here once a change.
//! The only things in it that move are the turn of a round robin and the buckets of a rate limit.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use arc_swap::ArcSwap;

use crate::{
    config::{self, AffinityPrefix, Answers, OnAllDown},
    geo::{Geo, Nearest, Table},
    protect::Protection,
    select::{maglev::Maglev, wrr::Sequence},
    types::{Admin, Family, Generation, Health, PoolId, RealserverId, Tenths, Ttl, Weight},
    zone::ZoneSet,
};

/// Everything a request needs, frozen at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Its number.
    pub generation: Generation,
    /// Every zone that is served.
    pub zones: Arc<ZoneSet>,
    /// The configured pools in the order of [`Config::pools`](crate::config::Config::pools), then one for each listener that has a
    /// scheduler of its own.
    pub pools: Box<[Arc<Pool>]>,
    /// Where addresses are, for explanations; pools have tables of their own.
    pub geo: Arc<Geo>,
    /// What `CH TXT` answers.
    pub identity: Arc<Identity>,
    /// Who may have zones, and the keys that sign.
    pub transfer: Arc<config::Transfer>,
    /// What DNS does about forged and too many queries.
    pub protection: Arc<Protection>,
    /// What the redirector goes by.
    pub redirect: Arc<config::Redirect>,
    /// L4 listeners, sorted by name.
    pub listeners: Box<[Listener]>,
}

/// Where everybody takes the current snapshot from: [`ArcSwap::load`] for the time of a request, no lock.
pub type Snapshots = ArcSwap<Snapshot>;

/// An L4 listener as it stands; its socket outlives snapshots, what it does with a connection is read from the current one.
#[derive(Clone, Debug)]
pub struct Listener {
    /// As configured.
    pub name: Box<str>,
    /// Where it forwards to, its own scheduler included.
    pub pool: PoolId,
    /// Timeouts and limits.
    pub config: config::Listener,
}

impl Snapshot {
    /// The pool with this id.
    pub fn pool(&self, id: PoolId) -> Option<&Pool> {
        self.pools.get(id.0 as usize).map(|pool| &**pool)
    }

    /// The listener of this name, unless the configuration has none any more.
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        let index = self.listeners.binary_search_by(|listener| (*listener.name).cmp(name)).ok()?;
        self.listeners.get(index)
    }

    /// The configured pool of this name.
    pub fn pool_named(&self, name: &str) -> Option<(PoolId, &Pool)> {
        let index = self.pools.iter().position(|pool| &*pool.name == name)?;
        Some((PoolId(u32::try_from(index).ok()?), self.pools.get(index)?))
    }
}

/// How this server names itself when asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `version.bind`; `None` refuses.
    pub version: Option<Box<str>>,
    /// `id.server` and NSID; `None` refuses and omits.
    pub nsid: Option<Box<str>>,
}

/// A pool with everything that follows from its configuration, health and operators.
#[derive(Debug)]
pub struct Pool {
    /// As configured; for a listener's own scheduler `POOL@LISTENER`.
    pub name: Box<str>,
    /// Addresses in a DNS answer; `None` in a pool of pools leaves it to the pool that answers.
    pub answers: Option<Answers>,
    /// Percentage of the weight that must be eligible, else the pool above passes it over.
    pub min_healthy: u8,
    /// `None` in a pool of pools leaves it to its first member.
    pub on_all_down: Option<OnAllDown>,
    /// If there is one, answers live no longer than health is sure to stay, and no shorter than this. In a pool of pools for all below it.
    pub min_ttl: Option<Ttl>,
    /// What it consists of.
    pub members: Members,
    /// Who is not served here; `None` is nobody.
    pub exclusion: Option<Exclusion>,
    /// How long the redirector keeps a client by cookie; `None` does not.
    pub sticky: Option<Duration>,
}

/// Clients that a pool does not serve.
#[derive(Debug)]
pub struct Exclusion {
    /// Address to whether it is excluded: class 0 is not.
    pub table: Arc<Table>,
    /// The places, as configured, for explanations.
    pub places: Box<str>,
    /// Who serves them instead; `None` is nobody.
    pub instead: Option<PoolId>,
}

/// What a pool consists of.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one is the common one, and is read for every answer")]
pub enum Members {
    /// Realservers.
    Realservers(Realservers),
    /// Pools in the order they are asked.
    Failover(Box<[PoolId]>),
    /// Pools in an order that depends on where the client is.
    Geo(GeoMembers),
    /// Pools by their distance from the client.
    Nearest(NearestPools),
}

/// Pools by their distance from the client.
#[derive(Debug)]
pub struct NearestPools {
    /// The orders, and turns.
    pub orders: Arc<Orders>,
    /// In the order of the file, which the orders count in, each with its share among those that are as near.
    pub pools: Box<[(PoolId, u64)]>,
}

/// Orders of members by distance, with a round robin for each group: clients of one place must not skew the order of another's.
#[derive(Debug)]
pub struct Orders {
    /// Address to order.
    pub nearest: Nearest,
    /// By [`GroupId`](crate::geo::GroupId), then as [`Realservers::turns`]. They go on as long as the orders stay the same.
    pub turns: Box<[[AtomicU64; 4]]>,
}

impl Orders {
    /// No turn taken.
    pub fn new(nearest: Nearest) -> Self {
        let turns = (0..nearest.n_groups()).map(|_| Default::default()).collect();
        Self { nearest, turns }
    }
}

/// Lists of pools, and which client has which.
#[derive(Debug)]
pub struct GeoMembers {
    /// Address to list.
    pub table: Arc<Table>,
    /// Indexed by [`crate::geo::Class`]; the first is the default. An empty list is deliberate NODATA.
    pub lists: Box<[GeoList]>,
}

/// One ordered list of a geo pool.
#[derive(Debug)]
pub struct GeoList {
    /// The keys and networks that lead to it, as configured, for explanations.
    pub label: Box<str>,
    /// Pools in the order they are asked.
    pub pools: Box<[PoolId]>,
}

/// The realservers of a pool, and who of them is there for whom.
#[derive(Debug)]
pub struct Realservers {
    /// How they are ordered.
    pub policy: Policy,
    /// In the order of the file, indexed by [`RealserverId`].
    pub all: Box<[Realserver]>,
    /// Candidates for A, AAAA, and for those who take either.
    pub views: [View; 3],
    /// Whether a pool above passes this one over: nobody eligible, or less than `min_healthy`.
    pub is_failed: bool,
    /// How long at least health cannot change who is chosen: until the first of its probes that could make a realserver flip.
    pub sure_for: Ttl,
    /// What of a client's address is its affinity key.
    pub affinity_prefix: AffinityPrefix,
    /// Turns taken of the round robin, one counter for each of [`Via`](crate::select::Via)'s ways, so that A and AAAA asked in pairs, or a
    /// redirector beside, do not skew each other's order. Shared with the pool's earlier selves: health that comes and goes must not start
    /// the order anew, or a pool that flaps would favour its first realserver.
    pub turns: Arc<[AtomicU64; 4]>,
}

impl Realservers {
    /// Who may be chosen where `family` is wanted, `None` for either.
    pub fn view(&self, family: Option<Family>) -> &View {
        let [v4, v6, any] = &self.views;
        match family {
            Some(Family::V4) => v4,
            Some(Family::V6) => v6,
            None => any,
        }
    }

    /// The realserver with this id.
    pub fn get(&self, id: RealserverId) -> Option<&Realserver> {
        self.all.get(usize::from(id.0))
    }
}

/// A policy with what it has precomputed.
#[derive(Debug)]
pub enum Policy {
    /// The order is each view's [`Sequence`].
    Wrr,
    /// Weighted draw.
    Random,
    /// The table is over all realservers, eligible or not.
    SourceHash(Arc<Maglev>),
    /// The order of the file.
    Failover,
    /// By the distance from the client; members are counted as realservers are.
    Nearest(Arc<Orders>),
}

impl Policy {
    /// As operators write it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Wrr => "wrr",
            Self::Random => "random",
            Self::SourceHash(_) => "source-hash",
            Self::Failover => "failover",
            Self::Nearest(_) => "nearest",
        }
    }
}

/// The candidates for one kind of question.
#[derive(Debug, Default)]
pub struct View {
    /// In the order of the file: the eligible ones or, when the whole pool has none and fails open, those that are ready.
    pub candidates: Box<[RealserverId]>,
    /// Whether [`RealserverId`] is in `candidates`, by index.
    pub is_candidate: Box<[bool]>,
    /// Round robin order of the candidates.
    pub sequence: Sequence,
    /// Running sum of the candidates' weights, for the weighted draw.
    pub cumulative_weights: Box<[u32]>,
    /// Whether the candidates are there by fail-open.
    pub is_degraded: bool,
}

/// A realserver as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realserver {
    /// Unique in its pool.
    pub name: Box<str>,
    /// Its address in either family.
    pub v4: Option<Ipv4Addr>,
    /// See `v4`.
    pub v6: Option<Ipv6Addr>,
    /// Port of the service.
    pub port: Option<u16>,
    /// Share of traffic.
    pub weight: Weight,
    /// Where browsers are sent, without a trailing slash.
    pub url: Option<Box<str>>,
    /// Health of the IPv4 address; meaningless without one.
    pub health_v4: Health,
    /// Health of the IPv6 address; meaningless without one.
    pub health_v6: Health,
    /// Part of its weight that the IPv4 address takes.
    pub tenths_v4: Tenths,
    /// Part of its weight that the IPv6 address takes.
    pub tenths_v6: Tenths,
    /// Whether a guard keeps the IPv4 address in service although it is down.
    pub is_held_v4: bool,
    /// The same for IPv6.
    pub is_held_v6: bool,
    /// What an operator has set.
    pub admin: Admin,
    /// Whether its health is an operator's word, whatever probes say.
    pub is_forced: bool,
    /// Why it is down or not ready, for explanations: the probe's error, the operator's words.
    pub why: Option<Arc<str>>,
}

impl Realserver {
    /// Its address in `family`.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }

    /// Addresses in the order in which they should be tried: those not down first, IPv4 before IPv6.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let pick = |wanted: bool| {
            let families = [Family::V4, Family::V6].into_iter();
            families
                .filter(move |&family| self.is_in_service(family) == wanted)
                .filter_map(|family| self.address(family))
        };
        pick(true).chain(pick(false))
    }

    /// Health where `family` is wanted; for either, the best of its addresses.
    pub fn health(&self, family: Option<Family>) -> Health {
        match family {
            Some(Family::V4) => self.health_v4,
            Some(Family::V6) => self.health_v6,
            None => match (self.v4.map(|_| self.health_v4), self.v6.map(|_| self.health_v6)) {
                (Some(Health::Up), _) | (_, Some(Health::Up)) => Health::Up,
                (Some(Health::Unknown), _) | (_, Some(Health::Unknown)) => Health::Unknown,
                _ => Health::Down,
            },
        }
    }

    /// Part of its weight that it takes where `family` is wanted; for either, the most that one of its healthy addresses takes.
    pub fn tenths(&self, family: Option<Family>) -> Tenths {
        let each =
            [(self.v4.is_some(), self.health_v4, self.tenths_v4), (self.v6.is_some(), self.health_v6, self.tenths_v6)];
        match family {
            Some(Family::V4) => self.tenths_v4,
            Some(Family::V6) => self.tenths_v6,
            None => {
                let up = each.into_iter().filter(|(has, health, _)| *has && *health == Health::Up);
                up.map(|(_, _, tenths)| tenths).max().unwrap_or(Tenths::ALL)
            }
        }
    }

    /// Whether its address in `family`, if it has one, is not down, or held all the same.
    pub fn is_in_service(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.health_v4 != Health::Down || self.is_held_v4,
            Family::V6 => self.health_v6 != Health::Down || self.is_held_v6,
        }
    }

    /// Whether it is down where `family` is wanted, and a guard keeps it in service.
    pub fn is_held(&self, family: Option<Family>) -> bool {
        self.health(family) == Health::Down && self.serves(family)
    }

    /// Whether it takes new traffic in `family`: it has an address there that is in service, and is ready.
    pub fn is_eligible(&self, family: Option<Family>) -> bool {
        self.serves(family) && self.admin == Admin::Ready
    }

    fn serves(&self, family: Option<Family>) -> bool {
        let in_service = |family| self.has(Some(family)) && self.is_in_service(family);
        match family {
            Some(family) => in_service(family),
            None => in_service(Family::V4) || in_service(Family::V6),
        }
    }

    /// Whether it has an address in `family`.
    pub fn has(&self, family: Option<Family>) -> bool {
        family.is_none_or(|family| self.address(family).is_some())
    }
}
