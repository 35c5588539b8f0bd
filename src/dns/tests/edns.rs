//! EDNS(0) and client subnet.

use super::*;

#[test]
fn rfc7871_ecs_comes_back_only_if_it_was_there_with_the_scope_that_counts() {
    let www = "NOERROR aa\nanswer: www.example.org. 300 A 192.0.2.80";
    zone("www.example.org A +edns", &format!("{www}\nedns: 0 1232"));
    zone("www.example.org A +subnet=198.51.100.0/24", &format!("{www}\nedns: 0 1232\nsubnet: 198.51.100.0/24/0"));
    zone("www.example.org A +subnet=198.51.100.32/27", &format!("{www}\nedns: 0 1232\nsubnet: 198.51.100.32/27/0"));
    zone("www.example.org A +subnet=0.0.0.0/0", &format!("{www}\nedns: 0 1232\nsubnet: 0.0.0.0/0/0"));
    zone("www.example.org A +subnet=::/0", &format!("{www}\nedns: 0 1232\nsubnet: ::/0/0"));
    zone("nope.example.org A +subnet=198.51.100.0/24", "NXDOMAIN aa\nSOA!\nedns: 0 1232\nsubnet: 198.51.100.0/24/0");
    for qtype in ["SOA", "NS"] {
        let response = ask(&snapshot(CONFIG, &[ZONE]), &format!("example.org {qtype} +subnet=198.51.100.0/24"));
        assert!(response.ends_with("subnet: 198.51.100.0/24/0"), "{response}");
    }
}

#[test]
fn rfc7871_scope_is_that_of_the_pool_and_never_beyond_the_source() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    for (words, subnet) in [
        ("sticky.example.org A +subnet=198.51.100.0/20", None),
        ("sticky.example.org A +subnet=198.51.96.0/20", Some("198.51.96.0/20/20")),
        ("sticky.example.org A +subnet=198.51.100.7/32", Some("198.51.100.7/32/24")),
        ("sticky.example.org A +subnet=2001:db8::/56", Some("2001:db8::/56/56")),
        ("near.example.org A +subnet=198.51.100.7/32", Some("198.51.100.7/32/24")),
        ("near.example.org A +subnet=198.51.0.0/16", Some("198.51.0.0/16/16")),
        ("pool.example.org A +subnet=198.51.100.0/24", Some("198.51.100.0/24/0")),
    ] {
        let response = ask(&snapshot, words);
        match subnet {
            Some(subnet) => assert!(response.ends_with(&format!("subnet: {subnet}")), "{words}: {response}"),
            None => assert_eq!(response, "FORMERR\nedns: 0 1232", "{words}"),
        }
    }
}

#[test]
fn rfc7871_nodata_that_depends_on_the_client_has_its_scope() {
    let soa = SOA.replace(" 60 SOA", " 30 SOA");
    zone(
        "near.example.org A +subnet=203.0.113.0/24",
        &format!("NOERROR aa\n{soa}\nedns: 0 1232\nsubnet: 203.0.113.0/24/24"),
    );
}

#[test]
fn rfc7871_ecs_decides_who_the_client_is_whatever_the_peer() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    let many = "answer: near.example.org. 30 A 192.0.2.1\nanswer: near.example.org. 30 A 192.0.2.2";
    for words in ["+from=198.51.100.9", "+from=::ffff:198.51.100.9", "+from=2001:db8::1 +subnet=198.51.100.0/24"] {
        let response = ask(&snapshot, &format!("near.example.org A {words}"));
        assert_eq!(response.matches("answer:").count(), 2, "{many} {response}");
    }
    for words in ["+from=192.0.2.9", "+from=198.51.100.9 +subnet=192.0.2.0/24", "+from=198.51.100.9 +subnet=0.0.0.0/0"]
    {
        let response = ask(&snapshot, &format!("near.example.org A {words}"));
        assert_eq!(response.matches("answer:").count(), 1, "{words} {response}");
    }
}

#[test]
fn rfc7871_of_several_ecs_options_the_first_counts() {
    let mut asked = Asked::new("near.example.org A");
    let (first, second) = (b"\0\x08\0\x07\0\x01\x18\0\xc6\x33\x64", b"\0\x08\0\x04\0\x02\0\0");
    add_opt(&mut asked.wire, 1232, [0; 4], &[&first[..], second].concat());
    let response = show(&exchange(&snapshot(CONFIG, &[ZONE]), &asked).expect("response"));
    assert_eq!(response.matches("answer:").count(), 2, "{response}");
    assert!(response.contains("198.51.100.0/24"), "{response}");
}

