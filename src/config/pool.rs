//! `[pools.NAME]` as written becomes a [`Pool`]: its realservers, or its members with the lists of a geo pool.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use ipnet::IpNet;

use super::{
    AffinityPrefix, Answers, Members, OnAllDown, Policy, Pool, PoolIndex, PoolsPolicy, Realserver,
    file::{Context, Places, check_name, network, read_duration},
    place::{read_default_pools, read_default_realservers, read_exclusion, read_location},
    reader::{Table, Value, Word},
};
use crate::{
    geo,
    types::{Ttl, Weight},
};

/// Realservers of one pool: what is computed for a pool grows with their square in the worst case.
const REALSERVERS_MAX: usize = 4096;
/// Greatest capacity: shares of it are still exact to a client in a million.
const CAPACITY_MAX: u64 = 1_000_000_000_000;
/// Addresses in a DNS answer that may be configured as a number; "all" is cut by the size of a message.
const ANSWERS_MAX: u16 = 64;
/// A browser that comes back after this is a new client.
const STICKY_FOR: Duration = Duration::from_secs(3600);

pub(super) fn read_pool(context: &Context<'_>, word: &Word<'_>, value: Value<'_>, places: &mut Places) -> Pool {
    places.pools.push(word.span.clone());
    places.realservers.push(Vec::new());
    let empty = Members::Pools { members: Vec::new(), policy: PoolsPolicy::Failover };
    let pool = Pool {
        name: word.text.into(),
        members: empty,
        answers: None,
        min_healthy: 0,
        ramp: None,
        on_all_down: None,
        capacity: None,
        max_leave: 100,
        min_ttl: None,
        location: None,
        exclusion: None,
        sticky: None,
    };
    let Some(table) = value.table("pools.NAME") else { return pool };
    let is_of_pools = ["members", "geo", "nets"].iter().any(|key| table.get(key).is_some());
    let members = match table.get("realservers") {
        Some(realservers) => {
            for key in ["members", "geo", "nets"] {
                if let Some(value) = table.get(key) {
                    let hint = "make one pool of the realservers and another with this one as a member";
                    value.reject(format!("a pool has `realservers` or `{key}`, not both"), hint);
                }
            }
            read_realservers(context, table, realservers, places)
        }
        None => {
            if !is_of_pools {
                let error = table.reader.error(word.span.clone(), format!("pool `{}` has nobody in it", word.text));
                table.reader.report(error.hint("give it `realservers = [ … ]` or `members = [ … ]`"));
            }
            // They are about realservers; ignored here they would do harm the night they are needed.
            for key in ["check", "affinity_prefix", "min_healthy", "max_leave", "ramp", "capacity"] {
                if let Some(value) = table.get(key) {
                    value.reject(
                        format!("`{key}` belongs to a pool of realservers"),
                        "set it in each of the pools that this one leads to",
                    );
                }
            }
            read_members(context, table, places)
        }
    };
    let is_leaf = matches!(members, Members::Realservers { .. });
    let answers = table.get("answers").and_then(read_answers);
    let on_all_down = table.get("on_all_down").and_then(|value| {
        value.choice(&[
            ("all", Some(OnAllDown::All)),
            ("none", Some(OnAllDown::None)),
            ("servfail", Some(OnAllDown::Servfail)),
        ])
    });
    Pool {
        members,
        answers: answers.or(is_leaf.then_some(Answers::AtMost(1))),
        min_healthy: table
            .get("min_healthy")
            .filter(|_| is_leaf)
            .and_then(|value| read_percentage(value, 0))
            .unwrap_or(0),
        ramp: table.get("ramp").filter(|_| is_leaf).and_then(|value| value.duration()),
        capacity: table.get("capacity").filter(|_| is_leaf).and_then(|value| value.integer(1..=CAPACITY_MAX)),
        on_all_down: on_all_down.or(is_leaf.then_some(OnAllDown::All)),
        max_leave: table
            .get("max_leave")
            .filter(|_| is_leaf)
            .and_then(|value| read_percentage(value, 1))
            .unwrap_or(100),
        min_ttl: table.get("min_ttl").and_then(read_ttl),
        location: table.get("location").and_then(read_location),
        exclusion: read_exclusion(context, table, places),
        sticky: read_sticky(table),
        ..pool
    }
}

