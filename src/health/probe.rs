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
            Self::Io(error) => f.write_str(&error_text(error)),
            Self::Http(error) => f.write_str(&error_text(error)),
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

fn io_text(error: &io::Error) -> String {
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
    use std::time::{Duration, Instant};

    use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
    use tokio::{
        io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
        net::TcpListener,
        sync::mpsc,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::config::Check;

    fn target(kind: CheckKind, address: SocketAddr) -> Target {
        let (interval, timeout) = (Duration::from_secs(30), Duration::from_secs(10));
        let check = Check { name: "c".into(), kind, interval, timeout, rise: 1, fall: 1, address: None, port: None };
        Target { check: Arc::new(check), address }
    }

    fn impatient(target: Target) -> Target {
        let check = Check { timeout: Duration::from_millis(300), ..(*target.check).clone() };
        Target { check: Arc::new(check), ..target }
    }

    fn http() -> HttpCheck {
        HttpCheck { path: "/healthz?deep=1".into(), host: None, expect_status: vec![200..=299] }
    }

    fn tls() -> TlsCheck {
        TlsCheck { verify: true, sni: None, ca: None }
    }

    /// What the probe said, `ok` or why not.
    async fn outcome(target: &Target) -> String {
        match probe(target, &Clients::new()).await {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        (listener, address)
    }

    /// Reads a request's head.
    async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(char::from(byte)),
                Err(_) => break,
            }
        }
        head
    }

    async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), response: &str) -> String {
        let head = head(stream).await;
        let _ = stream.write_all(response.as_bytes()).await;
        let _ = stream.shutdown().await;
        head
    }

    /// A realserver that gives every request this response; the heads of the requests come out of the channel.
    async fn responds(response: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
        let (listener, address) = listen().await;
        let (sender, heads) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = sender.send(answer(&mut stream, response).await).await;
            }
        });
        (address, heads)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    #[tokio::test]
    async fn tcp_check_wants_a_connection_and_nothing_else() {
        let (_listener, address) = listen().await;
        assert_eq!(outcome(&target(CheckKind::Tcp, address)).await, "ok");
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.bind("127.0.0.1:0".parse().expect("address")).expect("bind");
        let refusing = socket.local_addr().expect("address");
        assert_eq!(outcome(&target(CheckKind::Tcp, refusing)).await, "connection refused");
        assert_eq!(outcome(&target(CheckKind::Http(http()), refusing)).await, "connection refused");
        assert_eq!(outcome(&target(CheckKind::Https(http(), tls()), refusing)).await, "connection refused");
    }

    #[tokio::test]
    async fn http_check_sends_path_and_host_and_reads_the_status() {
        let (address, mut heads) = responds(OK).await;
        assert_eq!(outcome(&target(CheckKind::Http(http()), address)).await, "ok");
        let head = heads.recv().await.expect("a request").to_lowercase();
        assert!(head.starts_with("get /healthz?deep=1 http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nhost: {address}\r\n")), "{head}");
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");

        let named = HttpCheck { host: Some("www.example.org".into()), ..http() };
        assert_eq!(outcome(&target(CheckKind::Http(named), address)).await, "ok");
        let head = heads.recv().await.expect("a request").to_lowercase();
        assert!(head.contains("\r\nhost: www.example.org\r\n"), "{head}");
        assert_eq!(head.matches("host:").count(), 1);
    }

    #[tokio::test]
    async fn unexpected_status_is_a_failure_and_redirects_are_not_followed() {
        let (address, _heads) = responds("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(outcome(&target(CheckKind::Http(http()), address)).await, "status 503, expected 200-299");
        let several = HttpCheck { expect_status: vec![200..=200, 400..=404], ..http() };
        assert_eq!(outcome(&target(CheckKind::Http(several), address)).await, "status 503, expected 200, 400-404");

        let (address, mut heads) = responds("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n").await;
        let redirect = HttpCheck { expect_status: vec![302..=302], ..http() };
        assert_eq!(outcome(&target(CheckKind::Http(redirect), address)).await, "ok");
        assert!(heads.recv().await.is_some());
        assert!(heads.try_recv().is_err(), "one request");
    }

    #[tokio::test]
    async fn path_that_looks_like_a_host_leads_nowhere_else() {
        let (address, mut heads) = responds(OK).await;
        let check = HttpCheck { path: "//192.0.2.1/x".into(), ..http() };
        assert_eq!(outcome(&target(CheckKind::Http(check), address)).await, "ok");
        assert!(heads.recv().await.expect("a request").starts_with("GET //192.0.2.1/x HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn every_probe_has_its_own_connection() {
        let (listener, address) = listen().await;
        let (sender, mut connections) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((mut stream, peer)) = listener.accept().await {
                sender.send(peer).await.expect("wanted");
                tokio::spawn(async move {
                    while !head(&mut stream).await.is_empty() {
                        let _ = stream.write_all(OK.as_bytes()).await;
                    }
                });
            }
        });
        let (target, clients) = (target(CheckKind::Http(http()), address), Clients::new());
        for _ in 0..3 {
            assert_eq!(probe(&target, &clients).await, Ok(()));
            assert!(connections.recv().await.is_some());
        }
    }

    #[tokio::test]
    async fn slow_realserver_times_out() {
        let (_listener, address) = listen().await;
        let started = Instant::now();
        for kind in [CheckKind::Http(http()), CheckKind::Https(http(), TlsCheck { verify: false, ..tls() })] {
            assert_eq!(outcome(&impatient(target(kind, address))).await, "timed out after 300ms");
        }
        assert!(started.elapsed() >= Duration::from_millis(600));
    }

    #[tokio::test]
    async fn garbage_silence_and_endless_bodies_end_at_once() {
        let (address, _heads) = responds("SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
        assert_eq!(outcome(&target(CheckKind::Http(http()), address)).await, "response is not HTTP");
        let (address, _heads) = responds("").await;
        assert_eq!(outcome(&target(CheckKind::Http(http()), address)).await, "connection closed before a response");

        let (listener, address) = listen().await;
        let endless = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accept");
            head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            while stream.write_all(b"4\r\nmore\r\n").await.is_ok() {}
        });
        assert_eq!(outcome(&target(CheckKind::Http(http()), address)).await, "ok");
        let hung_up = tokio::time::timeout(Duration::from_secs(10), endless).await;
        assert!(matches!(hung_up, Ok(Ok(()))), "the probe has closed its connection");

        let (listener, address) = listen().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accept");
            head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while stream.write_all(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").await.is_ok() {}
        });
        let error = outcome(&target(CheckKind::Http(http()), address)).await;
        assert_eq!(error, "response is not HTTP");
    }

    /// An https realserver with a certificate for `www.example.org`, and the file with its root.
    struct Https {
        address: SocketAddr,
        dir: tempfile::TempDir,
        heads: mpsc::Receiver<(Option<String>, String)>,
    }

    impl Https {
        async fn start() -> Self {
            let mut root = CertificateParams::new(Vec::new()).expect("parameters");
            root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let root = CertifiedIssuer::self_signed(root, KeyPair::generate().expect("key")).expect("root");
            let key = KeyPair::generate().expect("key");
            let names = vec!["www.example.org".to_owned()];
            let certificate =
                CertificateParams::new(names).expect("parameters").signed_by(&key, &root).expect("signed");
            let dir = tempfile::tempdir().expect("directory");
            std::fs::write(dir.path().join("ca.pem"), root.pem()).expect("written");

            let provider = Arc::new(ring::default_provider());
            let config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key.into())
                .expect("certificate");
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let (listener, address) = listen().await;
            let (sender, heads) = mpsc::channel(16);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                    let name = stream.get_ref().1.server_name().map(str::to_owned);
                    let _ = sender.send((name, answer(&mut stream, OK).await)).await;
                }
            });
            Self { address, dir, heads }
        }

        fn ca(&self) -> PathBuf {
            self.dir.path().join("ca.pem")
        }

        async fn outcome(&self, host: Option<&str>, tls: TlsCheck) -> String {
            let http = HttpCheck { host: host.map(str::to_owned), ..http() };
            outcome(&target(CheckKind::Https(http, tls), self.address)).await
        }
    }

    fn name(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    #[tokio::test]
    async fn https_check_sends_name_and_host_apart() {
        let mut https = Https::start().await;
        let check = TlsCheck { sni: name("www.example.org"), ca: Some(https.ca()), ..tls() };
        assert_eq!(https.outcome(Some("other.example.org:8443"), check).await, "ok");
        let (name, head) = https.heads.recv().await.expect("a request");
        assert_eq!(name.as_deref(), Some("www.example.org"));
        assert!(head.to_lowercase().contains("\r\nhost: other.example.org:8443\r\n"), "{head}");

        let check = TlsCheck { sni: self::name("WWW.example.org"), ca: Some(https.ca()), ..tls() };
        assert_eq!(https.outcome(None, check).await, "ok");
        let (name, head) = https.heads.recv().await.expect("a request");
        assert_eq!(name.as_deref(), Some("www.example.org"));
        assert!(head.to_lowercase().contains(&format!("\r\nhost: {}\r\n", https.address)), "{head}");
    }

    #[tokio::test]
    async fn https_name_is_sni_else_host_else_the_address() {
        let mut https = Https::start().await;
        let ca = TlsCheck { ca: Some(https.ca()), ..tls() };
        assert_eq!(https.outcome(Some("www.example.org:8443"), ca.clone()).await, "ok");
        assert_eq!(https.heads.recv().await.expect("a request").0.as_deref(), Some("www.example.org"));
        let error = https.outcome(None, ca.clone()).await;
        assert!(error.starts_with("certificate: ") && error.contains("127.0.0.1"), "{error}");
        // An address as a name is no name; least of all is it connected to.
        let error = https.outcome(Some("192.0.2.1"), ca).await;
        assert!(error.starts_with("certificate: ") && error.contains("127.0.0.1"), "{error}");
    }

    #[tokio::test]
    async fn certificate_must_be_trusted_and_for_the_name_unless_told_otherwise() {
        let mut https = Https::start().await;
        let right = Some("www.example.org");
        assert_eq!(https.outcome(right, TlsCheck { ca: Some(https.ca()), ..tls() }).await, "ok");
        let untrusted = https.outcome(right, tls()).await;
        assert!(untrusted.starts_with("certificate: "), "{untrusted}");
        let wrong = TlsCheck { sni: name("wrong.example.org"), ca: Some(https.ca()), ..tls() };
        let error = https.outcome(right, wrong.clone()).await;
        assert!(error.starts_with("certificate: ") && error.contains("wrong.example.org"), "{error}");
        https.heads.recv().await.expect("a request");
        assert_eq!(https.outcome(right, TlsCheck { verify: false, ca: None, ..wrong }).await, "ok");
        assert_eq!(https.heads.recv().await.expect("a request").0.as_deref(), Some("wrong.example.org"));
    }

    #[tokio::test]
    async fn bad_ca_file_is_a_failing_probe_that_names_it_until_it_is_good() {
        let https = Https::start().await;
        let path = https.dir.path().join("new.pem");
        let http = HttpCheck { host: name("www.example.org"), ..http() };
        let check = CheckKind::Https(http, TlsCheck { ca: Some(path.clone()), ..tls() });
        let (target, clients) = (target(check, https.address), Clients::new());
        let shown = format!("`ca` file `{}`: ", path.display());
        let error = probe(&target, &clients).await.expect_err("no file");
        assert_eq!(*error, format!("{shown}No such file or directory (os error 2)"));
        std::fs::write(&path, "no PEM at all").expect("written");
        let error = probe(&target, &clients).await.expect_err("no PEM");
        assert_eq!(*error, format!("{shown}no certificate in it"));
        std::fs::copy(https.ca(), &path).expect("copied");
        assert_eq!(probe(&target, &clients).await, Ok(()));
    }

    #[tokio::test]
    async fn renewed_ca_file_is_read_again_and_configurations_are_kept_otherwise() {
        let (https, other) = (Https::start().await, Https::start().await);
        let path = https.dir.path().join("new.pem");
        let write = |from: &Https, seconds: u64| {
            std::fs::copy(from.ca(), &path).expect("copied");
            let file = std::fs::File::options().write(true).open(&path).expect("opened");
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).expect("time set");
        };
        let http = HttpCheck { host: name("www.example.org"), ..http() };
        let check = CheckKind::Https(http, TlsCheck { ca: Some(path.clone()), ..tls() });
        let (target, clients) = (target(check, https.address), Clients::new());
        write(&https, 1);
        for _ in 0..2 {
            assert_eq!(probe(&target, &clients).await, Ok(()));
        }
        assert_eq!(clients.tls.lock().expect("lock").len(), 1);
        write(&other, 2);
        let error = probe(&target, &clients).await.expect_err("another root");
        assert!(error.starts_with("certificate: "), "{error}");
    }

    #[tokio::test]
    async fn plain_http_behind_an_https_check_is_an_error_for_operators() {
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let _ = stream.read_u8().await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = head(&mut stream).await;
        });
        let check = CheckKind::Https(http(), TlsCheck { verify: false, ..tls() });
        let error = outcome(&target(check, address)).await;
        assert!(error.starts_with("TLS: "), "{error}");
    }
}
