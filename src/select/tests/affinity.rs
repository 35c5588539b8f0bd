//! source-hash: whom a key belongs to, what a failure moves, and vectors that may never change.

use proptest::prelude::*;

use super::{super::*, generated::cases, *};

/// A pool of these names and weights with source-hash, in this order; the address of `rN` ends in N + 1.
fn hashed(realservers: &[(usize, u16)]) -> Bench {
    let named: Vec<(String, String, u16)> =
        realservers.iter().map(|(n, weight)| (format!("r{n}"), format!("192.0.2.{}", n + 1), *weight)).collect();
    let named: Vec<(&str, &str, u16)> =
        named.iter().map(|(name, address, weight)| (&**name, &**address, *weight)).collect();
    Bench::new(&format!("{CHECK}{}", leaf("p", "policy = \"source-hash\"", &named)))
}

fn from(address: impl Into<IpAddr>) -> Client {
    Client { address: address.into(), ..client(Via::L4, "192.0.2.200") }
}

fn weights() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(prop_oneof![4 => 1u16..10, 1 => 1u16..], 2..12)
}

/// Which realserver a client has, for ever and everywhere: nodes of different versions serve the same clients. If this fails, the code is
/// wrong, not the vector.
const GOLDEN: [(&str, &str); 12] = [
    ("192.0.2.0", "ams-b ams-c ams-a nyc-a"),
    ("192.0.2.255", "ams-b ams-c ams-a nyc-a"),
    ("198.51.100.7", "ams-a ams-c ams-b nyc-a"),
    ("203.0.113.9", "ams-c ams-a nyc-a ams-b"),
    ("10.0.0.1", "ams-c ams-a ams-b nyc-a"),
    ("100.64.3.200", "ams-b ams-a nyc-a ams-c"),
    ("0.0.0.0", "ams-c ams-a ams-b nyc-a"),
    ("255.255.255.255", "ams-c ams-a ams-b nyc-a"),
    ("2001:db8::1", "ams-a nyc-a ams-c ams-b"),
    ("2001:db8:0:ff::1", "ams-a nyc-a ams-c ams-b"),
    ("2001:db8:1:100::1", "ams-b ams-a ams-c nyc-a"),
    ("fe80::1", "ams-b ams-a ams-c nyc-a"),
];

