//! Which sockets are served: compares what the configuration says with what runs, binds what is missing, stops what is gone, and leaves the
//! rest alone.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
    time::Duration,
};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::{
    backend::Backend,
    sockets::{BindError, Inherited},
};
use crate::{
    config::Config,
    control::{self, metrics::Metrics, protocol::Service},
    dns,
    health::passive::Passive,
    l4, redirect,
    shutdown::Shutdown,
    snapshot::Snapshots,
};

/// What every service is given.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) dns: Arc<dns::Counters>,
    pub(super) identity: Arc<dns::Identity>,
    pub(super) redirect: Arc<redirect::Counters>,
    pub(super) l4: Arc<l4::Counters>,
    pub(super) passive: Passive,
    pub(super) backend: Arc<Backend>,
    pub(super) metrics: Arc<Metrics>,
}

/// A service as configured. Port 0 may stand in a configuration several times, so each has its number among the equal ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    service: Service,
    address: SocketAddr,
    listener: Option<Box<str>>,
    number: usize,
}

/// A service whose sockets are bound.
pub(super) struct Bound {
    key: Key,
    sockets: Sockets,
    address: SocketAddr,
}

enum Sockets {
    Dns(Vec<UdpSocket>, TcpListener),
    Tcp(TcpListener),
    Udp(UdpSocket),
}

struct Running {
    shutdown: Shutdown,
    address: SocketAddr,
}

/// Everything that is served.
pub(super) struct Services {
    running: HashMap<Key, Running>,
    inherited: Inherited,
    shutdown: Shutdown,
    tasks: TaskTracker,
}

/// One address that is listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// What answers there.
    pub service: Service,
    /// Where, with the port that was given for port 0.
    pub address: SocketAddr,
    /// The L4 listener's name.
    pub listener: Option<Box<str>>,
}

impl Services {
    pub(super) fn new(inherited: Inherited, shutdown: Shutdown, tasks: TaskTracker) -> Self {
        Self { running: HashMap::new(), inherited, shutdown, tasks }
    }

    /// Gives back the sockets that were handed over and not yet used.
    pub(super) fn into_inherited(self) -> Inherited {
        self.inherited
    }

