//! Other programs that ask: kdig, drill and dnspython, with all that they can put into a query.

use super::{
    server::{HEAD, Server, Site, ZONE},
    tools::{run, stderr, stdout},
};

const POOL: &str = "[pools.web]\nanswers = \"all\"\n\
                    realservers = [{ name = \"a\", address = \"192.0.2.1\" }, { name = \"b\", address = \"192.0.2.2\" }]\n";

fn site() -> Site {
    let keys = "nsid = \"ams-1\"\nallow_transfer = [\"127.0.0.0/8\"]\n";
    Site::new(&format!("{}{POOL}", HEAD.replace("[redirect]", &format!("{keys}[redirect]"))), ZONE)
}

/// What a program shows that takes a server as kdig and drill do.
#[track_caller]
fn ask(program: &str, server: &Server<'_>, words: &str) -> String {
    let address = server.address("dns");
    let (at, port) = (format!("@{}", address.ip()), address.port().to_string());
    let output = run(program, [&*at, "-p", &*port].into_iter().chain(words.split_whitespace()));
    assert!(output.status.success(), "{program} {words}: {}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

#[test]
fn kdig_with_every_option_over_one_connection_that_is_kept_open() {
    let site = site();
    let server = site.start();
    let options = "+tcp +keepopen +nsid +cookie +padding +edns +retry=0";
    let shown = ask(
        "kdig",
        &server,
        &format!("{options} www.example.org A alias.example.org A nothing.example.org A x.cdn.example.org A"),
    );
    assert_eq!(shown.matches("NSID: 616D732D31 \"ams-1\"").count(), 4, "{shown}");
    assert_eq!(shown.matches(";; COOKIE: ").count(), 4, "{shown}");
    assert_eq!(shown.matches("status: NOERROR").count(), 3, "{shown}");
    assert_eq!(shown.matches("status: NXDOMAIN").count(), 1, "{shown}");
    assert_eq!(shown.matches("192.0.2.2").count(), 3, "{shown}");
    assert!(
        !shown.contains("PADDING") && !shown.contains(";; WARNING"),
        "padding is for encrypted transports: {shown}"
    );
    assert_eq!(server.metric("fingerpost_dns_tcp_accepted_total"), Some(1.0));
    assert_eq!(server.metric("fingerpost_dns_queries_total{transport=\"tcp\"}"), Some(4.0));
    // The same by UDP, where a client of its own does not come back with the cookie.
    let shown = ask("kdig", &server, "+notcp +nsid +cookie +padding +bufsize=512 +dnssec www.example.org A");
    assert!(shown.contains("192.0.2.1") && shown.contains("ams-1") && shown.contains("flags: do"), "{shown}");
    let shown = ask("kdig", &server, "example.org AXFR");
    assert!(shown.contains("static.example.org.") && shown.contains("AXFR"), "{shown}");
}

#[test]
fn drill_asks_by_udp_and_tcp() {
    let site = site();
    let server = site.start();
    for flags in ["", "-t", "-D"] {
        let shown = ask("drill", &server, &format!("{flags} www.example.org A"));
        assert!(shown.contains("rcode: NOERROR") && shown.contains("flags: qr aa rd"), "{flags}: {shown}");
        assert!(shown.contains("192.0.2.1") && shown.contains("192.0.2.2"), "{flags}: {shown}");
        let shown = ask("drill", &server, &format!("{flags} nothing.example.org MX"));
        assert!(shown.contains("rcode: NXDOMAIN") && shown.contains("SOA"), "{flags}: {shown}");
    }
}

/// A query with every option that dnspython knows, by UDP and by TCP; then a zone, which it takes apart and puts together.
const DNSPYTHON: &str = r#"
import sys, dns.edns, dns.flags, dns.message, dns.query, dns.rcode, dns.zone
ip, port = sys.argv[1], int(sys.argv[2])
options = [dns.edns.ECSOption("198.51.100.0", 24), dns.edns.GenericOption(3, b""), dns.edns.GenericOption(10, b"12345678")]
for ask in (dns.query.udp, dns.query.tcp):
    query = dns.message.make_query("wWw.ExAmPlE.oRg", "A", use_edns=0, payload=1232, options=options, want_dnssec=True)
    answer = ask(query, ip, port=port, timeout=5, one_rr_per_rrset=False)
    assert answer.rcode() == dns.rcode.NOERROR and answer.flags & dns.flags.AA, answer
    assert sorted(record.address for record in answer.answer[0]) == ["192.0.2.1", "192.0.2.2"], answer
    found = {int(option.otype) for option in answer.options}
    assert found == {3, 8, 10}, answer
    assert answer.question[0].name.labels == query.question[0].name.labels, answer
    gone = ask(dns.message.make_query("nothing.example.org", "A"), ip, port=port, timeout=5)
    assert gone.rcode() == dns.rcode.NXDOMAIN and gone.authority, gone
zone = dns.zone.from_xfr(dns.query.xfr(ip, "example.org", port=port, lifetime=5))
print(len(zone.nodes), sorted(str(name) for name in zone.nodes))
"#;

#[test]
fn dnspython_takes_answers_and_a_zone_apart() {
    let site = site();
    let server = site.start();
    let address = server.address("dns");
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let output = run("/usr/bin/python3", ["-c", DNSPYTHON, &ip, &port]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), "6 ['*.cdn', '@', 'alias', 'ns1', 'static', 'www']\n");
}
