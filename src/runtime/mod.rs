//! Puts everything together: binds every socket, runs, reloads, drains.
//!
//! [`bind`] reads the configuration, opens what has to be opened and gives up root; whatever can fail at start fails there. [`Bound::run`]
//! loads the zones, then serves until it is told to stop.

mod backend;
mod background;
mod explain;
mod filter;
mod limits;
mod loader;
mod offline;
mod owner;
mod privileges;
mod protection;
mod secondaries;
mod services;
mod sockets;

use std::{
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::{runtime::Handle, sync::watch};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use self::{
    backend::{Backend, RuntimeObserved},
    background::{Retirement, give_way},
    loader::{Command, Files, Loader},
    owner::{Owner, OwnerHandle, StateFile},
    protection::Protector,
    services::{Context, Services},
    sockets::Inherited,
};
pub use self::{
    explain::{ExplainError, explain},
    offline::Offline,
    services::Listening,
};
use crate::{
    config::{self, Config, LoadError},
    control::{self, metrics::Metrics},
    diagnostic::{Diagnostic, Diagnostics},
    dns,
    geo::Geo,
    health, l4, redirect,
    shutdown::Shutdown,
    state::{Event, Notes, State, saved::Saved},
};

/// How long tasks may take to end once everything has been dropped.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the server did not start: everything that was found, for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub Diagnostics);

impl From<Diagnostic> for StartError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(diagnostic.into())
    }
}

/// A server whose sockets are bound.
pub struct Bound {
    path: PathBuf,
    config: Arc<Config>,
    geo: Arc<Geo>,
    identity: Arc<dns::Identity>,
    protector: Protector,
    control: UnixListener,
    inherited: Inherited,
    bound: Vec<services::Bound>,
    state_file: Option<StateFile>,
    saved: Saved,
    state_problem: Option<String>,
}

/// Reads the configuration at `path` and binds everything it names. Becomes the configured user.
///
/// # Errors
/// Everything that is wrong with the configuration, or each address that could not be bound.
pub fn bind(path: &Path) -> Result<Bound, StartError> {
    let (config, warnings) = config::load(path).map_err(|error| match error {
        LoadError::Unreadable(problem) => StartError(problem.into()),
        LoadError::Invalid(findings) => StartError(findings),
    })?;
    for warning in &warnings.0 {
        warn!("{}", warning.one_line());
    }
    limits::raise_descriptors(&config);
    let config = Arc::new(config);
    let user = match &config.process.user {
        None => None,
        Some(name) => privileges::user_to_become(name).map_err(|error| Diagnostic::bare(error.to_string()))?,
    };
    let geo = Arc::new(Geo::load(&config.geo_databases).map_err(StartError)?);
    for warning in &crate::state::place::check(&config, &geo).0 {
        warn!("{}", warning.one_line());
    }
    let identity = Arc::new(dns::Identity::default());
    if let Some(encrypted) = &config.dns.encrypted {
        let (certificate, warnings) = dns::Certificate::load(encrypted, Timestamp::now()).map_err(StartError)?;
        for warning in &warnings.0 {
            warn!("{}", warning.one_line());
        }
        identity.replace(certificate);
    }
    let protector = Protector::new(&config).map_err(StartError)?;
    let control = control::socket::bind(&config.control.socket).map_err(|error| {
        Diagnostic::bare(error.to_string())
            .hint("`[control] socket` says where it is; the folder must be writable for the server")
    })?;
    let (state_file, saved, state_problem) = match StateFile::open(&config.state_dir) {
        Ok((file, saved, problem)) => (Some(file), saved, problem),
        Err(problem) => {
            // To serve without memory is better than not to serve.
            error!(dir = %config.state_dir.display(), %problem, "no state can be saved: overrides will not outlive a restart");
            let problem = format!(
                "no state can be saved in {}: {problem}; overrides will not outlive a restart",
                config.state_dir.display()
            );
            (None, Saved::default(), Some(problem))
        }
    };
    let mut binder = Services::new(Inherited::from_environment(), Shutdown::new(), TaskTracker::new());
    let bound = binder.bind_missing(&config).map_err(|problems| {
        StartError(Diagnostics(
            problems.iter().map(|problem| Diagnostic::bare(problem.to_string()).hint(problem.hint())).collect(),
        ))
    })?;
    if let Some(user) = &user {
        let paths = [(state_file.is_some()).then_some(&config.state_dir), Some(&config.control.socket)];
        for path in paths.into_iter().flatten() {
            privileges::give_to(user, path).map_err(|error| {
                Diagnostic::bare(format!("could not give `{}` to user `{}`: {error}", path.display(), user.name))
            })?;
        }
        privileges::become_user(user).map_err(|error| Diagnostic::bare(error.to_string()))?;
        info!(user = %user.name, "root given up");
    }
    // As the user that the server is from now on.
    health::probe::icmp::check_available(&config)?;
    Ok(Bound {
        path: path.to_owned(),
        config,
        geo,
        identity,
        protector,
        control,
        inherited: binder.into_inherited(),
        bound,
        state_file,
        saved,
        state_problem,
    })
}

