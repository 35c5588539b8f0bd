//! A packet as far as it can be read, so that an explanation can say which packets it is about and what they deserve.

use crate::{
    judge::{Essence, Meaning},
    message::{Opt, QR},
    name::OCTETS_MAX,
};

/// A packet as far as it can be read.
#[derive(Clone, Default)]
pub struct Shape {
    /// Header flags.
    pub flags: u16,
    /// How many questions it says to have.
    pub n_questions: u16,
    /// Whether all of its questions can be read.
    pub has_questions: bool,
    /// The question, if there is one that can be read and no other is said to be there.
    pub question: Vec<u8>,
    /// Every OPT record in the additional section.
    pub opts: Vec<SentOpt>,
    /// Records that are no OPT, and OPT where none may be.
    pub others: Vec<Other>,
    /// Whether all that is counted is there.
    pub is_whole: bool,
    /// Octets after the last record.
    pub n_trailing: usize,
}

/// An OPT record of a packet.
#[derive(Clone)]
pub struct SentOpt {
    /// UDP size.
    pub octets: u16,
    /// EDNS version.
    pub version: u8,
    /// DO and Z.
    pub flags: u16,
    /// Its options, as far as they can be read.
    pub options: Vec<(u16, Vec<u8>)>,
}

/// Another record of a packet.
#[derive(Clone)]
pub struct Other {
    /// Type.
    pub rtype: u16,
}

const OPT: u16 = 41;
const OPTION_ECS: u16 = 8;
const OPTION_COOKIE: u16 = 10;
/// The opcode and RD, which a response has from the query (RFC 1035 §4.1.1).
const COPIED: u16 = 0x7900;
const DO: u16 = 0x8000;

impl Shape {
    /// Reads a packet.
    pub fn of(packet: &[u8]) -> Self {
        let mut shape = Self::default();
        // What cannot be read is left as it is.
        let _ = shape.read(packet);
        shape
    }

    fn read(&mut self, packet: &[u8]) -> Option<()> {
        let word = |index: usize| Some(u16::from_be_bytes([*packet.get(index)?, *packet.get(index + 1)?]));
        self.flags = word(2)?;
        self.n_questions = word(4)?;
        let (n_before, n_additional) = (u32::from(word(6)?) + u32::from(word(8)?), u32::from(word(10)?));
        let mut rest = packet.get(12..)?;
        for index in 0..self.n_questions {
            let tail = skip_name(rest, index > 0)?.get(4..)?;
            if self.n_questions == 1 {
                self.question = rest[..rest.len() - tail.len()].to_vec();
            }
            rest = tail;
        }
        self.has_questions = true;
        for index in 0..n_before + n_additional {
            let fields = skip_name(rest, true)?;
            let length = usize::from(u16::from_be_bytes([*fields.get(8)?, *fields.get(9)?]));
            let rdata = fields.get(10..10 + length)?;
            let field = |index: usize| u16::from_be_bytes([fields[index], fields[index + 1]]);
            if field(0) == OPT && index >= n_before {
                self.opts.push(SentOpt {
                    octets: field(2),
                    version: fields[5],
                    flags: field(6),
                    options: options(rdata),
                });
            } else {
                self.others.push(Other { rtype: field(0) });
            }
            rest = &fields[10 + length..];
        }
        self.is_whole = true;
        self.n_trailing = rest.len();
        Some(())
    }

    /// Whether it says to be no response.
    pub fn is_query(&self) -> bool {
        self.flags & QR == 0
    }

    /// Whether all but the options can be read and is known.
    pub fn is_good_but_for_options(&self) -> bool {
        self.opcode() == 0
            && self.is_whole
            && self.n_trailing == 0
            && self.n_questions == 1
            && self.opts.len() == 1
            && !self.has_unknown_version()
            && self.others.iter().all(|other| other.rtype != OPT)
    }

