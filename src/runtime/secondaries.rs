//! Secondary zones: keeps each like its primary has it, serves it from memory, and on disk for the next start.
//!
//! A task a zone: it asks at the SOA's times and when the primary sends NOTIFY. A transfer that fails, or a zone that cannot be used, leaves
//! the old one in service, until it expires; then its names get SERVFAIL (RFC 1034 §4.3.5). The file's time is when the primary last had what
//! is in it.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, Semaphore},
    task::{JoinSet, spawn_blocking},
    time::{Instant, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    background::in_background,
    loader::Files,
    owner::{OwnerHandle, Stopped},
};
use crate::{
    config::{Party, Secondary, Transfer},
    diagnostic::{Diagnostic, Diagnostics},
    dns::{
        self, Fetched, RefreshOutcome, fetch,
        refresh::{Schedule, Timers},
        time_since_1970,
    },
    name::Name,
    shutdown::Shutdown,
    snapshot::Snapshots,
    state::Event,
    zone::Zone,
};

/// Zones that are fetched at once; each may be large.
const FETCHES_MAX: usize = 8;
/// How often the configuration is looked at for other secondaries.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Least time between two looks at a primary, however often it sends NOTIFY.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest sleep: the clock may have been set.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// Longest kept file.
const FILE_OCTETS_MAX: u64 = 2 << 30;

/// How a secondary zone stands, for those who ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// The file that it is kept in.
    pub(super) path: PathBuf,
    /// The primary that was asked last.
    pub(super) primary: Option<Party>,
    /// When what is served came.
    pub(super) since: Option<Timestamp>,
    /// When a primary last had what is served.
    pub(super) confirmed: Option<Timestamp>,
    /// When a primary is asked next.
    pub(super) next: Option<Timestamp>,
    /// When the zone expires.
    pub(super) expires: Option<Timestamp>,
    /// Whether it has expired, or never came.
    pub(super) is_expired: bool,
    /// Why the last look failed.
    pub(super) error: Option<String>,
}

/// What every follower is given.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) owner: OwnerHandle,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) counters: Arc<dns::Counters>,
    pub(super) files: Arc<Mutex<Files>>,
    /// Where zones are kept.
    pub(super) folder: PathBuf,
}

impl Context {
    fn note(&self, apex: &Name, change: impl FnOnce(&mut Standing)) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        change(files.secondaries.entry(apex.clone()).or_default());
    }
}

/// Serves what is kept of every secondary zone, before anything is answered. To be called where waiting is allowed.
pub(super) fn serve_kept(context: &Context, transfer: &Transfer) -> Result<(), Stopped> {
    for secondary in &transfer.secondaries {
        let path = path_of(&context.folder, &secondary.apex);
        let event = match read_kept(&path, &secondary.apex) {
            Some((zone, schedule)) if !schedule.is_expired(time_since_1970()) => Event::ZoneLoaded(zone),
            _ => Event::ZoneExpired(secondary.apex.clone()),
        };
        drop(context.owner.apply_blocking(event)?);
    }
    Ok(())
}

