//! What is said over the control socket, as types and as lines: one JSON request line, one JSON response line, then the end.
//!
//! Both lines carry the protocol's number, which is looked at before anything else is read, so that a command line of another version
//! gets a message that says so. [`Status`] is also what `/api/v1/status` and `status --json` show: it may gain fields, and must not lose any
//! without a new number.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::types::{Admin, Force, Health};

/// Number of this protocol; both ends must have the same.
pub const PROTOCOL: u32 = 1;
/// Longest request line in octets, its newline included.
pub const REQUEST_OCTETS_MAX: usize = 64 * 1024;
/// Longest response line in octets that a client reads.
pub const RESPONSE_OCTETS_MAX: usize = 256 * 1024 * 1024;
/// The program's version, as each end tells the other.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a command wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How everything stands.
    Status,
    /// Sets what an operator wants of the traffic of some.
    SetAdmin {
        /// `POOL/REALSERVER`, with `*` and `?` in either, or a `POOL`.
        target: String,
        /// What is wanted.
        admin: Admin,
        /// When it ends by itself; `None` is never.
        until: Option<Timestamp>,
        /// Why, in the operator's words.
        reason: Option<String>,
    },
    /// Says what the health of some is, whatever probes say.
    Force {
        /// As for [`Request::SetAdmin`].
        target: String,
        /// What it is; `auto` lets probes decide again.
        force: Force,
        /// When it ends by itself; `None` is never.
        until: Option<Timestamp>,
        /// Why, in the operator's words.
        reason: Option<String>,
    },
    /// What a client would get, and why.
    Explain(ExplainRequest),
    /// Ends a freeze: what the probes say is so.
    Thaw,
    /// Reads configuration, zones and databases again; answered when the outcome is known.
    Reload,
}

/// Whom an explanation is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The name that is asked for.
    pub name: String,
    /// The record type, as text.
    pub rtype: String,
    /// The peer's address; `None` is this machine's own loopback.
    pub client: Option<IpAddr>,
    /// The ECS prefix that comes with the question.
    pub ecs: Option<IpNet>,
    /// The way it comes.
    pub via: Way,
}

/// The way by which a client comes, as operators write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// By a DNS question.
    #[default]
    Dns,
    /// By an HTTP request to the redirector.
    Redirect,
    /// By a connection to a listener.
    L4,
}

impl Way {
    const ALL: [(Self, &'static str); 3] = [(Self::Dns, "dns"), (Self::Redirect, "redirect"), (Self::L4, "l4")];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(way, _)| way == self).map_or("", |(_, text)| text))
    }
}

/// Text that is none of `dns`, `redirect`, `l4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ways are `dns`, `redirect` and `l4`")]
pub struct UnknownWay;

impl FromStr for Way {
    type Err = UnknownWay;

    fn from_str(text: &str) -> Result<Self, UnknownWay> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(way, _)| *way).ok_or(UnknownWay)
    }
}

/// What the server says to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Status),
    /// It is done.
    Done {
        /// One line for people.
        message: String,
    },
    /// To [`Request::Explain`]: the object that `explain --json` prints.
    Explain(serde_json::Value),
    /// To [`Request::Reload`], whether it went well or not.
    Reloaded(ReloadReport),
    /// It could not be done, and nothing has changed.
    Error {
        /// For people, without a full stop.
        message: String,
    },
}

impl Response {
    /// A refusal.
    pub fn error(message: impl Into<String>) -> Self {
        Self::Error { message: message.into() }
    }
}

/// What came of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Whether everything that was read is in service now.
    pub ok: bool,
    /// What is different now, one line each.
    pub changes: Vec<String>,
    /// Errors as they are shown, empty if there are none.
    pub errors: String,
    /// Warnings as they are shown, empty if there are none.
    pub warnings: String,
}

/// How everything stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The server's version.
    pub version: String,
    /// Number of the current snapshot.
    pub generation: u64,
    /// When the server started.
    pub started: Timestamp,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// Every zone that is served or should be, sorted by apex.
    pub zones: Vec<ZoneStatus>,
    /// Every configured pool, in the order of the configuration.
    pub pools: Vec<PoolStatus>,
    /// Since when what probes find is not believed, because too many addresses fell at once.
    #[serde(default)]
    pub frozen_since: Option<Timestamp>,
    /// Everything that operators have set, also on what is not there any more.
    #[serde(default)]
    pub overrides: Vec<OverrideStatus>,
    /// What was wrong with the state file at the start, if anything.
    #[serde(default)]
    pub state_problem: Option<String>,
    /// Every address that is listened on.
    pub sockets: Vec<SocketStatus>,
    /// Why the last reload failed, if it did.
    pub reload_error: Option<ReloadError>,
}