/// How long the redirector keeps a client.
fn read_sticky(table: Table<'_>) -> Option<Duration> {
    let sticky = table.get("sticky").map(|value| value.choice(&[("cookie", Some(true)), ("off", Some(false))]));
    match (sticky, table.get("sticky_for")) {
        (Some(Some(true)), _) => Some(read_duration(table, "sticky_for", STICKY_FOR)),
        (None | Some(Some(false)), Some(value)) => {
            value.reject("nobody is kept here", "add `sticky = \"cookie\"`");
            None
        }
        _ => None,
    }
}

fn read_answers(value: Value<'_>) -> Option<Answers> {
    if value.is_integer() {
        return value.integer(1..=ANSWERS_MAX).map(Answers::AtMost);
    }
    if value.text() == Some("all") {
        return Some(Answers::All);
    }
    let message = format!("`answers` must be a number from 1 to {ANSWERS_MAX} or `\"all\"`");
    value.reject(message, "`answers = \"all\"` gives every healthy one");
    None
}

/// A percentage of at least `least`.
pub(super) fn read_percentage(value: Value<'_>, least: u8) -> Option<u8> {
    let number = value.text().and_then(|text| text.strip_suffix('%'));
    let percentage = number.and_then(|number| number.parse().ok()).filter(|number| (least..=100).contains(number));
    if percentage.is_none() {
        value.reject(format!("a percentage is expected here, from `\"{least}%\"` to `\"100%\"`"), "such as `\"50%\"`");
    }
    percentage
}

/// A TTL as a duration of whole seconds.
fn read_ttl(value: Value<'_>) -> Option<Ttl> {
    let duration = value.duration()?;
    let ttl = u32::try_from(duration.as_secs()).ok().and_then(Ttl::new).filter(|ttl| ttl.get() > 0);
    if ttl.is_none() || duration.subsec_nanos() != 0 {
        value.reject("a TTL is a number of whole seconds, at least one", "such as `\"10s\"`");
        return None;
    }
    ttl
}

