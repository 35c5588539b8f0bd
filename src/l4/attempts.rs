//! Which addresses are tried for a client, in which order.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use crate::{
    select::{Client, Turn, Via, select},
    snapshot::{Listener, Realserver, Snapshot},
};

/// Realservers tried for one connection, whatever the number of those that would be there.
pub const REALSERVERS_MAX: usize = 8;

/// One address to connect to.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'s> {
    /// Name of the pool that the realserver is in.
    pub pool: &'s str,
    /// Whose address it is.
    pub realserver: &'s Realserver,
    /// Where to connect.
    pub address: SocketAddr,
}

/// The addresses for a client in the order in which they are tried: realserver by realserver down the ranking, for each those that are not
/// down first. `turn` says whether a round robin moves on. Empty if there is nobody.
pub fn attempts<'s>(
    snapshot: &'s Snapshot,
    listener: &Listener,
    peer: IpAddr,
    random: u64,
    turn: Turn,
) -> SmallVec<[Attempt<'s>; REALSERVERS_MAX]> {
    let address = peer.to_canonical();
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    let client = Client { address, prefix, via: Via::L4, random, turn, most: REALSERVERS_MAX };
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

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use jiff::Timestamp;

    use super::*;
    use crate::{
        config,
        geo::Geo,
        health::Outcome,
        state::{Event, State, saved::Saved},
    };

    const TWO_POOLS: &str = r#"
version = 1
[checks.c]
type = "tcp"
interval = "5s"
timeout = "1s"
[pools.p]
policy = "failover"
members = ["near", "far"]
[pools.near]
policy = "wrr"
check = "c"
realservers = [
  { name = "a", address = ["192.0.2.1", "2001:db8::1"], port = 8001, weight = 2 },
  { name = "b", address = "192.0.2.2", port = 8002 },
]
[pools.far]
policy = "failover"
realservers = [{ name = "z", address = "2001:db8::99", port = 8099 }]
[listeners.l]
bind = "192.0.2.80:80"
protocol = "tcp"
pool = "p"
"#;

    fn state(text: &str) -> State {
        let (config, _) = config::parse(Path::new("test.toml"), text.to_owned()).expect("a valid configuration");
        State::new(Arc::new(config), Arc::new(Geo::empty()), Saved::default(), Timestamp::UNIX_EPOCH)
    }

    /// Who is tried, with the pool and the address.
    fn tried(snapshot: &Snapshot, peer: &str) -> Vec<String> {
        let listener = snapshot.listener("l").expect("configured");
        let attempts = attempts(snapshot, listener, peer.parse().expect("address"), 0, Turn::Take);
        attempts.iter().map(|one| format!("{}/{} {}", one.pool, one.realserver.name, one.address)).collect()
    }

    #[test]
    fn every_address_is_tried_tier_by_tier_and_turns_are_taken() {
        let snapshot = state(TWO_POOLS).snapshot().expect("a first snapshot");
        let a = ["near/a 192.0.2.1:8001", "near/a [2001:db8::1]:8001"];
        let (b, z) = (["near/b 192.0.2.2:8002"], ["far/z [2001:db8::99]:8099"]);
        let a_first = [&a[..], &b, &z].concat();
        assert_eq!(tried(&snapshot, "198.51.100.1"), a_first);
        assert_eq!(tried(&snapshot, "2001:db8::7"), a_first, "the client's family does not matter");
        assert_eq!(tried(&snapshot, "198.51.100.1"), [&b[..], &a, &z].concat());
    }

    #[test]
    fn address_that_is_down_is_tried_last_and_realserver_that_is_down_not_at_all() {
        let mut state = state(TWO_POOLS);
        let refused: Outcome = Err("connection refused".into());
        for target in state.targets() {
            let is_down = ["192.0.2.1:8001", "192.0.2.2:8002"].contains(&&*target.address.to_string());
            let outcome = if is_down { refused.clone() } else { Ok(()) };
            state.apply(Event::Probed(target, outcome), Timestamp::UNIX_EPOCH).expect("applied");
        }
        let snapshot = state.snapshot().expect("a snapshot");
        let expected = ["near/a [2001:db8::1]:8001", "near/a 192.0.2.1:8001", "far/z [2001:db8::99]:8099"];
        assert_eq!(tried(&snapshot, "198.51.100.1"), expected);
    }

    #[test]
    fn mapped_ipv4_client_is_the_same_client() {
        let by_hash = TWO_POOLS.replace("policy = \"wrr\"", "policy = \"source-hash\"");
        let snapshot = state(&by_hash).snapshot().expect("a first snapshot");
        let mut firsts = Vec::new();
        for network in 0..50 {
            let plain = tried(&snapshot, &format!("198.51.{network}.1"));
            assert_eq!(plain, tried(&snapshot, &format!("::ffff:198.51.{network}.1")));
            firsts.extend(plain.first().cloned());
        }
        firsts.sort();
        firsts.dedup();
        assert_eq!(firsts.len(), 2, "both are somebody's first");
    }

    #[test]
    fn number_of_realservers_tried_is_bounded() {
        let many: String =
            (1..=40).map(|n| format!("{{ name = \"r{n}\", address = \"192.0.2.{n}\", port = 80 }},")).collect();
        let text = format!(
            "version = 1\n[pools.p]\npolicy = \"wrr\"\nrealservers = [{many}]\n\
             [listeners.l]\nbind = \"192.0.2.80:80\"\nprotocol = \"tcp\"\npool = \"p\"\n"
        );
        assert_eq!(tried(&state(&text).snapshot().expect("a first snapshot"), "198.51.100.1").len(), REALSERVERS_MAX);
    }
}
