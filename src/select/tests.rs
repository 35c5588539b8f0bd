//! The rules of the decision, each by name, on snapshots made of configuration text, probe results and operators' words.

mod affinity;
mod excluded;
mod generated;
mod nearest;

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr, path::Path, sync::Arc, thread};

use jiff::Timestamp;

use super::{explain::explain, *};
use crate::{
    geo::Geo,
    health::Target,
    state::{Event, Override, State, Wish, saved::Saved},
    types::{Admin, Health},
};

/// A state made of configuration text, and what a test does with it.
struct Bench {
    state: State,
    snapshot: Arc<Snapshot>,
}

impl Bench {
    #[track_caller]
    fn new(toml: &str) -> Self {
        Self::with_geo(toml, Geo::empty())
    }

    #[track_caller]
    fn with_geo(toml: &str, geo: Geo) -> Self {
        let text = format!("version = 1\n{toml}");
        let config = crate::config::parse(Path::new("fingerpost.toml"), text);
        let config = config.map(|(config, _)| config).unwrap_or_else(|errors| panic!("{errors}"));
        let mut state = State::new(Arc::new(config), Arc::new(geo), Saved::default(), Timestamp::UNIX_EPOCH);
        let snapshot = state.snapshot().expect("the first one");
        Self { state, snapshot }
    }

    fn apply(&mut self, event: Event) {
        self.state.apply(event, Timestamp::UNIX_EPOCH).expect("applies");
        self.snapshot = self.state.snapshot().unwrap_or_else(|| self.snapshot.clone());
    }

    /// Lets every check at `addresses` succeed or fail once.
    fn probe(&mut self, addresses: &[&str], is_success: bool) -> &mut Self {
        for address in addresses {
            let address: IpAddr = address.parse().expect(address);
            let is_there = |target: &Target| target.address.ip() == address;
            let targets: Vec<Target> = self.state.targets().into_iter().filter(is_there).collect();
            assert!(!targets.is_empty(), "nobody probes {address}");
            for target in targets {
                let outcome = if is_success { Ok(()) } else { Err("refused".into()) };
                self.apply(Event::Probed(target, outcome));
            }
        }
        self
    }

    fn down(&mut self, addresses: &[&str]) -> &mut Self {
        self.probe(addresses, false)
    }

    /// `name` is `POOL/REALSERVER`.
    fn set(&mut self, name: &str, admin: Admin) -> &mut Self {
        let pattern = name.parse().expect("POOL/REALSERVER");
        let since = Timestamp::UNIX_EPOCH;
        let wish = Wish::Admin(admin);
        self.apply(Event::OperatorSet(pattern, Override { wish, until: None, reason: None, by: "test".into(), since }));
        self
    }

    fn pool(&self, name: &str) -> PoolId {
        self.snapshot.pool_named(name).expect(name).0
    }

    fn select(&self, pool: &str, client: &Client) -> Ranking<'_> {
        select(&self.snapshot, self.pool(pool), client)
    }

    /// The realservers that `client` gets, as `a b`; a fail-open answer starts with `!`, an empty one is `-` or `servfail`.
    fn get(&self, pool: &str, client: &Client) -> String {
        shown(&self.select(pool, client))
    }

    /// What `n` clients in a row get.
    fn turns(&self, pool: &str, client: &Client, n: usize) -> String {
        (0..n).map(|_| self.get(pool, client)).collect::<Vec<_>>().join(" ")
    }
}

fn shown(ranking: &Ranking<'_>) -> String {
    let names: Vec<&str> = ranking.realservers.iter().map(|ranked| &*ranked.realserver.name).collect();
    match (names.is_empty(), ranking.when_empty) {
        (true, WhenEmpty::Nothing) => "-".to_owned(),
        (true, WhenEmpty::Servfail) => "servfail".to_owned(),
        (true, WhenEmpty::Refused) => "refused".to_owned(),
        (false, _) => format!("{}{}", if ranking.degraded { "! " } else { "" }, names.join(" ")),
    }
}

