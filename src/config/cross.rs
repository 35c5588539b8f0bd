//! What must hold between the parts of a configuration: no cycles, no address bound twice, a port where one is needed.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    ops::Range,
};

use super::{
    Answers, CheckKind, Config, Members, OnExcluded, Policy, PoolIndex, PoolsPolicy, file::Places, reader::Reader,
};
use crate::{geo, types::POOL_DEPTH_MAX};

/// Reports everything that does not fit together.
pub(super) fn check(reader: &Reader<'_>, config: &Config, places: &Places) {
    check_cycles(reader, config, places);
    check_realserver_names(reader, config, places);
    check_probe_ports(reader, config, places);
    check_listeners(reader, config, places);
    check_geo(reader, config, places);
    check_bound_addresses(reader, &[], &places.bound, false);
    check_bound_addresses(reader, &places.bound, &places.listener_binds, true);
    let is_of_dns = |(address, _): &&Bound| config.dns.listen.contains(address);
    let of_dns: Vec<_> = places.bound.iter().filter(is_of_dns).cloned().collect();
    check_bound_addresses(reader, &of_dns, &places.bound_for_udp, false);
    if !config.redirect.listen.is_empty() && config.dns.zones.is_none() {
        let span = places
            .bound
            .iter()
            .find(|(address, _)| config.redirect.listen.contains(address))
            .map(|(_, span)| span.clone());
        let error = reader.error(
            span.unwrap_or(0..0),
            "the redirector finds its pools by name in the zones, and there is no `[dns]`",
        );
        reader.report(error.hint("add `[dns]` with `zones`; `listen = []` there serves no DNS"));
    }
    // What is strange about a file with errors is likely their consequence.
    if !reader.has_errors() {
        check_for_strangeness(reader, config, places);
    }
}

/// Ways from a pool down to pools of realservers, at most: a request may have to try each of them.
const WAYS_MAX: usize = 10_000;
/// How far down a chain of pools is followed: far beyond what is allowed, and far from the end of the stack.
const WALK_DEPTH_MAX: usize = 8 * POOL_DEPTH_MAX;

/// What lies below a pool, itself included.
#[derive(Clone, Copy, Default)]
struct Below {
    /// Levels down to realservers.
    depth: usize,
    /// Ways down to pools of realservers; a pool that is reached in two ways counts twice.
    ways: usize,
}

/// Walks down from each pool; a pool met again on the way closes a cycle, which is shown as the path that makes it.
fn check_cycles(reader: &Reader<'_>, config: &Config, places: &Places) {
    let mut known: HashMap<PoolIndex, Below> = HashMap::new();
    for start in 0..config.pools.len() {
        walk(reader, config, places, start, &mut Vec::new(), &mut known);
    }
}

/// Reports `pool` if it is too much and nothing below it is: one error tells of all the pools above as well.
fn check_below(reader: &Reader<'_>, config: &Config, places: &Places, pool: PoolIndex, below: Below, most: Below) {
    let (Some(pool), Some(span)) = (config.pools.get(pool), places.pools.get(pool)) else { return };
    let message = if below.depth == POOL_DEPTH_MAX + 1 {
        format!("pool `{}` is more than {POOL_DEPTH_MAX} pools deep", pool.name)
    } else if below.ways > WAYS_MAX && most.ways <= WAYS_MAX {
        format!("pool `{}` leads to realservers in more than {WAYS_MAX} ways", pool.name)
    } else {
        return;
    };
    reader.report(reader.error(span.clone(), message).hint("make fewer pools of pools of it"));
}

/// What is below `pool`. `known` holds the pools that were walked before, and makes each cycle be told once.
fn walk(
    reader: &Reader<'_>,
    config: &Config,
    places: &Places,
    pool: PoolIndex,
    path: &mut Vec<PoolIndex>,
    known: &mut HashMap<PoolIndex, Below>,
) -> Below {
    if let Some(at) = path.iter().position(|&before| before == pool) {
        let name = |index: &PoolIndex| config.pools.get(*index).map_or("?", |pool| &*pool.name);
        let circle: Vec<&str> = path.iter().skip(at).chain([&pool]).map(name).collect();
        let span = places.pools.get(pool).cloned().unwrap_or(0..0);
        let error = reader.error(span, format!("pools go in a circle: `{}`", circle.join("` → `")));
        let hint = "take one of them out of the `members`, `geo`, `nets` or `on_excluded` of the one before it";
        reader.report(error.hint(hint));
        return Below::default();
    }
    if let Some(&below) = known.get(&pool) {
        return below;
    }
    let members = members_of(config, pool);
    if members.is_empty() {
        return Below { depth: 1, ways: 1 };
    }
    if path.len() >= WALK_DEPTH_MAX {
        return Below { depth: 1, ways: 1 };
    }
    path.push(pool);
    let mut below = Below::default();
    let mut most = Below::default();
    for member in members {
        let member = walk(reader, config, places, member, path, known);
        most = Below { depth: most.depth.max(member.depth), ways: most.ways.max(member.ways) };
        below.ways = below.ways.saturating_add(member.ways);
    }
    path.pop();
    below.depth = most.depth + 1;
    check_below(reader, config, places, pool, below, most);
    known.insert(pool, below);
    below
}

