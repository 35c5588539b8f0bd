//! Server cookies that every server of a set makes alike (RFC 7873, RFC 9018): version 1, SipHash-2-4.
//!
//! A client that shows one has received it at its address before: it is not forged. Nothing is kept about clients.

use std::{fmt, fs, net::IpAddr, ops::Range, path::Path, sync::Arc, time::Duration};

use siphasher::sip::SipHasher24;

use crate::diagnostic::{Diagnostic, Diagnostics, Source};

/// What a client sends, and gets back, so that it knows our answers from forged ones.
pub type ClientCookie = [u8; 8];
/// Version, three reserved octets, timestamp, hash (RFC 9018 §4).
pub type ServerCookie = [u8; 16];

/// A server cookie older than this proves nothing any more (RFC 9018 §4.3).
const AGE_MAX_SECONDS: u32 = 3600;
/// One older than this is renewed.
const AGE_FRESH_SECONDS: u32 = 1800;
/// How far the clocks of a set of servers may be apart.
const AHEAD_MAX_SECONDS: u32 = 300;

/// Cookies as they are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookies {
    /// What they are made with.
    pub secrets: Secrets,
    /// Whether a client that knows cookies is told to come again (BADCOOKIE) until it shows a good one.
    pub are_required: bool,
}

/// 128 bits that only the servers of a set know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

/// Keeps the octets to itself.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The secret that cookies are made with, and one more that is believed: the next one before a rollover, the previous one after it
/// (RFC 9018 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    current: Secret,
    other: Option<Secret>,
}

/// What a server cookie is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// Ours, and young enough to be given back as it is.
    Good,
    /// Ours, but to be renewed.
    Old,
    /// Forged, expired, of another address or another server.
    Bad,
}

impl Secrets {
    /// One secret and perhaps another.
    pub fn new(current: Secret, other: Option<Secret>) -> Self {
        Self { current, other }
    }

    /// The one in use, then the other.
    pub fn each(&self) -> impl Iterator<Item = Secret> {
        [Some(self.current), self.other].into_iter().flatten()
    }

    /// Reads the file at `path`, as [`parse`](Self::parse) does.
    pub fn load(path: &Path) -> Result<Self, Diagnostics> {
        let text = fs::read_to_string(path).map_err(|error| {
            let message = format!("could not read the cookie secrets `{}`: {error}", path.display());
            Diagnostic::bare(message)
                .hint("`cookie_secret_file` names a file with one or two lines of 32 hexadecimal digits")
        })?;
        Self::parse(&Source::new(path, text))
    }

    /// Reads one or two secrets, each 32 hexadecimal digits on a line of its own: first the one that cookies are made with, then the one
    /// that is believed too. Empty lines and those that start with `#` do not count.
    pub fn parse(source: &Arc<Source>) -> Result<Self, Diagnostics> {
        let mut findings = Diagnostics::default();
        let mut secrets = Vec::new();
        for (line, span) in lines(&source.text) {
            match parse_hex(line) {
                Some(secret) => secrets.push((secret, span)),
                // The line is not shown: it may be a secret with a digit too few.
                None => findings.push(
                    Diagnostic::error(source, span.start..span.start, "this line is not a secret")
                        .hint("a secret is 32 hexadecimal digits, such as `openssl rand -hex 16` prints"),
                ),
            }
        }
        if let Some((_, span)) = secrets.get(2) {
            findings.push(
                Diagnostic::error(source, span.start..span.start, "there are more than two secrets")
                    .hint("keep the current one first, and the next or the previous one after it"),
            );
        }
        let mut secrets = secrets.into_iter().map(|(secret, _)| secret);
        let Some(current) = secrets.next().filter(|_| !findings.has_errors()) else {
            if !findings.has_errors() {
                let message = format!("there is no cookie secret in `{}`", source.path.display());
                findings.push(Diagnostic::bare(message).hint("write one: 32 hexadecimal digits"));
            }
            return Err(findings);
        };
        Ok(Self { current, other: secrets.next() })
    }

    /// Makes the server cookie for a client at `address`.
    pub fn make(&self, client: ClientCookie, address: IpAddr, now: Duration) -> ServerCookie {
        let [time0, time1, time2, time3] = seconds(now).to_be_bytes();
        let head = [1, 0, 0, 0, time0, time1, time2, time3];
        let mut cookie = [0; 16];
        let (to_head, to_hash) = cookie.split_at_mut(8);
        to_head.copy_from_slice(&head);
        to_hash.copy_from_slice(&hash(self.current, client, head, address).to_le_bytes());
        cookie
    }

