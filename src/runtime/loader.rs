//! The thread that reads what operators write: configuration, zone files, geo databases. It watches them, loads what has changed, and hands
//! it to the state's owner. Whatever it cannot use it reports, once, and leaves in service what was there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant, SystemTime},
};

use jiff::Timestamp;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{runtime::Handle, sync::oneshot};
use tracing::{debug, error, info, warn};

use super::{
    owner::{OwnerHandle, Stopped},
    protection::Protector,
    services::{Bound, Context, Services},
};
use crate::{
    config::{self, Config, LoadError},
    control::protocol::{ReloadError, ReloadReport},
    diagnostic::{Diagnostic, Diagnostics, Severity},
    dns,
    geo::Geo,
    protect::Protection,
    runtime::services::Listening,
    state::{self, Event, State},
    zone::directory::{Change, Directory},
};

/// How long files must be quiet before they are read: an editor saves in several steps.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How often everything is looked at without being told, for file systems that tell nothing.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// The same where watching could not be set up at all.
const POLL_INTERVAL_UNWATCHED: Duration = Duration::from_secs(1);

/// Commands that may wait for the loader.
pub(super) const QUEUE_MAX: usize = 16;

/// What the loader is told.
pub(super) enum Command {
    /// Some watched file has changed.
    FilesChanged,
    /// An operator wants everything read again, and the outcome.
    Reload(oneshot::Sender<ReloadReport>),
    /// The server stops.
    Stop,
}

/// What is known about files, for those who report it.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// By zone file.
    pub(super) zones: BTreeMap<PathBuf, ZoneFile>,
    /// Why the configuration (or a database that it names) as it is now is not in force.
    pub(super) reload_error: Option<ReloadError>,
    /// Why the certificate of encrypted DNS as it is now is not in force.
    pub(super) certificate_error: Option<ReloadError>,
    /// By apex.
    pub(super) secondaries: BTreeMap<crate::name::Name, super::secondaries::Standing>,
    /// What is listened on.
    pub(super) listening: Vec<Listening>,
    /// Reads of the configuration: good and bad.
    pub(super) n_reloads: [u64; 2],
    /// Reads of zone files: good and bad.
    pub(super) n_zone_loads: [u64; 2],
}

/// One zone file.
#[derive(Clone, Debug, Default)]
pub(super) struct ZoneFile {
    /// The zone that is in service from it.
    pub(super) apex: Option<crate::name::Name>,
    /// Since when.
    pub(super) since: Option<Timestamp>,
    /// Why the file as it is now is not in service.
    pub(super) error: Option<String>,
    /// Whether that is because it names pools that the configuration has not.
    pub(super) is_waiting: bool,
}

/// Size, time and identity of a file; another stamp means another content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Option<(u64, SystemTime, u64)>);

impl Stamp {
    pub(super) fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self(
            fs::metadata(path)
                .ok()
                .and_then(|metadata| Some((metadata.len(), metadata.modified().ok()?, metadata.ino()))),
        )
    }
}

/// Certificate and key of encrypted DNS.
fn certificate_paths(config: &Config) -> Option<[&PathBuf; 2]> {
    config.dns.encrypted.as_ref().map(|encrypted| [&encrypted.certificate, &encrypted.key])
}

fn certificate_stamps(config: &Config) -> Vec<Stamp> {
    certificate_paths(config).into_iter().flatten().map(|path| Stamp::of(path)).collect()
}

/// Files with the secrets of TSIG keys.
fn key_paths(config: &Config) -> impl Iterator<Item = &PathBuf> {
    config.dns.transfer.keys.iter().filter_map(|key| key.secret_file.as_ref())
}

fn key_stamps(config: &Config) -> Vec<Stamp> {
    key_paths(config).map(|path| Stamp::of(path)).collect()
}

/// The certificate that `config` names, if it names one.
fn read_certificate(config: &Config, round: &mut Round) -> Result<Option<dns::Certificate>, Diagnostics> {
    let Some(encrypted) = &config.dns.encrypted else { return Ok(None) };
    let (certificate, warnings) = dns::Certificate::load(encrypted, Timestamp::now())?;
    round.warnings.extend(warnings);
    Ok(Some(certificate))
}

