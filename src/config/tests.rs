//! What a configuration may say, what is said of its mistakes, and that what is printed reads back.

use std::path::Path;

use proptest::prelude::*;

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
        "version = 1\n[dns]\n[redirect]\n[checks.c]\ntype = \"https\"\n[pools.p]\ncheck = \"c\"\n\
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
fn unknown_key_suggests_the_nearest_or_lists_all() {
    check(
        r#"
version = 1
[dns]
zone = "zones"
[checks.web]
type = "tcp"
up_tresh = 3
[poolz.web]
"#,
        r#"
error: unknown key `zone` in `[dns]`
 --> fingerpost.toml:3:1
  |
3 | zone = "zones"
  | ^^^^
hint: did you mean `zones`?

error: unknown key `up_tresh` in this check
 --> fingerpost.toml:6:1
  |
6 | up_tresh = 3
  | ^^^^^^^^
hint: known here: `type`, `interval`, `timeout`, `rise`, `fall`, `address`, `port`, `path`, `host`, `expect_status`, `verify`, `sni`, `ca`

error: unknown key `poolz` at the top level
 --> fingerpost.toml:7:2
  |
7 | [poolz.web]
  |  ^^^^^
hint: did you mean `pools`?
"#,
    );
}

#[test]
fn feature_that_is_still_to_come_is_refused_by_name() {
    check(
        r#"
version = 1
[dns]
allow_transfer = ["192.0.2.0/24"]
cookies = true
[dns.rate_limit]
per_second = 5
[checks.a]
type = "icmp"
[checks.b]
type = "tcp"
send = "PING"
[pools.web]
policy = "nearest"
check = "b"
min_ttl = "5s"
realservers = [{ name = "a", address = "192.0.2.1", port = 80, location = "52.4,4.9" }]
[listeners.a]
bind = "192.0.2.1:80"
protocol = "udp"
pool = "web"
scheduler = "least-connections"
proxy_protocol = "v2"
forward = "nat"
sni = ["example.org"]
"#,
        r#"
error: `allow_transfer` is not supported yet: zone transfer comes with a later version
 --> fingerpost.toml:3:18
  |
3 | allow_transfer = ["192.0.2.0/24"]
  |                  ^^^^^^^^^^^^^^^^
hint: write `[]`, or remove the line

error: `cookies = true` is not supported yet: DNS cookies come with a later version
 --> fingerpost.toml:4:11
  |
4 | cookies = true
  |           ^^^^
hint: write `false`, or remove the line

error: `rate_limit` is not supported yet: response rate limiting comes with a later version
 --> fingerpost.toml:5:6
  |
5 | [dns.rate_limit]
  |      ^^^^^^^^^^
hint: remove it

error: `type = "icmp"` is not supported yet: it comes with a later version
 --> fingerpost.toml:8:8
  |
8 | type = "icmp"
  |        ^^^^^^
hint: supported: `http`, `https`, `tcp`

error: `send` is not supported yet: talking over tcp comes with a later version
  --> fingerpost.toml:11:1
   |
11 | send = "PING"
   | ^^^^
hint: remove it

error: `policy = "nearest"` is not supported yet: it comes with a later version
  --> fingerpost.toml:13:10
   |
13 | policy = "nearest"
   |          ^^^^^^^^^
hint: supported: `wrr`, `random`, `source-hash`, `failover`, `geo`

error: `min_ttl` is not supported yet: a TTL that follows certainty comes with a later version
  --> fingerpost.toml:15:1
   |
15 | min_ttl = "5s"
   | ^^^^^^^
hint: remove it

error: `location` is not supported yet: policy nearest comes with a later version
  --> fingerpost.toml:16:64
   |
16 | realservers = [{ name = "a", address = "192.0.2.1", port = 80, location = "52.4,4.9" }]
   |                                                                ^^^^^^^^
hint: remove it

error: `protocol = "udp"` is not supported yet: it comes with a later version
  --> fingerpost.toml:19:12
   |
19 | protocol = "udp"
   |            ^^^^^
hint: supported: `tcp`

error: `scheduler = "least-connections"` is not supported yet: it comes with a later version
  --> fingerpost.toml:21:13
   |
21 | scheduler = "least-connections"
   |             ^^^^^^^^^^^^^^^^^^^
hint: supported: `wrr`, `source-hash`

error: `proxy_protocol = "v2"` is not supported yet: it comes with a later version
  --> fingerpost.toml:22:18
   |
22 | proxy_protocol = "v2"
   |                  ^^^^
hint: supported: `off`

error: `forward = "nat"` is not supported yet: forwarding in the kernel comes with a later version
  --> fingerpost.toml:23:11
   |
23 | forward = "nat"
   |           ^^^^^
hint: write `proxy`, or remove the line: it carries clients of either address family to realservers of either

error: `sni` is not supported yet: routing by SNI comes with a later version
  --> fingerpost.toml:24:1
   |
24 | sni = ["example.org"]
   | ^^^
hint: remove it
"#,
    );
}

