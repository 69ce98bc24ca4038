//! Everything that can go wrong between a caller and the proxy, under stable kinds.

use std::{fmt, io, path::PathBuf, time::Duration};

use d8_crds::{
    contract::ContractError,
    digest::Digest,
    name::{Component, Tag},
};

use crate::remember::Announced;

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
        remembered: Box<Announced>,
        /// What the cluster says now.
        announced: Box<Announced>,
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
        subject: Subject,
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
        waiting: Waiting,
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
        subject: Subject,
        /// Bytes announced.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// The bytes are not the ones asked for.
    #[error("{subject}: digest mismatch: expected {expected}, got {got}")]
    Digest {
        /// What was read.
        subject: Subject,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        got: Digest,
    },
    /// Larger than is accepted.
    #[error("{what} of {subject} is larger than {limit} bytes")]
    TooLarge {
        /// What was read.
        subject: Subject,
        /// Which part of it.
        what: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// An answer that can't be understood.
    #[error("{subject}: {why}")]
    Malformed {
        /// What was read.
        subject: Subject,
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

/// What a question to the proxy was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The component.
    pub component: Component,
    /// Its tag or digest; none for the tag list.
    pub reference: Option<String>,
}

impl Subject {
    pub(crate) fn tags(component: &Component) -> Self {
        Self { component: component.clone(), reference: None }
    }

    pub(crate) fn reference(component: &Component, reference: &str) -> Self {
        Self { component: component.clone(), reference: Some(reference.to_owned()) }
    }

    pub(crate) fn tag(component: &Component, tag: &Tag) -> Self {
        Self::reference(component, tag.as_str())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.component {
            Component::D8 => f.write_str("d8")?,
            Component::Plugin(name) => write!(f, "plugin {name}")?,
        }
        match &self.reference {
            Some(reference) => write!(f, " {reference}"),
            None => Ok(()),
        }
    }
}

/// What was waited for in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// TCP and TLS.
    Connection,
    /// The answer's headers.
    Answer,
    /// More of the body.
    Data,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "connection",
            Self::Answer => "answer",
            Self::Data => "more data",
        })
    }
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateProblem {
    /// Signed by none that is trusted.
    UnknownIssuer,
    /// Made for other names.
    OtherHost {
        /// The names it was made for.
        presented: Vec<String>,
        /// The host asked for is an IP address, and the certificate names none.
        no_ip_names: bool,
    },
    /// Its time has passed, or is yet to come.
    Expired,
    /// Anything else.
    Other(String),
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownIssuer => f.write_str("signed by an authority that is not trusted here"),
            Self::OtherHost { presented, .. } if presented.is_empty() => f.write_str("made for another host"),
            Self::OtherHost { presented, .. } => write!(f, "made for {}", presented.join(", ")),
            Self::Expired => f.write_str("not valid at this time"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// A server's words behind a colon; nothing if it said nothing.
struct Words<'a>(&'a str);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

/// What stands in the executable's place.
struct Instead(Option<&'static str>);

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |found| write!(f, " (what bears that name is {found})"))
    }
}

/// A duration as people read it.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() == 0 {
            write!(f, "{} s", self.0.as_secs())
        } else {
            write!(f, "{} ms", self.0.as_millis())
        }
    }
}
