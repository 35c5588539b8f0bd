//! Puts an [`Answer`] on the wire: name compression, whole RRsets or TC, EDNS.
//!
//! Knows nothing about zones or pools; what an answer means was decided before.

use std::net::IpAddr;

use super::{
    answer::{Answer, CLASS_CH, CLASS_IN, Content, Entry, Kind, Owner},
    compress::{Known, Names},
    ecs::ECS_OCTETS_MAX,
    header::{Counts, HEADER_OCTETS, Header, Rcode},
    options::{OPTIONS_OCTETS_MAX, Options},
    query::{Edns, OPTION_ECS, OPTION_NSID, Query, take_plain_name, take_u16},
};
use crate::{
    name::NAME_OCTETS_MAX,
    types::{Scope, Ttl},
    zone::rtype,
};

/// The largest UDP message that is sent, whatever the query allows: none is fragmented on the way (flag day 2020).
pub const UDP_OCTETS_MAX: usize = 1232;
/// What our OPT records say, which is about queries.
const UDP_OCTETS_ADVERTISED: u16 = 1232;
/// The largest UDP message without EDNS (RFC 1035 §4.2.1), and the least that an EDNS size can mean (RFC 6891 §6.2.3).
const UDP_OCTETS_MIN: u16 = 512;
/// The largest message of all.
pub const MESSAGE_OCTETS_MAX: usize = 65_535;

/// Octets of an OPT record without options.
const OPT_OCTETS: usize = 11;

/// What kind of transport a message comes by, as far as a response depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams: the sender says how large.
    Udp,
    /// A stream that everybody can read.
    Tcp,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484).
    Https,
    /// DNS over QUIC (RFC 9250).
    Quic,
}

impl Transport {
    /// How many octets a response may have.
    pub(super) fn octets_max(self, edns: Option<&Edns>) -> usize {
        match (self, edns) {
            (Self::Udp, None) => usize::from(UDP_OCTETS_MIN),
            (Self::Udp, Some(edns)) => usize::from(edns.udp_octets_max.max(UDP_OCTETS_MIN)).min(UDP_OCTETS_MAX),
            (Self::Tcp | Self::Tls | Self::Https | Self::Quic, _) => MESSAGE_OCTETS_MAX,
        }
    }
}

impl Transport {
    /// Whether who listens sees nothing but sizes: then responses are padded for those who ask (RFC 7830).
    pub(super) fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https | Self::Quic)
    }

    /// Whether it is a stream that this server closes when it idles (RFC 7828; RFC 9250 §5.5.2 forbids the option there).
    pub(super) fn has_keepalive(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }
}

/// What is said about a response beside its records.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'e> {
    /// The query's header.
    pub header: Header,
    /// The question to echo, empty if it could not be read.
    pub question: &'e [u8],
    /// What the query's OPT said: there is one in the response if there was one in the query (RFC 6891 §6.1.1).
    pub edns: Option<&'e Edns>,
    /// Response code.
    pub rcode: Rcode,
    /// Scope of an ECS option, which comes back only where an answer went by it.
    pub scope: Option<Scope>,
    /// This server's identifier, for those who ask (RFC 5001).
    pub nsid: Option<&'e str>,
    /// Other EDNS options.
    pub options: Options,
    /// Limits the size.
    pub transport: Transport,
}

/// A response as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Octets of the message.
    pub n_octets: usize,
    /// TC: something that must be there did not fit.
    pub is_truncated: bool,
}

/// What is written does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Writes a response without records, such as an error. `None` if not even that fits into `out`.
pub fn encode_empty(envelope: &Envelope<'_>, out: &mut [u8]) -> Option<Encoded> {
    let mut writer = Writer::start(envelope, out).ok()?;
    writer.finish(envelope, false, false, Counts::default())
}

