//! The differences that are meant: what a reference gives, and the RFC that we follow instead.
//!
//! Each is a function that puts a reference's reply right, as narrowly as can be said; the judge then compares again.

use crate::{
    judge::{Case, Essence, Meaning},
    message::TC,
    name::Name,
    servers::Kind,
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

const FORMERR: u16 = 1;
const BADVERS: u16 = 16;
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
        name: "BADVERS with options",
        rfc: "RFC 6891 §6.1.3",
        why: "Knot answers options of a version that it does not know, NSD clears DO",
        put_right: |_, _, theirs, ours| {
            if let Some((theirs, ours)) = both(theirs, ours, BADVERS) {
                theirs.opt.clone_from(&ours.opt);
            }
        },
    },
    Explained {
        name: "FORMERR without OPT or question",
        rfc: "RFC 6891 §6.1.1",
        why: "all of them leave out OPT where options cannot be read, which says that EDNS is not known here; NSD sends a bare header",
        put_right: |_, _, theirs, ours| {
            if let Some((theirs, ours)) = both(theirs, ours, FORMERR) {
                if theirs.opt.is_none() {
                    theirs.opt.clone_from(&ours.opt);
                }
                if theirs.question.is_empty() {
                    theirs.question.clone_from(&ours.question);
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
        name: "glue left out without TC",
        rfc: "RFC 9471 §3.1",
        why: "NSD and BIND send part of the glue of servers below the cut when not all fits, and do not set TC",
        put_right: |_, _, theirs, ours| {
            let (Essence::Message(theirs), Essence::Message(ours)) = (theirs, ours) else { return };
            let is_less = theirs.glue.len() < ours.glue.len()
                && theirs.glue.iter().all(|(key, rrset)| ours.glue.get(key) == Some(rrset));
            if is_less && theirs.authority == ours.authority && theirs.flags & TC == 0 {
                theirs.glue.clone_from(&ours.glue);
            }
        },
    },
];

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
