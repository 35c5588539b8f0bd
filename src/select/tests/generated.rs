//! Pools, health and clients made up at random: the scope is honest, and an explanation is the decision itself.

use ipnet::IpNet;
use proptest::prelude::*;

use super::{super::*, *};
use crate::geo::{Continent, Coordinates, CountryCode, Location};

/// Cases of a property test: a thousand, or what the environment says.
pub(super) fn cases() -> ProptestConfig {
    let is_set = std::env::var_os("PROPTEST_CASES").is_some();
    if is_set { ProptestConfig::default() } else { ProptestConfig::with_cases(1000) }
}

/// Networks and addresses that crowd into one corner of each family, so that they meet.
fn network() -> impl Strategy<Value = IpNet> {
    let v4 = (0u32..64, 16u32..=30, 0u8..=32).prop_map(|(number, shift, length)| {
        IpNet::new(IpAddr::from((number << shift).to_be_bytes()), length).expect("IPv4").trunc()
    });
    let v6 = (0u128..64, 60u32..=120, 0u8..=128).prop_map(|(number, shift, length)| {
        IpNet::new(IpAddr::from((number << shift).to_be_bytes()), length).expect("IPv6").trunc()
    });
    prop_oneof![3 => v4, 1 => v6]
}

fn list_of(pools: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::subsequence(pools, 0..=pools.len())
        .prop_shuffle()
        .prop_map(|list| format!("[{}]", list.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")))
}

fn geo_pool(name: &'static str, below: &'static [&'static str]) -> impl Strategy<Value = String> {
    let nets = prop::collection::btree_map(network().prop_map(|net| net.to_string()), list_of(below), 0..8);
    (list_of(below), nets, prop::option::of(list_of(below))).prop_map(move |(default, nets, members)| {
        let nets: String = nets.iter().map(|(net, list)| format!("{net:?} = {list}\n")).collect();
        let all: Vec<String> = below.iter().map(|name| format!("{name:?}")).collect();
        let members = members.map_or(String::new(), |_| format!("members = [{}]\n", all.join(", ")));
        // Not every list may be empty.
        format!(
            "[pools.{name}]\n{members}[pools.{name}.geo]\ndefault = {default}\nAS1 = [{}]\n[pools.{name}.nets]\n{nets}",
            all.join(", ")
        )
    })
}

/// Few places, so that several are as near.
fn coordinates() -> impl Strategy<Value = Coordinates> {
    let places = [(52.37, 4.9), (50.85, 4.35), (40.71, -74.0), (-17.8, 178.0), (-13.83, -171.76), (89.0, 10.0)];
    prop::sample::select(places.to_vec())
        .prop_map(|(latitude, longitude)| Coordinates::new(latitude, longitude).expect("a place"))
}

fn location() -> impl Strategy<Value = Location> {
    let country = prop::option::of(prop::sample::select(vec!["KP", "DE", "US"]));
    (country, prop::option::of(1u32..3), prop::option::weighted(0.8, coordinates())).prop_map(
        |(country, asn, coordinates)| {
            let country = country.and_then(CountryCode::new);
            Location { continent: country.map(CountryCode::continent), country, subdivision: None, asn, coordinates }
        },
    )
}

fn geo() -> impl Strategy<Value = Geo> {
    prop::collection::vec((network(), location()), 0..12).prop_map(Geo::from_networks)
}

/// Whom a pool does not serve, if anybody; `instead` is one of the pools that may serve them.
fn exclusion(instead: &'static [&'static str]) -> impl Strategy<Value = String> {
    let place = prop::sample::select(vec!["KP", "europe", "AS1", "AS2"]);
    let to = prop::option::of(prop::sample::select(instead.to_vec()));
    prop::option::weighted(0.3, (place, to)).prop_map(|exclusion| {
        exclusion.map_or(String::new(), |(place, to)| {
            format!("exclude = [{place:?}]\non_excluded = {:?}\n", to.unwrap_or("refused"))
        })
    })
}

/// Pools by distance; some of them, or none, for clients of unknown place.
fn nearest_pool(name: &'static str, below: &'static [&'static str]) -> impl Strategy<Value = String> {
    let default = prop::option::of(list_of(below));
    (exclusion(&["c"]), default).prop_map(move |(exclusion, default)| {
        let default = default.map_or(String::new(), |default| format!("default = {default}\n"));
        format!("[pools.{name}]\npolicy = \"nearest\"\nmembers = {below:?}\n{default}{exclusion}")
    })
}

const POLICIES: &[&str] = &["wrr", "random", "source-hash", "failover", "nearest"];

fn leaf_pool(name: &'static str, octet: u8) -> impl Strategy<Value = String> {
    let weights = prop::collection::vec((1u16..6, any::<bool>(), prop::option::of(coordinates())), 1..4);
    let rule = prop::sample::select(vec!["all", "none", "servfail"]);
    let keys = (prop::sample::select(POLICIES), prop::sample::select(vec!["1", "2", "\"all\""]), rule);
    // The last of them sends nobody on: that could be a circle.
    let instead: &[&str] = if name == "c" { &["refused"] } else { &["c"] };
    let place = (prop::option::of(coordinates()), exclusion(instead));
    (weights, keys, (8u8..=32, 20u8..=100), prop::sample::select(vec!["0%", "50%", "100%"]), place).prop_map(
        move |(weights, (policy, answers, rule), (v4, v6), min_healthy, (location, exclusion))| {
            let entry = |(n, (weight, has_v6, location)): (usize, &(u16, bool, Option<Coordinates>))| {
                let v6 = if *has_v6 { format!(", \"2001:db8:{octet}::{n}\"") } else { String::new() };
                let location = location.map_or(String::new(), |location| format!(", location = [{location}]"));
                let addresses = format!("[\"192.0.{octet}.{}\"{v6}]", n + 1);
                format!("{{ name = \"{name}{n}\", address = {addresses}, port = 80, weight = {weight}{location} }},\n")
            };
            let entries: String = weights.iter().enumerate().map(entry).collect();
            let location = location.map_or(String::new(), |location| format!("location = [{location}]\n"));
            let keys = format!(
                "policy = \"{policy}\"\nanswers = {answers}\non_all_down = \"{rule}\"\nmin_healthy = \"{min_healthy}\"\n\
                 affinity_prefix = {{ v4 = {v4}, v6 = {v6} }}"
            );
            format!("[pools.{name}]\ncheck = \"c\"\n{keys}\n{location}{exclusion}realservers = [\n{entries}]\n")
        },
    )
}

/// Three pools of realservers, two geo pools and a nearest one over them, and others over all; with health and operators as the bits say.
fn bench() -> impl Strategy<Value = Bench> {
    let leaves = (leaf_pool("a", 1), leaf_pool("b", 2), leaf_pool("c", 3));
    let pools = (geo_pool("g", &["a", "b", "c"]), geo_pool("h", &["b", "c"]), geo_pool("top", &["g", "h", "a", "n"]));
    let nearest = (nearest_pool("n", &["a", "b", "c"]), nearest_pool("far", &["g", "n", "b"]), geo());
    (leaves, pools, nearest, any::<u32>(), any::<u16>()).prop_map(
        |((a, b, c), (g, h, top), (n, far, geo), downs, admins)| {
            let order = "[pools.order]\nmembers = [\"h\", \"a\", \"g\"]\n";
            let databases = "[geoip]\ndatabases = [\"city.mmdb\"]\n";
            let mut bench = Bench::with_geo(&format!("{databases}{CHECK}{a}{b}{c}{g}{h}{n}{far}{top}{order}"), geo);
            let mut targets = bench.state.targets();
            targets.sort_by_key(|target| target.address);
            for (n, target) in targets.into_iter().enumerate() {
                if downs >> n & 1 == 1 {
                    bench.apply(Event::Probed(target, Err("refused".into())));
                }
            }
            for (n, pool) in ["a", "b", "c"].into_iter().enumerate() {
                let admin =
                    [Admin::Ready, Admin::Ready, Admin::Drain, Admin::Maint][usize::from(admins >> (2 * n) & 3)];
                bench.set(&format!("{pool}/{pool}0"), admin);
            }
            bench
        },
    )
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::config::print(self.state.config()))
    }
}

fn any_client() -> impl Strategy<Value = Client> {
    let via = prop::sample::select(vec![A, AAAA, Via::Redirect, Via::L4]);
    (network(), via, any::<u64>(), 0u8..=128).prop_map(|(net, via, random, prefix)| {
        let prefix = prefix.clamp(1, net.max_prefix_len());
        let address = IpNet::new(net.addr(), prefix).expect("within the family").network();
        let most = if via == Via::Redirect { 1 } else { 64 };
        Client { address, prefix, via, random, turn: Turn::Peek, most }
    })
}

fn pool() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["top", "order", "g", "h", "a", "n", "far"])
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn scope_is_honest(bench in bench(), client in any_client(), pool in pool(), others in prop::collection::vec(any::<u128>(), 12)) {
        let ranking = bench.select(pool, &client);
        prop_assert!(ranking.scope.0 <= client.prefix);
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let address = |bits: u128| match client.address {
            IpAddr::V4(_) => IpAddr::from(((bits >> 96) as u32).to_be_bytes()),
            IpAddr::V6(_) => IpAddr::from(bits.to_be_bytes()),
        };
        let mask = |length: u8| u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        // Both ends of the scope, and some in between; as many bits are known of them.
        for other in others.into_iter().chain([0, u128::MAX]) {
            let inside = bits(client.address) & mask(ranking.scope.0) | other & !mask(ranking.scope.0);
            let other = Client { address: address(inside & mask(client.prefix)), ..client };
            let same = bench.select(pool, &other);
            prop_assert_eq!(shown(&same), shown(&ranking), "{} within /{}", other.address, ranking.scope.0);
            prop_assert_eq!(same.scope, ranking.scope);
        }
    }

    #[test]
    fn scope_is_0_where_nothing_depends_on_the_client(bench in bench(), one in any_client(), other in any_client()) {
        for pool in ["a", "b", "c"] {
            let asks = bench.snapshot.pool(bench.pool(pool)).is_some_and(|pool| {
                let Members::Realservers(realservers) = &pool.members else { return true };
                pool.exclusion.is_some() || matches!(realservers.policy, Policy::SourceHash(_) | Policy::Nearest(_))
            });
            if !asks {
                let other = Client { address: other.address, prefix: other.prefix, ..one };
                let ranking = bench.select(pool, &one);
                prop_assert_eq!(ranking.scope, Scope(0));
                prop_assert_eq!(shown(&bench.select(pool, &other)), shown(&ranking));
            }
        }
    }

    #[test]
    fn explanation_is_the_decision_and_takes_no_turn(bench in bench(), client in any_client(), pool in pool()) {
        for _ in 0..4 {
            let (explained, explanation) = explain(&bench.snapshot, bench.pool(pool), &Client { turn: Turn::Take, ..client });
            let decided = bench.select(pool, &Client { turn: Turn::Take, ..client });
            prop_assert_eq!(shown(&explained), shown(&decided));
            prop_assert_eq!((explained.scope, explained.degraded), (decided.scope, decided.degraded));
            let in_order: Vec<&str> =
                explanation.realservers.iter().filter(|told| told.rank.is_some()).map(|told| &*told.name).collect();
            let decided: Vec<&str> = decided.realservers.iter().map(|ranked| &*ranked.realserver.name).collect();
            prop_assert_eq!(in_order, decided);
        }
    }

    #[test]
    fn ranking_has_only_whom_the_rules_allow(bench in bench(), client in any_client(), pool in pool()) {
        let ranking = bench.select(pool, &client);
        let family = client.via.family();
        for (index, ranked) in ranking.realservers.iter().enumerate() {
            prop_assert_eq!(ranked.realserver.admin, Admin::Ready);
            prop_assert!(ranked.realserver.has(family));
            prop_assert_eq!(ranked.realserver.is_eligible(family), !ranking.degraded);
            let before = ranking.realservers.iter().take(index);
            prop_assert!(before.clone().all(|other| (other.pool, other.id) != (ranked.pool, ranked.id)));
            prop_assert!(before.clone().all(|other| other.tier <= ranked.tier));
        }
        prop_assert!(ranking.realservers.len() <= client.most);
        prop_assert!(ranking.realservers.is_empty() || ranking.when_empty == WhenEmpty::Nothing);
    }

    /// The precedence of the excluded: whoever the databases place there is never served by the pool that excludes them.
    #[test]
    fn excluded_client_is_never_served(bench in bench(), client in any_client(), pool in pool()) {
        let location = bench.snapshot.geo.locate(client.address);
        for ranked in &bench.select(pool, &client).realservers {
            let name = bench.snapshot.pool(ranked.pool).map(|pool| pool.name.clone()).unwrap_or_default();
            let configured = bench.state.config().pools.iter().find(|pool| pool.name == name).expect("configured");
            for place in configured.exclusion.iter().flat_map(|exclusion| &exclusion.places) {
                let text = place.to_string();
                let is_there = location.country.is_some_and(|country| country.as_str() == text)
                    || location.asn.is_some_and(|asn| format!("AS{asn}") == text)
                    || location.continent.map(Continent::name) == Some(&*text);
                prop_assert!(!is_there, "{} is in {}, which `{}` excludes", client.address, place, name);
            }
        }
    }

    /// By connections, which get everybody: in a nearest pool, nobody is passed by somebody who is much further away.
    #[test]
    fn nearest_ranking_has_every_candidate_once_and_by_distance(bench in bench(), client in any_client()) {
        let client = Client { via: Via::L4, most: 64, ..client };
        for pool in ["a", "b", "c"] {
            let ranking = bench.select(pool, &client);
            let Some(Members::Realservers(realservers)) = bench.snapshot.pool(bench.pool(pool)).map(|pool| &pool.members) else { continue };
            let (Policy::Nearest(_), WhenEmpty::Nothing) = (&realservers.policy, ranking.when_empty) else { continue };
            if ranking.realservers.iter().any(|ranked| ranked.pool != bench.pool(pool)) || ranking.realservers.is_empty() {
                continue;
            }
            let mut ids: Vec<u16> = ranking.realservers.iter().map(|ranked| ranked.id.0).collect();
            ids.sort_unstable();
            let candidates: Vec<u16> = realservers.view(None).candidates.iter().map(|id| id.0).collect();
            prop_assert_eq!(ids, candidates);
            let Some(place) = bench.snapshot.geo.locate(client.address).coordinates else { continue };
            let config = bench.state.config().clone();
            let located = |ranked: &Ranked<'_>| {
                let pool = config.pools.iter().find(|configured| &*configured.name == pool)?;
                let crate::config::Members::Realservers { realservers, .. } = &pool.members else { return None };
                let configured = realservers.get(usize::from(ranked.id.0))?;
                let by_address = |family| bench.snapshot.geo.locate(configured.address(family)?).coordinates;
                let known = configured.location.or_else(|| by_address(Family::V4)).or_else(|| by_address(Family::V6));
                Some(known.map_or(f64::INFINITY, |known| place.distance_km(known)))
            };
            let distances: Vec<f64> = ranking.realservers.iter().filter_map(located).collect();
            for (at, distance) in distances.iter().enumerate() {
                let further = distances.iter().take(at).copied().fold(0.0, f64::max);
                prop_assert!(further <= distance * 1.05 + 1e-9, "{:?}", distances);
            }
        }
    }
}
