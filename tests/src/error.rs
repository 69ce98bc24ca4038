use std::{fmt, io};

/// A failure of the harness: to start something, or to run a command.
#[derive(thiserror::Error)]
pub enum Error {
    /// A file, pipe or process of the harness itself failed.
    #[error("{what}: {source}")]
    Io {
        /// What failed, with the file or program.
        what: String,
        /// The error of the system.
        source: io::Error,
    },
    /// A command did not end as expected.
    #[error("`{line}` ended with {code}\n{output}")]
    Command {
        /// The command as one would type it.
        line: String,
        /// Its exit code, or `signal N`.
        code: String,
        /// Its stderr, or its stdout where that is empty.
        output: String,
    },
    /// A command or a wait reached its time limit.
    #[error("{what}: not within {seconds} s\n{log}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The limit, in seconds.
        seconds: u64,
        /// The end of the server's log, if there is a server.
        log: String,
    },
    /// A server ended by itself.
    #[error("{name} ended by itself ({status}); its log ends with\n{log}")]
    Ended {
        /// Name of the server, such as `etcd`.
        name: String,
        /// Exit status in words, such as `exit status: 1`.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// A certificate or key could not be created.
    #[error("certificates of the control plane: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A Kubernetes client could not be created, or a call failed.
    #[error("Kubernetes client: {0}")]
    Kube(#[from] Box<kube::Error>),
    /// The output of a command or server is not as expected.
    #[error("{what}: {found}")]
    Unexpected {
        /// What was checked, such as `binary d8`.
        what: String,
        /// What is there instead, or why it could not be read.
        found: String,
    },
}

/// The result type of the harness.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Returns a function for `map_err` that adds what failed to an error of the system.
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

/// Tests return this error, and cargo prints its `Debug` form.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
