//! Which addresses are tried for a client, in which order.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use crate::{
    select::{Client, Turn, Via, select},
    snapshot::{Listener, Realserver, Snapshot},
};

/// Realservers tried for one connection, whatever the number of those that would be there.
pub(super) const REALSERVERS_MAX: usize = 8;

/// One address to connect to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'s> {
    /// Name of the pool that the realserver is in.
    pub(super) pool: &'s str,
    /// Whose address it is.
    pub(super) realserver: &'s Realserver,
    /// Where to connect.
    pub(super) address: SocketAddr,
}

/// The addresses for a client in the order in which they are tried: realserver by realserver down the ranking, for each those that are not
/// down first. Takes a turn of a round robin. Empty if there is nobody.
pub(super) fn attempts<'s>(
    snapshot: &'s Snapshot,
    listener: &Listener,
    peer: IpAddr,
    random: u64,
) -> SmallVec<[Attempt<'s>; REALSERVERS_MAX]> {
    let address = peer.to_canonical();
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    let client = Client { address, prefix, via: Via::L4, random, turn: Turn::Take, most: REALSERVERS_MAX };
    let ranking = select(snapshot, listener.pool, &client);
    let each = |ranked: &crate::select::Ranked<'s>| {
        let pool = snapshot.pool(ranked.pool).map_or("", |pool| &*pool.name);
        let realserver = ranked.realserver;
        // A realserver without a port is refused by the configuration when a listener leads to it.
        let addresses = realserver.addresses().filter_map(|address| Some(SocketAddr::new(address, realserver.port?)));
        addresses.map(move |address| Attempt { pool, realserver, address })
    };
    ranking.realservers.iter().flat_map(each).collect()
}
