//! A zone on its way from a primary: takes the messages of an AXFR (RFC 5936) one by one and makes a master file of them. Differences to a zone
//! that is here already are taken by [`differences`](super::differences).
//!
//! Pure. The master file is what is kept on disk, and what the zone is built from, so that a secondary zone goes through the same rules as
//! any other. Common types are written as people write them, all others as octets (RFC 3597 §5).

use std::fmt::{self, Write as _};

use super::{
    answer::{AXFR, CLASS_IN},
    header::{Counts, Header, QUERY},
    query::take_plain_name,
    wire::{Malformed, Record, Section, expand_name, open, soa_serial},
};
use crate::{
    name::{Name, write_wire},
    types::Ttl,
    zone::rtype,
};

/// Longest master file that a transfer may grow to.
pub(super) const TEXT_OCTETS_MAX: usize = 1 << 30;

/// Why a transfer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum IncomingError {
    #[error("its message is malformed")]
    Malformed,
    #[error("its message does not belong to what was asked")]
    Other,
    #[error("response code {0}")]
    Refused(u8),
    #[error("it does not start with the zone's SOA")]
    NoSoa,
    #[error("it goes on after its last SOA")]
    Trailing,
    #[error("the SOA that it ends with has another serial than the first: the zone changed meanwhile")]
    Changed,
    #[error("it is larger than {TEXT_OCTETS_MAX} octets as a master file")]
    TooLarge,
    #[error("its differences do not lead from the serial here to its own")]
    Serials,
    #[error("its differences take out a record that is not here, or add one that is")]
    Mismatch,
}

impl From<Malformed> for IncomingError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The query for a zone's SOA or all of it.
pub(super) fn query(apex: &Name, qtype: u16, id: u16) -> Vec<u8> {
    let mut message = Vec::with_capacity(300);
    message.extend(id.to_be_bytes());
    message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend(apex.as_wire());
    message.extend(qtype.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message
}

/// The serial in the response to a query for a zone's SOA.
pub(super) fn serial(message: &[u8], apex: &Name, id: u16) -> Result<u32, IncomingError> {
    check_response(message, apex, rtype::SOA, id)?;
    for record in open(message)?.records {
        let record = record?;
        if record.section == Section::Answer && record.rtype == rtype::SOA && is_owned_by(message, &record, apex)? {
            return Ok(soa_serial(message, &record)?);
        }
    }
    Err(IncomingError::NoSoa)
}

pub(super) fn is_owned_by(message: &[u8], record: &Record<'_>, apex: &Name) -> Result<bool, Malformed> {
    Ok(expand_name(message, record.start)?.0.eq_ignore_ascii_case(apex.as_wire()))
}

/// Checks what every response must be.
pub(super) fn check_response(message: &[u8], apex: &Name, qtype: u16, id: u16) -> Result<(), IncomingError> {
    let (header, Counts { .. }, _) = Header::parse(message).ok_or(IncomingError::Malformed)?;
    if !header.is_response() || header.opcode() != QUERY || header.id != id {
        return Err(IncomingError::Other);
    }
    let rcode = message.get(3).map_or(0, |flags| flags & 0x0f);
    if rcode != 0 {
        return Err(IncomingError::Refused(rcode));
    }
    let question = open(message)?.question;
    // The second and later messages of a transfer need not have one (RFC 5936 §2.2.1).
    if question.is_empty() {
        return Ok(());
    }
    let (name, _) = take_plain_name(question).map_err(|_| IncomingError::Malformed)?;
    let is_ours = name.eq_ignore_ascii_case(apex.as_wire()) && question.get(name.len()..) == Some(&fields(qtype));
    if is_ours { Ok(()) } else { Err(IncomingError::Other) }
}

fn fields(qtype: u16) -> [u8; 4] {
    let ([type0, type1], [class0, class1]) = (qtype.to_be_bytes(), CLASS_IN.to_be_bytes());
    [type0, type1, class0, class1]
}

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Incoming {
    apex: Name,
    id: u16,
    /// The serial of the SOA that it started with.
    serial: Option<u32>,
    is_complete: bool,
    text: String,
}

impl Incoming {
    /// The answer to the query for `apex` with this id is still to come.
    pub(super) fn new(apex: Name, id: u16) -> Self {
        let text = format!("; zone {apex} as its primary sent it\n");
        Self { apex, id, serial: None, is_complete: false, text }
    }

    /// Takes the next message; says whether the zone is complete.
    pub(super) fn take(&mut self, message: &[u8]) -> Result<bool, IncomingError> {
        self.take_answer_to(AXFR, message)
    }

    /// The same where something else was asked for that is answered like this.
    pub(super) fn take_answer_to(&mut self, qtype: u16, message: &[u8]) -> Result<bool, IncomingError> {
        check_response(message, &self.apex, qtype, self.id)?;
        for record in open(message)?.records {
            let record = record?;
            if record.section == Section::Answer {
                self.take_record(message, &record)?;
            }
        }
        Ok(self.is_complete)
    }

    /// Whether the SOA that ends it has come.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The serial, and the master file.
    pub(super) fn finish(self) -> Option<(u32, String)> {
        self.serial.filter(|_| self.is_complete).map(|serial| (serial, self.text))
    }

    /// Takes the next record.
    pub(super) fn take_record(&mut self, message: &[u8], record: &Record<'_>) -> Result<(), IncomingError> {
        if self.is_complete {
            return Err(IncomingError::Trailing);
        }
        let is_soa = record.rtype == rtype::SOA && is_owned_by(message, record, &self.apex)?;
        match (self.serial, is_soa) {
            (None, false) => return Err(IncomingError::NoSoa),
            (None, true) => self.serial = Some(soa_serial(message, record)?),
            (Some(first), true) => {
                self.is_complete = true;
                return if soa_serial(message, record)? == first { Ok(()) } else { Err(IncomingError::Changed) };
            }
            (Some(_), false) => {}
        }
        if record.class != CLASS_IN {
            return Err(IncomingError::Malformed);
        }
        let (owner, _) = expand_name(message, record.start)?;
        let rdata = expand_rdata(message, record)?;
        write_record(&mut self.text, &owner, Ttl::from_wire(record.ttl), record.rtype, &rdata);
        if self.text.len() > TEXT_OCTETS_MAX { Err(IncomingError::TooLarge) } else { Ok(()) }
    }
}

/// Writes a record as a line of a master file.
pub(super) fn write_record(text: &mut String, owner: &[u8], ttl: Ttl, rtype: u16, rdata: &[u8]) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{} {} IN {}", Wire(owner), ttl.get(), Data { rtype, rdata });
}

