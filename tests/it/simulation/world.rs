//! Configurations, zones and clients drawn at random, crowded into a few names and networks so that they meet.

use std::{net::IpAddr, path::Path, sync::Arc};

use fastrand::Rng;
use fingerpost::{
    config::{self, Config},
    control::protocol::Way,
    zone::Zone,
};
use ipnet::IpNet;

/// Pools of realservers.
pub(super) const LEAVES: [&str; 4] = ["a", "b", "c", "d"];
/// Pools of pools.
pub(super) const OUTER: [&str; 3] = ["order", "places", "top"];
/// Realservers that a pool may have.
const REALSERVERS_MAX: usize = 6;
const POLICIES: [&str; 4] = ["wrr", "random", "source-hash", "failover"];
const ON_ALL_DOWN: [&str; 3] = ["all", "none", "servfail"];

/// One of these.
pub(super) fn one<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

/// Whether something happens that does so once in `n`.
pub(super) fn once_in(rng: &mut Rng, n: u32) -> bool {
    rng.u32(..n) == 0
}

/// A configuration as text: pools of realservers that share some addresses, pools of these, and listeners.
pub(super) fn config_text(rng: &mut Rng) -> String {
    let mut text = format!(
        "version = 1\n[dns]\nlisten = [\"127.0.0.1:53\"]\nzones = \"zones\"\n[redirect]\nlisten = []\n\
         [checks.c]\ntype = \"tcp\"\nrise = {}\nfall = {}\n",
        rng.u32(1..4),
        rng.u32(1..4)
    );
    text += &format!("[guards]\nfreeze_above = {:?}\n", one(rng, &["off", "off", "30%", "80%"]));
    for (octet, name) in (1..).zip(LEAVES) {
        text += &leaf(rng, name, octet);
    }
    let some_of = |rng: &mut Rng, names: &[&str]| {
        let mut list: Vec<String> = names.iter().filter(|_| rng.bool()).map(|name| format!("{name:?}")).collect();
        rng.shuffle(&mut list);
        list.join(", ")
    };
    let members = some_of(rng, &LEAVES);
    let members = if members.is_empty() { "\"a\"".to_owned() } else { members };
    text += &format!("[pools.order]\nmembers = [{members}]\n");
    if rng.bool() {
        text += &format!("answers = {}\n", one(rng, &["1", "3", "\"all\""]));
    }
    if rng.bool() {
        text += &format!("on_all_down = {:?}\n", one(rng, &ON_ALL_DOWN));
    }
    if rng.bool() {
        text += &format!("min_ttl = \"{}s\"\n", rng.u8(1..40));
    }
    for (name, below) in [("places", &LEAVES[..]), ("top", &["places", "order", "a"][..])] {
        let default = format!("{:?}", one(rng, below));
        text += &format!(
            "[pools.{name}]\n[pools.{name}.geo]\ndefault = [{default}, {}]\n",
            rest(&some_of(rng, below), &default)
        );
        text += &format!("[pools.{name}.nets]\n");
        let mut nets: Vec<IpNet> = (0..rng.usize(..6)).map(|_| network(rng)).collect();
        nets.sort();
        nets.dedup();
        for net in nets {
            text += &format!("\"{net}\" = [{}]\n", some_of(rng, below));
        }
    }
    for (port, (name, pool)) in (8000..).zip([("l", "top"), ("m", "a"), ("n", "order")]) {
        text += &format!("[listeners.{name}]\nbind = \"127.0.0.1:{port}\"\npool = {pool:?}\n");
        if rng.bool() {
            text += &format!("scheduler = {:?}\n", one(rng, &["wrr", "source-hash"]));
        }
    }
    // A listener's own scheduler is for pools of realservers.
    text.replace("pool = \"top\"\nscheduler = \"wrr\"\n", "pool = \"top\"\n")
        .replace("pool = \"top\"\nscheduler = \"source-hash\"\n", "pool = \"top\"\n")
        .replace("pool = \"order\"\nscheduler = \"wrr\"\n", "pool = \"order\"\n")
        .replace("pool = \"order\"\nscheduler = \"source-hash\"\n", "pool = \"order\"\n")
}

/// A list without one of its entries.
fn rest(list: &str, without: &str) -> String {
    list.split(", ").filter(|entry| *entry != without).collect::<Vec<_>>().join(", ")
}

