//! Why a client is sent where it is sent: [`select_with`] with a witness that writes down what it hears.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{Client, Ranking, Turn, Witness, select_with};
use crate::{
    config::OnAllDown,
    geo::{self, Coordinates, GroupId},
    snapshot::{Exclusion, GeoList, Members, Orders, Pool, Realserver, Snapshot},
    types::{Admin, Family, Health, POOL_DEPTH_MAX, PoolId},
};

/// How a pool's choice came about.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// What was decided, in order, one line each.
    pub steps: Vec<String>,
    /// Every pool that was asked, in order, with what came of it.
    pub path: Vec<Visited>,
    /// The affinity key of the pool that answers, if it goes by one.
    pub key: Option<HashKey>,
    /// What asks for a scope; the longest prefix counts, as far as it is known of the client.
    pub scope_parts: Vec<ScopePart>,
    /// Every realserver that the pool can lead to: those ranked first, in their order, then the others.
    pub realservers: Vec<Explained>,
}

/// A pool on the way to the realservers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Visited {
    /// Its name.
    pub pool: String,
    /// How many pools are above it.
    pub depth: usize,
    /// How it orders what it consists of.
    pub policy: &'static str,
    /// What came of it: `leads on`, `answers`, `failed`, or which `on_all_down` decides.
    pub outcome: String,
    /// Policy geo: the rule that fits the client best, or all that lead to the same list.
    pub class: Option<String>,
    /// Policy geo: bits of the client's address within which all clients have this class.
    pub prefix: Option<u8>,
    /// Policy geo: the list that it leads to.
    pub list: Vec<String>,
}

/// What a source hash was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HashKey {
    /// The pool that hashed it.
    pub pool: String,
    /// The client's address, cut.
    pub address: IpAddr,
    /// To so many bits.
    pub prefix: u8,
}

/// Something that makes an answer depend on the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScopePart {
    /// The pool that looked at the client.
    pub pool: String,
    /// So many bits of it.
    pub prefix: u8,
    /// What for.
    pub what: &'static str,
}

/// One realserver and why it is in or out.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// Its pool.
    pub pool: String,
    /// Its name there.
    pub name: String,
    /// Its address in the family that was asked for, else the first it has.
    pub address: Option<IpAddr>,
    /// Whether it takes new traffic of this kind.
    pub eligible: bool,
    /// Its place in the ranking, from 1; `None` if it is not in it.
    pub rank: Option<usize>,
    /// Why.
    pub reason: String,
}

/// Explains what `client` would get from `pool` now, and takes no turn.
pub fn explain<'s>(snapshot: &'s Snapshot, pool: PoolId, client: &Client) -> (Ranking<'s>, Explanation) {
    let client = Client { turn: Turn::Peek, ..*client };
    let mut notes = Notes {
        snapshot,
        client,
        steps: Vec::new(),
        path: Vec::new(),
        key: None,
        scope_parts: Vec::new(),
        used: Vec::new(),
        passed_over: Vec::new(),
    };
    let ranking = select_with(snapshot, pool, &client, &mut notes);
    let mut pools = Vec::new();
    collect(snapshot, pool, 0, &mut pools);
    let mut realservers = Vec::new();
    for &id in &pools {
        let Some((Members::Realservers(members), pool)) = snapshot.pool(id).map(|pool| (&pool.members, pool)) else {
            continue;
        };
        for realserver in &members.all {
            let rank = ranking.realservers.iter().position(|ranked| std::ptr::eq(ranked.realserver, realserver));
            let family = client.via.family();
            realservers.push(Explained {
                pool: pool.name.to_string(),
                name: realserver.name.to_string(),
                address: family.and_then(|family| realserver.address(family)).or_else(|| realserver.addresses().next()),
                eligible: realserver.is_eligible(family),
                rank: rank.map(|rank| rank + 1),
                reason: reason(realserver, family, rank, ranking.degraded, notes.place_of(id)),
            });
        }
    }
    realservers.sort_by_key(|explained| explained.rank.unwrap_or(usize::MAX));
    let Notes { steps, path, key, scope_parts, .. } = notes;
    (ranking, Explanation { steps, path, key, scope_parts, realservers })
}

/// Where a pool stands in the decision.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Used,
    PassedOver,
    NotAsked,
}

fn reason(
    realserver: &Realserver,
    family: Option<Family>,
    rank: Option<usize>,
    is_degraded: bool,
    place: Place,
) -> String {
    let why = realserver.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
    let own = match (realserver.admin, realserver.health(family)) {
        (Admin::Drain, _) => format!("drain{why}"),
        (Admin::Maint, _) => format!("maint{why}"),
        (Admin::Ready, _) if !realserver.has(family) => {
            format!("no {} address", family.map_or(String::new(), |family| family.to_string()))
        }
        (Admin::Ready, health) if realserver.is_forced => format!("forced {health}{why}"),
        (Admin::Ready, Health::Down) if realserver.is_held(family) => format!("down, but held{why}"),
        (Admin::Ready, Health::Down) => format!("down{why}"),
        (Admin::Ready, Health::Unknown) => "no probe has ended yet, counts as up".to_owned(),
        (Admin::Ready, Health::Up) => "up".to_owned(),
    };
    match (rank, place) {
        (Some(_), _) if is_degraded && realserver.health(family) == Health::Down => {
            format!("{own}; used because nobody is up")
        }
        (Some(_), _) => own,
        (None, Place::Used) if realserver.is_eligible(family) => format!("{own}; not its turn"),
        (None, Place::PassedOver) => format!("{own}; its pool is failed"),
        (None, Place::NotAsked) => format!("{own}; its pool was not asked"),
        (None, Place::Used) => own,
    }
}

