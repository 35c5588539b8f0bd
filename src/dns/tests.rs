//! The rules of answering, each by the number of its RFC: text in, text out.

mod edns;

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::{
    encode::{MESSAGE_OCTETS_MAX, Transport},
    explain_answer,
    header::{NOTIFY, UPDATE},
    respond::{Step, respond},
    testing::{
        Asked, CONFIG, NOW, add_opt, ask, check, check_zones, exchange, length_octets, message, show, snapshot,
        snapshot_all_down,
    },
};
use crate::{
    name::Name,
    select::{Client, Turn, Via},
    snapshot::Snapshot,
    types::Family,
    zone::rtype,
};

const ZONE: &str = "$ORIGIN example.org.
$TTL 300
@        3600 SOA ns1 hostmaster 1 3600 600 86400 60
@        NS    ns1
@        NS    ns.example.net.
@        POOL  web
ns1      A     192.0.2.53
www      A     192.0.2.80
www      AAAA  2001:db8::80
www      TXT   \"w\"
mail     MX    10 www
mail     MX    20 pool
mail     MX    30 deep.sub
_x._tcp  SRV   1 2 80 www
svc      HTTPS 1 . alpn=h2
svc      A     192.0.2.81
alias    CNAME svc
far      CNAME www.example.net.
gone     CNAME nowhere
one      CNAME two
two      CNAME one
self     CNAME self
b.ent    A     192.0.2.82
*.wild   A     192.0.2.83
*.wild   MX    10 www
here.wild TXT  \"x\"
a.*.star A     192.0.2.84
*.calias CNAME www
sub      NS    ns.sub
sub      NS    ns.other
sub      NS    ns.example.net.
ns.sub   A     192.0.2.90
ns.sub   AAAA  2001:db8::90
deep.sub A     192.0.2.91
other    NS    ns.other
ns.other A     192.0.2.92
signed   NS    ns.example.net.
signed   DS    1 8 2 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
old      DNAME new
old      TXT   \"own\"
a.new    A     192.0.2.85
out      DNAME example.net.
subdn    DNAME sub
pool     30 POOL web
pool     MX    10 www
two-of   30 POOL many
sticky   30 POOL sticky
near     30 POOL near
*.pools  30 POOL many
topool   CNAME pool
unknown  TYPE65280 \\# 3 abcdef
";

const SOA: &str = "authority: example.org. 60 SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 60";

/// [`check`] of [`ZONE`], where `SOA` stands for its negative answer's.
fn zone(words: &str, expected: &str) {
    check(ZONE, words, &expected.replace("SOA!", SOA));
}

#[test]
fn rfc1034_exact_match_is_answered_with_aa() {
    zone("www.example.org A", "NOERROR aa\nanswer: www.example.org. 300 A 192.0.2.80");
    zone(
        "example.org SOA",
        "NOERROR aa\nanswer: example.org. 3600 SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 60",
    );
}

#[test]
fn rfc1034_outside_our_zones_is_refused_without_aa_or_soa() {
    zone("example.net A", "REFUSED");
    zone("badexample.org A", "REFUSED");
    zone("org A", "REFUSED");
    zone(". NS", "REFUSED");
}

#[test]
fn rfc2308_negative_answers_have_soa_with_least_of_ttl_and_minimum() {
    zone("nope.example.org A", "NXDOMAIN aa\nSOA!");
    zone("www.example.org MX", "NOERROR aa\nSOA!");
    zone("gone.example.org A", "NXDOMAIN aa\nanswer: gone.example.org. 300 CNAME nowhere.example.org.\nSOA!");
    zone("alias.example.org MX", "NOERROR aa\nanswer: alias.example.org. 300 CNAME svc.example.org.\nSOA!");
}

#[test]
fn rfc8020_empty_non_terminals_and_occluded_names_exist() {
    zone("ent.example.org A", "NOERROR aa\nSOA!");
    zone("_tcp.example.org A", "NOERROR aa\nSOA!");
    zone("wild.example.org A", "NOERROR aa\nSOA!");
}

#[test]
fn rfc4592_wildcard_answers_with_the_name_asked_for() {
    zone("x.wild.example.org A", "NOERROR aa\nanswer: x.wild.example.org. 300 A 192.0.2.83");
    zone("a.b.wild.example.org A", "NOERROR aa\nanswer: a.b.wild.example.org. 300 A 192.0.2.83");
    zone("*.wild.example.org A", "NOERROR aa\nanswer: *.wild.example.org. 300 A 192.0.2.83");
    zone("x.wild.example.org TXT", "NOERROR aa\nSOA!");
    zone(
        "x.calias.example.org A",
        "NOERROR aa
         answer: x.calias.example.org. 300 CNAME www.example.org.
         answer: www.example.org. 300 A 192.0.2.80",
    );
}

#[test]
fn rfc4592_only_the_closest_encloser_has_a_say() {
    zone("here.wild.example.org A", "NOERROR aa\nSOA!");
    zone("x.here.wild.example.org A", "NXDOMAIN aa\nSOA!");
    // `*` that exists only because of a name below it is an empty non-terminal, and so is what it makes.
    zone("x.star.example.org A", "NOERROR aa\nSOA!");
    zone("a.*.star.example.org A", "NOERROR aa\nanswer: a.*.star.example.org. 300 A 192.0.2.84");
}

