//! Everything that can go wrong between a caller and the proxy, under stable kinds.

mod advice;
mod kind;
mod parts;

use std::{io, path::PathBuf, time::Duration};

use d8_crds::{records::contract::ContractError, values::digest::Digest};

use self::parts::{Instead, Seconds, Words};
pub use self::{
    advice::Advice,
    kind::ErrorKind,
    parts::{CertificateProblem, ImageReference, TimeoutPhase},
};
use crate::endpoint_pin::EndpointIdentity;

/// Why the proxy could not be used, or what it gave could not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The endpoint given is not usable; found before any request.
    #[error("proxy endpoint {given:?}: {why}")]
    Endpoint {
        /// What was given.
        given: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// The CA file given is not usable; found before any request.
    #[error("CA file {}: {why}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Skipping verification and a CA file were asked for at once; found before any request.
    #[error("a CA file for the proxy and skipping its verification exclude each other")]
    CaWithInsecure,
    /// The kubeconfig's identity could not be turned into a token.
    #[error("identity from the kubeconfig: {why}")]
    Identity {
        /// What failed.
        why: String,
    },
    /// The HTTP client could not be made.
    #[error("HTTP client: {why}")]
    Client {
        /// What failed.
        why: String,
    },
    /// The proxy could not be found through the Kubernetes API.
    #[error("proxy endpoint discovery: {why}")]
    Discovery {
        /// The API server asked.
        server: String,
        /// Somewhere it was only that this identity may not look.
        denied: bool,
        /// What failed.
        why: String,
    },
    /// The Kubernetes API, not the proxy, refused the identity.
    #[error("the Kubernetes API at {server} did not accept the identity (401 Unauthorized)")]
    ClusterUnauthorized {
        /// The API server asked.
        server: String,
    },
    /// The certificate of the Kubernetes API, not the proxy's, is not trusted, or not its own.
    #[error("certificate of the Kubernetes API at {server}: {problem}")]
    ClusterCertificate {
        /// The API server asked.
        server: String,
        /// What is wrong with it.
        problem: CertificateProblem,
    },
    /// The cluster names another proxy than the one remembered of it.
    #[error("the proxy of {server} is not the one remembered: remembered {remembered}; now {announced}")]
    EndpointChanged {
        /// The API server asked.
        server: String,
        /// What is remembered.
        remembered: Box<EndpointIdentity>,
        /// What the cluster says now.
        announced: Box<EndpointIdentity>,
    },
    /// 401 from the proxy.
    #[error("the proxy at {host} did not accept the identity (401 Unauthorized){}", Words(words))]
    Unauthorized {
        /// The proxy's host.
        host: String,
        /// Whether a token was sent at all.
        token_sent: bool,
        /// The server's words.
        words: String,
    },
    /// 403 from the proxy.
    #[error("the proxy at {host} does not allow this identity to download (403 Forbidden){}", Words(words))]
    Forbidden {
        /// The proxy's host.
        host: String,
        /// The server's words.
        words: String,
    },
    /// 404 from the proxy.
    #[error("{subject} is not published at the proxy (404 Not Found)")]
    NotFound {
        /// What was asked for.
        subject: ImageReference,
    },
    /// 5xx from the proxy, after the last try.
    #[error("the proxy at {host} failed: {path} answered {status}{}", Words(words))]
    Unavailable {
        /// The proxy's host.
        host: String,
        /// The path asked for.
        path: String,
        /// The status.
        status: u16,
        /// The server's words.
        words: String,
    },
    /// A status that the protocol does not know.
    #[error("unexpected answer from the proxy at {host}: {method} {path} answered {status}{}", Words(words))]
    Status {
        /// The proxy's host.
        host: String,
        /// The method.
        method: &'static str,
        /// The path asked for.
        path: String,
        /// The status.
        status: u16,
        /// The server's words.
        words: String,
    },
    /// A redirect; never followed.
    #[error("the proxy at {host} redirects {path} to {to} (status {status}); redirects are refused")]
    Redirect {
        /// The proxy's host.
        host: String,
        /// The path asked for.
        path: String,
        /// The status.
        status: u16,
        /// Where to.
        to: String,
    },
    /// No connection, or one that broke.
    #[error("the proxy at {host} can't be reached: {why}")]
    Unreachable {
        /// The proxy's host.
        host: String,
        /// What failed.
        why: String,
    },
    /// It took too long.
    #[error("the proxy at {host}: no {waiting} within {}", Seconds(*after))]
    Timeout {
        /// The proxy's host.
        host: String,
        /// For what.
        waiting: TimeoutPhase,
        /// How long was waited.
        after: Duration,
    },
    /// The proxy's certificate is not trusted, or not its own.
    #[error("certificate of the proxy at {host}: {problem}")]
    Certificate {
        /// The proxy's host.
        host: String,
        /// What is wrong with it.
        problem: CertificateProblem,
    },
    /// The body ended early or went on too long.
    #[error("download of {subject}: got {got} bytes, {expected} were announced")]
    Length {
        /// What was downloaded.
        subject: ImageReference,
        /// Bytes announced.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// The bytes are not the ones asked for.
    #[error("{subject}: digest mismatch: expected {expected}, got {got}")]
    Digest {
        /// What was read.
        subject: ImageReference,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        got: Digest,
    },
    /// Larger than is accepted.
    #[error("{what} of {subject} is larger than {limit} bytes")]
    TooLarge {
        /// What was read.
        subject: ImageReference,
        /// Which part of it.
        what: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// An answer that can't be understood.
    #[error("{subject}: {why}")]
    Malformed {
        /// What was read.
        subject: ImageReference,
        /// What is wrong with it.
        why: String,
    },
    /// The published contract is wrong.
    #[error(transparent)]
    Contract(ContractError),
    /// The layer is not the archive it should be.
    #[error("archive: {why}")]
    Archive {
        /// What is wrong with it.
        why: String,
    },
    /// The layer unpacks to more than is accepted.
    #[error("archive: {what} is larger than {limit} bytes")]
    ArchiveTooLarge {
        /// Which part of it.
        what: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The layer lacks the executable.
    #[error("the archive has no executable: entry `{entry}` is missing{}", Instead(*found))]
    MissingExecutable {
        /// The entry looked for.
        entry: String,
        /// What bears its name, though it is no regular file.
        found: Option<&'static str>,
    },
    /// A download that had to be looked into first could not be kept meanwhile.
    #[error("keeping the download in {}: {error}", folder.display())]
    Spool {
        /// The folder tried last.
        folder: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// What was unpacked could not be written; the caller's own error.
    #[error("writing what was unpacked: {0}")]
    Sink(#[source] io::Error),
}

impl Error {
    /// The stable kind.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Endpoint { .. } | Self::CaFile { .. } | Self::CaWithInsecure => ErrorKind::Usage,
            Self::Identity { .. } => ErrorKind::Identity,
            Self::Discovery { .. } | Self::ClusterCertificate { .. } => ErrorKind::Discovery,
            Self::EndpointChanged { .. } => ErrorKind::EndpointChanged,
            Self::ClusterUnauthorized { .. } => ErrorKind::ClusterUnauthorized,
            Self::Unauthorized { .. } => ErrorKind::Unauthorized,
            Self::Forbidden { .. } => ErrorKind::Forbidden,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Status { .. } => ErrorKind::UnexpectedStatus,
            Self::Redirect { .. } => ErrorKind::Redirect,
            Self::Unreachable { .. } => ErrorKind::Unreachable,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Certificate { .. } => ErrorKind::Certificate,
            Self::Length { .. } => ErrorKind::Truncated,
            Self::Digest { .. } => ErrorKind::DigestMismatch,
            Self::TooLarge { .. } | Self::ArchiveTooLarge { .. } => ErrorKind::TooLarge,
            Self::Malformed { .. } => ErrorKind::Malformed,
            Self::Contract(_) => ErrorKind::Contract,
            Self::Archive { .. } | Self::MissingExecutable { .. } => ErrorKind::Archive,
            Self::Client { .. } | Self::Spool { .. } | Self::Sink(_) => ErrorKind::Local,
        }
    }

    /// Whether the same question may get another answer in a moment: network errors and 5xx. The
    /// client itself has tried three times by then; a body that breaks is its reader's to ask for again.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unreachable { .. } | Self::Timeout { .. } | Self::Length { .. })
    }

    /// The error that a [`crate::Body`] handed through a reader, or the reader's own.
    pub fn from_reader(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(other) => Self::Archive { why: format!("reading it: {other}") },
        }
    }
}
