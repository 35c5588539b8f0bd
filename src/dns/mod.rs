//! Authoritative DNS: [`query`] parses bytes, [`answer`] decides what they mean, [`encode`] writes bytes; together they are [`respond`], and
//! every transport calls just that.
//!
//! Up to [`respond`] everything is pure: no socket, clock, lock or log. [`serve_udp`], [`serve_tcp`] and those of `encrypted` carry and count. Zone transfer is
//! refused so far, TSIG is not looked at, and nothing is signed.

mod additional;
pub mod answer;
mod chain;
mod clock;
mod compress;
mod counters;
pub mod ecs;
pub mod encode;
mod encrypted;
mod explain;
mod guard;
pub mod header;
#[cfg(test)]
mod loopback_tests;
mod mmsg;
pub mod options;
#[cfg(test)]
mod protocol_tests;
pub mod query;
mod respond;
mod tcp;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod udp;

pub use answer::Kind;
pub use clock::time_since_1970;
pub use counters::Counters;
pub use encode::Transport;
pub use encrypted::{Certificate, Identity, serve_https, serve_quic, serve_tls};
pub use explain::{Explained, ExplainedPool, explain_answer};
pub use guard::CookieStatus;
pub use header::Rcode;
pub use query::DropReason;
pub use respond::{Outcome, Step, respond};
pub use tcp::{CONNECTIONS_MAX, serve_tcp};
pub use udp::serve_udp;
