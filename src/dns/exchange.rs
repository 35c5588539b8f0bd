//! Messages that take more than `respond`: zone transfers (RFC 5936, RFC 1995), NOTIFY (RFC 1996), and whatever is signed (RFC 8945).
//!
//! [`concerns`] tells them apart at next to no cost, so that all others go the short way. Pure, as `respond` is; the shells send what
//! comes of it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    answer::{AXFR, CLASS_IN, IXFR, Kind},
    encode::{Envelope, MESSAGE_OCTETS_MAX, Transport, encode_empty},
    guard::CookieStatus,
    header::{Counts, Header, NOTIFY, QUERY, Rcode},
    options::Options,
    outgoing::{Outgoing, Request},
    query::{DropReason, Query, Rejection, take_plain_name, take_u16},
    respond::{Outcome, Step, respond},
    tsig::{self, Checked, Session, TsigError},
    wire::{Section, is_newer, open, soa_serial},
};
use crate::{
    config::Party,
    name::Name,
    protect::limit::{Class, Verdict},
    snapshot::Snapshot,
    zone::{ServedZone, rtype},
};

/// What a message gets.
#[derive(Debug)]
pub(super) enum Exchange {
    /// One message.
    Reply {
        /// Its octets.
        message: Vec<u8>,
        /// What was answered.
        outcome: Outcome,
        /// What was wrong with its signature.
        tsig_error: Option<TsigError>,
        /// The secondary zone whose primary says that it has changed.
        notified: Option<Name>,
    },
    /// A zone, message by message.
    Transfer(Box<Outgoing>),
    /// Nothing.
    Drop(DropReason),
}

/// Whether a message is for [`exchange`]. Some are that need not be, none is missed.
pub(super) fn concerns(wire: &[u8]) -> bool {
    let Some((header, counts, body)) = Header::parse(wire) else { return false };
    if header.is_response() || counts.questions != 1 {
        return false;
    }
    match header.opcode() {
        QUERY => {}
        opcode => return opcode == NOTIFY,
    }
    let Ok((name, _)) = take_plain_name(body) else { return false };
    let Some((qtype, rest)) = body.get(name.len()..).and_then(take_u16) else { return false };
    if matches!(qtype, AXFR | IXFR) {
        return true;
    }
    // A signature comes last. Nearly all queries have nothing there, or OPT alone.
    let records = rest.get(2..).unwrap_or_default();
    match (counts.answers, counts.authority, counts.additional) {
        (_, _, 0) => false,
        (0, 0, 1) => !records.starts_with(&[0, 0, 41]),
        _ => true,
    }
}

/// What the circumstances of a message are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub(super) peer: SocketAddr,
    pub(super) transport: Transport,
    pub(super) random: u64,
    /// Since 1970.
    pub(super) now: Duration,
}

/// Answers a message, checking its signature and signing what it gets.
pub(super) fn exchange(snapshot: &Arc<Snapshot>, wire: &[u8], circumstances: Circumstances) -> Exchange {
    match tsig::check(wire, &snapshot.transfer.keys, circumstances.now.as_secs()) {
        Checked::Unsigned => exchange_unsigned(snapshot, wire, circumstances, None),
        Checked::Signed(session, request) => exchange_unsigned(snapshot, &request, circumstances, Some(session)),
        // What cannot be read for other reasons gets what it gets without a look for a signature.
        Checked::Malformed if Query::parse(wire).is_err() => plain(snapshot, wire, None, circumstances, None),
        Checked::Malformed | Checked::Refused(_) if is_limited(snapshot, circumstances) => {
            Exchange::Drop(DropReason::RateLimit)
        }
        Checked::Malformed => error_reply(wire, Rcode::FormErr, Kind::FormErr, circumstances, None),
        Checked::Refused(refusal) => {
            let reply = error_reply(wire, Rcode::NotAuth, Kind::NotAuth, circumstances, None);
            let Exchange::Reply { mut message, outcome, .. } = reply else { return reply };
            refusal.append(&mut message, circumstances.now.as_secs());
            Exchange::Reply { message, outcome, tsig_error: Some(refusal.error), notified: None }
        }
    }
}