fn read_realservers(context: &Context<'_>, table: Table<'_>, realservers: Value<'_>, places: &mut Places) -> Members {
    let policies = [
        ("wrr", Some(Some(Policy::Wrr))),
        ("random", Some(Some(Policy::Random))),
        ("source-hash", Some(Some(Policy::SourceHash))),
        ("failover", Some(Some(Policy::Failover))),
        ("nearest", Some(Some(Policy::Nearest))),
        ("geo", Some(None)),
    ];
    let policy = table.get("policy").map_or(Some(Policy::Wrr), |value| {
        let policy = value.choice(&policies)?;
        if policy.is_none() {
            value.reject(
                "policy `geo` chooses among pools, not realservers",
                "give it `members`, each a pool of realservers",
            );
        }
        policy
    });
    let check = table.get("check").and_then(|value| context.check(value));
    let read = realservers.list(|element| Some((read_realserver(element)?, element.span())));
    let (all, spans): (Vec<_>, Vec<_>) = read.unwrap_or_default().into_iter().unzip();
    if realservers.is_empty_list() {
        realservers
            .reject("a pool needs at least one realserver", "such as `{ name = \"a\", address = \"192.0.2.10\" }`");
    }
    if all.len() > REALSERVERS_MAX {
        let message = format!("{} realservers are more than the {REALSERVERS_MAX} a pool may have", all.len());
        realservers.reject(message, "make several pools, and one of these pools");
    }
    places.realservers.pop();
    places.realservers.push(spans);
    let prefix = table.get("affinity_prefix").and_then(|value| value.table("pools.NAME.affinity_prefix"));
    let bits = |name, most, default| {
        let value = prefix.and_then(|prefix: Table<'_>| prefix.get(name));
        value.and_then(|value| value.integer(1..=most)).unwrap_or(default)
    };
    let default = AffinityPrefix::default();
    if policy == Some(Policy::Nearest) {
        places.needing_geo.extend(table.get("policy").map(|value| ("policy = \"nearest\"", value.span())));
    } else if let Some(value) = table.get("default") {
        reject_default(value);
    }
    Members::Realservers {
        default: read_default_realservers(table, &all),
        policy: policy.unwrap_or(Policy::Wrr),
        realservers: all,
        check,
        affinity_prefix: AffinityPrefix { v4: bits("v4", 32, default.v4), v6: bits("v6", 128, default.v6) },
    }
}

fn reject_default(value: Value<'_>) {
    let hint = "for policy `geo` it stands in the table `geo`; other policies do not ask where a client is";
    value.reject("`default` belongs to policy `nearest`", hint);
}

fn read_realserver(value: Value<'_>) -> Option<Realserver> {
    let table = value.table("pools.NAME.realservers")?;
    let name = table.require("name", "name = \"a\"").and_then(|value| {
        let name = value.string()?;
        check_name(value.reader, name, value.span(), true);
        Some(name)
    });
    let address = table.require("address", "address = \"192.0.2.10\"");
    let (v4, v6) = address.map_or((None, None), read_addresses);
    let port = |name| table.get(name).and_then(|value: Value<'_>| value.integer(1..=u16::MAX));
    let realserver = Realserver {
        name: name.unwrap_or_default().into(),
        v4,
        v6,
        port: port("port"),
        weight: table.get("weight").and_then(read_weight).unwrap_or(Weight::ONE),
        url: table.get("url").and_then(read_url),
        check_address: table.get("check_address").and_then(|value| value.address()),
        check_port: port("check_port"),
        location: table.get("location").and_then(read_location),
        capacity: table.get("capacity").and_then(|value| value.integer(1..=CAPACITY_MAX)),
    };
    // Reported above; it is read to its end first, so that all its mistakes are told.
    name.map(|_| realserver)
}

/// One address, or a list of at most one of each family.
fn read_addresses(value: Value<'_>) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let (mut v4, mut v6) = (None, None);
    if value.is_string() {
        match value.address() {
            Some(IpAddr::V4(address)) => v4 = Some(address),
            Some(IpAddr::V6(address)) => v6 = Some(address),
            None => {}
        }
        return (v4, v6);
    }
    if !value.is_list() {
        value.reject(value.mismatch("an address, or a list of one of each family"), "such as `\"192.0.2.10\"`");
        return (v4, v6);
    }
    let elements = value.list(Some).unwrap_or_default();
    if value.is_empty_list() {
        value.reject("a realserver needs an address", "such as `address = \"192.0.2.10\"`");
    }
    for element in elements {
        let is_second = match element.address() {
            Some(IpAddr::V4(address)) => v4.replace(address).is_some(),
            Some(IpAddr::V6(address)) => v6.replace(address).is_some(),
            None => false,
        };
        if is_second {
            element
                .reject("a realserver has at most one address of each family", "make this one a realserver of its own");
        }
    }
    (v4, v6)
}

fn read_weight(value: Value<'_>) -> Option<Weight> {
    if value.number() == Some(0) {
        let hint = "for no traffic, `fingerpost drain POOL/REALSERVER`, or remove the realserver";
        value.reject("weight 0 is refused", hint);
        return None;
    }
    value.integer(1..=u16::MAX).and_then(Weight::new)
}

/// An absolute http or https URL to which a path can be appended as it is.
fn read_url(value: Value<'_>) -> Option<Box<str>> {
    let url = value.string()?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_usable = rest.is_some_and(|rest| {
        is_authority(rest.split('/').next().unwrap_or_default())
            && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}@".contains(&byte))
    });
    if !is_usable {
        value.reject(
            format!("`{url}` is not a URL to send browsers to"),
            "such as `https://ams-b.example.com`: no user, query or fragment",
        );
        return None;
    }
    Some(url.trim_end_matches('/').into())
}

/// `host`, `[2001:db8::1]`, and either with `:port`.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    is_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn read_members(context: &Context<'_>, table: Table<'_>, places: &mut Places) -> Members {
    let listed = table.get("members").and_then(|value| {
        let members = value.list(|element| Some((context.pool(element)?, element)))?;
        if value.is_empty_list() {
            value.reject("a pool of pools needs at least one member", "such as `members = [\"web-eu\", \"web-us\"]`");
        }
        for (index, (member, element)) in members.iter().enumerate() {
            if members.iter().take(index).any(|(before, _)| before == member) {
                element.reject("this member is in the list twice", "remove one of the two");
            }
        }
        Some(members.into_iter().map(|(member, _)| member).collect::<Vec<_>>())
    });
    let is_geo = table.get("geo").is_some() || table.get("nets").is_some();
    let of_realservers = |name| (name, Some(None));
    let policies = [
        ("failover", Some(Some(Kind::Failover))),
        ("geo", Some(Some(Kind::Geo))),
        ("nearest", Some(Some(Kind::Nearest))),
        of_realservers("wrr"),
        of_realservers("random"),
        of_realservers("source-hash"),
    ];
    let unsaid = if is_geo { Kind::Geo } else { Kind::Failover };
    let policy = table.get("policy").map_or(Some(unsaid), |value| {
        let policy = value.choice(&policies)?;
        match policy {
            None => value.reject(
                "this policy orders realservers, not pools",
                "for pools there are `failover`, `geo` and `nearest`",
            ),
            Some(Kind::Failover | Kind::Nearest) if is_geo => {
                value.reject("`geo` and `nets` need `policy = \"geo\"`", "change the policy, or remove them")
            }
            Some(Kind::Geo) if !is_geo => {
                value.reject("policy `geo` needs a table `geo` or `nets`", "such as `geo = { default = [ … ] }`")
            }
            Some(Kind::Nearest) => places.needing_geo.push(("policy = \"nearest\"", value.span())),
            Some(_) => {}
        }
        policy
    });
    if let Some(value) = table.get("default").filter(|_| policy.is_some_and(|policy| policy != Kind::Nearest)) {
        reject_default(value);
    }
    match policy {
        Some(Kind::Geo) if is_geo => read_geo(context, table, listed),
        Some(Kind::Nearest) => {
            let members = listed.unwrap_or_default();
            let default = read_default_pools(context, table, &members);
            Members::Pools { members, policy: PoolsPolicy::Nearest { default } }
        }
        _ => Members::Pools { members: listed.unwrap_or_default(), policy: PoolsPolicy::Failover },
    }
}

