//! What has changed in a zone at its primary (IXFR, RFC 1995): takes the messages of the answer one by one, and applies what they say to the
//! zone that is here. Many changes one after the other are taken as one.
//!
//! Pure. What comes out is a master file, as of a whole transfer. A primary that answers with the whole zone is taken at its word. Differences
//! that do not fit are an error, and nothing is changed: who asked asks for the whole zone then.

use std::{collections::HashMap, mem};

use super::{
    answer::{CLASS_IN, IXFR},
    incoming::{
        Incoming, IncomingError, TEXT_OCTETS_MAX, check_response, expand_rdata, is_owned_by, names_in, write_record,
    },
    query::take_plain_name,
    wire::{Record, Section, expand_name, is_newer, open, soa_serial},
};
use crate::{
    name::Name,
    types::Ttl,
    zone::{Zone, rtype},
};

/// Most octets of differences; who has more sends the zone.
const OCTETS_MAX: usize = 1 << 28;
/// Most changes of one name: they are looked through one by one.
const CHANGES_OF_NAME_MAX: usize = 8192;
/// What a change takes beside its octets, about.
const CHANGE_OCTETS: usize = 150;

/// The query for what has changed since `zone` (RFC 1995 §3).
pub(super) fn query(zone: &Zone, id: u16) -> Vec<u8> {
    let mut message = super::incoming::query(zone.apex(), IXFR, id);
    if let Some(count) = message.get_mut(9) {
        *count = 1;
    }
    let soa = zone.soa();
    let rdata = soa.rdatas().next().unwrap_or_default();
    message.extend([0xc0, 12]);
    message.extend(rtype::SOA.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message.extend(soa.ttl.get().to_be_bytes());
    message.extend(u16::try_from(rdata.len()).unwrap_or_default().to_be_bytes());
    message.extend(rdata);
    message
}

/// An answer under way.
#[derive(Debug)]
pub(super) struct IncomingDifferences {
    apex: Name,
    id: u16,
    have: u32,
    place: Place,
    /// The zone, as long as what comes may be all of it.
    whole: Incoming,
    differences: Differences,
    n_octets: usize,
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the SOA that it starts with.
    Start,
    /// At what tells whether it is the zone or the differences.
    Second,
    /// In the zone.
    Whole,
    /// In what was taken out since this serial.
    Removed(u32),
    /// In what was added for this serial.
    Added(u32),
    /// Behind its last SOA.
    Complete,
}

/// What is to be done to a zone.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// The serial that it has then, and its SOA.
    serial: u32,
    soa: Vec<u8>,
    soa_ttl: Ttl,
    /// By owner, in lower case.
    changes: HashMap<Box<[u8]>, Vec<Change>>,
}

/// What becomes of one record.
#[derive(Debug)]
struct Change {
    rtype: u16,
    /// Its data, names in lower case.
    folded: Box<[u8]>,
    /// Whether it is in the zone before.
    was_there: bool,
    /// Its TTL and data after, if it is there.
    now: Option<(Ttl, Box<[u8]>)>,
}

/// What a primary answers.
#[derive(Debug)]
pub(super) enum Answer {
    /// It has nothing newer.
    Current,
    /// What has changed.
    Differences(Differences),
    /// All of it: the serial, and the master file.
    Whole(u32, String),
}

impl IncomingDifferences {
    /// The answer to the query for `apex` with this id is still to come; what is here has the serial `have`.
    pub(super) fn new(apex: Name, id: u16, have: u32) -> Self {
        let whole = Incoming::new(apex.clone(), id);
        Self { apex, id, have, place: Place::Start, whole, differences: Differences::default(), n_octets: 0 }
    }

    /// Takes the next message; says whether the answer is complete.
    pub(super) fn take(&mut self, message: &[u8]) -> Result<bool, IncomingError> {
        if self.place == Place::Whole {
            return self.whole.take_answer_to(IXFR, message);
        }
        check_response(message, &self.apex, IXFR, self.id)?;
        for record in open(message)?.records {
            let record = record?;
            if record.section == Section::Answer {
                self.take_record(message, &record)?;
            }
        }
        if self.place == Place::Whole {
            return Ok(self.whole.is_complete());
        }
        Ok(self.place == Place::Complete || self.is_current())
    }

