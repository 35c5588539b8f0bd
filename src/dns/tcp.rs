//! DNS over TCP (RFC 7766): who may have a connection, and for how long. What happens on it is `conversation`'s. The encrypted transports use
//! the same connection limits, and DNS over TLS the same conversation.
//!
//! Each connection is a task of its own, so that a peer that stalls delays nobody else. Everything has a limit: connections in all and for
//! one client, time to send and to read a message, time of idling, queries of a connection.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::sleep,
};

use super::{
    Counters,
    clock::time_since_1970,
    conversation::converse,
    counters::{Connections, Slot},
    encode::{MESSAGE_OCTETS_MAX, Transport},
    respond::{Step, respond},
};
use crate::{shutdown::Shutdown, snapshot::Snapshots};

/// Connections at once; more wait in the listen backlog.
pub const CONNECTIONS_MAX: usize = 1000;
/// Connections at once from one client; more are closed at once.
pub(super) const CONNECTIONS_OF_CLIENT_MAX: usize = 64;
/// Queries of one connection; then it is closed, and who has more to ask connects again.
pub(super) const QUERIES_MAX: usize = 10_000;
/// Longest wait for the next query (RFC 7766 §6.2.3 leaves it to the server).
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time from the first octet of a query to its last.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for a peer to take a response.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted: descriptors may have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections on `listener` until `shutdown.drain`; then idle ones are closed, the others may finish what they do until
/// `shutdown.abort`. Returns when none is left.
///
/// # Errors
/// When `listener` cannot be handed to the runtime; later failures are counted and waited out.
pub async fn serve_tcp(
    listener: std::net::TcpListener,
    snapshots: Arc<Snapshots>,
    counters: Arc<Counters>,
    shutdown: Shutdown,
) -> io::Result<()> {
    let server = Server::new(snapshots, counters, Transport::Tcp, shutdown);
    serve_connections(listener, server, |stream, peer, server| async move {
        let (reader, writer) = stream.into_split();
        converse(reader, writer, peer, &server).await
    })
    .await
}

/// The same for any kind of stream: what happens on a connection is `carry`'s.
pub(super) async fn serve_connections<C>(
    listener: std::net::TcpListener,
    server: Arc<Server>,
    carry: impl Fn(TcpStream, SocketAddr, Arc<Server>) -> C,
) -> io::Result<()>
where
    C: Future<Output = End> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = server.shutdown.drain.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                count_panic(&server, ended);
                continue;
            }
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => serve_connection(&server, &mut connections, stream, peer, permit, &carry),
            Err(_) => {
                server.connections().accept_errors.add(1);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let abort = server.shutdown.abort.clone();
    while let Some(ended) = tokio::select! {
        ended = connections.join_next() => ended,
        () = abort.cancelled() => None,
    } {
        count_panic(&server, ended);
    }
    connections.shutdown().await;
    Ok(())
}

/// What all connections of one socket share.
pub(super) struct Server {
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) counters: Arc<Counters>,
    pub(super) transport: Transport,
    pub(super) shutdown: Shutdown,
    /// Connections open, by client; never across a wait.
    clients: Mutex<HashMap<IpAddr, usize>>,
}

impl Server {
    pub(super) fn new(
        snapshots: Arc<Snapshots>,
        counters: Arc<Counters>,
        transport: Transport,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        Arc::new(Self { snapshots, counters, transport, shutdown, clients: Mutex::default() })
    }

    pub(super) fn messages(&self) -> &Slot {
        self.counters.stream(self.transport)
    }

    pub(super) fn connections(&self) -> &Connections {
        self.counters.connections(self.transport)
    }
}

pub(super) fn count_panic(server: &Server, ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        server.messages().panics.add(1);
    }
}

/// Accepts a connection as soon as one more may be open.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

fn serve_connection<C>(
    server: &Arc<Server>,
    connections: &mut JoinSet<()>,
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    carry: &impl Fn(TcpStream, SocketAddr, Arc<Server>) -> C,
) where
    C: Future<Output = End> + Send + 'static,
{
    let Some(place) = Place::take(server, client_key(peer.ip()), CONNECTIONS_OF_CLIENT_MAX) else {
        server.connections().refused.add(1);
        return;
    };
    server.connections().accepted.add(1);
    // Without it a second small response would wait for the first one's acknowledgement.
    let _ = stream.set_nodelay(true);
    let carried = carry(stream, peer, server.clone());
    connections.spawn(async move {
        if carried.await == End::Timeout {
            place.server.connections().timeouts.add(1);
        }
        drop((place, permit));
    });
}

/// What counts as one client: an IPv4 address, or the /64 that an IPv6 host has all of.
pub(super) fn client_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

/// A client's place among the connections, given back when it is dropped, by a panic too.
pub(super) struct Place {
    server: Arc<Server>,
    client: IpAddr,
}

impl Place {
    /// A place for `client`, if it has fewer than `n_max`.
    pub(super) fn take(server: &Arc<Server>, client: IpAddr, n_max: usize) -> Option<Self> {
        let mut clients = server.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let n_open = clients.entry(client).or_default();
        if *n_open >= n_max {
            return None;
        }
        *n_open += 1;
        Some(Self { server: server.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.connections().closed.add(1);
        let mut clients = self.server.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n_open) = clients.get_mut(&self.client) {
            *n_open -= 1;
            if *n_open == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closed it, or it is to be closed.
    Closed,
    /// The peer was too slow, or had nothing to ask.
    Timeout,
}

thread_local! {
    /// Where responses are written before their length is known; never held across a wait.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; MESSAGE_OCTETS_MAX].into());
}

/// The response to `wire` with its length before it; `None` if there is none.
pub(super) fn answer_framed(server: &Server, wire: &[u8], peer: SocketAddr) -> Option<Vec<u8>> {
    SCRATCH.with_borrow_mut(|out| {
        let snapshot = server.snapshots.load();
        let (now, random) = (time_since_1970(), fastrand::u64(..));
        let step = respond(&snapshot, wire, peer, server.transport, now, random, out);
        server.messages().count(&step);
        let Step::Send { n_octets, .. } = step else { return None };
        let mut framed = Vec::with_capacity(2 + n_octets);
        framed.extend_from_slice(&u16::try_from(n_octets).ok()?.to_be_bytes());
        framed.extend_from_slice(out.get(..n_octets)?);
        Some(framed)
    })
}
