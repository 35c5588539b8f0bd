//! `explain`: what a client would be given by DNS, by redirect or by L4, and why. Each way's own code is asked, with no turn taken; this
//! only puts their words together.

use std::net::{IpAddr, Ipv4Addr};

use hyper::{Method, Version};
use serde_json::{Value, json};

use crate::{
    control::protocol::{ExplainRequest, Way},
    dns::{self, Kind, answer::ADDRESSES_MAX},
    l4,
    name::{Name, NameError},
    redirect,
    select::{self, Client, Turn, Via, explain::Explanation},
    snapshot::{Members, Policy, Snapshot},
    types::{Family, PoolId},
    zone::{Found, rtype},
};

/// Realservers that a ranking shows beyond the one that is used, where only one is.
const RANKING_MAX: usize = 64;

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The name is none.
    #[error("`{0}` is not a name: {1}")]
    Name(String, NameError),
    /// The type is not known.
    #[error("`{0}` is not a record type; write `A`, `AAAA`, `MX`, … or `TYPE123`")]
    Rtype(String),
    /// Nothing hands this name to a pool.
    #[error("`{0}` is neither a listener nor a name that a zone hands to a pool")]
    NoPool(String),
}

/// Explains one question against one snapshot, as the object that `explain --json` prints. `random` is the draw of pools with the policy
/// `random`.
pub fn explain(snapshot: &Snapshot, request: &ExplainRequest, random: u64) -> Result<Value, ExplainError> {
    let qname: Name = request.name.parse().map_err(|error| ExplainError::Name(request.name.clone(), error))?;
    let qtype = rtype::parse(&request.rtype).ok_or_else(|| ExplainError::Rtype(request.rtype.clone()))?;
    let client = client(request, qtype, random);
    match request.via {
        Way::Dns => Ok(by_dns(snapshot, request, &qname, qtype, &client)),
        Way::Redirect => Ok(by_redirect(snapshot, request, &qname, &client)),
        Way::L4 => by_l4(snapshot, request, &qname, &client),
    }
}

/// The client as each way would see it: ECS counts for DNS alone, where prefix 0 means that the peer's address is all there is.
fn client(request: &ExplainRequest, qtype: u16, random: u64) -> Client {
    let peer = request.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let ecs = request.ecs.filter(|_| request.via == Way::Dns);
    let (address, prefix) = dns::explain::client_of_network(peer, ecs);
    let (via, most) = match request.via {
        Way::Dns if qtype == rtype::AAAA => (Via::Dns(Family::V6), ADDRESSES_MAX),
        Way::Dns => (Via::Dns(Family::V4), ADDRESSES_MAX),
        Way::Redirect => (Via::Redirect, RANKING_MAX),
        Way::L4 => (Via::L4, RANKING_MAX),
    };
    Client { address, prefix, via, random, turn: Turn::Peek, most }
}

/// Where the client's address comes from.
fn source(request: &ExplainRequest, client: &Client) -> &'static str {
    match (request.via, request.ecs) {
        (Way::Dns, Some(_)) if client.prefix > 0 => "ecs",
        (Way::Dns, _) => "resolver",
        (Way::Redirect | Way::L4, _) => "socket",
    }
}

fn by_dns(snapshot: &Snapshot, request: &ExplainRequest, qname: &Name, qtype: u16, client: &Client) -> Value {
    let answer = dns::explain_answer(snapshot, qname, qtype, client);
    let mut object = base(snapshot, request, client);
    let path: Vec<String> = answer.path.iter().map(Name::to_string).collect();
    set(&mut object, "rcode", json!(answer.rcode.as_str()));
    set(&mut object, "kind", json!(answer.kind.as_str()));
    set(&mut object, "path", json!(path));
    set(&mut object, "answer", json!(answer.addresses));
    set(&mut object, "ttl", json!(answer.ttl.map(|ttl| ttl.get())));
    set(&mut object, "ttl_from", json!(ttl_from(&answer)));
    set(&mut object, "scope", json!(answer.scope.0));
    set(&mut object, "degraded", json!(answer.degraded));
    if let Some(last) = answer.path.last() {
        add_match(&mut object, snapshot, last);
    }
    if let Some(pool) = &answer.pool {
        set(&mut object, "zone", json!(pool.apex.to_string()));
        set(&mut object, "owner", json!(pool.owner.to_string()));
        set(&mut object, "pool", json!(pool_name(snapshot, pool.id)));
        add(&mut object, request, client, explained(snapshot, pool.id, client));
    }
    let scope_from = scope_from(&object, &answer, client);
    set(&mut object, "scope_from", json!(scope_from));
    object
}

