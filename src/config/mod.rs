//! The configuration as meant: checked, with every default filled in, free of serde and of text.
//!
//! [`load`] reads a file into a [`Config`] or into everything that is wrong with it. What an operator may write, key by key, is
//! [`reference::KEYS`]; how it becomes this is `file`'s, `check`'s, `pool`'s and `place`'s; what must hold between its parts is `cross`'s.

mod check;
mod cross;
mod encrypted;
mod file;
mod place;
mod pool;
mod print;
mod protect;
mod reader;
pub mod reference;
#[cfg(test)]
mod tests;
mod transfer;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;

pub use self::{
    check::{
        Calculated, Check, CheckKind, DnsCheck, ExecCheck, GrpcCheck, HttpCheck, Octets, Pattern, Rcode, RecordType,
        Rule, Talk, TlsCheck,
    },
    print::print,
    transfer::{Algorithm, Allow, Party, Secondary, Transfer, TsigKey},
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Source},
    geo,
    types::{Family, Ttl, Weight},
};

/// Everything one TOML file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file it came from; relative paths in it are relative to its folder and stand here joined with it.
    pub path: PathBuf,
    /// Authoritative DNS.
    pub dns: Dns,
    /// Geo databases, in order: later ones add what earlier ones lack.
    pub geo_databases: Vec<PathBuf>,
    /// The HTTP redirector.
    pub redirect: Redirect,
    /// Command line socket, metrics and API.
    pub control: Control,
    /// Where overrides and last known health are kept.
    pub state_dir: PathBuf,
    /// User and drain deadline of the process.
    pub process: Process,
    /// Checks by name.
    pub checks: Vec<Arc<Check>>,
    /// Pools by name; [`PoolIndex`] counts in this list.
    pub pools: Vec<Pool>,
    /// L4 listeners by name.
    pub listeners: Vec<Listener>,
    /// What of the probes' findings is not believed.
    pub guards: Guards,
}

/// `[guards]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// If more than this percentage of all probed addresses falls within one interval, none of them counts as down: the cause is likelier
    /// this node's own network. `None` believes everything.
    pub freeze_above: Option<u8>,
}

impl Default for Guards {
    fn default() -> Self {
        Self { freeze_above: Some(50) }
    }
}

/// `[dns]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Addresses that are served, UDP and TCP on each; empty if the file has no `[dns]`.
    pub listen: Vec<SocketAddr>,
    /// The zone directory; `None` if the file has no `[dns]`.
    pub zones: Option<PathBuf>,
    /// UDP worker threads.
    pub udp_workers: usize,
    /// Answer to `CH TXT version.bind`; `None` refuses it.
    pub version: Option<String>,
    /// Answer to `CH TXT id.server` and to the NSID option; `None` refuses and omits it.
    pub nsid: Option<String>,
    /// Who may have zones, who is told of their changes, and which keys there are.
    pub transfer: Arc<Transfer>,
    /// DNS over TLS, HTTPS and QUIC; `None` is off.
    pub encrypted: Option<Encrypted>,
    /// DNS cookies; `None` does not understand them.
    pub cookies: Option<Cookies>,
    /// Response rate limiting; `None` limits nobody.
    pub rate_limit: Option<RateLimit>,
}

/// `[dns.encrypted]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// Addresses that are served over TLS.
    pub tls: Vec<SocketAddr>,
    /// Addresses that are served over HTTPS.
    pub https: Vec<SocketAddr>,
    /// Addresses that are served over QUIC.
    pub quic: Vec<SocketAddr>,
    /// PEM file of the certificate, and of its issuers after it.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

/// DNS cookies (RFC 7873).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cookies {
    /// One or two secrets that a set of servers shares; `None` draws one at start.
    pub secret_file: Option<PathBuf>,
    /// Whether UDP clients that know cookies get BADCOOKIE until they show a good one.
    pub are_required: bool,
}

/// `[dns.rate_limit]`: what one client network is sent by UDP without a good cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Answers of one kind about one name, at least 1.
    pub responses_per_second: u32,
    /// The same at once after a pause, at least 1.
    pub burst: u32,
    /// Every so many limited answers one is sent as a hint to come by TCP or with a cookie; 0 is never.
    pub slip: u8,
    /// Bits of an IPv4 address that make a network.
    pub prefix_v4: u8,
    /// Bits of an IPv6 address that make a network.
    pub prefix_v6: u8,
    /// Networks that are never limited.
    pub exempt: Vec<IpNet>,
    /// Buckets, of 8 octets each.
    pub table_size: usize,
}

