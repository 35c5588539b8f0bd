//! How operators and programs talk to a running server: the command line over a unix socket ([`socket`], [`client`]), the only way to
//! change anything, and read only over HTTP ([`http`]): metrics, health, API and dashboard.
//!
//! What a request means is the [`Backend`]'s, which `runtime` implements; here is only how it arrives and how its answer is shown.

pub mod client;
mod connections;
#[cfg(test)]
mod fixture;
pub mod http;
pub mod metrics;
pub mod protocol;
pub mod socket;
pub mod text;
pub mod until;

use self::protocol::{Request, Response};

/// Who answers what comes in over the socket and over HTTP.
pub trait Backend: Send + Sync + 'static {
    /// Answers one request of the user `by`. HTTP asks with [`Request::Status`] and [`Request::Explain`] only, as [`ANYBODY`].
    ///
    /// The future may be dropped before it ends, when the server stops or takes too long: a change must not be half made by then.
    fn handle(&self, request: Request, by: String) -> impl Future<Output = Response> + Send;
}

/// The user of those who come over HTTP, where nobody says who they are.
pub const ANYBODY: &str = "http";
