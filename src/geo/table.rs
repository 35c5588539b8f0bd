//! What a geo pool decides, for every address, compiled once a snapshot.
//!
//! A [`Table`] is a pure function of an address. It does not turn IPv4-mapped IPv6 addresses (`::ffff:0:0/96`) into IPv4: a caller that
//! wants that does it before, since the prefix length in the answer must be one of the family that was asked for.

use std::{collections::HashMap, hash::Hash, net::IpAddr};

use ipnet::IpNet;

use super::{
    Geo,
    key::Key,
    location::Location,
    ranges::{Bits, Ranges},
};
use crate::types::Family;

/// Index into a geo pool's ordered lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u16);

/// What a geo pool's configuration says. Of two rules with the same key or network the first counts.
#[derive(Clone, Debug)]
pub struct Rules {
    /// By location; the most specific key wins.
    pub keys: Vec<(Key, Class)>,
    /// By address; beats `keys`, the longest prefix wins. Host bits are ignored.
    pub nets: Vec<(IpNet, Class)>,
    /// For what nothing fits.
    pub default: Class,
}

/// Which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A network of [`Rules::nets`].
    Net(IpNet),
    /// A key of [`Rules::keys`].
    Key(Key),
    /// [`Rules::default`].
    Default,
}

impl Rules {
    /// Works out by hand, for people, what a [`Table`] answers, and which rule it is.
    pub fn explain(&self, geo: &Geo, address: IpAddr) -> (Class, Rule) {
        let nets = self.nets.iter().rev().filter(|(net, _)| net.contains(&address));
        if let Some(&(net, class)) = nets.max_by_key(|(net, _)| net.prefix_len()) {
            return (class, Rule::Net(net.trunc()));
        }
        let location = geo.locate(address);
        let keys = self.keys.iter().rev().filter(|&&(key, _)| keys_of(location).any(|fitting| fitting == key));
        match keys.max_by_key(|&&(key, _)| key) {
            Some(&(key, class)) => (class, Rule::Key(key)),
            None => (self.default, Rule::Default),
        }
    }
}

/// The keys that fit a location, the most specific first.
fn keys_of(location: Location) -> impl Iterator<Item = Key> {
    let subdivision = location.country.zip(location.subdivision);
    [
        location.asn.map(Key::Asn),
        subdivision.map(|(country, subdivision)| Key::Subdivision(country, subdivision)),
        location.country.map(Key::Country),
        location.continent.map(Key::Continent),
        Some(Key::Default),
    ]
    .into_iter()
    .flatten()
}

/// The decision of one geo pool for every address of both families.
#[derive(Debug)]
pub struct Table {
    v4: Sorted<u32>,
    v6: Sorted<u128>,
}

impl Table {
    /// Applies `rules` to everything that `geo` knows. Takes time and memory in proportion to the ranges of `geo`.
    pub fn compile(geo: &Geo, rules: &Rules) -> Self {
        let by_key = first_of_each(rules.keys.iter().copied());
        let class_of = |location: &Location| {
            let rule = keys_of(*location).find_map(|key| by_key.get(&key).copied());
            rule.unwrap_or(rules.default)
        };
        let by_location = geo.locations.map(class_of);

        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (net, class) in first_of_each(rules.nets.iter().map(|&(net, class)| (net.trunc(), class))) {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits(), class)),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits(), class)),
            }
        }
        let decide = |location, net: Option<Class>| net.or(by_location.get(location)).unwrap_or(rules.default);
        Self { v4: Sorted::new(geo.v4.zip(&flatten(v4), decide)), v6: Sorted::new(geo.v6.zip(&flatten(v6), decide)) }
    }

    /// The class of `address`, and the length of the shortest prefix around it within which every address has that class; 0 if all
    /// addresses of the family have.
    pub fn lookup(&self, address: IpAddr) -> (Class, u8) {
        match address {
            IpAddr::V4(address) => self.v4.lookup(address.to_bits()),
            IpAddr::V6(address) => self.v6.lookup(address.to_bits()),
        }
    }

    /// Whether all addresses of `family` have the same class.
    pub fn is_constant(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4.starts.len() == 1,
            Family::V6 => self.v6.starts.len() == 1,
        }
    }

    /// Bytes on the heap, for `status`.
    pub fn size_bytes(&self) -> usize {
        self.v4.size_bytes() + self.v6.size_bytes()
    }
}

