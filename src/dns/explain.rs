//! What a client would be answered, without answering: the same code as a query's, and no turn taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{
    answer::{self, Answer, CLASS_IN, Content, Kind, Owner},
    header::Rcode,
    query::Query,
};
use crate::{
    name::Name,
    select::{Client, Turn},
    snapshot::Snapshot,
    types::{PoolId, Scope, Ttl},
    zone::rtype,
};

/// An answer as a person wants to hear of it.
#[derive(Debug)]
pub struct Explained {
    /// Response code.
    pub rcode: Rcode,
    /// Kind of answer.
    pub kind: Kind,
    /// The names that the walk came by, the one asked for first; more than one if there are aliases.
    pub path: Vec<Name>,
    /// The addresses in the answer, in order.
    pub addresses: Vec<IpAddr>,
    /// TTL of the last RRset in the answer or, in a negative one, of its SOA; `None` if there is neither.
    pub ttl: Option<Ttl>,
    /// Prefix of the client within which the answer is the same.
    pub scope: Scope,
    /// Whether the addresses are there by fail-open.
    pub degraded: bool,
    /// The pool that was asked, if any.
    pub pool: Option<ExplainedPool>,
}

/// A pool that an answer came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedPool {
    /// TTL of the POOL record.
    pub record_ttl: Ttl,
    /// What the pool allows at most.
    pub pool_ttl: Ttl,
    /// Which one, in the same snapshot.
    pub id: PoolId,
    /// The name that is answered for.
    pub owner: Name,
    /// The zone with the POOL record.
    pub apex: Name,
}

/// Answers `qname` and `qtype` for `client` as a query would be, but takes no turn: `client.turn` does not matter.
pub fn explain_answer(snapshot: &Snapshot, qname: &Name, qtype: u16, client: &Client) -> Explained {
    let mut question = qname.as_wire().to_vec();
    question.extend_from_slice(&qtype.to_be_bytes());
    question.extend_from_slice(&CLASS_IN.to_be_bytes());
    let Some(query) = Query::from_question(&question) else { return unreadable(qname) };
    let mut answer = Answer::refused();
    answer::answer(snapshot, &query, &Client { turn: Turn::Peek, ..*client }, &mut answer);
    explained(&answer, &query)
}

/// Who the answer to a query from `peer` is for that tells this network, as [`Query::client`] reads it from the wire.
pub fn client_of_network(peer: IpAddr, ecs: Option<IpNet>) -> (IpAddr, u8) {
    let peer = peer.to_canonical();
    match ecs {
        Some(ecs) if ecs.prefix_len() > 0 => (ecs.network(), ecs.prefix_len()),
        Some(_) => (peer, 0),
        None => (peer, if peer.is_ipv4() { 32 } else { 128 }),
    }
}

fn explained(answer: &Answer<'_>, query: &Query<'_>) -> Explained {
    let name_of = |owner: Owner<'_>| Name::from_wire(answer.name(owner, query)).ok();
    let aliases = answer.answers.iter().filter_map(|entry| match entry.content {
        Content::MadeCname(target) => name_of(target),
        Content::Stored(rrset) if rrset.rtype == rtype::CNAME => {
            rrset.rdatas().next().and_then(|target| Name::from_wire(target).ok())
        }
        _ => None,
    });
    let last = answer.answers.last().filter(|_| matches!(answer.kind, Kind::Static | Kind::Pool));
    Explained {
        rcode: answer.rcode,
        kind: answer.kind,
        path: Name::from_wire(query.qname()).ok().into_iter().chain(aliases).collect(),
        addresses: answer.answers.iter().flat_map(|entry| addresses(answer, entry.content)).collect(),
        ttl: last.or(answer.authority.first()).map(|entry| entry.ttl),
        scope: answer.scope,
        degraded: answer.is_degraded(),
        pool: answer.pool.as_ref().and_then(|consulted| {
            Some(ExplainedPool {
                record_ttl: consulted.ttl,
                pool_ttl: consulted.ranking.ttl,
                id: consulted.id,
                owner: name_of(consulted.owner)?,
                apex: consulted.apex.clone(),
            })
        }),
    }
}

fn addresses(answer: &Answer<'_>, content: Content<'_>) -> Vec<IpAddr> {
    match content {
        Content::Addresses(family) => {
            let ranked = answer.pool.iter().flat_map(|consulted| &consulted.ranking.realservers);
            ranked.filter_map(|ranked| ranked.realserver.address(family)).collect()
        }
        Content::Stored(rrset) if rrset.rtype == rtype::A => {
            rrset.rdatas().filter_map(|rdata| Some(Ipv4Addr::from(<[u8; 4]>::try_from(rdata).ok()?).into())).collect()
        }
        Content::Stored(rrset) if rrset.rtype == rtype::AAAA => {
            rrset.rdatas().filter_map(|rdata| Some(Ipv6Addr::from(<[u8; 16]>::try_from(rdata).ok()?).into())).collect()
        }
        _ => Vec::new(),
    }
}

fn unreadable(qname: &Name) -> Explained {
    Explained {
        rcode: Rcode::FormErr,
        kind: Kind::FormErr,
        path: vec![qname.clone()],
        addresses: Vec::new(),
        ttl: None,
        scope: Scope(0),
        degraded: false,
        pool: None,
    }
}
