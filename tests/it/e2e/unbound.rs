//! A real resolver between client and server.

use std::{
    fs::{self, File},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{
    realserver::{Realserver, entries, names_at},
    server::{Site, end},
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
    module-config: "iterator"
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
