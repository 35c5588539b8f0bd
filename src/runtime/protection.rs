//! What servers go by against what is forged or too much, as the configuration says: reads the files of secrets, draws what must be random,
//! keeps the secret of the redirector's cookies in the state directory, and the buckets of a rate limit for as long as its settings stay the
//! same.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use tracing::warn;

use super::loader::Stamp;
use crate::{
    config::Config,
    diagnostic::{Diagnostic, Diagnostics},
    protect::{Cookies, Protection, RateLimit, Sealer, Secrets, cookie::Secret},
};

/// See the module.
pub(super) struct Protector {
    /// The cookie secret where no file has one: it ends with the process.
    drawn: Secret,
    /// The key of rate limits' hash.
    key: [u8; 16],
    in_force: Arc<Protection>,
    /// Of the files of secrets when they were last read.
    stamps: [Stamp; 2],
    /// The secret of the redirector's cookies where no file is configured: read or drawn once.
    kept: Option<Secrets>,
}

/// Where the secret of the redirector's cookies is kept, in the state directory.
const KEPT_SECRET: &str = "redirect-cookie.secret";

impl Protector {
    /// Reads and draws everything for the first time.
    pub(super) fn new(config: &Config) -> Result<Self, Diagnostics> {
        let (mut drawn, mut key) = ([0; 16], [0; 16]);
        for octets in [&mut drawn, &mut key] {
            getrandom::fill(octets)
                .map_err(|error| Diagnostic::bare(format!("the system gives no random numbers: {error}")))?;
        }
        let (drawn, in_force) = (Secret(drawn), Arc::default());
        let mut protector = Self { drawn, key, in_force, stamps: stamps(config), kept: None };
        if let Some(first) = protector.prepare(config)? {
            protector.in_force = first;
        }
        Ok(protector)
    }

    /// What is in force.
    pub(super) fn in_force(&self) -> &Arc<Protection> {
        &self.in_force
    }

    /// Whether a file of secrets is another one than when it was read.
    pub(super) fn has_file_changed(&self, config: &Config) -> bool {
        stamps(config) != self.stamps
    }

    /// Reads what `config` names; `None` if that is what is in force already.
    pub(super) fn prepare(&mut self, config: &Config) -> Result<Option<Arc<Protection>>, Diagnostics> {
        let dns = &config.dns;
        self.stamps = stamps(config);
        let sealer = self.sealer(config)?;
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
        let is_same = cookies == now.cookies && is_same_limit && sealer == now.sealer;
        Ok((!is_same).then(|| Arc::new(Protection { cookies, rate_limit, sealer })))
    }

    /// What seals the redirector's cookies, if any pool wants some.
    fn sealer(&mut self, config: &Config) -> Result<Option<Arc<Sealer>>, Diagnostics> {
        if !config.pools.iter().any(|pool| pool.sticky.is_some()) {
            return Ok(None);
        }
        let secrets = match (&config.redirect.cookie_secret_file, &self.kept) {
            (Some(path), _) => Secrets::load(path)?,
            (None, Some(kept)) => kept.clone(),
            (None, None) => {
                let path = config.state_dir.join(KEPT_SECRET);
                let kept = kept_secret(&path).unwrap_or_else(|problem| {
                    // To serve with cookies that a restart forgets is better than not to serve.
                    warn!(path = %path.display(), %problem, "the secret of the redirector's cookies cannot be kept: they end with a restart");
                    drawn_secret()
                });
                self.kept.insert(kept?).clone()
            }
        };
        Ok(Some(Arc::new(Sealer::new(secrets))))
    }

    /// Takes note of what has been put in force.
    pub(super) fn put_in_force(&mut self, protection: Arc<Protection>) {
        self.in_force = protection;
    }
}

/// Of both files of secrets; of nothing, where there is none.
fn stamps(config: &Config) -> [Stamp; 2] {
    let dns = config.dns.cookies.as_ref().and_then(|cookies| cookies.secret_file.as_deref());
    [dns, config.redirect.cookie_secret_file.as_deref()].map(|path| Stamp::of(path.unwrap_or(Path::new(""))))
}

fn drawn_secret() -> Result<Secrets, Diagnostics> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets)
        .map_err(|error| Diagnostic::bare(format!("the system gives no random numbers: {error}")))?;
    Ok(Secrets::new(Secret(octets), None))
}

/// The secret in the file at `path`; drawn and written there, for nobody else to read, if there is no such file.
fn kept_secret(path: &Path) -> io::Result<Result<Secrets, Diagnostics>> {
    match fs::metadata(path) {
        Ok(_) => return Ok(Secrets::load(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secrets = match drawn_secret() {
        Ok(secrets) => secrets,
        Err(problem) => return Ok(Err(problem)),
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    for secret in secrets.each() {
        let digits: String = secret.0.iter().map(|octet| format!("{octet:02x}")).collect();
        writeln!(file, "{digits}")?;
    }
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    Ok(Ok(secrets))
}
