//! Reads what `[dns]` says against forged and too many queries: cookies and rate limits.

use std::path::Path;

use super::{Cookies, RateLimit, file::read_network, reader::Table};

/// Networks that may be exempt: each is compared with every query that has no good cookie.
const EXEMPT_MAX: usize = 64;

/// `cookies`, `cookie_secret_file` and `require_cookies`.
pub(super) fn read_cookies(dns: Table<'_>, folder: &Path) -> Option<Cookies> {
    let is_on = dns.get("cookies").and_then(|value| value.boolean()).unwrap_or(true);
    let secret_file = dns.get("cookie_secret_file");
    let are_required = dns.get("require_cookies");
    if !is_on {
        for (name, value) in [("cookie_secret_file", secret_file), ("require_cookies", are_required)] {
            if let Some(value) = value {
                value.reject(format!("`{name}` needs `cookies = true`"), "remove one of the two lines");
            }
        }
        return None;
    }
    Some(Cookies {
        secret_file: secret_file.and_then(|value| value.string()).map(|path| folder.join(path)),
        are_required: are_required.and_then(|value| value.boolean()).unwrap_or(false),
    })
}

/// `[dns.rate_limit]`; absent, nobody is limited.
pub(super) fn read_rate_limit(dns: Table<'_>) -> Option<RateLimit> {
    let table = dns.get("rate_limit")?.table("dns.rate_limit")?;
    let default = RateLimit::default();
    let integer = |name, least: u32, most: u32, default| {
        table.get(name).and_then(|value| value.integer(least..=most)).unwrap_or(default)
    };
    let responses_per_second = integer("responses_per_second", 1, 1_000_000, default.responses_per_second);
    let prefix = |name, most: u8, default| table.get(name).and_then(|value| value.integer(1..=most)).unwrap_or(default);
    let exempt = table.get("exempt").and_then(|value| {
        let networks = value.list(|element| read_network(element, element.string()?))?;
        if networks.len() > EXEMPT_MAX {
            let hint = "list larger networks; clients with cookies are exempt without being named";
            value.reject(format!("`exempt` has more than {EXEMPT_MAX} networks"), hint);
        }
        Some(networks)
    });
    Some(RateLimit {
        responses_per_second,
        burst: integer("burst", 1, 10_000_000, 2 * responses_per_second),
        slip: table.get("slip").and_then(|value| value.integer(0..=100)).unwrap_or(default.slip),
        prefix_v4: prefix("prefix_v4", 32, default.prefix_v4),
        prefix_v6: prefix("prefix_v6", 128, default.prefix_v6),
        exempt: exempt.unwrap_or_default(),
        table_size: table
            .get("table_size")
            .and_then(|value| value.integer(1024..=16_777_216))
            .unwrap_or(default.table_size),
    })
}
