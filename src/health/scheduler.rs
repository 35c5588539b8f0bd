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
    time::{Instant, sleep, sleep_until},
};
use tracing::error;

use super::{
    Cause, Failure, Outcome, Target,
    probe::{Found, Shared, probe},
};
use crate::{
    observe::{Observed, Sample},
    shutdown::Shutdown,
};

/// Probes under way at once; what is due beyond that waits for one to end.
const PROBES_AT_ONCE: usize = 1024;

/// Targets that are named together get their first probes at once if they are no more than this.
const FIRST_PROBES_AT_ONCE: u32 = 256;
/// Those beyond that get them this far apart, but within the interval.
const FIRST_PROBES_APART: Duration = Duration::from_micros(100);

/// Pause before the scheduler goes on after it has panicked.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

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
    /// When the certificate ends that was shown, if one was.
    pub certificate: Option<Timestamp>,
    /// When the probe ended.
    pub at: Timestamp,
    /// How much later it started than it was due.
    pub late_by: Duration,
    /// How long it took.
    pub took: Duration,
}

/// Probes `targets` until `shutdown.drain`, or until nobody is there any more to name targets.
///
/// Every target is probed as soon as it is named, or within an interval if there are many, then once an interval. An update leaves the schedule of targets that stay as it is, and
/// drops those that went together with a probe under way. A target is never probed twice at once. While `results` is full, probes that have
/// ended wait there, and their targets with them; the timers go on. If it panics it starts anew, with the targets as they are then.
pub async fn run(targets: Targets, results: mpsc::Sender<Observation>, counters: Arc<Counters>, shutdown: Shutdown) {
    let shared = Arc::new(Shared::new());
    let probe = move |target: Target| {
        let shared = shared.clone();
        async move { probe(&target, &shared).await }
    };
    supervise(probe, targets, results, counters, shutdown).await;
}

/// [`run`] with any probe.
async fn supervise<P, F>(
    probe: P,
    targets: Targets,
    results: mpsc::Sender<Observation>,
    counters: Arc<Counters>,
    shutdown: Shutdown,
) where
    P: Fn(Target) -> F,
    F: Future<Output: Into<Found>> + Send + 'static,
{
    loop {
        let work = run_once(&probe, targets.clone(), results.clone(), counters.clone(), shutdown.clone());
        if catching(work).await.is_some() {
            return;
        }
        counters.restarts.fetch_add(1, Relaxed);
        error!("the scheduler of probes has panicked and starts anew");
        tokio::select! {
            () = shutdown.drain.cancelled() => return,
            () = sleep(RESTART_PAUSE) => {}
        }
    }
}

/// What `work` comes to; `None` if it panics.
async fn catching<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Some(done)),
        Err(_) => Poll::Ready(None),
    })
    .await
}

