//! The rules between the records of a zone: what may stand beside what, and where.
//!
//! Errors are what no answer could be right for; warnings are what can be served but is hardly meant.

use std::collections::HashSet;

use super::{
    Found, Zone,
    build::{Builder, POOL_TYPE, Staged},
    findings::{Findings, Spot},
    rtype,
    store::{Marks, Node},
    tree::NodeId,
};
use crate::name::{self, Name};

/// Refuses records that are not at or below the apex (RFC 1035 §5.2).
pub(super) fn refuse_outside(builder: &Builder, findings: &mut Findings<'_>, apex: NodeId, at_name: &[Staged]) {
    for record in at_name {
        if record.rtype == rtype::SOA {
            continue;
        }
        let (owner, apex) = (shown(builder, record.node), shown(builder, apex));
        let hint = "a name without a final dot is relative to $ORIGIN";
        findings.error_hint(record.spot, format!("`{owner}` is outside of zone `{apex}`"), hint);
    }
}

/// Checks the records of one name, sorted by type.
pub(super) fn check_name(builder: &Builder, findings: &mut Findings<'_>, apex: NodeId, at_name: &[Staged]) {
    let Some(first) = at_name.first() else { return };
    check_place(builder, findings, apex, at_name);
    if let [_] = at_name
        && first.node != apex
    {
        return;
    }
    for rrset in at_name.chunk_by(|left, right| left.rtype == right.rtype) {
        check_rrset(builder, findings, rrset);
    }
    check_neighbours(builder, findings, apex, at_name);
}

/// Checks whether records may be where they are: below a cut or a DNAME nothing answers.
fn check_place(builder: &Builder, findings: &mut Findings<'_>, apex: NodeId, at_name: &[Staged]) {
    let Some(first) = at_name.first() else { return };
    let (mut at, mut occluded_by) = (first.node, None);
    while at != apex {
        at = builder.tree.parent(at);
        // Names above have smaller numbers, so they were packed before.
        let marks = builder.tree.marks(at);
        if marks.has(Marks::CUT) || marks.has(Marks::DNAME) {
            occluded_by = Some((at, marks));
        }
        if at == apex || at == NodeId::ROOT {
            break;
        }
    }
    let is_cut = first.node != apex && at_name.iter().any(|record| record.rtype == rtype::NS);
    for record in at_name {
        match occluded_by {
            // Said already, as the second SOA.
            _ if record.rtype == rtype::SOA && record.node != apex => {}
            Some((by, marks)) => check_occluded(builder, findings, by, marks, record),
            None if is_cut => check_at_cut(builder, findings, record),
            None => {}
        }
    }
}

/// Checks a record below the cut or DNAME `by`.
fn check_occluded(builder: &Builder, findings: &mut Findings<'_>, by: NodeId, marks: Marks, record: &Staged) {
    let is_dname = marks.has(Marks::DNAME);
    if !is_dname && matches!(record.rtype, rtype::A | rtype::AAAA) {
        return;
    }
    let (by, what) = (shown(builder, by), if is_dname { "redirected by DNAME" } else { "delegated" });
    if record.rtype == POOL_TYPE {
        findings.error(record.spot, format!("POOL never answers here: `{by}` is {what}"));
        return;
    }
    let hint = if is_dname { "remove it, or the DNAME" } else { "only glue belongs here" };
    findings.warning(record.spot, format!("never answers: `{by}` is {what}"), hint);
}

/// Checks a record at a name that has NS and is not the apex.
fn check_at_cut(builder: &Builder, findings: &mut Findings<'_>, record: &Staged) {
    let is_wildcard = builder.tree.label(record.node) == b"*";
    match record.rtype {
        POOL_TYPE => {
            findings.error_hint(record.spot, "POOL at a delegation", "whoever the NS records name answers here");
        }
        rtype::NS if is_wildcard => {
            findings.error_hint(record.spot, "NS at a wildcard", "a delegation has one name (RFC 4592 §4.2)");
        }
        rtype::NS | rtype::DS | rtype::NSEC | rtype::RRSIG | rtype::A | rtype::AAAA => {}
        // An error beside NS.
        rtype::CNAME | rtype::DNAME => {}
        _ => {
            let hint = "whoever the NS records name answers here, but for DS";
            findings.warning(record.spot, "never answers: this name is delegated", hint);
        }
    }
}

