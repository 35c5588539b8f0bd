//! The certificate that encrypted transports show: how it is read, and how a new one takes the place of the old.

use std::{fs, path::Path, sync::Arc};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{
    certificate::validity,
    config::Encrypted,
    diagnostic::{Diagnostic, Diagnostics, Severity},
    observe::{Observed, Sample},
};

/// A certificate with its chain and its private key, which fit together.
#[derive(Debug)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    not_after: Option<Timestamp>,
}

impl Certificate {
    /// Reads the two PEM files that `encrypted` names. Warnings come beside it: one that is not valid at `now` is served all the same, since
    /// to show none would help nobody.
    ///
    /// # Errors
    /// Whatever is wrong with either file.
    pub fn load(encrypted: &Encrypted, now: Timestamp) -> Result<(Self, Diagnostics), Diagnostics> {
        let (certificate_path, key_path) = (&*encrypted.certificate, &*encrypted.key);
        let chain = read(certificate_path, "certificate", |text| {
            CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>()
        });
        let key = read(key_path, "key", PrivateKeyDer::from_pem_slice);
        let (chain, key) = match (chain, key) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => return Err(Diagnostics(chain.err().into_iter().chain(key.err()).collect())),
        };
        let Some(first) = chain.first() else {
            return Err(unusable(certificate_path, "certificate", &"it has none").into());
        };
        let Some((not_before, not_after)) = validity(first) else {
            return Err(unusable(certificate_path, "certificate", &"it is not in X.509 form").into());
        };
        let mut warnings = Diagnostics::default();
        let (path, hint) = (certificate_path.display(), "clients will not accept it; renew it, or set the clock");
        if now > not_after {
            warnings.push(warning(
                format!("the certificate in `{path}` has expired: it was valid until {not_after}"),
                hint,
            ));
        } else if now < not_before {
            warnings.push(warning(format!("the certificate in `{path}` is not valid before {not_before}"), hint));
        }
        match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
            Ok(key) => Ok((Self { key: Arc::new(key), not_after: Some(not_after) }, warnings)),
            Err(rustls::Error::InconsistentKeys(_)) => {
                let message = format!("the key in `{}` does not fit the certificate in `{path}`", key_path.display());
                let hint = "the server's own certificate comes first in its file, those of its issuers after it";
                Err(Diagnostic::bare(message).hint(hint).into())
            }
            Err(problem) => Err(unusable(key_path, "key", &problem).into()),
        }
    }
}

fn read<T>(path: &Path, key: &'static str, parse: impl Fn(&[u8]) -> Result<T, pem::Error>) -> Result<T, Diagnostic> {
    let text = fs::read(path).map_err(|problem| {
        let hint = format!("`{key}` of `[dns.encrypted]` names it, and the server's user must be allowed to read it");
        Diagnostic::bare(format!("could not read `{}`: {problem}", path.display())).hint(hint)
    })?;
    parse(&text).map_err(|problem| match problem {
        pem::Error::NoItemsFound => unusable(path, key, &"it has none"),
        problem => unusable(path, key, &problem),
    })
}

fn unusable(path: &Path, key: &'static str, problem: &dyn std::fmt::Display) -> Diagnostic {
    let (what, hint) = match key {
        "key" => ("private key", "a PEM file with `-----BEGIN PRIVATE KEY-----`, not encrypted"),
        _ => {
            ("certificate", "a PEM file with `-----BEGIN CERTIFICATE-----`, the server's own first, then its issuers'")
        }
    };
    Diagnostic::bare(format!("could not use the {what} in `{}`: {problem}", path.display())).hint(hint)
}

fn warning(message: String, hint: &str) -> Diagnostic {
    Diagnostic { severity: Severity::Warning, ..Diagnostic::bare(message).hint(hint) }
}

/// The certificate in force. Connections take it when they begin, and keep it.
#[derive(Debug, Default)]
pub struct Identity(ArcSwapOption<Certificate>);

impl Identity {
    /// Puts `certificate` in force for connections that begin from now on.
    pub fn replace(&self, certificate: Certificate) {
        self.0.store(Some(Arc::new(certificate)));
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref().map(|certificate| certificate.key.clone())
    }
}

impl Observed for Identity {
    fn observe(&self, samples: &mut Vec<Sample>) {
        let Some(not_after) = self.0.load().as_ref().and_then(|certificate| certificate.not_after) else { return };
        #[expect(clippy::cast_precision_loss, reason = "whole seconds of this age")]
        let seconds = not_after.as_second() as f64;
        let name = "fingerpost_dns_certificate_not_after_seconds";
        let help = "When the certificate of encrypted DNS expires, in seconds since 1970";
        samples.push(Sample::gauge(name, help, Vec::new(), seconds));
    }
}
