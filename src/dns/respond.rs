//! One message in, one message out: [`respond`] is all that a transport calls.

use std::{net::SocketAddr, time::Duration};

use super::{
    answer::{self, AXFR, Answer, CLASS_ANY, CLASS_IN, IXFR, Kind, client_of},
    encode::{Encoded, Envelope, Transport, encode, encode_empty, encode_truncated},
    guard::{CookieStatus, JudgedCookie, judge_cookie, judge_rate},
    header::{Header, Rcode},
    options::{ExtendedError, Options},
    query::{DropReason, Edns, Query, QueryError, Rejection},
};
use crate::{
    protect::limit::{Class, Verdict},
    select::Turn,
    snapshot::Snapshot,
};

/// How long a connection may idle, as it is told to those who ask (RFC 7828 §3.1), in tenths of a second: less than the server waits, so that
/// it is the client who closes.
pub(super) const KEEPALIVE_TENTHS: u16 = 90;
/// The largest answer to a client without a good cookie whose network is being sent much.
const TIGHT_OCTETS_MAX: usize = 512;

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
    /// What the query's cookie is worth.
    pub cookie: CookieStatus,
}

/// Answers the message `wire` from `peer` into `out`.
///
/// `now` is the time since 1970, read once a batch. `random` decides for pools with the policy `random`, and who slips through a rate limit.
/// Allocates nothing, takes no lock, and leaves no trace but the turn of a round robin and what counts towards a rate limit. `out` limits the
/// response as the transport does; 1232 octets are enough for UDP, 65,535 for everything.
pub fn respond(
    snapshot: &Snapshot,
    wire: &[u8],
    peer: SocketAddr,
    transport: Transport,
    now: Duration,
    random: u64,
    out: &mut [u8],
) -> Step {
    let mut query = Query::unread();
    let read = query.read(wire);
    let (header, question, edns) = match &read {
        Ok(()) => (query.header, query.question, query.edns.as_ref()),
        Err(Rejection::Reply { header, question, edns, .. }) => (*header, *question, edns.as_ref()),
        Err(Rejection::Drop(reason)) => return Step::Drop(*reason),
    };
    let protection = &*snapshot.protection;
    let cookie = judge_cookie(protection.cookies.as_ref(), edns, peer.ip(), now);
    let reply = Reply { header, question, edns, transport, cookie };
    let mut out = out;
    // Who is connected, or shows our cookie, is not forged.
    if transport == Transport::Udp && cookie.status != CookieStatus::Good {
        if let Some(limit) = &protection.rate_limit {
            let verdict = match &read {
                Ok(()) => judge_rate(limit, snapshot, &query, peer.ip(), now, random),
                Err(_) => limit.judge(peer.ip(), Class::Error, &[], now, random),
            };
            match (verdict, &read) {
                // An error is as small as a hint would be.
                (Verdict::Free, _) | (Verdict::Slip, Err(_)) => {}
                (Verdict::Tight, _) => out = shorten(out),
                (Verdict::Slip, Ok(())) => return reply.slip(out),
                (Verdict::Drop, _) => return Step::Drop(DropReason::RateLimit),
            }
        }
        let are_required = protection.cookies.as_ref().is_some_and(|cookies| cookies.are_required);
        if are_required && cookie.status != CookieStatus::None && read.is_ok() {
            return reply.empty(Rcode::BadCookie, Kind::Cookie, out);
        }
    }
    match read {
        Ok(()) => reply.answer(snapshot, &query, peer, random, out),
        Err(Rejection::Reply { error, .. }) => reply.reject(error, out),
        Err(Rejection::Drop(reason)) => Step::Drop(reason),
    }
}

fn shorten(out: &mut [u8]) -> &mut [u8] {
    let n_octets = out.len().min(TIGHT_OCTETS_MAX);
    out.get_mut(..n_octets).unwrap_or_default()
}

/// What every response to one query has.
struct Reply<'p> {
    header: Header,
    question: &'p [u8],
    edns: Option<&'p Edns>,
    transport: Transport,
    cookie: JudgedCookie,
}

