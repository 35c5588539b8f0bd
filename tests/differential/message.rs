//! What came back, in a form in which equal meaning is equal: sections are sets of RRsets, names in data are folded and uncompressed.
//!
//! On purpose a reader of its own: the judge shares no code with what it judges. It is strict, so that what it reads is well formed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
};

use crate::name::Name;

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Silence,
    /// The connection is closed without a reply.
    Closed,
    /// Octets that are no message, and what is wrong.
    Garbled(&'static str),
    /// A message.
    Message(Box<Message>),
}

/// A response, without order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The header's third and fourth octet without RCODE.
    pub flags: u16,
    /// With the upper bits from OPT.
    pub rcode: u16,
    /// The question section as it came.
    pub question: Vec<u8>,
    /// The sections after it, OPT left out.
    pub sections: [Section; 3],
    /// What OPT says.
    pub opt: Option<Opt>,
    /// Whether a section holds a record twice.
    pub has_duplicates: bool,
    /// How long the message is.
    pub n_octets: usize,
}

/// RRsets by owner (folded), type and class.
pub type Section = BTreeMap<RrsetKey, Rrset>;
/// Owner (folded), type and class.
pub type RrsetKey = (Name, u16, u16);

/// Records of one owner, type and class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rrset {
    /// Nearly always one.
    pub ttls: BTreeSet<u32>,
    /// Data with names folded.
    pub rdatas: BTreeSet<Vec<u8>>,
}

/// What OPT says, but for the size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opt {
    /// EDNS version.
    pub version: u8,
    /// DO and Z.
    pub flags: u16,
    /// NSID.
    pub nsid: Option<Vec<u8>>,
    /// Client subnet.
    pub ecs: Option<Vec<u8>>,
}

/// QR.
pub const QR: u16 = 0x8000;
/// AA.
pub const AA: u16 = 0x0400;
/// TC.
pub const TC: u16 = 0x0200;
/// Types that glue has.
pub const TYPES_OF_ADDRESSES: [u16; 2] = [1, 28];
/// Answer section.
pub const ANSWER: usize = 0;
/// Authority section.
pub const AUTHORITY: usize = 1;
/// Additional section.
pub const ADDITIONAL: usize = 2;

impl Reply {
    /// Reads a message.
    pub fn parse(wire: &[u8]) -> Self {
        match (Reader { wire, at: 0 }).message() {
            Ok(message) => Self::Message(Box::new(message)),
            Err(problem) => Self::Garbled(problem),
        }
    }

    /// The message, if it is one.
    pub fn message(&self) -> Option<&Message> {
        match self {
            Self::Message(message) => Some(message),
            _ => None,
        }
    }
}

impl Message {
    /// Whether AA is set.
    pub fn is_authoritative(&self) -> bool {
        self.flags & AA != 0
    }

    /// Whether TC is set.
    pub fn is_truncated(&self) -> bool {
        self.flags & TC != 0
    }
}

/// Addresses that a delegation cannot do without: those of servers at or below the cut (RFC 9471 §3.1).
pub fn glue(message: &Message) -> Section {
    let mut glue = Section::new();
    for ((cut, rtype, _), servers) in &message.sections[AUTHORITY] {
        if *rtype != 2 {
            continue;
        }
        for server in
            servers.rdatas.iter().filter_map(|rdata| Name::from_wire(rdata)).filter(|server| server.is_within(cut))
        {
            for (key, rrset) in &message.sections[ADDITIONAL] {
                if key.0 == server && TYPES_OF_ADDRESSES.contains(&key.1) {
                    glue.insert(key.clone(), rrset.clone());
                }
            }
        }
    }
    glue
}

struct Reader<'w> {
    wire: &'w [u8],
    at: usize,
}

