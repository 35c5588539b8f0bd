//! Two configurations and two zones in, what would move out.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;

use super::{queries::Query, *};
use crate::{
    geo::Geo,
    state::{Event, Override, State, Wish, saved::Saved},
    types::Force,
    zone::Zone,
};

const ZONE: &str =
    "$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 1209600 300\n@ NS ns1\nns1 A 192.0.2.53\nwww 30 POOL web\n";

/// Two sites; `geo` replaces the table.
const SITES: &str = "[pools.eu]\nrealservers = [\n{ name = \"a\", address = \"192.0.2.1\", weight = 3 },\n\
    { name = \"b\", address = \"192.0.2.2\" },\n]\n\
    [pools.us]\nrealservers = [{ name = \"x\", address = \"198.51.100.1\" }]\n";
const WEB: &str = "[pools.web]\nmembers = [\"eu\", \"us\"]\n";

struct Server {
    config: Arc<Config>,
    state: State,
    snapshot: Arc<Snapshot>,
}

impl Server {
    fn new(toml: &str, zone: &str) -> Self {
        Self::on(&Arc::new(Geo::empty()), toml, zone)
    }

    fn on(geo: &Arc<Geo>, toml: &str, zone: &str) -> Self {
        let parsed = config::parse(Path::new("fingerpost.toml"), format!("version = 1\n{toml}"));
        let config = Arc::new(parsed.unwrap_or_else(|errors| panic!("{errors}")).0);
        let now = Timestamp::UNIX_EPOCH;
        let mut state = State::new(config.clone(), geo.clone(), Saved::default(), now);
        let zone =
            Zone::from_text(Path::new("zones/example.org.zone"), zone).unwrap_or_else(|errors| panic!("{errors}"));
        state.apply(Event::ZoneLoaded(Arc::new(zone.0)), now).unwrap_or_else(|errors| panic!("{errors}"));
        let snapshot = state.snapshot().expect("the first");
        Self { config, state, snapshot }
    }

    fn side(&self) -> Side<'_> {
        Side { config: &self.config, snapshot: &self.snapshot }
    }

    fn force(&mut self, whom: &str, force: Force) -> Arc<Snapshot> {
        let since = Timestamp::UNIX_EPOCH;
        let set = Override { wish: Wish::Force(force), until: None, reason: None, by: "test".into(), since };
        self.state.apply(Event::OperatorSet(whom.parse().expect(whom), set), since).expect(whom);
        self.state.snapshot().expect("changed")
    }
}

/// The text of a comparison, without its last line.
#[track_caller]
fn check(old: (&str, &str), new: (&str, &str), expected: &str) {
    let geo = Arc::new(Geo::empty());
    let (old, new) = (Server::on(&geo, old.0, old.1), Server::on(&geo, new.0, new.1));
    let plan = compare(old.side(), new.side(), Clients::Networks);
    let text = text::text(&plan, std::time::Duration::ZERO);
    let (body, last) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
    assert_eq!(body, expected.trim_end(), "{last}");
    assert_eq!(last.starts_with("nothing moves"), !plan.moves_anything(), "{text}");
}

#[test]
fn same_configuration_moves_nobody() {
    let toml = format!("{SITES}{WEB}");
    check((&toml, ZONE), (&toml, ZONE), "");
}

#[test]
fn order_of_the_file_renamed_pools_and_multiplied_weights_move_nobody() {
    let toml = format!("{SITES}{WEB}");
    let other = toml.replace("weight = 3 }", "weight = 6 }").replace("\"192.0.2.2\" }", "\"192.0.2.2\", weight = 2 }");
    check((&toml, ZONE), (&other, ZONE), "pools changed: eu, web");
    let renamed = toml.replace("pools.eu", "pools.europe").replace("\"eu\"", "\"europe\"");
    check((&toml, ZONE), (&renamed, ZONE), "pools new: europe\npools gone: eu\npools changed: web");
}

#[test]
fn weight_moves_the_difference_of_the_shares() {
    let toml = format!("{SITES}{WEB}");
    check(
        (&toml, ZONE),
        (&toml.replace("weight = 3", "weight = 1"), ZONE),
        "pools changed: eu, web\n\
         pool web (www.example.org.): 25.0 % of the IPv4 addresses move\n           25.0 %  eu/a to eu/b\n\
         pool web (www.example.org.): 25.0 % of the IPv6 addresses move\n           25.0 %  eu/a to eu/b",
    );
}

#[test]
fn failover_that_is_turned_round_moves_everybody() {
    let toml = format!("{SITES}{WEB}");
    check(
        (&toml, ZONE),
        (&toml.replace("\"eu\", \"us\"", "\"us\", \"eu\""), ZONE),
        "pools changed: web\n\
         pool web (www.example.org.): 100.0 % of the IPv4 addresses move\n          100.0 %  eu to us\n\
         pool web (www.example.org.): 100.0 % of the IPv6 addresses move\n          100.0 %  eu to us",
    );
}

