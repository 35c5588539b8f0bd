//! Other people's nameservers: Knot, NSD and BIND, each in a folder of its own, as the other side of zone transfers.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{
    server::end,
    tools::{SOON, dig, free_port, own_ip, rcode, within},
};

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Knot,
    Nsd,
    Bind,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Knot, Kind::Nsd, Kind::Bind];
}

/// The name, hash and secret of the key that both sides have.
pub(super) const KEY: (&str, &str, &str) =
    ("xfr.example.org", "hmac-sha256", "bm90IGEgc2VjcmV0IGF0IGFsbCwgb25seSBhIHRlc3Q=");

/// What a nameserver does with `example.org`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    /// Has it from there.
    Secondary(SocketAddr),
    /// Has it itself, and tells that one; the text of the zone is in its folder's `example.org.zone`.
    Primary(SocketAddr),
}

/// A running nameserver.
pub(super) struct Nameserver {
    kind: Kind,
    role: Role,
    folder: TempDir,
    pub(super) address: SocketAddr,
    child: Option<Child>,
}

impl Nameserver {
    /// One that listens on an address of its own, not started yet.
    pub(super) fn new(kind: Kind, role: Role) -> Self {
        // BIND serves only addresses that an interface has.
        let ip = if kind == Kind::Bind { Ipv4Addr::LOCALHOST } else { own_ip() };
        let address = SocketAddr::from((ip, free_port(ip)));
        Self { kind, role, folder: TempDir::new().expect("folder"), address, child: None }
    }

    /// Writes the zone that it is a primary of.
    pub(super) fn write_zone(&self, text: &str) {
        fs::write(self.folder.path().join("example.org.zone"), text).expect("zone");
    }

