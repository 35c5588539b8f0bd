//! EDNS options, cookies and rate limits as `dig` sees them.

use super::{
    server::{HEAD, Server, Site, ZONE},
    tools::{SOON, becomes, flags, rcode, stderr},
};

const POOL: &str = "[pools.web]\nrealservers = [{ name = \"a\", address = \"192.0.2.1\" }]\n";

/// A site with these keys in `[dns]`.
fn site(keys: &str) -> Site {
    Site::new(&format!("{}{POOL}", HEAD.replace("[redirect]", &format!("{keys}\n[redirect]"))), ZONE)
}

/// The whole cookie in what dig shows.
#[track_caller]
fn cookie(shown: &str) -> &str {
    let cookie = shown.split_once("; COOKIE: ").and_then(|(_, rest)| rest.split_whitespace().next());
    cookie.unwrap_or_else(|| panic!("no cookie in {shown}"))
}

fn good_cookies(server: &Server<'_>) -> Option<f64> {
    server.metric("fingerpost_dns_cookies_total{cookie=\"good\",transport=\"udp\"}")
}

#[test]
fn rfc8906_8_every_query_of_its_matrix_is_answered() {
    let site = site("nsid = \"ams-1\"");
    let server = site.start();
    let soa = "example.org SOA +norec";
    for (options, expected, needle) in [
        ("+noedns +noad", "NOERROR", "hostmaster.example.org. 1 3600"),
        ("+noedns +noad -t TYPE1000", "NOERROR", "ANSWER: 0"),
        ("+noedns +noad +cd", "NOERROR", "ANSWER: 1"),
        ("+noedns +ad", "NOERROR", "ANSWER: 1"),
        ("+noedns +noad +zflag", "NOERROR", "ANSWER: 1"),
        ("+noedns +noad +opcode=15", "NOTIMP", "opcode: RESERVED15"),
        ("+noedns +noad +opcode=15 +header-only", "NOTIMP", "opcode: RESERVED15"),
        ("+noedns +noad +header-only", "FORMERR", "QUERY: 0"),
        ("+noedns +noad +tcp", "NOERROR", "(TCP)"),
        ("+edns=0 +nocookie +noad", "NOERROR", "version: 0"),
        ("+edns=1 +noednsneg +nocookie +noad", "BADVERS", "version: 0"),
        ("+edns=100 +noednsneg +nocookie +noad +dnssec", "BADVERS", "flags: do"),
        ("+edns=1 +noednsneg +nocookie +noad +ednsopt=100", "BADVERS", "version: 0"),
        ("+edns=1 +noednsneg +nocookie +noad +ednsflags=0x40", "BADVERS", "version: 0"),
        ("+ednsopt=100 +nocookie +noad", "NOERROR", "ANSWER: 1"),
        ("+ednsflags=0x40 +nocookie +noad", "NOERROR", "; EDNS: version: 0, flags:; udp: 1232"),
        ("+dnssec +nocookie +noad", "NOERROR", "flags: do"),
        ("+nsid +subnet=0/0 +expire +cookie +noad", "NOERROR", "NSID: 61 6d 73 2d 31 (\"ams-1\")"),
        ("+keepalive +tcp +nocookie", "NOERROR", "TCP KEEPALIVE: 9.0 secs"),
        ("+keepalive +nocookie", "NOERROR", "ANSWER: 1"),
        ("+padding=128 +nocookie", "NOERROR", "ANSWER: 1"),
        ("+ednsopt=10:0102 +nocookie", "FORMERR", "version: 0"),
    ] {
        let shown = server.dig(&format!("{soa} {options}"));
        assert_eq!(rcode(&shown), expected, "{options}: {shown}");
        assert!(shown.contains(needle), "{options}: {needle} is not in {shown}");
        assert!(!shown.contains("MBZ") && !shown.contains("Warning"), "{options}: {shown}");
        assert!(!shown.contains("PAD"), "{options}: {shown}");
        let expects_edns = !options.starts_with("+noedns");
        assert_eq!(shown.contains("OPT PSEUDOSECTION"), expects_edns, "{options}: {shown}");
    }
}

#[test]
fn rfc8914_refusal_says_why() {
    let site = site("");
    let server = site.start();
    let shown = server.dig("example.com A");
    assert!(rcode(&shown) == "REFUSED" && shown.contains("EDE: 20 (Not Authoritative)"), "{shown}");
}

