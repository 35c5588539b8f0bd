//! The two record types with a notation of their own: LOC (RFC 1876) and APL (RFC 3123).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    fields::wrong,
    words::{WordError, Words},
};

/// Milliseconds of arc of the equator and of the prime meridian on the wire (RFC 1876 §2).
const ARC_ORIGIN: u32 = 1 << 31;
/// Centimetres below the reference ellipsoid from which altitude counts.
const ALTITUDE_ORIGIN: i64 = 10_000_000;

/// Reads `d [m [s]] N|S d [m [s]] E|W altitude [size [horizontal [vertical]]]` (RFC 1876 §3).
pub(super) fn read_loc(words: &mut Words<'_>, wire: &mut Vec<u8>) -> Result<(), WordError> {
    let latitude = read_angle(words, 90, "N", "S")?;
    let longitude = read_angle(words, 180, "E", "W")?;
    let word = words.word()?;
    let altitude = centimetres(word).and_then(|altitude| u32::try_from(altitude + ALTITUDE_ORIGIN).ok());
    let altitude = altitude.ok_or_else(|| wrong("an altitude in metres from -100000.00 to 42849672.95", word))?;
    // Version 0, then the defaults of RFC 1876 §3: 1 m, 10 km, 10 m.
    let mut precisions = [0, 0x12, 0x16, 0x13];
    for precision in precisions.iter_mut().skip(1) {
        let Some(word) = words.opt_word() else { break };
        let octet = centimetres(word).and_then(mantissa_and_exponent);
        *precision = octet.ok_or_else(|| wrong("metres from 0 to 90000000.00", word))?;
    }
    wire.extend_from_slice(&precisions);
    for number in [latitude, longitude, altitude] {
        wire.extend_from_slice(&number.to_be_bytes());
    }
    Ok(())
}

fn read_angle(words: &mut Words<'_>, degrees_max: u32, plus: &str, minus: &str) -> Result<u32, WordError> {
    let expected = || format!("degrees, minutes and seconds that end with `{plus}` or `{minus}`");
    let mut milliseconds = words.number(degrees_max)? * 3_600_000;
    for unit in [60_000, 1000, 0] {
        let word = words.word()?;
        let is_plus = word.eq_ignore_ascii_case(plus);
        if is_plus || word.eq_ignore_ascii_case(minus) {
            if milliseconds > degrees_max * 3_600_000 {
                return Err(wrong(&format!("at most {degrees_max} degrees"), word));
            }
            return Ok(if is_plus { ARC_ORIGIN + milliseconds } else { ARC_ORIGIN - milliseconds });
        }
        let part = match unit {
            60_000 => word.parse().ok().filter(|&minutes: &u32| minutes < 60),
            1000 => decimal(word, 3).and_then(|part| u32::try_from(part).ok()).filter(|&part| part < 60_000),
            _ => None,
        };
        let part = part.ok_or_else(|| wrong(&expected(), word))?;
        milliseconds += if unit == 60_000 { part * unit } else { part };
    }
    Err(wrong(&expected(), ""))
}

/// Metres with up to two decimals and an optional `m`, as centimetres.
fn centimetres(word: &str) -> Option<i64> {
    let metres = word.strip_suffix(['m', 'M']).unwrap_or(word);
    match metres.strip_prefix('-') {
        Some(below) => decimal(below, 2).map(|centimetres| -centimetres),
        None => decimal(metres, 2),
    }
}

/// A number with up to `places` decimals, as a whole number of the smallest place.
fn decimal(text: &str, places: usize) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || whole.is_empty() || !is_number(fraction) || fraction.len() > places {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}

/// One decimal digit and a power of ten, four bits each (RFC 1876 §2); what lies between is rounded down.
fn mantissa_and_exponent(centimetres: i64) -> Option<u8> {
    let mut mantissa = u64::try_from(centimetres).ok()?;
    let mut exponent = 0;
    while mantissa > 9 {
        mantissa /= 10;
        exponent += 1;
    }
    (exponent <= 9).then_some((u8::try_from(mantissa).ok()? << 4) | exponent)
}

/// Reads any number of `[!]family:address/prefix` (RFC 3123 §5).
pub(super) fn read_apl(words: &mut Words<'_>, wire: &mut Vec<u8>) -> Result<(), WordError> {
    while let Some(word) = words.opt_word() {
        let item = address_prefix(word);
        wire.extend(item.ok_or_else(|| wrong("a prefix like `1:192.0.2.0/24` or `!2:2001:db8::/32`", word))?);
    }
    Ok(())
}

fn address_prefix(word: &str) -> Option<Vec<u8>> {
    let (negation, prefix) = match word.strip_prefix('!') {
        Some(prefix) => (0x80, prefix),
        None => (0, word),
    };
    let (family, rest) = prefix.split_once(':')?;
    let (address, length) = rest.split_once('/')?;
    let (family, mut octets) = match family {
        "1" => (1, address.parse::<Ipv4Addr>().ok()?.octets().to_vec()),
        "2" => (2, address.parse::<Ipv6Addr>().ok()?.octets().to_vec()),
        _ => return None,
    };
    let length: u8 = length.parse().ok().filter(|&length: &u8| usize::from(length) <= octets.len() * 8)?;
    while octets.last() == Some(&0) {
        octets.pop();
    }
    let mut item = vec![0, family, length, negation | u8::try_from(octets.len()).ok()?];
    item.extend(octets);
    Some(item)
}
