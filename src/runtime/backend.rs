//! Answers what operators ask: status, explanations, overrides, reload.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering, mpsc},
};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    explain,
    loader::{Command, Files},
    owner::{HealthChanges, OwnerHandle, Stopped},
};
use crate::{
    config,
    control::{
        self,
        protocol::{
            AddressStatus, OverrideStatus, PoolStatus, RealserverStatus, Request, Response, SecondaryStatus,
            SocketStatus, Status, VERSION, ZoneStatus,
        },
    },
    health::{Target, calculate},
    observe::{Observed, Sample},
    snapshot::{Members, Pool, Realserver, Snapshot, Snapshots},
    state::{Event, Happening, Notes, Override, Overrides, State, Subject, Wish, pattern::Pattern},
    types::{Admin, Family, Force, Health, POOL_DEPTH_MAX, PoolId, Tenths},
};

/// See the module.
pub(super) struct Backend {
    /// Where the truth is.
    pub(super) owner: OwnerHandle,
    /// Who reads files.
    pub(super) loader: mpsc::SyncSender<Command>,
    /// What is answered from.
    pub(super) snapshots: Arc<Snapshots>,
    /// What is known about files.
    pub(super) files: Arc<Mutex<Files>>,
    /// When the server started.
    pub(super) started: Timestamp,
    /// What was wrong with the state file at the start.
    pub(super) state_problem: Option<String>,
}

impl control::Backend for Backend {
    async fn handle(&self, request: Request, by: String) -> Response {
        let response = match request {
            Request::Status => self.status().await,
            Request::SetAdmin { target, admin, until, reason } => {
                self.set_override(&target, wished(Wish::Admin(admin), until, reason, by)).await
            }
            Request::Force { target, force, until, reason } => {
                self.set_override(&target, wished(Wish::Force(force), until, reason, by)).await
            }
            Request::Explain(request) => {
                Ok(match explain::explain(&self.snapshots.load(), &request, fastrand::u64(..)) {
                    Ok(explanation) => Response::Explain(explanation),
                    Err(problem) => Response::error(problem.to_string()),
                })
            }
            Request::Thaw => self.thaw().await,
            Request::Reload => self.reload().await,
        };
        response.unwrap_or_else(|stopped| Response::error(stopped.to_string()))
    }
}

impl Backend {
    async fn set_override(&self, target: &str, set: Override) -> Result<Response, Stopped> {
        let pattern: Pattern = match target.parse() {
            Ok(pattern) => pattern,
            Err(problem) => return Ok(Response::error(format!("{problem}"))),
        };
        let (wish, until) = (set.wish, set.until);
        let happenings = match self.owner.apply(Event::OperatorSet(pattern, set)).await? {
            Err(findings) => return Ok(Response::error(findings.to_string())),
            Ok(happenings) => happenings,
        };
        let subject = |happening| if let Happening::OverrideSet(subject, _) = happening { Some(subject) } else { None };
        let subjects: Vec<Subject> = happenings.into_iter().filter_map(subject).collect();
        let done = told(target, wish, until, &subjects);
        // `ready` of a realserver is no `ready` of its pool, nor the other way round.
        let left = match wish.takes_back() {
            true => self.owner.ask(move |state| left(state, wish, &subjects)).await?,
            false => Vec::new(),
        };
        let left = if left.is_empty() { String::new() } else { format!("; still set: {}", listed(&left)) };
        Ok(Response::Done { message: format!("{done}{left}") })
    }

    async fn thaw(&self) -> Result<Response, Stopped> {
        let happenings = match self.owner.apply(Event::Thaw).await? {
            Err(findings) => return Ok(Response::error(findings.to_string())),
            Ok(happenings) => happenings,
        };
        let n_down = happenings.iter().find_map(|happening| match happening {
            Happening::Thawed { n_down } => Some(*n_down),
            _ => None,
        });
        Ok(match n_down {
            Some(n_down) => Response::Done { message: format!("thawed: {n_down} addresses count as down now") },
            None => Response::error("nothing is frozen"),
        })
    }

    async fn reload(&self) -> Result<Response, Stopped> {
        let (reply, answer) = oneshot::channel();
        let loader = self.loader.clone();
        // The queue is full only while the loader reads, and then this thread may wait.
        let sent = tokio::task::spawn_blocking(move || loader.send(Command::Reload(reply))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return Err(Stopped);
        }
        answer.await.map(Response::Reloaded).map_err(|_| Stopped)
    }

