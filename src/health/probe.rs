//! One probe of one target: a TCP connection, or an HTTP request of which only the status is read.
//!
//! No redirects, no proxies, no connection kept from one probe to the next: what is measured is this realserver, now. Whether it is up is
//! not decided here.

use std::{
    collections::HashMap,
    error::Error as StdError,
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::SystemTime,
};

use reqwest::{Url, header};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::TcpStream;

use super::{Outcome, Target};
use crate::{
    config::{CheckKind, HttpCheck, TlsCheck},
    types::format_duration,
};

/// TLS configurations kept at once. A configuration file has a handful; more come only from many reloads.
const TLS_CONFIGS_MAX: usize = 64;

/// Largest file of trusted roots; a system's own bundle has some 200 KiB.
const CA_OCTETS_MAX: u64 = 4 << 20;

/// Probes `target` once, within its check's timeout. Errors are a few words for operators.
pub async fn probe(target: &Target, clients: &Clients) -> Outcome {
    let check = &target.check;
    let attempt = async {
        match &check.kind {
            CheckKind::Tcp => TcpStream::connect(target.address).await.map(drop).map_err(Failure::Io),
            CheckKind::Http(http) => probe_http(target.address, http, None, clients).await,
            CheckKind::Https(http, tls) => probe_http(target.address, http, Some(tls), clients).await,
        }
    };
    match tokio::time::timeout(check.timeout, attempt).await {
        Ok(result) => result.map_err(|failure| failure.to_string().into()),
        Err(_) => Err(format!("timed out after {}", format_duration(check.timeout)).into()),
    }
}

async fn probe_http(
    address: SocketAddr,
    http: &HttpCheck,
    tls: Option<&TlsCheck>,
    clients: &Clients,
) -> Result<(), Failure> {
    let config = clients.tls_config(tls).await?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let (url, name) = match tls.and_then(|tls| server_name(http, tls)) {
        Some(name) => (format!("{scheme}://{name}:{}{}", address.port(), http.path), Some(name)),
        None => (format!("{scheme}://{address}{}", http.path), None),
    };
    let url = Url::parse(&url).map_err(|error| Failure::Url(error.to_string()))?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .http1_only()
        .pool_max_idle_per_host(0)
        .user_agent(concat!("fingerpost/", env!("CARGO_PKG_VERSION")));
    let client = match name {
        // The name is only for TLS: the connection goes to the target's address, whatever the name resolves to.
        Some(name) => client.resolve(&name, address),
        None => client,
    };
    let host = http.host.clone().unwrap_or_else(|| address.to_string());
    let request = client.build()?.get(url).header(header::HOST, host).header(header::CONNECTION, "close");
    // The response is dropped with its body unread, and the connection with it.
    let status = request.send().await?.status().as_u16();
    if http.expect_status.iter().any(|range| range.contains(&status)) {
        return Ok(());
    }
    let expected = http.expect_status.iter().map(|range| match (range.start(), range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    });
    Err(Failure::Status { status, expected: expected.collect::<Vec<_>>().join(", ") })
}

/// The name that is sent as SNI and verified; `None` stands for the address that is probed.
///
/// An address is never sent as SNI (RFC 6066 §3), and one that is not the target's own could not be connected to in its stead.
fn server_name(http: &HttpCheck, tls: &TlsCheck) -> Option<String> {
    let authority = tls.sni.as_deref().or(http.host.as_deref())?;
    let url = Url::parse(&format!("https://{authority}")).ok()?;
    url.domain().map(str::to_owned)
}

/// What probes share: TLS configurations, because reading and parsing trusted roots costs far more than a probe.
#[derive(Debug, Default)]
pub struct Clients {
    /// Each with the time at which its `ca` was last changed: renewed roots are picked up.
    tls: Mutex<HashMap<Trust, (Option<SystemTime>, ClientConfig)>>,
    system_roots: Arc<OnceLock<RootCertStore>>,
}

/// What tells two TLS configurations apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Trust {
    /// No TLS at all.
    Plain,
    /// Whatever the realserver shows.
    Anything,
    /// The system's roots, and those in the file.
    Roots(Option<PathBuf>),
}

impl Clients {
    /// Without any configuration yet.
    pub fn new() -> Self {
        Self::default()
    }