/// Follows the primaries of every secondary zone that the configuration has, until `shutdown.drain`.
pub(super) async fn follow_primaries(context: Context, shutdown: Shutdown) {
    let mut look = interval(LOOK_INTERVAL);
    let mut seen: Option<Arc<Transfer>> = None;
    let mut followed: HashMap<Name, (Arc<Secondary>, CancellationToken)> = HashMap::new();
    let mut followers: JoinSet<()> = JoinSet::new();
    let permits = Arc::new(Semaphore::new(FETCHES_MAX));
    loop {
        tokio::select! {
            () = shutdown.drain.cancelled() => return,
            Some(_) = followers.join_next(), if !followers.is_empty() => continue,
            _ = look.tick() => {}
        }
        let transfer = context.snapshots.load().transfer.clone();
        if seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &transfer)) {
            continue;
        }
        let wanted = |old: &Arc<Secondary>| transfer.secondaries.contains(old);
        let gone: Vec<_> = followed.extract_if(|_, (secondary, _)| !wanted(secondary)).collect();
        for (apex, (_, stop)) in gone {
            stop.cancel();
            context.counters.forget_notify(&apex);
            if !transfer.secondaries.iter().any(|secondary| secondary.apex == apex) {
                warn!(zone = %apex, "no secondary of this zone any more");
                context.files.lock().unwrap_or_else(PoisonError::into_inner).secondaries.remove(&apex);
                if context.owner.apply(Event::ZoneRemoved(apex)).await.is_err() {
                    return;
                }
            }
        }
        for secondary in &transfer.secondaries {
            if followed.contains_key(&secondary.apex) {
                continue;
            }
            let stop = shutdown.drain.child_token();
            followed.insert(secondary.apex.clone(), (secondary.clone(), stop.clone()));
            let wake = context.counters.wake_on_notify(&secondary.apex);
            let follower = Follower::new(context.clone(), secondary.clone(), permits.clone(), wake);
            followers.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = follower.run() => {}
                }
            });
        }
        seen = Some(transfer);
    }
}

/// One secondary zone.
struct Follower {
    context: Context,
    secondary: Arc<Secondary>,
    permits: Arc<Semaphore>,
    wake: Arc<Notify>,
    path: PathBuf,
    zone: Option<Arc<Zone>>,
    schedule: Schedule,
    is_served: bool,
}

impl Follower {
    fn new(context: Context, secondary: Arc<Secondary>, permits: Arc<Semaphore>, wake: Arc<Notify>) -> Self {
        let path = path_of(&context.folder, &secondary.apex);
        let schedule = Schedule::without_zone(time_since_1970());
        Self { context, secondary, permits, wake, path, zone: None, schedule, is_served: true }
    }

