//! Who is right: compares what matters of four replies, and knows the differences that are explained.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::{
    explained::{EXPLAINED, Explained},
    message::{
        AA, ADDITIONAL, ANSWER, AUTHORITY, Message, Opt, Reply, Rrset, RrsetKey, Section, TC, TYPES_OF_ADDRESSES, glue,
    },
    name::{Name, OCTETS_MAX},
    queries::Query,
    servers::Kind,
    shape::Shape,
    zones::Universe,
};

/// One packet and what the four servers made of it, in the order of [`Kind::ALL`].
pub struct Case<'c> {
    /// What is served.
    pub universe: &'c Universe,
    /// What was asked.
    pub query: &'c Query,
    /// Whether over TCP.
    pub is_tcp: bool,
    /// What came back.
    pub replies: [&'c Reply; 4],
    /// The packet as far as it can be read.
    pub shape: Shape,
    /// What we gave to the same query over TCP, if it was asked there.
    pub ours_by_tcp: Option<&'c Reply>,
}

/// What becomes of a case.
pub enum Verdict {
    /// As the others, or as one of those that differ.
    Same,
    /// Different on purpose.
    Explained(Vec<&'static Explained>),
    /// Different; what is wrong.
    Different(&'static str),
}

/// What must be the same.
#[derive(Clone, PartialEq)]
pub enum Essence {
    /// Silence, or a closed connection.
    NoReply,
    /// No message.
    Garbled,
    /// What does not count: a difference that is explained, without a word on what is due.
    NoOpinion,
    /// A message.
    Message(Box<Meaning>),
}

/// What a reference thinks of our reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opinion {
    Agrees,
    Differs,
    None,
}

/// What must be the same in a message.
#[derive(Clone, Default, PartialEq)]
pub struct Meaning {
    /// Header flags.
    pub flags: u16,
    /// With the upper bits.
    pub rcode: u16,
    /// As echoed.
    pub question: Vec<u8>,
    /// Empty in a truncated message.
    pub answer: Section,
    /// The same.
    pub authority: Section,
    /// Additional addresses that a referral cannot do without.
    pub glue: Section,
    /// OPT.
    pub opt: Option<Opt>,
}

const N_REFERENCES: usize = 3;
/// So many of them must give what we give, or one when others have no say.
const N_AGREEING_MIN: usize = 2;
const CNAME: u16 = 5;
const DNAME: u16 = 39;
const QTYPE_ANY: u16 = 255;
const CLASS_ANY: u16 = 255;

impl Case<'_> {
    /// Judges: two references must give what we give. Where they do not, their replies are put right by as few explanations as will do.
    pub fn verdict(&self) -> Verdict {
        if let Some(problem) = self.problem_of_ours() {
            return Verdict::Different(problem);
        }
        let mut needed: Vec<&'static Explained> = Vec::new();
        if self.is_same_with(&needed) {
            return Verdict::Same;
        }
        needed.extend(EXPLAINED);
        if !self.is_same_with(&needed) {
            return Verdict::Different("differs");
        }
        for explained in EXPLAINED {
            let others: Vec<&'static Explained> =
                needed.iter().copied().filter(|other| other.name != explained.name).collect();
            if self.is_same_with(&others) {
                needed = others;
            }
        }
        Verdict::Explained(needed)
    }

