//! What DNS over UDP goes by when senders may be forged: cookies prove an address, rate limits bound what an unproven one is sent.
//!
//! Pure but for the buckets of a rate limit: `now`, secrets and keys are arguments. Knows nothing about messages; what is done with a verdict
//! is `dns`'s.

pub mod cookie;
pub mod limit;

use std::sync::Arc;

pub use self::{
    cookie::{Cookies, Secrets},
    limit::RateLimit,
};

/// What is in force; the default protects nobody.
#[derive(Debug, Default)]
pub struct Protection {
    /// `None`: cookies are not understood.
    pub cookies: Option<Cookies>,
    /// `None`: nobody is limited.
    pub rate_limit: Option<Arc<RateLimit>>,
}