const SUB: &str = "NOERROR
    authority: sub.example.org. 300 NS ns.sub.example.org.
    authority: sub.example.org. 300 NS ns.other.example.org.
    authority: sub.example.org. 300 NS ns.example.net.
    additional: ns.sub.example.org. 300 A 192.0.2.90
    additional: ns.sub.example.org. 300 AAAA 2001:db8::90
    additional: ns.other.example.org. 300 A 192.0.2.92";

#[test]
fn rfc2181_everything_at_and_below_the_topmost_cut_is_a_referral_without_aa() {
    for name in ["sub", "x.sub", "deep.sub", "ns.sub", "x.y.z.sub"] {
        for qtype in ["A", "NS", "MX", "ANY", "SOA"] {
            zone(&format!("{name}.example.org {qtype}"), SUB);
        }
    }
    zone("x.sub.example.org DS", SUB);
}

#[test]
fn rfc4035_2_4_and_3_1_4_1_ds_at_the_cut_is_the_parents_and_beside_a_referral_only_in_a_signed_zone() {
    zone("sub.example.org DS", "NOERROR aa\nSOA!");
    zone(
        "signed.example.org DS",
        "NOERROR aa\nanswer: signed.example.org. 300 DS 0001080200112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    );
    zone("signed.example.org A", "NOERROR\nauthority: signed.example.org. 300 NS ns.example.net.");
    let unsigned = "NOERROR\nauthority: signed.example.org. 300 NS ns.example.net.\nedns: 0 1232 do";
    zone("signed.example.org A +do", unsigned);
    let with_key = format!("{ZONE}@ DNSKEY 257 3 13 AQIDBAUG\n");
    check(
        &with_key,
        "signed.example.org A +do",
        "NOERROR
         authority: signed.example.org. 300 NS ns.example.net.
         authority: signed.example.org. 300 DS 0001080200112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
         edns: 0 1232 do",
    );
}

const CHILD: &str = "$ORIGIN sub.example.org.
$TTL 300
@ SOA ns h 7 1 1 1 30
@ NS ns
ns A 192.0.2.90
www A 192.0.2.99
back CNAME www.example.org.
";

#[test]
fn rfc4035_ds_is_the_parents_even_where_the_child_is_served_too() {
    let zones = [ZONE, CHILD];
    check_zones(&zones, "sub.example.org DS", &format!("NOERROR aa\n{SOA}"));
    check_zones(&zones, "www.sub.example.org A", "NOERROR aa\nanswer: www.sub.example.org. 300 A 192.0.2.99");
    let own = "authority: sub.example.org. 30 SOA ns.sub.example.org. h.sub.example.org. 7 1 1 1 30";
    check_zones(&[CHILD], "sub.example.org DS", &format!("NOERROR aa\n{own}"));
    // A cut above the child's apex is the parent's to refer to, whoever is served beside it.
    let above_a_cut = "$ORIGIN org.\n@ 60 SOA a b 1 1 1 1 1\n@ 60 NS ns.example.net.\nexample 60 NS ns.example.net.\n";
    let referral = "NOERROR\nauthority: example.org. 60 NS ns.example.net.";
    check_zones(&[above_a_cut, CHILD], "sub.example.org DS", referral);
    // So it is when the zone above does not delegate the child.
    let above = "$ORIGIN org.\n@ 60 SOA a b 1 1 1 1 1\n@ 60 NS ns.example.net.\n";
    let negative = "NXDOMAIN aa\nauthority: org. 1 SOA a.org. b.org. 1 1 1 1 1";
    check_zones(&[above, CHILD], "sub.example.org DS", negative);
}

#[test]
fn rfc1034_3_6_2_aliases_are_followed_within_their_zone_and_no_further() {
    zone(
        "alias.example.org A",
        "NOERROR aa
         answer: alias.example.org. 300 CNAME svc.example.org.
         answer: svc.example.org. 300 A 192.0.2.81",
    );
    check_zones(
        &[ZONE, CHILD],
        "back.sub.example.org A",
        "NOERROR aa
         answer: back.sub.example.org. 300 CNAME www.example.org.",
    );
    let to_child = "$ORIGIN example.org.\n@ 60 SOA a b 1 1 1 1 1\n@ 60 NS ns.example.net.\ndown 60 CNAME www.sub\nsub 60 NS ns.sub\nns.sub 60 A 192.0.2.90\n";
    check_zones(
        &[to_child, CHILD],
        "down.example.org A",
        "NOERROR aa
         answer: down.example.org. 60 CNAME www.sub.example.org.
         authority: sub.example.org. 60 NS ns.sub.example.org.
         additional: ns.sub.example.org. 60 A 192.0.2.90",
    );
    zone("alias.example.org CNAME", "NOERROR aa\nanswer: alias.example.org. 300 CNAME svc.example.org.");
    zone("far.example.org A", "NOERROR aa\nanswer: far.example.org. 300 CNAME www.example.net.");
}

#[test]
fn rfc1034_alias_loops_end_with_what_there_is() {
    zone(
        "one.example.org A",
        "NOERROR aa
         answer: one.example.org. 300 CNAME two.example.org.
         answer: two.example.org. 300 CNAME one.example.org.",
    );
    zone("self.example.org A", "NOERROR aa\nanswer: self.example.org. 300 CNAME self.example.org.");
}

#[test]
fn aliases_in_a_row_are_followed_up_to_sixteen() {
    let mut text = "$ORIGIN example.org.\n@ 60 SOA a b 1 1 1 1 1\n@ 60 NS ns.example.net.\n".to_owned();
    for index in 0..40 {
        text.push_str(&format!("c{index} 60 CNAME c{}\n", index + 1));
    }
    let response = ask(&snapshot(CONFIG, &[&text]), "c0.example.org A +tcp");
    assert_eq!(response.lines().count(), 1 + 17, "{response}");
    assert!(response.starts_with("NOERROR aa\n"));
}

#[test]
fn rfc6604_a_chain_has_aa_of_its_first_name_and_rcode_of_its_last() {
    let text = "$ORIGIN example.org.\n@ 60 SOA a b 1 1 1 1 1\n@ 60 NS ns.example.net.\nc 60 CNAME x.sub\nsub 60 NS ns.example.net.\n";
    check(
        text,
        "c.example.org A",
        "NOERROR aa
         answer: c.example.org. 60 CNAME x.sub.example.org.
         authority: sub.example.org. 60 NS ns.example.net.",
    );
}

#[test]
fn rfc6672_dname_makes_an_alias_with_its_own_ttl() {
    zone(
        "A.old.example.org A",
        "NOERROR aa
         answer: old.example.org. 300 DNAME new.example.org.
         answer: A.old.example.org. 300 CNAME A.new.example.org.
         answer: A.new.example.org. 300 A 192.0.2.85",
    );
    zone(
        "x.old.example.org A",
        "NXDOMAIN aa
         answer: old.example.org. 300 DNAME new.example.org.
         answer: x.old.example.org. 300 CNAME x.new.example.org.
         SOA!",
    );
    zone(
        "a.old.example.org CNAME",
        "NOERROR aa
         answer: old.example.org. 300 DNAME new.example.org.
         answer: a.old.example.org. 300 CNAME a.new.example.org.",
    );
    zone(
        "a.b.out.example.org A",
        "NOERROR aa
         answer: out.example.org. 300 DNAME example.net.
         answer: a.b.out.example.org. 300 CNAME a.b.example.net.",
    );
}

#[test]
fn rfc6672_dname_does_not_apply_to_its_own_owner() {
    zone("old.example.org TXT", "NOERROR aa\nanswer: old.example.org. 300 TXT own");
    zone("old.example.org DNAME", "NOERROR aa\nanswer: old.example.org. 300 DNAME new.example.org.");
    zone("old.example.org A", "NOERROR aa\nSOA!");
}

#[test]
fn rfc6672_name_that_grows_too_long_is_yxdomain() {
    let label = "x".repeat(63);
    let text = format!(
        "$ORIGIN example.org.\n@ 60 SOA a b 1 1 1 1 1\n@ 60 NS ns.example.net.\nd 60 DNAME {label}.{label}.{label}\n"
    );
    let target = format!("{label}.{label}.{label}.example.org.");
    check(
        &text,
        &format!("{label}.d.example.org A"),
        &format!("YXDOMAIN aa\nanswer: d.example.org. 60 DNAME {target}"),
    );
}

#[test]
fn rfc6672_dname_that_leads_below_itself_is_followed_once() {
    let text = "$ORIGIN example.org.\n@ 60 SOA a b 1 1 1 1 1\n@ 60 NS ns.example.net.\nd 60 DNAME E.d\n";
    let answer = "NOERROR aa\nanswer: d.example.org. 60 DNAME E.d.example.org.\nanswer: x.d.example.org. 60 CNAME x.E.d.example.org.";
    check(text, "x.d.example.org A +tcp", answer);
    check(text, "x.d.example.org CNAME", answer);
}

#[test]
fn rfc2181_5_5_dname_that_leads_to_itself_is_there_once() {
    let text = "$ORIGIN example.org.\n@ 60 SOA a b 1 1 1 1 1\n@ 60 NS ns.example.net.\nd 60 DNAME e\nx.e 60 CNAME d\n";
    check(
        text,
        "x.d.example.org DNAME",
        "NOERROR aa
         answer: d.example.org. 60 DNAME e.example.org.
         answer: x.d.example.org. 60 CNAME x.e.example.org.
         answer: x.e.example.org. 60 CNAME d.example.org.",
    );
}

#[test]
fn rfc6672_3_2_any_below_a_dname_is_that_of_the_target() {
    let text = "$ORIGIN example.org.\n@ 60 SOA a b 1 1 1 1 1\n@ 60 NS ns.example.net.\nd 60 DNAME e\nx.e 60 TXT x\n";
    let alias = "answer: d.example.org. 60 DNAME e.example.org.\nanswer: x.d.example.org. 60 CNAME x.e.example.org.";
    check(text, "x.d.example.org ANY", &format!("NOERROR aa\n{alias}\nanswer: x.e.example.org. 60 TXT x"));
    let soa = "authority: example.org. 1 SOA a.example.org. b.example.org. 1 1 1 1 1";
    check(text, "y.d.example.org ANY", &format!("NXDOMAIN aa\n{}\n{soa}", alias.replace(" x.", " y.")));
}

#[test]
fn rfc6672_2_5_made_alias_points_into_the_dname() {
    let target = format!("{0}.{0}.{0}", "t".repeat(60));
    let text = format!("$ORIGIN example.org.\n@ 60 SOA a b 1 1 1 1 1\n@ 60 NS ns.example.net.\nd 60 DNAME {target}\n");
    let response = exchange(&snapshot(CONFIG, &[&text]), &Asked::new("x.d.example.org CNAME")).expect("response");
    assert_eq!(response.windows(60).filter(|octets| octets.iter().all(|&octet| octet == b't')).count(), 3);
    show(&response);
}

#[test]
fn rfc4034_3_and_4_rrsig_and_nsec_are_of_an_alias_itself() {
    zone("alias.example.org RRSIG", "NOERROR aa\nSOA!");
    zone("alias.example.org NSEC", "NOERROR aa\nSOA!");
    zone("alias.example.org DNSKEY", "NOERROR aa\nanswer: alias.example.org. 300 CNAME svc.example.org.\nSOA!");
}

#[test]
fn rfc2181_9_referral_behind_an_alias_never_sets_tc() {
    let mut text =
        "$ORIGIN example.org.\n@ 60 SOA a b 1 1 1 1 1\n@ 60 NS ns.example.net.\nc 60 CNAME x.sub\n".to_owned();
    for index in 0..13 {
        text.push_str(&format!("sub 60 NS {}{index}.example.net.\n", "n".repeat(40)));
    }
    check(&text, "c.example.org A", "NOERROR aa\nanswer: c.example.org. 60 CNAME x.sub.example.org.");
    assert!(ask(&snapshot(CONFIG, &[&text]), "x.sub.example.org A").starts_with("NOERROR tc"));
}

#[test]
fn rfc8482_any_returns_one_rrset_by_udp_and_tcp() {
    for flags in ["", " +tcp"] {
        zone(&format!("www.example.org ANY{flags}"), "NOERROR aa\nanswer: www.example.org. 300 A 192.0.2.80");
        zone(&format!("pool.example.org ANY{flags}"), "NOERROR aa\nanswer: pool.example.org. 30 HINFO RFC8482");
        zone(
            &format!("alias.example.org ANY{flags}"),
            "NOERROR aa\nanswer: alias.example.org. 300 CNAME svc.example.org.",
        );
        zone(&format!("ent.example.org ANY{flags}"), "NOERROR aa\nSOA!");
        zone(&format!("nope.example.org ANY{flags}"), "NXDOMAIN aa\nSOA!");
    }
}

#[test]
fn names_in_mx_srv_ns_and_https_come_with_their_addresses() {
    zone(
        "mail.example.org MX",
        "NOERROR aa
         answer: mail.example.org. 300 MX 10 www.example.org.
         answer: mail.example.org. 300 MX 20 pool.example.org.
         answer: mail.example.org. 300 MX 30 deep.sub.example.org.
         additional: www.example.org. 300 A 192.0.2.80
         additional: www.example.org. 300 AAAA 2001:db8::80",
    );
    zone(
        "_x._tcp.example.org SRV",
        "NOERROR aa
         answer: _x._tcp.example.org. 300 SRV 1 2 80 www.example.org.
         additional: www.example.org. 300 A 192.0.2.80
         additional: www.example.org. 300 AAAA 2001:db8::80",
    );
    zone(
        "example.org NS",
        "NOERROR aa
         answer: example.org. 300 NS ns1.example.org.
         answer: example.org. 300 NS ns.example.net.
         additional: ns1.example.org. 300 A 192.0.2.53",
    );
    zone(
        "svc.example.org HTTPS",
        "NOERROR aa
         answer: svc.example.org. 300 HTTPS 1 . alpn=h2,
         additional: svc.example.org. 300 A 192.0.2.81",
    );
}

#[test]
fn pool_gives_a_and_aaaa_and_leaves_other_types_to_the_zone() {
    zone("pool.example.org A", "NOERROR aa\nanswer: pool.example.org. 30 A 192.0.2.1");
    zone("pool.example.org AAAA", "NOERROR aa\nanswer: pool.example.org. 30 AAAA 2001:db8::2");
    zone("example.org A", "NOERROR aa\nanswer: example.org. 300 A 192.0.2.1");
    zone(
        "x.pools.example.org A",
        "NOERROR aa\nanswer: x.pools.example.org. 30 A 192.0.2.1\nanswer: x.pools.example.org. 30 A 192.0.2.2",
    );
    zone(
        "pool.example.org MX",
        "NOERROR aa
         answer: pool.example.org. 300 MX 10 www.example.org.
         additional: www.example.org. 300 A 192.0.2.80
         additional: www.example.org. 300 AAAA 2001:db8::80",
    );
    zone("pool.example.org HTTPS", "NOERROR aa\nSOA!");
    zone(
        "topool.example.org A",
        "NOERROR aa\nanswer: topool.example.org. 300 CNAME pool.example.org.\nanswer: pool.example.org. 30 A 192.0.2.1",
    );
}

#[test]
fn pool_without_the_family_is_nodata_no_longer_than_the_pools_ttl() {
    zone("two-of.example.org AAAA", &format!("NOERROR aa\n{}", SOA.replace(" 60 SOA", " 30 SOA")));
}

#[test]
fn pool_takes_turns_in_the_classic_order_and_explaining_takes_none() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    let qname: Name = "topool.example.org".parse().expect("name");
    let client = Client {
        address: [127, 0, 0, 1].into(),
        prefix: 32,
        via: Via::Dns(Family::V4),
        random: 0,
        turn: Turn::Take,
        most: 10,
    };
    let mut order = String::new();
    for _ in 0..9 {
        let explained = explain_answer(&snapshot, &qname, rtype::A, &client);
        let answered = ask(&snapshot, "topool.example.org A");
        let [address] = explained.addresses[..] else { panic!("{explained:?}") };
        assert!(answered.ends_with(&format!("A {address}")), "{answered} {address}");
        assert_eq!(explained.path.len(), 2);
        assert_eq!(explained.ttl.map(|ttl| ttl.get()), Some(30));
        assert_eq!(explained.pool.map(|pool| pool.owner.to_string()).as_deref(), Some("pool.example.org."));
        order.push(char::from(b'@' + address.to_string().bytes().last().expect("digit") - b'0'));
    }
    assert_eq!(order, "AABABCABC");
}

