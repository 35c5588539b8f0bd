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
pub struct Class(pub u32);

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

/// Whether `key` is one that decides for `location`, if no more specific one does.
pub fn fits(key: Key, location: Location) -> bool {
    keys_of(location).any(|fitting| fitting == key)
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
    v6: SortedV6,
}

/// Most tables tell IPv6 addresses apart by their first half alone, and take half of the memory for it.
#[derive(Debug)]
enum SortedV6 {
    ByFirstHalf(Sorted<u64>),
    ByAll(Sorted<u128>),
}

impl Table {
    /// Applies `rules` to everything that `geo` knows. Takes time and memory in proportion to the ranges of `geo`.
    pub fn compile(geo: &Geo, rules: &Rules) -> Self {
        let by_key = first_of_each(rules.keys.iter().copied());
        let class_of = |location: &Location| {
            let rule = keys_of(*location).find_map(|key| by_key.get(&key).copied());
            rule.unwrap_or(rules.default)
        };
        Self::compile_by(geo, &rules.nets, rules.default, class_of)
    }

    /// The same with a class for each location, however it is found.
    pub(super) fn compile_by(
        geo: &Geo,
        nets: &[(IpNet, Class)],
        default: Class,
        class_of: impl FnMut(&Location) -> Class,
    ) -> Self {
        let by_location = geo.locations.map(class_of);

        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (net, class) in first_of_each(nets.iter().map(|&(net, class)| (net.trunc(), class))) {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits(), class)),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits(), class)),
            }
        }
        let decide = |location, net: Option<Class>| net.or(by_location.get(location)).unwrap_or(default);
        let v6 = match geo.v6.zip(&flatten(v6), decide).by_first_half() {
            Ok(ranges) => SortedV6::ByFirstHalf(Sorted::new(ranges)),
            Err(ranges) => SortedV6::ByAll(Sorted::new(ranges)),
        };
        Self { v4: Sorted::new(geo.v4.zip(&flatten(v4), decide)), v6 }
    }

    /// The class of `address`, and the length of the shortest prefix around it within which every address has that class; 0 if all
    /// addresses of the family have.
    pub fn lookup(&self, address: IpAddr) -> (Class, u8) {
        match address {
            IpAddr::V4(address) => self.v4.lookup(address.to_bits()),
            IpAddr::V6(address) => match &self.v6 {
                SortedV6::ByFirstHalf(sorted) => sorted.lookup((address.to_bits() >> 64) as u64),
                SortedV6::ByAll(sorted) => sorted.lookup(address.to_bits()),
            },
        }
    }

    /// Whether all addresses of `family` have the same class.
    pub fn is_constant(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4.ranges.len() == 1,
            Family::V6 => match &self.v6 {
                SortedV6::ByFirstHalf(sorted) => sorted.ranges.len() == 1,
                SortedV6::ByAll(sorted) => sorted.ranges.len() == 1,
            },
        }
    }

    /// Bytes on the heap, for `status`.
    pub fn size_bytes(&self) -> usize {
        let v6 = match &self.v6 {
            SortedV6::ByFirstHalf(sorted) => sorted.size_bytes(),
            SortedV6::ByAll(sorted) => sorted.size_bytes(),
        };
        self.v4.size_bytes() + v6
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

/// Ranges with an index of two levels.
///
/// The first bits of an address lead to a bucket; where many ranges begin in a bucket, some bits after them lead on to a slot of it: the more
/// ranges, the more bits. So a search is over a few ranges, although IPv6 crowds into a few corners of its space. In most buckets of IPv4 so
/// few begin that the bucket itself says where: two places in memory for a lookup, and all of this is read at random.
#[derive(Debug)]
struct Sorted<A> {
    /// Ascending, the first one from 0. Neighbours differ in class.
    ranges: Box<[Range<A>]>,
    /// By the first `bucket_bits`, and one more for the end.
    buckets: Box<[Bucket]>,
    bucket_bits: u32,
    /// How many ranges begin before each slot, and for each bucket one more for its end.
    slots: Box<[u32]>,
}

/// The addresses from here to the next range.
#[derive(Clone, Copy, Debug)]
struct Range<A> {
    start: A,
    class: Class,
}

/// Where the ranges of a bucket are.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// How many ranges begin before it.
    n_before: u32,
    slots: Slots,
}