    /// Binds everything that `config` has and that does not run; if something cannot be bound, nothing is kept.
    pub(super) fn bind_missing(&mut self, config: &Config) -> Result<Vec<Bound>, Vec<BindError>> {
        let mut bound = Vec::new();
        let mut errors = Vec::new();
        let mut missing = keys(config);
        missing.retain(|key| !self.running.contains_key(key));
        for key in missing {
            let mut own = self.running.keys().chain(bound.iter().map(|bound: &Bound| &bound.key));
            let is_beside = own.any(|own| {
                own.address.ip().is_unspecified()
                    && own.address.port() == key.address.port()
                    && own.address != key.address
            });
            match self.bind(key, config.dns.udp_workers, is_beside) {
                Ok(service) => bound.push(service),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(bound) } else { Err(errors) }
    }

    fn bind(&mut self, key: Key, n_udp_workers: usize, is_beside: bool) -> Result<Bound, BindError> {
        let sockets = match key.service {
            Service::Dns => {
                let (udp, tcp) = self.inherited.udp_and_tcp(key.address, n_udp_workers)?;
                Sockets::Dns(udp, tcp)
            }
            Service::DnsQuic => Sockets::Udp(self.inherited.udp_alone(key.address)?),
            Service::DnsTls | Service::DnsHttps | Service::Redirect | Service::L4 | Service::Control => {
                Sockets::Tcp(self.inherited.tcp(key.address, is_beside)?)
            }
        };
        let address = match &sockets {
            Sockets::Dns(_, tcp) | Sockets::Tcp(tcp) => tcp.local_addr(),
            Sockets::Udp(udp) => udp.local_addr(),
        };
        let address = address.unwrap_or(key.address);
        Ok(Bound { key, sockets, address })
    }

    /// Serves what was bound.
    pub(super) fn start(&mut self, bound: Vec<Bound>, context: &Context, runtime: &Handle) {
        for Bound { key, sockets, address } in bound {
            let shutdown = self.shutdown.child();
            info!(service = %key.service, %address, listener = key.listener.as_deref(), "listening");
            let stop = shutdown.clone();
            let Context { snapshots, dns, identity, redirect, l4, passive, backend, metrics } = context.clone();
            match (key.service, sockets) {
                (_, Sockets::Dns(udp, tcp)) => {
                    match dns::serve_udp(udp, snapshots.clone(), dns.clone(), stop.clone()) {
                        Ok(workers) => {
                            let join = move || workers.into_iter().for_each(|worker| drop(worker.join()));
                            self.tasks.spawn_blocking_on(join, runtime);
                        }
                        Err(problem) => error!(%address, %problem, "UDP cannot be served"),
                    }
                    self.tasks.spawn_on(dns::serve_tcp(tcp, snapshots, dns, stop), runtime);
                }
                (_, Sockets::Udp(udp)) => {
                    self.tasks.spawn_on(dns::serve_quic(udp, identity, snapshots, dns, stop), runtime);
                }
                (Service::DnsTls, Sockets::Tcp(tcp)) => {
                    self.tasks.spawn_on(dns::serve_tls(tcp, identity, snapshots, dns, stop), runtime);
                }
                (Service::DnsHttps, Sockets::Tcp(tcp)) => {
                    self.tasks.spawn_on(dns::serve_https(tcp, identity, snapshots, dns, stop), runtime);
                }
                (Service::Redirect | Service::Dns | Service::DnsQuic, Sockets::Tcp(tcp)) => {
                    self.tasks.spawn_on(redirect::serve(tcp, snapshots, redirect, stop), runtime);
                }
                (Service::Control, Sockets::Tcp(tcp)) => {
                    self.tasks.spawn_on(control::http::serve(tcp, backend, metrics, stop), runtime);
                }
                (Service::L4, Sockets::Tcp(tcp)) => {
                    let name = key.listener.clone().unwrap_or_default();
                    self.tasks.spawn_on(l4::serve(name, tcp, snapshots, l4, passive, stop), runtime);
                }
            }
            self.running.insert(key, Running { shutdown, address });
        }
    }

    /// Stops everything that `config` has no more; what runs there has `deadline` to end.
    pub(super) fn stop_removed(&mut self, config: &Config, deadline: Duration, runtime: &Handle) {
        let wanted = keys(config);
        for (key, Running { shutdown, address }) in self.running.extract_if(|key, _| !wanted.contains(key)) {
            warn!(service = %key.service, %address, listener = key.listener.as_deref(), "not listening any more");
            shutdown.drain.cancel();
            let everything = self.shutdown.abort.clone();
            self.tasks.spawn_on(
                async move {
                    // Whichever comes first; both mean that time is up.
                    let _ = tokio::time::timeout(deadline, everything.cancelled()).await;
                    shutdown.abort.cancel();
                },
                runtime,
            );
        }
    }

    /// Whether something runs that `config` has no more.
    pub(super) fn has_removed(&self, config: &Config) -> bool {
        let wanted = keys(config);
        self.running.keys().any(|key| !wanted.contains(key))
    }

    /// What is listened on, sorted by service and address.
    pub(super) fn listening(&self) -> Vec<Listening> {
        let one = |(key, running): (&Key, &Running)| Listening {
            service: key.service,
            address: running.address,
            listener: key.listener.clone(),
        };
        let mut listening: Vec<Listening> = self.running.iter().map(one).collect();
        listening.sort_by_key(|listening| (listening.service.to_string(), listening.address));
        listening
    }
}

/// Every service of a configuration.
fn keys(config: &Config) -> Vec<Key> {
    let dns = config.dns.listen.iter().map(|&address| (Service::Dns, address, None));
    let encrypted = config.dns.encrypted.iter().flat_map(|encrypted| {
        let tls = encrypted.tls.iter().map(|&address| (Service::DnsTls, address, None));
        let https = encrypted.https.iter().map(|&address| (Service::DnsHttps, address, None));
        tls.chain(https).chain(encrypted.quic.iter().map(|&address| (Service::DnsQuic, address, None)))
    });
    let redirect = config.redirect.listen.iter().map(|&address| (Service::Redirect, address, None));
    let control = config.control.listen.iter().map(|&address| (Service::Control, address, None));
    let l4 = config.listeners.iter().map(|listener| (Service::L4, listener.bind, Some(listener.name.clone())));
    let mut keys: Vec<Key> = Vec::new();
    for (service, address, listener) in dns.chain(encrypted).chain(redirect).chain(control).chain(l4) {
        let is_alike = |key: &&Key| key.service == service && key.address == address && key.listener == listener;
        let number = keys.iter().filter(is_alike).count();
        keys.push(Key { service, address, listener, number });
    }
    keys
}
