//! What the redirector counts, and how many connections it has: shared by every socket that it serves.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
use hyper::StatusCode;
use tokio::sync::Notify;

use crate::{
    observe::{Observed, Sample},
    select::Ranked,
    snapshot::{Members, Snapshot},
    types::Generation,
};

/// Every status that the decision can have.
const STATUSES: [StatusCode; 5] = [
    StatusCode::FOUND,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::BAD_REQUEST,
    StatusCode::MISDIRECTED_REQUEST,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// What a connection has run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// `max_connections` are open: who comes next waits.
    Connections,
    /// No request within `idle_timeout`.
    Idle,
    /// A request's head is too large.
    Head,
    /// A request's head is not HTTP.
    Malformed,
}

const LIMITS: [(Limit, &str); 4] = [
    (Limit::Connections, "connections"),
    (Limit::Idle, "idle"),
    (Limit::Head, "head"),
    (Limit::Malformed, "malformed"),
];

/// Counters of all redirect sockets together, and the one count of open connections.
#[derive(Debug, Default)]
pub struct Counters {
    requests: [AtomicU64; STATUSES.len()],
    degraded: AtomicU64,
    sends: ArcSwapOption<Sends>,
    sends_rebuild: Mutex<()>,
    accepted: AtomicU64,
    accept_errors: AtomicU64,
    open: AtomicUsize,
    room: Notify,
    limits: [AtomicU64; LIMITS.len()],
}

/// One place for each realserver of a snapshot, by [`PoolId`](crate::types::PoolId) and [`RealserverId`](crate::types::RealserverId).
#[derive(Debug)]
struct Sends {
    generation: Generation,
    pools: Box<[PoolSends]>,
}

#[derive(Debug)]
struct PoolSends {
    pool: Box<str>,
    realservers: Box<[(Box<str>, Arc<AtomicU64>)]>,
}

