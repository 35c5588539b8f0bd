//! Failures that others notice: a connection that a listener could not make says as much about a realserver as a probe would.
//!
//! Telling costs the teller nothing but an allocation and never waits. What comes too thick is dropped here; how much of the rest counts is
//! the state's to decide.

use std::{collections::HashSet, io, net::IpAddr, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    ConnectFailure,
    probe::{io_text, is_own},
};
use crate::types::RealserverName;

/// Failures that may wait; what comes while so many do is dropped, since they say enough.
const WAITING_MAX: usize = 1024;
/// Failures are handed on in batches that are this far apart, each realserver's address once in a batch.
const BATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Where failures are told.
#[derive(Clone, Debug)]
pub struct Passive(mpsc::Sender<ConnectFailure>);

/// The other end.
#[derive(Debug)]
pub struct Failures(mpsc::Receiver<ConnectFailure>);

/// Two ends that belong together.
pub fn channel() -> (Passive, Failures) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Passive(sender), Failures(receiver))
}

impl Passive {
    /// Tells that a realserver's address did not take a connection.
    pub fn connect_failed(&self, pool: &str, realserver: &str, address: IpAddr, error: &io::Error) {
        // What this machine lacks says nothing about a realserver.
        if is_own(error) {
            return;
        }
        // Full or gone, there is nothing that the teller could do about it.
        let Ok(place) = self.0.try_reserve() else { return };
        place.send(ConnectFailure {
            realserver: RealserverName { pool: pool.into(), realserver: realserver.into() },
            address,
            error: Arc::from(io_text(error)),
            is_refused: error.kind() == io::ErrorKind::ConnectionRefused,
        });
    }
}

impl Failures {
    /// The next batch, each realserver's address once; empty when nobody is there any more to tell.
    pub async fn next(&mut self) -> Vec<ConnectFailure> {
        let mut waiting = Vec::new();
        if self.0.recv_many(&mut waiting, WAITING_MAX).await == 0 {
            return waiting;
        }
        tokio::time::sleep(BATCH_INTERVAL).await;
        while waiting.len() < 2 * WAITING_MAX
            && let Ok(failure) = self.0.try_recv()
        {
            waiting.push(failure);
        }
        let mut seen = HashSet::new();
        waiting.retain(|failure| seen.insert((failure.realserver.clone(), failure.address)));
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn batches_have_each_address_once_and_what_is_too_much_is_dropped() {
        let (passive, mut failures) = channel();
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        for n in 0..3000u32 {
            let host = u8::try_from(n % 3).expect("small");
            passive.connect_failed("web", "a", [192, 0, 2, host].into(), &refused);
        }
        let mut batch = failures.next().await;
        batch.sort_by_key(|failure| failure.address);
        let shown: Vec<String> =
            batch.iter().map(|one| format!("{} {} {}", one.realserver, one.address, one.error)).collect();
        let expected = [0, 1, 2].map(|host| format!("web/a 192.0.2.{host} connection refused"));
        assert_eq!(shown, expected);
        assert!(batch.iter().all(|failure| failure.is_refused));
        passive.connect_failed("web", "a", [192, 0, 2, 1].into(), &io::Error::from_raw_os_error(nix::libc::EMFILE));
        drop(passive);
        assert_eq!(failures.next().await, []);
    }
}
