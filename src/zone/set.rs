//! The zones that are served together, found by the longest apex that a name is within.
//!
//! A clone costs one reference count a zone, so a changed set is made from a clone of the old one.

use std::sync::Arc;

use hashbrown::HashTable;

use super::{Zone, tree::hash_label};
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
}

/// Zones by apex.
#[derive(Clone, Debug, Default)]
pub struct ZoneSet {
    table: HashTable<Arc<ServedZone>>,
}

impl ZoneSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The zone with the longest apex that `qname` (uncompressed wire form, lower case) is at or below. One probe a label; allocates nothing.
    pub fn find(&self, qname: &[u8]) -> Option<&Arc<ServedZone>> {
        if self.table.is_empty() {
            return None;
        }
        // Hashes grow from the right, the longest suffix is tried first: one pass to hash, one to probe.
        let mut suffixes = [&[][..]; NAME_OCTETS_MAX / 2 + 1];
        let mut n_suffixes = 0;
        let mut suffix = Some(qname);
        while let Some(wire) = suffix {
            *suffixes.get_mut(n_suffixes)? = wire;
            n_suffixes += 1;
            suffix = name::parent(wire);
        }
        let suffixes = suffixes.get(..n_suffixes)?;
        let mut hashes = [0; NAME_OCTETS_MAX / 2 + 1];
        let mut hash = 0;
        for (slot, suffix) in hashes.get_mut(..n_suffixes)?.iter_mut().zip(suffixes.iter().rev()) {
            hash = hash_label(hash, name::labels(suffix).next().unwrap_or_default());
            *slot = hash;
        }
        let hashes = hashes.get(..n_suffixes)?;
        suffixes.iter().zip(hashes.iter().rev()).find_map(|(suffix, &hash)| self.get_hashed(hash, suffix))
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

/// The hash of the labels from the right, the root first: what [`ZoneSet::find`] computes for each suffix.
fn hash_name(name: &Name) -> u64 {
    let mut suffix = Some(name.as_wire());
    let mut labels = Vec::with_capacity(8);
    while let Some(wire) = suffix {
        labels.push(name::labels(wire).next().unwrap_or_default());
        suffix = name::parent(wire);
    }
    labels.iter().rev().fold(0, |hash, label| hash_label(hash, label))
}