/// Something that an operator has set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideStatus {
    /// `POOL/REALSERVER`, or `POOL` for all of it.
    pub target: String,
    /// For traffic, if it is about that.
    pub admin: Option<Admin>,
    /// For health, if it is about that.
    pub force: Option<Force>,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
    /// Whether the configuration has nobody of this name: it waits for them to come back.
    pub is_gone: bool,
}

/// One zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneStatus {
    /// Its name, with the final dot.
    pub apex: String,
    /// Serial of what is served; `None` while nothing is.
    pub serial: Option<u32>,
    /// Records of what is served.
    pub records: u64,
    /// Its file.
    pub path: String,
    /// When what is served was loaded.
    pub since: Option<Timestamp>,
    /// Why the file as it is now could not be loaded; what was served before still is.
    pub error: Option<String>,
    /// How it stands with its primaries, if it is a secondary zone; `path` is where it is kept, and `error` why they were of no use.
    #[serde(default)]
    pub secondary: Option<SecondaryStatus>,
}

/// A secondary zone and its primaries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondaryStatus {
    /// The one that was asked last.
    pub primary: Option<SocketAddr>,
    /// When one last had what is served.
    pub refreshed: Option<Timestamp>,
    /// When one is asked next.
    pub next: Option<Timestamp>,
    /// When the zone expires.
    pub expires: Option<Timestamp>,
    /// Whether it has expired, or never came: its names get SERVFAIL.
    pub is_expired: bool,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// As configured.
    pub name: String,
    /// As configured.
    pub policy: String,
    /// Name of its check; `None` in a pool of pools, and where realservers count as up.
    pub check: Option<String>,
    /// Whether a pool above passes it over.
    pub is_failed: bool,
    /// Whether nobody is eligible and its answers are given by fail-open.
    pub is_degraded: bool,
    /// The pools that it consists of, empty if it has realservers.
    pub members: Vec<String>,
    /// The realservers that it consists of, empty if it has pools.
    pub realservers: Vec<RealserverStatus>,
}

/// One realserver of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealserverStatus {
    /// Unique in its pool.
    pub name: String,
    /// One or two, IPv4 first, each with its own health.
    pub addresses: Vec<AddressStatus>,
    /// Port of the service.
    pub port: Option<u16>,
    /// Share of traffic.
    pub weight: u16,
    /// The part of it that it takes while it has just come up, in percent.
    #[serde(default)]
    pub ramp_percent: Option<u8>,
    /// The best health of its addresses.
    pub health: Health,
    /// Whether it takes new traffic.
    pub eligible: bool,
    /// Whether it is down and a guard keeps it in service: a freeze, or its pool's `max_leave`.
    #[serde(default)]
    pub held: bool,
    /// What an operator has set.
    pub admin: Admin,
    /// Whether that is set on its pool.
    #[serde(default)]
    pub is_set_on_pool: bool,
    /// What an operator says of its health.
    #[serde(default)]
    pub force: Force,
    /// Why.
    pub reason: Option<String>,
    /// Until when.
    pub until: Option<Timestamp>,
    /// Who.
    pub by: Option<String>,
}

/// One address of a realserver, and what its probes found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressStatus {
    /// The address that is answered, not the one that is probed.
    pub address: IpAddr,
    /// What counts.
    pub health: Health,
    /// What probes say, if `health` is an operator's word.
    #[serde(default)]
    pub probed: Option<Health>,
    /// When `health` last changed.
    pub since: Option<Timestamp>,
    /// When the last probe ended.
    pub last_probe: Option<Timestamp>,
    /// Why the last probe failed, if it did.
    pub last_error: Option<String>,
    /// Whether `health` is remembered from before a restart and no probe has ended since.
    pub restored: bool,
    /// Whether no probe has confirmed `health` for three intervals.
    #[serde(default)]
    pub stale: bool,
    /// When the certificate ends that was last shown.
    #[serde(default)]
    pub certificate_ends: Option<Timestamp>,
    /// Whether that is soon enough to be warned of.
    #[serde(default)]
    pub certificate_ending: bool,
}