impl Reader<'_> {
    fn message(mut self) -> Result<Message, &'static str> {
        self.u16()?;
        let flags = self.u16()?;
        let counts = [self.u16()?, self.u16()?, self.u16()?, self.u16()?];
        if flags & QR == 0 {
            return Err("QR is 0");
        }
        let question_at = self.at;
        for _ in 0..counts[0] {
            self.name(false)?;
            self.u16()?;
            self.u16()?;
        }
        let question = self.wire[question_at..self.at].to_vec();
        let mut message = Message {
            flags: flags & 0xfff0,
            rcode: flags & 0x0f,
            question,
            sections: Default::default(),
            opt: None,
            has_duplicates: false,
            n_octets: self.wire.len(),
        };
        for (index, count) in counts[1..].iter().enumerate() {
            for _ in 0..*count {
                self.record(index, &mut message)?;
            }
        }
        if self.at != self.wire.len() {
            return Err("octets after the last record");
        }
        Ok(message)
    }

    fn record(&mut self, section: usize, message: &mut Message) -> Result<(), &'static str> {
        let owner = self.name(true)?;
        let (rtype, class) = (self.u16()?, self.u16()?);
        let ttl = u32::from(self.u16()?) << 16 | u32::from(self.u16()?);
        let end = usize::from(self.u16()?) + self.at;
        if end > self.wire.len() {
            return Err("a record ends after the message");
        }
        if rtype == 41 {
            if section != ADDITIONAL || !owner.0.is_empty() || message.opt.is_some() {
                return Err("OPT where none may be");
            }
            message.rcode |= u16::try_from(ttl >> 24).expect("one octet") << 4;
            let opt = self.opt(ttl, end)?;
            message.opt = Some(opt);
            return Ok(());
        }
        let rdata = self.rdata(rtype, end)?;
        let rrset = message.sections[section].entry((owner.folded(), rtype, class)).or_default();
        rrset.ttls.insert(ttl);
        message.has_duplicates |= !rrset.rdatas.insert(rdata);
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
    fn opt(&mut self, ttl: u32, end: usize) -> Result<Opt, &'static str> {
        let mut opt = Opt { version: (ttl >> 16) as u8, flags: ttl as u16, nsid: None, ecs: None };
        while self.at < end {
            let (code, length) = (self.u16()?, usize::from(self.u16()?));
            let option = self.octets(length)?.to_vec();
            match code {
                3 => opt.nsid = Some(option),
                8 => opt.ecs = Some(option),
                _ => {}
            }
        }
        if self.at == end { Ok(opt) } else { Err("options do not fill OPT") }
    }

    /// The data with its names uncompressed and folded. Only types of RFC 1035 may hold pointers (RFC 3597 §4), others' names are read too
    /// where their letters do not matter (RFC 4034 §6.2).
    fn rdata(&mut self, rtype: u16, end: usize) -> Result<Vec<u8>, &'static str> {
        let (n_before, n_names, may_compress) = match rtype {
            2..=5 | 7..=9 | 12 => (0, 1, true),
            6 | 14 => (0, 2, true),
            15 => (2, 1, true),
            17 => (0, 2, false),
            18 | 21 | 36 => (2, 1, false),
            33 => (6, 1, false),
            39 => (0, 1, false),
            35 => {
                let start = self.at;
                self.octets(4)?;
                for _ in 0..3 {
                    let length = usize::from(self.octets(1)?[0]);
                    self.octets(length)?;
                }
                let n_before = self.at - start;
                self.at = start;
                (n_before, 1, false)
            }
            _ => (0, 0, false),
        };
        let mut rdata = self.octets(n_before)?.to_vec();
        for _ in 0..n_names {
            rdata.extend(self.name(may_compress)?.folded().wire());
        }
        let rest = end.checked_sub(self.at).ok_or("data is longer than its length")?;
        rdata.extend_from_slice(self.octets(rest)?);
        Ok(rdata)
    }

    fn name(&mut self, may_compress: bool) -> Result<Name, &'static str> {
        let mut labels = Vec::new();
        let (mut at, mut jumped) = (self.at, false);
        loop {
            let length = *self.wire.get(at).ok_or("a name ends after the message")?;
            match length {
                0 => {
                    at += 1;
                    break;
                }
                1..=63 => {
                    let label = self.wire.get(at + 1..at + 1 + usize::from(length));
                    labels.push(label.ok_or("a name ends after the message")?.to_vec());
                    at += 1 + usize::from(length);
                }
                192.. => {
                    let low = *self.wire.get(at + 1).ok_or("a name ends after the message")?;
                    let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                    if !may_compress {
                        return Err("a compressed name where none may be");
                    }
                    if target >= at {
                        return Err("a pointer that does not lead back");
                    }
                    if !jumped {
                        self.at = at + 2;
                    }
                    jumped = true;
                    at = target;
                }
                _ => return Err("a label of an unknown kind"),
            }
            if labels.len() > 127 {
                return Err("a name of too many labels");
            }
        }
        if !jumped {
            self.at = at;
        }
        let name = Name(labels);
        if name.octets() > crate::name::OCTETS_MAX { Err("a name of more than 255 octets") } else { Ok(name) }
    }

    fn octets(&mut self, n_octets: usize) -> Result<&[u8], &'static str> {
        let octets = self.wire.get(self.at..self.at + n_octets).ok_or("the message ends early")?;
        self.at += n_octets;
        Ok(octets)
    }

    fn u16(&mut self) -> Result<u16, &'static str> {
        Ok(u16::from_be_bytes(self.octets(2)?.try_into().expect("two octets")))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence => f.write_str("silence\n"),
            Self::Closed => f.write_str("connection closed\n"),
            Self::Garbled(problem) => writeln!(f, "garbled: {problem}"),
            Self::Message(message) => message.fmt(f),
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", rcode_text(self.rcode))?;
        if self.flags >> 11 & 0x0f != 0 {
            write!(f, " opcode={}", self.flags >> 11 & 0x0f)?;
        }
        let bits = [("aa", AA), ("tc", TC), ("rd", 0x100), ("ra", 0x80), ("z", 0x40), ("ad", 0x20), ("cd", 0x10)];
        for (text, _) in bits.iter().filter(|(_, bit)| self.flags & bit != 0) {
            write!(f, " {text}")?;
        }
        writeln!(f, " ({} octets)", self.n_octets)?;
        if self.question.is_empty() {
            writeln!(f, "no question")?;
        }
        for (title, section) in ["an", "ns", "ad"].iter().zip(&self.sections) {
            for ((owner, rtype, class), rrset) in section {
                for rdata in &rrset.rdatas {
                    let ttls: Vec<u32> = rrset.ttls.iter().copied().collect();
                    write!(f, "{title} {owner} {ttls:?} {} ", type_text(*rtype))?;
                    if *class != 1 {
                        write!(f, "class {class} ")?;
                    }
                    writeln!(f, "{}", rdata_text(*rtype, rdata))?;
                }
            }
        }
        if let Some(opt) = &self.opt {
            write!(f, "opt version={} flags={:04x}", opt.version, opt.flags)?;
            for (text, option) in [("nsid", &opt.nsid), ("ecs", &opt.ecs)] {
                if let Some(option) = option {
                    write!(f, " {text}={option:02x?}")?;
                }
            }
            f.write_char('\n')?;
        }
        Ok(())
    }
}