/// A client by `address` or `address/prefix`, who comes by `via`.
fn client(via: Via, client: &str) -> Client {
    let (address, prefix) = client.split_once('/').map_or((client, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().expect(address);
    let all = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(all, |prefix| prefix.parse().expect(prefix));
    let most = if via == Via::Redirect { 1 } else { 64 };
    Client { address, prefix, via, random: 0, turn: Turn::Take, most }
}

const A: Via = Via::Dns(Family::V4);
const AAAA: Via = Via::Dns(Family::V6);

fn dns() -> Client {
    client(A, "192.0.2.200")
}

/// `[pools.NAME]` with these realservers, each `(name, address or list of two, weight)`; `keys` go in as they are.
fn leaf(name: &str, keys: &str, realservers: &[(&str, &str, u16)]) -> String {
    let mut text = format!("[pools.{name}]\ncheck = \"c\"\n{keys}\nrealservers = [\n");
    for (name, address, weight) in realservers {
        let addresses: Vec<String> = address.split(' ').map(|address| format!("{address:?}")).collect();
        let addresses = addresses.join(", ");
        writeln!(text, "{{ name = {name:?}, address = [{addresses}], port = 80, weight = {weight} }},").expect("text");
    }
    text + "]\n"
}

/// A check that one result decides.
const CHECK: &str = "[checks.c]\ntype = \"tcp\"\nrise = 1\nfall = 1\n";

/// Realservers `a`, `b`, `c` of weights 4, 3, 2 at 192.0.2.1 to 3.
fn abc(keys: &str) -> String {
    let abc = [("a", "192.0.2.1", 4), ("b", "192.0.2.2", 3), ("c", "192.0.2.3", 2)];
    format!("{CHECK}{}", leaf("p", keys, &abc))
}

/// Pools `eu` (a, b) and `us` (x, y), and above them what `above` says. 192.0.2.1, .2, 198.51.100.1, .2.
fn two_sites(keys: &str, above: &str) -> Bench {
    let eu = leaf("eu", keys, &[("a", "192.0.2.1", 1), ("b", "192.0.2.2", 1)]);
    let us = leaf("us", keys, &[("x", "198.51.100.1", 1), ("y", "198.51.100.2", 1)]);
    Bench::new(&format!("{CHECK}{eu}{us}{above}"))
}

const FAILOVER: &str = "[pools.p]\nmembers = [\"eu\", \"us\"]\n";

#[test]
fn wrr_is_the_classic_order_from_the_first_query() {
    let bench = Bench::new(&abc(""));
    assert_eq!(bench.turns("p", &dns(), 18), "a a b a b c a b c a a b a b c a b c");
}

#[test]
fn wrr_is_exact_whatever_the_number_of_workers() {
    let bench = Bench::new(&abc(""));
    let take = || (0..900).map(|_| bench.get("p", &dns())).collect::<Vec<_>>();
    let mut counts = BTreeMap::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
        for name in workers.into_iter().flat_map(|worker| worker.join().expect("worker")) {
            *counts.entry(name).or_insert(0) += 1;
        }
    });
    assert_eq!(counts, BTreeMap::from([("a".into(), 3200), ("b".into(), 2400), ("c".into(), 1600)]));
    assert_eq!(bench.turns("p", &dns(), 9), "a a b a b c a b c", "whole rounds were taken");
}

#[test]
fn each_way_has_its_own_turns() {
    let addresses = [("a", "192.0.2.1 2001:db8::1", 4), ("b", "192.0.2.2 2001:db8::2", 3)];
    let bench = Bench::new(&format!("{CHECK}{}", leaf("p", "", &addresses)));
    for _ in 0..2 {
        assert_eq!(bench.get("p", &client(AAAA, "192.0.2.200")), "a");
        assert_eq!(bench.get("p", &dns()), "a");
        assert_eq!(bench.get("p", &client(Via::Redirect, "192.0.2.200")), "a");
        assert_eq!(bench.get("p", &client(Via::L4, "192.0.2.200")), "a b");
    }
    assert_eq!(bench.get("p", &dns()), "b");
}

