//! `[checks.NAME]` as meant: how a realserver is probed, and what makes it go up and down.

mod pattern;
mod print;
mod read;

use std::{fmt, net::IpAddr, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

pub use self::pattern::Pattern;
pub(super) use self::{print::print_check, read::read_checks};
use crate::name::Name;

/// How a realserver is probed and what makes it go up and down.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// Its key in the file.
    pub name: Box<str>,
    /// What is done.
    pub kind: CheckKind,
    /// Time between the starts of two probes.
    pub interval: Duration,
    /// Longest time one probe may take, less than `interval`.
    pub timeout: Duration,
    /// Successes in a row to come up, at least 1.
    pub rise: u32,
    /// Failures to go down, at least 1. They need not be in a row.
    pub fall: u32,
    /// Successes in a row after which failures are forgotten, at least 1.
    pub forgive: u32,
    /// Whether a refused connection brings down at once, whatever `fall` says.
    pub refused_is_down: bool,
    /// Whether connections that listeners could not make count as failures.
    pub passive: bool,
    /// Address to probe instead of the realserver's.
    pub address: Option<IpAddr>,
    /// Port to probe instead of the realserver's.
    pub port: Option<u16>,
}

impl Check {
    /// A check with every default.
    pub fn new(name: &str, kind: CheckKind) -> Self {
        let is_file = matches!(kind, CheckKind::File(_));
        // Whoever writes a state file has thought about flapping before.
        let (interval, rise, fall) = if is_file { (1, 1, 1) } else { (5, 2, 3) };
        let interval = Duration::from_secs(interval);
        Self {
            name: name.into(),
            kind,
            interval,
            timeout: if is_file { interval / 2 } else { Duration::from_secs(1) },
            rise,
            fall,
            forgive: fall,
            refused_is_down: false,
            passive: true,
            address: None,
            port: None,
        }
    }

    /// The checks whose probes decide about this one, in order: itself unless it is calculated.
    pub fn leaves(self: &Arc<Self>) -> Vec<Arc<Check>> {
        match &self.kind {
            CheckKind::Calculated(calculated) => calculated.checks.iter().flat_map(Self::leaves).collect(),
            _ => vec![self.clone()],
        }
    }

    /// Its `type` in the file.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            CheckKind::Tcp(..) => "tcp",
            CheckKind::Http(_) => "http",
            CheckKind::Https(..) => "https",
            CheckKind::Dns(_) => "dns",
            CheckKind::Icmp => "icmp",
            CheckKind::Grpc(..) => "grpc",
            CheckKind::Exec(_) => "exec",
            CheckKind::File(_) => "file",
            CheckKind::Calculated(Calculated { rule: Rule::All, .. }) => "all",
            CheckKind::Calculated(Calculated { rule: Rule::Any, .. }) => "any",
            CheckKind::Calculated(Calculated { rule: Rule::AtLeast(_), .. }) => "at-least",
        }
    }

    /// Whether a probe needs a port that nobody can guess.
    pub fn needs_port(&self) -> bool {
        matches!(self.kind, CheckKind::Tcp(..) | CheckKind::Grpc(..))
    }

    /// Whether a probe connects as a client of the service would.
    pub fn connects(&self) -> bool {
        matches!(self.kind, CheckKind::Tcp(..) | CheckKind::Http(_) | CheckKind::Https(..) | CheckKind::Grpc(..))
    }

    /// Whether what a probe finds depends on which realserver it is for, and not on the address alone.
    pub fn knows_realserver(&self) -> bool {
        matches!(self.kind, CheckKind::Exec(_) | CheckKind::File(_))
    }

    /// TLS of its probes, if they use it.
    pub fn tls(&self) -> Option<&TlsCheck> {
        match &self.kind {
            CheckKind::Https(_, tls) => Some(tls),
            CheckKind::Tcp(_, tls) | CheckKind::Grpc(_, tls) => tls.as_ref(),
            _ => None,
        }
    }
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// A connection that opens is a success; maybe something is said over it.
    Tcp(Talk, Option<TlsCheck>),
    /// A response whose status and body are as expected is a success.
    Http(HttpCheck),
    /// The same over TLS.
    Https(HttpCheck, TlsCheck),
    /// A response to a query over UDP.
    Dns(DnsCheck),
    /// An echo.
    Icmp,
    /// The gRPC health service says SERVING.
    Grpc(GrpcCheck, Option<TlsCheck>),
    /// A command that exits with 0.
    Exec(ExecCheck),
    /// A file, written by others, that says who is up.
    File(PathBuf),
    /// Nothing is probed: what other checks find decides.
    Calculated(Calculated),
}

