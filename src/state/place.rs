//! Where the members of nearest pools are: as configured, else as the geo databases say of their addresses.

use super::PoolIndex;
use crate::{
    config::{self, Config, Members, Policy, PoolsPolicy},
    diagnostic::{Diagnostic, Diagnostics, Severity},
    geo::{Coordinates, Geo},
    types::{Family, POOL_DEPTH_MAX},
};

/// A member of a nearest pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// `None`: nobody knows.
    pub(super) coordinates: Option<Coordinates>,
    /// Its share of turns among those that are as near: its weight, for a pool the sum of those in it.
    pub(super) share: u64,
}

/// The members of `pool` in the order of the file; nobody if it is not a nearest one, or if a listener's scheduler stands for its policy.
pub(super) fn members(config: &Config, geo: &Geo, pool: &config::Pool, is_rescheduled: bool) -> Vec<Member> {
    match &pool.members {
        Members::Realservers { policy: Policy::Nearest, realservers, .. } if !is_rescheduled => {
            let member = |realserver: &config::Realserver| Member {
                coordinates: of_realserver(geo, realserver),
                share: realserver.weight.get().into(),
            };
            realservers.iter().map(member).collect()
        }
        Members::Pools { policy: PoolsPolicy::Nearest { .. }, members } => {
            let member = |&index: &PoolIndex| Member {
                coordinates: of_pool(config, geo, index, 0),
                share: weight(config, index, 0).max(1),
            };
            members.iter().map(member).collect()
        }
        _ => Vec::new(),
    }
}

/// The order for clients of unknown place, as groups of members: realservers at once, pools one after the other.
pub(super) fn default_order(pool: &config::Pool) -> Vec<Vec<u16>> {
    let member = |index: &usize| u16::try_from(*index).ok();
    match &pool.members {
        Members::Realservers { default, realservers, .. } if default.is_empty() => {
            vec![(0..).take(realservers.len()).collect()]
        }
        Members::Realservers { default, .. } => vec![default.iter().filter_map(member).collect()],
        Members::Pools { policy: PoolsPolicy::Nearest { default }, members } => {
            let place = |pool: &PoolIndex| members.iter().position(|member| member == pool);
            default.iter().filter_map(|pool| Some(vec![member(&place(pool)?)?])).collect()
        }
        Members::Pools { .. } => Vec::new(),
    }
}

/// A warning for each member of a nearest pool of which nobody knows where it is: it serves only when all others are down.
pub fn check(config: &Config, geo: &Geo) -> Diagnostics {
    let mut findings = Diagnostics::default();
    for pool in &config.pools {
        let located = members(config, geo, pool, false);
        for (index, _) in located.iter().enumerate().filter(|(_, member)| member.coordinates.is_none()) {
            let name = match &pool.members {
                Members::Realservers { realservers, .. } => realservers.get(index).map(|realserver| &realserver.name),
                Members::Pools { members, .. } => {
                    members.get(index).and_then(|&member| config.pools.get(member)).map(|pool| &pool.name)
                }
            };
            let Some(name) = name else { continue };
            let message =
                format!("nobody knows where `{name}` of nearest pool `{}` is: it serves after all others", pool.name);
            let warning = Diagnostic { severity: Severity::Warning, ..Diagnostic::bare(message) };
            findings.push(warning.hint("give it `location = [LATITUDE, LONGITUDE]`"));
        }
    }
    findings
}

fn of_realserver(geo: &Geo, realserver: &config::Realserver) -> Option<Coordinates> {
    let by_address = |family| geo.locate(realserver.address(family)?).coordinates;
    realserver.location.or_else(|| by_address(Family::V4)).or_else(|| by_address(Family::V6))
}

/// Its own place, else that of the first in it whose place is known.
fn of_pool(config: &Config, geo: &Geo, index: PoolIndex, depth: usize) -> Option<Coordinates> {
    let pool = config.pools.get(index).filter(|_| depth < POOL_DEPTH_MAX)?;
    pool.location.or_else(|| match &pool.members {
        Members::Realservers { realservers, .. } => {
            realservers.iter().find_map(|realserver| of_realserver(geo, realserver))
        }
        Members::Pools { members, .. } => members.iter().find_map(|&member| of_pool(config, geo, member, depth + 1)),
    })
}

fn weight(config: &Config, index: PoolIndex, depth: usize) -> u64 {
    match config.pools.get(index).filter(|_| depth < POOL_DEPTH_MAX).map(|pool| &pool.members) {
        Some(Members::Realservers { realservers, .. }) => {
            realservers.iter().map(|realserver| u64::from(realserver.weight.get())).sum()
        }
        Some(Members::Pools { members, .. }) => {
            members.iter().fold(0, |sum: u64, &member| sum.saturating_add(weight(config, member, depth + 1)))
        }
        None => 0,
    }
}
