//! What servers go by when senders may be forged: DNS cookies prove an address, rate limits bound what an unproven one is sent, seals prove
//! that a browser shows what it was given.
//!
//! Pure but for the buckets of a rate limit: `now`, secrets and keys are arguments. Knows nothing about messages; what is done with a verdict
//! is `dns`'s and `redirect`'s.

pub mod cookie;
pub mod limit;
pub mod seal;

use std::sync::Arc;

pub use self::{
    cookie::{Cookies, Secrets},
    limit::RateLimit,
    seal::Sealer,
};

/// What is in force; the default protects nobody.
#[derive(Debug, Default)]
pub struct Protection {
    /// `None`: cookies are not understood.
    pub cookies: Option<Cookies>,
    /// `None`: nobody is limited.
    pub rate_limit: Option<Arc<RateLimit>>,
    /// `None`: no pool keeps clients by cookie.
    pub sealer: Option<Arc<Sealer>>,
}