/// Number of the first slot of a bucket, and in the low bits how many bits of an address choose among its slots, 0 if it has none. In one
/// number, so that a line of memory holds eight buckets.
#[derive(Clone, Copy, Debug, Default)]
struct Slots(u32);

impl Slots {
    /// Bits for the number of bits.
    const BITS_BITS: u32 = (INDEX_BITS_MAX + 1).next_power_of_two().ilog2();

    fn new(first: u32, bits: u32) -> Self {
        Self(first << Self::BITS_BITS | bits)
    }

    fn first(self) -> usize {
        (self.0 >> Self::BITS_BITS) as usize
    }

    fn bits(self) -> u32 {
        self.0 & ((1 << Self::BITS_BITS) - 1)
    }
}

/// Most bits of either level.
const INDEX_BITS_MAX: u32 = 16;
/// So many ranges are searched at once: two or three lines of memory in IPv4.
const SEARCHED_MAX: u32 = 16;

impl<A: Bits> Sorted<A> {
    fn new(ranges: Ranges<A, Class>) -> Self {
        let (starts, classes) = ranges.into_parts();
        let bucket_bits = starts.len().ilog2().min(INDEX_BITS_MAX);
        let mut n_starts = vec![0u32; 1 << bucket_bits];
        for start in &starts {
            n_starts[start.bits(0, bucket_bits)] += 1;
        }
        let (mut n_before, mut n_slots) = (0, 0);
        let to_bucket = |n_starts: u32| {
            let slot_bits = if n_starts <= SEARCHED_MAX { 0 } else { (n_starts.ilog2() - 1).min(INDEX_BITS_MAX) };
            let bucket = Bucket { n_before, slots: Slots::new(n_slots, slot_bits) };
            n_before += n_starts;
            n_slots += if slot_bits == 0 { 0 } else { (1 << slot_bits) + 1 };
            bucket
        };
        let mut buckets: Vec<Bucket> = n_starts.into_iter().map(to_bucket).collect();
        buckets.push(Bucket { n_before, ..Bucket::default() });
        let ranges = starts.into_iter().zip(classes).map(|(start, class)| Range { start, class }).collect();
        let mut sorted = Self { ranges, buckets: buckets.into(), bucket_bits, slots: [].into() };

        let mut slots = vec![0; n_slots as usize];
        for (index, range) in (0u32..).zip(&sorted.ranges) {
            if let Some(slot) = sorted.slot(range.start) {
                slots[slot + 1] = index + 1;
            }
        }
        // A slot in which none begins ends where the one before does; the first of a bucket begins where the bucket does.
        for bucket in sorted.buckets.iter().filter(|bucket| bucket.slots.bits() > 0) {
            let first = bucket.slots.first();
            slots[first] = bucket.n_before;
            for slot in first..first + (1 << bucket.slots.bits()) {
                slots[slot + 1] = slots[slot + 1].max(slots[slot]);
            }
        }
        sorted.slots = slots.into();
        sorted
    }

    fn slot(&self, address: A) -> Option<usize> {
        let bucket = self.buckets[address.bits(0, self.bucket_bits)];
        let within = address.bits(self.bucket_bits, bucket.slots.bits());
        (bucket.slots.bits() > 0).then(|| bucket.slots.first() + within)
    }

    fn lookup(&self, address: A) -> (Class, u8) {
        let (low, high) = match self.slot(address) {
            Some(slot) => (self.slots[slot], self.slots[slot + 1]),
            None => {
                let bucket = address.bits(0, self.bucket_bits);
                (self.buckets[bucket].n_before, self.buckets[bucket + 1].n_before)
            }
        };
        let (low, high) = (low as usize, high as usize);
        // At least 1: the first range begins at the first address.
        let after = low + self.ranges[low..high].partition_point(|range| range.start <= address);
        let range = self.ranges[after - 1];

        // The shortest prefix that leaves both neighbours out: one bit longer than what they have in common with the address.
        let before = range.start.previous().map(|before| before.common_bits(address) + 1);
        let behind = self.ranges.get(after).map(|behind| behind.start.common_bits(address) + 1);
        (range.class, before.max(behind).unwrap_or(0))
    }

