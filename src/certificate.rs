//! From when until when a certificate is valid (RFC 5280 §4.1.2.5): the one thing that an operator wants to be told about it, and that the
//! TLS library does not say.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

/// DER tags.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const EXPLICIT_0: u8 = 0xa0;

/// First and last moment of validity of the X.509 certificate `der`; `None` if it is not one.
pub fn validity(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (certificate, _) = take(der, SEQUENCE)?;
    let (mut fields, _) = take(certificate, SEQUENCE)?;
    // The version may be left out; serial number, signature algorithm and issuer may not.
    if let Some((_, rest)) = take(fields, EXPLICIT_0) {
        fields = rest;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, fields) = take(fields, tag)?;
    }
    let (times, _) = take(fields, SEQUENCE)?;
    let (not_before, times) = take_time(times)?;
    let (not_after, _) = take_time(times)?;
    Some((not_before, not_after))
}

/// The content of the element that `der` starts with, if it has this tag, and what follows it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk()?;
    if found != tag {
        return None;
    }
    if length < 0x80 {
        return rest.split_at_checked(usize::from(length));
    }
    // At most three octets of length: a certificate is not larger.
    let (octets, rest) = rest.split_at_checked(usize::from(length - 0x80)).filter(|(octets, _)| octets.len() <= 3)?;
    let length = octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet));
    rest.split_at_checked(length)
}

fn take_time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    if let Some((short, rest)) = take(der, UTC_TIME) {
        // Years of two digits are those from 1950 to 2049.
        let short = std::str::from_utf8(short).ok()?;
        let century = if short.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" };
        return Some((time(&format!("{century}{short}"))?, rest));
    }
    let (long, rest) = take(der, GENERALIZED_TIME)?;
    Some((time(std::str::from_utf8(long).ok()?)?, rest))
}

fn time(text: &str) -> Option<Timestamp> {
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    // `99991231235959Z` says "never", and lies beyond what a timestamp can say.
    Some(Offset::UTC.to_timestamp(time).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn validity_of(years: (i32, i32)) -> Option<(Timestamp, Timestamp)> {
        let mut parameters = CertificateParams::new(vec!["ns1.example.org".to_owned()]).expect("parameters");
        (parameters.not_before, parameters.not_after) = (date_time_ymd(years.0, 2, 3), date_time_ymd(years.1, 12, 31));
        validity(parameters.self_signed(&KeyPair::generate().expect("key")).expect("signed").der())
    }

    fn at(time: &str) -> Timestamp {
        time.parse().expect("time")
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let expected = (at("1999-02-03T00:00:00Z"), at("2049-12-31T00:00:00Z"));
        assert_eq!(validity_of((1999, 2049)), Some(expected));
        let expected = (at("2050-02-03T00:00:00Z"), at("2100-12-31T00:00:00Z"));
        assert_eq!(validity_of((2050, 2100)), Some(expected));
        assert_eq!(validity_of((2050, 9999)).map(|(_, not_after)| not_after), Some(Timestamp::MAX));
    }

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        let parameters = CertificateParams::new(vec!["ns1.example.org".to_owned()]).expect("parameters");
        let certificate = parameters.self_signed(&KeyPair::generate().expect("key")).expect("signed");
        for end in 0..certificate.der().len() {
            assert_eq!(validity(&certificate.der()[..end]), None);
        }
        assert_eq!(validity(&[0x30; 100]), None);
    }
}
