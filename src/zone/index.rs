//! Finds the place of a name in the store by the hash of the name.
//!
//! Open addressing in one array, a slot an octet word: half of it tells most strangers apart without a look at the name, the other half is the
//! place. A lookup reads one line of memory here and one in the store, whatever the size of the zone. Built once; nothing is added after.

use super::store::Place;

/// Slots for each name, in halves: with a third of them empty, a search that finds nothing ends after five on average.
const HALF_SLOTS_PER_NAME: usize = 3;
/// No name stands at the last octet of an arena of 4 GiB.
const EMPTY: u64 = u64::MAX;

/// Places by hash.
#[derive(Debug)]
pub(super) struct Index {
    /// The low half of the hash above the place.
    slots: Box<[u64]>,
}

impl Index {
    /// An index of names by hash; several may have the same.
    pub(super) fn new(names: impl ExactSizeIterator<Item = (u64, Place)>) -> Self {
        // One more, so that there is an empty one even where rounding leaves none.
        let mut slots = vec![EMPTY; names.len() * HALF_SLOTS_PER_NAME / 2 + 1].into_boxed_slice();
        for (hash, place) in names {
            let (before, after) = slots.split_at_mut(first_slot(hash, slots.len()));
            if let Some(slot) = after.iter_mut().chain(before).find(|slot| **slot == EMPTY) {
                *slot = hash << 32 | u64::from(place.0);
            }
        }
        Self { slots }
    }

    /// The places of all names with this hash, and rarely of others.
    #[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
    pub(super) fn find(&self, hash: u64) -> impl Iterator<Item = Place> {
        let (before, after) = self.slots.split_at_checked(first_slot(hash, self.slots.len())).unwrap_or_default();
        let filled = after.iter().chain(before).take_while(|slot| **slot != EMPTY);
        filled.filter(move |slot| **slot >> 32 == hash & 0xffff_ffff).map(|slot| Place(*slot as u32))
    }
}

/// Where the search for a hash starts: its high half, scaled to the number of slots.
fn first_slot(hash: u64, n_slots: usize) -> usize {
    usize::try_from((u128::from(hash >> 32) * n_slots as u128) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found_by_its_hash_even_where_all_start_at_one_slot() {
        let hashes = [0, 1, u64::MAX, u64::MAX, u64::MAX - 1, 0xffff_ffff_0000_0000, 1 << 63];
        let names: Vec<_> = hashes.into_iter().zip((7..).map(Place)).collect();
        let index = Index::new(names.iter().copied());
        for (hash, place) in names {
            assert!(index.find(hash).any(|found| found == place), "{hash:x}");
        }
        assert_eq!(index.find(2).count(), 0);
        assert_eq!(Index::new([].into_iter()).find(0).count(), 0);
    }
}
