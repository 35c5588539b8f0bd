//! Zones that go from server to server: what `dig AXFR` sees, and Knot, NSD and BIND as secondaries and as primaries.

use std::{fs, net::SocketAddr};

use super::{
    nameserver::{KEY, Kind, Nameserver, Role},
    server::{HEAD, Server, Site},
    tools::{SOON, becomes, dig, free_port, own_ip, rcode, within},
};

/// A zone with everything that a transfer must not lose.
const ZONE: &str = "\
$ORIGIN example.org.
$TTL 300
@           SOA   ns1 hostmaster 1 3600 600 1209600 300
@           NS    ns1
ns1         A     192.0.2.53
www      30 POOL  web
www         TXT   \"beside the pool\"
*.cdn    30 POOL  web
static      A     192.0.2.7
alias       CNAME www
sub         NS    ns.sub
sub         DS    12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ns.sub      A     192.0.2.54
other       DNAME example.net.
odd\\.label  TXT   \"a \\\"quoted\\\" text\" \"and \\200 more\"
Mixed       MX    10 MAIL.Example.Net.
svc         SRV   0 5 443 www
https       HTTPS 1 . alpn=h2
raw         TYPE65280 \\# 3 abcdef
";

/// Its pool.
const WEB: &str = r#"
[pools.web]
answers = 2
realservers = [
  { name = "A", address = "192.0.2.1", weight = 4 },
  { name = "B", address = ["192.0.2.2", "2001:db8::2"], weight = 3 },
  { name = "C", address = "192.0.2.3", weight = 2 },
]
"#;

/// Questions whose answers do not depend on the client, nor on whose turn it is.
const QUESTIONS: &[&str] = &[
    "example.org SOA",
    "example.org NS",
    "www.example.org TXT",
    "www.example.org AAAA",
    "x.cdn.example.org AAAA",
    "static.example.org A",
    "alias.example.org CNAME",
    "host.sub.example.org A",
    "sub.example.org DS",
    "a.other.example.org CNAME",
    "odd\\.label.example.org TXT",
    "mixed.example.org MX",
    "svc.example.org SRV",
    "https.example.org HTTPS",
    "raw.example.org TYPE65280",
    "nothing.example.org A",
];

fn config(more: &str) -> String {
    let (name, algorithm, secret) = KEY;
    let keys = format!("[tsig.\"{name}\"]\nalgorithm = \"{algorithm}\"\nsecret = \"{secret}\"\n");
    HEAD.replace("[redirect]\n", &format!("{more}\n[redirect]\n")) + &keys + WEB
}

