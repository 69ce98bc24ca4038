//! Kinds of errors: stable, for programs.

use std::fmt;

/// The stable name of an [`Error`]'s kind: for exit codes, metric labels and condition reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Wrong endpoint, CA file or their combination.
    Usage,
    /// No token could be had.
    Identity,
    /// The proxy was not found.
    Discovery,
    /// 401 of the Kubernetes API.
    ClusterUnauthorized,
    /// Another proxy than the one remembered.
    EndpointChanged,
    /// 401 of the proxy.
    Unauthorized,
    /// 403 of the proxy.
    Forbidden,
    /// Not published.
    NotFound,
    /// 5xx.
    Unavailable,
    /// A status the protocol does not know.
    UnexpectedStatus,
    /// A redirect.
    Redirect,
    /// No connection.
    Unreachable,
    /// Too slow.
    Timeout,
    /// The certificate is not accepted.
    Certificate,
    /// Truncated, or longer than announced.
    Truncated,
    /// Not the bytes that were asked for.
    DigestMismatch,
    /// Over a limit.
    TooLarge,
    /// An answer or a manifest that can't be understood.
    Malformed,
    /// The contract is wrong.
    Contract,
    /// The archive is wrong or lacks the executable.
    Archive,
    /// The caller's own disk or client failed.
    Local,
}

impl ErrorKind {
    /// The kind as it stands in metrics and conditions; never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "Usage",
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

    /// Whether this is "the proxy or the cluster could not be reached or refused the identity"
    /// (exit code 5), as opposed to a failure of what was asked for.
    pub const fn is_reach(self) -> bool {
        matches!(
            self,
            Self::Identity
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

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