    async fn status(&self) -> Result<Response, Stopped> {
        let snapshot = self.snapshots.load_full();
        let for_pools = snapshot.clone();
        let ask = move |state: &State| (pools(state, &for_pools), overrides(state), state.frozen_since());
        let (pools, overrides, frozen_since) = self.owner.ask(ask).await?;
        let now = Timestamp::now();
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let sockets = files.listening.iter().map(|listening| {
            let pool = listening.listener.as_ref().and_then(|name| snapshot.pool(snapshot.listener(name)?.pool));
            SocketStatus {
                service: listening.service,
                address: listening.address,
                listener: listening.listener.as_deref().map(str::to_owned),
                pool: pool.map(|pool| pool.name.to_string()),
            }
        });
        Ok(Response::Status(Status {
            version: VERSION.to_owned(),
            generation: snapshot.generation.0,
            started: self.started,
            uptime_seconds: u64::try_from(now.duration_since(self.started).as_secs()).unwrap_or(0),
            zones: zones(&snapshot, &files),
            pools,
            frozen_since,
            overrides,
            state_problem: self.state_problem.clone(),
            sockets: sockets.collect(),
            reload_error: files.reload_error.clone().or_else(|| files.certificate_error.clone()),
        }))
    }
}

fn zones(snapshot: &Snapshot, files: &Files) -> Vec<ZoneStatus> {
    let one = |(path, file): (&std::path::PathBuf, &super::loader::ZoneFile)| {
        let served = file.apex.as_ref().and_then(|apex| snapshot.zones.get(apex));
        let apex = match &file.apex {
            Some(apex) => apex.to_string(),
            // Nothing was ever loaded from it, and its name is all there is.
            None => format!("{}.", path.file_stem().unwrap_or_default().to_string_lossy()),
        };
        ZoneStatus {
            apex,
            serial: served.map(|served| served.zone.serial()),
            records: served.map_or(0, |served| served.zone.n_records() as u64),
            path: path.display().to_string(),
            since: file.since,
            error: file.error.clone(),
            secondary: None,
        }
    };
    let secondary = |(apex, standing): (&crate::name::Name, &super::secondaries::Standing)| {
        let served = snapshot.zones.get(apex).filter(|served| !served.is_expired);
        ZoneStatus {
            apex: apex.to_string(),
            serial: served.map(|served| served.zone.serial()),
            records: served.map_or(0, |served| served.zone.n_records() as u64),
            path: standing.path.display().to_string(),
            since: standing.since,
            error: standing.error.clone(),
            secondary: Some(SecondaryStatus {
                primary: standing.primary.as_ref().map(|primary| primary.address),
                refreshed: standing.confirmed,
                next: standing.next,
                expires: standing.expires,
                is_expired: standing.is_expired,
            }),
        }
    };
    let mut zones: Vec<ZoneStatus> =
        files.zones.iter().map(one).chain(files.secondaries.iter().map(secondary)).collect();
    zones.sort_by(|a, b| a.apex.cmp(&b.apex));
    zones
}

fn wished(wish: Wish, until: Option<Timestamp>, reason: Option<String>, by: String) -> Override {
    Override { wish, until, reason: reason.map(Into::into), by: by.into(), since: Timestamp::now() }
}

/// What was done, in one line.
fn told(target: &str, wish: Wish, until: Option<Timestamp>, subjects: &[Subject]) -> String {
    let done = match wish {
        Wish::Admin(admin) => format!("set to {admin}"),
        Wish::Force(Force::Auto) => "left to probes".to_owned(),
        Wish::Force(force) => force.to_string(),
    };
    let until = until.map_or(String::new(), |until| format!(" until {until:.0}"));
    match subjects {
        [] => format!("nothing was set on {target}"),
        [one] => format!("{one} is {done}{until}"),
        all => {
            let names: Vec<String> = all.iter().map(ToString::to_string).collect();
            format!("{} are {done}{until}: {}", all.len(), listed(&names))
        }
    }
}

