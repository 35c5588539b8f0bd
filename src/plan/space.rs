//! Clients where nobody has said who asks: the addresses that there are, network by network, as the pools themselves tell them apart.
//!
//! A decision says within how many bits of an address it is the same. So one address stands for its whole network, the next one is the first
//! behind it, and after as many steps as there are networks everybody has been asked. Where a hash decides, some addresses of the network
//! stand for all of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

use super::{
    Clients, Share, Side,
    moves::{Looked, Tally, Use, client, land},
};
use crate::{
    snapshot::Snapshot,
    types::{Family, PoolId},
};

/// Both families, each with shares of its own.
pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// Networks that are looked at one by one; where there are more, a sample stands for them.
const NETWORKS_MAX: usize = 4_000_000;
/// Addresses that stand for all where a hash decides.
const HASHED: f64 = 20_000.0;
/// Addresses of a sample that nobody asked for.
const SAMPLED: u32 = 200_000;
/// What a network counts in which the databases know nobody, such as a private one: it should be told of, and weigh nothing.
const OUTSIDE: Share = 1e-6;

/// Name of a family's clients.
pub(super) fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// First and last address that clients are expected to have, left-aligned in 128 bits.
fn expected(family: Family) -> (u128, u128) {
    match family {
        // Without 0.0.0.0/8, and without multicast and what is above it.
        Family::V4 => (1 << 120, (224 << 120) - 1),
        // What is given out: 2000::/3.
        Family::V6 => (1 << 125, (1 << 126) - 1),
    }
}

/// The addresses of one family, as far as the databases know somebody there.
#[derive(Debug)]
pub(super) struct Space {
    family: Family,
    /// First and last, ascending and apart.
    known: Vec<(u128, u128)>,
    /// How many addresses there are up to the end of each.
    sums: Vec<u128>,
}

impl Space {
    pub(super) fn new(snapshot: &Snapshot, family: Family) -> Self {
        let (from, to) = expected(family);
        let clipped = |(first, last): (u128, u128)| (first.max(from), last.min(to));
        let located = snapshot.geo.located(family).into_iter().map(clipped).filter(|(first, last)| first <= last);
        let known: Vec<(u128, u128)> = located.collect();
        let sums = known.iter().scan(0u128, |sum, (first, last)| {
            *sum += last - first + 1;
            Some(*sum)
        });
        Self { family, sums: sums.collect(), known }
    }

    fn size(&self) -> u128 {
        self.sums.last().copied().unwrap_or(0)
    }

    /// `n` addresses spread over all of them: evenly, and off the even places so that no prefix is favoured.
    pub(super) fn spread(&self, n: u32) -> impl Iterator<Item = u128> {
        let step = self.size() / u128::from(n.max(1)) + 1;
        (0..n).filter_map(move |index| self.nth(step * u128::from(index) + scrambled(index) % step))
    }

    fn nth(&self, n: u128) -> Option<u128> {
        let index = self.sums.partition_point(|&sum| sum <= n);
        let before = index.checked_sub(1).and_then(|before| self.sums.get(before)).copied().unwrap_or(0);
        Some(self.known.get(index)?.0 + (n - before))
    }

    /// Every stretch of the whole space, with whether somebody is known there.
    fn stretches(&self) -> Vec<(u128, u128, bool)> {
        let mut stretches = Vec::with_capacity(2 * self.known.len() + 1);
        let mut free = Some(0u128);
        for &(first, last) in &self.known {
            if let Some(from) = free.filter(|&from| from < first) {
                stretches.push((from, first - 1, false));
            }
            stretches.push((first, last, true));
            free = last.checked_add(1);
        }
        stretches.extend(free.map(|from| (from, u128::MAX, false)));
        stretches
    }

