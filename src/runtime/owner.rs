//! The task that owns the [`State`]: events come in over one queue, snapshots are published, what happened is logged, and what must outlive
//! a restart is written down.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::background::Retirement;
use crate::{
    diagnostic::Diagnostics,
    health::Target,
    shutdown::Shutdown,
    snapshot::Snapshots,
    state::{Event, Happening, Notes, State, saved::Saved},
    types::Health,
};

/// Messages that may wait for the owner; who sends more waits.
const QUEUE_MAX: usize = 4096;
/// Messages taken in before a snapshot is made of them.
const BATCH_MAX: usize = 1024;
/// Health is written down at most this often, and overrides at once.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// How often all of health is looked at for what is stale.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often overrides are looked at for their end.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// What came of an event.
pub(super) type Applied = Result<Vec<Happening>, Diagnostics>;

/// What the owner is asked to do.
pub(super) enum Message {
    /// Take an event in. The reply comes once the snapshot that has it is published.
    Apply(Event, Option<oneshot::Sender<Applied>>),
    /// Look at the state.
    Ask(Box<dyn FnOnce(&State) + Send>),
}

/// The way to the owner.
#[derive(Clone)]
pub(super) struct OwnerHandle {
    queue: mpsc::Sender<Message>,
}

/// The owner is gone: the server stops.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the server is stopping")]
pub(super) struct Stopped;

impl OwnerHandle {
    /// A queue, and its other end for [`run`].
    pub(super) fn new() -> (Self, mpsc::Receiver<Message>) {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        (Self { queue }, messages)
    }

    /// Sends an event and waits until it is in the published snapshot, or refused.
    pub(super) async fn apply(&self, event: Event) -> Result<Applied, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Message::Apply(event, Some(reply))).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// [`OwnerHandle::apply`] from a thread that may block.
    pub(super) fn apply_blocking(&self, event: Event) -> Result<Applied, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.queue.blocking_send(Message::Apply(event, Some(reply))).map_err(|_| Stopped)?;
        answer.blocking_recv().map_err(|_| Stopped)
    }

    /// Sends an event that nobody waits for.
    pub(super) async fn tell(&self, event: Event) -> Result<(), Stopped> {
        self.queue.send(Message::Apply(event, None)).await.map_err(|_| Stopped)
    }

    /// What `question` makes of the state.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let question = move |state: &State| drop(reply.send(question(state)));
        self.queue.send(Message::Ask(Box::new(question))).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// [`OwnerHandle::ask`] from a thread that may block.
    pub(super) fn ask_blocking<T: Send + 'static>(
        &self,
        question: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let question = move |state: &State| drop(reply.send(question(state)));
        self.queue.blocking_send(Message::Ask(Box::new(question))).map_err(|_| Stopped)?;
        answer.blocking_recv().map_err(|_| Stopped)
    }
}

/// The file in which state outlives a restart.
pub(super) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file in `dir`, which is made if it is not there; what was saved in it; and, for people, what of that is lost. A file that cannot be
    /// understood is set aside, and what can be understood of it counts.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Saved, Option<String>)> {
        fs::create_dir_all(dir)?;
        let path = dir.join("state.json");
        let (saved, problem) = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Saved::default(), None),
            Err(error) => return Err(error),
            Ok(octets) => match Saved::parse(&String::from_utf8_lossy(&octets)) {
                Ok((saved, problem)) => (saved, problem),
                Err(problem) => (Saved::default(), Some(problem)),
            },
        };
        let (n_overrides, n_healths) = saved.counts();
        info!(path = %path.display(), saved = %saved.saved_at(), n_overrides, n_healths, "state restored");
        let problem = match problem {
            None => None,
            Some(problem) => {
                let aside = set_aside(&path)?;
                error!(path = %aside.display(), %problem, n_overrides, n_healths, "state file could not be understood and was set aside");
                let aside = aside.display();
                Some(format!(
                    "the state file could not be understood ({problem}): it was set aside as {aside}, and {n_overrides} overrides and the health of {n_healths} targets could be read from it"
                ))
            }
        };
        let file = Self { path };
        // To learn now, not at the first drain, that nothing can be written there.
        file.save(&saved)?;
        Ok((file, saved, problem))
    }

    /// Replaces the file's content as a whole: a crash leaves the old one or the new one.
    fn save(&self, saved: &Saved) -> io::Result<()> {
        let temporary = self.path.with_extension("json.new");
        let mut file = fs::File::create(&temporary)?;
        io::Write::write_all(&mut file, saved.to_text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)
    }
}