#[test]
fn network_of_its_own_is_told_with_its_part_and_the_scope_that_it_makes() {
    let toml = format!("{SITES}[pools.web]\n[pools.web.geo]\ndefault = [\"eu\"]\n");
    let nets = format!("{toml}[pools.web.nets]\n\"64.0.0.0/3\" = [\"us\"]\n\"fd00::/8\" = [\"us\"]\n");
    check(
        (&toml, ZONE),
        (&nets, ZONE),
        "pools changed: web\n\
         pool web (www.example.org.): 14.3 % of the IPv4 addresses move\n           14.3 %  eu to us\n\
         \x20          43.0 %  scope /0 to /1\n           28.7 %  scope /0 to /3\n           28.3 %  scope /0 to /2\n\
         pool web (www.example.org.): less than 0.1 % of the IPv6 addresses move\n  less than 0.1 %  eu to us\n\
         \x20          99.9 %  scope /0 to /1\n  less than 0.1 %  scope /0 to /8\n  less than 0.1 %  scope /0 to /2\n  \
         less than 0.1 %  scope /0 to /3\n  less than 0.1 %  scope /0 to /4\n  less than 0.1 %  other scopes",
    );
}

#[test]
fn pool_without_anybody_left_is_new_nodata() {
    let toml = format!("{SITES}[pools.web]\n[pools.web.geo]\ndefault = [\"eu\"]\n");
    let nobody = format!("{toml}[pools.web.nets]\n\"128.0.0.0/1\" = []\n\"::/0\" = [\"eu\"]\n");
    let geo = Arc::new(Geo::empty());
    let (old, new) = (Server::on(&geo, &toml, ZONE), Server::on(&geo, &nobody, ZONE));
    let plan = compare(old.side(), new.side(), Clients::Networks);
    let [moves] = &plan.moves[..] else { panic!("{plan:?}") };
    assert_eq!((moves.clients, &*moves.flows[0].from, &*moves.flows[0].to), ("ipv4", "eu", "nobody"));
    assert!((moves.nodata - 96.0 / 223.0).abs() < 1e-3, "{moves:?}");
}

#[test]
fn records_and_names_are_compared_without_regard_to_their_order() {
    let toml = format!("{SITES}{WEB}");
    let old = format!("{ZONE}two A 192.0.2.7\ntwo A 192.0.2.8\nold TXT x\nlost A 192.0.2.9\nttl 60 A 192.0.2.9\n");
    let new = format!(
        "{}two A 192.0.2.8\ntwo A 192.0.2.6\nnew MX 1 ns1\nlost TXT y\nttl 90 A 192.0.2.9\n",
        ZONE.replace("hostmaster 1", "hostmaster 2")
    );
    check(
        (&toml, &old),
        (&toml, &new),
        "zone example.org. serial 1 to 2: names 1 new, 1 gone, 4 changed; records 4 new, 4 gone; 1 other TTLs\n  \
         example.org. SOA 1 new, 1 gone\n  two.example.org. A 1 new, 1 gone\n  old.example.org. TXT 1 gone\n  \
         lost.example.org. A 1 gone\n  lost.example.org. TXT 1 new\n  ttl.example.org. A the same, TTL 60 to 90\n  \
         new.example.org. MX 1 new\n  without an address now: lost.example.org.",
    );
    let turned = format!("{ZONE}two A 192.0.2.8\ntwo A 192.0.2.7\n");
    check((&toml, &format!("{ZONE}two A 192.0.2.7\ntwo A 192.0.2.8\n")), (&toml, &turned), "");
}

#[test]
fn name_that_gets_another_pool_moves_its_clients() {
    let toml = format!("{SITES}{WEB}");
    check(
        (&toml, ZONE),
        (&toml, &ZONE.replace("30 POOL web", "60 POOL us")),
        "zone example.org. serial 1 to 1: names 0 new, 0 gone, 1 changed; records 1 new, 1 gone; 1 other TTLs\n  \
         www.example.org. POOL web to us, TTL 30 to 60\n\
         pool web to us (www.example.org.): 100.0 % of the IPv4 addresses move\n          100.0 %  eu to us\n\
         pool web to us (www.example.org.): 100.0 % of the IPv6 addresses move\n          100.0 %  eu to us",
    );
}

