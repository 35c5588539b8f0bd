//! When what is probed: one task for all timers, and one for each probe that is under way.
//!
//! Knows neither pools nor the rise/fall machine: targets come in through a watch, what was found goes out through a channel.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

use super::{Clients, Outcome, Target, probe};
use crate::{
    observe::{Observed, Sample},
    shutdown::Shutdown,
};

/// Probes under way at once; what is due beyond that waits for one to end.
const PROBES_AT_ONCE: usize = 256;

/// A probe that starts later than this after it was due counts as late: more is due than this machine or its network can do.
const LATE_AFTER: Duration = Duration::from_millis(500);

/// Where the scheduler is told what is to be probed. Targets that are equal are probed once.
pub type Targets = watch::Receiver<Arc<Vec<Target>>>;

/// What one probe found.
#[derive(Clone, Debug)]
pub struct Observation {
    /// What was probed.
    pub target: Target,
    /// Success, or why not.
    pub outcome: Outcome,
    /// When the probe ended.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
}

/// Probes `targets` until `shutdown.drain`, or until nobody is there any more to name targets.
///
/// Every target is probed as soon as it is named, then once an interval. An update leaves the schedule of targets that stay as it is, and
/// drops those that went together with a probe under way. A target is never probed twice at once. While `results` is full, probes that have
/// ended wait there, and their targets with them; the timers go on.
pub async fn run(targets: Targets, results: mpsc::Sender<Observation>, counters: Arc<Counters>, shutdown: Shutdown) {
    let clients = Arc::new(Clients::new());
    let probe = move |target: Target| {
        let clients = clients.clone();
        async move { probe(&target, &clients).await }
    };
    run_with(probe, targets, results, counters, shutdown).await;
}

/// [`run`] with any probe.
pub(super) async fn run_with<P, F>(
    probe: P,
    mut targets: Targets,
    results: mpsc::Sender<Observation>,
    counters: Arc<Counters>,
    shutdown: Shutdown,
) where
    P: Fn(Target) -> F,
    F: Future<Output = Outcome> + Send + 'static,
{
    let mut schedule = Schedule::default();
    let mut under_way = JoinSet::new();
    let wanted = targets.borrow_and_update().clone();
    schedule.update(&wanted, Instant::now());
    loop {
        while under_way.len() < PROBES_AT_ONCE
            && let Some(due) = schedule.take_due(Instant::now())
        {
            counters.late_starts.fetch_add(u64::from(due.late_by > LATE_AFTER), Relaxed);
            let work = observe(probe(due.target.clone()), due.target, results.clone(), counters.clone());
            let handle = under_way.spawn(async move {
                work.await;
                due.id
            });
            schedule.started(due.id, handle);
        }
        let next = schedule.next_due().filter(|_| under_way.len() < PROBES_AT_ONCE);
        tokio::select! {
            () = shutdown.drain.cancelled() => break,
            changed = targets.changed() => match changed {
                Ok(()) => {
                    let wanted = targets.borrow_and_update().clone();
                    schedule.update(&wanted, Instant::now());
                }
                Err(_) => break,
            },
            // A probe that was aborted belongs to a target that is gone.
            Some(ended) = under_way.join_next() => if let Ok(id) = ended {
                schedule.ended(id, fastrand::f64());
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
    under_way.shutdown().await;
}

/// Makes one probe and hands on what it found. A probe that panics has failed, and takes nobody with it.
async fn observe(
    probe: impl Future<Output = Outcome>,
    target: Target,
    results: mpsc::Sender<Observation>,
    counters: Arc<Counters>,
) {
    let in_flight = InFlight::new(&counters);
    let started = Instant::now();
    let mut probe = pin!(probe);
    let ended = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| probe.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(outcome)) => Poll::Ready(Some(outcome)),
        Err(_) => Poll::Ready(None),
    })
    .await;
    let took = started.elapsed();
    drop(in_flight);
    counters.count(ended.as_ref(), took);
    let outcome = ended.unwrap_or_else(|| Err("probe panicked".into()));
    // Fails only when nobody wants results any more.
    let _ = results.send(Observation { target, outcome, at: Timestamp::now(), took }).await;
}

/// Number of a target on the schedule, never used again.
type Id = u64;

/// Which target is due when. Knows the clock only as an argument.
#[derive(Default)]
struct Schedule {
    ids: HashMap<Target, Id>,
    entries: HashMap<Id, Entry>,
    /// Soonest first. Ids that are gone are passed over when their time comes, or thrown out when there are too many of them.
    due: BinaryHeap<Reverse<(Instant, Id)>>,
    next_id: Id,
}

