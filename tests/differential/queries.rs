//! Makes queries: names on and around what a zone holds, every kind of type, class, header and EDNS, and packets that are none.

use std::fmt::Write as _;

use fastrand::Rng;

use crate::{
    malformed,
    message::{type_number, type_text},
    name::{Name, OCTETS_MAX},
    zones::{HUGE_LABEL, Universe, Zone, pick, some_label},
};

/// A packet to ask all servers with.
pub struct Query {
    /// The octets; the first two are an id that no other query of the run has.
    pub packet: Vec<u8>,
    /// What it is, for people: a line for dig where there is one.
    pub shown: String,
    /// The question, if it is one.
    pub question: Option<Question>,
    /// Whether every server is sure to reply, so that it may be asked for over TCP together with others.
    pub is_well_formed: bool,
    /// Whether to ask over TCP as well.
    pub is_for_tcp: bool,
}

/// What is asked.
#[derive(Clone)]
pub struct Question {
    /// As sent.
    pub name: Name,
    /// Type.
    pub rtype: u16,
    /// Class.
    pub class: u16,
}

/// A query in parts.
#[derive(Clone)]
pub struct Draft {
    /// Header flags.
    pub flags: u16,
    /// The one question.
    pub question: Question,
    /// OPT.
    pub edns: Option<Edns>,
}

/// An OPT record in parts.
#[derive(Clone)]
pub struct Edns {
    /// UDP size.
    pub octets: u16,
    /// Version.
    pub version: u8,
    /// DO and Z.
    pub flags: u16,
    /// Codes and data.
    pub options: Vec<(u16, Vec<u8>)>,
}

/// RD.
pub const RD: u16 = 0x0100;
/// CD.
pub const CD: u16 = 0x0010;
/// DO.
pub const DO: u16 = 0x8000;

const MX: u16 = 15;
/// One query in so many is for the large RRset.
const HUGE_EVERY: usize = 200;
/// Types that no zone here has, or that mean something special in a question.
const ABSENT_TYPES: [u16; 24] =
    [3, 10, 24, 25, 30, 41, 46, 47, 48, 50, 51, 59, 60, 62, 103, 128, 249, 250, 251, 252, 253, 254, 65281, 65535];

impl Query {
    /// Makes `n_queries`; nine in ten are well formed.
    pub fn generate(rng: &mut Rng, universe: &Universe, n_queries: usize) -> Vec<Self> {
        let mut queries: Vec<Self> = (0..n_queries)
            .map(|index| {
                let mut draft = Draft::generate(rng, universe);
                // A connection of its own for each malformed packet takes time.
                let is_for_tcp = rng.usize(..4) == 0;
                if index % 10 == 0 {
                    draft.question.class = 1;
                    return malformed::generate(rng, &draft, is_for_tcp, index / 10);
                }
                if index % HUGE_EVERY == 1 {
                    let name = universe.zones[0].apex.child(HUGE_LABEL);
                    draft.question = Question { name, rtype: MX, class: 1 };
                }
                draft.query()
            })
            .collect();
        number(&mut queries);
        queries
    }

    /// Whether the packet is likely to be met with silence: it is no query, or BIND, which says little about itself, is asked about itself.
    fn may_be_unanswered(&self) -> bool {
        let is_response = self.packet.get(2).is_none_or(|octet| octet & 0x80 != 0);
        let is_chaos = self.question.as_ref().is_some_and(|question| question.class == 3);
        self.packet.len() < 12 || is_response || is_chaos
    }
}

/// Gives each query its id. What may stay unanswered comes last, so that few waits are waited.
pub fn number(queries: &mut [Query]) {
    queries.sort_by_key(Query::may_be_unanswered);
    for (index, query) in queries.iter_mut().enumerate() {
        let id = u16::try_from(index).expect("no more queries than ids");
        if let Some(octets) = query.packet.first_chunk_mut() {
            *octets = id.to_be_bytes();
        }
    }
}

