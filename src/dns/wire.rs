//! Takes any message apart, record by record, names uncompressed (RFC 1035 §4.1): what [`query`](super::query) does not do, because a query
//! needs little of it and must cost little.
//!
//! For zone transfers, NOTIFY and TSIG, in both directions.

use super::header::{Counts, HEADER_OCTETS, Header};
use crate::name::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX};

/// A message that ends early, or has a name that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub(super) struct Malformed;

/// A section of a message, the question's left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    Answer,
    Authority,
    Additional,
}

/// One record and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'m> {
    pub(super) section: Section,
    /// First octet of its owner in the message.
    pub(super) start: usize,
    pub(super) rtype: u16,
    pub(super) class: u16,
    pub(super) ttl: u32,
    /// First octet of its data in the message.
    pub(super) rdata_at: usize,
    pub(super) rdata: &'m [u8],
}

/// The records of a message, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Records<'m> {
    message: &'m [u8],
    at: usize,
    left: [u16; 3],
    /// Ends the walk after a mistake.
    is_broken: bool,
}

/// What stands before the records.
#[derive(Clone, Debug)]
pub(super) struct Opening<'m> {
    pub(super) header: Header,
    pub(super) counts: Counts,
    /// Name, type and class as they came, uncompressed; empty if there was no question.
    pub(super) question: &'m [u8],
    pub(super) records: Records<'m>,
}

/// Opens `message`, which has at most one question.
pub(super) fn open(message: &[u8]) -> Result<Opening<'_>, Malformed> {
    let (header, counts, body) = Header::parse(message).ok_or(Malformed)?;
    let question = match counts.questions {
        0 => &[][..],
        1 => {
            let (name, _) = super::query::take_plain_name(body).map_err(|_| Malformed)?;
            body.get(..name.len() + 4).ok_or(Malformed)?
        }
        _ => return Err(Malformed),
    };
    let at = HEADER_OCTETS + question.len();
    let left = [counts.answers, counts.authority, counts.additional];
    Ok(Opening { header, counts, question, records: Records { message, at, left, is_broken: false } })
}

impl<'m> Iterator for Records<'m> {
    type Item = Result<Record<'m>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let sections = [Section::Answer, Section::Authority, Section::Additional];
        let (left, section) = self.left.iter_mut().zip(sections).find(|(left, _)| **left > 0)?;
        if self.is_broken {
            return None;
        }
        *left -= 1;
        let record = read_record(self.message, self.at, section);
        match &record {
            Some(record) => self.at = record.rdata_at + record.rdata.len(),
            None => self.is_broken = true,
        }
        Some(record.ok_or(Malformed))
    }
}

fn read_record(message: &[u8], start: usize, section: Section) -> Option<Record<'_>> {
    let fields_at = skip_name(message, start)?;
    let (fields, _) = message.get(fields_at..)?.split_first_chunk::<10>()?;
    let [type0, type1, class0, class1, ttl0, ttl1, ttl2, ttl3, length0, length1] = *fields;
    let rdata_at = fields_at + 10;
    let length = usize::from(u16::from_be_bytes([length0, length1]));
    Some(Record {
        section,
        start,
        rtype: u16::from_be_bytes([type0, type1]),
        class: u16::from_be_bytes([class0, class1]),
        ttl: u32::from_be_bytes([ttl0, ttl1, ttl2, ttl3]),
        rdata_at,
        rdata: message.get(rdata_at..rdata_at + length)?,
    })
}

/// Where the octets after the name at `at` start; where a compression pointer leads does not matter.
fn skip_name(message: &[u8], at: usize) -> Option<usize> {
    let mut here = at;
    loop {
        let length = *message.get(here)?;
        match length {
            0 => return Some(here + 1),
            1..=63 => here += 1 + usize::from(length),
            192.. => return Some(here + 2),
            _ => return None,
        }
        if here - at >= NAME_OCTETS_MAX {
            return None;
        }
    }
}

/// The name at `at`, uncompressed and as written, and where the octets after it start.
pub(super) fn expand_name(message: &[u8], at: usize) -> Result<(Vec<u8>, usize), Malformed> {
    let mut name = Vec::with_capacity(32);
    let mut here = at;
    let mut end = None;
    loop {
        let length = *message.get(here).ok_or(Malformed)?;
        match usize::from(length) {
            0 => {
                name.push(0);
                return Ok((name, end.unwrap_or(here + 1)));
            }
            octets @ 1..=LABEL_OCTETS_MAX => {
                let label = message.get(here..here + 1 + octets).ok_or(Malformed)?;
                // The root label is still to come.
                if name.len() + label.len() >= NAME_OCTETS_MAX {
                    return Err(Malformed);
                }
                name.extend_from_slice(label);
                here += label.len();
            }
            192.. => {
                let low = *message.get(here + 1).ok_or(Malformed)?;
                let to = usize::from(length & 0x3f) << 8 | usize::from(low);
                end = end.or(Some(here + 2));
                // Only backwards, so that it ends.
                if to >= here {
                    return Err(Malformed);
                }
                here = to;
            }
            _ => return Err(Malformed),
        }
    }
}

/// The serial of the SOA record `record` of `message`.
pub(super) fn soa_serial(message: &[u8], record: &Record<'_>) -> Result<u32, Malformed> {
    let (_, after_mname) = expand_name(message, record.rdata_at)?;
    let (_, after_rname) = expand_name(message, after_mname)?;
    let (serial, _) = message.get(after_rname..).and_then(<[u8]>::split_first_chunk).ok_or(Malformed)?;
    Ok(u32::from_be_bytes(*serial))
}

/// Whether a serial is after another (RFC 1982 §3.2).
pub(super) fn is_newer(serial: u32, than: u32) -> bool {
    (1..0x8000_0000).contains(&serial.wrapping_sub(than))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_expanded_and_pointers_lead_only_backwards() {
        let message = b"\x03www\xc0\x06\x07example\x00";
        assert_eq!(expand_name(message, 6), Ok((b"\x07example\0".to_vec(), 15)));
        assert_eq!(expand_name(message, 0), Err(Malformed), "forwards");
        let message = b"\x07example\x00\x03www\xc0\x00tail";
        assert_eq!(expand_name(message, 9), Ok((b"\x03www\x07example\0".to_vec(), 15)));
        for looping in [&b"\xc0\x00"[..], b"\x01a\xc0\x00", b"\x01a\xc0\x02"] {
            assert_eq!(expand_name(looping, 0), Err(Malformed), "{looping:?}");
        }
    }

    #[test]
    fn rfc1982_serials_go_round() {
        assert!(is_newer(2, 1) && !is_newer(1, 2) && !is_newer(1, 1));
        assert!(is_newer(0, u32::MAX) && is_newer(0x7fff_ffff, 0));
        assert!(!is_newer(0x8000_0000, 0), "undefined counts as not newer");
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic_or_run_for_ever(message in prop::collection::vec(any::<u8>(), 0..200), at in 0..200usize) {
            let _ = expand_name(&message, at);
            if let Ok(opening) = open(&message) {
                prop_assert!(opening.records.count() <= 3 * 65_535);
            }
        }
    }
}
