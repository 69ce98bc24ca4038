//! The identity of this machine as a managed host, on disk.
//!
//! [`DIRECTORY`] has `host.json`, which every d8 on the machine reads (the name of the host and the labels that
//! policies select it by), and `kubeconfig` and `token`, which only the agent reads.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use d8_crds::values::{host_name::HostName, limits};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    agent_status::AgentStatus,
    cluster::Token,
    disk::{self, flock::flock},
    enrolment::Enrolment,
    error::StoreError,
    failed_changes::FailedChanges,
    install_root::trust,
    machine_identity::MachineIdentity,
};

/// Where the identity of a machine is.
pub const DIRECTORY: &str = "/var/lib/d8-agent";

/// The files in it.
const HOST: &str = "host.json";
const KUBECONFIG: &str = "kubeconfig";
const TOKEN: &str = "token";
const TOKEN_TIMES: &str = "token.json";
const FAILURES: &str = "failures.json";
const STATUS: &str = "status.json";
const LOCK: &str = "agent.lock";
const MACHINE: &str = "machine.json";

const NOT_REGULAR: &str = "it is not a regular file of at most 1 MiB";

/// When the token of a host was issued, and when it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenTimes {
    /// When it was issued, by the clock of the host.
    pub issued: Timestamp,
    /// When it expires, by the clock of the API server.
    pub expires: Timestamp,
}

impl TokenTimes {
    /// Returns whether half of its life is over, so that it is to be renewed. A clock that was set back renews it, too.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let life = self.expires.duration_since(self.issued);
        now < self.issued || now.duration_since(self.issued) * 2 >= life
    }
}

/// A managed host, as its `CliHost` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledHost {
    /// Its name.
    pub name: HostName,
    /// The labels that policies select it by.
    pub labels: BTreeMap<String, String>,
}

/// Why the identity of this machine cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum EnrolledHostError {
    /// Others than root can change it, so that it proves nothing.
    #[error(transparent)]
    Untrusted(#[from] StoreError),
    /// A file cannot be read or written.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// `host.json` is damaged.
    #[error("{path} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: serde_json::Error,
    },
}

/// The right to act as the agent of the host, which one process has at most.
#[derive(Debug)]
pub struct AgentLock {
    _file: File,
}

/// The directory with the identity of a machine.
#[derive(Debug, Clone)]
pub struct EnrolledHostState {
    directory: PathBuf,
}

