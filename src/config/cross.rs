//! What must hold between the parts of a configuration: no cycles, no address bound twice, a port where one is needed.

use std::{collections::HashMap, net::SocketAddr};

use super::{CheckKind, Config, Members, PoolIndex, PoolsPolicy, file::Places, reader::Reader};
use crate::types::POOL_DEPTH_MAX;

/// Reports everything that does not fit together.
pub(super) fn check(reader: &Reader<'_>, config: &Config, places: &Places) {
    check_cycles(reader, config, places);
    check_realserver_names(reader, config, places);
    check_probe_ports(reader, config, places);
    check_listeners(reader, config, places);
    check_bound_addresses(reader, &places.bound);
    check_unused_checks(reader, config, places);
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
}

/// Walks down from each pool; a pool met again on the way closes a cycle, which is shown as the path that makes it.
fn check_cycles(reader: &Reader<'_>, config: &Config, places: &Places) {
    let mut depths: HashMap<PoolIndex, usize> = HashMap::new();
    for start in 0..config.pools.len() {
        let mut path = Vec::new();
        let depth = walk(reader, config, places, start, &mut path, &mut depths);
        if depth > POOL_DEPTH_MAX
            && let (Some(pool), Some(span)) = (config.pools.get(start), places.pools.get(start))
        {
            let message = format!("pool `{}` is {depth} pools deep, more than {POOL_DEPTH_MAX}", pool.name);
            reader
                .report(reader.error(span.clone(), message).hint("pools this deep are hard to reason about at night"));
        }
    }
}

/// Levels from `pool` down to realservers, itself included. `depths` holds those that are known, and makes each cycle be told once.
fn walk(
    reader: &Reader<'_>,
    config: &Config,
    places: &Places,
    pool: PoolIndex,
    path: &mut Vec<PoolIndex>,
    depths: &mut HashMap<PoolIndex, usize>,
) -> usize {
    if let Some(at) = path.iter().position(|&before| before == pool) {
        let name = |index: &PoolIndex| config.pools.get(*index).map_or("?", |pool| &*pool.name);
        let circle: Vec<&str> = path.iter().skip(at).chain([&pool]).map(name).collect();
        let span = places.pools.get(pool).cloned().unwrap_or(0..0);
        let error = reader.error(span, format!("pools go in a circle: `{}`", circle.join("` → `")));
        reader.report(error.hint("take one of them out of the other's members"));
        return 0;
    }
    if let Some(&depth) = depths.get(&pool) {
        return depth;
    }
    let Some(Members::Pools { members, .. }) = config.pools.get(pool).map(|pool| &pool.members) else { return 1 };
    path.push(pool);
    let below = members.iter().map(|&member| walk(reader, config, places, member, path, depths)).max().unwrap_or(0);
    path.pop();
    depths.insert(pool, below + 1);
    below + 1
}

fn check_realserver_names(reader: &Reader<'_>, config: &Config, places: &Places) {
    for (pool, spans) in config.pools.iter().zip(&places.realservers) {
        let Members::Realservers { realservers, .. } = &pool.members else { continue };
        let mut names = HashMap::new();
        let mut addresses = HashMap::new();
        for (realserver, span) in realservers.iter().zip(spans) {
            if names.insert(&realserver.name, ()).is_some() {
                let error = reader
                    .error(span.clone(), format!("duplicate realserver `{}` in pool `{}`", realserver.name, pool.name));
                reader.report(error.hint("names are unique within a pool; rename one of the two"));
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

/// A tcp check has no port that it could guess.
fn check_probe_ports(reader: &Reader<'_>, config: &Config, places: &Places) {
    for (pool, spans) in config.pools.iter().zip(&places.realservers) {
        let Members::Realservers { realservers, check: Some(check), .. } = &pool.members else { continue };
        if check.kind != CheckKind::Tcp || check.port.is_some() {
            continue;
        }
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
        let mut pools = Vec::new();
        collect_pools(config, listener.pool, &mut pools);
        for pool in &pools {
            let Some((Members::Realservers { realservers, .. }, pool)) =
                config.pools.get(*pool).map(|pool| (&pool.members, pool))
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
                    "listener `{}` forwards to pool `{}`, where `{names}` has no port",
                    listener.name, pool.name
                );
                reader.report(reader.error(span.clone(), message).hint("add `port` to each realserver of that pool"));
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

/// `pool` and all that it may lead to, each once.
fn collect_pools(config: &Config, pool: PoolIndex, found: &mut Vec<PoolIndex>) {
    if found.contains(&pool) {
        return;
    }
    found.push(pool);
    if let Some(Members::Pools { members, .. }) = config.pools.get(pool).map(|pool| &pool.members) {
        for &member in members {
            collect_pools(config, member, found);
        }
    }
}

fn check_bound_addresses(reader: &Reader<'_>, bound: &[(SocketAddr, std::ops::Range<usize>)]) {
    for (index, (address, span)) in bound.iter().enumerate() {
        if let Some((other, _)) = bound.iter().take(index).find(|(other, _)| overlaps(*address, *other)) {
            let message = if address == other {
                format!("`{address}` is bound twice")
            } else {
                format!("`{address}` overlaps with `{other}`")
            };
            reader.report(
                reader
                    .error(span.clone(), message)
                    .hint("each address and port can have one listener; a wildcard takes them all"),
            );
        }
    }
}

/// IPv4 and IPv6 wildcards do not overlap: IPv6 sockets are bound for IPv6 alone. Port 0 is a free one.
fn overlaps(a: SocketAddr, b: SocketAddr) -> bool {
    let is_wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && a.is_ipv4() == b.is_ipv4() && (a.ip() == b.ip() || is_wildcard)
}

fn check_unused_checks(reader: &Reader<'_>, config: &Config, places: &Places) {
    for (check, span) in config.checks.iter().zip(&places.checks) {
        let is_used = config.pools.iter().any(|pool| match &pool.members {
            Members::Realservers { check: Some(used), .. } => used.name == check.name,
            _ => false,
        });
        if !is_used {
            reader.report(reader.warning(span.clone(), format!("no pool uses check `{}`", check.name)));
        }
    }
    for (pool, span) in config.pools.iter().zip(&places.pools) {
        if let Members::Pools { members, policy: PoolsPolicy::Failover } = &pool.members
            && members.len() == 1
        {
            let warning = reader
                .warning(span.clone(), format!("pool `{}` has one member, to which it cannot add anything", pool.name));
            reader.report(warning.hint("use that pool itself, or add a second one"));
        }
    }
}