/// Writes a response that only says TC: come again by TCP.
pub fn encode_truncated(envelope: &Envelope<'_>, out: &mut [u8]) -> Option<Encoded> {
    let mut writer = Writer::start(envelope, out).ok()?;
    writer.finish(envelope, false, true, Counts::default())
}

/// Writes `answer` to `query` into `out`, as much of it as fits.
///
/// RRsets are there as a whole or not at all. One that must be there and is not sets TC and ends the message (RFC 2181 §9); additional
/// data that may be missing is left out silently. `None` if `out` is too short for header, question and OPT.
pub fn encode(answer: &Answer<'_>, query: &Query<'_>, envelope: &Envelope<'_>, out: &mut [u8]) -> Option<Encoded> {
    let mut writer = Writer::start(envelope, out).ok()?;
    let mut counts = Counts::default();
    let is_complete = write_sections(&mut writer, answer, query, &mut counts).is_ok();
    writer.finish(envelope, answer.is_authoritative, !is_complete, counts)
}

fn write_sections(
    writer: &mut Writer<'_>,
    answer: &Answer<'_>,
    query: &Query<'_>,
    counts: &mut Counts,
) -> Result<(), Full> {
    for entry in &answer.answers {
        counts.answers += writer.put_entry(answer, query, entry)?;
    }
    // Behind an alias a referral only spares the resolver a question.
    let is_courtesy = answer.kind == Kind::Referral && !answer.answers.is_empty();
    for entry in &answer.authority {
        match writer.put_entry(answer, query, entry) {
            Ok(n_records) => counts.authority += n_records,
            Err(_) if is_courtesy => return Ok(()),
            Err(full) => return Err(full),
        }
    }
    for (index, entry) in answer.additional.iter().enumerate() {
        match writer.put_entry(answer, query, entry) {
            Ok(n_records) => counts.additional += n_records,
            Err(full) if index < answer.n_glue_required => return Err(full),
            Err(_) => {}
        }
    }
    Ok(())
}

/// A message that is being written.
struct Writer<'o> {
    out: &'o mut [u8],
    /// Octets written.
    at: usize,
    /// Octets that records may fill: what OPT needs is kept free.
    limit: usize,
    names: Names,
    nsid: &'o [u8],
}

impl<'o> Writer<'o> {
    /// Leaves room for the header, echoes the question, and keeps room for OPT.
    fn start(envelope: &Envelope<'o>, out: &'o mut [u8]) -> Result<Self, Full> {
        let octets_max = envelope.transport.octets_max(envelope.edns).min(out.len());
        let mut n_opt = 0;
        let mut nsid: &[u8] = &[];
        if let Some(edns) = envelope.edns {
            let ecs = edns.ecs.filter(|_| envelope.scope.is_some());
            n_opt = OPT_OCTETS + ecs.map_or(0, |ecs| 8 + usize::from(ecs.source_prefix.div_ceil(8)));
            n_opt += envelope.options.n_octets_required();
            let identifier = envelope.nsid.filter(|_| edns.wants_nsid).map_or(&[][..], str::as_bytes);
            // An identifier that leaves no room is no reason to be silent.
            let n_without = HEADER_OCTETS + envelope.question.len() + n_opt;
            if !identifier.is_empty() && n_without + 4 + identifier.len() <= octets_max {
                nsid = identifier;
                n_opt += 4 + identifier.len();
            }
        }
        let limit = octets_max.checked_sub(n_opt).ok_or(Full)?;
        let mut writer = Self { out, at: 0, limit, names: Names::new(), nsid };
        writer.put(&[0; HEADER_OCTETS])?;
        writer.put(envelope.question)?;
        Ok(writer)
    }