/// A zone as dig lists it, without comments, in one form.
fn transfer(server: &Server<'_>, flags: &str) -> Vec<String> {
    let shown =
        dig(server.address("dns"), &format!("example.org AXFR +nocomments +noquestion +nostats +nocmd {flags}"));
    shown.lines().filter(|line| !line.is_empty()).map(words).collect()
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn key_flag() -> String {
    let (name, algorithm, secret) = KEY;
    format!("-y {algorithm}:{name}:{secret}")
}

#[test]
fn dig_gets_the_whole_zone_with_pools_as_addresses() {
    let site = Site::new(&config("allow_transfer = [\"127.0.0.1/32\"]"), ZONE);
    let server = site.start();
    let soa = "example.org. 300 IN SOA ns1.example.org. hostmaster.example.org. 1 3600 600 1209600 300";
    let records = transfer(&server, "");
    assert_eq!(records.first().map(String::as_str), Some(soa), "{records:#?}");
    assert_eq!(records.last().map(String::as_str), Some(soa));
    let mut between: Vec<&str> = records[1..records.len() - 1].iter().map(String::as_str).collect();
    between.sort_unstable();
    let mut expected = [
        "example.org. 300 IN NS ns1.example.org.",
        "ns1.example.org. 300 IN A 192.0.2.53",
        "www.example.org. 300 IN TXT \"beside the pool\"",
        "www.example.org. 30 IN A 192.0.2.1",
        "www.example.org. 30 IN A 192.0.2.2",
        "www.example.org. 30 IN AAAA 2001:db8::2",
        "*.cdn.example.org. 30 IN A 192.0.2.1",
        "*.cdn.example.org. 30 IN A 192.0.2.2",
        "*.cdn.example.org. 30 IN AAAA 2001:db8::2",
        "static.example.org. 300 IN A 192.0.2.7",
        "alias.example.org. 300 IN CNAME www.example.org.",
        "sub.example.org. 300 IN NS ns.sub.example.org.",
        "sub.example.org. 300 IN DS 12345 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF01234567 89ABCDEF",
        "ns.sub.example.org. 300 IN A 192.0.2.54",
        "other.example.org. 300 IN DNAME example.net.",
        "odd\\.label.example.org. 300 IN TXT \"a \\\"quoted\\\" text\" \"and \\200 more\"",
        "mixed.example.org. 300 IN MX 10 MAIL.Example.Net.",
        "svc.example.org. 300 IN SRV 0 5 443 www.example.org.",
        "https.example.org. 300 IN HTTPS 1 . alpn=\"h2\"",
        "raw.example.org. 300 IN TYPE65280 \\# 3 ABCDEF",
    ];
    expected.sort_unstable();
    assert_eq!(between, expected);
    assert_eq!(transfer(&server, ""), records, "two transfers of one serial say the same");
    becomes(SOON, Some(2.0), || server.metric("fingerpost_dns_transfers_total{outcome=\"done\"}"));
}

#[test]
fn signed_transfers_are_for_holders_of_the_key() {
    let site = Site::new(&config("allow_transfer = [\"key:xfr.example.org\"]"), ZONE);
    let server = site.start();
    let unsigned = server.dig("example.org AXFR");
    assert!(unsigned.contains("Transfer failed"), "{unsigned}");
    let signed = server.dig(&format!("example.org AXFR {}", key_flag()));
    assert!(signed.contains("static.example.org.") && signed.contains("xfr.example.org.\t0\tANY\tTSIG"), "{signed}");
    assert!(!signed.contains("Couldn't verify"), "{signed}");
    let (name, algorithm, _) = KEY;
    let wrong_secret = server.dig(&format!("example.org SOA -y {algorithm}:{name}:d3Jvbmc="));
    assert!(wrong_secret.contains("NOTAUTH") && wrong_secret.contains("BADSIG"), "{wrong_secret}");
    let wrong_key = server.dig(&format!("example.org SOA +tcp -y {algorithm}:other.key:d3Jvbmc="));
    assert!(wrong_key.contains("NOTAUTH") && wrong_key.contains("BADKEY"), "{wrong_key}");
    for transport in ["+notcp", "+tcp"] {
        let signed = server.dig(&format!("static.example.org A {transport} {}", key_flag()));
        assert!(signed.contains("192.0.2.7") && signed.contains("TSIG"), "{signed}");
        assert!(rcode(&signed) == "NOERROR" && !signed.contains("Couldn't verify"), "{signed}");
    }
    assert_eq!(server.metric("fingerpost_dns_tsig_errors_total{error=\"badsig\"}"), Some(1.0));
    assert_eq!(server.metric("fingerpost_dns_tsig_errors_total{error=\"badkey\"}"), Some(1.0));
}

#[test]
fn secret_of_a_key_is_changed_in_its_file_without_being_told_and_a_broken_one_changes_nothing() {
    let (name, algorithm, old) = KEY;
    let new = "YW5vdGhlciBzZWNyZXQsIG9mIHRoZSBzYW1lIGxlbmd0aA==";
    let config = config(&format!("allow_transfer = [\"key:{name}\"]"));
    let site = Site::new(&config.replace(&format!("secret = \"{old}\""), "secret_file = \"keys/xfr\""), ZONE);
    fs::create_dir(site.path("keys")).expect("folder");
    let write = |secret: &str| fs::write(site.path("keys/xfr"), format!("{secret}\n")).expect("secret");
    write(old);
    let server = site.start();
    let has_zone = |secret: &str| {
        let shown = server.dig(&format!("example.org AXFR -y {algorithm}:{name}:{secret}"));
        shown.contains("static.example.org.")
    };
    assert!(has_zone(old) && !has_zone(new));
    write(new);
    becomes(SOON, (false, true), || (has_zone(old), has_zone(new)));
    write("no base64!");
    becomes(SOON, true, || site.json("status")["reload_error"]["errors"].as_str().is_some());
    assert!(has_zone(new), "what was in force stays");
    write(old);
    becomes(SOON, (true, false), || (has_zone(old), has_zone(new)));
    becomes(SOON, true, || site.json("status")["reload_error"].is_null());
}

#[test]
fn transfers_are_refused_by_default_and_ixfr_of_the_current_serial_is_one_soa() {
    let site = Site::new(&config(""), ZONE);
    let server = site.start();
    assert!(server.dig("example.org IXFR=1").contains("Transfer failed"));
    assert!(server.dig("example.org AXFR").contains("Transfer failed"));
    drop(server);
    let site = Site::new(&config("allow_transfer = [\"127.0.0.0/8\"]"), ZONE);
    let server = site.start();
    let n_records = |question: &str| {
        let shown = server.dig(&format!("{question} +nocomments +noquestion +nostats +nocmd"));
        shown.lines().filter(|line| line.contains("IN")).count()
    };
    assert_eq!(n_records("example.org IXFR=1 +tcp"), 1, "current");
    assert_eq!(n_records("example.org IXFR=2 +tcp"), 1, "newer than ours");
    assert_eq!(n_records("example.org IXFR=0 +tcp"), 22, "all of it");
    assert_eq!(n_records("example.org IXFR=0 +notcp"), 1, "only the SOA over UDP");
    assert!(server.dig("example.com AXFR").contains("Transfer failed"));
}

#[test]
fn large_zone_takes_many_messages_and_all_of_it_arrives() {
    let mut zone = ZONE.to_owned();
    for number in 0..20_000 {
        zone.push_str(&format!("host-{number} A 192.0.2.{}\n", number % 256));
    }
    let site = Site::new(&config("allow_transfer = [\"127.0.0.1/32 key:xfr.example.org\"]"), &zone);
    let server = site.start();
    let shown = server.dig(&format!("example.org AXFR {}", key_flag()));
    assert_eq!(shown.lines().filter(|line| line.contains("IN\tA\t192.0.2.")).count(), 20_000 + 7);
    let n_messages = shown.matches("\tANY\tTSIG\t").count();
    assert!((5..50).contains(&n_messages), "{n_messages} messages");
    assert!(!shown.contains("Couldn't verify"));
}

#[test]
fn knot_nsd_and_bind_load_our_zone_answer_the_same_and_hear_of_changes() {
    let site = Site::new(&config("allow_transfer = [\"127.0.0.0/8 key:xfr.example.org\"]"), ZONE);
    let server = site.start();
    let ours = server.address("dns");
    let mut secondaries = Vec::new();
    for kind in Kind::ALL {
        let mut secondary = Nameserver::new(kind, Role::Secondary(ours));
        secondary.start();
        secondary.wait_for_serial(1);
        check_same(secondary.address, ours);
        let pool = secondary.dig("www.example.org A +short");
        let mut pool: Vec<&str> = pool.lines().collect();
        pool.sort_unstable();
        assert_eq!(pool, ["192.0.2.1", "192.0.2.2"], "{kind:?}");
        secondaries.push(secondary);
    }
    // They would look again after an hour: only NOTIFY makes them.
    let list: Vec<String> = secondaries.iter().map(|other| format!("\"{} key:{}\"", other.address, KEY.0)).collect();
    site.edit("fingerpost.toml", "allow_transfer", &format!("notify = [{}]\nallow_transfer", list.join(", ")));
    site.tell("reload");
    site.edit("zones/example.org.zone", "hostmaster 1 ", "hostmaster 2 ");
    site.tell("reload");
    for secondary in &secondaries {
        secondary.wait_for_serial(2);
    }
    within(SOON, || match server.metric("fingerpost_dns_notifies_total{outcome=\"answered\"}") {
        Some(n_answered) if n_answered >= 3.0 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Asks both all [`QUESTIONS`].
#[track_caller]
fn check_same(left: SocketAddr, right: SocketAddr) {
    let sections = |shown: &str| {
        let mut lines: Vec<String> =
            shown.lines().filter(|line| !line.starts_with(';') && !line.is_empty()).map(words).collect();
        // Knot keeps no capitals.
        lines.iter_mut().for_each(|line| line.make_ascii_lowercase());
        lines.sort();
        (rcode(shown).to_owned(), lines)
    };
    for question in QUESTIONS {
        // What is beside the answer is for each server to choose, unless it is a referral.
        let less = if question.contains(".sub.") { "" } else { "+noauthority +noadditional" };
        let question = format!("{question} +norec +nocmd +nostats {less}");
        assert_eq!(sections(&dig(left, &question)), sections(&dig(right, &question)), "{question}");
    }
}

/// A server without zones of its own, and a primary of `example.org` that is not started yet.
fn site_and_primary(kind: Kind, zone: &str) -> (Site, SocketAddr, Nameserver) {
    let ip = own_ip();
    let ours = SocketAddr::from((ip, free_port(ip)));
    let primary = Nameserver::new(kind, Role::Primary(ours));
    primary.write_zone(zone);
    let secondaries =
        format!("[secondaries.\"example.org\"]\nprimaries = [\"{}\"]\nkey = \"{}\"\n", primary.address, KEY.0);
    let config = config("").replacen("127.0.0.1:0", &ours.to_string(), 1) + &secondaries;
    let site = Site::new(&config, ZONE);
    fs::remove_file(site.path("zones/example.org.zone")).expect("zone");
    (site, ours, primary)
}

#[track_caller]
fn wait_for_serial(server: SocketAddr, serial: u32) {
    within(SOON * 2, || {
        let shown = dig(server, "example.org SOA +norec");
        if shown.contains(&format!("hostmaster.example.org. {serial} ")) { Ok(()) } else { Err(shown) }
    });
}

#[test]
fn we_follow_knot_nsd_and_bind_and_serve_from_disk_without_them() {
    let zone = ZONE.replace("POOL  web", "A 192.0.2.1");
    for kind in Kind::ALL {
        let (site, ours, mut primary) = site_and_primary(kind, &zone);
        let server = site.start();
        assert_eq!(rcode(&dig(ours, "www.example.org A")), "SERVFAIL", "{kind:?}: not there yet");
        primary.start();
        wait_for_serial(ours, 1);
        check_same(ours, primary.address);
        // Its refresh timer is an hour: only NOTIFY makes us look.
        primary.write_zone(&zone.replace("hostmaster 1 ", "hostmaster 2 ").replace("192.0.2.7", "192.0.2.8"));
        primary.reload();
        wait_for_serial(ours, 2);
        assert!(dig(ours, "static.example.org A").contains("192.0.2.8"), "{kind:?}");
        assert!(server.metric("fingerpost_dns_notified_total") > Some(0.0), "{kind:?}");
        // NSD keeps no differences, as configured here.
        let outcome = if kind == Kind::Nsd { "transferred" } else { "updated" };
        let refreshes = |server: &Server<'_>, outcome| {
            server.metric(&format!("fingerpost_dns_refreshes_total{{outcome=\"{outcome}\"}}"))
        };
        let expected = if kind == Kind::Nsd { 2.0 } else { 1.0 };
        assert_eq!(refreshes(&server, outcome), Some(expected), "{kind:?}");
        let status = site.json("status");
        let shown = &status["zones"][0];
        assert_eq!((shown["apex"].as_str(), shown["serial"].as_u64()), (Some("example.org."), Some(2)), "{shown}");
        assert_eq!(shown["secondary"]["primary"].as_str(), Some(&*primary.address.to_string()), "{shown}");
        assert!(site.tell("status").contains("secondary of "), "{}", site.tell("status"));
        server.stop();
        // Several changes while we are away.
        let mut changed = zone.replace("192.0.2.7", "192.0.2.9");
        for (serial, more) in [(3, "new A 192.0.2.10\nbrief TXT gone-soon\n"), (4, "new A 192.0.2.11\n")] {
            changed =
                changed.replace("brief TXT gone-soon\n", "").replace("Mixed       MX    10", "Mixed       MX    20")
                    + more;
            primary.write_zone(&changed.replace("hostmaster 1 ", &format!("hostmaster {serial} ")));
            primary.reload();
            primary.wait_for_serial(serial);
        }
        let server = site.start();
        wait_for_serial(ours, 4);
        check_same(ours, primary.address);
        for question in ["new.example.org A", "brief.example.org TXT"] {
            let question = format!("{question} +short");
            let mut answers = [ours, primary.address].map(|server| {
                let mut lines: Vec<String> = dig(server, &question).lines().map(str::to_owned).collect();
                lines.sort();
                lines
            });
            assert_eq!(answers[0].len(), if question.starts_with("new") { 2 } else { 0 }, "{kind:?}");
            let [left, right] = &mut answers;
            assert_eq!(left, right, "{kind:?}");
        }
        assert_eq!(refreshes(&server, outcome), Some(1.0), "{kind:?}");
        primary.stop();
        server.stop();
        let server = site.start();
        assert!(dig(ours, "static.example.org A").contains("192.0.2.9"), "{kind:?}: at once, from disk");
        server.stop();
    }
}

#[test]
fn secondary_zone_expires_and_comes_back_with_its_primary() {
    let zone = ZONE.replace("POOL  web", "A 192.0.2.1").replace("3600 600 1209600", "1 1 3");
    let (site, ours, mut primary) = site_and_primary(Kind::Nsd, &zone);
    let server = site.start();
    primary.start();
    wait_for_serial(ours, 1);
    primary.stop();
    becomes(SOON, "SERVFAIL".to_owned(), || rcode(&dig(ours, "static.example.org A")).to_owned());
    assert!(site.tell("status").contains("EXPIRED"), "{}", site.tell("status"));
    primary.start();
    becomes(SOON, "NOERROR".to_owned(), || rcode(&dig(ours, "static.example.org A")).to_owned());
    site.edit("fingerpost.toml", "[secondaries.", "[tsig.other]\nsecret = \"c2VjcmV0\"\n#");
    site.edit("fingerpost.toml", "primaries = ", "#");
    site.edit("fingerpost.toml", "\nkey = ", "\n#");
    site.tell("reload");
    becomes(SOON, "REFUSED".to_owned(), || rcode(&dig(ours, "static.example.org A")).to_owned());
    server.stop();
}