#[test]
fn wrong_type_says_what_was_expected() {
    check(
        r#"
version = "1"
[dns]
listen = "0.0.0.0:53"
udp_workers = 1.5
version = 9
[checks.web]
type = ["http"]
rise = "2"
interval = 5
[pools.web]
check = 1
answers = false
min_healthy = 50
realservers = [{ name = "a", address = 192, port = "80", weight = 2024-01-01 }, "b"]
[pools]
api = 3
"#,
        r#"
error: `version` must be a whole number, this is a string
 --> fingerpost.toml:1:11
  |
1 | version = "1"
  |           ^^^

error: `listen` must be a list, this is a string
 --> fingerpost.toml:3:10
  |
3 | listen = "0.0.0.0:53"
  |          ^^^^^^^^^^^^
hint: put it in brackets: `[ … ]`

error: `udp_workers` must be a whole number, this is a number with a point
 --> fingerpost.toml:4:15
  |
4 | udp_workers = 1.5
  |               ^^^

error: `version` must be a string, this is a number
 --> fingerpost.toml:5:11
  |
5 | version = 9
  |           ^

error: `type` must be a string, this is a list
 --> fingerpost.toml:7:8
  |
7 | type = ["http"]
  |        ^^^^^^^^

error: `rise` must be a whole number, this is a string
 --> fingerpost.toml:8:8
  |
8 | rise = "2"
  |        ^^^

error: `interval` must be a duration, this is a number
 --> fingerpost.toml:9:12
  |
9 | interval = 5
  |            ^
hint: durations are strings of a whole number and a unit: `"500ms"`, `"5s"`, `"5m"`, `"2h"`, `"1d"`

error: `check` must be a string, this is a number
  --> fingerpost.toml:11:9
   |
11 | check = 1
   |         ^

error: `answers` must be a number from 1 to 64 or `"all"`
  --> fingerpost.toml:12:11
   |
12 | answers = false
   |           ^^^^^
hint: `answers = "all"` gives every healthy one

error: a percentage is expected here, from `"0%"` to `"100%"`
  --> fingerpost.toml:13:15
   |
13 | min_healthy = 50
   |               ^^
hint: such as `"50%"`

error: `address` must be an address, or a list of one of each family, this is a number
  --> fingerpost.toml:14:40
   |
14 | realservers = [{ name = "a", address = 192, port = "80", weight = 2024-01-01 }, "b"]
   |                                        ^^^
hint: such as `"192.0.2.10"`

error: `port` must be a whole number, this is a string
  --> fingerpost.toml:14:52
   |
14 | realservers = [{ name = "a", address = 192, port = "80", weight = 2024-01-01 }, "b"]
   |                                                    ^^^^

error: `weight` must be a whole number, this is a date
  --> fingerpost.toml:14:67
   |
14 | realservers = [{ name = "a", address = 192, port = "80", weight = 2024-01-01 }, "b"]
   |                                                                   ^^^^^^^^^^

error: each of `realservers` must be a table, this is a string
  --> fingerpost.toml:14:81
   |
14 | realservers = [{ name = "a", address = 192, port = "80", weight = 2024-01-01 }, "b"]
   |                                                                                 ^^^

error: `api` must be a table, this is a number
  --> fingerpost.toml:16:7
   |
16 | api = 3
   |       ^
"#,
    );
}

#[test]
fn unit_is_part_of_a_duration() {
    check(
        r#"
version = 1
[process]
drain_timeout = "10"
[redirect]
listen = []
idle_timeout = "30 sec"
[dns]
[listeners.a]
idle_timeout = "0s"
"#,
        r#"
error: `10` is not a duration
 --> fingerpost.toml:3:17
  |
3 | drain_timeout = "10"
  |                 ^^^^
hint: durations are strings of a whole number and a unit: `"500ms"`, `"5s"`, `"5m"`, `"2h"`, `"1d"`

error: `30 sec` is not a duration
 --> fingerpost.toml:6:16
  |
6 | idle_timeout = "30 sec"
  |                ^^^^^^^^
hint: durations are strings of a whole number and a unit: `"500ms"`, `"5s"`, `"5m"`, `"2h"`, `"1d"`

error: `bind` is missing in this listener
 --> fingerpost.toml:8:1
  |
8 | [listeners.a]
  | ^^^^^^^^^^^^^
hint: such as `bind = "192.0.2.1:80"`

error: `pool` is missing in this listener
 --> fingerpost.toml:8:1
  |
8 | [listeners.a]
  | ^^^^^^^^^^^^^
hint: such as `pool = "web"`

error: `0s` is not a duration
 --> fingerpost.toml:9:16
  |
9 | idle_timeout = "0s"
  |                ^^^^
hint: durations are strings of a whole number and a unit: `"500ms"`, `"5s"`, `"5m"`, `"2h"`, `"1d"`
"#,
    );
}

#[test]
fn value_out_of_range_says_the_range() {
    check(
        r#"
version = 2
[dns]
listen = ["192.0.2.53", "[::]:99999"]
udp_workers = 0
nsid = ""
[checks.a]
type = "http"
path = "health"
host = "a b"
expect_status = ["2xx", "299-200", "99"]
rise = 0
port = 65536
[checks.b]
type = "https"
sni = "[::1]:443"
expect_status = []
[pools.web]
check = "a"
answers = 65
min_healthy = "101%"
affinity_prefix = { v4 = 0, v6 = 129 }
realservers = [{ name = "a b", address = "192.0.2.1" }]
[pools.api]
check = "b"
answers = "one"
realservers = []
"#,
        r#"
error: this version of the format is not known
 --> fingerpost.toml:1:11
  |
1 | version = 2
  |           ^
hint: this program reads `version = 1`

error: `192.0.2.53` is not an address with a port
 --> fingerpost.toml:3:11
  |
3 | listen = ["192.0.2.53", "[::]:99999"]
  |           ^^^^^^^^^^^^
hint: such as `192.0.2.1:53`, `0.0.0.0:53` or `[2001:db8::1]:53`

error: `[::]:99999` is not an address with a port
 --> fingerpost.toml:3:25
  |
3 | listen = ["192.0.2.53", "[::]:99999"]
  |                         ^^^^^^^^^^^^
hint: such as `192.0.2.1:53`, `0.0.0.0:53` or `[2001:db8::1]:53`

error: `udp_workers` must be between 1 and 256
 --> fingerpost.toml:4:15
  |
4 | udp_workers = 0
  |               ^

error: this text must have 1 to 255 octets
 --> fingerpost.toml:5:8
  |
5 | nsid = ""
  |        ^^
hint: or `"off"` for none

error: `health` is not a path
 --> fingerpost.toml:8:8
  |
8 | path = "health"
  |        ^^^^^^^^
hint: it starts with `/` and has no blanks; write others as `%20`

error: `a b` is not a host name
 --> fingerpost.toml:9:8
  |
9 | host = "a b"
  |        ^^^^^
hint: such as `www.example.com`

error: `2xx` is not a range of status codes
  --> fingerpost.toml:10:18
   |
10 | expect_status = ["2xx", "299-200", "99"]
   |                  ^^^^^
hint: such as `"200"` or `"200-299"`, within 100 to 599

error: `299-200` is not a range of status codes
  --> fingerpost.toml:10:25
   |
10 | expect_status = ["2xx", "299-200", "99"]
   |                         ^^^^^^^^^
hint: such as `"200"` or `"200-299"`, within 100 to 599

error: `99` is not a range of status codes
  --> fingerpost.toml:10:36
   |
10 | expect_status = ["2xx", "299-200", "99"]
   |                                    ^^^^
hint: such as `"200"` or `"200-299"`, within 100 to 599

error: `rise` must be between 1 and 1000
  --> fingerpost.toml:11:8
   |
11 | rise = 0
   |        ^

error: `port` must be between 1 and 65535
  --> fingerpost.toml:12:8
   |
12 | port = 65536
   |        ^^^^^

error: `[::1]:443` is not a host name
  --> fingerpost.toml:15:7
   |
15 | sni = "[::1]:443"
   |       ^^^^^^^^^^^
hint: such as `www.example.com`

error: with no status expected the check can never succeed
  --> fingerpost.toml:16:17
   |
16 | expect_status = []
   |                 ^^
hint: such as `["200-299"]`

error: `answers` must be between 1 and 64
  --> fingerpost.toml:19:11
   |
19 | answers = 65
   |           ^^

error: a percentage is expected here, from `"0%"` to `"100%"`
  --> fingerpost.toml:20:15
   |
20 | min_healthy = "101%"
   |               ^^^^^^
hint: such as `"50%"`

error: `v4` must be between 1 and 32
  --> fingerpost.toml:21:26
   |
21 | affinity_prefix = { v4 = 0, v6 = 129 }
   |                          ^

error: `v6` must be between 1 and 128
  --> fingerpost.toml:21:34
   |
21 | affinity_prefix = { v4 = 0, v6 = 129 }
   |                                  ^^^

error: `a b` cannot be a name here
  --> fingerpost.toml:22:25
   |
22 | realservers = [{ name = "a b", address = "192.0.2.1" }]
   |                         ^^^^^
hint: use letters, digits, `-`, `_` and `.`, at most 63

error: `answers` must be a number from 1 to 64 or `"all"`
  --> fingerpost.toml:25:11
   |
25 | answers = "one"
   |           ^^^^^
hint: `answers = "all"` gives every healthy one

error: a pool needs at least one realserver
  --> fingerpost.toml:26:15
   |
26 | realservers = []
   |               ^^
hint: such as `{ name = "a", address = "192.0.2.10" }`
"#,
    );
}

