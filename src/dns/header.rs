//! The first twelve octets of a message (RFC 1035 §4.1.1), and response codes.

/// Octets of a header.
pub const HEADER_OCTETS: usize = 12;
/// The opcode of ordinary queries.
pub const QUERY: u8 = 0;
/// The opcode of NOTIFY (RFC 1996).
pub const NOTIFY: u8 = 4;
/// The opcode of dynamic updates (RFC 2136).
pub const UPDATE: u8 = 5;

/// Id and flags of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Copied into the response.
    pub id: u16,
    flags: u16,
}

/// How many entries each section is said to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// QDCOUNT.
    pub questions: u16,
    /// ANCOUNT.
    pub answers: u16,
    /// NSCOUNT.
    pub authority: u16,
    /// ARCOUNT.
    pub additional: u16,
}

/// QR.
const RESPONSE: u16 = 0x8000;
/// AA.
const AUTHORITATIVE: u16 = 0x0400;
/// TC.
const TRUNCATED: u16 = 0x0200;
/// What a response takes over from its query: opcode and RD.
const COPIED: u16 = 0x7900;

impl Header {
    /// Splits the header off a message; `None` if the message is shorter than one.
    pub fn parse(wire: &[u8]) -> Option<(Self, Counts, &[u8])> {
        let (&octets, body) = wire.split_first_chunk::<HEADER_OCTETS>()?;
        let [id0, id1, flags0, flags1, qd0, qd1, an0, an1, ns0, ns1, ar0, ar1] = octets;
        let header = Self { id: u16::from_be_bytes([id0, id1]), flags: u16::from_be_bytes([flags0, flags1]) };
        let counts = Counts {
            questions: u16::from_be_bytes([qd0, qd1]),
            answers: u16::from_be_bytes([an0, an1]),
            authority: u16::from_be_bytes([ns0, ns1]),
            additional: u16::from_be_bytes([ar0, ar1]),
        };
        Some((header, counts, body))
    }

    /// Whether QR is 1.
    pub fn is_response(self) -> bool {
        self.flags & RESPONSE != 0
    }

    /// 0 is a query.
    pub fn opcode(self) -> u8 {
        self.flags.to_be_bytes()[0] >> 3 & 0x0f
    }

    /// The header of the response: QR, the query's id, opcode and RD, and what is given. RA, Z, AD and CD are 0.
    pub fn respond(
        self,
        rcode: Rcode,
        is_authoritative: bool,
        is_truncated: bool,
        counts: Counts,
    ) -> [u8; HEADER_OCTETS] {
        let mut flags = RESPONSE | self.flags & COPIED | u16::from(rcode.header_bits());
        if is_authoritative {
            flags |= AUTHORITATIVE;
        }
        if is_truncated {
            flags |= TRUNCATED;
        }
        let words = [self.id, flags, counts.questions, counts.answers, counts.authority, counts.additional];
        let mut octets = [0; HEADER_OCTETS];
        for (pair, word) in octets.as_chunks_mut::<2>().0.iter_mut().zip(words) {
            *pair = word.to_be_bytes();
        }
        octets
    }
}

/// The response codes that this server gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rcode {
    /// NOERROR.
    #[default]
    NoError = 0,
    /// FORMERR.
    FormErr = 1,
    /// SERVFAIL.
    ServFail = 2,
    /// NXDOMAIN.
    NxDomain = 3,
    /// NOTIMP.
    NotImp = 4,
    /// REFUSED.
    Refused = 5,
    /// YXDOMAIN (RFC 6672 §2.2).
    YxDomain = 6,
    /// NOTAUTH: not authoritative for this zone (RFC 5936 §2.2.1), or not authentic (RFC 8945 §5.2).
    NotAuth = 9,
    /// BADVERS (RFC 6891 §9): does not fit into a header, so that it takes an OPT record.
    BadVers = 16,
    /// BADCOOKIE (RFC 7873 §8): come again with the cookie that comes with this.
    BadCookie = 23,
}

impl Rcode {
    /// All of them.
    pub const ALL: [Rcode; 10] = [
        Self::NoError,
        Self::FormErr,
        Self::ServFail,
        Self::NxDomain,
        Self::NotImp,
        Self::Refused,
        Self::YxDomain,
        Self::NotAuth,
        Self::BadVers,
        Self::BadCookie,
    ];

    /// The four bits in the header.
    pub fn header_bits(self) -> u8 {
        self as u8 & 0x0f
    }

    /// The eight bits above them, in an OPT record.
    pub fn extended_bits(self) -> u8 {
        self as u8 >> 4
    }

    /// As tools show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoError => "NOERROR",
            Self::FormErr => "FORMERR",
            Self::ServFail => "SERVFAIL",
            Self::NxDomain => "NXDOMAIN",
            Self::NotImp => "NOTIMP",
            Self::Refused => "REFUSED",
            Self::YxDomain => "YXDOMAIN",
            Self::NotAuth => "NOTAUTH",
            Self::BadVers => "BADVERS",
            Self::BadCookie => "BADCOOKIE",
        }
    }
}