#[test]
fn on_all_down_none_is_nodata_servfail_is_servfail() {
    let config = CONFIG.replace("answers = \"all\"", "answers = \"all\"\non_all_down = \"servfail\"");
    let config = config.replace("answers = 2\n", "answers = 2\non_all_down = \"none\"\n");
    let text = format!("{ZONE}\nfour POOL four\nc CNAME four\n");
    let snapshot = snapshot_all_down(&config, &[&text]);
    assert_eq!(ask(&snapshot, "four.example.org A"), "SERVFAIL");
    assert_eq!(ask(&snapshot, "c.example.org A"), "SERVFAIL");
    let nodata = format!("NOERROR aa\n{}", SOA.replace(" 60 SOA", " 30 SOA"));
    assert_eq!(ask(&snapshot, "two-of.example.org A"), nodata);
    // The default is to fail open.
    let asked = Asked::new("pool.example.org A");
    let mut out = [0; 1232];
    let step = respond(&snapshot, &asked.wire, asked.peer, Transport::Udp, NOW, 0, &mut out);
    assert!(matches!(step, Step::Send { outcome, .. } if outcome.is_degraded), "{step:?}");
}

/// A message with these octets after id and before the question, and these at the end.
fn raw(flags_and_counts: [u8; 10], rest: &[u8]) -> Asked {
    let mut wire = vec![0x12, 0x34];
    wire.extend(flags_and_counts);
    wire.extend(rest);
    Asked { wire, ..Asked::new("www.example.org A") }
}

