//! Parses a datagram or a framed message into a [`Query`], or says what is to become of it instead.
//!
//! Borrows from the packet and allocates nothing. Judges form only (RFC 1035 §4.1, RFC 6891, RFC 7871): whether a name or a type is served
//! here is not decided here.

use std::net::IpAddr;

use super::{
    answer::{CLASS_ANY, CLASS_IN},
    ecs::{Ecs, EcsError, parse_ecs},
    header::{Counts, HEADER_OCTETS, Header, NOTIFY, QUERY, UPDATE},
    options::{OPTION_COOKIE, OPTION_KEEPALIVE, OPTION_PADDING},
};
use crate::{
    name::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX},
    protect::cookie::{ClientCookie, ServerCookie},
    zone::rtype,
};

/// Record type OPT (RFC 6891).
const OPT: u16 = 41;
/// Option code NSID (RFC 5001).
pub(super) const OPTION_NSID: u16 = 3;
/// Option code EDNS Client Subnet (RFC 7871).
pub(super) const OPTION_ECS: u16 = 8;

/// A well-formed question, with what its sender said about itself.
#[derive(Debug)]
pub struct Query<'p> {
    /// Id and flags as they came.
    pub header: Header,
    /// The question section as it came, to be echoed byte for byte: name, type, class.
    pub question: &'p [u8],
    /// Type asked for.
    pub qtype: u16,
    /// Class asked for.
    pub qclass: u16,
    /// What the OPT record said, if there was one.
    pub edns: Option<Edns>,
    qname: FoldedName,
}

/// What an OPT record says (RFC 6891 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// Largest UDP message that the sender can take, as it came: less than 512 counts as 512.
    pub udp_octets_max: u16,
    /// The DO bit (RFC 3225).
    pub is_dnssec_ok: bool,
    /// Whose answer is wanted.
    pub ecs: Option<Ecs>,
    /// Whether the server is asked for its identifier.
    pub wants_nsid: bool,
    /// What the client shows, and is to be shown.
    pub cookie: Option<CookieOption>,
    /// Whether the client asks how long its connection may idle (RFC 7828).
    pub wants_keepalive: bool,
    /// Whether the query is padded, and its response may be (RFC 7830 §4).
    pub is_padded: bool,
}

/// A COOKIE option of a query (RFC 7873 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieOption {
    /// The client's own.
    pub client: ClientCookie,
    /// What it says to have received from this server.
    pub server: ShownCookie,
}

/// The server's part of a query's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownCookie {
    /// There is none yet.
    Missing,
    /// One that may be ours.
    Shown(ServerCookie),
    /// One of another length than ours have.
    Foreign,
}

impl CookieOption {
    /// Reads the option's data: eight octets of the client's, and none or 8 to 32 of a server's (RFC 7873 §5.2.2).
    fn parse(option: &[u8]) -> Option<Self> {
        let (&client, server) = option.split_first_chunk()?;
        let server = match (server.len(), server.first_chunk()) {
            (0, _) => ShownCookie::Missing,
            (16, Some(&server)) => ShownCookie::Shown(server),
            (8..=32, _) => ShownCookie::Foreign,
            _ => return None,
        };
        Some(Self { client, server })
    }
}

/// What becomes of a message that is no query to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection<'p> {
    /// Silence.
    Drop(DropReason),
    /// An error and nothing else.
    Reply {
        /// Id and flags as they came.
        header: Header,
        /// The question as it came, empty if it could not be read.
        question: &'p [u8],
        /// What the OPT record said, as far as it could be read; there is one in the reply if there was one at all.
        edns: Option<Edns>,
        /// What is wrong.
        error: QueryError,
    },
}

/// Why a message gets no reply at all: any would only feed a loop or an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Shorter than a header: there is no id to reply to.
    Short,
    /// A response (QR is 1).
    Response,
    /// The caller's buffer holds not even a header and a question.
    NoRoom,
    /// The client's network is sent too much already.
    RateLimit,
}

impl DropReason {
    /// All of them.
    pub const ALL: [DropReason; 4] = [Self::Short, Self::Response, Self::NoRoom, Self::RateLimit];

    /// As a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Response => "response",
            Self::NoRoom => "no_room",
            Self::RateLimit => "rate_limit",
        }
    }
}

