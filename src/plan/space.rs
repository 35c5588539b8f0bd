//! Clients where nobody has said who asks: the addresses that there are, network by network, as the pools themselves tell them apart.
//!
//! A decision says within how many bits of an address it is the same. So one address stands for its whole network, the next one is the first
//! behind it, and after as many steps as there are networks everybody has been asked. Where a hash decides, some addresses of the network
//! stand for all of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
/// What a network counts that nobody is expected in, such as a private one: it should be told of, and weigh nothing.
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

/// Counts where the clients of one family land that come to these two pools.
pub(super) fn tally(
    old: Side<'_>,
    new: Side<'_>,
    (old_pool, new_pool): (&str, &str),
    used: Use,
    family: Family,
    clients: Clients,
) -> Tally {
    let mut tally = Tally::default();
    let (Some(old_id), Some(new_id)) = (id_of(old.snapshot, old_pool), id_of(new.snapshot, new_pool)) else {
        return tally;
    };
    let ask = |bits: u128, weight_of: &mut dyn FnMut(Looked) -> Share, tally: &mut Tally| {
        let (address, length) = address(family, bits);
        let mut looked = Looked::default();
        let mut landings = Vec::with_capacity(2);
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
            if walk(family, &mut |bits, weight_of| ask(bits, weight_of, &mut walked)) {
                return walked;
            }
            SAMPLED
        }
        Clients::Sample(sample) => sample,
    };
    for bits in spread(family, sample) {
        ask(bits, &mut |_| 1.0 / f64::from(sample), &mut tally);
    }
    tally
}

/// The pool of this name, those of listeners' own schedulers included.
pub(super) fn id_of(snapshot: &Snapshot, name: &str) -> Option<PoolId> {
    snapshot.pool_named(name).map(|(id, _)| id)
}

/// `n` addresses spread over those that are expected: evenly, and off the even places so that no prefix is favoured.
pub(super) fn spread(family: Family, n: u32) -> impl Iterator<Item = u128> {
    let (first, last) = expected(family);
    let step = (last - first) / u128::from(n.max(1)) + 1;
    (0..n)
        .map(move |index| first + step * u128::from(index) + scrambled(index) % step)
        .filter(move |bits| *bits <= last)
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

/// Goes from network to network; false if there are too many.
fn walk(family: Family, ask: &mut Ask<'_>) -> bool {
    let width: u8 = if family == Family::V4 { 32 } else { 128 };
    let mut at = 0u128;
    for _ in 0..NETWORKS_MAX {
        // The decision says how far it reaches, and only then it is known how much that is, and how many are to be asked.
        let mut network = (0, 0, 0.0);
        let mut n_asked = 1.0;
        ask(at, &mut |looked| {
            let (first, last) = range(at, looked.prefix.min(width));
            let weight = weight(family, first, last);
            n_asked = if looked.is_hashed { (weight * HASHED).ceil().clamp(1.0, HASHED) } else { 1.0 };
            network = (first, last, weight);
            weight / n_asked
        });
        let (first, last, weight) = network;
        let mut index = 1u32;
        while f64::from(index) < n_asked {
            let offset = scrambled(index) % (last - first).saturating_add(1).max(1);
            ask(first + offset, &mut |_| weight / n_asked);
            index += 1;
        }
        match last.checked_add(1) {
            Some(next) => at = next,
            None => return true,
        }
    }
    false
}

/// First and last of the addresses that share `prefix` bits with `at`.
fn range(at: u128, prefix: u8) -> (u128, u128) {
    let host = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    (at & !host, at | host)
}

/// The part of the expected addresses that a network is.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn weight(family: Family, first: u128, last: u128) -> Share {
    let (from, to) = expected(family);
    let (first, last) = (first.max(from), last.min(to));
    if first > last {
        return OUTSIDE;
    }
    ((last - first) as f64 + 1.0) / ((to - from) as f64 + 1.0)
}