const WWW: &[u8] = b"\x03www\x07example\x03org\x00\x00\x01\x00\x01";

#[test]
fn rfc9619_any_number_of_questions_but_one_is_formerr() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    for n_questions in [0, 2, 255] {
        let asked = raw([1, 0, 0, n_questions, 0, 0, 0, 0, 0, 0], WWW);
        let response = exchange(&snapshot, &asked).expect("response");
        assert_eq!(response, b"\x12\x34\x81\x01\x00\x00\x00\x00\x00\x00\x00\x00");
    }
}

#[test]
fn rfc8906_unknown_opcode_is_notimp_even_with_a_bare_header() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    for opcode in (1..16).filter(|opcode| ![NOTIFY, UPDATE].contains(opcode)) {
        for (n_questions, rest) in [(0, &b""[..]), (1, b"\xff"), (2, WWW)] {
            let asked = raw([opcode << 3, 0, 0, n_questions, 0, 0, 0, 0, 0, 0], rest);
            let response = exchange(&snapshot, &asked).expect("response");
            assert_eq!(response, [0x12, 0x34, 0x80 | opcode << 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        let asked = raw([opcode << 3, 0, 0, 1, 0, 0, 0, 0, 0, 0], WWW);
        let response = exchange(&snapshot, &asked).expect("response");
        assert_eq!(response, [&[0x12, 0x34, 0x80 | opcode << 3, 4, 0, 1, 0, 0, 0, 0, 0, 0], WWW].concat());
    }
}

#[test]
fn rfc6891_6_1_1_opt_is_in_the_response_to_any_opcode() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    let respond = |opcode: u8, opt: &[u8]| {
        let asked = raw([opcode << 3, 0, 0, 1, 0, 0, 0, 0, 0, 1], &[WWW, opt].concat());
        show(&exchange(&snapshot, &asked).expect("response"))
    };
    for opcode in 1..16 {
        let rcode = match opcode {
            NOTIFY => "NOTAUTH",
            UPDATE => "FORMERR",
            _ => "NOTIMP",
        };
        assert_eq!(respond(opcode, b"\0\0\x29\x10\0\0\0\0\0\0\0"), format!("{rcode}\nedns: 0 1232"), "{opcode}");
        assert_eq!(respond(opcode, b"\0\0\x29\x10\0\0\x01\0\0\0\0"), "BADVERS\nedns: 0 1232", "{opcode}");
    }
}

#[test]
fn rfc1996_and_rfc2136_notify_and_update_are_notauth_or_formerr() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    let respond = |opcode: u8, n_questions, rest: &[u8]| {
        let asked = raw([opcode << 3, 0, 0, n_questions, 0, 0, 0, 0, 0, 0], rest);
        show(&exchange(&snapshot, &asked).expect("response"))
    };
    let soa = [&WWW[..WWW.len() - 4], b"\0\x06\0\x01"].concat();
    for opcode in [NOTIFY, UPDATE] {
        assert_eq!(respond(opcode, 1, &soa), "NOTAUTH");
        assert_eq!(respond(opcode, 0, b""), "FORMERR");
        assert_eq!(respond(opcode, 1, b"\xff"), "FORMERR");
        assert_eq!(respond(opcode, 1, &[&soa[..], b"\0"].concat()), "FORMERR");
    }
    assert_eq!(respond(UPDATE, 1, WWW), "FORMERR", "a zone is named by type SOA (RFC 2136 §2.3)");
}

