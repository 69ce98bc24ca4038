//! Kinds of errors: stable, for programs.

use std::fmt;

use super::Error;

/// The stable kind of an [`Error`]: for exit codes, metric labels and condition reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The endpoint, the CA file or their combination is not usable.
    Usage,
    /// The kubeconfig is missing or not usable.
    Kubeconfig,
    /// The kubeconfig gave no usable token.
    Identity,
    /// The proxy was not found.
    Discovery,
    /// The Kubernetes API answered 401.
    ClusterUnauthorized,
    /// The cluster names another proxy than the pinned one, or the proxy has another key than the pinned ones.
    EndpointChanged,
    /// The proxy answered 401.
    Unauthorized,
    /// The proxy answered 403.
    Forbidden,
    /// The image is not published.
    NotFound,
    /// The proxy answered 5xx.
    Unavailable,
    /// The proxy answered with a status that the protocol does not have.
    UnexpectedStatus,
    /// The proxy answered with a redirect.
    Redirect,
    /// There was no connection, or it broke.
    Unreachable,
    /// The proxy did not answer, or stopped sending, within a timeout.
    Timeout,
    /// The proxy's certificate was refused.
    Certificate,
    /// A download is shorter or longer than announced.
    Truncated,
    /// The bytes do not have the expected digest.
    DigestMismatch,
    /// A document or a download exceeds a limit.
    TooLarge,
    /// A response or a manifest cannot be parsed.
    Malformed,
    /// The published contract is not valid.
    Contract,
    /// The archive is broken, or it lacks the executable.
    Archive,
    /// The caller's own disk or HTTP client failed.
    Local,
}

impl ErrorKind {
    /// Returns the name of the kind in metrics and conditions. Never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "Usage",
            Self::Kubeconfig => "Kubeconfig",
            Self::Identity => "Identity",
            Self::Discovery => "Discovery",
            Self::ClusterUnauthorized => "ClusterUnauthorized",
            Self::EndpointChanged => "EndpointChanged",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::Unavailable => "Unavailable",
            Self::UnexpectedStatus => "UnexpectedStatus",
            Self::Redirect => "Redirect",
            Self::Unreachable => "Unreachable",
            Self::Timeout => "Timeout",
            Self::Certificate => "Certificate",
            Self::Truncated => "Truncated",
            Self::DigestMismatch => "DigestMismatch",
            Self::TooLarge => "TooLarge",
            Self::Malformed => "Malformed",
            Self::Contract => "Contract",
            Self::Archive => "Archive",
            Self::Local => "Local",
        }
    }

    /// Returns whether the proxy or the cluster could not be reached or refused the identity (exit code 5).
    pub const fn is_reach(self) -> bool {
        matches!(
            self,
            Self::Kubeconfig
                | Self::Identity
                | Self::Discovery
                | Self::ClusterUnauthorized
                | Self::EndpointChanged
                | Self::Unauthorized
                | Self::Forbidden
                | Self::Unavailable
                | Self::UnexpectedStatus
                | Self::Redirect
                | Self::Unreachable
                | Self::Timeout
                | Self::Certificate
        )
    }
}

impl Error {
    /// Returns the stable kind of this error.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Endpoint { .. } | Self::CaFile { .. } | Self::CaWithInsecure => ErrorKind::Usage,
            Self::Kubeconfig(_) | Self::ClusterClient { .. } | Self::PlainHttp { .. } => ErrorKind::Kubeconfig,
            Self::Identity(_) | Self::Anonymous { .. } => ErrorKind::Identity,
            Self::Discovery { .. } | Self::ClusterCertificate { .. } | Self::ClusterUnreachable { .. } => {
                ErrorKind::Discovery
            }
            Self::EndpointChanged { .. } | Self::UntrustedKey { .. } => ErrorKind::EndpointChanged,
            Self::ClusterUnauthorized { .. } => ErrorKind::ClusterUnauthorized,
            Self::Unauthorized { .. } => ErrorKind::Unauthorized,
            Self::Forbidden { .. } => ErrorKind::Forbidden,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Status { .. } => ErrorKind::UnexpectedStatus,
            Self::Redirect { .. } => ErrorKind::Redirect,
            Self::Unreachable { .. } | Self::ForwardProxy { .. } => ErrorKind::Unreachable,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Certificate { .. } => ErrorKind::Certificate,
            Self::Length { .. } => ErrorKind::Truncated,
            Self::Digest { .. } => ErrorKind::DigestMismatch,
            Self::TooLarge { .. } | Self::ArchiveTooLarge { .. } => ErrorKind::TooLarge,
            Self::Malformed { .. } => ErrorKind::Malformed,
            Self::Contract(_) => ErrorKind::Contract,
            Self::Archive { .. } | Self::LayerFormat { .. } | Self::MissingExecutable { .. } => ErrorKind::Archive,
            Self::Client { .. } | Self::Spool { .. } | Self::Sink(_) => ErrorKind::Local,
        }
    }

    /// Returns whether the same request may succeed in a moment: network errors and 5xx. Requests were retried
    /// already when this error is returned; a body that broke was not.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::Unreachable { .. }
                | Self::ForwardProxy { .. }
                | Self::Timeout { .. }
                | Self::Length { .. }
        )
    }

    /// Returns whether the kubeconfig, its identity or the certificate of its server must be corrected before the
    /// Kubernetes API can be asked.
    pub const fn is_access_fault(&self) -> bool {
        matches!(
            self,
            Self::Kubeconfig(_)
                | Self::Identity(_)
                | Self::ClusterClient { .. }
                | Self::PlainHttp { .. }
                | Self::Anonymous { .. }
                | Self::ClusterUnauthorized { .. }
                | Self::ClusterCertificate { .. }
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