/// What is wrong with a message that has a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// FORMERR.
    #[error("{0}")]
    Form(#[from] FormError),
    /// No question but a COOKIE option: the client only wants a cookie (RFC 7873 §5.4). FORMERR where cookies are off.
    #[error("no question, but a cookie")]
    CookieOnly,
    /// NOTIMP: an opcode that is not known.
    #[error("unknown opcode")]
    Opcode,
    /// NOTAUTH: a change of a zone or news of one, which nobody may send.
    #[error("nobody may notify or update")]
    NotAllowed,
    /// BADVERS: an EDNS version other than 0 (RFC 6891 §6.1.3).
    #[error("EDNS version is not 0")]
    Version,
}

/// Which rule of form is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Not exactly one question (RFC 9619).
    #[error("not exactly one question")]
    QuestionCount,
    /// A name that ends early, is longer than 255 octets, or is compressed where nothing stands before it.
    #[error("bad name")]
    Name,
    /// The message ends within a record.
    #[error("message ends early")]
    Short,
    /// The message goes on after its last record.
    #[error("message goes on after its last record")]
    Trailing,
    /// More than one OPT record (RFC 6891 §6.1.1).
    #[error("more than one OPT record")]
    SecondOpt,
    /// An update of something else than a zone (RFC 2136 §2.3).
    #[error("zone section of an update is not of type SOA")]
    UpdateType,
    /// An OPT record outside the additional section (RFC 6891 §6.1.1).
    #[error("OPT record is not in the additional section")]
    OptSection,
    /// An OPT record with an owner other than the root (RFC 6891 §6.1.2).
    #[error("OPT record is not at the root")]
    OptOwner,
    /// Options that do not fill the OPT record's data exactly.
    #[error("EDNS option has a bad length")]
    OptionLength,
    /// A COOKIE option of a length that none can have (RFC 7873 §5.2.2).
    #[error("COOKIE option has a bad length")]
    CookieLength,
    /// An ECS option that breaks RFC 7871 §6.
    #[error("{0}")]
    Ecs(#[from] EcsError),
}

impl<'p> Query<'p> {
    /// Reads `wire`, one whole message.
    ///
    /// # Errors
    /// [`Rejection`] says whether and how to reply.
    pub fn parse(wire: &'p [u8]) -> Result<Self, Rejection<'p>> {
        let mut query = Self::unread();
        query.read(wire)?;
        Ok(query)
    }

    /// What [`read`](Self::read) fills in.
    pub(super) fn unread() -> Self {
        let (header, qname) = (Header::default(), FoldedName::root());
        Self { header, question: &[], qtype: 0, qclass: 0, edns: None, qname }
    }

    /// [`parse`](Self::parse) without a copy: a query is large, and a returned one is moved. What was rejected leaves nothing of use.
    pub(super) fn read(&mut self, wire: &'p [u8]) -> Result<(), Rejection<'p>> {
        let Some((header, counts, body)) = Header::parse(wire) else { return Err(Rejection::Drop(DropReason::Short)) };
        if header.is_response() {
            return Err(Rejection::Drop(DropReason::Response));
        }
        let reply = |question, edns, error: QueryError| Rejection::Reply { header, question, edns, error };
        if header.opcode() != QUERY {
            return Err(reject_opcode(header, counts, body));
        }
        if counts.questions == 0 {
            let mut opt = Opt::default();
            let read = opt.read_records(body, counts.answers, counts.authority, counts.additional);
            let has_cookie = opt.edns.is_some_and(|edns| edns.cookie.is_some());
            let error =
                if read.is_ok() && has_cookie { QueryError::CookieOnly } else { FormError::QuestionCount.into() };
            return Err(reply(&[], opt.edns, error));
        }
        if counts.questions != 1 {
            return Err(reply(&[], edns_behind_questions(counts, body), FormError::QuestionCount.into()));
        }
        let question = Question::parse(body).map_err(|error| reply(&[], None, error.into()))?;
        let Question { octets, name, qtype, qclass, rest } = question;
        let mut opt = Opt::default();
        opt.read_records(rest, counts.answers, counts.authority, counts.additional)
            .map_err(|error| reply(octets, opt.edns, error))?;
        self.qname.set(name).ok_or_else(|| reply(octets, opt.edns, FormError::Name.into()))?;
        (self.header, self.question, self.edns) = (header, octets, opt.edns);
        (self.qtype, self.qclass) = (qtype, qclass);
        Ok(())
    }

    /// A question that did not come in a message: `question` is name, type and class in wire form. `None` if it is not.
    pub fn from_question(question: &'p [u8]) -> Option<Self> {
        let Question { octets, name, qtype, qclass, rest } = Question::parse(question).ok()?;
        rest.is_empty().then_some(Self {
            header: Header::default(),
            question: octets,
            qtype,
            qclass,
            edns: None,
            qname: FoldedName::fold(name)?,
        })
    }

    /// The name asked for, uncompressed and in lower case.
    pub fn qname(&self) -> &[u8] {
        self.qname.as_wire()
    }

    /// The name asked for as it came.
    pub fn qname_as_sent(&self) -> &'p [u8] {
        self.question.get(..self.qname().len()).unwrap_or_default()
    }

    /// Who the answer is for, and how many bits of that address are known (RFC 7871 §7.1): the ECS prefix when there is one, else the peer.
    /// A source prefix of 0 forbids to use the client's address: then it is the peer's, with no bit known.
    pub fn client(&self, peer: IpAddr) -> (IpAddr, u8) {
        let peer = peer.to_canonical();
        match self.edns.and_then(|edns| edns.ecs) {
            Some(ecs) if ecs.source_prefix > 0 => (ecs.address, ecs.source_prefix),
            Some(_) => (peer, 0),
            None => (peer, if peer.is_ipv4() { 32 } else { 128 }),
        }
    }
}

/// A name in lower case, on the stack.
#[derive(Clone)]
pub(super) struct FoldedName {
    octets: [u8; NAME_OCTETS_MAX],
    n_octets: u8,
}

impl FoldedName {
    fn root() -> Self {
        Self { octets: [0; NAME_OCTETS_MAX], n_octets: 1 }
    }

