//! nearest: who is near whom, and what happens among those that are as near.

use super::{super::*, *};
use crate::geo::{Coordinates, Location};

/// Clients in 10.1.0.0/16 are in Paris, those of 10.2 in Boston, of 10.3 in Fiji just west of the antimeridian; 10.4 is somewhere in France.
fn geo() -> Geo {
    let places = [(1, Some((48.85, 2.35))), (2, Some((42.36, -71.06))), (3, Some((-17.8, 178.0))), (4, None)];
    Geo::from_networks(places.map(|(octet, place)| {
        let net = ipnet::IpNet::new([10, octet, 0, 0].into(), 16).expect("IPv4");
        let coordinates = place.and_then(|(latitude, longitude)| Coordinates::new(latitude, longitude));
        let country = (octet == 1 || octet == 4).then(|| crate::geo::CountryCode::new("FR")).flatten();
        (net, Location { coordinates, country, ..Location::default() })
    }))
}

const DATABASES: &str = "[geoip]\ndatabases = [\"city.mmdb\"]\n";

/// Amsterdam (two), New York and Samoa just east of the antimeridian, weights 2, 1, 1, 1.
fn sites(keys: &str) -> Bench {
    let text = format!(
        "{DATABASES}{CHECK}[pools.p]\npolicy = \"nearest\"\ncheck = \"c\"\n{keys}\nrealservers = [
{{ name = \"ams-a\", address = \"192.0.2.1\", port = 80, weight = 2, location = [52.37, 4.9] }},
{{ name = \"ams-b\", address = \"192.0.2.2\", port = 80, location = [52.3, 4.94] }},
{{ name = \"nyc\", address = [\"192.0.2.3\", \"2001:db8::3\"], port = 80, location = [40.71, -74] }},
{{ name = \"apia\", address = \"192.0.2.4\", port = 80, location = [-13.83, -171.76] }},
]\n"
    );
    Bench::with_geo(&text, geo())
}

const PARIS: &str = "10.1.0.1";
const BOSTON: &str = "10.2.0.1";
const FIJI: &str = "10.3.0.1";

#[test]
fn nearest_serves_and_those_as_near_take_turns_by_weight() {
    let bench = sites("");
    assert_eq!(bench.turns("p", &client(A, PARIS), 6), "ams-a ams-a ams-b ams-a ams-a ams-b");
    assert_eq!(bench.turns("p", &client(A, BOSTON), 2), "nyc nyc");
    assert_eq!(bench.get("p", &client(A, FIJI)), "apia", "across the antimeridian");
}

#[test]
fn clients_elsewhere_take_no_turn() {
    let bench = sites("");
    let turns: Vec<String> = (0..6)
        .map(|_| {
            bench.get("p", &client(A, BOSTON));
            bench.get("p", &client(A, "192.0.2.200"));
            bench.get("p", &client(A, PARIS))
        })
        .collect();
    assert_eq!(turns.join(" "), "ams-a ams-a ams-b ams-a ams-a ams-b");
}

#[test]
fn turns_go_on_over_health_and_are_apart_for_each_way() {
    let mut bench = sites("");
    assert_eq!(bench.turns("p", &client(A, PARIS), 2), "ams-a ams-a");
    assert_eq!(bench.turns("p", &client(Via::Redirect, PARIS), 3), "ams-a ams-a ams-b");
    bench.down(&["192.0.2.4"]);
    assert_eq!(bench.get("p", &client(A, PARIS)), "ams-b");
}

#[test]
fn next_nearest_serves_when_the_nearest_are_down() {
    let mut bench = sites("");
    bench.down(&["192.0.2.1"]);
    assert_eq!(bench.turns("p", &client(A, PARIS), 2), "ams-b ams-b");
    bench.down(&["192.0.2.2"]);
    assert_eq!(bench.turns("p", &client(A, PARIS), 2), "nyc nyc");
    bench.down(&["192.0.2.3"]);
    assert_eq!(bench.get("p", &client(A, PARIS)), "apia");
    bench.down(&["192.0.2.4", "2001:db8::3"]);
    assert_eq!(bench.get("p", &client(A, PARIS)), "! ams-a", "fail-open goes by distance as well");
}

#[test]
fn connection_tries_the_groups_in_order() {
    let bench = sites("");
    assert_eq!(bench.get("p", &client(Via::L4, PARIS)), "ams-a ams-b nyc apia");
    let ranking = bench.select("p", &client(Via::L4, BOSTON));
    assert_eq!(shown(&ranking), "nyc ams-a ams-b apia");
    assert_eq!(ranking.realservers.iter().map(|ranked| ranked.tier).collect::<Vec<_>>(), [0, 1, 1, 2]);
}

#[test]
fn dns_answer_is_of_the_nearest_group_alone() {
    let bench = sites("answers = \"all\"");
    assert_eq!(bench.get("p", &client(A, PARIS)), "ams-a ams-b");
    assert_eq!(bench.get("p", &client(A, BOSTON)), "nyc");
    assert_eq!(bench.get("p", &client(AAAA, "2001:db8:ffff::1")), "nyc", "the others have no such address");
}

#[test]
fn unknown_place_is_the_default_and_a_country_alone_is_no_place() {
    let bench = sites("");
    for unknown in ["192.0.2.200", "10.4.0.1", "0.0.0.0", "10.1.0.0/0"] {
        let seen = bench.turns("p", &client(A, unknown), 5);
        let mut names: Vec<&str> = seen.split(' ').collect();
        names.sort_unstable();
        assert_eq!(names, ["ams-a", "ams-a", "ams-b", "apia", "nyc"], "{unknown}: everybody by weight");
    }
    let bench = sites("default = [\"nyc\"]");
    assert_eq!(bench.turns("p", &client(A, "10.4.0.1"), 2), "nyc nyc");
    assert_eq!(bench.turns("p", &client(A, "10.1.0.0/0"), 2), "nyc nyc");
    let ranking = bench.get("p", &client(Via::L4, "192.0.2.200"));
    assert!(ranking.starts_with("nyc ") && ranking.split(' ').count() == 4, "{ranking}");
}

#[test]
fn scope_is_that_of_the_order() {
    let bench = sites("");
    let scope = |address| bench.select("p", &client(A, address)).scope.0;
    assert_eq!((scope(PARIS), scope(BOSTON), scope("10.1.0.0/20"), scope("10.1.0.0/12")), (16, 16, 16, 12));
    assert_eq!(scope("2001:db8::1"), 0);
}

#[test]
fn place_of_an_address_is_the_databases_word() {
    let realservers = "[{ name = \"us\", address = \"10.2.7.7\" }, { name = \"fr\", address = \"10.1.7.7\" }]";
    let text = format!("{DATABASES}[pools.p]\npolicy = \"nearest\"\nrealservers = {realservers}\n");
    let bench = Bench::with_geo(&text, geo());
    assert_eq!((bench.get("p", &client(A, PARIS)), bench.get("p", &client(A, BOSTON))), ("fr".into(), "us".into()));
    // Databases that come later are heeded.
    let mut later = Bench::with_geo(&text, Geo::empty());
    assert_eq!(later.turns("p", &client(A, PARIS), 2), "us fr");
    later.apply(Event::GeoLoaded(Arc::new(geo())));
    assert_eq!(later.turns("p", &client(A, PARIS), 2), "fr fr");
}

#[test]
fn realserver_of_unknown_place_serves_last_and_is_warned_of() {
    let realservers = "[{ name = \"lost\", address = \"192.0.2.1\", port = 80 }, { name = \"us\", address = \"10.2.7.7\", port = 80 }]";
    let text =
        format!("{DATABASES}{CHECK}[pools.p]\npolicy = \"nearest\"\ncheck = \"c\"\nrealservers = {realservers}\n");
    let mut bench = Bench::with_geo(&text, geo());
    assert_eq!(bench.get("p", &client(Via::L4, PARIS)), "us lost");
    bench.down(&["10.2.7.7"]);
    assert_eq!(bench.get("p", &client(A, PARIS)), "lost");
    let findings = crate::state::place::check(bench.state.config(), &geo());
    assert_eq!(findings.counts(), (0, 1));
    assert!(findings.to_string().contains("nobody knows where `lost` of nearest pool `p` is"), "{findings}");
}

/// Pools `ams` (weights 2 and 1), `bru` (1) and `nyc` by distance; Brussels and Amsterdam are as far from Boston.
fn pools(keys: &str) -> Bench {
    let pool = |name: &str, place: &str, realservers: &[(&str, &str, u16)]| {
        leaf(name, &format!("min_healthy = \"50%\"\nlocation = {place}"), realservers)
    };
    let ams = pool("ams", "[52.37, 4.9]", &[("a", "192.0.2.1", 2), ("b", "192.0.2.2", 1)]);
    let bru = pool("bru", "[50.85, 4.35]", &[("c", "192.0.2.3", 1)]);
    let nyc = pool("nyc", "[40.71, -74]", &[("x", "192.0.2.4", 1)]);
    let top = format!("[pools.p]\npolicy = \"nearest\"\nmembers = [\"ams\", \"bru\", \"nyc\"]\n{keys}\n");
    Bench::with_geo(&format!("{DATABASES}{CHECK}{ams}{bru}{nyc}{top}"), geo())
}

#[test]
fn nearest_pool_serves_with_the_share_of_its_weight() {
    let mut bench = pools("");
    assert_eq!(bench.get("p", &client(A, PARIS)), "c");
    assert_eq!(bench.get("p", &client(A, BOSTON)), "x");
    bench.down(&["192.0.2.4"]);
    // Three turns of four for Amsterdam, in LVS order, each then by Amsterdam's own.
    assert_eq!(bench.turns("p", &client(A, BOSTON), 8), "a a b c a a b c");
}

#[test]
fn failed_pool_is_passed_over_for_the_next_nearest() {
    let mut bench = pools("");
    bench.down(&["192.0.2.3"]);
    assert_eq!(bench.get("p", &client(A, PARIS)), "a");
    bench.down(&["192.0.2.1"]);
    assert_eq!(bench.get("p", &client(A, PARIS)), "x", "a third of Amsterdam is not enough");
    bench.down(&["192.0.2.4", "192.0.2.2"]);
    assert_eq!(bench.get("p", &client(A, PARIS)), "! c", "the nearest fails open");
}

#[test]
fn pools_default_is_for_unknown_places_and_comes_before_the_others() {
    let mut bench = pools("default = [\"nyc\", \"ams\"]");
    let unknown = client(A, "192.0.2.200");
    assert_eq!(bench.get("p", &unknown), "x");
    bench.down(&["192.0.2.4"]);
    assert_eq!(bench.get("p", &unknown), "a");
    bench.down(&["192.0.2.1", "192.0.2.2"]);
    assert_eq!(bench.get("p", &unknown), "c");
    assert_eq!(pools("").get("p", &unknown), "a", "without a default: the members in order");
}

#[test]
fn pool_is_where_its_first_realserver_is() {
    let ams = "[pools.ams]\nrealservers = [{ name = \"a\", address = \"10.1.9.9\" }]\n";
    let nyc = "[pools.nyc]\nrealservers = [{ name = \"x\", address = \"192.0.2.1\", location = [40.71, -74] }]\n";
    let outer = "[pools.outer]\nmembers = [\"nyc\"]\n";
    let top = "[pools.p]\npolicy = \"nearest\"\nmembers = [\"ams\", \"outer\"]\n";
    let bench = Bench::with_geo(&format!("{DATABASES}{ams}{nyc}{outer}{top}"), geo());
    assert_eq!((bench.get("p", &client(A, PARIS)), bench.get("p", &client(A, BOSTON))), ("a".into(), "x".into()));
}

#[test]
fn explanation_tells_distances() {
    let bench = sites("");
    let steps = |client: &Client| explain(&bench.snapshot, bench.pool("p"), client).1.steps.join("\n");
    let told = steps(&client(A, PARIS));
    let expected = "pool `p`: nearest to 48.85, 2.35 for the client's /16: `ams-a` or `ams-b` (425 km), `nyc` (5837 km), `apia` (16084 km)";
    assert!(told.ends_with(expected), "{told}");
    let told = steps(&client(A, "192.0.2.200"));
    assert!(told.contains("pool `p`: default, since the client's place is unknown,"), "{told}");
}
