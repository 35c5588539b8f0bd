//! Where an HTTP request is sent: the host names a pool through our zones, the pool gives a realserver, and `Location` is its URL followed by
//! the request's path and query as they came.
//!
//! Pure: no socket, no log, no counter. Nothing of a request but its path and query gets into `Location`, behind a URL that an operator
//! configured, so a request can neither choose another host nor end the header (RFC 9110 §15.4, RFC 9112 §3.2).

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hyper::{Method, StatusCode, Version};
use ipnet::IpNet;

use super::{
    host::{Host, WireName},
    sticky,
};
use crate::{
    select::{Client, Ranked, Turn, Via, WhenEmpty, select},
    snapshot::{Realserver, Snapshot},
    types::{Family, PoolId},
    zone::{Found, rtype},
};

/// CNAMEs and DNAMEs from the host to a POOL name, at most.
const CHAIN_MAX: usize = 16;
/// Entries of `X-Forwarded-For` that are looked at, from the right.
const FORWARDED_FOR_MAX: usize = 64;
/// `http://`, the longest IPv6 address in brackets, `:` and a port.
const ADDRESS_URL_MAX: usize = 7 + 41 + 6;

/// What of an HTTP request the decision depends on, as it came.
#[derive(Clone, Debug)]
pub struct Request<'r> {
    /// Decides between 302 and 307 only.
    pub method: &'r Method,
    /// Decides what `Host` must be.
    pub version: Version,
    /// Authority of an absolute-form target, or `:authority`.
    pub authority: Option<&'r [u8]>,
    /// Path and query of the target; `None` where it has neither, as in a CONNECT.
    pub path_and_query: Option<&'r [u8]>,
    /// Every `Host` value.
    pub hosts: &'r [&'r [u8]],
    /// Every `X-Forwarded-For` value, in the order of the lines.
    pub forwarded_for: &'r [&'r [u8]],
    /// Every `X-Forwarded-Proto` value, in the order of the lines.
    pub forwarded_proto: &'r [&'r [u8]],
    /// Every `Cookie` value.
    pub cookies: &'r [&'r [u8]],
    /// The socket's other end.
    pub peer: IpAddr,
    /// When it came, since 1970.
    pub received: Duration,
}

/// What is answered.
#[derive(Debug)]
pub enum Decision<'s> {
    /// Go there.
    Send(Redirect<'s>),
    /// Nowhere to go.
    Refuse(Refusal),
}

/// A redirect.
#[derive(Debug)]
pub struct Redirect<'s> {
    /// 302 for GET and HEAD, else 307, which keeps method and body (RFC 9110 §15.4.8).
    pub status: StatusCode,
    /// Value of `Location`: a configured URL or address, `/`, and only visible ASCII.
    pub location: String,
    /// Who is meant.
    pub chosen: Ranked<'s>,
    /// Whether nobody was eligible and this one is there by fail-open.
    pub is_degraded: bool,
    /// Value of `Set-Cookie`: a new cookie of a sticky pool, or one that was shown and is to hold on.
    pub set_cookie: Option<String>,
}

/// Why a request is not sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No host, in HTTP/1 also where the target has one (RFC 9112 §3.2).
    HostMissing,
    /// More than one `Host`.
    HostRepeated,
    /// A host that is neither a host name nor an address.
    HostMalformed,
    /// `:authority` and `Host` of an HTTP/2 request are not the same host (RFC 9113 §8.3.1).
    HostsDiffer,
    /// A target without a path (`*`, CONNECT), or with bytes that a target cannot have.
    Target,
    /// The host is not a name that we hand to a pool.
    NoPool,
    /// Nobody is eligible and the pool does not fail open.
    Nobody,
    /// The pool does not serve clients from there.
    Excluded,
}

impl Refusal {
    /// The status code that says it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::HostMissing | Self::HostRepeated | Self::HostMalformed | Self::HostsDiffer | Self::Target => {
                StatusCode::BAD_REQUEST
            }
            Self::NoPool => StatusCode::MISDIRECTED_REQUEST,
            Self::Nobody => StatusCode::SERVICE_UNAVAILABLE,
            Self::Excluded => StatusCode::FORBIDDEN,
        }
    }

    /// One line for whoever sent the request.
    pub fn message(self) -> &'static str {
        match self {
            Self::HostMissing => "the request names no host\n",
            Self::HostRepeated => "the request has more than one Host\n",
            Self::HostMalformed => "the request's host is malformed\n",
            Self::HostsDiffer => "the request's :authority and Host differ\n",
            Self::Target => "the request's target has no path that could be redirected\n",
            Self::NoPool => "this host is not redirected here\n",
            Self::Nobody => "no server is available, try again soon\n",
            Self::Excluded => "this is not available where you are\n",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message().trim_end())
    }
}

