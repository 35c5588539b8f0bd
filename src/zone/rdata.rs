//! Record data: from the words of an entry to wire form, ready to be copied into a message.
//!
//! Three ways. Types whose rdata is a row of plain fields are read by a table ([`fields`]); the other types that the `domain` crate knows are
//! read by it, through [`Words`]; and every type, known or not, may be written as octets (RFC 3597 §5). Names are never compressed and keep
//! their letters as written.

use domain::{
    base::{
        Name,
        iana::Rtype,
        name::ParsedName,
        rdata::{ComposeRecordData, ParseRecordData},
        scan::ScannerError,
    },
    dep::octseq::Parser,
    rdata::ZoneRecordData,
    utils::base16,
};

use super::{
    fields, rtype,
    words::{WordError, Words},
};

/// Longest rdata: its length is 16 bits on the wire.
const RDATA_OCTETS_MAX: usize = 65_535;

/// Reads the rdata of `rtype` from the rest of an entry and appends it to `wire`. On an error `words` tells the place, and what was appended
/// is of no use.
pub(super) fn read(words: &mut Words<'_>, rtype: u16, wire: &mut Vec<u8>) -> Result<(), WordError> {
    let start = wire.len();
    if words.take_unknown_marker() {
        read_octets(words, rtype, wire)?;
    } else if let Some(fields) = fields::of(rtype) {
        fields::read(words, fields, wire)?;
    } else {
        read_known(words, rtype, wire)?;
    }
    if !words.is_at_end() {
        words.next_token()?;
        return Err(WordError::trailing_tokens());
    }
    if wire.len() - start > RDATA_OCTETS_MAX {
        return Err("record data is longer than 65,535 octets".into());
    }
    Ok(())
}

fn read_known(words: &mut Words<'_>, rtype: u16, wire: &mut Vec<u8>) -> Result<(), WordError> {
    let before = words.clone();
    let read = ZoneRecordData::<Vec<u8>, Name<Vec<u8>>>::scan(Rtype::from_int(rtype), words);
    // The crate has no list to ask, but a type that it does not know it refuses before it reads a word.
    if read.is_err() && words.is_at(&before) && !words.is_at_end() {
        let name = rtype::show(rtype);
        return Err(WordError(
            format!("how {name} is written is not known here; write it as `TYPE{rtype} \\# LENGTH HEX`").into(),
        ));
    }
    // Writing to a Vec cannot fail.
    read?.compose_rdata(wire).map_err(|_| WordError::short_buf())
}

