//! Which members of a pool are how near, for every address: compiled like every other table, a class being an order of members.
//!
//! An order is a list of groups, the nearest first. Members within [`TIE`] of the nearest of a group are in it as well: of sites that are
//! practically as far none is better. What is chosen within a group, and who in it is up, is the decision's business.

use std::{collections::HashMap, net::IpAddr};

use super::{
    Coordinates, Geo,
    coordinates::{Distance, Position},
    location::Location,
    table::{Class, Table},
};

/// As far as the nearest, when it comes to choosing: 5 % more.
const TIE: f64 = 1.05;
/// Groups of an order. Who is further away comes after them, in the order of the file: nobody is served well from there.
const GROUPS_MAX: usize = 8;
/// Different places of members, at most: each is compared with each place that the databases know.
pub const PLACES_MAX: usize = 256;
/// Members, at most.
pub const MEMBERS_MAX: usize = 4096;

/// The orders of one pool's members.
#[derive(Debug)]
pub struct Nearest {
    table: Table,
    /// The groups of all orders, one order after the other.
    orders: Box<[GroupId]>,
    /// Where the order of each class starts in `orders`, and one more for the end.
    starts: Box<[u32]>,
    /// The members of each group, in the order of the file.
    groups: Box<[Box<[u16]>]>,
    /// Where each member is.
    members: Box<[Option<Coordinates>]>,
}

/// Index into the groups of the [`Nearest`] it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupId(pub u32);

impl Nearest {
    /// Orders `members`, given by where they are, for everything that `geo` knows.
    ///
    /// `default` is the order for addresses that nobody knows the place of, a list of groups of indexes into `members`. A member of unknown
    /// place is in no other order.
    pub fn compile(geo: &Geo, members: &[Option<Coordinates>], default: &[Vec<u16>]) -> Self {
        let mut compiler = Compiler::new(members);
        let default: Vec<GroupId> = default.iter().map(|group| compiler.groups.intern(group.clone())).collect();
        let default = compiler.intern(default);
        // With several databases there are many locations at the same place: each AS in it is one.
        let mut known: HashMap<Coordinates, Class> = HashMap::new();
        let class_of = |location: &Location| {
            let Some(coordinates) = location.coordinates else { return default };
            *known.entry(coordinates).or_insert_with(|| compiler.class_at(coordinates, default))
        };
        let table = Table::compile_by(geo, &[], default, class_of);
        let Compiler { orders, starts, groups, .. } = compiler;
        let (orders, starts, groups) = (orders.into(), starts.into(), groups.all.into());
        Self { table, orders, starts, groups, members: members.into() }
    }

    /// The order for `address`, nearest first, and the length of the shortest prefix around it within which it is the same.
    pub fn lookup(&self, address: IpAddr) -> (&[GroupId], u8) {
        let (class, prefix) = self.table.lookup(address);
        (self.order(class), prefix)
    }

    /// The order for those of unknown place.
    pub fn default_order(&self) -> &[GroupId] {
        self.order(Class(0))
    }

    fn order(&self, class: Class) -> &[GroupId] {
        let bound = |at: usize| self.starts.get(at).map_or(0, |&start| start as usize);
        self.orders.get(bound(class.0 as usize)..bound(class.0 as usize + 1)).unwrap_or_default()
    }

    /// The members of a group, in the order of the file.
    pub fn group(&self, id: GroupId) -> &[u16] {
        self.groups.get(id.0 as usize).map_or(&[], |members| members)
    }

    /// How many groups there are.
    pub fn n_groups(&self) -> usize {
        self.groups.len()
    }

    /// Where a member is.
    pub fn coordinates(&self, member: usize) -> Option<Coordinates> {
        self.members.get(member).copied().flatten()
    }

    /// Bytes on the heap, for benchmarks and `status`.
    pub fn size_bytes(&self) -> usize {
        let groups: usize = self.groups.iter().map(|group| size_of_val(group) + size_of_val(&**group)).sum();
        self.table.size_bytes() + size_of_val(&*self.orders) + size_of_val(&*self.starts) + groups
    }
}

/// A place with members.
struct Place {
    position: Position,
    members: Vec<u16>,
}

struct Compiler {
    places: Vec<Place>,
    groups: Groups,
    /// The group of these places.
    by_places: HashMap<Vec<u16>, GroupId>,
    classes: HashMap<Vec<GroupId>, Class>,
    orders: Vec<GroupId>,
    starts: Vec<u32>,
    /// Distances of one place, kept for their memory.
    distances: Vec<(Distance, u16)>,
}

