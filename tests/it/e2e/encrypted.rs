//! Encrypted DNS as `kdig` and `curl` see it, and certificates that are renewed while it is served.

use std::{fs, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::{
    server::{HEAD, Server, Site, ZONE},
    tools::{SOON, becomes, curl, run, stderr, stdout},
};

const ENCRYPTED: &str = r#"
[dns.encrypted]
tls = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
quic = ["127.0.0.1:0"]
certificate = "ns1.pem"
key = "ns1.key"
"#;

/// A geo pool: an answer that depends on the client's network and takes no turn.
const POOLS: &str = r#"
[pools.near]
realservers = [{ name = "near", address = "192.0.2.1" }]
[pools.far]
realservers = [{ name = "far", address = "192.0.2.2" }]
[pools.web]
policy = "geo"
members = ["near", "far"]
[pools.web.nets]
"198.51.100.0/24" = ["far"]
"#;

/// How kdig asks for each transport, the folder's `ca.pem` and the name being there.
const TRANSPORTS: [(&str, &str); 4] =
    [("dns-tls", "+tls"), ("dns-https", "+https"), ("dns-https", "+https +https-get"), ("dns-quic", "+quic")];

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(site: &Site) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With the same name as what it issues it would look like a certificate that signs itself.
        parameters.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().expect("key");
        let authority = Self(CertifiedIssuer::self_signed(parameters, key).expect("signed"));
        site.write("ca.pem", &authority.0.pem());
        authority.issue(site, "ns1.example.org");
        authority
    }

    /// Puts a certificate for `name` and its key into the site's folder.
    fn issue(&self, site: &Site, name: &str) {
        let key = KeyPair::generate().expect("key");
        let parameters = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).expect("parameters");
        let certificate = parameters.signed_by(&key, &self.0).expect("signed");
        site.write("ns1.key", &key.serialize_pem());
        site.write("ns1.pem", &certificate.pem());
    }
}

fn site() -> (Site, Authority) {
    let large: String = (0..60).map(|index| format!("large TXT \"number {index} {}\"\n", "x".repeat(200))).collect();
    let site = Site::new(&format!("{HEAD}{ENCRYPTED}{POOLS}"), &format!("{ZONE}{large}"));
    let authority = Authority::new(&site);
    (site, authority)
}

/// What kdig shows, with the certificate checked for `name`.
#[track_caller]
fn kdig(server: &Server<'_>, (service, flags): (&str, &str), name: &str, question: &str) -> String {
    let address = server.address(service);
    let (at, port) = (format!("@{}", address.ip()), address.port().to_string());
    let ca = format!("+tls-ca={}", server.site.path("ca.pem").display());
    let name = format!("+tls-hostname={name}");
    // They would switch TLS on, and kdig 3.2 crashes when they follow `+quic`.
    let checks = if service == "dns" { vec![] } else { vec![&*ca, &*name] };
    let arguments = [&*at, "-p", &port, "+time=5", "+retry=0"].into_iter().chain(checks);
    let output = run("kdig", arguments.chain(flags.split(' ')).chain(question.split(' ')));
    stdout(&output)
}

/// What stands between `start` and the next semicolon.
fn field<'s>(shown: &'s str, start: &str) -> &'s str {
    shown.split_once(start).and_then(|(_, rest)| rest.split(';').next()).unwrap_or("no answer")
}

fn rcode(shown: &str) -> &str {
    field(shown, "opcode: QUERY; status: ")
}

fn flags(shown: &str) -> &str {
    field(shown, "Flags: ")
}

/// What makes an answer: response code, flags, and all lines that are no comment.
fn answer_of(shown: &str) -> (String, String, Vec<String>) {
    let records = shown.lines().filter(|line| !line.starts_with(';') && !line.trim().is_empty());
    let words = records.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    (rcode(shown).to_owned(), flags(shown).to_owned(), words.collect())
}

#[test]
fn answers_are_the_same_over_every_transport() {
    let (site, _authority) = site();
    let server = site.start();
    for (question, expected, needle) in [
        ("static.example.org A", "NOERROR", "192.0.2.7"),
        ("www.example.org A +subnet=198.51.100.0/24", "NOERROR", "192.0.2.2"),
        ("www.example.org A +subnet=203.0.113.0/24", "NOERROR", "192.0.2.1"),
        ("alias.example.org A +dnssec", "NOERROR", "CNAME"),
        ("nothing.example.org A", "NXDOMAIN", "SOA"),
        ("example.com A", "REFUSED", ""),
        ("large.example.org TXT +bufsize=512", "NOERROR", "number 59"),
    ] {
        let plain = kdig(&server, ("dns", "+tcp"), "ns1.example.org", question);
        assert_eq!(rcode(&plain), expected, "{plain}");
        assert!(plain.contains(needle), "{plain}");
        for transport in TRANSPORTS {
            let shown = kdig(&server, transport, "ns1.example.org", question);
            assert_eq!(answer_of(&shown), answer_of(&plain), "{transport:?}\n{shown}");
            assert!(!flags(&shown).contains("tc"), "{shown}");
        }
    }
    for (transport, n_queries) in [("tls", 7.0), ("https", 14.0), ("quic", 7.0)] {
        let count = |name: &str| server.metric(&format!("fingerpost_dns_{name}{{transport=\"{transport}\"}}"));
        assert_eq!(count("queries_total"), Some(n_queries));
        assert_eq!(count("encrypted_accepted_total"), Some(n_queries));
        becomes(SOON, Some(0.0), || count("encrypted_connections"));
    }
    server.stop();
}

