//! exclude: whom a pool does not serve, and what becomes of them.

use super::{super::*, *};
use crate::geo::{CountryCode, Location};

/// 10.1.0.0/16 is in North Korea, 10.2 in Germany, 10.3 in Germany and of AS64500, 2001:db8:1::/48 in North Korea.
fn geo() -> Geo {
    let at = |net: &str, country: &str, asn| {
        let country = CountryCode::new(country);
        let continent = country.map(CountryCode::continent);
        (net.parse().expect(net), Location { continent, country, asn, ..Location::default() })
    };
    Geo::from_networks([
        at("10.1.0.0/16", "KP", None),
        at("10.2.0.0/16", "DE", None),
        at("10.3.0.0/16", "DE", Some(64500)),
        at("2001:db8:1::/48", "KP", None),
    ])
}

const DATABASES: &str = "[geoip]\ndatabases = [\"country.mmdb\"]\n";
const KOREA: &str = "10.1.0.1";
const GERMANY: &str = "10.2.0.1";

fn bench(keys: &str) -> Bench {
    let sorry = "[pools.sorry]\nrealservers = [{ name = \"sorry\", address = \"192.0.2.99\" }]\n";
    Bench::with_geo(&format!("{DATABASES}{sorry}{}", abc(keys)), geo())
}

#[test]
fn excluded_client_is_refused_by_every_way() {
    let bench = bench("exclude = [\"KP\", \"AS64500\"]");
    for via in [A, AAAA, Via::Redirect, Via::L4] {
        assert_eq!(bench.get("p", &client(via, KOREA)), "refused");
    }
    assert_eq!(bench.get("p", &client(A, "10.3.0.1")), "refused", "by its AS");
    assert_eq!(bench.get("p", &client(Via::L4, "2001:db8:1::1")), "refused");
    assert_eq!(bench.turns("p", &client(A, GERMANY), 3), "a a b", "who is refused takes no turn");
    assert_eq!(bench.get("p", &client(A, "192.0.2.200")), "a", "unknown is not excluded");
}

#[test]
fn excluded_client_may_get_another_pool() {
    let bench = bench("exclude = [\"asia\"]\non_excluded = \"sorry\"");
    assert_eq!(bench.get("p", &client(A, KOREA)), "sorry");
    assert_eq!(bench.get("p", &client(A, GERMANY)), "a");
}

#[test]
fn scope_separates_the_excluded_from_the_others() {
    let bench = bench("exclude = [\"KP\"]");
    let scope = |address| bench.select("p", &client(A, address)).scope.0;
    assert_eq!((scope(KOREA), scope(GERMANY), scope("192.0.2.1"), scope("10.1.0.0/8")), (16, 15, 1, 8));
}

#[test]
fn who_hides_behind_a_resolver_is_judged_by_it() {
    let bench = bench("exclude = [\"KP\"]");
    assert_eq!(bench.get("p", &client(A, "10.1.0.1/0")), "refused");
    assert_eq!(bench.get("p", &client(A, "10.2.0.1/0")), "a");
}

/// `eu` excludes, `us` does not.
fn above(keys: &str, policy: &str) -> Bench {
    let eu = leaf("eu", &format!("exclude = [\"KP\"]\n{keys}"), &[("a", "192.0.2.1", 1)]);
    let us = leaf("us", "", &[("x", "198.51.100.1", 1)]);
    let sorry = leaf("sorry", "on_all_down = \"none\"", &[("sorry", "192.0.2.99", 1)]);
    Bench::with_geo(&format!("{DATABASES}{CHECK}{eu}{us}{sorry}[pools.p]\n{policy}\n"), geo())
}

#[test]
fn inner_pool_decides_when_it_is_its_turn() {
    let mut bench = above("", "members = [\"us\", \"eu\"]");
    assert_eq!(bench.get("p", &client(A, KOREA)), "x");
    assert_eq!(bench.get("p", &client(Via::L4, KOREA)), "x", "the excluding pool adds nobody");
    bench.down(&["198.51.100.1"]);
    assert_eq!(bench.get("p", &client(A, KOREA)), "refused");
    assert_eq!(bench.get("p", &client(A, GERMANY)), "a");
    let first = above("", "members = [\"eu\", \"us\"]");
    assert_eq!(first.get("p", &client(Via::L4, KOREA)), "refused", "refusing is no failure");
}

#[test]
fn pool_instead_that_is_failed_is_passed_over_and_decides_when_all_are() {
    let mut bench = above("on_excluded = \"sorry\"", "members = [\"eu\", \"us\"]");
    assert_eq!(bench.get("p", &client(A, KOREA)), "sorry");
    bench.down(&["192.0.2.99"]);
    assert_eq!(bench.get("p", &client(A, KOREA)), "x");
    bench.down(&["198.51.100.1"]);
    assert_eq!(bench.get("p", &client(A, KOREA)), "-", "as `on_all_down` of `sorry` says");
    assert_eq!(bench.get("p", &client(A, GERMANY)), "a");
}

#[test]
fn explanation_names_the_exclusion() {
    let told = |bench: &Bench| explain(&bench.snapshot, bench.pool("p"), &client(A, KOREA)).1.steps.join("\n");
    let refused = told(&bench("exclude = [\"KP\", \"CU\"]"));
    assert_eq!(refused, "pool `p` excludes KP, CU, and with it the client's /16: it is refused");
    let instead = told(&bench("exclude = [\"KP\"]\non_excluded = \"sorry\""));
    assert!(instead.contains("pool `sorry` serves it instead\npool `sorry` answers, as tier 0"), "{instead}");
}
