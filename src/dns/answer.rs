//! What a query means: the one answer, the same for every transport.
//!
//! An [`Answer`] only refers to RRsets of the snapshot and to the question; how it is put on the wire, and what of it fits, is `encode`'s.
//! The walk through the zones is `chain`'s.

use smallvec::SmallVec;

use super::{chain, header::Rcode, query::Query};
use crate::{
    name::{NAME_OCTETS_MAX, Name},
    select::{Client, Ranking, Turn, Via},
    snapshot::Snapshot,
    types::{Family, PoolId, Scope, Ttl},
    zone::{Rrset, rtype},
};

/// Class IN.
pub const CLASS_IN: u16 = 1;
/// Class CH.
pub const CLASS_CH: u16 = 3;
/// Class ANY, answered as IN.
pub const CLASS_ANY: u16 = 255;
/// Query type IXFR.
pub(super) const IXFR: u16 = 251;
/// Query type AXFR.
pub(super) const AXFR: u16 = 252;
/// Query type ANY.
pub const ANY: u16 = 255;

/// As many addresses as the longest message holds: an AAAA record takes 28 octets. What is over it could never be sent.
pub const ADDRESSES_MAX: usize = 2048;

/// The answer to a query.
#[derive(Debug)]
pub struct Answer<'s> {
    /// Of the last name of a chain.
    pub rcode: Rcode,
    /// AA: of the first name of a chain (RFC 1034 §6.2.7, RFC 6604 §2.1), never in class ANY.
    pub is_authoritative: bool,
    /// What kind of answer it is.
    pub kind: Kind,
    /// Answer section, in order.
    pub answers: SmallVec<[Entry<'s>; 8]>,
    /// Authority section.
    pub authority: SmallVec<[Entry<'s>; 2]>,
    /// Additional section without OPT: glue that must be there first, then what may be left out.
    pub additional: SmallVec<[Entry<'s>; 16]>,
    /// How many of `additional`, from the front, must be there or else TC is set (RFC 9471 §3.1).
    pub n_glue_required: usize,
    /// The pool that was asked, if the chain came to one.
    pub pool: Option<Consulted<'s>>,
    /// Prefix of the client within which the answer is the same. True for NODATA as well where a pool has nobody for this client: RFC 7871
    /// §7.4 wants 0 there, but that would hand the one client's NODATA to all.
    pub scope: Scope,
    made: SmallVec<[u8; NAME_OCTETS_MAX]>,
}

/// A pool that was asked for realservers.
#[derive(Debug)]
pub struct Consulted<'s> {
    /// Which one.
    pub id: PoolId,
    /// The zone with the POOL record.
    pub apex: &'s Name,
    /// The name that was handed over; its POOL record may stand at a wildcard.
    pub owner: Owner<'s>,
    /// TTL of the POOL record.
    pub ttl: Ttl,
    /// The first realservers of it are the addresses of the answer.
    pub ranking: Ranking<'s>,
}

/// What kind of answer it is, for those who count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Records of a zone.
    Static,
    /// Addresses of a pool.
    Pool,
    /// A delegation.
    Referral,
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// A DNAME leads to a name that is too long.
    YxDomain,
    /// What this server says about itself, class CH.
    Chaos,
    /// Not served here.
    #[default]
    Refused,
    /// A pool prefers no answer.
    ServFail,
    /// A malformed query.
    FormErr,
    /// An unknown opcode.
    NotImp,
    /// NOTIFY, UPDATE or a zone transfer for what is no zone here, or by whom it is not allowed; a bad signature.
    NotAuth,
    /// An unknown EDNS version.
    BadVers,
    /// A client that asks for nothing but a cookie, or that must get one first.
    Cookie,
    /// A client whose network is sent too much already: TC, or BADCOOKIE if it knows cookies.
    Slip,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 15] = [
        Self::Static,
        Self::Pool,
        Self::Referral,
        Self::NoData,
        Self::NxDomain,
        Self::YxDomain,
        Self::Chaos,
        Self::Refused,
        Self::ServFail,
        Self::FormErr,
        Self::NotImp,
        Self::NotAuth,
        Self::BadVers,
        Self::Cookie,
        Self::Slip,
    ];

    /// As a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Pool => "pool",
            Self::Referral => "referral",
            Self::NoData => "nodata",
            Self::NxDomain => "nxdomain",
            Self::YxDomain => "yxdomain",
            Self::Chaos => "chaos",
            Self::Refused => "refused",
            Self::ServFail => "servfail",
            Self::FormErr => "formerr",
            Self::NotImp => "notimp",
            Self::NotAuth => "notauth",
            Self::BadVers => "badvers",
            Self::Cookie => "cookie",
            Self::Slip => "slip",
        }
    }
}

