//! A zone on its way to a secondary: AXFR (RFC 5936), as many messages as it takes, one after the other.
//!
//! Pure: a message is made when it is asked for, from the snapshot that the transfer began with. Everything of the zone is in it, glue and what
//! delegations hide included. A POOL, which no other server knows, becomes the addresses that it stands for now: see [`pool_addresses`].

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::{
    answer::{ADDRESSES_MAX, CLASS_IN},
    encode::{CompressibleNames, MESSAGE_OCTETS_MAX},
    header::{Counts, HEADER_OCTETS, Header, Rcode},
    query::{Edns, take_plain_name},
    tsig::Session,
};
use crate::{
    name,
    select::{Client, Turn, Via, select},
    snapshot::Snapshot,
    types::{Family, Ttl},
    zone::{Node, Rrset, ServedZone, rtype},
};

/// An OPT record without options, up to its flags.
const OPT_START: [u8; 7] = [0, 0, 41, 0x04, 0xd0, 0, 0];
/// All of its octets.
const OPT_OCTETS: usize = OPT_START.len() + 4;
/// Octets of a message that compression pointers can lead to.
const POINTABLE_OCTETS: usize = 0x4000;

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Outgoing {
    snapshot: Arc<Snapshot>,
    served: Arc<ServedZone>,
    header: Header,
    question: Box<[u8]>,
    edns: Option<Edns>,
    session: Option<Session>,
    is_soa_alone: bool,
    is_first: bool,
    place: Place,
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the SOA that it starts with.
    Start,
    /// At a name, so many of whose records have been sent.
    Name { at: usize, n_sent: usize },
    /// At the SOA that it ends with.
    End,
    /// Behind it.
    Done,
}

/// What a transfer answers, beside its zone.
#[derive(Debug)]
pub(super) struct Request<'r> {
    pub(super) header: Header,
    /// The question, to be echoed.
    pub(super) question: &'r [u8],
    pub(super) edns: Option<Edns>,
    /// Signs every message.
    pub(super) session: Option<Session>,
    /// The SOA is all there is to say: the client has this serial, or must come back over TCP (RFC 1995 §2).
    pub(super) is_soa_alone: bool,
}

/// A record of the zone fits into no message beside what a message needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record is too large for a message of a transfer")]
pub(super) struct TooLarge;

impl Outgoing {
    /// A transfer of `served`, one of the zones of `snapshot`, both held until it ends.
    pub(super) fn new(snapshot: Arc<Snapshot>, served: Arc<ServedZone>, request: Request<'_>) -> Self {
        let Request { header, question, edns, session, is_soa_alone } = request;
        let (place, is_first) = (Place::Start, true);
        Self { snapshot, served, header, question: question.into(), edns, session, is_soa_alone, is_first, place }
    }

    /// The zone that is sent.
    pub(super) fn served(&self) -> &Arc<ServedZone> {
        &self.served
    }

    /// Whether only the SOA is sent.
    pub(super) fn is_soa_alone(&self) -> bool {
        self.is_soa_alone
    }

    /// The key that signs it.
    pub(super) fn key_name(&self) -> Option<&name::Name> {
        self.session.as_ref().map(Session::key_name)
    }