/// The first of many names.
fn listed(names: &[String]) -> String {
    const LISTED_MAX: usize = 16;
    let shown: Vec<&str> = names.iter().take(LISTED_MAX).map(|name| &**name).collect();
    let more = if names.len() > LISTED_MAX { format!(" and {} more", names.len() - LISTED_MAX) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// The realservers among `subjects` on which something is set all the same, by their pool or by themselves.
fn left(state: &State, wish: Wish, subjects: &[Subject]) -> Vec<String> {
    let mut left = Vec::new();
    for subject in subjects {
        for name in names_of(state.config(), subject) {
            let set = state.overrides().effective(&subject.pool, name);
            let is_left = match wish {
                Wish::Admin(_) => set.admin() != Admin::Ready,
                Wish::Force(_) => set.force() != Force::Auto,
            };
            let on = if subject.realserver.is_some() { ", by its pool" } else { "" };
            let what = if matches!(wish, Wish::Admin(_)) { set.admin().to_string() } else { set.force().to_string() };
            left.extend(is_left.then(|| format!("{}/{name} ({what}{on})", subject.pool)));
        }
    }
    left
}

/// The configured realservers that a subject stands for.
fn names_of<'c>(config: &'c config::Config, subject: &Subject) -> Vec<&'c str> {
    let pool = config.pools.iter().find(|pool| pool.name == subject.pool);
    let Some(config::Members::Realservers { realservers, .. }) = pool.map(|pool| &pool.members) else {
        return Vec::new();
    };
    let is_meant = |name: &str| subject.realserver.as_deref().is_none_or(|meant| meant == name);
    realservers.iter().map(|realserver| &*realserver.name).filter(|name| is_meant(name)).collect()
}

fn overrides(state: &State) -> Vec<OverrideStatus> {
    let overrides: &Overrides = state.overrides();
    let status = |(subject, set): (Subject, &Override)| OverrideStatus {
        is_gone: names_of(state.config(), &subject).is_empty(),
        target: subject.to_string(),
        admin: if let Wish::Admin(admin) = set.wish { Some(admin) } else { None },
        force: if let Wish::Force(force) = set.wish { Some(force) } else { None },
        until: set.until,
        reason: set.reason.as_deref().map(str::to_owned),
        by: set.by.to_string(),
        since: set.since,
    };
    overrides.iter().map(status).collect()
}

/// Whether nobody can come of the pool without fail-open: it is passed over, or each of its members is.
fn is_failed(snapshot: &Snapshot, pool: &Pool, depth: usize) -> bool {
    let all_failed = |members: &[PoolId]| {
        depth < POOL_DEPTH_MAX
            && members
                .iter()
                .all(|&member| snapshot.pool(member).is_none_or(|member| is_failed(snapshot, member, depth + 1)))
    };
    match &pool.members {
        Members::Realservers(realservers) => realservers.is_failed,
        Members::Failover(members) => all_failed(members),
        Members::Geo(geo) => geo.lists.iter().all(|list| all_failed(&list.pools)),
        Members::Nearest(nearest) => nearest.pools.iter().all(|&(member, _)| all_failed(&[member])),
    }
}

fn pools(state: &State, snapshot: &Snapshot) -> Vec<PoolStatus> {
    let configured = state.config().pools.iter();
    configured.filter_map(|pool| Some(pool_status(state, snapshot, pool, snapshot.pool_named(&pool.name)?.1))).collect()
}

fn pool_status(state: &State, snapshot: &Snapshot, configured: &config::Pool, pool: &Pool) -> PoolStatus {
    let name = |id| snapshot.pool(id).map(|pool| pool.name.to_string()).unwrap_or_default();
    let (policy, members) = match &pool.members {
        Members::Realservers(realservers) => (realservers.policy.as_str(), Vec::new()),
        Members::Failover(members) => ("failover", members.iter().copied().map(name).collect()),
        Members::Geo(geo) => {
            let mut members: Vec<String> =
                geo.lists.iter().flat_map(|list| list.pools.iter().copied()).map(name).collect();
            members.sort();
            members.dedup();
            ("geo", members)
        }
        Members::Nearest(nearest) => ("nearest", nearest.pools.iter().map(|&(member, _)| name(member)).collect()),
    };
    let check = match &configured.members {
        config::Members::Realservers { check, .. } => check.as_ref(),
        config::Members::Pools { .. } => None,
    };
    let is_failed = is_failed(snapshot, pool, 0);
    let (realservers, is_degraded) = match (&pool.members, &configured.members) {
        (Members::Realservers(realservers), config::Members::Realservers { realservers: configured, .. }) => {
            let now = Timestamp::now();
            let status = |(stand, configured)| realserver_status(state, &pool.name, check, configured, stand, now);
            let all = realservers.all.iter().zip(configured).map(status).collect();
            let view = realservers.view(None);
            (all, view.is_degraded)
        }
        _ => (Vec::new(), is_failed),
    };
    PoolStatus {
        name: pool.name.to_string(),
        policy: policy.to_owned(),
        check: check.map(|check| check.name.to_string()),
        is_failed,
        is_degraded,
        members,
        realservers,
    }
}