/// Types with a name that a person knows.
const TYPES: [(&str, u16); 47] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("NULL", 10),
    ("PTR", 12),
    ("HINFO", 13),
    ("MINFO", 14),
    ("MX", 15),
    ("TXT", 16),
    ("RP", 17),
    ("AFSDB", 18),
    ("SIG", 24),
    ("KEY", 25),
    ("AAAA", 28),
    ("LOC", 29),
    ("NXT", 30),
    ("SRV", 33),
    ("NAPTR", 35),
    ("KX", 36),
    ("CERT", 37),
    ("DNAME", 39),
    ("OPT", 41),
    ("APL", 42),
    ("DS", 43),
    ("SSHFP", 44),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("NSEC3", 50),
    ("NSEC3PARAM", 51),
    ("TLSA", 52),
    ("CDS", 59),
    ("OPENPGPKEY", 61),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("SPF", 99),
    ("NID", 104),
    ("EUI48", 108),
    ("TKEY", 249),
    ("TSIG", 250),
    ("IXFR", 251),
    ("AXFR", 252),
    ("ANY", 255),
    ("URI", 256),
    ("CAA", 257),
    ("MAILB", 253),
];

/// A type as dig takes it.
pub fn type_text(rtype: u16) -> String {
    TYPES.iter().find(|(_, number)| *number == rtype).map_or(format!("TYPE{rtype}"), |(text, _)| (*text).to_owned())
}

/// The number of a type that the generator writes.
pub fn type_number(text: &str) -> u16 {
    let known = TYPES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    known.or_else(|| text.strip_prefix("TYPE")?.parse().ok()).unwrap_or_else(|| panic!("type {text} has no number"))
}

fn rcode_text(rcode: u16) -> String {
    let names = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
    ];
    match names.get(usize::from(rcode)) {
        Some(name) => (*name).to_owned(),
        None if rcode == 16 => "BADVERS".to_owned(),
        None => format!("RCODE{rcode}"),
    }
}

fn rdata_text(rtype: u16, rdata: &[u8]) -> String {
    if matches!(rtype, 2 | 5 | 12 | 39)
        && let Some(name) = Name::from_wire(rdata)
    {
        return name.to_string();
    }
    if let (1, &[a, b, c, d]) = (rtype, rdata) {
        return format!("{a}.{b}.{c}.{d}");
    }
    let shown = &rdata[..rdata.len().min(48)];
    let text: String = shown.iter().flat_map(|&octet| std::ascii::escape_default(octet)).map(char::from).collect();
    if shown.len() < rdata.len() { format!("{text}… ({} octets)", rdata.len()) } else { text }
}