#[test]
fn wrr_goes_on_where_it_was_when_health_changes() {
    let mut bench = Bench::new(&abc(""));
    assert_eq!(bench.turns("p", &dns(), 2), "a a");
    bench.probe(&["192.0.2.1", "192.0.2.2", "192.0.2.3"], true);
    assert_eq!(bench.turns("p", &dns(), 4), "b a b c", "unknown that turns out up changes nothing");
    bench.down(&["192.0.2.3"]);
    assert_eq!(bench.turns("p", &dns(), 7).matches('c').count(), 0);
    bench.probe(&["192.0.2.3"], true);
    assert_eq!(bench.turns("p", &dns(), 9).matches('c').count(), 2);
}

#[test]
fn l4_goes_down_the_list_from_whose_turn_it_is() {
    let bench = Bench::new(&abc(""));
    let l4 = client(Via::L4, "192.0.2.200");
    assert_eq!([(); 3].map(|()| bench.get("p", &l4)).join(", "), "a b c, a b c, b c a");
}

#[test]
fn answers_are_distinct_and_as_many_as_the_pool_says() {
    let bench = Bench::new(&abc("answers = 2"));
    assert_eq!([(); 4].map(|()| bench.get("p", &dns())).join(", "), "a b, a b, b c, a b");
    let bench = Bench::new(&abc("answers = \"all\""));
    assert_eq!([(); 3].map(|()| bench.get("p", &dns())).join(", "), "a b c, a b c, b c a");
    let few = Client { most: 2, ..dns() };
    assert_eq!(bench.get("p", &few), "a b", "the caller's limit counts too");
    for policy in ["random", "source-hash"] {
        let bench = Bench::new(&abc(&format!("policy = \"{policy}\"\nanswers = 2")));
        for random in 0..50u64 {
            let ranking = bench.select("p", &Client { random: random << 58, ..dns() });
            let [first, second] = &ranking.realservers[..] else { panic!("two, not {}", shown(&ranking)) };
            assert_ne!(first.id, second.id);
        }
    }
    let bench = Bench::new(&abc("policy = \"random\"\nanswers = \"all\""));
    let mut names: Vec<_> = bench.get("p", &dns()).split(' ').map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn answers_of_the_pool_above_overrule_those_below() {
    let bench = two_sites("answers = 1", "[pools.p]\nmembers = [\"eu\", \"us\"]\nanswers = \"all\"\n");
    assert_eq!(bench.get("p", &dns()), "a b");
    assert_eq!(bench.get("eu", &dns()), "b");
}

#[test]
fn random_keeps_to_the_weights() {
    let bench = Bench::new(&abc("policy = \"random\""));
    let mut random = fastrand::Rng::with_seed(4711);
    let n = 90_000;
    let mut counts = [0f64; 3];
    for _ in 0..n {
        let ranking = bench.select("p", &Client { random: random.u64(..), ..dns() });
        counts[usize::from(ranking.realservers[0].id.0)] += 1.0;
    }
    let expected = [4.0, 3.0, 2.0].map(|weight| weight / 9.0 * f64::from(n));
    let chi_square: f64 =
        counts.iter().zip(expected).map(|(count, expected)| (count - expected).powi(2) / expected).sum();
    assert!(chi_square < 13.8, "p > 0.001 with two degrees of freedom: {chi_square}, {counts:?}");
}

#[test]
fn random_draws_first_and_last_of_the_range() {
    let bench = Bench::new(&abc("policy = \"random\""));
    assert_eq!(bench.get("p", &Client { random: 0, ..dns() }), "a");
    assert_eq!(bench.get("p", &Client { random: u64::MAX, ..dns() }), "c");
}

#[test]
fn failover_is_the_first_eligible_realserver() {
    let mut bench = Bench::new(&abc("policy = \"failover\""));
    assert_eq!(bench.turns("p", &dns(), 2), "a a");
    let l4 = client(Via::L4, "192.0.2.200");
    let tiers: Vec<u8> = bench.select("p", &l4).realservers.iter().map(|ranked| ranked.tier).collect();
    assert_eq!((bench.get("p", &l4).as_str(), tiers), ("a b c", vec![0, 1, 2]));
    bench.down(&["192.0.2.1"]);
    assert_eq!(bench.turns("p", &dns(), 2), "b b");
    bench.set("p/b", Admin::Drain);
    assert_eq!(bench.get("p", &dns()), "c");
    bench.probe(&["192.0.2.1"], true);
    assert_eq!(bench.get("p", &dns()), "a");
}

#[test]
fn failed_member_is_passed_over() {
    let mut bench = two_sites("", FAILOVER);
    assert_eq!(bench.turns("p", &dns(), 2), "a b");
    bench.down(&["192.0.2.1"]);
    assert_eq!(bench.turns("p", &dns(), 2), "b b", "one left is enough");
    bench.down(&["192.0.2.2"]);
    assert_eq!(bench.turns("p", &dns(), 2), "x y");
    bench.probe(&["192.0.2.2"], true);
    assert_eq!(bench.get("p", &dns()), "b");
}

#[test]
fn l4_goes_on_to_the_next_member_with_a_tier_of_its_own() {
    let bench = two_sites("", FAILOVER);
    let ranking = bench.select("p", &client(Via::L4, "192.0.2.200"));
    let tiers: Vec<u8> = ranking.realservers.iter().map(|ranked| ranked.tier).collect();
    assert_eq!((shown(&ranking).as_str(), tiers), ("a b x y", vec![0, 0, 1, 1]));
}

#[test]
fn pool_that_two_ways_lead_to_is_ranked_once() {
    let above = "[pools.q]\nmembers = [\"us\", \"eu\"]\n[pools.p]\nmembers = [\"eu\", \"q\"]\n";
    let bench = two_sites("", above);
    assert_eq!(bench.get("p", &client(Via::L4, "192.0.2.200")), "a b x y");
}

#[test]
fn pools_nest_to_the_depth_that_is_allowed() {
    let mut text = format!("{CHECK}{}", leaf("p0", "", &[("a", "192.0.2.1", 1)]));
    text += &leaf("spare", "", &[("s", "192.0.2.2", 1)]);
    for level in 1..POOL_DEPTH_MAX {
        text += &format!("[pools.p{level}]\nmembers = [\"p{}\", \"spare\"]\n", level - 1);
    }
    let top = format!("p{}", POOL_DEPTH_MAX - 1);
    let mut bench = Bench::new(&text);
    assert_eq!(bench.get(&top, &dns()), "a");
    bench.down(&["192.0.2.1"]);
    assert_eq!(bench.get(&top, &dns()), "s");
    bench.down(&["192.0.2.2"]);
    assert_eq!(bench.get(&top, &dns()), "! a", "the first member of the first member, all the way down");
}

#[test]
fn min_healthy_counts_weight_and_is_for_the_pool_above() {
    let eu = leaf("eu", "min_healthy = \"50%\"", &[("a", "192.0.2.1", 3), ("b", "192.0.2.2", 1)]);
    let us = leaf("us", "", &[("x", "198.51.100.1", 1)]);
    let mut bench = Bench::new(&format!("{CHECK}{eu}{us}{FAILOVER}"));
    bench.down(&["192.0.2.2"]);
    assert_eq!(bench.get("p", &dns()), "a", "75% are enough");
    bench.probe(&["192.0.2.2"], true).down(&["192.0.2.1"]);
    assert_eq!(bench.get("p", &dns()), "x", "25% are not");
    assert_eq!(bench.get("eu", &dns()), "b", "asked for by itself it has somebody");
}

#[test]
fn exactly_min_healthy_is_enough() {
    let eu = leaf("eu", "min_healthy = \"50%\"", &[("a", "192.0.2.1", 1), ("b", "192.0.2.2", 1)]);
    let us = leaf("us", "", &[("x", "198.51.100.1", 1)]);
    let mut bench = Bench::new(&format!("{CHECK}{eu}{us}{FAILOVER}"));
    bench.down(&["192.0.2.1"]);
    assert_eq!(bench.get("p", &dns()), "b");
}

#[test]
fn when_every_member_is_failed_the_first_one_decides() {
    let everybody = ["192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.2"];
    let mut bench = two_sites("answers = \"all\"", FAILOVER);
    assert_eq!(bench.down(&everybody).get("p", &dns()), "! a b");
    let mut bench = two_sites("on_all_down = \"none\"", FAILOVER);
    assert_eq!(bench.down(&everybody).get("p", &dns()), "-");
    let mut bench = two_sites("on_all_down = \"servfail\"", FAILOVER);
    assert_eq!(bench.down(&everybody).get("p", &dns()), "servfail");
    // What the pool above says counts more.
    let above = format!("{FAILOVER}on_all_down = \"none\"\n");
    let mut bench = two_sites("on_all_down = \"servfail\"", &above);
    assert_eq!(bench.down(&everybody).get("p", &dns()), "-");
    assert_eq!(bench.get("eu", &dns()), "servfail");
}

#[test]
fn too_few_healthy_everywhere_is_no_open_answer() {
    let mut bench = two_sites("min_healthy = \"100%\"", FAILOVER);
    bench.down(&["192.0.2.1", "198.51.100.1", "198.51.100.2"]);
    assert_eq!(bench.get("p", &dns()), "b", "who is eligible serves");
}

#[test]
fn on_all_down_of_a_pool_by_itself() {
    for (rule, expected) in [("all", "! a"), ("none", "-"), ("servfail", "servfail")] {
        let mut bench = Bench::new(&abc(&format!("on_all_down = \"{rule}\"")));
        bench.down(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(bench.get("p", &dns()), expected);
        bench.probe(&["192.0.2.2"], true);
        assert_eq!(bench.get("p", &dns()), "b");
    }
}

#[test]
fn fail_open_keeps_to_the_policy() {
    let mut bench = Bench::new(&abc(""));
    bench.down(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(bench.turns("p", &dns(), 9), "! a ! a ! b ! a ! b ! c ! a ! b ! c");
}

#[test]
fn drain_and_maint_get_nothing_not_even_in_fail_open() {
    for admin in [Admin::Drain, Admin::Maint] {
        let mut bench = Bench::new(&abc(""));
        bench.set("p/a", admin);
        assert_eq!(bench.turns("p", &dns(), 5), "b b c b c", "weights 3 and 2 are left");
        bench.down(&["192.0.2.2", "192.0.2.3"]);
        assert_eq!(bench.turns("p", &dns(), 5), "! b ! b ! c ! b ! c");
        bench.set("p/b", admin).set("p/c", admin);
        assert_eq!(bench.get("p", &dns()), "-", "nobody is ready");
        bench.set("p/b", Admin::Ready);
        // After maint nothing is known of it, after drain that it is down.
        assert_eq!(bench.get("p", &dns()), if admin == Admin::Maint { "b" } else { "! b" });
    }
}

#[test]
fn pool_whose_realservers_are_all_drained_is_failed() {
    let mut bench = two_sites("", FAILOVER);
    bench.set("eu/a", Admin::Drain).set("eu/b", Admin::Maint);
    assert_eq!(bench.turns("p", &dns(), 2), "x y");
    bench.set("us/x", Admin::Drain).set("us/y", Admin::Drain);
    let ranking = bench.select("p", &dns());
    assert_eq!((shown(&ranking).as_str(), ranking.degraded), ("-", false));
}

#[test]
fn unknown_is_eligible_and_the_first_result_decides() {
    let mut bench = Bench::new(&abc(""));
    assert_eq!(bench.turns("p", &dns(), 3), "a a b");
    bench.down(&["192.0.2.1"]);
    assert_eq!(bench.turns("p", &dns(), 5).matches('a').count(), 0);
}

#[test]
fn realserver_without_a_check_is_up() {
    let bench = Bench::new("[pools.p]\nrealservers = [{ name = \"a\", address = \"192.0.2.1\" }]\n");
    assert_eq!(bench.get("p", &dns()), "a");
    let ranking = bench.select("p", &dns());
    assert_eq!(ranking.realservers[0].realserver.health(None), Health::Up);
}

#[test]
fn family_that_a_pool_lacks_is_nothing_and_not_degraded() {
    let mut bench = two_sites("on_all_down = \"servfail\"", FAILOVER);
    for pool in ["eu", "p"] {
        let ranking = bench.select(pool, &client(AAAA, "2001:db8::200"));
        assert_eq!((shown(&ranking).as_str(), ranking.degraded), ("-", false));
    }
    assert_eq!(bench.turns("p", &dns(), 2), "a b", "and takes no turn");
    let mut open = two_sites("", FAILOVER);
    for bench in [&mut bench, &mut open] {
        bench.down(&["192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.2"]);
    }
    let ranking = open.select("p", &client(AAAA, "2001:db8::200"));
    assert_eq!((shown(&ranking).as_str(), ranking.degraded), ("-", false));
}

#[test]
fn family_that_is_down_alone_gives_none_while_the_other_goes_on() {
    let both = [("a", "192.0.2.1 2001:db8::1", 1), ("b", "192.0.2.2 2001:db8::2", 1)];
    let mut bench = Bench::new(&format!("{CHECK}{}", leaf("p", "", &both)));
    let aaaa = client(AAAA, "2001:db8::200");
    bench.down(&["2001:db8::1"]);
    assert_eq!((bench.turns("p", &aaaa, 2), bench.turns("p", &dns(), 2)), ("b b".into(), "a b".into()));
    bench.down(&["2001:db8::2"]);
    assert_eq!(bench.get("p", &aaaa), "-", "not failed: A serves");
    assert!(!bench.select("p", &aaaa).degraded);
    assert_eq!(bench.turns("p", &dns(), 2), "a b");
    // Once nobody is eligible in any family, both fail open.
    bench.down(&["192.0.2.1", "192.0.2.2"]);
    assert_eq!((bench.get("p", &aaaa), bench.get("p", &dns())), ("! a".into(), "! a".into()));
}

#[test]
fn connection_uses_the_address_that_is_not_down() {
    let mut bench = Bench::new(&format!("{CHECK}{}", leaf("p", "", &[("a", "192.0.2.1 2001:db8::1", 1)])));
    bench.down(&["192.0.2.1"]);
    let ranking = bench.select("p", &client(Via::L4, "192.0.2.200"));
    let addresses: Vec<String> = ranking.realservers[0].realserver.addresses().map(|a| a.to_string()).collect();
    assert_eq!(addresses, ["2001:db8::1", "192.0.2.1"]);
    assert!(!ranking.degraded);
}

const NETS: &str = "[pools.p]\n[pools.p.geo]\ndefault = [\"eu\", \"us\"]\n[pools.p.nets]\n\
                    \"203.0.113.0/24\" = [\"us\", \"eu\"]\n\"203.0.113.128/25\" = []\n\"203.0.113.192/26\" = [\"eu\"]\n";

#[test]
fn longest_network_wins_and_each_list_is_a_failover() {
    let mut bench = two_sites("", NETS);
    for (address, expected) in [
        ("203.0.113.1", "x"),
        ("203.0.113.129", "-"),
        ("203.0.113.193", "a"),
        ("192.0.2.200", "b"),
        ("2001:db8::9", "a"),
    ] {
        assert_eq!(bench.get("p", &client(A, address)), expected, "{address}");
    }
    bench.down(&["198.51.100.1", "198.51.100.2"]);
    assert_eq!(bench.get("p", &client(A, "203.0.113.1")), "b");
}

#[test]
fn empty_list_is_nobody_and_no_failure() {
    let above = format!("{NETS}[pools.top]\nmembers = [\"p\", \"us\"]\n");
    let bench = two_sites("on_all_down = \"servfail\"", &above);
    for pool in ["p", "top"] {
        let ranking = bench.select(pool, &client(A, "203.0.113.129"));
        assert_eq!((shown(&ranking).as_str(), ranking.degraded), ("-", false));
        assert_eq!(ranking.scope, Scope(26), "and the scope says whose nothing it is");
    }
}

#[test]
fn all_failed_in_a_geo_list_is_decided_by_its_own_first_member() {
    let mut bench = two_sites("", NETS);
    bench.down(&["192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.2"]);
    assert_eq!(bench.get("p", &client(A, "203.0.113.1")), "! x");
    assert_eq!(bench.get("p", &dns()), "! a");
}

#[test]
fn scope_is_the_shortest_prefix_with_the_same_answer() {
    let bench = two_sites("", NETS);
    for (address, scope) in [
        ("203.0.113.1/32", 25),
        ("203.0.113.129/32", 26),
        ("203.0.113.200/32", 26),
        ("10.0.0.1/32", 1),
        ("203.0.113.1/20", 20),
        ("10.0.0.0/8", 1),
        ("2001:db8::/56", 0),
    ] {
        assert_eq!(bench.select("p", &client(A, address)).scope, Scope(scope), "{address}");
    }
    assert_eq!(bench.select("eu", &dns()).scope, Scope(0), "a round robin knows no client");
}

#[test]
fn prefix_of_no_bits_gets_the_default_with_scope_0() {
    let bench = two_sites("policy = \"source-hash\"", NETS);
    for address in ["203.0.113.1/0", "203.0.113.129/0", "2001:db8::/0"] {
        let ranking = bench.select("p", &client(A, address));
        assert_eq!((&*ranking.realservers[0].realserver.name < "x", ranking.scope), (true, Scope(0)), "{address}");
    }
}

#[test]
fn scope_follows_the_key_only_where_there_is_a_choice() {
    let mut bench = two_sites("policy = \"source-hash\"", FAILOVER);
    assert_eq!(bench.select("p", &client(A, "198.51.100.77/32")).scope, Scope(24));
    assert_eq!(bench.select("p", &client(A, "198.51.100.0/20")).scope, Scope(20));
    assert_eq!(bench.select("p", &client(A, "2001:db8::/64")).scope, Scope(56));
    bench.down(&["192.0.2.1"]);
    assert_eq!(bench.select("p", &client(A, "198.51.100.77/32")).scope, Scope(0), "one is left for everybody");
    assert_eq!(bench.select("p", &client(AAAA, "198.51.100.77/32")).scope, Scope(0), "nobody is left for nobody");
}

#[test]
fn country_and_continent_of_the_shipped_database_lead_to_their_lists() {
    let geo = Geo::load(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("geoip/country.mmdb")]).expect("sound");
    let eu = leaf("eu", "", &[("a", "192.0.2.1", 1)]);
    let us = leaf("us", "", &[("x", "198.51.100.1", 1)]);
    let above = "[pools.p]\n[pools.p.geo]\neurope = [\"eu\"]\nSE = [\"us\"]\nUS = [\"us\"]\ndefault = []\n\
                 [pools.p.nets]\n\"8.8.8.0/24\" = [\"eu\"]\n";
    let bench = Bench::with_geo(&format!("{CHECK}{eu}{us}{above}"), geo);
    for (address, expected) in [
        ("193.0.6.139", "a"),
        ("192.36.148.17", "x"),
        ("18.0.0.1", "x"),
        ("133.11.0.1", "-"),
        ("192.0.2.1", "-"),
        ("8.8.8.8", "a"),
        ("2001:67c:2e8::1", "a"),
    ] {
        assert_eq!(bench.get("p", &client(A, address)), expected, "{address}");
    }
    let mut random = fastrand::Rng::with_seed(4711);
    for _ in 0..20_000 {
        let address = IpAddr::from(random.u32(..).to_be_bytes());
        let from = Client { address, ..dns() };
        let ranking = bench.select("p", &from);
        let neighbour = ipnet::IpNet::new(address, ranking.scope.0).expect("scope").broadcast();
        assert_eq!(bench.get("p", &Client { address: neighbour, ..from }), shown(&ranking), "{address} {neighbour}");
    }
}

#[test]
fn listener_with_a_scheduler_has_turns_of_its_own() {
    let listener = "[listeners.l]\nbind = \"192.0.2.9:80\"\npool = \"p\"\nscheduler = \"wrr\"\n\
                    [listeners.m]\nbind = \"192.0.2.9:81\"\npool = \"p\"\n";
    let mut bench = Bench::new(&format!("{}{listener}", abc("policy = \"failover\"")));
    let l4 = client(Via::L4, "192.0.2.200");
    let pool_of = |bench: &Bench, name: &str| bench.snapshot.listener(name).expect(name).pool;
    let get = |bench: &Bench, name: &str| shown(&select(&bench.snapshot, pool_of(bench, name), &l4));
    assert_eq!([(); 3].map(|()| get(&bench, "l")).join(", "), "a b c, a b c, b c a");
    assert_eq!(get(&bench, "m"), "a b c");
    bench.down(&["192.0.2.1"]);
    assert_eq!((get(&bench, "l").contains('a'), get(&bench, "m").as_str()), (false, "b c"));
    assert!(bench.snapshot.listener("n").is_none());
}

#[test]
fn explanation_tells_why_of_every_realserver() {
    let mut bench = two_sites("", NETS);
    bench.down(&["198.51.100.1"]).set("eu/b", Admin::Drain);
    let (ranking, explanation) = explain(&bench.snapshot, bench.pool("p"), &client(A, "203.0.113.1"));
    assert_eq!(shown(&ranking), "y");
    assert_eq!(
        explanation.steps.join("\n"),
        "pool `p`: 203.0.113.0/24 for the client's /25: `us`, `eu`\npool `us` answers, as tier 0"
    );
    let told: Vec<String> = explanation
        .realservers
        .iter()
        .map(|told| format!("{}/{} {:?} {} {}", told.pool, told.name, told.rank, told.eligible, told.reason))
        .collect();
    assert_eq!(
        told,
        [
            "us/y Some(1) true no probe has ended yet, counts as up",
            "eu/a None true no probe has ended yet, counts as up; its pool was not asked",
            "eu/b None false drain: by test; its pool was not asked",
            "us/x None false down: refused",
        ]
    );
}

#[test]
fn explanation_of_failure_names_the_rule() {
    let mut bench = two_sites("", FAILOVER);
    bench.down(&["192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.2"]);
    let (_, explanation) = explain(&bench.snapshot, bench.pool("p"), &dns());
    assert_eq!(
        explanation.steps.join("\n"),
        "pool `eu` is failed and passed over\npool `us` is failed and passed over\n\
         nobody is eligible; pool `eu` decides by `on_all_down = \"all\"`\npool `eu` answers, as tier 0"
    );
    assert_eq!(explanation.realservers[0].reason, "down: refused; used because nobody is up");
}