fn check_realserver_names(reader: &Reader<'_>, config: &Config, places: &Places) {
    for (pool, spans) in config.pools.iter().zip(&places.realservers) {
        let Members::Realservers { realservers, .. } = &pool.members else { continue };
        let mut names = HashMap::new();
        let mut addresses = HashMap::new();
        for (realserver, span) in realservers.iter().zip(spans) {
            if let Some(first) = names.insert(&realserver.name, span) {
                let error = reader
                    .error(span.clone(), format!("duplicate realserver `{}` in pool `{}`", realserver.name, pool.name));
                reader
                    .report(error.hint(format!("the first one is in line {}; rename one of them", reader.line(first))));
            }
            if realserver.v4.is_none() && realserver.v6.is_none() {
                continue;
            }
            let service = (realserver.v4, realserver.v6, realserver.port);
            if let Some(first) = addresses.insert(service, &realserver.name).filter(|first| **first != realserver.name)
            {
                let message = format!(
                    "realservers `{first}` and `{}` of pool `{}` have the same address",
                    realserver.name, pool.name
                );
                reader.report(
                    reader.error(span.clone(), message).hint("for a larger share, give one of them a larger `weight`"),
                );
            }
        }
    }
}

/// Some checks have no port that they could guess.
fn check_probe_ports(reader: &Reader<'_>, config: &Config, places: &Places) {
    for (pool, spans) in config.pools.iter().zip(&places.realservers) {
        let Members::Realservers { realservers, check: Some(check), .. } = &pool.members else { continue };
        let leaves = check.leaves();
        let Some(check) = leaves.iter().find(|check| check.needs_port() && check.port.is_none()) else { continue };
        for (realserver, span) in realservers.iter().zip(spans) {
            if realserver.port.or(realserver.check_port).is_none() {
                let message =
                    format!("realserver `{}` has no port, and its check `{}` needs one", realserver.name, check.name);
                reader.report(reader.error(span.clone(), message).hint("add `port` to the realserver or to the check"));
            }
        }
    }
}

fn check_listeners(reader: &Reader<'_>, config: &Config, places: &Places) {
    for (index, listener) in config.listeners.iter().enumerate() {
        let span = places.listener_pools.get(index).cloned().unwrap_or(0..0);
        for pool in collect_pools(config, listener.pool) {
            let Some((Members::Realservers { realservers, .. }, pool)) =
                config.pools.get(pool).map(|pool| (&pool.members, pool))
            else {
                continue;
            };
            let without: Vec<&str> = realservers
                .iter()
                .filter(|realserver| realserver.port.is_none())
                .map(|realserver| &*realserver.name)
                .collect();
            if !without.is_empty() {
                let names = without.join("`, `");
                let message = format!(
                    "listener `{}` forwards to pool `{}`, where `{names}` {} no port",
                    listener.name,
                    pool.name,
                    if without.len() == 1 { "has" } else { "have" }
                );
                reader.report(
                    reader.error(span.clone(), message).hint("add `port` there: the port that the service has"),
                );
            }
        }
        let is_of_pools =
            config.pools.get(listener.pool).is_some_and(|pool| matches!(pool.members, Members::Pools { .. }));
        if let Some(scheduler) = places.schedulers.get(index).cloned().flatten().filter(|_| is_of_pools) {
            let error =
                reader.error(scheduler, "`scheduler` orders realservers, and this listener's pool is one of pools");
            reader.report(error.hint("set `policy` in the member pools instead"));
        }
    }
}

/// The pools that `pool` may hand a client on to.
fn members_of(config: &Config, pool: PoolIndex) -> Vec<PoolIndex> {
    let Some(pool) = config.pools.get(pool) else { return Vec::new() };
    let mut members = match &pool.members {
        Members::Pools { members, .. } => members.clone(),
        Members::Realservers { .. } => Vec::new(),
    };
    if let Some(OnExcluded::Pool(other)) = pool.exclusion.as_ref().map(|exclusion| exclusion.to) {
        members.push(other);
    }
    members
}

/// What goes by places needs to know them, and not too many.
fn check_geo(reader: &Reader<'_>, config: &Config, places: &Places) {
    if config.geo_databases.is_empty() {
        for (key, span) in &places.needing_geo {
            let message = format!("`{key}` needs geo databases, and this file names none");
            let hint = "add `[geoip]` with `databases = [ … ]`; nearest needs a city database, with coordinates";
            reader.report(reader.error(span.clone(), message).hint(hint));
        }
    }
    for (pool, span) in config.pools.iter().zip(&places.pools) {
        let locations: Vec<Option<geo::Coordinates>> = match &pool.members {
            Members::Realservers { policy: Policy::Nearest, realservers, .. } => {
                realservers.iter().map(|realserver| realserver.location).collect()
            }
            Members::Pools { policy: PoolsPolicy::Nearest { .. }, members } => {
                members.iter().map(|&member| config.pools.get(member)?.location).collect()
            }
            _ => continue,
        };
        let n_places = locations.iter().flatten().collect::<BTreeSet<_>>().len();
        let message = if locations.len() > geo::MEMBERS_MAX {
            format!("{} members are more than the {} of a nearest pool", locations.len(), geo::MEMBERS_MAX)
        } else if n_places > geo::PLACES_MAX {
            format!("the members are at {n_places} places, more than the {} of a nearest pool", geo::PLACES_MAX)
        } else {
            continue;
        };
        reader
            .report(reader.error(span.clone(), message).hint("make a pool of each region, and a nearest one of these"));
    }
}