    /// Writes OPT and the header.
    fn finish(
        &mut self,
        envelope: &Envelope<'_>,
        is_authoritative: bool,
        is_truncated: bool,
        counts: Counts,
    ) -> Option<Encoded> {
        let mut counts = Counts { questions: u16::from(!envelope.question.is_empty()), ..counts };
        if let Some(edns) = envelope.edns {
            self.limit = self.out.len();
            self.put_opt(edns, envelope).ok()?;
            counts.additional += 1;
        }
        let header = envelope.header.respond(envelope.rcode, is_authoritative, is_truncated, counts);
        *self.out.first_chunk_mut()? = header;
        Some(Encoded { n_octets: self.at, is_truncated })
    }

    /// Writes the OPT record: our size, the rcode's upper bits, version 0, DO as it came (RFC 3225 §3), ECS if there was one, NSID if
    /// asked for, then what [`Options`] has.
    fn put_opt(&mut self, edns: &Edns, envelope: &Envelope<'_>) -> Result<(), Full> {
        let [size0, size1] = UDP_OCTETS_ADVERTISED.to_be_bytes();
        let dnssec_ok = if edns.is_dnssec_ok { 0x80 } else { 0 };
        self.put(&[0, 0, 41, size0, size1, envelope.rcode.extended_bits(), 0, dnssec_ok, 0, 0, 0])?;
        let options_at = self.at;
        if let (Some(ecs), Some(scope)) = (&edns.ecs, envelope.scope) {
            let mut option = [0; ECS_OCTETS_MAX];
            let n_octets = ecs.write(scope, &mut option);
            self.put_option(OPTION_ECS, option.get(..n_octets).unwrap_or_default())?;
        }
        let nsid = self.nsid;
        if !nsid.is_empty() {
            self.put_option(OPTION_NSID, nsid)?;
        }
        let octets_max = envelope.transport.octets_max(envelope.edns).min(self.out.len());
        let rest = self.out.get_mut(self.at..octets_max).ok_or(Full)?;
        self.at += envelope.options.write(self.at, rest).ok_or(Full)?;
        self.set_length(options_at)
    }

    fn put_option(&mut self, code: u16, option: &[u8]) -> Result<(), Full> {
        self.put_u16(code)?;
        self.put_u16(u16::try_from(option.len()).map_err(|_| Full)?)?;
        self.put(option)
    }

    /// Writes all records of an RRset and returns how many; if they do not all fit, takes everything back.
    fn put_entry(&mut self, answer: &Answer<'_>, query: &Query<'_>, entry: &Entry<'_>) -> Result<u16, Full> {
        let (at, names) = (self.at, self.names.mark());
        let written = self.put_records(answer, query, entry);
        if written.is_err() {
            self.at = at;
            self.names.rewind(names);
        }
        written
    }

    fn put_records(&mut self, answer: &Answer<'_>, query: &Query<'_>, entry: &Entry<'_>) -> Result<u16, Full> {
        let class = if query.qclass == CLASS_CH { CLASS_CH } else { CLASS_IN };
        let rtype = entry.content.rtype();
        let fields = Fields::new(rtype, class, entry.ttl);
        let mut owner = Repeated { owner: entry.owner, pointer: None };
        let mut n_records = 0u16;
        let mut start = |writer: &mut Self| {
            n_records = n_records.checked_add(1).ok_or(Full)?;
            owner.put(writer, answer, query)
        };
        match entry.content {
            Content::Stored(rrset) => {
                let names = CompressibleNames::of(rtype);
                for rdata in rrset.rdatas() {
                    start(self)?;
                    if rtype == rtype::DNAME {
                        let rdata_at = self.put_open_record(fields)?;
                        self.put_plain_name(rdata)?;
                        self.set_length(rdata_at)?;
                    } else if names.n_names == 0 {
                        self.put_record(fields, rdata)?;
                    } else {
                        let rdata_at = self.put_open_record(fields)?;
                        self.put_rdata(names, rdata)?;
                        self.set_length(rdata_at)?;
                    }
                }
            }
            Content::MadeCname(target) => {
                start(self)?;
                let rdata_at = self.put_open_record(fields)?;
                self.put_name(answer.name(target, query))?;
                self.set_length(rdata_at)?;
            }
            Content::Addresses(family) => {
                let ranked = answer.pool.iter().flat_map(|consulted| &consulted.ranking.realservers);
                for address in ranked.filter_map(|ranked| ranked.realserver.address(family)) {
                    start(self)?;
                    match address {
                        IpAddr::V4(v4) => self.put_record(fields, &v4.octets())?,
                        IpAddr::V6(v6) => self.put_record(fields, &v6.octets())?,
                    }
                }
            }
            Content::Text(text) => {
                start(self)?;
                let rdata_at = self.put_open_record(fields)?;
                self.put_text(text.as_bytes())?;
                self.set_length(rdata_at)?;
            }
            Content::Hinfo => {
                start(self)?;
                self.put_record(fields, b"\x07RFC8482\x00")?;
            }
        }
        Ok(n_records)
    }