#[test]
fn rfc6891_6_1_1_opt_outside_the_additional_section_is_formerr() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    for counts in [[0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]] {
        let [an0, an1, ns0, ns1, ar0, ar1] = counts;
        let asked = raw([0, 0, 0, 1, an0, an1, ns0, ns1, ar0, ar1], &[WWW, b"\0\0\x29\x10\0\0\0\0\0\0\0"].concat());
        assert_eq!(show(&exchange(&snapshot, &asked).expect("response")), "FORMERR");
    }
}

#[test]
fn responses_and_stubs_of_messages_get_silence() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    assert_eq!(exchange(&snapshot, &raw([0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0], WWW)), None);
    assert_eq!(exchange(&snapshot, &raw([0xff, 0xff, 0, 9, 0, 0, 0, 0, 0, 0], b"")), None);
    for length in 0..12 {
        let mut asked = Asked::new("www.example.org A");
        asked.wire.truncate(length);
        assert_eq!(exchange(&snapshot, &asked), None);
    }
}

#[test]
fn rfc1035_bad_names_and_lengths_are_formerr() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    let long = [&[63; 64][..]; 4].concat();
    let too_long = [&long[..], b"\x00\x00\x01\x00\x01"].concat();
    let just_too_long = [&long[..192], &[62; 63][..], b"\x00\x00\x01\x00\x01"].concat();
    for question in [
        &b""[..],
        b"\x03ww",
        b"\x03www",
        b"\x03www\x00\x00\x01\x00",
        b"\x03www\x00\x00\x01",
        b"\xc0\x0c\x00\x01\x00\x01",
        b"\x01a\xc0\x0c\x00\x01\x00\x01",
        b"\x01a\xc0\xff\x00\x01\x00\x01",
        b"\x40a\x00\x00\x01\x00\x01",
        b"\x80a\x00\x00\x01\x00\x01",
        &too_long,
        &just_too_long,
    ] {
        let response = exchange(&snapshot, &raw([0, 0, 0, 1, 0, 0, 0, 0, 0, 0], question)).expect("response");
        assert_eq!(response, b"\x12\x34\x80\x01\x00\x00\x00\x00\x00\x00\x00\x00", "{question:02x?}");
    }
    for (counts, rest) in
        [([0, 0, 0, 0, 0, 0], &b"\x00"[..]), ([0, 1, 0, 0, 0, 0], b""), ([0, 0, 0, 0, 0, 1], b"\x00\x00\x01")]
    {
        let [an0, an1, ns0, ns1, ar0, ar1] = counts;
        let asked = raw([0, 0, 0, 1, an0, an1, ns0, ns1, ar0, ar1], &[WWW, rest].concat());
        assert_eq!(show(&exchange(&snapshot, &asked).expect("response")), "FORMERR");
    }
}

