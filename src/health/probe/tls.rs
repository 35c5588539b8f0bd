//! TLS of probes: configurations that are kept, since reading and parsing trusted roots costs far more than a probe; the handshake; and when
//! the certificate ends that was shown.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::SystemTime,
};

use jiff::Timestamp;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::Problem;
use crate::{certificate::validity, config::TlsCheck};

/// TLS configurations kept at once. A configuration file has a handful; more come only from many reloads.
const TLS_CONFIGS_MAX: usize = 64;

/// Largest file of trusted roots; a system's own bundle has some 200 KiB.
const CA_OCTETS_MAX: u64 = 4 << 20;

/// TLS configurations by what tells them apart.
#[derive(Debug, Default)]
pub(super) struct TlsConfigs {
    kept: Mutex<HashMap<(Trust, Protocol), Kept>>,
    system_roots: Arc<OnceLock<RootCertStore>>,
}

/// A configuration with the time at which its `ca` was last changed: renewed roots are picked up.
type Kept = (Option<SystemTime>, Arc<ClientConfig>);

/// Whom a probe trusts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Trust {
    /// Whatever the realserver shows.
    Anything,
    /// The system's roots, and those in the file.
    Roots(Option<PathBuf>),
}

/// What is to be spoken over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    /// HTTP/1.1, or what needs no name.
    Plain,
    /// HTTP/2.
    H2,
}

/// Makes a TLS connection of `stream`, for `host` unless the check has an `sni`, and says when the certificate ends.
pub(super) async fn handshake(
    stream: TcpStream,
    check: &TlsCheck,
    host: Option<&str>,
    protocol: Protocol,
    configs: &TlsConfigs,
) -> Result<(TlsStream<TcpStream>, Option<Timestamp>), Problem> {
    let address = stream.peer_addr()?;
    let config = configs.get(check, protocol).await?;
    let name = server_name(address, check.sni.as_deref().or(host))?;
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let ends = shown.and_then(|certificate| validity(certificate)).map(|(_, ends)| ends);
    Ok((stream, ends))
}

/// The name that is sent as SNI and verified; the address that is probed stands in for none.
///
/// An address is never sent as SNI (RFC 6066 §3), and one that is not the target's own would verify somebody else.
fn server_name(address: SocketAddr, authority: Option<&str>) -> Result<ServerName<'static>, Problem> {
    let own = ServerName::IpAddress(address.ip().into());
    let Some(authority) = authority.filter(|authority| !authority.starts_with('[')) else { return Ok(own) };
    let name = authority.split_once(':').map_or(authority, |(name, _)| name);
    match ServerName::try_from(name.to_owned()) {
        Ok(ServerName::IpAddress(_)) => Ok(own),
        Ok(name) => Ok(name),
        Err(_) => Err(Problem::Unclear(format!("`{name}` is no name that a certificate can be for"))),
    }
}

impl TlsConfigs {
    async fn get(&self, check: &TlsCheck, protocol: Protocol) -> Result<Arc<ClientConfig>, Problem> {
        let trust = match check {
            TlsCheck { verify: false, .. } => Trust::Anything,
            TlsCheck { ca, .. } => Trust::Roots(ca.clone()),
        };
        let changed = match &trust {
            Trust::Roots(Some(ca)) => Some(changed(ca).await.map_err(|error| bad_ca(ca, &error))?),
            _ => None,
        };
        let key = (trust, protocol);
        if let Some((at, config)) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && *at == changed
        {
            return Ok(config.clone());
        }
        let mut config = match &key.0 {
            Trust::Anything => build(|provider| Some(Arc::new(NoVerification(provider))), RootCertStore::empty())?,
            Trust::Roots(ca) => {
                let (ca, system_roots) = (ca.clone(), self.system_roots.clone());
                let load = move || load_roots(ca.as_deref(), &system_roots);
                let loaded = tokio::task::spawn_blocking(load).await;
                let roots = loaded.map_err(|_| Problem::Unclear("trusted roots could not be read".to_owned()))??;
                build(|_| None, roots)?
            }
        };
        if protocol == Protocol::H2 {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        let config = Arc::new(config);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= TLS_CONFIGS_MAX {
            kept.clear();
        }
        kept.insert(key, (changed, config.clone()));
        Ok(config)
    }

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn n_kept(&self) -> usize {
        self.kept.lock().expect("lock").len()
    }
}

async fn changed(path: &Path) -> io::Result<SystemTime> {
    tokio::fs::metadata(path).await?.modified()
}

/// A probe that lacks its trusted roots cannot be made.
fn bad_ca(path: &Path, error: &dyn std::fmt::Display) -> Problem {
    Problem::Unclear(format!("`ca` file `{}`: {error}", path.display()))
}

fn build(
    verifier: impl FnOnce(Arc<CryptoProvider>) -> Option<Arc<dyn ServerCertVerifier>>,
    roots: RootCertStore,
) -> Result<ClientConfig, Problem> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match verifier(provider) {
        Some(verifier) => builder.dangerous().with_custom_certificate_verifier(verifier),
        None => builder.with_root_certificates(roots),
    };
    let mut config = builder.with_no_client_auth();
    // A resumed session shows no certificate, and an expired one must be seen.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The system's roots and those in `ca`. Blocks on files.
fn load_roots(ca: Option<&Path>, system_roots: &OnceLock<RootCertStore>) -> Result<RootCertStore, Problem> {
    let system = system_roots.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    });
    let mut roots = system.clone();
    if let Some(ca) = ca {
        let size = std::fs::metadata(ca).map_err(|error| bad_ca(ca, &error))?.len();
        if size > CA_OCTETS_MAX {
            return Err(bad_ca(ca, &"too large"));
        }
        let pem = std::fs::read(ca).map_err(|error| bad_ca(ca, &error))?;
        let mut n_roots = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| bad_ca(ca, &error))?;
            roots.add(certificate).map_err(|error| bad_ca(ca, &super::tls_text(&error)))?;
            n_roots += 1;
        }
        if n_roots == 0 {
            return Err(bad_ca(ca, &"no certificate in it"));
        }
    }
    if roots.is_empty() {
        let text = "certificate: this system has no trusted roots, and the check has no `ca`";
        return Err(Problem::Unclear(text.to_owned()));
    }
    Ok(roots)
}

/// `verify = false`: any certificate, for any name, signed by anybody or nobody.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