/// One RRset of a section.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'s> {
    /// Whose it is.
    pub owner: Owner<'s>,
    /// As it is sent, which may be less than the RRset's own.
    pub ttl: Ttl,
    /// Its records.
    pub content: Content<'s>,
}

/// The records of an [`Entry`].
#[derive(Clone, Copy, Debug)]
pub enum Content<'s> {
    /// As they stand in a zone.
    Stored(Rrset<'s>),
    /// The CNAME that a DNAME makes (RFC 6672 §3.1).
    MadeCname(Owner<'s>),
    /// The addresses of [`Answer::pool`].
    Addresses(Family),
    /// One TXT record.
    Text(&'s str),
    /// What stands for everything when the type is ANY (RFC 8482 §4.2).
    Hinfo,
}

impl Content<'_> {
    /// The record type.
    pub fn rtype(&self) -> u16 {
        match self {
            Self::Stored(rrset) => rrset.rtype,
            Self::MadeCname(_) => rtype::CNAME,
            Self::Addresses(Family::V4) => rtype::A,
            Self::Addresses(Family::V6) => rtype::AAAA,
            Self::Text(_) => rtype::TXT,
            Self::Hinfo => chain::HINFO,
        }
    }
}

/// A name that an answer speaks of, without a copy of it.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'s> {
    /// The last so many octets of the name asked for; all of them are the name itself.
    Question {
        /// Octets of the suffix.
        octets: usize,
    },
    /// A name in a zone's data, uncompressed, as written.
    Stored(&'s [u8]),
    /// A name that a DNAME made, kept in the answer.
    Made {
        /// Where it starts there.
        at: usize,
        /// Octets of it.
        octets: usize,
    },
}

impl Owner<'_> {
    /// The last so many octets of this name, which must start at a label.
    pub(super) fn suffix(self, octets: usize) -> Self {
        match self {
            Self::Question { .. } => Self::Question { octets },
            Self::Stored(name) => {
                Self::Stored(name.len().checked_sub(octets).and_then(|at| name.get(at..)).unwrap_or(name))
            }
            Self::Made { at, octets: all } => Self::Made { at: at + all.saturating_sub(octets), octets },
        }
    }
}

/// Whether these are not only equal but the very same RRset of a zone.
pub(super) fn is_same_rrset(left: Rrset<'_>, right: Rrset<'_>) -> bool {
    left.rtype == right.rtype && left.rdatas().next().map(<[u8]>::as_ptr) == right.rdatas().next().map(<[u8]>::as_ptr)
}

impl<'s> Answer<'s> {
    /// REFUSED, for [`answer`] to fill.
    #[inline]
    pub fn refused() -> Self {
        Self {
            rcode: Rcode::Refused,
            is_authoritative: false,
            kind: Kind::Refused,
            answers: SmallVec::new(),
            authority: SmallVec::new(),
            additional: SmallVec::new(),
            n_glue_required: 0,
            pool: None,
            scope: Scope(0),
            made: SmallVec::new(),
        }
    }