#[test]
fn bad_address_is_told_apart() {
    check(
        r#"
version = 1
[pools.web]
realservers = [
  { name = "a", address = "192.0.2.10:80" },
  { name = "b", address = "0.0.0.0" },
  { name = "c", address = "::ffff:192.0.2.1" },
  { name = "d", address = ["192.0.2.1", "192.0.2.2"] },
  { name = "e", address = [] },
  { name = "f" },
  { address = "192.0.2.3" },
  { name = "g", address = "192.0.2.4", url = "www.example.org" },
  { name = "h", address = "192.0.2.5", url = "https://user@example.org/?q" },
  { name = "i", address = "192.0.2.6", url = "https://example.org:0" },
]
"#,
        r#"
error: `192.0.2.10:80` is not an IP address
 --> fingerpost.toml:4:27
  |
4 |   { name = "a", address = "192.0.2.10:80" },
  |                           ^^^^^^^^^^^^^^^
hint: such as `192.0.2.10` or `2001:db8::10`; ports and names do not belong here

error: `0.0.0.0` is no address of one host
 --> fingerpost.toml:5:27
  |
5 |   { name = "b", address = "0.0.0.0" },
  |                           ^^^^^^^^^
hint: give the address that the service has

error: `::ffff:192.0.2.1` is an IPv4 address in IPv6 form
 --> fingerpost.toml:6:27
  |
6 |   { name = "c", address = "::ffff:192.0.2.1" },
  |                           ^^^^^^^^^^^^^^^^^^
hint: write `192.0.2.1`

error: a realserver has at most one address of each family
 --> fingerpost.toml:7:41
  |
7 |   { name = "d", address = ["192.0.2.1", "192.0.2.2"] },
  |                                         ^^^^^^^^^^^
hint: make this one a realserver of its own

error: a realserver needs an address
 --> fingerpost.toml:8:27
  |
8 |   { name = "e", address = [] },
  |                           ^^
hint: such as `address = "192.0.2.10"`

error: `address` is missing in this realserver
 --> fingerpost.toml:9:3
  |
9 |   { name = "f" },
  |   ^^^^^^^^^^^^^^
hint: such as `address = "192.0.2.10"`

error: `name` is missing in this realserver
  --> fingerpost.toml:10:3
   |
10 |   { address = "192.0.2.3" },
   |   ^^^^^^^^^^^^^^^^^^^^^^^^^
hint: such as `name = "a"`

error: `www.example.org` is not a URL to send browsers to
  --> fingerpost.toml:11:46
   |
11 |   { name = "g", address = "192.0.2.4", url = "www.example.org" },
   |                                              ^^^^^^^^^^^^^^^^^
hint: such as `https://ams-b.example.com`: no user, query or fragment

error: `https://user@example.org/?q` is not a URL to send browsers to
  --> fingerpost.toml:12:46
   |
12 |   { name = "h", address = "192.0.2.5", url = "https://user@example.org/?q" },
   |                                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
hint: such as `https://ams-b.example.com`: no user, query or fragment

error: `https://example.org:0` is not a URL to send browsers to
  --> fingerpost.toml:13:46
   |
13 |   { name = "i", address = "192.0.2.6", url = "https://example.org:0" },
   |                                              ^^^^^^^^^^^^^^^^^^^^^^^
hint: such as `https://ams-b.example.com`: no user, query or fragment
"#,
    );
}

#[test]
fn unknown_pool_check_and_place_suggest_the_nearest() {
    check(
        r#"
version = 1
[checks.http]
type = "http"
[pools.web-eu]
check = "htp"
realservers = [{ name = "a", address = "192.0.2.1", port = 80 }]
[pools.web]
members = ["web-eu"]
[pools.web.geo]
eurpe = ["web-eu"]
US = ["web-us"]
UK = ["web-eu"]
us-ca = ["web-eu"]
AS0 = ["web-eu"]
default = ["web-eu"]
[listeners.a]
bind = "192.0.2.1:80"
pool = "wbe"
"#,
        r#"
error: unknown check `htp`
 --> fingerpost.toml:5:9
  |
5 | check = "htp"
  |         ^^^^^
hint: did you mean `http`?

error: unknown geo key `eurpe`
  --> fingerpost.toml:10:1
   |
10 | eurpe = ["web-eu"]
   | ^^^^^
hint: did you mean `europe`?

error: unknown pool `web-us`
  --> fingerpost.toml:11:7
   |
11 | US = ["web-us"]
   |       ^^^^^^^^
hint: pools in this file: `web-eu`, `web`

error: unknown country code `UK`
  --> fingerpost.toml:12:1
   |
12 | UK = ["web-eu"]
   | ^^
hint: did you mean `GB`?

error: `us-ca` is not written as a geo key is
  --> fingerpost.toml:13:1
   |
13 | us-ca = ["web-eu"]
   | ^^^^^
hint: write `US-CA`

error: `AS0` is not an AS number
  --> fingerpost.toml:14:1
   |
14 | AS0 = ["web-eu"]
   | ^^^
hint: AS numbers are written `AS64500`, from 1 to 4294967295

error: unknown pool `wbe`
  --> fingerpost.toml:18:8
   |
18 | pool = "wbe"
   |        ^^^^^
hint: did you mean `web`?
"#,
    );
}