#[test]
fn records_that_mean_nothing_in_a_query_are_passed_over() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    let record = b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x02ab";
    for counts in [[0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]] {
        let [an0, an1, ns0, ns1, ar0, ar1] = counts;
        let asked = raw([0, 0, 0, 1, an0, an1, ns0, ns1, ar0, ar1], &[WWW, record].concat());
        let response = show(&exchange(&snapshot, &asked).expect("response"));
        assert_eq!(response, "NOERROR aa\nanswer: www.example.org. 300 A 192.0.2.80");
    }
}

#[test]
fn rfc4892_class_ch_tells_version_and_identity_or_refuses() {
    let version = "NOERROR\nanswer: version.bind. 0 TXT fingerpost";
    zone("version.bind TXT +ch", version);
    zone("VERSION.BIND TXT +ch", &version.replace("version", "VERSION").replace("bind", "BIND"));
    zone("version.server TXT +ch", &version.replace("bind", "server"));
    zone("id.server TXT +ch", "NOERROR\nanswer: id.server. 0 TXT here");
    zone("hostname.bind TXT +ch", "NOERROR\nanswer: hostname.bind. 0 TXT here");
    zone("version.bind A +ch", "REFUSED");
    zone("version.server ANY +ch", "REFUSED");
    zone("www.example.org A +ch", "REFUSED");
    zone("www.example.org A +hs", "REFUSED");
    let hidden = CONFIG.replace("nsid = \"here\"\nversion = \"fingerpost\"", "version = \"off\"");
    let hidden = snapshot(&hidden, &[ZONE]);
    assert_eq!(ask(&hidden, "id.server TXT +ch"), "REFUSED");
    assert_eq!(ask(&hidden, "version.bind TXT +ch"), "REFUSED");
    let www = "NOERROR aa\nanswer: www.example.org. 300 A 192.0.2.80\nedns: 0 1232";
    assert_eq!(ask(&hidden, "www.example.org A +nsid"), www);
}

#[test]
fn rfc1035_6_2_class_any_is_answered_as_in_without_authority() {
    zone("www.example.org A +any-class", "NOERROR\nanswer: www.example.org. 300 A 192.0.2.80");
    zone("nope.example.org A +any-class", "NXDOMAIN\nSOA!");
}

