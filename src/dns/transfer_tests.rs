//! Transfers and signatures by RFC, octet by octet; what other servers make of them is tested end to end.

use std::{sync::Arc, time::Duration};

use super::{
    answer::{AXFR, IXFR},
    encode::{MESSAGE_OCTETS_MAX, Transport},
    exchange::{Circumstances, Exchange, concerns, exchange},
    testing::{CONFIG, add_opt, message, snapshot, snapshot_all_down},
    tsig::{self, Checked, ResponseError, Session, TsigError},
    wire::{Section, expand_name, open},
};
use crate::{
    config::{Algorithm, TsigKey},
    snapshot::Snapshot,
    zone::rtype,
};

const ZONE: &str = "$ORIGIN example.org.
$TTL 300
@    SOA  ns1 h 7 2 3 4 60
@    NS   ns1
ns1  A    192.0.2.53
www  POOL web
many POOL many
near POOL near
all  POOL four
sub  NS   ns.sub
ns.sub A  192.0.2.54
below.sub TXT hidden
";

const NOW: u64 = 1_800_000_000;

fn key(name: &str, algorithm: Algorithm, secret: &[u8]) -> Arc<TsigKey> {
    let (name, name_in_file) = (name.parse().expect("name"), name.into());
    Arc::new(TsigKey { name, name_in_file, algorithm, secret: secret.into(), secret_file: None })
}

fn config(allow: &str) -> String {
    let key = "[tsig.xfr]\nsecret = \"c2VjcmV0\"\n";
    CONFIG.replace("[dns]\n", &format!("[dns]\nallow_transfer = {allow}\n")) + key
}

fn xfr() -> Arc<TsigKey> {
    key("xfr", Algorithm::HmacSha256, b"secret")
}

fn ask(snapshot: &Arc<Snapshot>, wire: &[u8], transport: Transport) -> Exchange {
    assert!(concerns(wire));
    exchange(
        snapshot,
        wire,
        Circumstances { peer: ([192, 0, 2, 99], 53).into(), transport, random: 0, now: Duration::from_secs(NOW) },
    )
}

/// Every message of a transfer.
fn messages(exchange: Exchange) -> Vec<Vec<u8>> {
    let Exchange::Transfer(mut outgoing) = exchange else { panic!("{exchange:?}") };
    std::iter::from_fn(|| outgoing.next_message(NOW)).map(|message| message.expect("fits")).collect()
}

/// `OWNER TYPE` and, for addresses, the last octet, of each answer record of a message.
fn records(message: &[u8]) -> Vec<String> {
    let show = |record: super::wire::Record<'_>| {
        let (owner, _) = expand_name(message, record.start).expect("owner");
        let owner = crate::name::Name::from_wire(&owner).expect("name").to_string();
        let address = if matches!(record.rtype, rtype::A | rtype::AAAA) {
            format!(" {}", record.rdata.last().expect("address"))
        } else {
            String::new()
        };
        format!("{} {}{address}", owner.replace("example.org.", ""), rtype::show(record.rtype))
    };
    let records = open(message).expect("message").records.map(|record| record.expect("record"));
    records.filter(|record| record.section == Section::Answer).map(show).collect()
}

fn rcode(message: &[u8]) -> u8 {
    message[3] & 0x0f
}

fn reply(exchange: Exchange) -> (Vec<u8>, Option<TsigError>) {
    let Exchange::Reply { message, tsig_error, .. } = exchange else { panic!("{exchange:?}") };
    (message, tsig_error)
}

#[test]
fn rfc5936_2_2_zone_comes_between_two_soas_with_glue_and_what_is_hidden() {
    let snapshot = snapshot(&config("[\"192.0.2.0/24\"]"), &[ZONE]);
    let messages = messages(ask(&snapshot, &message(&[("example.org", AXFR, 1)]), Transport::Tcp));
    assert_eq!(messages.len(), 1);
    let records = records(&messages[0]);
    assert_eq!(records.first().map(String::as_str), Some(" SOA"));
    assert_eq!(records.last().map(String::as_str), Some(" SOA"));
    assert_eq!(records.iter().filter(|record| record.ends_with("SOA")).count(), 2);
    for expected in ["sub. NS", "ns.sub. A 54", "below.sub. TXT", "ns1. A 53", " NS"] {
        assert!(records.iter().any(|record| record == expected), "{expected}: {records:?}");
    }
    let opening = open(&messages[0]).expect("message");
    assert_eq!((messages[0][2] & 0x84, rcode(&messages[0])), (0x84, 0), "QR and AA");
    assert_eq!(opening.question, &message(&[("example.org", AXFR, 1)])[12..], "the first message echoes the question");
}

