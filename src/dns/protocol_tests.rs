//! EDNS options, cookies and rate limits: the rules by the number of their RFC, text in, text out.

use std::time::Duration;

use super::{
    encode::Transport,
    respond::{Step, respond},
    testing::{
        Asked, CONFIG, NOW, add_opt, ask, check, exchange, hex, message, option, show, snapshot, snapshot_all_down,
    },
};
use crate::snapshot::Snapshot;

const ZONE: &str = "$ORIGIN example.org.
$TTL 300
@        3600 SOA ns1 hostmaster 1 3600 600 86400 60
@        NS    ns.example.net.
www      A     192.0.2.80
*.wild   A     192.0.2.83
*.pools  30 POOL web
pool     30 POOL web
old      DNAME www
sub      NS    ns.example.net.
big      TXT   \"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big      TXT   \"1123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big      TXT   \"2123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big      TXT   \"3123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
big      TXT   \"4123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"
svc      HTTPS 1 www alpn=h2
svc      HTTPS 0 pool
alias    HTTPS 0 www
own      SVCB  1 .
own      A     192.0.2.84
";
const WWW: &str = "NOERROR aa\nanswer: www.example.org. 300 A 192.0.2.80";
const EDNS: &str = "\nedns: 0 1232";

/// [`CONFIG`] with more keys in `[dns]`.
fn config(keys: &str) -> String {
    CONFIG.replace("nsid = \"here\"", &format!("nsid = \"here\"\n{keys}"))
}

/// [`check`] of [`ZONE`].
#[track_caller]
fn zone(words: &str, expected: &str) {
    check(ZONE, words, expected);
}

// Cookies. The client of RFC 9018's examples asks at the time of its example A.2.

const FROM: &str = "+from=198.51.100.100";
/// Made 40 minutes ago.
const OLD: &str = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
/// Made now.
const FRESH: &str = "2464c4abcf10c957010000005cf7a871d4a564a1442aca77";

#[test]
fn rfc7873_5_2_3_client_cookie_alone_gets_a_full_one_with_its_answer() {
    zone(&format!("www.example.org A +cookie {FROM}"), &format!("{WWW}{EDNS}\ncookie: {FRESH}"));
    zone(&format!("www.example.org A +cookie {FROM} +tcp"), &format!("{WWW}{EDNS}\ncookie: {FRESH}"));
    zone(&format!("example.net A +cookie {FROM}"), &format!("REFUSED{EDNS}\ncookie: {FRESH}\nerror: 20"));
}

#[test]
fn rfc7873_5_2_5_good_cookie_comes_back_and_rfc9018_4_3_is_renewed_in_time() {
    zone(&format!("www.example.org A +cookie={FRESH} {FROM}"), &format!("{WWW}{EDNS}\ncookie: {FRESH}"));
    zone(&format!("www.example.org A +cookie={OLD} {FROM}"), &format!("{WWW}{EDNS}\ncookie: {FRESH}"));
}

#[test]
fn rfc7873_5_2_4_bad_cookie_is_answered_with_a_good_one() {
    let forged = FRESH.replace("aca77", "aca78");
    let foreign = format!("{}00", &FRESH[..40]);
    for cookie in [&*forged, &foreign, &"0".repeat(80).replacen("0000000000000000", &FRESH[..16], 1)] {
        zone(&format!("www.example.org A +cookie={cookie} {FROM}"), &format!("{WWW}{EDNS}\ncookie: {FRESH}"));
    }
    // Good for another address only.
    let elsewhere = ask(&snapshot(CONFIG, &[ZONE]), &format!("www.example.org A +cookie={FRESH} +from=198.51.100.101"));
    assert!(elsewhere.contains("cookie: 2464c4abcf10c957") && !elsewhere.contains(FRESH), "{elsewhere}");
}

#[test]
fn rfc7873_5_2_2_bad_length_is_formerr_without_a_cookie() {
    for length in (0..=7).chain(9..=15).chain(41..=50) {
        let words = format!("www.example.org A +ednsopt=10:{}", "00".repeat(length));
        zone(&words, &format!("FORMERR{EDNS}"));
    }
    for length in [8].into_iter().chain(16..=40) {
        let response = ask(&snapshot(CONFIG, &[ZONE]), &format!("www.example.org A +cookie={}", "00".repeat(length)));
        assert!(response.starts_with(WWW) && response.contains("cookie: 0000000000000000"), "{length}: {response}");
    }
}