fn leaf(rng: &mut Rng, name: &str, octet: u8) -> String {
    let mut text = format!(
        "[pools.{name}]\npolicy = {:?}\nanswers = {}\nmin_healthy = {:?}\non_all_down = {:?}\naffinity_prefix = {{ v4 = {}, v6 = {} }}\n",
        one(rng, &POLICIES),
        one(rng, &["1", "2", "\"all\""]),
        one(rng, &["0%", "30%", "60%", "100%"]),
        one(rng, &ON_ALL_DOWN),
        rng.u8(8..=32),
        rng.u8(20..=100),
    );
    if rng.bool() {
        text += &format!("min_ttl = \"{}s\"\n", rng.u8(1..40));
    }
    if once_in(rng, 3) {
        text += &format!("max_leave = {:?}\n", one(rng, &["20%", "50%"]));
    }
    if !once_in(rng, 5) {
        text += "check = \"c\"\n";
    }
    text += "realservers = [\n";
    let mut numbers: Vec<usize> = (0..REALSERVERS_MAX).collect();
    rng.shuffle(&mut numbers);
    for number in numbers.into_iter().take(rng.usize(1..=REALSERVERS_MAX)) {
        // Some share an address, and with it a probe, with one of the pool before.
        let octet = if once_in(rng, 6) { octet.max(2) - 1 } else { octet };
        let v6 = match rng.u8(..4) {
            0 => format!(", \"2001:db8:{octet}::{number}\""),
            _ => String::new(),
        };
        let weight = rng.u16(1..7);
        text += &format!(
            "{{ name = \"{name}{number}\", address = [\"192.0.{octet}.{number}\"{v6}], port = 80, weight = {weight} }},\n"
        );
    }
    text + "]\n"
}

/// What a configuration's text means.
#[track_caller]
pub(super) fn config(text: &str) -> Arc<Config> {
    let parsed = config::parse(Path::new("fingerpost.toml"), text.to_owned());
    Arc::new(parsed.unwrap_or_else(|errors| panic!("{errors}\n{text}")).0)
}

/// Names of every kind that is looked up differently.
pub(super) const NAMES: [&str; 16] = [
    "example.org",
    "a.example.org",
    "b.example.org",
    "order.example.org",
    "places.example.org",
    "WwW.example.org",
    "x.cdn.example.org",
    "alias.example.org",
    "second.example.org",
    "x.old.example.org",
    "static.example.org",
    "missing.example.org",
    "host.sub.example.org",
    "within.empty.example.org",
    "empty.example.org",
    "elsewhere.example.net",
];

/// The zone of [`NAMES`].
#[track_caller]
pub(super) fn zone(rng: &mut Rng, serial: u32) -> Arc<Zone> {
    let ttl = |rng: &mut Rng| rng.u32(..400);
    let pool = |rng: &mut Rng| if rng.bool() { one(rng, &LEAVES) } else { one(rng, &OUTER) };
    let mut text = format!(
        "$TTL {}\n@ SOA ns1 hostmaster {serial} 3600 600 1209600 {}\n@ NS ns1\nns1 A 192.0.2.53\nstatic A 192.0.2.80\n\
         static AAAA 2001:db8::80\nalias CNAME www\nsecond CNAME alias\nold DNAME cdn\nsub NS ns.sub\nns.sub A 192.0.2.54\n\
         within.empty TXT here\n",
        ttl(rng),
        ttl(rng)
    );
    for name in ["@", "www", "*.cdn"] {
        text += &format!("{name} {} POOL {}\n", ttl(rng), pool(rng));
    }
    for name in ["a", "b", "order", "places"] {
        text += &format!("{name} {} POOL {name}\n", ttl(rng));
    }
    let parsed = Zone::from_text(Path::new("zones/example.org.zone"), &text);
    Arc::new(parsed.unwrap_or_else(|errors| panic!("{errors}")).0)
}

/// A network in one corner of either family.
pub(super) fn network(rng: &mut Rng) -> IpNet {
    let net = if once_in(rng, 4) {
        let address = (rng.u128(..64) << rng.u32(60..=120)).to_be_bytes();
        IpNet::new(IpAddr::from(address), rng.u8(1..=128))
    } else {
        let address = (rng.u32(..64) << rng.u32(14..=30)).to_be_bytes();
        IpNet::new(IpAddr::from(address), rng.u8(1..=32))
    };
    net.expect("within the family").trunc()
}

/// A way, DNS as often as the others together.
pub(super) fn way(rng: &mut Rng) -> Way {
    one(rng, &[Way::Dns, Way::Dns, Way::Redirect, Way::L4])
}