/// Whether the peer, who may be forged, gets too many errors.
fn is_limited(snapshot: &Snapshot, circumstances: Circumstances) -> bool {
    let Circumstances { peer, transport, random, now } = circumstances;
    let limit = snapshot.protection.rate_limit.as_ref().filter(|_| transport == Transport::Udp);
    limit.is_some_and(|limit| limit.judge(peer.ip(), Class::Error, &[], now, random) == Verdict::Drop)
}

/// Answers a request without its signature; `session` signs.
fn exchange_unsigned(
    snapshot: &Arc<Snapshot>,
    wire: &[u8],
    circumstances: Circumstances,
    session: Option<Session>,
) -> Exchange {
    if let Some(apex) = notified(snapshot, wire, circumstances.peer, session.as_ref()) {
        return acknowledge(wire, apex, circumstances, session);
    }
    let query = match Query::parse(wire) {
        Ok(query) if query.qclass == CLASS_IN && matches!(query.qtype, AXFR | IXFR) => query,
        parsed => return plain(snapshot, wire, parsed.ok().as_ref(), circumstances, session),
    };
    let is_udp = circumstances.transport == Transport::Udp;
    let signer = session.as_ref().map(Session::key_name);
    // Transfer of a zone is not defined for UDP (RFC 5936 §4.2); IXFR is, and tells at least whether there is something to transfer.
    if is_udp && query.qtype == AXFR || !snapshot.transfer.allows(circumstances.peer.ip(), signer) {
        return plain(snapshot, wire, Some(&query), circumstances, session);
    }
    let served = Name::from_wire(query.qname()).ok().and_then(|name| snapshot.zones.get(&name));
    let Some(served) = served else {
        return error_reply(wire, Rcode::NotAuth, Kind::NotAuth, circumstances, session);
    };
    if served.is_expired {
        return error_reply(wire, Rcode::ServFail, Kind::ServFail, circumstances, session);
    }
    let is_soa_alone = query.qtype == IXFR && (is_udp || is_current(wire, served));
    let (header, question, edns) = (query.header, query.question, query.edns);
    let request = Request { header, question, edns, session, is_soa_alone };
    let mut outgoing = Outgoing::new(snapshot.clone(), served.clone(), request);
    if !is_udp {
        return Exchange::Transfer(Box::new(outgoing));
    }
    match outgoing.next_message(circumstances.now.as_secs()) {
        Some(Ok(message)) if message.len() <= circumstances.transport.octets_max(query.edns.as_ref()) => {
            let outcome = outcome(Rcode::NoError, Kind::Static, false);
            Exchange::Reply { message, outcome, tsig_error: None, notified: None }
        }
        _ => truncated_reply(&query, wire, circumstances),
    }
}

/// The secondary zone that a NOTIFY is about, if it comes from one of its primaries: from that address, and with the key that we sign with
/// (RFC 1996 §3.10).
fn notified(snapshot: &Snapshot, wire: &[u8], peer: SocketAddr, session: Option<&Session>) -> Option<Name> {
    let opening = open(wire).ok().filter(|opening| opening.header.opcode() == NOTIFY)?;
    let (name, fields) = take_plain_name(opening.question).ok()?;
    let ([type0, type1], [class0, class1]) = (rtype::SOA.to_be_bytes(), CLASS_IN.to_be_bytes());
    let apex = Name::from_wire(name).ok().filter(|_| fields == [type0, type1, class0, class1])?;
    let secondary = snapshot.transfer.secondaries.iter().find(|secondary| secondary.apex == apex)?;
    let signer = session.map(Session::key_name);
    let is_from = |primary: &Party| {
        primary.address.ip() == peer.ip().to_canonical()
            && primary.key.as_ref().is_none_or(|key| signer == Some(&key.name))
    };
    secondary.primaries.iter().any(is_from).then_some(apex)
}

