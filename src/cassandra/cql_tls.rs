//! TLS for CQL, as Medusa does it: `certfile` has the authorities, the chain is always checked, the
//! host's name only if `tls_host_name` says so, and a client certificate is shown if there is one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::cql_error::CqlError;
use crate::config::CqlTls;
use crate::tasks::within;

/// How connections are made safe; load it once and use it for every node.
#[derive(Clone)]
pub struct CqlTlsSettings {
    config: Arc<ClientConfig>,
}

impl std::fmt::Debug for CqlTlsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CqlTlsSettings").finish_non_exhaustive()
    }
}

impl CqlTlsSettings {
    /// Reads the files. With `check_name` the certificate must be for the name, or the address,
    /// that the node is called by; without it, any certificate of the authorities will do.
    pub fn load(files: &CqlTls, check_name: bool) -> Result<Self, CqlError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        let authorities = certificates(&files.certfile)?;
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|error| unfit(&files.certfile, &error))?;
        }
        let roots = Arc::new(roots);
        let verifier: Arc<dyn ServerCertVerifier> = if check_name {
            let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
            builder.build().map_err(|error| unfit(&files.certfile, &error))?
        } else {
            Arc::new(ChainOnly { roots, pinned: authorities, provider: Arc::clone(&provider) })
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unfit(&files.certfile, &error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &files.client {
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key_der =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| unfit_key(key, &error))?;
                builder.with_client_auth_cert(chain, key_der).map_err(|error| unfit(key, &error))?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self { config: Arc::new(config) })
    }

    /// Makes a connected stream safe. `name` is what the node is called by: a name or an address.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        name: &str,
        deadline: Duration,
    ) -> Result<TlsStream<S>, CqlError> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|error| CqlError::Tls(std::io::Error::other(error)))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let shaken = within(deadline, "for TLS with Cassandra", connector.connect(server, stream));
        shaken.await?.map_err(CqlError::Tls)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CqlError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found = read.map_err(|error| unfit(path, &error))?;
    if found.is_empty() {
        return Err(unfit(path, &"it holds no certificate in PEM"));
    }
    Ok(found)
}

fn unfit(path: &Path, what: &dyn std::fmt::Display) -> CqlError {
    CqlError::TlsFile { path: path.to_owned(), what: what.to_string() }
}

fn unfit_key(path: &Path, error: &rustls::pki_types::pem::Error) -> CqlError {
    let encrypted = std::fs::read_to_string(path).is_ok_and(|text| text.contains("ENCRYPTED"));
    if encrypted {
        return unfit(path, &"it is encrypted; take a key without a passphrase");
    }
    unfit(path, error)
}

/// Checks that an authority signed the certificate and that it is in date, whatever its names.
#[derive(Debug)]
struct ChainOnly {
    roots: Arc<RootCertStore>,
    /// The same authorities: a self-signed certificate of a node is often given as its own.
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let checked = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        );
        match checked {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            // webpki takes no authority for a server. If it is the very certificate that the
            // operator gave, and its dates are not what is wrong, it is proven.
            Err(error) if !is_about_dates(&error) && self.pinned.contains(end_entity) => {
                Ok(ServerCertVerified::assertion())
            }
            Err(error) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn is_about_dates(error: &TlsError) -> bool {
    matches!(
        error,
        TlsError::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        )
    )
}
