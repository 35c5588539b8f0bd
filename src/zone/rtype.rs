//! Record types by number and by the mnemonic of a master file.
//!
//! The numbers are those that this program decides by; the mnemonics are all that IANA lists.

use std::str::FromStr;

use domain::base::iana::Rtype;

#[expect(missing_docs, reason = "each is the number of the type it is named after")]
mod numbers {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AFSDB: u16 = 18;
    pub const RT: u16 = 21;
    pub const KEY: u16 = 25;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const KX: u16 = 36;
    pub const DNAME: u16 = 39;
    pub const DS: u16 = 43;
    pub const RRSIG: u16 = 46;
    pub const NSEC: u16 = 47;
    pub const DNSKEY: u16 = 48;
    pub const HTTPS: u16 = 65;
}
pub use numbers::*;

/// The number of a mnemonic in any case, or of `TYPE123` (RFC 3597 §5).
pub fn parse(mnemonic: &str) -> Option<u16> {
    // The two that zones are full of, and the ones that the crate spells otherwise or not at all.
    for (name, rtype) in [("A", A), ("AAAA", AAAA), ("NSAP-PTR", 23), ("NULL", 10), ("MB", 7)] {
        if mnemonic.eq_ignore_ascii_case(name) {
            return Some(rtype);
        }
    }
    Rtype::from_str(mnemonic).ok().map(Rtype::to_int)
}

/// The mnemonic of a type, `TYPE123` for one without.
pub fn show(rtype: u16) -> String {
    Rtype::from_int(rtype).to_string()
}

/// Whether records of this type can stand in a zone: not questions, not what is made for one message (RFC 6895 §3.1).
pub fn is_for_zones(rtype: u16) -> bool {
    !matches!(rtype, 0 | 41 | 128..=255)
}