fn realserver_status(
    state: &State,
    pool: &str,
    check: Option<&Arc<config::Check>>,
    configured: &config::Realserver,
    stand: &Realserver,
    now: Timestamp,
) -> RealserverStatus {
    let leaves = check.map(config::Check::leaves).unwrap_or_default();
    let set = state.overrides().effective(pool, &stand.name);
    let address = |family: Family, address: IpAddr| {
        let target = |leaf: &Arc<config::Check>| Target::new(leaf, pool, configured, family);
        let targets: Vec<Target> = leaves.iter().filter_map(target).collect();
        let checked = || targets.iter().filter_map(|target| Some((target, state.checked(target)?)));
        // Where several checks decide, an error says which of them it is from.
        let errors = checked().filter_map(|(target, checked)| {
            let error = checked.last_error.as_deref()?;
            Some(if targets.len() == 1 { error.to_owned() } else { format!("{}: {error}", target.check.name) })
        });
        let errors: Vec<String> = errors.collect();
        AddressStatus {
            address,
            health: stand.health(Some(family)),
            since: checked().filter_map(|(_, checked)| checked.since).max(),
            last_probe: checked().filter_map(|(_, checked)| checked.last_probe).min(),
            last_error: (!errors.is_empty()).then(|| errors.join("; ")),
            restored: checked().any(|(_, checked)| checked.is_restored),
            stale: targets.iter().any(|target| state.is_stale(target, now)),
            certificate_ends: checked().filter_map(|(_, checked)| checked.certificate).min(),
            certificate_ending: checked().any(|(target, checked)| checked.is_certificate_ending(&target.check, now)),
            probed: set.health.map(|_| match check {
                Some(check) => calculate(check, &mut |leaf| {
                    target(leaf).and_then(|target| state.checked(&target)).map_or(Health::Unknown, |one| one.health)
                }),
                None => Health::Up,
            }),
        }
    };
    let shown = set.traffic.or(set.health);
    let addresses =
        [Family::V4, Family::V6].into_iter().filter_map(|family| Some(address(family, stand.address(family)?)));
    RealserverStatus {
        name: stand.name.to_string(),
        addresses: addresses.collect(),
        port: stand.port,
        weight: stand.weight.get(),
        ramp_percent: (stand.tenths(None) != Tenths::ALL).then(|| 10 * stand.tenths(None).get()),
        health: stand.health(None),
        eligible: stand.is_eligible(None),
        held: stand.is_held(None),
        admin: set.admin(),
        is_set_on_pool: set.is_traffic_of_pool,
        force: set.force(),
        reason: shown.and_then(|set| set.reason.as_deref()).map(str::to_owned),
        until: shown.and_then(|set| set.until),
        by: shown.map(|set| set.by.to_string()),
    }
}

/// What the runtime itself counts: snapshots, files, and how every realserver stands.
pub(super) struct RuntimeObserved {
    /// How often health has changed.
    pub(super) health_changes: Arc<HealthChanges>,
    /// The current snapshot.
    pub(super) snapshots: Arc<Snapshots>,
    /// What is known about files.
    pub(super) files: Arc<Mutex<Files>>,
    /// What health has to tell.
    pub(super) notes: Arc<Mutex<Notes>>,
}