/// Renames a broken file so that it takes the place of no earlier one, as long as there are few.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    const BROKEN_MAX: usize = 10;
    let named =
        |n: usize| path.with_extension(if n == 0 { "json.broken".to_owned() } else { format!("json.broken-{n}") });
    let aside = (0..BROKEN_MAX).map(named).find(|aside| !aside.exists()).unwrap_or_else(|| named(BROKEN_MAX));
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// How often targets went up, and how often down.
pub(super) type HealthChanges = [AtomicU64; 2];

/// The owner's other ends.
pub(super) struct Owner {
    /// The truth.
    pub(super) state: State,
    /// Where snapshots go.
    pub(super) snapshots: Arc<Snapshots>,
    /// Where those go that they replace.
    pub(super) retirement: Option<Retirement>,
    /// Who hears what is to be probed.
    pub(super) targets: watch::Sender<Arc<Vec<Target>>>,
    /// Where state is saved; `None` if it could not be opened.
    pub(super) file: Option<StateFile>,
    /// What health has to tell, for /metrics.
    pub(super) notes: Arc<Mutex<Notes>>,
    /// Changes of health, also those that an override masks.
    pub(super) health_changes: Arc<HealthChanges>,
}

impl Owner {
    /// Runs until `shutdown.abort`: while connections drain, operators may still ask.
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>, shutdown: Shutdown) {
        let mut tick = tokio::time::interval(TICK_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut next_save = tokio::time::Instant::now();
        let mut next_look = next_save;
        let mut is_dirty = false;
        loop {
            let first = tokio::select! {
                () = shutdown.abort.cancelled() => break,
                message = messages.recv() => match message {
                    Some(message) => message,
                    None => break,
                },
                _ = tick.tick() => Message::Apply(Event::Tick, None),
            };
            self.take_in(first, &mut messages, &mut is_dirty);
            if tokio::time::Instant::now() >= next_look {
                self.look();
                next_look = tokio::time::Instant::now() + LOOK_INTERVAL;
            }
            if is_dirty && tokio::time::Instant::now() >= next_save {
                self.save();
                is_dirty = false;
                next_save = tokio::time::Instant::now() + SAVE_INTERVAL;
            }
        }
        self.save();
    }

    /// Takes in `first` and what else waits, saves overrides, publishes once, then replies to all.
    fn take_in(&mut self, first: Message, messages: &mut mpsc::Receiver<Message>, is_dirty: &mut bool) {
        let mut replies = Vec::new();
        let mut must_save = false;
        let mut next = Some(first);
        let mut n_taken = 0;
        while let Some(message) = next {
            match message {
                Message::Ask(question) => question(&self.state),
                Message::Apply(event, reply) => {
                    let changes_targets = matches!(event, Event::Configured(..) | Event::OperatorSet(..));
                    let is_override = matches!(event, Event::OperatorSet(..));
                    let compiles = matches!(event, Event::Configured(..) | Event::GeoLoaded(..));
                    let apply = || self.state.apply(event, Timestamp::now());
                    // Tables of a city database take a while: the other tasks of this thread go on in another.
                    let result = if compiles { tokio::task::block_in_place(apply) } else { apply() };
                    let mut ended = false;
                    for happening in result.as_ref().map_or(&[][..], |happenings| happenings) {
                        ended |= matches!(happening, Happening::OverrideEnded(..));
                        *is_dirty = true;
                        self.count(happening);
                        log(happening);
                    }
                    must_save |= (is_override && result.is_ok()) || ended;
                    if (changes_targets && result.is_ok()) || ended {
                        self.targets.send_replace(Arc::new(self.state.targets()));
                    }
                    replies.extend(reply.map(|reply| (reply, result)));
                }
            }
            n_taken += 1;
            next = if n_taken < BATCH_MAX { messages.try_recv().ok() } else { None };
        }
        if must_save {
            self.save();
        }
        for happening in self.state.settle() {
            *is_dirty = true;
            log(&happening);
        }
        if let Some(snapshot) = self.state.snapshot() {
            let old = self.snapshots.swap(snapshot);
            if let Some(retirement) = &self.retirement {
                retirement.leave(old);
            }
        }
        for (reply, result) in replies {
            // Who asked may have gone away, and that is theirs to decide.
            let _ = reply.send(result);
        }
    }

    /// Looks whether what is known of health is still fresh, and says when that changes.
    fn look(&self) {
        let notes = self.state.notes(Timestamp::now());
        let mut before = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.n_stale > 0 && before.n_stale == 0 {
            error!(n_targets = notes.n_stale, "health is stale: no probe has ended for three intervals");
        } else if notes.n_stale == 0 && before.n_stale > 0 {
            info!("no health is stale any more");
        }
        *before = notes;
    }

    fn count(&self, happening: &Happening) {
        let Happening::HealthChanged { to, .. } = happening else { return };
        let [up, down] = &*self.health_changes;
        let count = if *to == Health::Down { down } else { up };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn save(&self) {
        let Some(file) = &self.file else { return };
        if let Err(error) = file.save(&self.state.to_saved(Timestamp::now())) {
            error!(path = %file.path.display(), %error, "state could not be saved");
        }
    }
}

fn log(happening: &Happening) {
    match happening {
        Happening::HealthChanged { target, realservers, from, to, error } => {
            let names: Vec<String> = realservers.iter().map(ToString::to_string).collect();
            let realservers = names.join(" ");
            let error = error.as_deref().unwrap_or("");
            match to {
                Health::Down => warn!(%target, %realservers, %from, %error, "down"),
                _ => info!(%target, %realservers, %from, "{to}"),
            }
        }
        Happening::RealserverChanged { realserver, from, to: Health::Down } => warn!(%realserver, %from, "down"),
        Happening::RealserverChanged { realserver, from, to } => info!(%realserver, %from, "{to}"),
        Happening::CertificateEnding(target, ends) => {
            warn!(%target, ends = %format_args!("{ends:.0}"), "the certificate ends soon or has ended")
        }
        Happening::HealthMasked(realservers) => {
            let names: Vec<String> = realservers.iter().map(ToString::to_string).collect();
            let realservers = names.join(" ");
            info!(%realservers, "the change is masked: their health is forced");
        }
        Happening::OverrideSet(subject, set) => {
            let (by, reason) = (&set.by, set.reason.as_deref().unwrap_or(""));
            let until = set.until.map_or(String::new(), |until| format!("{until:.0}"));
            info!(%subject, set = %set.wish, %by, %reason, %until, "override");
        }
        Happening::OverrideEnded(subject, set) => info!(%subject, was = %set.wish, "override ended"),
        Happening::PoolChanged { pool, is_all_down: true } => error!(%pool, "nobody in the pool is eligible"),
        Happening::PoolChanged { pool, is_all_down: false } => info!(%pool, "the pool has somebody eligible again"),
        Happening::Frozen { n_fallen, n_probed } => error!(
            n_fallen,
            n_probed,
            "frozen: so many addresses fell at once that this node's own network is the likelier cause; they stay in service until they are \
             back, or `fingerpost thaw`"
        ),
        Happening::Thawed { n_down } => warn!(n_down, "the freeze is over: probes are believed again"),
        Happening::Held(name) => {
            error!(realserver = %name, "down, but stays in service: `max_leave` of its pool have left in this interval")
        }
        Happening::Released(name) => warn!(realserver = %name, "leaves its pool now"),
        Happening::ZonePending(apex) => {
            warn!(zone = %apex, "the zone's new content waits for pools that the configuration has not")
        }
    }
}