    /// The octets of `owner`, which is one of this answer's to `query`.
    pub fn name<'a>(&'a self, owner: Owner<'a>, query: &Query<'a>) -> &'a [u8] {
        match owner {
            Owner::Question { octets } => {
                let name = query.qname_as_sent();
                name.len().checked_sub(octets).and_then(|at| name.get(at..)).unwrap_or_default()
            }
            Owner::Stored(name) => name,
            Owner::Made { at, octets } => self.made.get(at..at + octets).unwrap_or_default(),
        }
    }

    /// Keeps the name `prefix` + `target`; `None` if that is longer than a name can be.
    pub(super) fn make_name(
        &mut self,
        name: Owner<'s>,
        n_prefix: usize,
        target: &[u8],
        query: &Query<'_>,
    ) -> Option<Owner<'s>> {
        let mut octets = [0; NAME_OCTETS_MAX];
        let n_octets = n_prefix + target.len();
        let (prefix, suffix) = octets.get_mut(..n_octets)?.split_at_mut_checked(n_prefix)?;
        prefix.copy_from_slice(self.name(name, query).get(..n_prefix)?);
        suffix.copy_from_slice(target);
        let at = self.made.len();
        self.made.extend_from_slice(octets.get(..n_octets)?);
        Some(Owner::Made { at, octets: n_octets })
    }

    /// Whether these are fail-open addresses.
    pub fn is_degraded(&self) -> bool {
        self.pool.as_ref().is_some_and(|consulted| consulted.ranking.degraded)
    }
}

/// Answers `query`, asked for `client`, into `answer`, which refuses so far: it is large, and would be moved about as a returned value.
///
/// Reads nothing but the snapshot; with [`Turn::Peek`] it leaves no trace there either.
pub fn answer<'s>(snapshot: &'s Snapshot, query: &Query<'_>, client: &Client, answer: &mut Answer<'s>) {
    match (query.qclass, query.qtype) {
        // Zone transfer is not for everybody, and not for UDP.
        (CLASS_IN | CLASS_ANY, AXFR | IXFR) => refuse_transfer(snapshot, query, answer),
        (CLASS_IN, _) => chain::follow(snapshot, query, client, answer),
        (CLASS_ANY, _) => {
            chain::follow(snapshot, query, client, answer);
            // Nobody is authoritative for all classes (RFC 1035 §6.2).
            answer.is_authoritative = false;
        }
        (CLASS_CH, _) => identify(snapshot, query, answer),
        _ => {}
    }
}

/// What is no zone here cannot be transferred by anybody (RFC 5936 §2.2.1).
fn refuse_transfer(snapshot: &Snapshot, query: &Query<'_>, answer: &mut Answer<'_>) {
    let served = snapshot.zones.find(query.qname());
    if served.is_none_or(|served| served.zone.apex().as_wire() != query.qname()) {
        answer.rcode = Rcode::NotAuth;
        answer.kind = Kind::NotAuth;
    }
}

/// The client of a query as [`select`](crate::select::select) wants it.
pub fn client_of(query: &Query<'_>, peer: std::net::IpAddr, random: u64, turn: Turn) -> Client {
    let (address, prefix) = query.client(peer);
    let family = if query.qtype == rtype::AAAA { Family::V6 } else { Family::V4 };
    Client { address, prefix, via: Via::Dns(family), random, turn, most: ADDRESSES_MAX }
}

/// `CH TXT`: version and name of this server (RFC 4892), without AA since they are of no zone. Everything else in class CH is refused.
fn identify<'s>(snapshot: &'s Snapshot, query: &Query<'_>, answer: &mut Answer<'s>) {
    let text = match query.qname() {
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => &snapshot.identity.version,
        b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => &snapshot.identity.nsid,
        _ => return,
    };
    let (Some(text), rtype::TXT) = (text, query.qtype) else { return };
    answer.rcode = Rcode::NoError;
    answer.kind = Kind::Chaos;
    let owner = Owner::Question { octets: query.qname().len() };
    answer.answers.push(Entry { owner, ttl: Ttl::default(), content: Content::Text(text) });
}
