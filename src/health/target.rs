//! What is probed: one check at one address. Pools that want the same probe share one target.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    config::{Check, CheckKind, Realserver},
    types::{Family, Health, RealserverName},
};

/// A check that is probed, and where. Two targets are equal if nothing could tell their probes apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// What is done there, how often, and what makes it flip; never a calculated one.
    pub check: Arc<Check>,
    /// Where; port 0 if the probe needs none.
    pub address: SocketAddr,
    /// For whom, if that makes a difference.
    pub realserver: Option<Arc<RealserverName>>,
}

impl Target {
    /// The target for the address in `family` of `realserver`, which is in `pool`; `None` if it has none there. `check` is a probed one.
    ///
    /// Its own `check_address` and `check_port` come first, then the check's, then what it serves on; http is probed at port 80, https at 443
    /// and dns at 53 if nobody says otherwise. A check that needs a port has one: the configuration sees to that.
    pub fn new(check: &Arc<Check>, pool: &str, realserver: &Realserver, family: Family) -> Option<Self> {
        let own = realserver.address(family)?;
        let address: IpAddr = realserver.check_address.or(check.address).unwrap_or(own);
        let chosen = realserver.check_port.or(check.port);
        let port = match check.kind {
            CheckKind::Icmp | CheckKind::File(_) | CheckKind::Calculated(_) => 0,
            // The port of a service is hardly ever where its machine's nameserver is.
            CheckKind::Dns(_) => chosen.unwrap_or(53),
            CheckKind::Https(..) => chosen.or(realserver.port).unwrap_or(443),
            CheckKind::Exec(_) => chosen.or(realserver.port).unwrap_or(0),
            CheckKind::Tcp(..) | CheckKind::Http(_) | CheckKind::Grpc(..) => chosen.or(realserver.port).unwrap_or(80),
        };
        let name = || Arc::new(RealserverName { pool: pool.into(), realserver: realserver.name.clone() });
        Some(Self {
            check: check.clone(),
            address: SocketAddr::new(address, port),
            realserver: check.knows_realserver().then(name),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, address, realserver } = self;
        match realserver {
            Some(realserver) => write!(f, "{} of {realserver} at {}", check.name, address.ip()),
            None if address.port() == 0 => write!(f, "{} at {}", check.name, address.ip()),
            None => write!(f, "{} at {address}", check.name),
        }
    }
}

/// A connection to a realserver that somebody could not make.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConnectFailure {
    /// To whom.
    pub realserver: RealserverName,
    /// At which of its addresses.
    pub address: IpAddr,
    /// Why, in a few words.
    pub error: Arc<str>,
    /// Whether it was refused.
    pub is_refused: bool,
}

/// The health that `check` gives, where `of` knows it for checks that are probed.
///
/// A calculated one is up once enough of its checks are, down once so many are down that it cannot be any more, and unknown in between.
pub fn calculate(check: &Arc<Check>, of: &mut impl FnMut(&Arc<Check>) -> Health) -> Health {
    let CheckKind::Calculated(calculated) = &check.kind else { return of(check) };
    let (mut n_up, mut n_down) = (0, 0);
    for check in &calculated.checks {
        match calculate(check, of) {
            Health::Up => n_up += 1,
            Health::Down => n_down += 1,
            Health::Unknown => {}
        }
    }
    if n_up >= calculated.needed() {
        Health::Up
    } else if n_down + calculated.needed() > calculated.checks.len() {
        Health::Down
    } else {
        Health::Unknown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Calculated, Rule};

    fn leaf(name: &str) -> Arc<Check> {
        Arc::new(Check::new(name, CheckKind::Icmp))
    }

    fn calculated(rule: Rule, checks: Vec<Arc<Check>>) -> Arc<Check> {
        Arc::new(Check::new("x", CheckKind::Calculated(Calculated { rule, checks })))
    }

    /// What comes of a health for each leaf, `U`, `D` or `-`, named by its place.
    fn health(check: &Arc<Check>, leaves: &[u8]) -> char {
        let of = |leaf: &Arc<Check>| match leaves[leaf.name.parse::<usize>().expect("a place")] {
            b'U' => Health::Up,
            b'D' => Health::Down,
            _ => Health::Unknown,
        };
        match calculate(check, &mut { of }) {
            Health::Up => 'U',
            Health::Down => 'D',
            Health::Unknown => '-',
        }
    }

    #[test]
    fn all_any_and_at_least_are_decided_as_soon_as_they_can_be() {
        let of = |rule| calculated(rule, ["0", "1", "2"].map(leaf).to_vec());
        let course = |rule: Rule, cases: &[&[u8; 3]]| -> String {
            cases.iter().map(|leaves| health(&of(rule), *leaves)).collect()
        };
        let cases = [b"UUU", b"UU-", b"UUD", b"U--", b"U-D", b"UDD", b"---", b"D--", b"DD-", b"DDD"];
        assert_eq!(course(Rule::All, &cases), "U-D-DD-DDD");
        assert_eq!(course(Rule::Any, &cases), "UUUUUU---D");
        assert_eq!(course(Rule::AtLeast(2), &cases), "UUU--D--DD");
    }

    #[test]
    fn calculated_checks_may_be_calculated_from_others() {
        let inner = calculated(Rule::Any, ["1", "2"].map(leaf).to_vec());
        let outer = calculated(Rule::All, vec![leaf("0"), inner]);
        assert_eq!(["UDU", "UDD", "DUU", "U-D"].map(|leaves| health(&outer, leaves.as_bytes())), ['U', 'D', 'D', '-']);
        assert_eq!(outer.leaves().iter().map(|leaf| &*leaf.name).collect::<Vec<_>>(), ["0", "1", "2"]);
    }

    proptest! {
        #[test]
        fn what_is_decided_never_changes_when_unknown_checks_become_known(
            leaves in "[UD-]{1,6}", needed in 1u16..=6, becomes in "[UD]{6}"
        ) {
            let names: Vec<Arc<Check>> = (0..leaves.len()).map(|place| leaf(&place.to_string())).collect();
            let needed = needed.min(u16::try_from(leaves.len()).expect("few"));
            let check = calculated(Rule::AtLeast(needed), names);
            let before = health(&check, leaves.as_bytes());
            let known: Vec<u8> = leaves.bytes().zip(becomes.bytes()).map(|(was, is)| if was == b'-' { is } else { was }).collect();
            let after = health(&check, &known);
            prop_assert!(after != '-' && (before == '-' || before == after));
        }
    }
}
