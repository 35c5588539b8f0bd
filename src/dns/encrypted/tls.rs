//! DNS over TLS (RFC 7858): the conversation of TCP within TLS.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::{ServerConfig, crypto::ring, version::TLS13};
use tokio::{
    io::{AsyncWriteExt, split},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    super::{
        Counters,
        conversation::converse,
        encode::Transport,
        tcp::{End, Server, serve_connections},
    },
    GOODBYE, HANDSHAKE_TIMEOUT, Identity,
};
use crate::{shutdown::Shutdown, snapshot::Snapshots};

/// The protocol's name in the handshake (RFC 7858 §3.2). A client that names none is served as well.
const ALPN: &[u8] = b"dot";

/// Serves `listener` as `serve_tcp` does, within TLS.
///
/// # Errors
/// When `listener` cannot be handed to the runtime, or TLS cannot be set up.
pub async fn serve_tls(
    listener: std::net::TcpListener,
    identity: Arc<Identity>,
    snapshots: Arc<Snapshots>,
    counters: Arc<Counters>,
    shutdown: Shutdown,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(tls_config(identity, ALPN)?));
    let server = Server::new(snapshots, counters, Transport::Tls, shutdown);
    serve_connections(listener, server, |stream, peer, server| carry(acceptor.clone(), stream, peer, server)).await
}

async fn carry(acceptor: TlsAcceptor, stream: TcpStream, peer: SocketAddr, server: Arc<Server>) -> End {
    let stream = match shake_hands(&acceptor, stream, &server).await {
        Ok(stream) => stream,
        Err(end) => return end,
    };
    let (mut reader, mut writer) = split(stream);
    let end = converse(&mut reader, &mut writer, peer, &server).await;
    // Without its closing word a peer cannot tell an end from an attack (RFC 8446 §6.1).
    let _ = timeout(GOODBYE, writer.shutdown()).await;
    end
}

/// TLS 1.2 and 1.3 with whatever certificate `identity` has when a connection begins. Early data is not accepted.
pub(super) fn tls_config(identity: Arc<Identity>, alpn: &[u8]) -> io::Result<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(identity);
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}

/// The same with TLS 1.3 alone, which QUIC has.
pub(super) fn tls13_config(identity: Arc<Identity>, alpn: &[u8]) -> io::Result<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(io::Error::other)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(identity);
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}

/// The TLS handshake, within its time. While the server drains there is none: nothing has been asked yet.
pub(super) async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    server: &Server,
) -> Result<TlsStream<TcpStream>, End> {
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => shaken,
        () = server.shutdown.drain.cancelled() => return Err(End::Closed),
    };
    if !matches!(shaken, Ok(Ok(_))) {
        count_handshake_error(server);
    }
    shaken.map_err(|_| End::Timeout)?.map_err(|_| End::Closed)
}

pub(super) fn count_handshake_error(server: &Server) {
    if let Some(counters) = server.counters.encrypted.get(server.transport) {
        counters.handshake_errors.add(1);
    }
}

pub(super) fn count_protocol_error(server: &Server) {
    if let Some(counters) = server.counters.encrypted.get(server.transport) {
        counters.protocol_errors.add(1);
    }
}