impl<'p> Reply<'p> {
    fn envelope(&self, rcode: Rcode) -> Envelope<'p> {
        let (edns, transport) = (self.edns, self.transport);
        let options = edns.map_or(Options::default(), |edns| Options {
            cookie: self.cookie.reply,
            keepalive: (edns.wants_keepalive && transport.has_keepalive()).then_some(KEEPALIVE_TENTHS),
            error: None,
            is_padded: edns.is_padded && transport.is_encrypted(),
        });
        let (header, question) = (self.header, self.question);
        Envelope { header, question, edns, rcode, scope: None, nsid: None, options, transport }
    }

    /// A response to a well-formed query.
    fn answer(&self, snapshot: &Snapshot, query: &Query<'_>, peer: SocketAddr, random: u64, out: &mut [u8]) -> Step {
        // A zone does not fit into a datagram (RFC 5936 §4.2); IXFR may (RFC 1995 §2).
        if query.qtype == AXFR && self.transport == Transport::Udp && matches!(query.qclass, CLASS_IN | CLASS_ANY) {
            return self.empty(Rcode::NotImp, Kind::NotImp, out);
        }
        let mut answer = Answer::refused();
        answer::answer(snapshot, query, &client_of(query, peer.ip(), random, Turn::Take), &mut answer);
        let mut envelope: Envelope<'_> = self.envelope(answer.rcode);
        envelope.scope = Some(answer.scope);
        envelope.nsid = snapshot.identity.nsid.as_deref();
        envelope.options.error = self.edns.and_then(|_| extended_error(&answer, query));
        self.step(encode(&answer, query, &envelope, out), answer.rcode, answer.kind, answer.is_degraded())
    }

    /// A response to what is no well-formed query.
    fn reject(&self, error: QueryError, out: &mut [u8]) -> Step {
        let (rcode, kind) = match (error, self.cookie.status) {
            (QueryError::CookieOnly, CookieStatus::New | CookieStatus::Good) => (Rcode::NoError, Kind::Cookie),
            (QueryError::CookieOnly, CookieStatus::Bad) => (Rcode::BadCookie, Kind::Cookie),
            (QueryError::CookieOnly, CookieStatus::None) | (QueryError::Form(_), _) => (Rcode::FormErr, Kind::FormErr),
            (QueryError::Opcode, _) => (Rcode::NotImp, Kind::NotImp),
            (QueryError::NotAllowed, _) => (Rcode::NotAuth, Kind::NotAuth),
            (QueryError::Version, _) => (Rcode::BadVers, Kind::BadVers),
        };
        self.empty(rcode, kind, out)
    }

    /// A hint to come again: with the cookie that comes with it or, for a client that knows none, by TCP.
    fn slip(&self, out: &mut [u8]) -> Step {
        if self.cookie.status != CookieStatus::None {
            return self.empty(Rcode::BadCookie, Kind::Slip, out);
        }
        let encoded = encode_truncated(&self.envelope(Rcode::NoError), out);
        self.step(encoded, Rcode::NoError, Kind::Slip, false)
    }

    fn empty(&self, rcode: Rcode, kind: Kind, out: &mut [u8]) -> Step {
        self.step(encode_empty(&self.envelope(rcode), out), rcode, kind, false)
    }

    fn step(&self, encoded: Option<Encoded>, rcode: Rcode, kind: Kind, is_degraded: bool) -> Step {
        let Some(Encoded { n_octets, is_truncated }) = encoded else { return Step::Drop(DropReason::NoRoom) };
        let is_answer =
            !matches!(kind, Kind::FormErr | Kind::NotImp | Kind::NotAuth | Kind::BadVers | Kind::Cookie | Kind::Slip);
        let has_ecs = is_answer && self.edns.is_some_and(|edns| edns.ecs.is_some());
        let outcome = Outcome { rcode, kind, is_truncated, is_degraded, has_ecs, cookie: self.cookie.status };
        Step::Send { n_octets, outcome }
    }
}

/// What the response code alone does not say.
fn extended_error(answer: &Answer<'_>, query: &Query<'_>) -> Option<ExtendedError> {
    match answer.kind {
        Kind::ServFail => Some(ExtendedError::NobodyUp),
        Kind::Pool if answer.is_degraded() => Some(ExtendedError::NobodyUp),
        Kind::Refused if !matches!(query.qclass, CLASS_IN | CLASS_ANY) => None,
        Kind::Refused if matches!(query.qtype, AXFR | IXFR) || answer.pool.is_some() => Some(ExtendedError::Prohibited),
        Kind::Refused => Some(ExtendedError::NotAuthoritative),
        _ => None,
    }
}