    fn size_bytes(&self) -> usize {
        size_of_val(&*self.ranges) + size_of_val(&*self.buckets) + size_of_val(&*self.slots)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    /// Few enough that rules and locations meet, with two continents, two countries of one of them, and a subdivision code twice.
    fn location() -> impl Strategy<Value = Location> {
        let country = prop::sample::select(vec!["", "US", "CA", "DE"]);
        let subdivision = prop::sample::select(vec!["", "ON", "BE"]);
        let asn = prop::option::of(1u32..4);
        (country, subdivision, asn).prop_map(|(country, subdivision, asn)| {
            let country = super::super::CountryCode::new(country);
            let subdivision = country.and_then(|_| super::super::SubdivisionCode::new(subdivision));
            Location {
                continent: country.map(|country| country.continent()),
                country,
                subdivision,
                asn,
                coordinates: None,
            }
        })
    }

    fn key() -> impl Strategy<Value = Key> {
        let keys = [
            "default",
            "europe",
            "north-america",
            "asia",
            "US",
            "CA",
            "DE",
            "US-ON",
            "CA-ON",
            "DE-BE",
            "AS1",
            "AS2",
            "AS3",
        ];
        prop::sample::select(keys.map(|key| key.parse::<Key>().expect(key)).to_vec())
    }

    /// Addresses that crowd together, so that ranges and networks touch, nest and end at the ends of the space.
    fn point() -> impl Strategy<Value = u128> {
        let step = (0u128..16, 0u32..128, -1i128..2);
        let crowded = step.prop_map(|(number, shift, off)| (number << shift).wrapping_add_signed(off));
        prop_oneof![crowded.clone(), crowded.prop_map(|point| !point), any::<u128>()]
    }

    fn address(family: Family, point: u128) -> IpAddr {
        match family {
            // Both ends, since that is where points crowd.
            Family::V4 => {
                let [a, b, c, d, .., e, f, g, h] = point.to_be_bytes();
                Ipv4Addr::from([a ^ e, b ^ f, c ^ g, d ^ h]).into()
            }
            Family::V6 => Ipv6Addr::from_bits(point).into(),
        }
    }

    fn family() -> impl Strategy<Value = Family> {
        prop::sample::select(vec![Family::V4, Family::V6])
    }

    fn net() -> impl Strategy<Value = IpNet> {
        (family(), point(), 0u8..=128, any::<bool>()).prop_map(|(family, point, length, is_trunc)| {
            let address = address(family, point);
            let net =
                IpNet::new(address, if address.is_ipv4() { length / 4 } else { length }).expect("length in range");
            if is_trunc { net.trunc() } else { net }
        })
    }

    fn geo() -> impl Strategy<Value = Geo> {
        prop::collection::vec((net(), location()), 0..24).prop_map(Geo::from_networks)
    }

    fn rules() -> impl Strategy<Value = Rules> {
        let class = || (0u32..4).prop_map(Class);
        let keys = prop::collection::vec((key(), class()), 0..6);
        let nets = prop::collection::vec((net(), class()), 0..10);
        (keys, nets, class()).prop_map(|(keys, nets, default)| Rules { keys, nets, default })
    }

    /// The rule of the configuration, word by word.
    fn naive(geo: &Geo, rules: &Rules, address: IpAddr) -> Class {
        for length in (0..=128).rev() {
            let net = rules.nets.iter().find(|(net, _)| net.prefix_len() == length && net.contains(&address));
            if let Some(&(_, class)) = net {
                return class;
            }
        }
        let location = geo.locate(address);
        let fits: [&dyn Fn(Key) -> bool; 5] = [
            &|key| matches!(key, Key::Asn(asn) if location.asn == Some(asn)),
            &|key| matches!(key, Key::Subdivision(country, code) if location.country == Some(country) && location.subdivision == Some(code)),
            &|key| matches!(key, Key::Country(country) if location.country == Some(country)),
            &|key| matches!(key, Key::Continent(continent) if location.continent == Some(continent)),
            &|key| key == Key::Default,
        ];
        let rule = fits.iter().find_map(|fits| rules.keys.iter().find(|&&(key, _)| fits(key)));
        rule.map_or(rules.default, |&(_, class)| class)
    }

    /// Every address at which the class can be another than one address before: between two of these it cannot change.
    fn boundaries(geo: &Geo, rules: &Rules, family: Family) -> Vec<u128> {
        let mut boundaries: Vec<u128> = match family {
            Family::V4 => geo.v4.clone().into_parts().0.into_iter().map(u128::from).collect(),
            Family::V6 => geo.v6.clone().into_parts().0,
        };
        for (net, _) in &rules.nets {
            if family == Family::of(net.addr()) {
                boundaries.extend([number(net.network()), number(net.broadcast()).wrapping_add(1)]);
            }
        }
        boundaries.retain(|&boundary| family == Family::V6 || boundary <= u128::from(u32::MAX));
        boundaries
    }

    fn number(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => address.to_bits().into(),
            IpAddr::V6(address) => address.to_bits(),
        }
    }