/// Where the names are in the data of types that RFC 3597 §4 knows to have some: octets before them, and how many.
pub(super) fn names_in(rtype: u16) -> Option<(usize, usize)> {
    Some(match rtype {
        // NS MD MF CNAME MB MG MR PTR DNAME
        2..=5 | 7..=9 | 12 | 39 => (0, 1),
        // SOA MINFO RP
        6 | 14 | 17 => (0, 2),
        // MX AFSDB RT KX
        15 | 18 | 21 | 36 => (2, 1),
        // PX
        26 => (2, 2),
        // SRV
        33 => (6, 1),
        _ => return None,
    })
}

/// The data of a record with its names uncompressed, those included that must not be compressed but are by some (RFC 3597 §4).
pub(super) fn expand_rdata(message: &[u8], record: &Record<'_>) -> Result<Vec<u8>, Malformed> {
    let Some((n_before, n_names)) = names_in(record.rtype) else { return Ok(record.rdata.to_vec()) };
    let end = record.rdata_at + record.rdata.len();
    let mut rdata = record.rdata.get(..n_before).ok_or(Malformed)?.to_vec();
    let mut at = record.rdata_at + n_before;
    for _ in 0..n_names {
        let (name, next) = expand_name(message, at)?;
        rdata.extend(name);
        at = next;
    }
    rdata.extend(message.get(at..end).ok_or(Malformed)?);
    Ok(rdata)
}

/// A name as a master file has it.
struct Wire<'w>(&'w [u8]);

impl fmt::Display for Wire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_wire(self.0, f)
    }
}

/// Type and data of a record as a master file has them.
struct Data<'r> {
    rtype: u16,
    rdata: &'r [u8],
}