/// One address that is listened on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketStatus {
    /// What answers there.
    pub service: Service,
    /// Where; the port that was given for port 0.
    pub address: SocketAddr,
    /// Name of the listener, for [`Service::L4`].
    pub listener: Option<String>,
    /// Name of its pool, for [`Service::L4`].
    pub pool: Option<String>,
}

/// What answers at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Authoritative DNS, over UDP and TCP.
    Dns,
    /// The same over TLS.
    #[serde(rename = "dns-tls")]
    DnsTls,
    /// The same over HTTPS.
    #[serde(rename = "dns-https")]
    DnsHttps,
    /// The same over QUIC.
    #[serde(rename = "dns-quic")]
    DnsQuic,
    /// The redirector.
    Redirect,
    /// A listener.
    L4,
    /// Metrics, API and dashboard.
    Control,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "dns",
            Self::DnsTls => "dns-tls",
            Self::DnsHttps => "dns-https",
            Self::DnsQuic => "dns-quic",
            Self::Redirect => "redirect",
            Self::L4 => "l4",
            Self::Control => "control",
        })
    }
}

/// A reload that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadError {
    /// When.
    pub at: Timestamp,
    /// The errors as they are shown.
    pub errors: String,
}

/// What stands around a request. `protocol` is read by itself first.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestLine<R> {
    protocol: u32,
    version: String,
    request: R,
}

/// What stands around a response.
#[derive(Serialize, Deserialize)]
struct ResponseLine<R> {
    protocol: u32,
    version: String,
    response: R,
}

/// What every version's lines have in common.
#[derive(Deserialize)]
struct Hello {
    protocol: u32,
    version: String,
}

/// Why a line is of no use.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The other end speaks another protocol.
    #[error(
        "fingerpost {version} speaks control protocol {protocol}, fingerpost {VERSION} speaks {PROTOCOL}: use the same version at both ends"
    )]
    Version {
        /// The other end's version.
        version: String,
        /// The other end's protocol.
        protocol: u32,
    },
    /// It is not what this protocol says.
    #[error("not a line of the control protocol: {0}")]
    Malformed(serde_json::Error),
}

/// The line for `request`, with its newline.
pub fn encode_request(request: &Request) -> Result<Vec<u8>, LineError> {
    encode(&RequestLine { protocol: PROTOCOL, version: VERSION.to_owned(), request })
}

/// The line for `response`, with its newline.
pub fn encode_response(response: &Response) -> Result<Vec<u8>, LineError> {
    encode(&ResponseLine { protocol: PROTOCOL, version: VERSION.to_owned(), response })
}

/// Reads a request's line, with or without its newline.
pub fn decode_request(line: &[u8]) -> Result<Request, LineError> {
    check_protocol(line)?;
    serde_json::from_slice::<RequestLine<Request>>(line).map(|line| line.request).map_err(LineError::Malformed)
}

/// Reads a response's line, with or without its newline.
pub fn decode_response(line: &[u8]) -> Result<Response, LineError> {
    check_protocol(line)?;
    serde_json::from_slice::<ResponseLine<Response>>(line).map(|line| line.response).map_err(LineError::Malformed)
}

fn encode(line: &impl Serialize) -> Result<Vec<u8>, LineError> {
    let mut line = serde_json::to_vec(line).map_err(LineError::Malformed)?;
    line.push(b'\n');
    Ok(line)
}