impl Default for RateLimit {
    fn default() -> Self {
        // Behind one /24 of a public resolver are many clients, each asking for itself where ECS counts.
        let responses_per_second = 200;
        Self {
            responses_per_second,
            burst: 2 * responses_per_second,
            slip: 2,
            prefix_v4: 24,
            prefix_v6: 56,
            exempt: Vec::new(),
            table_size: 65_536,
        }
    }
}

/// `[redirect]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Addresses that are served; empty if the file has no `[redirect]`.
    pub listen: Vec<SocketAddr>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections open at once; what is over it waits in the listen backlog.
    pub max_connections: usize,
    /// Longest wait for a request's head, also between two requests.
    pub idle_timeout: Duration,
    /// One or two secrets that a set of redirectors shares, for the cookies of sticky pools; `None` draws one and keeps it in the state
    /// directory.
    pub cookie_secret_file: Option<PathBuf>,
}

/// `[control]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Unix socket that the command line talks to; the only way to write.
    pub socket: PathBuf,
    /// Metrics, health and API, read only; `None` is off.
    pub listen: Option<SocketAddr>,
}

/// `[process]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// User to become when started as root, after the sockets are bound.
    pub user: Option<String>,
    /// How long open connections may go on after SIGTERM.
    pub drain_timeout: Duration,
}

/// Where the control socket is unless the file says otherwise.
const CONTROL_SOCKET: &str = "/run/fingerpost/control.sock";

/// Index into [`Config::pools`].
pub type PoolIndex = usize;

/// `[pools.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its key in the file.
    pub name: Box<str>,
    /// Realservers or pools, and the policy that orders them.
    pub members: Members,
    /// Addresses in one DNS answer. In a pool of pools `None` leaves it to the pool that answers.
    pub answers: Option<Answers>,
    /// Percentage of the weight that must be eligible, else the pool above counts it as failed; 0 in a pool of pools.
    pub min_healthy: u8,
    /// How long a realserver that has come up takes to get to its whole weight; `None` takes it at once.
    pub ramp: Option<Duration>,
    /// What is answered when nobody is eligible. In a pool of pools `None` leaves it to the first member.
    pub on_all_down: Option<OnAllDown>,
    /// Load that its realservers can carry together, in a unit of the operator's; for rehearsals alone.
    pub capacity: Option<u64>,
    /// Percentage of the weight that may leave within one interval by falling; 100 in a pool of pools.
    pub max_leave: u8,
    /// Makes the TTL of answers follow the time in which health could next change them, no less than this. `None` leaves the zone's TTL; a
    /// pool of pools overrules its members.
    pub min_ttl: Option<Ttl>,
    /// Where it is, for a nearest pool that it is a member of; `None` is where its first realserver of known place is.
    pub location: Option<geo::Coordinates>,
    /// Who is not served here; `None` is nobody.
    pub exclusion: Option<Exclusion>,
    /// How long the redirector keeps a client at its realserver by cookie; `None` does not.
    pub sticky: Option<Duration>,
}

/// `exclude` and `on_excluded`: clients that a pool does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// Where they are; at least one place, `default` is none.
    pub places: Vec<geo::Key>,
    /// What they get.
    pub to: OnExcluded,
}

/// What an excluded client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExcluded {
    /// REFUSED, 403, or a reset connection.
    Refused,
    /// What this pool gives.
    Pool(PoolIndex),
}

/// What a pool consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// Realservers, in the order of the file.
    Realservers {
        /// How they are ordered for a client.
        policy: Policy,
        /// At least one, names unique.
        realservers: Vec<Realserver>,
        /// How they are probed; `None` counts as up.
        check: Option<Arc<Check>>,
        /// What of a client's address is its affinity key.
        affinity_prefix: AffinityPrefix,
        /// Whom a client of unknown place gets first if the policy is nearest, as indexes into `realservers`; none are all of them.
        default: Vec<usize>,
    },
    /// Pools that are asked in order.
    Pools {
        /// Every pool that the policy may name, in the order of the file.
        members: Vec<PoolIndex>,
        /// How they are ordered for a client.
        policy: PoolsPolicy,
    },
}

/// How realservers are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Weighted round robin in the classic LVS order.
    Wrr,
    /// Weighted draw.
    Random,
    /// By the client's address, Maglev.
    SourceHash,
    /// The order of the file.
    Failover,
    /// By the distance from the client.
    Nearest,
}

