//! The differences that are meant: what a reference gives, and the RFC that we follow instead. This is the one list of them.
//!
//! Each is a function that puts a reference's reply right, as narrowly as can be said: from what was sent where that says what is due, else
//! by taking the reference's vote away, so that another one must agree with us. The judge then compares again.

use crate::{
    judge::{Case, Essence},
    message::{AA, ANSWER, AUTHORITY, Message, Section, TC, glue},
    name::Name,
    servers::Kind::{self, Bind, Knot, Nsd},
};

/// A kind of difference.
pub struct Explained {
    /// In a few words.
    pub name: &'static str,
    /// What we follow.
    pub rfc: &'static str,
    /// What they do, and why we do not.
    pub why: &'static str,
    /// Makes of their reply what it had to be, if this is what is different: the case, whose it is, theirs, ours.
    pub put_right: fn(&Case<'_>, Kind, &mut Essence, &Essence),
}

const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const SIG: u16 = 24;
const KEY: u16 = 25;
const NXT: u16 = 30;
const DNAME: u16 = 39;
const OPT: u16 = 41;
const NXNAME: u16 = 128;
const IXFR: u16 = 251;
const AXFR: u16 = 252;
const MAILA: u16 = 254;
const ANY: u16 = 255;
const CLASS_IN: u16 = 1;
const CLASS_CH: u16 = 3;
const CLASS_ANY: u16 = 255;
const QUERY: u16 = 0;
const NOTIFY: u16 = 4;
const UPDATE: u16 = 5;
const NOERROR: u16 = 0;
const FORMERR: u16 = 1;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
const NOTIMP: u16 = 4;
const REFUSED: u16 = 5;
const YXDOMAIN: u16 = 6;
const NOTAUTH: u16 = 9;
const BADVERS: u16 = 16;
/// Option NSID.
const NSID: u16 = 3;
/// AD.
const AD: u16 = 0x0020;
/// CD.
const CD: u16 = 0x0010;
/// Links of an alias chain that every server follows.
const LINKS_FOLLOWED_BY_ALL: usize = 5;

/// All of them.
pub const EXPLAINED: &[Explained] = &[
    Explained {
        name: "CD and AD are copied",
        rfc: "RFC 4035 §3.1.6",
        why: "NSD and BIND copy CD, BIND beside TC AD too; an authoritative server should clear them",
        put_right: |case, kind, theirs, _| {
            let (Nsd | Bind, Essence::Message(theirs)) = (kind, theirs) else { return };
            let is_copied = if kind == Bind && theirs.flags & TC != 0 { CD | AD } else { CD };
            theirs.flags &= !(case.shape.flags & is_copied);
        },
    },
    Explained {
        name: "what stands beside an error",
        rfc: "RFC 1035 §4.1.1, RFC 6891 §6.1.1",
        why: "opcode, RD, question, OPT and DO are as in the query; NSD sends a bare header, BIND no question, all of them no OPT where options cannot be read, Knot and BIND answer NSID and ECS even there",
        put_right: |case, _, theirs, _| {
            match (theirs.rcode_alone(), case.shape.opcode()) {
                // A transfer of what is no zone here is answered as any query.
                (Some(NOTAUTH), QUERY) => {}
                (Some(rcode @ (FORMERR | NOTIMP | NOTAUTH | BADVERS)), _) => *theirs = case.shape.error(rcode),
                _ => {}
            }
        },
    },
    Explained {
        name: "class that is not served",
        rfc: "RFC 1035 §4.1.1",
        why: "NSD leaves the question out of REFUSED; BIND says FORMERR or NOTIMP, though it can read the one and knows the other",
        put_right: |case, kind, theirs, _| {
            if matches!(case.shape.class(), None | Some(CLASS_IN | CLASS_CH | CLASS_ANY)) {
                return;
            }
            match (kind, theirs.rcode_alone(), &mut *theirs) {
                (Nsd, Some(REFUSED), Essence::Message(theirs)) => theirs.question.clone_from(&case.shape.question),
                (Bind, Some(FORMERR | NOTIMP), theirs) => *theirs = Essence::NoOpinion,
                _ => {}
            }
        },
    },
    Explained {
        name: "class ANY",
        rfc: "RFC 1035 §6.2, RFC 2308 §3",
        why: "nobody has authority over all classes: Knot sets AA, NSD behind an alias; NSD leaves out SOA; BIND says FORMERR",
        put_right: |case, kind, theirs, _| {
            if case.shape.class() != Some(CLASS_ANY) {
                return;
            }
            let is_negative = case.whole().is_some_and(|whole| !only(SOA, &whole.sections[AUTHORITY]).is_empty());
            match (kind, theirs.rcode_alone(), &mut *theirs) {
                (Knot, _, Essence::Message(theirs)) => theirs.flags &= !AA,
                (Bind, Some(FORMERR), theirs) => *theirs = Essence::NoOpinion,
                (Nsd, _, Essence::Message(theirs)) if theirs.flags & AA != 0 => theirs.flags &= !AA,
                (Nsd, _, Essence::Message(shorter)) if shorter.authority.is_empty() && is_negative => {
                    *theirs = Essence::NoOpinion;
                }
                _ => {}
            }
        },
    },
    Explained {
        name: "ANY in class CH",
        rfc: "RFC 4892 §3",
        why: "NSD gives TXT for it and BIND its whole zone, or nothing; Knot and we know of no other type than TXT there",
        put_right: |case, kind, theirs, _| {
            let is_asked = case.shape.class() == Some(CLASS_CH) && case.shape.rtype() == Some(ANY);
            if is_asked && matches!(kind, Nsd | Bind) {
                *theirs = Essence::NoOpinion;
            }
        },
    },
    Explained {
        name: "transfer in class CH",
        rfc: "RFC 5936 §2.2.1",
        why: "Knot says NOTIMP, BIND NOTAUTH or nothing; it is refused, as everything there that is not known",
        put_right: |case, kind, theirs, _| {
            let is_asked = case.shape.class() == Some(CLASS_CH) && matches!(case.shape.rtype(), Some(IXFR | AXFR));
            if is_asked && matches!(kind, Knot | Bind) {
                *theirs = Essence::NoOpinion;
            }
        },
    },
    Explained {
        name: "types that no record has",
        rfc: "RFC 3597 §3",
        why: "BIND says NOTIMP or FORMERR for type 0, NXNAME, MAILA and the like, or follows no alias, Knot says NOTIMP for type 0; nothing is known about them here, so there are none",
        put_right: |case, kind, theirs, _| match (kind, case.shape.rtype(), theirs.rcode_alone()) {
            (Bind, Some(0 | OPT | NXNAME..=MAILA), _) | (Knot, Some(0), Some(NOTIMP)) => {
                *theirs = Essence::NoOpinion;
            }
            _ => {}
        },
    },
    Explained {
        name: "KEY, SIG and NXT at an alias",
        rfc: "RFC 1034 §3.6.2",
        why: "BIND does not follow an alias for what may stand beside it; where there is none the alias stands for it",
        put_right: |case, kind, theirs, _| {
            if kind == Bind && matches!(case.shape.rtype(), Some(SIG | KEY | NXT)) {
                *theirs = Essence::NoOpinion;
            }
        },
    },
    Explained {
        name: "NSID asked for twice",
        rfc: "RFC 5001 §2.1",
        why: "NSD's reply has octets after the last record then",
        put_right: |case, kind, theirs, _| {
            if kind == Nsd && *theirs == Essence::Garbled && case.shape.n_options(NSID) > 1 {
                *theirs = Essence::NoOpinion;
            }
        },
    },
    Explained {
        name: "name of another zone",
        rfc: "RFC 1034 §4.2",
        why: "NSD takes names of zones above and below for its own, where then a wildcard is kept away",
        put_right: |case, kind, theirs, _| {
            if kind == Nsd && case.names_on_the_way().iter().any(|name| case.universe.has_foreign_ancestor(name)) {
                *theirs = Essence::NoOpinion;
            }
        },
    },
    Explained {
        name: "RCODE in a query",
        rfc: "RFC 1035 §4.1.1",
        why: "NSD says FORMERR; it is of responses, and means nothing in a query",
        put_right: |case, kind, theirs, _| {
            if kind == Nsd && case.shape.flags & 0x0f != 0 && theirs.rcode_alone() == Some(FORMERR) {
                *theirs = Essence::NoOpinion;
            }
        },
    },
    Explained {
        name: "records beside the question",
        rfc: "RFC 1035 §4.1",
        why: "NSD, and BIND in another class, say FORMERR for a query with records that mean nothing there; they do no harm",
        put_right: |case, kind, theirs, _| {
            if matches!(kind, Nsd | Bind) && theirs.rcode_alone() == Some(FORMERR) && !case.shape.others.is_empty() {
                *theirs = Essence::NoOpinion;
            }
        },
    },
    Explained {
        name: "silence about an unreadable question",
        rfc: "RFC 1035 §4.1.1",
        why: "Knot drops what has no question that it can read; an error costs no more than what came, and tells",
        put_right: |case, kind, theirs, _| {
            if kind == Knot && *theirs == Essence::NoReply && !case.shape.has_questions && case.shape.is_query() {
                let is_known = matches!(case.shape.opcode(), QUERY | NOTIFY | UPDATE);
                *theirs = case.shape.error(if is_known { FORMERR } else { NOTIMP });
            }
        },
    },
    Explained {
        name: "TCP closed instead of FORMERR",
        rfc: "RFC 1035 §4.1.1",
        why: "Knot and NSD close a connection on what they call malformed; over UDP they say FORMERR",
        put_right: |case, kind, theirs, _| {
            if case.is_tcp && matches!(kind, Knot | Nsd) && *theirs == Essence::NoReply && !case.query.is_well_formed {
                *theirs = Essence::NoOpinion;
            }
        },
    },
    Explained {
        name: "unknown opcode before what cannot be read",
        rfc: "RFC 8906 §3.1.4",
        why: "it is NOTIMP, whatever follows; BIND reads on and says FORMERR",
        put_right: |case, kind, theirs, _| {
            let is_unknown = !matches!(case.shape.opcode(), QUERY | NOTIFY | UPDATE);
            if kind == Bind && is_unknown && theirs.rcode_alone() == Some(FORMERR) {
                *theirs = case.shape.error(NOTIMP);
            }
        },
    },
    Explained {
        name: "unknown EDNS version",
        rfc: "RFC 6891 §6.1.3",
        why: "Knot and BIND read the options of a version that they do not know, and say FORMERR; NSD does not look at OPT beside other opcodes",
        put_right: |case, kind, theirs, _| {
            if !case.shape.has_unknown_version() {
                return;
            }
            match (kind, theirs.rcode_alone()) {
                (Knot | Bind, Some(FORMERR)) | (Nsd, Some(NOTIMP)) => *theirs = case.shape.error(BADVERS),
                _ => {}
            }
        },
    },
    Explained {
        name: "NOTIFY and UPDATE",
        rfc: "RFC 2136 §2.2",
        why: "from whom none is taken it is NOTAUTH for Knot and us; NSD says NXDOMAIN, REFUSED or NOTIMP, BIND FORMERR for NOTIFY of other types than SOA and REFUSED for UPDATE",
        put_right: |case, kind, theirs, _| match (case.shape.opcode(), kind, theirs.rcode_alone()) {
            (NOTIFY, Nsd, Some(NXDOMAIN | REFUSED)) => *theirs = case.shape.error(NOTAUTH),
            (NOTIFY, Bind, Some(FORMERR)) if case.shape.rtype() != Some(SOA) => *theirs = case.shape.error(NOTAUTH),
            (UPDATE, Nsd, Some(NOTIMP)) | (UPDATE, Bind, Some(REFUSED)) => *theirs = Essence::NoOpinion,
            _ => {}
        },
    },
    Explained {
        name: "octets after the last record",
        rfc: "RFC 1035 §4.1",
        why: "NSD and BIND pass over them; a message is its five sections and nothing else",
        put_right: |case, kind, theirs, _| {
            let is_message = matches!(theirs, Essence::Message(_));
            if matches!(kind, Nsd | Bind) && is_message && case.shape.n_trailing > 0 && case.shape.opcode() == QUERY {
                *theirs = case.shape.error(FORMERR);
            }
        },
    },
    Explained {
        name: "malformed ECS",
        rfc: "RFC 7871 §7.1.2",
        why: "NSD does not know the option, Knot ignores a bad one, BIND allows some; it is FORMERR",
        put_right: |case, _, theirs, _| {
            if case.shape.has_bad_ecs() && case.shape.is_good_but_for_options() {
                *theirs = case.shape.error(FORMERR);
            }
        },
    },
    Explained {
        name: "malformed COOKIE",
        rfc: "RFC 7873 §5.2.2",
        why: "Knot and NSD, which are told here not to make any, do not look at it; it is FORMERR",
        put_right: |case, kind, theirs, _| {
            if matches!(kind, Knot | Nsd) && case.shape.has_bad_cookie() && case.shape.is_good_but_for_options() {
                *theirs = case.shape.error(FORMERR);
            }
        },
    },
    Explained {
        name: "ECS is not known",
        rfc: "RFC 7871 §7.2.1",
        why: "NSD does not send the option back, and has so much more room",
        put_right: |case, kind, theirs, ours| {
            let (Nsd, Some(option), Essence::Message(without)) = (kind, case.shape.ecs_of_answer(), &mut *theirs)
            else {
                return;
            };
            let is_transfer = case.shape.opcode() == QUERY && without.rcode == NOTAUTH;
            if matches!(without.rcode, FORMERR | NOTIMP | NOTAUTH | BADVERS) && !is_transfer {
                return;
            }
            if let Some(opt) = &mut without.opt {
                opt.ecs = Some(option.clone());
            }
            let n_octets = case.reply(kind).message().map_or(0, |message| message.n_octets) + 4 + option.len();
            let is_cut = matches!(ours, Essence::Message(ours) if ours.flags & TC != 0) && without.flags & TC == 0;
            if is_cut && !case.is_tcp && n_octets > case.octets_allowed() {
                *theirs = Essence::NoOpinion;
            }
        },
    },
    Explained {
        name: "DNAME that leads below itself",
        rfc: "RFC 1034 §3.6.2",
        why: "every step makes a longer name; Knot stops after some, BIND gives SERVFAIL; we give one and leave the rest to the resolver",
        put_right: |case, kind, theirs, _| {
            let (Some(part), Essence::Message(theirs)) = (case.reply(kind).message(), theirs) else { return };
            let is_answer = theirs.flags & TC != 0 || !theirs.answer.is_empty();
            if let Some(first) = case.until_endless(&part.sections[ANSWER]).filter(|_| is_answer) {
                theirs.answer = first;
                theirs.rcode = NOERROR;
                theirs.flags &= !TC;
                (theirs.authority, theirs.glue) = Default::default();
            }
        },
    },
    Explained {
        name: "alias chain of many links",
        rfc: "RFC 1034 §3.6.2",
        why: "how many links are followed is the server's to say: Knot stops after five of a DNAME, NSD and we later, BIND gives SERVFAIL",
        put_right: |case, kind, theirs, _| {
            let (Some(whole), Some(part)) = (case.whole(), case.reply(kind).message()) else { return };
            let (whole, part) = (&whole.sections[ANSWER], &part.sections[ANSWER]);
            if case.n_links(whole).is_none_or(|n_links| n_links <= LINKS_FOLLOWED_BY_ALL) {
                return;
            }
            match theirs {
                Essence::Message(theirs) if theirs.flags & TC != 0 => {}
                theirs if part.len() < whole.len() && is_within(part, whole) => *theirs = Essence::NoOpinion,
                Essence::Message(theirs) if part.len() > whole.len() && is_within(whole, part) && !case.is_any() => {
                    theirs.answer.clone_from(whole);
                }
                _ => {}
            }
        },
    },
    Explained {
        name: "alias loop",
        rfc: "RFC 1034 §3.6.2",
        why: "what goes round in circles is given once, without an error; BIND gives SERVFAIL with it, Knot leaves out the wildcard that was asked for by its own name",
        put_right: |case, kind, theirs, _| {
            let (Some(whole), Essence::Message(theirs)) = (case.whole(), theirs) else { return };
            if !is_loop(&whole.sections[ANSWER]) {
                return;
            }
            match kind {
                Bind if theirs.rcode == SERVFAIL => theirs.rcode = NOERROR,
                Knot if theirs.flags & TC == 0 && is_within(&theirs.answer, &whole.sections[ANSWER]) => {
                    let wildcards = whole.sections[ANSWER].iter().filter(|((owner, ..), _)| owner.is_wildcard());
                    theirs.answer.extend(wildcards.map(|(key, rrset)| (key.clone(), rrset.clone())));
                }
                _ => {}
            }
        },
    },
    Explained {
        name: "referral behind an alias",
        rfc: "RFC 1034 §4.3.2",
        why: "BIND does not say where the alias leads to when that is delegated",
        put_right: |case, kind, theirs, ours| {
            let (Bind, Some(whole), Essence::Message(shorter)) = (kind, case.whole(), &mut *theirs) else { return };
            let servers = only(NS, &whole.sections[AUTHORITY]);
            if servers.is_empty() || !shorter.authority.is_empty() || shorter.answer != whole.sections[ANSWER] {
                return;
            }
            match ours {
                Essence::Message(ours) if ours.flags & TC != 0 => *theirs = Essence::NoOpinion,
                _ => (shorter.authority, shorter.glue) = (servers, glue(whole)),
            }
        },
    },
    Explained {
        name: "ANY below a DNAME",
        rfc: "RFC 6672 §3.2",
        why: "BIND does not follow the alias that it makes when the type is ANY",
        put_right: |case, kind, theirs, _| {
            let has_dname = |kind: Kind| {
                let message = case.reply(kind).message();
                message.is_some_and(|message| !only(DNAME, &message.sections[ANSWER]).is_empty())
            };
            if kind == Bind && case.is_any() && has_dname(Kind::Fingerpost) && has_dname(Bind) {
                *theirs = Essence::NoOpinion;
            }
        },
    },
    Explained {
        name: "chain into another zone",
        rfc: "RFC 5452 §6",
        why: "NSD follows an alias into another zone that it serves, BIND stops there even if that lies within the first; resolvers must not believe what is beyond, and ask again",
        put_right: |case, kind, theirs, _| {
            let (Some(whole), Essence::Message(other)) = (case.whole(), &*theirs) else { return };
            let answer = &whole.sections[ANSWER];
            let is_meant = match kind {
                Nsd => {
                    let leaves = |theirs: &Message| case.leaves_its_zone(&theirs.sections[ANSWER]);
                    other.flags & TC != 0 || case.reply(kind).message().is_some_and(leaves)
                }
                Bind => is_within(&other.answer, answer) && other.authority.is_empty(),
                _ => false,
            };
            if is_meant && case.leaves_its_zone(answer) {
                *theirs = Essence::NoOpinion;
            }
        },
    },
    Explained {
        name: "name that a DNAME makes too long",
        rfc: "RFC 6672 §2.2, RFC 2308 §2",
        why: "it is YXDOMAIN, and there is nothing negative to keep; Knot says NXDOMAIN or adds SOA",
        put_right: |case, kind, theirs, _| {
            if let (Knot, Essence::Message(theirs), Some(message)) = (kind, theirs, case.reply(kind).message())
                && matches!(theirs.rcode, NXDOMAIN | YXDOMAIN)
                && case.is_made_too_long(&message.sections[ANSWER])
            {
                theirs.rcode = YXDOMAIN;
                (theirs.authority, theirs.glue) = Default::default();
            }
        },
    },
    Explained {
        name: "RCODE of a truncated chain",
        rfc: "RFC 6604 §3",
        why: "Knot and BIND stop where the message is full and have NOERROR then; the RCODE is the last name's",
        put_right: |case, _, theirs, ours| {
            if let (Essence::Message(theirs), Essence::Message(ours)) = (theirs, ours)
                && theirs.flags & ours.flags & TC != 0
                && theirs.rcode == NOERROR
                && let Some(whole) = case.ours_by_tcp.and_then(|reply| reply.message())
            {
                theirs.rcode = whole.rcode;
            }
        },
    },
    Explained {
        name: "SOA left out without TC",
        rfc: "RFC 2308 §3",
        why: "Knot leaves SOA out of a negative answer where it does not fit, and does not set TC",
        put_right: |case, kind, theirs, ours| {
            let (Knot, Essence::Message(theirs), Some(whole)) = (kind, theirs, case.whole()) else { return };
            let soa = only(SOA, &whole.sections[AUTHORITY]);
            if case.is_tcp || theirs.flags & TC != 0 || !theirs.authority.is_empty() || soa.is_empty() {
                return;
            }
            match ours {
                Essence::Message(ours) if ours.flags & TC != 0 && whole.n_octets > case.octets_allowed() => {
                    theirs.flags |= TC;
                    theirs.answer.clone_from(&ours.answer);
                }
                // What another has there, or else ours would agree with itself.
                _ => {
                    let given = |kind| Some(only(SOA, &case.reply(kind).message()?.sections[AUTHORITY]));
                    let of_others = [Nsd, Bind].into_iter().filter_map(given).find(|given| !given.is_empty());
                    theirs.authority = of_others.unwrap_or(soa);
                }
            }
        },
    },
    Explained {
        name: "glue made of a wildcard",
        rfc: "RFC 1034 §4.3.3",
        why: "Knot and NSD let a wildcard below a cut stand for the servers' addresses; a delegation cancels wildcards",
        put_right: |case, kind, theirs, _| {
            if let (Knot | Nsd, Essence::Message(theirs)) = (kind, theirs) {
                theirs.glue.retain(|(owner, rtype, _), _| case.universe.has_rrset(owner, *rtype));
            }
        },
    },
    Explained {
        name: "glue left out without TC",
        rfc: "RFC 9471 §3.1",
        why: "NSD and BIND send part of the glue of servers below the cut when not all fits, and do not set TC",
        put_right: |case, kind, theirs, ours| {
            let (Nsd | Bind, Essence::Message(part)) = (kind, &mut *theirs) else { return };
            let n_missing = case.n_missing_glue_octets(part);
            if part.flags & TC != 0 || n_missing == 0 {
                return;
            }
            let n_octets = case.reply(kind).message().map_or(0, |message| message.n_octets) + n_missing;
            match ours {
                Essence::Message(ours)
                    if ours.flags & TC != 0 && n_octets > case.octets_allowed() && !case.has_whole_referral() =>
                {
                    part.flags |= TC;
                    (part.answer, part.authority, part.glue) = (ours.answer.clone(), Section::new(), Section::new());
                }
                _ => *theirs = Essence::NoOpinion,
            }
        },
    },
    Explained {
        name: "TC where everything fits",
        rfc: "RFC 2181 §9",
        why: "some compress less, above all in what a DNAME makes, or give up earlier; what we send by UDP is what we send by TCP",
        put_right: |case, _, theirs, ours| {
            if let (Essence::Message(theirs), Essence::Message(ours)) = (theirs, ours)
                && theirs.flags & TC != 0
                && ours.flags & TC == 0
                && case.is_as_by_tcp()
            {
                theirs.clone_from(ours);
            }
        },
    },
];

/// The RRsets of one type.
fn only(rtype: u16, section: &Section) -> Section {
    let rrsets = section.iter().filter(|((_, other, _), _)| *other == rtype);
    rrsets.map(|(key, rrset)| (key.clone(), rrset.clone())).collect()
}

/// Whether all RRsets of `part` are in `whole`.
fn is_within(part: &Section, whole: &Section) -> bool {
    part.iter().all(|(key, rrset)| whole.get(key) == Some(rrset))
}

impl Essence {
    /// The response code of a message without records.
    fn rcode_alone(&self) -> Option<u16> {
        let Self::Message(meaning) = self else { return None };
        (meaning.answer.is_empty() && meaning.authority.is_empty()).then_some(meaning.rcode)
    }
}

/// Whether every alias leads to another one of the answer.
fn is_loop(answer: &Section) -> bool {
    let mut aliases = answer.iter().filter(|((_, rtype, _), _)| *rtype == CNAME).peekable();
    aliases.peek().is_some()
        && aliases.all(|(_, alias)| {
            let mut targets = alias.rdatas.iter().filter_map(|rdata| Name::from_wire(rdata));
            targets.all(|target| answer.contains_key(&(target, CNAME, CLASS_IN)))
        })
}
