//! The zones that are served together, found by the longest apex that a name is within.
//!
//! A clone costs one reference count a zone, so a changed set is made from a clone of the old one.

use std::sync::Arc;

use hashbrown::HashTable;

use super::{
    Zone,
    tree::{HASH_OF_ROOT, hash_label},
};
use crate::{
    name::{self, NAME_OCTETS_MAX, Name},
    types::PoolId,
};

/// A zone with its pools resolved for one snapshot.
#[derive(Debug)]
pub struct ServedZone {
    /// The zone.
    pub zone: Arc<Zone>,
    /// `pools[i]` is what [`Zone::pools`]`()[i]` names in the snapshot.
    pub pools: Box<[PoolId]>,
    /// Whether nothing can be said any more about its names: a copy whose primary has not been reached for too long (RFC 1034 §4.3.5).
    pub is_expired: bool,
}

/// Zones by apex.
#[derive(Clone, Debug, Default)]
pub struct ZoneSet {
    table: HashTable<Arc<ServedZone>>,
    /// Bit `n`: some apex has, or once had, `n` labels. Nowhere else is anything to be found.
    depths: u128,
}

impl ZoneSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The zone with the longest apex that `qname` (uncompressed wire form, lower case) is at or below. Costs at most one probe a label, and
    /// no more than the longest apex has; allocates nothing.
    pub fn find(&self, qname: &[u8]) -> Option<&Arc<ServedZone>> {
        let mut starts = [0; NAME_OCTETS_MAX / 2];
        let mut n_labels = 0;
        let mut at = 0u8;
        while let Some(&length) = qname.get(usize::from(at)).filter(|&&length| length > 0) {
            *starts.get_mut(n_labels)? = at;
            n_labels += 1;
            at = at.checked_add(length)?.checked_add(1)?;
        }
        let has_depth = |depth: usize| self.depths >> depth & 1 != 0;
        let mut hash = HASH_OF_ROOT;
        let root = qname.get(usize::from(at)..)?;
        let mut found = if has_depth(0) { self.get_hashed(hash, root) } else { None };
        let n_depths = (u128::BITS - self.depths.leading_zeros()) as usize;
        for (depth, &start) in (1..n_depths).zip(starts.get(..n_labels)?.iter().rev()) {
            let suffix = qname.get(usize::from(start)..)?;
            hash = hash_label(hash, name::labels(suffix).next()?);
            if has_depth(depth) {
                found = self.get_hashed(hash, suffix).or(found);
            }
        }
        found
    }

    /// The zone that encloses `apex` strictly from above: it holds the DS of a child that is served here too (RFC 4035 §3.1.4.1).
    pub fn find_above(&self, apex: &Name) -> Option<&Arc<ServedZone>> {
        self.find(name::parent(apex.as_wire())?)
    }

    /// The zone with exactly this apex.
    pub fn get(&self, apex: &Name) -> Option<&Arc<ServedZone>> {
        self.get_hashed(hash_name(apex), apex.as_wire())
    }

    /// Adds a zone; returns the one with the same apex that it replaces.
    pub fn insert(&mut self, zone: Arc<ServedZone>) -> Option<Arc<ServedZone>> {
        let replaced = self.remove(&zone.zone.apex);
        self.depths |= 1 << zone.zone.apex.labels().count();
        self.table.insert_unique(hash_name(&zone.zone.apex), zone, |other| hash_name(&other.zone.apex));
        replaced
    }

    /// Takes a zone out.
    pub fn remove(&mut self, apex: &Name) -> Option<Arc<ServedZone>> {
        let entry = self.table.find_entry(hash_name(apex), |served| served.zone.apex == *apex).ok()?;
        Some(entry.remove().0)
    }

    /// Every zone, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ServedZone>> {
        self.table.iter()
    }

    /// How many zones.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no zone.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn get_hashed(&self, hash: u64, apex: &[u8]) -> Option<&Arc<ServedZone>> {
        self.table.find(hash, |served| served.zone.apex.as_wire() == apex)
    }
}

/// The hash that [`ZoneSet::find`] computes for each suffix on its way.
fn hash_name(name: &Name) -> u64 {
    let labels: Vec<&[u8]> = name.labels().collect();
    labels.iter().rev().fold(HASH_OF_ROOT, |hash, label| hash_label(hash, label))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn served(apex: &str) -> Arc<ServedZone> {
        let text = "$TTL 300\n@ SOA ns h 1 2 3 4 60\n@ NS ns.example.net.\n";
        let path = format!("{apex}.zone");
        let (zone, _) = Zone::from_text(Path::new(&path), &text.replace('@', &format!("{apex}."))).expect("zone");
        Arc::new(ServedZone { zone: Arc::new(zone), pools: Box::new([]), is_expired: false })
    }

    fn check(set: &ZoneSet, qname: &str, expected: Option<&str>) {
        let qname: Name = qname.parse().expect("name");
        let found = set.find(qname.as_wire()).map(|served| served.zone.apex().to_string());
        assert_eq!(found.as_deref(), expected, "{qname}");
    }

    #[test]
    fn rfc1034_4_3_2_the_longest_apex_wins() {
        let mut set = ZoneSet::new();
        check(&set, "example.org", None);
        for apex in ["example.org", "sub.example.org", "deep.sub.sub.example.org"] {
            assert!(set.insert(served(apex)).is_none());
        }
        check(&set, "example.org", Some("example.org."));
        check(&set, "a.b.example.org", Some("example.org."));
        check(&set, "sub.example.org", Some("sub.example.org."));
        check(&set, "sub.sub.example.org", Some("sub.example.org."));
        check(&set, "x.deep.sub.sub.example.org", Some("deep.sub.sub.example.org."));
        check(&set, "badexample.org", None);
        check(&set, "org", None);
        check(&set, ".", None);
        let longest = format!("{}example.org", "a.".repeat(121));
        check(&set, &longest, Some("example.org."));
        assert_eq!(set.len(), 3);
        assert_eq!(set.iter().count(), 3);
    }

    #[test]
    fn rfc4035_3_1_4_1_the_zone_above_an_apex_is_found() {
        let mut set = ZoneSet::new();
        set.insert(served("example.org"));
        set.insert(served("sub.example.org"));
        let above =
            |apex: &str| set.find_above(&apex.parse().expect("name")).map(|served| served.zone.apex().to_string());
        assert_eq!(above("sub.example.org").as_deref(), Some("example.org."));
        assert_eq!(above("example.org"), None);
        assert_eq!(above("."), None);
    }

    #[test]
    fn the_root_zone_encloses_everything() {
        let mut set = ZoneSet::new();
        let text = "$ORIGIN .\n$TTL 1\n. SOA ns h 1 2 3 4 5\n. NS ns.\nns. A 192.0.2.1\n";
        let (zone, _) = Zone::from_text(Path::new("root.zone"), text).expect("zone");
        set.insert(Arc::new(ServedZone { zone: Arc::new(zone), pools: Box::new([]), is_expired: false }));
        check(&set, "a.example.org", Some("."));
        check(&set, ".", Some("."));
    }

    #[test]
    fn changed_clone_leaves_the_old_set_alone() {
        let mut set = ZoneSet::new();
        set.insert(served("example.org"));
        let mut changed = set.clone();
        assert!(changed.insert(served("example.org")).is_some(), "the old zone comes back");
        assert_eq!(changed.len(), 1);
        assert!(changed.remove(&"example.org".parse().expect("name")).is_some());
        assert!(changed.is_empty());
        check(&set, "example.org", Some("example.org."));
        assert!(set.get(&"example.org".parse().expect("name")).is_some());
    }
}
