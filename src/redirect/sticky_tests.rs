//! Cookies of sticky pools: whom they keep where, and what is no cookie of ours.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use hyper::{Method, Version};
use jiff::Timestamp;
use proptest::prelude::*;

use super::decision::{Decision, Refusal, Request, decide};
use crate::{
    config,
    geo::{CountryCode, Geo, Location},
    protect::{Protection, Sealer, Secrets, cookie::Secret},
    select::Turn,
    snapshot::Snapshot,
    state::{Event, Override, State, Wish, saved::Saved},
    types::Admin,
    zone::Zone,
};

const ZONE: &str = "$ORIGIN example.org.\n@ SOA ns1 hostmaster 1 3600 600 1209600 300\n@ NS ns1\nns1 A 192.0.2.53\n\
                    flat POOL flat\nouter POOL outer\ninner POOL inner\nplain POOL plain\n";

const CONFIG: &str = r#"
version = 1
[dns]
zones = "zones"
[geoip]
databases = ["country.mmdb"]
[redirect]
trusted_proxies = ["10.0.0.0/8"]
[pools]
plain = { realservers = [{ name = "a", address = "192.0.2.1" }, { name = "b", address = "192.0.2.2" }] }
flat  = { sticky = "cookie", exclude = ["KP"], realservers = [{ name = "a", address = "192.0.2.1" }, { name = "b", address = "192.0.2.2" }, { name = "c", address = "192.0.2.3" }] }
eu    = { realservers = [{ name = "a", address = "192.0.2.11" }, { name = "b", address = "192.0.2.12" }] }
us    = { sticky = "cookie", sticky_for = "10m", realservers = [{ name = "x", address = "192.0.2.21" }, { name = "y", address = "192.0.2.22" }] }
outer = { sticky = "cookie", members = ["eu", "us"] }
inner = { members = ["us", "eu"] }
"#;

const NOW: Duration = Duration::from_secs(1_800_000_000);

struct Bench {
    state: State,
    snapshot: Arc<Snapshot>,
}

fn sealer(octet: u8) -> Arc<Sealer> {
    Arc::new(Sealer::new(Secrets::new(Secret([octet; 16]), None)))
}

impl Bench {
    fn new() -> Self {
        let (config, _) =
            config::parse(Path::new("fingerpost.toml"), CONFIG.to_owned()).unwrap_or_else(|errors| panic!("{errors}"));
        let country = CountryCode::new("KP");
        let korea = ("203.0.113.0/24".parse().expect("net"), Location { country, ..Location::default() });
        let now = Timestamp::UNIX_EPOCH;
        let geo = Arc::new(Geo::from_networks([korea]));
        let mut state = State::new(Arc::new(config), geo, Saved::default(), now);
        let (zone, _) = Zone::from_text(Path::new("example.org.zone"), ZONE).expect("zone");
        state.apply(Event::ZoneLoaded(Arc::new(zone)), now).expect("its pools are there");
        let mut bench = Self { snapshot: state.snapshot().expect("the first"), state };
        bench.seal_with(1);
        bench
    }

    fn apply(&mut self, event: Event) {
        self.state.apply(event, Timestamp::UNIX_EPOCH).expect("taken");
        self.snapshot = self.state.snapshot().expect("changed");
    }

    fn seal_with(&mut self, octet: u8) {
        let protection = Protection { sealer: Some(sealer(octet)), ..Protection::default() };
        self.apply(Event::Protected(Arc::new(protection)));
    }

    fn set(&mut self, pool: &str, realserver: &str, admin: Admin) {
        let pattern = format!("{pool}/{realserver}").parse().expect("a pattern");
        let (wish, since) = (Wish::Admin(admin), Timestamp::UNIX_EPOCH);
        self.apply(Event::OperatorSet(pattern, Override { wish, until: None, reason: None, by: "test".into(), since }));
    }

