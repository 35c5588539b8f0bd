//! Sends zones to those who may have them, and counts: the shell around [`outgoing`](super::outgoing) and [`exchange`](super::exchange).
//!
//! Everything has a limit: transfers at once, the wait for one's turn, the time that a peer may take for a message and for the whole zone.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{Notify, Semaphore},
    time::timeout,
};
use tracing::{info, warn};

use super::{
    clock::time_since_1970,
    counters::{Counter, Slot},
    exchange::{Circumstances, Exchange, exchange},
    notify::NotifyOutcome,
    outgoing::Outgoing,
    query::DropReason,
    respond::Step,
    tsig::TsigError,
};
use crate::{
    name::Name,
    observe::{Observed, Sample},
    snapshot::Snapshot,
};

/// Transfers at once; each holds a snapshot and a message.
const TRANSFERS_MAX: usize = 16;
/// Longest wait for one's turn; then the connection is closed, and the secondary will come again.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for a peer to take one message.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time for a whole zone.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What is counted about transfers and signatures, and who may begin one.
#[derive(Debug)]
pub(super) struct Transfers {
    permits: Semaphore,
    done: Counter,
    failed: Counter,
    current: Counter,
    octets: Counter,
    messages: Counter,
    tsig_errors: [Counter; TsigError::ALL.len()],
    notifies: [Counter; NotifyOutcome::ALL.len()],
    notified: Counter,
    refreshes: [Counter; RefreshOutcome::ALL.len()],
    /// Who looks after a secondary zone, by its name; never held across a wait.
    followers: Mutex<HashMap<Name, Arc<Notify>>>,
}

/// What came of asking the primaries of a secondary zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// They have nothing newer.
    Current,
    /// A newer zone is in service now.
    Transferred,
    /// None of them was of use.
    Failed,
}

impl RefreshOutcome {
    /// All of them.
    const ALL: [RefreshOutcome; 3] = [Self::Current, Self::Transferred, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Transferred => "transferred",
            Self::Failed => "failed",
        }
    }
}

impl Default for Transfers {
    fn default() -> Self {
        Self {
            permits: Semaphore::new(TRANSFERS_MAX),
            done: Counter::default(),
            failed: Counter::default(),
            current: Counter::default(),
            octets: Counter::default(),
            messages: Counter::default(),
            tsig_errors: Default::default(),
            notifies: Default::default(),
            notified: Counter::default(),
            refreshes: Default::default(),
            followers: Mutex::default(),
        }
    }
}

impl Transfers {
    /// Counts what was wrong with a signature.
    pub(super) fn count_tsig_error(&self, error: TsigError) {
        if let Some((counter, _)) = self.tsig_errors.iter().zip(TsigError::ALL).find(|(_, each)| *each == error) {
            counter.add(1);
        }
    }
}

impl Transfers {
    /// Who is woken when a primary says that zone `apex` has changed.
    pub(super) fn follow(&self, apex: &Name) -> Arc<Notify> {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.entry(apex.clone()).or_default().clone()
    }

    /// Nobody looks after `apex` any more.
    pub(super) fn forget(&self, apex: &Name) {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).remove(apex);
    }

    fn wake(&self, notified: Option<&Name>) {
        let Some(apex) = notified else { return };
        self.notified.add(1);
        if let Some(follower) = self.followers.lock().unwrap_or_else(PoisonError::into_inner).get(apex) {
            follower.notify_one();
        }
    }

    /// Counts what came of asking a primary.
    pub(super) fn count_refresh(&self, outcome: RefreshOutcome) {
        if let Some((counter, _)) = self.refreshes.iter().zip(RefreshOutcome::ALL).find(|(_, each)| *each == outcome) {
            counter.add(1);
        }
    }

    /// Counts what came of a NOTIFY.
    pub(super) fn count_notify(&self, outcome: NotifyOutcome) {
        if let Some((counter, _)) = self.notifies.iter().zip(NotifyOutcome::ALL).find(|(_, each)| *each == outcome) {
            counter.add(1);
        }
    }
}

impl Observed for Transfers {
    fn observe(&self, samples: &mut Vec<Sample>) {
        let outcomes = [("done", &self.done), ("current", &self.current), ("failed", &self.failed)];
        for (outcome, counter) in outcomes {
            let labels = vec![("outcome", outcome.to_owned())];
            let help = "Zones asked for by AXFR or IXFR: sent, not newer than the client's, or not sent to the end";
            samples.push(Sample::counter("fingerpost_dns_transfers_total", help, labels, counter.get()));
        }
        let mut counter = |name, help, counter: &Counter| {
            samples.push(Sample::counter(name, help, Vec::new(), counter.get()));
        };
        counter("fingerpost_dns_transfer_messages_total", "Messages of zone transfers", &self.messages);
        counter("fingerpost_dns_transfer_octets_total", "Octets of zone transfers", &self.octets);
        for (outcome, counter) in NotifyOutcome::ALL.into_iter().zip(&self.notifies) {
            let labels = vec![("outcome", outcome.as_str().to_owned())];
            let help = "Secondaries told that a zone has changed";
            samples.push(Sample::counter("fingerpost_dns_notifies_total", help, labels, counter.get()));
        }
        let help = "NOTIFY messages of primaries that were heeded";
        samples.push(Sample::counter("fingerpost_dns_notified_total", help, Vec::new(), self.notified.get()));
        for (outcome, counter) in RefreshOutcome::ALL.into_iter().zip(&self.refreshes) {
            let labels = vec![("outcome", outcome.as_str().to_owned())];
            let help = "Looks at the primaries of secondary zones";
            samples.push(Sample::counter("fingerpost_dns_refreshes_total", help, labels, counter.get()));
        }
        for (error, counter) in TsigError::ALL.into_iter().zip(&self.tsig_errors) {
            let labels = vec![("error", error.as_str().to_owned())];
            let help = "Messages refused for their signature";
            samples.push(Sample::counter("fingerpost_dns_tsig_errors_total", help, labels, counter.get()));
        }
    }
}