    /// Judges a server cookie that came with `client` from `address`. Timestamps are compared as serial numbers (RFC 1982): they wrap.
    pub fn judge(&self, client: ClientCookie, server: ServerCookie, address: IpAddr, now: Duration) -> Worth {
        let (Some(&head), Some(&theirs)) = (server.first_chunk::<8>(), server.last_chunk::<8>()) else {
            return Worth::Bad;
        };
        let [version, _, _, _, time0, time1, time2, time3] = head;
        let age = seconds(now).wrapping_sub(u32::from_be_bytes([time0, time1, time2, time3]));
        let is_ahead = age.wrapping_neg() <= AHEAD_MAX_SECONDS;
        if version != 1 || !(age <= AGE_MAX_SECONDS || is_ahead) {
            return Worth::Bad;
        }
        let theirs = u64::from_le_bytes(theirs);
        if hash(self.current, client, head, address) == theirs {
            return if is_ahead || age <= AGE_FRESH_SECONDS { Worth::Good } else { Worth::Old };
        }
        match self.other {
            Some(other) if hash(other, client, head, address) == theirs => Worth::Old,
            _ => Worth::Bad,
        }
    }
}

/// RFC 9018 §4.4.
fn hash(secret: Secret, client: ClientCookie, head: [u8; 8], address: IpAddr) -> u64 {
    let mut input = [0; 32];
    let (to_client, rest) = input.split_at_mut(8);
    let (to_head, to_address) = rest.split_at_mut(8);
    to_client.copy_from_slice(&client);
    to_head.copy_from_slice(&head);
    let n_octets = match address.to_canonical() {
        IpAddr::V4(v4) => {
            to_address.iter_mut().zip(v4.octets()).for_each(|(to, from)| *to = from);
            20
        }
        IpAddr::V6(v6) => {
            to_address.copy_from_slice(&v6.octets());
            32
        }
    };
    SipHasher24::new_with_key(&secret.0).hash(input.get(..n_octets).unwrap_or_default())
}

/// Seconds since 1970, modulo 2^32 as timestamps are.
#[expect(clippy::cast_possible_truncation, reason = "a serial number that wraps")]
fn seconds(now: Duration) -> u32 {
    now.as_secs() as u32
}

/// Lines that count, without blanks around them, and where they stand.
fn lines(text: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
    let mut at = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let start = at + line.len() - line.trim_start().len();
        at += line.len();
        let line = line.trim();
        (!line.is_empty() && !line.starts_with('#')).then_some((line, start..start + line.len()))
    })
}