fn by_redirect(snapshot: &Snapshot, request: &ExplainRequest, qname: &Name, client: &Client) -> Value {
    let host = qname.to_string();
    let host = host.trim_end_matches('.').as_bytes();
    let hosts = [host];
    let http = redirect::Request {
        method: &Method::GET,
        version: Version::HTTP_11,
        authority: None,
        path_and_query: Some(b"/"),
        hosts: &hosts,
        forwarded_for: &[],
        forwarded_proto: &[],
        cookies: &[],
        peer: client.address,
        received: std::time::Duration::ZERO,
    };
    let mut object = base(snapshot, request, client);
    match redirect::decide(snapshot, &http, client.random, Turn::Peek) {
        redirect::Decision::Send(sent) => {
            set(&mut object, "status", json!(sent.status.as_u16()));
            set(&mut object, "location", json!(sent.location));
            let family = Family::of(client.address);
            let address = sent.chosen.realserver.address(family).or_else(|| sent.chosen.realserver.addresses().next());
            set(&mut object, "answer", json!(address.into_iter().collect::<Vec<_>>()));
            set(&mut object, "degraded", json!(sent.is_degraded));
        }
        redirect::Decision::Refuse(refusal) => {
            set(&mut object, "status", json!(refusal.status().as_u16()));
            set(&mut object, "refusal", json!(refusal.to_string()));
        }
    }
    add_match(&mut object, snapshot, qname);
    if let Some(pool) = redirect::pool_of_host(snapshot, host) {
        set(&mut object, "pool", json!(pool_name(snapshot, pool)));
        add(&mut object, request, client, explained(snapshot, pool, client));
    }
    object
}

fn by_l4(snapshot: &Snapshot, request: &ExplainRequest, qname: &Name, client: &Client) -> Result<Value, ExplainError> {
    let listener = snapshot.listener(&request.name);
    let pool = listener.map(|listener| listener.pool).or_else(|| pool_of(snapshot, qname, client));
    let pool = pool.ok_or_else(|| ExplainError::NoPool(request.name.clone()))?;
    let mut object = base(snapshot, request, client);
    let (ranking, explanation) = select::explain::explain(snapshot, pool, client);
    let addresses: Vec<IpAddr> = match listener {
        Some(listener) => {
            let attempts = l4::attempts(snapshot, listener, client.address, client.random, Turn::Peek);
            attempts.iter().map(|attempt| attempt.address.ip()).collect()
        }
        None => {
            let realservers = ranking.realservers.iter().take(l4::REALSERVERS_MAX);
            realservers.flat_map(|ranked| ranked.realserver.addresses()).collect()
        }
    };
    set(&mut object, "listener", json!(listener.map(|listener| &listener.name)));
    set(&mut object, "pool", json!(pool_name(snapshot, pool)));
    set(&mut object, "answer", json!(addresses));
    set(&mut object, "scope", json!(ranking.scope.0));
    set(&mut object, "degraded", json!(ranking.degraded));
    add(&mut object, request, client, noted(snapshot, pool, explanation));
    Ok(object)
}

/// The pool that our zones hand the name to.
fn pool_of(snapshot: &Snapshot, qname: &Name, client: &Client) -> Option<PoolId> {
    dns::explain_answer(snapshot, qname, rtype::A, &Client { via: Via::Dns(Family::V4), ..*client })
        .pool
        .map(|pool| pool.id)
}

fn explained(snapshot: &Snapshot, pool: PoolId, client: &Client) -> Explanation {
    noted(snapshot, pool, select::explain::explain(snapshot, pool, client).1)
}

/// Adds what a reader must know who compares two explanations.
fn noted(snapshot: &Snapshot, pool: PoolId, mut explanation: Explanation) -> Explanation {
    let is_random = |members: &Members| matches!(members, Members::Realservers(members) if matches!(members.policy, Policy::Random));
    if snapshot.pool(pool).is_some_and(|pool| is_random(&pool.members)) {
        explanation.steps.push("policy `random`: this is one draw, the next may differ".to_owned());
    }
    explanation
}

fn pool_name(snapshot: &Snapshot, pool: PoolId) -> &str {
    snapshot.pool(pool).map_or("", |pool| &pool.name)
}

