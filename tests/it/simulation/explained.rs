//! An explanation says what is answered: by DNS, by redirect and by L4, over thousands of made-up configurations and clients.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use fastrand::Rng;
use fingerpost::{
    control::protocol::{ExplainRequest, Way},
    dns::{self, Step, Transport},
    l4, redirect, runtime,
    select::Turn,
    snapshot::Snapshot,
};
use hickory_proto::{
    op::Message,
    rr::{RData, rdata::opt::EdnsOption},
};
use hyper::{Method, Version};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    OnFailure, seed_to_replay,
    steps::Simulation,
    world::{self, NAMES, once_in, one},
};

/// Configurations, and clients of each: ten thousand explanations and answers.
const N_WORLDS: usize = 1000;
const N_CLIENTS: usize = 10;

#[test]
fn explanation_says_what_is_answered_by_dns_redirect_and_l4() {
    let seed = seed_to_replay().unwrap_or_else(|| fastrand::u64(..));
    let _on_failure = OnFailure(seed);
    let mut rng = Rng::with_seed(seed);
    let mut seen = Seen::default();
    for _ in 0..N_WORLDS {
        let mut simulation = Simulation::new(rng.u64(..));
        for _ in 0..rng.usize(1..12) {
            simulation.step();
        }
        if once_in(&mut rng, 4) {
            simulation.fail_all();
        }
        let snapshot = simulation.snapshot().clone();
        for _ in 0..N_CLIENTS {
            compare(&snapshot, &mut rng, &mut seen);
        }
    }
    // It would be no comparison if all of them were alike.
    assert!(seen.n_pool > 300 && seen.n_degraded > 10 && seen.n_scoped > 50 && seen.n_sent > 500, "{seen:?}");
    assert!(seen.n_attempts > 500 && seen.n_hashed > 500 && seen.n_negative > 500, "{seen:?}");
}

/// How often what was compared.
#[derive(Debug, Default)]
struct Seen {
    n_pool: usize,
    n_negative: usize,
    n_degraded: usize,
    n_scoped: usize,
    n_hashed: usize,
    n_sent: usize,
    n_attempts: usize,
}

fn compare(snapshot: &Snapshot, rng: &mut Rng, seen: &mut Seen) {
    let via = world::way(rng);
    let ecs =
        rng.bool().then(|| if once_in(rng, 8) { "0.0.0.0/0".parse().expect("network") } else { world::network(rng) });
    let request = ExplainRequest {
        name: if via == Way::L4 { one(rng, &["l", "m", "n"]) } else { one(rng, &NAMES) }.to_owned(),
        rtype: one(rng, &["A", "A", "AAAA", "MX", "NS", "ANY", "CNAME", "TXT"]).to_owned(),
        client: Some(world::network(rng).addr()),
        ecs,
        via,
    };
    let random = rng.u64(..);
    let explained = runtime::explain(snapshot, &request, random).expect("an explanation");
    assert_eq!(explained, runtime::explain(snapshot, &request, random).expect("a second one"), "it takes no turn");
    seen.n_hashed += usize::from(!explained["key"].is_null());
    let peer = request.client.expect("client");
    match via {
        Way::Dns => by_dns(snapshot, &request, peer, random, &explained, seen),
        Way::Redirect => by_redirect(snapshot, &request, peer, random, &explained, seen),
        Way::L4 => by_l4(snapshot, &request, peer, random, &explained, seen),
    }
    told_is_shown(snapshot, &explained);
}

/// Those that are ranked come first, and their names are those of the answer's addresses.
fn told_is_shown(snapshot: &Snapshot, explained: &Value) {
    let realservers = explained["realservers"].as_array().expect("a list");
    for (index, told) in realservers.iter().enumerate() {
        let (pool, name) = (told["pool"].as_str().expect("pool"), told["name"].as_str().expect("name"));
        let (_, pool) = snapshot.pool_named(pool).unwrap_or_else(|| panic!("no pool {pool}"));
        let fingerpost::snapshot::Members::Realservers(members) = &pool.members else {
            panic!("{} is told of", pool.name)
        };
        assert!(members.all.iter().any(|realserver| &*realserver.name == name), "{told}");
        assert_ne!(told["reason"], "", "{told}");
        if let Some(rank) = told["rank"].as_u64() {
            assert_eq!(usize::try_from(rank).ok(), Some(index + 1), "{told}");
        }
    }
    if !realservers.is_empty() {
        assert_ne!(explained["pools"], json!([]), "{explained}");
    }
}

