//! Knot, NSD, BIND and our own binary, as child processes on loopback that serve the same zone files.

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{
    exchange,
    message::Reply,
    zones::{Universe, Zone},
};

/// A nameserver that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Our own.
    Fingerpost,
    /// Knot DNS.
    Knot,
    /// NSD.
    Nsd,
    /// BIND.
    Bind,
}

impl Kind {
    /// All of them, our own first.
    pub const ALL: [Kind; 4] = [Self::Fingerpost, Self::Knot, Self::Nsd, Self::Bind];

    /// As it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fingerpost => "fingerpost",
            Self::Knot => "knot",
            Self::Nsd => "nsd",
            Self::Bind => "bind",
        }
    }

    fn program(self) -> PathBuf {
        let name = match self {
            Self::Fingerpost => return env!("CARGO_BIN_EXE_fingerpost").into(),
            Self::Knot => "knotd",
            Self::Nsd => "nsd",
            Self::Bind => "named",
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
        folders.map(|folder| folder.join(name)).find(|program| program.is_file()).unwrap_or_else(|| {
            panic!(
                "`{name}` is not installed: the judge asks Knot, NSD and BIND\n\
                 hint: apt-get install --no-install-recommends knot nsd bind9"
            )
        })
    }
}

/// What each server says about itself when asked.
pub const IDENTITY: &str = "here";
/// From start to the last zone served.
const READY_TIMEOUT: Duration = Duration::from_secs(15);
/// From SIGTERM to SIGKILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// A port that was free may be taken before a server binds it.
const START_ATTEMPTS: usize = 3;

/// All four servers, running until dropped.
pub struct Fleet {
    servers: Vec<Server>,
    folder: Option<TempDir>,
}

struct Server {
    kind: Kind,
    address: SocketAddr,
    child: Child,
    log: PathBuf,
}

impl Fleet {
    /// Writes the zones, starts the servers and waits until each serves all of them.
    pub fn start(universe: &Universe) -> Self {
        let folder = TempDir::new().expect("temporary folder");
        let zones = folder.path().join("zones");
        fs::create_dir(&zones).expect("folder for zones");
        for zone in &universe.zones {
            fs::write(zones.join(format!("{}.zone", zone.file_stem())), zone.text()).expect("zone file");
        }
        let servers = thread::scope(|scope| {
            let starting = Kind::ALL.map(|kind| {
                let path = folder.path();
                scope.spawn(move || Server::start(kind, path, universe))
            });
            starting.map(|server| server.join().expect("server starts"))
        });
        Self { servers: servers.into(), folder: Some(folder) }
    }

    /// Where each listens, in the order of [`Kind::ALL`].
    pub fn addresses(&self) -> [SocketAddr; 4] {
        Kind::ALL.map(|kind| self.servers.iter().find(|server| server.kind == kind).expect("all are there").address)
    }

    /// Leaves configurations, zones and logs where they are, and says where.
    pub fn keep_folder(&mut self) -> PathBuf {
        self.folder.take().map(TempDir::keep).unwrap_or_default()
    }
}

impl Server {
    fn start(kind: Kind, folder: &Path, universe: &Universe) -> Self {
        let folder = folder.join(kind.as_str());
        fs::create_dir(&folder).expect("folder for a server");
        (0..START_ATTEMPTS)
            .find_map(|_| Self::try_start(kind, &folder, universe))
            .unwrap_or_else(|| panic!("{} ends right after its start, see {}", kind.as_str(), folder.display()))
    }

    /// `None` if it ends at once, as it does when somebody has taken its port meanwhile.
    fn try_start(kind: Kind, folder: &Path, universe: &Universe) -> Option<Self> {
        let address = free_address();
        let config = folder.join("config");
        fs::write(&config, configuration(kind, folder, address, &universe.zones)).expect("configuration");
        let log = folder.join("log");
        let log_file = File::create(&log).expect("log");
        let mut command = Command::new(kind.program());
        match kind {
            Kind::Fingerpost => command.arg("serve").arg("--config").arg(&config),
            Kind::Knot => command.arg("-c").arg(&config),
            Kind::Nsd => command.arg("-d").arg("-c").arg(&config),
            Kind::Bind => command.args(["-g", "-n", "1", "-c"]).arg(&config),
        };
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log_file.try_clone().expect("log"))
            .stderr(log_file)
            .spawn()
            .expect("the program runs");
        let mut server = Self { kind, address, child, log };
        let deadline = Instant::now() + READY_TIMEOUT;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = server.child.try_wait() {
                println!("{} ended with {status}\n{}", kind.as_str(), server.log_tail());
                return None;
            }
            if server.is_ready(universe) {
                return Some(server);
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{} does not serve all zones within {READY_TIMEOUT:?}\n{}", kind.as_str(), server.log_tail());
    }

    /// Whether every zone's SOA is answered with authority.
    fn is_ready(&self, universe: &Universe) -> bool {
        let packets: Vec<Vec<u8>> = universe.zones.iter().enumerate().map(|(id, zone)| soa_query(id, zone)).collect();
        let replies = exchange::ask_udp(self.address, &packets, Duration::from_millis(100), 1);
        replies.iter().all(|reply| matches!(reply, Reply::Message(message) if message.is_authoritative()))
    }