#[test]
fn rfc7873_5_2_only_the_first_of_several_cookies_counts() {
    let words = format!("www.example.org A +cookie +cookie=ffffffffffffffff +ednsopt=10:00 {FROM}");
    zone(&words, &format!("{WWW}{EDNS}\ncookie: {FRESH}"));
}

/// A query without a question, with these options.
fn without_question(options: &[u8]) -> Asked {
    let mut wire = message(&[]);
    add_opt(&mut wire, 1232, [0; 4], options);
    Asked { wire, ..Asked::new(&format!("www.example.org A {FROM}")) }
}

#[test]
fn rfc7873_5_4_and_rfc9619_a_cookie_can_be_asked_for_without_a_question() {
    let on = snapshot(CONFIG, &[ZONE]);
    let ask = |snapshot: &Snapshot, options: &[u8]| {
        let response = exchange(snapshot, &without_question(options)).expect("response");
        assert_eq!(response[4..6], [0, 0]);
        show(&response)
    };
    for (cookie, rcode) in [(&FRESH[..16], "NOERROR"), (FRESH, "NOERROR"), (&FRESH.replace("7a8", "7a9"), "BADCOOKIE")]
    {
        assert_eq!(ask(&on, &option(10, &hex(cookie))), format!("{rcode}{EDNS}\ncookie: {FRESH}"));
    }
    assert_eq!(ask(&on, &option(3, b"")), format!("FORMERR{EDNS}"));
    assert_eq!(ask(&on, &option(10, b"\0")), format!("FORMERR{EDNS}"));
    let off = snapshot(&config("cookies = false"), &[ZONE]);
    assert_eq!(ask(&off, &option(10, &hex(FRESH))), format!("FORMERR{EDNS}"));
}

#[test]
fn cookies_that_are_off_are_an_unknown_option() {
    let off = snapshot(&config("cookies = false"), &[ZONE]);
    assert_eq!(ask(&off, "www.example.org A +cookie"), format!("{WWW}{EDNS}"));
}

#[test]
fn rfc7873_5_2_3_required_cookies_are_asked_for_by_badcookie_over_udp_alone() {
    let required = snapshot(&config("require_cookies = true"), &[ZONE]);
    let forged = FRESH.replace("aca77", "aca78");
    let come_again = format!("BADCOOKIE{EDNS}\ncookie: {FRESH}");
    let answered = format!("{WWW}{EDNS}\ncookie: {FRESH}");
    for (flags, expected) in [
        ("+cookie".to_owned(), &*come_again),
        (format!("+cookie={forged}"), &come_again),
        (format!("+cookie={FRESH}"), &answered),
        (format!("+cookie={OLD}"), &answered),
        ("+cookie +tcp".to_owned(), &answered),
        ("+cookie +tls".to_owned(), &answered),
        // Who knows no cookies cannot be asked for one.
        (String::new(), WWW),
    ] {
        assert_eq!(ask(&required, &format!("www.example.org A {flags} {FROM}")), expected, "{flags}");
    }
}

#[test]
fn options_stand_side_by_side() {
    zone(
        &format!("pool.example.org A +padding=3 +cookie +nsid +keepalive +subnet=192.0.2.0/24 {FROM} +tcp"),
        &format!(
            "NOERROR aa\nanswer: pool.example.org. 30 A 192.0.2.1{EDNS}\nsubnet: 192.0.2.0/24/0\nnsid: here\ncookie: {FRESH}\nkeepalive: 90"
        ),
    );
}

// Rate limiting.

/// A limit of ten in a burst, of which `slip` in some slips.
fn limited(slip: u8) -> String {
    config(&format!("rate_limit = {{ responses_per_second = 5, slip = {slip} }}"))
}

