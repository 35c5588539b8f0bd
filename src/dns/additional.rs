//! Addresses that spare a resolver its next question: glue beside a referral, and those of the names in NS, MX, SRV, SVCB and HTTPS.

use super::{
    answer::{Answer, Content, Entry, Owner, is_same_rrset},
    query::{FoldedName, take_plain_name},
};
use crate::{
    name,
    zone::{Found, Node, Rrset, Zone, rtype},
};

/// Record type SVCB; HTTPS has the same form.
const SVCB: u16 = 64;

/// RRsets that are added for convenience; nobody needs more, and finding them costs.
const OPTIONAL_MAX: usize = 16;

/// Adds the addresses of the servers that a delegation names: those at or below the cut itself must be there (RFC 9471 §3.1), those
/// elsewhere in the zone are a courtesy (§3.2).
pub(super) fn add_glue<'s>(zone: &'s Zone, cut: &[u8], servers: Rrset<'s>, answer: &mut Answer<'s>) {
    let mut has_others = false;
    for target in servers.rdatas() {
        let Some(folded) = FoldedName::fold(target) else { continue };
        if name::is_within(folded.as_wire(), cut) {
            push_addresses(zone.node(folded.as_wire()), Owner::Stored(target), answer, usize::MAX);
        } else {
            has_others = true;
        }
    }
    answer.n_glue_required = answer.additional.len();
    if !has_others {
        return;
    }
    let most = answer.additional.len() + OPTIONAL_MAX;
    for target in servers.rdatas() {
        let Some(folded) = FoldedName::fold(target) else { continue };
        if !name::is_within(folded.as_wire(), cut) {
            push_addresses(zone.node(folded.as_wire()), Owner::Stored(target), answer, most);
        }
    }
}

/// Adds the addresses of the names that the records of `rrset` point at, as far as this zone answers for them. `node` is where they stand:
/// a service may be its owner's own (RFC 9460 §2.5.2).
pub(super) fn add_addresses<'s>(
    zone: &'s Zone,
    owner: Owner<'s>,
    rrset: Rrset<'s>,
    node: Node<'s>,
    answer: &mut Answer<'s>,
) {
    let n_before = match rrset.rtype {
        rtype::NS => 0,
        rtype::MX | SVCB | rtype::HTTPS => 2,
        rtype::SRV => 6,
        _ => return,
    };
    for rdata in rrset.rdatas() {
        let Some(Ok((target, _))) = rdata.get(n_before..).map(take_plain_name) else { continue };
        if target == [0] {
            let is_own = matches!(rrset.rtype, SVCB | rtype::HTTPS) && !rdata.starts_with(&[0, 0]);
            if is_own {
                push_addresses(Some(node), owner, answer, OPTIONAL_MAX);
            }
            continue;
        }
        let Some(folded) = FoldedName::fold(target) else { continue };
        let is_in_zone = name::is_within(folded.as_wire(), zone.apex().as_wire());
        if is_in_zone && let Found::Exact(found) = zone.find(folded.as_wire()) {
            push_addresses(Some(found), Owner::Stored(target), answer, OPTIONAL_MAX);
        }
        if answer.additional.len() >= OPTIONAL_MAX {
            return;
        }
    }
}

/// Adds A and AAAA of a name, unless they are there already or there would be more than `most`. A POOL has none: a turn is taken by a
/// client that asks for it, not by one that may.
fn push_addresses<'s>(node: Option<Node<'s>>, owner: Owner<'s>, answer: &mut Answer<'s>, most: usize) {
    let Some(node) = node else { return };
    for rrset in [rtype::A, rtype::AAAA].into_iter().filter_map(|rtype| node.rrset(rtype)) {
        let is_there =
            |entry: &Entry<'s>| matches!(entry.content, Content::Stored(other) if is_same_rrset(other, rrset));
        if answer.additional.len() < most && !answer.additional.iter().any(is_there) {
            answer.additional.push(Entry { owner, ttl: rrset.ttl, content: Content::Stored(rrset) });
        }
    }
}
