//! DNS over UDP: a thread a socket, datagrams in batches, nothing allocated and nothing shared on the way.

use std::{
    io,
    net::UdpSocket,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    Counters,
    clock::time_since_1970,
    counters::{Slot, Tally},
    encode::Transport,
    exchange::{Circumstances, concerns},
    mmsg::{self, Batch},
    respond::{Step, respond},
    transfers::{self, Transfers},
};
use crate::{shutdown::Shutdown, snapshot::Snapshots};

/// Longest wait for a datagram before a worker looks whether it is to stop.
const WAIT: Duration = Duration::from_millis(100);
/// Pause after a read that failed, so that a broken socket does not eat a core.
const PAUSE: Duration = Duration::from_millis(10);

/// Starts a worker thread for each of `sockets`, which are bound; several to one address when they share it (SO_REUSEPORT). The threads
/// end soon after `shutdown.drain`.
///
/// # Errors
/// When a socket does not take an option or a thread cannot be started; threads started before end with `shutdown`.
pub fn serve_udp(
    sockets: Vec<UdpSocket>,
    snapshots: Arc<Snapshots>,
    counters: Arc<Counters>,
    shutdown: Shutdown,
) -> io::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::with_capacity(sockets.len());
    for (index, socket) in sockets.into_iter().enumerate() {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(WAIT))?;
        socket.set_write_timeout(Some(WAIT))?;
        mmsg::prepare(&socket)?;
        let (snapshots, counters, shutdown) = (snapshots.clone(), counters.clone(), shutdown.clone());
        let thread = thread::Builder::new().name(format!("dns-udp-{index}"));
        threads.push(
            thread.spawn(move || work(&socket, &snapshots, counters.udp(index), &counters.transfers, &shutdown))?,
        );
    }
    Ok(threads)
}

fn work(socket: &UdpSocket, snapshots: &Snapshots, counters: &Slot, transfers: &Transfers, shutdown: &Shutdown) {
    survive(counters, shutdown, || serve(socket, snapshots, counters, transfers, shutdown));
}

/// Serves until it is to stop. A bug that panics costs its batch and is counted; a worker never goes silent.
fn survive(counters: &Slot, shutdown: &Shutdown, mut serve: impl FnMut()) {
    while !shutdown.drain.is_cancelled() {
        if catch_unwind(AssertUnwindSafe(&mut serve)).is_err() {
            counters.panics.add(1);
        }
    }
}

fn serve(socket: &UdpSocket, snapshots: &Snapshots, counters: &Slot, transfers: &Transfers, shutdown: &Shutdown) {
    let mut batch = Batch::new();
    let mut random = fastrand::Rng::new();
    let tally = Tally::default();
    while !shutdown.drain.is_cancelled() {
        let n_received = match batch.receive(socket) {
            Ok(n_received) => n_received,
            // Nobody asked anything.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(_) => {
                counters.receive_errors.add(1);
                thread::sleep(PAUSE);
                continue;
            }
        };
        let snapshot = snapshots.load();
        let now = time_since_1970();
        for index in 0..n_received {
            let Some((wire, peer, out)) = batch.datagram(index) else { continue };
            let step = if concerns(wire) {
                let circumstances = Circumstances { peer, transport: Transport::Udp, random: random.u64(..), now };
                transfers::step(&snapshot, wire, circumstances, transfers, out)
            } else {
                respond(&snapshot, wire, peer, Transport::Udp, now, random.u64(..), out)
            };
            tally.count(&step);
            if let Step::Send { n_octets, .. } = step {
                batch.reply(index, n_octets);
            }
        }
        drop(snapshot);
        counters.take(&tally);
        counters.send_errors.add(batch.send(socket).n_failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_that_panics_goes_on_with_the_next_datagram_and_is_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let client = UdpSocket::bind("127.0.0.1:0").expect("bound");
        for each in [&socket, &client] {
            each.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        }
        let (counters, shutdown) = (Slot::default(), Shutdown::new());
        let serve = || {
            let mut buffer = [0; 10];
            let (n_octets, peer) = socket.recv_from(&mut buffer).expect("received");
            match &buffer[..n_octets] {
                b"a bug" => panic!("as it was asked to"),
                b"end" => shutdown.drain.cancel(),
                sound => drop(socket.send_to(sound, peer).expect("sent")),
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| survive(&counters, &shutdown, serve));
            for asked in [&b"one"[..], b"a bug", b"two", b"a bug", b"a bug", b"three"] {
                client.send_to(asked, socket.local_addr().expect("address")).expect("sent");
                if asked != b"a bug" {
                    let mut buffer = [0; 10];
                    let n_octets = client.recv(&mut buffer).expect("answered");
                    assert_eq!(&buffer[..n_octets], asked);
                }
            }
            client.send_to(b"end", socket.local_addr().expect("address")).expect("sent");
        });
        assert_eq!(counters.panics.get(), 3);
    }
}