#[test]
fn unknown_pool_among_none_at_all() {
    check(
        r#"
version = 1
[listeners.a]
bind = "192.0.2.1:80"
pool = "web"
"#,
        r#"
error: unknown pool `web`
 --> fingerpost.toml:4:8
  |
4 | pool = "web"
  |        ^^^^^
hint: this file has no pools
"#,
    );
}

#[test]
fn network_has_no_host_bits_and_one_list() {
    check(
        r#"
version = 1
[redirect]
listen = []
trusted_proxies = ["10.0.0.1/8", "10.0.0.1"]
[dns]
[pools.eu]
realservers = [{ name = "a", address = "192.0.2.1", port = 80 }]
[pools.web]
[pools.web.nets]
"198.51.100.7/24" = ["eu"]
"2001:db8::/32" = ["eu"]
"2001:0db8::/32" = []
"everywhere" = ["eu"]
"#,
        r#"
error: `10.0.0.1/8` has bits beyond its prefix
 --> fingerpost.toml:4:20
  |
4 | trusted_proxies = ["10.0.0.1/8", "10.0.0.1"]
  |                    ^^^^^^^^^^^^
hint: did you mean `10.0.0.0/8`?

error: `10.0.0.1` is not a network
 --> fingerpost.toml:4:34
  |
4 | trusted_proxies = ["10.0.0.1/8", "10.0.0.1"]
  |                                  ^^^^^^^^^^
hint: for this address alone write `10.0.0.1/32`

error: `198.51.100.7/24` has bits beyond its prefix
  --> fingerpost.toml:10:1
   |
10 | "198.51.100.7/24" = ["eu"]
   | ^^^^^^^^^^^^^^^^^
hint: did you mean `198.51.100.0/24`?

error: network `2001:db8::/32` has two lists
  --> fingerpost.toml:12:1
   |
12 | "2001:0db8::/32" = []
   | ^^^^^^^^^^^^^^^^
hint: remove one of the two

error: `everywhere` is not a network
  --> fingerpost.toml:13:1
   |
13 | "everywhere" = ["eu"]
   | ^^^^^^^^^^^^
hint: such as `198.51.100.0/24` or `2001:db8::/32`
"#,
    );
}

#[test]
fn realserver_is_in_a_pool_once() {
    check(
        r#"
version = 1
[pools.web]
realservers = [
  { name = "a", address = "192.0.2.1", port = 80 },
  { name = "a", address = "192.0.2.2", port = 80 },
  { name = "b", address = "192.0.2.1", port = 80 },
]
"#,
        r#"
error: duplicate realserver `a` in pool `web`
 --> fingerpost.toml:5:3
  |
5 |   { name = "a", address = "192.0.2.2", port = 80 },
  |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
hint: the first one is in line 4; rename one of them

error: realservers `a` and `b` of pool `web` have the same address
 --> fingerpost.toml:6:3
  |
6 |   { name = "b", address = "192.0.2.1", port = 80 },
  |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
hint: for a larger share, give one of them a larger `weight`
"#,
    );
}

#[test]
fn circle_of_pools_is_shown_as_its_path() {
    check(
        r#"
version = 1
[pools.a]
members = ["b"]
[pools.b]
policy = "geo"
[pools.b.geo]
US = ["c", "leaf"]
[pools.c]
members = ["leaf", "a"]
[pools.self]
members = ["self", "leaf"]
[pools.leaf]
realservers = [{ name = "a", address = "192.0.2.1" }]
"#,
        r#"
error: pools go in a circle: `a` → `b` → `c` → `a`
 --> fingerpost.toml:2:8
  |
2 | [pools.a]
  |        ^
hint: take one of them out of the `members`, `geo` or `nets` of the one before it

error: pools go in a circle: `self` → `self`
  --> fingerpost.toml:10:8
   |
10 | [pools.self]
   |        ^^^^
hint: take one of them out of the `members`, `geo` or `nets` of the one before it
"#,
    );
}

#[test]
fn listener_and_tcp_check_need_ports() {
    check(
        r#"
version = 1
[checks.tcp]
type = "tcp"
[pools.eu]
check = "tcp"
realservers = [
  { name = "a", address = "192.0.2.1", port = 80 },
  { name = "b", address = "192.0.2.2" },
  { name = "c", address = "192.0.2.3", check_port = 81 },
]
[pools.us]
realservers = [{ name = "d", address = "192.0.2.4" }]
[pools.web]
members = ["eu", "us"]
[listeners.a]
bind = "192.0.2.1:80"
pool = "web"
"#,
        r#"
error: realserver `b` has no port, and its check `tcp` needs one
 --> fingerpost.toml:8:3
  |
8 |   { name = "b", address = "192.0.2.2" },
  |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
hint: add `port` to the realserver or to the check

error: listener `a` forwards to pool `eu`, where `b`, `c` have no port
  --> fingerpost.toml:17:8
   |
17 | pool = "web"
   |        ^^^^^
hint: add `port` there: the port that the service has

error: listener `a` forwards to pool `us`, where `d` has no port
  --> fingerpost.toml:17:8
   |
17 | pool = "web"
   |        ^^^^^
hint: add `port` there: the port that the service has
"#,
    );
}

