//! What is said of mistakes about places: locations, defaults, exclusions; and of cookies.

use super::{super::*, check, read};

#[test]
fn nearest_exclude_and_sticky_read_with_their_defaults() {
    let config = read(
        r#"
version = 1
[geoip]
databases = ["city.mmdb"]
[pools.flat]
policy = "nearest"
default = ["b"]
exclude = ["KP", "US-CA", "asia", "AS64500"]
realservers = [
  { name = "a", address = "192.0.2.1", location = [52, -4.25] },
  { name = "b", address = "192.0.2.2" },
]
[pools.top]
policy = "nearest"
members = ["flat", "web"]
sticky = "cookie"
[pools.web]
location = [-90, 180]
exclude = ["CU"]
on_excluded = "flat"
sticky = "cookie"
sticky_for = "10m"
realservers = [{ name = "a", address = "192.0.2.1" }]
"#,
    );
    let [flat, top, web] = &*config.pools else { panic!("three pools") };
    let Members::Realservers { policy: Policy::Nearest, realservers, default, .. } = &flat.members else {
        panic!("{flat:?}");
    };
    assert_eq!((realservers[0].location, realservers[1].location), (geo::Coordinates::new(52.0, -4.25), None));
    assert_eq!(*default, [1]);
    let exclusion = flat.exclusion.as_ref().expect("somebody");
    let places: Vec<String> = exclusion.places.iter().map(ToString::to_string).collect();
    assert_eq!((places.join(" "), exclusion.to), ("KP US-CA asia AS64500".to_owned(), OnExcluded::Refused));
    assert_eq!(web.exclusion.as_ref().map(|exclusion| exclusion.to), Some(OnExcluded::Pool(0)));
    let Members::Pools { policy: PoolsPolicy::Nearest { default }, .. } = &top.members else { panic!("{top:?}") };
    assert_eq!(*default, [0, 2], "the members in order");
    assert_eq!((web.location, web.sticky), (geo::Coordinates::new(-90.0, 180.0), Some(Duration::from_secs(600))));
    assert_eq!((flat.sticky, top.sticky), (None, Some(Duration::from_secs(3600))));
    assert_eq!(read(&print(&config)), config);
}

