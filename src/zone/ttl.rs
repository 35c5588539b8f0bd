//! Times in master files: seconds, or numbers with the units that every nameserver reads.

use crate::types::Ttl;

/// Reads `300`, `1h30m`, `1d` ...: units `s`, `m`, `h`, `d`, `w` in either case; a number without one counts seconds.
///
/// Returns `None` for anything else and above 2^31 - 1 (RFC 2181 §8).
pub(super) fn parse_ttl(text: &str) -> Option<Ttl> {
    let mut total = 0u64;
    let mut number = None;
    for byte in text.bytes() {
        if byte.is_ascii_digit() {
            let so_far: u64 = number.unwrap_or(0);
            number = Some(so_far * 10 + u64::from(byte - b'0')).filter(|&number| number <= u64::from(u32::MAX));
            number?;
            continue;
        }
        let unit = match byte.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()? * unit)?;
    }
    if text.is_empty() {
        return None;
    }
    Ttl::new(u32::try_from(total.checked_add(number.unwrap_or(0))?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_takes_units_and_stays_within_31_bits() {
        for (text, seconds) in [
            ("0", 0),
            ("300", 300),
            ("1h30m", 5400),
            ("1D", 86_400),
            ("2w", 1_209_600),
            ("1m5", 65),
            ("2147483647", 0x7fff_ffff),
        ] {
            assert_eq!(parse_ttl(text).map(Ttl::get), Some(seconds), "{text}");
        }
        for text in ["", "h", "1x", "1hh", "-1", "2147483648", "99999999999999999999", "9999999999w", "4000w", "1.5h"] {
            assert_eq!(parse_ttl(text), None, "{text:?}");
        }
    }
}