fn check_protocol(line: &[u8]) -> Result<(), LineError> {
    let Hello { protocol, version } = serde_json::from_slice(line).map_err(LineError::Malformed)?;
    if protocol == PROTOCOL { Ok(()) } else { Err(LineError::Version { version, protocol }) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::fixture;

    #[test]
    fn requests_read_back_as_written_on_one_line() {
        let explain = ExplainRequest {
            name: "www.example.org".to_owned(),
            rtype: "AAAA".to_owned(),
            client: Some(IpAddr::from([192, 0, 2, 1])),
            ecs: "2001:db8::/56".parse().ok(),
            via: Way::L4,
        };
        let set = Request::SetAdmin {
            target: "web-eu/ams-a".to_owned(),
            admin: Admin::Drain,
            until: Some(fixture::NOW),
            reason: Some("two\nlines, \"quoted\"".to_owned()),
        };
        let unset = Request::SetAdmin { target: "a/b".to_owned(), admin: Admin::Ready, until: None, reason: None };
        for request in [Request::Status, Request::Thaw, Request::Reload, set, unset, Request::Explain(explain)] {
            let line = encode_request(&request).expect("line");
            assert_eq!(line.iter().position(|&byte| byte == b'\n'), Some(line.len() - 1));
            assert_eq!(decode_request(&line).expect("request"), request);
        }
    }

    #[test]
    fn responses_read_back_as_written_on_one_line() {
        let report = ReloadReport {
            ok: false,
            changes: vec!["pool `web` is new".to_owned()],
            errors: "error: no\n --> a:1:1".to_owned(),
            warnings: String::new(),
        };
        for response in [
            Response::Status(fixture::status()),
            Response::Done { message: "done".to_owned() },
            Response::Explain(json!({ "answer": ["192.0.2.1"], "ttl": 30 })),
            Response::Reloaded(report),
            Response::error("no"),
        ] {
            let line = encode_response(&response).expect("line");
            assert_eq!(line.iter().position(|&byte| byte == b'\n'), Some(line.len() - 1));
            assert_eq!(decode_response(&line).expect("response"), response);
        }
    }

    #[test]
    fn request_line_is_what_other_programs_may_rely_on() {
        let line = encode_request(&Request::SetAdmin {
            target: "web-eu/ams-a".to_owned(),
            admin: Admin::Maint,
            until: Some(fixture::NOW),
            reason: None,
        });
        let value: serde_json::Value = serde_json::from_slice(&line.expect("line")).expect("JSON");
        let expected = json!({
            "protocol": 1,
            "version": VERSION,
            "request": { "set-admin": {
                "target": "web-eu/ams-a", "admin": "maint", "until": "2026-11-26T12:00:00Z", "reason": null,
            } },
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn another_protocol_is_named_before_anything_else_is_read() {
        let line = br#"{"protocol":2,"version":"9.9.9","request":{"teleport":{}},"more":1}"#;
        let error = decode_request(line).expect_err("other protocol").to_string();
        let expected = format!(
            "fingerpost 9.9.9 speaks control protocol 2, fingerpost {VERSION} speaks 1: use the same version at both ends"
        );
        assert_eq!(error, expected);
        assert!(matches!(decode_response(line), Err(LineError::Version { protocol: 2, .. })));
    }

    #[test]
    fn requests_with_anything_unknown_are_refused() {
        for request in [
            r#""halt""#,
            r#"{"status":{}}"#,
            r#"{"set-admin":{"target":"a/b","admin":"off","until":null,"reason":null}}"#,
            r#"{"set-admin":{"target":"a/b","admin":"drain","until":null,"reason":null,"force":true}}"#,
            r#"{"explain":{"name":"a","rtype":"A","client":"nowhere","ecs":null,"via":"dns"}}"#,
            r#"{"explain":{"name":"a","rtype":"A","client":null,"ecs":null,"via":"pigeon"}}"#,
        ] {
            let line = format!(r#"{{"protocol":1,"version":"x","request":{request}}}"#);
            assert!(matches!(decode_request(line.as_bytes()), Err(LineError::Malformed(_))), "{request}");
        }
        for line in ["", "null", "[]", "{}", "GET / HTTP/1.1", r#"{"protocol":1,"version":"x"}"#] {
            assert!(matches!(decode_request(line.as_bytes()), Err(LineError::Malformed(_))), "{line}");
        }
    }

    #[test]
    fn status_may_gain_fields() {
        let mut value = serde_json::to_value(fixture::status()).expect("JSON");
        value["mood"] = json!("good");
        assert_eq!(serde_json::from_value::<Status>(value).expect("status"), fixture::status());
    }

    #[test]
    fn ways_read_as_they_are_shown() {
        for way in [Way::Dns, Way::Redirect, Way::L4] {
            assert_eq!(way.to_string().parse(), Ok(way));
            assert_eq!(serde_json::to_value(way).expect("JSON"), json!(way.to_string()));
        }
        assert_eq!("DNS".parse::<Way>(), Err(UnknownWay));
    }
}