fn collect(snapshot: &Snapshot, id: PoolId, depth: usize, found: &mut Vec<PoolId>) {
    let Some(pool) = snapshot.pool(id).filter(|_| depth < POOL_DEPTH_MAX && !found.contains(&id)) else { return };
    found.push(id);
    let mut members: Vec<PoolId> = match &pool.members {
        Members::Realservers(_) => Vec::new(),
        Members::Failover(members) => members.to_vec(),
        Members::Geo(geo) => geo.lists.iter().flat_map(|list| list.pools.iter().copied()).collect(),
        Members::Nearest(nearest) => nearest.pools.iter().map(|(member, _)| *member).collect(),
    };
    members.extend(pool.exclusion.as_ref().and_then(|exclusion| exclusion.instead));
    for member in members {
        collect(snapshot, member, depth + 1, found);
    }
}

/// The rule among a list's that decided: the most specific one that fits. The whole list of them where none can be told.
fn rule_of(snapshot: &Snapshot, list: &GeoList, client: &Client) -> String {
    let rules = || list.label.split(", ");
    if client.prefix == 0 {
        return "default (the client's address must not be used)".to_owned();
    }
    let nets = rules().filter_map(|rule| rule.parse::<IpNet>().ok()).filter(|net| net.contains(&client.address));
    if let Some(net) = nets.max_by_key(IpNet::prefix_len) {
        return net.to_string();
    }
    let location = snapshot.geo.locate(client.address);
    let keys = rules().filter_map(|rule| rule.parse::<geo::Key>().ok()).filter(|&key| geo::fits(key, location));
    keys.max().map_or_else(|| list.label.to_string(), |key| key.to_string())
}

fn policy_name(members: &Members) -> &'static str {
    match members {
        Members::Realservers(realservers) => realservers.policy.as_str(),
        Members::Failover(_) => "failover",
        Members::Geo(_) => "geo",
        Members::Nearest(_) => "nearest",
    }
}

struct Notes<'s> {
    snapshot: &'s Snapshot,
    client: Client,
    steps: Vec<String>,
    path: Vec<Visited>,
    key: Option<HashKey>,
    scope_parts: Vec<ScopePart>,
    used: Vec<PoolId>,
    passed_over: Vec<PoolId>,
}

impl Notes<'_> {
    fn name(&self, id: PoolId) -> &str {
        self.snapshot.pool(id).map_or("?", |pool| &pool.name)
    }

    fn came_of(&mut self, pool: PoolId, outcome: String) {
        let Some(pool) = self.snapshot.pool(pool) else { return };
        if let Some(visited) = self.path.iter_mut().rev().find(|visited| *visited.pool == *pool.name) {
            visited.outcome = outcome;
        }
    }

    fn place_of(&self, id: PoolId) -> Place {
        if self.used.contains(&id) {
            Place::Used
        } else if self.passed_over.contains(&id) {
            Place::PassedOver
        } else {
            Place::NotAsked
        }
    }
}

/// Groups of an order that are told of: further ones hardly ever count.
const GROUPS_TOLD: usize = 4;

impl Notes<'_> {
    fn member_name(&self, pool: PoolId, index: u16) -> &str {
        match self.snapshot.pool(pool).map(|pool| &pool.members) {
            Some(Members::Realservers(members)) => {
                members.all.get(usize::from(index)).map_or("?", |realserver| &realserver.name)
            }
            Some(Members::Nearest(nearest)) => {
                nearest.pools.get(usize::from(index)).map_or("?", |(member, _)| self.name(*member))
            }
            _ => "?",
        }
    }

    /// `` `a` or `b` (430 km)``: the distance of the nearest of them.
    fn group(&self, pool: PoolId, orders: &Orders, group: GroupId, client: Option<Coordinates>) -> String {
        let members = orders.nearest.group(group);
        let names: Vec<String> = members.iter().map(|&index| format!("`{}`", self.member_name(pool, index))).collect();
        let distances = members
            .iter()
            .filter_map(|&index| Some(client?.distance_km(orders.nearest.coordinates(usize::from(index))?)));
        let distance = distances.min_by(f64::total_cmp).map(|distance| format!(" ({distance:.0} km)"));
        format!("{}{}", names.join(" or "), distance.unwrap_or_default())
    }
}

