//! Answers as `dig` sees them.

use super::{
    realserver::{Realserver, entries, names_at},
    server::{HEAD, Site, ZONE},
    tools::{SOON, becomes, dig, flags, rcode},
};

/// A pool of realservers that are answered, and never connected to.
const WEB: &str = r#"
[pools.web]
realservers = [
  { name = "A", address = "192.0.2.1", weight = 4 },
  { name = "B", address = "192.0.2.2", weight = 3 },
  { name = "C", address = ["192.0.2.3", "2001:db8::3"], weight = 2 },
]
"#;

#[test]
fn udp_and_tcp_answer_with_authority_and_without_recursion() {
    let site = Site::with(WEB);
    let server = site.start();
    for question in ["static.example.org A", "static.example.org A +tcp"] {
        let shown = server.dig(question);
        assert_eq!((rcode(&shown), flags(&shown)), ("NOERROR", "qr aa rd"), "{shown}");
        assert!(shown.contains("192.0.2.7"), "{shown}");
        assert!(shown.contains("udp: 1232"), "{shown}");
    }
    let shown = server.dig("static.example.org A +norec");
    assert_eq!((rcode(&shown), flags(&shown)), ("NOERROR", "qr aa"), "{shown}");
    becomes(SOON, Some(2.0), || server.metric("fingerpost_dns_queries_total{transport=\"udp\"}"));
    assert_eq!(server.metric("fingerpost_dns_queries_total{transport=\"tcp\"}"), Some(1.0));
}

#[test]
fn names_are_found_as_rfc_1034_and_4592_say() {
    let site = Site::with(WEB);
    let server = site.start();
    for (question, expected, needle) in [
        ("example.org SOA", "NOERROR", "hostmaster.example.org. 1 3600"),
        ("example.org A", "NOERROR", "192.0.2.1"),
        ("www.example.org AAAA", "NOERROR", "2001:db8::3"),
        ("www.example.org MX", "NOERROR", "SOA"),
        ("x.cdn.example.org A", "NOERROR", "x.cdn.example.org.\t30"),
        ("cdn.example.org A", "NOERROR", "SOA"),
        ("alias.example.org A", "NOERROR", "CNAME\twww.example.org."),
        ("nothing.example.org A", "NXDOMAIN", "SOA"),
        ("example.com A", "REFUSED", "ANSWER: 0"),
    ] {
        let shown = server.dig(question);
        assert_eq!(rcode(&shown), expected, "{shown}");
        assert!(shown.contains(needle), "{needle} is not in {shown}");
    }
}

#[test]
fn answer_that_does_not_fit_is_truncated_and_whole_over_tcp() {
    let texts: String = (0..20).map(|index| format!("big TXT \"text number {index} {}\"\n", "x".repeat(80))).collect();
    let site = Site::new(&format!("{HEAD}{WEB}"), &format!("{ZONE}{texts}"));
    let server = site.start();
    let shown = server.dig("big.example.org TXT +bufsize=512 +ignore");
    assert!(flags(&shown).contains("tc"), "{shown}");
    assert!(shown.contains("OPT PSEUDOSECTION"), "{shown}");
    // Without `+ignore` dig does what resolvers do, and asks again over TCP.
    for question in ["big.example.org TXT +bufsize=512", "big.example.org TXT +tcp"] {
        let shown = server.dig(question);
        assert!(!flags(&shown).contains("tc") && shown.contains("ANSWER: 20"), "{shown}");
        assert!(shown.contains("(TCP)"), "{shown}");
    }
}

#[test]
fn weights_4_3_2_are_aababcabc_from_the_first_query() {
    let site = Site::with(WEB);
    let server = site.start();
    let dns = server.address("dns");
    let ask = |_| dig(dns, "www.example.org A +short");
    let answers: String = (0..18).map(ask).collect();
    let letters =
        answers.replace("192.0.2.1", "A").replace("192.0.2.2", "B").replace("192.0.2.3", "C").replace('\n', "");
    assert_eq!(letters, "AABABCABCAABABCABC");
}