/// See the module.
pub(super) struct Loader {
    pub(super) path: PathBuf,
    pub(super) config: Arc<Config>,
    pub(super) geo: Arc<Geo>,
    pub(super) protector: Protector,
    pub(super) owner: OwnerHandle,
    pub(super) services: Services,
    pub(super) context: Context,
    pub(super) files: Arc<Mutex<Files>>,
    pub(super) runtime: Handle,
    pub(super) directory: Option<Directory>,
    /// Stamp of the configuration file when it was last read.
    config_stamp: Stamp,
    /// Stamps of the databases when they were last read.
    geo_stamps: Vec<Stamp>,
    /// Stamps of certificate and key when they were last read.
    certificate_stamps: Vec<Stamp>,
    /// Stamps of the files of keys when they were last read.
    key_stamps: Vec<Stamp>,
    /// A configuration that was refused only for what zones need; tried again when zones change.
    is_config_waiting: bool,
}

/// What came of one round.
#[derive(Default)]
struct Round {
    changes: Vec<String>,
    errors: Diagnostics,
    warnings: Diagnostics,
}

impl Loader {
    #[expect(clippy::too_many_arguments, reason = "made in one place, from parts that are all needed")]
    pub(super) fn new(
        path: PathBuf,
        config: Arc<Config>,
        geo: Arc<Geo>,
        protector: Protector,
        owner: OwnerHandle,
        services: Services,
        context: Context,
        files: Arc<Mutex<Files>>,
        runtime: Handle,
    ) -> Self {
        let config_stamp = Stamp::of(&path);
        let geo_stamps = config.geo_databases.iter().map(|path| Stamp::of(path)).collect();
        let certificate_stamps = certificate_stamps(&config);
        let key_stamps = key_stamps(&config);
        let directory = config.dns.zones.as_deref().map(Directory::new);
        Self {
            path,
            config,
            geo,
            protector,
            owner,
            services,
            context,
            files,
            runtime,
            directory,
            config_stamp,
            geo_stamps,
            certificate_stamps,
            key_stamps,
            is_config_waiting: false,
        }
    }