#[test]
fn golden_vectors_never_change() {
    let names = [
        ("ams-a", "192.0.2.10", 4),
        ("ams-b", "192.0.2.11", 3),
        ("ams-c", "192.0.2.12", 2),
        ("nyc-a", "192.0.2.13", 1),
    ];
    let bench = Bench::new(&format!("{CHECK}{}", leaf("p", "policy = \"source-hash\"", &names)));
    let found: Vec<(&str, String)> = GOLDEN
        .iter()
        .map(|(address, _)| (*address, bench.get("p", &from(address.parse::<IpAddr>().expect(address)))))
        .collect();
    let expected: Vec<(&str, String)> = GOLDEN.iter().map(|(address, names)| (*address, (*names).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn one_client_has_one_realserver_by_every_way() {
    let bench = hashed(&[(0, 4), (1, 3), (2, 2)]);
    let mut random = fastrand::Rng::with_seed(4711);
    for _ in 0..1000 {
        let [a, b, c, d] = random.u32(..).to_be_bytes();
        let first = |via, text: &str| bench.select("p", &client(via, text)).realservers[0].id;
        let by_l4 = first(Via::L4, &format!("{a}.{b}.{c}.{d}"));
        assert_eq!(first(Via::Redirect, &format!("{a}.{b}.{c}.{d}")), by_l4);
        assert_eq!(first(A, &format!("{a}.{b}.{c}.0/24")), by_l4, "by ECS");
        assert_eq!(first(A, &format!("{a}.{b}.{c}.{}", d ^ 0x5a)), by_l4, "by a resolver next door");
    }
}

#[test]
fn families_of_an_answer_come_from_the_same_realserver() {
    let both =
        [("a", "192.0.2.1 2001:db8::1", 1), ("b", "192.0.2.2 2001:db8::2", 1), ("c", "192.0.2.3 2001:db8::3", 1)];
    let bench = Bench::new(&format!("{CHECK}{}", leaf("p", "policy = \"source-hash\"", &both)));
    for n in 0..=255 {
        let address = format!("198.51.{n}.1");
        assert_eq!(bench.get("p", &client(A, &address)), bench.get("p", &client(AAAA, &address)));
    }
}

#[test]
fn affinity_prefix_is_configurable() {
    let keys = "policy = \"source-hash\"\naffinity_prefix = { v4 = 32, v6 = 128 }";
    let bench = Bench::new(&abc(keys));
    let get = |address: &str| bench.get("p", &client(A, address));
    assert!((1..=50).any(|n| get(&format!("198.51.100.{n}")) != get("198.51.100.0")));
    assert_eq!(bench.select("p", &client(A, "198.51.100.1")).scope, Scope(32));
    assert_eq!(bench.select("p", &client(A, "2001:db8::1")).scope, Scope(128));
}

/// Who each of `n` networks belongs to, by name.
fn owners(bench: &Bench, n: u32) -> Vec<String> {
    (0..n)
        .map(|net| shown(&bench.select("p", &Client { most: 1, ..from(net.wrapping_mul(0x9e37_7900).to_be_bytes()) })))
        .collect()
}

#[test]
fn shares_are_those_of_the_weights() {
    let n = 100_000;
    for weights in [&[1, 1][..], &[4, 3, 2], &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1], &[10, 1, 5, 7], &[100, 50, 25]] {
        let bench = hashed(&weights.iter().copied().enumerate().collect::<Vec<_>>());
        let owners = owners(&bench, n);
        let total: u16 = weights.iter().sum();
        for (index, &weight) in weights.iter().enumerate() {
            let name = format!("r{index}");
            let count = owners.iter().filter(|owner| **owner == name).count() as f64;
            let share = f64::from(weight) / f64::from(total);
            let sigma = (f64::from(n) * share * (1.0 - share)).sqrt();
            let off = count - f64::from(n) * share;
            assert!(off.abs() <= 2.0 * sigma, "{weights:?} {name}: {count} is off by {off:.0}, sigma {sigma:.0}");
        }
    }
}

/// A table of slots is not perfectly still when a weight changes: some clients move between others as well. This says how few.
#[test]
fn weight_that_grows_moves_little_more_than_its_gain() {
    let n = 100_000;
    let before = owners(&hashed(&[(0, 100), (1, 100), (2, 100), (3, 100)]), n);
    let after = owners(&hashed(&[(0, 110), (1, 100), (2, 100), (3, 100)]), n);
    let moved = |is_meant: fn(&str, &str) -> bool| {
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after && is_meant(before, after));
        f64::from(u32::try_from(moved.count()).expect("few")) / f64::from(n)
    };
    let gain = 110.0 / 410.0 - 100.0 / 400.0;
    let (to_it, from_it, others) = (
        moved(|_, after| after == "r0"),
        moved(|before, _| before == "r0"),
        moved(|one, other| one != "r0" && other != "r0"),
    );
    assert!(to_it - from_it > gain * 0.9 && to_it - from_it < gain * 1.1, "{to_it} {from_it}, gain {gain}");
    assert!(from_it + others < 0.01, "{from_it} from it, {others} between others");
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn order_in_the_file_does_not_matter(weights in weights(), seed in any::<u64>(), addresses in prop::collection::vec(any::<u32>(), 8)) {
        let in_order: Vec<(usize, u16)> = weights.into_iter().enumerate().collect();
        let mut shuffled = in_order.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        let (one, other) = (hashed(&in_order), hashed(&shuffled));
        for address in addresses {
            let client = from(address.to_be_bytes());
            prop_assert_eq!(one.get("p", &client), other.get("p", &client));
        }
    }

    /// The whole ranking less the one that went down is the new ranking: nobody else moves, at any place, and all come back.
    #[test]
    fn one_that_goes_down_moves_only_its_own_clients(
        weights in weights(), gone in any::<prop::sample::Index>(), addresses in prop::collection::vec(any::<u32>(), 16)
    ) {
        let realservers: Vec<(usize, u16)> = weights.into_iter().enumerate().collect();
        let gone = gone.index(realservers.len());
        let mut bench = hashed(&realservers);
        let clients: Vec<Client> = addresses.iter().map(|address| from(address.to_be_bytes())).collect();
        let before: Vec<String> = clients.iter().map(|client| bench.get("p", client)).collect();
        let name = format!("r{gone}");
        let address = format!("192.0.2.{}", gone + 1);
        bench.down(&[&address]);
        for (client, before) in clients.iter().zip(&before) {
            let expected: Vec<&str> = before.split(' ').filter(|other| *other != name).collect();
            prop_assert_eq!(bench.get("p", client), expected.join(" "));
        }
        bench.probe(&[&address], true);
        let after: Vec<String> = clients.iter().map(|client| bench.get("p", client)).collect();
        prop_assert_eq!(after, before);
    }

    #[test]
    fn every_candidate_is_ranked_once(weights in weights(), address in any::<u128>(), downs in any::<u16>()) {
        let realservers: Vec<(usize, u16)> = weights.into_iter().enumerate().collect();
        let mut bench = hashed(&realservers);
        let is_down = |n: usize| downs >> n & 1 == 1;
        for (n, _) in realservers.iter().filter(|(n, _)| is_down(*n)) {
            bench.down(&[&format!("192.0.2.{}", n + 1)]);
        }
        let is_open = realservers.iter().all(|(n, _)| is_down(*n));
        let ranking = bench.select("p", &from(address.to_be_bytes()));
        let mut ids: Vec<u16> = ranking.realservers.iter().map(|ranked| ranked.id.0).collect();
        ids.sort_unstable();
        let expected: Vec<u16> = (0..12).take(realservers.len()).filter(|n| is_open || !is_down(usize::from(*n))).collect();
        prop_assert_eq!(ids, expected);
        prop_assert_eq!(ranking.degraded, is_open);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn key_is_the_address_cut_to_its_prefix(address in any::<u128>(), v4 in 1u8..=32, v6 in 1u8..=128) {
        let prefix = AffinityPrefix { v4, v6 };
        for address in [IpAddr::from(address.to_be_bytes()), IpAddr::from(((address >> 96) as u32).to_be_bytes())] {
            let (key, bits) = affinity_key(address, prefix);
            let net = ipnet::IpNet::new(address, bits).expect("within the family");
            prop_assert_eq!(key, net.network());
            prop_assert_eq!(affinity_key(net.broadcast(), prefix), (key, bits));
        }
    }
}