/// Decides what `request` is answered. `random` serves pools of the policy `random`; `turn` says whether a round robin moves on.
pub fn decide<'s>(snapshot: &'s Snapshot, request: &Request<'_>, random: u64, turn: Turn) -> Decision<'s> {
    find_realserver(snapshot, request, random, turn).map_or_else(Decision::Refuse, Decision::Send)
}

fn find_realserver<'s>(
    snapshot: &'s Snapshot,
    request: &Request<'_>,
    random: u64,
    turn: Turn,
) -> Result<Redirect<'s>, Refusal> {
    let host = host(request)?;
    let path_and_query = request.path_and_query.and_then(sendable).ok_or(Refusal::Target)?;
    let pool = pool(snapshot, host).ok_or(Refusal::NoPool)?;
    let address = client_address(request.peer, &snapshot.redirect.trusted_proxies, request.forwarded_for);
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    let client = Client { address, prefix, via: Via::Redirect, random, turn, most: 1 };
    if let Some(kept) = kept(snapshot, pool, request, &client) {
        let set_cookie = if kept.is_old { set_cookie(snapshot, pool, request, &client, &kept.chosen) } else { None };
        return send(request, &client, path_and_query, kept.chosen, false, set_cookie);
    }
    let ranking = select(snapshot, pool, &client);
    let nobody = if ranking.when_empty == WhenEmpty::Refused { Refusal::Excluded } else { Refusal::Nobody };
    let &chosen = ranking.realservers.first().ok_or(nobody)?;
    // Who is there by fail-open is nobody to stay at.
    let is_sticky = !ranking.degraded;
    let set_cookie = is_sticky.then(|| set_cookie(snapshot, pool, request, &client, &chosen)).flatten();
    send(request, &client, path_and_query, chosen, ranking.degraded, set_cookie)
}

/// Whom a cookie keeps the client at. Where only the pool with the realservers is sticky, that is the one that it would be sent to.
fn kept<'s>(snapshot: &'s Snapshot, pool: PoolId, request: &Request<'_>, client: &Client) -> Option<sticky::Kept<'s>> {
    // Without a pool that asks for it there is no sealer; browsers send cookies of all sorts.
    snapshot.protection.sealer.as_ref()?;
    if !sticky::is_shown(request.cookies) {
        return None;
    }
    let sticky = sticky::sticky_pool(snapshot, pool, pool, client).or_else(|| {
        let ranking = select(snapshot, pool, &Client { turn: Turn::Peek, ..*client });
        sticky::sticky_pool(snapshot, pool, ranking.realservers.first()?.pool, client)
    })?;
    sticky::keep(snapshot, sticky, client, request.cookies, request.received)
}

fn set_cookie(
    snapshot: &Snapshot,
    pool: PoolId,
    request: &Request<'_>,
    client: &Client,
    chosen: &Ranked<'_>,
) -> Option<String> {
    let sticky = sticky::sticky_pool(snapshot, pool, chosen.pool, client)?;
    let sealer = snapshot.protection.sealer.as_ref()?;
    let is_https = is_https(request, &snapshot.redirect.trusted_proxies);
    sticky::set_cookie(sealer, snapshot, sticky, chosen, is_https, request.received)
}

/// Whether a trusted proxy says that the browser speaks https with it: the last word counts, as with addresses.
fn is_https(request: &Request<'_>, trusted_proxies: &[IpNet]) -> bool {
    let peer = request.peer.to_canonical();
    let last = request.forwarded_proto.last().and_then(|line| line.rsplit(|&byte| byte == b',').next());
    trusted_proxies.iter().any(|net| net.contains(&peer))
        && last.is_some_and(|proto| proto.trim_ascii().eq_ignore_ascii_case(b"https"))
}