    /// The part of all addresses that a network is, all of it known or none.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    fn weight(&self, first: u128, last: u128, is_known: bool) -> Share {
        if !is_known {
            return OUTSIDE;
        }
        ((last - first) as f64 + 1.0) / self.size() as f64
    }

    /// Goes from network to network; false if there are too many.
    fn walk(&self, ask: &mut Ask<'_>) -> bool {
        let mut n_asked = 0usize;
        for (first, end, is_known) in self.stretches() {
            let mut at = first;
            loop {
                n_asked += 1;
                if n_asked > NETWORKS_MAX {
                    return false;
                }
                // The decision says how far it reaches, and only then it is known how much that is, and how many are to be asked.
                let (mut last, mut weight, mut n_of_it) = (at, 0.0, 1.0);
                ask(at, &mut |looked| {
                    last = last_within(at, looked.prefix).min(end);
                    weight = self.weight(at, last, is_known);
                    n_of_it = if looked.is_hashed { (weight * HASHED).ceil().clamp(1.0, HASHED) } else { 1.0 };
                    weight / n_of_it
                });
                let mut index = 1u32;
                while f64::from(index) < n_of_it {
                    let offset = scrambled(index) % (last - at).saturating_add(1).max(1);
                    ask(at + offset, &mut |_| weight / n_of_it);
                    index += 1;
                }
                match last.checked_add(1) {
                    Some(next) if next <= end => at = next,
                    _ => break,
                }
            }
        }
        true
    }
}

/// Counts where the clients of one family land that come to these two pools.
pub(super) fn tally(
    old: Side<'_>,
    new: Side<'_>,
    (old_pool, new_pool): (&str, &str),
    used: Use,
    space: &Space,
    clients: Clients,
) -> Tally {
    let mut tally = Tally::default();
    let (Some(old_id), Some(new_id)) = (id_of(old.snapshot, old_pool), id_of(new.snapshot, new_pool)) else {
        return tally;
    };
    let ask = |bits: u128, weight_of: &mut dyn FnMut(Looked) -> Share, tally: &mut Tally| {
        let (address, length) = address(space.family, bits);
        let mut looked = Looked::default();
        let mut landings = SmallVec::<[_; 2]>::new();
        for &via in used.vias() {
            let client = client(address, length, via);
            let before = land(old.snapshot, old_id, &client, &mut looked);
            let after = land(new.snapshot, new_id, &client, &mut looked);
            landings.push((before, after, via));
        }
        let weight = weight_of(looked);
        for (before, after, via) in landings {
            tally.add(before, after, via, weight);
        }
        looked
    };
    let sample = match clients {
        Clients::Networks => {
            let mut walked = Tally::default();
            if space.walk(&mut |bits, weight_of| ask(bits, weight_of, &mut walked)) {
                return walked;
            }
            SAMPLED
        }
        Clients::Sample(sample) => sample,
    };
    for bits in space.spread(sample) {
        ask(bits, &mut |_| 1.0 / f64::from(sample), &mut tally);
    }
    tally
}

/// The pool of this name, those of listeners' own schedulers included.
pub(super) fn id_of(snapshot: &Snapshot, name: &str) -> Option<PoolId> {
    snapshot.pool_named(name).map(|(id, _)| id)
}

/// Numbers that look drawn and are the same every time.
fn scrambled(index: u32) -> u128 {
    let mut mixed = u128::from(index) + 1;
    for factor in [0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835, 0xbf58_476d_1ce4_e5b9_94d0_49bb_1331_11eb_u128] {
        mixed = (mixed ^ (mixed >> 64)).wrapping_mul(factor);
    }
    mixed ^ (mixed >> 64)
}

/// An address of left-aligned bits, and its length in bits.
pub(super) fn address(family: Family, bits: u128) -> (IpAddr, u8) {
    match family {
        Family::V4 => (IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap_or(0))), 32),
        Family::V6 => (IpAddr::V6(Ipv6Addr::from_bits(bits)), 128),
    }
}

/// Asks of one address, with what gives its weight once it is known what was looked at.
type Ask<'a> = dyn FnMut(u128, &mut dyn FnMut(Looked) -> Share) -> Looked + 'a;

/// The last of the addresses that share `prefix` bits with `at`.
fn last_within(at: u128, prefix: u8) -> u128 {
    at | u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0)
}