/// Answers one message that [`concerns`](super::exchange::concerns) this, over UDP, into `out`.
pub(super) fn step(
    snapshot: &Arc<Snapshot>,
    wire: &[u8],
    circumstances: Circumstances,
    transfers: &Transfers,
    out: &mut [u8],
) -> Step {
    match exchange(snapshot, wire, circumstances) {
        Exchange::Reply { message, outcome, tsig_error, notified } => {
            transfers.wake(notified.as_ref());
            if let Some(error) = tsig_error {
                transfers.count_tsig_error(error);
            }
            let Some(room) = out.get_mut(..message.len()) else { return Step::Drop(DropReason::NoRoom) };
            room.copy_from_slice(&message);
            Step::Send { n_octets: message.len(), outcome }
        }
        Exchange::Drop(reason) => Step::Drop(reason),
        // Nothing is transferred over UDP.
        Exchange::Transfer(_) => Step::Drop(DropReason::NoRoom),
    }
}

/// How a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// With the next query.
    Next,
    /// Not at all.
    Close,
    /// Not at all: the peer was too slow.
    Timeout,
}

/// Answers one message that [`concerns`](super::exchange::concerns) this, over a stream.
pub(super) async fn converse(
    snapshot: Arc<Snapshot>,
    wire: &[u8],
    circumstances: Circumstances,
    (transfers, counters): (&Transfers, &Slot),
    writer: &mut (impl AsyncWrite + Unpin),
) -> After {
    let peer = circumstances.peer;
    match exchange(&snapshot, wire, circumstances) {
        Exchange::Drop(reason) => {
            counters.count(&Step::Drop(reason));
            After::Close
        }
        Exchange::Reply { message, outcome, tsig_error, notified } => {
            transfers.wake(notified.as_ref());
            counters.count(&Step::Send { n_octets: message.len(), outcome });
            if let Some(error) = tsig_error {
                transfers.count_tsig_error(error);
                warn!(%peer, %error, "signature refused");
            }
            match timeout(MESSAGE_TIMEOUT, write(writer, &message)).await {
                Ok(Ok(())) => After::Next,
                Ok(Err(_)) => After::Close,
                Err(_) => After::Timeout,
            }
        }
        Exchange::Transfer(outgoing) => {
            drop(snapshot);
            let Ok(permit) = timeout(TURN_TIMEOUT, transfers.permits.acquire()).await else {
                transfers.failed.add(1);
                warn!(%peer, zone = %outgoing.served().zone.apex(), "zone not sent: too many transfers at once");
                return After::Timeout;
            };
            let after = timeout(TRANSFER_TIMEOUT, send(*outgoing, peer, transfers, writer)).await;
            drop(permit);
            after.unwrap_or_else(|_| {
                transfers.failed.add(1);
                warn!(%peer, "zone not sent to the end: it takes too long");
                After::Timeout
            })
        }
    }
}

/// Sends a whole zone.
async fn send(
    mut outgoing: Outgoing,
    peer: SocketAddr,
    transfers: &Transfers,
    writer: &mut (impl AsyncWrite + Unpin),
) -> After {
    let zone = outgoing.served().zone.clone();
    let key = outgoing.key_name().map(ToString::to_string);
    let (mut n_messages, mut n_octets) = (0u64, 0u64);
    let fail = |problem: &str, after| {
        transfers.failed.add(1);
        warn!(zone = %zone.apex(), %peer, problem, "zone not sent to the end");
        after
    };
    while let Some(message) = outgoing.next_message(time_since_1970().as_secs()) {
        let message = match message {
            Ok(message) => message,
            Err(problem) => return fail(&problem.to_string(), After::Close),
        };
        match timeout(MESSAGE_TIMEOUT, write(writer, &message)).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => return fail(&problem.to_string(), After::Close),
            Err(_) => return fail("the peer is too slow", After::Timeout),
        }
        n_messages += 1;
        n_octets += message.len() as u64;
        transfers.messages.add(1);
        transfers.octets.add(message.len() as u64);
    }
    if outgoing.is_soa_alone() {
        transfers.current.add(1);
    } else {
        transfers.done.add(1);
        let serial = zone.serial();
        info!(zone = %zone.apex(), serial, %peer, key, n_messages, n_octets, "zone sent");
    }
    After::Next
}

/// Writes a message with its length before it.
async fn write(writer: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(2 + message.len());
    framed.extend(length.to_be_bytes());
    framed.extend(message);
    writer.write_all(&framed).await?;
    writer.flush().await
}