#[test]
fn overlap_is_within_one_family_and_port() {
    check(
        r#"
version = 1
[dns]
listen = ["0.0.0.0:53", "[::]:53"]
[control]
listen = "192.0.2.1:53"
[pools.web]
realservers = [{ name = "a", address = "192.0.2.1", port = 80 }]
[listeners.same]
bind = "192.0.2.1:80"
pool = "web"
[listeners.twice]
bind = "192.0.2.1:80"
pool = "web"
[listeners.other-port]
bind = "192.0.2.1:81"
pool = "web"
[listeners.other-address]
bind = "192.0.2.2:80"
pool = "web"
[listeners.other-family]
bind = "[::]:80"
pool = "web"
[listeners.in-the-wildcard]
bind = "[2001:db8::1]:80"
pool = "web"
[listeners.any]
bind = "127.0.0.1:0"
pool = "web"
[listeners.any-other]
bind = "127.0.0.1:0"
pool = "web"
"#,
        r#"
error: `192.0.2.1:53` overlaps with `0.0.0.0:53` of line 3
 --> fingerpost.toml:5:10
  |
5 | listen = "192.0.2.1:53"
  |          ^^^^^^^^^^^^^^
hint: an address and port can be bound once, and `0.0.0.0` or `[::]` takes all of its family

error: `192.0.2.1:80` is bound twice, here and in line 9
  --> fingerpost.toml:12:8
   |
12 | bind = "192.0.2.1:80"
   |        ^^^^^^^^^^^^^^
hint: an address and port can be bound once, and `0.0.0.0` or `[::]` takes all of its family

error: `[2001:db8::1]:80` overlaps with `[::]:80` of line 21
  --> fingerpost.toml:24:8
   |
24 | bind = "[2001:db8::1]:80"
   |        ^^^^^^^^^^^^^^^^^^
hint: an address and port can be bound once, and `0.0.0.0` or `[::]` takes all of its family
"#,
    );
}

#[test]
fn weight_zero_is_refused_in_favour_of_drain() {
    check(
        r#"
version = 1
[pools.web]
realservers = [{ name = "a", address = "192.0.2.1", weight = 0 }, { name = "b", address = "192.0.2.2", weight = 65536 }]
"#,
        r#"
error: weight 0 is refused
 --> fingerpost.toml:3:62
  |
3 | realservers = [{ name = "a", address = "192.0.2.1", weight = 0 }, { name = "b", address = "192.0.2.2", weight = 65536 }]
  |                                                              ^
hint: for no traffic, `fingerpost drain POOL/REALSERVER`, or remove the realserver

error: `weight` must be between 1 and 65535
 --> fingerpost.toml:3:113
  |
3 | realservers = [{ name = "a", address = "192.0.2.1", weight = 0 }, { name = "b", address = "192.0.2.2", weight = 65536 }]
  |                                                                                                                 ^^^^^
"#,
    );
}

#[test]
fn probe_ends_before_the_next_one_starts() {
    check(
        r#"
version = 1
[checks.equal]
type = "http"
interval = "2s"
timeout = "2s"
[checks.default-timeout]
type = "http"
interval = "500ms"
[pools.web]
check = "equal"
realservers = [{ name = "a", address = "192.0.2.1" }]
[pools.api]
check = "default-timeout"
realservers = [{ name = "a", address = "192.0.2.1" }]
"#,
        r#"
error: `timeout` must be shorter than `interval`
 --> fingerpost.toml:5:11
  |
5 | timeout = "2s"
  |           ^^^^
hint: a probe must end before the next one starts

error: `timeout` must be shorter than `interval`
 --> fingerpost.toml:6:1
  |
6 | [checks.default-timeout]
  | ^^^^^^^^^^^^^^^^^^^^^^^^
hint: a probe must end before the next one starts
"#,
    );
}

#[test]
fn key_of_another_kind_of_check_is_refused() {
    check(
        r#"
version = 1
[checks.a]
type = "tcp"
path = "/"
[checks.b]
type = "http"
verify = false
[checks.c]
interval = "5s"
[pools.a]
check = "a"
realservers = [{ name = "a", address = "192.0.2.1", port = 80 }]
[pools.b]
check = "b"
realservers = [{ name = "a", address = "192.0.2.1", port = 80 }]
[pools.c]
check = "c"
realservers = [{ name = "a", address = "192.0.2.1", port = 80 }]
"#,
        r#"
error: a check of type `tcp` has no `path`
 --> fingerpost.toml:4:8
  |
4 | path = "/"
  |        ^^^
hint: remove it, or change `type`

error: a check of type `http` has no `verify`
 --> fingerpost.toml:7:10
  |
7 | verify = false
  |          ^^^^^
hint: remove it, or change `type`

error: `type` is missing in this check
 --> fingerpost.toml:8:1
  |
8 | [checks.c]
  | ^^^^^^^^^^
hint: such as `type = "http"`
"#,
    );
}

#[test]
fn pool_has_realservers_or_members() {
    check(
        r#"
version = 1
[pools.leaf]
realservers = [{ name = "a", address = "192.0.2.1" }]
[pools.empty]
[pools.no-members]
members = []
[pools.both]
members = ["leaf"]
realservers = [{ name = "a", address = "192.0.2.1" }]
[pools.geo-leaf]
policy = "geo"
realservers = [{ name = "a", address = "192.0.2.1" }]
[pools.wrr-pools]
policy = "wrr"
members = ["leaf", "leaf"]
[pools.no-places]
policy = "geo"
members = ["leaf"]
[pools.places]
policy = "failover"
[pools.places.geo]
default = ["leaf"]
[pools.stray]
members = ["empty"]
check = "x"
min_healthy = "50%"
[pools.stray.geo]
US = ["leaf"]
[pools.nobody]
[pools.nobody.geo]
default = []
"#,
        r#"
error: pool `empty` has nobody in it
 --> fingerpost.toml:4:8
  |
4 | [pools.empty]
  |        ^^^^^
hint: give it `realservers = [ … ]` or `members = [ … ]`

error: a pool of pools needs at least one member
 --> fingerpost.toml:6:11
  |
6 | members = []
  |           ^^
hint: such as `members = ["web-eu", "web-us"]`

error: a pool has `realservers` or `members`, not both
 --> fingerpost.toml:8:11
  |
8 | members = ["leaf"]
  |           ^^^^^^^^
hint: make one pool of the realservers and another with this one as a member

error: policy `geo` chooses among pools, not realservers
  --> fingerpost.toml:11:10
   |
11 | policy = "geo"
   |          ^^^^^
hint: give it `members`, each a pool of realservers

error: this policy orders realservers, not pools
  --> fingerpost.toml:14:10
   |
14 | policy = "wrr"
   |          ^^^^^
hint: for pools there are `failover` and `geo`

error: this member is in the list twice
  --> fingerpost.toml:15:20
   |
15 | members = ["leaf", "leaf"]
   |                    ^^^^^^
hint: remove one of the two

error: policy `geo` needs a table `geo` or `nets`
  --> fingerpost.toml:17:10
   |
17 | policy = "geo"
   |          ^^^^^
hint: such as `geo = { default = [ … ] }`

error: `geo` and `nets` need `policy = "geo"`
  --> fingerpost.toml:20:10
   |
20 | policy = "failover"
   |          ^^^^^^^^^^
hint: change the policy, or remove them

error: `check` belongs to a pool of realservers
  --> fingerpost.toml:25:9
   |
25 | check = "x"
   |         ^^^
hint: set it in each of the pools that this one leads to

error: `min_healthy` belongs to a pool of realservers
  --> fingerpost.toml:26:15
   |
26 | min_healthy = "50%"
   |               ^^^^^
hint: set it in each of the pools that this one leads to

error: `leaf` is not among this pool's `members`
  --> fingerpost.toml:28:7
   |
28 | US = ["leaf"]
   |       ^^^^^^
hint: add it there, or remove `members`: it is optional here

error: this pool has nobody in it: all of its lists are empty
  --> fingerpost.toml:29:1
   |
29 | [pools.nobody]
   | ^^^^^^^^^^^^^^
hint: an empty list sends some clients to nobody; the others need pools
"#,
    );
}

