//! HTTP clients are told which realserver to go to by 302 or 307 (RFC 9110 §15.4), over HTTP/1.1 and cleartext HTTP/2 on one port.
//!
//! [`decision`] is pure: a request and a snapshot become a `Location` or a refusal. [`serve`](serve()) carries it: sockets, limits, drain.
//! What happened is kept in [`Counters`]. No TLS, no files, no request bodies: nothing but redirects leaves here.

mod counters;
pub mod decision;
mod host;
mod serve;
mod sticky;
#[cfg(test)]
mod sticky_tests;
#[cfg(test)]
mod testing;

pub use counters::Counters;
pub use decision::{Decision, Redirect, Refusal, Request, decide, pool_of_host};
pub use serve::serve;
