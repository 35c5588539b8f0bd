//! What a configuration may say, what is said of its mistakes, and that what is printed reads back.

mod checks;
mod encrypted;
mod generated;
mod mistakes;
mod mistakes_in_pools;
mod places;
mod protect;

use std::path::Path;

use super::*;

/// The findings about `toml` as they are shown; warnings alone are findings too.
fn findings(toml: &str) -> String {
    match parse(Path::new("fingerpost.toml"), toml.to_owned()) {
        Ok((_, warnings)) => warnings.to_string(),
        Err(errors) => errors.to_string(),
    }
}

/// Reads `toml`, whose first line break is left out, and compares all that is said of it.
#[track_caller]
fn check(toml: &str, expected: &str) {
    let found = findings(toml.strip_prefix('\n').unwrap_or(toml));
    assert!(found == expected.trim_matches('\n'), "expected:{expected}\nfound:\n{found}");
}

#[track_caller]
fn read(toml: &str) -> Config {
    match parse(Path::new("fingerpost.toml"), toml.to_owned()) {
        Ok((config, _)) => config,
        Err(errors) => panic!("{errors}\n{toml}"),
    }
}

/// Every table and most keys, as the manual shows them; `web-us`, two ports and an address of its own for the listener are missing.
const EXAMPLE: &str = r##"version = 1

[dns]
listen = ["0.0.0.0:53", "[::]:53"]
zones  = "zones"
[geoip]
databases = ["geoip/country.mmdb"]
[redirect]
listen = ["0.0.0.0:80"]
trusted_proxies = ["10.0.0.0/8"]
[control]
socket = "/run/fingerpost/control.sock"
listen = "127.0.0.1:9153"
[state]
dir = "/var/lib/fingerpost"

[checks.web]
type = "http"
path = "/healthz"
expect_status = ["200-299"]
interval = "5s"
timeout = "1s"
rise = 2
fall = 3

[pools.web]
policy = "geo"
members = ["web-eu", "web-us"]
[pools.web.geo]
europe = ["web-eu", "web-us"]
US = ["web-us", "web-eu"]
default = ["web-eu", "web-us"]
[pools.web.nets]
"198.51.100.0/24" = ["web-us"]

[pools.web-eu]
policy = "wrr"
check = "web"
answers = 1
min_healthy = "0%"
on_all_down = "all"
realservers = [
  { name = "ams-a", address = "192.0.2.10", port = 80, weight = 4 },
  { name = "ams-b", address = ["192.0.2.11", "2001:db8::11"], weight = 3, url = "https://ams-b.example.com" },
  { name = "ams-c", address = "192.0.2.12", weight = 2 },
]

[listeners.web]
bind = "192.0.2.1:80"
protocol = "tcp"
pool = "web-eu"
scheduler = "wrr"
forward = "proxy"
idle_timeout = "5m"
connect_timeout = "2s"
max_connections = 10000
proxy_protocol = "off"
"##;

/// [`EXAMPLE`] with what it lacks.
fn whole_example() -> String {
    let us = "[pools.web-us]\nrealservers = [{ name = \"nyc-a\", address = \"198.51.100.10\" }]\n";
    let example = EXAMPLE.replace("[\"0.0.0.0:80\"]", "[\"192.0.2.80:80\"]").replace(", weight", ", port = 80, weight");
    example.replace("port = 80, port = 80", "port = 80") + us
}

#[test]
fn example_reads_and_prints_as_the_same() {
    let config = read(&whole_example());
    assert_eq!(findings(&whole_example()), "");
    assert_eq!((config.checks.len(), config.pools.len(), config.listeners.len()), (1, 3, 1));
    assert_eq!(read(&print(&config)), config);
}

