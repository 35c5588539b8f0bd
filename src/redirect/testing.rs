//! A zone and pools for this folder's tests.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use crate::{
    config::{self, AffinityPrefix, Answers, OnAllDown},
    geo::Geo,
    select::wrr::Sequence,
    snapshot::{Identity, Members, Policy, Pool, Realserver, Realservers, Snapshot, View},
    types::{Admin, Family, Generation, Health, PoolId, RealserverId, Weight},
    zone::{ServedZone, Zone, ZoneSet},
};

const ZONES: [(&str, &str); 2] = [
    (
        "example.org.zone",
        "$ORIGIN example.org.
$TTL 300
@         SOA   ns1 hostmaster 1 3600 600 1209600 300
@         NS    ns1
@         POOL  url
ns1       A     192.0.2.53
www       CNAME @
plain     POOL  plain
port      POOL  port
six       POOL  six
sixport   POOL  sixport
both      POOL  both
halfdown  POOL  halfdown
path      POOL  path
three     POOL  three
dead      POOL  dead
mute      POOL  mute
open      POOL  open
*.cdn     POOL  plain
a.b.cdn   TXT   \"b.cdn is an empty non-terminal\"
*.alias   CNAME plain
loop      CNAME loop2
loop2     CNAME loop
outside   CNAME www.example.net.
away      CNAME www.example.com.
nowhere   CNAME missing
old       DNAME cdn
child     NS    ns.child
ns.child  A     192.0.2.54
",
    ),
    (
        "example.com.zone",
        "$ORIGIN example.com.
$TTL 300
@         SOA   ns1 hostmaster 1 3600 600 1209600 300
@         NS    ns1
ns1       A     192.0.2.53
www       POOL  plain
",
    ),
];

/// Pools with their realservers: `name address.. [:port] [url] [down]`.
const POOLS: [(&str, OnAllDown, &[&str]); 12] = [
    ("url", OnAllDown::All, &["a 192.0.2.10 https://a.example.org"]),
    ("plain", OnAllDown::All, &["a 192.0.2.10 :80"]),
    ("port", OnAllDown::All, &["a 192.0.2.10 :8080"]),
    ("six", OnAllDown::All, &["a 2001:db8::10"]),
    ("sixport", OnAllDown::All, &["a 2001:db8::10 :8080"]),
    ("both", OnAllDown::All, &["a 192.0.2.10 2001:db8::10"]),
    ("halfdown", OnAllDown::All, &["a 192.0.2.10 2001:db8::10 down4"]),
    ("path", OnAllDown::All, &["a 192.0.2.10 http://a.example.org:8080/base"]),
    ("three", OnAllDown::All, &["a 192.0.2.10", "b 192.0.2.11 down", "c 192.0.2.12"]),
    ("dead", OnAllDown::None, &["a 192.0.2.10 down"]),
    ("mute", OnAllDown::Servfail, &["a 192.0.2.10 down"]),
    ("open", OnAllDown::All, &["a 192.0.2.10 down"]),
];

/// What every `Location` must start with, each followed by `/`.
pub(super) const TARGETS: [&str; 8] = [
    "https://a.example.org",
    "http://a.example.org:8080/base",
    "http://192.0.2.10",
    "http://192.0.2.10:8080",
    "http://192.0.2.11",
    "http://192.0.2.12",
    "http://[2001:db8::10]",
    "http://[2001:db8::10]:8080",
];

/// A snapshot of generation 1 in which proxies in 10.0.0.0/8 and 2001:db8:ffff::/48 are trusted.
pub(super) fn snapshot() -> Snapshot {
    let pools: Box<[Arc<Pool>]> =
        POOLS.iter().map(|(name, rule, realservers)| pool(name, *rule, realservers)).collect();
    let mut zones = ZoneSet::new();
    for (path, text) in ZONES {
        let (zone, _) = Zone::from_text(Path::new(path), text).expect("zone");
        let id_of = |name: &str| {
            let index = pools.iter().position(|pool| &*pool.name == name).expect(name);
            PoolId(u32::try_from(index).expect("few pools"))
        };
        let ids = zone.pools().iter().map(|used| id_of(&used.name)).collect();
        zones.insert(Arc::new(ServedZone { zone: Arc::new(zone), pools: ids }));
    }
    Snapshot {
        generation: Generation(1),
        zones: Arc::new(zones),
        pools,
        geo: Arc::new(Geo::empty()),
        identity: Arc::new(Identity::default()),
        redirect: Arc::new(config::Redirect {
            listen: vec![],
            trusted_proxies: vec!["10.0.0.0/8".parse().expect("net"), "2001:db8:ffff::/48".parse().expect("net")],
            max_connections: 100,
            idle_timeout: Duration::from_secs(30),
        }),
        listeners: Box::new([]),
    }
}

fn pool(name: &str, rule: OnAllDown, realservers: &[&str]) -> Arc<Pool> {
    let all: Box<[Realserver]> = realservers.iter().map(|text| realserver(text)).collect();
    let views = [Some(Family::V4), Some(Family::V6), None].map(|family| view(&all, rule, family));
    let is_failed = !all.iter().any(|realserver| realserver.is_eligible(None));
    Arc::new(Pool {
        name: name.into(),
        answers: Some(Answers::AtMost(1)),
        min_healthy: 0,
        on_all_down: Some(rule),
        members: Members::Realservers(Realservers {
            policy: Policy::Wrr,
            all,
            views,
            is_failed,
            affinity_prefix: AffinityPrefix::default(),
            turns: Default::default(),
        }),
    })
}

fn view(all: &[Realserver], rule: OnAllDown, family: Option<Family>) -> View {
    let ids = |is_there: &dyn Fn(&Realserver) -> bool| -> Vec<RealserverId> {
        (0u16..).zip(all).filter(|(_, realserver)| is_there(realserver)).map(|(id, _)| RealserverId(id)).collect()
    };
    let mut candidates = ids(&|realserver| realserver.is_eligible(family));
    let is_degraded = candidates.is_empty() && rule == OnAllDown::All;
    if is_degraded {
        candidates = ids(&|realserver| realserver.has(family) && realserver.admin == Admin::Ready);
    }
    let weighted: Vec<_> = candidates.iter().map(|&id| (id, Weight::ONE)).collect();
    View {
        is_candidate: (0u16..).zip(all).map(|(id, _)| candidates.contains(&RealserverId(id))).collect(),
        sequence: Sequence::new(&weighted),
        cumulative_weights: (1u32..).zip(&candidates).map(|(sum, _)| sum).collect(),
        candidates: candidates.into(),
        is_degraded,
    }
}

fn realserver(text: &str) -> Realserver {
    let mut words = text.split(' ');
    let mut realserver = Realserver {
        name: words.next().expect("name").into(),
        v4: None,
        v6: None,
        port: None,
        weight: Weight::ONE,
        url: None,
        health_v4: Health::Up,
        health_v6: Health::Up,
        admin: Admin::Ready,
    };
    for word in words {
        match (word, word.strip_prefix(':')) {
            ("down", _) => (realserver.health_v4, realserver.health_v6) = (Health::Down, Health::Down),
            ("down4", _) => realserver.health_v4 = Health::Down,
            (url, _) if url.starts_with("http") => realserver.url = Some(url.into()),
            (_, Some(port)) => realserver.port = Some(port.parse().expect("port")),
            (address, None) => match address.parse().expect("address") {
                IpAddr::V4(v4) => realserver.v4 = Some(v4),
                IpAddr::V6(v6) => realserver.v6 = Some(v6),
            },
        }
    }
    realserver
}