fn by_dns(
    snapshot: &Snapshot,
    request: &ExplainRequest,
    peer: IpAddr,
    random: u64,
    explained: &Value,
    seen: &mut Seen,
) {
    let wire = question(request);
    let mut out = vec![0; 65_535];
    let now = Duration::from_secs(1_700_000_000);
    let peer = SocketAddr::new(peer, 4000);
    let Step::Send { n_octets, outcome } = dns::respond(snapshot, &wire, peer, Transport::Tcp, now, random, &mut out)
    else {
        panic!("no response to {request:?}")
    };
    let message = Message::from_vec(&out[..n_octets]).expect("a message");
    let address = |record: &hickory_proto::rr::Record| match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    };
    let answer: Vec<IpAddr> = message.answers.iter().filter_map(address).collect();
    let is_positive = matches!(outcome.kind, dns::Kind::Static | dns::Kind::Pool);
    let ttl = message.answers.last().filter(|_| is_positive).or(message.authorities.first()).map(|record| record.ttl);
    assert_eq!(
        [&explained["rcode"], &explained["kind"], &explained["answer"], &explained["ttl"], &explained["degraded"]],
        [
            &json!(outcome.rcode.as_str()),
            &json!(outcome.kind.as_str()),
            &json!(answer),
            &json!(ttl),
            &json!(outcome.is_degraded)
        ],
        "{request:?}\n{explained:#}"
    );
    if request.ecs.is_some() {
        let edns = message.edns.as_ref().expect("OPT");
        let scope = edns.options().as_ref().iter().find_map(|(_, option)| match option {
            EdnsOption::Subnet(subnet) => Some(subnet.scope_prefix()),
            _ => None,
        });
        assert_eq!(explained["scope"], json!(scope.expect("ECS in return")), "{request:?}\n{explained:#}");
        seen.n_scoped += usize::from(scope > Some(0));
    }
    seen.n_pool += usize::from(outcome.kind == dns::Kind::Pool);
    seen.n_negative += usize::from(matches!(outcome.kind, dns::Kind::NoData | dns::Kind::NxDomain));
    seen.n_degraded += usize::from(outcome.is_degraded);
}

/// The query as a resolver sends it.
fn question(request: &ExplainRequest) -> Vec<u8> {
    let mut wire = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(request.ecs.is_some())];
    for label in request.name.split('.') {
        wire.push(u8::try_from(label.len()).expect("a label"));
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    let qtype = fingerpost::zone::rtype::parse(&request.rtype).expect("a type");
    wire.extend(qtype.to_be_bytes());
    wire.extend([0, 1]);
    if let Some(ecs) = request.ecs {
        wire.extend(opt(ecs));
    }
    wire
}

/// An OPT record with a client's network.
fn opt(ecs: IpNet) -> Vec<u8> {
    let (family, octets) = match ecs.network() {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let octets = &octets[..usize::from(ecs.prefix_len().div_ceil(8))];
    let length = 4 + u8::try_from(octets.len()).expect("an address");
    let mut record =
        vec![0, 0, 41, 255, 255, 0, 0, 0, 0, 0, length + 4, 0, 8, 0, length, 0, family, ecs.prefix_len(), 0];
    record.extend(octets);
    record
}

fn by_redirect(
    snapshot: &Snapshot,
    request: &ExplainRequest,
    peer: IpAddr,
    random: u64,
    explained: &Value,
    seen: &mut Seen,
) {
    let hosts = [request.name.as_bytes()];
    let http = redirect::Request {
        method: &Method::GET,
        version: Version::HTTP_11,
        authority: None,
        path_and_query: Some(b"/"),
        hosts: &hosts,
        forwarded_for: &[],
        forwarded_proto: &[],
        cookies: &[],
        peer,
        received: Duration::ZERO,
    };
    match redirect::decide(snapshot, &http, random, Turn::Take) {
        redirect::Decision::Send(sent) => {
            assert_eq!(
                [&explained["status"], &explained["location"], &explained["degraded"]],
                [&json!(sent.status.as_u16()), &json!(sent.location), &json!(sent.is_degraded)],
                "{request:?}\n{explained:#}"
            );
            let first = &explained["realservers"][0];
            assert_eq!(
                (&first["name"], &first["rank"]),
                (&json!(sent.chosen.realserver.name), &json!(1)),
                "{explained:#}"
            );
            seen.n_sent += 1;
        }
        redirect::Decision::Refuse(refusal) => {
            assert_eq!(explained["status"], json!(refusal.status().as_u16()), "{request:?}\n{explained:#}");
            assert_eq!(explained["answer"], json!([]), "{request:?}\n{explained:#}");
        }
    }
}

fn by_l4(snapshot: &Snapshot, request: &ExplainRequest, peer: IpAddr, random: u64, explained: &Value, seen: &mut Seen) {
    let listener = snapshot.listener(&request.name).expect("a listener");
    let attempts = l4::attempts(snapshot, listener, peer, random, Turn::Take);
    let addresses: Vec<IpAddr> = attempts.iter().map(|attempt| attempt.address.ip()).collect();
    assert_eq!(explained["answer"], json!(addresses), "{request:?}\n{explained:#}");
    seen.n_attempts += usize::from(!attempts.is_empty());
}