    async fn tls_config(&self, tls: Option<&TlsCheck>) -> Result<ClientConfig, Failure> {
        let trust = match tls {
            None => Trust::Plain,
            Some(TlsCheck { verify: false, .. }) => Trust::Anything,
            Some(TlsCheck { ca, .. }) => Trust::Roots(ca.clone()),
        };
        let changed = match &trust {
            Trust::Roots(Some(ca)) => {
                Some(changed(ca).await.map_err(|error| Failure::Ca(ca.clone(), error.to_string()))?)
            }
            _ => None,
        };
        if let Some((at, config)) = self.tls.lock().unwrap_or_else(PoisonError::into_inner).get(&trust)
            && *at == changed
        {
            return Ok(config.clone());
        }
        let config = match &trust {
            Trust::Plain => build(|_| None, RootCertStore::empty())?,
            Trust::Anything => build(|provider| Some(Arc::new(NoVerification(provider))), RootCertStore::empty())?,
            Trust::Roots(ca) => {
                let (ca, system_roots) = (ca.clone(), self.system_roots.clone());
                let load = move || load_roots(ca.as_deref(), &system_roots);
                let roots = tokio::task::spawn_blocking(load).await.map_err(|_| Failure::NoRoots)??;
                build(|_| None, roots)?
            }
        };
        let mut configs = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if configs.len() >= TLS_CONFIGS_MAX {
            configs.clear();
        }
        configs.insert(trust, (changed, config.clone()));
        Ok(config)
    }
}

async fn changed(path: &Path) -> io::Result<SystemTime> {
    tokio::fs::metadata(path).await?.modified()
}

fn build(
    verifier: impl FnOnce(Arc<CryptoProvider>) -> Option<Arc<dyn ServerCertVerifier>>,
    roots: RootCertStore,
) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match verifier(provider) {
        Some(verifier) => builder.dangerous().with_custom_certificate_verifier(verifier),
        None => builder.with_root_certificates(roots),
    };
    let mut config = builder.with_no_client_auth();
    // A resumed session shows no certificate, and an expired one must be seen.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The system's roots and those in `ca`. Blocks on files.
fn load_roots(ca: Option<&Path>, system_roots: &OnceLock<RootCertStore>) -> Result<RootCertStore, Failure> {
    let system = system_roots.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    });
    let mut roots = system.clone();
    if let Some(ca) = ca {
        let failed = |error: String| Failure::Ca(ca.to_owned(), error);
        let size = std::fs::metadata(ca).map_err(|error| failed(error.to_string()))?.len();
        if size > CA_OCTETS_MAX {
            return Err(failed("too large".to_owned()));
        }
        let pem = std::fs::read(ca).map_err(|error| failed(error.to_string()))?;
        let mut n_roots = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| failed(error.to_string()))?;
            roots.add(certificate).map_err(|error| failed(tls_text(&error)))?;
            n_roots += 1;
        }
        if n_roots == 0 {
            return Err(failed("no certificate in it".to_owned()));
        }
    }
    if roots.is_empty() { Err(Failure::NoRoots) } else { Ok(roots) }
}

/// `verify = false`: any certificate, for any name, signed by anybody or nobody.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a probe failed.
#[derive(Debug)]
enum Failure {
    Io(io::Error),
    Http(reqwest::Error),
    Tls(rustls::Error),
    Status { status: u16, expected: String },
    Url(String),
    Ca(PathBuf, String),
    NoRoots,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => f.write_str(&io_text(error)),
            Self::Http(error) => f.write_str(&http_text(error)),
            Self::Tls(error) => f.write_str(&tls_text(error)),
            Self::Status { status, expected } => write!(f, "status {status}, expected {expected}"),
            Self::Url(error) => write!(f, "path or host cannot be requested: {error}"),
            Self::Ca(path, error) => write!(f, "`ca` file `{}`: {error}", path.display()),
            Self::NoRoots => f.write_str("certificate: this system has no trusted roots, and the check has no `ca`"),
        }
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error)
    }
}

impl From<rustls::Error> for Failure {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

/// The first cause in the chain that an operator can act on.
fn http_text(error: &reqwest::Error) -> String {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    let mut last = None;
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return io_text(error);
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return tls_text(error);
        }
        match error.downcast_ref::<hyper::Error>() {
            Some(error) if error.is_parse() => return "response is not HTTP".to_owned(),
            Some(error) if error.is_incomplete_message() => return "connection closed before a response".to_owned(),
            _ => {}
        }
        last = Some(error);
        cause = error.source();
    }
    last.unwrap_or(error).to_string()
}

fn io_text(error: &io::Error) -> String {
    // An io::Error that carries another one does not name it as its source.
    if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        return tls_text(error);
    }
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
