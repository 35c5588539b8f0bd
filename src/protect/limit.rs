//! Response rate limiting: how many answers of one kind a client's network is sent by UDP, where senders can be forged.
//!
//! Buckets of a fixed number in one table, found by a keyed hash, shared by all workers without a lock. Nothing is allocated and nothing
//! evicted: networks that fall on the same buckets share them. Each has two places and is limited only if both are empty, so that one that
//! is flooded hardly ever stands in for another.

use std::{
    fmt,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use siphasher::sip::SipHasher13;

use crate::{config, name::NAME_OCTETS_MAX};

/// What kind of answer is counted; each kind has buckets of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// The name exists: by the name asked for or, where a wildcard or a DNAME stands for it, by their parent.
    Answer,
    /// A delegation: by its name.
    Referral,
    /// The name does not exist: by the zone.
    NxDomain,
    /// Refused or malformed: by nothing but the client's network.
    Error,
}

/// What may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Anything.
    Free,
    /// An answer, but a small one: more than half of the burst is used up.
    Tight,
    /// No answer, but a hint to come again by TCP or with a cookie: who is not forged gets through.
    Slip,
    /// Nothing.
    Drop,
}

/// Limits and their buckets.
pub struct RateLimit {
    settings: config::RateLimit,
    key: [u8; 16],
    bucket: Bucket,
    /// Each the time at which the bucket is full again, in nanoseconds since 1970.
    full_at: Box<[AtomicU64]>,
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What goes through a bucket, in nanoseconds: a token is the time that it takes to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    token: u64,
    /// As many tokens as it holds.
    burst: u64,
}

/// A bucket further from full than this was emptied before the clock was set back.
const CLOCK_SLACK: u64 = 10_000_000_000;
/// Other workers that may come in between while a token is taken; then it counts as taken by them.
const TRIES_MAX: usize = 4;

impl Bucket {
    fn new(responses_per_second: u32, burst: u32) -> Self {
        // Rounded up: never more than the rate.
        let token = 1_000_000_000_u64.div_ceil(u64::from(responses_per_second.max(1)));
        Self { token, burst: token * u64::from(burst.max(1)) }
    }

    /// Takes a token from a bucket that is full at `full_at`; `None` if it has none.
    fn take(self, full_at: u64, now: u64) -> Option<u64> {
        let is_plausible = full_at <= now.saturating_add(self.burst).saturating_add(CLOCK_SLACK);
        let full_at = if is_plausible { full_at.max(now) } else { now };
        let next = full_at.saturating_add(self.token);
        (next <= now.saturating_add(self.burst)).then_some(next)
    }
}

impl RateLimit {
    /// Full buckets. `key` is random, so that nobody can choose whose bucket to share.
    pub fn new(settings: config::RateLimit, key: [u8; 16]) -> Self {
        let full_at = (0..settings.table_size.max(2)).map(|_| AtomicU64::new(0)).collect();
        let bucket = Bucket::new(settings.responses_per_second, settings.burst);
        Self { settings, key, bucket, full_at }
    }

    /// What it was made of.
    pub fn settings(&self) -> &config::RateLimit {
        &self.settings
    }

    /// Counts an answer of `class` about `name` (wire form, lower case) to `client`, and says what may be sent. `random` draws who slips.
    ///
    /// One bucket never lets through more than its burst and what comes in by its rate, but for one answer a worker at the same moment.
    /// Costs a hash and two places in the table.
    pub fn judge(&self, client: IpAddr, class: Class, name: &[u8], now: Duration, random: u64) -> Verdict {
        let client = client.to_canonical();
        if self.settings.exempt.iter().any(|network| network.contains(&client)) {
            return Verdict::Free;
        }
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let places = self.places(client, class, name);
        // Both are charged, whatever the first one says, and one with less than a token loses that: neither is ever fuller than a bucket of
        // this client's own would be.
        let taken = places.map(|place| self.take(place, now));
        if let [Some(_), None] | [None, Some(_)] = taken {
            places
                .into_iter()
                .zip(taken)
                .filter(|(_, taken)| taken.is_none())
                .for_each(|(place, _)| self.empty(place, now));
        }
        match taken.into_iter().flatten().min() {
            Some(next) if next.saturating_sub(now) > self.bucket.burst / 2 => Verdict::Tight,
            Some(_) => Verdict::Free,
            None if self.settings.slip > 0 && random.is_multiple_of(u64::from(self.settings.slip)) => Verdict::Slip,
            None => Verdict::Drop,
        }
    }

