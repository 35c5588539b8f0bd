//! One message in, one message out: [`respond`] is all that a transport calls.

use std::net::SocketAddr;

use super::{
    answer::{self, Answer, Kind, client_of},
    encode::{Encoded, Envelope, Transport, encode, encode_empty},
    header::Rcode,
    query::{DropReason, Query, QueryError, Rejection},
};
use crate::{select::Turn, snapshot::Snapshot, types::Scope};

/// What a transport does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the first `n_octets` of the buffer.
    Send {
        /// Length of the message.
        n_octets: usize,
        /// What was answered.
        outcome: Outcome,
    },
    /// Send nothing.
    Drop(DropReason),
}

/// What was answered, for those who count and log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Response code.
    pub rcode: Rcode,
    /// Kind of answer.
    pub kind: Kind,
    /// Whether TC was set.
    pub is_truncated: bool,
    /// Whether the addresses are there by fail-open.
    pub is_degraded: bool,
    /// Whether the query had an ECS option.
    pub has_ecs: bool,
}

/// Answers the message `wire` from `peer` into `out`.
///
/// `random` decides for pools with the policy `random`. Allocates nothing, takes no lock, and leaves no trace but the turn of a round robin.
/// `out` limits the response as the transport does; 1232 octets are enough for UDP, 65,535 for everything.
pub fn respond(
    snapshot: &Snapshot,
    wire: &[u8],
    peer: SocketAddr,
    transport: Transport,
    random: u64,
    out: &mut [u8],
) -> Step {
    match Query::parse(wire) {
        Ok(query) => respond_to_query(snapshot, &query, peer, transport, random, out),
        Err(Rejection::Drop(reason)) => Step::Drop(reason),
        Err(Rejection::Reply { header, question, edns, error }) => {
            let (rcode, kind) = match error {
                QueryError::Form(_) => (Rcode::FormErr, Kind::FormErr),
                QueryError::Opcode => (Rcode::NotImp, Kind::NotImp),
                QueryError::Version => (Rcode::BadVers, Kind::BadVers),
            };
            // An option is echoed only when it was understood and answered by.
            let edns = edns.map(|edns| super::query::Edns { ecs: None, ..edns });
            let envelope = Envelope { header, question, edns, rcode, scope: Scope(0), nsid: None, transport };
            step(encode_empty(&envelope, out), rcode, kind, false, false)
        }
    }
}

fn respond_to_query(
    snapshot: &Snapshot,
    query: &Query<'_>,
    peer: SocketAddr,
    transport: Transport,
    random: u64,
    out: &mut [u8],
) -> Step {
    let mut answer = Answer::refused();
    answer::answer(snapshot, query, &client_of(query, peer.ip(), random, Turn::Take), &mut answer);
    let envelope = Envelope {
        header: query.header,
        question: query.question,
        edns: query.edns,
        rcode: answer.rcode,
        scope: answer.scope,
        nsid: snapshot.identity.nsid.as_deref(),
        transport,
    };
    let has_ecs = query.edns.is_some_and(|edns| edns.ecs.is_some());
    step(encode(&answer, query, &envelope, out), answer.rcode, answer.kind, answer.is_degraded(), has_ecs)
}

fn step(encoded: Option<Encoded>, rcode: Rcode, kind: Kind, is_degraded: bool, has_ecs: bool) -> Step {
    match encoded {
        Some(Encoded { n_octets, is_truncated }) => {
            Step::Send { n_octets, outcome: Outcome { rcode, kind, is_truncated, is_degraded, has_ecs } }
        }
        None => Step::Drop(DropReason::NoRoom),
    }
}
