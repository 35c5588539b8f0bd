//! What the tests of this folder share: a status with one of everything, and a backend that remembers what it was asked.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Mutex,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    Backend,
    protocol::{
        AddressStatus, OverrideStatus, PoolStatus, RealserverStatus, ReloadError, ReloadReport, Request, Response,
        Service, SocketStatus, Status, ZoneStatus,
    },
};
use crate::types::{Admin, Force, Health};

/// 2026-11-26T12:00:00Z, the time of all tests here.
pub(super) const NOW: Timestamp = Timestamp::constant(1_795_694_400, 0);

pub(super) fn ago(seconds: i64) -> Option<Timestamp> {
    NOW.checked_sub(SignedDuration::from_secs(seconds)).ok()
}

fn address(address: impl Into<IpAddr>, health: Health, since: i64, last_error: Option<&str>) -> AddressStatus {
    let last_error = last_error.map(str::to_owned);
    AddressStatus {
        address: address.into(),
        health,
        probed: None,
        since: ago(since),
        last_probe: ago(1),
        last_error,
        restored: false,
        stale: false,
        certificate_ends: None,
        certificate_ending: false,
    }
}

fn realserver(name: &str, weight: u16, addresses: Vec<AddressStatus>) -> RealserverStatus {
    let is_up = addresses.iter().any(|address| address.health == Health::Up);
    RealserverStatus {
        name: name.to_owned(),
        addresses,
        port: Some(80),
        weight,
        ramp_percent: None,
        health: if is_up { Health::Up } else { Health::Down },
        eligible: is_up,
        held: false,
        admin: Admin::Ready,
        is_set_on_pool: false,
        force: Force::Auto,
        reason: None,
        until: None,
        by: None,
    }
}

fn pool(name: &str, policy: &str) -> PoolStatus {
    PoolStatus {
        name: name.to_owned(),
        policy: policy.to_owned(),
        check: None,
        is_failed: false,
        is_degraded: false,
        members: vec![],
        realservers: vec![],
    }
}

/// A server in the middle of everything that can happen to one.
pub(super) fn status() -> Status {
    let v4 = |last| Ipv4Addr::new(192, 0, 2, last);
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11);
    let refused = Some("connection refused");
    let drained = RealserverStatus {
        eligible: false,
        admin: Admin::Drain,
        reason: Some("new kernel".to_owned()),
        until: ago(-7200),
        by: Some("alice".to_owned()),
        ..realserver("ams-c", 2, vec![address(v4(12), Health::Up, 90_000, None)])
    };
    let mut restored = realserver("fra-a", 1, vec![address(v4(20), Health::Down, 600, Some("timeout"))]);
    restored.addresses.iter_mut().for_each(|address| address.restored = true);
    Status {
        version: "0.1.0".to_owned(),
        generation: 17,
        started: ago(273_600).unwrap_or_default(),
        uptime_seconds: 273_600,
        frozen_since: None,
        zones: vec![
            ZoneStatus {
                apex: "example.com.".to_owned(),
                serial: Some(2_026_112_201),
                records: 1234,
                path: "zones/example.com.zone".to_owned(),
                since: ago(180),
                error: None,
                secondary: None,
            },
            ZoneStatus {
                apex: "example.net.".to_owned(),
                serial: None,
                records: 0,
                path: "zones/example.net.zone".to_owned(),
                since: None,
                error: Some("zones/example.net.zone:3:8: unknown pool `wbe`".to_owned()),
                secondary: None,
            },
        ],
        pools: vec![
            PoolStatus { members: vec!["web-eu".to_owned(), "web-us".to_owned()], ..pool("web", "geo") },
            PoolStatus {
                check: Some("web".to_owned()),
                realservers: vec![
                    realserver("ams-a", 4, vec![address(v4(10), Health::Up, 185, None)]),
                    realserver(
                        "ams-b",
                        3,
                        vec![address(v4(11), Health::Up, 15_120, refused), address(v6, Health::Down, 12, refused)],
                    ),
                    drained,
                ],
                ..pool("web-eu", "wrr")
            },
            PoolStatus {
                check: Some("web".to_owned()),
                is_failed: true,
                is_degraded: true,
                realservers: vec![restored],
                ..pool("web-us", "wrr")
            },
            PoolStatus {
                realservers: vec![realserver("solo", 1, vec![address(v4(30), Health::Up, 0, None)])],
                ..pool("static", "failover")
            },
        ],
        overrides: vec![
            OverrideStatus {
                target: "web-eu/ams-c".to_owned(),
                admin: Some(Admin::Drain),
                force: None,
                until: ago(-7200),
                reason: Some("new kernel".to_owned()),
                by: "alice".to_owned(),
                since: ago(600).unwrap_or_default(),
                is_gone: false,
            },
            OverrideStatus {
                target: "web-ap".to_owned(),
                admin: None,
                force: Some(Force::Down),
                until: None,
                reason: None,
                by: "bob".to_owned(),
                since: ago(60).unwrap_or_default(),
                is_gone: true,
            },
        ],
        state_problem: None,
        sockets: vec![
            SocketStatus {
                service: Service::Dns,
                address: SocketAddr::from(([0, 0, 0, 0], 53)),
                listener: None,
                pool: None,
            },
            SocketStatus {
                service: Service::L4,
                address: SocketAddr::from(([192, 0, 2, 1], 80)),
                listener: Some("web".to_owned()),
                pool: Some("web-eu".to_owned()),
            },
        ],
        reload_error: Some(ReloadError {
            at: ago(60).unwrap_or_default(),
            errors: "error: unknown key `polls`\n --> fingerpost.toml:9:1".to_owned(),
        }),
    }
}

/// Remembers what it was asked and by whom, and answers each request in kind.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) asked: Mutex<Vec<(Request, String)>>,
    pub(super) status: Status,
}

impl Fake {
    pub(super) fn new(status: Status) -> Self {
        Self { asked: Mutex::default(), status }
    }
}

impl Backend for Fake {
    async fn handle(&self, request: Request, by: String) -> Response {
        self.asked.lock().expect("asked").push((request.clone(), by));
        match request {
            Request::Status => Response::Status(self.status.clone()),
            Request::SetAdmin { target, .. } if target == "web-eu/nobody" => Response::error("unknown realserver"),
            Request::SetAdmin { target, admin, .. } => {
                Response::Done { message: format!("{target} is set to {admin}") }
            }
            Request::Force { target, force, .. } => Response::Done { message: format!("{target} is {force}") },
            Request::Explain(explain) if explain.rtype == "NONE" => Response::error("unknown type `NONE`"),
            Request::Explain(explain) => Response::Explain(json!({ "name": explain.name, "via": explain.via })),
            Request::Thaw => Response::error("nothing is frozen"),
            Request::Reload => Response::Reloaded(ReloadReport { ok: true, ..ReloadReport::default() }),
        }
    }
}

/// Does not answer at all.
pub(super) struct Mute;

impl Backend for Mute {
    async fn handle(&self, _: Request, _: String) -> Response {
        std::future::pending().await
    }
}
