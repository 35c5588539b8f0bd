//! What is said of mistakes in pools and of names that lead to none.

use super::{check, findings, read};

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

error: unknown geo key `us-ca`
  --> fingerpost.toml:13:1
   |
13 | us-ca = ["web-eu"]
   | ^^^^^
hint: did you mean `US-CA`?

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
hint: take one of them out of the `members`, `geo`, `nets` or `on_excluded` of the one before it

error: pools go in a circle: `self` → `self`
  --> fingerpost.toml:10:8
   |
10 | [pools.self]
   |        ^^^^
hint: take one of them out of the `members`, `geo`, `nets` or `on_excluded` of the one before it
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
hint: for pools there are `failover`, `geo` and `nearest`

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
