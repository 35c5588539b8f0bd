//! `explain`: what a client would be given by DNS, by redirect or by L4, and why. Each way's own code is asked, with no turn taken; this
//! only puts their words together.

use std::net::{IpAddr, Ipv4Addr};

use hyper::{Method, Version};
use serde_json::{Value, json};

use crate::{
    control::protocol::{ExplainRequest, Way},
    dns,
    name::{Name, NameError},
    redirect,
    select::{self, Client, Turn, Via, explain::Explanation},
    snapshot::{Members, Policy, Snapshot},
    types::{Family, PoolId},
    zone::rtype,
};

/// Realservers that a ranking shows beyond the one that is used.
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

/// Explains one question against one snapshot, as the object that `explain --json` prints.
pub fn explain(snapshot: &Snapshot, request: &ExplainRequest) -> Result<Value, ExplainError> {
    let qname: Name = request.name.parse().map_err(|error| ExplainError::Name(request.name.clone(), error))?;
    let qtype = rtype::parse(&request.rtype).ok_or_else(|| ExplainError::Rtype(request.rtype.clone()))?;
    let client = client(request, qtype);
    match request.via {
        Way::Dns => Ok(by_dns(snapshot, request, &qname, qtype, &client)),
        Way::Redirect => Ok(by_redirect(snapshot, request, &qname, &client)),
        Way::L4 => by_l4(snapshot, request, &qname, &client),
    }
}

/// The client as each way would see it: ECS counts for DNS alone, where prefix 0 means that the peer's address is all there is.
fn client(request: &ExplainRequest, qtype: u16) -> Client {
    let peer = request.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_canonical();
    let own_prefix = if peer.is_ipv4() { 32 } else { 128 };
    let (address, prefix) = match request.ecs.filter(|_| request.via == Way::Dns) {
        Some(ecs) if ecs.prefix_len() > 0 => (ecs.network(), ecs.prefix_len()),
        Some(_) => (peer, 0),
        None => (peer, own_prefix),
    };
    let via = match request.via {
        Way::Dns if qtype == rtype::AAAA => Via::Dns(Family::V6),
        Way::Dns => Via::Dns(Family::V4),
        Way::Redirect => Via::Redirect,
        Way::L4 => Via::L4,
    };
    Client { address, prefix, via, random: fastrand::u64(..), turn: Turn::Peek, most: RANKING_MAX }
}

fn by_dns(snapshot: &Snapshot, request: &ExplainRequest, qname: &Name, qtype: u16, client: &Client) -> Value {
    let answer = dns::explain_answer(snapshot, qname, qtype, client);
    let mut object = base(snapshot, request, client);
    let explanation = answer.pool.as_ref().map(|pool| explained(snapshot, pool.id, client));
    let path: Vec<String> = answer.path.iter().map(Name::to_string).collect();
    set(&mut object, "rcode", json!(answer.rcode.as_str()));
    set(&mut object, "kind", json!(answer.kind.as_str()));
    set(&mut object, "path", json!(path));
    set(&mut object, "answer", json!(answer.addresses));
    set(&mut object, "ttl", json!(answer.ttl.map(|ttl| ttl.get())));
    set(&mut object, "scope", json!(answer.scope.0));
    set(&mut object, "degraded", json!(answer.degraded));
    if let Some(pool) = &answer.pool {
        set(&mut object, "zone", json!(pool.apex.to_string()));
        set(&mut object, "owner", json!(pool.owner.to_string()));
        set(&mut object, "pool", json!(pool_name(snapshot, pool.id)));
    } else if let Some(served) = snapshot.zones.find(qname.as_wire()) {
        set(&mut object, "zone", json!(served.zone.apex().to_string()));
    }
    if let Some(explanation) = explanation {
        add(&mut object, explanation);
    }
    object
}

fn by_redirect(snapshot: &Snapshot, request: &ExplainRequest, qname: &Name, client: &Client) -> Value {
    let host = qname.to_string();
    let hosts = [host.trim_end_matches('.').as_bytes()];
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
    if let Some(pool) = pool_of(snapshot, qname, client) {
        set(&mut object, "pool", json!(pool_name(snapshot, pool)));
        add(&mut object, explained(snapshot, pool, client));
    }
    object
}

fn by_l4(snapshot: &Snapshot, request: &ExplainRequest, qname: &Name, client: &Client) -> Result<Value, ExplainError> {
    let listener = snapshot.listener(&request.name);
    let pool = listener.map(|listener| listener.pool).or_else(|| pool_of(snapshot, qname, client));
    let pool = pool.ok_or_else(|| ExplainError::NoPool(request.name.clone()))?;
    let mut object = base(snapshot, request, client);
    let (ranking, explanation) = select::explain::explain(snapshot, pool, client);
    let addresses: Vec<IpAddr> = ranking.realservers.iter().flat_map(|ranked| ranked.realserver.addresses()).collect();
    set(&mut object, "listener", json!(listener.map(|listener| &listener.name)));
    set(&mut object, "pool", json!(pool_name(snapshot, pool)));
    set(&mut object, "answer", json!(addresses));
    set(&mut object, "scope", json!(ranking.scope.0));
    set(&mut object, "degraded", json!(ranking.degraded));
    add(&mut object, noted(snapshot, pool, explanation));
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

/// What every explanation has, whatever came of it.
fn base(snapshot: &Snapshot, request: &ExplainRequest, client: &Client) -> Value {
    let source = match (request.via, request.ecs) {
        (Way::Dns, Some(_)) if client.prefix > 0 => "ecs",
        (Way::Dns, _) => "resolver",
        (Way::Redirect | Way::L4, _) => "socket",
    };
    json!({
        "name": request.name,
        "type": request.rtype.to_ascii_uppercase(),
        "via": request.via,
        "client": { "address": client.address, "prefix": client.prefix, "source": source, "location": snapshot.geo.locate(client.address).to_string() },
        "answer": [],
        "realservers": [],
        "steps": [],
        "ttl": null,
        "scope": 0,
        "degraded": false,
        "generation": snapshot.generation,
    })
}

fn add(object: &mut Value, explanation: Explanation) {
    set(object, "steps", json!(explanation.steps));
    set(object, "realservers", json!(explanation.realservers));
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}
