//! The host that a request names, as a domain name that a zone can be asked for.
//!
//! Reads what stands in `Host`, in `:authority` or in an absolute-form target (RFC 9110 §7.2, RFC 3986 §3.2). Stricter than the RFC
//! where a host could not be a name of ours anyway: no percent-encoding, no user, no sub-delims.

use std::net::Ipv6Addr;

use crate::name::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX};

/// What a request names as its host.
#[derive(Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack for one request; a box would be the only allocation"
)]
pub(super) enum Host {
    /// A host name, or an IPv4 address, which no zone has a name like.
    Name(WireName),
    /// An IPv6 address in brackets: well formed, and nobody's name.
    Ipv6(Ipv6Addr),
}

impl Host {
    /// Reads a host with an optional port, which does not matter and is dropped, as is the name's final dot.
    ///
    /// `None` for what is not a host: empty, blanks, control bytes, user, path, percent-encoding, non-ASCII, a bad port.
    pub(super) fn parse(authority: &[u8]) -> Option<Self> {
        if let Some(bracketed) = authority.strip_prefix(b"[") {
            let end = bracketed.iter().position(|&byte| byte == b']')?;
            let (address, port) = bracketed.split_at_checked(end)?;
            let address = std::str::from_utf8(address).ok()?.parse().ok()?;
            return is_port(port.strip_prefix(b"]")?).then_some(Self::Ipv6(address));
        }
        let end = authority.iter().position(|&byte| byte == b':').unwrap_or(authority.len());
        let (name, port) = authority.split_at_checked(end)?;
        if !is_port(port) {
            return None;
        }
        WireName::from_host(name.strip_suffix(b".").unwrap_or(name)).map(Self::Name)
    }
}

/// Whether this is nothing, or `:` with a port or (RFC 3986 §3.2.3) without.
fn is_port(text: &[u8]) -> bool {
    match text {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            digits.iter().all(u8::is_ascii_digit)
                && std::str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u16>().is_ok())
        }
        _ => false,
    }
}

/// A domain name in wire form, lower case, on the stack.
#[derive(Clone)]
pub(super) struct WireName {
    octets: [u8; NAME_OCTETS_MAX],
    length: u8,
}

impl WireName {
    /// Reads dotted labels of letters, digits, `-` and `_`, without a final dot.
    fn from_host(text: &[u8]) -> Option<Self> {
        let mut name = Self { octets: [0; NAME_OCTETS_MAX], length: 0 };
        for label in text.split(|&byte| byte == b'.') {
            if label.is_empty() || label.len() > LABEL_OCTETS_MAX {
                return None;
            }
            name.push(&[u8::try_from(label.len()).ok()?])?;
            if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
                return None;
            }
            name.push(label)?;
        }
        name.push(&[0])?;
        Some(name)
    }

    /// `target`, as rdata has it, below what `prefix` (labels without a root) names. `None` if that is too long for a name.
    pub(super) fn joined(prefix: &[u8], target: &[u8]) -> Option<Self> {
        let mut name = Self { octets: [0; NAME_OCTETS_MAX], length: 0 };
        name.push(prefix)?;
        name.push(target)?;
        Some(name)
    }

    /// The name, uncompressed.
    pub(super) fn as_wire(&self) -> &[u8] {
        self.octets.get(..usize::from(self.length)).unwrap_or_default()
    }

    fn push(&mut self, octets: &[u8]) -> Option<()> {
        let end = usize::from(self.length) + octets.len();
        let room = self.octets.get_mut(usize::from(self.length)..end)?;
        room.copy_from_slice(octets);
        // Length octets are at most 63, below the letters.
        room.make_ascii_lowercase();
        self.length = u8::try_from(end).ok()?;
        Some(())
    }
}

impl PartialEq for WireName {
    fn eq(&self, other: &Self) -> bool {
        self.as_wire() == other.as_wire()
    }
}

impl Eq for WireName {}

impl std::fmt::Debug for WireName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::name::write_wire(self.as_wire(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_a_name_or_an_address_with_an_optional_port() {
        for (text, expected) in [
            ("www.example.org", "www.example.org."),
            ("WWW.Example.ORG", "www.example.org."),
            ("www.example.org.", "www.example.org."),
            ("www.example.org:8080", "www.example.org."),
            ("www.example.org.:80", "www.example.org."),
            ("www.example.org:", "www.example.org."),
            ("_srv.x--y.org", "_srv.x--y.org."),
            ("localhost", "localhost."),
            ("192.0.2.1:80", "192.0.2.1."),
        ] {
            let Some(Host::Name(name)) = Host::parse(text.as_bytes()) else { panic!("{text:?} is a host") };
            assert_eq!(format!("{name:?}"), expected);
        }
        for text in ["[2001:db8::1]", "[2001:db8::1]:8080", "[2001:DB8::1]:"] {
            assert_eq!(Host::parse(text.as_bytes()), Some(Host::Ipv6("2001:db8::1".parse().expect("address"))));
        }
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        let long_label = "a".repeat(64);
        let long_name = vec!["a".repeat(63); 4].join(".");
        for text in [
            "",
            ".",
            "..",
            ".www",
            "www..org",
            "www.org..",
            " www",
            "www ",
            "w w",
            "www\r\nX: y",
            "www\0",
            "user@www",
            "www/",
            "www/x",
            "www\\x",
            "www?x",
            "www#x",
            "%77ww",
            "wẃw",
            "*.org",
            "www:x",
            "www:-1",
            "www:+1",
            "www:65536",
            "www:80:80",
            "www:80x",
            "[",
            "[]",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[192.0.2.1]",
            "[fe80::1%25lo]",
            "::1",
            "www,www",
            "\"www\"",
            "http://www",
            &long_label,
            &long_name,
        ] {
            assert_eq!(Host::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