/// Each distinct group once.
#[derive(Default)]
struct Groups {
    all: Vec<Box<[u16]>>,
    ids: HashMap<Vec<u16>, GroupId>,
}

impl Groups {
    fn intern(&mut self, mut members: Vec<u16>) -> GroupId {
        members.sort_unstable();
        let next = GroupId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        *self.ids.entry(members).or_insert_with_key(|members| {
            self.all.push(members.as_slice().into());
            next
        })
    }
}

impl Compiler {
    fn new(members: &[Option<Coordinates>]) -> Self {
        let mut by_coordinates: HashMap<Coordinates, usize> = HashMap::new();
        let mut places: Vec<Place> = Vec::new();
        for (index, coordinates) in (0..=u16::MAX).zip(members) {
            let Some(coordinates) = coordinates else { continue };
            let place = *by_coordinates.entry(*coordinates).or_insert(places.len());
            if place == places.len() && place < PLACES_MAX {
                places.push(Place { position: coordinates.position(), members: Vec::new() });
            }
            if let Some(place) = places.get_mut(place) {
                place.members.push(index);
            }
        }
        Self {
            places,
            groups: Groups::default(),
            by_places: HashMap::new(),
            classes: HashMap::new(),
            orders: Vec::new(),
            starts: vec![0],
            distances: Vec::new(),
        }
    }

    fn class_at(&mut self, coordinates: Coordinates, default: Class) -> Class {
        let position = coordinates.position();
        let distances = (0..).zip(&self.places).map(|(index, place)| (position.distance(place.position), index));
        self.distances.clear();
        self.distances.extend(distances);
        self.distances.sort_unstable_by(|(one, at), (other, other_at)| one.total_cmp(other).then(at.cmp(other_at)));
        let mut order = Vec::new();
        let mut rest = self.distances.as_slice();
        while let Some((nearest, _)) = rest.first().filter(|_| order.len() < GROUPS_MAX) {
            let limit = nearest.as_km() * TIE;
            let n_near = 1 + rest.iter().skip(1).take_while(|(distance, _)| distance.as_km() <= limit).count();
            let (near, further) = rest.split_at(n_near.min(rest.len()));
            rest = further;
            let mut near: Vec<u16> = near.iter().map(|&(_, place)| place).collect();
            near.sort_unstable();
            let id = match self.by_places.get(&near) {
                Some(&id) => id,
                None => {
                    let places = near.iter().filter_map(|&place| self.places.get(usize::from(place)));
                    let id = self.groups.intern(places.flat_map(|place| place.members.iter().copied()).collect());
                    self.by_places.insert(near, id);
                    id
                }
            };
            order.push(id);
        }
        // With no member of known place nobody is near anybody.
        if order.is_empty() { default } else { self.intern(order) }
    }