impl Draft {
    /// A query that RFC 1035 and RFC 6891 allow, however odd.
    pub fn generate(rng: &mut Rng, universe: &Universe) -> Self {
        let zone = &universe.zones[rng.usize(..universe.zones.len())];
        let (name, rtype) = match rng.usize(..10) {
            0..=2 => some_records(rng, zone),
            _ => (some_qname(rng, universe, zone), some_qtype(rng, zone)),
        };
        let class = if rng.usize(..25) == 0 { pick(rng, &[0, 2, 3, 4, 254, 255, 255, 65535]) } else { 1 };
        let flags =
            if rng.usize(..3) == 0 { pick(rng, &[RD, RD, 0x10, 0x20, 0x30, 0x40, 0x80, 0x0400, 0x0200]) } else { 0 };
        let edns = rng.bool().then(|| Edns::generate(rng));
        let draft = Self { flags, question: Question { name, rtype, class }, edns };
        if rng.usize(..150) == 0 { draft.chaos(rng) } else { draft }
    }

    /// Asks a server about itself instead.
    fn chaos(mut self, rng: &mut Rng) -> Self {
        let name = pick(
            rng,
            &["version.bind", "version.server", "id.server", "hostname.bind", "VERSION.bind", "authors.bind", "bind"],
        );
        self.question = Question { name: Name::of(name), rtype: pick(rng, &[16, 16, 16, 255, 1, 6]), class: 3 };
        self
    }

    /// As a packet.
    pub fn query(&self) -> Query {
        Query {
            packet: self.packet(),
            shown: self.to_string(),
            question: Some(self.question.clone()),
            is_well_formed: true,
            is_for_tcp: true,
        }
    }

    /// The octets, with id 0.
    pub fn packet(&self) -> Vec<u8> {
        let mut packet = vec![0, 0];
        packet.extend_from_slice(&self.flags.to_be_bytes());
        packet.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(self.edns.is_some())]);
        packet.extend_from_slice(&self.question.wire());
        if let Some(edns) = &self.edns {
            packet.extend_from_slice(&edns.wire());
        }
        packet
    }
}

impl Question {
    /// The question section.
    pub fn wire(&self) -> Vec<u8> {
        let mut wire = self.name.wire();
        wire.extend_from_slice(&self.rtype.to_be_bytes());
        wire.extend_from_slice(&self.class.to_be_bytes());
        wire
    }
}

impl Edns {
    /// No options, 1232 octets.
    pub fn plain() -> Self {
        Self { octets: 1232, version: 0, flags: 0, options: Vec::new() }
    }

    fn generate(rng: &mut Rng) -> Self {
        let mut options = Vec::new();
        for _ in 0..pick(rng, &[0, 0, 0, 1, 1, 2]) {
            let option = match rng.usize(..6) {
                0 => (3, Vec::new()),
                1 => (8, some_subnet(rng)),
                2 => (65001 + rng.u16(..4), (0..rng.usize(..20)).map(|_| rng.u8(..)).collect()),
                3 => (10, (0..pick(rng, &[8, 8, 16, 24, 40])).map(|_| rng.u8(..)).collect()),
                4 => (12, vec![0; rng.usize(..40)]),
                _ => (pick(rng, &[5, 6, 7, 9, 11, 65005]), Vec::new()),
            };
            if options.iter().all(|(code, _)| *code != option.0) {
                options.push(option);
            }
        }
        Self {
            octets: pick(rng, &[0, 511, 512, 513, 1231, 1232, 1232, 1233, 4096, 65535]),
            version: pick(rng, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 255]),
            flags: pick(rng, &[0, 0, 0, DO, DO, DO | 1, 0x4000, 0x7fff]),
            options,
        }
    }

    /// The record.
    pub fn wire(&self) -> Vec<u8> {
        let options: Vec<u8> = self.options.iter().flat_map(|(code, data)| option(*code, data)).collect();
        self.wire_with(&options)
    }

    /// The record with these octets for options.
    pub fn wire_with(&self, options: &[u8]) -> Vec<u8> {
        let mut wire = vec![0, 0, 41];
        wire.extend_from_slice(&self.octets.to_be_bytes());
        wire.extend_from_slice(&[0, self.version]);
        wire.extend_from_slice(&self.flags.to_be_bytes());
        wire.extend_from_slice(&u16::try_from(options.len()).expect("few options").to_be_bytes());
        wire.extend_from_slice(options);
        wire
    }
}