impl EnrolledHostState {
    /// Opens no file yet.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the kubeconfig of the agent.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join(KUBECONFIG)
    }

    /// Fails if others than root could have written the kubeconfig or the token, or if something else is in their place.
    /// The kubeconfig may name a program that is run as root.
    ///
    /// # Errors
    /// [`EnrolledHostError`]
    pub fn check_access(&self) -> Result<(), EnrolledHostError> {
        for path in [KUBECONFIG, TOKEN].map(|name| self.directory.join(name)) {
            let io_error = |source| EnrolledHostError::Io { path: path.clone(), source };
            let Some(found) = disk::lstat(&path).map_err(io_error)? else { continue };
            trust::whole_path(&path)?;
            if !found.is_file() {
                return Err(io_error(io::Error::other(NOT_REGULAR)));
            }
        }
        Ok(())
    }

    /// Returns which host this machine is; `None`: it is not managed.
    ///
    /// # Errors
    /// [`EnrolledHostError`]. A caller must not take such a machine for one that is not managed.
    pub fn read(&self) -> Result<Option<EnrolledHost>, EnrolledHostError> {
        self.read_json(HOST)
    }

    /// Reads a file that nobody but root can change; `None`: it does not exist.
    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, EnrolledHostError> {
        let path = self.directory.join(name);
        let io_error = |source| EnrolledHostError::Io { path: path.clone(), source };
        if disk::lstat(&path).map_err(io_error)?.is_none() {
            return Ok(None);
        }
        trust::whole_path(&path)?;
        // What is in place of the file, or is too large, proves nothing, and must not count as an absent file.
        let Some(bytes) = disk::read_small_regular(&path, limits::RECEIPT_BYTES).map_err(io_error)? else {
            return Err(io_error(io::Error::other(NOT_REGULAR)));
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| EnrolledHostError::Damaged { path, source })
    }

    /// Stores the identity. The token is on the disk before the kubeconfig that names it, and `host.json`, which makes
    /// the machine a managed host, comes last.
    ///
    /// # Errors
    /// [`EnrolledHostError`]
    pub fn save(
        &self,
        enrolment: &Enrolment,
        token: &Token,
        host: &EnrolledHost,
        now: Timestamp,
    ) -> Result<(), EnrolledHostError> {
        disk::make_dirs(&self.directory, &mut Vec::new())
            .map_err(|source| EnrolledHostError::Io { path: self.directory.clone(), source })?;
        trust::whole_path(&self.directory)?;
        self.save_token(token, now)?;
        // The machine that joins is the host from now on, whatever reported before.
        self.save_machine(&MachineIdentity::default())?;
        let mut kubeconfig = enrolment.to_json();
        if let Some(user) = kubeconfig.pointer_mut("/users/0/user") {
            *user = json!({"tokenFile": self.directory.join(TOKEN)});
        }
        self.replace(KUBECONFIG, format!("{kubeconfig:#}\n").as_bytes(), disk::PRIVATE)?;
        self.save_host(host)
    }

    /// Replaces the token, as its renewal does.
    ///
    /// # Errors
    /// [`EnrolledHostError`]
    pub fn save_token(&self, token: &Token, now: Timestamp) -> Result<(), EnrolledHostError> {
        self.replace(TOKEN, token.secret.as_bytes(), disk::PRIVATE)?;
        self.save_json(TOKEN_TIMES, &TokenTimes { issued: now, expires: token.expires }, disk::PRIVATE)
    }

    /// Returns the times of the token. `None`: they are not known, so that the token is to be renewed.
    pub fn token_times(&self) -> Option<TokenTimes> {
        self.read_json(TOKEN_TIMES).ok().flatten()
    }

    /// Returns the changes that failed. A damaged file is none: the changes are tried again.
    pub fn failures(&self) -> FailedChanges {
        self.read_json(FAILURES).ok().flatten().unwrap_or_default()
    }

    /// Stores the changes that failed.
    ///
    /// # Errors
    /// [`EnrolledHostError`]
    pub fn save_failures(&self, failures: &FailedChanges) -> Result<(), EnrolledHostError> {
        self.save_json(FAILURES, failures, disk::PLAIN)
    }

    /// Returns what this machine remembers of its reports. A damaged file is that of a machine that has just joined.
    pub fn machine(&self) -> MachineIdentity {
        self.read_json(MACHINE).ok().flatten().unwrap_or_default()
    }

    /// Stores what this machine remembers of its reports.
    ///
    /// # Errors
    /// [`EnrolledHostError`]
    pub fn save_machine(&self, machine: &MachineIdentity) -> Result<(), EnrolledHostError> {
        self.save_json(MACHINE, machine, disk::PRIVATE)
    }

    /// Returns what the agent wrote about itself; `None`: it never ran, or the file is damaged.
    pub fn status(&self) -> Option<AgentStatus> {
        self.read_json(STATUS).ok().flatten()
    }

    /// Stores what the agent tells about itself. Everybody on the machine can read it.
    ///
    /// # Errors
    /// [`EnrolledHostError`]
    pub fn save_status(&self, status: &AgentStatus) -> Result<(), EnrolledHostError> {
        self.save_json(STATUS, status, disk::PLAIN)
    }

    /// Makes this process the agent of the host; `None`: another process is. The system releases it when the process
    /// ends.
    ///
    /// # Errors
    /// [`EnrolledHostError::Io`]
    pub fn lock(&self) -> Result<Option<AgentLock>, EnrolledHostError> {
        let path = self.directory.join(LOCK);
        let open = || {
            // A process that can open the file can hold the lock.
            let opened = match disk::create_new(&path, disk::PRIVATE) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk::open_regular(&path),
                opened => opened,
            }?;
            Ok(flock(&opened)?.then_some(AgentLock { _file: opened }))
        };
        open().map_err(|source| EnrolledHostError::Io { path: path.clone(), source })
    }

    /// Replaces the name and the labels that every d8 on the machine reads.
    ///
    /// # Errors
    /// [`EnrolledHostError`]
    pub fn save_host(&self, host: &EnrolledHost) -> Result<(), EnrolledHostError> {
        self.save_json(HOST, host, disk::PLAIN)
    }

    fn save_json(&self, name: &str, value: &impl Serialize, mode: u32) -> Result<(), EnrolledHostError> {
        let text = serde_json::to_vec_pretty(value)
            .map_err(|source| EnrolledHostError::Damaged { path: self.directory.join(name), source })?;
        if text.len() as u64 > limits::RECEIPT_BYTES {
            // It could not be read again.
            let source = io::Error::other(format!("{} bytes are more than 1 MiB", text.len()));
            return Err(EnrolledHostError::Io { path: self.directory.join(name), source });
        }
        self.replace(name, &text, mode)
    }

    fn replace(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), EnrolledHostError> {
        let failed = |source| EnrolledHostError::Io { path: self.directory.join(name), source };
        disk::replace(&self.directory.join(name), bytes, Some(mode)).map_err(failed)
    }
}
