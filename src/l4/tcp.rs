//! Accepts, finds a realserver that takes the connection, and lets the pump carry it.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{debug, error, warn};

use super::{
    Counters,
    attempts::attempts,
    counters::ListenerCounters,
    pump::{Carried, End, pump, reset},
};
use crate::{
    health::passive::Passive,
    select::Turn,
    shutdown::Shutdown,
    snapshot::{Listener, Snapshot, Snapshots},
};

/// How soon a changed limit holds and ended connections are forgotten, at the latest.
const TICK: Duration = Duration::from_secs(1);

/// Pause after a failure to accept, doubled with each one in a row: when descriptors have run out, trying again at once gains nothing.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Carries what `listener` accepts for the listener `name`, until `shutdown.drain`; then what runs goes on, until `shutdown.abort`.
///
/// Each connection goes by the snapshot of its beginning. While as many are open as `max_connections` allows, new ones wait in the listen
/// backlog; a limit that was changed holds within a second.
pub async fn serve(
    name: Box<str>,
    listener: std::net::TcpListener,
    snapshots: Arc<Snapshots>,
    counters: Arc<Counters>,
    passive: Passive,
    shutdown: Shutdown,
) {
    let listener = match prepare(listener) {
        Ok(listener) => listener,
        Err(error) => {
            error!(listener = %name, %error, "listener cannot be served");
            return;
        }
    };
    let of_listener = counters.listener(&name);
    let shell = Arc::new(Shell {
        name,
        snapshots,
        counters,
        of_listener,
        passive,
        n_open: AtomicUsize::new(0),
        freed: Notify::new(),
    });
    let mut connections = JoinSet::new();
    accept(&shell, &listener, &mut connections, &shutdown).await;
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = ended => {}
        () = shutdown.abort.cancelled() => {}
    }
    // Sockets that are dropped are closed, and that is a FIN to both sides.
    connections.shutdown().await;
}

fn prepare(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    // Accepted sockets inherit it: one system call less for each.
    SockRef::from(&listener).set_tcp_nodelay(true)?;
    TcpListener::from_std(listener)
}

/// What the connections of one listener share.
struct Shell {
    name: Box<str>,
    snapshots: Arc<Snapshots>,
    counters: Arc<Counters>,
    of_listener: Arc<ListenerCounters>,
    /// Who hears of realservers that do not connect.
    passive: Passive,
    n_open: AtomicUsize,
    /// Told whenever a connection ends.
    freed: Notify,
}

impl Shell {
    /// Whether one more connection may be open. A listener without a configuration closes what it accepts, and needs no limit.
    fn has_room(&self) -> bool {
        let snapshot = self.snapshots.load();
        let limit = snapshot.listener(&self.name).map_or(usize::MAX, |listener| listener.config.max_connections);
        self.n_open.load(Relaxed) < limit
    }
}

/// A place among the open connections, from accepting to closing.
struct Place(Arc<Shell>);

impl Place {
    fn take(shell: &Arc<Shell>) -> Self {
        shell.n_open.fetch_add(1, Relaxed);
        shell.of_listener.connections.fetch_add(1, Relaxed);
        shell.of_listener.open.fetch_add(1, Relaxed);
        Self(shell.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.of_listener.open.fetch_sub(1, Relaxed);
        self.0.n_open.fetch_sub(1, Relaxed);
        self.0.freed.notify_one();
    }
}

async fn accept(shell: &Arc<Shell>, listener: &TcpListener, connections: &mut JoinSet<()>, shutdown: &Shutdown) {
    let mut drain = pin!(shutdown.drain.cancelled());
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pause = PAUSE_MIN;
    loop {
        while connections.try_join_next().is_some() {}
        let has_room = shell.has_room();
        let accepted = tokio::select! {
            () = &mut drain => return,
            accepted = listener.accept(), if has_room => accepted,
            () = shell.freed.notified(), if !has_room => continue,
            _ = tick.tick() => continue,
        };
        match accepted {
            Ok((client, peer)) => {
                pause = PAUSE_MIN;
                connections.spawn(carry(Place::take(shell), client, peer));
            }
            Err(error) => {
                shell.of_listener.accept_errors.fetch_add(1, Relaxed);
                if is_clients_fault(&error) {
                    continue;
                }
                warn!(listener = %shell.name, %error, "connection not accepted");
                tokio::select! {
                    () = &mut drain => return,
                    () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                }
            }
        }
    }
}

/// Whether a failure to accept concerns only the connection that would have been accepted.
fn is_clients_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable, WouldBlock,
    };
    let kinds = [ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable, WouldBlock];
    kinds.contains(&error.kind())
}

/// The whole life of one connection.
async fn carry(place: Place, client: TcpStream, peer: SocketAddr) {
    let shell = &*place.0;
    let (connected, idle_timeout) = {
        let snapshot = shell.snapshots.load_full();
        let Some(listener) = snapshot.listener(&shell.name) else { return };
        (connect(shell, &snapshot, listener, peer).await, listener.config.idle_timeout)
    };
    let Some(realserver) = connected else {
        shell.of_listener.without_realserver.fetch_add(1, Relaxed);
        debug!(listener = %shell.name, %peer, "no realserver");
        reset(&client);
        return;
    };
    let counters = &shell.of_listener;
    let carried = Carried { to_realserver: &counters.bytes_to_realservers, to_client: &counters.bytes_to_clients };
    match pump(client, realserver, idle_timeout, carried).await {
        End::Finished => {}
        End::Idle => _ = counters.idle_closes.fetch_add(1, Relaxed),
        End::Cut | End::Aborted => _ = counters.aborts.fetch_add(1, Relaxed),
    }
}

/// A connection to the first realserver that takes one.
async fn connect(shell: &Shell, snapshot: &Snapshot, listener: &Listener, peer: SocketAddr) -> Option<TcpStream> {
    for attempt in attempts(snapshot, listener, peer.ip(), fastrand::u64(..), Turn::Take) {
        let of_realserver = shell.counters.realserver(&shell.name, attempt.pool, &attempt.realserver.name);
        let connected = timeout(listener.config.connect_timeout, TcpStream::connect(attempt.address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).and_then(|stream| {
            stream.set_nodelay(true)?;
            Ok(stream)
        }) {
            Ok(stream) => {
                of_realserver.connections.fetch_add(1, Relaxed);
                return Some(stream);
            }
            Err(error) => {
                of_realserver.connect_failures.fetch_add(1, Relaxed);
                let (pool, realserver) = (attempt.pool, &attempt.realserver.name);
                shell.passive.connect_failed(pool, realserver, attempt.address.ip(), &error);
                debug!(listener = %shell.name, %peer, %pool, %realserver, %error, "realserver did not connect");
            }
        }
    }
    None
}