/// What comes of asking `n` times at one moment: responses as text, silence as `-`.
fn ask_often(snapshot: &Snapshot, n: u64, words: impl Fn(u64) -> String) -> Vec<String> {
    let mut out = [0; 1232];
    let mut one = |index: u64| {
        let asked = Asked::new(&words(index));
        match respond(snapshot, &asked.wire, asked.peer, asked.transport, NOW, index, &mut out) {
            Step::Send { n_octets, .. } => show(&out[..n_octets]),
            Step::Drop(_) => "-".to_owned(),
        }
    };
    (0..n).map(&mut one).collect()
}

fn n_silent(responses: &[String]) -> usize {
    responses.iter().filter(|response| *response == "-").count()
}

#[test]
fn limited_network_gets_its_burst_then_silence_and_others_all() {
    let snapshot = snapshot(&limited(0), &[ZONE]);
    let words = |index| format!("www.example.org A +from=192.0.2.{index}");
    assert_eq!(n_silent(&ask_often(&snapshot, 30, words)), 20);
    assert_eq!(n_silent(&ask_often(&snapshot, 10, |_| "www.example.org A +from=192.0.3.1".to_owned())), 0);
    assert_eq!(n_silent(&ask_often(&snapshot, 10, |_| "pool.example.org A +from=192.0.2.1".to_owned())), 0);
}

#[test]
fn limited_queries_slip_as_tc_or_with_a_cookie_as_badcookie() {
    let snapshot = snapshot(&limited(2), &[ZONE]);
    let plain = ask_often(&snapshot, 14, |_| format!("www.example.org A +subnet=192.0.2.0/24 {FROM}"));
    assert_eq!(plain[10..], [&format!("NOERROR tc{EDNS}"), "-", &format!("NOERROR tc{EDNS}"), "-"]);
    let aware = ask_often(&snapshot, 2, |_| format!("www.example.org A +cookie {FROM}"));
    assert_eq!(aware, [&format!("BADCOOKIE{EDNS}\ncookie: {FRESH}"), "-"]);
}

#[test]
fn good_cookies_and_connections_are_never_limited() {
    let snapshot = snapshot(&limited(0), &[ZONE]);
    assert_eq!(n_silent(&ask_often(&snapshot, 20, |_| format!("www.example.org A {FROM}"))), 10);
    assert_eq!(n_silent(&ask_often(&snapshot, 20, |_| format!("www.example.org A +cookie={FRESH} {FROM}"))), 0);
    assert_eq!(n_silent(&ask_often(&snapshot, 20, |_| format!("www.example.org A +tcp {FROM}"))), 0);
    assert_eq!(n_silent(&ask_often(&snapshot, 20, |_| format!("www.example.org A +quic {FROM}"))), 0);
    // A forged one is worth nothing.
    let forged = FRESH.replace("aca77", "aca78");
    assert_eq!(n_silent(&ask_often(&snapshot, 20, |_| format!("www.example.org A +cookie={forged} {FROM}"))), 20);
}

#[test]
fn made_up_names_count_together() {
    for (name, others) in [
        ("wild", "*.wild.example.org A"),
        ("pools", "*.pools.example.org A"),
        ("nowhere", "x.nowhere.example.org A"),
        ("old", "b.old.example.org A"),
        ("sub", "sub.example.org DS"),
    ] {
        let snapshot = snapshot(&limited(0), &[ZONE]);
        let silent = n_silent(&ask_often(&snapshot, 30, |index| format!("x{index}.{name}.example.org A")));
        assert_eq!(silent, 20, "{name}");
        // The name that they count for, or another one of them, by a name that is found otherwise.
        let n_more = n_silent(&ask_often(&snapshot, 10, |_| others.to_owned()));
        assert_eq!(n_more, if others.starts_with('*') { 0 } else { 10 }, "{others}");
    }
    let snapshot = snapshot(&limited(0), &[ZONE]);
    assert_eq!(n_silent(&ask_often(&snapshot, 30, |index| format!("x{index}.example.net A"))), 20);
    assert_eq!(n_silent(&ask_often(&snapshot, 5, |_| "version.bind TXT +ch".to_owned())), 5);
}