    /// Whether enough references give what we give, once these explanations have put them right.
    fn is_same_with(&self, explanations: &[&'static Explained]) -> bool {
        let (n_agreeing, n_excused) = self.count(explanations);
        // One against one, the third having no say: these two are nearer to the RFCs than BIND.
        let is_with_a_good_one = || self.opinions(explanations)[..2].contains(&Opinion::Agrees);
        n_agreeing >= N_AGREEING_MIN || n_agreeing == 1 && n_excused >= 1 && (n_excused == 2 || is_with_a_good_one())
    }

    /// How many references give what we give with these explanations.
    pub fn n_agreeing(&self, explanations: &[&'static Explained]) -> usize {
        self.count(explanations).0
    }

    /// How many agree, and how many have no say.
    fn count(&self, explanations: &[&'static Explained]) -> (usize, usize) {
        let opinions = self.opinions(explanations);
        let n_of = |opinion| opinions.iter().filter(|other| **other == opinion).count();
        (n_of(Opinion::Agrees), n_of(Opinion::None))
    }

    /// What Knot, NSD and BIND think of our reply with these explanations.
    fn opinions(&self, explanations: &[&'static Explained]) -> [Opinion; N_REFERENCES] {
        let [ours, knot, nsd, bind] = self.replies.map(|reply| self.essence(reply));
        [(Kind::Knot, knot), (Kind::Nsd, nsd), (Kind::Bind, bind)].map(|(kind, mut theirs)| {
            for explained in explanations {
                let was_same = theirs == ours;
                (explained.put_right)(self, kind, &mut theirs, &ours);
                // Who agrees needs no excuse.
                if was_same && theirs == Essence::NoOpinion {
                    theirs.clone_from(&ours);
                }
            }
            match theirs {
                Essence::NoOpinion => Opinion::None,
                theirs if theirs == ours => Opinion::Agrees,
                _ => Opinion::Differs,
            }
        })
    }

    /// Our reply.
    pub fn ours(&self) -> &Reply {
        self.replies[0]
    }

    /// What `kind` replied.
    pub fn reply(&self, kind: Kind) -> &Reply {
        self.replies[kind as usize]
    }

    /// What must be the same in a reply.
    pub fn essence(&self, reply: &Reply) -> Essence {
        let message = match reply {
            Reply::Silence | Reply::Closed => return Essence::NoReply,
            Reply::Garbled(_) => return Essence::Garbled,
            Reply::Message(message) => message,
        };
        let mut meaning = Meaning {
            flags: message.flags,
            rcode: message.rcode,
            question: message.question.clone(),
            answer: message.sections[ANSWER].clone(),
            authority: message.sections[AUTHORITY].clone(),
            glue: glue(message),
            opt: message.opt.clone(),
        };
        // As much of a truncated answer as fits is a matter of taste.
        if message.is_truncated() {
            (meaning.answer, meaning.authority, meaning.glue) = Default::default();
        }
        // So is how much of everything is sent to those who ask for ANY (RFC 8482).
        let is_answered = message.is_authoritative() || self.shape.class() == Some(CLASS_ANY);
        if self.is_any() && is_answered && (!meaning.answer.is_empty() || message.is_truncated()) {
            meaning.answer = Section::from([((Name::default(), QTYPE_ANY, 1), Default::default())]);
        }
        Essence::Message(Box::new(meaning))
    }

    /// Octets of the addresses that a referral lacks though the zone has them, of servers at or below the cut; owners as pointers.
    pub fn n_missing_glue_octets(&self, theirs: &Meaning) -> usize {
        let servers =
            theirs.authority.iter().filter(|((_, rtype, _), _)| *rtype == 2).flat_map(|((cut, ..), servers)| {
                let names = servers.rdatas.iter().filter_map(|rdata| Name::from_wire(rdata));
                names.filter(move |server| server.is_within(cut))
            });
        let addresses = servers.flat_map(|server| TYPES_OF_ADDRESSES.map(|rtype| (server.clone(), rtype, 1)));
        let missing = addresses.filter(|key| !theirs.glue.contains_key(key));
        missing
            .map(|(server, rtype, _)| self.universe.n_records(&server, rtype) * if rtype == 1 { 16 } else { 28 })
            .sum()
    }

    /// Whether a reference gives a referral with all addresses and without TC.
    pub fn has_whole_referral(&self) -> bool {
        self.replies[1..].iter().any(|reply| match self.essence(reply) {
            Essence::Message(theirs) => {
                theirs.flags & TC == 0 && !theirs.authority.is_empty() && !self.lacks_glue(&theirs)
            }
            _ => false,
        })
    }

    /// Whether a referral lacks any such address.
    pub fn lacks_glue(&self, theirs: &Meaning) -> bool {
        self.n_missing_glue_octets(theirs) > 0
    }

    /// What we give when there is room, as far as that is known.
    pub fn whole(&self) -> Option<&Message> {
        self.ours_by_tcp.unwrap_or(self.ours()).message()
    }

    /// The name asked for, in lower case, also of what is no proper query.
    fn qname(&self) -> Option<Name> {
        let name = self.shape.question.get(..self.shape.question.len().checked_sub(4)?)?;
        Name::from_wire(name).map(|name| name.folded())
    }

    /// The name asked for and what aliases lead to, in lower case.
    pub fn names_on_the_way(&self) -> Vec<Name> {
        let question = self.qname().into_iter();
        let answer = self.whole().map(|message| &message.sections[ANSWER]);
        let aliases = answer.into_iter().flatten().filter(|((_, rtype, _), _)| *rtype == CNAME);
        let targets = aliases.flat_map(|(_, alias)| alias.rdatas.iter().filter_map(|rdata| Name::from_wire(rdata)));
        question.chain(targets).collect()
    }

    /// How many aliases lead from the name asked for to the last; `None` if there are others beside, or none.
    pub fn n_links(&self, answer: &Section) -> Option<usize> {
        let mut name = self.qname()?;
        let mut seen = BTreeSet::new();
        while let Some(alias) = answer.get(&(name.clone(), CNAME, 1)).filter(|_| seen.insert(name.clone())) {
            name = alias.rdatas.iter().find_map(|rdata| Name::from_wire(rdata))?;
        }
        let n_aliases = answer.keys().filter(|(_, rtype, _)| *rtype == CNAME).count();
        (seen.len() == n_aliases).then_some(n_aliases)
    }

    /// The first links of a chain, up to the one made by a DNAME whose target is below itself; `None` if there is none such.
    pub fn until_endless(&self, answer: &Section) -> Option<Section> {
        let mut name = self.qname()?;
        let mut first = Section::new();
        while let Some((key, alias)) = answer.get_key_value(&(name.clone(), CNAME, 1)) {
            first.insert(key.clone(), alias.clone()).map_or(Some(()), |_| None)?;
            let dname = answer.iter().find(|((owner, rtype, _), _)| *rtype == DNAME && name.is_below(owner));
            if let Some((key, dname)) = dname {
                first.insert(key.clone(), dname.clone());
                let target = dname.rdatas.iter().find_map(|rdata| Name::from_wire(rdata))?;
                if target.is_within(&key.0) {
                    return Some(first);
                }
            }
            name = alias.rdatas.iter().find_map(|rdata| Name::from_wire(rdata))?;
        }
        None
    }

    /// Whether an alias of an answer leads from one zone into another that is served here.
    pub fn leaves_its_zone(&self, answer: &Section) -> bool {
        let aliases = answer.iter().filter(|((_, rtype, _), _)| *rtype == CNAME);
        aliases.into_iter().any(|((owner, ..), alias)| {
            let target = alias.rdatas.iter().find_map(|rdata| Name::from_wire(rdata));
            let apex = |name: &Name| self.universe.zone_of(name).map(|zone| &zone.apex);
            target.is_some_and(|target| apex(&target).is_some_and(|zone| Some(zone) != apex(owner)))
        })
    }

    /// Whether a DNAME of `answer` makes a name of more than 255 octets of the last name before it.
    pub fn is_made_too_long(&self, answer: &Section) -> bool {
        let Some(qname) = self.qname() else { return false };
        let targets = answer.iter().filter(|((_, rtype, _), _)| *rtype == CNAME).flat_map(|(_, alias)| &alias.rdatas);
        let names = targets.filter_map(|rdata| Name::from_wire(rdata)).chain([qname]);
        let names: Vec<Name> = names.collect();
        let dnames = answer.iter().filter(|((_, rtype, _), _)| *rtype == DNAME);
        dnames.into_iter().any(|((owner, ..), dname)| {
            let targets = dname.rdatas.iter().filter_map(|rdata| Name::from_wire(rdata));
            targets.into_iter().any(|target| {
                let below = names.iter().filter(|name| name.is_below(owner));
                below.into_iter().any(|name| name.octets() - owner.octets() + target.octets() > OCTETS_MAX)
            })
        })
    }

    /// Whether we gave the same by UDP and TCP, but for a referral behind an alias.
    pub fn is_as_by_tcp(&self) -> bool {
        let Some(mut by_tcp) = self.ours_by_tcp.map(|reply| self.essence(reply)) else { return false };
        let by_udp = self.essence(self.ours());
        if let (Essence::Message(by_udp), Essence::Message(by_tcp)) = (&by_udp, &mut by_tcp)
            && by_udp.authority.is_empty()
            && by_tcp.flags & AA != 0
            && by_tcp.authority.keys().all(|(_, rtype, _)| *rtype == 2)
        {
            (by_tcp.authority, by_tcp.glue) = Default::default();
        }
        by_udp == by_tcp
    }

    /// Whether everything is asked for.
    pub fn is_any(&self) -> bool {
        self.shape.rtype() == Some(QTYPE_ANY)
    }

    /// What is wrong with our reply even when it is the others' in all that must be there.
    fn problem_of_ours(&self) -> Option<&'static str> {
        let ours = match self.ours() {
            Reply::Garbled(_) => return Some("is garbled"),
            Reply::Silence | Reply::Closed => return None,
            Reply::Message(message) => message,
        };
        if !self.is_tcp && ours.n_octets > self.octets_allowed() {
            return Some("is larger than the query allows");
        }
        let others: Vec<&Message> = self.replies[1..].iter().filter_map(|reply| reply.message()).collect();
        let is_known = |section: usize, key: &RrsetKey, rrset: &Rrset| {
            others.iter().any(|other| other.sections[section].get(key) == Some(rrset) || other.is_truncated())
        };
        let is_served = |(key, rrset): (&RrsetKey, &Rrset)| self.universe.has_whole_rrset(key, rrset);
        if !ours.sections[ADDITIONAL].iter().all(is_served) {
            return Some("has additional records that no zone has");
        }
        if ours.has_duplicates {
            return Some("has a record twice in one section");
        }
        // Of NSD and BIND, who tell all in class IN, one may be silent about itself.
        let is_in = |(_, _, class): &RrsetKey| *class == 1;
        if self.is_any() && ours.sections[ANSWER].iter().any(|(key, rrset)| is_in(key) && !is_known(ANSWER, key, rrset))
        {
            return Some("has records for ANY that nobody else gives");
        }
        let whole = self.ours_by_tcp.and_then(Reply::message);
        if let Some(whole) = whole.filter(|_| ours.is_truncated()) {
            let is_part = |section: usize| {
                ours.sections[section].iter().all(|(key, rrset)| whole.sections[section].get(key) == Some(rrset))
            };
            if !(0..3).all(is_part) {
                return Some("is truncated within an RRset");
            }
            if whole.n_octets <= self.octets_allowed() {
                return Some("is truncated though all of it fits");
            }
        }
        None
    }

    /// How large a reply by UDP may be: RFC 6891 §6.2.3 and what all four are told.
    pub fn octets_allowed(&self) -> usize {
        self.shape.opts.first().map_or(512, |opt| usize::from(opt.octets).clamp(512, 1232))
    }

    /// Cases of one kind look alike in this.
    pub fn signature(&self) -> String {
        let mut text = format!("{} ", if self.is_tcp { "tcp" } else { "udp" });
        for reply in self.replies {
            match reply {
                Reply::Silence | Reply::Closed => text.push_str("| none "),
                Reply::Garbled(_) => text.push_str("| garbled "),
                Reply::Message(message) => {
                    let types = |section: usize| -> Vec<u16> {
                        let mut types: Vec<u16> =
                            message.sections[section].keys().map(|(_, rtype, _)| *rtype).collect();
                        types.dedup();
                        types
                    };
                    let _ = write!(text, "| {} {:04x} ", message.rcode, message.flags);
                    let _ = write!(text, "q{} ", u8::from(!message.question.is_empty()));
                    if !message.is_truncated() {
                        let _ = write!(text, "{:?} {:?} ", types(ANSWER), types(AUTHORITY));
                    }
                    if let Some(opt) = &message.opt {
                        let _ = write!(
                            text,
                            "opt {} {:x} {}{} ",
                            opt.version,
                            opt.flags,
                            opt.nsid.is_some(),
                            opt.ecs.is_some()
                        );
                    }
                }
            }
        }
        text
    }

    /// Everything that is needed to see what is wrong.
    pub fn describe(&self, problem: &str) -> String {
        let transport = if self.is_tcp { "TCP" } else { "UDP" };
        let all: Vec<&'static Explained> = EXPLAINED.iter().collect();
        let opinions = self.opinions(&all);
        let mut text = format!("ours {problem}, {transport}\n{}\n", self.query.shown);
        let _ = writeln!(text, "with all explanations Knot, NSD, BIND: {opinions:?}");
        text.push_str("hex ");
        for octet in &self.query.packet {
            let _ = write!(text, "{octet:02x}");
        }
        text.push('\n');
        let mut names: Vec<Name> = self.query.question.iter().map(|question| question.name.clone()).collect();
        for message in self.replies.iter().filter_map(|reply| reply.message()) {
            for section in &message.sections {
                names.extend(section.keys().map(|(owner, ..)| owner.clone()));
            }
            let targets = message.sections[ANSWER].iter().filter(|((_, rtype, _), _)| *rtype == CNAME);
            names.extend(targets.flat_map(|(_, rrset)| rrset.rdatas.iter().filter_map(|rdata| Name::from_wire(rdata))));
        }
        let apexes: BTreeSet<Name> =
            names.iter().filter_map(|name| self.universe.zone_of(name)).map(|zone| zone.apex.clone()).collect();
        for zone in self
            .universe
            .zones
            .iter()
            .filter(|zone| apexes.contains(&zone.apex) || apexes.iter().any(|apex| apex.is_within(&zone.apex)))
        {
            let own: Vec<Name> = names
                .iter()
                .filter(|name| name.folded().is_within(&zone.apex) && **name != zone.apex)
                .cloned()
                .collect();
            text.push_str(&shorten(&zone.snippet(&own), 40));
        }
        text.push_str(&self.side_by_side());
        text
    }

    /// The four replies in columns.
    fn side_by_side(&self) -> String {
        const WIDTH: usize = 58;
        let columns: Vec<Vec<String>> = Kind::ALL
            .iter()
            .zip(self.replies)
            .map(|(kind, reply)| {
                let text = format!("[{}]\n{}", kind.as_str(), shorten(&reply.to_string(), 24));
                text.lines()
                    .flat_map(|line| {
                        let characters: Vec<char> = line.chars().collect();
                        characters.chunks(WIDTH).map(|chunk| chunk.iter().collect::<String>()).collect::<Vec<_>>()
                    })
                    .collect()
            })
            .collect();
        let n_lines = columns.iter().map(Vec::len).max().unwrap_or_default();
        let mut text = String::new();
        for pair in columns.chunks(2) {
            for line in 0..n_lines.min(pair.iter().map(Vec::len).max().unwrap_or_default()) {
                let cells = pair.iter().map(|column| column.get(line).map_or("", String::as_str));
                for cell in cells {
                    let _ = write!(text, "{cell:WIDTH$} | ");
                }
                text.push('\n');
            }
        }
        text
    }
}

fn shorten(text: &str, n_lines: usize) -> String {
    let mut shown: String = text.lines().take(n_lines).fold(String::new(), |mut shown, line| {
        let _ = writeln!(shown, "{line}");
        shown
    });
    if text.lines().count() > n_lines {
        let _ = writeln!(shown, "… {} lines more", text.lines().count() - n_lines);
    }
    shown
}