    fn from_number(family: Family, number: u128) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::from_bits(u32::try_from(number).expect("IPv4")).into(),
            Family::V6 => Ipv6Addr::from_bits(number).into(),
        }
    }

    /// The classes of all addresses in `net`, told from its first address and from those at which the class can change.
    fn classes_within(geo: &Geo, rules: &Rules, net: IpNet) -> Vec<Class> {
        let family = Family::of(net.addr());
        let inside = |&number: &u128| net.contains(&from_number(family, number));
        let mut numbers: Vec<u128> = boundaries(geo, rules, family).into_iter().filter(inside).collect();
        numbers.push(number(net.network()));
        let mut classes: Vec<Class> =
            numbers.into_iter().map(|number| naive(geo, rules, from_number(family, number))).collect();
        classes.sort();
        classes.dedup();
        classes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn lookup_is_the_rules_read_word_by_word(geo in geo(), rules in rules(), family in family(), points in prop::collection::vec(point(), 8)) {
            let table = Table::compile(&geo, &rules);
            let edges = boundaries(&geo, &rules, family).into_iter().map(|number| from_number(family, number));
            for address in points.into_iter().map(|point| address(family, point)).chain(edges) {
                let expected = naive(&geo, &rules, address);
                prop_assert_eq!(table.lookup(address).0, expected, "{}", address);
                prop_assert_eq!(rules.explain(&geo, address).0, expected, "{}", address);
            }
        }

        #[test]
        fn prefix_is_the_shortest_with_the_same_class_everywhere(geo in geo(), rules in rules(), family in family(), points in prop::collection::vec(point(), 8)) {
            let table = Table::compile(&geo, &rules);
            let edges = boundaries(&geo, &rules, family).into_iter().map(|number| from_number(family, number));
            for address in points.into_iter().map(|point| address(family, point)).chain(edges) {
                let (class, length) = table.lookup(address);
                let net = IpNet::new(address, length).expect("a prefix of the address's own family").trunc();
                prop_assert_eq!(classes_within(&geo, &rules, net), [class], "within {}", net);
                prop_assert_eq!(length == 0, table.is_constant(family));
                if let Some(wider) = net.supernet() {
                    prop_assert!(classes_within(&geo, &rules, wider).len() > 1, "{} would do", wider);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn index_finds_what_a_search_finds(starts in prop::collection::btree_set(point(), 0..3000), points in prop::collection::vec(point(), 64)) {
            let stretches = starts.iter().zip(starts.iter().skip(1)).zip(0u32..);
            let stretches = stretches.map(|((&first, &behind), class)| (first, behind - 1, Class(class)));
            let ranges = Ranges::from_stretches(Class(u32::MAX), stretches);
            let sorted = Sorted::new(ranges.clone());
            for point in points.into_iter().chain(starts.iter().copied()).chain(starts.iter().map(|start| start.wrapping_sub(1))) {
                prop_assert_eq!(Some(sorted.lookup(point).0), ranges.get(point));
            }
        }
    }

    fn check(rules: &Rules, expected: &[(&str, u32, u8)]) {
        let table = Table::compile(&Geo::empty(), rules);
        for &(address, class, length) in expected {
            assert_eq!(table.lookup(address.parse().expect(address)), (Class(class), length), "{address}");
        }
    }

    fn nets(nets: &[(&str, u32)]) -> Rules {
        let nets = nets.iter().map(|&(net, class)| (net.parse().expect(net), Class(class))).collect();
        Rules { keys: Vec::new(), nets, default: Class(0) }
    }

    #[test]
    fn nothing_known_is_the_default_for_everybody() {
        check(&nets(&[]), &[("0.0.0.0", 0, 0), ("255.255.255.255", 0, 0), ("::", 0, 0), ("2001:db8::1", 0, 0)]);
        let table = Table::compile(&Geo::empty(), &nets(&[("::/1", 1)]));
        assert!(table.is_constant(Family::V4) && !table.is_constant(Family::V6));
    }

    #[test]
    fn longest_net_wins_and_scope_leaves_others_out() {
        let rules = nets(&[("198.51.100.0/24", 1), ("198.51.0.0/16", 2), ("198.51.100.7/32", 3)]);
        check(
            &rules,
            &[
                ("198.51.100.7", 3, 32),
                ("198.51.100.6", 1, 32),
                ("198.51.100.1", 1, 30),
                ("198.51.100.200", 1, 25),
                ("198.51.101.0", 2, 24),
                ("198.51.255.0", 2, 17),
                ("198.50.0.0", 0, 16),
                ("10.0.0.0", 0, 1),
                ("2001:db8::1", 0, 0),
            ],
        );
    }

    #[test]
    fn net_at_either_end_of_another_wins() {
        let ends = [("0.0.0.0/32", 1), ("192.0.2.0/32", 2), ("192.0.2.255/32", 3), ("255.255.255.255/32", 4)];
        let rules = nets(&[&[("0.0.0.0/0", 5), ("192.0.2.0/24", 6)], &ends[..]].concat());
        let (first, last) = (("192.0.2.0", 2, 32), ("192.0.2.255", 3, 32));
        check(&rules, &[("0.0.0.0", 1, 32), first, ("192.0.2.1", 6, 32), last, ("255.255.255.255", 4, 32)]);
        check(&rules, &[("0.0.0.1", 5, 32), ("192.0.1.255", 5, 23), ("192.0.3.0", 5, 24), ("255.255.255.254", 5, 32)]);
    }

    #[test]
    fn neighbours_of_one_class_are_one() {
        let halves = nets(&[("0.0.0.0/1", 1), ("128.0.0.0/1", 1), ("2001:db8::/33", 1), ("2001:db8:8000::/33", 1)]);
        check(&halves, &[("192.0.2.1", 1, 0), ("2001:db8::1", 1, 32)]);
        check(&nets(&[("192.0.2.0/24", 0)]), &[("192.0.2.1", 0, 0)]);
    }

    #[test]
    fn first_of_equal_rules_counts() {
        check(&nets(&[("192.0.2.0/24", 1), ("192.0.2.9/24", 2)]), &[("192.0.2.1", 1, 24)]);
    }

    #[test]
    fn mapped_addresses_are_looked_up_as_ipv6() {
        check(&nets(&[("192.0.2.0/24", 1), ("::ffff:0:0/96", 2)]), &[("::ffff:192.0.2.1", 2, 96)]);
    }

    #[test]
    fn explain_names_the_rule() {
        let mut rules = nets(&[("192.0.2.9/24", 1)]);
        rules.keys.push((Key::Default, Class(2)));
        let explain = |rules: &Rules, address: &str| rules.explain(&Geo::empty(), address.parse().expect(address));
        assert_eq!(explain(&rules, "192.0.2.1"), (Class(1), Rule::Net("192.0.2.0/24".parse().expect("net"))));
        assert_eq!(explain(&rules, "203.0.113.1"), (Class(2), Rule::Key(Key::Default)));
        rules.keys.clear();
        assert_eq!(explain(&rules, "203.0.113.1"), (Class(0), Rule::Default));
    }
}