/// What a running server can be told from within the process.
#[derive(Clone)]
pub struct Remote {
    loader: mpsc::SyncSender<Command>,
}

impl Remote {
    /// Reads everything again, as `fingerpost reload` does; the outcome is logged.
    pub fn reload(&self) {
        let (reply, _) = tokio::sync::oneshot::channel();
        if self.loader.try_send(Command::Reload(reply)).is_err() {
            warn!("a reload is under way already");
        }
    }
}

impl Bound {
    /// Serves until `shutdown.drain`, then lets what runs end until the configured deadline. `ready` is called once everything is served.
    ///
    /// To be called on a tokio runtime with several threads.
    pub async fn run(self, shutdown: Shutdown, ready: impl FnOnce(&[Listening], Remote)) {
        let runtime = Handle::current();
        let tasks = TaskTracker::new();
        let (owner, messages) = OwnerHandle::new();
        let (to_loader, commands) = mpsc::sync_channel(loader::QUEUE_MAX);
        let mut state = State::new(self.config.clone(), self.geo.clone(), self.saved, Timestamp::now());
        let protected = Event::Protected(self.protector.in_force().clone());
        // Nothing about it can be refused.
        drop(state.apply(protected, Timestamp::now()));
        let Some(first) = state.snapshot() else { return };
        let snapshots = Arc::new(ArcSwap::new(first));
        let (targets, targets_seen) = watch::channel(Arc::new(state.targets()));
        let files = Arc::new(Mutex::new(Files::default()));
        let started = Timestamp::now();
        let backend = Arc::new(Backend {
            owner: owner.clone(),
            loader: to_loader.clone(),
            snapshots: snapshots.clone(),
            files: files.clone(),
            started,
            state_problem: self.state_problem,
        });
        let (passive, failures) = health::passive::channel();
        let health_changes: Arc<owner::HealthChanges> = Arc::default();
        let context = Context {
            snapshots: snapshots.clone(),
            dns: Arc::new(dns::Counters::new(self.config.dns.udp_workers)),
            identity: self.identity,
            redirect: Arc::new(redirect::Counters::new()),
            l4: Arc::new(l4::Counters::new()),
            passive,
            backend: backend.clone(),
            metrics: Arc::new(Metrics::new(Vec::new())),
        };
        let counters = Arc::new(health::scheduler::Counters::default());
        let notes = Arc::new(Mutex::new(Notes::default()));
        context.metrics.replace(vec![
            Arc::new(RuntimeObserved {
                snapshots: snapshots.clone(),
                files: files.clone(),
                notes: notes.clone(),
                health_changes: health_changes.clone(),
            }),
            context.dns.clone(),
            context.identity.clone(),
            context.redirect.clone(),
            context.l4.clone(),
            counters.clone(),
        ]);
        let retirement = Retirement::start()
            .inspect_err(|problem| error!(%problem, "old zones are let go by those who answer: expect pauses"))
            .ok();
        let truth = Owner { state, snapshots, retirement, targets, file: self.state_file, notes, health_changes };
        let owner_task = tokio::spawn(truth.run(messages, shutdown.clone()));

        let (notify_snapshots, notify_counters) = (context.snapshots.clone(), context.dns.clone());
        let services = Services::new(self.inherited, shutdown.clone(), tasks.clone());
        let mut loader = Loader::new(
            self.path,
            self.config,
            self.geo,
            self.protector,
            owner.clone(),
            services,
            context,
            files.clone(),
            runtime.clone(),
        );
        let bound = self.bound;
        // Zones are read before the first answer: a server that refuses what it is about to serve makes resolvers go elsewhere.
        let secondaries = secondaries::Context {
            owner: owner.clone(),
            snapshots: notify_snapshots.clone(),
            counters: notify_counters.clone(),
            files: files.clone(),
            folder: loader.config.state_dir.join("secondaries"),
        };
        let kept = secondaries.clone();
        let first_load = tokio::task::spawn_blocking(move || {
            let outcome = loader.first_round().and_then(|()| {
                let transfer = loader.config.dns.transfer.clone();
                secondaries::serve_kept(&kept, &transfer)
            });
            loader.start(bound);
            (loader, outcome)
        });
        let Ok((loader, Ok(()))) = first_load.await else { return };
        let drain_timeout = loader.config.process.drain_timeout;

        let (results, observations) = tokio::sync::mpsc::channel(1024);
        tasks.spawn(health::scheduler::run(targets_seen, results, counters, shutdown.clone()));
        tasks.spawn(secondaries::follow_primaries(secondaries, shutdown.clone()));
        tasks.spawn(dns::notify_secondaries(notify_snapshots, notify_counters, shutdown.clone()));
        tasks.spawn(tell_owner(observations, owner.clone(), shutdown.clone()));
        tasks.spawn(tell_owner_of_failures(failures, owner, shutdown.clone()));
        tasks.spawn(control::socket::serve(self.control, backend, shutdown.clone()));
        let to_thread = to_loader.clone();
        let thread = thread::Builder::new().name("loader".to_owned()).spawn(move || {
            give_way();
            loader.run(&to_thread, &commands);
        });
        if let Err(problem) = &thread {
            error!(%problem, "the loader could not be started: nothing will be reloaded");
        }
        let listening = files.lock().unwrap_or_else(std::sync::PoisonError::into_inner).listening.clone();
        ready(&listening, Remote { loader: to_loader.clone() });

        shutdown.drain.cancelled().await;
        info!(deadline = ?drain_timeout, "draining");
        tasks.close();
        let has_drained = tokio::time::timeout(drain_timeout, tasks.wait()).await.is_ok();
        shutdown.abort.cancel();
        if !has_drained && tokio::time::timeout(ABORT_TIMEOUT, tasks.wait()).await.is_err() {
            warn!(left = tasks.len(), "some tasks did not end");
        }
        // The loader may be reading a large file, and its end is of no interest.
        let _ = to_loader.try_send(Command::Stop);
        if owner_task.await.is_err() {
            error!("the owner of the state has panicked");
        }
        info!("stopped");
    }
}

/// Hands results of probes on to the state's owner.
async fn tell_owner(
    mut observations: tokio::sync::mpsc::Receiver<health::scheduler::Observation>,
    owner: OwnerHandle,
    shutdown: Shutdown,
) {
    loop {
        let observation = tokio::select! {
            () = shutdown.drain.cancelled() => return,
            observation = observations.recv() => observation,
        };
        let Some(observation) = observation else { return };
        if let Some(ends) = observation.certificate
            && owner.tell(Event::CertificateSeen(observation.target.clone(), ends)).await.is_err()
        {
            return;
        }
        if owner.tell(Event::Probed(observation.target, observation.outcome)).await.is_err() {
            return;
        }
    }
}

/// Hands on connections that could not be made.
async fn tell_owner_of_failures(mut failures: health::passive::Failures, owner: OwnerHandle, shutdown: Shutdown) {
    loop {
        let batch = tokio::select! {
            () = shutdown.drain.cancelled() => return,
            batch = failures.next() => batch,
        };
        if batch.is_empty() {
            return;
        }
        for failure in batch {
            if owner.tell(Event::ConnectFailed(failure)).await.is_err() {
                return;
            }
        }
    }
}
