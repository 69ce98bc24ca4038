//! Certificates and keys of one control plane. Each start creates new ones; they are removed with its directory.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use d8_crds::values::digest::Digest;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, SanType, date_time_ymd,
};

use crate::Result;
use crate::process::Scratch;

/// A certificate authority (CA).
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    params: CertificateParams,
    /// The CA's certificate, PEM.
    pub pem: String,
    /// The file that has this certificate.
    pub file: PathBuf,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate without that of its CA, PEM.
    pub certificate: PathBuf,
    /// The private key, PKCS#8 PEM.
    pub key: PathBuf,
}

impl Authority {
    /// Creates one with a new key.
    pub fn new(scratch: &Scratch, name: &str) -> Result<Self> {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let file = scratch.write(&format!("{name}.crt"), &pem)?;
        Ok(Self { issuer: Issuer::new(params.clone(), key), params, pem, file })
    }

    /// SHA-256 of the CA's key, as d8 shows it.
    pub fn key(&self) -> Digest {
        Digest::of(&self.issuer.key().subject_public_key_info())
    }

    /// Issues a certificate of this CA's key that another CA signs, PEM.
    pub fn signed_by(&self, other: &Self) -> Result<String> {
        Ok(self.params.signed_by(self.issuer.key(), &other.issuer)?.pem())
    }

    /// Issues a certificate for a server on 127.0.0.1.
    pub fn server(&self, scratch: &Scratch, name: &str) -> Result<Pair> {
        self.issue(scratch, name, server_params(name)?, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// As [`Self::server`], valid from the year 2090.
    pub(crate) fn future_server(&self, scratch: &Scratch, name: &str) -> Result<Pair> {
        let mut params = server_params(name)?;
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2099, 1, 1);
        self.issue(scratch, name, params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues a certificate for a client.
    pub(crate) fn client(&self, scratch: &Scratch, name: &str) -> Result<Pair> {
        self.issue(scratch, name, params(name), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(
        &self,
        scratch: &Scratch,
        name: &str,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Pair> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair {
            certificate: scratch.write(&format!("{name}.crt"), certificate.pem())?,
            key: scratch.write(&format!("{name}.key"), key.serialize_pem())?,
        })
    }
}

/// The key pair for `ServiceAccount` tokens.
pub(crate) struct SigningKey {
    /// Signs tokens, PKCS#8 PEM.
    pub(crate) private: PathBuf,
    /// Verifies tokens, PEM of the public key.
    pub(crate) public: PathBuf,
}

impl SigningKey {
    pub(crate) fn new(scratch: &Scratch) -> Result<Self> {
        let key = KeyPair::generate()?;
        Ok(Self {
            private: scratch.write("service-accounts.key", key.serialize_pem())?,
            public: scratch.write("service-accounts.pub", key.public_key_pem())?,
        })
    }
}

fn server_params(name: &str) -> Result<CertificateParams> {
    let mut params = params(name);
    params.subject_alt_names =
        vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)), SanType::DnsName("localhost".try_into()?)];
    Ok(params)
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