/// How pools are ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolsPolicy {
    /// The order of the file.
    Failover,
    /// By the client's place and network.
    Geo {
        /// Ordered lists, each once; the first one is the default.
        lists: Vec<Vec<PoolIndex>>,
        /// Which list a place has, as an index into `lists`.
        keys: Vec<(geo::Key, usize)>,
        /// Which list a network has; beats `keys`, longest prefix first.
        nets: Vec<(IpNet, usize)>,
    },
    /// By the distance from the client.
    Nearest {
        /// Who is asked for a client of unknown place, in order, before all others.
        default: Vec<PoolIndex>,
    },
}

/// Bits of a client's address that make its affinity key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AffinityPrefix {
    /// At most 32.
    pub v4: u8,
    /// At most 128.
    pub v6: u8,
}

impl Default for AffinityPrefix {
    fn default() -> Self {
        Self { v4: 24, v6: 56 }
    }
}

/// One entry of `realservers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realserver {
    /// Unique in its pool.
    pub name: Box<str>,
    /// At least one of the two families is there.
    pub v4: Option<Ipv4Addr>,
    /// See `v4`.
    pub v6: Option<Ipv6Addr>,
    /// Port of the service; needed by listeners and by tcp checks.
    pub port: Option<u16>,
    /// Share of traffic.
    pub weight: Weight,
    /// Where browsers are sent, without a trailing slash; `None` is `http://address[:port]`.
    pub url: Option<Box<str>>,
    /// Address to probe instead.
    pub check_address: Option<IpAddr>,
    /// Port to probe instead.
    pub check_port: Option<u16>,
    /// Where it is, for policy nearest; `None` is where the geo databases say that its address is.
    pub location: Option<geo::Coordinates>,
    /// Load that it can carry, as for [`Pool::capacity`].
    pub capacity: Option<u64>,
}

impl Realserver {
    /// Its address in `family`.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }
}

/// How many addresses a DNS answer has at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// So many, at least 1.
    AtMost(u16),
    /// Every eligible one.
    All,
}

/// What is answered when nobody is eligible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnAllDown {
    /// Everybody who is ready, as if they were up: a stale guess serves more users than none.
    #[default]
    All,
    /// NODATA, 503, or a closed connection.
    None,
    /// SERVFAIL, 503, or a closed connection.
    Servfail,
}

/// `[listeners.NAME]`: TCP that is carried to a pool in user space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its key in the file.
    pub name: Box<str>,
    /// Where it accepts.
    pub bind: SocketAddr,
    /// Where it forwards to.
    pub pool: PoolIndex,
    /// Policy that replaces the pool's; `None` keeps it.
    pub scheduler: Option<Policy>,
    /// Longest time without data in either direction.
    pub idle_timeout: Duration,
    /// Longest time for one realserver to accept; then the next one is tried.
    pub connect_timeout: Duration,
    /// Connections at once; what is over it waits in the listen backlog.
    pub max_connections: usize,
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum LoadError {
    /// The file could not be read.
    Unreadable(Diagnostic),
    /// It was read, and these are its mistakes (and warnings).
    Invalid(Diagnostics),
}

/// Reads and checks the file at `path`; warnings come beside the configuration. Opens nothing but the file itself.
pub fn load(path: &Path) -> Result<(Config, Diagnostics), LoadError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let hint = "give the file with `--config FILE`";
        LoadError::Unreadable(Diagnostic::bare(format!("could not read `{}`: {error}", path.display())).hint(hint))
    })?;
    parse(path, text).map_err(LoadError::Invalid)
}

/// The control socket that the file at `path` names (or leaves at its default), if so much of it can be read: who wants to talk to a running
/// server should not be stopped by a mistake elsewhere in the file.
pub fn control_socket_of(path: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(path).ok()?;
    let (document, _) = toml::de::DeTable::parse_recoverable(&text);
    let control = document.get_ref().get("control").and_then(|control| control.get_ref().as_table());
    let socket = control.and_then(|control| control.get("socket")).and_then(|socket| socket.get_ref().as_str());
    Some(path.parent().unwrap_or(Path::new("")).join(socket.unwrap_or(CONTROL_SOCKET)))
}

/// Checks `text` as the content of the file at `path`.
pub fn parse(path: &Path, text: String) -> Result<(Config, Diagnostics), Diagnostics> {
    let source = Source::new(path, text);
    file::parse(&source)
}