#[test]
fn rfc7871_malformed_ecs_is_formerr_with_opt_and_without_aa() {
    let options: [&[u8]; 14] = [
        b"\x00\x01\x21\x00\xc6\x33\x64\x00\x00",
        b"\x00\x02\x81\x00\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x00\x01\x18\x00\xc6\x33",
        b"\x00\x01\x18\x00\xc6\x33\x64\x00",
        b"\x00\x01\x00\x00\x00",
        b"\x00\x01\x1f\x00\xc0\x00\x02\x01",
        b"\x00\x01\x01\x00\x40",
        b"\x00\x01\x18\x18\xc6\x33\x64",
        b"\x00\x03\x00\x00",
        b"\x00\x00\x00\x00",
        b"\x00\x2a\x08\x00\x01",
        b"",
        b"\x00",
        b"\x00\x01\x18",
    ];
    let snapshot = snapshot(CONFIG, &[ZONE]);
    for option in options {
        let mut data = vec![0, 8];
        data.extend(length_octets(option.len()));
        data.extend(option);
        let mut asked = Asked::new("www.example.org A");
        add_opt(&mut asked.wire, 1232, [0; 4], &data);
        assert_eq!(show(&exchange(&snapshot, &asked).expect("response")), "FORMERR\nedns: 0 1232", "{option:02x?}");
    }
}

#[test]
fn rfc6891_opt_is_there_if_and_only_if_it_was_in_the_query_and_do_is_copied() {
    let www = "NOERROR aa\nanswer: www.example.org. 300 A 192.0.2.80";
    zone("www.example.org A", www);
    zone("www.example.org A +edns", &format!("{www}\nedns: 0 1232"));
    zone("www.example.org A +do", &format!("{www}\nedns: 0 1232 do"));
    zone("example.net A +do", "REFUSED\nedns: 0 1232 do\nerror: 20");
    zone("www.example.org A +nsid", &format!("{www}\nedns: 0 1232\nnsid: here"));
}

#[test]
fn rfc6891_6_1_1_errors_have_opt_too_whatever_else_is_wrong() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    let www = &Asked::new("www.example.org A").wire[12..];
    for (opcode, n_questions, rcode) in [(0, 0, "FORMERR"), (0, 2, "FORMERR"), (2, 0, "NOTIMP"), (4, 2, "FORMERR")] {
        let mut asked = raw([opcode << 3, 0, 0, n_questions, 0, 0, 0, 0, 0, 0], &www.repeat(usize::from(n_questions)));
        add_opt(&mut asked.wire, 1232, [0, 0, 0x80, 0], b"");
        let response = show(&exchange(&snapshot, &asked).expect("response"));
        assert!(response.starts_with(rcode) && response.ends_with("edns: 0 1232 do"), "{response}");
    }
}

#[test]
fn rfc6891_unknown_version_is_badvers_without_an_answer() {
    let mut asked = Asked::new("www.example.org A");
    add_opt(&mut asked.wire, 1232, [0, 1, 0x80, 0], b"\x00\x01");
    let response = exchange(&snapshot(CONFIG, &[ZONE]), &asked).expect("response");
    assert_eq!(show(&response), "BADVERS\nedns: 0 1232 do");
}

#[test]
fn rfc6891_unknown_flags_are_not_copied_and_unknown_options_are_passed_over() {
    let mut asked = Asked::new("www.example.org A");
    add_opt(&mut asked.wire, 1232, [0, 0, 0x7f, 0xff], b"\xff\xf0\x00\x02ab\x00\x0f\x00\x00");
    let response = exchange(&snapshot(CONFIG, &[ZONE]), &asked).expect("response");
    assert_eq!(show(&response), "NOERROR aa\nanswer: www.example.org. 300 A 192.0.2.80\nedns: 0 1232");
    assert!(response.ends_with(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"), "{response:02x?}");
}

#[test]
fn rfc6891_bad_opt_records_are_formerr_with_opt() {
    let snapshot = snapshot(CONFIG, &[ZONE]);
    let formerr = |wire: Vec<u8>| {
        let asked = Asked { wire, ..Asked::new("www.example.org A") };
        assert_eq!(show(&exchange(&snapshot, &asked).expect("response")), "FORMERR\nedns: 0 1232");
    };
    let plain = || Asked::new("www.example.org A").wire;
    let mut two = plain();
    add_opt(&mut two, 1232, [0; 4], b"");
    add_opt(&mut two, 1232, [0; 4], b"");
    formerr(two);
    for options in [&b"\x00"[..], b"\x00\x03\x00", b"\x00\x03\x00\x01", b"\x00\x03\x00\x00\x00"] {
        let mut bad = plain();
        add_opt(&mut bad, 1232, [0; 4], options);
        formerr(bad);
    }
    let mut owned = plain();
    owned.extend(b"\x01x\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00");
    owned[11] = 1;
    formerr(owned);
}