#[test]
fn scheduler_orders_realservers() {
    check(
        r#"
version = 1
[pools.a]
realservers = [{ name = "a", address = "192.0.2.1", port = 80 }]
[pools.b]
realservers = [{ name = "a", address = "192.0.2.2", port = 80 }]
[pools.web]
members = ["a", "b"]
[listeners.web]
bind = "192.0.2.1:80"
pool = "web"
scheduler = "wrr"
"#,
        r#"
error: `scheduler` orders realservers, and this listener's pool is one of pools
  --> fingerpost.toml:11:13
   |
11 | scheduler = "wrr"
   |             ^^^^^
hint: set `policy` in the member pools instead
"#,
    );
}

#[test]
fn name_is_a_plain_word() {
    check(
        r#"
version = 1
[pools."a/b"]
realservers = [{ name = "a", address = "192.0.2.1" }]
[pools.""]
realservers = [{ name = "a.1", address = "192.0.2.1" }]
"#,
        r#"
error: `a/b` cannot be a name here
 --> fingerpost.toml:2:8
  |
2 | [pools."a/b"]
  |        ^^^^^
hint: use letters, digits, `-` and `_`, at most 63

error: a name is empty
 --> fingerpost.toml:4:8
  |
4 | [pools.""]
  |        ^^
hint: use letters, digits, `-` and `_`, at most 63
"#,
    );
}

#[test]
fn redirector_needs_zones() {
    check(
        r#"
version = 1
[redirect]
"#,
        r#"
error: the redirector finds its pools by name in the zones, and there is no `[dns]`
 --> fingerpost.toml:2:1
  |
2 | [redirect]
  | ^^^^^^^^^^
hint: add `[dns]` with `zones`; `listen = []` there serves no DNS
"#,
    );
}

#[test]
fn what_is_only_strange_is_a_warning() {
    check(
        r#"
version = 1
[checks.unused]
type = "http"
[pools.a]
policy = "failover"
answers = 2
realservers = [{ name = "a", address = "192.0.2.1" }]
[pools.b]
members = ["a"]
"#,
        r#"
warning: no pool uses check `unused`
 --> fingerpost.toml:2:9
  |
2 | [checks.unused]
  |         ^^^^^^

warning: `answers` of pool `a` changes nothing: its policy `failover` gives one
 --> fingerpost.toml:4:8
  |
4 | [pools.a]
  |        ^
hint: remove the line, or use another policy

warning: pool `b` has one member, to which it cannot add anything
 --> fingerpost.toml:8:8
  |
8 | [pools.b]
  |        ^
hint: use that pool itself, or add a second one
"#,
    );
}

