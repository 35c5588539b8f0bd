//! What the forwarder counts, by listener and by realserver.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use hashbrown::HashTable;

use crate::observe::{Observed, Sample};

/// Listeners, and realservers, counted apart over all reloads; further ones share one set of counters with empty labels.
const NAMES_MAX: usize = 65_536;

/// The counters of all listeners.
#[derive(Debug, Default)]
pub struct Counters {
    hasher: RandomState,
    named: Mutex<Named>,
}

#[derive(Debug, Default)]
struct Named {
    listeners: Vec<Arc<ListenerCounters>>,
    realservers: HashTable<Arc<RealserverCounters>>,
}

/// Counters of one listener.
#[derive(Debug, Default)]
pub(super) struct ListenerCounters {
    pub(super) name: Box<str>,
    pub(super) connections: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) bytes_to_realservers: AtomicU64,
    pub(super) bytes_to_clients: AtomicU64,
    pub(super) without_realserver: AtomicU64,
    pub(super) idle_closes: AtomicU64,
    pub(super) aborts: AtomicU64,
    pub(super) accept_errors: AtomicU64,
}

/// Counters of one realserver, as reached through one listener.
#[derive(Debug, Default)]
pub(super) struct RealserverCounters {
    listener: Box<str>,
    pool: Box<str>,
    realserver: Box<str>,
    pub(super) connections: AtomicU64,
    pub(super) connect_failures: AtomicU64,
}

impl RealserverCounters {
    fn names(&self) -> [&str; 3] {
        [&self.listener, &self.pool, &self.realserver]
    }
}

impl Counters {
    /// With everything at 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counters of the listener `name`, the same ones every time.
    pub(super) fn listener(&self, name: &str) -> Arc<ListenerCounters> {
        let listeners = &mut self.named.lock().unwrap_or_else(PoisonError::into_inner).listeners;
        let name = if listeners.len() < NAMES_MAX { name } else { "" };
        if let Some(found) = listeners.iter().find(|listener| *listener.name == *name) {
            return found.clone();
        }
        let new = Arc::new(ListenerCounters { name: name.into(), ..ListenerCounters::default() });
        listeners.push(new.clone());
        new
    }

    /// The counters of `realserver` in `pool`, as reached through `listener`; the same ones every time.
    pub(super) fn realserver(&self, listener: &str, pool: &str, realserver: &str) -> Arc<RealserverCounters> {
        let realservers = &mut self.named.lock().unwrap_or_else(PoisonError::into_inner).realservers;
        let find = |realservers: &HashTable<Arc<RealserverCounters>>, names: [&str; 3]| {
            realservers.find(self.hasher.hash_one(names), |counters| counters.names() == names).cloned()
        };
        let names = [listener, pool, realserver];
        if let Some(found) = find(realservers, names) {
            return found;
        }
        let names = if realservers.len() < NAMES_MAX { names } else { [""; 3] };
        if let Some(found) = find(realservers, names) {
            return found;
        }
        let hash = self.hasher.hash_one(names);
        let [listener, pool, realserver] = names.map(Box::from);
        let new = Arc::new(RealserverCounters { listener, pool, realserver, ..RealserverCounters::default() });
        realservers.insert_unique(hash, new.clone(), |counters| self.hasher.hash_one(counters.names()));
        new
    }
}

impl Observed for Counters {
    fn observe(&self, samples: &mut Vec<Sample>) {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let listeners = &named.listeners;
        let mut realservers: Vec<_> = named.realservers.iter().collect();
        realservers.sort_unstable_by_key(|counters| counters.names());

        type Read = (&'static str, &'static str, fn(&ListenerCounters) -> &AtomicU64);
        let by_listener: [Read; 5] = [
            ("fingerpost_l4_connections_total", "Connections accepted", |counters| &counters.connections),
            ("fingerpost_l4_no_realserver_total", "Connections that no realserver took", |counters| {
                &counters.without_realserver
            }),
            ("fingerpost_l4_idle_closes_total", "Connections closed for lack of data", |counters| {
                &counters.idle_closes
            }),
            ("fingerpost_l4_aborts_total", "Connections that ended with an error of one side", |counters| {
                &counters.aborts
            }),
            ("fingerpost_l4_accept_errors_total", "Failures to accept", |counters| &counters.accept_errors),
        ];
        for (name, help, read) in by_listener {
            for listener in listeners {
                let labels = vec![("listener", listener.name.to_string())];
                samples.push(Sample::counter(name, help, labels, read(listener).load(Relaxed)));
            }
        }
        for listener in listeners {
            let labels = vec![("listener", listener.name.to_string())];
            #[expect(clippy::cast_precision_loss, reason = "bounded by file descriptors")]
            let open = listener.open.load(Relaxed) as f64;
            samples.push(Sample::gauge("fingerpost_l4_connections_open", "Connections open now", labels, open));
        }
        for listener in listeners {
            let directions =
                [("to_realserver", &listener.bytes_to_realservers), ("to_client", &listener.bytes_to_clients)];
            for (direction, count) in directions {
                let labels = vec![("listener", listener.name.to_string()), ("direction", direction.to_owned())];
                samples.push(Sample::counter(
                    "fingerpost_l4_bytes_total",
                    "Bytes carried",
                    labels,
                    count.load(Relaxed),
                ));
            }
        }
        type ReadRealserver = (&'static str, &'static str, fn(&RealserverCounters) -> &AtomicU64);
        let by_realserver: [ReadRealserver; 2] = [
            ("fingerpost_l4_realserver_connections_total", "Connections that a realserver took", |counters| {
                &counters.connections
            }),
            ("fingerpost_l4_connect_failures_total", "Attempts to connect that failed", |counters| {
                &counters.connect_failures
            }),
        ];
        for (name, help, read) in by_realserver {
            for counters in &realservers {
                let labels = ["listener", "pool", "realserver"].into_iter().zip(counters.names().map(str::to_owned));
                samples.push(Sample::counter(name, help, labels.collect(), read(counters).load(Relaxed)));
            }
        }
    }
}
