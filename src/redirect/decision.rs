//! Where an HTTP request is sent: the host names a pool through our zones, the pool gives a realserver, and `Location` is its URL followed by
//! the request's path and query as they came.
//!
//! Pure: no socket, no log, no counter. Nothing of a request but its path and query gets into `Location`, behind a URL that an operator
//! configured, so a request can neither choose another host nor end the header (RFC 9110 §15.4, RFC 9112 §3.2).

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, SocketAddr},
};

use hyper::{Method, StatusCode, Version};
use ipnet::IpNet;

use super::host::{Host, WireName};
use crate::{
    select::{Client, Ranked, Turn, Via, select},
    snapshot::{Realserver, Snapshot},
    types::{Family, Health, PoolId},
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
    /// The socket's other end.
    pub peer: IpAddr,
}

/// What is answered.
#[derive(Debug)]
pub enum Decision<'s> {
    /// Go there.
    Send(Send<'s>),
    /// Nowhere to go.
    Refuse(Refusal),
}

/// A redirect.
#[derive(Debug)]
pub struct Send<'s> {
    /// 302 for GET and HEAD, else 307, which keeps method and body (RFC 9110 §15.4.8).
    pub status: StatusCode,
    /// Value of `Location`: a configured URL or address, `/`, and only visible ASCII.
    pub location: String,
    /// Who is meant.
    pub chosen: Ranked<'s>,
    /// Whether nobody was eligible and this one is there by fail-open.
    pub is_degraded: bool,
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
) -> Result<Send<'s>, Refusal> {
    let host = host(request)?;
    let path_and_query = request.path_and_query.and_then(sendable).ok_or(Refusal::Target)?;
    let pool = pool(snapshot, host).ok_or(Refusal::NoPool)?;
    let address = client_address(request.peer, &snapshot.redirect.trusted_proxies, request.forwarded_for);
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    let client = Client { address, prefix, via: Via::Redirect, random, turn, most: 1 };
    let ranking = select(snapshot, pool, &client);
    let &chosen = ranking.realservers.first().ok_or(Refusal::Nobody)?;
    let location = location(chosen.realserver, Family::of(address), path_and_query).ok_or(Refusal::Nobody)?;
    let status = match *request.method {
        Method::GET | Method::HEAD => StatusCode::FOUND,
        _ => StatusCode::TEMPORARY_REDIRECT,
    };
    Ok(Send { status, location, chosen, is_degraded: ranking.degraded })
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
pub fn client_address(peer: IpAddr, trusted_proxies: &[IpNet], forwarded_for: &[&[u8]]) -> IpAddr {
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
    let own = realserver.address(family).filter(|_| realserver.health(Some(family)) != Health::Down);
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
