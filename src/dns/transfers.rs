//! Sends zones to those who may have them, and counts: the shell around [`outgoing`](super::outgoing) and [`exchange`](super::exchange).
//!
//! Everything has a limit: transfers at once, the wait for one's turn, the time that a peer may take for a message and for the whole zone.

use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::{
    Counters,
    counters::{Counter, Slot},
    exchange::{Circumstances, Exchange, exchange},
    notify::NotifyOutcome,
    outgoing::{Outgoing, TooLarge},
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
pub(super) const MESSAGE_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time for a whole zone.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What is counted about transfers and signatures, and who may begin one.
#[derive(Debug)]
pub(super) struct Transfers {
    permits: Arc<Semaphore>,
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
    /// A newer zone is in service now; all of it was sent.
    Transferred,
    /// A newer zone is in service now; what has changed was sent.
    Updated,
    /// None of them was of use.
    Failed,
}

impl RefreshOutcome {
    /// All of them.
    const ALL: [RefreshOutcome; 4] = [Self::Current, Self::Transferred, Self::Updated, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Transferred => "transferred",
            Self::Updated => "updated",
            Self::Failed => "failed",
        }
    }
}

impl Default for Transfers {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(TRANSFERS_MAX)),
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

/// What a connection does about one message that [`concerns`](super::exchange::concerns) this.
pub(super) enum Reply {
    /// Sends this.
    Message(Vec<u8>),
    /// Sends a zone, message by message.
    Zone(Box<Sending>),
    /// Closes.
    Nothing,
}

/// Answers one message that [`concerns`](super::exchange::concerns) this, over a stream.
pub(super) fn answer(
    snapshot: &Arc<Snapshot>,
    wire: &[u8],
    circumstances: Circumstances,
    counters: &Arc<Counters>,
    messages: &Slot,
) -> Reply {
    let (peer, transfers) = (circumstances.peer, &counters.transfers);
    match exchange(snapshot, wire, circumstances) {
        Exchange::Drop(reason) => {
            messages.count(&Step::Drop(reason));
            Reply::Nothing
        }
        Exchange::Reply { message, outcome, tsig_error, notified } => {
            transfers.wake(notified.as_ref());
            messages.count(&Step::Send { n_octets: message.len(), outcome });
            if let Some(error) = tsig_error {
                transfers.count_tsig_error(error);
                warn!(%peer, %error, "signature refused");
            }
            Reply::Message(message)
        }
        Exchange::Transfer(outgoing) => Reply::Zone(Box::new(Sending::new(outgoing, peer, counters.clone()))),
    }
}

/// A zone on its way to a peer, or waiting for its turn. Dropped before its end it counts as failed.
pub(super) struct Sending {
    outgoing: Box<Outgoing>,
    peer: SocketAddr,
    counters: Arc<Counters>,
    turn: Turn,
    due: Instant,
    n_messages: u64,
    n_octets: u64,
    is_over: bool,
}

/// The place of a transfer among those that may be under way at once.
enum Turn {
    /// In the queue, which is left only with a place or too late.
    Waiting(Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>),
    /// Given back when the transfer ends.
    Taken { _permit: OwnedSemaphorePermit },
}

impl Sending {
    fn new(outgoing: Box<Outgoing>, peer: SocketAddr, counters: Arc<Counters>) -> Self {
        let permit = timeout(TURN_TIMEOUT, counters.transfers.permits.clone().acquire_owned());
        let turn = Turn::Waiting(Box::pin(async { permit.await.ok()?.ok() }));
        let (due, is_over) = (Instant::now() + TRANSFER_TIMEOUT, false);
        Self { outgoing, peer, counters, turn, due, n_messages: 0, n_octets: 0, is_over }
    }

    /// Whether its turn has come; `false` when it has waited for too long.
    pub(super) fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let Turn::Waiting(waiting) = &mut self.turn else { return Poll::Ready(true) };
        let Poll::Ready(permit) = waiting.as_mut().poll(context) else { return Poll::Pending };
        let Some(permit) = permit else { return Poll::Ready(false) };
        self.turn = Turn::Taken { _permit: permit };
        Poll::Ready(true)
    }

    /// The next message, at `now` in seconds since 1970; `None` after the last.
    pub(super) fn next_message(&mut self, now: u64) -> Option<Result<Vec<u8>, TooLarge>> {
        self.outgoing.next_message(now)
    }

    /// Whether all of it has taken too long.
    pub(super) fn is_overdue(&self) -> bool {
        Instant::now() >= self.due
    }

    /// A message of so many octets has been sent.
    pub(super) fn count(&mut self, n_octets: usize) {
        self.n_messages += 1;
        self.n_octets += n_octets as u64;
        self.counters.transfers.messages.add(1);
        self.counters.transfers.octets.add(n_octets as u64);
    }

    /// All of it has been sent.
    pub(super) fn finish(mut self) {
        self.is_over = true;
        if self.outgoing.is_soa_alone() {
            self.counters.transfers.current.add(1);
            return;
        }
        self.counters.transfers.done.add(1);
        let Self { outgoing, peer, n_messages, n_octets, .. } = &self;
        let (zone, key) = (&outgoing.served().zone, outgoing.key_name().map(ToString::to_string));
        info!(zone = %zone.apex(), serial = zone.serial(), %peer, key, n_messages, n_octets, "zone sent");
    }

    /// It ends here.
    pub(super) fn fail(mut self, problem: &str) {
        self.note_failure(problem);
    }

    fn note_failure(&mut self, problem: &str) {
        self.is_over = true;
        self.counters.transfers.failed.add(1);
        warn!(zone = %self.outgoing.served().zone.apex(), peer = %self.peer, problem, "zone not sent to the end");
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.is_over {
            self.note_failure("the connection has ended");
        }
    }
}