/// Rules by what they apply to; the first of several for the same.
fn first_of_each<K: Eq + Hash>(rules: impl Iterator<Item = (K, Class)>) -> HashMap<K, Class> {
    let mut first = HashMap::new();
    for (key, class) in rules {
        first.entry(key).or_insert(class);
    }
    first
}

/// Lays networks (first address, last address, class) over each other, each on top of those that contain it.
fn flatten<A: Bits>(mut nets: Vec<(A, A, Class)>) -> Ranges<A, Option<Class>> {
    // Networks are nested or apart, so in this order each comes right after those that contain it.
    nets.sort_by(|(first, last, _), (other_first, other_last, _)| first.cmp(other_first).then(other_last.cmp(last)));
    let mut stretches = Vec::new();
    let mut open: Vec<(A, Class)> = Vec::new();
    let mut from = A::ZERO;
    // Ends the open networks that end before `until`, and the stretch that lies before it.
    let mut close = |open: &mut Vec<(A, Class)>, from: &mut A, until: Option<A>| {
        while let Some(&(last, class)) = open.last() {
            if until.is_some_and(|until| until <= last) {
                break;
            }
            open.pop();
            if *from <= last {
                stretches.push((*from, last, Some(class)));
            }
            // Past the last address of all only what is open around it can follow, and that has ended as well.
            *from = last.next().unwrap_or(last);
        }
        if let (Some(&(_, class)), Some(before)) = (open.last(), until.and_then(A::previous))
            && *from <= before
        {
            stretches.push((*from, before, Some(class)));
        }
    };
    for (first, last, class) in nets {
        close(&mut open, &mut from, Some(first));
        from = first;
        open.push((last, class));
    }
    close(&mut open, &mut from, None);
    Ranges::from_stretches(None, stretches)
}

/// Ranges with an index: the leading bits of an address lead to the few ranges that begin with the same bits.
#[derive(Debug)]
struct Sorted<A> {
    /// First address of each range, ascending, the first one 0. Neighbours differ in class.
    starts: Box<[A]>,
    classes: Box<[Class]>,
    /// At `i`: how many ranges begin with leading bits below `i`. One entry more than there are values of the leading bits.
    index: Box<[u32]>,
    index_bits: u32,
}

/// 65,537 entries of four bytes: what still fits the cache of a core.
const INDEX_BITS_MAX: u32 = 16;

impl<A: Bits> Sorted<A> {
    fn new(ranges: Ranges<A, Class>) -> Self {
        let (starts, classes) = ranges.into_parts();
        let index_bits = starts.len().ilog2().min(INDEX_BITS_MAX);
        let mut index = vec![0u32; (1 << index_bits) + 1];
        for &start in &starts {
            index[start.leading(index_bits) + 1] += 1;
        }
        for slot in 1..index.len() {
            index[slot] += index[slot - 1];
        }
        Self { starts: starts.into(), classes: classes.into(), index: index.into(), index_bits }
    }

    fn lookup(&self, address: A) -> (Class, u8) {
        let slot = address.leading(self.index_bits);
        let (low, high) = (self.index[slot] as usize, self.index[slot + 1] as usize);
        let after = low + self.starts[low..high].partition_point(|&start| start <= address);
        let range = after - 1;

        // The shortest prefix that leaves both neighbours out: one bit longer than what they have in common with the address.
        let before = self.starts[range].previous().map(|before| before.common_bits(address) + 1);
        let behind = self.starts.get(after).map(|behind| behind.common_bits(address) + 1);
        (self.classes[range], before.max(behind).unwrap_or(0))
    }

    fn size_bytes(&self) -> usize {
        size_of_val(&*self.starts) + size_of_val(&*self.classes) + size_of_val(&*self.index)
    }
}
