//! DNS over TLS (RFC 7858), over HTTPS (RFC 8484, HTTP/2) and over QUIC (RFC 9250): the same messages as over TCP, which nobody on the way
//! can read.
//!
//! rustls, hyper and quinn carry, `respond` answers, and its octets go out as they are. hickory-server does not carry here: its GET for DNS
//! over HTTPS is not implemented, its QUIC server waits for one handshake before it looks at the next client, it has no limit for
//! connections or streams, and it takes responses only as records that it encodes again. Early data (0-RTT) is not accepted. Whoever may
//! use TCP may use these: there is no authentication of clients.

mod counters;
mod https;
mod identity;
mod quic;
mod records;
#[cfg(test)]
mod tests;
mod tls;

use std::time::Duration;

pub(super) use self::counters::EncryptedCounters;
pub use self::{
    https::serve_https,
    identity::{Certificate, Identity},
    quic::serve_quic,
    tls::serve_tls,
};

/// Longest time from accepting a connection to the end of its TLS or QUIC handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time to tell a peer that its connection ends.
const GOODBYE: Duration = Duration::from_secs(1);
/// Queries of one connection at once, where they come in streams.
const STREAMS_MAX: u32 = 100;