#[test]
fn pool_is_what_its_default_ranking_gives_and_no_turn_is_taken() {
    let snapshot = snapshot(&config("[\"192.0.2.0/24\"]"), &[ZONE]);
    let axfr = || messages(ask(&snapshot, &message(&[("example.org", AXFR, 1)]), Transport::Tcp)).concat();
    let first = axfr();
    let of = |name: &str| {
        let all = records(&first);
        all.into_iter().filter(|record| record.starts_with(name)).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(of("www."), "www. A 1, www. AAAA 2", "`answers` of a pool is 1 by default");
    assert_eq!(of("many."), "many. A 1, many. A 2", "`answers = 2`");
    assert_eq!(of("near."), "near. A 1", "geo: the default list");
    assert_eq!(of("all."), "all. A 1", "`answers = \"all\"`");
    // Turns that resolvers take change nothing.
    super::testing::ask(&snapshot, "www.example.org A");
    assert_eq!(axfr(), first);
    let down = snapshot_all_down(&config("[\"192.0.2.0/24\"]"), &[ZONE]);
    let messages = messages(ask(&down, &message(&[("example.org", AXFR, 1)]), Transport::Tcp));
    assert!(records(&messages[0]).contains(&"www. A 1".to_owned()), "fails open as answers do");
}

#[test]
fn every_message_is_full_and_no_record_is_lost_or_doubled() {
    let mut zone = ZONE.to_owned();
    let long = "x".repeat(250);
    for number in 0..2000 {
        zone.push_str(&format!("n{number} TXT {long} {number}\n"));
    }
    zone.push_str(&(0..2500).map(|number| format!("same TXT {number}\n")).collect::<String>());
    let snapshot = snapshot(&config("[\"key:xfr\"]"), &[&zone]);
    let mut query = message(&[("example.org", AXFR, 1)]);
    add_opt(&mut query, 1232, [0; 4], &[]);
    let mut client = Session::request(xfr(), &mut query, NOW);
    let messages = messages(ask(&snapshot, &query, Transport::Tcp));
    assert!(messages.len() > 8, "{}", messages.len());
    let mut seen = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let plain = client.check(message, NOW).expect("signature").expect("signed");
        let is_last = index + 1 == messages.len();
        assert!(message.len() <= MESSAGE_OCTETS_MAX && (is_last || message.len() > 65_000), "{}", message.len());
        assert_eq!(open(&plain).expect("message").counts.additional, 1, "OPT in each, as there is one in the query");
        seen.extend(records(&plain));
    }
    assert!(client.is_complete());
    assert_eq!(seen.len(), 2 + 11 + 2000 + 2500, "{:?}", &seen[..10]);
    assert_eq!(seen.iter().filter(|record| *record == "same. TXT").count(), 2500);
}

#[test]
fn who_may_not_have_a_zone_is_refused_and_other_zones_are_notauth() {
    let axfr = message(&[("example.org", AXFR, 1)]);
    for allow in ["[]", "[\"198.51.100.0/24\"]", "[\"key:xfr\"]", "[\"192.0.2.0/24 key:xfr\"]"] {
        let snapshot = snapshot(&config(allow), &[ZONE]);
        assert_eq!(rcode(&reply(ask(&snapshot, &axfr, Transport::Tcp)).0), 5, "{allow}");
        assert_eq!(rcode(&reply(ask(&snapshot, &axfr, Transport::Udp)).0), 4, "a zone does not fit there, {allow}");
    }
    let snapshot = snapshot(&config("[\"192.0.2.0/24 key:xfr\", \"198.51.100.0/24\"]"), &[ZONE]);
    let mut signed = axfr.clone();
    Session::request(xfr(), &mut signed, NOW);
    assert_eq!(messages(ask(&snapshot, &signed, Transport::Tcp)).len(), 1, "network and key");
    let below = message(&[("www.example.org", AXFR, 1)]);
    let mut signed = below.clone();
    Session::request(xfr(), &mut signed, NOW);
    assert_eq!(rcode(&reply(ask(&snapshot, &signed, Transport::Tcp)).0), 9, "no apex (RFC 5936 §2.2.1)");
}

