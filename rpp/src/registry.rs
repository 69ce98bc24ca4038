//! A container registry: its address, requests with its credentials, and what its errors mean. The server reads from
//! it, the packer writes to it.

mod credentials;
mod link;
mod pusher;
mod request;
pub(crate) mod tags;
mod token;

use std::{
    fmt,
    path::PathBuf,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use d8_crds::values::{digest::Digest, name::Component};
use oci_client::{
    Reference,
    errors::{OciDistributionError, OciErrorCode},
    secrets::RegistryAuth,
};

pub(crate) use self::pusher::PushClient;
use self::request::Tokens;
use crate::{file::FileVersion, forward_proxy::ProxyEnvironment, protocol::image, text::error_chain, tls};

/// Name of this program towards registries.
const USER_AGENT: &str = concat!("d8-rpp/", env!("CARGO_PKG_VERSION"));

/// Limit for a connection to the registry.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit for the next bytes from the registry.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// Address of a registry, and the path of the images in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether the registry is used without TLS.
    plain: bool,
    host: String,
    /// Empty, or without a slash at either end.
    prefix: String,
}

/// How to reach a registry.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Address of the registry.
    pub address: Address,
    /// File with credentials, in the format of docker's `config.json`. Read again when it changes.
    pub credentials: Option<PathBuf>,
    /// PEM file with authorities that are trusted in addition to those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Why a request to the registry failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry does not have the image.
    #[error("the registry has no such image")]
    NotFound,
    /// A given file is not usable.
    #[error("{}: {why}", path.display())]
    Config {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The registry has the image, and its content cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// The registry failed or refused the request.
    #[error("the registry: {0}")]
    Failed(String),
}

impl RegistryError {
    /// Returns whether a given file is the cause.
    pub(crate) fn is_invalid_input(&self) -> bool {
        matches!(self, Self::Config { .. })
    }
}

impl FromStr for Address {
    type Err = &'static str;

    /// Parses `https://host[:port][/path]`, or `http://…` for a registry without TLS.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (plain, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err("it must begin with https:// or http://"),
        };
        let rest = rest.trim_end_matches('/');
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host_byte) {
            return Err("it must contain a host and optionally a port, and nothing else before the path");
        }
        // A part of the grammar of repository names (OCI distribution spec).
        let is_path_part = |part: &str| {
            part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
                && part.starts_with(|first: char| first.is_ascii_alphanumeric())
        };
        if !prefix.is_empty() && !prefix.split('/').all(is_path_part) {
            return Err("its path is not a valid repository name");
        }
        Ok(Self { plain, host: host.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl Address {
    /// Scheme, host and port, as in a URL.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", if self.plain { "http" } else { "https" }, self.host)
    }

    /// Repository of the component.
    pub(crate) fn repository(&self, component: &Component) -> String {
        let image = image::name(component);
        if self.prefix.is_empty() { image } else { format!("{}/{image}", self.prefix) }
    }

    /// Reference to a tag or a digest of a component.
    pub(crate) fn reference(&self, component: &Component, reference: &str) -> Reference {
        match reference.parse::<Digest>() {
            Ok(digest) => Reference::with_digest(self.host.clone(), self.repository(component), digest.to_string()),
            Err(_) => self.tag_reference(component, reference),
        }
    }

    /// Reference with this text in the place of the tag.
    pub(crate) fn tag_reference(&self, component: &Component, tag: &str) -> Reference {
        Reference::with_tag(self.host.clone(), self.repository(component), tag.to_owned())
    }
}

/// Access to a registry with the credentials as they are now.
pub(crate) struct RegistryAccess {
    options: RegistryOptions,
    certificates: Vec<Vec<u8>>,
    session: Mutex<Session>,
}

/// A client and its credentials. The credentials are never shown.
#[derive(Clone)]
struct Session {
    auth: RegistryAuth,
    http: reqwest::Client,
    tokens: Arc<Tokens>,
    /// Version of the file with the credentials.
    version: Option<FileVersion>,
}

impl RegistryAccess {
    /// Reads the files. Makes no request.
    pub(crate) fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        let certificates = match &options.ca_file {
            None => Vec::new(),
            Some(path) => tls::read_ca_file(path)
                .map_err(|error| RegistryError::Config { path: path.clone(), why: error.to_string() })?
                .iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
        };
        let version = credentials_version(&options)?;
        let session = open(&options, &certificates, version)?;
        Ok(Self { options, certificates, session: Mutex::new(session) })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.options.address
    }

    /// Returns the client for the next request: a new one if the credentials changed.
    fn session(&self) -> Result<Session, RegistryError> {
        let version = credentials_version(&self.options)?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if session.version != version {
            tracing::info!("the credentials for the registry have changed");
            *session = open(&self.options, &self.certificates, version)?;
        }
        Ok(session.clone())
    }
}

fn credentials_version(options: &RegistryOptions) -> Result<Option<FileVersion>, RegistryError> {
    let version = options.credentials.as_ref().map(|path| {
        FileVersion::of(path).map_err(|error| RegistryError::Config { path: path.clone(), why: error.to_string() })
    });
    version.transpose()
}

fn open(
    options: &RegistryOptions,
    certificates: &[Vec<u8>],
    version: Option<FileVersion>,
) -> Result<Session, RegistryError> {
    let address = &options.address;
    let auth = match &options.credentials {
        None => None,
        Some(path) => {
            let found = credentials::read(path, &address.host, &address.prefix)
                .map_err(|why| RegistryError::Config { path: path.clone(), why })?;
            if found.is_none() {
                tracing::warn!(
                    file = %path.display(), host = address.host,
                    "the registry is read anonymously: the file has no credentials for this host"
                );
            }
            found
        }
    };
    let auth = auth.unwrap_or(RegistryAuth::Anonymous);
    let http = http_client(certificates, ProxyEnvironment::of_process())?;
    Ok(Session { auth, http, tokens: Arc::default(), version })
}

fn http_client(certificates: &[Vec<u8>], environment: ProxyEnvironment) -> Result<reqwest::Client, RegistryError> {
    let certificates =
        certificates.iter().map(|der| reqwest::Certificate::from_der(der)).collect::<Result<Vec<_>, _>>();
    let client = certificates.and_then(|certificates| {
        reqwest::Client::builder()
            .tls_certs_merge(certificates)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(USER_AGENT)
            .proxy(reqwest::Proxy::custom(move |url| environment.for_url(url).map(|proxy| proxy.url.to_string())))
            .tcp_nodelay(true)
            .build()
    });
    client.map_err(|error| RegistryError::Failed(error_chain(&error)))
}

impl From<&OciDistributionError> for RegistryError {
    fn from(error: &OciDistributionError) -> Self {
        use OciErrorCode::{BlobUnknown, ManifestBlobUnknown, ManifestUnknown, NameUnknown, NotFound};
        let not_found = match error {
            OciDistributionError::ImageManifestNotFoundError(_) => true,
            OciDistributionError::ServerError { code, .. } => *code == 404,
            OciDistributionError::RegistryError { envelope, .. } => envelope.errors.iter().any(|error| {
                matches!(error.code, BlobUnknown | ManifestBlobUnknown | ManifestUnknown | NameUnknown | NotFound)
            }),
            _ => false,
        };
        if not_found { Self::NotFound } else { Self::Failed(error_chain(error)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_registries() {
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
