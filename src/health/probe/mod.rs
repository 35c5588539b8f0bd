//! One probe of one target, one file for each kind. This one chooses among them, keeps to the timeout, and says in a few words what went wrong.
//!
//! No redirects, no proxies, no connection kept from one probe to the next: what is measured is this realserver, now. Whether it is up is
//! not decided here. What went wrong on this side (no descriptor, no program, no file) is told apart from what a realserver does wrong.

mod dns;
mod exec;
mod file;
mod grpc;
mod http;
pub mod icmp;
mod tcp;
#[cfg(test)]
mod testing;
mod tls;

use std::{error::Error as StdError, fmt, io};

use jiff::Timestamp;
use rustls::CertificateError;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
};

use self::{file::StateFiles, tls::TlsConfigs};
use super::{Cause, Failure, Outcome, Target};
use crate::{
    config::{CheckKind, TlsCheck},
    types::format_duration,
};

/// Commands that run at once: each is a process, and a machine has few to spare.
const COMMANDS_MAX: usize = 32;

/// What probes share.
#[derive(Debug)]
pub struct Shared {
    tls: TlsConfigs,
    files: StateFiles,
    commands: Semaphore,
}

impl Shared {
    /// With nothing read yet.
    pub fn new() -> Self {
        Self { tls: TlsConfigs::default(), files: StateFiles::default(), commands: Semaphore::new(COMMANDS_MAX) }
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Success, or why not.
    pub outcome: Outcome,
    /// When the certificate ends that was shown, if one was.
    pub certificate: Option<Timestamp>,
}

impl From<Outcome> for Found {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, certificate: None }
    }
}

/// Probes `target` once, within its check's timeout.
pub async fn probe(target: &Target, shared: &Shared) -> Found {
    let check = &target.check;
    let mut certificate = None;
    let _place = match check.kind {
        CheckKind::Exec(_) => match exec::wait_for_place(&shared.commands, check.timeout).await {
            Ok(place) => Some(place),
            Err(problem) => return Err(problem.into()).into(),
        },
        _ => None,
    };
    let attempt = async {
        match &check.kind {
            CheckKind::Tcp(talk, tls) => {
                tcp::probe(connect(target, tls.as_ref(), None, tls::Protocol::Plain, shared, &mut certificate), talk)
                    .await
            }
            CheckKind::Http(http) => {
                let connecting = connect(target, None, None, tls::Protocol::Plain, shared, &mut certificate);
                http::probe(connecting, target.address, http).await
            }
            CheckKind::Https(http, tls) => {
                let host = http.host.as_deref();
                let connecting = connect(target, Some(tls), host, tls::Protocol::Plain, shared, &mut certificate);
                http::probe(connecting, target.address, http).await
            }
            CheckKind::Grpc(grpc, tls) => {
                let (tls, host) = (tls.as_ref(), grpc.host.as_deref());
                let connecting = connect(target, tls, host, tls::Protocol::H2, shared, &mut certificate);
                grpc::probe(connecting, target.address, grpc, tls.is_some()).await
            }
            CheckKind::Dns(dns) => dns::probe(target.address, dns, check.timeout).await,
            CheckKind::Icmp => icmp::probe(target.address.ip()).await,
            CheckKind::Exec(exec) => exec::probe(target, exec).await,
            CheckKind::File(path) => file::probe(path, target.realserver.as_deref(), &shared.files).await,
            CheckKind::Calculated(_) => Err(Problem::Unclear("a calculated check is not probed".to_owned())),
        }
    };
    let outcome = match tokio::time::timeout(check.timeout, attempt).await {
        Ok(result) => result.map_err(Failure::from),
        Err(_) => Err(format!("timed out after {}", format_duration(check.timeout)).into()),
    };
    Found { outcome, certificate }
}

/// A connection that can be talked over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to `target`, with TLS for `host` if that is wanted.
async fn connect(
    target: &Target,
    tls: Option<&TlsCheck>,
    host: Option<&str>,
    protocol: tls::Protocol,
    shared: &Shared,
    certificate: &mut Option<Timestamp>,
) -> Result<Box<dyn Stream>, Problem> {
    let stream = TcpStream::connect(target.address).await.map_err(Problem::Connect)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let (stream, ends) = tls::handshake(stream, tls, host, protocol, &shared.tls).await?;
    *certificate = ends;
    Ok(Box::new(stream))
}

/// Why a probe is no success.
#[derive(Debug)]
enum Problem {
    /// There was no connection.
    Connect(io::Error),
    Io(io::Error),
    Http(hyper::Error),
    Tls(rustls::Error),
    /// The realserver answered, and not what is expected.
    Unexpected(String),
    /// The probe could not be made.
    Unclear(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) | Self::Io(error) => f.write_str(&error_text(error)),
            Self::Http(error) => f.write_str(&error_text(error)),
            Self::Tls(error) => f.write_str(&tls_text(error)),
            Self::Unexpected(text) | Self::Unclear(text) => f.write_str(text),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let cause = match &problem {
            Problem::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => Cause::Refused,
            Problem::Connect(error) | Problem::Io(error) if is_own(error) => Cause::Unclear,
            Problem::Unclear(_) => Cause::Unclear,
            _ => Cause::Realserver,
        };
        Self { text: problem.to_string().into(), cause }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<hyper::Error> for Problem {
    fn from(error: hyper::Error) -> Self {
        Self::Http(error)
    }
}

impl From<rustls::Error> for Problem {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

/// Whether it is this machine that lacks something.
pub(super) fn is_own(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let own = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM, Errno::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|number| own.contains(&Errno::from_raw(number)))
}

/// What an operator can act on, wherever in the chain of causes it is.
fn error_text(error: &(dyn StdError + 'static)) -> String {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return tls_text(error);
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        if error.is_parse() {
            return "response is not HTTP".to_owned();
        }
        if error.is_incomplete_message() {
            return "connection closed before a response".to_owned();
        }
    }
    // An io::Error that carries another one does not name it as its source.
    let io = error.downcast_ref::<io::Error>();
    let inner = io.and_then(|error| error.get_ref()).map(|inner| inner as &(dyn StdError + 'static));
    match (inner.or_else(|| error.source()), io) {
        (Some(cause), _) => error_text(cause),
        (None, Some(io)) => io_text(io),
        (None, None) => error.to_string(),
    }
}

/// What an I/O error is called.
pub(super) fn io_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        io::ErrorKind::UnexpectedEof => "connection closed before a response".to_owned(),
        _ => error.to_string(),
    }
}

fn tls_text(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => "certificate: not signed by a trusted root".to_owned(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate: expired".to_owned(),
            error => format!("certificate: {error}"),
        },
        error => format!("TLS: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_says_nothing_about_a_realserver() {
        let cause = |number| Failure::from(Problem::Connect(io::Error::from_raw_os_error(number))).cause;
        let errnos = [nix::libc::EMFILE, nix::libc::EADDRNOTAVAIL, nix::libc::ECONNREFUSED, nix::libc::EHOSTUNREACH];
        let expected = [Cause::Unclear, Cause::Unclear, Cause::Refused, Cause::Realserver];
        assert_eq!(errnos.map(cause), expected);
    }
}