impl Observed for RuntimeObserved {
    fn observe(&self, samples: &mut Vec<Sample>) {
        let snapshot = self.snapshots.load();
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
        let number = |number: usize| number as f64;
        let generation = usize::try_from(snapshot.generation.0).unwrap_or(usize::MAX);
        samples.push(Sample::gauge(
            "fingerpost_snapshot_generation",
            "Number of the snapshot that is answered from",
            vec![],
            number(generation),
        ));
        samples.push(Sample::gauge("fingerpost_zones", "Zones that are served", vec![], number(snapshot.zones.len())));
        {
            let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            let broken = files.zones.values().filter(|file| file.error.is_some()).count();
            samples.push(Sample::gauge(
                "fingerpost_zone_files_broken",
                "Zone files whose content is not in service",
                vec![],
                number(broken),
            ));
            let is_good = if files.reload_error.is_none() && files.certificate_error.is_none() { 1.0 } else { 0.0 };
            samples.push(Sample::gauge(
                "fingerpost_config_reload_ok",
                "1 if the configuration file and the certificate as they are now are in force",
                vec![],
                is_good,
            ));
            for (outcome, count) in ["ok", "error"].into_iter().zip(files.n_reloads) {
                let labels = vec![("outcome", outcome.to_owned())];
                samples.push(Sample::counter(
                    "fingerpost_config_reloads_total",
                    "Reads of the configuration",
                    labels,
                    count,
                ));
            }
            for (outcome, count) in ["ok", "error"].into_iter().zip(files.n_zone_loads) {
                let labels = vec![("outcome", outcome.to_owned())];
                samples.push(Sample::counter(
                    "fingerpost_zone_loads_total",
                    "Reads of zone files that had changed",
                    labels,
                    count,
                ));
            }
        }
        {
            let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            samples.push(Sample::gauge(
                "fingerpost_health_frozen",
                "Whether so many addresses fell at once that probes are not believed",
                vec![],
                number(usize::from(notes.is_frozen)),
            ));
            samples.push(Sample::gauge(
                "fingerpost_health_stale",
                "Targets whose health no probe has confirmed for three intervals",
                vec![],
                number(notes.n_stale),
            ));
            samples.push(Sample::gauge(
                "fingerpost_probe_certificates_ending",
                "Targets whose certificate ends within `expiry_warning`, or has ended",
                vec![],
                number(notes.n_ending),
            ));
            for (target, ends) in &notes.certificates {
                let labels = vec![("check", target.check.name.to_string()), ("address", target.address.to_string())];
                #[expect(clippy::cast_precision_loss, reason = "exact for all times that a timestamp can have")]
                let seconds = ends.as_second() as f64;
                let help = "When the certificate ends that a probe was shown, in seconds since 1970";
                samples.push(Sample::gauge("fingerpost_probe_certificate_not_after_seconds", help, labels, seconds));
            }
        }
        for (to, count) in ["up", "down"].into_iter().zip(&*self.health_changes) {
            let (name, labels) = ("fingerpost_health_changes_total", vec![("to", to.to_owned())]);
            let help = "Changes of a target's health, also those that an override masks";
            samples.push(Sample::counter(name, help, labels, count.load(Ordering::Relaxed)));
        }
        let is_set = |realserver: &&Realserver| realserver.admin != Admin::Ready || realserver.is_forced;
        let configured = snapshot.pools.iter().filter(|pool| !pool.name.contains('@'));
        let n_set: usize = configured
            .map(|pool| match &pool.members {
                Members::Realservers(members) => members.all.iter().filter(is_set).count(),
                _ => 0,
            })
            .sum();
        let members = |pool: &'_ Arc<Pool>, wanted: fn(&&Realserver) -> bool| match &pool.members {
            Members::Realservers(members) => members.all.iter().filter(wanted).count(),
            _ => 0,
        };
        let own = snapshot.pools.iter().filter(|pool| !pool.name.contains('@'));
        samples.push(Sample::gauge(
            "fingerpost_realservers_held",
            "Realservers that are down and stay in service: a freeze, or their pool's `max_leave`",
            vec![],
            number(own.map(|pool| members(pool, |one| one.is_held(None))).sum()),
        ));
        samples.push(Sample::gauge(
            "fingerpost_realservers_overridden",
            "Realservers on which an operator has set something",
            vec![],
            number(n_set),
        ));
        let realservers = |samples: &mut Vec<Sample>, name, help, value: &dyn Fn(&Realserver) -> bool| {
            for pool in snapshot.pools.iter().filter(|pool| !pool.name.contains('@')) {
                let Members::Realservers(members) = &pool.members else { continue };
                for realserver in &members.all {
                    let labels = vec![("pool", pool.name.to_string()), ("realserver", realserver.name.to_string())];
                    samples.push(Sample::gauge(name, help, labels, f64::from(u8::from(value(realserver)))));
                }
            }
        };
        let is_up = |realserver: &Realserver| realserver.health(None) != Health::Down;
        realservers(samples, "fingerpost_realserver_up", "1 unless probes say that the realserver is down", &is_up);
        let is_eligible = |realserver: &Realserver| realserver.is_eligible(None);
        realservers(samples, "fingerpost_realserver_eligible", "1 if the realserver takes new traffic", &is_eligible);
    }
}
