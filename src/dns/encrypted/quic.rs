//! DNS over QUIC (RFC 9250): a connection a client, a stream a query.
//!
//! Each stream is a task of its own, so that a stream that stalls delays nobody else. Zone transfer over it is not served.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{
    Connection, Endpoint, EndpointConfig, IdleTimeout, Incoming, ReadToEndError, RecvStream, SendStream, ServerConfig,
    TokioRuntime, TransportConfig, VarInt, crypto::rustls::QuicServerConfig,
};
use tokio::{task::JoinSet, time::timeout};

use super::{
    super::{
        Counters,
        encode::{MESSAGE_OCTETS_MAX, Transport},
        tcp::{
            CONNECTIONS_MAX, CONNECTIONS_OF_CLIENT_MAX, End, IDLE_TIMEOUT, Place, QUERIES_MAX, READ_TIMEOUT, Server,
            WRITE_TIMEOUT, answer_framed, client_key, count_panic,
        },
    },
    GOODBYE, HANDSHAKE_TIMEOUT, Identity, STREAMS_MAX,
    records::records,
    tls::{count_handshake_error, count_protocol_error, tls13_config},
};
use crate::{shutdown::Shutdown, snapshot::Snapshots};

/// The protocol's name in the handshake (RFC 9250 §4.1.1). Without it there is no connection.
const ALPN: &[u8] = b"doq";
/// Connections, in all and of one client, beyond which a new one must show first that its address is its own (RFC 9000 §8.1.2): else who forges
/// addresses could take the places of others.
const CONNECTIONS_UNPROVEN_MAX: usize = CONNECTIONS_MAX / 2;
const CONNECTIONS_OF_CLIENT_UNPROVEN_MAX: usize = 8;
/// Connections that may begin at once, before any of the limits above has been looked at.
const INCOMING_MAX: usize = 1024;
/// Octets of such a connection, and of all of them, that are kept until then.
const INCOMING_OCTETS_MAX: u64 = 16 * 1024;
const INCOMING_OCTETS_MAX_ALL: u64 = 4 * 1024 * 1024;
/// What a peer may send before it is read, in a stream and in all of them.
const STREAM_WINDOW_OCTETS: u32 = 16 * 1024;
const CONNECTION_WINDOW_OCTETS: u32 = 128 * 1024;
/// What waits to be sent or acknowledged of a connection's responses.
const SEND_WINDOW_OCTETS: u64 = 256 * 1024;

/// Error codes (RFC 9250 §8.4).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);
const UNSPECIFIED_ERROR: VarInt = VarInt::from_u32(5);

/// Record type OPT (RFC 6891), and the option that has no meaning here (RFC 7828).
const OPT: u16 = 41;
const OPTION_TCP_KEEPALIVE: u16 = 11;

/// Accepts connections on `socket` until `shutdown.drain`; then those may finish what they do until `shutdown.abort`. Returns when none is
/// left.
///
/// # Errors
/// When `socket` cannot be handed to the runtime, or TLS cannot be set up.
pub async fn serve_quic(
    socket: UdpSocket,
    identity: Arc<Identity>,
    snapshots: Arc<Snapshots>,
    counters: Arc<Counters>,
    shutdown: Shutdown,
) -> io::Result<()> {
    let config = server_config(identity)?;
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))?;
    let server = Server::new(snapshots, counters, Transport::Quic, shutdown);
    let mut connections = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            biased;
            () = server.shutdown.drain.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                count_panic(&server, ended);
                continue;
            }
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        take_up(&server, &mut connections, incoming);
    }
    endpoint.set_server_config(None);
    let abort = server.shutdown.abort.clone();
    while let Some(ended) = tokio::select! {
        ended = connections.join_next() => ended,
        () = abort.cancelled() => None,
    } {
        count_panic(&server, ended);
    }
    connections.shutdown().await;
    endpoint.close(NO_ERROR, b"");
    let _ = timeout(GOODBYE, endpoint.wait_idle()).await;
    Ok(())
}

fn server_config(identity: Arc<Identity>) -> io::Result<ServerConfig> {
    let tls = QuicServerConfig::try_from(tls13_config(identity, ALPN)?).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_OCTETS_MAX)
        .incoming_buffer_size_total(INCOMING_OCTETS_MAX_ALL)
        .transport_config(Arc::new(transport_config()));
    Ok(config)
}

fn transport_config() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_OCTETS))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_OCTETS))
        .send_window(SEND_WINDOW_OCTETS)
        // Ours counts queries; this one counts packets, and is for peers that are gone.
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT + Duration::from_secs(1)).ok());
    transport
}

/// Accepts a connection if there is a place for it.
fn take_up(server: &Arc<Server>, connections: &mut JoinSet<()>, incoming: Incoming) {
    let peer = incoming.remote_address();
    let (n_max, n_of_client_max) = if incoming.remote_address_validated() {
        (CONNECTIONS_MAX, CONNECTIONS_OF_CLIENT_MAX)
    } else {
        (CONNECTIONS_UNPROVEN_MAX, CONNECTIONS_OF_CLIENT_UNPROVEN_MAX)
    };
    let place = (connections.len() < n_max).then(|| Place::take(server, client_key(peer.ip()), n_of_client_max));
    let Some(place) = place.flatten() else {
        if incoming.may_retry() {
            // It fails only where it may not be done.
            let _ = incoming.retry();
        } else {
            server.connections().refused.add(1);
            incoming.refuse();
        }
        return;
    };
    server.connections().accepted.add(1);
    let server = server.clone();
    connections.spawn(async move {
        if carry(incoming, peer, &server).await == End::Timeout {
            server.connections().timeouts.add(1);
        }
        drop(place);
    });
}