    async fn run(mut self) -> Result<(), Stopped> {
        let (path, apex) = (self.path.clone(), self.secondary.apex.clone());
        if let Ok(Some((zone, schedule))) = spawn_blocking(move || read_kept(&path, &apex)).await {
            let serial = zone.serial();
            (self.zone, self.schedule) = (Some(zone), schedule);
            if !schedule.is_expired(time_since_1970()) {
                self.serve(schedule.confirmed()).await?;
                info!(zone = %self.secondary.apex, serial, "secondary zone loaded from disk");
            }
        }
        loop {
            if self.is_served && self.schedule.is_expired(time_since_1970()) {
                self.expire().await?;
            }
            self.note();
            self.wait().await;
            if time_since_1970() >= self.schedule.next() {
                self.refresh().await?;
                self.note();
                sleep(PAUSE).await;
            }
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) {
        let now = time_since_1970();
        let mut until = self.schedule.next();
        if let Some(expires) = self.schedule.expires().filter(|_| self.is_served) {
            until = until.min(expires);
        }
        let wait = until.saturating_sub(now).min(SLEEP_MAX);
        tokio::select! {
            () = sleep(wait) => {}
            () = self.wake.notified() => self.schedule = self.schedule.hurried(time_since_1970()),
        }
    }

    /// Asks the primaries in order until one is of use.
    async fn refresh(&mut self) -> Result<(), Stopped> {
        let apex = self.secondary.apex.clone();
        let mut problems = Vec::new();
        for primary in &self.secondary.primaries.clone() {
            self.context.note(&apex, |standing| standing.primary = Some(primary.clone()));
            match self.refresh_from(primary).await? {
                Ok(outcome) => {
                    self.context.counters.count_refresh(outcome);
                    self.context.note(&apex, |standing| standing.error = None);
                    return Ok(());
                }
                Err(problem) => problems.push(format!("{}: {problem}", primary.address)),
            }
        }
        self.context.counters.count_refresh(RefreshOutcome::Failed);
        let problem = problems.join("; ");
        warn!(zone = %apex, %problem, "secondary zone not refreshed");
        self.context.note(&apex, |standing| standing.error = Some(problem));
        self.schedule = self.schedule.failed(time_since_1970(), fastrand::f64());
        Ok(())
    }

    async fn refresh_from(&mut self, primary: &Party) -> Result<Result<RefreshOutcome, String>, Stopped> {
        let apex = self.secondary.apex.clone();
        let started = Instant::now();
        let permits = self.permits.clone();
        let Ok(permit) = permits.acquire().await else { return Err(Stopped) };
        let fetched = match fetch(&apex, primary, self.zone.as_ref()).await {
            Ok(fetched) => fetched,
            Err(problem) => return Ok(Err(problem.to_string())),
        };
        let Fetched::Zone { serial, text, is_by_differences } = fetched else {
            let (path, now) = (self.path.clone(), SystemTime::now());
            if let Ok(Err(problem)) = spawn_blocking(move || touch(&path, now)).await {
                warn!(zone = %apex, %problem, "the time of the kept zone could not be set");
            }
            self.confirm(!self.is_served).await?;
            return Ok(Ok(RefreshOutcome::Current));
        };
        let path = self.path.clone();
        let made = in_background(move || {
            let (zone, warnings) = Zone::from_transfer(&path, &text)?;
            // A zone that cannot be kept is served all the same.
            Ok((zone, warnings, keep(&path, &text)))
        });
        let (zone, warnings, kept) = match made.await {
            Some(Ok(made)) => made,
            Some(Err(findings)) => return Ok(Err(first_of(&findings))),
            None => return Ok(Err("building the zone failed".to_owned())),
        };
        drop(permit);
        if *zone.apex() != apex {
            return Ok(Err(format!("it is zone {}", zone.apex())));
        }
        if let Err(problem) = kept {
            error!(zone = %apex, path = %self.path.display(), %problem, "secondary zone cannot be kept on disk");
        }
        if let Some(warning) = warnings.0.first() {
            let n_warnings = warnings.0.len();
            warn!(zone = %apex, n_warnings, first = %warning.one_line(), "the primary's zone is strange");
        }
        let (n_records, primary, took) = (zone.n_records(), primary.address, started.elapsed());
        info!(zone = %apex, serial, n_records, is_by_differences, %primary, ?took, "secondary zone transferred");
        self.zone = Some(Arc::new(zone));
        self.confirm(true).await?;
        Ok(Ok(if is_by_differences { RefreshOutcome::Updated } else { RefreshOutcome::Transferred }))
    }

    /// A primary has what is here now.
    async fn confirm(&mut self, is_news: bool) -> Result<(), Stopped> {
        let Some(zone) = &self.zone else { return Ok(()) };
        let now = time_since_1970();
        if let Some(timers) = timers_of(zone) {
            self.schedule = self.schedule.succeeded(timers, now, fastrand::f64());
        }
        if is_news { self.serve(Some(now)).await } else { Ok(()) }
    }

    async fn serve(&mut self, since: Option<Duration>) -> Result<(), Stopped> {
        let Some(zone) = self.zone.clone() else { return Ok(()) };
        if let Err(findings) = self.context.owner.apply(Event::ZoneLoaded(zone)).await? {
            let problem = first_of(&findings);
            error!(zone = %self.secondary.apex, %problem, "secondary zone cannot be served");
        }
        self.is_served = true;
        self.context.note(&self.secondary.apex, |standing| standing.since = since.and_then(timestamp));
        Ok(())
    }

    async fn expire(&mut self) -> Result<(), Stopped> {
        self.is_served = false;
        let apex = &self.secondary.apex;
        match self.zone {
            Some(_) => error!(zone = %apex, "secondary zone has expired: no primary could be reached for too long"),
            None => warn!(zone = %apex, "secondary zone is not there yet"),
        }
        drop(self.context.owner.apply(Event::ZoneExpired(apex.clone())).await?);
        Ok(())
    }

    fn note(&self) {
        let (schedule, is_expired) = (self.schedule, !self.is_served);
        self.context.note(&self.secondary.apex, |standing| {
            standing.path.clone_from(&self.path);
            standing.confirmed = schedule.confirmed().and_then(timestamp);
            standing.next = timestamp(schedule.next());
            standing.expires = schedule.expires().and_then(timestamp);
            standing.is_expired = is_expired;
        });
    }
}

fn timestamp(since_1970: Duration) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(since_1970.as_secs()).ok()?).ok()
}