    /// What was answered.
    pub(super) fn finish(self) -> Option<Answer> {
        match self.place {
            Place::Complete => Some(Answer::Differences(self.differences)),
            Place::Whole => self.whole.finish().map(|(serial, text)| Answer::Whole(serial, text)),
            _ if self.is_current() => Some(Answer::Current),
            _ => None,
        }
    }

    /// Whether the answer is one SOA, not newer than what is here (RFC 1995 §4). A newer one is followed by more.
    fn is_current(&self) -> bool {
        self.place == Place::Second && !is_newer(self.differences.serial, self.have)
    }

    fn take_record(&mut self, message: &[u8], record: &Record<'_>) -> Result<(), IncomingError> {
        let is_soa = record.rtype == rtype::SOA && is_owned_by(message, record, &self.apex)?;
        let serial = if is_soa { Some(soa_serial(message, record)?) } else { None };
        self.place = match (self.place, serial) {
            (Place::Start, None) => return Err(IncomingError::NoSoa),
            (Place::Start, Some(serial)) => {
                self.differences.serial = serial;
                self.differences.soa = expand_rdata(message, record)?;
                self.differences.soa_ttl = Ttl::from_wire(record.ttl);
                self.whole.take_record(message, record)?;
                Place::Second
            }
            (Place::Second, Some(serial)) if serial == self.have && serial != self.differences.serial => {
                Place::Removed(serial)
            }
            (Place::Second | Place::Whole, _) => {
                self.whole.take_record(message, record)?;
                Place::Whole
            }
            (Place::Removed(before), Some(serial)) if is_newer(serial, before) => Place::Added(serial),
            (Place::Added(at), Some(serial)) if serial != at => return Err(IncomingError::Serials),
            (Place::Added(at), Some(_)) if at == self.differences.serial => Place::Complete,
            (Place::Added(at), Some(_)) => Place::Removed(at),
            (Place::Removed(_), Some(_)) => return Err(IncomingError::Serials),
            (Place::Removed(_) | Place::Added(_), None) => {
                self.note(message, record)?;
                self.place
            }
            (Place::Complete, _) => return Err(IncomingError::Trailing),
        };
        Ok(())
    }

    fn note(&mut self, message: &[u8], record: &Record<'_>) -> Result<(), IncomingError> {
        if record.class != CLASS_IN {
            return Err(IncomingError::Malformed);
        }
        let (mut owner, _) = expand_name(message, record.start)?;
        owner.make_ascii_lowercase();
        let rdata = expand_rdata(message, record)?;
        self.n_octets += CHANGE_OCTETS + owner.len() + 2 * rdata.len();
        if self.n_octets > OCTETS_MAX {
            return Err(IncomingError::TooLarge);
        }
        let is_added = matches!(self.place, Place::Added(_));
        self.differences.note(owner, record.rtype, Ttl::from_wire(record.ttl), rdata, is_added)
    }
}

impl Differences {
    /// The serial that they lead to.
    pub(super) fn serial(&self) -> u32 {
        self.serial
    }

    /// Takes one record out or adds it, on top of what is noted already.
    fn note(
        &mut self,
        owner: Vec<u8>,
        rtype: u16,
        ttl: Ttl,
        rdata: Vec<u8>,
        is_added: bool,
    ) -> Result<(), IncomingError> {
        let folded = fold(rtype, &rdata);
        let changes = self.changes.entry(owner.into()).or_default();
        let now = is_added.then(|| (ttl, rdata.into()));
        let is_full = changes.len() == CHANGES_OF_NAME_MAX;
        match changes.iter_mut().find(|change| change.rtype == rtype && change.folded == folded) {
            None if is_full => return Err(IncomingError::TooLarge),
            None => changes.push(Change { rtype, folded, was_there: !is_added, now }),
            // Taken out twice, or added twice.
            Some(change) if change.now.is_some() == is_added => return Err(IncomingError::Mismatch),
            Some(change) => change.now = now,
        }
        Ok(())
    }