/// Reads `LENGTH HEX...` (RFC 3597 §5). For a type that is known here the octets must be what that type says (§4).
fn read_octets(words: &mut Words<'_>, rtype: u16, wire: &mut Vec<u8>) -> Result<(), WordError> {
    let length = words.number(65_535)? as usize;
    let hex = if words.is_at_end() { String::new() } else { words.rest_joined()? };
    let octets: Vec<u8> =
        base16::decode(&hex).map_err(|_| WordError("expected an even number of hexadecimal digits".into()))?;
    if octets.len() != length {
        return Err(WordError(format!("says {length} octets but holds {}", octets.len()).into()));
    }
    let mut parser = Parser::from_ref(&octets[..]);
    type Parsed<'o> = ZoneRecordData<&'o [u8], ParsedName<&'o [u8]>>;
    let parsed = Parsed::parse_rdata(Rtype::from_int(rtype), &mut parser).ok().flatten();
    let mut rewritten = Vec::with_capacity(length);
    let is_sound = parsed.is_some_and(|rdata| rdata.compose_rdata(&mut rewritten).is_ok() && rewritten == octets);
    if !is_sound {
        return Err(WordError(format!("these octets are no {} record", rtype::show(rtype)).into()));
    }
    wire.extend_from_slice(&octets);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::entry::Splitter;

    /// Reads `type data` relative to `example.org.`; returns the octets in hexadecimal, or what is wrong.
    fn read_text(text: &str) -> String {
        let mut tokens = Vec::new();
        Splitter::new(text).next_entry(&mut tokens).expect("an entry").expect("tokens");
        let mut words = Words::new(text, &tokens, b"\x07example\x03org\x00");
        let rtype = rtype::parse(words.word().expect("type")).expect("known type");
        let mut wire = Vec::new();
        match read(&mut words, rtype, &mut wire) {
            Ok(()) => base16::encode_string(&wire).to_lowercase(),
            Err(error) => format!("{}: {error}", words.span().0),
        }
    }

    fn check(text: &str, expected: &str) {
        let expected = expected.replace(' ', "");
        assert_eq!(read_text(text), expected, "{text}");
        let mnemonic = text.split(' ').next().expect("type");
        let as_octets = format!("{mnemonic} \\# {} {expected}", expected.len() / 2);
        assert_eq!(read_text(&as_octets), expected, "{as_octets}");
    }

    fn check_error(text: &str, expected: &str) {
        assert_eq!(read_text(text), expected, "{text}");
    }

    #[test]
    fn every_type_with_a_notation_becomes_wire_form() {
        check("A 192.0.2.1", "c0000201");
        check("AAAA 2001:db8::1", "20010db8000000000000000000000001");
        check(r#"CAA 0 issue "ca.example.net""#, "00 05 6973737565 63612e6578616d706c652e6e6574");
        check("CDS 60485 5 1 2BB183AF", "ec45 05 01 2bb183af");
        check("CDNSKEY 256 3 5 AQPS", "0100 03 05 0103d2");
        check("CNAME a", "0161 076578616d706c65 036f7267 00");
        check("DNAME a.", "0161 00");
        check("DNSKEY 256 3 RSASHA256 AQ PS", "0100 03 08 0103d2");
        check("DS 60485 5 1 2BB1 83AF", "ec45 05 01 2bb183af");
        check(r#"HINFO "PC Intel" Linux"#, "08 504320496e74656c 05 4c696e7578");
        check("HTTPS 1 . alpn=h2 port=8443", "0001 00 0001 0003 026832 0003 0002 20fb");
        check(r#"HTTPS 1 . alpn="h2,h3""#, "0001 00 0001 0006 026832 026833");
        check("HTTPS 0 a.", "0000 0161 00");
        check("IPSECKEY 10 1 2 192.0.2.38 AQPS", "0a 01 02 c0000226 0103d2");
        check("MINFO a. b.", "0161 00 0162 00");
        check("MX 10 a.", "000a 0161 00");
        check(r#"NAPTR 100 50 "s" "http+I2L" "" a."#, "0064 0032 01 73 08 687474702b49324c 00 0161 00");
        check("NS a.", "0161 00");
        check(
            "NSEC a. A MX TYPE1234",
            "0161 00 0002 4001 04 1b 000000000000000000000000000000000000000000000000000020",
        );
        check(
            "NSEC3 1 1 12 aabb 2t7b4g4vsa5smi47k61mv5bv1a22bojr A",
            "01 01 000c 02 aabb 14 174eb2409fe28bcb4887a1836f957f0a8425e27b 0001 40",
        );
        check("NSEC3PARAM 1 0 12 aabb", "01 00 000c 02 aabb");
        check("OPENPGPKEY AQPS", "0103d2");
        check("PTR a.", "0161 00");
        check("RP a. b.", "0161 00 0162 00");
        check(
            "RRSIG A 5 3 86400 20030322173103 20030220173103 2642 a. AQPS",
            "0001 05 03 00015180 3e7c9dd7 3e5510d7 0a52 0161 00 0103d2",
        );
        check("SOA a. b. 1 2h 3 4w 5", "0161 00 0162 00 00000001 00001c20 00000003 0024ea00 00000005");
        check("SRV 0 5 80 a.", "0000 0005 0050 0161 00");
        check("SSHFP 2 1 1234", "02 01 1234");
        check(
            "SVCB 16 a. mandatory=alpn alpn=h2 ipv4hint=192.0.2.1",
            "0010 0161 00 0000 0002 0001 0001 0003 026832 0004 0004 c0000201",
        );
        check("TLSA 3 1 1 d2ab", "03 01 01 d2ab");
        check(r#"TXT a "b c" """#, "01 61 03 622063 00");
        check(
            "ZONEMD 2018031500 1 1 f8857f5a90ef49e5f8857f5a90ef49e5",
            "7848b78c 01 01 f8857f5a90ef49e5f8857f5a90ef49e5",
        );
    }

    #[test]
    fn types_that_the_crate_lacks_are_read_by_the_table() {
        check("MB a.", "0161 00");
        check("MG a.", "0161 00");
        check("MR a.", "0161 00");
        check("AFSDB 1 a.", "0001 0161 00");
        check("X25 311061700956", "0c 333131303631373030393536");
        check("ISDN 150862028003217", "0f 313530383632303238303033323137");
        check("ISDN 150862028003217 004", "0f 313530383632303238303033323137 03 303034");
        check("RT 2 a.", "0002 0161 00");
        check("NSAP 0x47.0005.80", "47000580");
        check("NSAP-PTR a.", "0161 00");
        check("KEY 256 3 5 AQPS", "0100 03 05 0103d2");
        check("PX 50 a. b.", "0032 0161 00 0162 00");
        check("GPOS -32.6882 116.8652 10.0", "08 2d33322e36383832 08 3131362e38363532 04 31302e30");
        check("KX 2 a.", "0002 0161 00");
        check("CERT PGP 0 RSASHA256 AQPS", "0003 0000 08 0103d2");
        check("CERT 65534 65535 255 AQPS", "fffe ffff ff 0103d2");
        check("DHCID AQPS", "0103d2");
        check("SMIMEA 3 0 1 d2ab", "03 00 01 d2ab");
        check("NINFO a", "01 61");
        check("TALINK a. b.", "0161 00 0162 00");
        check("CSYNC 66 3 A NS AAAA", "00000042 0003 0004 60000008");
        check("CSYNC 66 3", "00000042 0003");
        check("SPF \"v=spf1 -all\"", "0b 763d73706631202d616c6c");
        check("UID 7", "00000007");
        check("NID 10 0014:4fff:ff20:ee64", "000a 00144fffff20ee64");
        check("L32 10 10.1.2.0", "000a 0a010200");
        check("L64 10 2001:db8:1140:1000", "000a 20010db811401000");
        check("LP 10 a.", "000a 0161 00");
        check("EUI48 00-00-5e-00-53-2a", "00005e00532a");
        check("EUI64 00-00-5e-ef-10-00-00-2a", "00005eef1000002a");
        check(r#"URI 10 1 "ftp://a/b""#, "000a 0001 6674703a2f2f612f62");
        check("AVC a", "01 61");
        check("DLV 60485 RSASHA1 1 2BB1", "ec45 05 01 2bb1");
    }

    #[test]
    fn rfc1876_loc_counts_thousandths_of_arc_seconds() {
        check("LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m", "00 00 16 13 8b3cf018 810cbce0 009895b8");
        check("LOC 0 N 0 E 0", "00 12 16 13 80000000 80000000 00989680");
        // 90 degrees are 324,000,000 thousandths of a second: 2^31 less that, and less twice that.
        check("LOC 90 S 180 W 42849672.95m 90000000", "00 99 16 13 6cb02700 59604e00 ffffffff");
        check_error("LOC 91 N 0 E 0", "4: expected a number up to 90, found `91`");
        check_error("LOC 90 1 N 0 E 0", "9: expected at most 90 degrees, found `N`");
        check_error(
            "LOC 1 60 N 0 E 0",
            "6: expected degrees, minutes and seconds that end with `N` or `S`, found `60`",
        );
        check_error("LOC 1 N 1 E x", "12: expected an altitude in metres from -100000.00 to 42849672.95, found `x`");
    }

    #[test]
    fn rfc3123_apl_drops_trailing_zeros() {
        check("APL 1:192.168.32.0/21 !1:192.168.38.0/28", "0001 15 03 c0a820 0001 1c 83 c0a826");
        check("APL 2:2001:db8::/32 1:0.0.0.0/0", "0002 20 04 20010db8 0001 00 00");
        check("APL", "");
        check_error(
            "APL 1:192.0.2.0/33",
            "4: expected a prefix like `1:192.0.2.0/24` or `!2:2001:db8::/32`, found `1:192.0.2.0/33`",
        );
    }

    #[test]
    fn errors_are_at_the_word() {
        check_error("A 192.0.2.256", "2: expected an IPv4 address, found `192.0.2.256`");
        check_error("A 192.0.2.1 192.0.2.2", "12: more than this record takes");
        check_error("MX ten a.", "3: expected a number up to 65535, found `ten`");
        check_error("MX 65536 a.", "3: expected a number up to 65535, found `65536`");
        check_error("MX 10", "3: something is missing at the end of this record");
        check_error("MX 10 a..b", "6: name has an empty label");
        check_error("SOA a. b. 1 2 3 4 x", "18: expected seconds, or a time such as `1h30m`, found `x`");
        check_error(
            "EUI48 00-00-5e-00-53",
            "6: expected pairs of hexadecimal digits like `00-00-5e-`..., found `00-00-5e-00-53`",
        );
        check_error("SMIMEA 3 0 1 abc", "13: expected an even number of hexadecimal digits, found `abc`");
    }
}