#[test]
fn mistakes_about_places_are_told_where_they_are() {
    check(
        r#"
version = 1
[geoip]
databases = ["city.mmdb"]
[pools.a]
policy = "nearest"
location = [91, 0]
default = ["x", "y", "x"]
realservers = [
  { name = "x", address = "192.0.2.1", location = [1, 2, 3] },
  { name = "z", address = "192.0.2.2", location = "52.4,4.9" },
  { name = "w", address = "192.0.2.3", location = [1, "2"] },
]
[pools.b]
policy = "nearest"
members = ["c"]
default = ["a"]
on_excluded = "a"
[pools.c]
default = ["x"]
exclude = ["default", "UK", "KP"]
on_excluded = "refuse"
sticky_for = "1h"
realservers = [{ name = "x", address = "192.0.2.1" }]
[pools.d]
exclude = []
sticky = "header"
realservers = [{ name = "x", address = "192.0.2.1" }]
"#,
        r#"
error: `location` is a latitude and a longitude
 --> fingerpost.toml:6:12
  |
6 | location = [91, 0]
  |            ^^^^^^^
hint: degrees north (-90 to 90), then degrees east (-180 to 180), such as `[52.37, 4.90]`

error: this pool has no realserver `y`
 --> fingerpost.toml:7:17
  |
7 | default = ["x", "y", "x"]
  |                 ^^^
hint: did you mean `x`?

error: this one is in the list twice
 --> fingerpost.toml:7:22
  |
7 | default = ["x", "y", "x"]
  |                      ^^^
hint: remove one of the two

error: `location` is a latitude and a longitude
 --> fingerpost.toml:9:51
  |
9 |   { name = "x", address = "192.0.2.1", location = [1, 2, 3] },
  |                                                   ^^^^^^^^^
hint: degrees north (-90 to 90), then degrees east (-180 to 180), such as `[52.37, 4.90]`

error: `location` must be a list, this is a string
  --> fingerpost.toml:10:51
   |
10 |   { name = "z", address = "192.0.2.2", location = "52.4,4.9" },
   |                                                   ^^^^^^^^^^
hint: put it in brackets: `[ … ]`

error: each of `location` must be a number of degrees, this is a string
  --> fingerpost.toml:11:55
   |
11 |   { name = "w", address = "192.0.2.3", location = [1, "2"] },
   |                                                       ^^^

error: `a` is not among this pool's `members`
  --> fingerpost.toml:16:12
   |
16 | default = ["a"]
   |            ^^^
hint: add it there

error: nobody is excluded here
  --> fingerpost.toml:17:15
   |
17 | on_excluded = "a"
   |               ^^^
hint: add `exclude`, such as `exclude = ["KP"]`

error: `default` belongs to policy `nearest`
  --> fingerpost.toml:19:11
   |
19 | default = ["x"]
   |           ^^^^^
hint: for policy `geo` it stands in the table `geo`; other policies do not ask where a client is

error: `default` would exclude everybody
  --> fingerpost.toml:20:12
   |
20 | exclude = ["default", "UK", "KP"]
   |            ^^^^^^^^^
hint: name places, such as `KP`, `asia` or `AS64500`

error: unknown country code `UK`
  --> fingerpost.toml:20:23
   |
20 | exclude = ["default", "UK", "KP"]
   |                       ^^^^
hint: did you mean `GB`?

error: `refuse` is neither `refused` nor a pool
  --> fingerpost.toml:21:15
   |
21 | on_excluded = "refuse"
   |               ^^^^^^^^
hint: did you mean `refused`?

error: nobody is kept here
  --> fingerpost.toml:22:14
   |
22 | sticky_for = "1h"
   |              ^^^^
hint: add `sticky = "cookie"`

error: an empty list excludes nobody
  --> fingerpost.toml:25:11
   |
25 | exclude = []
   |           ^^
hint: name places, or remove the line

error: `header` is not a value of `sticky`
  --> fingerpost.toml:26:10
   |
26 | sticky = "header"
   |          ^^^^^^^^
hint: known here: `cookie`, `off`
"#,
    );
}

#[test]
fn places_need_databases() {
    check(
        r#"
version = 1
[pools.a]
policy = "nearest"
exclude = ["KP"]
realservers = [{ name = "x", address = "192.0.2.1", location = [1, 2] }]
"#,
        r#"
error: `policy = "nearest"` needs geo databases, and this file names none
 --> fingerpost.toml:3:10
  |
3 | policy = "nearest"
  |          ^^^^^^^^^
hint: add `[geoip]` with `databases = [ … ]`; nearest needs a city database, with coordinates

error: `exclude` needs geo databases, and this file names none
 --> fingerpost.toml:4:11
  |
4 | exclude = ["KP"]
  |           ^^^^^^
hint: add `[geoip]` with `databases = [ … ]`; nearest needs a city database, with coordinates
"#,
    );
}

#[test]
fn pool_for_the_excluded_may_not_lead_back() {
    check(
        r#"
version = 1
[geoip]
databases = ["country.mmdb"]
[pools.a]
exclude = ["KP"]
on_excluded = "b"
realservers = [{ name = "x", address = "192.0.2.1" }]
[pools.b]
members = ["a", "c"]
[pools.c]
realservers = [{ name = "x", address = "192.0.2.1" }]
"#,
        r#"
error: pools go in a circle: `a` → `b` → `a`
 --> fingerpost.toml:4:8
  |
4 | [pools.a]
  |        ^
hint: take one of them out of the `members`, `geo`, `nets` or `on_excluded` of the one before it
"#,
    );
}
