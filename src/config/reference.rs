//! Every key that an operator may write: where, what, its default and what it means.
//!
//! One list serves the check for unknown keys, the refusal of keys whose feature is not there yet, and the README's reference (a test
//! compares the two), so that none of the three can drift.

use std::fmt::Write as _;

/// One key of the configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The table it stands in; `NAME` stands for a name of the operator's, the top level is "".
    pub table: &'static str,
    /// The key itself; `NAME` where the operator chooses it.
    pub name: &'static str,
    /// What may be written.
    pub value: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// Whether its feature is still to come; then it is refused.
    pub is_later: bool,
}

const fn key(
    table: &'static str,
    name: &'static str,
    value: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { table, name, value, default, meaning, is_later: false }
}

const fn later(table: &'static str, name: &'static str, meaning: &'static str) -> Key {
    Key { table, name, value: "", default: "", meaning, is_later: true }
}

/// All keys, in the order in which the reference shows them.
pub const KEYS: &[Key] = &[
    key("", "version", "1", "required", "version of this format"),
    key("", "dns", "table", "no DNS", "authoritative DNS"),
    key("", "geoip", "table", "", "geo databases"),
    key("", "redirect", "table", "no redirector", "HTTP redirector"),
    key("", "control", "table", "", "command line socket, metrics and API"),
    key("", "state", "table", "", "what outlives a restart"),
    key("", "process", "table", "", "the process itself"),
    key("", "guards", "table", "", "what of the probes' findings is not believed"),
    key("", "checks", "tables by name", "", "how realservers are probed"),
    key("", "pools", "tables by name", "", "realservers, or pools, with a policy"),
    key("", "listeners", "tables by name", "", "L4 forwarding"),
    key("", "tsig", "tables by name", "", "keys that sign zone transfers"),
    key("", "secondaries", "tables by name of a zone", "", "zones that are copied from other servers"),
    key("dns", "listen", "list of `address:port`", "`[\"0.0.0.0:53\", \"[::]:53\"]`", "UDP and TCP on each"),
    key("dns", "zones", "folder", "`\"zones\"`", "every `*.zone` file in it is one zone"),
    key("dns", "udp_workers", "1 to 256", "one a core", "UDP threads, each with its own sockets"),
    key(
        "dns",
        "version",
        "text or `\"off\"`",
        "`\"fingerpost VERSION\"`",
        "answer to `CH TXT version.bind`; off refuses",
    ),
    key(
        "dns",
        "nsid",
        "text or `\"off\"`",
        "`\"off\"`",
        "answer to `CH TXT id.server` and to the NSID option (RFC 5001)",
    ),
    key(
        "dns",
        "allow_transfer",
        "list of `NETWORK`, `key:NAME` or `NETWORK key:NAME`",
        "`[]`",
        "who may transfer zones: by address, by signature (`[tsig.NAME]`), or only by both",
    ),
    key(
        "dns",
        "notify",
        "list of `ADDRESS[:PORT]` or `ADDRESS[:PORT] key:NAME`",
        "`[]`",
        "secondaries that are told when a zone has a new serial (NOTIFY)",
    ),
    key("dns", "cookies", "true or false", "`true`", "DNS cookies (RFC 7873, RFC 9018)"),
    key(
        "dns",
        "cookie_secret_file",
        "file",
        "a secret drawn at start",
        "one or two lines of 32 hexadecimal digits, shared by a set of servers: the secret in use, then the next or the previous one",
    ),
    key(
        "dns",
        "require_cookies",
        "true or false",
        "`false`",
        "UDP clients that know cookies get BADCOOKIE until they show a good one",
    ),
    key("dns", "rate_limit", "table", "nobody is limited", "response rate limiting"),
    key("dns", "encrypted", "table", "off", "DNS over TLS, HTTPS and QUIC"),
    key(
        "dns.rate_limit",
        "responses_per_second",
        "1 to 1000000",
        "`200`",
        "UDP answers of one kind about one name to one network without a good cookie",
    ),
    key("dns.rate_limit", "burst", "1 to 10000000", "twice `responses_per_second`", "the same at once after a pause"),
    key(
        "dns.rate_limit",
        "slip",
        "0 to 100",
        "`2`",
        "every so many limited answers one is sent as TC or BADCOOKIE, for those who are not forged; 0 is never",
    ),
    key("dns.rate_limit", "prefix_v4", "1 to 32", "`24`", "bits of an IPv4 address that make a network"),
    key("dns.rate_limit", "prefix_v6", "1 to 128", "`56`", "bits of an IPv6 address that make a network"),
    key("dns.rate_limit", "exempt", "list of networks", "`[]`", "never limited; at most 64"),
    key(
        "dns.rate_limit",
        "table_size",
        "1024 to 16777216",
        "`65536`",
        "buckets, of 8 octets each, for all networks together",
    ),
    key(
        "secondaries.NAME",
        "primaries",
        "list of `ADDRESS[:PORT]` or `ADDRESS[:PORT] key:NAME`",
        "required",
        "who has the zone, in the order in which they are asked; their NOTIFY is heeded",
    ),
    key(
        "secondaries.NAME",
        "key",
        "name of a key",
        "nothing is signed",
        "signs what goes to primaries that name no key",
    ),
    key(
        "tsig.NAME",
        "algorithm",
        "`hmac-sha256` `hmac-sha384` `hmac-sha512` `hmac-sha1`",
        "hmac-sha256",
        "as the other side has it; its name for the key must be NAME as well",
    ),
    key("tsig.NAME", "secret", "base64", "", "the shared secret; or write `secret_file`"),
    key("tsig.NAME", "secret_file", "file", "", "a file with the secret in base64; read again when it changes"),
    key("dns.encrypted", "tls", "list of `address:port`", "`[]`", "DNS over TLS (RFC 7858); its port is 853"),
    key(
        "dns.encrypted",
        "https",
        "list of `address:port`",
        "`[]`",
        "DNS over HTTPS (RFC 8484): HTTP/2 at `/dns-query`; its port is 443",
    ),
    key("dns.encrypted", "quic", "list of `address:port`", "`[]`", "DNS over QUIC (RFC 9250); its port is 853, of UDP"),
    key(
        "dns.encrypted",
        "certificate",
        "PEM file",
        "required",
        "the server's certificate, then its issuers'; read again when it changes",
    ),
    key("dns.encrypted", "key", "PEM file", "required", "its private key; the server's user must be able to read it"),
    key("geoip", "databases", "list of files", "`[]`", "MMDB files; later ones add what earlier ones lack"),
    key("redirect", "listen", "list of `address:port`", "`[\"0.0.0.0:80\", \"[::]:80\"]`", "HTTP/1.1 and h2c on each"),
    key("redirect", "trusted_proxies", "list of networks", "`[]`", "whose `X-Forwarded-For` is believed"),
    key(
        "redirect",
        "max_connections",
        "1 to 1500000",
        "`10000`",
        "connections at once; what is over it waits in the listen backlog",
    ),
    key(
        "redirect",
        "idle_timeout",
        "duration",
        "`\"30s\"`",
        "longest wait for a request's head, also between two requests",
    ),
    key(
        "redirect",
        "cookie_secret_file",
        "file",
        "a secret kept in `[state] dir`",
        "for `sticky` pools: one or two lines of 32 hexadecimal digits, shared by a set of redirectors: the secret in use, then the next or the previous one",
    ),
    later("redirect", "rules", "routing by content"),
    key(
        "control",
        "socket",
        "path",
        "`\"/run/fingerpost/control.sock\"`",
        "unix socket that the command line talks to; writes go through here only",
    ),
    key(
        "control",
        "listen",
        "`address:port` or `\"off\"`",
        "`\"off\"`",
        "`/metrics`, `/health` and the API over HTTP, read only",
    ),
    key("state", "dir", "folder", "`\"/var/lib/fingerpost\"`", "operators' overrides and last known health"),
    key(
        "guards",
        "freeze_above",
        "`\"1%\"` to `\"100%\"` or `\"off\"`",
        "`\"50%\"`",
        "if more of all probed addresses (at least 4) fall within one interval, this node's own network is blamed: they stay in service \
         until it is back or `fingerpost thaw`",
    ),
    key(
        "process",
        "user",
        "user name",
        "stays who it is",
        "user to become when started as root, once the sockets are bound",
    ),
    key("process", "drain_timeout", "duration", "`\"10s\"`", "how long open connections may go on after SIGTERM"),
    key(
        "checks.NAME",
        "type",
        "`tcp` `http` `https` `dns` `icmp` `grpc` `exec` `file` `all` `any` `at-least`",
        "required",
        "what a probe does; the last three are calculated from other checks",
    ),
    key(
        "checks.NAME",
        "interval",
        "duration",
        "`\"5s\"`; file: `\"1s\"`",
        "time between two probes, or up to a tenth less: they spread",
    ),
    key("checks.NAME", "timeout", "duration under `interval`", "`\"1s\"`", "longest time a probe may take"),
    key("checks.NAME", "rise", "1 to 1000", "`2`; file: `1`", "successes in a row to come up"),
    key("checks.NAME", "fall", "1 to 1000", "`3`; file: `1`", "failures to go down, in a row or not"),
    key("checks.NAME", "forgive", "1 to 1000", "as `fall`", "successes in a row after which failures are forgotten"),
    key(
        "checks.NAME",
        "passive",
        "true or false",
        "`true`",
        "whether a connection that a listener could not make counts as a failure, at most one an interval",
    ),
    key(
        "checks.NAME",
        "refused_is_down",
        "true or false",
        "`false`",
        "tcp, http, https, grpc: a refused connection brings down at once, whatever `fall` says",
    ),
    key("checks.NAME", "address", "address", "the realserver's", "address to probe instead"),
    key(
        "checks.NAME",
        "port",
        "1 to 65535",
        "the realserver's, else 80 for http, 443 for https; 53 for dns",
        "port to probe instead",
    ),
    key("checks.NAME", "send", "text", "nothing", "tcp: said first; `\\r` `\\n` `\\t` `\\0` `\\\\` `\\xHH` are octets"),
    key(
        "checks.NAME",
        "expect",
        "text or `/regex/`",
        "an open connection",
        "tcp: must be heard, within the first 64 KiB; escapes as in `send`",
    ),
    key(
        "checks.NAME",
        "path",
        "path and query; file: a file",
        "`\"/\"`; file: required",
        "http and https: what is requested; file: the state file",
    ),
    key("checks.NAME", "host", "host name", "the address", "http, https, grpc: the `Host` header or `:authority`"),
    key(
        "checks.NAME",
        "method",
        "`GET` `HEAD` `OPTIONS` `POST` `PUT` `TRACE`",
        "`\"GET\"`",
        "http and https: request method; no body is sent",
    ),
    key("checks.NAME", "headers", "table", "", "http and https: further request headers"),
    key(
        "checks.NAME",
        "expect_status",
        "list of `\"200\"` or `\"200-299\"`",
        "`[\"200-299\"]`",
        "http and https: what is a success; redirects are not followed",
    ),
    key(
        "checks.NAME",
        "expect_body",
        "text or `/regex/`",
        "the body is not read",
        "http and https: must be in the body, within its first `body_max`",
    ),
    key(
        "checks.NAME",
        "body_max",
        "`\"1B\"` to `\"1MiB\"`",
        "`\"64KiB\"`",
        "http and https: how much of the body is read",
    ),
    key("checks.NAME", "tls", "true or false", "`false`", "tcp and grpc: over TLS"),
    key("checks.NAME", "verify", "true or false", "`true`", "TLS: whether the certificate must be valid"),
    key("checks.NAME", "sni", "host name", "`host`, else the address", "TLS: server name sent and verified"),
    key("checks.NAME", "ca", "PEM file", "the system's roots", "TLS: roots trusted beside the system's"),
    key(
        "checks.NAME",
        "expiry_warning",
        "duration or `\"off\"`",
        "`\"14d\"`",
        "TLS: a certificate that ends sooner is warned of; it is no failure",
    ),
    key("checks.NAME", "query", "`NAME` or `NAME TYPE`", "required", "dns: what is asked for, over UDP"),
    key(
        "checks.NAME",
        "expect_rcode",
        "`NOERROR` `NXDOMAIN` `SERVFAIL` `REFUSED` `NOTIMP` `FORMERR`",
        "`\"NOERROR\"`",
        "dns: response code that is a success",
    ),
    key("checks.NAME", "expect_address", "list of addresses", "any answer", "dns: one of them must be in the answer"),
    key("checks.NAME", "service", "text", "`\"\"`: the server", "grpc: whom the health service is asked about"),
    key(
        "checks.NAME",
        "command",
        "list: program, arguments",
        "required",
        "exec: success is exit status 0; no shell; a relative path is one from this file's folder",
    ),
    key("checks.NAME", "checks", "list of checks", "required", "all, any, at-least: calculated from these"),
    key("checks.NAME", "at_least", "1 to 255", "required", "at-least: how many of them must be up"),
    key("checks.NAME.headers", "HEADER", "text", "", "value of this header"),
    key(
        "pools.NAME",
        "policy",
        "`wrr` `random` `source-hash` `failover` `nearest` `geo`",
        "`wrr`; `failover` with `members`",
        "how realservers (all but `geo`) or pools (the last three) are ordered",
    ),
    key("pools.NAME", "realservers", "list of tables", "", "who serves; a pool has this or `members`"),
    key(
        "pools.NAME",
        "members",
        "list of pools",
        "those that `geo` and `nets` name",
        "pools that are asked in order; a failed one is passed over",
    ),
    key("pools.NAME", "check", "name of a check", "counts as up", "how its realservers are probed"),
    key(
        "pools.NAME",
        "answers",
        "1 to 64 or `\"all\"`",
        "`1`",
        "addresses in one DNS answer; in a pool of pools it overrules theirs",
    ),
    key(
        "pools.NAME",
        "min_healthy",
        "`\"0%\"` to `\"100%\"`",
        "`\"0%\"`",
        "by weight of its realservers; below it the pool above passes this one over",
    ),
    key(
        "pools.NAME",
        "on_all_down",
        "`all` `none` `servfail`",
        "`\"all\"`",
        "nobody eligible: everyone ready, nobody, or SERVFAIL; in a pool of pools it overrules theirs",
    ),
    key(
        "pools.NAME",
        "ramp",
        "duration",
        "the whole weight at once",
        "slow start: the weight of who has come up grows from a tenth to the whole meanwhile; not for `source-hash` and `failover`",
    ),
    key(
        "pools.NAME",
        "affinity_prefix",
        "`{ v4 = 24, v6 = 56 }`",
        "`{ v4 = 24, v6 = 56 }`",
        "source-hash: the part of the client's address that is its key",
    ),
    key("pools.NAME", "geo", "table", "", "policy geo: ordered lists of pools by place"),
    key("pools.NAME", "nets", "table", "", "policy geo: ordered lists of pools by network; beats places"),
    key(
        "pools.NAME",
        "min_ttl",
        "duration",
        "the zone's TTL",
        "makes the TTL follow the time in which health could next change the answer, from this to the zone's; in a pool of pools for \
         all that it leads to",
    ),
    key(
        "pools.NAME",
        "max_leave",
        "`\"1%\"` to `\"100%\"`",
        "`\"100%\"`",
        "by weight, how many realservers may go down within one interval, but always one; the others stay in service and follow in the \
         next",
    ),
    key(
        "pools.NAME",
        "location",
        "`[latitude, longitude]`",
        "its first realserver's that is known",
        "degrees north and east; for a `nearest` pool that this one is a member of",
    ),
    key(
        "pools.NAME",
        "default",
        "list of members",
        "pools: `members` in order; realservers: all",
        "policy nearest: who serves clients of unknown place, before all others",
    ),
    key(
        "pools.NAME",
        "exclude",
        "list of places",
        "nobody",
        "clients that are not served here: `KP`, `US-CA`, `AS64500`, a continent; by the geo databases",
    ),
    key(
        "pools.NAME",
        "on_excluded",
        "`refused` or a pool",
        "refused",
        "what they get: REFUSED, 403, a reset connection; or what that pool gives",
    ),
    key(
        "pools.NAME",
        "sticky",
        "`cookie` `off`",
        "`\"off\"`",
        "the redirector keeps a client at its realserver as long as that is eligible",
    ),
    key(
        "pools.NAME",
        "sticky_for",
        "duration",
        "an hour",
        "how long the cookie holds; renewed when half of it has passed",
    ),
    key(
        "pools.NAME",
        "capacity",
        "1 to 1000000000000",
        "the sum of its realservers', if all have one",
        "load that its realservers can carry together, in any unit; for `fingerpost plan` alone",
    ),
    key("pools.NAME.affinity_prefix", "v4", "1 to 32", "`24`", "bits of an IPv4 address"),
    key("pools.NAME.affinity_prefix", "v6", "1 to 128", "`56`", "bits of an IPv6 address"),
    key(
        "pools.NAME.geo",
        "PLACE",
        "list of pools",
        "`default`: the members in order",
        "`AS64500`, `US-CA`, `US`, a continent or `default`; the most specific wins",
    ),
    key("pools.NAME.nets", "NETWORK", "list of pools", "", "the longest prefix wins"),
    key("pools.NAME.realservers", "name", "letters, digits, `-`, `_`, `.`", "required", "unique in its pool"),
    key(
        "pools.NAME.realservers",
        "address",
        "address, or one of each family",
        "required",
        "what is answered, connected to and probed",
    ),
    key("pools.NAME.realservers", "port", "1 to 65535", "", "port of the service; listeners and tcp checks need it"),
    key("pools.NAME.realservers", "weight", "1 to 65535", "`1`", "share of traffic"),
    key(
        "pools.NAME.realservers",
        "url",
        "`http://…` or `https://…`",
        "`http://address[:port]`",
        "where the redirector sends browsers",
    ),
    key("pools.NAME.realservers", "check_address", "address", "the check's, else its own", "address to probe instead"),
    key("pools.NAME.realservers", "check_port", "1 to 65535", "the check's, else its own", "port to probe instead"),
    key(
        "pools.NAME.realservers",
        "location",
        "`[latitude, longitude]`",
        "its address's, by the geo databases",
        "policy nearest: degrees north and east",
    ),
    key("pools.NAME.realservers", "capacity", "1 to 1000000000000", "", "load that it can carry, as for the pool"),
    key("listeners.NAME", "bind", "`address:port`", "required", "where it accepts"),
    key("listeners.NAME", "protocol", "`tcp`", "`\"tcp\"`", "`udp` comes later"),
    key("listeners.NAME", "pool", "name of a pool", "required", "where it forwards to"),
    key(
        "listeners.NAME",
        "scheduler",
        "`wrr` `source-hash`",
        "the pool's policy",
        "replaces the pool's policy; `least-connections` comes later",
    ),
    key(
        "listeners.NAME",
        "forward",
        "`proxy`",
        "`\"proxy\"`",
        "user space; the kernel's `nat`, `direct-routing` and `tunnel` come later",
    ),
    key(
        "listeners.NAME",
        "idle_timeout",
        "duration",
        "`\"5m\"`",
        "longest time without data in either direction; then FIN to both",
    ),
    key("listeners.NAME", "connect_timeout", "duration", "`\"2s\"`", "then the next realserver is tried"),
    key("listeners.NAME", "max_connections", "1 to 1500000", "`10000`", "what is over it waits in the listen backlog"),
    key("listeners.NAME", "proxy_protocol", "`off`", "`\"off\"`", "`v1` and `v2` come later"),
    later("listeners.NAME", "sni", "routing by SNI"),
    later("listeners.NAME", "source", "transparent forwarding"),
    later("listeners.NAME", "existing", "closing connections of realservers that went down"),
    later("listeners.NAME", "on_full", "refusing at the limit"),
    later("listeners.NAME", "retries", "a limit to the realservers tried"),
];

/// The keys of one table.
pub fn keys_of(table: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.table == table)
}

/// The reference as Markdown, one table of keys for each table of the file.
pub fn markdown() -> String {
    let mut text = String::new();
    let mut tables: Vec<&str> = KEYS.iter().map(|key| key.table).collect();
    tables.dedup();
    for table in tables {
        let title = match table {
            "" => "Top level".to_owned(),
            "pools.NAME.realservers" => "each of `realservers`".to_owned(),
            _ => format!("`[{table}]`"),
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "**{title}**\n\n| key | value | default | meaning |\n|---|---|---|---|\n");
        for key in keys_of(table).filter(|key| !key.is_later) {
            let _ = writeln!(text, "| `{}` | {} | {} | {} |", key.name, key.value, key.default, key.meaning);
        }
        let later: Vec<String> =
            keys_of(table).filter(|key| key.is_later).map(|key| format!("`{}`", key.name)).collect();
        if !later.is_empty() {
            let _ = write!(text, "\nRefused until their features are there: {}.\n", later.join(", "));
        }
        text.push('\n');
    }
    text
}