#[test]
fn source_hash_with_one_more_realserver_moves_about_its_share_and_to_it_alone() {
    let toml = |n: usize| {
        let each: String = (1..=n).map(|n| format!("{{ name = \"s{n}\", address = \"192.0.2.{n}\" }},\n")).collect();
        format!("[pools.web]\npolicy = \"source-hash\"\nrealservers = [\n{each}]\n")
    };
    let geo = Arc::new(Geo::empty());
    let (old, new) = (Server::on(&geo, &toml(9), ZONE), Server::on(&geo, &toml(10), ZONE));
    let plan = compare(old.side(), new.side(), Clients::Networks);
    let moves = plan.moves.iter().find(|moves| moves.clients == "ipv4").expect("IPv4");
    assert!((0.08..0.14).contains(&moves.share), "{moves:?}");
    let to_new: Share = moves.flows.iter().filter(|flow| flow.to == "web/s10").map(|flow| flow.share).sum();
    assert!(to_new / moves.share > 0.8, "{moves:?}");
    let sampled = compare(old.side(), new.side(), Clients::Sample(20_000));
    let other = sampled.moves.iter().find(|moves| moves.clients == "ipv4").expect("IPv4");
    assert!((other.share - moves.share).abs() < 0.02, "{} and {}", other.share, moves.share);
}

#[test]
fn queries_count_each_for_itself() {
    let toml = format!("{SITES}[pools.web]\n[pools.web.geo]\ndefault = [\"eu\"]\n[pools.web.nets]\n");
    let geo = Arc::new(Geo::empty());
    let new = format!("{toml}\"198.51.100.0/24\" = [\"us\"]\n");
    let (old, new) = (Server::on(&geo, &toml, ZONE), Server::on(&geo, &new, ZONE));
    let lines = [
        r#"{ "name": "www.example.org", "client": "203.0.113.1", "ecs": "198.51.100.0/24", "other": 7 }"#,
        r#"{ "name": "www.example.org.", "type": "A", "client": "198.51.100.7" }"#,
        r#"{ "name": "www.example.org", "client": "203.0.113.1" }"#,
        r#"{ "name": "ns1.example.org", "client": "198.51.100.7" }"#,
        r#"{ "name": "www.example.org", "type": "MX", "client": "198.51.100.7" }"#,
        r#"{ "name": "www.example.net", "client": "198.51.100.7" }"#,
    ];
    let queries = lines.map(|line| Query::parse(line.as_bytes()).expect(line));
    let plan = compare_queries(old.side(), new.side(), queries.into_iter());
    let [moves] = &plan.moves[..] else { panic!("{plan:?}") };
    assert_eq!((plan.n_queries, moves.clients, &*moves.new_pool), (6, "queries", "web"));
    assert!((moves.share - 2.0 / 3.0).abs() < 1e-9, "{moves:?}");
    for line in ["", "{", "[]", r#"{ "type": "A" }"#, r#"{ "name": "a", "type": "NOTYPE" }"#, r#"{ "name": "a..b" }"#] {
        assert!(Query::parse(line.as_bytes()).is_err(), "{line}");
    }
}

/// Failures and loads as `eu: us 150` lines.
fn failures(toml: &str, load: Option<f64>) -> Vec<String> {
    let mut server = Server::new(toml, ZONE);
    let (config, snapshot) = (server.config.clone(), server.snapshot.clone());
    let side = Side { config: &config, snapshot: &snapshot };
    let found = rehearse(side, load, &mut |whom| {
        let failed = server.force(whom, Force::Down);
        server.force(whom, Force::Auto);
        Some(failed)
    });
    let line = |one: &Rehearsal| {
        let carried: Vec<String> =
            one.carried.iter().map(|carried| format!("{} {:.0}", carried.who, carried.percent)).collect();
        format!("{}{}: {}", if one.is_too_much() { "! " } else { "" }, one.fails, carried.join(", "))
    };
    found.iter().map(line).collect()
}

#[test]
fn failure_of_a_site_loads_the_others_with_its_clients() {
    let toml = format!("{SITES}{WEB}")
        .replace("[pools.eu]\n", "[pools.eu]\ncapacity = 300\n")
        .replace("[pools.us]\n", "[pools.us]\ncapacity = 200\n");
    assert_eq!(failures(&toml, Some(280.0)), ["! eu: us 140"]);
    assert_eq!(failures(&toml, Some(150.0)), ["eu: us 75"]);
    assert_eq!(failures(&toml, None), ["! eu: us 150"], "as much as eu can carry");
}

#[test]
fn capacity_of_realservers_adds_up_and_each_is_rehearsed() {
    let toml = format!("{SITES}{WEB}")
        .replace("weight = 3 }", "weight = 3, capacity = 300 }")
        .replace("\"192.0.2.2\" }", "\"192.0.2.2\", capacity = 100 }");
    assert_eq!(
        failures(&toml, Some(200.0)),
        ["eu: ", "! eu/a: eu/b 200, eu 50", "eu/b: eu/a 67, eu 50"],
        "the capacity of us is not known"
    );
    assert_eq!(failures(&format!("{SITES}{WEB}"), None), [""; 0]);
}

#[test]
fn failure_of_the_only_site_leaves_nobody_else() {
    let toml = SITES.replace("pools.eu]\n", "pools.web]\ncapacity = 10\n");
    assert_eq!(failures(&toml, Some(5.0)), ["! web: web 50"]);
}