#[test]
fn syntax_error_stands_alone() {
    check(
        r#"
version = 1
[pools.web
realservers = 3
colour = "red"
"#,
        r#"
error: unclosed table, expected `]`
 --> fingerpost.toml:2:11
  |
2 | [pools.web
  |           ^
"#,
    );
    check(
        r#"
version = 1
version = 1
colour = "red"
"#,
        r#"
error: duplicate key
 --> fingerpost.toml:2:1
  |
2 | version = 1
  | ^^^^^^^
"#,
    );
}

#[test]
fn empty_file_lacks_a_version() {
    check(
        r#"

"#,
        r#"
error: `version` is missing in this file
 --> fingerpost.toml:1:1
  |
1 |
  | ^
hint: such as `version = 1`
"#,
    );
}

#[test]
fn missing_version_is_told_beside_other_mistakes() {
    check(
        r#"
[pools.web]
colour = "red"
"#,
        r#"
error: `version` is missing in this file
 --> fingerpost.toml:1:1
  |
1 | [pools.web]
  | ^
hint: such as `version = 1`

error: pool `web` has nobody in it
 --> fingerpost.toml:1:8
  |
1 | [pools.web]
  |        ^^^
hint: give it `realservers = [ … ]` or `members = [ … ]`

error: unknown key `colour` in this pool
 --> fingerpost.toml:2:1
  |
2 | colour = "red"
  | ^^^^^^
hint: known here: `policy`, `realservers`, `members`, `check`, `answers`, `min_healthy`, `on_all_down`, `affinity_prefix`, `geo`, `nets`
"#,
    );
}

#[test]
fn example_lacks_a_pool_two_ports_and_an_address_of_its_own() {
    check(
        EXAMPLE,
        r#"
error: unknown pool `web-us`
  --> fingerpost.toml:28:22
   |
28 | members = ["web-eu", "web-us"]
   |                      ^^^^^^^^
hint: pools in this file: `web`, `web-eu`

error: unknown pool `web-us`
  --> fingerpost.toml:30:21
   |
30 | europe = ["web-eu", "web-us"]
   |                     ^^^^^^^^
hint: pools in this file: `web`, `web-eu`

error: unknown pool `web-us`
  --> fingerpost.toml:31:7
   |
31 | US = ["web-us", "web-eu"]
   |       ^^^^^^^^
hint: pools in this file: `web`, `web-eu`

error: unknown pool `web-us`
  --> fingerpost.toml:32:22
   |
32 | default = ["web-eu", "web-us"]
   |                      ^^^^^^^^
hint: pools in this file: `web`, `web-eu`

error: unknown pool `web-us`
  --> fingerpost.toml:34:22
   |
34 | "198.51.100.0/24" = ["web-us"]
   |                      ^^^^^^^^
hint: pools in this file: `web`, `web-eu`

error: `192.0.2.1:80` overlaps with `0.0.0.0:80` of line 9
  --> fingerpost.toml:49:8
   |
49 | bind = "192.0.2.1:80"
   |        ^^^^^^^^^^^^^^
hint: an address and port can be bound once, and `0.0.0.0` or `[::]` takes all of its family

error: listener `web` forwards to pool `web-eu`, where `ams-b`, `ams-c` have no port
  --> fingerpost.toml:51:8
   |
51 | pool = "web-eu"
   |        ^^^^^^^^
hint: add `port` there: the port that the service has
"#,
    );
}

/// A chain of `n` pools, each with the next as its only member but one.
fn chain(n: usize) -> String {
    let mut text = "version = 1\n[pools.leaf]\nrealservers = [{ name = \"a\", address = \"192.0.2.1\" }]\n".to_owned();
    for index in 0..n {
        let next = if index + 1 < n { format!("\"p{}\", ", index + 1) } else { String::new() };
        text += &format!("[pools.p{index}]\nmembers = [{next}\"leaf\"]\n");
    }
    text
}

#[test]
fn depth_of_pools_has_a_limit_and_no_depth_is_a_crash() {
    assert_eq!(read(&chain(15)).pools.len(), 16);
    let sixteen = findings(&chain(16));
    assert!(sixteen.starts_with("error: pool `p0` is more than 16 pools deep\n --> fingerpost.toml:4:8"), "{sixteen}");
    let is_too_deep = |toml: &str| findings(toml).contains(" is more than 16 pools deep");
    assert!(is_too_deep(&chain(5000)));
    assert!(is_too_deep(&chain(5000).replace("members = [\"leaf\"]", "members = [\"p0\"]")), "and goes in a circle");
}

#[test]
fn ways_through_pools_have_a_limit() {
    let mut text = "version = 1\n[pools.a0]\nrealservers = [{ name = \"a\", address = \"192.0.2.1\" }]\n\
                    [pools.b0]\nrealservers = [{ name = \"a\", address = \"192.0.2.1\" }]\n"
        .to_owned();
    for level in 1..15 {
        for side in ["a", "b"] {
            text += &format!("[pools.{side}{level}]\nmembers = [\"a{}\", \"b{}\"]\n", level - 1, level - 1);
        }
    }
    assert!(findings(&text).contains("error: pool `a14` leads to realservers in more than 10000 ways"));
    assert!(!findings(&text).contains("`a13` leads"), "2^13 are fewer");
}

/// Cases of a property test: a thousand, or what the environment says.
fn cases() -> ProptestConfig {
    let is_set = std::env::var_os("PROPTEST_CASES").is_some();
    if is_set { ProptestConfig::default() } else { ProptestConfig::with_cases(1000) }
}

/// `key = value`, or nothing.
fn maybe(key: &'static str, value: impl Strategy<Value = String> + 'static) -> BoxedStrategy<String> {
    prop::option::of(value)
        .prop_map(move |value| value.map_or(String::new(), |value| format!("{key} = {value}\n")))
        .boxed()
}

fn one_of(values: &'static [&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(values).prop_map(str::to_owned).boxed()
}

fn number(range: std::ops::RangeInclusive<u32>) -> BoxedStrategy<String> {
    range.prop_map(|number| number.to_string()).boxed()
}

fn text() -> BoxedStrategy<String> {
    "[ -~äß\n\t]{1,12}".prop_map(|text| toml::Value::String(text).to_string()).boxed()
}

fn check_table(index: usize) -> BoxedStrategy<String> {
    let http = (
        maybe("path", one_of(&["\"/\"", "\"/a?b=%20c\""])),
        maybe("host", one_of(&["\"example.org\"", "\"[2001:db8::1]:8080\""])),
        maybe("expect_status", one_of(&["[\"200\"]", "[\"200-299\", \"404\"]"])),
    );
    let tls = (
        maybe("verify", one_of(&["true", "false"])),
        maybe("sni", one_of(&["\"example.org\""])),
        maybe("ca", one_of(&["\"ca.pem\"", "\"/etc/ca.pem\""])),
    );
    let any = (
        maybe("interval", one_of(&["\"2s\"", "\"1500ms\"", "\"1m\""])),
        maybe("timeout", one_of(&["\"500ms\"", "\"1s\"", "\"1499ms\""])),
        maybe("rise", number(1..=1000)),
        maybe("fall", number(1..=1000)),
        maybe("address", one_of(&["\"192.0.2.99\"", "\"2001:db8::99\""])),
        number(1..=65535),
    );
    (0..3u8, http, tls, any)
        .prop_map(move |(kind, http, tls, any)| {
            let kind_keys = match kind {
                0 => "type = \"tcp\"\n".to_owned(),
                1 => format!("type = \"http\"\n{}{}{}", http.0, http.1, http.2),
                _ => format!("type = \"https\"\n{}{}{}{}{}{}", http.0, http.1, http.2, tls.0, tls.1, tls.2),
            };
            let (interval, timeout, rise, fall, address, port) = any;
            format!("[checks.c{index}]\n{kind_keys}{interval}{timeout}{rise}{fall}{address}port = {port}\n")
        })
        .boxed()
}

fn realserver(index: usize) -> BoxedStrategy<String> {
    let address = prop::sample::select(vec!["v4", "v6", "both", "list"]);
    let optional = prop::sample::subsequence(
        vec![
            ", weight = 65535",
            ", url = \"https://a.example.org:8443/x/\"",
            ", check_address = \"192.0.2.77\"",
            ", check_port = 81",
        ],
        0..=4,
    );
    (address, 1u16.., optional)
        .prop_map(move |(kind, port, optional)| {
            let (v4, v6) = (format!("\"192.0.2.{}\"", index + 1), format!("\"2001:db8::{index:x}\""));
            let address = match kind {
                "v4" => v4,
                "v6" => v6,
                "both" => format!("[{v6}, {v4}]"),
                _ => format!("[{v4}]"),
            };
            format!("  {{ name = \"r.{index}\", address = {address}, port = {port}{} }},\n", optional.concat())
        })
        .boxed()
}

fn leaf(index: usize) -> BoxedStrategy<String> {
    let keys = (
        maybe("policy", one_of(&["\"wrr\"", "\"random\"", "\"source-hash\"", "\"failover\""])),
        maybe("check", one_of(&["\"c0\"", "\"c1\""])),
        maybe("answers", one_of(&["1", "64", "\"all\""])),
        maybe("min_healthy", one_of(&["\"0%\"", "\"50%\"", "\"100%\""])),
        maybe("on_all_down", one_of(&["\"all\"", "\"none\"", "\"servfail\""])),
        maybe("affinity_prefix", one_of(&["{ v4 = 32 }", "{ v4 = 1, v6 = 128 }", "{}"])),
    );
    let realservers = (1usize..5).prop_flat_map(|n| (0..n).map(realserver).collect::<Vec<_>>());
    (keys, realservers)
        .prop_map(move |((a, b, c, d, e, f), realservers)| {
            format!("[pools.p{index}]\n{a}{b}{c}{d}{e}{f}realservers = [\n{}]\n", realservers.concat())
        })
        .boxed()
}

fn list() -> BoxedStrategy<String> {
    prop::sample::subsequence(vec!["\"p0\"", "\"p1\""], 0..=2)
        .prop_shuffle()
        .prop_map(|list| format!("[{}]", list.join(", ")))
        .boxed()
}

fn geo_pool() -> BoxedStrategy<String> {
    let places = (
        maybe("default", list()),
        maybe("europe", list()),
        maybe("US", list()),
        maybe("US-CA", list()),
        maybe("AS64500", list()),
    );
    let nets = (maybe("\"198.51.100.0/24\"", list()), maybe("\"::/0\"", list()));
    let answers = maybe("answers", one_of(&["2", "\"all\""]));
    let on_all_down = maybe("on_all_down", one_of(&["\"none\"", "\"servfail\""]));
    (places, nets, answers, on_all_down)
        .prop_map(|((a, b, c, d, e), (f, g), answers, on_all_down)| {
            format!(
                "[pools.geo]\nmembers = [\"p1\", \"p0\"]\n{answers}{on_all_down}\
                 [pools.geo.geo]\n{a}{b}{c}{d}{e}[pools.geo.nets]\n{f}{g}"
            )
        })
        .boxed()
}

/// A file without mistakes, all of its keys there or not.
fn valid() -> BoxedStrategy<String> {
    let dns = (
        maybe("listen", one_of(&["[]", "[\"192.0.2.53:53\"]"])),
        maybe("zones", one_of(&["\"z\"", "\"/etc/zones\""])),
        maybe("udp_workers", number(1..=256)),
        maybe("version", text()),
        maybe("nsid", text()),
    );
    let redirect = (
        maybe("listen", one_of(&["[]", "[\"127.0.0.1:8080\", \"[::1]:8080\"]"])),
        maybe("trusted_proxies", one_of(&["[]", "[\"10.0.0.0/8\", \"fd00::/8\"]"])),
        maybe("max_connections", number(1..=1_500_000)),
        maybe("idle_timeout", one_of(&["\"1ms\"", "\"365d\""])),
    );
    let rest = (
        maybe("listen", one_of(&["\"off\"", "\"127.0.0.1:9153\""])),
        maybe("user", text()),
        maybe("drain_timeout", one_of(&["\"1h\"", "\"90s\""])),
        maybe("scheduler", one_of(&["\"wrr\"", "\"source-hash\""])),
        maybe("connect_timeout", one_of(&["\"1s\""])),
        maybe("max_connections", number(1..=9)),
    );
    let tables = (check_table(0), check_table(1), leaf(0), leaf(1), geo_pool());
    (dns, redirect, rest, tables)
        .prop_map(|(dns, redirect, rest, (c0, c1, p0, p1, geo))| {
            let dns = format!("[dns]\n{}{}{}{}{}", dns.0, dns.1, dns.2, dns.3, dns.4);
            let redirect = format!("[redirect]\n{}{}{}{}", redirect.0, redirect.1, redirect.2, redirect.3);
            let (control, user, drain, scheduler, connect, most) = rest;
            format!(
                "version = 1\n{dns}{redirect}[control]\n{control}[process]\n{user}{drain}{c0}{c1}{geo}{p0}{p1}\
                 [pools.all]\nmembers = [\"geo\", \"p1\"]\n\
                 [listeners.l]\nbind = \"127.0.0.1:81\"\npool = \"p0\"\n{scheduler}{connect}{most}\
                 [listeners.m]\nbind = \"[::1]:81\"\npool = \"all\"\n"
            )
        })
        .boxed()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn printed_configuration_reads_as_the_same(toml in valid()) {
        let config = read(&toml);
        let printed = print(&config);
        prop_assert_eq!(read(&printed), config, "{}", printed);
    }

    #[test]
    fn arbitrary_text_is_never_a_panic(toml in "[\\[\\]a-z.=\"{}#\n ,0-9é\\\\-]{0,80}") {
        findings(&toml);
    }

    #[test]
    fn mangled_file_is_never_a_panic(
        toml in valid(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, "[\\[\\]a-z.=\"{}\n,0-9 -]{0,6}"), 1..4)
    ) {
        let mut characters: Vec<char> = toml.chars().collect();
        for (at, n_removed, inserted) in edits {
            let at = at.index(characters.len() + 1);
            let end = (at + n_removed).min(characters.len());
            characters.splice(at..end, inserted.chars());
        }
        findings(&characters.into_iter().collect::<String>());
    }

    /// A line of another place, at every place: types and tables meet keys that they do not belong to.
    #[test]
    fn lines_that_changed_places_are_never_a_panic(toml in valid(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let mut lines: Vec<&str> = toml.lines().collect();
        let line = lines.remove(from.index(lines.len()));
        lines.insert(to.index(lines.len() + 1), line);
        findings(&lines.join("\n"));
    }
}