    /// Runs until told to stop, or until nobody is left to tell.
    pub(super) fn run(mut self, sender: &mpsc::SyncSender<Command>, commands: &mpsc::Receiver<Command>) {
        let mut watch = Watch::new(sender.clone());
        watch.follow(&self.config);
        let poll_interval = if watch.is_working() { POLL_INTERVAL } else { POLL_INTERVAL_UNWATCHED };
        let mut next_poll = Instant::now();
        loop {
            let rescan = self.directory.as_ref().and_then(Directory::next_rescan);
            let wait = next_poll.saturating_duration_since(Instant::now()).min(rescan.unwrap_or(Duration::MAX));
            let mut replies = Vec::new();
            match commands.recv_timeout(wait) {
                Ok(Command::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Ok(Command::Reload(reply)) => replies.push(reply),
                Ok(Command::FilesChanged) => std::thread::sleep(DEBOUNCE),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            // What has come meanwhile is served by the same round.
            for command in commands.try_iter() {
                match command {
                    Command::Stop => return,
                    Command::Reload(reply) => replies.push(reply),
                    Command::FilesChanged => {}
                }
            }
            if Instant::now() >= next_poll {
                next_poll = Instant::now() + poll_interval;
            }
            let old = self.config.clone();
            let Ok(round) = self.round(!replies.is_empty()) else { return };
            if !Arc::ptr_eq(&old, &self.config) {
                watch.follow(&self.config);
            }
            for change in &round.changes {
                info!("{change}");
            }
            for finding in &round.errors.0 {
                error!("{}", finding.one_line());
            }
            for finding in &round.warnings.0 {
                warn!("{}", finding.one_line());
            }
            let report = ReloadReport {
                ok: !round.errors.has_errors(),
                changes: round.changes,
                errors: round.errors.to_string(),
                warnings: round.warnings.to_string(),
            };
            for reply in replies {
                // Who asked may have gone away.
                let _ = reply.send(report.clone());
            }
        }
    }

    /// Looks at everything once. Forced, it reads also what seems unchanged.
    pub(super) fn first_round(&mut self) -> Result<(), Stopped> {
        let mut round = Round::default();
        self.load_zones(true, &mut round)?;
        for finding in &round.errors.0 {
            error!("{}", finding.one_line());
        }
        for finding in &round.warnings.0 {
            warn!("{}", finding.one_line());
        }
        info!(
            n_zones = self.with_files(|files| files.zones.values().filter(|file| file.apex.is_some()).count()),
            "zones loaded"
        );
        Ok(())
    }

    /// Serves what was bound before the zones were there.
    pub(super) fn start(&mut self, bound: Vec<Bound>) {
        self.services.start(bound, &self.context, &self.runtime);
        let listening = self.services.listening();
        self.with_files(|files| files.listening = listening);
    }

    fn round(&mut self, is_forced: bool) -> Result<Round, Stopped> {
        let mut round = Round::default();
        let stamp = Stamp::of(&self.path);
        let has_config_changed = stamp != self.config_stamp;
        let geo_stamps: Vec<Stamp> = self.config.geo_databases.iter().map(|path| Stamp::of(path)).collect();
        let has_geo_changed = geo_stamps != self.geo_stamps;
        let have_secrets_changed = self.protector.has_file_changed(&self.config);
        // Keys are read with the configuration, which may be refused: what counts is that these files have been looked at.
        let key_stamps = key_stamps(&self.config);
        let have_keys_changed = key_stamps != self.key_stamps;
        if has_config_changed || has_geo_changed || have_secrets_changed || have_keys_changed || is_forced {
            self.config_stamp = stamp;
            self.key_stamps = key_stamps;
            self.load_config(has_geo_changed, &mut round)?;
        }
        // On its own, since a mistake in the configuration is no reason to let the certificate expire.
        let has_certificate_changed = certificate_stamps(&self.config) != self.certificate_stamps;
        if has_certificate_changed || is_forced {
            self.load_certificate(has_certificate_changed, &mut round);
        }
        self.load_zones(is_forced, &mut round)?;
        // Zones may have let go of a pool that the new configuration has no more.
        if self.is_config_waiting && round.changes.iter().any(|change| change.starts_with("zone ")) {
            let mut again = Round::default();
            self.load_config(false, &mut again)?;
            if !self.is_config_waiting {
                round.errors.0.clear();
            }
            round.changes.extend(again.changes);
        }
        Ok(round)
    }

    /// Reads the configuration, and puts it in force if everything in it can be: databases, sockets, pools that zones name.
    fn load_config(&mut self, reads_geo: bool, round: &mut Round) -> Result<(), Stopped> {
        self.is_config_waiting = false;
        let mut errors = Diagnostics::default();
        match config::load(&self.path) {
            Err(LoadError::Unreadable(problem)) => errors.push(problem),
            Err(LoadError::Invalid(findings)) => errors = findings,
            Ok((new, warnings)) => {
                round.warnings.extend(warnings);
                self.put_in_force(Arc::new(new), reads_geo, &mut errors, round)?;
            }
        }
        let is_good = !errors.has_errors();
        self.with_files(|files| {
            let [good, bad] = &mut files.n_reloads;
            *(if is_good { good } else { bad }) += 1;
            files.reload_error = (!is_good).then(|| ReloadError { at: Timestamp::now(), errors: errors.to_string() });
        });
        round.errors.extend(errors);
        Ok(())
    }

    /// Reads the certificate again that the configuration in force names. One that cannot be used leaves the old one in force.
    fn load_certificate(&mut self, has_changed: bool, round: &mut Round) {
        self.certificate_stamps = certificate_stamps(&self.config);
        let error = match read_certificate(&self.config, round) {
            Ok(None) => return,
            Ok(Some(certificate)) => {
                self.context.identity.replace(certificate);
                if has_changed {
                    round.changes.push("certificate in force".to_owned());
                }
                None
            }
            Err(findings) => {
                let error = ReloadError { at: Timestamp::now(), errors: findings.to_string() };
                round.errors.extend(findings);
                Some(error)
            }
        };
        self.with_files(|files| files.certificate_error = error);
    }

    fn put_in_force(
        &mut self,
        new: Arc<Config>,
        reads_geo: bool,
        errors: &mut Diagnostics,
        round: &mut Round,
    ) -> Result<(), Stopped> {
        let stamps: Vec<Stamp> = new.geo_databases.iter().map(|path| Stamp::of(path)).collect();
        let geo = if reads_geo || new.geo_databases != self.config.geo_databases {
            self.geo_stamps.clone_from(&stamps);
            match Geo::load(&new.geo_databases) {
                Ok(geo) => Arc::new(geo),
                Err(findings) => {
                    errors.extend(findings);
                    return Ok(());
                }
            }
        } else {
            self.geo.clone()
        };
        let has_other_certificate = certificate_paths(&new) != certificate_paths(&self.config);
        let certificate_stamps = certificate_stamps(&new);
        let certificate = match has_other_certificate.then(|| read_certificate(&new, round)).transpose() {
            Ok(certificate) => certificate.flatten(),
            Err(findings) => {
                errors.extend(findings);
                return Ok(());
            }
        };
        let has_geo_changed = !Arc::ptr_eq(&geo, &self.geo);
        let protection = match self.protector.prepare(&new) {
            Ok(protection) => protection,
            Err(findings) => {
                errors.extend(findings);
                return Ok(());
            }
        };
        if *new == *self.config && !has_geo_changed {
            return self.protect(protection, round);
        }
        // An address that overlaps with one that is given up can only be bound after that one is closed.
        let must_wait = self.services.has_removed(&new);
        let bound = match self.services.bind_missing(&new) {
            Ok(bound) => bound,
            Err(_) if must_wait => Vec::new(),
            Err(problems) => {
                for problem in problems {
                    errors.push(Diagnostic::bare(problem.to_string()).hint(problem.hint()));
                }
                return Ok(());
            }
        };
        if let Err(findings) = self.owner.apply_blocking(Event::Configured(new.clone(), geo.clone()))? {
            self.is_config_waiting = true;
            errors.extend(findings);
            return Ok(());
        }
        let old = std::mem::replace(&mut self.config, new);
        if !key_paths(&old).eq(key_paths(&self.config)) {
            self.key_stamps = key_stamps(&self.config);
        }
        self.geo = geo;
        round.warnings.extend(state::place::check(&self.config, &self.geo));
        if has_other_certificate {
            self.certificate_stamps = certificate_stamps;
            self.with_files(|files| files.certificate_error = None);
        }
        if let Some(certificate) = certificate {
            self.context.identity.replace(certificate);
        }
        self.protect(protection, round)?;
        for key in keys_that_wait(&old, &self.config) {
            let message = format!("a change of `{key}` takes effect with the next start");
            let warning = Diagnostic { severity: Severity::Warning, ..Diagnostic::bare(message) };
            round.warnings.push(warning.hint("restart the server; everything else is in force now"));
        }
        self.services.start(bound, &self.context, &self.runtime);
        self.services.stop_removed(&self.config, self.config.process.drain_timeout, &self.runtime);
        self.bind_the_rest(errors);
        let listening = self.services.listening();
        self.with_files(|files| files.listening = listening);
        self.note_zones_that_waited(round)?;
        if old.dns.zones != self.config.dns.zones {
            self.change_directory()?;
        }
        if has_geo_changed {
            round.changes.push("geo databases loaded".to_owned());
        }
        if *old != *self.config {
            round.changes.push(format!("configuration {} in force", self.path.display()));
        }
        Ok(())
    }

    /// Puts other cookie secrets or rate limits in force.
    fn protect(&mut self, protection: Option<Arc<Protection>>, round: &mut Round) -> Result<(), Stopped> {
        let Some(protection) = protection else { return Ok(()) };
        // Nothing about it can be refused.
        drop(self.owner.apply_blocking(Event::Protected(protection.clone()))?);
        if protection.cookies != self.protector.in_force().cookies {
            round.changes.push("cookie secrets loaded".to_owned());
        }
        if protection.sealer != self.protector.in_force().sealer && self.protector.in_force().sealer.is_some() {
            round.changes.push("secrets of the redirector's cookies loaded".to_owned());
        }
        self.protector.put_in_force(protection);
        Ok(())
    }

    /// Zones whose pools have come with the configuration are in service now.
    fn note_zones_that_waited(&self, round: &mut Round) -> Result<(), Stopped> {
        let pending = |state: &State| {
            state.zones().filter(|(_, waits)| *waits).map(|(zone, _)| zone.apex().clone()).collect::<Vec<_>>()
        };
        let pending = self.owner.ask_blocking(pending)?;
        self.with_files(|files| {
            let has_come = |file: &&mut ZoneFile| {
                file.is_waiting && file.apex.as_ref().is_some_and(|apex| !pending.contains(apex))
            };
            for file in files.zones.values_mut().filter(has_come) {
                round
                    .changes
                    .extend(file.apex.as_ref().map(|apex| format!("zone {apex} loaded: its pools are there now")));
                *file =
                    ZoneFile { apex: file.apex.take(), since: Some(Timestamp::now()), error: None, is_waiting: false };
            }
        });
        Ok(())
    }

    /// Binds what had to wait for others to be closed: UDP workers look up ten times a second.
    fn bind_the_rest(&mut self, errors: &mut Diagnostics) {
        for tries_left in (0..10).rev() {
            match self.services.bind_missing(&self.config) {
                Ok(bound) => return self.services.start(bound, &self.context, &self.runtime),
                Err(_) if tries_left > 0 => std::thread::sleep(Duration::from_millis(50)),
                Err(problems) => {
                    for problem in problems {
                        errors.push(Diagnostic::bare(problem.to_string()).hint(problem.hint()));
                    }
                }
            }
        }
    }

    /// Another folder: its zones come, and those of the old one that it has not go.
    fn change_directory(&mut self) -> Result<(), Stopped> {
        let gone: Vec<_> = self
            .with_files(|files| std::mem::take(&mut files.zones))
            .into_values()
            .filter_map(|file| file.apex)
            .collect();
        self.directory = self.config.dns.zones.as_deref().map(Directory::new);
        let mut round = Round::default();
        self.load_zones(true, &mut round)?;
        let here: Vec<_> = self.with_files(|files| files.zones.values().filter_map(|file| file.apex.clone()).collect());
        for apex in gone.into_iter().filter(|apex| !here.contains(apex)) {
            drop(self.owner.apply_blocking(Event::ZoneRemoved(apex))?);
        }
        Ok(())
    }

    fn load_zones(&mut self, is_forced: bool, round: &mut Round) -> Result<(), Stopped> {
        let Some(directory) = &mut self.directory else { return Ok(()) };
        let changes = if is_forced { directory.reload(Instant::now()) } else { directory.rescan(Instant::now()) };
        for change in changes {
            match change {
                Change::Loaded { zone, path, .. } if self.is_secondary(zone.apex()) => {
                    let message = format!("{}: zone `{}` is a secondary one", path.display(), zone.apex());
                    let hint = "remove the file, or the zone's table in `[secondaries]`";
                    let findings: Diagnostics = Diagnostic::bare(message).hint(hint).into();
                    self.note_zone(&path, None, Some(&findings));
                    round.errors.extend(findings);
                }
                Change::Loaded { zone, warnings, path } => {
                    round.warnings.extend(warnings);
                    let (apex, serial, n_records) = (zone.apex().clone(), zone.serial(), zone.n_records());
                    let outcome = self.owner.apply_blocking(Event::ZoneLoaded(zone))?;
                    self.note_zone(&path, Some(apex.clone()), outcome.as_ref().err());
                    self.with_files(|files| {
                        if let Some(file) = files.zones.get_mut(&path) {
                            file.is_waiting = outcome.is_err();
                            file.apex = Some(apex.clone());
                        }
                    });
                    match outcome {
                        Ok(_) => {
                            round.changes.push(format!("zone {apex} loaded, serial {serial}, {n_records} records"))
                        }
                        Err(findings) => round.errors.extend(findings),
                    }
                }
                Change::Broken { path, diagnostics } => {
                    self.note_zone(&path, None, Some(&diagnostics));
                    round.errors.extend(diagnostics);
                }
                // Its file was never served.
                Change::Removed { apex, .. } if self.is_secondary(&apex) => {}
                Change::Removed { apex, .. } => {
                    drop(self.owner.apply_blocking(Event::ZoneRemoved(apex.clone()))?);
                    self.with_files(|files| files.zones.retain(|_, file| file.apex.as_ref() != Some(&apex)));
                    round.changes.push(format!("zone {apex} removed: its file is gone"));
                }
            }
        }
        Ok(())
    }

    fn is_secondary(&self, apex: &crate::name::Name) -> bool {
        self.config.dns.transfer.secondaries.iter().any(|secondary| secondary.apex == *apex)
    }

    fn note_zone(&self, path: &Path, apex: Option<crate::name::Name>, findings: Option<&Diagnostics>) {
        self.with_files(|files| {
            let [good, bad] = &mut files.n_zone_loads;
            *(if findings.is_none() { good } else { bad }) += 1;
            let file = files.zones.entry(path.to_owned()).or_default();
            match findings {
                None => *file = ZoneFile { apex, since: Some(Timestamp::now()), error: None, is_waiting: false },
                Some(findings) => file.error = findings.0.first().map(Diagnostic::one_line),
            }
        });
    }

    fn with_files<T>(&self, work: impl FnOnce(&mut Files) -> T) -> T {
        work(&mut self.files.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// What has changed and is only read at start.
fn keys_that_wait(old: &Config, new: &Config) -> impl Iterator<Item = &'static str> {
    let changes = [
        ("[process] user", old.process.user != new.process.user),
        ("[control] socket", old.control.socket != new.control.socket),
        ("[state] dir", old.state_dir != new.state_dir),
        ("[dns] udp_workers", old.dns.udp_workers != new.dns.udp_workers),
    ];
    changes.into_iter().filter(|(_, has_changed)| *has_changed).map(|(key, _)| key)
}

/// Files that are watched through the kernel.
struct Watch {
    watcher: Option<RecommendedWatcher>,
    followed: Vec<PathBuf>,
}

impl Watch {
    fn new(sender: mpsc::SyncSender<Command>) -> Self {
        let heard = move |event: notify::Result<notify::Event>| {
            let is_reading = matches!(&event, Ok(event) if event.kind.is_access());
            if !is_reading {
                // One waiting notice is as good as many.
                let _ = sender.try_send(Command::FilesChanged);
            }
        };
        let watcher = notify::recommended_watcher(heard);
        if let Err(problem) = &watcher {
            warn!(%problem, "files cannot be watched and are looked at every second instead");
        }
        Self { watcher: watcher.ok(), followed: Vec::new() }
    }

    fn is_working(&self) -> bool {
        self.watcher.is_some()
    }

    /// Watches what `config` names: folders rather than files, since files are replaced.
    fn follow(&mut self, config: &Config) {
        let Some(watcher) = &mut self.watcher else { return };
        let folder_of = |path: &Path| match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut wanted: Vec<(PathBuf, RecursiveMode)> = vec![(folder_of(&config.path), RecursiveMode::NonRecursive)];
        wanted.extend(config.geo_databases.iter().map(|path| (folder_of(path), RecursiveMode::NonRecursive)));
        let certificate = certificate_paths(config).into_iter().flatten();
        wanted.extend(certificate.map(|path| (folder_of(path), RecursiveMode::NonRecursive)));
        let secrets = config.dns.cookies.iter().filter_map(|cookies| cookies.secret_file.as_deref());
        let secrets = secrets.chain(config.redirect.cookie_secret_file.as_deref());
        wanted.extend(secrets.map(|path| (folder_of(path), RecursiveMode::NonRecursive)));
        wanted.extend(key_paths(config).map(|path| (folder_of(path), RecursiveMode::NonRecursive)));
        wanted.extend(config.dns.zones.iter().map(|path| (path.clone(), RecursiveMode::Recursive)));
        for gone in self.followed.extract_if(.., |path| !wanted.iter().any(|(wanted, _)| wanted == path)) {
            // It may not be there any more, which is as good.
            let _ = watcher.unwatch(&gone);
        }
        for (path, mode) in wanted {
            if self.followed.contains(&path) {
                continue;
            }
            match watcher.watch(&path, mode) {
                Ok(()) => self.followed.push(path),
                Err(problem) => debug!(path = %path.display(), %problem, "cannot be watched; looked at now and then"),
            }
        }
    }
}