    /// Starts it; a secondary does not have its zone yet.
    #[track_caller]
    pub(super) fn start(&mut self) {
        let folder = self.folder.path();
        let (name, text) = match self.kind {
            Kind::Knot => ("knot.conf", self.knot_conf()),
            Kind::Nsd => ("nsd.conf", self.nsd_conf()),
            Kind::Bind => ("named.conf", self.named_conf()),
        };
        let path = folder.join(name);
        fs::write(&path, text).expect("configuration");
        let log = File::options().create(true).append(true).open(folder.join("log")).expect("log");
        let mut command = Command::new(program(match self.kind {
            Kind::Knot => "knotd",
            Kind::Nsd => "nsd",
            Kind::Bind => "named",
        }));
        match self.kind {
            Kind::Knot => command.arg("-c").arg(&path),
            Kind::Nsd => command.arg("-d").arg("-c").arg(&path),
            Kind::Bind => command.arg("-g").arg("-c").arg(&path),
        };
        command.current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone().expect("log")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}; tests/run installs it", self.kind));
        self.child = Some(child);
    }

    /// What dig is told.
    #[track_caller]
    pub(super) fn dig(&self, question: &str) -> String {
        dig(self.address, question)
    }

    /// Waits until it serves the zone with this serial.
    #[track_caller]
    pub(super) fn wait_for_serial(&self, serial: u32) {
        within(SOON * 2, || {
            let shown = self.dig("example.org SOA +norec +timeout=1");
            let has = shown.contains(&format!("hostmaster.example.org. {serial} "));
            if rcode(&shown) == "NOERROR" && has { Ok(()) } else { Err(shown) }
        });
    }

    /// Has it read its zone again, which makes it tell its secondary.
    #[track_caller]
    pub(super) fn reload(&self) {
        let pid = self.child.as_ref().expect("running").id();
        super::server::signal(pid, "HUP");
    }

    /// Ends it.
    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            end(&mut child);
        }
    }

    fn knot_conf(&self) -> String {
        let (folder, ip, port) = (self.folder.path().display(), self.address.ip(), self.address.port());
        let (name, algorithm, secret) = KEY;
        let (other, zone) = match self.role {
            Role::Secondary(other) => (other, "master: other\n    acl: from-other"),
            Role::Primary(other) => (other, "notify: other\n    acl: to-other"),
        };
        format!(
            "server:\n  rundir: {folder}\n  listen: {ip}@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
             log:\n  - target: stderr\n    any: info\n\
             database:\n  storage: {folder}\n\
             key:\n  - id: {name}\n    algorithm: {algorithm}\n    secret: {secret}\n\
             remote:\n  - id: other\n    address: {}@{}\n    key: {name}\n    via: {ip}\n\
             acl:\n  - id: from-other\n    key: {name}\n    action: notify\n  - id: to-other\n    key: {name}\n    action: transfer\n\
             template:\n  - id: default\n    storage: {folder}\n    file: \"%s.zone\"\n    zonefile-sync: -1\n    zonefile-load: difference\n\
             zone:\n  - domain: example.org\n    {zone}\n",
            other.ip(),
            other.port(),
        )
    }

    fn nsd_conf(&self) -> String {
        let (folder, ip, port) = (self.folder.path().display(), self.address.ip(), self.address.port());
        let (name, algorithm, secret) = KEY;
        let zone = match self.role {
            Role::Secondary(other) => format!(
                "request-xfr: AXFR {0}@{1} {name}\n    allow-notify: {0} {name}\n    outgoing-interface: {ip}",
                other.ip(),
                other.port()
            ),
            Role::Primary(other) => format!(
                "notify: {0}@{1} {name}\n    provide-xfr: 127.0.0.0/8 {name}\n    outgoing-interface: {ip}\n    notify-retry: 5",
                other.ip(),
                other.port()
            ),
        };
        format!(
            "server:\n  ip-address: {ip}@{port}\n  server-count: 1\n  database: \"\"\n  chroot: \"\"\n  username: \"\"\n  zonesdir: \"{folder}\"\n  \
             pidfile: \"{folder}/pid\"\n  xfrdfile: \"{folder}/xfrd\"\n  xfrdir: \"{folder}\"\n  zonelistfile: \"{folder}/list\"\n  \
             xfrd-reload-timeout: 0\n  reuseport: no\n  verbosity: 2\n\
             remote-control:\n  control-enable: no\n\
             key:\n  name: \"{name}\"\n  algorithm: {algorithm}\n  secret: \"{secret}\"\n\
             zone:\n  name: example.org\n  zonefile: example.org.zone\n    {zone}\n"
        )
    }

    fn named_conf(&self) -> String {
        let (folder, ip, port) = (self.folder.path().display(), self.address.ip(), self.address.port());
        let (name, algorithm, secret) = KEY;
        let zone = match self.role {
            Role::Secondary(other) => format!(
                "type secondary; masterfile-format text; primaries port {} {{ {} key {name}; }}; allow-notify {{ key {name}; }}; \
                 transfer-source {ip}; notify no;",
                other.port(),
                other.ip()
            ),
            Role::Primary(other) => format!(
                "type primary; ixfr-from-differences yes; notify explicit; also-notify port {} {{ {} key {name}; }}; allow-transfer {{ key {name}; }}; \
                 notify-source {ip};",
                other.port(),
                other.ip()
            ),
        };
        format!(
            "options {{ directory \"{folder}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; pid-file \"{folder}/pid\"; \
             session-keyfile \"{folder}/session\"; recursion no; dnssec-validation no; notify-rate 1000; startup-notify-rate 1000; \
             min-refresh-time 1; min-retry-time 1; }};\n\
             controls {{ }};\n\
             key {name} {{ algorithm {algorithm}; secret \"{secret}\"; }};\n\
             zone example.org {{ file \"example.org.zone\"; {zone} }};\n"
        )
    }
}

impl Drop for Nameserver {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- {:?}\n{log}---", self.kind);
        }
    }
}

/// A program that lives where not everybody's PATH leads.
fn program(name: &str) -> String {
    let paths = ["/usr/sbin", "/usr/local/sbin"].map(|folder| format!("{folder}/{name}"));
    paths.into_iter().find(|path| fs::exists(path).is_ok_and(|is| is)).unwrap_or(name.to_owned())
}