    /// Folds an uncompressed name; `None` if it is longer than 255 octets.
    pub(super) fn fold(name: &[u8]) -> Option<Self> {
        let mut folded = Self::root();
        folded.set(name)?;
        Some(folded)
    }

    /// Folds an uncompressed name into this one, which is the root's.
    fn set(&mut self, name: &[u8]) -> Option<()> {
        self.n_octets = u8::try_from(name.len()).ok()?;
        let octets = self.octets.get_mut(..name.len())?;
        // Read where it stands, never where it was just written: a read over several writes waits until they are done.
        let (words, rest) = name.as_chunks();
        let (folded_words, folded_rest) = octets.as_chunks_mut();
        for (folded, word) in folded_words.iter_mut().zip(words) {
            *folded = fold_word(u64::from_le_bytes(*word)).to_le_bytes();
        }
        for (folded, octet) in folded_rest.iter_mut().zip(rest) {
            *folded = octet.to_ascii_lowercase();
        }
        Some(())
    }

    /// The octets of the name.
    pub(super) fn as_wire(&self) -> &[u8] {
        self.octets.get(..usize::from(self.n_octets)).unwrap_or_default()
    }
}

/// Makes eight octets lower case at once. Length octets are at most 63, below the letters: they stay what they are.
fn fold_word(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low_bits = word & (0x7f * EACH);
    // The top bit of each octet tells: from `A` on, after `Z`, and not above 127.
    let from_a = low_bits + (0x80 - 0x41) * EACH;
    let after_z = low_bits + (0x80 - 0x5b) * EACH;
    let is_upper = (from_a ^ after_z) & !word & (0x80 * EACH);
    word | is_upper >> 2
}

impl std::fmt::Debug for FoldedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::name::write_wire(self.as_wire(), f)
    }
}