    fn log_tail(&self) -> String {
        let text = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
        // Each has its own words for what it does not load.
        let is_telling = |line: &&str| ["rror", "not loaded", "has no", "fail"].iter().any(|word| line.contains(word));
        let telling: Vec<&str> = text.lines().filter(is_telling).collect();
        let lines = if telling.is_empty() { text.lines().collect() } else { telling };
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn soa_query(id: usize, zone: &Zone) -> Vec<u8> {
    let mut packet = u16::try_from(id).expect("few zones").to_be_bytes().to_vec();
    packet.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(&zone.apex.wire());
    packet.extend_from_slice(&[0, 6, 0, 1]);
    packet
}

/// A loopback address whose port nobody has, neither for UDP nor for TCP.
fn free_address() -> SocketAddr {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// Every limit that is a matter of taste is set alike: 1232 octets, no rate limit, no cookies, no transfer, the same identity.
fn configuration(kind: Kind, folder: &Path, address: SocketAddr, zones: &[Zone]) -> String {
    let (folder, port) = (folder.display(), address.port());
    match kind {
        Kind::Fingerpost => format!(
            "version = 1\n\
             [dns]\nlisten = [\"{address}\"]\nzones = \"../zones\"\ncookies = false\nnsid = \"{IDENTITY}\"\nversion = \"{IDENTITY}\"\n\
             [control]\nsocket = \"{folder}/control.sock\"\nlisten = \"127.0.0.1:0\"\n\
             [state]\ndir = \"{folder}/state\"\n"
        ),
        Kind::Knot => {
            let mut text = format!(
                "server:\n  listen: 127.0.0.1@{port}\n  rundir: {folder}\n  pidfile: {folder}/pid\n  udp-workers: 1\n  tcp-workers: 1\n  \
                 background-workers: 1\n  udp-max-payload: 1232\n  identity: {IDENTITY}\n  version: {IDENTITY}\n  nsid: {IDENTITY}\n  \
                 edns-client-subnet: on\ndatabase:\n  storage: {folder}\nlog:\n  - target: stderr\n    any: info\n\
                 template:\n  - id: default\n    storage: {folder}/../zones\n    file: \"%s.zone\"\n    zonefile-sync: -1\n    \
                 journal-content: none\n    semantic-checks: off\nzone:\n"
            );
            for zone in zones {
                let _ = writeln!(text, "  - domain: \"{}\"", zone.apex);
            }
            text
        }
        Kind::Nsd => {
            let nsid = IDENTITY.bytes().fold(String::new(), |mut hex, octet| {
                let _ = write!(hex, "{octet:02x}");
                hex
            });
            let mut text = format!(
                "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{folder}/../zones\"\n  database: \"\"\n  \
                 pidfile: \"{folder}/pid\"\n  xfrdfile: \"{folder}/xfrd\"\n  xfrdir: \"{folder}\"\n  zonelistfile: \"{folder}/zonelist\"\n  \
                 server-count: 1\n  identity: \"{IDENTITY}\"\n  version: \"{IDENTITY}\"\n  hide-version: no\n  nsid: \"{nsid}\"\n  \
                 ipv4-edns-size: 1232\n  minimal-responses: yes\n  rrl-ratelimit: 0\n  rrl-whitelist-ratelimit: 0\n  answer-cookie: no\n  \
                 tcp-count: 500\n  verbosity: 1\nremote-control:\n  control-enable: no\n"
            );
            for zone in zones {
                let _ = writeln!(text, "zone:\n  name: \"{}\"\n  zonefile: \"{}.zone\"", zone.apex, zone.file_stem());
            }
            text
        }
        Kind::Bind => {
            let mut text = format!(
                "options {{\n  directory \"{folder}\";\n  listen-on port {port} {{ 127.0.0.1; }};\n  listen-on-v6 {{ none; }};\n  pid-file none;\n  \
                 recursion no;\n  allow-query {{ any; }};\n  allow-transfer {{ none; }};\n  notify no;\n  dnssec-validation no;\n  \
                 empty-zones-enable no;\n  minimal-responses no-auth;\n  minimal-any no;\n  zero-no-soa-ttl no;\n  max-records-per-type 0;\n  answer-cookie no;\n  max-udp-size 1232;\n  \
                 edns-udp-size 1232;\n  version \"{IDENTITY}\";\n  server-id \"{IDENTITY}\";\n  check-names primary ignore;\n  \
                 check-integrity no;\n  check-mx ignore;\n  check-mx-cname ignore;\n  check-srv-cname ignore;\n  check-sibling no;\n  check-spf ignore;\n  \
                 check-dup-records ignore;\n  check-wildcard no;\n  tcp-clients 500;\n  masterfile-format text;\n  stale-answer-enable no;\n  querylog no;\n}};\n\
                 controls {{ }};\n"
            );
            for zone in zones {
                let _ = writeln!(
                    text,
                    "zone \"{}\" {{ type primary; file \"../zones/{}.zone\"; }};",
                    zone.apex,
                    zone.file_stem()
                );
            }
            text
        }
    }
}
