//! The differences that are meant: what a reference gives, and the RFC that we follow instead.
//!
//! Each is a function that puts a reference's reply right, as narrowly as can be said; the judge then compares again.

use crate::{
    judge::{Case, Essence, Meaning},
    message::{ANSWER, Reply, TC},
    name::Name,
    servers::Kind,
    shape::Shape,
};

/// A kind of difference.
pub struct Explained {
    /// In a few words.
    pub name: &'static str,
    /// What we follow.
    pub rfc: &'static str,
    /// What they do, and why we do not.
    pub why: &'static str,
    /// Makes of their reply what it had to be, if this is what is different.
    pub put_right: fn(&Case<'_>, Kind, &mut Essence, &Essence),
}

const CNAME: u16 = 5;
const SOA: u16 = 6;
const DNAME: u16 = 39;
const NOERROR: u16 = 0;
const FORMERR: u16 = 1;
const NXDOMAIN: u16 = 3;
const YXDOMAIN: u16 = 6;
const NOTIMP: u16 = 4;
const NOTAUTH: u16 = 9;
const BADVERS: u16 = 16;
/// RD.
const RD: u16 = 0x0100;
/// CD.
const CD: u16 = 0x0010;

/// All of them.
pub const EXPLAINED: &[Explained] = &[
    Explained {
        name: "CD is copied",
        rfc: "RFC 4035 §3.1.6",
        why: "NSD and BIND copy CD; an authoritative server should clear it",
        put_right: |_, _, theirs, _| {
            if let Essence::Message(theirs) = theirs {
                theirs.flags &= !CD;
            }
        },
    },
    Explained {
        name: "options beside an error",
        rfc: "RFC 5001 §2.1, RFC 7871 §7.2.1, RFC 6891 §6.1.3",
        why: "Knot and BIND answer NSID and ECS beside errors, even of an EDNS version that they do not know; NSD clears DO there",
        put_right: |_, _, theirs, ours| {
            for rcode in [FORMERR, NOTIMP, NOTAUTH, BADVERS] {
                if let Some((theirs, ours)) = both(theirs, ours, rcode)
                    && theirs.opt.is_some()
                    && ours.opt.is_some()
                {
                    theirs.opt.clone_from(&ours.opt);
                }
            }
        },
    },
    Explained {
        name: "FORMERR without OPT or question",
        rfc: "RFC 6891 §6.1.1",
        why: "all of them leave out OPT where options cannot be read, which says that EDNS is not known here; NSD sends a bare header without RD",
        put_right: |_, _, theirs, ours| {
            if let Some((theirs, ours)) = both(theirs, ours, FORMERR) {
                if theirs.opt.is_none() {
                    theirs.opt.clone_from(&ours.opt);
                }
                if theirs.question.is_empty() {
                    theirs.question.clone_from(&ours.question);
                    theirs.flags |= ours.flags & RD;
                }
            }
        },
    },
    Explained {
        name: "TCP closed instead of FORMERR",
        rfc: "RFC 1035 §4.1.1",
        why: "Knot and NSD close a connection on what they call malformed; over UDP they say FORMERR",
        put_right: |case, _, theirs, ours| {
            if case.is_tcp && *theirs == Essence::NoReply && is_formerr(ours) {
                *theirs = ours.clone();
            }
        },
    },
    Explained {
        name: "NOTIMP without question or OPT",
        rfc: "RFC 6891 §6.1.1, RFC 1035 §4.1.1",
        why: "BIND leaves out the question, NSD OPT as well, and copies Z and other flags; Knot and we answer as to any query",
        put_right: |_, _, theirs, ours| {
            if let Some((theirs, ours)) = both(theirs, ours, NOTIMP)
                && theirs.question.is_empty()
            {
                theirs.clone_from(ours);
            }
        },
    },
    Explained {
        name: "silence about an unreadable question",
        rfc: "RFC 1035 §4.1.1",
        why: "Knot drops what has no question that it can read; FORMERR costs no more than what came, and tells",
        put_right: |case, kind, theirs, ours| {
            let is_error = is_formerr(ours) || matches!(ours, Essence::Message(ours) if ours.rcode == NOTIMP);
            if kind == Kind::Knot
                && is_error
                && !Shape::of(&case.query.packet).has_questions
                && *theirs == Essence::NoReply
            {
                *theirs = ours.clone();
            }
        },
    },
    Explained {
        name: "FORMERR instead of BADVERS",
        rfc: "RFC 6891 §6.1.3",
        why: "Knot and BIND read the options of an EDNS version that they do not know",
        put_right: |case, _, theirs, ours| {
            let is_badvers = matches!(ours, Essence::Message(ours) if ours.rcode == BADVERS);
            if is_badvers && is_formerr(theirs) && Shape::of(&case.query.packet).opts.iter().any(|opt| opt.version > 0)
            {
                *theirs = ours.clone();
            }
        },
    },
    Explained {
        name: "DNAME that leads below itself",
        rfc: "RFC 1034 §3.6.2",
        why: "every step makes a longer name; Knot stops after some, BIND gives SERVFAIL; we give one and leave the rest to the resolver",
        put_right: |_, _, theirs, ours| {
            let (Essence::Message(theirs), Essence::Message(ours)) = (theirs, ours) else { return };
            if ours.leads_below_itself() || theirs.leads_below_itself() {
                theirs.clone_from(ours);
            }
        },
    },
    Explained {
        name: "alias chain of many links",
        rfc: "RFC 1034 §3.6.2",
        why: "how many links are followed is the server's to say: Knot stops after five of a DNAME, NSD and we later, BIND gives SERVFAIL",
        put_right: |_, _, theirs, ours| {
            let (Essence::Message(theirs), Essence::Message(ours)) = (theirs, ours) else { return };
            let n_aliases = ours.answer.keys().filter(|(_, rtype, _)| *rtype == CNAME).count();
            let is_same_chain = theirs.answer.keys().any(|key| key.1 == CNAME && ours.answer.contains_key(key));
            if n_aliases > 6 && (is_same_chain || theirs.flags & TC != 0) {
                theirs.clone_from(ours);
            }
        },
    },
    Explained {
        name: "ANY below a DNAME",
        rfc: "RFC 6672 §3.2",
        why: "BIND does not follow the alias that it makes when the type is ANY",
        put_right: |case, kind, theirs, ours| {
            if kind == Kind::Bind
                && case.is_any()
                && [case.ours(), case.reply(kind)].iter().all(|reply| has_dname(reply))
            {
                theirs.clone_from(ours);
            }
        },
    },
    Explained {
        name: "RCODE of a truncated chain",
        rfc: "RFC 6604 §3",
        why: "Knot and BIND stop where the message is full and have NOERROR then; the RCODE is the last name's",
        put_right: |_, _, theirs, ours| {
            if let (Essence::Message(theirs), Essence::Message(ours)) = (theirs, ours)
                && theirs.flags & ours.flags & TC != 0
                && theirs.rcode == NOERROR
                && matches!(ours.rcode, NXDOMAIN | YXDOMAIN)
            {
                theirs.rcode = ours.rcode;
            }
        },
    },
    Explained {
        name: "octets after the last record",
        rfc: "RFC 1035 §4.1",
        why: "NSD and BIND pass over them; a message is its five sections and nothing else",
        put_right: |case, _, theirs, ours| {
            if is_formerr(ours) && Shape::of(&case.query.packet).n_trailing > 0 {
                *theirs = ours.clone();
            }
        },
    },
    Explained {
        name: "malformed ECS",
        rfc: "RFC 7871 §7.1.2",
        why: "NSD does not know the option, Knot ignores a bad one, BIND allows some; it is FORMERR",
        put_right: |case, _, theirs, ours| {
            if is_formerr(ours) && Shape::of(&case.query.packet).has_bad_ecs() {
                *theirs = ours.clone();
            }
        },
    },
    Explained {
        name: "ECS is not known",
        rfc: "RFC 7871 §7.2.1",
        why: "NSD does not send the option back",
        put_right: |_, kind, theirs, ours| {
            if let (Kind::Nsd, Essence::Message(theirs), Essence::Message(ours)) = (kind, theirs, ours)
                && let (Some(theirs), Some(ours)) = (&mut theirs.opt, &ours.opt)
                && theirs.ecs.is_none()
            {
                theirs.ecs.clone_from(&ours.ecs);
            }
        },
    },
    Explained {
        name: "glue made of a wildcard",
        rfc: "RFC 1034 §4.3.3",
        why: "Knot and NSD let a wildcard below a cut stand for the servers' addresses; a delegation cancels wildcards",
        put_right: |case, _, theirs, _| {
            if let Essence::Message(theirs) = theirs {
                theirs.glue.retain(|(owner, rtype, _), _| case.universe.has_rrset(owner, *rtype));
            }
        },
    },
    Explained {
        name: "glue left out without TC",
        rfc: "RFC 9471 §3.1",
        why: "NSD and BIND send part of the glue of servers below the cut when not all fits, and do not set TC",
        put_right: |case, _, theirs, ours| {
            let (Essence::Message(theirs), Essence::Message(ours)) = (theirs, ours) else { return };
            if theirs.flags & TC != 0 || ours.rcode != theirs.rcode || !case.lacks_glue(theirs) {
                return;
            }
            if ours.flags & TC != 0 {
                theirs.flags |= TC;
                (theirs.answer, theirs.authority, theirs.glue) = Default::default();
            } else {
                theirs.glue.clone_from(&ours.glue);
            }
        },
    },
    Explained {
        name: "chain into another zone",
        rfc: "RFC 5452 §6",
        why: "NSD follows an alias into another zone that it serves; resolvers must not believe what is beyond, and ask again",
        put_right: |case, kind, theirs, ours| {
            let (Essence::Message(theirs), Essence::Message(ours)) = (theirs, ours) else { return };
            let is_more = ours.answer.iter().all(|(key, rrset)| theirs.answer.get(key) == Some(rrset));
            if kind == Kind::Nsd && is_more && case.leaves_its_zone(ours) {
                theirs.clone_from(ours);
            }
        },
    },
    Explained {
        name: "SOA left out without TC",
        rfc: "RFC 2308 §3",
        why: "Knot leaves SOA out of a negative answer where it does not fit, and does not set TC",
        put_right: |case, kind, theirs, ours| {
            let (Kind::Knot, Essence::Message(theirs), Essence::Message(ours)) = (kind, theirs, ours) else { return };
            let is_soa = ours.authority.keys().all(|(_, rtype, _)| *rtype == SOA);
            if !case.is_tcp && theirs.flags & TC == 0 && theirs.authority.is_empty() && is_soa {
                theirs.authority.clone_from(&ours.authority);
            }
        },
    },
    Explained {
        name: "SOA beside YXDOMAIN",
        rfc: "RFC 2308 §2",
        why: "Knot adds SOA; there is nothing negative to keep for a name that cannot be made",
        put_right: |_, kind, theirs, _| {
            if let (Kind::Knot, Essence::Message(theirs)) = (kind, theirs)
                && theirs.rcode == YXDOMAIN
            {
                theirs.authority.clear();
            }
        },
    },
    Explained {
        name: "TC where everything fits",
        rfc: "RFC 2181 §9",
        why: "some compress less, above all in what a DNAME makes, or give up earlier; what we send by UDP is what we send by TCP",
        put_right: |case, _, theirs, ours| {
            let (Essence::Message(theirs), Essence::Message(ours)) = (theirs, ours) else { return };
            if theirs.flags & TC != 0 && ours.flags & TC == 0 && case.is_as_by_tcp() {
                theirs.clone_from(ours);
            }
        },
    },
];

fn has_dname(reply: &Reply) -> bool {
    reply.message().is_some_and(|message| message.sections[ANSWER].keys().any(|(_, rtype, _)| *rtype == DNAME))
}

fn is_formerr(essence: &Essence) -> bool {
    matches!(essence, Essence::Message(meaning) if meaning.rcode == FORMERR)
}

/// Both replies, if both have this response code.
fn both<'e>(theirs: &'e mut Essence, ours: &'e Essence, rcode: u16) -> Option<(&'e mut Meaning, &'e Meaning)> {
    match (theirs, ours) {
        (Essence::Message(theirs), Essence::Message(ours)) if theirs.rcode == rcode && ours.rcode == rcode => {
            Some((theirs, ours))
        }
        _ => None,
    }
}

impl Meaning {
    /// Whether the answer has a DNAME whose target is below its owner.
    fn leads_below_itself(&self) -> bool {
        let dnames = self.answer.iter().filter(|((_, rtype, _), _)| *rtype == DNAME);
        dnames.into_iter().any(|((owner, ..), dname)| {
            dname.rdatas.iter().filter_map(|rdata| Name::from_wire(rdata)).any(|target| target.is_within(owner))
        })
    }
}