    /// The master file of `zone` with the differences applied.
    pub(super) fn apply(mut self, zone: &Zone) -> Result<String, IncomingError> {
        let mut text = format!("; zone {} as its primary sent it and its changes\n", zone.apex());
        write_record(&mut text, zone.apex().as_wire(), self.soa_ttl, rtype::SOA, &self.soa);
        for (name, node) in zone.iter() {
            let changes = self.changes.remove(name.as_wire()).unwrap_or_default();
            let mut n_found = 0;
            for rrset in node.rrsets() {
                if rrset.rtype == rtype::SOA && name == *zone.apex() {
                    continue;
                }
                for rdata in rrset.rdatas() {
                    match changes.iter().find(|change| change.is_of(rrset.rtype, rdata)) {
                        None => write_record(&mut text, name.as_wire(), rrset.ttl, rrset.rtype, rdata),
                        Some(change) if change.was_there => n_found += 1,
                        Some(_) => return Err(IncomingError::Mismatch),
                    }
                }
            }
            if n_found != changes.iter().filter(|change| change.was_there).count() {
                return Err(IncomingError::Mismatch);
            }
            write_added(&mut text, name.as_wire(), &changes);
            if text.len() > TEXT_OCTETS_MAX {
                return Err(IncomingError::TooLarge);
            }
        }
        // What is left are names that the zone does not have.
        let mut new: Vec<_> = mem::take(&mut self.changes).into_iter().collect();
        new.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        for (owner, changes) in new {
            if changes.iter().any(|change| change.was_there) {
                return Err(IncomingError::Mismatch);
            }
            write_added(&mut text, &owner, &changes);
        }
        if text.len() > TEXT_OCTETS_MAX { Err(IncomingError::TooLarge) } else { Ok(text) }
    }
}

impl Change {
    fn is_of(&self, rtype: u16, rdata: &[u8]) -> bool {
        self.rtype == rtype && (*self.folded == *rdata || self.folded == fold(rtype, rdata))
    }
}

fn write_added(text: &mut String, owner: &[u8], changes: &[Change]) {
    for change in changes {
        if let Some((ttl, rdata)) = &change.now {
            write_record(text, owner, *ttl, change.rtype, rdata);
        }
    }
}