/// What a message of another opcode gets. NOTIFY and UPDATE ask for what nobody may do here; of all others it is only known that they are not
/// known, so that what follows the question does not matter (RFC 8906 §3.1.4).
fn reject_opcode(header: Header, counts: Counts, body: &[u8]) -> Rejection<'_> {
    let is_known = matches!(header.opcode(), NOTIFY | UPDATE);
    let error = if is_known { QueryError::NotAllowed } else { QueryError::Opcode };
    let reply = |question, edns, error| Rejection::Reply { header, question, edns, error };
    if counts.questions != 1 {
        return reply(
            &[],
            edns_behind_questions(counts, body),
            if is_known { FormError::QuestionCount.into() } else { error },
        );
    }
    let question = match Question::parse(body) {
        Ok(question) => question,
        Err(form) => return reply(&[], None, if is_known { form.into() } else { error }),
    };
    // Classes other than those of zones know neither.
    let is_known = is_known && matches!(question.qclass, CLASS_IN | CLASS_ANY);
    let error = if is_known { error } else { QueryError::Opcode };
    let mut opt = Opt::default();
    let error = match opt.read_records(question.rest, counts.answers, counts.authority, counts.additional) {
        Ok(()) if is_known && header.opcode() == UPDATE && question.qtype != rtype::SOA => FormError::UpdateType.into(),
        Ok(()) => error,
        Err(QueryError::Version) => QueryError::Version,
        Err(form) if is_known => form,
        Err(_) => error,
    };
    reply(question.octets, opt.edns, error)
}

/// What OPT says behind no question or several: none is answered, and yet the sender is told that EDNS is known here (RFC 6891 §6.1.1).
fn edns_behind_questions(counts: Counts, body: &[u8]) -> Option<Edns> {
    let mut rest = body;
    for _ in 0..counts.questions {
        rest = skip_name(rest).ok()?.get(4..)?;
    }
    let mut opt = Opt::default();
    // What is wrong with it is no matter: the questions are wrong already.
    let _ = opt.read_records(rest, counts.answers, counts.authority, counts.additional);
    opt.edns
}

struct Question<'p> {
    octets: &'p [u8],
    name: &'p [u8],
    qtype: u16,
    qclass: u16,
    rest: &'p [u8],
}

impl<'p> Question<'p> {
    fn parse(body: &'p [u8]) -> Result<Self, FormError> {
        // Before the first name there is only the header: a compression pointer can lead nowhere but there, or round in circles.
        let (name, rest) = take_plain_name(body)?;
        let (qtype, rest) = take_u16(rest).ok_or(FormError::Short)?;
        let (qclass, rest) = take_u16(rest).ok_or(FormError::Short)?;
        let octets = body.get(..name.len() + 4).ok_or(FormError::Short)?;
        Ok(Self { octets, name, qtype, qclass, rest })
    }
}

/// What is known of OPT while records are read.
#[derive(Default)]
struct Opt {
    edns: Option<Edns>,
}

impl Opt {
    /// Walks over the records after the question. Those of types that mean nothing in a query are passed over, in whichever section.
    fn read_records(&mut self, rest: &[u8], answers: u16, authority: u16, additional: u16) -> Result<(), QueryError> {
        let mut rest = rest;
        for _ in 0..u32::from(answers) + u32::from(authority) {
            let record = Record::parse(rest)?;
            rest = record.rest;
            if record.rtype == OPT {
                return Err(FormError::OptSection.into());
            }
        }
        let mut version = 0;
        for _ in 0..additional {
            let record = Record::parse(rest)?;
            rest = record.rest;
            if record.rtype == OPT {
                version = self.read_opt(&record)?;
            }
        }
        if !rest.is_empty() {
            return Err(FormError::Trailing.into());
        }
        if version == 0 { Ok(()) } else { Err(QueryError::Version) }
    }