/// An option with code and length.
pub fn option(code: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("a short option");
    [&code.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

/// A well-formed ECS option.
fn some_subnet(rng: &mut Rng) -> Vec<u8> {
    let (family, bits_max) = if rng.bool() { (1, 32) } else { (2, 128) };
    let source: u8 = pick(rng, &[0, 1, 7, 8, 20, 24, 32, bits_max]);
    let mut address: Vec<u8> = (0..source.div_ceil(8)).map(|_| rng.u8(..)).collect();
    if let Some(last) = address.last_mut().filter(|_| !source.is_multiple_of(8)) {
        *last &= 0xff << (8 - source % 8);
    }
    [&[0, family, source, 0], &address[..]].concat()
}

/// Records that are there.
fn some_records(rng: &mut Rng, zone: &Zone) -> (Name, u16) {
    let keys: Vec<&(Name, &str)> = zone.rrsets.keys().collect();
    let (owner, rtype) = pick(rng, &keys);
    (owner.clone(), type_number(rtype))
}

fn some_qname(rng: &mut Rng, universe: &Universe, zone: &Zone) -> Name {
    let owners = zone.owners();
    let owner = pick(rng, &owners);
    let mut name = match rng.usize(..100) {
        0..=34 => owner,
        35..=44 => owner.parent(),
        45..=62 => owner.child(some_label(rng)),
        63..=70 => owner.child(some_label(rng)).child(some_label(rng)),
        71..=82 => owner.parent().child(some_label(rng)),
        83..=87 => zone.apex.child(some_label(rng)).child(some_label(rng)),
        88..=90 => zone.apex.clone(),
        91..=92 => zone.apex.child(b"child"),
        93 => universe.zones[rng.usize(..universe.zones.len())].apex.child(some_label(rng)),
        94..=95 => Name::of(pick(rng, &["example", "example.net", "out.example.net", "z0.exampl", ""])),
        _ => {
            let mut long = owner;
            while long.octets() + 64 <= OCTETS_MAX {
                long = long.child(&vec![b'q'; rng.usize(30..64)]);
            }
            let left = OCTETS_MAX - long.octets();
            if left >= 2 {
                long = long.child(&vec![b'q'; rng.usize(1..left)]);
            }
            long
        }
    };
    if name.octets() > OCTETS_MAX {
        name = name.parent().parent();
    }
    if rng.usize(..4) == 0 {
        for octet in name.0.iter_mut().flatten() {
            if octet.is_ascii_alphabetic() && rng.bool() {
                *octet ^= 0x20;
            }
        }
    }
    name
}

fn some_qtype(rng: &mut Rng, zone: &Zone) -> u16 {
    match rng.usize(..100) {
        0..=34 => {
            let types: Vec<&str> = zone.rrsets.keys().map(|(_, rtype)| *rtype).collect();
            type_number(pick(rng, &types))
        }
        35..=59 => pick(rng, &[1, 28]),
        60..=67 => 43,
        68..=74 => 2,
        75..=79 => 6,
        80..=84 => 5,
        85..=87 => 39,
        88..=91 => 255,
        92..=94 => pick(rng, &[15, 16, 33, 65, 12]),
        _ => pick(rng, &ABSENT_TYPES),
    }
}

impl std::fmt::Display for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Question { name, rtype, class } = &self.question;
        write!(f, "dig +norec")?;
        for (text, bit) in
            [("rd", RD), ("cd", 0x10), ("ad", 0x20), ("z", 0x40), ("ra", 0x80), ("aa", 0x0400), ("tc", 0x0200)]
        {
            if self.flags & bit != 0 {
                write!(f, " +{text}flag")?;
            }
        }
        match &self.edns {
            None => write!(f, " +noedns")?,
            Some(edns) => {
                write!(f, " +edns={} +bufsize={} +ednsflags={:#x}", edns.version, edns.octets, edns.flags)?;
                for (code, data) in &edns.options {
                    let hex = data.iter().fold(String::new(), |mut hex, octet| {
                        let _ = write!(hex, "{octet:02x}");
                        hex
                    });
                    write!(f, " +ednsopt={code}:{hex}")?;
                }
            }
        }
        write!(f, " -c CLASS{class} -t {} -q '{name}'", type_text(*rtype))
    }
}