#[test]
fn malformed_queries_are_limited_and_slip_as_they_are() {
    let snapshot = snapshot(&limited(2), &[ZONE]);
    let responses = ask_often(&snapshot, 14, |_| "www.example.org A +version=1".to_owned());
    let badvers = format!("BADVERS{EDNS}");
    assert_eq!(responses[9..], [&*badvers, &badvers, "-", &badvers, "-"]);
}

#[test]
fn dropped_queries_take_no_turn() {
    let snapshot = snapshot(&limited(0), &[ZONE]);
    let flood = ask_often(&snapshot, 100, |_| "pool.example.org A +from=192.0.2.1".to_owned());
    assert_eq!(n_silent(&flood), 90);
    let order: String = ask_often(&snapshot, 8, |_| "pool.example.org A +from=192.0.3.1".to_owned())
        .iter()
        .map(|response| char::from(b'@' + response.bytes().last().expect("digit") - b'0'))
        .collect();
    // The flood's burst has taken ten turns: A A B A B C A B C A.
    assert_eq!(order, "ABABCABC");
}

#[test]
fn answers_are_small_once_half_a_burst_is_gone() {
    let snapshot = snapshot(&limited(0), &[ZONE]);
    let responses = ask_often(&snapshot, 11, |_| format!("big.example.org TXT +edns {FROM}"));
    for (index, response) in responses.iter().enumerate() {
        match index {
            0..5 => assert_eq!(response.matches("answer:").count(), 5, "{response}"),
            5..10 => assert_eq!(*response, format!("NOERROR aa tc{EDNS}")),
            _ => assert_eq!(response, "-"),
        }
    }
    let good = ask_often(&snapshot, 1, |_| format!("big.example.org TXT +cookie={FRESH} {FROM}"));
    assert_eq!(good[0].matches("answer:").count(), 5, "{good:?}");
}

// Extended errors.

#[test]
fn rfc8914_refusals_and_guesses_say_why_to_those_with_edns() {
    zone("example.net A +edns", &format!("REFUSED{EDNS}\nerror: 20"));
    zone("example.net A", "REFUSED");
    zone("example.org AXFR +edns +tcp", &format!("REFUSED{EDNS}\nerror: 18"));
    zone("example.org A +edns +hs", &format!("REFUSED{EDNS}"));
    zone("x.example.org A +version=1", &format!("BADVERS{EDNS}"));
    let down = snapshot_all_down(CONFIG, &[ZONE]);
    let guess = "NOERROR aa\nanswer: pool.example.org. 30 A 192.0.2.1";
    assert_eq!(ask(&down, "pool.example.org A +edns"), format!("{guess}{EDNS}\nerror: 0 no realserver is up"));
    let fails = CONFIG.replace("[pools.web]", "[pools.web]\non_all_down = \"servfail\"");
    let down = snapshot_all_down(&fails, &[ZONE]);
    assert_eq!(ask(&down, "pool.example.org A +edns"), format!("SERVFAIL{EDNS}\nerror: 0 no realserver is up"));
    assert_eq!(ask(&down, "pool.example.org A"), "SERVFAIL");
}

#[test]
fn rfc8914_3_error_is_left_out_where_there_is_no_room() {
    let asked = Asked::new("example.net A +edns");
    let whole = exchange(&snapshot(CONFIG, &[ZONE]), &asked).expect("response").len();
    let mut out = vec![0; whole - 1];
    let step = respond(&snapshot(CONFIG, &[ZONE]), &asked.wire, asked.peer, Transport::Udp, NOW, 0, &mut out);
    let Step::Send { n_octets, .. } = step else { panic!("{step:?}") };
    assert_eq!(show(&out[..n_octets]), format!("REFUSED{EDNS}"));
}

// Connections.

#[test]
fn rfc7828_3_3_keepalive_is_told_on_connections_to_those_who_ask() {
    let answered = format!("{WWW}{EDNS}");
    let told = format!("{answered}\nkeepalive: 90");
    zone("www.example.org A +keepalive +tcp", &told);
    zone("www.example.org A +keepalive +tls", &told);
    zone("www.example.org A +edns +tcp", &answered);
    // A timeout is the server's to say.
    zone("www.example.org A +ednsopt=11:0064 +tcp", &answered);
    for transport in ["", "+https", "+quic"] {
        zone(&format!("www.example.org A +keepalive {transport}"), &answered);
    }
}