impl fmt::Display for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(words) = self.words() {
            return write!(f, "{} {words}", rtype::show(self.rtype));
        }
        // The number, not the mnemonic: there are types whose mnemonic is not known everywhere.
        write!(f, "TYPE{} \\# {}", self.rtype, self.rdata.len())?;
        if !self.rdata.is_empty() {
            f.write_str(" ")?;
        }
        self.rdata.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl Data<'_> {
    /// The data in words, for the types that zones are full of; `None` where it is not what such a type has.
    fn words(&self) -> Option<String> {
        let name =
            |octets| take_plain_name(octets).ok().filter(|(_, rest)| rest.is_empty()).map(|(name, _)| Wire(name));
        match self.rtype {
            rtype::A => Some(std::net::Ipv4Addr::from(*<&[u8; 4]>::try_from(self.rdata).ok()?).to_string()),
            rtype::AAAA => Some(std::net::Ipv6Addr::from(*<&[u8; 16]>::try_from(self.rdata).ok()?).to_string()),
            rtype::NS | rtype::CNAME | rtype::PTR | rtype::DNAME => Some(name(self.rdata)?.to_string()),
            rtype::MX => {
                let (preference, exchange) = self.rdata.split_first_chunk()?;
                Some(format!("{} {}", u16::from_be_bytes(*preference), name(exchange)?))
            }
            rtype::SOA => {
                let (mname, rest) = take_plain_name(self.rdata).ok()?;
                let (rname, rest) = take_plain_name(rest).ok()?;
                let numbers = <&[u8; 20]>::try_from(rest).ok()?.as_chunks::<4>().0.iter();
                let numbers: Vec<u32> = numbers.map(|number| u32::from_be_bytes(*number)).collect();
                // Times of more than 31 bits cannot be written as times.
                if numbers.iter().skip(1).any(|&number| number > Ttl::MAX.get()) {
                    return None;
                }
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                Some(format!("{} {} {}", Wire(mname), Wire(rname), numbers.join(" ")))
            }
            rtype::TXT => texts(self.rdata),
            _ => None,
        }
    }
}

