//! What master files may say and what they may not, by RFC and section: a file's text in, records or findings out.

use std::path::Path;

use proptest::prelude::*;

use super::{Node, Zone, rtype};
use crate::{
    diagnostic::{Diagnostic, Severity},
    name::write_wire,
};

/// What every zone needs, on five lines; names are relative to `example.org.`.
const APEX: &str = "$TTL 300\n@ SOA ns hostmaster 1 2 3 4 60\n@ NS ns\nns A 192.0.2.53\n\n";

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Rdata as a person would write it, for the few types that these tests use much.
fn shown(rtype: u16, rdata: &[u8]) -> String {
    match (rtype, rdata) {
        (rtype::A, [a, b, c, d]) => format!("{a}.{b}.{c}.{d}"),
        (rtype::NS | rtype::CNAME | rtype::PTR | rtype::DNAME, name) => {
            std::fmt::from_fn(|f| write_wire(name, f)).to_string()
        }
        (rtype::TXT, text) => format!("{:?}", String::from_utf8_lossy(text.get(1..).unwrap_or_default())),
        (rtype::SOA, octets) => format!("serial {}", octets.last_chunk::<20>().map_or(0, |numbers| numbers[3])),
        (_, octets) => hex(octets),
    }
}

fn lines_of(zone: &Zone, name: &str, node: Node<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some((pool, ttl)) = node.pool() {
        lines.push(format!("{name} {} POOL {}", ttl.get(), zone.pools()[pool].name));
    }
    for rrset in node.rrsets() {
        let rdatas: Vec<String> = rrset.rdatas().map(|rdata| shown(rrset.rtype, rdata)).collect();
        assert_eq!(rdatas.len(), rrset.len());
        lines.push(format!("{name} {} {} {}", rrset.ttl.get(), rtype::show(rrset.rtype), rdatas.join(" ")));
    }
    if lines.is_empty() {
        assert!(node.is_empty());
        lines.push(format!("{name} -"));
    }
    lines
}

fn one_line(diagnostic: &Diagnostic) -> String {
    let severity = if diagnostic.severity == Severity::Error { "" } else { "warning " };
    format!("{severity}{}", diagnostic.one_line().replace("example.org.zone:", ""))
}

/// All of a file: its findings, then its records without the `.example.org.` of owners.
fn check_file(text: &str, expected: &str) {
    let found = match Zone::from_text(Path::new("example.org.zone"), text) {
        Err(diagnostics) => diagnostics.0.iter().map(one_line).collect::<Vec<_>>(),
        Ok((zone, warnings)) => {
            let records = zone.iter().flat_map(|(name, node)| {
                let name = name.to_string();
                lines_of(&zone, name.strip_suffix(".example.org.").unwrap_or(&name), node)
            });
            warnings.0.iter().map(one_line).chain(records).collect()
        }
    };
    assert_eq!(found.join("\n"), expected, "{text}");
}

/// Records after those that every zone needs, which are left out of what is found; the first line is line 6.
fn check(records: &str, expected: &str) {
    let found = match Zone::from_text(Path::new("example.org.zone"), &format!("{APEX}{records}")) {
        Err(diagnostics) => diagnostics.0.iter().map(one_line).collect::<Vec<_>>(),
        Ok((zone, warnings)) => {
            let records = zone.iter().skip(1).filter_map(|(name, node)| {
                let name = name.to_string();
                let name = name.strip_suffix(".example.org.").unwrap_or(&name);
                (name != "ns").then(|| lines_of(&zone, name, node))
            });
            warnings.0.iter().map(one_line).chain(records.flatten()).collect()
        }
    };
    assert_eq!(found.join("\n"), expected, "{records}");
}

#[test]
fn rfc1035_5_1_owner_ttl_and_class_may_be_left_out() {
    check("a A 192.0.2.1\n  A 192.0.2.2\n", "a 300 A 192.0.2.1 192.0.2.2");
    check("a 60 IN A 192.0.2.1\nb IN 60 A 192.0.2.1", "a 60 A 192.0.2.1\nb 60 A 192.0.2.1");
    check("a 1h class1 a 192.0.2.1", "a 3600 A 192.0.2.1");
    check("a CH A 192.0.2.1", "6:3: class `CH` is not served; only `IN` is");
    check("a 60 60 A 192.0.2.1", "6:6: unknown record type `60`");
    check("a", "6:1: record has no type");
    check("a 300 IN", "6:7: record has no type");
    check("A 192.0.2.1", "6:3: `192.0.2.1` is no TTL");
    check_file(" A 192.0.2.1", "1:2: first record has no owner");
}

