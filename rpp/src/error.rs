//! Errors between a caller and the proxy, under stable kinds, with causes and fixes.

mod advice;
mod archive;
mod connection;
mod kind;
mod kubeconfig;
mod parts;

use std::{collections::BTreeSet, error::Error as StdError, io, path::PathBuf, time::Duration};

use d8_crds::{records::contract::ContractError, values::digest::Digest};

#[cfg(feature = "server")]
pub(crate) use self::advice::MAKE_SERVER_CERTIFICATE;
pub use self::{
    advice::Advice,
    archive::{ArchiveNames, OtherEntry},
    connection::{ForwardProxyError, NoIdentity},
    kind::ErrorKind,
    kubeconfig::{CredentialError, KubeconfigError, PluginOutput},
    parts::{ImageReference, TimeoutPhase},
};
use self::{
    archive::{Format, Missing},
    parts::{Seconds, Suffix},
};
use crate::{
    certificate::{self, CertificateProblem},
    content::Content,
    endpoint_pin::{EndpointIdentity, KeyList},
    forward_proxy::ForwardProxy,
    text::find,
};

/// Why a request to the proxy failed, or why its response is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The given endpoint is not usable. Found before any request.
    #[error("proxy endpoint {given:?}: {why}")]
    Endpoint {
        /// The endpoint as it was given.
        given: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// The given CA file is not usable. Found before any request.
    #[error("CA file {}: {why}", path.display())]
    CaFile {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Both a CA file and no verification were requested. Found before any request.
    #[error("a CA file for the proxy cannot be combined with skipping its verification")]
    CaWithInsecure,
    /// The kubeconfig cannot be used. Found before any request.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// The kubeconfig's identity gave no token.
    #[error("identity from the kubeconfig: {0}")]
    Identity(#[source] CredentialError),
    /// The client of the Kubernetes API could not be built.
    #[error("failed to build the client of the Kubernetes API at {server}: {why}")]
    ClusterClient {
        /// Address of the API server.
        server: String,
        /// What is wrong with the certificates in the kubeconfig.
        why: String,
    },
    /// The Kubernetes API refused a user without any credentials.
    #[error("you are anonymous to the Kubernetes API at {server}: {why}")]
    Anonymous {
        /// Address of the API server.
        server: String,
        /// Why the request had no credentials.
        why: NoIdentity,
    },
    /// The Kubernetes API was spoken to without TLS, and did not understand it.
    #[error("the Kubernetes API at {server} was spoken to in plain HTTP and answered 400: it expects https")]
    PlainHttp {
        /// Address of the API server.
        server: String,
    },
    /// The HTTP client could not be built.
    #[error("failed to build the HTTP client: {why}")]
    Client {
        /// Error of the HTTP or TLS library.
        why: String,
    },
    /// The proxy was not found through the Kubernetes API.
    #[error("failed to find the proxy: {why}")]
    Discovery {
        /// Address of the API server.
        server: String,
        /// What the API server said when it denied this identity to read an object. `None`: it denied nothing.
        denied: Option<String>,
        /// Error of the request to the API server, or why no lookup found an address.
        why: String,
    },
    /// The Kubernetes API refused the identity.
    #[error("the Kubernetes API at {server} did not accept the identity (401 Unauthorized)")]
    ClusterUnauthorized {
        /// Address of the API server.
        server: String,
    },
    /// The certificate of the Kubernetes API was refused.
    #[error("certificate of the Kubernetes API at {server}: {problem}")]
    ClusterCertificate {
        /// Address of the API server.
        server: String,
        /// Why the certificate was refused.
        problem: CertificateProblem,
    },
    /// There was no connection to the Kubernetes API through an HTTP or SOCKS proxy.
    #[error("the Kubernetes API at {server} cannot be reached through the {proxy}: {why}")]
    ClusterUnreachable {
        /// Address of the API server.
        server: String,
        /// The HTTP or SOCKS proxy.
        proxy: Box<ForwardProxy>,
        /// Error of the connection, with its causes.
        why: String,
    },
    /// The cluster announces another proxy than the pinned one.
    #[error("the proxy of {server} has changed: pinned {pinned}; now {announced}")]
    EndpointChanged {
        /// Address of the API server.
        server: String,
        /// The identity that was pinned on the first contact.
        pinned: Box<EndpointIdentity>,
        /// The identity that the cluster announces now.
        announced: Box<EndpointIdentity>,
    },
    /// No trusted key signed the certificate of the proxy. The cluster announces other keys for it.
    #[error(
        "certificate of the proxy at {host}: not signed by a trusted key; the cluster announces keys that are not \
         trusted: {}",
        KeyList(announced)
    )]
    UntrustedKey {
        /// Host of the proxy.
        host: String,
        /// The announced keys that are not trusted.
        announced: BTreeSet<Digest>,
    },
    /// The proxy answered 401.
    #[error("the proxy at {host} did not accept the identity (401 Unauthorized){}", Suffix(message))]
    Unauthorized {
        /// Host of the proxy.
        host: String,
        /// Whether the request had a token.
        token_sent: bool,
        /// Message of the server.
        message: String,
    },
    /// The proxy answered 403.
    #[error("the proxy at {host} does not allow this identity to download (403 Forbidden){}", Suffix(message))]
    Forbidden {
        /// Host of the proxy.
        host: String,
        /// Message of the server.
        message: String,
    },
    /// The proxy answered 404.
    #[error("{reference} is not published at the proxy (404 Not Found)")]
    NotFound {
        /// Image that the request was for.
        reference: ImageReference,
    },
    /// The proxy answered 5xx to the last attempt.
    #[error("the proxy at {host} failed: {path} answered {status}{}", Suffix(message))]
    Unavailable {
        /// Host of the proxy.
        host: String,
        /// Path of the request, without the host.
        path: String,
        /// HTTP status, 500 to 599.
        status: u16,
        /// Message of the server.
        message: String,
    },
    /// The proxy answered with a status that the protocol does not have.
    #[error("unexpected answer from the proxy at {host}: {method} {path} answered {status}{}", Suffix(message))]
    Status {
        /// Host of the proxy.
        host: String,
        /// HTTP method of the request.
        method: &'static str,
        /// Path of the request, without the host.
        path: String,
        /// HTTP status of the answer.
        status: u16,
        /// Message of the server.
        message: String,
    },
    /// The proxy answered with a redirect. Redirects are never followed.
    #[error("the proxy at {host} redirects {path} to {to} (status {status}); redirects are refused")]
    Redirect {
        /// Host of the proxy.
        host: String,
        /// Path of the request, without the host.
        path: String,
        /// HTTP status, 300 to 399.
        status: u16,
        /// Target of the redirect.
        to: String,
    },
    /// There was no connection, or it broke.
    #[error("the proxy at {host} cannot be reached: {why}")]
    Unreachable {
        /// Host of the proxy.
        host: String,
        /// Error of the connection, with its causes.
        why: String,
    },
    /// There was no connection through an HTTP or SOCKS proxy.
    #[error("the proxy at {host} cannot be reached through the {proxy}: {why}")]
    ForwardProxy {
        /// Host of the registry-packages-proxy.
        host: String,
        /// The HTTP or SOCKS proxy.
        proxy: Box<ForwardProxy>,
        /// Error of the connection, with its causes.
        why: String,
    },
    /// The proxy did not answer, or stopped sending, within a timeout.
    #[error("the proxy at {host}: no {phase} within {}", Seconds(*after))]
    Timeout {
        /// Host of the proxy.
        host: String,
        /// The phase that took too long.
        phase: TimeoutPhase,
        /// The timeout that passed.
        after: Duration,
    },
    /// The proxy's certificate was refused.
    #[error("certificate of the proxy at {host}: {problem}")]
    Certificate {
        /// Host of the proxy.
        host: String,
        /// Why the certificate was refused.
        problem: CertificateProblem,
    },
    /// A download is shorter or longer than announced.
    #[error("download of {reference}: got {got} bytes, {expected} were announced")]
    Length {
        /// Image that the request was for.
        reference: ImageReference,
        /// Announced size, in bytes.
        expected: u64,
        /// Received size, in bytes.
        got: u64,
    },
    /// The bytes do not have the expected digest.
    #[error("{reference}: digest mismatch: expected {expected}, got {got}")]
    Digest {
        /// Image that the request was for.
        reference: ImageReference,
        /// Digest by record or manifest.
        expected: Digest,
        /// Digest of the received bytes.
        got: Digest,
    },
    /// A document or a layer exceeds a limit.
    #[error("{what} of {reference} is larger than {limit} bytes")]
    TooLarge {
        /// Image that the request was for.
        reference: ImageReference,
        /// The part that is too large.
        what: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A response or a manifest cannot be parsed.
    #[error("{reference}: {why}")]
    Malformed {
        /// Image that the request was for.
        reference: ImageReference,
        /// What is wrong with it.
        why: String,
    },
    /// The published contract is not valid.
    #[error(transparent)]
    Contract(ContractError),
    /// The layer is not a valid archive.
    #[error("archive: {why}")]
    Archive {
        /// What is wrong with it.
        why: String,
    },
    /// The layer exceeds a limit when it is unpacked.
    #[error("archive: {what} is larger than {limit} bytes")]
    ArchiveTooLarge {
        /// The part that is too large.
        what: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The layer is no gzip tar.
    #[error("the layer is {}; expected a gzip tar", Format { found, in_gzip: *in_gzip })]
    LayerFormat {
        /// What the bytes are.
        found: Content,
        /// Whether the bytes are the content of a gzip stream.
        in_gzip: bool,
    },
    /// The layer lacks the executable.
    #[error("the layer has no executable: {}", Missing { entry, found: found.as_ref(), names, layers: *layers })]
    MissingExecutable {
        /// Name of the entry.
        entry: String,
        /// An entry with that name that is not a regular file.
        found: Option<OtherEntry>,
        /// Names of other entries.
        names: ArchiveNames,
        /// Number of layers of the image, if it is known.
        layers: Option<usize>,
    },
    /// A download that is read before its version is judged could not be written to a temporary file.
    #[error("cannot keep the download in {}: {error}", directory.display())]
    Spool {
        /// The directory that was tried last.
        directory: PathBuf,
        /// Error of the file system.
        error: io::Error,
    },
    /// The caller could not write the unpacked executable.
    #[error("cannot write the unpacked executable: {0}")]
    Sink(#[source] io::Error),
}

impl Error {
    /// Returns what a failed request to the Kubernetes API means if the kubeconfig or a certificate caused it; `None`
    /// for other failures.
    pub fn of_cluster(server: &str, error: &(dyn StdError + 'static)) -> Option<Self> {
        if let Some(credential) = find::<CredentialError>(error) {
            return Some(Self::Identity(credential.clone()));
        }
        let status = error.downcast_ref::<kube::Error>();
        if matches!(status, Some(kube::Error::Api(status)) if status.code == 400) && server.starts_with("http://") {
            return Some(Self::PlainHttp { server: server.to_owned() });
        }
        if let Some(problem) = certificate::problem_of(error) {
            return Some(Self::ClusterCertificate { server: server.to_owned(), problem });
        }
        let through = find::<ForwardProxyError>(error)?;
        let (proxy, why) = (Box::new(through.proxy.clone()), through.why());
        Some(Self::ClusterUnreachable { server: server.to_owned(), proxy, why })
    }

    /// Returns the error that a download's body reported through a reader, or the reader's own error.
    pub fn from_reader(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(other) => Self::Archive { why: format!("cannot be read: {other}") },
        }
    }
}
