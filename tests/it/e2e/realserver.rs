//! Little realservers that say who they are, and that can be killed and started again.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::tools::own_ip;

/// An HTTP server that answers `NAME METHOD TARGET`, on an address of its own.
pub(super) struct Realserver {
    /// Its name, which is also its body.
    pub(super) name: &'static str,
    /// Where it listens; the same after it was started again.
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    running: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stops: AtomicBool,
    n_accepted: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl Realserver {
    /// Starts one.
    pub(super) fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind((own_ip(), 0)).expect("listener");
        let address = listener.local_addr().expect("address");
        let mut realserver = Self { name, address, shared: Arc::default(), running: None };
        realserver.serve(listener);
        realserver
    }

    /// One that was never alive: nobody listens at its address.
    pub(super) fn dead(name: &'static str) -> Self {
        let mut realserver = Self::start(name);
        realserver.kill();
        realserver
    }

    /// A, B and C.
    pub(super) fn three() -> [Self; 3] {
        ["A", "B", "C"].map(Self::start)
    }

    /// Closes the listener and every connection, as the end of its process would.
    pub(super) fn kill(&mut self) {
        let Some(thread) = self.running.take() else { return };
        self.shared.stops.store(true, Ordering::SeqCst);
        // Wakes the thread out of its wait for a connection.
        drop(TcpStream::connect(self.address));
        thread.join().expect("realserver");
        for connection in self.shared.open.lock().expect("connections").drain(..) {
            // The client may have closed it already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Starts it again at its address.
    pub(super) fn revive(&mut self) {
        assert!(self.running.is_none(), "{} is alive", self.name);
        self.shared.stops.store(false, Ordering::SeqCst);
        self.serve(TcpListener::bind(self.address).expect("the same address again"));
    }

    /// Connections so far, those of probes among them.
    pub(super) fn n_accepted(&self) -> usize {
        self.shared.n_accepted.load(Ordering::SeqCst)
    }

    /// Its entry in a pool's `realservers`.
    pub(super) fn entry(&self, weight: u16) -> String {
        let (name, ip, port) = (self.name, self.address.ip(), self.address.port());
        format!("{{ name = \"{name}\", address = \"{ip}\", port = {port}, weight = {weight} }}")
    }

    fn serve(&mut self, listener: TcpListener) {
        let (name, shared) = (self.name, self.shared.clone());
        self.running = Some(thread::spawn(move || {
            for connection in listener.incoming() {
                if shared.stops.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                shared.n_accepted.fetch_add(1, Ordering::SeqCst);
                let copy = connection.try_clone().expect("descriptor");
                shared.open.lock().expect("connections").push(copy);
                thread::spawn(move || answer(name, &connection));
            }
        }));
    }
}

impl Drop for Realserver {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Answers requests without bodies until the client has no more.
fn answer(name: &str, connection: &TcpStream) {
    let mut lines = BufReader::new(connection).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        if lines.by_ref().find(|line| line.is_empty()).is_none() {
            break;
        }
        let target = request.rsplit_once(' ').map_or("", |(method_and_target, _)| method_and_target);
        let body = format!("{name} {target}\n");
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mut connection = connection;
        if connection.write_all(response.as_bytes()).is_err() {
            break;
        }
    }
    // The copy that is kept for `kill` must not keep the connection open.
    let _ = connection.shutdown(Shutdown::Both);
}

/// The entries of a pool's `realservers`, with weights 4, 3, 2, ….
pub(super) fn entries(realservers: &[Realserver]) -> String {
    let entries: Vec<String> =
        (1..=4).rev().zip(realservers).map(|(weight, realserver)| realserver.entry(weight)).collect();
    entries.join(", ")
}

/// The names of the realservers at these addresses, one after the other.
pub(super) fn names_at(realservers: &[Realserver], addresses: &str) -> String {
    let name = |address: &str| {
        let realserver = realservers.iter().find(|realserver| realserver.address.ip().to_string() == address);
        realserver.map_or("?", |realserver| realserver.name)
    };
    addresses.lines().map(name).collect()
}

/// Whether `seen` is one round of a round robin, begun anywhere in it: turns go on when the members change.
pub(super) fn is_round(seen: &str, round: &str) -> bool {
    seen.len() == round.len() && round.repeat(2).contains(seen)
}
