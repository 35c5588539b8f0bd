//! A zone and pools for this folder's tests.

use std::{net::IpAddr, path::Path, sync::Arc};

use jiff::Timestamp;

use crate::{
    config,
    geo::Geo,
    snapshot::Snapshot,
    state::{Event, State, saved::Saved},
    zone::Zone,
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

const CONFIG: &str = r#"
version = 1
[dns]
listen = ["127.0.0.1:53"]
zones = "zones"
[redirect]
listen = ["127.0.0.1:80"]
trusted_proxies = ["10.0.0.0/8", "2001:db8:ffff::/48"]
max_connections = 100
idle_timeout = "30s"
[checks.any]
type = "tcp"
port = 80
fall = 1
[pools]
url      = { realservers = [{ name = "a", address = "192.0.2.10", url = "https://a.example.org/" }] }
plain    = { realservers = [{ name = "a", address = "192.0.2.10", port = 80 }] }
port     = { realservers = [{ name = "a", address = "192.0.2.10", port = 8080 }] }
six      = { realservers = [{ name = "a", address = "2001:db8::10" }] }
sixport  = { realservers = [{ name = "a", address = "2001:db8::10", port = 8080 }] }
both     = { realservers = [{ name = "a", address = ["192.0.2.10", "2001:db8::10"] }] }
halfdown = { realservers = [{ name = "a", address = ["192.0.2.66", "2001:db8::10"] }], check = "any" }
path     = { realservers = [{ name = "a", address = "192.0.2.10", url = "http://a.example.org:8080/base" }] }
three    = { realservers = [{ name = "a", address = "192.0.2.10" }, { name = "b", address = "192.0.2.66" }, { name = "c", address = "192.0.2.12" }], check = "any" }
dead     = { realservers = [{ name = "a", address = "192.0.2.66" }], check = "any", on_all_down = "none" }
mute     = { realservers = [{ name = "a", address = "192.0.2.66" }], check = "any", on_all_down = "servfail" }
open     = { realservers = [{ name = "a", address = "192.0.2.66" }], check = "any" }
"#;

/// The one address whose probes fail.
const DOWN: &str = "192.0.2.66";

/// What every `Location` must start with, each followed by `/`.
pub(super) const TARGETS: [&str; 8] = [
    "https://a.example.org",
    "http://a.example.org:8080/base",
    "http://192.0.2.10",
    "http://192.0.2.10:8080",
    "http://192.0.2.66",
    "http://192.0.2.12",
    "http://[2001:db8::10]",
    "http://[2001:db8::10]:8080",
];

/// A snapshot of [`ZONES`] and [`CONFIG`] in which [`DOWN`] is down.
pub(super) fn snapshot() -> Snapshot {
    let (config, _) =
        config::parse(Path::new("fingerpost.toml"), CONFIG.to_owned()).unwrap_or_else(|errors| panic!("{errors}"));
    let now = Timestamp::UNIX_EPOCH;
    let mut state = State::new(Arc::new(config), Arc::new(Geo::empty()), Saved::default(), now);
    for (path, text) in ZONES {
        let (zone, _) = Zone::from_text(Path::new(path), text).expect("zone");
        state.apply(Event::ZoneLoaded(Arc::new(zone)), now).expect("its pools are there");
    }
    let down: IpAddr = DOWN.parse().expect("address");
    for target in state.targets().into_iter().filter(|target| target.address.ip() == down) {
        state.apply(Event::Probed(target, Err("refused".into())), now).expect("a probe is always taken");
    }
    Arc::into_inner(state.snapshot().expect("the first")).expect("nobody else has it")
}
