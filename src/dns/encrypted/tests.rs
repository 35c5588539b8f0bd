//! The encrypted transports on loopback, with other clients than the end-to-end tests have: these can do what kdig and curl never would.

mod certificates;
mod https;
mod limits;
mod quic;

use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::Arc,
    time::Duration,
};

use hickory_proto::{op::Message, serialize::binary::BinDecodable};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use quinn::{Connection, ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    super::{
        Counters,
        encode::Transport,
        testing::{Asked, CONFIG, exchange, length_octets, snapshot},
    },
    Certificate, Identity, serve_https, serve_quic, serve_tls,
};
use crate::{
    config::Encrypted,
    observe::Observed,
    shutdown::Shutdown,
    snapshot::{Snapshot, Snapshots},
};

/// The name in the certificates.
const NAME: &str = "ns1.example.org";
/// A test that hangs is a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// An issuer of certificates, and a folder with one of them and its key.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("key")).expect("signed");
        let authority = Self { issuer, folder: TempDir::new().expect("folder") };
        authority.issue(|_| {});
        authority
    }

    /// Writes another certificate with another key; gives back the certificate.
    fn issue(&self, change: impl Fn(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut parameters = CertificateParams::new(vec![NAME.to_owned()]).expect("parameters");
        change(&mut parameters);
        let key = KeyPair::generate().expect("key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signed");
        std::fs::write(self.path("ns1.pem"), certificate.pem()).expect("written");
        std::fs::write(self.path("ns1.key"), key.serialize_pem()).expect("written");
        certificate.der().clone()
    }

    fn path(&self, name: &str) -> Box<Path> {
        self.folder.path().join(name).into()
    }

    fn named(&self) -> Encrypted {
        let (certificate, key) = (self.path("ns1.pem").into(), self.path("ns1.key").into());
        Encrypted { tls: Vec::new(), https: Vec::new(), quic: Vec::new(), certificate, key }
    }

    fn load(&self) -> Certificate {
        let (certificate, warnings) = Certificate::load(&self.named(), Timestamp::now()).expect("certificate");
        assert_eq!(warnings.to_string(), "");
        certificate
    }

    /// A client that trusts it.
    fn client(&self, alpn: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("root");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

/// One transport, served.
struct Server {
    authority: Authority,
    address: SocketAddr,
    identity: Arc<Identity>,
    counters: Arc<Counters>,
    shutdown: Shutdown,
    served: JoinHandle<std::io::Result<()>>,
}

impl Server {
    fn new(transport: Transport) -> Self {
        Self::of(transport, serving())
    }

    fn of(transport: Transport, snapshot: Arc<Snapshot>) -> Self {
        let authority = Authority::new();
        let identity = Arc::new(Identity::default());
        identity.replace(authority.load());
        let (counters, shutdown) = (Arc::new(Counters::new(0)), Shutdown::new());
        let snapshots = Arc::new(Snapshots::from(snapshot));
        let (shared, counting, stop) = (identity.clone(), counters.clone(), shutdown.clone());
        let (address, served) = if transport == Transport::Quic {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
            let address = socket.local_addr().expect("address");
            (address, tokio::spawn(serve_quic(socket, shared, snapshots, counting, stop)))
        } else {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
            let address = listener.local_addr().expect("address");
            let served = match transport {
                Transport::Tls => tokio::spawn(serve_tls(listener, shared, snapshots, counting, stop)),
                _ => tokio::spawn(serve_https(listener, shared, snapshots, counting, stop)),
            };
            (address, served)
        };
        Self { authority, address, identity, counters, shutdown, served }
    }

    /// Has it drain; it must end by itself.
    async fn stop(&mut self) {
        self.shutdown.drain.cancel();
        let served = tokio::time::timeout(PATIENCE, &mut self.served).await;
        served.expect("in time").expect("task").expect("served");
    }

    /// The sum of a counter over its labels.
    fn count(&self, name: &str) -> f64 {
        let mut samples = Vec::new();
        self.counters.observe(&mut samples);
        assert!(samples.iter().any(|sample| sample.name == name), "{name}");
        samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
    }

    /// Waits until a counter has this value: what happens on the server's side has no moment that a client could know.
    async fn becomes(&self, name: &str, value: f64) {
        let start = std::time::Instant::now();
        while self.count(name) != value {
            assert!(start.elapsed() < PATIENCE, "{name} is {}", self.count(name));
            tokio::task::yield_now().await;
        }
    }

    async fn connect(&self, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::new(self.authority.client(alpn)));
        let stream = TcpStream::connect(self.address).await?;
        connector.connect(ServerName::try_from(NAME).expect("name"), stream).await
    }

    async fn connect_quic(&self, alpn: &[&str]) -> Result<Connection, ConnectionError> {
        let tls = QuicClientConfig::try_from(self.authority.client(alpn)).expect("TLS 1.3");
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().expect("address")).expect("endpoint");
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
        endpoint.connect(self.address, NAME).expect("started").await
    }

    async fn connect_https(&self) -> SendRequest<Full<Bytes>> {
        let stream = self.connect(&["h2"]).await.expect("connected");
        let http = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = http.await.expect("HTTP/2");
        tokio::spawn(connection);
        sender
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.drain.cancel();
        self.shutdown.abort.cancel();
    }
}

