//! TLS with a certificate and a key from files, read again when they change.
//!
//! Both are read at most once a second, when somebody connects, and compared byte by byte: names that stay while links
//! are moved beneath them (certbot, Kubernetes) are seen too. What cannot be used is logged once, and the old one stays.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use laked_catalog::system::System;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Kind, Result};

/// How long what was read is believed.
const BELIEVED: Duration = Duration::from_secs(1);

/// Where they lie.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate and those between it and its authority, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

struct Held {
    bytes: (Bytes, Bytes),
    looked: Duration,
    acceptor: TlsAcceptor,
}

/// The certificate as it is now.
pub struct Certificates {
    files: Files,
    system: System,
    held: Mutex<Held>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// `Invalid` if they are no certificate and its key; storage errors.
    pub fn open(files: Files, system: System) -> Result<Self> {
        let bytes = read(&files, &system)?;
        let acceptor = acceptor(&bytes, &files)?;
        let held = Held { bytes, looked: system.clock.monotonic(), acceptor };
        Ok(Self { files, system, held: Mutex::new(held) })
    }

    /// What greets who connects now. It may read files.
    pub fn current(&self) -> TlsAcceptor {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.system.clock.monotonic();
        if now.saturating_sub(held.looked) < BELIEVED {
            return held.acceptor.clone();
        }
        held.looked = now;
        match read(&self.files, &self.system) {
            Ok(bytes) if bytes == held.bytes => {}
            Ok(bytes) => {
                match acceptor(&bytes, &self.files) {
                    Ok(acceptor) => {
                        held.acceptor = acceptor;
                        tracing::info!(certificate = %self.files.certificate.display(), "read the new certificate");
                    }
                    Err(error) => tracing::error!(%error, "the new certificate cannot be used; the old one stays"),
                }
                held.bytes = bytes;
            }
            Err(error) => tracing::warn!(%error, "the certificate cannot be read; the old one stays"),
        }
        held.acceptor.clone()
    }
}

fn read(files: &Files, system: &System) -> Result<(Bytes, Bytes)> {
    let one = |path: &PathBuf| system.disk.read(path).map_err(|error| Error::from(error).with("file", path.display()));
    Ok((one(&files.certificate)?, one(&files.key)?))
}

fn acceptor((certificate, key): &(Bytes, Bytes), files: &Files) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| {
        Error::new(Kind::Invalid, "tls.certificate holds no certificate (PEM)")
            .with("file", files.certificate.display())
    })?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        Error::new(Kind::Invalid, "tls.key holds no private key (PEM)").with("file", files.key.display()).because(error)
    })?;
    let unfit = |error| Error::new(Kind::Invalid, "tls.certificate and tls.key do not go together").because(error);
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(unfit)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
