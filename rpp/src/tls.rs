//! Trust towards the proxy: which authorities vouch for it, and what a refused certificate means.

use std::{error::Error as StdError, path::Path, sync::Arc};

use d8_crds::values::digest::Digest;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use crate::error::{CertificateProblem, Error};

/// A CA file is read no further than this, in bytes.
const MAX_CA_FILE: u64 = 4 << 20;

/// Reads the certificates of a CA file.
pub(crate) fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bad = |why: String| Error::CaFile { path: path.to_owned(), why };
    let metadata = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?;
    if metadata.len() > MAX_CA_FILE {
        return Err(bad("it is larger than 4 MiB".to_owned()));
    }
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    parse_pem(&pem).map_err(bad)
}

/// The certificates of a PEM bundle: at least one, each usable as an authority.
pub(crate) fn parse_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("it is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        store.add(certificate.clone()).map_err(|error| format!("a certificate in it can't be used: {error}"))?;
    }
    Ok(certificates)
}

/// What tells one authority's key from another: SHA-256 of the `SubjectPublicKeyInfo`, as
/// `openssl x509 -noout -pubkey | openssl pkey -pubin -outform der | sha256sum` prints it.
pub(crate) fn keys(authorities: &[CertificateDer<'_>]) -> Vec<Digest> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(authorities.iter().cloned().map(CertificateDer::into_owned));
    store.roots.iter().map(|root| Digest::of(&sequence(&root.subject_public_key_info))).collect()
}

/// The content with the head that DER gives a sequence (X.690, 8.1.3): rustls keeps it without.
fn sequence(content: &[u8]) -> Vec<u8> {
    const SEQUENCE: u8 = 0x30;
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let head = match significant {
        [] => vec![SEQUENCE, 0],
        [short] if *short < 0x80 => vec![SEQUENCE, *short],
        // Never more than eight bytes.
        long => [&[SEQUENCE, 0x80 | u8::try_from(long.len()).unwrap_or_default()], long].concat(),
    };
    [&head, content].concat()
}

/// Who may vouch for an endpoint.
pub(crate) struct Roots<'a> {
    /// The machine's own authorities.
    pub(crate) system: bool,
    /// Authorities given beside them.
    pub(crate) extra: Vec<&'a [CertificateDer<'static>]>,
}

/// The TLS configuration of connections that verify; none of the machine's authorities is an error by
/// itself, as a CA file may be all that is needed.
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

/// The TLS configuration of connections that verify nothing. Only ever at a person's explicit wish.
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

/// What a failed connection says of the certificate; nothing if it failed otherwise.
pub(crate) fn certificate_problem(error: &(dyn StdError + 'static)) -> Option<CertificateProblem> {
    match find_rustls(error)? {
        rustls::Error::InvalidCertificate(problem) => Some(describe(problem)),
        rustls::Error::NoCertificatesPresented => Some(CertificateProblem::Other("none was shown".to_owned())),
        _ => None,
    }
}

/// Looks for rustls' own error, also inside of IO errors, whose `source` skips what they wrap.
fn find_rustls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

fn describe(problem: &CertificateError) -> CertificateProblem {
    match problem {
        // A bad signature is an authority of the same name with another key: `kubernetes` of two clusters.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => CertificateProblem::UnknownIssuer,
        CertificateError::NotValidForNameContext { expected, presented } => CertificateProblem::OtherHost {
            presented: presented.iter().take(8).map(|name| crate::text::one_line(name.as_bytes(), 128)).collect(),
            no_ip_names: matches!(expected, ServerName::IpAddress(_))
                && !presented.iter().any(|name| name.starts_with("IpAddress")),
        },
        CertificateError::NotValidForName => {
            CertificateProblem::OtherHost { presented: Vec::new(), no_ip_names: false }
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => CertificateProblem::Expired,
        other => CertificateProblem::Other(crate::text::one_line(other.to_string().as_bytes(), 256)),
    }
}

/// Accepts any certificate, but still demands a valid handshake signature.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As openssl has it: 91 bytes of an EC key, 294 of an RSA key of 2048 bits.
    #[test]
    fn sequences_of_all_lengths() {
        for (length, head) in [
            (0, &[0x30, 0][..]),
            (0x7f, &[0x30, 0x7f]),
            (0x80, &[0x30, 0x81, 0x80]),
            (0xff, &[0x30, 0x81, 0xff]),
            (0x122, &[0x30, 0x82, 0x01, 0x22]),
        ] {
            let content = vec![7; length];
            assert_eq!(sequence(&content), [head, &content].concat(), "{length}");
        }
    }

    #[test]
    fn an_authoritys_key_outlives_its_certificate() {
        use rcgen::PublicKeyData as _;
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = |name: &str| {
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            CertificateDer::from(params.self_signed(&key).unwrap().der().to_vec())
        };
        let digest = Digest::of(&key.subject_public_key_info());
        assert_eq!(keys(&[certificate("old"), certificate("new")]), [digest.clone(), digest]);
    }
}