/// Checks the records of one name and type.
fn check_rrset(builder: &Builder, findings: &mut Findings<'_>, rrset: &[Staged]) {
    let Some((first, others)) = rrset.split_first() else { return };
    for other in others {
        // Counting lines is slow, and there may be a million of them.
        if findings.is_full() {
            return;
        }
        let line = |findings: &Findings<'_>| findings.line(first.spot, other.spot);
        match first.rtype {
            POOL_TYPE => {
                let line = line(findings);
                let pool = builder.pool_of(first);
                let hint = "make a pool of both in the configuration and name that";
                findings.error_hint(other.spot, format!("second POOL at one name; `{pool}` is on {line}"), hint);
            }
            // Said already, at the SOA.
            rtype::SOA => {}
            rtype::CNAME | rtype::DNAME if builder.rdata_of(other) != builder.rdata_of(first) => {
                let line = line(findings);
                let name = shown_type(first.rtype);
                findings.error(other.spot, format!("second {name} at one name; the first is on {line}"));
            }
            // The signatures of one name cover RRsets of different TTLs (RFC 4034 §3).
            rtype::RRSIG => {}
            _ if other.ttl != first.ttl => {
                let line = line(findings);
                let (name, ttl, first_ttl) = (shown_type(first.rtype), other.ttl.get(), first.ttl.get());
                let message = format!("TTL {ttl} differs from {first_ttl} of the {name} record on {line}");
                let hint = "the records of one name and type have one TTL (RFC 2181 §5.2)";
                findings.error_hint(other.spot, message, hint);
            }
            _ => {}
        }
    }
}

/// Checks which types stand at one name.
fn check_neighbours(builder: &Builder, findings: &mut Findings<'_>, apex: NodeId, at_name: &[Staged]) {
    let first_of = |rtype| at_name.iter().find(|record| record.rtype == rtype);
    let owner = at_name.first().map_or(NodeId::ROOT, |record| record.node);
    if let Some(cname) = first_of(rtype::CNAME) {
        let may_stand_there = |rtype| matches!(rtype, rtype::CNAME | rtype::RRSIG | rtype::NSEC | rtype::KEY);
        let other = at_name.iter().find(|record| !may_stand_there(record.rtype));
        if owner == apex {
            let hint = "at the apex write POOL, or addresses";
            findings.error_hint(cname.spot, "CNAME at the apex", hint);
        } else if let Some(other) = other {
            let (later, earlier) = in_order(cname, other);
            let line = findings.line(earlier.spot, later.spot);
            let (later_type, earlier_type) = (shown_type(later.rtype), shown_type(earlier.rtype));
            let message = format!("{later_type} beside the {earlier_type} on {line}");
            findings.error_hint(later.spot, message, "a CNAME stands alone at its name (RFC 1034 §3.6.2)");
        }
    }
    if let Some(dname) = first_of(rtype::DNAME)
        && owner != apex
        && let Some(ns) = first_of(rtype::NS)
    {
        let (later, earlier) = in_order(dname, ns);
        let line = findings.line(earlier.spot, later.spot);
        let (later_type, earlier_type) = (shown_type(later.rtype), shown_type(earlier.rtype));
        let message = format!("{later_type} beside the {earlier_type} on {line}");
        findings.error_hint(later.spot, message, "a name is delegated or redirected, not both (RFC 6672 §2.3)");
    }
    if let Some(pool) = first_of(POOL_TYPE)
        && let Some(address) = first_of(rtype::A).or(first_of(rtype::AAAA))
    {
        let (later, earlier) = in_order(pool, address);
        let line = findings.line(earlier.spot, later.spot);
        let (later_type, earlier_type) = (shown_type(later.rtype), shown_type(earlier.rtype));
        let message = format!("{later_type} beside the {earlier_type} on {line}");
        let name = builder.pool_of(pool);
        findings.error_hint(later.spot, message, format!("the addresses of this name come from pool `{name}`"));
    }
}

/// Checks what can only be seen once all names are known: the apex, and what records point at.
pub(super) fn check_zone(
    builder: &Builder,
    findings: &mut Findings<'_>,
    zone: &Zone,
    soa: &Staged,
    records: &[Staged],
) {
    let has_ns = zone.node(zone.apex.as_wire()).is_some_and(|apex| apex.rrset(rtype::NS).is_some());
    if !has_ns && !findings.has_errors() {
        let apex = zone.apex();
        let hint = "name the nameservers of this zone, such as `@ NS ns1`";
        findings.error_hint(soa.spot, format!("zone `{apex}` has no NS at its apex"), hint);
    }
    // While something is missing from the zone because it could not be read, nothing can be said to be missing.
    if findings.has_errors() {
        return;
    }
    for record in records {
        if !matches!(record.rtype, rtype::NS | rtype::MX | rtype::SRV) {
            continue;
        }
        let rdata = builder.rdata_of(record);
        let target = rdata.get(name_at(record.rtype, rdata)..).unwrap_or_default().to_ascii_lowercase();
        check_target(zone, findings, record, &builder.tree.wire(record.node), &target);
    }
}