/// Character strings in quotes.
fn texts(rdata: &[u8]) -> Option<String> {
    let mut words = String::new();
    let mut rest = rdata;
    while let Some((&length, tail)) = rest.split_first() {
        let (text, next) = tail.split_at_checked(usize::from(length))?;
        rest = next;
        words.push_str(if words.is_empty() { "\"" } else { " \"" });
        for &octet in text {
            match octet {
                b'"' | b'\\' => words.extend(['\\', char::from(octet)]),
                b' '..=b'~' => words.push(char::from(octet)),
                _ => {
                    let _ = write!(words, "\\{octet:03}");
                }
            }
        }
        words.push('"');
    }
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;
    use crate::{
        dns::{
            header::HEADER_OCTETS,
            outgoing::{Outgoing, Request},
            testing::{CONFIG, snapshot},
        },
        zone::Zone,
    };

    const ZONE: &str = "$ORIGIN example.org.
$TTL 300
@ SOA NS1 h 7 2 3 4 60
@ NS ns1
@ MX 10 Mail.Example.Net.
ns1 A 192.0.2.53
ns1 AAAA 2001:db8::53
odd\\.la\\032bel TXT \"a \\\"quoted\\\" \\200\" \"\"
*.w CNAME ns1
svc SRV 0 5 443 ns1
d DNAME example.net.
https HTTPS 1 . alpn=h2
raw TYPE65280 \\# 3 abcdef
empty TYPE65281 \\# 0
";

    fn sent(zone: &str) -> (Arc<Zone>, Vec<Vec<u8>>) {
        let snapshot = snapshot(CONFIG, &[zone]);
        let served = snapshot.zones.iter().next().expect("zone").clone();
        let zone = served.zone.clone();
        let query = query(zone.apex(), AXFR, 7);
        let (header, ..) = Header::parse(&query).expect("header");
        let question = &query[HEADER_OCTETS..];
        let request = Request { header, question, edns: None, session: None, is_soa_alone: false };
        let mut outgoing = Outgoing::new(snapshot, served, request);
        let messages = std::iter::from_fn(|| outgoing.next_message(0)).map(|message| message.expect("fits")).collect();
        (zone, messages)
    }

    fn received(messages: &[Vec<u8>]) -> Result<Option<(u32, String)>, IncomingError> {
        let mut incoming = Incoming::new("example.org".parse().expect("name"), 7);
        for message in messages {
            incoming.take(message)?;
        }
        Ok(incoming.finish())
    }

    /// Every record of a zone.
    fn records(zone: &Zone) -> Vec<(String, u16, u32, Vec<u8>)> {
        let mut records = Vec::new();
        for (name, node) in zone.iter() {
            for rrset in node.rrsets() {
                let rdatas = rrset.rdatas();
                records.extend(rdatas.map(|rdata| (name.to_string(), rrset.rtype, rrset.ttl.get(), rdata.to_vec())));
            }
        }
        records.sort();
        records
    }

    #[test]
    fn what_was_sent_is_what_is_built_octet_by_octet() {
        let mut text = ZONE.to_owned();
        text.extend((0..5000).map(|number| format!("n{number} A 192.0.2.1\n")));
        let (zone, messages) = sent(&text);
        assert!(messages.len() > 1);
        let (serial, text) = received(&messages).expect("transfer").expect("complete");
        let (copy, warnings) =
            Zone::from_transfer(Path::new("example.org.zone"), &text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((serial, warnings.to_string()), (7, String::new()));
        assert_eq!(records(&copy), records(&zone));
    }

    #[test]
    fn sloppy_primary_gives_warnings_and_a_zone() {
        let text = "e. 300 IN SOA ns. h. 7 2 3 4 60\ne. 300 IN NS ns.\na.e. 300 IN A 192.0.2.1\na.e. 60 IN A 192.0.2.2\n\
                    a.e. 60 IN CNAME b.e.\nelsewhere. 60 IN A 192.0.2.3\n";
        assert!(Zone::from_text(Path::new("e.zone"), text).is_err());
        let (zone, warnings) = Zone::from_transfer(Path::new("e.zone"), text).expect("zone");
        assert_eq!(warnings.counts(), (0, 3), "{warnings}");
        assert_eq!(records(&zone).iter().map(|record| record.2).collect::<Vec<_>>(), [60, 60, 60, 300, 300]);
    }

    #[test]
    fn broken_truncated_and_foreign_transfers_are_refused() {
        let (_, messages) = sent(ZONE);
        let message = &messages[0];
        assert!(received(&messages).expect("transfer").is_some());
        assert_eq!(received(&[]), Ok(None), "nothing is not complete");
        for length in 0..message.len() {
            assert!(received(&[message[..length].to_vec()]).is_err(), "{length}");
        }
        let changed = |at: usize, octet: u8| {
            let mut message = message.clone();
            message[at] = octet;
            received(&[message])
        };
        assert_eq!(changed(1, 8), Err(IncomingError::Other), "another id");
        assert_eq!(changed(2, 0), Err(IncomingError::Other), "no response");
        assert_eq!(changed(3, 5), Err(IncomingError::Refused(5)));
        assert_eq!(changed(14, b'z'), Err(IncomingError::Other), "another zone");
        assert_eq!(received(&[message.clone(), message.clone()]), Err(IncomingError::Trailing));
        let count = u16::from_be_bytes([message[6], message[7]]) - 1;
        let mut unfinished = message.clone();
        unfinished[6..8].copy_from_slice(&count.to_be_bytes());
        assert_eq!(received(&[unfinished]), Ok(None), "without its last SOA");
    }

    #[test]
    fn soa_query_is_answered_by_the_serial_of_the_zone_asked_for() {
        let apex: Name = "example.org".parse().expect("name");
        let snapshot = snapshot(CONFIG, &[ZONE]);
        let asked = crate::dns::testing::Asked {
            wire: query(&apex, rtype::SOA, 9),
            transport: crate::dns::Transport::Tcp,
            peer: ([127, 0, 0, 1], 1).into(),
        };
        let response = crate::dns::testing::exchange(&snapshot, &asked).expect("response");
        assert_eq!(serial(&response, &apex, 9), Ok(7));
        assert_eq!(serial(&response, &apex, 8), Err(IncomingError::Other));
        assert_eq!(serial(&response, &"example.com".parse().expect("name"), 9), Err(IncomingError::Other));
    }
}