/// `pool` and all that it may lead to, each once.
fn collect_pools(config: &Config, pool: PoolIndex) -> BTreeSet<PoolIndex> {
    let mut found = BTreeSet::new();
    let mut to_visit = vec![pool];
    while let Some(pool) = to_visit.pop() {
        if found.insert(pool) {
            to_visit.extend(members_of(config, pool));
        }
    }
    found
}

/// An address with its place in the file.
type Bound = (SocketAddr, Range<usize>);

/// Reports each of `bound` that overlaps with one before it or with one of `others`.
///
/// With `may_stand_beside` it may have an address of its own where one of the others has the wildcard: the kernel gives each connection to the
/// more specific socket, and that is what is meant.
fn check_bound_addresses(reader: &Reader<'_>, others: &[Bound], bound: &[Bound], may_stand_beside: bool) {
    for (index, (address, span)) in bound.iter().enumerate() {
        let is_beside =
            |other: SocketAddr| may_stand_beside && other.ip().is_unspecified() && !address.ip().is_unspecified();
        let mut others = others.iter().filter(|(other, _)| overlaps(*address, *other) && !is_beside(*other));
        let mut before = bound.iter().take(index).filter(|(other, _)| overlaps(*address, *other));
        if let Some((other, other_span)) = others.next().or_else(|| before.next()) {
            let line = reader.line(other_span);
            let message = if address == other {
                format!("`{address}` is bound twice, here and in line {line}")
            } else {
                format!("`{address}` overlaps with `{other}` of line {line}")
            };
            let hint = "an address and port can be bound once, and `0.0.0.0` or `[::]` takes all of its family";
            reader.report(reader.error(span.clone(), message).hint(hint));
        }
    }
}

/// IPv4 and IPv6 wildcards do not overlap: IPv6 sockets are bound for IPv6 alone. Port 0 is a free one.
fn overlaps(a: SocketAddr, b: SocketAddr) -> bool {
    let is_wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && a.is_ipv4() == b.is_ipv4() && (a.ip() == b.ip() || is_wildcard)
}

/// What can be used, but hardly as it was meant.
fn check_for_strangeness(reader: &Reader<'_>, config: &Config, places: &Places) {
    for (check, span) in config.checks.iter().zip(&places.checks) {
        let is_named_by_pool = config.pools.iter().any(|pool| match &pool.members {
            Members::Realservers { check: Some(used), .. } => used.name == check.name,
            _ => false,
        });
        let is_named_by_check = config.checks.iter().any(|other| match &other.kind {
            CheckKind::Calculated(calculated) => calculated.checks.iter().any(|used| used.name == check.name),
            _ => false,
        });
        if !is_named_by_pool && !is_named_by_check {
            reader.report(reader.warning(span.clone(), format!("no pool uses check `{}`", check.name)));
        }
    }
    for (index, (pool, span)) in config.pools.iter().zip(&places.pools).enumerate() {
        let has_scheduler = config.listeners.iter().any(|one| one.pool == index && one.scheduler == Some(Policy::Wrr));
        if let Members::Realservers { policy: policy @ (Policy::Failover | Policy::SourceHash), .. } = &pool.members
            && pool.ramp.is_some()
            && !has_scheduler
        {
            let policy = if *policy == Policy::Failover { "failover" } else { "source-hash" };
            let message = format!(
                "`ramp` of pool `{}` changes nothing: its policy `{policy}` does not share by turns",
                pool.name
            );
            reader.report(reader.warning(span.clone(), message).hint("remove the line, or use another policy"));
        }
    }
    for (pool, span) in config.pools.iter().zip(&places.pools) {
        if let Members::Realservers { policy: Policy::Failover, .. } = &pool.members
            && pool.answers != Some(Answers::AtMost(1))
        {
            let message = format!("`answers` of pool `{}` changes nothing: its policy `failover` gives one", pool.name);
            let warning = reader.warning(span.clone(), message);
            reader.report(warning.hint("remove the line, or use another policy"));
        }
        if let Members::Pools { members, policy: PoolsPolicy::Failover } = &pool.members
            && members.len() == 1
        {
            let warning = reader
                .warning(span.clone(), format!("pool `{}` has one member, to which it cannot add anything", pool.name));
            reader.report(warning.hint("use that pool itself, or add a second one"));
        }
    }
}
