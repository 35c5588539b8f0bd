//! What the DNS transports count.
//!
//! Each UDP worker has counters of its own on cache lines of their own; they are summed when somebody asks.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use super::{
    answer::Kind,
    encode::Transport,
    encrypted::EncryptedCounters,
    guard::CookieStatus,
    header::Rcode,
    query::DropReason,
    respond::{Outcome, Step},
    transfers::{RefreshOutcome, Transfers},
};
use crate::{
    name::Name,
    observe::{Observed, Sample},
};

/// Everything that DNS counts.
#[derive(Debug)]
pub struct Counters {
    udp: Box<[Slot]>,
    tcp: Slot,
    /// What is counted about TCP connections.
    pub(super) connections: Connections,
    /// What is counted about transfers, and their limit.
    pub(super) transfers: Transfers,
    pub(super) encrypted: EncryptedCounters,
}

/// One number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

/// Something to count with.
trait Count {
    /// Counts up.
    fn add(&self, n: u64);
}

/// For all threads.
impl Count for Counter {
    fn add(&self, n: u64) {
        Counter::add(self, n);
    }
}

/// For one thread alone.
impl Count for Cell<u64> {
    fn add(&self, n: u64) {
        self.set(self.get() + n);
    }
}

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted of messages.
#[derive(Debug, Default)]
struct Messages<C> {
    queries: C,
    ecs: C,
    by_cookie: [C; CookieStatus::ALL.len()],
    truncated: C,
    degraded: C,
    by_rcode: [C; Rcode::ALL.len()],
    by_kind: [C; Kind::ALL.len()],
    by_drop: [C; DropReason::ALL.len()],
}

/// What a worker has counted since it last told its [`Slot`]: a step that other threads can see costs as much as a tenth of an answer.
#[derive(Debug, Default)]
pub(super) struct Tally(Messages<Cell<u64>>);

/// The counters of one worker. Neighbouring lines are fetched in pairs, hence 128.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Slot {
    messages: Messages<Counter>,
    /// Responses that the system did not take.
    pub(super) send_errors: Counter,
    /// Reads that failed, timeouts left out.
    pub(super) receive_errors: Counter,
    /// Workers that panicked and were started again.
    pub(super) panics: Counter,
}

impl Tally {
    /// Counts one message and what came of it.
    pub(super) fn count(&self, step: &Step) {
        self.0.count(step);
    }
}

impl Slot {
    /// Counts one message and what came of it.
    pub(super) fn count(&self, step: &Step) {
        self.messages.count(step);
    }

    /// Counts everything in `tally`, which is empty afterwards.
    pub(super) fn take(&self, tally: &Tally) {
        for (counter, counted) in self.messages.all().zip(tally.0.all()) {
            match counted.take() {
                0 => {}
                n => counter.add(n),
            }
        }
    }
}

impl<C: Count> Messages<C> {
    fn count(&self, step: &Step) {
        self.queries.add(1);
        match *step {
            Step::Send { outcome, .. } => self.count_outcome(outcome),
            Step::Drop(reason) => count_in(&self.by_drop, &DropReason::ALL, reason),
        }
    }

    fn count_outcome(&self, outcome: Outcome) {
        count_in(&self.by_rcode, &Rcode::ALL, outcome.rcode);
        count_in(&self.by_kind, &Kind::ALL, outcome.kind);
        if outcome.cookie != CookieStatus::None {
            count_in(&self.by_cookie, &CookieStatus::ALL, outcome.cookie);
        }
        for (counter, happened) in [
            (&self.truncated, outcome.is_truncated),
            (&self.degraded, outcome.is_degraded),
            (&self.ecs, outcome.has_ecs),
        ] {
            if happened {
                counter.add(1);
            }
        }
    }

    /// Every counter, always in the same order.
    fn all(&self) -> impl Iterator<Item = &C> {
        // All of them by name, so that a new one cannot be forgotten.
        let Self { queries, ecs, by_cookie, truncated, degraded, by_rcode, by_kind, by_drop } = self;
        let sets = by_cookie.iter().chain(by_rcode).chain(by_kind).chain(by_drop);
        [queries, ecs, truncated, degraded].into_iter().chain(sets)
    }
}

fn count_in<C: Count, T: PartialEq>(counters: &[C], all: &[T], one: T) {
    if let Some((counter, _)) = counters.iter().zip(all).find(|(_, each)| **each == one) {
        counter.add(1);
    }
}

/// What is counted about the connections of one transport.
#[derive(Debug, Default)]
pub(super) struct Connections {
    pub(super) accepted: Counter,
    pub(super) closed: Counter,
    pub(super) refused: Counter,
    pub(super) accept_errors: Counter,
    pub(super) timeouts: Counter,
}

impl Counters {
    /// Counters for so many UDP sockets; with fewer than there are, sockets share them.
    pub fn new(n_udp_sockets: usize) -> Self {
        let udp = (0..n_udp_sockets.max(1)).map(|_| Slot::default()).collect();
        Self {
            udp,
            tcp: Slot::default(),
            connections: Connections::default(),
            encrypted: EncryptedCounters::default(),
            transfers: Transfers::default(),
        }
    }

    /// Who is woken when a primary says by NOTIFY that the secondary zone `apex` has changed.
    pub fn wake_on_notify(&self, apex: &Name) -> Arc<Notify> {
        self.transfers.follow(apex)
    }

    /// Nobody is to be woken for `apex` any more.
    pub fn forget_notify(&self, apex: &Name) {
        self.transfers.forget(apex);
    }

    /// Counts what came of asking the primaries of a secondary zone.
    pub fn count_refresh(&self, outcome: RefreshOutcome) {
        self.transfers.count_refresh(outcome);
    }

