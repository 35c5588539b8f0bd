//! The records of two sets of zones, and which pools the same names lead to in both.
//!
//! Goes through each zone once and looks every name up in the other: what is kept are counts, a few examples, and one entry for each pair of
//! pools, however many names there are.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{Listed, Plan, Side, moves::Use};
use crate::{
    name::Name,
    types::Ttl,
    zone::{Node, POOL, ServedZone, Zone, rtype},
};

/// RRsets that are told one by one in each zone; the others are counted.
const RRSETS_MAX: usize = 100;

/// What changes in one zone.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ZoneChange {
    /// Its apex.
    pub zone: String,
    /// Serial before; `None` if the zone is new.
    pub old_serial: Option<u32>,
    /// Serial after; `None` if the zone is gone.
    pub new_serial: Option<u32>,
    /// Names that are new.
    pub names_added: u64,
    /// Names that are gone.
    pub names_removed: u64,
    /// Names at which something is different.
    pub names_changed: u64,
    /// Records that are new.
    pub records_added: u64,
    /// Records that are gone.
    pub records_removed: u64,
    /// RRsets with another TTL.
    pub ttls_changed: u64,
    /// Names that had addresses, their own or a pool's, and have none any more.
    pub names_without_address: Listed,
    /// The first of the RRsets that change.
    pub rrsets: Vec<RrsetChange>,
    /// Those that are not told.
    pub rrsets_left_off: u64,
}

/// What changes in one RRset, or in a POOL record.
#[derive(Clone, Debug, Serialize)]
pub struct RrsetChange {
    /// Its owner.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub rtype: String,
    /// Records that are new.
    pub added: u64,
    /// Records that are gone.
    pub removed: u64,
    /// TTL before, if it was there.
    pub old_ttl: Option<u32>,
    /// TTL after, if it is there.
    pub new_ttl: Option<u32>,
    /// Pool before, of a POOL record.
    pub old_pool: Option<String>,
    /// Pool after.
    pub new_pool: Option<String>,
}

/// Pairs of pools, before and after, with the names and listeners that lead to them.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pairs: BTreeMap<(String, String, Use), Listed>,
}