fn parse_hex(text: &str) -> Option<Secret> {
    let is_hex = text.len() == 32 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    Some(Secret(u128::from_str_radix(text, 16).ok().filter(|_| is_hex)?.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn octets<const N: usize>(hex: &str) -> [u8; N] {
        let octet = |index: usize| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).expect("hex");
        assert_eq!(hex.len(), 2 * N);
        std::array::from_fn(octet)
    }

    fn secrets(lines: &str) -> Secrets {
        Secrets::parse(&Source::new(Path::new("secrets"), lines.to_owned())).expect("secrets")
    }

    /// A cookie option as RFC 9018 shows them, client and server part together.
    fn split(option: &str) -> (ClientCookie, ServerCookie) {
        (octets(&option[..16]), octets(&option[16..]))
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    #[test]
    fn rfc9018_a1_learning_a_new_server_cookie() {
        let (client, server) = split("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        let address = "198.51.100.100".parse().expect("address");
        let now = Duration::from_secs(1_559_731_985);
        assert_eq!(secrets(SECRET).make(client, address, now), server);
        assert_eq!(secrets(SECRET).judge(client, server, address, now), Worth::Good);
        // The same client seen through a dual-stack socket.
        let mapped = "::ffff:198.51.100.100".parse().expect("address");
        assert_eq!(secrets(SECRET).make(client, mapped, now), server);
    }

    #[test]
    fn rfc9018_a2_the_same_client_learning_a_renewed_cookie() {
        let (client, server) = split("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        let address = "198.51.100.100".parse().expect("address");
        let now = Duration::from_secs(1_559_734_385);
        assert_eq!(secrets(SECRET).judge(client, server, address, now), Worth::Old);
        assert_eq!(secrets(SECRET).make(client, address, now), octets("010000005cf7a871d4a564a1442aca77"));
    }

    #[test]
    fn rfc9018_a3_reserved_octets_are_part_of_the_hash() {
        let (client, server) = split("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let address = "203.0.113.203".parse().expect("address");
        let made = Duration::from_secs(1_559_727_985);
        assert_eq!(secrets(SECRET).judge(client, server, address, made), Worth::Good);
        let now = Duration::from_secs(1_559_734_700);
        assert_eq!(secrets(SECRET).judge(client, server, address, now), Worth::Bad);
        assert_eq!(secrets(SECRET).make(client, address, now), octets("010000005cf7a9acf73a7810aca2381e"));
    }

    #[test]
    fn rfc9018_a4_ipv6_query_with_rolled_over_secret() {
        let old = "dd3bdf9344b678b185a6f5cb60fca715";
        let new = "445536bcd2513298075a5d379663c962";
        let (client, server) = split("22681ab97d52c298010000005cf7c57926556bd0934c72f8");
        let address = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().expect("address");
        let now = Duration::from_secs(1_559_741_961);
        let both = secrets(&format!("# current\n{new}\n\n{old}\n"));
        assert_eq!(both.judge(client, server, address, now), Worth::Old);
        assert_eq!(secrets(new).judge(client, server, address, now), Worth::Bad);
        assert_eq!(both.make(client, address, now), octets("010000005cf7c609a6bb79d16625507a"));
    }

    #[test]
    fn rfc9018_4_3_an_hour_back_and_five_minutes_ahead_are_believed() {
        let (secrets, client, address) = (secrets(SECRET), [7; 8], [192, 0, 2, 1].into());
        // Around the wrap of the timestamp, too.
        for made in [1_559_731_985, u64::from(u32::MAX) - 10, u64::from(u32::MAX) + 10] {
            let server = secrets.make(client, address, Duration::from_secs(made));
            for (offset, worth) in [
                (-301, Worth::Bad),
                (-300, Worth::Good),
                (0, Worth::Good),
                (1800, Worth::Good),
                (1801, Worth::Old),
                (3600, Worth::Old),
                (3601, Worth::Bad),
            ] {
                let now = Duration::from_secs(made.checked_add_signed(offset).expect("after 1970"));
                assert_eq!(secrets.judge(client, server, address, now), worth, "{made} {offset}");
            }
        }
    }

    #[test]
    fn secrets_that_are_none_are_refused_with_their_place_and_not_shown() {
        let refused = |text: &str| {
            let findings = Secrets::parse(&Source::new(Path::new("secrets"), text.to_owned())).expect_err(text);
            findings.0.iter().map(Diagnostic::one_line).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(refused("# none\n\n"), "there is no cookie secret in `secrets`");
        assert_eq!(refused("\n  e5e9\n"), "secrets:2:3: this line is not a secret");
        assert_eq!(refused(&format!("{SECRET}\n+{}\n", &SECRET[1..])), "secrets:2:1: this line is not a secret");
        assert_eq!(refused(&format!("{SECRET}\n").repeat(3)), "secrets:3:1: there are more than two secrets");
        assert_eq!(format!("{:?}", secrets(SECRET)), "Secrets { current: Secret(..), other: None }");
    }

    proptest! {
        #[test]
        fn a_cookie_is_good_for_nobody_else(
            client: [u8; 8], other: [u8; 8], address: [u8; 4], elsewhere: [u8; 4], bit in 0..128usize,
        ) {
            let (secrets, now) = (secrets(SECRET), Duration::from_secs(1_559_731_985));
            let server = secrets.make(client, address.into(), now);
            prop_assert_eq!(secrets.judge(client, server, address.into(), now), Worth::Good);
            if other != client {
                prop_assert_eq!(secrets.judge(other, server, address.into(), now), Worth::Bad);
            }
            if elsewhere != address {
                prop_assert_eq!(secrets.judge(client, server, elsewhere.into(), now), Worth::Bad);
            }
            let mut forged = server;
            forged[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(secrets.judge(client, forged, address.into(), now), Worth::Bad);
        }
    }
}
