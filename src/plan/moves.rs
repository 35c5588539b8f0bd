//! Where clients land before and after, and from there who moves, from where to where, in which share.
//!
//! A client lands at a realserver, or, where turns or a draw decide, in a pool whose realservers share by weight. Of two shares what both
//! have stays; the rest moves, and is spread over those that gain. Realservers are told apart by their address: that is where clients go,
//! whatever it is called.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use serde::Serialize;

use super::{Listed, Share, Side};
use crate::{
    geo::GroupId,
    select::{Client, Turn, Via, WhenEmpty, Witness, select_with},
    snapshot::{GeoList, Members, Orders, Policy, Pool, Snapshot},
    types::{Family, PoolId, RealserverId},
};

/// By which way clients come to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// By a name.
    Dns,
    /// By a listener.
    L4,
}

impl Use {
    /// What is asked for on the way.
    pub(super) fn vias(self) -> &'static [Via] {
        match self {
            Self::Dns => &[Via::Dns(Family::V4), Via::Dns(Family::V6)],
            Self::L4 => &[Via::L4],
        }
    }
}

/// Where one client lands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Landing {
    /// NODATA, NXDOMAIN, REFUSED, a closed connection.
    Nobody,
    /// No answer is preferred to a wrong one.
    Servfail,
    /// An address that stands in the zone.
    Static(IpAddr),
    /// Some realserver of this pool, by weight.
    Pool(PoolId),
    /// This one.
    Realserver(PoolId, RealserverId),
}

/// What is learnt of a client on the way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looked {
    /// Bits of the address within which every client has the same place.
    pub(super) prefix: u8,
    /// Whether a hash of the address decides.
    pub(super) is_hashed: bool,
}

impl Witness for Looked {
    fn located(&mut self, _: &Pool, _: &GeoList, prefix: u8) {
        self.prefix = self.prefix.max(prefix);
    }

    fn measured(&mut self, _: PoolId, _: &Orders, _: &[GroupId], prefix: u8) {
        self.prefix = self.prefix.max(prefix);
    }

    fn judged(&mut self, _: &Pool, prefix: u8) {
        self.prefix = self.prefix.max(prefix);
    }

    fn hashed(&mut self, _: PoolId, _: IpAddr, _: u8) {
        self.is_hashed = true;
    }
}

/// A client as a comparison asks for it: one realserver is enough, and nobody's turn is taken.
pub(super) fn client(address: IpAddr, prefix: u8, via: Via) -> Client {
    Client { address, prefix, via, random: 0, turn: Turn::Peek, most: 1 }
}

/// Where `client` lands that comes to `pool`, and the scope of the answer.
pub(super) fn land(snapshot: &Snapshot, pool: PoolId, client: &Client, looked: &mut Looked) -> (Landing, u8) {
    let ranking = select_with(snapshot, pool, client, looked);
    let landing = match ranking.realservers.first() {
        None if ranking.when_empty == WhenEmpty::Servfail => Landing::Servfail,
        None => Landing::Nobody,
        Some(first) => match snapshot.pool(first.pool).map(|pool| &pool.members) {
            Some(Members::Realservers(realservers)) if matches!(realservers.policy, Policy::Wrr | Policy::Random) => {
                Landing::Pool(first.pool)
            }
            _ => Landing::Realserver(first.pool, first.id),
        },
    };
    (landing, ranking.scope.0)
}

/// Where clients landed, counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    total: Share,
    landed: HashMap<(Landing, Landing, Option<Family>), Share>,
    scopes: BTreeMap<(u8, u8), Share>,
}

impl Tally {
    /// Counts clients of this weight. What is nobody's on both sides (AAAA of a pool without) is nobody's loss.
    pub(super) fn add(&mut self, old: (Landing, u8), new: (Landing, u8), via: Via, weight: Share) {
        if old.0 == Landing::Nobody && new.0 == Landing::Nobody {
            return;
        }
        self.total += weight;
        *self.landed.entry((old.0, new.0, via.family())).or_default() += weight;
        if old.1 != new.1 {
            *self.scopes.entry((old.1, new.1)).or_default() += weight;
        }
    }

    /// What of it is a change; `None` if nothing is.
    pub(super) fn into_moves(
        self,
        old: Side<'_>,
        new: Side<'_>,
        (old_pool, new_pool): (&str, &str),
        names: &Listed,
        clients: &'static str,
    ) -> Option<Moves> {
        let total = if self.total > 0.0 { self.total } else { 1.0 };
        let mut flows: BTreeMap<(String, String), Share> = BTreeMap::new();
        let (mut share, mut nodata) = (0.0, 0.0);
        for ((before, after, family), weight) in &self.landed {
            let moved = moved(&shares(old.snapshot, *before, *family), &shares(new.snapshot, *after, *family));
            for (from, to, part) in moved {
                let part = part * weight / total;
                share += part;
                *flows.entry((from, to)).or_default() += part;
            }
            if matches!(after, Landing::Nobody | Landing::Servfail)
                && !matches!(before, Landing::Nobody | Landing::Servfail)
            {
                nodata += weight / total;
            }
        }
        if flows.is_empty() && self.scopes.is_empty() {
            return None;
        }
        let mut flows: Vec<Flow> = flows.into_iter().map(|((from, to), share)| Flow { from, to, share }).collect();
        flows.sort_by(|one, other| other.share.total_cmp(&one.share));
        let mut scopes: Vec<ScopeChange> =
            self.scopes.into_iter().map(|((from, to), share)| ScopeChange { from, to, share: share / total }).collect();
        scopes.sort_by(|one, other| other.share.total_cmp(&one.share));
        Some(Moves {
            old_pool: old_pool.to_owned(),
            new_pool: new_pool.to_owned(),
            names: names.clone(),
            clients,
            share,
            flows,
            nodata,
            scopes,
        })
    }
}

