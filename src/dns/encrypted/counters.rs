//! What the encrypted transports count beside what all transports count.

use super::super::{
    counters::{Connections, Counter, Slot},
    encode::Transport,
};
use crate::observe::{Observed, Sample};

/// The encrypted transports, by the name they have in labels.
const TRANSPORTS: [(Transport, &str); 3] =
    [(Transport::Tls, "tls"), (Transport::Https, "https"), (Transport::Quic, "quic")];

/// The counters of one transport.
#[derive(Debug, Default)]
pub(in crate::dns) struct EncryptedTransport {
    pub(in crate::dns) messages: Slot,
    pub(in crate::dns) connections: Connections,
    /// Handshakes that failed or took too long.
    pub(super) handshake_errors: Counter,
    /// Requests and streams that carried no query: wrong path, wrong framing.
    pub(super) protocol_errors: Counter,
}

/// The counters of all of them.
#[derive(Debug, Default)]
pub(in crate::dns) struct EncryptedCounters([EncryptedTransport; TRANSPORTS.len()]);

impl EncryptedCounters {
    /// Those of `transport`, if it is encrypted.
    pub(in crate::dns) fn get(&self, transport: Transport) -> Option<&EncryptedTransport> {
        TRANSPORTS.iter().zip(&self.0).find_map(|((each, _), counters)| (*each == transport).then_some(counters))
    }

    /// Each with its name in labels.
    pub(in crate::dns) fn iter(&self) -> impl Iterator<Item = (&'static str, &EncryptedTransport)> {
        TRANSPORTS.iter().zip(&self.0).map(|((_, name), counters)| (*name, counters))
    }

    fn count(
        &self,
        samples: &mut Vec<Sample>,
        name: &'static str,
        help: &'static str,
        read: impl Fn(&EncryptedTransport) -> &Counter,
    ) {
        for (transport, counters) in self.iter() {
            samples.push(Sample::counter(name, help, label(transport), read(counters).get()));
        }
    }
}

fn label(transport: &str) -> Vec<(&'static str, String)> {
    vec![("transport", transport.to_owned())]
}

impl Observed for EncryptedCounters {
    fn observe(&self, samples: &mut Vec<Sample>) {
        let (name, help) = ("fingerpost_dns_encrypted_accepted_total", "Encrypted DNS connections accepted");
        self.count(samples, name, help, |counters| &counters.connections.accepted);
        let (name, help) =
            ("fingerpost_dns_encrypted_refused_total", "Encrypted DNS connections closed at once: too many are open");
        self.count(samples, name, help, |counters| &counters.connections.refused);
        let (name, help) = ("fingerpost_dns_encrypted_accept_errors_total", "Encrypted DNS connections not accepted");
        self.count(samples, name, help, |counters| &counters.connections.accept_errors);
        let (name, help) = ("fingerpost_dns_encrypted_timeouts_total", "Encrypted DNS connections closed by a timeout");
        self.count(samples, name, help, |counters| &counters.connections.timeouts);
        let (name, help) =
            ("fingerpost_dns_encrypted_handshake_errors_total", "TLS and QUIC handshakes that failed or were too slow");
        self.count(samples, name, help, |counters| &counters.handshake_errors);
        let (name, help) =
            ("fingerpost_dns_encrypted_protocol_errors_total", "HTTP requests and QUIC streams that carried no query");
        self.count(samples, name, help, |counters| &counters.protocol_errors);
        for (transport, counters) in self.iter() {
            let (name, help) = ("fingerpost_dns_encrypted_connections", "Encrypted DNS connections open");
            samples.push(Sample::gauge(name, help, label(transport), counters.connections.open()));
        }
    }
}