async fn run_once<P, F>(
    probe: P,
    mut targets: Targets,
    results: mpsc::Sender<Observation>,
    counters: Arc<Counters>,
    shutdown: Shutdown,
) where
    P: Fn(Target) -> F,
    F: Future<Output: Into<Found>> + Send + 'static,
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
            let work = observe(probe(due.target.clone()), due.target, due.late_by, results.clone(), counters.clone());
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
    probe: impl Future<Output: Into<Found>>,
    target: Target,
    late_by: Duration,
    results: mpsc::Sender<Observation>,
    counters: Arc<Counters>,
) {
    let in_flight = InFlight::new(&counters);
    let started = Instant::now();
    let ended: Option<Found> = catching(probe).await.map(Into::into);
    let took = started.elapsed();
    drop(in_flight);
    counters.count(ended.as_ref().map(|found| &found.outcome), took);
    let Found { outcome, certificate } = ended.unwrap_or_else(|| Err("probe panicked".into()).into());
    let observation = Observation { target, outcome, certificate, at: Timestamp::now(), late_by, took };
    // Fails only when nobody wants results any more.
    let _ = results.send(observation).await;
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
    /// Makes `wanted` what is probed: new ones soon, those that went not at all, the others as before.
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
        let new: Vec<&Target> = wanted.iter().filter(|target| !self.ids.contains_key(target)).collect();
        let n_new = u32::try_from(new.len()).unwrap_or(u32::MAX);
        for (place, target) in (0..).zip(new) {
            // Told of twice in one list, it is one all the same.
            if self.ids.contains_key(target) {
                continue;
            }
            let id = self.next_id;
            self.next_id += 1;
            let paced = FIRST_PROBES_APART * u32::saturating_sub(place, FIRST_PROBES_AT_ONCE);
            // The next round begins after nine tenths of the interval: until then this one should nearly be over.
            let first = now + paced.min(target.check.interval.mul_f64(0.95) / n_new * place);
            self.ids.insert(target.clone(), id);
            self.entries.insert(id, Entry { target: target.clone(), start: first, probe: None });
            self.due.push(Reverse((first, id)));
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
    unclear: AtomicU64,
    panics: AtomicU64,
    microseconds: AtomicU64,
    late_starts: AtomicU64,
    in_flight: AtomicU64,
    restarts: AtomicU64,
}

impl Counters {
    /// A probe that ended, or panicked.
    fn count(&self, ended: Option<&Outcome>, took: Duration) {
        let by_outcome = match ended {
            Some(Ok(())) => &self.successes,
            Some(Err(Failure { cause: Cause::Unclear, .. })) => &self.unclear,
            Some(Err(_)) => &self.failures,
            None => &self.panics,
        };
        by_outcome.fetch_add(1, Relaxed);
        self.microseconds.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Observed for Counters {
    fn observe(&self, samples: &mut Vec<Sample>) {
        let outcomes = [
            ("success", &self.successes),
            ("failure", &self.failures),
            ("unclear", &self.unclear),
            ("panic", &self.panics),
        ];
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
        samples.push(Sample::counter(
            "fingerpost_probe_scheduler_restarts_total",
            "Times that the scheduler of probes has panicked and started anew",
            Vec::new(),
            self.restarts.load(Relaxed),
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::task::JoinHandle;

    use super::*;
    use crate::config::{Check, CheckKind};

    fn target(number: u16, interval: Duration) -> Target {
        let check = Check { interval, timeout: interval / 2, ..Check::new("c", CheckKind::Icmp) };
        Target { check: Arc::new(check), address: ([192, 0, 2, 1], number).into(), realserver: None }
    }

    fn targets(numbers: impl IntoIterator<Item = u16>) -> Arc<Vec<Target>> {
        Arc::new(numbers.into_iter().map(|number| target(number, SECOND)).collect())
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Which target's probe started when, counted from the start of the test.
    type Starts = Arc<Mutex<Vec<(u16, Duration)>>>;

    struct Rig {
        targets: watch::Sender<Arc<Vec<Target>>>,
        results: mpsc::Receiver<Observation>,
        starts: Starts,
        counters: Arc<Counters>,
        shutdown: Shutdown,
        running: JoinHandle<()>,
    }

    impl Rig {
        /// A scheduler whose probes take `takes` and then do as `outcome` says.
        fn start(initial: Arc<Vec<Target>>, takes: Duration, outcome: fn(u16) -> Outcome, room: usize) -> Self {
            let (targets, receiver) = watch::channel(initial);
            let (sender, results) = mpsc::channel(room);
            let (counters, shutdown, starts) = (Arc::new(Counters::default()), Shutdown::new(), Starts::default());
            let (begin, log) = (Instant::now(), starts.clone());
            let probe = move |target: Target| {
                let port = target.address.port();
                log.lock().expect("lock").push((port, begin.elapsed()));
                async move {
                    sleep(takes).await;
                    outcome(port)
                }
            };
            let running = tokio::spawn(supervise(probe, receiver, sender, counters.clone(), shutdown.clone()));
            Self { targets, results, starts, counters, shutdown, running }
        }

        /// Lets time pass and takes what was found meanwhile.
        async fn pass(&mut self, time: Duration) -> Vec<Observation> {
            let end = Instant::now() + time;
            let mut found = Vec::new();
            while let Ok(Some(observation)) = tokio::time::timeout_at(end, self.results.recv()).await {
                found.push(observation);
            }
            found
        }

        fn starts_of(&self, number: u16) -> Vec<Duration> {
            self.starts.lock().expect("lock").iter().filter(|(port, _)| *port == number).map(|(_, at)| *at).collect()
        }

        fn count(&self, name: &str, label: &str) -> f64 {
            let mut samples = Vec::new();
            self.counters.observe(&mut samples);
            let matches = |sample: &&Sample| {
                sample.name == format!("fingerpost_{name}")
                    && (label.is_empty() || sample.labels.iter().any(|(_, value)| value == label))
            };
            samples.iter().filter(matches).map(|sample| sample.value).sum()
        }
    }

    const QUICK: Duration = Duration::from_millis(10);

    #[tokio::test(start_paused = true)]
    async fn first_round_is_at_once_and_the_next_ones_an_interval_apart() {
        let mut rig = Rig::start(targets(0..100), QUICK, |_| Ok(()), 1000);
        let first = rig.pass(QUICK * 2).await;
        assert_eq!(first.len(), 100);
        assert!(first.iter().all(|observation| observation.outcome.is_ok() && observation.took == QUICK));
        rig.pass(20 * SECOND).await;
        let mut phases = Vec::new();
        for number in 0..100 {
            let starts = rig.starts_of(number);
            assert_eq!(starts.first(), Some(&Duration::ZERO));
            for pair in starts.windows(2) {
                let period = pair[1] - pair[0];
                // The timer counts in whole milliseconds.
                assert!(SECOND * 9 / 10 <= period && period <= SECOND + Duration::from_millis(1), "{period:?}");
            }
            assert!(starts.len() >= 20, "{}", starts.len());
            phases.extend(starts.last().map(Duration::subsec_millis));
        }
        phases.sort_unstable();
        phases.dedup();
        assert!(phases.len() > 50, "targets drift apart: {phases:?}");
        assert_eq!(rig.count("probes_total", "failure"), 0.0);
        assert!(rig.count("probes_total", "success") >= 2000.0);
        assert_eq!(rig.count("probes_late_total", ""), 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_probes_than_allowed_run_at_once() {
        let mut rig = Rig::start(targets(0..4000), SECOND * 2, |_| Ok(()), 5000);
        rig.pass(SECOND).await;
        assert_eq!(rig.count("probes_in_flight", ""), 1024.0);
        assert_eq!(rig.starts.lock().expect("lock").len(), 1024);
        rig.pass(2 * SECOND).await;
        assert_eq!(rig.count("probes_in_flight", ""), 1024.0);
        assert_eq!(rig.starts.lock().expect("lock").len(), 2048);
        assert_eq!(rig.count("probes_late_total", ""), 1024.0);
    }

    #[tokio::test(start_paused = true)]
    async fn probe_never_overlaps_itself() {
        let mut rig = Rig::start(targets([1]), SECOND * 3, |_| Ok(()), 100);
        let found = rig.pass(SECOND * 10).await;
        assert_eq!(found.len(), 3);
        let starts = rig.starts_of(1);
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= SECOND * 3), "{starts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn update_starts_new_targets_stops_old_ones_and_disturbs_no_other() {
        let mut rig = Rig::start(targets([1, 2]), QUICK, |_| Ok(()), 100);
        rig.pass(SECOND / 2).await;
        // The same target again, in another allocation: still the same.
        rig.targets.send(targets([3, 1])).expect("running");
        rig.pass(QUICK).await;
        assert_eq!(rig.starts_of(1), [Duration::ZERO], "not started anew");
        assert_eq!(rig.starts_of(3), [SECOND / 2]);
        rig.pass(SECOND * 5).await;
        assert_eq!(rig.starts_of(2), [Duration::ZERO]);
        let (one, three) = (rig.starts_of(1), rig.starts_of(3));
        assert!(one.len() >= 6 && three.len() >= 5);
        assert!(SECOND * 9 / 10 <= one[1] && one[1] <= SECOND + Duration::from_millis(1), "{one:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn probe_of_a_removed_target_is_dropped_with_its_result() {
        let mut rig = Rig::start(targets([1, 2]), SECOND / 2, |_| Ok(()), 100);
        rig.pass(QUICK).await;
        assert_eq!(rig.count("probes_in_flight", ""), 2.0);
        rig.targets.send(targets([2])).expect("running");
        rig.pass(QUICK).await;
        assert_eq!(rig.count("probes_in_flight", ""), 1.0);
        let ports: Vec<u16> = rig.pass(SECOND).await.iter().map(|found| found.target.address.port()).collect();
        assert!(!ports.is_empty() && ports.iter().all(|port| *port == 2), "{ports:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn panicking_probe_is_a_failure_and_the_others_go_on() {
        let outcome = |port| match port {
            1 => panic!("as this test wants"),
            2 => Err("connection refused".into()),
            _ => Ok(()),
        };
        let mut rig = Rig::start(targets([1, 2, 3]), QUICK, outcome, 100);
        let found = rig.pass(SECOND * 3).await;
        let of = |port| found.iter().filter(move |found| found.target.address.port() == port);
        assert!(of(1).count() >= 3 && of(1).all(|found| found.outcome == Err("probe panicked".into())));
        assert!(of(2).count() >= 3 && of(2).all(|found| found.outcome == Err("connection refused".into())));
        assert!(of(3).count() >= 3 && of(3).all(|found| found.outcome.is_ok()));
        for label in ["panic", "failure", "success"] {
            assert!(rig.count("probes_total", label) >= 3.0, "{label}");
        }
        assert!(rig.count("probe_seconds_total", "") >= 0.09);
        // One may just have begun; none is left behind.
        rig.targets.send(targets([])).expect("running");
        rig.pass(QUICK).await;
        assert_eq!(rig.count("probes_in_flight", ""), 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn many_targets_are_spread_over_the_interval_from_the_first_round_on() {
        let mut rig = Rig::start(targets(0..20_000), QUICK, |_| Ok(()), 50_000);
        rig.pass(SECOND * 4).await;
        let mut per_tenth = [0u32; 40];
        for (_, at) in rig.starts.lock().expect("lock").iter().filter(|(_, at)| *at < SECOND * 4) {
            per_tenth[usize::try_from(at.as_millis() / 100).expect("small")] += 1;
        }
        // Two thousand each, and some more since periods are up to a tenth shorter.
        assert!(per_tenth.iter().all(|n| (1500..=2700).contains(n)), "{per_tenth:?}");
        assert_eq!(rig.count("probes_late_total", ""), 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn removed_target_is_never_probed_again() {
        let mut rig = Rig::start(targets([1, 2]), QUICK, |_| Ok(()), 100);
        rig.pass(SECOND * 3).await;
        let before = rig.starts_of(2).len();
        rig.targets.send(targets([1])).expect("running");
        rig.pass(SECOND * 10).await;
        assert_eq!(rig.starts_of(2).len(), before);
        assert!(rig.starts_of(1).len() > 12);
    }

    #[tokio::test(start_paused = true)]
    async fn scheduler_that_panics_starts_anew_and_is_counted() {
        let (targets, receiver) = watch::channel(targets([1, 2]));
        let (sender, mut results) = mpsc::channel(100);
        let (counters, shutdown) = (Arc::new(Counters::default()), Shutdown::new());
        let n_calls = AtomicU64::new(0);
        // The panic is not that of a probe but of the one who starts it.
        let probe = move |_: Target| {
            assert!(n_calls.fetch_add(1, Relaxed) != 3, "as this test wants");
            async { Outcome::Ok(()) }
        };
        let running = tokio::spawn(supervise(probe, receiver, sender, counters.clone(), shutdown.clone()));
        let end = Instant::now() + SECOND * 10;
        let mut n_found = 0;
        while let Ok(Some(_)) = tokio::time::timeout_at(end, results.recv()).await {
            n_found += 1;
        }
        assert!(n_found >= 15, "{n_found}");
        assert_eq!(counters.restarts.load(Relaxed), 1);
        drop(targets);
        running.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn full_results_hold_up_their_own_target_only_until_there_is_room() {
        let mut rig = Rig::start(targets([1, 2, 3]), QUICK, |_| Ok(()), 1);
        sleep(SECOND * 5).await;
        assert_eq!(rig.starts.lock().expect("lock").len(), 4, "one result in the channel lets one target go on");
        rig.targets.send(targets([1, 2, 3, 4])).expect("running");
        sleep(QUICK).await;
        assert_eq!(rig.starts_of(4).len(), 1, "the timers go on");
        let found = rig.pass(SECOND * 3).await;
        assert!(found.len() >= 12, "{}", found.len());
    }

    #[tokio::test(start_paused = true)]
    async fn scheduler_ends_with_drain_and_with_whoever_named_the_targets() {
        let rig = Rig::start(targets([1]), SECOND, |_| Ok(()), 1);
        sleep(QUICK).await;
        rig.shutdown.drain.cancel();
        rig.running.await.expect("no panic");
        assert_eq!(rig.counters.in_flight.load(Relaxed), 0);

        let rig = Rig::start(targets([1]), SECOND, |_| Ok(()), 1);
        drop(rig.targets);
        rig.running.await.expect("no panic");
    }

    #[test]
    fn updates_leave_no_more_timers_behind_than_targets_twice() {
        let mut schedule = Schedule::default();
        let now = Instant::now();
        for round in 0..100u16 {
            schedule.update(&targets(round * 10..round * 10 + 10), now);
            assert!(schedule.due.len() <= 20 && schedule.entries.len() == 10 && schedule.ids.len() == 10);
        }
    }
}