#[test]
fn rfc9018_servers_of_a_set_know_each_others_cookies_through_a_rollover() {
    let (old, new) = ("e5e973e5a6b2a43f48e7dc849e37bfcf", "445536bcd2513298075a5d379663c962");
    let [one, other] = [(), ()].map(|()| {
        let site = site("cookie_secret_file = \"secrets\"");
        site.write("secrets", &format!("# since yesterday\n{old}\n"));
        site
    });
    let (first, second) = (one.start(), other.start());
    let shown = first.dig("www.example.org A +cookie=2464c4abcf10c957");
    assert!(shown.contains("(good)"), "{shown}");
    let received = cookie(&shown).to_owned();
    assert_eq!((received.len(), received.get(..24)), (48, Some("2464c4abcf10c95701000000")));
    // Young enough, so it comes back as it is.
    let question = format!("www.example.org A +cookie={received}");
    assert_eq!(cookie(&second.dig(&question)), received);
    assert_eq!((good_cookies(&first), good_cookies(&second)), (Some(0.0), Some(1.0)));

    // The next secret, noticed by itself: what the old one made is still good, and renewed.
    other.write("secrets", &format!("{new}\n{old}\n"));
    becomes(SOON, true, || cookie(&second.dig(&question)) != received);
    let n_good = good_cookies(&second);
    assert_ne!(cookie(&second.dig(&question)), received);
    assert_eq!(good_cookies(&second), n_good.map(|n_good| n_good + 1.0));

    other.write("secrets", &format!("{new}\n"));
    other.tell("reload");
    second.dig(&question);
    assert_eq!(good_cookies(&second), n_good.map(|n_good| n_good + 1.0));

    // What is no secret is refused, and the last good one stays.
    other.write("secrets", "not a secret\n");
    let output = other.command("reload");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("this line is not a secret"), "{}", stderr(&output));
    assert_eq!(other.command("check").status.code(), Some(1));
    assert!(second.dig("www.example.org A +cookie").contains("(good)"));
}

#[test]
fn rfc7873_5_2_3_required_cookies_are_learnt_by_dig_from_badcookie() {
    let site = site("require_cookies = true");
    let server = site.start();
    let shown = server.dig("www.example.org A +cookie +nobadcookie");
    assert!(rcode(&shown) == "BADCOOKIE" && shown.contains("ANSWER: 0"), "{shown}");
    let shown = server.dig("www.example.org A +cookie");
    assert!(rcode(&shown) == "NOERROR" && shown.contains("192.0.2.1"), "{shown}");
    let shown = server.dig("www.example.org A +nocookie");
    assert!(rcode(&shown) == "NOERROR" && shown.contains("192.0.2.1"), "{shown}");
    assert_eq!(good_cookies(&server), Some(1.0));
}

#[test]
fn limited_client_gets_through_by_tcp_or_with_a_cookie() {
    let site = site("rate_limit = { responses_per_second = 1, burst = 1, slip = 1 }");
    let server = site.start();
    let tc = "static.example.org A +nocookie +ignore";
    becomes(SOON, true, || flags(&server.dig(tc)).contains("tc"));
    // The bucket refills within a second: asked often enough, it is empty again.
    becomes(SOON, true, || {
        server.dig(tc);
        let shown = server.dig("static.example.org A +nocookie");
        shown.contains("(TCP)") && shown.contains("192.0.2.7")
    });
    becomes(SOON, true, || {
        server.dig(tc);
        rcode(&server.dig("static.example.org A +cookie +nobadcookie")) == "BADCOOKIE"
    });
    let shown = server.dig("static.example.org A +cookie");
    assert!(rcode(&shown) == "NOERROR" && shown.contains("192.0.2.7"), "{shown}");
    let slipped = server.metric("fingerpost_dns_answers_total{kind=\"slip\",transport=\"udp\"}");
    assert!(slipped >= Some(3.0), "{slipped:?}");
}

#[test]
fn limited_client_that_does_not_slip_gets_silence_and_is_counted() {
    let site = site("[dns.rate_limit]\nresponses_per_second = 1\nburst = 1\nslip = 0");
    let server = site.start();
    let dropped = || server.metric("fingerpost_dns_dropped_total{reason=\"rate_limit\",transport=\"udp\"}");
    becomes(SOON, true, || {
        for _ in 0..3 {
            server.dig("static.example.org A +nocookie +time=1");
        }
        dropped() >= Some(1.0)
    });
    // What is configured anew holds at once, for everybody.
    site.edit("fingerpost.toml", "slip = 0", "slip = 0\nexempt = [\"127.0.0.0/8\"]");
    site.tell("reload");
    let before = dropped();
    for _ in 0..5 {
        assert_eq!(rcode(&server.dig("static.example.org A +nocookie")), "NOERROR");
    }
    assert_eq!(dropped(), before);
}