    fn take(&self, place: usize, now: u64) -> Option<u64> {
        let full_at = self.full_at.get(place)?;
        let mut old = full_at.load(Ordering::Relaxed);
        for _ in 0..TRIES_MAX {
            let next = self.bucket.take(old, now)?;
            match full_at.compare_exchange_weak(old, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(next),
                Err(newer) => old = newer,
            }
        }
        None
    }

    fn empty(&self, place: usize, now: u64) {
        if let Some(full_at) = self.full_at.get(place) {
            full_at.fetch_max(now.saturating_add(self.bucket.burst), Ordering::Relaxed);
        }
    }

    /// Two different places in the table.
    fn places(&self, client: IpAddr, class: Class, name: &[u8]) -> [usize; 2] {
        let mut input = [0; 17 + NAME_OCTETS_MAX];
        let network = match client {
            IpAddr::V4(v4) => cut(u128::from(v4.to_bits()), self.settings.prefix_v4, 32),
            IpAddr::V6(v6) => cut(v6.to_bits(), self.settings.prefix_v6, 128),
        };
        let family = u8::from(client.is_ipv6());
        let head = input.iter_mut().zip(std::iter::once(class as u8 | family << 7).chain(network.to_be_bytes()));
        head.for_each(|(to, from)| *to = from);
        let n_octets = 17 + name.len().min(NAME_OCTETS_MAX);
        if let Some(to) = input.get_mut(17..n_octets) {
            to.copy_from_slice(name.get(..to.len()).unwrap_or_default());
        }
        let hash = SipHasher13::new_with_key(&self.key).hash(input.get(..n_octets).unwrap_or_default());
        let n_places = self.full_at.len() as u64;
        let first = ((hash >> 32) * n_places) >> 32;
        let step = 1 + (((hash & 0xffff_ffff) * (n_places - 1)) >> 32);
        let second = (first + step) % n_places;
        [first, second].map(|place| usize::try_from(place).unwrap_or(0))
    }
}