    /// Writes what follows the owner of a record whose data is written as it is.
    fn put_record(&mut self, fields: Fields, rdata: &[u8]) -> Result<(), Full> {
        self.put(&fields.with_length(u16::try_from(rdata.len()).map_err(|_| Full)?))?;
        // A length that the compiler knows spares a call, and most records are addresses.
        match (rdata.as_array::<4>(), rdata.as_array::<16>()) {
            (Some(v4), _) => self.put(v4),
            (_, Some(v6)) => self.put(v6),
            _ => self.put(rdata),
        }
    }

    /// Writes what stands between a record's owner and its data, the length left open; returns where the data starts.
    fn put_open_record(&mut self, fields: Fields) -> Result<usize, Full> {
        self.put(&fields.with_length(0))?;
        Ok(self.at)
    }

    /// Writes data with its names compressed where its type allows.
    fn put_rdata(&mut self, names: CompressibleNames, rdata: &[u8]) -> Result<(), Full> {
        let Some((before, mut rest)) = rdata.split_at_checked(names.n_before) else { return self.put(rdata) };
        self.put(before)?;
        for _ in 0..names.n_names {
            let Ok((name, tail)) = take_plain_name(rest) else { break };
            self.put_name(name)?;
            rest = tail;
        }
        self.put(rest)
    }

    /// Writes character strings of 255 octets at most.
    fn put_text(&mut self, text: &[u8]) -> Result<(), Full> {
        if text.is_empty() {
            return self.put(&[0]);
        }
        for chunk in text.chunks(255) {
            self.put(&[u8::try_from(chunk.len()).map_err(|_| Full)?])?;
            self.put(chunk)?;
        }
        Ok(())
    }

    /// Writes a name in full, where it may not be compressed but others may point at it.
    fn put_plain_name(&mut self, name: &[u8]) -> Result<(), Full> {
        let known = self.known(name);
        let start = self.at;
        self.put(name)?;
        self.names.add(name, known, start);
        Ok(())
    }

    /// How much of a name stands in the message already.
    fn known(&mut self, name: &[u8]) -> Known {
        let written = self.out.get(..self.at).unwrap_or_default();
        if self.names.is_empty() {
            // Only now: most answers have no name but the question's, which is pointed at without a search.
            self.names.add_question(written);
        }
        self.names.find(name, written)
    }

    /// Writes a name, its tail as a pointer if it stands in the message already.
    fn put_name(&mut self, name: &[u8]) -> Result<(), Full> {
        let known = self.known(name);
        let start = self.at;
        self.put(name.get(..known.n_new).unwrap_or_default())?;
        if let Some(pointer) = known.pointer {
            self.put_pointer(pointer)?;
        }
        self.names.add(name, known, start);
        Ok(())
    }

    fn put_pointer(&mut self, to: u16) -> Result<(), Full> {
        self.put_u16(0xc000 | to)
    }

    fn put_u16(&mut self, number: u16) -> Result<(), Full> {
        self.put(&number.to_be_bytes())
    }