fn check_target(zone: &Zone, findings: &mut Findings<'_>, record: &Staged, owner: &[u8], target: &[u8]) {
    if !name::is_within(target, zone.apex.as_wire()) {
        return;
    }
    let (kind, name) =
        (shown_type(record.rtype), Name::from_wire(target).map_or(String::new(), |name| name.to_string()));
    let has_address =
        |node: Node<'_>| node.rrset(rtype::A).is_some() || node.rrset(rtype::AAAA).is_some() || node.pool().is_some();
    match zone.find(target) {
        Found::Exact(node) | Found::Wildcard { node, .. } if node.rrset(rtype::CNAME).is_some() => {
            let hint = "point at the name that the addresses are at (RFC 2181 §10.3)";
            findings.warning(record.spot, format!("{kind} points at `{name}`, which is a CNAME"), hint);
        }
        Found::Dname { .. } => {
            let hint = "point at the name that the addresses are at (RFC 2181 §10.3)";
            findings.warning(record.spot, format!("{kind} points at `{name}`, which DNAME redirects"), hint);
        }
        _ if record.rtype != rtype::NS => {}
        Found::Exact(node) | Found::Wildcard { node, .. } if has_address(node) => {}
        Found::Exact(_) | Found::Wildcard { .. } | Found::Missing => {
            let hint = format!("add `{name} A` or `AAAA`");
            findings.warning(record.spot, format!("nameserver `{name}` has no address"), hint);
        }
        // Below another delegation the address is for that one to know.
        Found::Cut { .. } if !name::is_within(target, owner) || zone.node(target).is_some_and(has_address) => {}
        Found::Cut { .. } => {
            let hint =
                format!("add `{name} A` or `AAAA`: nobody can reach a nameserver below the name it serves without");
            findings.warning(record.spot, format!("nameserver `{name}` has no glue"), hint);
        }
    }
}

/// The records of an RRset without those that say the same as an earlier one (RFC 2181 §5).
pub(super) fn without_duplicates<'r>(builder: &Builder, rrset: &'r [Staged]) -> Vec<&'r Staged> {
    // Nearly all sets are small, and comparing a few is cheaper than hashing them.
    if rrset.len() <= 8 {
        let mut distinct: Vec<&Staged> = Vec::with_capacity(rrset.len());
        for record in rrset {
            let rdata = builder.rdata_of(record);
            if !distinct.iter().any(|earlier| is_same(record.rtype, builder.rdata_of(earlier), rdata)) {
                distinct.push(record);
            }
        }
        return distinct;
    }
    let comparable = |record: &Staged| {
        let rdata = builder.rdata_of(record);
        let (plain, name) = rdata.split_at(name_at(record.rtype, rdata));
        (plain, name.to_ascii_lowercase())
    };
    let mut seen = HashSet::with_capacity(rrset.len());
    rrset.iter().filter(|record| seen.insert(comparable(record))).collect()
}

/// Whether two rdatas of a type say the same: names do in any letters (RFC 4343).
fn is_same(rtype: u16, left: &[u8], right: &[u8]) -> bool {
    let (left_plain, left_name) = left.split_at(name_at(rtype, left));
    let (right_plain, right_name) = right.split_at(name_at(rtype, right));
    left_plain == right_plain && left_name.eq_ignore_ascii_case(right_name)
}

/// Where the name that ends an rdata starts; its length if none does.
fn name_at(rtype: u16, rdata: &[u8]) -> usize {
    let at = match rtype {
        rtype::NS | rtype::CNAME | rtype::PTR | rtype::DNAME => 0,
        rtype::MX | rtype::AFSDB | rtype::RT | rtype::KX => 2,
        rtype::SRV => 6,
        _ => rdata.len(),
    };
    at.min(rdata.len())
}

fn in_order<'r>(left: &'r Staged, right: &'r Staged) -> (&'r Staged, &'r Staged) {
    let place = |spot: Spot| (spot.file, spot.start);
    if place(left.spot) > place(right.spot) { (left, right) } else { (right, left) }
}

fn shown(builder: &Builder, node: NodeId) -> String {
    Name::from_wire(&builder.tree.wire(node)).map_or(String::new(), |name| name.to_string())
}

fn shown_type(rtype: u16) -> String {
    if rtype == POOL_TYPE { super::POOL.to_owned() } else { rtype::show(rtype) }
}