#[test]
fn client_subnet_and_its_scope_survive() {
    let (site, _authority) = site();
    let server = site.start();
    for transport in TRANSPORTS {
        let shown = kdig(&server, transport, "ns1.example.org", "www.example.org A +subnet=198.51.100.0/24");
        assert!(shown.contains("CLIENT-SUBNET: 198.51.100.0/24/24"), "{shown}");
    }
}

#[test]
fn zone_is_transferred_over_tls_but_not_over_the_others() {
    let head = HEAD.replace("[redirect]", "allow_transfer = [\"127.0.0.0/8\"]\n[redirect]");
    let site = Site::new(&format!("{head}{ENCRYPTED}{POOLS}"), ZONE);
    let _authority = Authority::new(&site);
    let server = site.start();
    let axfr = |transport| kdig(&server, transport, "ns1.example.org", "example.org AXFR");
    let shown = axfr(("dns-tls", "+tls"));
    assert!(shown.contains("static.example.org.") && shown.contains("192.0.2.7"), "{shown}");
    assert!(!axfr(("dns-quic", "+quic")).contains("static.example.org."));
    assert_eq!(server.metric("fingerpost_dns_transfers_total{outcome=\"done\"}"), Some(1.0));
}

#[test]
fn curl_resolves_over_https() {
    let (site, _authority) = site();
    // The zone's `ns1` is 127.0.0.1, and the server itself answers HTTP there.
    let server = site.start();
    let doh = format!("https://{}/dns-query", server.address("dns-https"));
    let ca = site.path("ca.pem").display().to_string();
    let url = format!("http://ns1.example.org:{}/health", server.address("control").port());
    let output = curl(["--cacert", &ca, "--doh-url", &doh, &url]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(server.metric("fingerpost_dns_queries_total{transport=\"https\"}"), Some(2.0));
    let output = curl(["--cacert", &ca, "--doh-url", &doh, "http://nothing.example.org/"]);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    // HTTP/1.1 is not spoken, and what is not DNS has its status.
    assert!(!curl(["--cacert", &ca, "--http1.1", &doh]).status.success());
    let status =
        |url: &str| stdout(&curl(["--cacert", &ca, "--output", "/dev/null", "--write-out", "%{http_code}", url]));
    assert_eq!((status(&doh), status(&doh.replace("dns-query", ""))), ("400".to_owned(), "404".to_owned()));
}

#[test]
fn certificate_that_changes_is_seen_and_a_broken_one_is_not() {
    let (site, authority) = site();
    let server = site.start();
    let is_named = |name: &str| {
        TRANSPORTS.map(|transport| rcode(&kdig(&server, transport, name, "static.example.org A")) == "NOERROR")
    };
    assert_eq!((is_named("ns1.example.org"), is_named("ns2.example.org")), ([true; 4], [false; 4]));

    // Nobody says `reload`: the files are watched.
    authority.issue(&site, "ns2.example.org");
    becomes(SOON, [true; 4], || is_named("ns2.example.org"));
    assert_eq!(is_named("ns1.example.org"), [false; 4]);
    becomes(SOON, Some(1.0), || server.metric("fingerpost_config_reload_ok"));

    let good = site.read("ns1.key");
    site.write("ns1.key", &KeyPair::generate().expect("key").serialize_pem());
    becomes(SOON, Some(0.0), || server.metric("fingerpost_config_reload_ok"));
    let output = site.command("reload");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("does not fit the certificate"), "{}", stderr(&output));
    let told = site.json("status")["reload_error"]["errors"].to_string();
    assert!(told.contains("does not fit the certificate"), "{told}");
    assert_eq!(is_named("ns2.example.org"), [true; 4]);

    // Mistakes elsewhere do not keep a good one out.
    site.write("fingerpost.toml", &(site.read("fingerpost.toml") + "wieght = 3\n"));
    site.write("ns1.key", &good);
    authority.issue(&site, "ns3.example.org");
    becomes(SOON, [true; 4], || is_named("ns3.example.org"));
}

#[test]
fn sockets_come_and_go_with_the_configuration() {
    let (site, _authority) = site();
    let whole = site.read("fingerpost.toml");
    site.write("fingerpost.toml", &whole.replace(ENCRYPTED, ""));
    let server = site.start();
    let services = || {
        let status = site.json("status");
        let sockets = status["sockets"].as_array().expect("sockets").clone();
        sockets.iter().filter(|socket| socket["service"].as_str().is_some_and(|name| name.starts_with("dns-"))).count()
    };
    assert_eq!(services(), 0);
    site.write("fingerpost.toml", &whole);
    site.tell("reload");
    assert_eq!(services(), 3);
    for transport in TRANSPORTS {
        let shown = kdig(&server, transport, "ns1.example.org", "static.example.org A");
        assert_eq!(rcode(&shown), "NOERROR", "{shown}");
    }
    // A certificate that is not there changes nothing.
    site.write("fingerpost.toml", &whole.replace("ns1.pem", "ns9.pem"));
    let output = site.command("reload");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("ns9.pem"), "{}", stderr(&output));
    assert_eq!(services(), 3);
    site.write("fingerpost.toml", &whole.replace(ENCRYPTED, ""));
    site.tell("reload");
    assert_eq!(services(), 0);
}

#[test]
fn start_and_check_say_what_is_wrong_with_the_certificate() {
    let (site, _authority) = site();
    assert!(site.command("check").status.success());
    fs::remove_file(site.path("ns1.pem")).expect("removed");
    let output = site.command("check");
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(told.contains("error: could not read `") && told.contains("ns1.pem`: No such file"), "{told}");
    let mut server = site.spawn();
    assert!(!server.wait(Duration::from_secs(10)).success());
    assert!(site.read("log").contains("ns1.pem"), "{}", site.read("log"));
}
