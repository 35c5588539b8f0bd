//! A real resolver between client and server.

use std::{
    fs::{self, File},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{
    realserver::{Realserver, entries, names_at},
    server::{HEAD, Site, ZONE, end},
    tools::{SOON, dig, flags, free_port, own_ip, rcode, within},
};

/// `unbound` with `example.org` as a stub zone at `server`.
struct Unbound {
    folder: TempDir,
    address: SocketAddr,
    child: Child,
}

impl Unbound {
    #[track_caller]
    fn start(server: SocketAddr) -> Self {
        Self::start_with(server, "module-config: \"iterator\"")
    }

    /// With more lines in its `server` clause.
    #[track_caller]
    fn start_with(server: SocketAddr, options: &str) -> Self {
        let folder = TempDir::new().expect("folder");
        let ip = own_ip();
        let address = SocketAddr::from((ip, free_port(ip)));
        let config = format!(
            r#"server:
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    logfile: ""
    interface: {ip}
    port: {port}
    access-control: 127.0.0.0/8 allow
    {options}
    do-not-query-localhost: no
    do-ip6: no
    num-threads: 1
    so-reuseport: no
    outgoing-range: 64
    num-queries-per-thread: 32
remote-control:
    control-enable: no
stub-zone:
    name: "example.org"
    stub-addr: {server_ip}@{server_port}
"#,
            folder = folder.path().display(),
            port = address.port(),
            server_ip = server.ip(),
            server_port = server.port(),
        );
        let path = folder.path().join("unbound.conf");
        fs::write(&path, config).expect("configuration");
        let log = File::create(folder.path().join("log")).expect("log");
        // It lives in /usr/sbin, which is not on everybody's PATH.
        let program = ["/usr/sbin/unbound", "/usr/local/sbin/unbound"]
            .into_iter()
            .find(|path| fs::exists(path).is_ok_and(|is| is));
        let mut command = Command::new(program.unwrap_or("unbound"));
        command.arg("-d").arg("-c").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("`unbound`: {error}; tests/run installs it"));
        let unbound = Self { folder, address, child };
        within(SOON, || match rcode(&dig(address, "static.example.org A +timeout=1")) {
            "NOERROR" => Ok(()),
            other => Err(other.to_owned()),
        });
        unbound
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        end(&mut self.child);
        if std::thread::panicking() {
            eprintln!("--- unbound\n{}---", fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
    }
}

#[test]
fn unbound_resolves_static_pool_and_wildcard_names_and_nxdomain() {
    let realservers = Realserver::three();
    let site = Site::with(&format!("[pools.web]\nanswers = \"all\"\nrealservers = [{}]\n", entries(&realservers)));
    let server = site.start();
    let unbound = Unbound::start(server.address("dns"));
    let ask = |question: &str| dig(unbound.address, question);

    let shown = ask("static.example.org A");
    assert!(flags(&shown).contains("ra") && shown.contains("192.0.2.7"), "{shown}");
    for name in ["www.example.org", "example.org", "any.thing.cdn.example.org"] {
        let answer = ask(&format!("{name} A +short"));
        let mut names: Vec<char> = names_at(&realservers, &answer).chars().collect();
        names.sort_unstable();
        assert_eq!(names, ['A', 'B', 'C'], "{name}: {answer}");
    }
    assert!(ask("alias.example.org A").contains("CNAME\twww.example.org."), "{}", ask("alias.example.org A"));
    let shown = ask("nothing.example.org A");
    assert_eq!(rcode(&shown), "NXDOMAIN", "{shown}");
    assert!(shown.contains("SOA"), "{shown}");
    let shown = ask("static.example.org MX");
    assert!(rcode(&shown) == "NOERROR" && shown.contains("ANSWER: 0"), "{shown}");
    assert!(server.metric("fingerpost_dns_queries_total{transport=\"udp\"}") > Some(5.0));
}

/// A name that only exists below others that are empty, and a pool that goes by the client's network.
const DEEP: &str = "host.of.many.empty A 192.0.2.99\n*.wild.empty TXT \"found\"\nnear POOL near\n";

const NEAR: &str = r#"
[pools.web]
realservers = [{ name = "w", address = "192.0.2.80" }]
[pools.a]
realservers = [{ name = "a", address = "192.0.2.1" }]
[pools.b]
realservers = [{ name = "b", address = "192.0.2.2" }]
[pools.near]
policy = "geo"
members = ["a", "b"]
[pools.near.nets]
"127.10.0.0/16" = ["a"]
"127.20.0.0/16" = ["b"]
"#;

#[test]
fn unbound_resolves_with_0x20_and_strict_qname_minimisation() {
    let site = Site::new(&format!("{HEAD}{NEAR}"), &format!("{ZONE}{DEEP}"));
    let server = site.start();
    let n_queries = || server.metric("fingerpost_dns_queries_total{transport=\"udp\"}").expect("metric");
    let unbound = Unbound::start_with(
        server.address("dns"),
        "module-config: \"iterator\"\n    use-caps-for-id: yes\n    qname-minimisation: yes\n    qname-minimisation-strict: yes",
    );
    let ask = |question: &str| dig(unbound.address, question);
    // Each of these asks for the empty names on the way first, and takes NXDOMAIN for one of them at its word.
    let before = n_queries();
    assert!(ask("host.of.many.empty.example.org A").contains("192.0.2.99"));
    let asked = n_queries() - before;
    // One for each label: had the echoed name not had its letters, it would have asked for each several times.
    assert!((4.0..=5.0).contains(&asked), "{asked} queries");
    assert!(ask("any.thing.wild.empty.example.org TXT").contains("found"));
    assert!(ask("wWw.eXaMpLe.OrG A").contains("192.0.2.80"));
    assert!(ask("x.y.cdn.example.org A").contains("192.0.2.80"));
    for (question, expected) in [
        ("of.many.empty.example.org A", "NOERROR"),
        ("no.of.many.empty.example.org A", "NXDOMAIN"),
        ("static.example.org TXT", "NOERROR"),
        ("deep.below.static.example.org A", "NXDOMAIN"),
    ] {
        assert_eq!(rcode(&ask(question)), expected, "{question}");
    }
}

#[test]
fn unbound_sends_the_clients_network_and_keeps_answers_for_their_scope() {
    let site = Site::new(&format!("{HEAD}{NEAR}"), &format!("{ZONE}{DEEP}"));
    let server = site.start();
    let ip = server.address("dns").ip();
    let unbound = Unbound::start_with(
        server.address("dns"),
        &format!(
            "module-config: \"subnetcache iterator\"\n    send-client-subnet: {ip}\n    max-client-subnet-ipv4: 24"
        ),
    );
    let near = |client: &str| dig(unbound.address, &format!("near.example.org A +short -b {client}"));
    let n_queries = || server.metric("fingerpost_dns_ecs_total{transport=\"udp\"}").expect("metric");
    assert_eq!(near("127.10.1.1"), "192.0.2.1\n");
    assert_eq!(near("127.20.1.1"), "192.0.2.2\n");
    let before = n_queries();
    assert!(before >= 2.0, "{before}");
    // The scope is /16: a client elsewhere in it is answered from the cache, and gets what is right there.
    assert_eq!(near("127.10.200.7"), "192.0.2.1\n");
    assert_eq!(near("127.20.200.7"), "192.0.2.2\n");
    assert_eq!(n_queries(), before);
    assert_eq!(near("127.30.1.1"), "192.0.2.1\n", "the default");
    assert_eq!(n_queries(), before + 1.0);
    // What does not depend on the client is kept for everybody: scope 0.
    let same = |client: &str| dig(unbound.address, &format!("static.example.org A +short -b {client}"));
    assert_eq!(same("127.40.1.1"), "192.0.2.7\n");
    let before = n_queries();
    assert_eq!(same("127.50.1.1"), "192.0.2.7\n");
    assert_eq!(n_queries(), before);
}
