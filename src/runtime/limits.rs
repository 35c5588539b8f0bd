//! File descriptors: as many as the system allows, and a word in time when the configuration wants more.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::{config::Config, dns};

/// Descriptors for sockets, files, probes and DNS over TCP, beside the connections that are configured.
const DESCRIPTORS_BESIDE: u64 = 2048;
/// Connections that each socket of encrypted DNS may have.
const DNS_CONNECTIONS: u64 = dns::CONNECTIONS_MAX as u64;

/// Raises the soft limit of open files to the hard one, and warns if `config` may need more.
pub(super) fn raise_descriptors(config: &Config) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let limit = if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    let needed = descriptors_needed(config);
    if limit < needed {
        warn!(
            limit,
            needed,
            "connections as configured may need more open files than are allowed; raise the limit (LimitNOFILE=) or lower `max_connections`"
        );
    }
}

/// A connection that is carried takes two descriptors, one that is redirected takes one.
fn descriptors_needed(config: &Config) -> u64 {
    let carried: u64 = config.listeners.iter().map(|listener| 2 * listener.max_connections as u64).sum();
    let redirected = if config.redirect.listen.is_empty() { 0 } else { config.redirect.max_connections as u64 };
    let encrypted = config.dns.encrypted.iter().map(|encrypted| encrypted.tls.len() + encrypted.https.len());
    let encrypted = encrypted.sum::<usize>() as u64 * DNS_CONNECTIONS;
    DESCRIPTORS_BESIDE + carried + redirected + encrypted
}
