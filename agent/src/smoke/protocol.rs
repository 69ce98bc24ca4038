//! What the processes of the sandbox pass to each other: stages, requests and reports.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize};

use super::{CHILD_ARG, SmokeFailure};
use crate::disk::JsonPath;

/// Descriptor of the executable in the sandbox.
pub(super) const EXECUTABLE_FD: i32 = 9;

/// Characters of the output in messages.
pub(super) const SHOWN: usize = 200;

/// Bytes of the output that are kept.
pub(super) const OUTPUT: usize = 4096;

/// A process of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Stage {
    /// Sets limits, starts the starter, reports how the executable ended, and ends the processes that it left. Does the
    /// same when the command that requested the test has ended.
    Supervise,
    /// Gives up what the executable must not have, then becomes the executable.
    Start,
}

impl Stage {
    /// Returns the arguments that start this program as the process.
    pub(super) fn arguments(self, request: &TestRequest) -> io::Result<[String; 2]> {
        Ok([CHILD_ARG.to_owned(), serde_json::to_string(&(self, request))?])
    }
}

/// What to run, and what to give it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TestRequest {
    /// Name that the executable is started with (`argv[0]`).
    pub(super) name: String,
    /// Arguments of the executable.
    pub(super) arguments: Vec<String>,
    /// Path of the executable.
    pub(super) path: JsonPath,
    /// An empty directory for HOME and TMPDIR, if the executable cannot have one of its own in memory. The supervisor
    /// removes it at the end.
    pub(super) home: JsonPath,
    /// Directories that the executable must not see, if it has a mount namespace.
    pub(super) hidden: Vec<JsonPath>,
    /// User and group id of the executable, if the sandbox is root.
    pub(super) uid: Option<u32>,
    /// Whether to create namespaces.
    pub(super) namespaces: bool,
    /// Whether to use Landlock.
    pub(super) landlock: bool,
    /// Whether an ordinary user enters a user namespace, which the other namespaces need.
    pub(super) user_namespace: bool,
    /// Time that is left for the executable.
    pub(super) timeout: Duration,
    /// The whole timeout in seconds, for messages.
    pub(super) seconds: u64,
    /// Characters of the output to return after exit status 0.
    pub(super) wanted: usize,
}

/// The report of the sandbox: JSON on the standard output of the supervisor.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum TestReport {
    /// Exit status 0, with the beginning of the output.
    Passed(String),
    /// The executable did not pass.
    Failed(SmokeFailure),
    /// Another process has the executable open for writing, such as the fork of another thread. To be retried.
    Busy,
    /// A user namespace was entered and is not usable. To be retried without one.
    NoNamespace,
}

impl TestReport {
    /// Returns the report of a sandbox that cannot do what the test needs.
    pub(super) fn setup(what: &str, error: &io::Error) -> Self {
        Self::Failed(SmokeFailure::Setup { why: format!("{what}: {error}") })
    }
}
