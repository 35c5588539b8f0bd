//! Realservers of all kinds for tests of probes.

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::crypto::ring;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use super::{Shared, probe};
use crate::{
    config::{Check, CheckKind},
    health::{Cause, Target},
};

pub(super) fn target(kind: CheckKind, address: SocketAddr) -> Target {
    let (interval, timeout) = (Duration::from_secs(30), Duration::from_secs(10));
    let check = Check { interval, timeout, rise: 1, fall: 1, ..Check::new("c", kind) };
    Target { check: Arc::new(check), address, realserver: None }
}

pub(super) fn impatient(target: Target) -> Target {
    let check = Check { timeout: Duration::from_millis(300), ..(*target.check).clone() };
    Target { check: Arc::new(check), ..target }
}

/// What the probe said: `ok`, or why not.
pub(super) async fn outcome(target: &Target) -> String {
    match probe(target, &Shared::new()).await.outcome {
        Ok(()) => "ok".to_owned(),
        Err(failure) if failure.cause == Cause::Unclear => format!("unclear: {failure}"),
        Err(failure) => failure.to_string(),
    }
}

pub(super) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    (listener, address)
}

/// A realserver that does this with each connection.
pub(super) async fn serve<F: Future<Output: Send> + Send + 'static>(
    handle: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    address
}

/// Reads a request's head.
pub(super) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(char::from(byte)),
            Err(_) => break,
        }
    }
    head
}

pub(super) async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), response: &str) -> String {
    let head = head(stream).await;
    let _ = stream.write_all(response.as_bytes()).await;
    let _ = stream.shutdown().await;
    head
}

/// A realserver that gives every request this response; the heads of the requests come out of the channel.
pub(super) async fn responds(response: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    let (sender, heads) = mpsc::channel(16);
    let address = serve(move |mut stream| {
        let sender = sender.clone();
        async move { sender.send(answer(&mut stream, response).await).await }
    })
    .await;
    (address, heads)
}

/// A response that every check likes.
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An https realserver with a certificate for `www.example.org`, and the file with its root.
pub(super) struct Https {
    pub(super) address: SocketAddr,
    pub(super) dir: tempfile::TempDir,
    pub(super) heads: mpsc::Receiver<(Option<String>, String)>,
}

impl Https {
    pub(super) async fn start() -> Self {
        Self::until((4000, 1, 1)).await
    }

    /// One whose certificate ends with this day.
    pub(super) async fn until((year, month, day): (i32, u8, u8)) -> Self {
        let mut root = CertificateParams::new(Vec::new()).expect("parameters");
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().expect("key")).expect("root");
        let key = KeyPair::generate().expect("key");
        let mut parameters = CertificateParams::new(vec!["www.example.org".to_owned()]).expect("parameters");
        parameters.not_after = rcgen::date_time_ymd(year, month, day);
        let certificate = parameters.signed_by(&key, &root).expect("signed");
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

    pub(super) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }
}