#[test]
fn rfc7828_3_4_client_is_told_to_close_before_the_server_does() {
    let told = Duration::from_millis(100 * u64::from(super::respond::KEEPALIVE_TENTHS));
    assert!(told < super::tcp::IDLE_TIMEOUT);
}

#[test]
fn rfc7830_4_padding_is_for_encrypted_transports_and_those_who_pad() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    let n_octets = |words: &str| exchange(&snapshot, &Asked::new(words)).expect("response").len();
    for transport in ["+tls", "+https", "+quic"] {
        for name in ["www.example.org A", "example.net A", "big.example.org TXT", "big.example.org TXT +cookie +nsid"] {
            assert_eq!(n_octets(&format!("{name} +padding=0 {transport}")) % 468, 0, "{name} {transport}");
        }
        assert_eq!(n_octets(&format!("www.example.org A +padding=0 {transport}")), 468);
        assert!(n_octets(&format!("www.example.org A +edns {transport}")) < 100);
        assert!(n_octets(&format!("www.example.org A {transport}")) < 100);
    }
    for transport in ["", "+tcp"] {
        zone(&format!("www.example.org A +padding=10 {transport}"), &format!("{WWW}{EDNS}"));
    }
}

#[test]
fn rfc8467_4_1_padding_goes_to_the_limit_where_a_block_does_not_fit() {
    let asked = Asked::new("www.example.org A +padding=0 +tls");
    let snapshot = snapshot(CONFIG, &[ZONE]);
    for room in 60..1000 {
        let mut out = vec![0xff; room];
        if let Step::Send { n_octets, .. } =
            respond(&snapshot, &asked.wire, asked.peer, asked.transport, NOW, 0, &mut out)
        {
            assert!(n_octets <= room);
            assert!(
                n_octets == room || n_octets == 468 || (n_octets < room && room - n_octets < 4),
                "{room} {n_octets}"
            );
            assert!(show(&out[..n_octets]).starts_with("NOERROR"));
        }
    }
}

// RFC 8906 §8: every query that a server must answer, and how.

const SOA: &str =
    "NOERROR aa\nanswer: example.org. 3600 SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 60";

/// The flags of the response, as they stand in the header.
fn flags(words: &str) -> u16 {
    let response = exchange(&snapshot(CONFIG, &[ZONE]), &Asked::new(words)).expect("response");
    u16::from_be_bytes([response[2], response[3]])
}

#[test]
fn rfc8906_8_1_1_plain_soa_is_answered() {
    zone("example.org SOA +nord", SOA);
    assert_eq!(flags("example.org SOA +nord"), 0x8400);
}

#[test]
fn rfc8906_8_1_2_unknown_type_is_nodata() {
    let soa = "authority: example.org. 60 SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 60";
    zone("example.org TYPE1000 +nord", &format!("NOERROR aa\n{soa}"));
}

#[test]
fn rfc8906_8_1_3_header_bits_do_not_matter_and_only_rd_comes_back() {
    // 8.1.3.1 to 8.1.3.4: CD, AD, the reserved bit, RD.
    for (bit, expected) in [("+cd", 0x8400), ("+ad", 0x8400), ("+z", 0x8400), ("", 0x8500)] {
        let nord = if bit.is_empty() { "" } else { "+nord" };
        zone(&format!("example.org SOA {bit} {nord}"), SOA);
        assert_eq!(flags(&format!("example.org SOA {bit} {nord}")), expected, "{bit}");
    }
}

#[test]
fn rfc8906_8_1_4_unknown_opcode_is_notimp() {
    for opcode in (1..16).filter(|opcode| ![4, 5].contains(opcode)) {
        zone(&format!("example.org SOA +nord +opcode={opcode}"), "NOTIMP");
        let only_header = Asked { wire: message(&[]), ..Asked::new("example.org SOA") };
        let mut asked = only_header;
        asked.wire[2] = opcode << 3;
        assert_eq!(show(&exchange(&snapshot(CONFIG, &[ZONE]), &asked).expect("response")), "NOTIMP");
    }
}