async fn carry(incoming: Incoming, peer: SocketAddr, server: &Arc<Server>) -> End {
    let shaken = async { incoming.accept()?.await };
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE_TIMEOUT, shaken) => shaken,
        () = server.shutdown.drain.cancelled() => return End::Closed,
    };
    let connection = match shaken {
        Ok(Ok(connection)) => connection,
        failed => {
            count_handshake_error(server);
            return if failed.is_err() { End::Timeout } else { End::Closed };
        }
    };
    let mut streams = JoinSet::new();
    let (end, code) = converse(&connection, &mut streams, peer, server).await;
    if code != NO_ERROR {
        count_protocol_error(server);
        connection.close(code, b"");
        return end;
    }
    // What was asked is still answered; each stream has its time.
    while let Some(ended) = streams.join_next().await {
        count_panic(server, ended.map(drop));
    }
    connection.close(NO_ERROR, b"");
    end
}

/// Takes up streams until the connection is to end, and says how.
async fn converse(
    connection: &Connection,
    streams: &mut JoinSet<Result<(), VarInt>>,
    peer: SocketAddr,
    server: &Arc<Server>,
) -> (End, VarInt) {
    let mut n_queries = 0;
    while n_queries < QUERIES_MAX {
        let accepted = tokio::select! {
            biased;
            () = server.shutdown.drain.cancelled() => return (End::Closed, NO_ERROR),
            Some(ended) = streams.join_next(), if !streams.is_empty() => {
                match ended {
                    Ok(Ok(())) => continue,
                    Ok(Err(code)) => return (End::Closed, code),
                    Err(error) => count_panic(server, Err(error)),
                }
                continue;
            }
            accepted = timeout(IDLE_TIMEOUT, connection.accept_bi()) => accepted,
        };
        match accepted {
            Ok(Ok((sender, receiver))) => {
                n_queries += 1;
                let server = server.clone();
                streams.spawn(async move { answer(sender, receiver, peer, &server).await });
            }
            Ok(Err(_)) => return (End::Closed, NO_ERROR),
            Err(_) => return (End::Timeout, NO_ERROR),
        }
    }
    (End::Closed, NO_ERROR)
}

/// Answers the one query of a stream. An error is one of the whole connection.
async fn answer(
    mut sender: SendStream,
    mut receiver: RecvStream,
    peer: SocketAddr,
    server: &Server,
) -> Result<(), VarInt> {
    // The end of the stream is waited for (RFC 9250 §4.2): what follows the query would be an error.
    let read = match timeout(READ_TIMEOUT, receiver.read_to_end(2 + MESSAGE_OCTETS_MAX)).await {
        Ok(Ok(read)) => read,
        Ok(Err(ReadToEndError::TooLong)) => return reject(&mut sender),
        // The client has taken its query back, or the connection is gone.
        Ok(Err(ReadToEndError::Read(_))) => return Ok(()),
        Err(_) => {
            // Both fail only where there is nothing left to stop.
            let _ = receiver.stop(EXCESSIVE_LOAD);
            let _ = sender.reset(UNSPECIFIED_ERROR);
            return Ok(());
        }
    };
    let Some(framed) = query_of(&read).and_then(|wire| answer_framed(server, wire, peer)) else {
        return reject(&mut sender);
    };
    let written = async {
        sender.write_all(&framed).await.ok()?;
        sender.finish().ok()?;
        // Until everything has arrived, since to close a connection loses what has not.
        sender.stopped().await.ok()
    };
    if !matches!(timeout(WRITE_TIMEOUT, written).await, Ok(Some(None))) {
        server.messages().send_errors.add(1);
    }
    Ok(())
}

/// Ends the stream and with it the connection. Without a reset the stream would end like one with an empty response.
fn reject(sender: &mut SendStream) -> Result<(), VarInt> {
    // It fails only where there is nothing left to reset.
    let _ = sender.reset(PROTOCOL_ERROR);
    Err(PROTOCOL_ERROR)
}

/// The message of a stream: its length, then nothing but the message, whose id is 0 and which asks for no TCP keepalive (RFC 9250 §4.2.1, §4.3.3,
/// §5.5.2).
fn query_of(read: &[u8]) -> Option<&[u8]> {
    let (length, wire) = read.split_first_chunk()?;
    let has_length = usize::from(u16::from_be_bytes(*length)) == wire.len();
    let has_id_0 = wire.starts_with(&[0, 0]);
    (has_length && has_id_0 && !asks_for_keepalive(wire)).then_some(wire)
}

fn asks_for_keepalive(wire: &[u8]) -> bool {
    records(wire).filter(|record| record.is_additional && record.rtype == OPT).any(|record| {
        let mut options = record.rdata;
        while let Some((&[c0, c1, l0, l1], rest)) = options.split_first_chunk() {
            if u16::from_be_bytes([c0, c1]) == OPTION_TCP_KEEPALIVE {
                return true;
            }
            options = rest.get(usize::from(u16::from_be_bytes([l0, l1]))..).unwrap_or_default();
        }
        false
    })
}