    /// Where a client is sent, and the cookie that it is given.
    fn ask_at(
        &self,
        now: Duration,
        peer: &str,
        host: &str,
        cookie: Option<&str>,
        proto: &[&[u8]],
    ) -> (String, Option<String>) {
        let host = format!("{host}.example.org");
        let cookie: Vec<&[u8]> = cookie.into_iter().map(str::as_bytes).collect();
        let request = Request {
            method: &Method::GET,
            version: Version::HTTP_11,
            authority: None,
            path_and_query: Some(b"/"),
            hosts: &[host.as_bytes()],
            forwarded_for: &[],
            forwarded_proto: proto,
            cookies: &cookie,
            peer: peer.parse::<IpAddr>().expect("peer"),
            received: now,
        };
        match decide(&self.snapshot, &request, 0, Turn::Take) {
            Decision::Send(send) => (send.chosen.realserver.name.to_string(), send.set_cookie),
            Decision::Refuse(refusal) => (format!("{refusal:?}"), None),
        }
    }

    fn ask(&self, host: &str, cookie: Option<&str>) -> (String, Option<String>) {
        self.ask_at(NOW, "198.51.100.1", host, cookie, &[])
    }

    /// The cookie, as a browser sends it back, of a client that was sent to `realserver`.
    #[track_caller]
    fn cookie_of(&self, host: &str, realserver: &str) -> String {
        let given = (0..8).map(|_| self.ask(host, None)).find(|(chosen, _)| chosen == realserver);
        let cookie = given.and_then(|(_, cookie)| cookie).expect("a turn for everybody, with a cookie");
        cookie.split(';').next().expect("a pair").to_owned()
    }
}

#[test]
fn cookie_keeps_a_client_at_its_realserver_and_takes_no_turn() {
    let bench = Bench::new();
    let cookie = bench.cookie_of("flat", "b");
    for _ in 0..3 {
        assert_eq!(bench.ask("flat", Some(&cookie)), ("b".to_owned(), None));
        assert_eq!(bench.ask("flat", Some(&format!("theme=dark; {cookie}; x=y"))).0, "b");
    }
    assert_eq!(bench.ask("flat", None).0, "c", "it is its turn, as if the others had not come");
    assert_eq!(bench.ask("plain", None).1, None, "a pool that is not sticky sets none");
}

