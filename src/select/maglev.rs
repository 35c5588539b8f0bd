//! The affinity table: which realserver a key belongs to, over *all* configured realservers of a pool.
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016, §3.4), with weights: a realserver fills slots
//! in proportion to its weight. Built from names and weights in the order of names, so that neither the order in the file nor the node nor
//! a restart matters. Health does not enter: who finds its slot's realserver ineligible hashes on with the next attempt number, so that a
//! realserver that goes down moves only its own clients and gets exactly them back.
//!
//! The hash is SipHash-2-4 with the keys below, over bytes laid down here. All of it is a contract between nodes of different versions:
//! the golden vectors in the tests may never change.

use std::{hash::Hasher as _, net::IpAddr};

use siphasher::sip::SipHasher24;

use crate::types::{RealserverId, Weight};

/// Slots for each realserver, at least: the shares then are within one percent of the weights.
const SLOTS_PER_REALSERVER: usize = 100;
/// Slots of the smallest table: so few that ten thousand pools can have one, so many that a pool of two is halved to a thousandth.
const SLOTS_MIN: usize = 2000;
/// Slots of the largest table, for 65,536 realservers.
const SLOTS_MAX: usize = 6_553_621;
/// The first key of each use of the hash; the second key is 0 but for the score.
const KEY_OFFSET: u64 = 0x6f66_6673_6574;
const KEY_SKIP: u64 = 0x736b_6970;
const KEY_NAME: u64 = 0x6e61_6d65;
const KEY_CLIENT: u64 = 0x636c_6965_6e74;

/// A table from slot to realserver, its size a prime.
#[derive(Debug)]
pub struct Maglev {
    slots: Box<[RealserverId]>,
    /// Hash of the name, by id.
    names: Box<[u64]>,
}

impl Maglev {
    /// Builds the table for realservers by name and weight, each id once.
    pub fn new<'n>(realservers: impl IntoIterator<Item = (RealserverId, &'n str, Weight)>) -> Self {
        let mut members: Vec<_> = realservers.into_iter().collect();
        members.sort_unstable_by_key(|(_, name, _)| *name);
        let size = prime_from((members.len() * SLOTS_PER_REALSERVER).clamp(SLOTS_MIN, SLOTS_MAX));
        let slots = populate(&members, size);
        members.sort_unstable_by_key(|(id, _, _)| *id);
        Self { slots, names: members.iter().map(|(_, name, _)| hash(KEY_NAME, name)).collect() }
    }

    /// Who serves `key` at attempt number `attempt`, from 0.
    pub fn at(&self, key: IpAddr, attempt: u32) -> RealserverId {
        let mut hasher = SipHasher24::new_with_keys(KEY_CLIENT, 0);
        write_address(&mut hasher, key);
        hasher.write(&attempt.to_be_bytes());
        let slot = hasher.finish().checked_rem(self.slots.len() as u64).and_then(|slot| usize::try_from(slot).ok());
        slot.and_then(|slot| self.slots.get(slot)).copied().unwrap_or(RealserverId(0))
    }

    /// How much `key` prefers this realserver where attempts at slots have not found enough of them.
    pub fn score(&self, key: IpAddr, id: RealserverId) -> u64 {
        let mut hasher =
            SipHasher24::new_with_keys(KEY_CLIENT, self.names.get(usize::from(id.0)).copied().unwrap_or(0));
        write_address(&mut hasher, key);
        hasher.finish()
    }

    /// The slots, for shares and tests.
    pub fn slots(&self) -> &[RealserverId] {
        &self.slots
    }
}

/// Lets the members take turns at their next preferred empty slot until none is left. A member with less than the greatest weight skips
/// turns so that its share is that of its weight.
fn populate(members: &[(RealserverId, &str, Weight)], size: usize) -> Box<[RealserverId]> {
    struct Walker {
        id: RealserverId,
        offset: usize,
        skip: usize,
        weight: u64,
        credit: u64,
    }
    let heaviest = members.iter().map(|(_, _, weight)| u64::from(weight.get())).max().unwrap_or(1);
    let walker = |&(id, name, weight): &(RealserverId, &str, Weight)| Walker {
        id,
        offset: reduce(hash(KEY_OFFSET, name), size),
        skip: reduce(hash(KEY_SKIP, name), size - 1) + 1,
        weight: u64::from(weight.get()),
        credit: 0,
    };
    let mut walkers: Vec<Walker> = members.iter().map(walker).collect();
    let mut slots: Vec<Option<RealserverId>> = vec![None; size];
    let mut n_empty = if walkers.is_empty() { 0 } else { size };
    while n_empty > 0 {
        for walker in &mut walkers {
            walker.credit += walker.weight;
            if walker.credit < heaviest || n_empty == 0 {
                continue;
            }
            walker.credit -= heaviest;
            // A skip of 1 ..= size - 1 visits every slot of a prime-sized table, so an empty one is found.
            while slots.get(walker.offset).is_some_and(Option::is_some) {
                walker.offset = (walker.offset + walker.skip) % size;
            }
            if let Some(slot) = slots.get_mut(walker.offset) {
                *slot = Some(walker.id);
                n_empty -= 1;
            }
        }
    }
    slots.into_iter().flatten().collect()
}

fn write_address(hasher: &mut SipHasher24, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => hasher.write(&v4.octets()),
        IpAddr::V6(v6) => hasher.write(&v6.octets()),
    }
}

fn hash(key: u64, name: &str) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(key, 0);
    hasher.write(name.as_bytes());
    hasher.finish()
}

fn reduce(hash: u64, size: usize) -> usize {
    usize::try_from(hash % size as u64).unwrap_or(0)
}

/// The smallest prime from `start` on.
fn prime_from(start: usize) -> usize {
    let is_prime = |n: &usize| (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    (start..).find(is_prime).unwrap_or(start)
}
