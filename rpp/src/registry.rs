//! A container registry: where it is, who asks it, and what its errors mean. Shared by the server, which
//! reads from it, and the packer, which writes to it.

mod credentials;

use std::{fmt, path::PathBuf, str::FromStr, sync::Mutex, sync::PoisonError, time::Duration};

use d8_crds::values::{digest::Digest, name::Component};
use oci_client::{
    Reference,
    client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol},
    errors::{OciDistributionError, OciErrorCode},
    secrets::RegistryAuth,
};

use self::credentials::Stamp;
use crate::{protocol::image, text::error_chain, tls};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the registry may say nothing.
const SILENCE: Duration = Duration::from_mins(1);

/// Where a registry is, and below which path it has the images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Without TLS.
    plain: bool,
    host: String,
    /// Empty, or without a slash at either end.
    prefix: String,
}

/// How to reach a registry.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Where it is.
    pub address: Address,
    /// Credentials, in the format of docker's `config.json`; read again when the file changes.
    pub credentials: Option<PathBuf>,
    /// Authorities that vouch for it beside the system's, PEM.
    pub ca_file: Option<PathBuf>,
}

/// Why the registry did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It has no such thing.
    #[error("the registry has no such image")]
    Absent,
    /// The files given cannot be used.
    #[error("{}: {why}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It failed, or refused.
    #[error("the registry: {0}")]
    Failed(String),
}

impl FromStr for Address {
    type Err = &'static str;

    /// `https://host[:port][/path]`; `http://` for one without TLS.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (plain, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err("it must begin with https:// or http://"),
        };
        let rest = rest.trim_end_matches('/');
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(of_host) {
            return Err("it has no host, or more than a host and a port");
        }
        // The grammar of repositories (OCI distribution spec), of which this is a part.
        let of_path = |part: &str| {
            part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
                && part.starts_with(|first: char| first.is_ascii_alphanumeric())
        };
        if !prefix.is_empty() && !prefix.split('/').all(of_path) {
            return Err("its path is no repository's");
        }
        Ok(Self { plain, host: host.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.plain { "http" } else { "https" }, self.host)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl Address {
    /// The component's repository.
    pub(crate) fn repository(&self, component: &Component) -> String {
        let image = image::name(component);
        if self.prefix.is_empty() { image } else { format!("{}/{image}", self.prefix) }
    }

    /// A tag or digest of a component.
    pub(crate) fn reference(&self, component: &Component, reference: &str) -> Reference {
        match reference.parse::<Digest>() {
            Ok(digest) => Reference::with_digest(self.host.clone(), self.repository(component), digest.to_string()),
            Err(_) => self.as_tag(component, reference),
        }
    }

    /// Whatever stands in the place of a tag.
    pub(crate) fn as_tag(&self, component: &Component, tag: &str) -> Reference {
        Reference::with_tag(self.host.clone(), self.repository(component), tag.to_owned())
    }
}

/// Requests to a registry, with credentials as they are now.
pub(crate) struct Access {
    options: RegistryOptions,
    certificates: Vec<Vec<u8>>,
    session: Mutex<Session>,
}

/// A client and the credentials it has; they are never shown.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) client: oci_client::Client,
    pub(crate) auth: RegistryAuth,
    stamp: Option<Stamp>,
}

impl Access {
    /// Reads the files; makes no request.
    pub(crate) fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        let certificates = match &options.ca_file {
            None => Vec::new(),
            Some(path) => tls::read_ca_file(path)
                .map_err(|error| RegistryError::Config { path: path.clone(), why: error.to_string() })?
                .iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
        };
        let stamp = stamp(&options)?;
        let session = open(&options, &certificates, stamp)?;
        Ok(Self { options, certificates, session: Mutex::new(session) })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.options.address
    }

    /// The client to ask with now: another one if the credentials were changed.
    pub(crate) fn session(&self) -> Result<Session, RegistryError> {
        let stamp = stamp(&self.options)?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if session.stamp != stamp {
            tracing::info!("the credentials for the registry have changed");
            *session = open(&self.options, &self.certificates, stamp)?;
        }
        Ok(session.clone())
    }
}

fn stamp(options: &RegistryOptions) -> Result<Option<Stamp>, RegistryError> {
    let stamp = options.credentials.as_ref().map(|path| {
        Stamp::of(path).map_err(|error| RegistryError::Config { path: path.clone(), why: error.to_string() })
    });
    stamp.transpose()
}

fn open(options: &RegistryOptions, certificates: &[Vec<u8>], stamp: Option<Stamp>) -> Result<Session, RegistryError> {
    let address = &options.address;
    let auth = match &options.credentials {
        None => RegistryAuth::Anonymous,
        Some(path) => credentials::read(path, &address.host, &address.prefix)
            .map_err(|why| RegistryError::Config { path: path.clone(), why })?,
    };
    let certificate = |der: &Vec<u8>| Certificate { encoding: CertificateEncoding::Der, data: der.clone() };
    let config = ClientConfig {
        protocol: if address.plain { ClientProtocol::Http } else { ClientProtocol::Https },
        extra_root_certificates: certificates.iter().map(certificate).collect(),
        platform_resolver: None,
        connect_timeout: Some(CONNECT),
        read_timeout: Some(SILENCE),
        user_agent: concat!("d8-rpp/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    let client = oci_client::Client::try_from(config).map_err(|error| RegistryError::from(&error))?;
    Ok(Session { client, auth, stamp })
}

impl From<&OciDistributionError> for RegistryError {
    fn from(error: &OciDistributionError) -> Self {
        use OciErrorCode::{BlobUnknown, ManifestBlobUnknown, ManifestUnknown, NameUnknown, NotFound};
        let absent = match error {
            OciDistributionError::ImageManifestNotFoundError(_) => true,
            OciDistributionError::ServerError { code, .. } => *code == 404,
            OciDistributionError::RegistryError { envelope, .. } => envelope.errors.iter().any(|error| {
                matches!(error.code, BlobUnknown | ManifestBlobUnknown | ManifestUnknown | NameUnknown | NotFound)
            }),
            _ => false,
        };
        if absent { Self::Absent } else { Self::Failed(error_chain(error)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown, repository) in [
            ("https://registry.example.com", "https://registry.example.com", "deckhouse-cli"),
            ("https://registry.example.com:5000/", "https://registry.example.com:5000", "deckhouse-cli"),
            ("http://127.0.0.1:5000/d8/ee/", "http://127.0.0.1:5000/d8/ee", "d8/ee/deckhouse-cli"),
            ("https://[::1]:5000/x", "https://[::1]:5000/x", "x/deckhouse-cli"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.repository(&Component::D8), repository);
        }
        for bad in [
            "",
            "registry",
            "registry:5000/x",
            "ftp://x",
            "https://",
            "https://u:p@host",
            "https://h/A",
            "https://h/a//b",
            "https://h/../b",
            "https://h?x",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