/// Where the clients of one landing are, as address (`None` is nowhere), pool, name and share.
pub(super) fn shares(snapshot: &Snapshot, landing: Landing, family: Option<Family>) -> Vec<Place> {
    let nowhere = |name: &str| vec![Place { address: None, pool: name.to_owned(), name: String::new(), share: 1.0 }];
    let (id, only) = match landing {
        Landing::Nobody => return nowhere("nobody"),
        Landing::Servfail => return nowhere("SERVFAIL"),
        Landing::Static(address) => {
            return vec![Place {
                address: Some(address),
                pool: "static".to_owned(),
                name: address.to_string(),
                share: 1.0,
            }];
        }
        Landing::Pool(id) => (id, None),
        Landing::Realserver(id, realserver) => (id, Some(realserver)),
    };
    let Some((pool, Members::Realservers(realservers))) = snapshot.pool(id).map(|pool| (pool, &pool.members)) else {
        return nowhere("nobody");
    };
    let place = |id: RealserverId, share| {
        let realserver = realservers.get(id)?;
        let address = family.map_or_else(|| realserver.addresses().next(), |family| realserver.address(family));
        Some(Place { address, pool: pool.name.to_string(), name: realserver.name.to_string(), share })
    };
    if let Some(only) = only {
        return place(only, 1.0).into_iter().collect();
    }
    let candidates = &realservers.view(family).candidates;
    let weight = |id: &RealserverId| realservers.get(*id).map_or(0.0, |realserver| f64::from(realserver.weight.get()));
    let total: f64 = candidates.iter().map(weight).sum();
    candidates.iter().filter_map(|id| place(*id, weight(id) / total)).collect()
}

/// One realserver's part of the clients.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: Option<IpAddr>,
    pub(super) pool: String,
    pub(super) name: String,
    pub(super) share: Share,
}

impl Place {
    /// What is said of it: the pool, where clients leave it or come to it; else the realserver.
    fn told(&self, other: &Self) -> String {
        if self.pool != other.pool || self.name.is_empty() {
            self.pool.clone()
        } else {
            format!("{}/{}", self.pool, self.name)
        }
    }
}

/// Less than this is how floating point adds up.
const NOTHING: Share = 1e-9;

/// Which part moves, from where to where.
fn moved(old: &[Place], new: &[Place]) -> Vec<(String, String, Share)> {
    let less = |of: &[Place], than: &[Place]| -> Vec<Place> {
        let rest = of.iter().map(|place| {
            let there: Share =
                than.iter().filter(|other| other.address == place.address).map(|other| other.share).sum();
            // Nowhere is nowhere: NODATA that becomes SERVFAIL is no move.
            Place { share: place.share - there, ..place.clone() }
        });
        rest.filter(|place| place.share > NOTHING).collect()
    };
    let (losing, gaining) = (less(old, new), less(new, old));
    let gain: Share = gaining.iter().map(|place| place.share).sum();
    let mut flows = Vec::new();
    for from in &losing {
        for to in &gaining {
            flows.push((from.told(to), to.told(from), from.share * to.share / gain));
        }
    }
    flows
}

/// Who moves of the clients that come to one pool.
#[derive(Clone, Debug, Serialize)]
pub struct Moves {
    /// The pool that they came to.
    pub old_pool: String,
    /// The pool that they come to; mostly the same.
    pub new_pool: String,
    /// Names and listeners that lead there.
    pub names: Listed,
    /// Which clients: `ipv4` and `ipv6` are parts of the address space, `queries` those of a log.
    pub clients: &'static str,
    /// Part of them that moves, 0 to 1.
    pub share: Share,
    /// From where to where, the greatest first.
    pub flows: Vec<Flow>,
    /// Part of them that had an address and gets none any more.
    pub nodata: Share,
    /// Scopes that change.
    pub scopes: Vec<ScopeChange>,
}

/// A part of the clients that moves.
#[derive(Clone, Debug, Serialize)]
pub struct Flow {
    /// Pool, or realserver where the pool stays the same.
    pub from: String,
    /// The same.
    pub to: String,
    /// Part of all clients.
    pub share: Share,
}

/// A part of the clients whose answers have another scope.
#[derive(Clone, Debug, Serialize)]
pub struct ScopeChange {
    /// Bits before.
    pub from: u8,
    /// Bits after.
    pub to: u8,
    /// Part of all clients.
    pub share: Share,
}
