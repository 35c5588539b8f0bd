//! What DNS goes by against forged and too many queries, as the configuration says: reads the file of cookie secrets, draws what must be
//! random, and keeps the buckets of a rate limit for as long as its settings stay the same.

use std::{path::Path, sync::Arc};

use super::loader::Stamp;
use crate::{
    config,
    diagnostic::{Diagnostic, Diagnostics},
    protect::{Cookies, Protection, RateLimit, Secrets, cookie::Secret},
};

/// See the module.
pub(super) struct Protector {
    /// The cookie secret where no file has one: it ends with the process.
    drawn: Secret,
    /// The key of rate limits' hash.
    key: [u8; 16],
    in_force: Arc<Protection>,
    /// Of the file of secrets when it was last read.
    stamp: Stamp,
}

impl Protector {
    /// Reads and draws everything for the first time.
    pub(super) fn new(dns: &config::Dns) -> Result<Self, Diagnostics> {
        let (mut drawn, mut key) = ([0; 16], [0; 16]);
        for octets in [&mut drawn, &mut key] {
            getrandom::fill(octets)
                .map_err(|error| Diagnostic::bare(format!("the system gives no random numbers: {error}")))?;
        }
        let mut protector =
            Self { drawn: Secret(drawn), key, in_force: Arc::default(), stamp: Stamp::of(secret_file(dns)) };
        if let Some(first) = protector.prepare(dns)? {
            protector.in_force = first;
        }
        Ok(protector)
    }

    /// What is in force.
    pub(super) fn in_force(&self) -> &Arc<Protection> {
        &self.in_force
    }

    /// Whether the file of secrets is another one than when it was read.
    pub(super) fn has_file_changed(&self, dns: &config::Dns) -> bool {
        Stamp::of(secret_file(dns)) != self.stamp
    }

    /// Reads what `dns` names; `None` if that is what is in force already.
    pub(super) fn prepare(&mut self, dns: &config::Dns) -> Result<Option<Arc<Protection>>, Diagnostics> {
        self.stamp = Stamp::of(secret_file(dns));
        let cookies = match &dns.cookies {
            None => None,
            Some(cookies) => {
                let secrets = match &cookies.secret_file {
                    Some(path) => Secrets::load(path)?,
                    None => Secrets::new(self.drawn, None),
                };
                Some(Cookies { secrets, are_required: cookies.are_required })
            }
        };
        let now = &self.in_force;
        let rate_limit = match (&dns.rate_limit, &now.rate_limit) {
            (None, _) => None,
            (Some(settings), Some(limit)) if limit.settings() == settings => Some(limit.clone()),
            (Some(settings), _) => Some(Arc::new(RateLimit::new(settings.clone(), self.key))),
        };
        let is_same_limit = rate_limit.as_ref().map(Arc::as_ptr) == now.rate_limit.as_ref().map(Arc::as_ptr);
        let is_same = cookies == now.cookies && is_same_limit;
        Ok((!is_same).then(|| Arc::new(Protection { cookies, rate_limit })))
    }

    /// Takes note of what has been put in force.
    pub(super) fn put_in_force(&mut self, protection: Arc<Protection>) {
        self.in_force = protection;
    }
}

/// Nowhere, if there is none.
fn secret_file(dns: &config::Dns) -> &Path {
    dns.cookies.as_ref().and_then(|cookies| cookies.secret_file.as_deref()).unwrap_or(Path::new(""))
}
