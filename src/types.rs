//! The words of the whole program as types: each checks its range once, in its constructor.
//!
//! Deliberately without behaviour of their own: what is done with them stands where it is decided.

use std::{fmt, net::IpAddr, num::NonZeroU16, time::Duration};

use serde::{Deserialize, Serialize};

/// Relative share of traffic, 1 ..= 65535. "No traffic" is [`Admin::Drain`], not weight 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(NonZeroU16);

impl Weight {
    /// The weight of a realserver that names none.
    pub const ONE: Weight = Weight(NonZeroU16::MIN);

    /// Returns `None` for 0.
    pub fn new(weight: u16) -> Option<Self> {
        NonZeroU16::new(weight).map(Self)
    }

    /// The number itself, never 0.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

/// Part of its weight that a realserver takes, in tenths: 1 ..= 10. Less than all of it while it has just come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenths(u8);

impl Tenths {
    /// All of its weight.
    pub const ALL: Tenths = Tenths(10);

    /// The nearest part that there is.
    pub fn new(tenths: u8) -> Self {
        Self(tenths.clamp(1, 10))
    }

    /// 1 to 10.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// Seconds a resolver may cache an answer; at most 2^31 - 1 (RFC 2181 §8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Ttl(u32);

impl Ttl {
    /// The longest TTL there is.
    pub const MAX: Ttl = Ttl(0x7fff_ffff);

    /// Returns `None` above 2^31 - 1.
    pub fn new(seconds: u32) -> Option<Self> {
        (seconds <= Self::MAX.0).then_some(Self(seconds))
    }

    /// A TTL as a resolver reads it from the wire: one with the top bit set counts as 0 (RFC 2181 §8).
    pub fn from_wire(seconds: u32) -> Self {
        Self::new(seconds).unwrap_or(Self(0))
    }

    /// Seconds.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// ECS scope prefix length of an answer: 0 if it depends on no client, else at most 32 (IPv4) or 128 (IPv6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Scope(pub u8);

/// Index into [`Snapshot::pools`](crate::snapshot::Snapshot::pools) of the same snapshot; never stored across snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u32);

/// Pools within pools, from the one that a name hands over to, to the one with realservers.
pub const POOL_DEPTH_MAX: usize = 16;

/// Index into [`Realservers::all`](crate::snapshot::Realservers::all) of the same snapshot; never stored across snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RealserverId(pub u16);

/// Number of a snapshot, counted up by one with each that is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Generation(pub u64);

/// Address family of an address or a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Family {
    /// IPv4, record type A.
    V4,
    /// IPv6, record type AAAA.
    V6,
}

impl Family {
    /// The family of `address`.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// What the probes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Enough successes in a row, or no check at all.
    Up,
    /// Enough failures in a row.
    Down,
    /// No probe has ended yet. Counts as eligible: a stale guess serves more users than none.
    #[default]
    Unknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
        })
    }
}

/// What an operator has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// Takes traffic when healthy.
    #[default]
    Ready,
    /// Takes nothing new; what runs, runs on. Still probed.
    Drain,
    /// Takes nothing and is not probed.
    Maint,
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        })
    }
}

/// What an operator says of health, whatever probes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Force {
    /// Nothing: probes decide.
    #[default]
    Auto,
    /// It is up.
    Up,
    /// It is down.
    Down,
}

impl Force {
    /// The health that is forced, if one is.
    pub fn health(self) -> Option<Health> {
        match self {
            Self::Auto => None,
            Self::Up => Some(Health::Up),
            Self::Down => Some(Health::Down),
        }
    }
}

impl fmt::Display for Force {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Up => "forced up",
            Self::Down => "forced down",
        })
    }
}

/// Reads a duration as operators write it: a whole number and one unit of `ms`, `s`, `m`, `h`, `d`.
///
/// Returns `None` for anything else, for a missing unit and for what is longer than 365 days.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let milliseconds = number.checked_mul(match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    })?;
    (milliseconds <= 365 * 86_400_000).then(|| Duration::from_millis(milliseconds))
}

/// Writes a duration the way [`parse_duration`] reads it, in the largest unit that loses nothing.
pub fn format_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if milliseconds >= size && milliseconds.is_multiple_of(size) {
            return format!("{}{unit}", milliseconds / size);
        }
    }
    format!("{milliseconds}ms")
}

/// Reads a size as operators write it: a whole number and one unit of `B`, `KiB`, `MiB`. `None` for anything else.
pub fn parse_octets(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: usize = number.parse().ok()?;
    number.checked_mul(match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    })
}

/// Writes a size the way [`parse_octets`] reads it, in the largest unit that loses nothing.
pub fn format_octets(octets: usize) -> String {
    for (unit, size) in [("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if octets >= size && octets.is_multiple_of(size) {
            return format!("{}{unit}", octets / size);
        }
    }
    format!("{octets}B")
}

/// Where a realserver stands in the configuration: the key of everything that outlives snapshots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RealserverName {
    /// Its pool.
    pub pool: Box<str>,
    /// Its name there.
    pub realserver: Box<str>,
}

impl fmt::Display for RealserverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool, self.realserver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_read_back_as_written() {
        for text in ["5s", "500ms", "1500ms", "5m", "2h", "1d", "90s"] {
            let duration = parse_duration(text).expect(text);
            assert_eq!(format_duration(duration), text);
        }
        for text in ["", "5", "s", "5 s", "5sec", "-1s", "1.5s", "99999999999999999999s", "366d"] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_need_a_unit_and_read_back_as_written() {
        for text in ["1B", "64KiB", "1MiB", "1025B", "1536KiB"] {
            assert_eq!(parse_octets(text).map(format_octets).as_deref(), Some(text));
        }
        for text in ["", "5", "KiB", "5 KiB", "5kb", "-1B", "99999999999999999999B", "18446744073709551615KiB"] {
            assert_eq!(parse_octets(text), None, "{text:?}");
        }
    }

    #[test]
    fn ttl_above_31_bits_counts_as_zero_on_the_wire() {
        assert_eq!(Ttl::new(0x8000_0000), None);
        assert_eq!(Ttl::from_wire(0x8000_0000).get(), 0);
        assert_eq!(Ttl::from_wire(300).get(), 300);
    }
}
