//! Types whose rdata is a row of plain fields: one table says which, one loop reads them.
//!
//! The types that zones are full of (A, AAAA, NS, MX, TXT ...) are here for speed and for errors at the very word; those that the `domain`
//! crate lacks are here because nobody else reads them.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::{
    rdata::dnssec::RtypeBitmap,
    utils::{base16, base64},
};

use super::{
    location, rtype,
    ttl::parse_ttl,
    words::{WordError, Words},
};

/// One field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    U8,
    U16,
    U32,
    /// Seconds, with or without units.
    Seconds,
    Ipv4,
    Ipv6,
    Name,
    /// A text with its length octet.
    Text,
    /// The same, and may be missing.
    OptionalText,
    /// One or more of them.
    Texts,
    /// The rest of the rdata as one text without length octet.
    Target,
    /// The rest as hexadecimal digits.
    Hex,
    /// One word of hexadecimal digits after `0x`, dots ignored (RFC 1706 §7).
    HexAfter0x,
    /// The rest in Base64.
    Base64,
    /// The rest as type mnemonics, at least none.
    Types,
    /// So many octets as pairs of hexadecimal digits with `-` between (RFC 7043).
    Eui(u8),
    /// 64 bits as four groups of hexadecimal digits with `:` between (RFC 6742).
    Locator,
    /// A number or a mnemonic of RFC 4398 §2.1.
    CertificateType,
    /// A number or a mnemonic of DNSSEC.
    Algorithm,
    /// LOC (RFC 1876 §3).
    Location,
    /// APL (RFC 3123 §5).
    AddressPrefixes,
}

/// The fields of a type; `None` if the table does not have it.
pub(super) fn of(rtype: u16) -> Option<&'static [Field]> {
    use Field::*;
    Some(match rtype {
        rtype::A => &[Ipv4],
        rtype::AAAA => &[Ipv6],
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, NSAP-PTR, DNAME
        2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 23 | 39 => &[Name],
        rtype::SOA => &[Name, Name, U32, Seconds, Seconds, Seconds, Seconds],
        rtype::MX | rtype::AFSDB | rtype::RT | rtype::KX => &[U16, Name],
        // LP
        107 => &[U16, Name],
        // TXT, NINFO, SPF, AVC, RESINFO, WALLET, CLA
        16 | 56 | 99 | 258 | 261 | 262 | 263 => &[Texts],
        rtype::SRV => &[U16, U16, U16, Name],
        // X25
        19 => &[Text],
        // ISDN
        20 => &[Text, OptionalText],
        // NSAP
        22 => &[HexAfter0x],
        // KEY, DNSKEY, RKEY, CDNSKEY
        25 | 48 | 57 | 60 => &[U16, U8, Algorithm, Base64],
        // PX
        26 => &[U16, Name, Name],
        // GPOS
        27 => &[Text, Text, Text],
        // LOC
        29 => &[Location],
        // EID, NIMLOC
        31 | 32 => &[Hex],
        // CERT
        37 => &[CertificateType, U16, Algorithm, Base64],
        // APL
        42 => &[AddressPrefixes],
        // DHCID
        49 => &[Base64],
        // SMIMEA
        53 => &[U8, U8, U8, Hex],
        // TALINK
        58 => &[Name, Name],
        // CSYNC
        62 => &[U32, U16, Types],
        // UID, GID
        101 | 102 => &[U32],
        // NID, L64
        104 | 106 => &[U16, Locator],
        // L32
        105 => &[U16, Ipv4],
        // EUI48, EUI64
        108 => &[Eui(6)],
        109 => &[Eui(8)],
        // URI
        256 => &[U16, U16, Target],
        // DS, CDS, TA, DLV
        43 | 59 | 32768 | 32769 => &[U16, Algorithm, U8, Hex],
        _ => return None,
    })
}

/// Reads `fields` one after another and appends their wire form.
pub(super) fn read(words: &mut Words<'_>, fields: &[Field], wire: &mut Vec<u8>) -> Result<(), WordError> {
    fields.iter().try_for_each(|&field| read_one(words, field, wire))
}

