//! TLS towards the proxy: trusted authorities, and the checks of certificates.

pub(crate) mod authority;

use std::{path::Path, sync::Arc};

use d8_crds::values::limits::CA_FILE_BYTES;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

#[cfg(feature = "server")]
use crate::{
    certificate::{CertificateProblem, describe},
    text::one_line,
};
use crate::{error::Error, file::read_regular};

/// Reads the certificates in a CA file.
pub(crate) fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bad = |why: String| Error::CaFile { path: path.to_owned(), why };
    let pem = read_regular(path, CA_FILE_BYTES).map_err(|error| bad(error.to_string()))?;
    parse_pem(&pem).map_err(bad)
}

/// Reads the certificates in a PEM bundle. There is at least one, and each is usable as an authority.
pub(crate) fn parse_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("it is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err("it contains no certificate".to_owned());
    }
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        store.add(certificate.clone()).map_err(|error| format!("a certificate in it cannot be used: {error}"))?;
    }
    Ok(certificates)
}

/// The authorities that are trusted for an endpoint.
pub(crate) struct Roots<'a> {
    /// Whether the authorities of the system are trusted.
    pub(crate) system: bool,
    /// Authorities beside those of the system.
    pub(crate) extra: Vec<&'a [CertificateDer<'static>]>,
}

/// Returns a TLS configuration that verifies certificates. A system without authorities is not an error: the
/// further authorities may be sufficient.
pub(crate) fn verifying(roots: &Roots<'_>) -> Result<ClientConfig, Error> {
    let mut store = RootCertStore::empty();
    if roots.system {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    for certificate in roots.extra.iter().flat_map(|bundle| bundle.iter()) {
        store.add(certificate.clone()).map_err(|error| Error::Client { why: error.to_string() })?;
    }
    Ok(builder()?.with_root_certificates(store).with_no_client_auth())
}

/// Returns a TLS configuration that accepts any certificate. Only for a person's explicit request.
pub(crate) fn unverified() -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    Ok(builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAnything(provider)))
        .with_no_client_auth())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Client { why: error.to_string() })
}

/// Checks that clients can accept a server certificate: that it is not one of an authority, and that it is for servers.
/// Does not check the issuer and the validity period, because they depend on the client.
///
/// # Errors
/// What is wrong with the certificate.
#[cfg(feature = "server")]
pub(crate) fn check_server_certificate(chain: &[CertificateDer<'static>]) -> Result<(), CertificateProblem> {
    use rustls::{client::verify_server_cert_signed_by_trust_anchor, server::ParsedCertificate};
    let Some((certificate, intermediates)) = chain.split_first() else { return Ok(()) };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain.iter().cloned());
    let verified = ParsedCertificate::try_from(certificate).and_then(|parsed| {
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, intermediates, UnixTime::now(), algorithms)
    });
    match verified {
        Err(rustls::Error::InvalidCertificate(error)) => match describe(&error) {
            CertificateProblem::UnknownIssuer
            | CertificateProblem::Expired { .. }
            | CertificateProblem::NotYetValid { .. } => Ok(()),
            problem => Err(problem),
        },
        Err(error) => Err(CertificateProblem::Other(one_line(error.to_string().as_bytes(), 256))),
        Ok(()) => Ok(()),
    }
}

/// Accepts any certificate, but requires a valid handshake signature.
#[derive(Debug)]
struct AcceptAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnything {
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