    /// Reads an OPT record; returns its version. Options of another version are not looked at: they may mean anything.
    fn read_opt(&mut self, record: &Record<'_>) -> Result<u8, FormError> {
        if self.edns.is_some() {
            return Err(FormError::SecondOpt);
        }
        let [_, version, flags, _] = record.ttl;
        let edns = self.edns.insert(Edns {
            udp_octets_max: record.class,
            is_dnssec_ok: flags & 0x80 != 0,
            ecs: None,
            wants_nsid: false,
            cookie: None,
            wants_keepalive: false,
            is_padded: false,
        });
        if !record.is_at_root {
            return Err(FormError::OptOwner);
        }
        if version != 0 {
            return Ok(version);
        }
        let mut options = record.rdata;
        while !options.is_empty() {
            let (code, rest) = take_u16(options).ok_or(FormError::OptionLength)?;
            let (length, rest) = take_u16(rest).ok_or(FormError::OptionLength)?;
            let (option, rest) = rest.split_at_checked(usize::from(length)).ok_or(FormError::OptionLength)?;
            options = rest;
            match code {
                // Only the first one counts: nothing says that there may be but one.
                OPTION_ECS if edns.ecs.is_some() => {}
                OPTION_ECS => edns.ecs = Some(parse_ecs(option)?),
                OPTION_NSID => edns.wants_nsid = true,
                // Only the first one counts (RFC 7873 §5.2).
                OPTION_COOKIE if edns.cookie.is_some() => {}
                OPTION_COOKIE => edns.cookie = Some(CookieOption::parse(option).ok_or(FormError::CookieLength)?),
                // A client has no timeout to say (RFC 7828 §3.2.1); one that does is not asking.
                OPTION_KEEPALIVE => edns.wants_keepalive |= option.is_empty(),
                OPTION_PADDING => edns.is_padded = true,
                _ => {}
            }
        }
        Ok(version)
    }
}

/// A record as far as a query's reader needs it.
struct Record<'p> {
    is_at_root: bool,
    rtype: u16,
    class: u16,
    ttl: [u8; 4],
    rdata: &'p [u8],
    rest: &'p [u8],
}

impl<'p> Record<'p> {
    fn parse(octets: &'p [u8]) -> Result<Self, FormError> {
        let rest = skip_name(octets)?;
        let is_at_root = octets.len() - rest.len() == 1;
        let (rtype, rest) = take_u16(rest).ok_or(FormError::Short)?;
        let (class, rest) = take_u16(rest).ok_or(FormError::Short)?;
        let (&ttl, rest) = rest.split_first_chunk().ok_or(FormError::Short)?;
        let (length, rest) = take_u16(rest).ok_or(FormError::Short)?;
        let (rdata, rest) = rest.split_at_checked(usize::from(length)).ok_or(FormError::Short)?;
        Ok(Self { is_at_root, rtype, class, ttl, rdata, rest })
    }
}

/// Splits off a name without compression.
pub(super) fn take_plain_name(octets: &[u8]) -> Result<(&[u8], &[u8]), FormError> {
    let mut at = 0;
    loop {
        let length = usize::from(*octets.get(at).ok_or(FormError::Name)?);
        at += 1 + length;
        if length > LABEL_OCTETS_MAX || at > NAME_OCTETS_MAX {
            return Err(FormError::Name);
        }
        if length == 0 {
            return octets.split_at_checked(at).ok_or(FormError::Name);
        }
    }
}

/// Passes over a name that may end in a compression pointer; where that leads does not matter.
fn skip_name(octets: &[u8]) -> Result<&[u8], FormError> {
    let mut rest = octets;
    loop {
        let (&length, tail) = rest.split_first().ok_or(FormError::Short)?;
        rest = match length {
            0 => return Ok(tail),
            1..=63 => tail.get(usize::from(length)..).ok_or(FormError::Short)?,
            192.. => return tail.get(1..).ok_or(FormError::Short),
            _ => return Err(FormError::Name),
        };
        if octets.len() - rest.len() >= NAME_OCTETS_MAX {
            return Err(FormError::Name);
        }
    }
}

pub(super) fn take_u16(octets: &[u8]) -> Option<(u16, &[u8])> {
    let (head, tail) = octets.split_first_chunk()?;
    Some((u16::from_be_bytes(*head), tail))
}

/// Octets before the question.
pub(super) const QUESTION_AT: usize = HEADER_OCTETS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc4343_3_only_ascii_letters_fold() {
        for octet in 0..=u8::MAX {
            let name = [octet; 9];
            let folded = FoldedName::fold(&name).expect("short");
            assert_eq!(folded.as_wire(), name.to_ascii_lowercase(), "{octet}");
        }
        let longest = [b'A'; NAME_OCTETS_MAX];
        assert_eq!(FoldedName::fold(&longest).expect("255 octets").as_wire(), [b'a'; NAME_OCTETS_MAX]);
        assert!(FoldedName::fold(&[b'A'; NAME_OCTETS_MAX + 1]).is_none());
    }
}