#[test]
fn rfc8906_8_1_5_tcp_is_answered_alike() {
    zone("example.org SOA +nord +tcp", SOA);
}

#[test]
fn rfc8906_8_2_1_minimal_edns_is_answered_with_opt() {
    zone("example.org SOA +nord +edns", &format!("{SOA}{EDNS}"));
}

#[test]
fn rfc8906_8_2_2_unknown_version_is_badvers_with_version_0() {
    for version in [1, 2, 100, 255] {
        zone(&format!("example.org SOA +nord +version={version}"), &format!("BADVERS{EDNS}"));
    }
}

#[test]
fn rfc8906_8_2_3_unknown_option_is_passed_over() {
    zone("example.org SOA +nord +ednsopt=100:", &format!("{SOA}{EDNS}"));
    zone("example.org SOA +nord +ednsopt=65001:00ff +ednsopt=100:", &format!("{SOA}{EDNS}"));
}

#[test]
fn rfc8906_8_2_4_unknown_flags_do_not_come_back() {
    for bit in 0..15 {
        zone(&format!("example.org SOA +nord +ednsflags={}", 1 << bit), &format!("{SOA}{EDNS}"));
    }
}

#[test]
fn rfc8906_8_2_5_and_8_2_6_unknown_version_with_unknown_flags_or_options_is_badvers() {
    zone("example.org SOA +nord +version=1 +ednsflags=64", &format!("BADVERS{EDNS}"));
    zone("example.org SOA +nord +version=1 +ednsopt=100:", &format!("BADVERS{EDNS}"));
    // Not even a cookie's length matters there.
    zone("example.org SOA +nord +version=1 +ednsopt=10:00", &format!("BADVERS{EDNS}"));
}

#[test]
fn rfc8906_8_2_7_truncated_response_has_opt() {
    zone("big.example.org TXT +nord +do +bufsize=512", &format!("NOERROR aa tc{EDNS} do"));
}

#[test]
fn rfc8906_8_2_8_do_comes_back() {
    zone("example.org SOA +nord +do", &format!("{SOA}{EDNS} do"));
}

#[test]
fn rfc8906_8_2_9_unknown_version_with_do_is_badvers() {
    zone("example.org SOA +nord +version=1 +do", &format!("BADVERS{EDNS} do"));
}

#[test]
fn rfc8906_8_2_10_several_known_options_at_once_are_answered() {
    // NSID, ECS, COOKIE, EXPIRE, as the RFC's example has them.
    let words = format!("example.org SOA +nord +cookie +nsid +subnet=0.0.0.0/0 +ednsopt=9: {FROM}");
    zone(&words, &format!("{SOA}{EDNS}\nsubnet: 0.0.0.0/0/0\nnsid: here\ncookie: {FRESH}"));
}

#[test]
fn rfc5001_2_3_identifier_comes_only_to_those_who_ask() {
    zone("www.example.org A +nsid", &format!("{WWW}{EDNS}\nnsid: here"));
    zone("www.example.org A +edns", &format!("{WWW}{EDNS}"));
    // What a client writes into the option does not matter.
    zone("www.example.org A +ednsopt=3:616263", &format!("{WWW}{EDNS}\nnsid: here"));
}

// Service bindings.

#[test]
fn rfc9460_4_1_addresses_of_targets_come_along() {
    zone(
        "svc.example.org HTTPS",
        "NOERROR aa
         answer: svc.example.org. 300 HTTPS 1 www.example.org. alpn=h2,
         answer: svc.example.org. 300 HTTPS 0 pool.example.org.
         additional: www.example.org. 300 A 192.0.2.80",
    );
    zone(
        "alias.example.org HTTPS",
        "NOERROR aa
         answer: alias.example.org. 300 HTTPS 0 www.example.org.
         additional: www.example.org. 300 A 192.0.2.80",
    );
}

#[test]
fn rfc9460_2_5_2_service_of_its_owner_comes_with_the_owners_addresses() {
    zone(
        "own.example.org SVCB",
        "NOERROR aa
         answer: own.example.org. 300 SVCB 1 .
         additional: own.example.org. 300 A 192.0.2.84",
    );
}