    fn put(&mut self, octets: &[u8]) -> Result<(), Full> {
        let end = self.at + octets.len();
        if end > self.limit {
            return Err(Full);
        }
        self.out.get_mut(self.at..end).ok_or(Full)?.copy_from_slice(octets);
        self.at = end;
        Ok(())
    }

    /// Fills in the length of what was written since `start`, in the two octets before it.
    fn set_length(&mut self, start: usize) -> Result<(), Full> {
        let length = u16::try_from(self.at - start).map_err(|_| Full)?;
        let field = self.out.get_mut(..start).and_then(<[u8]>::last_chunk_mut).ok_or(Full)?;
        *field = length.to_be_bytes();
        Ok(())
    }
}

/// Type, class and TTL, the same for all records of an RRset.
#[derive(Clone, Copy)]
struct Fields([u8; 8]);

impl Fields {
    fn new(rtype: u16, class: u16, ttl: Ttl) -> Self {
        let ([type0, type1], [class0, class1]) = (rtype.to_be_bytes(), class.to_be_bytes());
        let [ttl0, ttl1, ttl2, ttl3] = ttl.get().to_be_bytes();
        Self([type0, type1, class0, class1, ttl0, ttl1, ttl2, ttl3])
    }

    /// The same, then the length of a record's data.
    fn with_length(self, n_octets: u16) -> [u8; 10] {
        let [type0, type1, class0, class1, ttl0, ttl1, ttl2, ttl3] = self.0;
        let [length0, length1] = n_octets.to_be_bytes();
        [type0, type1, class0, class1, ttl0, ttl1, ttl2, ttl3, length0, length1]
    }
}

/// The owner of the records of an RRset: found once, then a pointer.
struct Repeated<'a> {
    owner: Owner<'a>,
    pointer: Option<u16>,
}

impl Repeated<'_> {
    fn put(&mut self, writer: &mut Writer<'_>, answer: &Answer<'_>, query: &Query<'_>) -> Result<(), Full> {
        if let Some(pointer) = self.pointer {
            return writer.put_pointer(pointer);
        }
        if let Owner::Question { octets } = self.owner
            && octets > 1
        {
            // The question stands right after the header, and its letters are the ones that the sender wants to see again.
            let at = HEADER_OCTETS + query.qname_as_sent().len().saturating_sub(octets);
            let pointer = u16::try_from(at).map_err(|_| Full)?;
            self.pointer = Some(pointer);
            return writer.put_pointer(pointer);
        }
        let start = writer.at;
        writer.put_name(answer.name(self.owner, query))?;
        // A pointer stays what it is; a name that was written here can be pointed at, unless it is the root's one octet.
        let written = writer.out.get(start..writer.at).unwrap_or_default();
        self.pointer = match take_u16(written) {
            Some((pointer, [])) if pointer >= 0xc000 => Some(pointer & 0x3fff),
            Some(_) => u16::try_from(start).ok().filter(|&start| start < 0x4000),
            None => None,
        };
        Ok(())
    }
}

/// Where in the data of a type names stand that may be compressed: only those that every receiver knows (RFC 3597 §4).
#[derive(Clone, Copy)]
pub(super) struct CompressibleNames {
    pub(super) n_before: usize,
    pub(super) n_names: usize,
}

impl CompressibleNames {
    pub(super) fn of(rtype: u16) -> Self {
        let (n_before, n_names) = match rtype {
            // NS MD MF CNAME MB MG MR PTR
            2..=5 | 7..=9 | 12 => (0, 1),
            // SOA MINFO
            6 | 14 => (0, 2),
            // MX
            15 => (2, 1),
            _ => (0, 0),
        };
        Self { n_before, n_names }
    }
}

const _: () = assert!(
    UDP_OCTETS_MIN as usize
        >= HEADER_OCTETS + NAME_OCTETS_MAX + 4 + OPT_OCTETS + 4 + ECS_OCTETS_MAX + OPTIONS_OCTETS_MAX
);
