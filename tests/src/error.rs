use std::{fmt, io};

/// What can go wrong while the harness brings something up or runs a command.
#[derive(thiserror::Error)]
pub enum Error {
    /// A file, pipe or process of the harness itself.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, naming the file or program.
        what: String,
        /// The system's own words.
        source: io::Error,
    },
    /// A command that had to succeed did not.
    #[error("`{line}` ended with {code}\n{output}")]
    Command {
        /// The command as one would type it.
        line: String,
        /// Its exit code, or `signal N`.
        code: String,
        /// Its stderr, or its stdout where that is empty.
        output: String,
    },
    /// A command or a wait took longer than it may.
    #[error("{what}: not within {seconds} s\n{log}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The limit, in seconds.
        seconds: u64,
        /// The end of the log that tells why, if there is one.
        log: String,
    },
    /// A server ended before it was asked to.
    #[error("{name} ended by itself ({status}); its log ends with\n{log}")]
    Ended {
        /// Which server.
        name: String,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// A certificate or key could not be made.
    #[error("certificates of the control plane: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A Kubernetes client could not be built or a call failed.
    #[error("Kubernetes client: {0}")]
    Kube(#[from] Box<kube::Error>),
    /// Something that a command or server printed is not what it should be.
    #[error("{what}: {found}")]
    Unexpected {
        /// What was read.
        what: String,
        /// What was found there.
        found: String,
    },
}

/// Result of the harness.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err`: adds what was being done to an error of the system.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kube(Box::new(error))
    }
}

/// Tests return this error, and what cargo prints then is its `Debug`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