#[test]
fn cookie_is_for_browsers_and_names_nobody() {
    let bench = Bench::new();
    let (_, cookie) = bench.ask("flat", None);
    let cookie = cookie.expect("a cookie");
    let (pair, attributes) = cookie.split_once(';').expect("attributes");
    assert_eq!(attributes, " Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
    assert!(!pair.contains("192.0.2") && !pair.contains("flat"), "{pair}");
    assert!(pair.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=.-_".contains(&byte)), "{pair}");
    let expiry = pair.split(['=', '.']).nth(1).and_then(|text| text.parse().ok());
    assert_eq!(expiry, Some(NOW.as_secs() + 3600));
}

#[test]
fn cookie_is_secure_where_a_trusted_proxy_says_https() {
    let bench = Bench::new();
    let is_secure = |peer: &str, proto: &[&[u8]]| {
        bench.ask_at(NOW, peer, "flat", None, proto).1.expect("a cookie").ends_with("; Secure")
    };
    assert!(is_secure("10.0.0.1", &[b"https"]));
    assert!(is_secure("::ffff:10.0.0.1", &[b"http", b"http, HTTPS "]));
    assert!(!is_secure("10.0.0.1", &[b"https, http"]) && !is_secure("10.0.0.1", &[b"https", b"http"]));
    assert!(!is_secure("10.0.0.1", &[]) && !is_secure("198.51.100.1", &[b"https"]));
}

#[test]
fn cookie_is_renewed_after_half_of_its_time_and_expires() {
    let bench = Bench::new();
    let cookie = bench.cookie_of("flat", "b");
    let ask = |seconds| bench.ask_at(NOW + Duration::from_secs(seconds), "198.51.100.1", "flat", Some(&cookie), &[]);
    assert_eq!(ask(1800), ("b".to_owned(), None));
    let (chosen, renewed) = ask(1801);
    assert_eq!(chosen, "b");
    assert!(renewed.is_some_and(|renewed| !renewed.starts_with(&cookie)));
    assert_eq!(ask(3599).0, "b");
    let (chosen, set) = ask(3600);
    assert!(chosen != "b" && set.is_some(), "expired: by the policy, with a new cookie");
}

#[test]
fn cookie_that_holds_too_long_is_none() {
    let bench = Bench::new();
    let cookie = bench.cookie_of("flat", "b");
    let earlier = NOW - Duration::from_secs(100);
    assert_eq!(bench.ask_at(earlier, "198.51.100.1", "flat", Some(&cookie), &[]).0, "c");
}

#[test]
fn realserver_that_takes_nothing_new_loses_its_clients_to_the_policy() {
    let mut bench = Bench::new();
    let cookie = bench.cookie_of("flat", "b");
    bench.set("flat", "b", Admin::Drain);
    let (chosen, set) = bench.ask("flat", Some(&cookie));
    assert!(chosen != "b" && set.is_some(), "{chosen}");
    bench.set("flat", "b", Admin::Ready);
    assert_eq!(bench.ask("flat", Some(&cookie)), ("b".to_owned(), None));
}

#[test]
fn cookie_of_another_pool_or_secret_is_none() {
    let mut bench = Bench::new();
    let flat = bench.cookie_of("flat", "b");
    let (chosen, set) = bench.ask("outer", Some(&flat));
    assert!(chosen == "a" && set.is_some(), "`outer` starts with its first turn");
    bench.seal_with(2);
    assert!(bench.ask("flat", Some(&flat)).1.is_some());
}

#[test]
fn pool_of_pools_keeps_clients_over_all_of_its_members() {
    let mut bench = Bench::new();
    bench.set("eu", "a", Admin::Drain);
    bench.set("eu", "b", Admin::Drain);
    let cookie = bench.cookie_of("outer", "y");
    bench.set("eu", "a", Admin::Ready);
    assert_eq!(bench.ask("outer", None).0, "a");
    assert_eq!(bench.ask("outer", Some(&cookie)), ("y".to_owned(), None), "where the session is");
}

#[test]
fn pool_of_realservers_keeps_clients_that_are_sent_to_it() {
    let mut bench = Bench::new();
    let cookie = bench.cookie_of("inner", "y");
    let holds = bench.ask("inner", None).1.is_some_and(|cookie| cookie.contains("Max-Age=600"));
    assert!(holds, "as `us` says");
    assert_eq!(bench.ask("inner", Some(&cookie)), ("y".to_owned(), None));
    bench.set("us", "x", Admin::Drain);
    bench.set("us", "y", Admin::Drain);
    assert_eq!(bench.ask("inner", Some(&cookie)), ("a".to_owned(), None), "`eu` is not sticky");
}

#[test]
fn excluded_client_is_not_let_in_by_a_cookie() {
    let bench = Bench::new();
    let cookie = bench.cookie_of("flat", "b");
    let (refused, set) = bench.ask_at(NOW, "203.0.113.7", "flat", Some(&cookie), &[]);
    assert_eq!((refused, set), (format!("{:?}", Refusal::Excluded), None));
}

#[test]
fn every_changed_octet_makes_it_no_cookie() {
    let bench = Bench::new();
    let cookie = bench.cookie_of("flat", "b");
    let start = cookie.find('=').expect("a value") + 1;
    for at in start..cookie.len() {
        let mut octets = cookie.clone().into_bytes();
        octets[at] = if octets[at] == b'1' { b'2' } else { b'1' };
        let changed = String::from_utf8(octets).expect("ASCII");
        assert!(bench.ask("flat", Some(&changed)).1.is_some(), "{changed} is taken");
    }
    for cut in start..cookie.len() {
        assert!(bench.ask("flat", Some(&cookie[..cut])).1.is_some(), "{} is taken", &cookie[..cut]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn made_up_cookies_are_none_and_no_panic(text in prop_oneof!["\\PC{0,80}", "fingerpost=[0-9.]{0,20}[0-9a-f]{0,20}\\.[A-Za-z0-9_-]{0,50}"]) {
        thread_local!(static BENCH: Bench = Bench::new());
        BENCH.with(|bench| {
            prop_assert!(bench.ask("flat", Some(&text)).1.is_some());
            Ok(())
        })?;
    }
}