fn send<'s>(
    request: &Request<'_>,
    client: &Client,
    path_and_query: &str,
    chosen: Ranked<'s>,
    is_degraded: bool,
    set_cookie: Option<String>,
) -> Result<Redirect<'s>, Refusal> {
    let family = Family::of(client.address);
    let location = location(chosen.realserver, family, path_and_query).ok_or(Refusal::Nobody)?;
    let status = match *request.method {
        Method::GET | Method::HEAD => StatusCode::FOUND,
        _ => StatusCode::TEMPORARY_REDIRECT,
    };
    Ok(Redirect { status, location, chosen, is_degraded, set_cookie })
}

// version   target's authority   Host       host
// HTTP/1    -                    one        Host's
// HTTP/1    yes                  one        the target's, Host is ignored (RFC 9112 §3.2.2)
// HTTP/1    any                  none       400
// HTTP/2    yes                  none       the target's
// HTTP/2    yes                  the same   the target's
// HTTP/2    yes                  another    400
// HTTP/2    -                    one        Host's
// HTTP/2    -                    none       400
// any       any                  two, bad   400
fn host(request: &Request<'_>) -> Result<Host, Refusal> {
    let parse = |text: &[u8]| Host::parse(text).ok_or(Refusal::HostMalformed);
    let is_http2 = request.version == Version::HTTP_2;
    let named = match request.hosts {
        [] => None,
        [one] => Some(parse(one)?),
        _ => return Err(Refusal::HostRepeated),
    };
    match (request.authority, named) {
        (None, Some(named)) => Ok(named),
        (Some(authority), None) if is_http2 => parse(authority),
        (_, None) => Err(Refusal::HostMissing),
        (Some(authority), Some(named)) => {
            let host = parse(authority)?;
            if is_http2 && host != named { Err(Refusal::HostsDiffer) } else { Ok(host) }
        }
    }
}

/// The path and query if all of it may stand in a header and it does start as one; `?a=b` is what remains of `http://host?a=b`.
fn sendable(path_and_query: &[u8]) -> Option<&str> {
    let is_sendable = matches!(path_and_query.first(), Some(b'/' | b'?'))
        && path_and_query.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#');
    if is_sendable { std::str::from_utf8(path_and_query).ok() } else { None }
}

/// The pool that a request for `host`, as in its header, is sent to a realserver of.
pub fn pool_of_host(snapshot: &Snapshot, host: &[u8]) -> Option<PoolId> {
    pool(snapshot, Host::parse(host)?)
}

/// The pool that our zones hand the host to, CNAMEs and DNAMEs between them followed as a resolver would.
fn pool(snapshot: &Snapshot, host: Host) -> Option<PoolId> {
    let Host::Name(mut name) = host else { return None };
    for _ in 0..=CHAIN_MAX {
        let wire = name.as_wire();
        let served = snapshot.zones.find(wire)?;
        name = match served.zone.find(wire) {
            Found::Exact(node) | Found::Wildcard { node, .. } => {
                if let Some((index, _)) = node.pool() {
                    return served.pools.get(index).copied();
                }
                WireName::joined(&[], node.rrset(rtype::CNAME)?.rdatas().next()?)?
            }
            Found::Dname { node, owner_octets } => {
                let prefix = wire.get(..wire.len().checked_sub(owner_octets)?)?;
                WireName::joined(prefix, node.rrset(rtype::DNAME)?.rdatas().next()?)?
            }
            Found::Cut { .. } | Found::Missing => return None,
        };
    }
    None
}

