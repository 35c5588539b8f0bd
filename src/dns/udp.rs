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

/// Serves until it is to stop. A bug that panics costs its batch and is counted; a worker never goes silent.
fn work(socket: &UdpSocket, snapshots: &Snapshots, counters: &Slot, transfers: &Transfers, shutdown: &Shutdown) {
    while !shutdown.drain.is_cancelled() {
        let served = catch_unwind(AssertUnwindSafe(|| serve(socket, snapshots, counters, transfers, shutdown)));
        if served.is_err() {
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