/// What stands in our zones for the last name of a chain.
fn add_match(object: &mut Value, snapshot: &Snapshot, name: &Name) {
    let Some(served) = snapshot.zones.find(name.as_wire()) else {
        return set(object, "match", json!("no zone served here has it"));
    };
    set(object, "zone", json!(served.zone.apex().to_string()));
    set(object, "serial", json!(served.zone.serial()));
    let suffix = |octets: usize| {
        let wire = name.as_wire();
        let start = wire.len().saturating_sub(octets);
        Name::from_wire(wire.get(start..).unwrap_or_default()).map_or(String::new(), |name| name.to_string())
    };
    let (text, node) = match served.zone.find(name.as_wire()) {
        _ if served.is_expired => ("the zone has expired, or never came".to_owned(), None),
        Found::Exact(node) if node.is_empty() => ("exact, but only names below it have records".to_owned(), None),
        Found::Exact(node) => ("exact".to_owned(), Some(node)),
        Found::Wildcard { node, encloser_octets } => (format!("wildcard *.{}", suffix(encloser_octets)), Some(node)),
        Found::Cut { owner_octets, .. } => (format!("delegated at {}", suffix(owner_octets)), None),
        Found::Dname { owner_octets, .. } => (format!("below the DNAME at {}", suffix(owner_octets)), None),
        Found::Missing => ("no such name".to_owned(), None),
    };
    set(object, "match", json!(text));
    let used = node.and_then(|node| node.pool()).and_then(|(index, ttl)| Some((served.zone.pools().get(index)?, ttl)));
    if let Some((pool, ttl)) = used {
        set(object, "record", json!(format!("{} POOL {}", ttl.get(), pool.name)));
    }
}

/// What the TTL is made of, the least first.
fn ttl_from(answer: &dns::Explained) -> Vec<String> {
    match (&answer.pool, answer.kind) {
        (Some(pool), Kind::Pool | Kind::NoData) => {
            let mut parts = Vec::new();
            if pool.pool_ttl < pool.record_ttl {
                parts.push(format!("{} s: health could change by then", pool.pool_ttl.get()));
            }
            parts.push(format!("{} s: the POOL record at {}", pool.record_ttl.get(), pool.owner));
            if answer.kind == Kind::NoData {
                parts.push("the SOA of a negative answer, the lesser of its TTL and MINIMUM".to_owned());
            }
            parts
        }
        (_, Kind::Static) => vec!["the record itself".to_owned()],
        (_, Kind::NoData | Kind::NxDomain) => {
            vec!["the SOA of a negative answer, the lesser of its TTL and MINIMUM".to_owned()]
        }
        (_, Kind::Referral) => vec!["the NS records of the delegation".to_owned()],
        _ => Vec::new(),
    }
}

/// What the scope is made of.
fn scope_from(object: &Value, answer: &dns::Explained, client: &Client) -> Vec<String> {
    let parts = object.get("scope_parts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let part = |part: &Value| {
        let text = |key: &str| part.get(key).and_then(Value::as_str).unwrap_or_default();
        let prefix = part.get("prefix").and_then(Value::as_u64).unwrap_or(0);
        (prefix, format!("/{prefix}: {} in pool `{}`", text("what"), text("pool")))
    };
    let parts: Vec<(u64, String)> = parts.iter().map(part).collect();
    let most = parts.iter().map(|(prefix, _)| *prefix).max().unwrap_or(0);
    let mut from: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
    if from.is_empty() {
        from.push("/0: nothing looked at the client".to_owned());
    }
    if most > u64::from(answer.scope.0) {
        from.push(format!("/{}: no more is known of the client", client.prefix));
    }
    from
}

/// What every explanation has, whatever came of it.
fn base(snapshot: &Snapshot, request: &ExplainRequest, client: &Client) -> Value {
    json!({
        "name": request.name,
        "type": request.rtype.to_ascii_uppercase(),
        "via": request.via,
        "client": { "address": client.address, "prefix": client.prefix, "source": source(request, client), "location": snapshot.geo.locate(client.address).to_string() },
        "answer": [],
        "pools": [],
        "key": null,
        "realservers": [],
        "steps": [],
        "ttl": null,
        "ttl_from": [],
        "scope": 0,
        "scope_from": [],
        "degraded": false,
        "generation": snapshot.generation,
    })
}

fn add(object: &mut Value, request: &ExplainRequest, client: &Client, explanation: Explanation) {
    set(object, "steps", json!(explanation.steps));
    set(object, "pools", json!(explanation.path));
    set(object, "realservers", json!(explanation.realservers));
    set(object, "scope_parts", json!(explanation.scope_parts));
    if let Some(key) = explanation.key {
        set(
            object,
            "key",
            json!({ "address": key.address, "prefix": key.prefix, "pool": key.pool, "source": source(request, client) }),
        );
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}