#[test]
fn rfc1035_5_1_directives_set_origin_and_ttl() {
    check("$ORIGIN sub\na A 192.0.2.1\n@ A 192.0.2.2", "sub 300 A 192.0.2.2\na.sub 300 A 192.0.2.1");
    check("$ORIGIN sub.example.org.\n$ORIGIN deep\n", "");
    check("$ttl 1h\na A 192.0.2.1\n$TTL 5\nb A 192.0.2.1", "a 3600 A 192.0.2.1\nb 5 A 192.0.2.1");
    check("$TTL x", "6:6: `x` is no TTL");
    check("$TTL", "6:1: something is missing at the end of this record");
    check("$TTL 1 2", "6:8: more than this directive takes");
    check("$ORIGIN a..b", "6:9: name has an empty label");
    check("$DATE 1", "6:1: unknown directive `$DATE`");
}

#[test]
fn rfc1035_5_1_parentheses_quotes_comments_and_crlf() {
    check("a TXT ( \"b;c\" ; comment )\r\n ) ; end\r\nb A 192.0.2.1\r\n", "a 300 TXT \"b;c\"\nb 300 A 192.0.2.1");
    check("a TXT \"b\nc TXT d", "6:7: quote is never closed");
    check("a A 192.0.2.1\nb TXT (\nc TXT d", "7:7: `(` is never closed");
    check("a TXT b )\nb A 192.0.2.1", "6:9: `)` without `(`");
    check(r#"a TXT b\;\"\065\\"#, r#"a 300 TXT "b;\"A\\""#);
    check(r"a TXT \25", "6:7: `\\` must be followed by a character or by three digits up to 255");
    check(r"a TXT \256", "6:7: `\\` must be followed by a character or by three digits up to 255");
    check(r"a\.b A 192.0.2.1", r"a\.b 300 A 192.0.2.1");
    check("\"a\" A 192.0.2.1", "6:1: expected a name, found quoted text");
}

#[test]
fn rfc2308_4_ttl_is_stated_or_default_or_the_last_or_minimum() {
    check_file(
        "@ SOA ns h 1 2 3 4 60\n@ NS ns\nns A 192.0.2.53\na 9 A 192.0.2.1\nb A 192.0.2.1",
        "example.org. 60 NS ns.example.org.\nexample.org. 60 SOA serial 1\nns 60 A 192.0.2.53\na 9 A 192.0.2.1\nb 9 A 192.0.2.1",
    );
    check_file("ns A 192.0.2.53\n@ SOA ns h 1 2 3 4 60\n@ NS ns", "1:1: no TTL");
    check("a 2147483648 A 192.0.2.1", "6:3: `2147483648` is no TTL");
    check("a 2147483647 A 192.0.2.1", "a 2147483647 A 192.0.2.1");
}

#[test]
fn rfc1035_5_2_one_soa_and_nameservers_at_the_apex() {
    check_file("", "1:1: zone has no SOA");
    check_file("$TTL 1\nns A 192.0.2.53", "1:1: zone has no SOA");
    check_file("$TTL 1\n@ SOA ns h 1 2 3 4 5\n", "2:1: zone `example.org.` has no NS at its apex");
    check("@ SOA ns h 2 2 3 4 5", "6:1: second SOA; the zone's is on line 2");
    check("a SOA ns h 2 2 3 4 5", "6:1: second SOA; the zone's is on line 2");
    check("a.example.com. A 192.0.2.1", "6:1: `a.example.com.` is outside of zone `example.org.`");
    check("org. A 192.0.2.1", "6:1: `org.` is outside of zone `example.org.`");
}

#[test]
fn soa_may_come_late_and_its_owner_is_the_apex() {
    check_file(
        "$TTL 1\n$ORIGIN example.com.\nns A 192.0.2.53\n@ NS ns\n@ SOA ns . 1 2 3 4 5",
        "example.com. 1 NS ns.example.com.\nexample.com. 1 SOA serial 1\nns.example.com. 1 A 192.0.2.53",
    );
}

#[test]
fn rfc1034_3_6_2_cname_stands_alone() {
    check("a CNAME b\na A 192.0.2.1", "7:1: A beside the CNAME on line 6");
    check("a A 192.0.2.1\na CNAME b", "7:1: CNAME beside the A on line 6");
    check("a CNAME b\na CNAME c", "7:1: second CNAME at one name; the first is on line 6");
    check("a CNAME b\na CNAME b", "a 300 CNAME b.example.org.");
    check("@ CNAME b", "6:1: CNAME at the apex");
    check(
        "a CNAME b\na NSEC b A NSEC",
        "a 300 CNAME b.example.org.\na 300 NSEC 0162076578616d706c65036f7267000006400000000001",
    );
    check("a CNAME b\na TYPE25 \\# 4 01000301", "a 300 CNAME b.example.org.\na 300 KEY 01000301");
    check("a CNAME b\na POOL web", "7:1: POOL beside the CNAME on line 6");
    check("a CNAME b\na DNAME c", "7:1: DNAME beside the CNAME on line 6");
}

#[test]
fn rfc6672_dname_is_one_and_hides_what_is_below() {
    check("a DNAME b\na DNAME c", "7:1: second DNAME at one name; the first is on line 6");
    check("a DNAME b\na NS ns", "7:1: NS beside the DNAME on line 6");
    check(
        "a DNAME b\nx.a A 192.0.2.1",
        "warning 7:1: never answers: `a.example.org.` is redirected by DNAME\na 300 DNAME b.example.org.\nx.a 300 A 192.0.2.1",
    );
    check("a DNAME b\na A 192.0.2.1", "a 300 A 192.0.2.1\na 300 DNAME b.example.org.");
}

#[test]
fn rfc2181_5_records_of_a_set_differ_and_share_a_ttl() {
    check("a A 192.0.2.1\na A 192.0.2.1", "a 300 A 192.0.2.1");
    check("a NS NS\na NS ns.EXAMPLE.org.", "a 300 NS NS.example.org.");
    check(&"a NS NS\na NS ns\n".repeat(9), "a 300 NS NS.example.org.");
    check("a TXT x\na TXT X", "a 300 TXT \"x\" \"X\"");
    check("a 60 A 192.0.2.1\na 61 A 192.0.2.2", "7:1: TTL 61 differs from 60 of the A record on line 6");
    check("a 60 A 192.0.2.1\na 61 AAAA ::1", "a 60 A 192.0.2.1\na 61 AAAA 00000000000000000000000000000001");
}

#[test]
fn pool_takes_the_place_of_addresses() {
    check("@ POOL web\nwww 30 IN POOL web-eu\n*.cdn POOL web", "www 30 POOL web-eu\ncdn -\n*.cdn 300 POOL web");
    check("a POOL web\na TXT x", "a 300 POOL web\na 300 TXT \"x\"");
    check("a POOL web\na A 192.0.2.1", "7:1: A beside the POOL on line 6");
    check("a AAAA ::1\na POOL web", "7:1: POOL beside the AAAA on line 6");
    check("a POOL web\na POOL api", "7:1: second POOL at one name; `web` is on line 6");
    check("a POOL", "6:3: POOL record ends early");
    check("a POOL web.eu", "6:8: `web.eu` is no name of a pool");
    check("a POOL web eu", "6:12: a POOL record names one pool");
    check("a NS ns\na POOL web", "7:1: POOL at a delegation");
    check("a NS ns\nb.a POOL web", "7:1: POOL never answers here: `a.example.org.` is delegated");
}

#[test]
fn rfc2181_10_3_targets_have_addresses_of_their_own() {
    check(
        "a MX 10 b\nb CNAME c",
        "warning 6:1: MX points at `b.example.org.`, which is a CNAME\na 300 MX 000a0162076578616d706c65036f726700\nb 300 CNAME c.example.org.",
    );
    check(
        "a NS b\nb CNAME c",
        "warning 6:1: NS points at `b.example.org.`, which is a CNAME\na 300 NS b.example.org.\nb 300 CNAME c.example.org.",
    );
    check("a NS b", "warning 6:1: nameserver `b.example.org.` has no address\na 300 NS b.example.org.");
    check("a NS ns.a", "warning 6:1: nameserver `ns.a.example.org.` has no glue\na 300 NS ns.a.example.org.");
    check("a NS ns.a\nns.a A 192.0.2.1", "a 300 NS ns.a.example.org.\nns.a 300 A 192.0.2.1");
    check("a NS ns.b\nb NS ns", "a 300 NS ns.b.example.org.\nb 300 NS ns.example.org.");
    check("a NS b\nb POOL web", "a 300 NS b.example.org.\nb 300 POOL web");
    check("a NS ns.example.com.", "a 300 NS ns.example.com.");
}

#[test]
fn rfc2181_6_1_only_glue_belongs_below_a_cut() {
    check(
        "a NS ns\nb.a TXT x",
        "warning 7:1: never answers: `a.example.org.` is delegated\na 300 NS ns.example.org.\nb.a 300 TXT \"x\"",
    );
    check("*.a NS ns", "6:1: NS at a wildcard");
    check(
        "a NS ns\na DS 1 8 2 00\na TXT x",
        "warning 8:1: never answers: this name is delegated\na 300 NS ns.example.org.\na 300 TXT \"x\"\na 300 DS 0001080200",
    );
}

#[test]
fn rfc3597_5_any_type_may_be_written_as_octets() {
    check(r"a TYPE65280 \# 3 01 0203", "a 300 TYPE65280 010203");
    check(r"a CLASS1 TYPE65280 \# 0", "a 300 TYPE65280 ");
    check(r"a A \# 4 c0000201", "a 300 A 192.0.2.1");
    check(r"a TYPE1 192.0.2.1", "a 300 A 192.0.2.1");
    check(r"a A \# 3 c00002", "6:10: these octets are no A record");
    check(r"a NS \# 2 c00c", "6:11: these octets are no NS record");
    check(r"a TYPE65280 \# 2 01", "6:18: says 2 octets but holds 1");
    check(r"a TYPE65280 \# 1 0x", "6:18: expected an even number of hexadecimal digits");
    check("a TYPE65280 x", "6:3: how TYPE65280 is written is not known here; write it as `TYPE65280 \\# LENGTH HEX`");
    check("a HIP x", "6:3: how HIP is written is not known here; write it as `TYPE55 \\# LENGTH HEX`");
    check("a ANY x", "6:3: a zone cannot hold records of type `ANY`");
    check("a OPT x", "6:3: a zone cannot hold records of type `OPT`");
    check(r"a TYPE0 \# 0", "6:3: a zone cannot hold records of type `TYPE0`");
    check("a WHAT x", "6:3: unknown record type `WHAT`");
}

#[test]
fn rfc4343_owners_fold_and_rdata_keeps_its_letters() {
    check("A.B CNAME C.D\na.b CNAME C.D", "b -\na.b 300 CNAME C.D.example.org.");
}

#[test]
fn rfc1035_2_3_4_names_labels_and_texts_are_bounded() {
    let label = "l".repeat(63);
    let longest = |n_last| format!("{label}.{label}.{label}.{} TXT x", "l".repeat(n_last));
    let text = format!("{APEX}{}", longest(49));
    let (zone, _) = Zone::from_text(Path::new("example.org.zone"), &text).expect("255 octets are a name");
    assert_eq!(zone.iter().map(|(name, _)| name.as_wire().len()).max(), Some(255));
    check(&longest(50), "6:1: name is longer than 255 octets");
    check(&format!("l{label} TXT x"), "6:1: label is longer than 63 octets");
    check(&format!("a TXT {}", "t".repeat(255)), &format!("a 300 TXT {:?}", "t".repeat(255)));
    let too_long = "text is longer than 255 octets; write it as several quoted texts one after another";
    check(&format!("a TXT {}", "t".repeat(256)), &format!("6:7: {too_long}"));
    let too_much = format!("a TXT{}", format!(" {}", "t".repeat(255)).repeat(256));
    let too_many = "$GENERATE 0-65535 a TXT $";
    check(too_many, "6:1: 65536 records of one name and type fit no message");
    check(&too_much, "6:65287: record data is longer than 65,535 octets");
}

#[test]
fn generate_makes_a_record_for_each_number() {
    check("$GENERATE 1-3/2 a$ 60 A 192.0.2.$", "a1 60 A 192.0.2.1\na3 60 A 192.0.2.3");
    check("$GENERATE 1-2 $ PTR h${0,3,d}.example.com.", "1 300 PTR h001.example.com.\n2 300 PTR h002.example.com.");
    check("$GENERATE 1-1 a$ TXT \"x $ y\" $", "a1 300 TXT \"x 1 y\\u{1}1\"");
    check(
        "$GENERATE 2-1 a$ A 192.0.2.$",
        "6:11: expected `start-stop` or `start-stop/step`, at most 65536 records, found `2-1`",
    );
    check("$GENERATE 1-2 a$", "6:11: $GENERATE takes a range, an owner, a type and record data");
    check(
        "$GENERATE 255-256 a$ A 192.0.2.$",
        "6:1: expected an IPv4 address, found `192.0.2.256` in generated `a256 A 192.0.2.256`",
    );
    check("$GENERATE 1-2 $ POOL web", "1 300 POOL web\n2 300 POOL web");
}

#[test]
fn every_mistake_is_found_up_to_a_hundred() {
    check(
        "a A x\nb A y\n$TTL z",
        "6:5: expected an IPv4 address, found `x`\n7:5: expected an IPv4 address, found `y`\n8:6: `z` is no TTL",
    );
    let text = format!("{APEX}{}", "a A x\n".repeat(1000));
    let diagnostics = Zone::from_text(Path::new("example.org.zone"), &text).expect_err("broken").0;
    assert_eq!(diagnostics.len(), 101);
    assert_eq!(diagnostics[100].message, "and more errors; the first 100 are shown");
}

#[test]
fn file_is_named_after_its_zone() {
    let text = "$TTL 1\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";
    for (path, apex) in [
        ("zones/Example.COM.zone", "example.com."),
        ("example.com", "example.com."),
        ("2.0.192.in-addr.arpa.zone", "2.0.192.in-addr.arpa."),
    ] {
        let (zone, _) = Zone::from_text(Path::new(path), text).expect(path);
        assert_eq!(zone.apex().to_string(), apex);
    }
    let error = Zone::from_text(Path::new("a..b.zone"), text).expect_err("no name");
    assert_eq!(
        error.to_string(),
        "error: a..b.zone: file is named after its zone, but this is no name: name has an empty label"
    );
}

#[test]
fn zone_knows_its_numbers() {
    let text = format!("{APEX}a A 192.0.2.1\na A 192.0.2.2\na A 192.0.2.2\nb.c POOL web\n");
    let (zone, _) = Zone::from_text(Path::new("example.org.zone"), &text).expect("zone");
    assert_eq!((zone.serial(), zone.negative_ttl().get(), zone.n_records(), zone.n_names()), (1, 60, 6, 4));
    assert_eq!(zone.soa().ttl.get(), 300);
    let (zone, _) = Zone::from_text(Path::new("example.org.zone"), &text.replace("$TTL 300", "$TTL 30")).expect("zone");
    assert_eq!(zone.negative_ttl().get(), 30, "RFC 2308 §3: the SOA's own TTL when that is less");
}

#[test]
fn pool_can_be_pointed_at_without_the_file() {
    let text = format!("{APEX}a 30 (\n  POOL web ) ; why\nb POOL web\n");
    let (zone, _) = Zone::from_text(Path::new("zones/example.org.zone"), &text).expect("zone");
    let [pool] = zone.pools() else { panic!("one pool") };
    assert_eq!(
        pool.diagnostic(Severity::Error, "unknown pool `web`").to_string(),
        "error: unknown pool `web`\n --> zones/example.org.zone:7:8\n  |\n7 |   POOL web ) ; why\n  |        ^^^"
    );
}

proptest! {
    #[test]
    fn reading_never_panics(text in ".*") {
        let _ = Zone::from_text(Path::new("example.org.zone"), &text);
    }

    #[test]
    fn reading_words_of_master_files_never_panics(
        words in proptest::collection::vec(
            prop_oneof![
                Just("\n"), Just(" "), Just("\t"), Just("("), Just(")"), Just("\""), Just(";"), Just("\\"), Just("\\#"), Just("$"),
                Just("@"), Just("."), Just("*"), Just("a"), Just("b.a"), Just("0"), Just("4"), Just("65535"), Just("ff"), Just("1-2"),
                Just("${0,3,n}"), Just("IN"), Just("$TTL"), Just("$ORIGIN"), Just("$GENERATE"), Just("$INCLUDE"), Just("SOA"), Just("NS"),
                Just("A"), Just("192.0.2.1"), Just("::1"), Just("MX"), Just("TXT"), Just("CNAME"), Just("DNAME"), Just("POOL"),
                Just("SVCB"), Just("alpn=h2"), Just("NSEC3"), Just("IPSECKEY"), Just("CAA"), Just("LOC"), Just("N"), Just("E"), Just("10m"),
                Just("APL"), Just("1:192.0.2.0/24"), Just("URI"), Just("TYPE9"), Just("\\200"), Just("é"), Just("RRSIG"), Just("20260101000000"),
            ],
            0..60,
        ),
        separator in prop_oneof![Just(""), Just(" ")],
    ) {
        let _ = Zone::from_text(Path::new("example.org.zone"), &format!("{APEX}{}", words.join(separator)));
    }
}
