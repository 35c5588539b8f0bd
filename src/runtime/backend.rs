//! Answers what operators ask: status, explanations, overrides, reload.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    explain,
    loader::{Command, Files},
    owner::{OwnerHandle, Stopped},
};
use crate::{
    config,
    control::{
        self,
        protocol::{
            AddressStatus, PoolStatus, RealserverStatus, Request, Response, SecondaryStatus, SocketStatus, Status,
            VERSION, ZoneStatus,
        },
    },
    health::Target,
    observe::{Observed, Sample},
    snapshot::{Members, Policy, Pool, Realserver, Snapshot, Snapshots},
    state::{Event, Notes, Override, RealserverName, State},
    types::{Admin, Family, Health, POOL_DEPTH_MAX, PoolId, Tenths},
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
}

impl control::Backend for Backend {
    async fn handle(&self, request: Request, by: String) -> Response {
        let response = match request {
            Request::Status => self.status().await,
            Request::SetAdmin { target, admin, until, reason } => {
                let set =
                    Override { admin, until, reason: reason.map(Into::into), by: by.into(), since: Timestamp::now() };
                self.set_admin(&target, set).await
            }
            Request::Explain(request) => Ok(match explain::explain(&self.snapshots.load(), &request) {
                Ok(explanation) => Response::Explain(explanation),
                Err(problem) => Response::error(problem.to_string()),
            }),
            Request::Reload => self.reload().await,
        };
        response.unwrap_or_else(|stopped| Response::error(stopped.to_string()))
    }
}

impl Backend {
    async fn set_admin(&self, target: &str, set: Override) -> Result<Response, Stopped> {
        let Some((pool, realserver)) = target.split_once('/') else {
            return Ok(Response::error(format!("`{target}` is not of the form POOL/REALSERVER")));
        };
        let name = RealserverName { pool: pool.into(), realserver: realserver.into() };
        let (admin, until) = (set.admin, set.until);
        Ok(match self.owner.apply(Event::AdminSet(name, set)).await? {
            Err(findings) => Response::error(findings.to_string()),
            Ok(()) => {
                let until = until.map_or(String::new(), |until| format!(" until {until:.0}"));
                Response::Done { message: format!("{target} is set to {admin}{until}") }
            }
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
        let pools = self.owner.ask(move |state| pools(state, &for_pools)).await?;
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
        Members::Realservers(realservers) => (policy_name(&realservers.policy), Vec::new()),
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

fn policy_name(policy: &Policy) -> &'static str {
    match policy {
        Policy::Wrr => "wrr",
        Policy::Random => "random",
        Policy::SourceHash(_) => "source-hash",
        Policy::Failover => "failover",
        Policy::Nearest(_) => "nearest",
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
    let set = state.override_of(&RealserverName { pool: pool.into(), realserver: stand.name.clone() });
    let leaves = check.map(config::Check::leaves).unwrap_or_default();
    let address = |family: Family, address: IpAddr| {
        let target = |leaf| Target::new(leaf, pool, configured, family);
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
        }
    };
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
        admin: set.map_or(Admin::Ready, |set| set.admin),
        reason: set.and_then(|set| set.reason.as_deref()).map(str::to_owned),
        until: set.and_then(|set| set.until),
        by: set.map(|set| set.by.to_string()),
    }
}

/// What the runtime itself counts: snapshots, files, and how every realserver stands.
pub(super) struct RuntimeObserved {
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