impl Counters {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a request that was answered.
    pub(super) fn answered(&self, status: StatusCode) {
        if let Some(count) = STATUSES.iter().position(|&each| each == status).and_then(|index| self.requests.get(index))
        {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Counts a redirect to a realserver of `snapshot`.
    pub(super) fn sent(&self, snapshot: &Snapshot, chosen: &Ranked<'_>, is_degraded: bool) {
        if is_degraded {
            self.degraded.fetch_add(1, Relaxed);
        }
        let sends = self.sends.load();
        let current = sends.as_ref().filter(|sends| sends.generation >= snapshot.generation);
        match current {
            Some(sends) => sends.count(snapshot, chosen),
            None => self.renew_sends(snapshot).count(snapshot, chosen),
        }
    }

    /// Makes places for the realservers of `snapshot`, with the counts so far of those that are still there.
    fn renew_sends(&self, snapshot: &Snapshot) -> Arc<Sends> {
        let _one_at_a_time = self.sends_rebuild.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.sends.load_full();
        if let Some(sends) = before.as_ref().filter(|sends| sends.generation >= snapshot.generation) {
            return sends.clone();
        }
        let known: BTreeMap<(&str, &str), &Arc<AtomicU64>> = before.iter().flat_map(|sends| sends.each()).collect();
        let pools = snapshot.pools.iter().map(|pool| {
            let realservers = match &pool.members {
                Members::Realservers(realservers) => &*realservers.all,
                Members::Failover(_) | Members::Geo(_) | Members::Nearest(_) => &[],
            };
            let place = |name: &str| known.get(&(&*pool.name, name)).map(|&count| count.clone()).unwrap_or_default();
            PoolSends {
                pool: pool.name.clone(),
                realservers: realservers
                    .iter()
                    .map(|realserver| (realserver.name.clone(), place(&realserver.name)))
                    .collect(),
            }
        });
        let sends = Arc::new(Sends { generation: snapshot.generation, pools: pools.collect() });
        self.sends.store(Some(sends.clone()));
        sends
    }

    /// Takes one of `max` places for a connection; `None` if all are taken.
    pub(super) fn enter(self: &Arc<Self>, max: usize) -> Option<Permit> {
        self.open.fetch_update(Relaxed, Relaxed, |open| (open < max).then_some(open + 1)).ok()?;
        Some(Permit(self.clone()))
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Waits until a connection has ended, now or since somebody last waited.
    pub(super) async fn room(&self) {
        self.room.notified().await;
    }

    /// Counts a connection that was accepted.
    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    /// Counts a connection that could not be accepted.
    pub(super) fn accept_failed(&self) {
        self.accept_errors.fetch_add(1, Relaxed);
    }

    /// Counts a limit that was hit.
    pub(super) fn limited(&self, limit: Limit) {
        if let Some(count) = LIMITS.iter().position(|(each, _)| *each == limit).and_then(|index| self.limits.get(index))
        {
            count.fetch_add(1, Relaxed);
        }
    }
}

impl Sends {
    fn count(&self, snapshot: &Snapshot, chosen: &Ranked<'_>) {
        let Some(pool) = snapshot.pool(chosen.pool) else { return };
        let indexed = self.pools.get(chosen.pool.0 as usize).filter(|sends| sends.pool == pool.name);
        // A request that still had the snapshot before finds its realserver by name, or its count goes with it.
        let Some(sends) = indexed.or_else(|| self.pools.iter().find(|sends| sends.pool == pool.name)) else { return };
        let name = &chosen.realserver.name;
        let indexed = sends.realservers.get(usize::from(chosen.id.0)).filter(|(each, _)| each == name);
        if let Some((_, count)) = indexed.or_else(|| sends.realservers.iter().find(|(each, _)| each == name)) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn each(&self) -> impl Iterator<Item = ((&str, &str), &Arc<AtomicU64>)> {
        self.pools
            .iter()
            .flat_map(|sends| sends.realservers.iter().map(|(name, count)| ((&*sends.pool, &**name), count)))
    }
}

/// A connection's place among `max_connections`; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<Counters>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.room.notify_one();
    }
}

impl Observed for Counters {
    fn observe(&self, samples: &mut Vec<Sample>) {
        let counter = |name, help, labels, count: &AtomicU64| Sample::counter(name, help, labels, count.load(Relaxed));
        samples.extend(STATUSES.iter().zip(&self.requests).map(|(status, count)| {
            let labels = vec![("status", status.as_str().to_owned())];
            counter("fingerpost_redirect_requests_total", "HTTP requests answered, by status", labels, count)
        }));
        if let Some(sends) = &*self.sends.load() {
            // A pool that no name leads to would only be noise.
            let used = sends.each().filter(|(_, count)| count.load(Relaxed) > 0);
            samples.extend(used.map(|((pool, realserver), count)| {
                let labels = vec![("pool", pool.to_owned()), ("realserver", realserver.to_owned())];
                counter("fingerpost_redirect_sends_total", "HTTP requests sent to a realserver", labels, count)
            }));
        }
        samples.push(counter(
            "fingerpost_redirect_degraded_total",
            "HTTP requests sent to a realserver that was not eligible, because nobody was",
            vec![],
            &self.degraded,
        ));
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 connections")]
        let open = self.open.load(Relaxed) as f64;
        samples.push(Sample::gauge("fingerpost_redirect_connections_open", "HTTP connections open", vec![], open));
        samples.push(counter(
            "fingerpost_redirect_connections_accepted_total",
            "HTTP connections accepted",
            vec![],
            &self.accepted,
        ));
        samples.push(counter(
            "fingerpost_redirect_accept_errors_total",
            "HTTP connections that could not be accepted",
            vec![],
            &self.accept_errors,
        ));
        samples.extend(LIMITS.iter().zip(&self.limits).map(|((_, name), count)| {
            let labels = vec![("limit", (*name).to_owned())];
            counter(
                "fingerpost_redirect_limits_total",
                "Times that HTTP connections reached a limit, by limit",
                labels,
                count,
            )
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::snapshot, *};
    use crate::types::RealserverId;

    /// Counts a redirect to the first realserver of `pool`.
    fn send(counters: &Counters, snapshot: &Snapshot, pool: &str) {
        let (id, found) = snapshot.pool_named(pool).expect("pool");
        let Members::Realservers(realservers) = &found.members else { panic!("{pool} has realservers") };
        let chosen = Ranked { pool: id, id: RealserverId(0), realserver: &realservers.all[0], tier: 0 };
        counters.sent(snapshot, &chosen, false);
    }

    fn sends(counters: &Counters) -> Vec<String> {
        let mut samples = Vec::new();
        counters.observe(&mut samples);
        let sends = samples.iter().filter(|sample| sample.name == "fingerpost_redirect_sends_total");
        sends.map(|sample| format!("{} {}", sample.labels[0].1, sample.value)).collect()
    }

    #[test]
    fn sends_are_kept_by_name_over_snapshots_and_go_with_their_pool() {
        let counters = Counters::new();
        let before = snapshot();
        send(&counters, &before, "url");
        send(&counters, &before, "plain");
        let pools: Box<[_]> = before.pools.iter().skip(1).rev().cloned().collect();
        let after = Snapshot { generation: Generation(before.generation.0 + 1), pools, ..snapshot() };
        assert!(after.pool_named("url").is_none(), "`url` is gone, the rest has moved");
        send(&counters, &after, "plain");
        assert_eq!(sends(&counters), ["plain 2"]);
        // A request may still hold the snapshot before.
        send(&counters, &before, "plain");
        send(&counters, &before, "url");
        assert_eq!(sends(&counters), ["plain 3"]);
    }
}