/// The first `prefix` bits of the `n_bits` of an address.
fn cut(address: u128, prefix: u8, n_bits: u8) -> u128 {
    let n_host_bits = u32::from(n_bits.saturating_sub(prefix));
    address.checked_shr(n_host_bits).unwrap_or(0).checked_shl(n_host_bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(settings: config::RateLimit) -> RateLimit {
        RateLimit::new(settings, [7; 16])
    }

    fn settings(responses_per_second: u32, burst: u32) -> config::RateLimit {
        config::RateLimit { responses_per_second, burst, slip: 0, ..config::RateLimit::default() }
    }

    fn is_let_through(verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Free | Verdict::Tight)
    }

    const CLIENT: [u8; 4] = [192, 0, 2, 1];
    const NOW: Duration = Duration::from_secs(1_559_731_985);

    /// Answers to `client` about `name`, of `n` asked for at once.
    fn let_through(limit: &RateLimit, client: &str, class: Class, name: &[u8], n: usize) -> usize {
        let client = client.parse().expect("address");
        (0..n).filter(|_| is_let_through(limit.judge(client, class, name, NOW, 1))).count()
    }

    #[test]
    fn a_burst_goes_through_then_the_rate() {
        let limit = limit(settings(10, 20));
        assert_eq!(let_through(&limit, "192.0.2.1", Class::Answer, b"\x01a\0", 100), 20);
        let mut n_more = 0;
        for millisecond in 0..1000 {
            let now = NOW + Duration::from_millis(millisecond);
            n_more += usize::from(is_let_through(limit.judge(CLIENT.into(), Class::Answer, b"\x01a\0", now, 1)));
        }
        assert_eq!(n_more, 9);
    }

    #[test]
    fn networks_names_and_classes_have_buckets_of_their_own() {
        let limit = limit(settings(10, 20));
        assert_eq!(let_through(&limit, "192.0.2.1", Class::Answer, b"\x01a\0", 15), 15);
        assert_eq!(let_through(&limit, "192.0.2.255", Class::Answer, b"\x01a\0", 15), 5);
        assert_eq!(let_through(&limit, "::ffff:192.0.2.7", Class::Answer, b"\x01a\0", 15), 0);
        for (client, class, name) in [
            ("192.0.3.1", Class::Answer, &b"\x01a\0"[..]),
            ("192.0.2.1", Class::NxDomain, b"\x01a\0"),
            ("192.0.2.1", Class::Answer, b"\x01b\0"),
            ("::c0:0:201", Class::Answer, b"\x01a\0"),
            ("2001:db8::1", Class::Error, b""),
            ("2001:db8:0:100::1", Class::Error, b""),
        ] {
            assert_eq!(let_through(&limit, client, class, name, 100), 20, "{client} {class:?}");
        }
        assert_eq!(let_through(&limit, "2001:db8:0:ff::1", Class::Error, b"", 100), 0);
    }

    #[test]
    fn exempt_networks_are_never_limited() {
        let exempt = vec!["192.0.2.0/28".parse().expect("network")];
        let limit = limit(config::RateLimit { exempt, ..settings(10, 20) });
        assert_eq!(let_through(&limit, "192.0.2.1", Class::Answer, b"\0", 100), 100);
        assert_eq!(let_through(&limit, "::ffff:192.0.2.1", Class::Answer, b"\0", 100), 100);
        assert_eq!(let_through(&limit, "192.0.2.16", Class::Answer, b"\0", 100), 20);
    }

    #[test]
    fn one_of_slip_is_told_to_come_again_and_half_a_burst_is_tight() {
        let limit = limit(config::RateLimit { slip: 2, ..settings(10, 20) });
        let judged = |random| limit.judge(CLIENT.into(), Class::Answer, b"\0", NOW, random);
        let verdicts: Vec<_> = (0..24).map(judged).collect();
        assert_eq!(verdicts[..10], [Verdict::Free; 10]);
        assert_eq!(verdicts[10..20], [Verdict::Tight; 10]);
        assert_eq!(verdicts[20..], [Verdict::Slip, Verdict::Drop, Verdict::Slip, Verdict::Drop]);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let limit = limit(settings(10, 20));
        assert_eq!(let_through(&limit, "192.0.2.1", Class::Answer, b"\0", 100), 20);
        let earlier = NOW - Duration::from_secs(3600);
        assert_eq!(limit.judge(CLIENT.into(), Class::Answer, b"\0", earlier, 1), Verdict::Free);
    }

    proptest! {
        #[test]
        fn never_more_than_rate_and_burst_whoever_else_asks(
            rate in 1..500u32,
            burst in 1..100u32,
            table_size in 2..64usize,
            // Who asks, and after how many milliseconds.
            asked in prop::collection::vec((0..20u8, 0..50u64), 1..400),
        ) {
            let limit = limit(config::RateLimit { table_size, ..settings(rate, burst) });
            let mut now = NOW;
            let mut answered: Vec<Vec<Duration>> = vec![Vec::new(); 20];
            for (network, wait) in asked {
                now += Duration::from_millis(wait);
                let client = [10, 0, network, 1].into();
                if is_let_through(limit.judge(client, Class::Answer, b"\x01a\0", now, 1)) {
                    answered[usize::from(network)].push(now);
                }
            }
            // In whichever time, for each of them.
            for times in answered {
                for (first, &from) in times.iter().enumerate() {
                    for (last, &to) in times.iter().enumerate().skip(first) {
                        let most = u128::from(burst) + (to - from).as_nanos() * u128::from(rate) / 1_000_000_000;
                        prop_assert!((last - first + 1) as u128 <= most, "{} in {:?}", last - first + 1, to - from);
                    }
                }
            }
        }

        #[test]
        fn a_flood_leaves_the_others_alone(networks in prop::collection::vec(1..256u32, 1..200), key: [u8; 16]) {
            let limit = RateLimit::new(settings(10, 20), key);
            for _ in 0..1000 {
                limit.judge(CLIENT.into(), Class::Answer, b"\x01a\0", NOW, 1);
            }
            // Two of 65,536 places are empty: to fall on both is one in two thousand millions.
            for network in networks {
                let client = (0x0a00_0000 | network << 8).to_be_bytes().into();
                prop_assert!(is_let_through(limit.judge(client, Class::Answer, b"\x01a\0", NOW, 1)));
            }
        }
    }
}