#[test]
fn rfc1995_ixfr_is_the_soa_alone_when_current_or_over_udp_else_the_zone() {
    let snapshot = snapshot(&config("[\"192.0.2.0/24\"]"), &[ZONE]);
    let ixfr = |serial: u32| {
        let mut wire = message(&[("example.org", IXFR, 1)]);
        wire[9] = 1;
        wire.extend(b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16\x00\x00");
        wire.extend(serial.to_be_bytes());
        wire.extend([0; 16]);
        wire
    };
    for (serial, n_records) in [(7, 1), (8, 1), (6, 13), (7u32.wrapping_sub(0x7fff_ffff), 13)] {
        let messages = messages(ask(&snapshot, &ixfr(serial), Transport::Tcp));
        assert_eq!(records(&messages[0]).len(), n_records, "{serial}");
    }
    assert_eq!(records(&reply(ask(&snapshot, &ixfr(1), Transport::Udp)).0), [" SOA"]);
}

#[test]
fn rfc8945_5_2_bad_signatures_are_notauth_each_with_its_error() {
    let snapshot = snapshot(&config("[]"), &[ZONE]);
    let check = |key: Arc<TsigKey>, signed_at: u64, change: &dyn Fn(&mut Vec<u8>), error: TsigError| {
        let mut wire = message(&[("ns1.example.org", 1, 1)]);
        let mut client = Session::request(key, &mut wire, signed_at);
        change(&mut wire);
        let (response, found) = reply(ask(&snapshot, &wire, Transport::Udp));
        assert_eq!((rcode(&response), found), (9, Some(error)));
        client.check(&response, signed_at)
    };
    let untouched = |_: &mut Vec<u8>| {};
    let refused = |error: TsigError| Err(ResponseError::Refused(error as u16));
    let other = key("other", Algorithm::HmacSha256, b"secret");
    assert_eq!(check(other, NOW, &untouched, TsigError::BadKey), refused(TsigError::BadKey));
    let sha512 = key("xfr", Algorithm::HmacSha512, b"secret");
    assert_eq!(check(sha512, NOW, &untouched, TsigError::BadKey), refused(TsigError::BadKey));
    let wrong = key("xfr", Algorithm::HmacSha256, b"wrong");
    assert_eq!(check(wrong, NOW, &untouched, TsigError::BadSig), refused(TsigError::BadSig));
    let changed = |wire: &mut Vec<u8>| wire[13] ^= 0x20;
    assert_eq!(check(xfr(), NOW, &changed, TsigError::BadSig), refused(TsigError::BadSig));
    // Signed, so that the client can believe our clock.
    assert_eq!(check(xfr(), NOW - 301, &untouched, TsigError::BadTime), refused(TsigError::BadTime));
    assert_eq!(check(xfr(), NOW + 301, &untouched, TsigError::BadTime), refused(TsigError::BadTime));
}

#[test]
fn rfc8945_5_2_a_signature_that_is_not_last_or_not_whole_is_formerr() {
    let snapshot = snapshot(&config("[]"), &[ZONE]);
    let mut wire = message(&[("ns1.example.org", 1, 1)]);
    Session::request(xfr(), &mut wire, NOW);
    let mut twice = wire.clone();
    twice.extend_from_slice(&wire[33..]);
    twice[11] = 2;
    let mut followed = wire.clone();
    add_opt(&mut followed, 1232, [0; 4], &[]);
    let mut short = wire.clone();
    let at = short.len() - 1;
    short[at] = 9;
    for wire in [twice, followed, short] {
        assert_eq!(rcode(&reply(ask(&snapshot, &wire, Transport::Udp)).0), 1);
    }
}

#[test]
fn rfc6891_6_1_1_what_may_be_signed_and_cannot_be_read_gets_opt_with_its_error() {
    let snapshot = snapshot(&config("[]"), &[ZONE]);
    let mut wire = message(&[("ns1.example.org", 1, 1)]);
    add_opt(&mut wire, 1232, [0; 4], &[]);
    wire[11] = 2;
    let (response, _) = reply(ask(&snapshot, &wire, Transport::Udp));
    assert_eq!((rcode(&response), response[11]), (1, 1), "{response:02x?}");

    let mut refused = message(&[("example.org", rtype::SOA, 1)]);
    refused[2] = 4 << 3;
    add_opt(&mut refused, 1232, [0; 4], &[]);
    Session::request(key("other", Algorithm::HmacSha256, b"secret"), &mut refused, NOW);
    let (response, error) = reply(ask(&snapshot, &refused, Transport::Udp));
    assert_eq!((rcode(&response), error, response[11]), (9, Some(TsigError::BadKey), 2), "OPT and TSIG");
}

#[test]
fn every_algorithm_signs_and_checks() {
    for algorithm in Algorithm::ALL {
        let key = key("xfr", algorithm, b"a secret of some length");
        let mut wire = message(&[("ns1.example.org", 1, 1)]);
        let plain = wire.clone();
        let mut client = Session::request(key.clone(), &mut wire, NOW);
        let Checked::Signed(mut server, request) = tsig::check(&wire, &[key], NOW) else { panic!("{algorithm:?}") };
        assert_eq!(request, plain);
        let n_octets = server.octets();
        for _ in 0..3 {
            let mut response = plain.clone();
            server.sign(&mut response, NOW);
            assert_eq!(response.len(), plain.len() + n_octets);
            assert_eq!(client.check(&response, NOW), Ok(Some(plain.clone())));
        }
    }
}

#[test]
fn rfc8945_5_3_1_unsigned_messages_between_are_covered_by_the_next_signature_or_refused() {
    let start = || {
        let mut wire = message(&[("example.org", AXFR, 1)]);
        let client = Session::request(xfr(), &mut wire, NOW);
        let Checked::Signed(server, plain) = tsig::check(&wire, &[xfr()], NOW) else { panic!("signed") };
        (client, server, plain)
    };
    let (mut client, _, plain) = start();
    assert_eq!(client.check(&plain, NOW), Err(ResponseError::Unsigned), "the first must be signed");
    let (mut client, mut server, plain) = start();
    let mut first = plain.clone();
    server.sign(&mut first, NOW);
    assert!(client.check(&first, NOW).is_ok());
    for _ in 0..99 {
        assert_eq!(client.check(&plain, NOW), Ok(None));
    }
    assert!(!client.is_complete(), "a transfer must not end like this");
    assert_eq!(client.check(&plain, NOW), Err(ResponseError::Unsigned));
}

#[test]
fn ordinary_queries_go_the_short_way() {
    let mut wire = message(&[("ns1.example.org", 1, 1)]);
    assert!(!concerns(&wire));
    add_opt(&mut wire, 1232, [0; 4], &[]);
    assert!(!concerns(&wire));
    Session::request(xfr(), &mut wire, NOW);
    assert!(concerns(&wire));
}

#[test]
fn rfc1996_3_10_notify_is_heeded_from_primaries_only() {
    let secondaries = "[secondaries.\"copy.example\"]\nprimaries = [\"192.0.2.99\"]\n[secondaries.\"signed.example\"]\n\
                       primaries = [\"192.0.2.99\"]\nkey = \"xfr\"\n[secondaries.\"other.example\"]\nprimaries = [\"192.0.2.98\"]\n";
    let snapshot = snapshot(&(config("[]") + secondaries), &[ZONE]);
    let notify = |apex: &str, is_signed: bool| {
        let mut wire = message(&[(apex, rtype::SOA, 1)]);
        wire[2] = 0x24;
        let mut session = is_signed.then(|| Session::request(xfr(), &mut wire, NOW));
        let Exchange::Reply { message, notified, .. } = ask(&snapshot, &wire, Transport::Udp) else { panic!("reply") };
        if let Some(session) = &mut session {
            assert!(session.check(&message, NOW).is_ok());
        }
        (rcode(&message), notified.map(|apex| apex.to_string()))
    };
    assert_eq!(notify("copy.example", false), (0, Some("copy.example.".to_owned())));
    assert_eq!(notify("signed.example", true), (0, Some("signed.example.".to_owned())));
    for (apex, is_signed) in [("signed.example", false), ("other.example", false), ("example.org", true)] {
        let (rcode, notified) = notify(apex, is_signed);
        assert!(rcode != 0 && notified.is_none(), "{apex}");
    }
}