#[test]
fn rfc5936_2_2_1_transfers_are_refused_or_notauth() {
    for words in ["example.org AXFR +tcp", "example.org IXFR", "example.org IXFR +tcp"] {
        zone(words, "REFUSED");
    }
    for words in ["www.example.org AXFR +tcp", "example.net AXFR +tcp", "www.example.org IXFR", ". IXFR +tcp"] {
        zone(words, "NOTAUTH");
    }
}

#[test]
fn rfc5936_4_2_axfr_over_udp_is_notimp() {
    for words in ["example.org AXFR", "www.example.org AXFR", ". AXFR +any-class"] {
        zone(words, "NOTIMP");
    }
}

#[test]
fn rfc4343_question_is_echoed_byte_for_byte_and_names_the_answers() {
    let asked = Asked::new("wWw.eXample.ORG A");
    let response = exchange(&snapshot(CONFIG, &[ZONE]), &asked).expect("response");
    assert_eq!(&response[12..asked.wire.len()], &asked.wire[12..]);
    assert_eq!(show(&response), "NOERROR aa\nanswer: wWw.eXample.ORG. 300 A 192.0.2.80");
}

#[test]
fn rfc3597_unknown_types_are_opaque() {
    let response =
        exchange(&snapshot(CONFIG, &[ZONE]), &Asked::new("unknown.example.org TYPE65280")).expect("response");
    assert!(response.ends_with(b"\xc0\x0c\xff\x00\x00\x01\x00\x00\x01\x2c\x00\x03\xab\xcd\xef"), "{response:02x?}");
}

#[test]
fn rfc3597_only_old_types_have_their_names_compressed() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    let tail = |words: &str| exchange(&snapshot, &Asked::new(words)).expect("response");
    let full = b"\x03www\x07example\x03org\x00";
    let holds = |octets: &[u8], part: &[u8]| octets.windows(part.len()).any(|window| window == part);
    assert!(holds(&tail("_x._tcp.example.org SRV"), full));
    assert!(!holds(&tail("mail.example.org MX"), full));
    assert!(holds(&tail("old.example.org DNAME"), b"\x03new\x07example\x03org\x00"));
    assert!(!holds(&tail("alias.example.org CNAME"), b"\x03svc\x07example"));
}

/// A zone with RRsets too large for UDP.
fn large() -> String {
    let mut text = "$ORIGIN example.org.\n$TTL 60\n@ SOA a b 1 1 1 1 1\n@ NS ns.example.net.\nmx MX 1 big\n".to_owned();
    for index in 0..100 {
        text.push_str(&format!("big A 192.0.2.{index}\nmid A 10.0.0.{}\n", index % 30));
        text.push_str(&format!("sub NS ns{index}.sub\nns{index}.sub A 192.0.2.{index}\n"));
        if index < 20 {
            text.push_str(&format!("cut NS n{index}.cut\nn{index}.cut A 192.0.2.{index}\n"));
            text.push_str(&format!("n{index}.cut AAAA 2001:db8::{index}\n"));
        }
    }
    text
}

#[test]
fn rfc2181_rrsets_that_do_not_fit_are_left_out_whole_with_tc() {
    let snapshot = snapshot(CONFIG, &[&large()]);
    assert_eq!(ask(&snapshot, "big.example.org A"), "NOERROR aa tc");
    assert_eq!(ask(&snapshot, "big.example.org A +bufsize=65535"), "NOERROR aa tc\nedns: 0 1232");
    assert_eq!(ask(&snapshot, "big.example.org A +tcp").matches("answer:").count(), 100);
    assert_eq!(ask(&snapshot, "x.sub.example.org A +edns"), "NOERROR tc\nedns: 0 1232");
}

#[test]
fn rfc1035_names_beyond_the_reach_of_pointers_are_written_out() {
    let mut text = "$ORIGIN example.org.\n$TTL 60\n@ SOA a b 1 1 1 1 1\n@ NS ns.example.net.\n".to_owned();
    for index in 0..1000 {
        text.push_str(&format!("mx MX {index} a{index}.host{}.example.com.\n", index % 700));
    }
    let asked = Asked::new("mx.example.org MX +tcp");
    let response = exchange(&snapshot(CONFIG, &[&text]), &asked).expect("response");
    assert!(response.len() > 0x4000, "{}", response.len());
    let shown = show(&response);
    let mut records = shown.lines().skip(1);
    for index in 0..1000 {
        let expected = format!("answer: mx.example.org. 60 MX {index} a{index}.host{}.example.com.", index % 700);
        assert_eq!(records.next(), Some(&*expected));
    }
    assert_eq!(records.next(), None);
}

#[test]
fn rfc6891_sizes_below_512_count_as_512() {
    let snapshot = snapshot(CONFIG, &[&large()]);
    for size in [0, 1, 511, 512] {
        // 30 addresses take 512 octets at most.
        let words = format!("mid.example.org A +bufsize={size}");
        let response = ask(&snapshot, &words);
        assert_eq!(response, ask(&snapshot, "mid.example.org A +bufsize=512"), "{words}");
    }
    assert_eq!(ask(&snapshot, "mid.example.org A +bufsize=513"), "NOERROR aa tc\nedns: 0 1232");
    assert_eq!(ask(&snapshot, "mid.example.org A +bufsize=600").matches("answer:").count(), 30);
}

