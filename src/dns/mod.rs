//! Authoritative DNS: [`query`] parses bytes, [`answer`] decides what they mean, [`encode`] writes bytes; together they are [`respond`], and
//! every transport calls just that.
//!
//! Up to [`respond`] everything is pure: no socket, clock, lock or log. [`serve_udp`], [`serve_tcp`] and those of `encrypted` carry and
//! count. Zone transfers and signed messages (TSIG) go another way, by `exchange`. DNSSEC signs nothing here.

mod additional;
pub mod answer;
mod chain;
mod clock;
mod compress;
mod conversation;
mod counters;
mod differences;
pub mod ecs;
pub mod encode;
mod encrypted;
mod exchange;
pub mod explain;
mod fetch;
mod guard;
pub mod header;
mod incoming;
#[cfg(test)]
mod loopback_tests;
mod mmsg;
mod notify;
pub mod options;
mod outgoing;
#[cfg(test)]
mod protocol_tests;
pub mod query;
pub mod refresh;
mod respond;
mod tcp;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transfer_tests;
mod transfers;
mod tsig;
mod udp;
mod wire;

pub use answer::Kind;
pub use clock::time_since_1970;
pub use counters::Counters;
pub use encode::Transport;
pub use encrypted::{Certificate, Identity, serve_https, serve_quic, serve_tls};
pub use explain::{Explained, ExplainedPool, explain_answer};
pub use fetch::{FetchError, Fetched, fetch};
pub use guard::CookieStatus;
pub use header::Rcode;
pub use notify::notify_secondaries;
pub use query::DropReason;
pub use respond::{Outcome, Step, respond};
pub use tcp::{CONNECTIONS_MAX, serve_tcp};
pub use transfers::RefreshOutcome;
pub use udp::serve_udp;