fn serving() -> Arc<Snapshot> {
    let large: String =
        (0..300).map(|index| format!("large 60 TXT \"number {index} {}\"\n", "x".repeat(150))).collect();
    let zone = "$ORIGIN example.org.\n@ 60 SOA a b 1 1 1 1 30\n@ 60 NS ns.example.net.\nwww 60 A 192.0.2.80\n\
                sticky 20 POOL sticky\nnear 20 POOL near\nalias 50 CNAME www\n";
    snapshot(CONFIG, &[&format!("{zone}{large}")])
}

/// Queries whose answers do not depend on a turn.
const QUESTIONS: &[&str] = &[
    "www.example.org A",
    "WwW.example.org A +nsid +do",
    "alias.example.org A +edns",
    "sticky.example.org A +subnet=198.51.100.0/24 +nsid",
    "near.example.org A +subnet=203.0.113.0/24",
    "nothing.example.org A +edns",
    "www.example.org MX",
    "example.com A",
    "large.example.org TXT +bufsize=512",
    "version.bind TXT +ch",
    "www.example.org A +padding=0",
];

/// Messages that are no queries to be answered, with an id of 0: no question, an unknown opcode, EDNS version 1, two OPTs.
fn odd_messages() -> Vec<Vec<u8>> {
    let www = Asked::new("www.example.org A").wire;
    let version_1 = {
        let mut wire = www.clone();
        super::super::testing::add_opt(&mut wire, 1232, [0, 1, 0, 0], &[]);
        wire
    };
    let two_opts = {
        let mut wire = Asked::new("www.example.org A +edns").wire;
        super::super::testing::add_opt(&mut wire, 1232, [0; 4], &[]);
        wire
    };
    let bare = vec![0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let status = vec![0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    [bare, status, version_1, two_opts].into_iter().map(without_id).collect()
}

fn without_id(mut wire: Vec<u8>) -> Vec<u8> {
    wire[..2].fill(0);
    wire
}

/// Every query with the response that `transport` has to carry.
fn expected(transport: Transport) -> Vec<(Vec<u8>, Vec<u8>)> {
    let snapshot = serving();
    let asked = |wire| Asked { wire, transport, peer: "127.0.0.1:1".parse().expect("address") };
    let questions = QUESTIONS.iter().map(|words| without_id(Asked::new(words).wire));
    let queries = questions.chain(odd_messages());
    queries.map(|wire| (wire.clone(), exchange(&snapshot, &asked(wire)).expect("response"))).collect()
}

#[test]
fn expected_responses_are_whole_and_of_every_kind() {
    let rcodes: Vec<u16> = expected(Transport::Tls)
        .iter()
        .map(|(_, response)| {
            let message = Message::from_bytes(response).expect("message");
            assert!(!message.metadata.truncation);
            message.metadata.response_code.into()
        })
        .collect();
    assert_eq!(rcodes, [0, 0, 0, 0, 0, 3, 0, 5, 0, 0, 0, 1, 4, 16, 1]);
    let large = |transport| expected(transport).iter().any(|(_, response)| response.len() > 40_000);
    assert!([Transport::Tls, Transport::Https, Transport::Quic].into_iter().all(large));
}

fn framed(wire: &[u8]) -> Vec<u8> {
    [&length_octets(wire.len()), wire].concat()
}

async fn read_framed(stream: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn body(response: Response<hyper::body::Incoming>) -> Bytes {
    response.into_body().collect().await.expect("body").to_bytes()
}

fn post(wire: Vec<u8>) -> Request<Full<Bytes>> {
    let request = Request::post(format!("https://{NAME}/dns-query")).header("content-type", "application/dns-message");
    request.body(Full::from(wire)).expect("request")
}

/// Asks over a stream of its own.
async fn ask_quic(connection: &Connection, octets: &[u8]) -> Result<Vec<u8>, String> {
    let (mut sender, mut receiver) = connection.open_bi().await.map_err(|error| error.to_string())?;
    sender.write_all(octets).await.map_err(|error| error.to_string())?;
    sender.finish().map_err(|error| error.to_string())?;
    receiver.read_to_end(70_000).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn rfc7858_answers_are_carried_as_they_are_pipelined_and_counted() {
    let mut server = Server::new(Transport::Tls);
    let mut stream = server.connect(&["dot"]).await.expect("connected");
    let expected = expected(Transport::Tls);
    for (query, _) in &expected {
        stream.write_all(&framed(query)).await.expect("written");
    }
    for (query, response) in &expected {
        assert!(read_framed(&mut stream).await.expect("response") == *response, "{query:02x?}");
    }
    assert_eq!(server.count("fingerpost_dns_encrypted_connections"), 1.0);
    server.stop().await;
    // TLS says good-bye before TCP does, or this were an error.
    assert_eq!(stream.read(&mut [0; 1]).await.expect("end"), 0);
    assert_eq!(server.count("fingerpost_dns_queries_total"), expected.len() as f64);
    assert_eq!(server.count("fingerpost_dns_encrypted_accepted_total"), 1.0);
    assert_eq!(server.count("fingerpost_dns_encrypted_connections"), 0.0);
    assert_eq!(server.count("fingerpost_dns_tcp_accepted_total"), 0.0);
}

#[tokio::test]
async fn protocol_named_in_the_handshake_must_be_the_one_served() {
    for (transport, good, bad) in [
        (Transport::Tls, &[&["dot"][..], &["h2", "dot"], &[]][..], &[&["h2"][..], &["http/1.1"]][..]),
        (Transport::Https, &[&["h2"][..], &["http/1.1", "h2"]], &[&["http/1.1"][..], &["dot"]]),
    ] {
        let server = Server::new(transport);
        for alpn in good {
            assert!(server.connect(alpn).await.is_ok(), "{transport:?} {alpn:?}");
        }
        for alpn in bad {
            let error = server.connect(alpn).await.expect_err("refused").to_string();
            assert!(error.contains("NoApplicationProtocol"), "{transport:?} {alpn:?} {error}");
        }
        server.becomes("fingerpost_dns_encrypted_handshake_errors_total", 2.0).await;
    }
    // HTTP/2 cannot be guessed.
    let server = Server::new(Transport::Https);
    let mut stream = server.connect(&[]).await.expect("connected");
    assert!(!matches!(stream.read(&mut [0; 1]).await, Ok(1)));
    let server = Server::new(Transport::Quic);
    for alpn in [&[][..], &["h3"]] {
        let error = server.connect_quic(alpn).await.expect_err("refused").to_string();
        assert!(error.contains("aborted by peer") || error.contains("protocol"), "{error}");
    }
    assert!(server.connect_quic(&["doq"]).await.is_ok());
}