impl Witness for Notes<'_> {
    fn judged(&mut self, pool: &Pool, prefix: u8) {
        self.scope_parts.push(ScopePart { pool: pool.name.to_string(), prefix, what: "whom it excludes" });
    }

    fn measured(&mut self, pool: PoolId, orders: &Orders, order: &[GroupId], prefix: u8) {
        let name = self.name(pool).to_owned();
        self.scope_parts.push(ScopePart { pool: name, prefix, what: "the client's distance" });
        // With a prefix of 0 the client does not want its place to be known.
        let address = (self.client.prefix > 0).then_some(self.client.address);
        let client = address.and_then(|address| self.snapshot.geo.locate(address).coordinates);
        let groups: Vec<String> =
            order.iter().take(GROUPS_TOLD).map(|&group| self.group(pool, orders, group, client)).collect();
        let more = if order.len() > GROUPS_TOLD { ", …" } else { "" };
        let which = match client {
            Some(coordinates) => format!("nearest to {coordinates}"),
            None => "default, since the client's place is unknown,".to_owned(),
        };
        let scope = if prefix == 0 { "for everybody".to_owned() } else { format!("for the client's /{prefix}") };
        self.steps.push(format!("pool `{}`: {which} {scope}: {}{more}", self.name(pool), groups.join(", ")));
    }

    fn excluded(&mut self, pool: &Pool, exclusion: &Exclusion, prefix: u8) {
        let instead = match exclusion.instead {
            Some(other) => format!("pool `{}` serves it instead", self.name(other)),
            None => "it is refused".to_owned(),
        };
        let places = &exclusion.places;
        self.steps
            .push(format!("pool `{}` excludes {places}, and with it the client's /{prefix}: {instead}", pool.name));
        if let Some(visited) = self.path.iter_mut().rev().find(|visited| *visited.pool == *pool.name) {
            visited.outcome = "excludes the client".to_owned();
        }
    }

    fn asked(&mut self, pool: PoolId, depth: usize) {
        let Some(asked) = self.snapshot.pool(pool) else { return };
        self.path.push(Visited {
            pool: asked.name.to_string(),
            depth,
            policy: policy_name(&asked.members),
            outcome: "leads on".to_owned(),
            class: None,
            prefix: None,
            list: Vec::new(),
        });
    }

    fn located(&mut self, pool: &Pool, list: &GeoList, prefix: u8) {
        let names: Vec<String> = list.pools.iter().map(|&id| self.name(id).to_owned()).collect();
        let members = if names.is_empty() { "nobody".to_owned() } else { format!("`{}`", names.join("`, `")) };
        let scope = if prefix == 0 { "for everybody".to_owned() } else { format!("for the client's /{prefix}") };
        let rule = rule_of(self.snapshot, list, &self.client);
        self.steps.push(format!("pool `{}`: {rule} {scope}: {members}", pool.name));
        self.scope_parts.push(ScopePart { pool: pool.name.to_string(), prefix, what: "the client's place" });
        if let Some(visited) = self.path.iter_mut().rev().find(|visited| *visited.pool == *pool.name) {
            (visited.class, visited.prefix, visited.list) = (Some(rule), Some(prefix), names);
        }
    }

    fn passed_over(&mut self, pool: PoolId) {
        self.passed_over.push(pool);
        self.came_of(pool, "failed".to_owned());
        self.steps.push(format!("pool `{}` is failed and passed over", self.name(pool)));
    }

    fn ranked(&mut self, pool: PoolId, tier: u8) {
        self.used.push(pool);
        self.came_of(pool, "answers".to_owned());
        self.steps.push(format!("pool `{}` answers, as tier {tier}", self.name(pool)));
    }

    fn all_down(&mut self, pool: PoolId, rule: OnAllDown) {
        let rule = match rule {
            OnAllDown::All => "all",
            OnAllDown::None => "none",
            OnAllDown::Servfail => "servfail",
        };
        let cause = match self.snapshot.pool(pool).map(|pool| &pool.members) {
            Some(Members::Realservers(realservers)) if !realservers.view(None).is_degraded => "every pool is failed",
            _ => "nobody is eligible",
        };
        self.came_of(pool, format!("on_all_down = {rule}"));
        self.steps.push(format!("{cause}; pool `{}` decides by `on_all_down = \"{rule}\"`", self.name(pool)));
    }

    fn hashed(&mut self, pool: PoolId, key: IpAddr, prefix: u8) {
        let name = self.name(pool).to_owned();
        self.steps.push(format!("pool `{name}`: affinity key {key}/{prefix}"));
        let n_candidates = match self.snapshot.pool(pool).map(|pool| &pool.members) {
            Some(Members::Realservers(realservers)) => realservers.view(self.client.via.family()).candidates.len(),
            _ => 0,
        };
        if n_candidates > 1 {
            self.scope_parts.push(ScopePart { pool: name.clone(), prefix, what: "the affinity key" });
        }
        self.key.get_or_insert(HashKey { pool: name, address: key, prefix });
    }
}
