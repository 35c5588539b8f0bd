//! An ICMP echo (RFC 792, RFC 4443 §4), over a datagram socket as any user may have if the system is set so, else over a raw one.
//!
//! What comes back must have this probe's sequence number and random octets, and over a raw socket, which hears everything, its identifier:
//! the kernel sees to that for datagram sockets.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::Problem;
use crate::{
    config::{CheckKind, Config},
    diagnostic::Diagnostic,
};

const HEADER_OCTETS: usize = 8;
const RANDOM_OCTETS: usize = 16;
/// Room for an IPv4 header with options, and what was sent.
const PACKET_OCTETS_MAX: usize = 60 + HEADER_OCTETS + RANDOM_OCTETS + 64;

/// Why no echo can be sent.
#[derive(Debug, thiserror::Error)]
#[error("no ICMP socket can be opened: {datagram} for datagrams, {raw} raw")]
struct Unavailable {
    datagram: io::Error,
    raw: io::Error,
}

impl Unavailable {
    /// What an operator can do about it.
    const HINT: &'static str = "let the server's group use them, `sysctl -w net.ipv4.ping_group_range='0 2147483647'` (IPv6 goes by it \
        too), or give the program the capability CAP_NET_RAW";
}

/// Finds out whether this user can send what the icmp checks of `config` want to be sent.
///
/// # Errors
/// Which check cannot be made and why, with a way out.
pub fn check_available(config: &Config) -> Result<(), Diagnostic> {
    let Some(check) = config.checks.iter().find(|check| check.kind == CheckKind::Icmp) else { return Ok(()) };
    let opened = open(IpAddr::from([127, 0, 0, 1]));
    opened.map(drop).map_err(|lack| Diagnostic::bare(format!("check `{}`: {lack}", check.name)).hint(Unavailable::HINT))
}

pub(super) async fn probe(address: IpAddr) -> Result<(), Problem> {
    let (socket, kind) = open(address).map_err(|error| Problem::Unclear(error.to_string()))?;
    socket.connect(&SocketAddr::new(address, 0).into()).map_err(Problem::Connect)?;
    // Its calls for sockets that are connected do for ICMP what they do for UDP.
    let socket = UdpSocket::from_std(std::net::UdpSocket::from(socket))?;
    let echo = Echo::new(address.is_ipv6());
    socket.send(&echo.request()).await.map_err(Problem::Connect)?;
    let mut packet = [0; PACKET_OCTETS_MAX];
    loop {
        let length = socket.recv(&mut packet).await.map_err(Problem::Connect)?;
        if echo.is_answered_by(packet.get(..length).unwrap_or_default(), kind) {
            return Ok(());
        }
    }
}

/// What a socket hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Replies to its own requests, whose identifier the kernel has chosen.
    Datagram,
    /// Everything, over IPv4 with its IP header.
    Raw,
}

fn open(address: IpAddr) -> Result<(Socket, Kind), Unavailable> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = |kind: Type| Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol));
    match socket(Type::DGRAM) {
        Ok(opened) => Ok((opened, Kind::Datagram)),
        Err(datagram) => match socket(Type::RAW) {
            Ok(opened) => Ok((opened, Kind::Raw)),
            Err(raw) => Err(Unavailable { datagram, raw }),
        },
    }
}

/// One request and what its reply must have.
struct Echo {
    is_v6: bool,
    identifier: [u8; 2],
    sequence: [u8; 2],
    random: [u8; RANDOM_OCTETS],
}

impl Echo {
    fn new(is_v6: bool) -> Self {
        let (identifier, sequence) = (fastrand::u16(..).to_be_bytes(), fastrand::u16(..).to_be_bytes());
        Self { is_v6, identifier, sequence, random: fastrand::u128(..).to_be_bytes() }
    }

    fn request(&self) -> Vec<u8> {
        let kind = if self.is_v6 { 128 } else { 8 };
        let mut message = vec![kind, 0, 0, 0];
        message.extend_from_slice(&self.identifier);
        message.extend_from_slice(&self.sequence);
        message.extend_from_slice(&self.random);
        // For IPv6 and for datagram sockets the kernel writes its own.
        let sum = checksum(&message).to_be_bytes();
        message.splice(2..4, sum);
        message
    }

    fn is_answered_by(&self, packet: &[u8], kind: Kind) -> bool {
        let has_ip_header = kind == Kind::Raw && !self.is_v6;
        let ip_header_octets = packet.first().filter(|_| has_ip_header).map_or(0, |first| usize::from(first & 0xf) * 4);
        let message = packet.get(ip_header_octets..).unwrap_or_default();
        let Some(([mtype, code, _, _, id_high, id_low, sequence @ ..], payload)) =
            message.split_first_chunk::<HEADER_OCTETS>()
        else {
            return false;
        };
        let reply = if self.is_v6 { 129 } else { 0 };
        let is_mine = kind == Kind::Datagram || [*id_high, *id_low] == self.identifier;
        (*mtype, *code) == (reply, 0) && is_mine && *sequence == self.sequence && payload == self.random
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{outcome, target},
        *,
    };

    /// A reply to `echo`, as it comes over a socket of this kind.
    fn reply(echo: &Echo, kind: Kind) -> Vec<u8> {
        let mut message = echo.request();
        message[0] = if echo.is_v6 { 129 } else { 0 };
        let header = if kind == Kind::Raw && !echo.is_v6 { vec![0x46; 24] } else { Vec::new() };
        [header, message].concat()
    }

    #[test]
    fn reply_must_have_identifier_sequence_and_octets_of_the_request() {
        for (is_v6, kind) in [(false, Kind::Datagram), (true, Kind::Datagram), (false, Kind::Raw), (true, Kind::Raw)] {
            let echo = Echo::new(is_v6);
            let good = reply(&echo, kind);
            assert!(echo.is_answered_by(&good, kind), "{is_v6} {kind:?}");
            assert!(!echo.is_answered_by(&echo.request(), kind), "its own request");
            let start = good.len() - HEADER_OCTETS - RANDOM_OCTETS;
            for at in start..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 0x55;
                let is_left_to_others =
                    [2, 3].contains(&(at - start)) || (kind == Kind::Datagram && [4, 5].contains(&(at - start)));
                assert_eq!(echo.is_answered_by(&bad, kind), is_left_to_others, "{is_v6} {kind:?} {}", at - start);
            }
            for length in 0..good.len() {
                assert!(!echo.is_answered_by(&good[..length], kind));
            }
        }
    }

    #[test]
    fn checksum_is_that_of_rfc_1071() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        let request = Echo::new(false).request();
        assert_eq!(checksum(&request), 0, "a message with its checksum sums to nothing");
        assert_eq!(checksum(&[0xff]), 0x00ff);
    }

    #[tokio::test]
    async fn loopback_answers_where_sockets_can_be_had_and_the_lack_of_them_is_nobodys_failure() {
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().expect("address");
            let found = outcome(&target(CheckKind::Icmp, SocketAddr::new(address, 0))).await;
            match open(address) {
                Ok(_) => assert_eq!(found, "ok", "{address}"),
                Err(lack) => assert_eq!(found, format!("unclear: {lack}"), "{address}"),
            }
        }
    }
}