struct Entry {
    target: Target,
    /// When its last probe started, or its first one is due.
    start: Instant,
    /// The probe under way.
    probe: Option<AbortHandle>,
}

/// A target whose time has come.
struct Due {
    id: Id,
    target: Target,
    late_by: Duration,
}

impl Schedule {
    /// Makes `wanted` what is probed: new ones at once, those that went not at all, the others as before.
    fn update(&mut self, wanted: &[Target], now: Instant) {
        let kept: HashSet<&Target> = wanted.iter().collect();
        let entries = &mut self.entries;
        self.ids.retain(|target, id| {
            if kept.contains(target) {
                return true;
            }
            if let Some(Entry { probe: Some(probe), .. }) = entries.remove(id) {
                probe.abort();
            }
            false
        });
        for target in wanted {
            if self.ids.contains_key(target) {
                continue;
            }
            let id = self.next_id;
            self.next_id += 1;
            self.ids.insert(target.clone(), id);
            self.entries.insert(id, Entry { target: target.clone(), start: now, probe: None });
            self.due.push(Reverse((now, id)));
        }
        if self.due.len() > 2 * self.entries.len() {
            let entries = &self.entries;
            self.due.retain(|Reverse((_, id))| entries.contains_key(id));
        }
    }

    /// The next target that is due at `now`, which is no longer due then.
    fn take_due(&mut self, now: Instant) -> Option<Due> {
        while let Some(Reverse((at, id))) = self.due.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.due.pop();
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.start = now;
            return Some(Due { id, target: entry.target.clone(), late_by: now - at });
        }
        None
    }

    /// When the next target is due; sooner if that one is gone.
    fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// The probe of a target that was due has started.
    fn started(&mut self, id: Id, probe: AbortHandle) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.probe = Some(probe);
        }
    }

    /// A probe has ended; `random` (0 to 1) says where within the jitter the next one starts.
    ///
    /// The time from start to start is up to a tenth shorter than the interval, never longer: `fall` failures then take no more than `fall`
    /// intervals, and targets that were named together drift apart all the same.
    fn ended(&mut self, id: Id, random: f64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.probe = None;
        let period = entry.target.check.interval.mul_f64(1.0 - 0.1 * random.clamp(0.0, 1.0));
        self.due.push(Reverse((entry.start + period, id)));
    }
}

/// What the scheduler counts.
#[derive(Debug, Default)]
pub struct Counters {
    successes: AtomicU64,
    failures: AtomicU64,
    panics: AtomicU64,
    microseconds: AtomicU64,
    late_starts: AtomicU64,
    in_flight: AtomicU64,
}

impl Counters {
    /// A probe that ended, or panicked.
    fn count(&self, ended: Option<&Outcome>, took: Duration) {
        let by_outcome = match ended {
            Some(Ok(())) => &self.successes,
            Some(Err(_)) => &self.failures,
            None => &self.panics,
        };
        by_outcome.fetch_add(1, Relaxed);
        self.microseconds.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Observed for Counters {
    fn observe(&self, samples: &mut Vec<Sample>) {
        let outcomes = [("success", &self.successes), ("failure", &self.failures), ("panic", &self.panics)];
        for (outcome, count) in outcomes {
            let labels = vec![("outcome", outcome.to_owned())];
            samples.push(Sample::counter("fingerpost_probes_total", "Probes that ended", labels, count.load(Relaxed)));
        }
        #[expect(clippy::cast_precision_loss, reason = "exact for 285 years of probing")]
        let seconds = self.microseconds.load(Relaxed) as f64 / 1e6;
        samples.push(Sample {
            name: "fingerpost_probe_seconds_total",
            help: "Time that probes took, all together",
            kind: crate::observe::Kind::Counter,
            labels: Vec::new(),
            value: seconds,
        });
        let late = self.late_starts.load(Relaxed);
        samples.push(Sample::counter(
            "fingerpost_probes_late_total",
            "Probes that started half a second or more after they were due",
            Vec::new(),
            late,
        ));
        #[expect(clippy::cast_precision_loss, reason = "at most some hundreds")]
        let in_flight = self.in_flight.load(Relaxed) as f64;
        samples.push(Sample::gauge("fingerpost_probes_in_flight", "Probes under way", Vec::new(), in_flight));
    }
}

/// One probe under way, for the gauge; aborted ones are not forgotten.
struct InFlight<'c>(&'c Counters);

impl<'c> InFlight<'c> {
    fn new(counters: &'c Counters) -> Self {
        counters.in_flight.fetch_add(1, Relaxed);
        Self(counters)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