/// The policies of pools of pools.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failover,
    Geo,
    Nearest,
}

/// The ordered lists of a geo pool; equal ones become one, so that neighbours that are treated alike can be merged.
struct Lists {
    lists: Vec<Vec<PoolIndex>>,
}

impl Lists {
    fn intern(&mut self, list: Vec<PoolIndex>) -> usize {
        self.lists.iter().position(|known| *known == list).unwrap_or_else(|| {
            self.lists.push(list);
            self.lists.len() - 1
        })
    }
}

fn read_geo(context: &Context<'_>, table: Table<'_>, listed: Option<Vec<PoolIndex>>) -> Members {
    let read_list = |value: Value<'_>| {
        value.list(|element| {
            let pool = context.pool(element)?;
            if listed.as_ref().is_some_and(|members| !members.contains(&pool)) {
                let name = context.pool_names.get(pool).copied().unwrap_or_default();
                element.reject(
                    format!("`{name}` is not among this pool's `members`"),
                    "add it there, or remove `members`: it is optional here",
                );
            }
            Some(pool)
        })
    };
    let entries = |name| table.get(name).and_then(|value: Value<'_>| value.entries()).unwrap_or_default();
    if listed.is_none() && entries("geo").iter().chain(&entries("nets")).all(|(_, value)| value.is_empty_list()) {
        let error = table.reader.error(table.span(), "this pool has nobody in it: all of its lists are empty");
        table.reader.report(error.hint("an empty list sends some clients to nobody; the others need pools"));
    }
    let places: Vec<(geo::Key, Vec<PoolIndex>)> = entries("geo")
        .into_iter()
        .filter_map(|(word, value)| {
            let list = read_list(value);
            match word.text.parse::<geo::Key>() {
                Ok(key) => Some((key, list?)),
                Err(error) => {
                    table.reader.report(table.reader.error(word.span, error.to_string()).hint(error.hint()));
                    None
                }
            }
        })
        .collect();
    let mut networks: Vec<(IpNet, Vec<PoolIndex>)> = Vec::new();
    for (word, value) in entries("nets") {
        let list = read_list(value);
        let error = match network(word.text) {
            Ok(network) if networks.iter().any(|(before, _)| *before == network) => {
                let error = table.reader.error(word.span, format!("network `{network}` has two lists"));
                error.hint("remove one of the two")
            }
            Ok(network) => {
                networks.extend(list.map(|list| (network, list)));
                continue;
            }
            Err((message, hint)) => table.reader.error(word.span, message).hint(hint),
        };
        table.reader.report(error);
    }
    let mut members = listed.unwrap_or_default();
    for pool in places.iter().map(|(_, list)| list).chain(networks.iter().map(|(_, list)| list)).flatten() {
        if !members.contains(pool) {
            members.push(*pool);
        }
    }
    let default = places
        .iter()
        .find(|(key, _)| *key == geo::Key::Default)
        .map_or_else(|| members.clone(), |(_, list)| list.clone());
    let mut lists = Lists { lists: vec![default] };
    let keys = places.into_iter().filter(|(key, _)| *key != geo::Key::Default);
    let keys = keys.map(|(key, list)| (key, lists.intern(list))).collect();
    let nets = networks.into_iter().map(|(network, list)| (network, lists.intern(list))).collect();
    Members::Pools { members, policy: PoolsPolicy::Geo { lists: lists.lists, keys, nets } }
}