fn timers_of(zone: &Zone) -> Option<Timers> {
    zone.soa().rdatas().next().and_then(Timers::of_soa)
}

fn first_of(findings: &Diagnostics) -> String {
    findings.0.first().map(Diagnostic::one_line).unwrap_or_default()
}

/// The file of a zone: named after it, with whatever a file's name should not have written as `%XX`.
fn path_of(folder: &Path, apex: &Name) -> PathBuf {
    let mut stem = String::new();
    for byte in apex.to_string().trim_end_matches('.').bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => stem.push(char::from(byte)),
            _ => stem.push_str(&format!("%{byte:02x}")),
        }
    }
    // The root has no labels, and no other zone this name.
    let stem = if stem.is_empty() { "%root".to_owned() } else { stem };
    folder.join(format!("{stem}.zone"))
}

/// The zone that is kept, and how old it is. What cannot be read is fetched again.
fn read_kept(path: &Path, apex: &Name) -> Option<(Arc<Zone>, Schedule)> {
    let metadata = fs::metadata(path).ok().filter(|metadata| metadata.len() <= FILE_OCTETS_MAX)?;
    let confirmed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let text = fs::read_to_string(path).ok()?;
    let (zone, _) = Zone::from_transfer(path, &text).ok().filter(|(zone, _)| zone.apex() == apex)?;
    let schedule = Schedule::kept(timers_of(&zone)?, confirmed, time_since_1970());
    Some((Arc::new(zone), schedule))
}

/// Replaces the file as a whole: a crash leaves the old one or the new one.
fn keep(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension("zone.new");
    let mut file = fs::File::create(&temporary)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Notes in the file's time that a primary has what is in it.
fn touch(path: &Path, now: SystemTime) -> io::Result<()> {
    fs::File::options().write(true).open(path)?.set_modified(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_has_a_file_of_its_own_in_the_folder() {
        let path = |apex: &str| path_of(Path::new("kept"), &apex.parse().expect("name")).display().to_string();
        assert_eq!(path("Example.org"), "kept/example.org.zone");
        assert_eq!(path("."), "kept/%root.zone");
        assert_eq!(path("a/b\\046c.example"), "kept/a%2fb%5c.c.example.zone");
        assert_eq!(path("\\%root"), "kept/%25root.zone");
    }

    #[test]
    fn kept_zone_comes_back_with_its_age_and_a_spoilt_one_does_not() {
        let folder = tempfile::TempDir::new().expect("folder");
        let path = folder.path().join("below/example.org.zone");
        let apex: Name = "example.org".parse().expect("name");
        assert!(read_kept(&path, &apex).is_none());
        let text = "example.org. 300 IN SOA ns. h. 7 100 10 1000 60\nexample.org. 300 IN NS ns.\n";
        keep(&path, text).expect("kept");
        touch(&path, UNIX_EPOCH + Duration::from_secs(1_000_000)).expect("touched");
        let (zone, schedule) = read_kept(&path, &apex).expect("zone");
        assert_eq!((zone.serial(), schedule.expires()), (7, Some(Duration::from_secs(1_001_000))));
        assert!(read_kept(&path, &"example.com".parse().expect("name")).is_none(), "another zone's");
        keep(&path, &text[..60]).expect("kept");
        assert!(read_kept(&path, &apex).is_none());
    }
}