#[test]
fn wrr_keeps_its_order_while_probes_go_on_and_aaaa_and_tcp_are_asked_between() {
    let realservers = Realserver::three();
    let config = format!(
        "[checks.web]\ntype = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"90ms\"\n[pools.web]\ncheck = \"web\"\nrealservers = [{}]\n",
        entries(&realservers)
    );
    let site = Site::with(&config);
    let server = site.start();
    server.wait_for_health("web", &["A", "B", "C"], "up");
    let dns = server.address("dns");
    let mut order = String::new();
    for index in 0..9 {
        let transport = if index % 2 == 0 { "+notcp" } else { "+tcp" };
        let answer = dig(dns, &format!("www.example.org A +short {transport}"));
        order += &names_at(&realservers, &answer);
        dig(dns, "www.example.org AAAA +short");
    }
    assert_eq!(order, "AABABCABC");
}

/// A geo pool over two pools of one realserver each.
fn geo(rules: &str) -> String {
    let places = ["eu", "us", "asia"].into_iter().zip(1..);
    let pools: String = places
        .map(|(name, last)| {
            format!("[pools.{name}]\nrealservers = [{{ name = \"{name}\", address = \"192.0.2.{last}\" }}]\n")
        })
        .collect();
    format!("{pools}[pools.web]\npolicy = \"geo\"\nmembers = [\"eu\", \"us\", \"asia\"]\n{rules}")
}

/// The scope that the answer has for `+subnet`.
fn client_subnet(shown: &str) -> &str {
    shown.split_once("CLIENT-SUBNET: ").and_then(|(_, rest)| rest.lines().next()).unwrap_or("")
}

#[test]
fn client_subnet_is_answered_with_the_scope_of_what_took_part() {
    let rules = "[pools.web.geo]\ndefault = [\"eu\"]\n[pools.web.nets]\n\"198.51.100.0/24\" = [\"us\"]\n\"203.0.0.0/8\" = [\"asia\"]\n";
    let site = Site::with(&geo(rules));
    let server = site.start();
    for (question, address, subnet) in [
        ("www.example.org +subnet=198.51.100.0/24", "192.0.2.2", "198.51.100.0/24/24"),
        ("www.example.org +subnet=198.51.100.77/32", "192.0.2.2", "198.51.100.77/32/24"),
        ("www.example.org +subnet=203.0.113.0/24", "192.0.2.3", "203.0.113.0/24/8"),
        ("www.example.org +subnet=0/0", "192.0.2.1", "0.0.0.0/0/0"),
        ("static.example.org +subnet=198.51.100.0/24", "192.0.2.7", "198.51.100.0/24/0"),
    ] {
        let shown = server.dig(question);
        assert_eq!(client_subnet(&shown), subnet, "{question}: {shown}");
        assert!(shown.contains(address), "{question}: {shown}");
    }
    assert_eq!(client_subnet(&server.dig("www.example.org")), "", "no option in an answer to none");
}

#[test]
fn geo_goes_by_the_database_that_is_shipped() {
    let database = concat!(env!("CARGO_MANIFEST_DIR"), "/geoip/country.mmdb");
    let rules = "[pools.web.geo]\neurope = [\"eu\"]\nUS = [\"us\"]\nasia = [\"asia\"]\ndefault = [\"eu\"]\n";
    let site = Site::with(&format!("{}[geoip]\ndatabases = [{database:?}]\n", geo(rules)));
    let server = site.start();
    for (subnet, address) in
        [("193.0.0.0/21", "192.0.2.1"), ("8.8.8.0/24", "192.0.2.2"), ("133.11.0.0/16", "192.0.2.3")]
    {
        let shown = server.dig(&format!("www.example.org +subnet={subnet}"));
        assert!(shown.contains(&format!("\t{address}\n")), "{subnet}: {shown}");
        let scope = client_subnet(&shown).rsplit('/').next().and_then(|scope| scope.parse::<u8>().ok());
        assert!(scope.is_some_and(|scope| scope > 0), "a place was looked up: {shown}");
    }
}