impl Pairs {
    pub(super) fn add(&mut self, old: &str, new: &str, used: Use, who: &str) {
        // The usual case first, without a copy of the key.
        let key = (old.to_owned(), new.to_owned(), used);
        self.pairs.entry(key).or_default().add(who);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ((&str, &str, Use), &Listed)> {
        self.pairs.iter().map(|((old, new, used), names)| ((&**old, &**new, *used), names))
    }

    pub(super) fn names_of(&self, old: &str, new: &str) -> Listed {
        self.pairs.get(&(old.to_owned(), new.to_owned(), Use::Dns)).cloned().unwrap_or_default()
    }
}

/// Compares the zones of both, and gathers which pools the names that both have lead to.
pub(super) fn compare(old: Side<'_>, new: Side<'_>, plan: &mut Plan, pairs: &mut Pairs) {
    for served in old.snapshot.zones.iter() {
        match new.snapshot.zones.get(served.zone.apex()) {
            Some(other) => compare_zone(served, other, plan, pairs),
            None => {
                let mut change = ZoneChange { zone: served.zone.apex().to_string(), ..ZoneChange::default() };
                change.old_serial = Some(served.zone.serial());
                (change.names_removed, change.records_removed) = counts(&served.zone);
                plan.zones.push(change);
            }
        }
    }
    for served in new.snapshot.zones.iter().filter(|served| old.snapshot.zones.get(served.zone.apex()).is_none()) {
        let mut change = ZoneChange { zone: served.zone.apex().to_string(), ..ZoneChange::default() };
        change.new_serial = Some(served.zone.serial());
        (change.names_added, change.records_added) = counts(&served.zone);
        plan.zones.push(change);
    }
    plan.zones.sort_by(|one, other| one.zone.cmp(&other.zone));
}

fn counts(zone: &Zone) -> (u64, u64) {
    (zone.n_names() as u64, zone.n_records() as u64)
}

fn compare_zone(old: &ServedZone, new: &ServedZone, plan: &mut Plan, pairs: &mut Pairs) {
    let mut change = ZoneChange {
        zone: old.zone.apex().to_string(),
        old_serial: Some(old.zone.serial()),
        new_serial: Some(new.zone.serial()),
        ..ZoneChange::default()
    };
    let is_same = Arc::ptr_eq(&old.zone, &new.zone);
    // Pairs by the numbers of the zones' own lists first: a million names share a few.
    let mut by_number: BTreeMap<(usize, usize), Listed> = BTreeMap::new();
    for (name, node) in old.zone.iter().filter(|(_, node)| !node.is_empty()) {
        let other = if is_same { Some(node) } else { new.zone.node(name.as_wire()).filter(|node| !node.is_empty()) };
        let Some(other) = other else {
            change.names_removed += 1;
            compare_names((&old.zone, &new.zone), &name, Some(node), None, &mut change);
            continue;
        };
        plan.n_names_compared += 1;
        if let (Some((before, _)), Some((after, _))) = (node.pool(), other.pool()) {
            by_number.entry((before, after)).or_default().add_with(|| name.to_string());
        }
        if !is_same && compare_names((&old.zone, &new.zone), &name, Some(node), Some(other), &mut change) {
            change.names_changed += 1;
        }
    }
    if !is_same {
        for (name, node) in new.zone.iter().filter(|(_, node)| !node.is_empty()) {
            if old.zone.node(name.as_wire()).is_none_or(Node::is_empty) {
                change.names_added += 1;
                compare_names((&old.zone, &new.zone), &name, None, Some(node), &mut change);
            }
        }
    }
    for ((before, after), names) in by_number {
        let (Some(before), Some(after)) = (old.zone.pools().get(before), new.zone.pools().get(after)) else { continue };
        pairs.pairs.entry((before.name.to_string(), after.name.to_string(), Use::Dns)).or_default().join(names);
    }
    if change.names_added + change.names_removed + change.names_changed > 0 {
        plan.zones.push(change);
    }
}

/// Compares what stands at one name; whether anything is different.
fn compare_names(
    (old_zone, new_zone): (&Zone, &Zone),
    name: &Name,
    old: Option<Node<'_>>,
    new: Option<Node<'_>>,
    change: &mut ZoneChange,
) -> bool {
    let mut types: Vec<u16> = old.iter().chain(&new).flat_map(|node| node.rrsets()).map(|rrset| rrset.rtype).collect();
    types.sort_unstable();
    types.dedup();
    let mut is_changed = false;
    let told = |change: &mut ZoneChange, rrset: RrsetChange| {
        (change.records_added, change.records_removed) =
            (change.records_added + rrset.added, change.records_removed + rrset.removed);
        change.ttls_changed +=
            u64::from(rrset.old_ttl.is_some() && rrset.new_ttl.is_some() && rrset.old_ttl != rrset.new_ttl);
        if change.rrsets.len() < RRSETS_MAX {
            change.rrsets.push(rrset);
        } else {
            change.rrsets_left_off += 1;
        }
    };
    for rtype in types {
        let (before, after) = (rrset_of(old, rtype), rrset_of(new, rtype));
        if before == after {
            continue;
        }
        is_changed = true;
        let (old_ttl, new_ttl) = (before.as_ref().map(|(ttl, _)| ttl.get()), after.as_ref().map(|(ttl, _)| ttl.get()));
        let (before, after) =
            (before.map(|(_, rdatas)| rdatas).unwrap_or_default(), after.map(|(_, rdatas)| rdatas).unwrap_or_default());
        let missing = |here: &[&[u8]], there: &[&[u8]]| {
            here.iter().filter(|rdata| there.binary_search(rdata).is_err()).count() as u64
        };
        let (added, removed) = (missing(&after, &before), missing(&before, &after));
        let (name, rtype) = (name.to_string(), rtype::show(rtype));
        told(change, RrsetChange { name, rtype, added, removed, old_ttl, new_ttl, old_pool: None, new_pool: None });
    }
    let pool = |zone: &Zone, node: Option<Node<'_>>| -> Option<(String, Ttl)> {
        let (index, ttl) = node?.pool()?;
        Some((zone.pools().get(index)?.name.to_string(), ttl))
    };
    let (before, after) = (pool(old_zone, old), pool(new_zone, new));
    if before != after {
        is_changed = true;
        let is_other = before.as_ref().map(|(pool, _)| pool) != after.as_ref().map(|(pool, _)| pool);
        let count = |there: &Option<(String, Ttl)>| u64::from(is_other && there.is_some());
        let (added, removed) = (count(&after), count(&before));
        let ttl = |there: &Option<(String, Ttl)>| there.as_ref().map(|(_, ttl)| ttl.get());
        let (old_ttl, new_ttl) = (ttl(&before), ttl(&after));
        let (old_pool, new_pool) = (before.map(|(pool, _)| pool), after.map(|(pool, _)| pool));
        let (name, rtype) = (name.to_string(), POOL.to_owned());
        told(change, RrsetChange { name, rtype, added, removed, old_ttl, new_ttl, old_pool, new_pool });
    }
    if has_address(old) && !has_address(new) {
        change.names_without_address.add(&name.to_string());
    }
    is_changed
}

/// TTL and records of one type at a name.
fn rrset_of(node: Option<Node<'_>>, rtype: u16) -> Option<(Ttl, Vec<&[u8]>)> {
    let rrset = node?.rrset(rtype)?;
    Some((rrset.ttl, rdatas(rrset)))
}

/// The records of an RRset, in an order of their own: that of the file means nothing.
fn rdatas(rrset: crate::zone::Rrset<'_>) -> Vec<&[u8]> {
    let mut rdatas: Vec<&[u8]> = rrset.rdatas().collect();
    rdatas.sort_unstable();
    rdatas
}

/// Whether a name has addresses, or leads to a name that may.
fn has_address(node: Option<Node<'_>>) -> bool {
    node.is_some_and(|node| {
        let has = |rtype| node.rrset(rtype).is_some();
        node.pool().is_some() || [rtype::A, rtype::AAAA, rtype::CNAME].into_iter().any(has)
    })
}