#[test]
fn rfc9471_glue_in_the_domain_is_there_or_else_tc() {
    let snapshot = snapshot(CONFIG, &[&large()]);
    let referral = ask(&snapshot, "x.cut.example.org A +edns");
    assert!(referral.starts_with("NOERROR tc\n"), "{referral}");
    assert_eq!(referral.matches("authority:").count(), 20);
    assert!(referral.matches("additional:").count() < 40);
    assert!(referral.ends_with("edns: 0 1232"));
    let whole = ask(&snapshot, "x.cut.example.org A +tcp");
    assert!(whole.starts_with("NOERROR\n"), "{whole}");
    assert_eq!(whole.matches("additional:").count(), 40);
}

#[test]
fn rfc2181_optional_addresses_never_set_tc() {
    let response = ask(&snapshot(CONFIG, &[&large()]), "mx.example.org MX");
    assert_eq!(response, "NOERROR aa\nanswer: mx.example.org. 60 MX 1 big.example.org.");
}

#[test]
fn root_zone_and_root_names_work() {
    let text = "$ORIGIN .\n$TTL 60\n@ SOA a b 1 1 1 1 1\n@ NS a.\na A 192.0.2.1\nmx MX 0 .\n";
    check(text, ". NS", "NOERROR aa\nanswer: . 60 NS a.\nadditional: a. 60 A 192.0.2.1");
    check(text, "x. A", "NXDOMAIN aa\nauthority: . 1 SOA a. b. 1 1 1 1 1");
    check(text, "mx. MX", "NOERROR aa\nanswer: mx. 60 MX 0 .");
}

static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(|| snapshot(CONFIG, &[ZONE, CHILD]));

fn any_query() -> impl Strategy<Value = Vec<u8>> {
    let names = [
        "www", "", "pool", "sub", "x.sub", "x.old", "one", "*.wild", "x.wild", "nope", "alias", "near", "mail",
        "x.pools",
    ];
    let name = prop::sample::select(names.to_vec());
    let options = prop::collection::vec((0..12u16, prop::collection::vec(any::<u8>(), 0..24)), 0..3);
    (name, 0..260u16, prop::option::of((any::<u16>(), any::<u8>(), options)), any::<u32>()).prop_map(
        |(name, qtype, edns, case)| {
            let dot = if name.is_empty() { "" } else { "." };
            let name = format!("{name}{dot}example.org");
            let swap = |(index, letter): (usize, char)| {
                if case >> (index % 32) & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
            };
            let name: String = name.chars().enumerate().map(swap).collect();
            let mut wire = message(&[(&name, qtype, 1)]);
            if let Some((size, flags, options)) = edns {
                let mut data = Vec::new();
                for (code, option) in options {
                    data.extend(code.to_be_bytes());
                    data.extend(length_octets(option.len()));
                    data.extend(option);
                }
                add_opt(&mut wire, size, [0, 0, flags, 0], &data);
            }
            wire
        },
    )
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic_and_what_is_sent_parses(wire in prop::collection::vec(any::<u8>(), 0..200)) {
        let asked = Asked { wire, ..Asked::new("www.example.org A") };
        if let Some(response) = exchange(&SNAPSHOT, &asked) {
            prop_assert!(hickory_proto::op::Message::from_vec(&response).is_ok());
        }
    }

    #[test]
    fn damaged_queries_never_panic_and_what_is_sent_parses(
        wire in any_query(), at in any::<prop::sample::Index>(), octet in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut wire = wire;
        let at = at.index(wire.len());
        wire[at] = octet;
        wire.truncate(wire.len() - cut.index(wire.len()) / 4);
        let asked = Asked { wire, ..Asked::new("www.example.org A") };
        if let Some(response) = exchange(&SNAPSHOT, &asked) {
            prop_assert!(hickory_proto::op::Message::from_vec(&response).is_ok());
        }
    }

    #[test]
    fn responses_always_fit_echo_the_question_and_never_depend_on_its_case(wire in any_query(), room in 0..1400usize) {
        let peer = ([127, 0, 0, 1], 53).into();
        let mut out = vec![0; room];
        if let Step::Send { n_octets, outcome } = respond(&SNAPSHOT, &wire, peer, Transport::Udp, NOW, 0, &mut out) {
            prop_assert!(n_octets <= room.min(1232));
            let question = 12..wire.iter().skip(12).position(|&octet| octet == 0).expect("root") + 17;
            prop_assert_eq!(&out[question.clone()], &wire[question.clone()]);
            let message = hickory_proto::op::Message::from_vec(&out[..n_octets]).expect("message");
            prop_assert_eq!(message.metadata.truncation, outcome.is_truncated);
            let has_opt = wire[11] == 1;
            prop_assert_eq!(message.edns.is_some(), has_opt);
        }
        let mut folded = wire.clone();
        let end = wire.iter().skip(12).position(|&octet| octet == 0).expect("root") + 12;
        folded[12..end].make_ascii_lowercase();
        let mut out = vec![0; MESSAGE_OCTETS_MAX];
        let [left, right] = [wire, folded].map(|wire| {
            // Turns start anew.
            let snapshot = snapshot(CONFIG, &[ZONE, CHILD]);
            match respond(&snapshot, &wire, peer, Transport::Tcp, NOW, 0, &mut out) {
                Step::Send { n_octets, .. } => show(&out[..n_octets]).to_ascii_lowercase(),
                Step::Drop(reason) => format!("{reason:?}"),
            }
        });
        prop_assert_eq!(left, right);
    }
}
