//! What is said of mistakes anywhere but in pools.

use super::{EXAMPLE, check, findings};

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
hint: known here: `type`, `interval`, `timeout`, `rise`, `fall`, `forgive`, `passive`, `refused_is_down`, `address`, `port`, `send`, `expect`, `path`, `host`, `method`, `headers` and 15 more

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
[pools.web]
realservers = [{ name = "a", address = "192.0.2.1", port = 80 }]
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
error: `protocol = "udp"` is not supported yet: it comes with a later version
 --> fingerpost.toml:7:12
  |
7 | protocol = "udp"
  |            ^^^^^
hint: supported: `tcp`

error: `scheduler = "least-connections"` is not supported yet: it comes with a later version
 --> fingerpost.toml:9:13
  |
9 | scheduler = "least-connections"
  |             ^^^^^^^^^^^^^^^^^^^
hint: supported: `wrr`, `source-hash`

error: `proxy_protocol = "v2"` is not supported yet: it comes with a later version
  --> fingerpost.toml:10:18
   |
10 | proxy_protocol = "v2"
   |                  ^^^^
hint: supported: `off`

error: `forward = "nat"` is not supported yet: forwarding in the kernel comes with a later version
  --> fingerpost.toml:11:11
   |
11 | forward = "nat"
   |           ^^^^^
hint: write `proxy`, or remove the line: it carries clients of either address family to realservers of either

error: `sni` is not supported yet: routing by SNI comes with a later version
  --> fingerpost.toml:12:1
   |
12 | sni = ["example.org"]
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
[listeners.beside-a-wildcard]
bind = "192.0.2.3:53"
pool = "web"
[listeners.wildcard-beside-one]
bind = "0.0.0.0:53"
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

error: `0.0.0.0:53` is bound twice, here and in line 3
  --> fingerpost.toml:36:8
   |
36 | bind = "0.0.0.0:53"
   |        ^^^^^^^^^^^^
hint: an address and port can be bound once, and `0.0.0.0` or `[::]` takes all of its family
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
hint: remove it, or change `type`: it belongs to `http`, `https`, `file`

error: a check of type `http` has no `verify`
 --> fingerpost.toml:7:10
  |
7 | verify = false
  |          ^^^^^
hint: remove it, or change `type`: it belongs to `tcp`, `https`, `grpc`

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
hint: known here: `policy`, `realservers`, `members`, `check`, `answers`, `min_healthy`, `on_all_down`, `ramp`, `affinity_prefix`, `geo`, `nets`, `min_ttl`, `max_leave`, `location`, `default`, `exclude` and 4 more
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

error: listener `web` forwards to pool `web-eu`, where `ams-b`, `ams-c` have no port
  --> fingerpost.toml:51:8
   |
51 | pool = "web-eu"
   |        ^^^^^^^^
hint: add `port` there: the port that the service has
"#,
    );
}

#[test]
fn endless_mistakes_are_counted_in_the_end() {
    let toml = format!("version = 1\n[pools.p]\nrealservers = [\n{}]\n", "{ name = 3, address = 4 },\n".repeat(2000));
    let found = findings(&toml);
    assert!(found.ends_with("\n\nerror: and 3000 more findings like these"), "{}", &found[found.len() - 200..]);
}

#[test]
fn secondaries_need_a_name_and_primaries() {
    check(
        r#"
version = 1
[dns]
listen = []
notify = ["ns2.example.org", "0.0.0.0"]
[secondaries."example.org"]
[secondaries."example.com"]
primaries = []
key = "xfr"
[secondaries."a..b"]
primaries = ["192.0.2.1"]
[secondaries."example.net"]
primaries = ["192.0.2.1", "192.0.2.2:53 key:xfr"]
primary = "192.0.2.3"
"#,
        r#"
error: `ns2.example.org` is no address of a nameserver
 --> fingerpost.toml:4:11
  |
4 | notify = ["ns2.example.org", "0.0.0.0"]
  |           ^^^^^^^^^^^^^^^^^
hint: such as `192.0.2.54`, `192.0.2.54:5300`, `[2001:db8::54]:53` or `192.0.2.54 key:NAME`

error: `0.0.0.0` is no address of a nameserver
 --> fingerpost.toml:4:30
  |
4 | notify = ["ns2.example.org", "0.0.0.0"]
  |                              ^^^^^^^^^
hint: such as `192.0.2.54`, `192.0.2.54:5300`, `[2001:db8::54]:53` or `192.0.2.54 key:NAME`

error: `primaries` is missing in this secondary zone
 --> fingerpost.toml:5:1
  |
5 | [secondaries."example.org"]
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^
hint: such as `primaries = ["192.0.2.1"]`

error: unknown key `xfr`
 --> fingerpost.toml:8:7
  |
8 | key = "xfr"
  |       ^^^^^
hint: this file has no keys

error: `a..b` is not the name of a zone: name has an empty label
 --> fingerpost.toml:9:14
  |
9 | [secondaries."a..b"]
  |              ^^^^^^
hint: such as `[secondaries."example.org"]`

error: unknown key `xfr`
  --> fingerpost.toml:12:27
   |
12 | primaries = ["192.0.2.1", "192.0.2.2:53 key:xfr"]
   |                           ^^^^^^^^^^^^^^^^^^^^^^
hint: this file has no keys

error: unknown key `primary` in this secondary zone
  --> fingerpost.toml:13:1
   |
13 | primary = "192.0.2.3"
   | ^^^^^^^
hint: did you mean `primaries`?
"#,
    );
}

#[test]
fn guards_that_make_no_sense() {
    check(
        r#"
version = 1
[guards]
freeze_above = "0%"
[pools.a]
max_leave = "0%"
min_ttl = "1500ms"
realservers = [{ name = "a", address = "192.0.2.1" }]
[pools.all]
members = ["a"]
max_leave = "30%"
"#,
        r#"
error: a percentage is expected here, from `"1%"` to `"100%"`
 --> fingerpost.toml:3:16
  |
3 | freeze_above = "0%"
  |                ^^^^
hint: such as `"50%"`

error: a percentage is expected here, from `"1%"` to `"100%"`
 --> fingerpost.toml:5:13
  |
5 | max_leave = "0%"
  |             ^^^^
hint: such as `"50%"`

error: a TTL is a number of whole seconds, at least one
 --> fingerpost.toml:6:11
  |
6 | min_ttl = "1500ms"
  |           ^^^^^^^^
hint: such as `"10s"`

error: `max_leave` belongs to a pool of realservers
  --> fingerpost.toml:10:13
   |
10 | max_leave = "30%"
   |             ^^^^^
hint: set it in each of the pools that this one leads to
"#,
    );
}