    fn intern(&mut self, order: Vec<GroupId>) -> Class {
        let next = Class(u32::try_from(self.starts.len() - 1).unwrap_or(u32::MAX));
        *self.classes.entry(order).or_insert_with_key(|order| {
            self.orders.extend_from_slice(order);
            self.starts.push(u32::try_from(self.orders.len()).unwrap_or(u32::MAX));
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(latitude: f64, longitude: f64) -> Coordinates {
        Coordinates::new(latitude, longitude).expect("on the earth")
    }

    /// Knows that `10.N.0.0/16` is at the N-th of `places`, and nothing else.
    fn geo(places: &[Coordinates]) -> Geo {
        Geo::from_networks((0u8..).zip(places).map(|(number, &place)| {
            let net = ipnet::IpNet::new([10, number, 0, 0].into(), 16).expect("IPv4");
            (net, Location { coordinates: Some(place), ..Location::default() })
        }))
    }

    fn address(number: usize) -> IpAddr {
        IpAddr::from([10, u8::try_from(number).expect("few"), 3, 4])
    }

    fn order(nearest: &Nearest, address: IpAddr) -> Vec<Vec<u16>> {
        nearest.lookup(address).0.iter().map(|&group| nearest.group(group).to_vec()).collect()
    }

    /// Members at `members`, asked for by a client at `client`.
    #[track_caller]
    fn check(members: &[(f64, f64)], client: (f64, f64), expected: &[&[u16]]) {
        let members: Vec<_> = members.iter().map(|&(latitude, longitude)| Some(at(latitude, longitude))).collect();
        let nearest = Nearest::compile(&geo(&[at(client.0, client.1)]), &members, &[vec![0]]);
        assert_eq!(order(&nearest, address(0)), expected, "{client:?}");
    }

    const AMSTERDAM: (f64, f64) = (52.3676, 4.9041);
    const NEW_YORK: (f64, f64) = (40.7128, -74.0060);
    const SINGAPORE: (f64, f64) = (1.3521, 103.8198);

    #[test]
    fn nearest_comes_first() {
        let sites = [AMSTERDAM, NEW_YORK, SINGAPORE];
        check(&sites, (48.85, 2.35), &[&[0], &[1], &[2]]);
        check(&sites, (34.05, -118.24), &[&[1], &[0], &[2]]);
        check(&sites, (35.68, 139.69), &[&[2], &[0], &[1]]);
    }

    #[test]
    fn antimeridian_is_no_border() {
        check(&[(0.0, -179.0), (0.0, 100.0)], (0.0, 179.0), &[&[0], &[1]]);
        check(&[(0.0, 100.0), (0.0, -179.0)], (0.0, 179.0), &[&[1], &[0]]);
        check(&[(-36.85, 174.76), (21.31, -157.86)], (-13.76, -172.1), &[&[0], &[1]]);
        check(&[(0.0, 180.0), (0.0, -180.0)], (0.0, 170.0), &[&[0, 1]]);
    }

    #[test]
    fn poles_are_points() {
        check(&[(70.0, -150.0), (60.0, 30.0)], (89.0, 30.0), &[&[0], &[1]]);
        check(&[(80.0, 0.0), (80.0, 90.0), (80.0, 180.0)], (90.0, 12.0), &[&[0, 1, 2]]);
        check(&[(-80.0, 0.0), (80.0, 0.0)], (-90.0, 0.0), &[&[0], &[1]]);
    }

    #[test]
    fn members_within_five_percent_of_the_nearest_tie() {
        // 1000 km to the south is 8.993 degrees.
        check(&[(-8.993, 0.0), (9.4, 0.0)], (0.0, 0.0), &[&[0, 1]]);
        check(&[(-8.993, 0.0), (9.48, 0.0)], (0.0, 0.0), &[&[0], &[1]]);
        // Measured from the nearest of the group, so that ties are no chain; and anew in the next group.
        check(&[(10.0, 0.0), (-10.4, 0.0), (0.0, 10.8), (0.0, -11.0)], (0.0, 0.0), &[&[0, 1], &[2, 3]]);
        // At the very place nothing ties but what is there too.
        check(&[(10.0, 10.0), (10.0, 10.001), (10.0, 10.0)], (10.0, 10.0), &[&[0, 2], &[1]]);
    }

    #[test]
    fn unknown_place_is_the_default_and_never_null_island() {
        let members = [Some(at(0.1, 0.1)), Some(at(52.0, 5.0))];
        let nearest = Nearest::compile(&geo(&[at(1.0, 1.0)]), &members, &[vec![1], vec![0]]);
        assert_eq!(order(&nearest, address(0)), [[0], [1]]);
        for unknown in ["192.0.2.1", "0.0.0.0", "2001:db8::1"] {
            assert_eq!(order(&nearest, unknown.parse().expect("address")), [[1], [0]], "{unknown}");
        }
        assert_eq!(nearest.lookup("192.0.2.1".parse().expect("address")).1, 1);
        assert_eq!(nearest.lookup("2001:db8::1".parse().expect("address")).1, 0);
    }

    #[test]
    fn member_of_unknown_place_is_near_nobody() {
        let geo = geo(&[at(50.0, 5.0)]);
        let nearest = Nearest::compile(&geo, &[None, Some(at(-30.0, 150.0))], &[vec![0, 1]]);
        assert_eq!(order(&nearest, address(0)), [[1]]);
        let nowhere = Nearest::compile(&geo, &[None, None], &[vec![0, 1]]);
        assert_eq!(nowhere.lookup(address(0)), (nowhere.default_order(), 0));
    }

    #[test]
    fn networks_with_one_order_are_one() {
        let members = [Some(at(AMSTERDAM.0, AMSTERDAM.1)), Some(at(NEW_YORK.0, NEW_YORK.1))];
        let places: Vec<Coordinates> =
            (0u8..8).map(|n| at(45.0 + f64::from(n), 5.0)).chain([at(40.0, -80.0)]).collect();
        let nearest = Nearest::compile(&geo(&places), &members, &[vec![0], vec![1]]);
        // 10.0 to 10.7 are nearest to Amsterdam, which is the order of the default as well.
        assert_eq!(nearest.lookup(address(0)).1, 13);
        assert_eq!(nearest.lookup(address(8)).1, 16);
        assert_eq!((nearest.n_groups(), order(&nearest, address(8))), (2, vec![vec![1], vec![0]]));
    }

    #[test]
    fn further_groups_than_eight_are_left_out() {
        let members: Vec<_> = (0u8..12).map(|n| Some(at(0.0, 1.5f64.powi(i32::from(n))))).collect();
        let nearest = Nearest::compile(&geo(&[at(0.0, 0.1)]), &members, &[vec![0]]);
        assert_eq!(order(&nearest, address(0)), (0..8).map(|n| vec![n]).collect::<Vec<_>>());
    }

    fn anywhere() -> impl Strategy<Value = Coordinates> {
        let degrees = prop_oneof![2 => (-90.0..=90.0, -180.0..=180.0), 1 => (-90.0..=90.0, prop::sample::select(vec![-180.0, 180.0, 179.9]))];
        let poles = prop::sample::select(vec![(90.0, 0.0), (-90.0, 100.0), (89.9, -170.0)]);
        prop_oneof![4 => degrees, 1 => poles].prop_map(|(latitude, longitude)| at(latitude, longitude))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn orders_are_the_rule_read_word_by_word(members in prop::collection::vec(prop::option::weighted(0.9, anywhere()), 1..8), client in anywhere()) {
            let nearest = Nearest::compile(&geo(&[client]), &members, &[vec![0]]);
            let mut left: Vec<(u16, Coordinates)> = (0..).zip(&members).filter_map(|(index, place)| Some((index, (*place)?))).collect();
            let mut expected = Vec::new();
            while let Some(least) = left.iter().map(|(_, place)| client.distance_km(*place)).min_by(f64::total_cmp) {
                let is_near = |place: Coordinates| client.distance_km(place) <= least * 1.05;
                expected.push(left.iter().filter(|(_, place)| is_near(*place)).map(|(index, _)| *index).collect::<Vec<u16>>());
                left.retain(|(_, place)| !is_near(*place));
            }
            if expected.is_empty() {
                expected.push(vec![0]);
            }
            prop_assert_eq!(order(&nearest, address(0)), expected);
        }

        #[test]
        fn order_in_the_file_does_not_matter(members in prop::collection::vec(anywhere(), 1..8), client in anywhere(), seed in any::<u64>()) {
            let mut shuffled: Vec<u16> = (0..).take(members.len()).collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
            let in_file: Vec<_> = members.iter().copied().map(Some).collect();
            let permuted: Vec<_> = shuffled.iter().map(|&index| Some(members[usize::from(index)])).collect();
            let geo = geo(&[client]);
            let (one, other) = (Nearest::compile(&geo, &in_file, &[vec![0]]), Nearest::compile(&geo, &permuted, &[vec![0]]));
            let original = |group: &Vec<u16>| {
                let mut group: Vec<u16> = group.iter().map(|&index| shuffled[usize::from(index)]).collect();
                group.sort_unstable();
                group
            };
            let other: Vec<Vec<u16>> = order(&other, address(0)).iter().map(original).collect();
            prop_assert_eq!(order(&one, address(0)), other);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn prefix_is_honest(members in prop::collection::vec(anywhere(), 1..6), clients in prop::collection::vec(anywhere(), 1..40), points in prop::collection::vec(any::<u32>(), 16)) {
            let members: Vec<_> = members.into_iter().map(Some).collect();
            let nearest = Nearest::compile(&geo(&clients), &members, &[vec![0]]);
            let clients = (0..clients.len()).map(address);
            for client in clients.chain(points.iter().map(|point| IpAddr::from(point.to_be_bytes()))) {
                let (order, prefix) = nearest.lookup(client);
                let net = ipnet::IpNet::new(client, prefix).expect("of the family").trunc();
                for &point in &points {
                    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                    let IpAddr::V4(first) = net.network() else { panic!("IPv4") };
                    let inside = IpAddr::from((first.to_bits() | point & !mask).to_be_bytes());
                    prop_assert_eq!(nearest.lookup(inside), (order, prefix), "{} in {}", inside, net);
                }
            }
        }
    }
}