/// What is said and heard over a connection, once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Talk {
    /// Said first; empty says nothing.
    pub send: Octets,
    /// What must be heard.
    pub expect: Option<Pattern>,
}

/// Octets as a file writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Octets(pub Box<[u8]>);

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&pattern::escape(&self.0))
    }
}

/// The request of an http or https check, and what is expected of its response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    /// Request method.
    pub method: Box<str>,
    /// Path and query, starting with `/`.
    pub path: String,
    /// `Host` header; `None` sends the address.
    pub host: Option<String>,
    /// Further headers, names in lower case.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// Status codes that are a success; redirects are not followed.
    pub expect_status: Vec<RangeInclusive<u16>>,
    /// What the body must have within its first `body_max` octets.
    pub expect_body: Option<Pattern>,
    /// Octets of the body that are read, if `expect_body` asks for it.
    pub body_max: usize,
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            method: "GET".into(),
            path: "/".to_owned(),
            host: None,
            headers: Vec::new(),
            expect_status: vec![200..=299],
            expect_body: None,
            body_max: 64 << 10,
        }
    }
}

/// TLS of a check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsCheck {
    /// Whether the certificate must be valid for the name and lead to a trusted root.
    pub verify: bool,
    /// Server name sent and verified; `None` uses `host`, else the address.
    pub sni: Option<String>,
    /// PEM file of roots that are trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// How long before its end a certificate is warned of; `None` never.
    pub expiry_warning: Option<Duration>,
}

impl Default for TlsCheck {
    fn default() -> Self {
        Self { verify: true, sni: None, ca: None, expiry_warning: Some(Duration::from_secs(14 * 86_400)) }
    }
}

/// A DNS query, and what is expected of its response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsCheck {
    /// The name that is asked for.
    pub name: Name,
    /// The record type that is asked for.
    pub rtype: RecordType,
    /// Response code that is a success.
    pub expect_rcode: Rcode,
    /// Addresses of which one must be in the answer; empty expects none.
    pub expect_address: Vec<IpAddr>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $($(#[$variant_doc:meta])* $variant:ident = $number:literal $word:literal),* $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant = $number),* }

        impl $name {
            /// Each with its word, as operators write it.
            pub const ALL: &[(&'static str, Self)] = &[$(($word, Self::$variant)),*];

            /// Its number on the wire.
            pub fn number(self) -> u16 {
                self as u16
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),* })
            }
        }
    };
}

words! {
    /// A record type that a check may ask for.
    RecordType,
    /// IPv4 address.
    A = 1 "A",
    /// Nameserver.
    Ns = 2 "NS",
    /// Alias.
    Cname = 5 "CNAME",
    /// Start of authority.
    Soa = 6 "SOA",
    /// Pointer.
    Ptr = 12 "PTR",
    /// Mail exchange.
    Mx = 15 "MX",
    /// Text.
    Txt = 16 "TXT",
    /// IPv6 address.
    Aaaa = 28 "AAAA",
    /// Service.
    Srv = 33 "SRV",
    /// HTTPS binding.
    Https = 65 "HTTPS",
}

words! {
    /// A response code that a check may expect.
    Rcode,
    /// No error.
    NoError = 0 "NOERROR",
    /// Format error.
    FormErr = 1 "FORMERR",
    /// Server failure.
    ServFail = 2 "SERVFAIL",
    /// No such name.
    NxDomain = 3 "NXDOMAIN",
    /// Not implemented.
    NotImp = 4 "NOTIMP",
    /// Refused.
    Refused = 5 "REFUSED",
}

/// Whom a gRPC health service is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GrpcCheck {
    /// The service; empty asks about the server as a whole.
    pub service: Box<str>,
    /// `:authority`; `None` sends the address.
    pub host: Option<String>,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExecCheck {
    /// The program, then its arguments; no shell reads them.
    pub command: Vec<Box<str>>,
}

/// Arithmetic over other checks of the same realserver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Calculated {
    /// How many must be up.
    pub rule: Rule,
    /// Of these; at least one.
    pub checks: Vec<Arc<Check>>,
}

impl Calculated {
    /// How many of the checks must be up, at least 1.
    pub fn needed(&self) -> usize {
        match self.rule {
            Rule::All => self.checks.len(),
            Rule::Any => 1,
            Rule::AtLeast(needed) => usize::from(needed),
        }
    }
}

/// How many of several checks must be up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Each of them.
    All,
    /// One of them.
    Any,
    /// So many of them, at least 1 and at most all.
    AtLeast(u16),
}