    /// Where the worker of socket number `worker` counts.
    pub(super) fn udp(&self, worker: usize) -> &Slot {
        worker.checked_rem(self.udp.len()).and_then(|index| self.udp.get(index)).unwrap_or(&self.tcp)
    }

    /// Where all connections of `transport` count what they are asked.
    pub(super) fn stream(&self, transport: Transport) -> &Slot {
        self.encrypted.get(transport).map_or(&self.tcp, |counters| &counters.messages)
    }

    /// Where they count themselves.
    pub(super) fn connections(&self, transport: Transport) -> &Connections {
        self.encrypted.get(transport).map_or(&self.connections, |counters| &counters.connections)
    }

    /// All transports, by the name they have in labels.
    fn transports(&self) -> impl Iterator<Item = (&'static str, &[Slot])> {
        let encrypted =
            self.encrypted.iter().map(|(transport, counters)| (transport, std::slice::from_ref(&counters.messages)));
        [("udp", &*self.udp), ("tcp", std::slice::from_ref(&self.tcp))].into_iter().chain(encrypted)
    }

    /// One counter a transport.
    fn by_transport(
        &self,
        samples: &mut Vec<Sample>,
        name: &'static str,
        help: &'static str,
        read: impl Fn(&Slot) -> &Counter,
    ) {
        for (transport, slots) in self.transports() {
            let sum = slots.iter().map(|slot| read(slot).get()).sum();
            samples.push(Sample::counter(name, help, vec![("transport", transport.to_owned())], sum));
        }
    }

    /// One counter a transport and label.
    fn by_label<'l, T: Copy + 'l>(
        &self,
        samples: &mut Vec<Sample>,
        (name, help, label): (&'static str, &'static str, &'static str),
        all: &'l [T],
        show: impl Fn(T) -> &'static str,
        read: impl Fn(&Slot) -> &[Counter],
    ) {
        for (transport, slots) in self.transports() {
            for (index, &each) in all.iter().enumerate() {
                let sum = slots.iter().filter_map(|slot| read(slot).get(index)).map(Counter::get).sum();
                let labels = vec![("transport", transport.to_owned()), (label, show(each).to_owned())];
                samples.push(Sample::counter(name, help, labels, sum));
            }
        }
    }
}

impl Observed for Counters {
    fn observe(&self, samples: &mut Vec<Sample>) {
        let name = "fingerpost_dns_queries_total";
        self.by_transport(samples, name, "DNS messages received", |slot| &slot.messages.queries);
        let name = ("fingerpost_dns_responses_total", "DNS responses by response code", "rcode");
        self.by_label(samples, name, &Rcode::ALL, Rcode::as_str, |slot| &slot.messages.by_rcode);
        let name = ("fingerpost_dns_answers_total", "DNS responses by kind of answer", "kind");
        self.by_label(samples, name, &Kind::ALL, Kind::as_str, |slot| &slot.messages.by_kind);
        let name = ("fingerpost_dns_dropped_total", "DNS messages without a response, by reason", "reason");
        self.by_label(samples, name, &DropReason::ALL, DropReason::as_str, |slot| &slot.messages.by_drop);
        let name = "fingerpost_dns_truncated_total";
        self.by_transport(samples, name, "DNS responses with TC set", |slot| &slot.messages.truncated);
        let name = "fingerpost_dns_degraded_total";
        self.by_transport(samples, name, "DNS answers by fail-open: nobody was eligible", |slot| {
            &slot.messages.degraded
        });
        let name = "fingerpost_dns_ecs_total";
        self.by_transport(samples, name, "DNS queries with an ECS option that were answered", |slot| {
            &slot.messages.ecs
        });
        let name = ("fingerpost_dns_cookies_total", "DNS queries with a COOKIE option, by what it is worth", "cookie");
        self.by_label(samples, name, &CookieStatus::ALL, CookieStatus::as_str, |slot| &slot.messages.by_cookie);
        let name = "fingerpost_dns_receive_errors_total";
        self.by_transport(samples, name, "Reads from a DNS socket that failed", |slot| &slot.receive_errors);
        let name = "fingerpost_dns_send_errors_total";
        self.by_transport(samples, name, "DNS responses that could not be sent", |slot| &slot.send_errors);
        let name = "fingerpost_dns_panics_total";
        self.by_transport(samples, name, "Workers and connections that ended by a bug", |slot| &slot.panics);
        self.connections.observe(samples);
        self.transfers.observe(samples);
        self.encrypted.observe(samples);
    }
}

impl Connections {
    /// How many are open.
    pub(super) fn open(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "as many as there are descriptors")]
        let open = self.accepted.get().saturating_sub(self.closed.get()) as f64;
        open
    }
}

impl Observed for Connections {
    fn observe(&self, samples: &mut Vec<Sample>) {
        let (accepted, open) = (self.accepted.get(), self.open());
        let mut counter = |name, help, value| samples.push(Sample::counter(name, help, Vec::new(), value));
        counter("fingerpost_dns_tcp_accepted_total", "DNS connections accepted", accepted);
        let help = "DNS connections closed at once: too many from one client";
        counter("fingerpost_dns_tcp_refused_total", help, self.refused.get());
        counter("fingerpost_dns_tcp_accept_errors_total", "DNS connections not accepted", self.accept_errors.get());
        counter("fingerpost_dns_tcp_timeouts_total", "DNS connections closed by a timeout", self.timeouts.get());
        samples.push(Sample::gauge("fingerpost_dns_tcp_connections", "DNS connections open", Vec::new(), open));
    }
}