fn read_one(words: &mut Words<'_>, field: Field, wire: &mut Vec<u8>) -> Result<(), WordError> {
    match field {
        Field::U8 => push_u8(wire, words.number(255)?),
        Field::U16 => push_u16(wire, words.number(65_535)?),
        Field::U32 => wire.extend_from_slice(&words.number(u32::MAX)?.to_be_bytes()),
        Field::Seconds => {
            let word = words.word()?;
            let seconds = parse_ttl(word).ok_or_else(|| wrong("seconds, or a time such as `1h30m`", word))?;
            wire.extend_from_slice(&seconds.get().to_be_bytes());
        }
        Field::Ipv4 => {
            let word = words.word()?;
            let address: Ipv4Addr = word.parse().map_err(|_| wrong("an IPv4 address", word))?;
            wire.extend_from_slice(&address.octets());
        }
        Field::Ipv6 => {
            let word = words.word()?;
            let address: Ipv6Addr = word.parse().map_err(|_| wrong("an IPv6 address", word))?;
            wire.extend_from_slice(&address.octets());
        }
        Field::Name => words.name(wire)?,
        Field::Text => words.charstr(wire)?,
        Field::OptionalText if words.is_at_end() => {}
        Field::OptionalText => words.charstr(wire)?,
        Field::Texts => {
            words.charstr(wire)?;
            while !words.is_at_end() {
                words.charstr(wire)?;
            }
        }
        Field::Target => words.octets(wire)?,
        Field::Hex => {
            let digits = words.rest_joined()?;
            wire.extend(
                base16::decode_vec(&digits).map_err(|_| wrong("an even number of hexadecimal digits", &digits))?,
            );
        }
        Field::HexAfter0x => {
            let word = words.word()?;
            let digits = word.strip_prefix("0x").or(word.strip_prefix("0X")).map(|digits| digits.replace('.', ""));
            let octets = digits.and_then(|digits| base16::decode_vec(&digits).ok());
            wire.extend(octets.ok_or_else(|| wrong("`0x` and an even number of hexadecimal digits", word))?);
        }
        Field::Base64 => {
            let text = words.rest_joined()?;
            wire.extend(base64::decode::<Vec<u8>>(&text).map_err(|_| wrong("Base64", &text))?);
        }
        Field::Types => wire.extend_from_slice(RtypeBitmap::<Vec<u8>>::scan(words)?.as_slice()),
        Field::Eui(n_octets) => {
            let word = words.word()?;
            let octets = groups(word, '-', usize::from(n_octets), 2)
                .ok_or_else(|| wrong("pairs of hexadecimal digits like `00-00-5e-`...", word))?;
            wire.extend(octets.iter().filter_map(|&group| u8::try_from(group).ok()));
        }
        Field::Locator => {
            let word = words.word()?;
            let bits = groups(word, ':', 4, 4)
                .ok_or_else(|| wrong("four groups of hexadecimal digits like `2001:db8:1:2`", word))?;
            bits.iter().for_each(|group| wire.extend_from_slice(&group.to_be_bytes()));
        }
        Field::CertificateType => push_u16(wire, mnemonic(words, &CERTIFICATE_TYPES, 65_535)?),
        Field::Algorithm => push_u8(wire, mnemonic(words, &ALGORITHMS, 255)?),
        Field::Location => location::read_loc(words, wire)?,
        Field::AddressPrefixes => location::read_apl(words, wire)?,
    }
    Ok(())
}

/// RFC 4398 §2.1.
const CERTIFICATE_TYPES: [(&str, u32); 10] = [
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// The registry of DNSSEC algorithm numbers.
const ALGORITHMS: [(&str, u32); 17] = [
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("ECC", 4),
    ("RSASHA1", 5),
    ("DSA-NSEC3-SHA1", 6),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECC-GOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

fn mnemonic(words: &mut Words<'_>, mnemonics: &[(&str, u32)], max: u32) -> Result<u32, WordError> {
    let before = words.clone();
    let word = words.word()?;
    if let Some((_, number)) = mnemonics.iter().find(|(mnemonic, _)| word.eq_ignore_ascii_case(mnemonic)) {
        return Ok(*number);
    }
    *words = before;
    words.number(max)
}

/// Reads exactly `n` groups of 1 to `n_digits` hexadecimal digits.
fn groups(word: &str, separator: char, n: usize, n_digits: usize) -> Option<Vec<u16>> {
    let is_group =
        |group: &str| (1..=n_digits).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    let groups: Option<Vec<u16>> =
        word.split(separator).map(|group| u16::from_str_radix(group, 16).ok().filter(|_| is_group(group))).collect();
    groups.filter(|groups| groups.len() == n)
}

pub(super) fn wrong(expected: &str, found: &str) -> WordError {
    WordError(format!("expected {expected}, found `{found}`").into())
}

fn push_u8(wire: &mut Vec<u8>, number: u32) {
    wire.extend(u8::try_from(number));
}

fn push_u16(wire: &mut Vec<u8>, number: u32) {
    wire.extend(u16::try_from(number).unwrap_or_default().to_be_bytes());
}