#[test]
fn defaults_are_those_of_the_reference() {
    let config = read(
        "version = 1\n[dns]\n[dns.rate_limit]\n[dns.encrypted]\ncertificate = \"c\"\nkey = \"k\"\n[redirect]\n[checks.c]\ntype = \"https\"\n[checks.d]\ntype = \"tcp\"\n\
         [checks.e]\ntype = \"dns\"\nquery = \"example.org\"\n[pools.p]\ncheck = \"c\"\n\
         realservers = [{ name = \"a\", address = \"192.0.2.1\", port = 80 }]\n\
         [listeners.l]\nbind = \"192.0.2.1:8080\"\npool = \"p\"\n",
    );
    let printed = print(&config);
    assert_eq!(read(&printed), config);
    let mut n_compared = 0;
    for key in reference::KEYS.iter().filter(|key| !key.is_later) {
        let value = key.default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
        // Others are told in words, or depend on the realserver or the version.
        let is_literal = |value: &&str| !value.contains(['`', ':']) || value.contains("53") || value.contains(":80");
        let Some(value) = value.filter(is_literal).filter(|value| !value.contains("VERSION")) else { continue };
        n_compared += 1;
        assert!(
            printed.contains(&format!("{} = {value}", key.name)),
            "{} = {value} is missing in\n{printed}",
            key.name
        );
    }
    assert!(n_compared > 25, "{n_compared}");
}

#[test]
fn numbers_may_be_grouped_and_of_any_base() {
    let config = read(
        "version = 1\n[redirect]\nlisten = []\nmax_connections = 20_000\n[pools.p]\n\
         realservers = [{ name = \"a\", address = \"192.0.2.1\", port = 0x1f_90, weight = 0b11 }]\n",
    );
    assert_eq!(config.redirect.max_connections, 20_000);
    let Members::Realservers { realservers, .. } = &config.pools[0].members else { panic!("realservers") };
    assert_eq!((realservers[0].port, realservers[0].weight.get()), (Some(8080), 3));
}

#[test]
fn relative_paths_are_those_of_the_file() {
    let text = "version = 1\n[dns]\nlisten = []\n[control]\nsocket = \"c.sock\"\n[state]\ndir = \"/state\"\n\
                [geoip]\ndatabases = [\"a.mmdb\"]\n";
    let (config, _) = parse(Path::new("/etc/fingerpost/fingerpost.toml"), text.to_owned()).expect("valid");
    assert_eq!(config.dns.zones.as_deref(), Some(Path::new("/etc/fingerpost/zones")));
    assert_eq!(config.control.socket, Path::new("/etc/fingerpost/c.sock"));
    assert_eq!(config.geo_databases, [Path::new("/etc/fingerpost/a.mmdb")]);
    assert_eq!(config.state_dir, Path::new("/state"));
}

#[test]
fn secret_may_stand_in_a_file_and_is_never_shown() {
    let folder = tempfile::TempDir::new().expect("folder");
    std::fs::write(folder.path().join("key"), "c2VjcmV0IG9mIHRoZSBmaWxl\n").expect("secret");
    let keys =
        "[tsig.\"a.Key\"]\nsecret_file = \"key\"\nalgorithm = \"hmac-sha512\"\n[tsig.b]\nsecret = \"c2VjcmV0\"\n";
    let dns = "version = 1\n[dns]\nlisten = []\nallow_transfer = [\"192.0.2.0/24\", \"key:A.key\", \"2001:db8::/32 key:b\"]\nnotify = [\"192.0.2.54 key:b\"]\n";
    let (config, _) = parse(&folder.path().join("fingerpost.toml"), format!("{dns}{keys}")).expect("valid");
    let transfer = &config.dns.transfer;
    assert_eq!(
        transfer.keys.iter().map(|key| &*key.secret).collect::<Vec<_>>(),
        [&b"secret of the file"[..], b"secret"]
    );
    let allows = |peer: &str, signer: &str| {
        let signer: crate::name::Name = signer.parse().expect("name");
        transfer.allows(peer.parse().expect("address"), Some(&signer))
    };
    assert!(transfer.allows("192.0.2.1".parse().expect("address"), None));
    assert!(transfer.allows("::ffff:192.0.2.1".parse().expect("address"), None));
    assert!(allows("203.0.113.1", "a.key") && allows("2001:db8::1", "b"));
    assert!(!allows("203.0.113.1", "b") && !transfer.allows("2001:db8::1".parse().expect("address"), None));
    let printed = print(&config);
    for shown in [printed.clone(), format!("{config:?}")] {
        assert!(!shown.contains("c2Vj") && !shown.contains("115, 101, 99"), "{shown}");
    }
    let without_inline = printed.replace("# secret: not shown", "secret = \"c2VjcmV0\"");
    assert_eq!(*read(&without_inline).dns.transfer, **transfer);
}
