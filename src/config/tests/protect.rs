//! Cookies and rate limits.

use std::path::PathBuf;

use super::{Cookies, RateLimit, check, read};

#[test]
fn cookies_are_on_and_nobody_is_limited_unless_told_otherwise() {
    let config = read("version = 1\n[dns]\n");
    assert_eq!(config.dns.cookies, Some(Cookies::default()));
    assert_eq!(config.dns.rate_limit, None);
    let config = read("version = 1\n[dns]\ncookies = false\n[dns.rate_limit]\n");
    assert_eq!(config.dns.cookies, None);
    assert_eq!(config.dns.rate_limit, Some(RateLimit::default()));
    let config = read("version = 1\n[dns]\ncookie_secret_file = \"secrets\"\nrequire_cookies = true\n");
    let cookies = Cookies { secret_file: Some(PathBuf::from("secrets")), are_required: true };
    assert_eq!(config.dns.cookies, Some(cookies));
    let limit = read("version = 1\n[dns.rate_limit]\nresponses_per_second = 5\n").dns.rate_limit;
    assert_eq!(limit.map(|limit| (limit.responses_per_second, limit.burst)), Some((5, 10)));
}

#[test]
fn protection_that_is_none_is_refused() {
    check(
        r#"
version = 1
[dns]
cookies = false
require_cookies = true
[dns.rate_limit]
responses_per_second = 0
slip = -1
prefix_v4 = 33
exempt = ["192.0.2.1", "192.0.2.1/24"]
per_second = 5
"#,
        r#"
error: `require_cookies` needs `cookies = true`
 --> fingerpost.toml:4:19
  |
4 | require_cookies = true
  |                   ^^^^
hint: remove one of the two lines

error: `responses_per_second` must be between 1 and 1000000
 --> fingerpost.toml:6:24
  |
6 | responses_per_second = 0
  |                        ^

error: `slip` must be between 0 and 100
 --> fingerpost.toml:7:8
  |
7 | slip = -1
  |        ^^

error: `prefix_v4` must be between 1 and 32
 --> fingerpost.toml:8:13
  |
8 | prefix_v4 = 33
  |             ^^

error: `192.0.2.1` is not a network
 --> fingerpost.toml:9:11
  |
9 | exempt = ["192.0.2.1", "192.0.2.1/24"]
  |           ^^^^^^^^^^^
hint: for this address alone write `192.0.2.1/32`

error: `192.0.2.1/24` has bits beyond its prefix
 --> fingerpost.toml:9:24
  |
9 | exempt = ["192.0.2.1", "192.0.2.1/24"]
  |                        ^^^^^^^^^^^^^^
hint: did you mean `192.0.2.0/24`?

error: unknown key `per_second` in `[dns.rate_limit]`
  --> fingerpost.toml:10:1
   |
10 | per_second = 5
   | ^^^^^^^^^^
hint: known here: `responses_per_second`, `burst`, `slip`, `prefix_v4`, `prefix_v6`, `exempt`, `table_size`
"#,
    );
}