    /// The opcode.
    pub fn opcode(&self) -> u16 {
        self.flags >> 11 & 0x0f
    }

    /// The class of the question.
    pub fn class(&self) -> Option<u16> {
        self.question.last_chunk().map(|class| u16::from_be_bytes(*class))
    }

    /// The type of the question.
    pub fn rtype(&self) -> Option<u16> {
        let rtype = self.question.get(self.question.len().checked_sub(4)?..)?.first_chunk()?;
        Some(u16::from_be_bytes(*rtype))
    }

    /// Whether it speaks an EDNS version that nobody knows, and can be read.
    pub fn has_unknown_version(&self) -> bool {
        self.is_whole && self.n_trailing == 0 && self.opts.iter().any(|opt| opt.version > 0)
    }

    /// Whether it has an ECS option that RFC 7871 §6 forbids.
    pub fn has_bad_ecs(&self) -> bool {
        self.options(OPTION_ECS).next().is_some_and(|option| !is_good_ecs(option))
    }

    /// Whether it has a COOKIE option of a length that RFC 7873 §5.2.2 forbids.
    pub fn has_bad_cookie(&self) -> bool {
        self.options(OPTION_COOKIE).next().is_some_and(|option| !matches!(option.len(), 8 | 16..=40))
    }

    /// The ECS option of an answer that is the same for everybody (RFC 7871 §7.2.1).
    pub fn ecs_of_answer(&self) -> Option<Vec<u8>> {
        let sent = self.options(OPTION_ECS).next().filter(|option| is_good_ecs(option))?;
        let mut option = sent.clone();
        *option.get_mut(3)? = 0;
        Some(option)
    }

    /// How often an option is there.
    pub fn n_options(&self, code: u16) -> usize {
        self.options(code).count()
    }

    fn options(&self, code: u16) -> impl Iterator<Item = &Vec<u8>> {
        let options = self.opts.iter().flat_map(|opt| &opt.options);
        options.filter(move |(other, _)| *other == code).map(|(_, option)| option)
    }

    /// A response without records: the opcode, RD and the question as they came, OPT with nothing but DO if there is an OPT (RFC 1035
    /// §4.1.1, RFC 6891 §6.1.1, RFC 3225 §3).
    pub fn error(&self, rcode: u16) -> Essence {
        Essence::Message(Box::new(Meaning {
            flags: QR | self.flags & COPIED,
            rcode,
            question: self.question.clone(),
            opt: self.opts.first().map(|opt| Opt { version: 0, flags: opt.flags & DO, nsid: None, ecs: None }),
            ..Meaning::default()
        }))
    }
}

fn is_good_ecs(option: &[u8]) -> bool {
    let &[0, family @ (1 | 2), source, 0, ref address @ ..] = option else { return false };
    let bits_max = if family == 1 { 32 } else { 128 };
    let has_host_bits = source % 8 != 0 && address.last().is_some_and(|last| last << (source % 8) != 0);
    source <= bits_max && address.len() == usize::from(source.div_ceil(8)) && !has_host_bits
}

fn options(rdata: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    let mut rest = rdata;
    while let Some((&[code0, code1, length0, length1], tail)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([length0, length1]));
        let Some((option, tail)) = tail.split_at_checked(length) else { break };
        options.push((u16::from_be_bytes([code0, code1]), option.to_vec()));
        rest = tail;
    }
    options
}

/// Passes over a name. A pointer makes sense only where a name stands before.
fn skip_name(octets: &[u8], may_point: bool) -> Option<&[u8]> {
    let mut rest = octets;
    loop {
        let (&length, tail) = rest.split_first()?;
        match length {
            0 => return Some(tail),
            1..=63 => rest = tail.get(usize::from(length)..)?,
            192.. if may_point => return tail.get(1..),
            _ => return None,
        }
        if octets.len() - rest.len() >= OCTETS_MAX {
            return None;
        }
    }
}