/// Who the answer is for: the peer, or who a trusted proxy says that it asks for. IPv4-mapped addresses as IPv4.
///
/// `X-Forwarded-For` is read from the right, where each proxy has added who it got the request from, as long as what stands there is a proxy
/// that we trust: whatever a client wrote itself stands further left and is not reached. An entry that is no address ends the walk.
fn client_address(peer: IpAddr, trusted_proxies: &[IpNet], forwarded_for: &[&[u8]]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted_proxies.iter().any(|net| net.contains(&address));
    let mut client = peer.to_canonical();
    let entries = forwarded_for.iter().rev().flat_map(|line| line.rsplit(|&byte| byte == b','));
    for entry in entries.map(<[u8]>::trim_ascii).take(FORWARDED_FOR_MAX) {
        if !is_trusted(client) {
            break;
        }
        // Empty list elements mean nothing (RFC 9110 §5.6.1.2).
        if entry.is_empty() {
            continue;
        }
        match forwarded_address(entry) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// An address, with or without a port, IPv6 with or without brackets.
fn forwarded_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let address = text.parse::<IpAddr>().ok().or_else(bracketed);
    Some(address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?.to_canonical())
}

/// The realserver's URL, or the address that suits the client best, then path and query.
fn location(realserver: &Realserver, family: Family, path_and_query: &str) -> Option<String> {
    let slash = if path_and_query.starts_with('/') { "" } else { "/" };
    let capacity =
        realserver.url.as_ref().map_or(ADDRESS_URL_MAX, |url| url.len()) + slash.len() + path_and_query.len();
    let mut location = String::with_capacity(capacity);
    match &realserver.url {
        Some(url) => location.push_str(url),
        None => push_address(&mut location, address(realserver, family)?, realserver.port),
    }
    location.push_str(slash);
    location.push_str(path_and_query);
    debug_assert!(
        location.bytes().all(|byte| byte.is_ascii_graphic()),
        "the configured URL and the target were checked"
    );
    Some(location)
}

/// The address in the client's own family if it has one that is not down, else the one to be tried first.
fn address(realserver: &Realserver, family: Family) -> Option<IpAddr> {
    let own = realserver.address(family).filter(|_| realserver.is_in_service(family));
    own.or_else(|| realserver.addresses().next())
}

fn push_address(location: &mut String, address: IpAddr, port: Option<u16>) {
    let port = port.filter(|&port| port != 80);
    // Writing to a String cannot fail.
    let _ = match address {
        IpAddr::V4(v4) => write!(location, "http://{v4}"),
        IpAddr::V6(v6) => write!(location, "http://[{v6}]"),
    };
    let _ = port.map_or(Ok(()), |port| write!(location, ":{port}"));
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::{
        super::{
            serve::with_request,
            testing::{TARGETS, snapshot},
        },
        *,
    };

    /// `head` is a request's head as it is on the wire, its lines ended by `\n`. What is expected is status and `Location`, or the refusal.
    #[track_caller]
    fn check_from(peer: &str, head: &str, expected: &str) {
        assert_eq!(answer(&snapshot(), peer, head), expected, "{head:?} from {peer}");
    }

    #[track_caller]
    fn check(head: &str, expected: &str) {
        check_from("198.51.100.1", head, expected);
    }

    fn answer(snapshot: &Snapshot, peer: &str, head: &str) -> String {
        let mut lines = head.split('\n');
        let mut line = lines.next().expect("request line").split(' ');
        let mut part = || line.next().expect("three words");
        let request = hyper::Request::builder().method(part()).uri(part()).version(match part() {
            "HTTP/2" => Version::HTTP_2,
            "HTTP/1.0" => Version::HTTP_10,
            _ => Version::HTTP_11,
        });
        let request = lines.filter_map(|line| line.split_once(": ")).fold(request, |request, (name, value)| {
            request.header(name, HeaderValue::from_bytes(value.as_bytes()).expect("header"))
        });
        let request = request.body(()).expect("request");
        with_request(peer.parse().expect("peer"), Duration::ZERO, &request, |request| {
            match decide(snapshot, request, 0, Turn::Take) {
                Decision::Send(send) => format!("{} {}", send.status.as_str(), send.location),
                Decision::Refuse(refusal) => format!("{} {refusal:?}", refusal.status().as_str()),
            }
        })
    }

    #[test]
    fn path_and_query_are_kept_byte_for_byte() {
        let long = format!("/{}", "x".repeat(15_000));
        for target in [
            "/",
            "/a/b?c=d&e=f",
            "/%2F..;?a=b&c=%0d%0aX",
            "/%0d%0aSet-Cookie:%20x=y",
            "//evil.example/",
            "///evil.example/%2e%2e",
            "/\\evil.example\\",
            "/../../etc/passwd",
            "/.",
            "/@evil.example/",
            "/:80",
            "/?",
            "/a?",
            "/a??b?c",
            "/a?http://evil.example/",
            "/http://evil.example/",
            "/a'\"{}|^",
            "/%zz%",
            "/~user/;a=b,c!$&'()*+",
            &long,
        ] {
            check(
                &format!("GET {target} HTTP/1.1\nHost: www.example.org"),
                &format!("302 https://a.example.org{target}"),
            );
        }
    }

    #[test]
    fn configured_path_stands_before_the_requested_one() {
        check("GET /x?y HTTP/1.1\nHost: path.example.org", "302 http://a.example.org:8080/base/x?y");
        check("GET //x HTTP/1.1\nHost: path.example.org", "302 http://a.example.org:8080/base//x");
    }

    #[test]
    fn methods_other_than_get_and_head_are_kept_by_307() {
        for (method, status) in [
            ("GET", 302),
            ("HEAD", 302),
            ("POST", 307),
            ("PUT", 307),
            ("DELETE", 307),
            ("PATCH", 307),
            ("OPTIONS", 307),
            ("BREW", 307),
            ("get", 307),
        ] {
            check(&format!("{method} /x HTTP/1.1\nHost: plain.example.org"), &format!("{status} http://192.0.2.10/x"));
        }
    }

    #[test]
    fn host_must_be_there_once_and_be_a_host() {
        check("GET / HTTP/1.1", "400 HostMissing");
        check("GET / HTTP/1.0", "400 HostMissing");
        check("GET / HTTP/2", "400 HostMissing");
        check("GET / HTTP/1.1\nHost: www.example.org\nHost: www.example.org", "400 HostRepeated");
        for host in [
            "",
            " ",
            "www.example.org/",
            "user@www.example.org",
            "www.example.org@evil.example",
            "www.example.org,evil.example",
            "%77ww.example.org",
            "www.example.org:99999",
            "www..example.org",
            "wẃw.example.org",
            "www.example.org\t",
            "http://www.example.org",
            "*.cdn.example.org",
            "www.example.org\\",
            "[::1",
        ] {
            check(&format!("GET / HTTP/1.1\nHost: {host}"), "400 HostMalformed");
        }
        for host in
            ["WWW.Example.ORG", "www.example.org.", "www.example.org:8080", "www.example.org.:80", "www.example.org:"]
        {
            check(&format!("GET / HTTP/1.1\nHost: {host}"), "302 https://a.example.org/");
        }
        check("GET / HTTP/1.0\nHost: www.example.org", "302 https://a.example.org/");
    }

    #[test]
    fn name_that_no_zone_hands_to_a_pool_is_misdirected() {
        for host in [
            "example.net",
            "ns1.example.org",
            "missing.example.org",
            "child.example.org",
            "www.child.example.org",
            "b.cdn.example.org",
            "a.b.cdn.example.org",
            "cdn.example.org",
            "loop.example.org",
            "outside.example.org",
            "nowhere.example.org",
            "www.example.org.evil.example",
            "evilexample.org",
            "org",
            "192.0.2.10",
            "[2001:db8::10]",
        ] {
            check(&format!("GET / HTTP/1.1\nHost: {host}"), "421 NoPool");
        }
    }

    #[test]
    fn wildcards_and_aliases_lead_to_their_pool() {
        for host in [
            "x.cdn.example.org",
            "y.x.cdn.example.org",
            "z.alias.example.org",
            "away.example.org",
            "www.example.com",
            "x.old.example.org",
        ] {
            check(&format!("GET /p HTTP/1.1\nHost: {host}"), "302 http://192.0.2.10/p");
        }
        check("GET / HTTP/1.1\nHost: example.org", "302 https://a.example.org/");
        check("GET / HTTP/1.1\nHost: www.example.org", "302 https://a.example.org/");
    }

    #[test]
    fn rfc9112_absolute_form_replaces_host_and_never_reaches_location() {
        check("GET http://www.example.org/x?y HTTP/1.1\nHost: plain.example.org", "302 https://a.example.org/x?y");
        check("GET https://www.example.org:8443 HTTP/1.1\nHost: evil.example", "302 https://a.example.org/");
        check("GET http://www.example.org?a=b HTTP/1.1\nHost: www.example.org", "302 https://a.example.org/?a=b");
        check("GET http://www.example.org//evil.example HTTP/1.1\nHost: x", "302 https://a.example.org//evil.example");
        check("GET http://evil.example/x HTTP/1.1\nHost: www.example.org", "421 NoPool");
        check("GET http://user@www.example.org/ HTTP/1.1\nHost: www.example.org", "400 HostMalformed");
        check("GET http://www.example.org/ HTTP/1.1", "400 HostMissing");
        check("GET http://www.example.org/ HTTP/1.1\nHost: www example org", "400 HostMalformed");
    }

    #[test]
    fn rfc9113_authority_and_host_must_agree() {
        check("GET http://www.example.org/x HTTP/2", "302 https://a.example.org/x");
        check("GET http://www.example.org/x HTTP/2\nHost: WWW.example.org:80", "302 https://a.example.org/x");
        check("GET http://www.example.org/x HTTP/2\nHost: plain.example.org", "400 HostsDiffer");
        check("GET /x HTTP/2\nHost: www.example.org", "302 https://a.example.org/x");
    }

    #[test]
    fn target_without_a_path_is_refused() {
        check("OPTIONS * HTTP/1.1\nHost: www.example.org", "400 Target");
        check("CONNECT www.example.org:443 HTTP/1.1\nHost: www.example.org", "400 Target");
        check("GET www.example.org HTTP/1.1\nHost: www.example.org", "400 Target");
        check("GET /ẃ HTTP/1.1\nHost: www.example.org", "400 Target");
    }

    #[test]
    fn address_stands_in_for_a_url() {
        check("GET /x HTTP/1.1\nHost: plain.example.org", "302 http://192.0.2.10/x");
        check("GET /x HTTP/1.1\nHost: port.example.org", "302 http://192.0.2.10:8080/x");
        check("GET /x HTTP/1.1\nHost: six.example.org", "302 http://[2001:db8::10]/x");
        check("GET /x HTTP/1.1\nHost: sixport.example.org", "302 http://[2001:db8::10]:8080/x");
    }

    #[test]
    fn address_is_of_the_clients_family_unless_it_is_down() {
        let head = "GET / HTTP/1.1\nHost: both.example.org";
        check_from("198.51.100.1", head, "302 http://192.0.2.10/");
        check_from("2001:db8:1::1", head, "302 http://[2001:db8::10]/");
        check_from("::ffff:198.51.100.1", head, "302 http://192.0.2.10/");
        check_from("10.0.0.1", &format!("{head}\nX-Forwarded-For: 2001:db8:1::1"), "302 http://[2001:db8::10]/");
        check_from("198.51.100.1", "GET / HTTP/1.1\nHost: halfdown.example.org", "302 http://[2001:db8::10]/");
    }

    #[test]
    fn down_realserver_is_passed_over_and_turns_are_taken() {
        let snapshot = snapshot();
        let head = "GET / HTTP/1.1\nHost: three.example.org";
        let order = [0; 4].map(|_| answer(&snapshot, "198.51.100.1", head));
        assert_eq!(
            order,
            ["302 http://192.0.2.10/", "302 http://192.0.2.12/", "302 http://192.0.2.10/", "302 http://192.0.2.12/"]
        );
    }

    #[test]
    fn nobody_eligible_is_503_unless_the_pool_fails_open() {
        check("GET / HTTP/1.1\nHost: dead.example.org", "503 Nobody");
        check("GET / HTTP/1.1\nHost: mute.example.org", "503 Nobody");
        check("GET / HTTP/1.1\nHost: open.example.org", "302 http://192.0.2.66/");
    }

    #[test]
    fn forwarded_for_is_believed_from_the_right_as_far_as_proxies_are_trusted() {
        let many_proxies = vec!["10.0.0.9"; FORWARDED_FOR_MAX + 1].join(",");
        let behind_many = format!("203.0.113.7, {many_proxies}");
        let many_blanks = format!("203.0.113.7{}", ",".repeat(100_000));
        for (peer, lines, client) in [
            // Nobody to believe.
            ("198.51.100.1", &[][..], "198.51.100.1"),
            ("198.51.100.1", &["203.0.113.7"], "198.51.100.1"),
            ("::ffff:198.51.100.1", &["203.0.113.7"], "198.51.100.1"),
            // One proxy, two, all.
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7"], "203.0.113.7"),
            ("::ffff:10.0.0.1", &["203.0.113.7"], "203.0.113.7"),
            ("2001:db8:ffff::1", &["2001:db8:1::7"], "2001:db8:1::7"),
            ("10.0.0.1", &["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
            ("10.0.0.1", &["203.0.113.7", "10.0.0.2"], "203.0.113.7"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // What the client wrote itself stands further left.
            ("10.0.0.1", &["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["1.1.1.1", "203.0.113.7, 10.0.0.2"], "203.0.113.7"),
            ("10.0.0.1", &["10.0.0.2, 203.0.113.7"], "203.0.113.7"),
            // Forms.
            ("10.0.0.1", &["203.0.113.7:4711"], "203.0.113.7"),
            ("10.0.0.1", &["[2001:db8:1::7]"], "2001:db8:1::7"),
            ("10.0.0.1", &["[2001:db8:1::7]:4711"], "2001:db8:1::7"),
            ("10.0.0.1", &["::ffff:203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["\t203.0.113.7 ,, 10.0.0.2 ,"], "203.0.113.7"),
            // What is no address ends the walk.
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["203.0.113.7, 300.1.1.1"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7, 10.0.0.2:x"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7, [10.0.0.2"], "10.0.0.1"),
            // So does the limit.
            ("10.0.0.1", &[&behind_many], "10.0.0.9"),
            ("10.0.0.1", &[&many_blanks], "10.0.0.1"),
        ] {
            let lines_bytes: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            let found = client_address(peer.parse().expect("peer"), &snapshot().redirect.trusted_proxies, &lines_bytes);
            assert_eq!(found, client.parse::<IpAddr>().expect("client"), "{lines:?} from {peer}");
        }
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..40)
    }

    fn host_bytes() -> impl Strategy<Value = Vec<u8>> {
        let known = prop::sample::select(vec![
            "www.example.org",
            "SIX.example.org:80",
            "both.example.org.",
            "x.cdn.example.org",
            "three.example.org",
            "path.example.org",
        ]);
        prop_oneof![1 => bytes(), 4 => known.prop_map(|host| host.as_bytes().to_vec())]
    }

    fn target_bytes() -> impl Strategy<Value = Vec<u8>> {
        let path = bytes().prop_map(|rest| [b"/", &rest[..]].concat());
        prop_oneof![1 => bytes(), 2 => path, 4 => "[/?][!-~]{0,60}".prop_map(String::into_bytes)]
    }

    proptest! {
        #[test]
        fn location_always_starts_as_configured_and_never_holds_control_bytes(
            method in prop::sample::select(vec![Method::GET, Method::HEAD, Method::POST, Method::CONNECT]),
            version in prop::sample::select(vec![Version::HTTP_10, Version::HTTP_11, Version::HTTP_2]),
            authority in prop::option::weighted(0.2, host_bytes()),
            path_and_query in prop::option::weighted(0.9, target_bytes()),
            hosts in prop_oneof![4 => prop::collection::vec(host_bytes(), 1), 1 => prop::collection::vec(host_bytes(), 0..3)],
            forwarded_for in prop::collection::vec(prop_oneof![bytes(), "[0-9a-f.:, \\[\\]]{0,40}".prop_map(String::into_bytes)], 0..3),
            peer in prop_oneof![any::<IpAddr>(), Just("10.0.0.1".parse().expect("peer"))],
            random in any::<u64>(),
        ) {
            let hosts: Vec<&[u8]> = hosts.iter().map(Vec::as_slice).collect();
            let forwarded_for: Vec<&[u8]> = forwarded_for.iter().map(Vec::as_slice).collect();
            let request = Request {
                method: &method,
                version,
                authority: authority.as_deref(),
                path_and_query: path_and_query.as_deref(),
                hosts: &hosts,
                forwarded_for: &forwarded_for,
                forwarded_proto: &[],
                cookies: &[],
                peer,
                received: Duration::ZERO,
            };
            thread_local!(static SNAPSHOT: Snapshot = snapshot());
            SNAPSHOT.with(|snapshot| {
                let Decision::Send(send) = decide(snapshot, &request, random, Turn::Take) else { return Ok(()) };
                let target = std::str::from_utf8(path_and_query.as_deref().unwrap_or_default()).expect("what is sent is ASCII");
                let slash = if target.starts_with('/') { "" } else { "/" };
                prop_assert!(send.location.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{:?}", send.location);
                prop_assert!(TARGETS.iter().any(|url| send.location == format!("{url}{slash}{target}")), "{:?}", send.location);
                Ok(())
            })?;
        }
    }
}