/// Data with its names in lower case: only case may tell two forms of a record apart (RFC 4034 §6.2).
fn fold(rtype: u16, rdata: &[u8]) -> Box<[u8]> {
    let mut folded: Box<[u8]> = rdata.into();
    let Some((n_before, n_names)) = names_in(rtype) else { return folded };
    let mut at = n_before;
    for _ in 0..n_names {
        let Some(rest) = folded.get_mut(at..) else { break };
        let Ok((name, _)) = take_plain_name(rest) else { break };
        let n_octets = name.len();
        // Lengths of labels are no letters: they are below 64.
        if let Some(name) = rest.get_mut(..n_octets) {
            name.make_ascii_lowercase();
        }
        at += n_octets;
    }
    folded
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use proptest::prelude::*;

    use super::*;
    use crate::dns::header::{Counts, HEADER_OCTETS, Header, Rcode};

    const ID: u16 = 7;

    fn apex() -> Name {
        "example.org".parse().expect("name")
    }

    fn zone(text: &str) -> Zone {
        let path = Path::new("example.org.zone");
        Zone::from_transfer(path, text).unwrap_or_else(|findings| panic!("{findings}\n{text}")).0
    }

    /// `OWNER TTL TYPE DATA`, each on a line, owners relative to the zone.
    fn wires(lines: &str) -> Vec<Vec<u8>> {
        let soa = "@ 60 SOA ns. h. 0 1 1 1 1\n@ 60 NS ns.\n";
        let record = |line: &str| {
            // One at a time, so that none is sorted away.
            let own = if line.contains(" SOA ") { String::new() } else { soa.to_owned() };
            let ns = if line.contains(" SOA ") { "@ 60 NS ns.\n" } else { "" };
            let zone = zone(&format!("$ORIGIN example.org.\n{own}{line}\n{ns}"));
            let (owner, rtype) = (line.split(' ').next().expect("owner"), line.split(' ').nth(2).expect("type"));
            let owner = if owner == "@" { apex() } else { format!("{owner}.example.org").parse().expect("name") };
            let (name, rrset) = zone
                .iter()
                .filter(|(name, _)| *name == owner)
                .flat_map(|(name, node)| node.rrsets().map(move |rrset| (name.clone(), rrset)).collect::<Vec<_>>())
                .find(|(_, rrset)| rtype::parse(rtype) == Some(rrset.rtype))
                .expect("record");
            let rdata = rrset.rdatas().last().expect("data");
            let mut wire = name.as_wire().to_vec();
            wire.extend(rrset.rtype.to_be_bytes());
            wire.extend([0, 1]);
            wire.extend(rrset.ttl.get().to_be_bytes());
            wire.extend(u16::try_from(rdata.len()).expect("length").to_be_bytes());
            wire.extend(rdata);
            wire
        };
        lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(record).collect()
    }

    /// Messages of so many records each.
    fn messages(records: &[Vec<u8>], n_each: usize) -> Vec<Vec<u8>> {
        let query = super::super::incoming::query(&apex(), IXFR, ID);
        let (header, ..) = Header::parse(&query).expect("header");
        let message = |records: &[Vec<u8>]| {
            let answers = u16::try_from(records.len()).expect("count");
            let counts = Counts { questions: 1, answers, ..Counts::default() };
            let mut message = header.respond(Rcode::NoError, true, false, counts).to_vec();
            message.extend(&query[HEADER_OCTETS..]);
            message.extend(records.concat());
            message
        };
        records.chunks(n_each).map(message).collect()
    }

    fn take(have: u32, messages: &[Vec<u8>]) -> Result<Option<Answer>, IncomingError> {
        let mut incoming = IncomingDifferences::new(apex(), ID, have);
        for (index, message) in messages.iter().enumerate() {
            let is_complete = incoming.take(message)?;
            assert!(!is_complete || index + 1 == messages.len(), "complete too early");
        }
        Ok(incoming.finish())
    }

    /// Every record of a zone as a line.
    fn lines(zone: &Zone) -> BTreeSet<String> {
        let mut text = String::new();
        for (name, node) in zone.iter() {
            for rrset in node.rrsets() {
                let rdatas = rrset.rdatas();
                rdatas.for_each(|rdata| write_record(&mut text, name.as_wire(), rrset.ttl, rrset.rtype, rdata));
            }
        }
        text.lines().map(str::to_owned).collect()
    }

    const OLD: &str = "$ORIGIN example.org.\n@ 60 SOA ns. h. 1 1 1 1 1\n@ 60 NS ns.\n@ 60 MX 10 Mail\na 60 A 192.0.2.1\n\
                       a 60 A 192.0.2.2\nb 60 TXT \"One\"\nc.d 60 A 192.0.2.3\n";

    /// What `OLD` becomes by an answer of these records, in messages of any size; the same each time.
    fn applied(answer: &str) -> Result<BTreeSet<String>, IncomingError> {
        let records = wires(answer);
        let mut outcomes = (1..=records.len()).map(|n_each| {
            let taken = take(1, &messages(&records, n_each))?.ok_or(IncomingError::NoSoa)?;
            let Answer::Differences(differences) = taken else { panic!("{taken:?}") };
            Ok(lines(&zone(&differences.apply(&zone(OLD))?)))
        });
        let first = outcomes.next().expect("one");
        assert!(outcomes.all(|outcome| outcome == first));
        first
    }

    fn changed(removed: &[&str], added: &[&str]) -> BTreeSet<String> {
        let mut expected = lines(&zone(OLD));
        for line in removed {
            assert!(expected.remove(*line), "{line}");
        }
        expected.extend(added.iter().map(|&line| line.to_owned()));
        expected
    }

    const OLD_SOA: &str = "example.org. 60 IN SOA ns. h. 1 1 1 1 1";

    #[test]
    fn rfc1995_4_differences_one_after_the_other_are_applied_as_one() {
        let answer = "@ 60 SOA ns. h. 3 1 1 1 1
            @ 60 SOA ns. h. 1 1 1 1 1
            a 60 A 192.0.2.1
            c.d 60 A 192.0.2.3
            @ 60 SOA ns. h. 2 1 1 1 1
            a 60 A 192.0.2.9
            e 60 A 192.0.2.4
            @ 60 SOA ns. h. 2 1 1 1 1
            a 60 A 192.0.2.9
            @ 60 MX 10 mail
            @ 60 SOA ns. h. 3 1 1 1 1
            c.d 300 A 192.0.2.3
            @ 60 SOA ns. h. 3 1 1 1 1";
        let expected = changed(
            &[
                OLD_SOA,
                "a.example.org. 60 IN A 192.0.2.1",
                "example.org. 60 IN MX 10 Mail.example.org.",
                "c.d.example.org. 60 IN A 192.0.2.3",
            ],
            &[
                "example.org. 60 IN SOA ns. h. 3 1 1 1 1",
                "e.example.org. 60 IN A 192.0.2.4",
                "c.d.example.org. 300 IN A 192.0.2.3",
            ],
        );
        assert_eq!(applied(answer), Ok(expected));
    }

    #[test]
    fn rfc1982_serials_may_wrap_and_must_lead_from_the_old_to_the_new_one() {
        let answer = |serials: [u32; 4]| {
            let soa = |serial: u32| format!("@ 60 SOA ns. h. {serial} 1 1 1 1\n");
            let text: String = serials.into_iter().map(soa).collect();
            take(serials[1], &messages(&wires(&text), 9)).map(|answer| matches!(answer, Some(Answer::Differences(_))))
        };
        assert_eq!(answer([2, 1, 2, 2]), Ok(true));
        assert_eq!(answer([5, u32::MAX, 5, 5]), Ok(true), "around the end");
        assert_eq!(answer([0x8000_0001, 2, 0x8000_0001, 0x8000_0001]), Ok(true), "as far as it goes");
        assert_eq!(answer([2, 1, 1, 2]), Err(IncomingError::Serials), "to itself");
        assert_eq!(answer([2, 1, 0, 2]), Err(IncomingError::Serials), "backwards");
        assert_eq!(answer([3, 1, 2, 3]), Err(IncomingError::Serials), "a gap");
        assert_eq!(answer([3, 1, 2, 2]), Ok(false), "not to the end");
    }

    #[test]
    fn what_does_not_fit_is_refused_as_a_whole() {
        let sandwich = |removed: &str, added: &str| {
            applied(&format!(
                "@ 60 SOA ns. h. 2 1 1 1 1\n@ 60 SOA ns. h. 1 1 1 1 1\n{removed}\n@ 60 SOA ns. h. 2 1 1 1 1\n{added}\n\
                 @ 60 SOA ns. h. 2 1 1 1 1\n"
            ))
        };
        assert!(sandwich("a 60 A 192.0.2.1", "").is_ok());
        assert!(sandwich("a 5 A 192.0.2.1", "").is_ok(), "a TTL makes no other record");
        assert!(sandwich("", "f 60 A 192.0.2.1").is_ok());
        for (removed, added) in [
            ("a 60 A 192.0.2.77", ""),
            ("f 60 A 192.0.2.1", ""),
            ("b 60 TXT \"one\"", ""),
            ("", "a 60 A 192.0.2.1"),
            ("a 60 A 192.0.2.1\na 60 A 192.0.2.1", ""),
            ("", "f 60 A 192.0.2.1\nf 60 A 192.0.2.1"),
            ("", "@ 60 MX 10 MAIL"),
        ] {
            assert_eq!(sandwich(removed, added), Err(IncomingError::Mismatch), "{removed} {added}");
        }
    }

    #[test]
    fn whole_zone_and_one_soa_are_answers_too() {
        let whole = "@ 60 SOA ns. h. 2 1 1 1 1\n@ 60 NS ns.\na 60 A 192.0.2.1\n@ 60 SOA ns. h. 2 1 1 1 1\n";
        let records = wires(whole);
        for n_each in 1..=records.len() {
            let taken = take(1, &messages(&records, n_each)).expect("answer");
            let Some(Answer::Whole(2, text)) = taken else { panic!("{taken:?}") };
            assert_eq!(lines(&zone(&text)).len(), 3);
            // What was sent of it is not all of it.
            assert!(!matches!(take(1, &messages(&records[..3], n_each)), Ok(Some(_))));
        }
        let soa = wires("@ 60 SOA ns. h. 2 1 1 1 1");
        for (have, is_current) in [(2, true), (3, true), (1, false)] {
            let taken = take(have, &messages(&soa, 1)).expect("answer");
            assert_eq!(matches!(taken, Some(Answer::Current)), is_current, "{have}: {taken:?}");
        }
        assert!(matches!(take(1, &messages(&wires("a 60 A 192.0.2.1"), 1)), Err(IncomingError::NoSoa)));
    }

    #[test]
    fn answer_with_more_behind_its_end_is_refused() {
        let answer = "@ 60 SOA ns. h. 2 1 1 1 1\n@ 60 SOA ns. h. 1 1 1 1 1\n@ 60 SOA ns. h. 2 1 1 1 1\n@ 60 SOA ns. h. 2 1 1 1 1\n";
        let more = wires(&format!("{answer}a 60 A 192.0.2.1"));
        assert!(matches!(take(1, &messages(&more, 9)), Err(IncomingError::Trailing)));
        let message = &messages(&wires(answer), 9)[0];
        for length in 0..message.len() {
            assert!(!matches!(take(1, &[message[..length].to_vec()]), Ok(Some(_))), "{length}");
        }
    }

    #[test]
    fn rfc1995_3_query_has_the_soa_that_is_here() {
        let message = query(&zone(OLD), ID);
        let parsed = hickory_proto::op::Message::from_vec(&message).expect("message");
        assert_eq!(parsed.queries[0].to_string(), "example.org. IN IXFR");
        assert_eq!(parsed.authorities[0].to_string(), "example.org. 60 IN SOA ns. h. 1 1 1 1 1");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever a zone is and becomes, the differences lead there; applied to any other zone they are refused.
        #[test]
        fn differences_always_lead_from_one_zone_to_the_other(
            old: BTreeSet<(u8, u8)>, middle: BTreeSet<(u8, u8)>, new: BTreeSet<(u8, u8)>,
        ) {
            let line = |(name, octet): &(u8, u8)| format!("n{} 60 A 192.0.2.{octet}\n", name % 8);
            let set = |records: &BTreeSet<(u8, u8)>| records.iter().map(line).collect::<BTreeSet<_>>();
            let (old, middle, new) = (set(&old), set(&middle), set(&new));
            let head = |serial: u32| format!("@ 60 SOA ns. h. {serial} 1 1 1 1\n");
            let text = |serial: u32, records: &BTreeSet<String>| {
                format!("$ORIGIN example.org.\n{}@ 60 NS ns.\n{}", head(serial), records.iter().cloned().collect::<String>())
            };
            let step = |from: (u32, &BTreeSet<String>), to: (u32, &BTreeSet<String>)| {
                let minus = |left: &BTreeSet<String>, right: &BTreeSet<String>| left.difference(right).cloned().collect::<String>();
                format!("{}{}{}{}", head(from.0), minus(from.1, to.1), head(to.0), minus(to.1, from.1))
            };
            let answer = [head(3), step((1, &old), (2, &middle)), step((2, &middle), (3, &new)), head(3)].concat();
            let taken = take(1, &messages(&wires(&answer), 5)).expect("answer");
            let Some(Answer::Differences(differences)) = taken else { panic!("{taken:?}") };
            let made = differences.apply(&zone(&text(1, &old))).expect("fits");
            prop_assert_eq!(lines(&zone(&made)), lines(&zone(&text(3, &new))));

            // A zone that lacks a record that was taken out.
            if let Some(gone) = old.difference(&middle).next() {
                let mut other = old.clone();
                other.remove(gone);
                let taken = take(1, &messages(&wires(&answer), 5)).expect("answer");
                let Some(Answer::Differences(differences)) = taken else { panic!("{taken:?}") };
                prop_assert_eq!(differences.apply(&zone(&text(1, &other))), Err(IncomingError::Mismatch));
            }
        }
    }
}