    /// The next message, at `now` in seconds since 1970; `None` after the last.
    pub(super) fn next_message(&mut self, now: u64) -> Option<Result<Vec<u8>, TooLarge>> {
        if self.place == Place::Done {
            return None;
        }
        let n_signature = self.session.as_ref().map_or(0, Session::octets);
        let n_opt = self.edns.map_or(0, |_| OPT_OCTETS);
        // The first message must echo the question, the others need not (RFC 5936 §2.2.1).
        let question = if self.is_first { &self.question[..] } else { &[] };
        let mut writer = Writer::new(question, MESSAGE_OCTETS_MAX - n_signature - n_opt);
        self.place = self.fill(&mut writer);
        if writer.n_records == 0 {
            self.place = Place::Done;
            return Some(Err(TooLarge));
        }
        let mut message = writer.out;
        let counts = Counts {
            questions: u16::from(!question.is_empty()),
            answers: writer.n_records,
            authority: 0,
            additional: u16::from(self.edns.is_some()),
        };
        if let Some(header) = message.first_chunk_mut::<HEADER_OCTETS>() {
            *header = self.header.respond(Rcode::NoError, true, false, counts);
        }
        if let Some(edns) = self.edns {
            message.extend(OPT_START);
            message.extend([if edns.is_dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
        }
        if let Some(session) = &mut self.session {
            session.sign(&mut message, now);
        }
        self.is_first = false;
        Some(Ok(message))
    }

    /// Writes records until the message is full, or all are written; returns where the next message goes on.
    fn fill(&self, writer: &mut Writer) -> Place {
        let zone = &self.served.zone;
        let mut place = self.place;
        loop {
            match place {
                Place::Start | Place::End => {
                    if writer.put_rrset(zone.apex().as_wire(), zone.soa(), 0).is_err() {
                        return place;
                    }
                    let is_last = place == Place::End || self.is_soa_alone;
                    place = if is_last { Place::Done } else { Place::Name { at: 0, n_sent: 0 } };
                }
                Place::Name { at, n_sent } => {
                    let Some((next, name, node)) = zone.walk(at) else {
                        place = Place::End;
                        continue;
                    };
                    if let Err(n_sent) = self.put_name(writer, name.as_wire(), node, n_sent) {
                        return Place::Name { at, n_sent };
                    }
                    place = Place::Name { at: next, n_sent: 0 };
                }
                Place::Done => return place,
            }
        }
    }

    /// Writes what stands at a name, but for the SOA and the first `n_sent` records; if not all fit, says how many have been sent now.
    fn put_name(&self, writer: &mut Writer, owner: &[u8], node: Node<'_>, n_sent: usize) -> Result<(), usize> {
        let mut n_before = 0;
        for rrset in node.rrsets().filter(|rrset| rrset.rtype != rtype::SOA) {
            let n_skipped = n_sent.saturating_sub(n_before);
            if n_skipped < rrset.len() {
                writer.put_rrset(owner, rrset, n_skipped).map_err(|n_written| n_before + n_skipped + n_written)?;
            }
            n_before += rrset.len();
        }
        let Some((index, ttl)) = node.pool() else { return Ok(()) };
        for (address, ttl) in pool_addresses(&self.snapshot, &self.served, index, ttl) {
            if n_before >= n_sent {
                let (rtype, octets) = match address {
                    IpAddr::V4(v4) => (rtype::A, v4.octets().to_vec()),
                    IpAddr::V6(v6) => (rtype::AAAA, v6.octets().to_vec()),
                };
                writer.put_record(owner, rtype, ttl, &octets).map_err(|Full| n_before)?;
            }
            n_before += 1;
        }
        Ok(())
    }
}

/// What a POOL stands for in a copy of the zone: the addresses that a client of unknown place would be given first, by a round robin that
/// starts anew, for either family. As many as `answers` says: a secondary answers everybody with what it has.
///
/// The same for every transfer until health, operators or the configuration change; then too without a new serial, so that secondaries learn of
/// it when they next transfer the zone. Who needs answers that follow health asks this server.
fn pool_addresses(snapshot: &Snapshot, served: &ServedZone, index: usize, ttl: Ttl) -> Vec<(IpAddr, Ttl)> {
    let Some(&id) = served.pools.get(index) else { return Vec::new() };
    let mut addresses: Vec<(IpAddr, Ttl)> = Vec::new();
    for (family, unknown) in [(Family::V4, IpAddr::from([0; 4])), (Family::V6, IpAddr::from([0; 16]))] {
        let via = Via::Dns(family);
        let client = Client { address: unknown, prefix: 0, via, random: 0, turn: Turn::First, most: ADDRESSES_MAX };
        let ranking = select(snapshot, id, &client);
        let ttl = ttl.min(ranking.ttl);
        for address in ranking.realservers.iter().filter_map(|ranked| ranked.realserver.address(family)) {
            // Two realservers may be two ports of one address.
            if !addresses.iter().any(|(other, _)| *other == address) {
                addresses.push((address, ttl));
            }
        }
    }
    addresses
}

/// The message has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Full;

/// A message of a transfer while it is written.
struct Writer {
    out: Vec<u8>,
    limit: usize,
    n_records: u16,
    /// Names and their ends that can be pointed at. Letters' case counts: a copy keeps it (RFC 5936 §3.4).
    names: HashMap<Box<[u8]>, u16>,
}

impl Writer {
    fn new(question: &[u8], limit: usize) -> Self {
        let mut out = Vec::with_capacity(MESSAGE_OCTETS_MAX);
        out.extend([0; HEADER_OCTETS]);
        let mut writer = Self { out, limit, n_records: 0, names: HashMap::new() };
        if let Ok((qname, _)) = take_plain_name(question) {
            writer.remember(qname, qname.len(), HEADER_OCTETS);
        }
        writer.out.extend_from_slice(question);
        writer
    }

    /// Writes the records of an RRset but for the first `n_skipped`; if not all fit, says how many were written.
    fn put_rrset(&mut self, owner: &[u8], rrset: Rrset<'_>, n_skipped: usize) -> Result<(), usize> {
        for (n_written, rdata) in rrset.rdatas().skip(n_skipped).enumerate() {
            self.put_record(owner, rrset.rtype, rrset.ttl, rdata).map_err(|Full| n_written)?;
        }
        Ok(())
    }

    /// Writes one record, or nothing.
    fn put_record(&mut self, owner: &[u8], rtype: u16, ttl: Ttl, rdata: &[u8]) -> Result<(), Full> {
        let start = self.out.len();
        let n_records = self.n_records.checked_add(1).ok_or(Full)?;
        self.put_name(owner);
        self.out.extend(rtype.to_be_bytes());
        self.out.extend(CLASS_IN.to_be_bytes());
        self.out.extend(ttl.get().to_be_bytes());
        self.out.extend([0; 2]);
        let rdata_at = self.out.len();
        self.put_rdata(CompressibleNames::of(rtype), rdata);
        let length = u16::try_from(self.out.len() - rdata_at).map_err(|_| Full);
        if let Some(field) = self.out.get_mut(..rdata_at).and_then(<[u8]>::last_chunk_mut::<2>) {
            *field = length.unwrap_or_default().to_be_bytes();
        }
        if length.is_err() || self.out.len() > self.limit {
            // A message that is full gets no further record: names that now lead nowhere are never used.
            self.out.truncate(start);
            return Err(Full);
        }
        self.n_records = n_records;
        Ok(())
    }

    fn put_rdata(&mut self, names: CompressibleNames, rdata: &[u8]) {
        let (before, mut rest) = rdata.split_at_checked(names.n_before).unwrap_or((rdata, &[]));
        self.out.extend_from_slice(before);
        for _ in 0..names.n_names {
            let Ok((name, tail)) = take_plain_name(rest) else { break };
            self.put_name(name);
            rest = tail;
        }
        self.out.extend_from_slice(rest);
    }

    /// Writes a name, its longest end that stands in the message already as a pointer.
    fn put_name(&mut self, name: &[u8]) {
        let start = self.out.len();
        let mut suffix = name;
        let mut pointer = None;
        while suffix.len() > 1 {
            pointer = self.names.get(suffix).copied();
            if pointer.is_some() {
                break;
            }
            suffix = name::parent(suffix).unwrap_or(&[0]);
        }
        let n_octets = if pointer.is_some() { name.len() - suffix.len() } else { name.len() };
        self.out.extend_from_slice(name.get(..n_octets).unwrap_or_default());
        if let Some(pointer) = pointer {
            self.out.extend((0xc000 | pointer).to_be_bytes());
        }
        self.remember(name, n_octets, start);
    }

    /// Remembers the ends of `name` that start within its first `n_octets`, the name having been written at `start`.
    fn remember(&mut self, name: &[u8], n_octets: usize, start: usize) {
        let mut suffix = name;
        while suffix.len() > 1 {
            let n_before = name.len() - suffix.len();
            let at = u16::try_from(start + n_before).ok().filter(|&at| usize::from(at) < POINTABLE_OCTETS);
            let (Some(at), true) = (at, n_before < n_octets) else { return };
            self.names.insert(suffix.into(), at);
            suffix = name::parent(suffix).unwrap_or(&[0]);
        }
    }
}