/// The response to a NOTIFY that is welcome (RFC 1996 §4.7).
fn acknowledge(wire: &[u8], apex: Name, circumstances: Circumstances, session: Option<Session>) -> Exchange {
    let Ok(opening) = open(wire) else { return Exchange::Drop(DropReason::Short) };
    let counts = Counts { questions: 1, ..Counts::default() };
    let mut message = opening.header.respond(Rcode::NoError, true, false, counts).to_vec();
    message.extend_from_slice(opening.question);
    if let Some(mut session) = session {
        session.sign(&mut message, circumstances.now.as_secs());
    }
    let outcome = outcome(Rcode::NoError, Kind::Static, false);
    Exchange::Reply { message, outcome, tsig_error: None, notified: Some(apex) }
}

/// Whether the client has a serial (its SOA is in the authority section) that is not older than ours (RFC 1995 §2, §4).
fn is_current(wire: &[u8], served: &ServedZone) -> bool {
    let Ok(opening) = open(wire) else { return false };
    let mut records = opening.records.filter_map(Result::ok);
    let soa = records.find(|record| record.section == Section::Authority && record.rtype == rtype::SOA);
    let serial = soa.and_then(|soa| soa_serial(wire, &soa).ok());
    serial.is_some_and(|serial| !is_newer(served.zone.serial(), serial))
}

/// Answers as everywhere, and signs.
fn plain(
    snapshot: &Snapshot,
    wire: &[u8],
    query: Option<&Query<'_>>,
    circumstances: Circumstances,
    session: Option<Session>,
) -> Exchange {
    let Circumstances { peer, transport, random, now } = circumstances;
    let n_signature = session.as_ref().map_or(0, Session::octets);
    let octets_max = transport.octets_max(query.and_then(|query| query.edns.as_ref())).min(MESSAGE_OCTETS_MAX);
    let mut message = vec![0; octets_max.saturating_sub(n_signature)];
    match respond(snapshot, wire, peer, transport, now, random, &mut message) {
        Step::Drop(reason) => Exchange::Drop(reason),
        Step::Send { n_octets, outcome } => {
            message.truncate(n_octets);
            if let Some(mut session) = session {
                session.sign(&mut message, now.as_secs());
            }
            Exchange::Reply { message, outcome, tsig_error: None, notified: None }
        }
    }
}

/// A response without records.
fn error_reply(
    wire: &[u8],
    rcode: Rcode,
    kind: Kind,
    circumstances: Circumstances,
    session: Option<Session>,
) -> Exchange {
    let Some((header, ..)) = Header::parse(wire) else { return Exchange::Drop(DropReason::Short) };
    let question = open(wire).map_or(&[][..], |opening| opening.question);
    let edns = match Query::parse(wire) {
        Ok(Query { edns, .. }) | Err(Rejection::Reply { edns, .. }) => edns,
        Err(Rejection::Drop(_)) => None,
    };
    let transport = circumstances.transport;
    let envelope = Envelope {
        header,
        question,
        edns: edns.as_ref(),
        rcode,
        scope: None,
        nsid: None,
        options: Options::default(),
        transport,
    };
    let mut message = vec![0; transport.octets_max(edns.as_ref())];
    let Some(encoded) = encode_empty(&envelope, &mut message) else { return Exchange::Drop(DropReason::NoRoom) };
    message.truncate(encoded.n_octets);
    if let Some(mut session) = session {
        session.sign(&mut message, circumstances.now.as_secs());
    }
    Exchange::Reply { message, outcome: outcome(rcode, kind, false), tsig_error: None, notified: None }
}

/// A response that says no more than that there is one over TCP.
fn truncated_reply(query: &Query<'_>, wire: &[u8], circumstances: Circumstances) -> Exchange {
    let reply = error_reply(wire, Rcode::NoError, Kind::Static, circumstances, None);
    let Exchange::Reply { mut message, .. } = reply else { return reply };
    let counts = open(&message).map(|opening| opening.counts).unwrap_or_default();
    if let Some(header) = message.first_chunk_mut() {
        *header = query.header.respond(Rcode::NoError, true, true, counts);
    }
    Exchange::Reply { message, outcome: outcome(Rcode::NoError, Kind::Static, true), tsig_error: None, notified: None }
}

fn outcome(rcode: Rcode, kind: Kind, is_truncated: bool) -> Outcome {
    Outcome { rcode, kind, is_truncated, is_degraded: false, has_ecs: false, cookie: CookieStatus::None }
}
