//! What is probed: one check at one address. Pools that want the same probe share one target.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    config::{Check, CheckKind, Realserver},
    types::Family,
};

/// A check and where it is made. Two targets are equal if nothing could tell their probes apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// What is done there, how often, and what makes it flip.
    pub check: Arc<Check>,
    /// Where.
    pub address: SocketAddr,
}

impl Target {
    /// The target for `realserver`'s address in `family`; `None` if it has none there.
    ///
    /// Its own `check_address` and `check_port` come first, then the check's, then what it serves on; http is probed at port 80 and https
    /// at 443 if nobody says otherwise. A tcp check always has a port: the configuration sees to that.
    pub fn new(check: &Arc<Check>, realserver: &Realserver, family: Family) -> Option<Self> {
        let own = realserver.address(family)?;
        let default_port = match check.kind {
            CheckKind::Tcp | CheckKind::Http(_) => 80,
            CheckKind::Https(..) => 443,
        };
        let address: IpAddr = realserver.check_address.or(check.address).unwrap_or(own);
        let port = realserver.check_port.or(check.port).or(realserver.port).unwrap_or(default_port);
        Some(Self { check: check.clone(), address: SocketAddr::new(address, port) })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.check.name, self.address)
    }
}
